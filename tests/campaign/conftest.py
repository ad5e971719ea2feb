import shutil
import sqlite3
from pathlib import Path
from types import ModuleType

import pytest

from molvae.campaign.recipe import CampaignRecipe
from molvae.campaign.record.state import State
from molvae.campaign.record.store import FILE
from molvae.config import parse_recipe

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def toy(module_at) -> ModuleType:
    return module_at(HERE / "toy.py")


@pytest.fixture(scope="session")
def space(toy):
    return toy.ToySpace()


@pytest.fixture(scope="session")
def open_space(toy):
    return toy.OpenSpace()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    """A model that was never trained: graph edits find molecules that it reads."""
    import torch

    from molvae.data.vocab import Vocab
    from molvae.vae.folder import save_model
    from molvae.vae.model import SmilesVAE
    from molvae.vae.nets.nets import GRUDecoder, GRUEncoder, Net, NetSettings

    vocab = Vocab.of(["CCNOFSclno123()[]@H+-=#"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Net(
            NetSettings(latent=5, embedding=4, encoder=GRUEncoder(hidden=8), decoder=GRUDecoder(hidden=8)), len(vocab)
        )
    facts = {"name": "blank", "commit": "none", "hardware": {"device": "a processor"}, "step": 0, "seconds": 0.0}
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, SmilesVAE(net, vocab, 60), facts)
    return folder


@pytest.fixture(scope="session")
def rewind():
    """A copy of a run as it was in the round of a call, with outcomes up to that call."""

    def copy(out: Path, to: Path, state: State, kept: int) -> None:
        shutil.copytree(out, to)
        rounds = state.records[kept - 1].proposal.round
        with sqlite3.connect(to / FILE) as connection:
            connection.execute("DELETE FROM outcomes WHERE call > ?", (kept,))
            connection.execute("DELETE FROM proposals WHERE round > ?", (rounds,))
            connection.execute("DELETE FROM rounds WHERE round > ?", (rounds,))
            connection.execute("DELETE FROM meta WHERE key = 'stopped'")

    return copy


@pytest.fixture(scope="session")
def recipe():
    """A small campaign on the toy space, whose pool edits of graphs hardly hit; keyword arguments change its table."""

    def make(**changes) -> CampaignRecipe:
        """Parts of Bayesian optimisation may stand beside its method here."""
        names = ("search", "surrogate", "acquisition", "restarts", "retrain")
        parts = {name: changes.pop(name) for name in names if name in changes}
        method = changes.pop("method", {"kind": "bayes"})
        if method["kind"] == "bayes":
            parts = {"search": {"generations": 2, "children": 40, "crossing": 0, "mutation": 0}} | parts
        table = {
            "model": "toy",
            "objectives": [{"score": {"kind": "logp"}}],
            "start": {"kind": "prior", "n": 6},
            "budget": {"evaluations": 14},
            "q": 4,
            "method": parts | method,
            "executor": {"kind": "inline"},
        }
        return parse_recipe(table | changes, CampaignRecipe)

    return make
