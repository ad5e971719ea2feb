"""Files of SMILES: what is read with which line number, what is refused, and that what is written reads back."""

import gzip
import logging
import os

import openpyxl
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rdkit import Chem

from molvae.data.tables import Row, rdkit_file, read_rows, read_table, write_table
from molvae.errors import DataError, FolderError, UsageError

FRAME = pd.DataFrame(
    {
        "QED": [0.4, 0.5, None],
        "SMILES": ["CCO", "c1ccccc1", "CC(=O)Oc1ccccc1C(=O)O"],
        "rank": [1, 2, 3],
        "origin": ["start", "move\x1b[1m\nup", ""],
    }
)


def rows(path, column=None):
    found = list(read_rows(path, column))
    assert not any(row.fault for row in found)
    return [(row.line, row.text) for row in found]


def test_smi_lines_have_a_smiles_and_a_name(tmp_path):
    path = tmp_path / "a.smi"
    path.write_bytes(b"CCO\tethanol\r\n\n  CC   \nC 1 2\n")
    assert rows(path) == [(1, "CCO"), (2, ""), (3, "CC"), (4, "C")]


def test_a_first_line_that_begins_with_smiles_is_a_header(tmp_path):
    path = tmp_path / "a.smi"
    path.write_text("smiles zinc_id\nCCO ZINC1\n")
    assert rows(path) == [(2, "CCO")]
    assert read_table(path).to_dict("list") == {"SMILES": ["CCO"], "name": ["ZINC1"]}


def test_csv_with_a_newline_inside_the_quotes_counts_the_lines_of_the_file(tmp_path):
    path = tmp_path / "250k.csv"
    path.write_text('smiles,logP\n"CCO\n",0.1\n"CC\n",0.2\n\nC,0.3\n')
    assert rows(path) == [(2, "CCO"), (4, "CC"), (7, "C")]
    assert list(read_table(path)["SMILES"]) == ["CCO", "CC", "C"]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz", "a.TSV.GZ"])
def test_column_by_name_or_smiles_in_any_case(tmp_path, name):
    path = tmp_path / name
    separator = "\t" if "tsv" in name.lower() else ","
    text = "\n".join(separator.join(cells) for cells in [("id", "Smiles", "other"), ("1", "CCO", "C"), ("2",)])
    content = ("\ufeff" + text).encode()
    path.write_bytes(gzip.compress(content) if name.lower().endswith("gz") else content)
    assert rows(path) == [(2, "CCO"), (3, "")]
    assert rows(path, "other") == [(2, "C"), (3, "")]


def test_the_exact_name_wins_among_several(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("smiles,SMILES\nC,CC\n")
    assert rows(path) == [(2, "CC")]
    assert rows(path, "smiles") == [(2, "C")]
    assert read_table(path, "smiles").to_dict("list") == {"SMILES": ["C"], "SMILES (file)": ["CC"]}


def test_parquet_rows_are_numbered_from_one(tmp_path):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"n": [1, 2, 3], "smiles": ["CCO ", None, "C"]}).to_parquet(path)
    assert rows(path) == [(1, "CCO"), (2, ""), (3, "C")]
    assert read_table(path).to_dict("list") == {"SMILES": ["CCO", "", "C"], "n": [1, 2, 3]}


def test_rdkit_s_own_set_reads_well():
    found = rows(rdkit_file("NCI/first_5K.smi"))
    assert len(found) == 4999
    assert found[0] == (1, "CC1=CC(=O)C=CC1=O")
    table = read_table(rdkit_file("NCI/first_5K.smi"))
    assert list(table.columns) == ["SMILES", "name"]
    assert table["name"].iloc[0] == "1"


def test_a_missing_rdkit_file_is_named():
    with pytest.raises(DataError, match=r"lacks its data file NCI/second\.smi"):
        rdkit_file("NCI/second.smi")


@pytest.mark.parametrize("name", ["a.smi", "a.csv"])
def test_lines_of_200_000_characters_are_rows_like_others(tmp_path, name):
    path = tmp_path / name
    path.write_text(f"SMILES\n{'C' * 200_000}\nCC\n")
    assert rows(path) == [(2, "C" * 200_000), (3, "CC")]


def test_an_unclosed_quote_costs_its_line_alone(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('SMILES\nC\n"CC\n' + "CCO\n" * 300_000)
    found = list(read_rows(path))
    assert found[:3] == [Row(2, "C"), Row(3, '"CC', found[1].fault), Row(4, "CCO")]
    assert "quotation marks do not match (field larger" in found[1].fault
    assert (len(found), found[-1]) == (300_002, Row(300_003, "CCO"))


def test_bytes_that_are_not_utf_8_stay_in_their_row(tmp_path, caplog):
    path = tmp_path / "a.smi"
    path.write_bytes(b"CC naphth\xc3\xa8ne\nCCO \xe9thanol\nC\xff\xfe\nCC\n")
    assert rows(path) == [(1, "CC"), (2, "CCO"), (3, "Cÿþ"), (4, "CC")]
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}, line 2 is not UTF-8 and read as Windows-1252: CCO éthanol"
    ]
    assert read_table(path)["name"].tolist() == ["naphthène", "éthanol", "", ""]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.smi", "", "is empty"),
        ("a.csv", "", "is empty"),
        ("a.csv", "smiles,logP\n", "is empty"),
        ("a.smi.gz", gzip.compress(b"", mtime=0), "is empty"),
        ("a.smi.gz", gzip.compress(b"CCO\n" * 9999, mtime=0)[:60], "cannot be read beyond line"),
        ("a.smi.gz", "CCO\n", "cannot be read beyond line 0"),
        ("a.parquet", "CCO\n", "cannot be read"),
        ("a.sdf", "CCO\n", r"known are \.smi, \.txt, \.csv"),
        ("molecules", "CCO\n", "the ending tells the format"),
        ("a.csv", "canonical_smiles,x\nC,1\n", r"columns are canonical_smiles, x; did you mean 'canonical_smiles'\?"),
        ("a.csv", "a,b\nC,1\n", r"no column 'SMILES'; its columns are a, b \(name the column"),
    ],
)
def test_files_that_are_refused(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError, match=message):
        rows(path)
    with pytest.raises(DataError, match=message):
        read_table(path)


def test_what_is_not_a_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        rows(tmp_path / "a.smi")
    with pytest.raises(DataError, match="is a folder"):
        rows(tmp_path)


def test_a_missing_column_names_the_nearest(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("smiles,ligand\nC,CC\n")
    with pytest.raises(DataError, match="columns are smiles, ligand; did you mean 'ligand'"):
        rows(path, "ligands")
    (tmp_path / "a.smi").write_text("C\n")
    with pytest.raises(DataError, match="has no columns"):
        rows(tmp_path / "a.smi", "ligand")


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
def test_tables_come_back_with_smiles_first(tmp_path, ending):
    path = tmp_path / f"out{ending}"
    assert write_table(FRAME, path) == 3
    back = read_table(path)
    assert list(back.columns) == ["SMILES", "QED", "rank", "origin"]
    assert list(back["SMILES"]) == list(FRAME["SMILES"])
    assert [float(cell) for cell in back["QED"][:2]] == [0.4, 0.5]
    assert back["QED"].isna()[2] if ending == ".parquet" else back["QED"][2] == ""
    assert os.listdir(tmp_path) == [path.name]


def test_xlsx_has_a_frozen_header_and_no_control_characters(tmp_path):
    write_table(FRAME, tmp_path / "out.xlsx")
    sheet = openpyxl.load_workbook(tmp_path / "out.xlsx").active
    assert sheet.freeze_panes == "A2"
    assert [cell.value for cell in sheet[1]] == ["SMILES", "QED", "rank", "origin"]
    assert [cell.value for cell in sheet[3]] == ["c1ccccc1", 0.5, 2, "move[1m\nup"]


def test_sdf_has_coordinates_titles_and_properties(tmp_path, caplog):
    bad = pd.concat([FRAME, pd.DataFrame({"SMILES": ["C1CC"], "rank": [4]})], ignore_index=True)
    with caplog.at_level(logging.WARNING, logger="molvae"):
        assert write_table(bad, tmp_path / "out.sdf") == 3
    assert "C1CC" in caplog.text
    mols = list(Chem.SDMolSupplier(str(tmp_path / "out.sdf")))
    assert [Chem.MolToSmiles(mol) for mol in mols] == list(FRAME["SMILES"])
    assert [mol.GetProp("_Name") for mol in mols] == ["1", "2", "3"]
    assert [mol.GetPropsAsDict() for mol in mols] == [
        {"QED": 0.4, "rank": 1, "origin": "start"},
        {"QED": 0.5, "rank": 2, "origin": "move\x1b[1m up"},
        {"rank": 3},
    ]
    spread = mols[2].GetConformer().GetPositions().std(axis=0)
    assert spread[0] > 0.5
    assert spread[1] > 0.5
    assert spread[2] == 0


@pytest.mark.parametrize(
    ("columns", "title"),
    [
        (["name", "rank", "InChIKey"], "n"),
        (["InChIKey", "ID", "rank"], "r"),
        (["InChIKey", "ID"], "I"),
        (["Name", "id"], "N"),
    ],
)
def test_the_title_of_an_sdf_entry(tmp_path, columns, title):
    write_table(pd.DataFrame({"SMILES": ["C"], **{name: [name[0]] for name in columns}}), tmp_path / "a.sdf")
    assert (tmp_path / "a.sdf").read_text().startswith(f"{title}\n")


def test_smi_has_a_title_or_the_row_number(tmp_path):
    write_table(FRAME.assign(rank=[7, 8, 9], Name=["a\tb", "", "c\nd"]), tmp_path / "a.smi")
    assert (tmp_path / "a.smi").read_text() == "CCO\ta\tb\nc1ccccc1\nCC(=O)Oc1ccccc1C(=O)O\tc d\n"
    write_table(FRAME.assign(rank=[7, 8, 9]), tmp_path / "a.smi")
    assert (tmp_path / "a.smi").read_text() == "CCO\t7\nc1ccccc1\t8\nCC(=O)Oc1ccccc1C(=O)O\t9\n"
    write_table(FRAME[["SMILES"]], tmp_path / "b.smi")
    assert (tmp_path / "b.smi").read_text() == "CCO\t1\nc1ccccc1\t2\nCC(=O)Oc1ccccc1C(=O)O\t3\n"


def test_tables_that_cannot_be_written(tmp_path):
    with pytest.raises(UsageError, match=r"written as \.csv, \.tsv, \.parquet, \.sdf, \.smi, \.xlsx; \.pdf is none"):
        write_table(FRAME, tmp_path / "a.pdf")
    with pytest.raises(DataError, match="has no column 'SMILES'; its columns are QED"):
        write_table(FRAME[["QED"]], tmp_path / "a.csv")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize("ending", [".csv", ".parquet", ".sdf", ".smi"])
def test_a_full_disk_leaves_the_old_file(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    path.write_text("old")
    (tmp_path / f".partial-{os.getpid()}-a{ending}").symlink_to("/dev/full")
    with pytest.raises(FolderError, match="No space left on device"):
        write_table(FRAME, path)
    assert path.read_text() == "old"


@given(st.lists(st.text("CNO()=#1", min_size=1, max_size=30), min_size=1, max_size=20))
def test_texts_round_trip_through_every_text_format(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("tables")
    frame = pd.DataFrame({"SMILES": texts})
    for name, first in (("a.csv", 2), ("a.tsv", 2), ("a.smi", 1), ("a.parquet", 1)):
        write_table(frame, folder / name)
        assert list(read_rows(folder / name)) == [Row(k + first, text) for k, text in enumerate(texts)]
        assert list(read_table(folder / name)["SMILES"]) == texts
