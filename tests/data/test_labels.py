import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from molvae.chem.molecule import Molecule
from molvae.data.labels import LabelTable, count_rows, labelled_rows, property_names, read_labels, scored, write_labels
from molvae.errors import DataError, UsageError

numbers = st.one_of(st.just(math.nan), st.floats(-1e6, 1e6))


@given(st.lists(st.tuples(st.sampled_from("CNOF"), numbers, numbers), min_size=1, max_size=30))
def test_a_label_is_the_mean_of_the_numbers_that_there_are(rows):
    table = LabelTable(["a", "b"])
    for text, *values in rows:
        table.add(text, values)
    texts = sorted({text for text, *_ in rows}, reverse=True)
    found = table.of(texts)
    assert (found.shape, found.dtype) == ((len(texts), 2), np.float32)
    for text, row in zip(texts, found, strict=True):
        for k, mean in enumerate(row):
            there = [values[k] for name, *values in rows if name == text and not math.isnan(values[k])]
            assert mean == pytest.approx(np.mean(there), rel=1e-6, abs=1e-6) if there else np.isnan(mean)


def read(path, cell: str) -> float:
    path.write_text(f"smiles\ty\nC\t{cell}\n")
    ((row, (number,)),) = labelled_rows(path, None, ["y"])
    assert (row.line, row.text) == (2, "C")
    return number


@pytest.mark.parametrize(
    ("cell", "number"),
    [("1.5", 1.5), (" -2e-3 ", -0.002), ("3e38", 3e38)],
)
def test_what_is_a_number(tmp_path, cell, number):
    assert read(tmp_path / "a.tsv", cell) == number


NO_NUMBERS = ["nan", "n/a", "inf", "-1e39", "1,5", "<5", "5 nM", "1,234.5", "1_000", "٣", "0x10", "−5", "1.5±0.1"]


@pytest.mark.parametrize("cell", ["", " ", *NO_NUMBERS])
def test_what_is_missing(tmp_path, cell):
    assert math.isnan(read(tmp_path / "a.tsv", cell))


def test_short_and_empty_lines_have_no_labels(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('b,smiles,a\n1,"C\n",2\n\n3,CC\n4,CCC,5\n')
    rows = [(row.line, row.text, *numbers) for row, numbers in labelled_rows(path, None, ["a", "b"])]
    np.testing.assert_equal(rows, [(2, "C", 2.0, 1.0), (5, "CC", math.nan, 3.0), (6, "CCC", 5.0, 4.0)])
    assert count_rows([path, path], None, ["a"]) == 6


def test_cells_that_are_no_numbers_are_counted_and_the_first_are_named_by_line(tmp_path, caplog):
    path = tmp_path / "a.tsv"
    cells = ["1.5", *NO_NUMBERS, "n/a", "", " ", "2e3"]
    path.write_text("smiles\ty\tn\n" + "".join(f"C\t{cell}\t1\n" for cell in cells))
    assert count_rows([path], None, ["y", "n"]) == len(cells)
    (told,) = (record.getMessage() for record in caplog.records)
    assert f"a.tsv: {len(NO_NUMBERS) + 1} cells of 'y' hold something else than a number and count as empty" in told
    assert "line 3 'nan', line 4 'n/a', line 5 'inf', line 6 '-1e39', line 7 '1,5'" in told
    assert "line 10 '1,234.5', …" in told


def test_a_column_may_be_without_numbers_in_one_file_but_not_in_all(tmp_path):
    for name, cell in (("a", "x"), ("b", "1"), ("c", "")):
        (tmp_path / f"{name}.csv").write_text(f"smiles,y\nC,{cell}\n")
    a, b, c = (tmp_path / f"{name}.csv" for name in "abc")
    assert count_rows([a, b], None, ["y"]) == 2
    with pytest.raises(DataError, match=r"'y' of .*c\.csv has not one number; it is empty"):
        count_rows([c], None, ["y"])
    with pytest.raises(DataError, match="begins with 'x'"):
        count_rows([c, a], None, ["y"])


def test_labels_of_parquet(tmp_path):
    import pandas as pd

    path = tmp_path / "a.parquet"
    pd.DataFrame({"SMILES": ["C", "CC"], "y": np.array([0.1, np.nan], np.float32), "n": [1, 2]}).to_parquet(path)
    np.testing.assert_equal(
        [values for _, values in labelled_rows(path, None, ["y", "n"])], [(np.float32(0.1), 1.0), (math.nan, 2.0)]
    )


def test_scores_have_the_names_of_their_objectives_and_nan_where_there_is_no_value():
    assert property_names(["y"], ["logp", "sas", "TPSA", "math:sqrt"]) == ("y", "logP", "SAS", "TPSA", "sqrt")
    weight, nothing = scored(Molecule.parse("O"), ("MolWt", "math:sqrt"))
    assert weight == pytest.approx(18.015)
    assert math.isnan(nothing)
    with pytest.raises(UsageError, match="'logP' is asked for twice"):
        property_names(["logP"], ["logp"])


def test_what_is_written_is_read_and_counted(tmp_path):
    labels = {"train": np.array([[1, np.nan], [2, 3]], np.float32), "test": np.empty((0, 2), np.float32)}
    assert write_labels(tmp_path, ["a", "b"], labels) == {"a": {"train": 2, "test": 0}, "b": {"train": 1, "test": 0}}
    found = read_labels(tmp_path, ["a", "b"], {"train": 2, "test": 0})
    np.testing.assert_equal(found, labels)
    with pytest.raises(DataError, match="not one molecule that is kept has a value of 'b'"):
        write_labels(tmp_path, ["a", "b"], {"train": labels["train"][:1]})
