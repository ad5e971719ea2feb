import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rdkit import Chem

from molvae.bo.pareto import ranking
from molvae.campaign.record.state import Failed, Observed, Proposal, State, fold
from molvae.campaign.report import table as export
from molvae.campaign.report.table import Column, Facts, columns, table
from molvae.config import recipe_hash
from molvae.data.training_index import KnownMolecules
from molvae.errors import DataError, UsageError

LOGP = {"score": {"kind": "logp"}}
WEIGHT_DOWN = {"score": {"kind": "descriptor", "name": "MolWt"}, "direction": "minimize"}
LOGP_NEAR_2 = {"score": {"kind": "logp"}, "name": "window", "direction": "target", "target": 2.0, "tolerance": 0.5}
THREE_WAYS = [{"score": {"kind": "qed"}}, WEIGHT_DOWN, LOGP_NEAR_2]
FACTS = Facts({0: "0123abcd", 1: "later"}, known=KnownMolecules.of(["c1ccccc1O"]))
Z = np.zeros(2, dtype=np.float32)

PHENOL, NITROPHENOL, CYCLOHEXANOL, ETHANOL = "Oc1ccccc1", "O=[N+]([O-])c1ccc(O)cc1", "OC1CCCCC1", "CCO"


def proposals(n_objectives: int) -> list[Proposal]:
    one = np.ones(n_objectives)
    mean, sd = tuple((-one * range(1, n_objectives + 1)).tolist()), tuple((one * 0.25).tolist())
    return [
        Proposal(1, 0, PHENOL, Z, None, "prior"),
        Proposal(2, 0, ETHANOL, Z, None, "prior"),
        Proposal(3, 1, NITROPHENOL, Z, PHENOL, "noise", mean, sd, -1.5),
        Proposal(4, 1, CYCLOHEXANOL, Z, PHENOL, "interpolation", mean, sd, -0.5),
        Proposal(5, 2, "CCCC", Z, ETHANOL, "noise", mean, sd, -0.1),
    ]


def campaign(*values: tuple[float, ...]) -> State:
    """Five molecules with these values; () for a failure, and none for those that are still pending."""
    outcomes = {call: Observed(v, 0.5) if v else Failed("no, thanks", 0.5) for call, v in enumerate(values, start=1)}
    return fold(proposals(max((len(v) for v in values), default=1)), outcomes)


@pytest.fixture
def three(recipe):
    """Three objectives: QED up, weight down, logP in a window. Call 2 failed, call 5 is pending."""
    state = campaign((0.5, 94.0, 1.4), (), (0.6, 139.0, 1.9), (0.4, 150.0, 0.0))
    return state, recipe(objectives=THREE_WAYS, seed=7)


def written(state, made, facts, path) -> pd.DataFrame:
    frame = table(state, made, facts)
    assert export.export(state, made, facts, path) == len(frame)
    return frame


def dominates(a, b) -> bool:
    return bool((a >= b).all() and (a > b).any())


def test_ranking_by_hand():
    Y = np.array([[0.0, 3.0], [1.0, 1.0], [2.0, 2.0], [3.0, 0.0], [0.0, 0.0], [2.0, 2.0]])
    front, rank = ranking(Y)
    assert front.tolist() == [1, 2, 1, 1, 3, 1]
    # rows at least matched, summed over both objectives: 2+6, 3+3, 5+5, 6+2, 2+2, 5+5
    assert rank.tolist() == [3, 5, 1, 4, 6, 2]
    # 2+3, 3+2, 2+1: equals count as matched, and what is equal in all keeps its order
    assert ranking(np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 0.0]]))[1].tolist() == [1, 2, 3]


@given(
    st.integers(1, 3).flatmap(
        lambda m: arrays(float, st.tuples(st.integers(0, 9), st.just(m)), elements=st.integers(0, 3).map(float))
    )
)
def test_ranking_is_what_its_definition_says(Y):
    front, rank = ranking(Y)
    assert sorted(rank.tolist()) == list(range(1, len(Y) + 1))
    left, number = set(range(len(Y))), 1
    while left:
        best = {i for i in left if not any(dominates(Y[j], Y[i]) for j in left)}
        assert {i for i in left if front[i] == number} == best
        left, number = left - best, number + 1
    for i in range(len(Y)):
        for j in range(len(Y)):
            if front[i] < front[j] or dominates(Y[i], Y[j]):
                assert rank[i] < rank[j]


@given(arrays(float, (6, 2), elements=st.integers(-9, 9).map(float)), st.integers(-8, 8))
def test_ranking_does_not_depend_on_units(Y, k):
    assert ranking(Y * [2.0**k, 1.0])[1].tolist() == ranking(Y)[1].tolist()


def test_a_table_with_a_constraint_says_who_holds_it(recipe):
    """MolWt up, logP at most 1.35; logP is predicted as what is within the bound: 2 less, or 2 more, and 1.35 back."""
    weight = {"score": {"kind": "descriptor", "name": "MolWt"}, "direction": "maximize"}
    made = recipe(objectives=[weight, {**LOGP, "direction": "at most", "bound": 1.35}])
    state = campaign((94, 1.4), (46, -0.1), (139, 1.3), (100, 1.45), (58, 1.35))
    frame = table(state, made, FACTS)
    assert frame["SMILES"].tolist() == [NITROPHENOL, "CCCC", ETHANOL, PHENOL, CYCLOHEXANOL]
    assert frame["feasible"].tolist() == [True, True, True, False, False]
    assert frame["front"].tolist() == [1, 2, 3, 4, 5]
    assert list(frame.columns[2:7]) == ["rank", "front", "feasible", "MolWt", "logP"]
    assert frame["logP_predicted"].fillna(9).tolist() == [1.35 + 2, 1.35 + 2, 9, 9, 1.35 + 2]  # mean of −2
    told = columns(made, FACTS)
    assert "whether all constraints hold" in told["feasible"].meaning
    assert (told["logP"].direction, told["MolWt"].direction) == ("at most 1.35", "maximize")
    assert list(told) == list(frame.columns)
    assert "feasible" not in columns(recipe(), FACTS)
    assert len(table(State(), made, FACTS)) == 0


def test_single_objective_table(recipe):
    made = recipe(objectives=[LOGP], seed=3)
    frame = table(campaign((1.4,), (-0.1,), (1.3,), (1.4,), (0.2,)), made, FACTS)
    assert list(frame.columns) == [
        *(
            "SMILES",
            "InChIKey",
            "rank",
            "front",
            "logP",
            "round",
            "call",
            "parent",
            "move",
            "logP_predicted",
            "logP_sd",
        ),
        *("acquisition", "nearest_similarity", "in_training", "scaffold", "alerts", "model", "recipe", "seed"),
    ]
    assert frame["SMILES"].tolist() == [PHENOL, CYCLOHEXANOL, NITROPHENOL, "CCCC", ETHANOL]
    assert frame["rank"].tolist() == [1, 2, 3, 4, 5]
    assert frame["front"].tolist() == [1, 1, 2, 3, 4]
    assert frame["logP"].tolist() == [1.4, 1.4, 1.3, 0.2, -0.1]
    assert frame["call"].tolist() == [1, 4, 3, 5, 2]
    assert frame["round"].tolist() == [0, 1, 1, 2, 0]
    assert frame["move"].tolist() == ["prior", "interpolation", "noise", "noise", "prior"]
    assert frame["parent"].fillna("-").tolist() == ["-", PHENOL, PHENOL, ETHANOL, "-"]
    assert frame["acquisition"].fillna(9).tolist() == [9, -0.5, -1.5, -0.1, 9]
    assert frame["InChIKey"][0] == "ISWSIDIOOBJBQZ-UHFFFAOYSA-N"
    assert frame["scaffold"].tolist() == ["c1ccccc1", "C1CCCCC1", "c1ccccc1", "", ""]
    assert "BRENK: nitro_group" in frame["alerts"][2].split("; ")
    assert frame["alerts"][4] == ""
    assert frame["model"].tolist() == ["toy@0123abcd", "toy@later", "toy@later", "toy@unknown", "toy@0123abcd"]
    assert set(frame["recipe"]) == {recipe_hash(made)}
    assert set(frame["seed"]) == {3}


def test_predictions_are_raw_where_the_direction_allows(three):
    frame = table(*three, FACTS).set_index("call")
    assert frame.loc[3, ["QED_predicted", "QED_sd"]].tolist() == [-1.0, 0.25]
    assert frame.loc[3, ["MolWt_predicted", "MolWt_sd"]].tolist() == [2.0, 0.25]  # the surrogate models -weight
    assert frame.loc[3, ["window_utility_predicted", "window_utility_sd"]].tolist() == [-3.0, 0.25]
    assert frame.loc[1].filter(regex="_(predicted|sd)$").isna().all()


def test_pareto_ranks_use_utilities_and_leave_out_what_has_no_values(three):
    frame = table(*three, FACTS).set_index("call")
    # utilities: call 1 (0.5, -94, -0.1), call 3 (0.6, -139, 0), call 4 (0.4, -150, -1.5), which both others dominate
    assert frame["front"].to_dict() == {3: 1, 1: 1, 4: 2}
    assert frame["rank"].to_dict() == {3: 1, 1: 2, 4: 3}  # 3 + 2 + 3 against 2 + 3 + 2
    assert frame["MolWt"].to_dict() == {3: 139.0, 1: 94.0, 4: 150.0}


def test_the_dictionary_explains_each_column_in_order(three):
    state, made = three
    explained = columns(made, FACTS)
    assert list(explained) == list(table(state, made, FACTS).columns)
    assert all(len(column.meaning) > 10 for column in explained.values())
    assert explained["MolWt"].unit == "g/mol"
    assert [explained[label].direction for label in ("QED", "MolWt", "window")] == [
        "maximize",
        "minimize",
        "target 2 ± 0.5",
    ]
    assert explained["MolWt_predicted"].direction == "minimize"
    assert explained["window_utility_predicted"].direction == "maximize"
    assert "-max(0, |value - target| - tolerance)" in explained["window_utility_predicted"].meaning
    assert explained["call"] == Column("place in the campaign's order of evaluations, from 1")


def test_similarity_to_the_start_set_or_to_the_reference(recipe, caplog):
    made, state = recipe(), campaign((1.0,), (), (3.0,), (4.0,))
    own = table(state, made, FACTS).set_index("call")["nearest_similarity"]
    assert own[1] == 1.0
    assert 0 < own[3] < 1
    assert "start molecules" in columns(made, FACTS)["nearest_similarity"].meaning

    facts = Facts(reference=("C1CCCCC1O", "not a molecule"))
    given_one = table(state, made, facts).set_index("call")["nearest_similarity"]
    assert given_one[4] == 1.0
    assert given_one[1] < 1.0
    assert "1 of 2 reference molecules are skipped" in caplog.text
    assert "reference molecules" in columns(made, facts)["nearest_similarity"].meaning


def test_a_large_reference_is_read_in_portions(recipe, monkeypatch):
    state, texts = campaign((1.0,), (2.0,), (3.0,)), ["CCC", PHENOL, "CCN", "c1ccncc1", "CCOC"]
    whole = table(state, recipe(), Facts(reference=texts))
    monkeypatch.setattr(export, "REFERENCES_AT_ONCE", 2)
    pd.testing.assert_frame_equal(table(state, recipe(), Facts(reference=texts)), whole)


def test_a_reference_without_molecules_is_an_error(recipe):
    with pytest.raises(DataError, match="none of the 2 reference molecules"):
        table(campaign((1.0,)), recipe(), Facts(reference=("?", "C1CC")))


def test_in_training_is_empty_where_nothing_was_recorded(recipe):
    state = campaign((1.0,), (2.0,))
    told = table(state, recipe(), Facts(known=KnownMolecules.of([PHENOL]))).set_index("SMILES")["in_training"]
    assert told.to_dict() == {PHENOL: True, ETHANOL: False}
    assert told.dtype == "boolean"
    assert table(state, recipe(), Facts())["in_training"].isna().all()


def test_labels_that_clash_with_other_columns_are_told_apart(recipe):
    names = ["QED_sd", "QED", "rank"]
    made = recipe(objectives=[{"score": {"kind": "logp"}, "name": name} for name in names])
    frame = table(campaign((1.0, 2.0, 3.0)), made, FACTS)
    assert frame[["QED_sd", "QED (objective)", "rank (objective)"]].iloc[0].tolist() == [1.0, 2.0, 3.0]
    assert len(set(frame.columns)) == len(frame.columns) == 15 + 9 + 1


@pytest.mark.parametrize("values", [(), ((), ())])
def test_a_campaign_without_observations_gives_an_empty_table(recipe, tmp_path, values):
    made = recipe(objectives=THREE_WAYS)
    frame = written(campaign(*values), made, FACTS, tmp_path / "none.csv")
    assert (len(frame), list(frame.columns)) == (0, list(columns(made, FACTS)))
    assert (tmp_path / "none.csv").read_text() == ",".join(frame.columns) + "\n"
    full = table(campaign((0.5, 94.0, 1.4)), made, FACTS)
    assert frame.dtypes.to_dict() == full.dtypes.to_dict()


def test_failed_molecules_have_their_own_table_with_the_reason(three, tmp_path):
    frame = written(*three, FACTS, tmp_path / "found.csv")
    assert ETHANOL not in set(frame["SMILES"])
    failed = pd.read_csv(tmp_path / "found.failed.csv")
    assert failed.iloc[0, :4].tolist() == [ETHANOL, "no, thanks", 0, 2]
    assert list(failed.columns) == ["SMILES", "reason", "round", "call", "parent", "move", "seconds"]
    export.export(campaign((0.5, 94.0, 1.4)), three[1], FACTS, tmp_path / "found.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["columns.json", "found.csv"]


def test_csv_round_trip_and_the_dictionary_beside_it(three, tmp_path):
    frame = written(*three, FACTS, tmp_path / "found.csv")
    back = pd.read_csv(tmp_path / "found.csv", keep_default_na=False, na_values={"acquisition": [""]})
    assert list(back.columns) == list(frame.columns)
    assert back["SMILES"].tolist() == frame["SMILES"].tolist()
    assert back["window"].tolist() == frame["window"].tolist()
    assert back["acquisition"].fillna(9).tolist() == frame["acquisition"].fillna(9).tolist()
    assert back["parent"].tolist() == frame["parent"].fillna("").tolist()
    assert back["in_training"].tolist() == [False, False, False]

    explained = json.loads((tmp_path / "columns.json").read_text(encoding="utf-8"))
    assert list(explained) == list(back.columns)
    assert explained["window"]["direction"] == "target 2 ± 0.5"
    assert set(explained["seed"]) == {"meaning", "unit", "direction"}


def test_parquet_keeps_every_value_and_type(three, tmp_path):
    frame = written(*three, Facts(), tmp_path / "found.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "found.parquet"), frame)


def test_xlsx_round_trip(three, tmp_path):
    frame = written(*three, Facts(), tmp_path / "found.xlsx")
    back = pd.read_excel(tmp_path / "found.xlsx")
    assert list(back.columns) == list(frame.columns)
    assert back["SMILES"].tolist() == frame["SMILES"].tolist()
    assert back["MolWt_predicted"].fillna(9).tolist() == frame["MolWt_predicted"].fillna(9).tolist()
    assert back["in_training"].isna().all()


def test_sdf_carries_the_properties_and_a_drawing(three, tmp_path):
    frame = written(*three, FACTS, tmp_path / "found.sdf")
    molecules = list(Chem.SDMolSupplier(str(tmp_path / "found.sdf")))
    assert [Chem.MolToSmiles(mol) for mol in molecules] == frame["SMILES"].tolist()
    for mol, (_, row) in zip(molecules, frame.iterrows(), strict=True):
        assert mol.GetNumConformers() == 1
        assert not mol.GetConformer().Is3D()
        assert np.ptp(mol.GetConformer().GetPositions()[:, :2], axis=0).min() > 0.5
        assert float(mol.GetProp("QED")) == row["QED"]
        assert int(mol.GetProp("rank")) == row["rank"]
        filled = [name for name, value in row.items() if name != "SMILES" and not pd.isna(value) and value != ""]
        assert sorted(mol.GetPropNames()) == sorted(filled)


def test_smi_has_the_best_first(three, tmp_path):
    export.export(*three, FACTS, tmp_path / "found.smi")
    assert (tmp_path / "found.smi").read_text() == f"{NITROPHENOL}\t1\n{PHENOL}\t2\n{CYCLOHEXANOL}\t3\n"


def test_an_unknown_ending_writes_nothing(three, tmp_path):
    with pytest.raises(UsageError, match="docx"):
        export.export(*three, FACTS, tmp_path / "found.docx")
    assert list(tmp_path.iterdir()) == []
