"""How the package is built: layers, sizes, who may import and print what. Exceptions carry their reason."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "molvae"
FILES = sorted(PACKAGE.rglob("*.py"))

FOUNDATION = {"errors", "arguments", "signals", "foreign", "config", "registry", "folders", "spawn", "workers"}
CORES = FOUNDATION | {"chem", "data"}
MODEL = CORES | {"vae", "vae/nets"}
MAY_IMPORT = {
    "errors": set(),
    "signals": set(),
    "foreign": {"errors", "signals"},
    "spawn": {"signals"},
    "workers": {"errors", "spawn"},
    "arguments": {"errors"},
    "config": {"errors", "arguments"},
    "registry": {"errors", "config", "foreign"},
    "folders": {"errors", "config", "registry", "signals"},
    "chem": FOUNDATION,
    "data": FOUNDATION | {"chem"},
    "bo": FOUNDATION,
    "vae/nets/kernel": set(),
    "vae/nets": FOUNDATION | {"data", "vae/nets/kernel"},
    "vae/grammar": FOUNDATION | {"data"},
    "vae": CORES | {"vae/nets", "vae/grammar"},
    "vae/evaluation": MODEL,
    "vae/training": MODEL | {"vae/evaluation"},
    "latent": MODEL,
    "campaign": MODEL
    | {"bo", "vae/evaluation", *(f"campaign/{x}" for x in ("propose", "evaluate", "record", "report"))},
    "campaign/propose": MODEL | {"bo", "campaign", "campaign/record", "vae/training"},
    "campaign/evaluate": CORES | {"campaign/record"},
    "campaign/record": FOUNDATION | {"bo", "chem"},
    "campaign/report": CORES | {"bo", "campaign", "campaign/propose", "campaign/record"},
}
MAY_IMPORT["__init__"] = {*MAY_IMPORT}
MAY_IMPORT["cli"] = {*MAY_IMPORT}
MAY_IMPORT["__main__"] = {"cli"}
ONLY_IN = {
    "rdkit": {"chem", "data"},
    "botorch": {"bo"},
    "gpytorch": {"bo"},
    "sqlalchemy": {"campaign/record"},
    "typer": {"cli"},
    "rich": {"cli"},
    "click": {"cli"},
}
LONG_FILES = {
    "vae/grammar/automaton.py": "numba keeps what it compiled until this one file changes, so it is not split"
}
LONG_FUNCTIONS: dict[str, str] = {}
MANY_ARGUMENTS: dict[str, str] = {}

LONGEST_FILE, LONGEST_FUNCTION, MOST_ARGUMENTS, MOST_FILES = 400, 40, 7, 12
"""Lines of a function are counted without its docstring; its complexity is ruff's business (C901 in pyproject.toml)."""


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def room(path: Path) -> str:
    """The folder that a file stands in, or the file itself on the ground floor."""
    parent = path.relative_to(PACKAGE).parent.as_posix()
    return path.stem if parent == "." else parent


def home(dotted: str) -> str:
    """The room of what is imported as ``molvae.….name``."""
    parts = dotted.split(".")[1:]
    while parts and not PACKAGE.joinpath(*parts).with_suffix(".py").exists():
        if PACKAGE.joinpath(*parts).is_dir():
            return "/".join(parts)
        parts.pop()
    return room(PACKAGE.joinpath(*parts).with_suffix(".py")) if parts else "__init__"


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[str]:
    """Dotted names of all that a file imports, at the top or inside a function."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def public(node: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """Public functions, classes and their public methods."""
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.ClassDef) and not child.name.startswith("_"):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from public(child)


def docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return (first.end_lineno or 0) - first.lineno + 1 if documented and ast.get_docstring(node) else 0


def text_files() -> list[Path]:
    """What is, or may be, committed."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True)
    if listed.returncode:
        return [*FILES, *(ROOT / "tests").rglob("*.py")]
    paths = [ROOT / part.decode() for part in listed.stdout.split(b"\0") if part]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:8000]]


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_go_one_way(path):
    used = {home(part) for part in imports(path) if part.startswith("molvae.")}
    assert used - {room(path)} <= MAY_IMPORT[room(path)]


def test_one_door_leads_to_the_kernel():
    """`gru_layer` alone decides whether a GRU layer runs in C or in PyTorch."""
    kernel, door = PACKAGE / "vae/nets/kernel", PACKAGE / "vae/nets/gru_layer.py"
    outside = {*FILES, *(ROOT / "scripts").glob("*.py"), *(ROOT / "pipelines").glob("*.py")} - {*kernel.glob("*.py")}
    users = {path for path in outside if any(part.startswith("molvae.vae.nets.kernel") for part in imports(path))}
    assert users == {door}


@pytest.mark.parametrize("path", FILES, ids=name)
def test_each_library_has_its_place(path):
    used = {part.split(".")[0] for part in imports(path)}
    assert {library for library in used & ONLY_IN.keys() if room(path) not in ONLY_IN[library]} == set()


def test_campaigns_build_no_training_settings():
    """Fine-tuning says itself what it is like; a campaign gives it a rate and a weight."""
    used = {(name(path), part) for path in FILES if room(path).startswith("campaign") for part in imports(path)}
    trains = {(path, part) for path, part in used if part.startswith("molvae.vae.training")}
    assert {part.rpartition(".")[0] for _, part in trains} == {"molvae.vae.training.finetune"}


def test_the_rooms_are_those_that_are_written_down():
    assert {room(path) for path in FILES} == set(MAY_IMPORT)


def test_no_room_is_crowded():
    folders = {path.parent for path in FILES}
    counts = {
        name(folder): sum(path.parent == folder and path.stem != "__init__" for path in FILES) for folder in folders
    }
    assert {folder for folder, n in counts.items() if n > MOST_FILES} == set()


def test_files_do_not_import_each_other_in_circles():
    """At the top of files; an import that waits inside a function may lead back, one for types alone as well."""
    modules = {
        "molvae." + name(path).removesuffix(".py").replace("/", ".").removesuffix(".__init__"): path for path in FILES
    }
    arrows = {}
    for module, path in modules.items():
        top = [node for node in tree(path).body if isinstance(node, ast.ImportFrom)]
        named = {f"{node.module}.{alias.name}" for node in top for alias in node.names} | {node.module for node in top}
        arrows[module] = {one for one in named if one in modules and one != module}
    while free := {module for module, used in arrows.items() if not used & arrows.keys()}:
        arrows = {module: used for module, used in arrows.items() if module not in free}
    assert arrows == {}


NEVERS = {
    "networks never import the grammar": ("vae/nets", "molvae.vae.grammar"),
    "a campaign never builds the settings of a training": ("campaign", "molvae.vae.training.recipe"),
    "bo never sees a molecule": ("bo", "molvae.chem"),
    "chem never sees weights": ("chem", "molvae.vae"),
    "data never sees weights": ("data", "molvae.vae"),
    "the core of chemistry knows no campaign": ("chem", "molvae.campaign"),
}


@pytest.mark.parametrize("never", NEVERS)
def test_nevers(never):
    place, forbidden = NEVERS[never]
    within = [path for path in FILES if room(path) == place or room(path).startswith(f"{place}/")]
    assert within
    assert [name(path) for path in within if any(part.startswith(forbidden) for part in imports(path))] == []


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.name)
def test_scripts_import_public_names_only(path):
    assert [part for part in imports(path) if part.startswith("molvae") and "._" in part] == []


def test_only_the_command_line_prints():
    printing = {
        name(path)
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert {path for path in printing if not path.startswith("cli")} == set()


def test_files_are_short():
    lengths = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {path for path, n in lengths.items() if n > LONGEST_FILE} == set(LONG_FILES)


def test_functions_are_short():
    lengths = {
        f"{name(path)}:{node.name}": (node.end_lineno or 0) - node.lineno + 1 - docstring_lines(node)
        for path in FILES
        for node in functions(path)
    }
    assert {place for place, n in lengths.items() if n > LONGEST_FUNCTION} == set(LONG_FUNCTIONS)


def test_functions_take_few_arguments():
    """A command of the command line has an argument an option: those are exempt."""
    counts = {}
    for path in FILES:
        if room(path) == "cli":
            continue
        for node in functions(path):
            every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            counts[f"{name(path)}:{node.name}"] = sum(argument.arg not in ("self", "cls") for argument in every)
    assert {place for place, n in counts.items() if n > MOST_ARGUMENTS} == set(MANY_ARGUMENTS)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_what_is_public_is_documented(path):
    bare = [node.name for node in public(tree(path)) if not ast.get_docstring(node)]
    assert ast.get_docstring(tree(path))
    assert bare == []


def test_names_say_what_things_are():
    vague = ("util", "helper", "misc", "common", "manager")
    assert [name(path) for path in FILES if any(word in path.stem for word in vague)] == []


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, molvae; print(sorted(sys.modules.keys() & set(sys.argv[1:])))"
    heavy = [
        "torch",
        "rdkit",
        "pandas",
        "numpy",
        "botorch",
        "gpytorch",
        "sqlalchemy",
        "lightning_fabric",
        "pyarrow",
        "numba",
    ]
    run = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_no_file_names_a_place_on_one_machine():
    places = [f"/{root}/" for root in ("work", "root", "home", "Users")]
    found = {
        f"{path.relative_to(ROOT)}: {place}"
        for path in text_files()
        for place in places
        if place in path.read_text(encoding="utf-8", errors="replace")
    }
    assert found == set()
