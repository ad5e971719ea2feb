"""One thread a process and reproducible examples: set before anything imports torch."""

import csv
import importlib.util
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

# A shell starts what it runs in the background with Ctrl-C ignored, and that is inherited by what the tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("molvae", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("molvae")


@pytest.fixture(scope="session")
def module_at() -> Callable[[Path], ModuleType]:
    """Loads a file of Python beside a conftest, which is no module that could be imported by name."""

    def load(path: Path) -> ModuleType:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


TINY = {"latent": 4, "embedding": 6, "encoder": {"kind": "gru", "hidden": 8}, "decoder": {"kind": "gru", "hidden": 12}}


@pytest.fixture(scope="session")
def molecules() -> tuple[str, ...]:
    """200 short canonical SMILES of real molecules, from the NCI set in RDKit's package."""

    from rdkit import RDConfig

    from molvae.chem.molecule import parse_or_none

    lines = (Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi").read_text()
    found: list[str] = []
    for line in lines.splitlines():
        molecule = parse_or_none(line.split()[0])
        if molecule is not None and 6 <= len(molecule.smiles) <= 18 and "." not in molecule.smiles:
            found.append(molecule.smiles)
        if len(found) == 230:
            break
    return tuple(dict.fromkeys(found))[:200]


@pytest.fixture(scope="session")
def vocab(molecules):
    from molvae.data.vocab import Vocab

    return Vocab.of(molecules)


@pytest.fixture
def vae(molecules, vocab):
    """An untrained model whose strings differ in content and length; the same weights each time."""

    import torch

    from molvae.data.training_index import KnownMolecules
    from molvae.vae.model import SmilesVAE
    from molvae.vae.nets.nets import Net, NetSettings

    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = Net(NetSettings(**TINY), len(vocab))
        with torch.no_grad():
            for weights in net.parameters():
                weights.mul_(3)
    return SmilesVAE(net, vocab, longest=20, known=KnownMolecules.of(molecules))


@pytest.fixture(scope="session")
def corpus_folder(molecules, tmp_path_factory) -> Path:
    """A prepared corpus: 160 molecules to train on, 20 to validate, 20 to test."""

    from molvae.data.prepare import PrepareSettings, prepare

    folder = tmp_path_factory.mktemp("corpus")
    source = folder / "source.smi"
    source.write_text("".join(f"{smiles}\n" for smiles in molecules))
    prepare(source, folder / "prepared", PrepareSettings(valid=20, test=20))
    return folder / "prepared"


@pytest.fixture(scope="session")
def recipe(corpus_folder):
    """A training of under a second; keyword arguments change the recipe's table, tables key by key."""

    from molvae.config import parse_recipe
    from molvae.vae.training.recipe import TrainRecipe

    def make(**changes):
        table = {
            "name": "tiny",
            "corpus": str(corpus_folder),
            "net": TINY,
            "train": {"epochs": 2, "batch": 16, "loss": {"beta": {"end": 0.01}}},
            "evaluate": {"every": 9, "molecules": 12},
            "hardware": {"device": "cpu", "precision": "32-true"},
            "checkpoint_seconds": 0.0,
        }
        for key, value in changes.items():
            table[key] = {**table.get(key, {}), **value} if isinstance(value, dict) else value
        return parse_recipe(table, TrainRecipe)

    return make


@pytest.fixture(scope="session")
def figures():
    """Rows of a run's metrics.csv, without the column that depends on the clock."""

    def read(out: Path) -> list[dict[str, str]]:
        with open(out / "metrics.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]

    return read
