"""Objectives over a table."""

import math

import pandas as pd
import pytest

from molvae.chem.molecule import Molecule
from molvae.chem.objectives import named
from molvae.chem.scoring import score_table
from molvae.errors import ObjectiveError, UsageError

TABLE = pd.DataFrame({"SMILES": ["CCO", "C1CC", "", "c1ccccc1"], "n": [3, 1, 4, 1]}, index=[10, 11, 12, 13])

FUSSY = """
def score(smiles):
    if "O" in smiles:
        raise ValueError("no oxygen")
    return 1
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write an importable module; gives its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, code: str) -> str:
        (tmp_path / f"{name}.py").write_text(code)
        return name

    return write


def test_a_row_with_a_fault_is_not_scored():
    scored = score_table(TABLE, [named("MolWt")], faults={0: "line 2: 3 cells for 2 columns"})
    assert scored["MolWt"].isna().tolist() == [True, True, True, False]
    assert scored["failure"].tolist()[0] == "line 2: 3 cells for 2 columns"


def test_a_column_an_objective_and_the_reason_where_there_is_no_value():
    scored = score_table(TABLE, [named("logp"), named("MolWt")])
    assert list(scored.columns) == ["SMILES", "n", "logP", "MolWt", "failure"]
    assert list(scored.index) == list(TABLE.index)
    pd.testing.assert_frame_equal(scored[["SMILES", "n"]], TABLE)
    for k in (10, 13):
        molecule = Molecule.parse(TABLE.at[k, "SMILES"])
        assert scored.at[k, "logP"] == named("logp").evaluate(molecule)
        assert scored.at[k, "MolWt"] == pytest.approx({10: 46.069, 13: 78.114}[k])
        assert scored.at[k, "failure"] == ""
    assert scored.loc[[11, 12], ["logP", "MolWt"]].isna().all(axis=None)
    assert "unclosed ring" in scored.at[11, "failure"]
    assert "an empty text" in scored.at[12, "failure"]
    assert "\n" not in "".join(scored["failure"])


def test_the_table_itself_stays_as_it_is():
    before = TABLE.copy(deep=True)
    score_table(TABLE, [named("qed")])
    pd.testing.assert_frame_equal(TABLE, before)


def test_an_empty_table_gets_its_columns():
    scored = score_table(TABLE.iloc[:0], [named("qed")])
    assert list(scored.columns) == ["SMILES", "n", "QED", "failure"]
    assert str(scored["QED"].dtype) == "float64"


def test_one_objective_may_fail_where_another_has_a_value(module):
    name = module("fussy_scoring", FUSSY)
    scored = score_table(TABLE.loc[[10, 13]], [named("qed"), named(f"{name}:score")])
    assert scored["QED"].notna().all()
    assert math.isnan(scored.iloc[0, 3])
    assert scored.iloc[1, 3] == 1.0
    assert scored["failure"].tolist() == [f"{scored.columns[3]}: ValueError: no oxygen", ""]


@pytest.mark.parametrize("value", ["float('nan')", "float('inf')", "'much'", "None"])
def test_what_is_no_finite_number_is_a_failure(module, value):
    name = module("odd_" + "".join(filter(str.isalpha, value)), f"def score(smiles):\n    return {value}\n")
    scored = score_table(TABLE.loc[[10]], [named(f"{name}:score")])
    assert math.isnan(scored.iloc[0, 2])
    assert "ObjectiveError" in scored.at[10, "failure"]


def test_columns_do_not_collide():
    with pytest.raises(UsageError, match="already has a column 'QED'"):
        score_table(TABLE.assign(QED=1.0), [named("qed")])
    with pytest.raises(UsageError, match="already has a column 'failure'"):
        score_table(TABLE.assign(failure=""), [named("qed")])
    with pytest.raises(UsageError, match="'logP' is asked for twice"):
        score_table(TABLE, [named("logp"), named("qed"), named("logp")])


def test_a_missing_module_is_known_before_the_first_molecule():
    with pytest.raises(ObjectiveError, match="no_such_module_here"):
        score_table(TABLE, [named("no_such_module_here:score")])


def test_progress_ends_with_all():
    seen = []
    table = pd.concat([TABLE] * 60, ignore_index=True)
    score_table(table, [named("logp")], lambda done, total: seen.append((done, total)))
    assert seen == [(100, 240), (200, 240), (240, 240)]
