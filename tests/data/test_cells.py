"""The one reader of text tables: each cell as it stands, each row that is none named, whatever wrote the file."""

import csv
import gzip
import io
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rdkit import Chem

from molvae.data.tables import Row, as_number, read_cells, read_columns, read_rows, read_table, read_whole, write_table
from molvae.errors import DataError

AWKWARD = ["007", "0012", "NA", "null", "nan", "6.50", "1E5", "True", "-", "12345678901234567890", " x ", "=1+2", "a,b"]


def file(folder: Path, text: str | bytes, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def table(path: Path, column: str | None = None) -> dict[str, list[str]]:
    """The whole table, after it was seen that reading by rows gives the same."""
    frame, lines, faults = found = read_whole(path, column)
    rows = list(read_rows(path, column))
    assert [row.line for row in rows] == list(lines)
    assert list(found.rows()) == rows
    assert {k: row for k, row in enumerate(rows) if row.fault} == faults
    good = [row.text for row in rows if not row.fault]
    assert [text for k, text in enumerate(frame["SMILES"]) if k not in faults] == good
    return frame.to_dict("list")


def faults(path: Path) -> dict[int, str]:
    return {row.line: row.fault for row in read_rows(path) if row.fault}


class TestWidths:
    def test_a_separator_at_the_end_of_each_row_is_no_cell(self, tmp_path):
        for end in ("\n", ",\n", ",,\n", ", \n"):
            path = file(tmp_path, f"SMILES,parent\nCCO,c1ccccc1{end}CCN,c1ccncc1{end}")
            assert table(path) == {"SMILES": ["CCO", "CCN"], "parent": ["c1ccccc1", "c1ccncc1"]}
            assert faults(path) == {}
            path = file(tmp_path, f"SMILES,parent,\nCCO,c1ccccc1{end}CCN,c1ccncc1{end}")
            assert table(path) == {"SMILES": ["CCO", "CCN"], "parent": ["c1ccccc1", "c1ccncc1"]}

    def test_a_row_with_too_many_cells_is_named(self, tmp_path):
        path = file(tmp_path, "SMILES,y\nCCO,1,x,z\nCCN\n\nCCC,3\n")
        assert list(read_rows(path)) == [Row(2, "CCO,1,x,z", "4 cells for 2 columns"), Row(3, "CCN"), Row(5, "CCC")]
        assert table(path) == {"SMILES": ["CCO", "CCN", "CCC"], "y": ["1", "", "3"]}
        assert [cells for _, cells in read_cells(path, None, ["y"])] == [[""], [""], ["3"]]

    @pytest.mark.parametrize("end", ["", ","])
    def test_a_comma_inside_a_name_is_never_taken_for_an_empty_cell_at_the_end(self, tmp_path, end):
        rows = ["SMILES,name,pIC50,logS", "CCN,amine, ethyl,6.2,", "CCO,ethanol,5,", "CCC,propane,4,1"]
        path = file(tmp_path, "\n".join([rows[0], *(f"{row}{end}" for row in rows[1:])]))
        assert faults(path) == {2: "5 cells for 4 columns"}

    def test_notes_beside_a_table_are_a_column_without_a_name(self, tmp_path):
        path = file(tmp_path, "SMILES,y,\nCCO,1,\nCCN,2,check this\n")
        assert table(path) == {"SMILES": ["CCO", "CCN"], "y": ["1", "2"], "": ["", "check this"]}

    def test_row_names_that_the_header_does_not_count_are_refused(self, tmp_path):
        path = file(tmp_path, "SMILES,y\n1,CCO,1\n2,CCN,2\n")
        assert faults(path) == {2: "3 cells for 2 columns", 3: "3 cells for 2 columns"}

    def test_quotation_marks_that_do_not_match_cost_their_line_alone(self, tmp_path):
        path = file(tmp_path, 'SMILES,y\nCCO,"open\nCCN,5\nCC,"q"\nCCC,"a\nb"\nC,"x" y\nCO,"\n')
        found = faults(path)
        assert list(found) == [2, 7, 8]
        assert all("quotation marks do not match" in fault for fault in found.values())
        good = [(row.line, row.text, *cells) for row, cells in read_cells(path, None, ["y"]) if not row.fault]
        assert good == [(3, "CCN", "5"), (4, "CC", "q"), (5, "CCC", "a\nb")]


class TestHeaders:
    def test_blanks_around_names_are_not_theirs(self, tmp_path):
        path = file(tmp_path, "id, SMILES, value\n1, CCO, 3\n")
        assert table(path) == {"SMILES": ["CCO"], "id": ["1"], "value": [" 3"]}
        assert [cells for _, cells in read_cells(path, "SMILES", ["value"])] == [[" 3"]]

    def test_blank_lines_are_no_rows(self, tmp_path):
        path = file(tmp_path, b"\xef\xbb\xbf\r\n \r\nSMILES,y\r\n\r\nCCO,1\r\n\r\n")
        assert list(read_rows(path)) == [Row(5, "CCO")]

    def test_a_column_without_a_name_stays(self, tmp_path):
        path = file(tmp_path, ",SMILES,,y\n0,CCO,a,2\n")
        assert table(path) == {"SMILES": ["CCO"], "": ["0"], "(2)": ["a"], "y": ["2"]}

    def test_two_columns_of_one_name_are_told_apart_or_refused(self, tmp_path, caplog):
        path = file(tmp_path, "SMILES,y,y\nCCO,1,2\n")
        assert table(path) == {"SMILES": ["CCO"], "y": ["1"], "y (2)": ["2"]}
        assert "the column 'y' that is number 3 is called 'y (2)' here" in caplog.text
        with pytest.raises(DataError, match="two columns 'y', number 2 and 3; rename one"):
            list(read_cells(path, None, ["y"]))
        with pytest.raises(DataError, match="two columns 'SMILES', number 1 and 2"):
            read_table(file(tmp_path, "SMILES,SMILES\nC,CC\n"))

    def test_a_header_that_cannot_be_read(self, tmp_path):
        with pytest.raises(DataError, match="line 1: the header cannot be read, its quotation marks do not match"):
            read_table(file(tmp_path, 'SMILES,"y\nCCO,1\n'))


class TestSeparators:
    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    @pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.tsv.gz"])
    def test_the_header_tells_where_the_ending_does_not(self, tmp_path, separator, name):
        text = "\n".join(separator.join(cells) for cells in (("id", "Smiles", "y"), ("07", "CCO", '"1,5;2\t"'))) + "\n"
        path = file(tmp_path, gzip.compress(text.encode()) if name.endswith("gz") else text, name)
        assert table(path) == {"SMILES": ["CCO"], "id": ["07"], "y": ["1,5;2\t"]}
        with pytest.raises(DataError, match="no column 'x'; its columns are id, Smiles, y"):
            read_table(path, "x")

    @pytest.mark.parametrize("name", ["a.txt", "a.smi"])
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("id\tSMILES\ty\n1\tCCO\t3\n", r"3 columns separated by tabs \(id, SMILES, y\): rename it to \.tsv, or"),
            ("cpd\tstructure\n1\tCCO\n2\tCCN\n3\tx\n", r"tabs \(cpd, structure\): rename it to \.tsv, or name its col"),
            ("SMILES,name\nCCO,ethanol\n", r"2 columns separated by commas \(SMILES, name\): rename it to \.csv"),
            ("SMILES; name\nCCO; ethanol\n", r"2 columns separated by semicolons \(SMILES, name\): rename it to \.csv"),
            ("CCO,ethanol\nC1CC,no\nCCN,amine, ethyl\n", "commas, without a header: put the SMILES first"),
        ],
    )
    def test_a_table_with_the_ending_of_a_list_is_refused(self, tmp_path, name, text, message):
        with pytest.raises(DataError, match=f"looks like a table of .*{message}"):
            list(read_rows(file(tmp_path, text, name)))

    def test_a_named_column_makes_it_a_table(self, tmp_path):
        for text in ("id\tSMILES\n007\tCCO\n", "id,SMILES\n007,CCO\n"):
            assert table(file(tmp_path, text, "a.txt"), "SMILES") == {"SMILES": ["CCO"], "id": ["007"]}
        path = file(tmp_path, "SMILES\ty\nCCO\t3\n", "a.txt")
        assert [cells for _, cells in read_cells(path, "SMILES", ["y"])] == [["3"]]
        with pytest.raises(DataError, match="has no columns, so none named 'y'"):
            list(read_cells(path, None, ["y"]))

    @pytest.mark.parametrize("text", ["C1CC\tCC\nCCO\tN\n", "x,y\nCCO\n", "smiles\tid\nC1CC\t2\n", "C1CC a,b\n", "?\n"])
    def test_a_list_with_bad_lines_stays_a_list(self, tmp_path, text):
        assert len(table(file(tmp_path, text, "a.smi"))["SMILES"]) == len(text.splitlines()) - text.startswith("smiles")

    def test_names_keep_their_tabs_and_blanks(self, tmp_path):
        path = file(tmp_path, "CCO\ta\tb  c\t007\r\nCCN x\n", "a.smi")
        assert table(path) == {"SMILES": ["CCO", "CCN"], "name": ["a\tb  c\t007", "x"]}


class TestEncodings:
    def test_utf_16_is_known_by_its_mark(self, tmp_path):
        for encoding in ("utf-16", "utf-8-sig"):
            path = file(tmp_path, "SMILES\tname\r\nCCO\tnaphthène\r\n".encode(encoding), "a.tsv")
            assert table(path) == {"SMILES": ["CCO"], "name": ["naphthène"]}

    def test_windows_1252_is_read_and_told_once(self, tmp_path, caplog):
        path = file(tmp_path, b"SMILES,name\nCCO,x\nCC,caf\xe9 \x80\nCCN,\xb5\x81\n")
        assert read_table(path)["name"].tolist() == ["x", "café €", "µ\x81"]
        (told,) = (record.getMessage() for record in caplog.records)
        assert told == f"{path}, line 3 is not UTF-8 and read as Windows-1252: CC,café €"


class TestCells:
    @pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
    def test_text_stays_text(self, tmp_path, ending):
        cells = [*AWKWARD, 'a "b"', "c\nd", "e\rf", "g\r\nh", "a\tb", "", "é"]
        frame = pd.DataFrame({"SMILES": ["C"] * len(cells), "cell": cells, "0": cells})
        write_table(frame, tmp_path / f"a{ending}")
        back = table(tmp_path / f"a{ending}")
        assert back == {"SMILES": ["C"] * len(cells), "cell": cells, "0": cells}

    def test_text_stays_text_in_a_workbook(self, tmp_path):
        write_table(pd.DataFrame({"SMILES": "C", "name": AWKWARD, "": AWKWARD}), tmp_path / "a.xlsx")
        rows = list(openpyxl.load_workbook(tmp_path / "a.xlsx").active.iter_rows(min_row=2, values_only=True))
        assert rows == [("C", cell, cell) for cell in AWKWARD]

    def test_text_stays_text_in_an_sdf(self, tmp_path):
        cells = [*AWKWARD, "two  blanks", "a\tb"]
        write_table(pd.DataFrame({"SMILES": "C", "name": cells, "": cells}), tmp_path / "a.sdf")
        mols = list(Chem.SDMolSupplier(str(tmp_path / "a.sdf")))
        assert [mol.GetProp("name") for mol in mols] == cells
        assert [mol.GetProp("column 3") for mol in mols] == cells

    @given(st.data())
    def test_any_table_comes_back(self, tmp_path_factory, data):
        text = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=6)
        cell = st.one_of(text, st.text(' ,;\t\r\n"x', max_size=6))
        width = data.draw(st.integers(1, 4))
        rows = data.draw(st.lists(st.lists(cell, min_size=width, max_size=width), min_size=1, max_size=5))
        names = [f"c{k}" for k in range(width)]
        written = io.StringIO()
        csv.writer(written).writerows([["SMILES", *names], *(["C", *row] for row in rows)])
        folder = tmp_path_factory.mktemp("any")
        frame = read_table(file(folder, written.getvalue()))
        for ending in (".csv", ".tsv"):
            write_table(frame, folder / f"b{ending}")
            back = table(folder / f"b{ending}")
            assert back["SMILES"] == ["C"] * len(rows)
            assert [list(row) for row in zip(*(back[name] for name in names), strict=True)] == rows

    def test_whole_numbers_of_parquet_stay_whole(self, tmp_path):
        frame = pd.DataFrame({"SMILES": ["C", "CC"], "n": pd.array([2**53 + 1, None], dtype="Int64")})
        frame.set_index("SMILES").to_parquet(tmp_path / "a.parquet")
        write_table(read_table(tmp_path / "a.parquet"), tmp_path / "a.csv")
        assert (tmp_path / "a.csv").read_text() == "SMILES,n\nC,9007199254740993\nCC,\n"


class TestNumbers:
    def test_what_is_a_number(self):
        for text in ("1", "-1.5", "+.5", "5.", " 6.25 ", "1E5", "1e-3", "007"):
            assert as_number(text) == float(text)
        for text in ("", "1_000", "٣", "1,5", "nan", "inf", "1e", ".", "0x1", "½"):
            assert np.isnan(as_number(text))

    @pytest.mark.parametrize("cell", ["x", "", "1_0", "٣", "nan", "inf", "1e39", "1,5"])
    def test_columns_of_numbers_hold_nothing_else(self, tmp_path, recwarn, cell):
        path = file(tmp_path, f"id;a;b\n1;1.5;2\n2;3;{cell}\n")
        with pytest.raises(DataError, match=r"line 3: b is .*the columns a … b hold something else than numbers"):
            read_columns(path, ["a", "b"])
        assert not recwarn

    def test_columns_of_numbers(self, tmp_path):
        path = file(tmp_path, "b,id,a\n1,x,2\n-3e-1,y,+4.5\n")
        found = read_columns(path, ["a", "b"])
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, np.array([[2, 1], [4.5, -0.3]], np.float32))
        with pytest.raises(DataError, match="line 3: 3 cells for 2 columns"):
            read_columns(file(tmp_path, "a,b\n1,2\n1,2,3\n"), ["a", "b"])
