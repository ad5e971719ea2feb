"""What every method, initial design and executor promises, whichever there are: each is found in its registry."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from molvae.campaign.evaluate.executors import EXECUTORS
from molvae.campaign.propose.initial import INITIALS
from molvae.campaign.recipe import METHODS, CampaignRecipe
from molvae.campaign.record.state import Failed, Observed, Proposal, fold
from molvae.campaign.rounds import context_of
from molvae.campaign.space import LatentSpace
from molvae.chem.molecule import Molecule, parse_or_none
from molvae.config import as_table, parse_recipe

OBJECTIVES = [{"score": {"kind": "logp"}}]


class Heads:
    """As much of a model as gradient ascent needs: one head, which is the first latent dimension."""

    properties, device, fingerprint, known = ("first",), torch.device("cpu"), "toy", None

    def __init__(self, space) -> None:
        self.latent, self.reads, self.sample, self.space = space.latent, space.can_encode, space.sample, space
        self.net = SimpleNamespace(predict=lambda z: z[:, :1])

    def encode_texts(self, texts):
        return SimpleNamespace(mean=torch.from_numpy(self.space.encode(texts)))

    def decode(self, z, grammar=True):
        return self.space.decode(z.numpy())

    def predict(self, z):
        return z[:, :1]


def made(registry, member, settings, field):
    """A part by its kind, as a recipe has it, and the recipe."""
    table = {"objectives": OBJECTIVES, field: {"kind": registry.kind_of(member), **settings}}
    recipe = parse_recipe(table, CampaignRecipe)
    assert parse_recipe(as_table(recipe), CampaignRecipe) == recipe
    return getattr(recipe, field), recipe


@pytest.mark.parametrize("member", METHODS.members, ids=METHODS.kind_of)
def test_each_method(member, open_space):
    settings = {"gradient": {"weights": {"first": 1.0}}, "bayes": {"search": {"generations": 2, "children": 40}}}
    method, recipe = made(METHODS, member, settings.get(METHODS.kind_of(member), {}), "method")
    smiles = open_space.smiles[:30:2]
    proposals = [
        Proposal(k, 0, text, z) for k, (text, z) in enumerate(zip(smiles, open_space.encode(smiles), strict=True), 1)
    ]
    values = {k: Observed((float(k),), 0.0) for k in range(1, 16)} | {4: Failed("no value", 0.0)}
    space = LatentSpace(Heads(open_space)) if METHODS.kind_of(member) == "gradient" else open_space
    context = context_of(recipe, space, fold(proposals, values))
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist()
    found, again = method(context), method(context)
    texts = [candidate.molecule.smiles for candidate in found.candidates]
    assert texts == [candidate.molecule.smiles for candidate in again.candidates]
    assert 0 < len(texts) == len(set(texts)) <= context.q
    assert not set(texts) & context.state.proposed
    assert all(parse_or_none(text).smiles == text and space.can_encode(text) for text in texts)
    assert found.decoded >= found.valid >= found.new >= len(texts)
    assert len(found.predictions) in (0, len(texts))
    assert all(candidate.move for candidate in found.candidates)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


@pytest.mark.parametrize("member", INITIALS.members, ids=INITIALS.kind_of)
def test_each_initial_design(member, space, tmp_path):
    (tmp_path / "start.smi").write_text("\n".join(["C1CC", *space.smiles[:20]]) + "\n")
    settings = {
        "given": {"smiles": space.smiles[:9]},
        "file": {"path": str(tmp_path / "start.smi")},
        "training": {"path": str(tmp_path / "start.smi"), "n": 9},
        "prior": {"n": 9},
    }
    start, _ = made(INITIALS, member, settings[INITIALS.kind_of(member)], "start")
    found = start(space, 6, 1, frozenset())
    assert found == start(space, 6, 1, frozenset())
    assert len(found) == len(set(found)) >= 6
    assert all(space.can_encode(text) and Molecule.parse(text).smiles == text for text in found)
    others = start(space, 3, 2, frozenset(found))
    assert not set(others) & set(found)


@pytest.mark.slow
@pytest.mark.parametrize("member", EXECUTORS.members, ids=EXECUTORS.kind_of)
def test_each_executor(member, space):
    executor, recipe = made(EXECUTORS, member, {}, "executor")
    texts = ["CCO", "c1ccccc1", "not a molecule"]
    proposals = [Proposal(k, 1, text, np.zeros(2, np.float32)) for k, text in enumerate(texts, 7)]
    with executor(recipe.objectives) as evaluate:
        outcomes = dict(evaluate(proposals))
        assert list(evaluate([])) == []
    assert outcomes.keys() == {7, 8, 9}
    assert outcomes[7].values == (recipe.objectives[0].evaluate(Molecule.parse("CCO")),)
    assert isinstance(outcomes[9], Failed)
    assert all(outcome.seconds >= 0 for outcome in outcomes.values())
