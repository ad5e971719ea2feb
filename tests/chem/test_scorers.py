import math
import multiprocessing
import pickle
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from rdkit import Chem, RDConfig
from rdkit.Chem import Crippen, Descriptors
from rdkit.Chem.QED import qed as rdkit_qed

from molvae.chem import scorers
from molvae.chem.combine import SCORERS, Desirability, GeometricMean, Product, WeightedSum
from molvae.chem.molecule import Molecule
from molvae.chem.objectives import Objective, named
from molvae.chem.scorers import (
    QED,
    QEDSAS,
    SAS,
    BaseScorer,
    Descriptor,
    External,
    LogP,
    PenalizedLogP,
    Similarity,
)
from molvae.config import as_table, parse_recipe
from molvae.errors import ObjectiveError

finite = st.floats(-1e6, 1e6)

# What each kind needs beside its name; every other kind needs nothing.
SETTINGS = {
    "descriptor": {"name": "TPSA"},
    "similarity": {"to": ["CC(=O)Nc1ccc(O)cc1"]},
    "guacamol": {"name": "zaleplon_mpo"},
    "weighted_sum": {"of": [{"kind": "qed"}, {"kind": "sas"}], "weights": [5, -1]},
    "product": {"of": [{"kind": "qed"}, {"kind": "logp"}]},
    "geometric_mean": {"of": [{"kind": "qed"}, {"kind": "sas"}]},
    "desirability": {"of": {"kind": "logp"}, "points": [[0, 0], [2, 1]]},
    "callable": {"call": "builtins:len"},
}


def objective(score: dict, **rest) -> Objective:
    return parse_recipe({"score": score, **rest}, Objective)


# --- the contract of every scorer ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", SCORERS.kinds)
def test_contract(kind, aspirin):
    made = objective({"kind": kind, **SETTINGS.get(kind, {})})
    scorer = made.score
    model = type(scorer)
    assert model is SCORERS.kinds[kind]
    assert issubclass(model, BaseScorer)
    assert scorer.kind == kind
    assert model.unit
    assert model.natural in ("maximize", "minimize")
    assert model.meaning
    assert "\n" not in model.meaning
    assert model.__doc__ != BaseScorer.__doc__
    assert scorer.label
    assert made.direction == model.natural
    with pytest.raises(ValidationError, match="frozen"):
        scorer.kind = "other"
    assert math.isfinite(made.evaluate(aspirin))
    assert pickle.loads(pickle.dumps(made)) == made
    assert pickle.loads(pickle.dumps(made)).evaluate(aspirin) == made.evaluate(aspirin)
    assert parse_recipe(as_table(made), Objective) == made
    assert hash(made) == hash(pickle.loads(pickle.dumps(made)))


def test_the_registry_is_whole():
    defined = {model for model in BaseScorer.__subclasses__() if model.__module__.startswith("molvae.")}
    assert defined == set(SCORERS.members)
    assert len(SCORERS.kinds) == len(SCORERS.members)


# --- known molecules ----------------------------------------------------------------------------------


TABLE = {  # name: logP, QED, SAS, penalised logP, 5·QED − SAS, molecular weight, TPSA
    "aspirin": (1.3101, 0.5501, 1.5800, -0.2699, 1.1706, 180.159, 63.60),
    "caffeine": (-1.0293, 0.5385, 2.2980, -3.3273, 0.3943, 194.194, 61.82),
    "ibuprofen": (3.0732, 0.8216, 2.1918, 0.8814, 1.9162, 206.285, 37.30),
    "paracetamol": (1.3506, 0.5950, 1.4073, -0.0567, 1.5678, 151.165, 49.33),
    "cyclooctane": (3.1208, 0.4514, 1.0000, 0.1208, 1.2569, 112.216, 0.00),
}


@pytest.mark.parametrize("name", TABLE)
def test_known_values(name, known):
    words = ("logp", "qed", "sas", "penalized_logp", "qed_sas", "MolWt", "TPSA")
    found = [named(word).evaluate(known[name]) for word in words]
    assert found == pytest.approx(TABLE[name], abs=6e-5)


def test_agree_with_rdkit_called_directly(known):
    sys.path.append(f"{RDConfig.RDContribDir}/SA_Score")
    try:
        import sascorer
    finally:
        sys.path.pop()
    for molecule in known.values():
        mol = Chem.MolFromSmiles(molecule.smiles)
        assert LogP()(molecule) == Crippen.MolLogP(mol)
        assert QED()(molecule) == rdkit_qed(mol)
        assert SAS()(molecule) == sascorer.calculateScore(mol)
        assert Descriptor(name="BertzCT")(molecule) == Descriptors.BertzCT(mol)


def test_penalised_logp_of_an_eight_ring_by_hand(known):
    # Eight CH2 of Crippen type C1: logP = 8 · (0.1441 + 2 · 0.123) = 3.1208. SAS is at its floor, 1.
    # The ring is two atoms above six: 3.1208 − 1 − 2.
    ring = known["cyclooctane"]
    assert PenalizedLogP()(ring) == pytest.approx(0.1208, abs=1e-9)
    by_hand = (
        (3.1208 - 2.4570953396190123) / 1.434324401111988
        + (-1.0 + 3.0525811293166134) / 0.8335207024513095
        + (-2.0 + 0.0485696876403053) / 0.2860212110245455
    )
    assert PenalizedLogP(normalised=True)(ring) == pytest.approx(by_hand, abs=1e-9)
    assert by_hand == pytest.approx(-3.8974, abs=5e-5)


@pytest.mark.parametrize(
    ("smiles", "above_six"), [("CCCC", 0), ("C1CCCCC1", 0), ("C1CCCCCC1", 1), ("C1CCC2CCCCCC2C1", 1)]
)
def test_ring_penalty(smiles, above_six):
    molecule = Molecule.parse(smiles)
    penalty = LogP()(molecule) - SAS()(molecule) - PenalizedLogP()(molecule)
    assert penalty == pytest.approx(above_six, abs=1e-9)


def test_normalised_penalised_logp_of_zinc_like_molecules_is_near_zero():
    zinc = [
        "CC(C)(C)c1ccc2occ(CC(=O)Nc3ccccc3F)c2c1",
        "C[C@@H]1CC(Nc2cncc(-c3nncn3C)c2)C[C@@H](C)C1",
        "N#Cc1ccc(-c2ccc(O[C@@H](C(=O)N3CCCC3)c3ccccc3)cc2)cc1",
        "CCOC(=O)[C@@H]1CCCN(C(=O)c2nc(-c3ccc(C)cc3)n3c2CCCCC3)C1",
    ]
    values = [PenalizedLogP(normalised=True)(Molecule.parse(smiles)) for smiles in zinc]
    assert all(-5 < value < 4 for value in values)
    # The last has a ring of seven: (−1 + 0.04857) / 0.28602 = −3.3265 where the others have +0.1698.
    assert min(values) == values[3]


def test_missing_contrib_folder_is_a_clear_error(monkeypatch, tmp_path, aspirin):
    monkeypatch.setattr(scorers.RDConfig, "RDContribDir", str(tmp_path))
    scorers._sascorer.cache_clear()
    try:
        with pytest.raises(ObjectiveError, match=r"SAS needs RDKit's Contrib folder.*pip install rdkit"):
            SAS()(aspirin)
    finally:
        scorers._sascorer.cache_clear()


# --- similarity and descriptors -----------------------------------------------------------------------


def test_similarity(aspirin):
    assert Similarity(to=(aspirin.smiles,))(aspirin) == 1.0
    paracetamol = "CC(=O)Nc1ccc(O)cc1"
    one = objective({"kind": "similarity", "to": paracetamol})
    assert one.evaluate(aspirin) == pytest.approx(0.2222, abs=5e-5)
    counted = objective({"kind": "similarity", "to": paracetamol, "counts": True})
    assert counted.evaluate(aspirin) == pytest.approx(0.2745, abs=5e-5)
    several = objective({"kind": "similarity", "to": ["CCO", paracetamol, "c1ccccc1"]})
    assert several.evaluate(aspirin) == max(
        Similarity(to=(smiles,))(aspirin) for smiles in ("CCO", paracetamol, "c1ccccc1")
    )
    coarse = objective({"kind": "similarity", "to": paracetamol, "radius": 0, "bits": 64})
    assert coarse.evaluate(aspirin) > one.evaluate(aspirin)


def test_every_descriptor_has_a_name_and_units_where_known(aspirin):
    assert Objective(score=Descriptor(name="MolWt")).unit == "g/mol"
    assert Objective(score=Descriptor(name="TPSA")).unit == "Å²"
    assert Objective(score=Descriptor(name="RingCount")).unit == ""
    assert Objective(score=Descriptor(name="NumHDonors")).evaluate(aspirin) == 1.0
    for name, _ in Descriptors.descList:
        assert named(name).score == (QED() if name == "qed" else Descriptor(name=name))


# --- combinations -------------------------------------------------------------------------------------


def test_combinations_by_hand(aspirin):
    qed, sas, logp = QED()(aspirin), SAS()(aspirin), LogP()(aspirin)
    both = (QED(), SAS())
    assert WeightedSum(of=both, weights=(5, -1))(aspirin) == pytest.approx(QEDSAS()(aspirin), abs=1e-12)
    assert Product(of=(*both, LogP()))(aspirin) == pytest.approx(qed * sas * logp, abs=1e-12)
    assert GeometricMean(of=both)(aspirin) == pytest.approx(math.sqrt(qed * sas), abs=1e-12)
    nested = GeometricMean(of=(QED(), Desirability(of=LogP(), points=((0, 0), (2, 1)))))
    assert nested(aspirin) == pytest.approx(math.sqrt(qed * logp / 2), abs=1e-12)


def test_geometric_mean_of_zero_and_of_negative_values(known):
    zero = Desirability(of=LogP(), points=((0, 0), (1, 1)))
    assert GeometricMean(of=(QED(), zero))(known["caffeine"]) == 0.0
    with pytest.raises(ObjectiveError, match=r"from 0 up, and logP is -1\.029.*desirability"):
        GeometricMean(of=(QED(), LogP()))(known["caffeine"])


@given(st.lists(st.tuples(finite, finite), min_size=2, max_size=6, unique_by=lambda p: p[0]), finite)
def test_desirability_is_numpy_interp(points, value):
    points = sorted(points)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LogP, "__call__", lambda self, molecule: value)
        found = Desirability(of=LogP(), points=tuple(points))(Molecule.parse("C"))
    x, y = zip(*points, strict=True)
    assert found == np.clip(np.interp(value, x, y), min(y), max(y))
    assert min(y) <= found <= max(y)
    if value <= x[0]:
        assert found == y[0]
    if value >= x[-1]:
        assert found == y[-1]


# --- functions of one's own ---------------------------------------------------------------------------


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "own_docking.py").write_text(
        "count = 0\n"
        "LIMIT = 5\n"
        "def affinity(smiles):\n"
        "    assert type(smiles) is str\n"
        "    global count\n"
        "    count += 1\n"
        "    return -len(smiles)\n"
        "def angry(smiles):\n"
        "    raise RuntimeError('no pose for ' + smiles)\n"
    )
    (tmp_path / "own_broken.py").write_text("import not_installed_anywhere\n")
    (tmp_path / "own_script.py").write_text("def main(): return 0\n\nraise SystemExit(main())\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    yield tmp_path
    scorers._imported.cache_clear()
    sys.modules.pop("own_docking", None)


def test_callable_from_the_working_directory(own_module, aspirin):
    made = named("own_docking:affinity")
    made.prepare()
    assert made.evaluate(aspirin) == -21.0
    assert made.evaluate(Molecule.parse("OCC")) == -3.0
    assert sys.modules["own_docking"].count == 2
    assert made.label == "affinity"
    with pytest.raises(RuntimeError, match="no pose for CCO"):
        named("own_docking:angry").evaluate(Molecule.parse("CCO"))


def test_the_working_directory_is_last_on_the_path_and_only_if_need_be(own_module, aspirin):
    path = [*sys.path]
    (own_module / "statistics.py").write_text("raise AssertionError('not the real one')")
    with pytest.raises(ObjectiveError, match=r"module 'statistics' has no 'score'.* \(it is .*lib.*statistics.py\)"):
        named("statistics:score").prepare()
    with pytest.raises(ObjectiveError, match="needs the module 'nowhere'"):
        named("nowhere:score").prepare()
    with pytest.raises(ObjectiveError, match="No module named 'not_installed_anywhere'"):
        named("own_broken:score").prepare()
    assert sys.path == path
    for name in ("affinity", "angry"):
        named(f"own_docking:{name}").prepare()
        assert sys.path == [*path, str(own_module)]


def _evaluate_in(folder: str, pickled: bytes) -> float:
    import os

    os.chdir(folder)
    sys.path[:] = [entry for entry in sys.path if entry not in ("", folder)]
    made: Objective = pickle.loads(pickled)
    return made.evaluate(Molecule.parse("CCO"))


def test_callable_in_another_process(own_module):
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(_evaluate_in, (str(own_module), pickle.dumps(named("own_docking:affinity")))) == -3.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("nowhere_at_all.x:f", r"needs the module 'nowhere_at_all.x', which cannot be imported.*run from"),
        ("own_broken:f", r"No module named 'not_installed_anywhere'"),
        ("own_script:main", r"'own_script', which cannot be imported \(SystemExit: 0\)"),
        ("own_docking:afinity", r"'own_docking' has no 'afinity'; did you mean 'affinity'"),
        ("own_docking:LIMIT", r"is a int, not a function"),
    ],
)
def test_callable_that_cannot_be_loaded(own_module, call, message, aspirin):
    made = Objective(
        score=WeightedSum(of=(QED(), Desirability(of=External(call=call), points=((0, 0), (1, 1)))), weights=(1, 1))
    )
    with pytest.raises(ObjectiveError, match=message):
        made.prepare()
    with pytest.raises(ObjectiveError, match=message):
        made.evaluate(aspirin)
