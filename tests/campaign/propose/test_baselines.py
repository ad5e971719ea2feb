"""What every baseline promises, on spaces without a model; then what each promises alone."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cmaes import CMA
from rdkit.Chem import Crippen

from molvae.campaign.propose.baselines import GeneticAlgorithm, GradientAscent, LatentCMAES, RandomScreening
from molvae.campaign.recipe import CampaignRecipe
from molvae.campaign.record.state import Failed, Observed, Proposal, Record, State
from molvae.campaign.space import LatentSpace
from molvae.chem.molecule import Molecule, parse_or_none
from molvae.config import parse_recipe
from molvae.errors import DataError, RecipeError

UP = {"first": 1.0}
METHODS = {
    "random": RandomScreening(),
    "genetic": GeneticAlgorithm(),
    "cmaes": LatentCMAES(),
    "gradient": GradientAscent(weights=UP, paths=6),
}


class LinearNet:
    """Heads without weights: the first is z₀, the second z₀ − 2 z₁."""

    def predict(self, z):
        return torch.stack([z[:, 0], z[:, 0] - 2 * z[:, 1]], 1)


class ToyModel:
    """As much of a SmilesVAE as a campaign needs, over a toy space."""

    properties = ("first", "second")
    device = torch.device("cpu")
    fingerprint, known, net = "toy", None, LinearNet()

    def __init__(self, space) -> None:
        self.latent, self.reads, self.sample = space.latent, space.can_encode, space.sample
        self.space = space

    def encode_texts(self, texts):
        return SimpleNamespace(mean=torch.from_numpy(self.space.encode(texts)))

    def decode(self, z, grammar=True):
        return self.space.decode(z.numpy())

    def predict(self, z):
        return self.net.predict(z)


@pytest.fixture(scope="module")
def wide(toy, space):
    """As the toy space, but it encodes all short molecules."""

    class Wide:
        table = np.array([toy.descriptors(smiles) for smiles in space.smiles[::10]])
        latent, smiles, sample, decode = space.latent, space.smiles, space.sample, space.decode

        def can_encode(self, smiles):
            return len(smiles) <= 30

        def encode(self, smiles):
            found = np.array([toy.descriptors(text) for text in smiles]) - self.table.mean(0)
            return (found / self.table.std(0)).astype(np.float32)

    return Wide()


@pytest.fixture(scope="module")
def spaces(space, wide):
    modelled = LatentSpace(ToyModel(space))
    return {"random": space, "genetic": wide, "cmaes": space, "gradient": modelled}


def tell(space, state, smiles, values=None, failed=False):
    """The state after one more round, with values all 0 where none are given."""
    rows = [(0.0,)] * len(smiles) if values is None else [tuple(np.atleast_1d(value).tolist()) for value in values]
    number = state.round + 1 if state.records else 0
    first = len(state.records) + 1
    return State(
        state.records
        + tuple(
            Record(Proposal(first + k, number, text, z), Failed("no value", 0.0) if failed else Observed(rows[k], 0.0))
            for k, (text, z) in enumerate(zip(smiles, space.encode(smiles), strict=True))
        )
    )


def play(method, space, objective, start, rounds, seed, q=6):
    """The state after so many rounds of a campaign."""
    state = tell(space, State(), start, [objective(text) for text in start])
    for _ in range(rounds):
        found = propose(method, space, state, state.values, q, seed=1000 * seed + state.round)
        texts = [candidate.molecule.smiles for candidate in found.candidates]
        state = tell(space, state, texts, [objective(text) for text in texts])
    return state


def like(space, smiles):
    """A smooth objective: nearness to a molecule's descriptors."""
    target = space.encode([smiles])[0]
    return lambda text: -float(np.square(space.encode([text])[0] - target).sum())


def propose(method, space, state, Y, q, seed):
    """A round by these merits, whatever the objectives, with this draw of the campaign's generator."""
    rng = SimpleNamespace(integers=lambda _: seed)
    return method(SimpleNamespace(space=space, state=state, merits=Y, q=q, rng=lambda: rng))


def ten_best(state):
    return np.sort(state.values[:, 0])[-10:].mean()


@pytest.fixture(scope="module")
def begun(space):
    """A start set and one round, of which one molecule failed."""
    state = tell(space, State(), space.smiles[:40:2], np.arange(20.0))
    state = tell(space, state, space.smiles[1:20:2], np.arange(10.0))
    return tell(space, state, space.smiles[41:42], failed=True)


# --- all of them --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", METHODS)
def test_a_round_has_new_valid_different_molecules_that_the_model_can_encode(kind, spaces, begun):
    space = spaces[kind]
    found = propose(METHODS[kind], space, begun, begun.values, 7, seed=1)
    smiles = [candidate.molecule.smiles for candidate in found.candidates]
    assert len(smiles) == len(set(smiles)) == 7
    assert not set(smiles) & begun.proposed
    assert all(space.can_encode(text) and parse_or_none(text).smiles == text for text in smiles)
    assert {candidate.parent for candidate in found.candidates} <= begun.proposed | {None}
    assert found.decoded >= found.valid >= 7


@pytest.mark.parametrize("kind", METHODS)
def test_a_round_is_a_pure_function_of_its_arguments(kind, spaces, begun):
    method, space = METHODS[kind], spaces[kind]
    first = propose(method, space, begun, begun.values, 5, seed=1)
    np.random.seed(3)
    before = np.random.get_state()[1].tolist()
    torch.manual_seed(5)
    other = propose(method, space, begun, begun.values, 5, seed=2)
    again = propose(type(method).model_validate_json(method.model_dump_json()), space, begun, begun.values, 5, seed=1)
    assert first == again != other
    assert np.random.get_state()[1].tolist() == before


@pytest.mark.parametrize("kind", METHODS)
def test_where_nothing_is_new_there_is_nothing_to_propose(kind, spaces, space):
    every = tell(space, State(), space.smiles)
    closed = SimpleNamespace(can_encode=lambda smiles: False)
    found = propose(METHODS[kind], closed if kind == "genetic" else spaces[kind], every, every.values, 3, seed=1)
    assert found.candidates == ()
    assert found.valid


@pytest.mark.parametrize("kind", ["random", "genetic", "gradient"])
def test_several_objectives_are_ranked_by_fronts(kind, spaces, begun):
    Y = np.column_stack([begun.values, -begun.values])
    assert len(propose(METHODS[kind], spaces[kind], begun, Y, 4, seed=1).candidates) == 4


@pytest.mark.parametrize("kind", METHODS)
def test_a_recipe_names_each_by_its_kind(kind):
    objectives = [{"score": {"kind": "logp"}}]
    asked = {"kind": kind, "weights": UP} if kind == "gradient" else {"kind": kind}
    assert type(parse_recipe({"objectives": objectives, "method": asked}, CampaignRecipe).method) is type(METHODS[kind])
    with pytest.raises(RecipeError, match="temperature: unknown key"):
        parse_recipe({"objectives": objectives, "method": asked | {"temperature": 1.0}}, CampaignRecipe)


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("part", ["search", "surrogate", "acquisition", "restarts", "retrain", "ood_sd_factor"])
@pytest.mark.parametrize("old", [False, True])
def test_settings_that_a_method_never_reads_are_refused_with_the_one_that_has_them(kind, part, old):
    asked = {"kind": kind, "weights": UP} if kind == "gradient" else {"kind": kind}
    value = {"surrogate": {"kind": "latent"}, "ood_sd_factor": 0.5, "acquisition": {"kind": "ucb"}}.get(part, {"q": 1})
    table = {"objectives": [{"score": {"kind": "logp"}}], "method": asked}
    if not old:
        asked[part] = value
    elif part == "ood_sd_factor":
        asked["strangers"] = value
    else:
        table[{"retrain": "learning"}.get(part, part)] = value
    said = rf"{part}: unknown key: the kind '{kind}' does not read it, but 'bayes'"
    with pytest.raises(RecipeError, match=said):
        parse_recipe(table, CampaignRecipe)


@pytest.mark.parametrize("kind", ["genetic", "cmaes"])
def test_what_learns_beats_chance(kind, spaces):
    space = spaces[kind]
    learnt, chance = [], []
    for seed in range(3):
        start = [space.smiles[k] for k in np.random.default_rng(seed).permutation(len(space.smiles))[:12]]
        objective = like(space, "CS(N)(=O)=O" if kind == "genetic" else space.smiles[7])
        learnt.append(ten_best(play(METHODS[kind], space, objective, start, 6, seed)))
        chance.append(ten_best(play(RandomScreening(), space, objective, start, 6, seed)))
    assert np.all(np.array(learnt) > np.array(chance))


# --- random screening ---------------------------------------------------------------------------------


def test_screening_does_not_look_at_the_values(space, begun):
    method = RandomScreening()
    assert propose(method, space, begun, begun.values, 5, seed=1) == propose(
        method, space, begun, -begun.values, 5, seed=1
    )


def test_a_table_is_screened_in_an_order_by_seed_until_it_is_used_up(space, begun, tmp_path):
    path = tmp_path / "library.smi"
    unseen = space.smiles[100:110]
    path.write_text("\n".join(["C1CC", "CCO", *space.smiles[:3], *unseen, *unseen]) + "\n")
    method = RandomScreening(path=str(path))
    few, other = (propose(method, space, begun, begun.values, 4, seed).candidates for seed in (1, 2))
    assert [c.molecule for c in few] != [c.molecule for c in other]
    assert {c.molecule.smiles for c in (*few, *other)} <= set(unseen)
    assert {(c.parent, c.move) for c in few} == {(None, "file")}
    found = propose(method, space, begun, begun.values, 30, seed=1)
    assert {c.molecule.smiles for c in found.candidates} == set(unseen)
    assert (found.decoded, found.valid) == (25, 24)


def test_a_table_that_is_not_there_is_an_error(space, begun):
    with pytest.raises(DataError, match=r"nowhere\.smi"):
        propose(RandomScreening(path="nowhere.smi"), space, begun, begun.values, 4, seed=1)


# --- genetic algorithm --------------------------------------------------------------------------------


def test_parents_are_of_the_population_and_the_best_of_it_more_often(wide, begun):
    order = [begun.observed[k].proposal.smiles for k in np.argsort(-begun.values[:, 0], kind="stable")]
    few, many = (
        [
            candidate.parent
            for candidate in propose(GeneticAlgorithm(population=n), wide, begun, begun.values, 40, 1).candidates
        ]
        for n in (4, 20)
    )
    assert set(few) == set(order[:4])
    assert set(many) <= set(order[:20])
    assert sum(parent in order[:5] for parent in many) > 15


@pytest.mark.parametrize(("rate", "moves"), [(0.0, {"crossing"}), (0.5, {"crossing", "mutation"}), (1.0, {"mutation"})])
def test_mutations_come_as_often_as_asked(rate, moves, wide, begun):
    found = propose(GeneticAlgorithm(mutation=rate), wide, begun, begun.values, 40, seed=1)
    assert {candidate.move for candidate in found.candidates} == moves


def test_a_single_molecule_has_children_by_mutation(wide):
    alone = tell(wide, State(), ["CO"])
    assert len(propose(GeneticAlgorithm(), wide, alone, alone.values, 3, seed=1).candidates) == 3


# --- CMA-ES -------------------------------------------------------------------------------------------


def test_replayed_from_the_records_it_is_as_if_it_had_never_stopped(space):
    objective, method, q = like(space, space.smiles[7]), LatentCMAES(), 5
    state = tell(space, State(), space.smiles[100:112], [objective(text) for text in space.smiles[100:112]])
    best = int(state.values.argmax())
    alive = CMA(space.encode(space.smiles[100:112])[best].astype(np.float64), method.sigma)
    waiting = []
    for seed in range(12):
        alive.reseed_rng(int(np.random.default_rng(seed).integers(2**31)))
        z = np.stack([alive.ask() for _ in range(2 * q)]).astype(np.float32)
        expected = [
            text for text in dict.fromkeys(space.decode(z)) if parse_or_none(text) and text not in state.proposed
        ]
        found = propose(method, space, state, state.values, q, seed)
        smiles = [candidate.molecule.smiles for candidate in found.candidates]
        assert smiles[: len(expected)] == expected[:q]
        values = [objective(text) for text in smiles]
        state = tell(space, state, smiles, values)
        waiting += [(z.astype(float), -value) for z, value in zip(space.encode(smiles), values, strict=True)]
        while len(waiting) >= alive.population_size:
            alive.tell(waiting[: alive.population_size])
            waiting = waiting[alive.population_size :]
    assert alive.generation == 6


def test_generations_do_not_depend_on_rounds(space, begun):
    """The same molecules in other rounds, and with a failure between them, are the same history."""
    start, later = space.smiles[:20], space.smiles[20:60]
    values = np.arange(40.0)
    one = tell(space, tell(space, State(), start), later, values)
    many = tell(space, State(), start)
    for k in range(0, 40, 8):
        many = tell(space, many, later[k : k + 8], values[k : k + 8])
        many = tell(space, many, space.smiles[70 + k : 71 + k], failed=True)
    one = tell(space, one, [r.proposal.smiles for r in many.failed], failed=True)
    assert propose(LatentCMAES(), space, one, one.values, 6, seed=1) == propose(
        LatentCMAES(), space, many, many.values, 6, seed=1
    )


def test_it_begins_at_the_best_start_molecule(wide):
    start = ["CCO", "c1ccccc1CCN", "CCCCCC"]
    asked = []
    space = SimpleNamespace(encode=wide.encode, decode=lambda z: asked.extend(z) or ["C1CC("] * len(z))
    state = tell(space, State(), start, [0.0, 2.0, 1.0])
    propose(LatentCMAES(sigma=1e-6), space, state, state.values, 3, seed=1)
    np.testing.assert_allclose(np.stack(asked), np.tile(space.encode(start[1:2]), (120, 1)), atol=1e-2)


def test_without_anything_new_it_looks_further_away(space):
    state = tell(space, State(), space.smiles[:1])
    assert len(propose(LatentCMAES(sigma=0.02), space, state, state.values, 4, seed=1).candidates) == 4


def test_several_objectives_are_too_many_for_cma_es(space, begun):
    with pytest.raises(RecipeError, match="one objective, and there are 2; take another method, such as genetic"):
        propose(LatentCMAES(), space, begun, np.hstack([begun.values] * 2), 4, seed=1)


# --- gradient ascent ----------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [{"first": 1.0}, {"first": -1.0}, {"first": 1.0, "second": 3.0}])
def test_what_is_proposed_is_better_by_prediction_than_where_it_began(weights, spaces, space, begun):
    def ascended(smiles):
        values = LinearNet().predict(torch.from_numpy(space.encode(smiles))).numpy()
        return values @ [weights.get("first", 0.0), weights.get("second", 0.0)]

    found = propose(GradientAscent(weights=weights), spaces["gradient"], begun, begun.values, 5, seed=1)
    reached = ascended([candidate.molecule.smiles for candidate in found.candidates])
    assert reached.tolist() == sorted(reached, reverse=True)
    assert np.all(reached > ascended([candidate.parent for candidate in found.candidates]))


def test_paths_begin_at_the_best(spaces, begun):
    found = propose(GradientAscent(weights=UP, paths=2), spaces["gradient"], begun, begun.values, 50, seed=1)
    best = [begun.observed[k].proposal.smiles for k in np.argsort(-begun.values[:, 0], kind="stable")[:2]]
    assert {candidate.parent for candidate in found.candidates} == set(best)


def test_a_step_has_the_length_asked_for(spaces):
    model = ToyModel(spaces["random"])
    path = GradientAscent(weights=UP, steps=3, length=0.25)._path(model, [0.0, 2.0], np.zeros((2, 6), np.float32))
    up = np.array([1, -2, 0, 0, 0, 0]) / np.sqrt(5)
    np.testing.assert_allclose(path, [[k * 0.25 * up] * 2 for k in (1, 2, 3)], atol=1e-6)


def test_the_weights_must_be_of_properties_that_the_model_predicts(spaces, space, begun):
    for weights, came in ((None, "no weights"), ({"QED": 1.0}, "a property 'QED'")):
        with pytest.raises(RecipeError, match=f"one or more of first, second, .* it got {came}"):
            propose(GradientAscent(weights=weights), spaces["gradient"], begun, begun.values, 4, seed=1)
    bare = ToyModel(space)
    bare.properties = ()
    for without in (space, LatentSpace(bare)):
        with pytest.raises(RecipeError, match="this one has none; train one"):
            propose(GradientAscent(weights=UP), without, begun, begun.values, 4, seed=1)


def test_the_model_that_ships_has_heads_to_climb():
    shipped = LatentSpace.load("zinc250k")
    state = tell(shipped, State(), ["CC(=O)Nc1ccc(O)cc1", "O=C(NCCN1CCOCC1)c1ccc(Cl)cc1"])
    found = propose(GradientAscent(weights={"logP": 1.0}, paths=4), shipped, state, state.values, 5, seed=1)
    assert len(found.candidates) == 5
    assert min(Crippen.MolLogP(candidate.molecule.mol) for candidate in found.candidates) > 2.5
    assert max(Crippen.MolLogP(Molecule.parse(smiles).mol) for smiles in state.proposed) < 1.5
