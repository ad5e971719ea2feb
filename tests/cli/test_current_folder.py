"""Nothing is imported from the current folder but what a recipe or an option names, and what that imports."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.slow

PLANTED = "open('ran', 'a').write(__name__ + '\\n')\nraise SystemExit('imported from the current folder')\n"
PACKAGES = (
    "botorch",
    "filelock",
    "gpytorch",
    "numba",
    "numpy",
    "pandas",
    "pydantic",
    "rdkit",
    "torch",
    "typer",
)
OPTIONAL = ("bottleneck", "cupy", "numexpr", "tensorboard", "triton", "umap")
MINE = (
    "import beside\n\n\ndef score(smiles):\n    import later\n\n    return beside.one(smiles) + later.another(smiles)\n"
)


@pytest.fixture(scope="module")
def pythons_own(tmp_path_factory) -> set[str]:
    """Modules that `python -m` itself imports, after it has put the current folder first: nothing can be done."""
    bare = tmp_path_factory.mktemp("bare")
    (bare / "bare.py").write_text("import sys\nprint(*sys.modules)\n")
    run = subprocess.run([sys.executable, "-m", "bare"], cwd=bare, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in run.stdout.split()}


@pytest.fixture
def plant(tmp_path, pythons_own):
    """Put files into the current folder, named as modules that are installed, or that others look whether they are."""

    def write(*more: str) -> None:
        installed = {name for name in sys.stdlib_module_names if importlib.util.find_spec(name) is not None}
        for name in {*installed, *PACKAGES, *more} - pythons_own:
            (tmp_path / f"{name}.py").write_text(PLANTED)

    return write


@pytest.fixture
def run(tmp_path, process):
    """Run a command as a process, in the current folder, which must end well and import nothing planted."""

    def begin(*words, program=("-m", "molvae")) -> str:
        told, errors = (one := process(*words, program=program)).communicate(timeout=200)
        assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()
        assert one.returncode == 0, errors
        return told

    return begin


@pytest.fixture
def mine(tmp_path) -> str:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "beside.py").write_text("def one(smiles):\n    return len(smiles)\n")
    (tmp_path / "later.py").write_text("def another(smiles):\n    return 100\n")
    return "mine:score"


@pytest.fixture
def table(tmp_path) -> Path:
    (tmp_path / "table.csv").write_text("SMILES\nCCO\nCCN\nCCCO\n")
    return tmp_path / "table.csv"


@pytest.mark.parametrize("installed", [True, False])
def test_no_command_imports_from_the_current_folder(run, plant, table, model, campaign, tmp_path_factory, installed):
    script = tmp_path_factory.mktemp("bin") / "molvae"
    script.write_text("from molvae.cli import main\n\nif __name__ == '__main__':\n    main()\n")
    program = [script] if installed else ["-m", "molvae"]
    plant(*OPTIONAL)
    run("models", program=program)
    run("score", table, "-o", "scored.csv", "--objective", "qed", program=program)
    run("map", model, table, "-o", "map.csv", program=program)
    recipe = campaign(executor={"kind": "processes", "workers": 1}, budget={"evaluations": 8})
    run("optimize", recipe, "--out", "run", program=program)


def test_a_function_of_the_current_folder_and_what_it_imports(run, plant, mine, table, model, tmp_path):
    plant()
    run("score", table, "-o", "scored.csv", "--objective", mine)
    assert pd.read_csv(tmp_path / "scored.csv")["score"].tolist() == [103, 103, 104]
    run("map", model, table, "-o", "map.csv", "--color", mine)


@pytest.mark.parametrize("executor", [{"kind": "inline"}, {"kind": "processes", "workers": 1}])
def test_a_recipe_names_it(run, plant, mine, campaign, executor):
    plant()
    recipe = campaign(
        objectives=[{"score": {"kind": "callable", "call": mine}}], budget={"evaluations": 8}, executor=executor
    )
    assert ", 0 failed" in run("optimize", recipe, "--out", "run")


def test_workers_of_a_preparation(run, plant, tmp_path):
    plant(*OPTIONAL)
    (tmp_path / "many.smi").write_text("".join(f"{'C' * n}O\n" for n in range(1, 41)) * 30)
    run("data", "prepare", "many.smi", "-o", "corpus", "--score", "qed")
