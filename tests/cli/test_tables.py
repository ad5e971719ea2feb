"""Tables as people bring them: all commands read them alike, and a cell that goes in comes out as it was."""

import csv

import openpyxl
import pytest
from rdkit import Chem

COMMANDS = {
    "score": ["score", "FILE", "-o", "out.csv", "--objective", "MolWt"],
    "encode": ["encode", "MODEL", "FILE", "-o", "out.csv"],
    "map": ["map", "MODEL", "FILE", "-o", "out.csv", "--color", "MolWt"],
    "prepare": ["data", "prepare", "FILE", "-o", "mine", "--valid", "0", "--test", "0"],
}


def read(path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def molecules(molvae, model, tmp_path):
    """What each command takes for the molecules of a file: (SMILES, why not) of each row."""

    def run(command: str, name: str, content: str | bytes, code: int = 0) -> list[tuple[str, str]]:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        words = [{"FILE": name, "MODEL": model}.get(word, word) for word in COMMANDS[command]]
        result = molvae(*words, code=code)
        assert "a bug in molvae" not in result.stderr
        if command == "score":
            return [(row["SMILES"], row["failure"]) for row in read(tmp_path / "out.csv")]
        if command == "prepare":
            good = (tmp_path / "mine" / "train.smi").read_text().split()
            bad = [(row["text"], row["reason"]) for row in read(tmp_path / "mine" / "rejects.csv")]
        else:
            good = [row["SMILES"] for row in read(tmp_path / "out.csv")]
            rejects = tmp_path / "out.rejects.csv"
            bad = [(row["SMILES"], row["reason"]) for row in read(rejects)] if rejects.exists() else []
        return [*((smiles, "") for smiles in good), *bad]

    return run


@pytest.mark.parametrize("command", COMMANDS)
class TestEveryCommand:
    def test_separators_at_the_end_of_each_row(self, molecules, command):
        text = "SMILES,parent\nCCCO,c1ccccc1,\nCCCN,c1ccncc1,\nCCCCO,C,\n"
        assert molecules(command, "a.csv", text) == [("CCCO", ""), ("CCCN", ""), ("CCCCO", "")]

    def test_a_row_that_is_too_long(self, molecules, command):
        text = "SMILES,y\nCCCCC,1,x,z\nCCCN\nCCCO,3\nCCCCO,4\n"
        found = molecules(command, "a.csv", text, code=0 if command == "prepare" else 1)
        if command == "score":
            assert found[0] == ("CCCCC", "line 2: 4 cells for 2 columns: CCCCC,1,x,z")
            assert found[1:] == [("CCCN", ""), ("CCCO", ""), ("CCCCO", "")]
        else:
            assert found[:3] == [("CCCN", ""), ("CCCO", ""), ("CCCCO", "")]
            assert found[3:] == [("CCCCC,1,x,z", "4 cells for 2 columns")]

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("blanks.csv", "id, SMILES, value\n1, CCCO, 3\n2, CCCN, 4\n3, CCCCO, 5\n"),
            ("excel.csv", b"\xef\xbb\xbfid;SMILES\r\n1;CCCO\r\n2;CCCN\r\n\r\n3;CCCCO\r\n"),
            ("excel.txt", "smiles\tname\nCCCO\tx\nCCCN\ty\nCCCCO\tz\n".encode("utf-16")),
            ("latin.csv", b"SMILES,name\nCCCO,caf\xe9\nCCCN,\xb5\nCCCCO,x\n"),
            ("index.csv", ",SMILES,y,y\n0,CCCO,1,2\n1,CCCN,1,2\n2,CCCCO,1,2\n"),
            ("breaks.csv", 'SMILES,name\n"CCCO\n","a\nb"\n"CCCN",\n" CCCCO ",c\n'),
        ],
    )
    def test_what_other_programs_write(self, molecules, command, name, content):
        assert molecules(command, name, content) == [("CCCO", ""), ("CCCN", ""), ("CCCCO", "")]

    def test_a_table_with_the_ending_of_a_list(self, refused, model, tmp_path, command):
        words = [{"FILE": "a.txt", "MODEL": model}.get(word, word) for word in COMMANDS[command]]
        (tmp_path / "a.txt").write_text("id\tSMILES\ty\n1\tCCCO\t3\n2\tCCCN\t3\n3\tCCCCO\t3\n")
        told = refused(*words, code=1)
        assert "a.txt looks like a table of 3 columns separated by tabs (id, SMILES, y): rename it to .tsv" in told
        assert "--column" in told


class TestCells:
    TABLE = "id,SMILES,name,value\n007,CCO,NA,6.50\n0012,CCN,null,1E5\n00123,CCC,nan,True\n"
    IDS, NAMES, VALUES = ["007", "0012", "00123"], ["NA", "null", "nan"], ["6.50", "1E5", "True"]

    @pytest.fixture
    def score(self, molvae, tmp_path):
        def run(name: str, text: str, ending: str):
            (tmp_path / name).write_bytes(text.encode())
            molvae("score", name, "-o", f"o{ending}", "--objective", "MolWt")
            return tmp_path / f"o{ending}"

        return run

    def test_a_separator_at_the_end_of_each_row_does_not_score_other_molecules(self, score):
        rows = read(score("a.csv", "SMILES,parent\nCCO,c1ccccc1,\nCCN,c1ccncc1,\n", ".csv"))
        assert [(row["SMILES"], row["parent"]) for row in rows] == [("CCO", "c1ccccc1"), ("CCN", "c1ccncc1")]
        assert [float(row["MolWt"]) for row in rows] == pytest.approx([46.069, 45.085], abs=1e-3)

    def test_into_csv_xlsx_and_sdf(self, score):
        cells = list(zip(self.IDS, self.NAMES, self.VALUES, strict=True))
        rows = read(score("a.csv", self.TABLE, ".csv"))
        assert [(row["id"], row["name"], row["value"]) for row in rows] == cells
        sheet = openpyxl.load_workbook(score("a.csv", self.TABLE, ".xlsx")).active
        assert [row[1:4] for row in sheet.iter_rows(min_row=2, values_only=True)] == cells
        mols = list(Chem.SDMolSupplier(str(score("a.csv", self.TABLE, ".sdf"))))
        assert [tuple(mol.GetProp(name) for name in ("id", "name", "value")) for mol in mols] == cells
        assert [mol.GetProp("_Name") for mol in mols] == self.NAMES

    def test_names_into_and_through_smi(self, score):
        assert score("a.csv", self.TABLE, ".smi").read_text() == "CCO\tNA\nCCN\tnull\nCCC\tnan\n"
        assert score("a.smi", "CCO a\tb  c\nCCN\t007\n", ".smi").read_text() == "CCO\ta\tb  c\nCCN\t007\n"

    def test_latin_1_is_told_by_its_line(self, molvae, tmp_path):
        (tmp_path / "a.csv").write_bytes(b"SMILES,name\nCCN,x\nCCO,caf\xe9\n")
        result = molvae("score", "a.csv", "-o", "o.csv")
        assert "warning: a.csv, line 3 is not UTF-8 and read as Windows-1252: CCO,café" in result.stderr
        assert [row["name"] for row in read(tmp_path / "o.csv")] == ["x", "café"]

    def test_a_map_is_coloured_by_numbers_alone(self, molvae, model, tmp_path):
        (tmp_path / "a.csv").write_text('SMILES,y\nCCCO,1_000\nCCCN,2.50\nCCCCO,"1,5"\nCCCCN,1e1\n')
        result = molvae("map", model, "a.csv", "-o", "o.csv", "--color", "y")
        assert "2 of 4 molecules have no number in 'y'; they are grey" in result.stderr
        assert [row["y"] for row in read(tmp_path / "o.csv")] == ["", "2.5", "", "10.0"]


class TestLabels:
    WORDS = ("--valid", "0", "--test", "0")

    def test_a_comma_in_a_name_moves_no_label(self, molvae, tmp_path):
        rows = ["SMILES,name,pIC50,logS", "CCN,amine, ethyl,6.2,0.7", "CCO,ethanol,5.5,", "CC,ethane,,1"]
        (tmp_path / "a.csv").write_text("\n".join(rows))
        told = molvae("data", "prepare", "a.csv", "-o", "m", "--label", "pIC50", "--label", "logS", *self.WORDS).stdout
        assert [line.split()[:2] for line in told.splitlines()[-2:]] == [["pIC50", "1"], ["logS", "1"]]
        (reject,) = read(tmp_path / "m" / "rejects.csv")
        assert (reject["line"], reject["reason"]) == ("2", "5 cells for 4 columns")
        assert reject["text"] == "CCN,amine, ethyl,6.2,0.7"

    def test_cells_that_are_no_numbers_are_counted_with_their_lines(self, molvae, tmp_path):
        cells = ["6.5", '"1,5"', ">10", "5 nM", '"1,234.5"', "1_000", "٣", "", " 7 "]
        rows = [f"{'C' * (k + 1)},{cell}" for k, cell in enumerate(cells)]
        (tmp_path / "a.csv").write_text("\n".join(["SMILES,y", *rows]), encoding="utf-8")
        result = molvae("data", "prepare", "a.csv", "-o", "m", "--label", "y", *self.WORDS)
        examples = "line 3 '1,5', line 4 '>10', line 5 '5 nM', line 6 '1,234.5', line 7 '1_000', line 8 '٣'"
        assert f"6 cells of 'y' hold something else than a number and count as empty: {examples};" in result.stderr
        assert result.stdout.splitlines()[-1].split() == ["y", "2", "0", "0"]
