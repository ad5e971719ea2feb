"""What the pages say is true of the tree: names exist, links lead somewhere, the reference covers every key."""

import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

import molvae
from molvae.campaign.propose.inner_loop import MOVES
from molvae.cli import app
from molvae.config import kinds
from molvae.registry import REGISTRIES

ROOT = Path(__file__).resolve().parents[1]
HISTORY = ROOT / "docs/lab-book"
"""Entries keep the names of their time."""
GENERATED = ROOT / "docs/reference"
ROOMS = {path.name for path in (ROOT / "molvae").iterdir() if path.is_dir()}
PLACES = ("molvae/", "docs/", "scripts/", "tests/", "pipelines/", "data/reference/")
CODE = {".py", ".sh", ".toml", ".c"}
OUTPUT = {".smi", ".csv", ".json", ".safetensors"}
YOURS = {"recipe.toml"}
"""Files that stand for one of the reader's own."""
WIDE = {"molvae/vae/grammar/README.md": "a row has the whole state of an automaton"}
"""Pages whose tables may be wider than a line."""


def pages() -> list[Path]:
    """Every page that is, or may be, committed, but the cards of models."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "*.md"], cwd=ROOT, capture_output=True
    )
    names = listed.stdout.decode().split("\0") if not listed.returncode else []
    found = [ROOT / name for name in names if name] or [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    return [path for path in found if path.is_file() and "models" not in path.parts]


PAGES = pages()
TRUE_TODAY = [path for path in PAGES if HISTORY not in path.parents and path.name != "CHANGELOG.md"]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def reference() -> Any:
    """The script that writes the reference pages."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts/reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def recipe_keys() -> frozenset[str]:
    """Every dotted key of every recipe, also by its name of the release before."""
    script, found = reference(), set()
    for _, recipe in script.RECIPES.values():
        for table in script.tables(recipe):
            found |= {f"{table.key}.{field}".lstrip(".").replace("[]", "") for field in table.model.model_fields}
        found |= recipe.ALIASES.keys()
    return frozenset(found)


@cache
def all_kinds() -> frozenset[str]:
    script = reference()
    models = [table.model for _, recipe in script.RECIPES.values() for table in script.tables(recipe)]
    return frozenset(kind for model in models for kind in kinds(model)).union(
        *(one.kinds for one in REGISTRIES.values())
    )


@cache
def commands() -> dict[str, set[str]]:
    """Options by command."""
    return {
        name: {"--help", *(opt for one in command.params for opt in [*one.opts, *one.secondary_opts])}
        for name, command in reference().commands()
    }


def prose(path: Path) -> str:
    return re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def without_code(path: Path) -> str:
    return re.sub(r"`[^`\n]+`(?!\])", "", prose(path))


def fenced(path: Path, language: str) -> list[str]:
    found: list[str] = re.findall(
        rf"^```{language}\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return found


def announced(page: Path) -> set[str]:
    """Names of entry points that a page shows how to make."""
    tables = [tomllib.loads(text).get("project", {}).get("entry-points", {}) for text in fenced(page, "toml")]
    return {name for table in tables for group in table.values() for name in group}


def is_key(dotted: str) -> bool:
    """Whether it is a key, or the end of one: pages may leave out the table that holds a table."""
    return any(key == dotted or key.endswith(f".{dotted}") for key in recipe_keys())


def there_is(dotted: str) -> bool:
    """Whether ``molvae.a.b.name`` can be had."""
    parts = dotted.split(".")
    for k in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:k]))
        except ModuleNotFoundError:
            continue
        for part in parts[k:]:
            if not hasattr(found, part) and part not in getattr(found, "__annotations__", {}):
                return False
            found = getattr(found, part, None)
        return True
    return False


def wrong(span: str, page: Path) -> str:  # noqa: C901 (a line for each sort of claim)
    """What is not true of a piece of code in a page's text; nothing where all is well or nothing is claimed."""
    words = span.split()
    for word in words:
        plain = word.strip("'\"(),")
        if plain.startswith(PLACES) and not (ROOT / plain).exists():
            return f"there is no {plain}"
        if re.fullmatch(r"[\w-]+\.\w+", plain) and Path(plain).suffix in CODE:
            written = Path(plain).stem in "".join(fenced(page, r"\w+")) or f"In `{plain}`:" in " ".join(
                prose(page).split()
            )
            if not written and plain not in YOURS and not any(path.name == plain for path in files()):
                return f"there is no file {plain}"
    for dotted in re.findall(r"(?<![\w/.])molvae(?:\.\w+)+", span):
        if not there_is(dotted) and ":" not in span:
            return f"there is no {dotted}"
    for kind in re.findall(r'\bkind = "([\w.:]+)"', span):
        if kind not in all_kinds() | announced(page) and ":" not in kind:
            return f"no part has the kind {kind!r}"
    for key in re.findall(r"--set '?([\w.]+)=", span):
        if not is_key(key) and key != "section.key":
            return f"no recipe has the key {key}"
    if words[0] == "molvae" and len(words) > 1:
        return wrong_command(words)
    if re.fullmatch(r"[a-z_]+(/[a-z_]+)+", span) and span.split("/")[0] in ROOMS:
        place = ROOT / "molvae" / span
        return "" if place.is_dir() or place.with_suffix(".py").exists() else f"there is no molvae/{span}"
    found = re.fullmatch(r"([A-Z]\w+)\.(\w+)", span)
    if found and found[1] in molvae.__all__ and not hasattr(getattr(molvae, found[1]), found[2]):
        return f"molvae.{found[1]} has no {found[2]}"
    claimed = re.match(r"([a-z_]+(?:\.[a-z_]+)+)(?: = |$)", span)
    if (
        claimed
        and Path(span).suffix not in OUTPUT
        and claimed[1].split(".")[0] in {key.split(".")[0] for key in recipe_keys()}
    ):
        return "" if is_key(claimed[1]) or is_key(claimed[1].removesuffix(".kind")) else f"no recipe has {claimed[1]}"
    return ""


def wrong_command(words: list[str]) -> str:
    for n in (3, 2):
        if (command := " ".join(words[:n])) in commands():
            unknown = [
                word for word in words[n:] if re.match(r"--\w", word) and word.split("=")[0] not in commands()[command]
            ]
            return f"{command} has no {', '.join(unknown)}" if unknown else ""
    group = " ".join(words[:2]) in {known.rpartition(" ")[0] for known in commands()}
    return "" if group else f"there is no command {' '.join(words[:2])}"


@cache
def files() -> tuple[Path, ...]:
    return tuple(
        path
        for place in ("molvae", "scripts", "pipelines", "tests", "data", "docs")
        for path in ROOT.joinpath(place).rglob("*")
    )


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130


@pytest.mark.parametrize("page", [page for page in PAGES if HISTORY not in page.parents], ids=name)
def test_lines_are_short(page):
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if len(line) > 120]
    assert [line for line in lines if not (name(page) in WIDE and line.startswith("|"))] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_into_the_repository_lead_somewhere(page):
    written = {GENERATED / file for file in reference().pages()}
    targets = [
        target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page)) if ":" not in target
    ]
    lost = [target for target in targets if target and not (page.parent / target).exists()]
    assert [target for target in lost if (page.parent / target).resolve() not in written] == []


@pytest.mark.parametrize("page", TRUE_TODAY, ids=name)
def test_names_in_code_font_exist(page):
    spans = re.findall(r"`([^`\n]+)`", prose(page))
    assert [found for span in spans if (found := wrong(span, page))] == []


@pytest.mark.parametrize("page", TRUE_TODAY, ids=name)
def test_commands_of_a_page_exist(page):
    lines = [
        line
        for text in [*fenced(page, "bash"), *fenced(page, "text")]
        for line in text.replace("\\\n", " ").splitlines()
    ]
    spans = [line.partition(" #")[0] for line in lines if line.startswith(("molvae ", "python ", "bash "))]
    for words in map(shlex.split, spans):
        if words[0] == "molvae" and "[OPTIONS]" not in words:
            command = typer.main.get_command(app)
            rest = words[1:]
            while hasattr(command, "commands"):
                command = command.commands[rest.pop(0)]
            command.make_context("molvae", rest)
    assert [found for span in spans if (found := wrong(span, page))] == []


@pytest.mark.parametrize("page", [page for page in TRUE_TODAY if fenced(page, "toml")], ids=name)
def test_keys_of_a_page_s_recipes_exist(page):
    def unknown(value: Any, key: str) -> list[str]:
        if isinstance(value, list):
            return [found for one in value if isinstance(one, dict) for found in unknown(one, key)]
        if not isinstance(value, dict) or key.endswith("weights") or ":" in value.get("kind", ""):
            return []
        below = [found for name, one in value.items() for found in unknown(one, f"{key}.{name}".lstrip("."))]
        kind = value.get("kind", "bayes")
        here = [f"{key}.{name}".lstrip(".") for name in value if name != "kind"]
        return below + [one for one in here if not is_key(one)] + ([] if kind in all_kinds() else [f"{key}: {kind}"])

    recipes = [table for table in map(tomllib.loads, fenced(page, "toml")) if "project" not in table]
    assert [found for table in recipes for found in unknown(table, "")] == []


@pytest.mark.parametrize("page", TRUE_TODAY, ids=name)
def test_moves_of_a_page_are_moves(page):
    for table in re.findall(r"^\| move \|.*\n\|.*\n((?:\|.*\n)+)", prose(page), re.MULTILINE):
        assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == list(MOVES)


def test_a_name_that_does_not_exist_is_found():
    page = ROOT / "README.md"
    for span in (
        "scripts/none.py",
        "none.toml",
        "molvae.vae.none",
        'kind = "none"',
        "--set budget.none=1",
        "molvae none",
        "molvae status --none",
        "chem/none",
        "Campaign.none",
        "budget.none",
    ):
        assert wrong(span, page), span
    for span in (
        "scripts/campaign.sh",
        "budget.evaluations",
        "molvae status",
        "Campaign.ask",
        "runs/demo/candidates.csv",
    ):
        assert not wrong(span, page), span


@pytest.mark.parametrize("recipe", ["campaign-recipe", "training-recipe", "prepare-settings"])
def test_every_key_of_a_recipe_has_a_meaning(recipe):
    script = reference()
    page, found = script.pages()[f"{recipe}.md"], script.tables(script.RECIPES[recipe][1])
    assert [f"{t.key} {t.model.__name__}.{k.name}" for t in found for k in script.keys(t.model) if not k.meaning] == []
    for table in found:
        assert all(f"| `{key.name}` |" in page for key in script.keys(table.model))
        assert all(f'`kind = "{kind}"`' in page for kind in kinds(table.model))


def test_the_reference_has_every_command_option_column_and_public_name():
    script = reference()
    page = script.pages()["command-line.md"]
    for command, options in commands().items():
        section = page.split(f"\n## {command}\n")[1].split("\n## ")[0]
        assert all(f"`{option}`" in section for option in options if option.startswith("-") and option != "--help")
        assert f"```bash\n{command} " in section or f"```bash\n{command}\n" in section
    assert typer.main.get_command(app).commands.keys() <= {command.split()[1] for command in commands()}
    python = script.pages()["python.md"]
    assert all(f"\n## {public}\n" in python for public in molvae.__all__)
    assert "| `SMILES` |" in script.pages()["columns.md"]


def test_a_package_index_gets_no_link_into_the_repository():
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for one in table["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(one["pattern"], one["replacement"], text)
    assert re.findall(r"\]\((?!https?:)[^)]*\)", text) == []
    assert "demo.png" not in text
    assert "The ten best of" not in text


def test_what_one_cites_is_this_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_entries_of_the_lab_book_have_a_verdict_and_stand_in_its_index():
    index = (HISTORY / "index.md").read_text(encoding="utf-8")
    for month in HISTORY.glob("20*.md"):
        titles = re.findall(r"^## (\d{4}-\d\d)-\d\d: (.*) \((.*)\)$", month.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(titles) == month.read_text(encoding="utf-8").count("\n## ")
        for date, title, verdict in titles:
            assert date == month.stem
            assert verdict.startswith(("kept", "reverted", "open"))
            assert f"[{title}](" in index


def test_the_architecture_page_names_every_module():
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    block = next(text for text in fenced(ROOT / "docs/architecture.md", "text") if text.startswith("molvae/"))
    places: list[str] = []
    told = set()
    for line in block.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        places = [*places[:depth], line.split()[0]]
        told.add("".join(places))
    modules = {name(path) for path in (ROOT / "molvae").rglob("*.py") if not path.name.startswith("__")}
    assert page.count("\n## Layout\n") == 1
    assert sorted(modules - told) == []
    assert sorted(place for place in told if not (ROOT / place).exists()) == []


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="pip install '.[docs]'")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "reference/campaign-recipe.html").exists()
