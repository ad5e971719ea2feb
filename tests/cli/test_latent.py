"""molvae predict, neighbors, interpolate, map."""

import pandas as pd
import pytest

import molvae.cli.latent
from molvae.chem.molecule import Molecule
from molvae.data.tables import read_table

QUERY, OTHER = "CCCCO", "CC(=O)NC"


@pytest.fixture(scope="session")
def with_heads(model, tmp_path_factory) -> str:
    """The tiny model with heads that were never trained."""
    import torch

    from molvae.vae.folder import load_model, save_model
    from molvae.vae.model import SmilesVAE
    from molvae.vae.nets.nets import Net

    vae = load_model(model)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Net(vae.net.settings.model_copy(update={"properties": ("logP", "QED")}), len(vae.vocab))
    net.load_state_dict({**net.state_dict(), **vae.net.state_dict()})
    folder = tmp_path_factory.mktemp("heads") / "model"
    save_model(folder, SmilesVAE(net, vae.vocab, vae.longest, known=vae.known), {"name": "heads"})
    return str(folder)


class TestPredict:
    def test_a_table_and_what_could_not_be_read(self, molvae, with_heads, tmp_path):
        (tmp_path / "mine.csv").write_text("name,smiles\na,OCCCC\nb,C1CC\nc,CC(=O)NC\n")
        result = molvae("predict", with_heads, "mine.csv", "-o", "predicted.csv", code=1)
        predicted = pd.read_csv(tmp_path / "predicted.csv")
        assert list(predicted.columns) == ["SMILES", "logP", "QED"]
        assert predicted["SMILES"].tolist() == ["CCCCO", "CNC(C)=O"]
        assert predicted.notna().all(axis=None)
        assert "mine.csv:3: " in result.stderr
        assert "1 of 3 rows were not encoded; all reasons are in predicted.rejects.csv" in result.stderr
        rejects = pd.read_csv(tmp_path / "predicted.rejects.csv")
        assert rejects[["SMILES", "line"]].values.tolist() == [["C1CC", 3]]

    def test_printed(self, molvae, with_heads, tmp_path):
        (tmp_path / "mine.smi").write_text("OCCCC\nC1CC\n")
        result = molvae("predict", with_heads, "mine.smi", code=1)
        assert [line.split()[0] for line in result.stdout.splitlines()] == ["SMILES", "CCCCO"]
        assert "1 of 2 rows were not encoded; the remarks say why" in result.stderr

    def test_a_model_without_heads_says_so_before_the_work(self, refused, model, tmp_path):
        (tmp_path / "mine.smi").write_text("C1CC\n")
        message = refused("predict", model, "mine.smi", "-o", "predicted.csv", code=2)
        assert "net.properties" in message
        assert [path.name for path in tmp_path.iterdir()] == ["mine.smi"]


class TestNeighbors:
    def test_printed_with_remarks(self, molvae, model):
        result = molvae("neighbors", model, QUERY, "-n", 3, "--radius", 2)
        lines = result.stdout.splitlines()
        assert lines[0].split() == ["SMILES", "frequency", "distance", "similarity", "logP", "QED", "SAS"]
        assert len(lines) == 4
        assert QUERY not in {line.split()[0] for line in lines}
        assert "256 points decoded: " in result.stderr
        assert "% give the molecule itself, " in result.stderr
        assert "other molecules found; these are 3, the most frequent first" in result.stderr

    def test_fewer_than_asked_for(self, molvae, model):
        words = ["neighbors", model, QUERY, "-n", 4000, "--decodes", 20, "--radius", 2]
        result = molvae(*words, "-o", "near.csv")
        found = pd.read_csv("near.csv")
        assert 0 < len(found) <= 20
        assert f"gave {len(found)} other molecules, not 4000; more --decodes or a larger --radius" in result.stderr

    def test_by_seed(self, molvae, model):
        told = [molvae("neighbors", model, QUERY, "-n", 5, "--seed", seed).stdout for seed in (1, 1, 2)]
        assert told[0] == told[1] != told[2]

    @pytest.mark.parametrize("ending", [".csv", ".parquet", ".smi"])
    def test_tables(self, molvae, model, tmp_path, ending):
        molvae("neighbors", model, QUERY, "-n", 5, "-o", f"near{ending}", "-q")
        for text in read_table(tmp_path / f"near{ending}")["SMILES"]:
            assert Molecule.parse(text).smiles == text

    def test_pictures_begin_with_the_query(self, molvae, model, tmp_path):
        for ending in (".html", ".svg", ".png"):
            molvae("neighbors", model, QUERY, "-n", 3, "-o", f"near{ending}", "-q")
        page = (tmp_path / "near.html").read_text()
        assert page.count("<figure>") == 4
        assert page.index(f"<figcaption>the query</figcaption><code>{QUERY}</code>") < page.index("x, similarity 0.")
        assert (tmp_path / "near.svg").read_text().startswith("<?xml")
        assert (tmp_path / "near.png").read_bytes().startswith(b"\x89PNG")


class TestInterpolate:
    def test_printed(self, molvae, model):
        result = molvae("interpolate", model, QUERY, OTHER, "-n", 20)
        lines = result.stdout.splitlines()
        assert lines[0].split()[:5] == ["SMILES", "t", "t_last", "similarity_a", "similarity_b"]
        assert len(lines) > 2
        assert f"{len(lines) - 1} molecules from 20 points, " in result.stderr

    def test_straight_is_another_way(self, molvae, model, tmp_path):
        molvae("interpolate", model, QUERY, OTHER, "-n", 40, "-o", "round.csv")
        molvae("interpolate", model, QUERY, OTHER, "-n", 40, "--straight", "-o", "straight.csv")
        assert (tmp_path / "round.csv").read_text() != (tmp_path / "straight.csv").read_text()

    def test_a_picture_goes_from_a_to_b_even_where_they_do_not_come_back(self, molvae, model, tmp_path, monkeypatch):
        from molvae.vae.model import SmilesVAE

        monkeypatch.setattr(SmilesVAE, "decode", lambda self, z, *more, **named: ["CCO"] * len(z))
        result = molvae("interpolate", model, QUERY, OTHER, "-o", "way.html")
        page = (tmp_path / "way.html").read_text()
        cards = [card.split("</figcaption>")[0] for card in page.split("<figcaption>")[1:]]
        assert (cards[0], cards[-1], len(cards)) == ("A", "B", 3)
        assert cards[1].startswith("0.00 to 1.00, QED 0.41\nlike A 0.")
        assert f"the point of A does not give {QUERY} back" in result.stderr
        assert "the point of B does not give CNC(C)=O back" in result.stderr


class TestMap:
    def test_each_kind_of_file(self, molvae, model, trained, tmp_path):
        smiles = trained / "corpus" / "valid.smi"
        for ending in (".html", ".png", ".csv"):
            result = molvae("map", model, smiles, "-o", f"map{ending}", "--color", "logp")
            assert "20 molecules, PC 1 (" in result.stderr
        assert "valid.smi: 20 molecules</title>" in (tmp_path / "map.html").read_text()
        assert list(pd.read_csv(tmp_path / "map.csv").columns) == ["SMILES", "PC1", "PC2", "logP"]

    def test_a_column_colours_the_rows_it_belongs_to(self, molvae, model, tmp_path):
        (tmp_path / "mine.csv").write_text("id,smiles\n1,CCCO\n\n2,broken\n3,CCCN\n4,CCCCO\n")
        result = molvae("map", model, "mine.csv", "-o", "map.csv", "--color", "id", code=1)
        assert "mine.csv:4: " in result.stderr
        assert "1 of 4 rows were not encoded; all reasons are in map.rejects.csv" in result.stderr
        found = pd.read_csv(tmp_path / "map.csv")
        assert found[["SMILES", "id"]].values.tolist() == [["CCCO", 1], ["CCCN", 3], ["CCCCO", 4]]
        assert pd.read_csv(tmp_path / "map.rejects.csv")["line"].tolist() == [4]

    def test_a_function_in_the_current_folder(self, molvae, model, trained, tmp_path):
        (tmp_path / "oxygens_here.py").write_text("def count(smiles):\n    return smiles.count('O')\n")
        molvae("map", model, trained / "corpus" / "valid.smi", "-o", "map.csv", "--color", "oxygens_here:count")
        found = pd.read_csv(tmp_path / "map.csv")
        assert found.iloc[:, 3].tolist() == [text.count("O") for text in found["SMILES"]]


BAD = {
    "an unknown ending": (
        ["neighbors", "MODEL", QUERY, "-o", "x.gif"],
        2,
        ".gif is none of them; pictures are written as .png, .svg, .html",
    ),
    "a map as svg": (["map", "MODEL", "F", "-o", "x.svg"], 2, "pictures are written as .html, .png"),
    "too many for a picture": (["neighbors", "MODEL", QUERY, "-n", "600", "-o", "x.png"], 2, "at most 500 molecules"),
    "a ring left open": (["neighbors", "MODEL", "C1CC"], 1, "unclosed ring"),
    "a character it never saw": (["neighbors", "MODEL", "CCBr"], 1, "does not know the character 'B'"),
    "a radius of nothing": (["neighbors", "MODEL", QUERY, "--radius", "0"], 2, "n, radius and decodes are above 0"),
    "no way at all": (["interpolate", "MODEL", QUERY, "OCCCC"], 2, "both ends are the same molecule, CCCCO"),
    "an end that is wrong": (["interpolate", "MODEL", QUERY, "C(C"], 1, "RDKit cannot make a molecule"),
    "a colour there is not": (["map", "MODEL", "F", "-o", "x.csv", "--color", "qde"], 2, "did you mean 'qed'"),
    "a method there is not, told before the table is read": (
        ["map", "MODEL", "gone.csv", "-o", "x.csv", "--method", "tsne"],
        2,
        "a map is made by pca or umap, not by 'tsne'",
    ),
    "a file there is not": (["map", "MODEL", "gone.csv", "-o", "x.csv"], 1, "there is no file gone.csv"),
    "a table without an ending": (["predict", "MODEL", "F", "-o", "x"], 2, "no ending is none of them"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_message_and_writes_nothing(refused, model, trained, tmp_path, name):
    words, code, told = BAD[name]
    places = {"MODEL": model, "F": trained / "corpus" / "valid.smi"}
    assert told in refused(*[places.get(word, word) for word in words], code=code)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", ["neighbors m C -n 0", "interpolate m C CC -n 1", "map m f"])
def test_bad_usage_is_2(molvae, words):
    assert "Usage: " in molvae(*words.split(), code=2).stderr


def test_the_module_registers_its_commands():
    assert {one.name for one in molvae.cli.shell.app.registered_commands} >= {
        "predict",
        "neighbors",
        "interpolate",
        "map",
    }
