import re

import pytest

from molvae.chem.molecule import Molecule
from molvae.chem.pictures import MOST, PICTURES, check_picture, small_svg, write_picture
from molvae.errors import UsageError


def parse(*texts: str) -> list[Molecule]:
    return [Molecule.parse(text) for text in texts]


ANISOLES = parse("COc1ccccc1", "COc1ccccc1Cl", "COc1cccc(C(=O)N2CCOCC2)c1")


def size_of_png(content: bytes) -> tuple[int, int]:
    assert content.startswith(b"\x89PNG")
    return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")


class TestGrid:
    @pytest.mark.parametrize(("n", "columns", "rows"), [(1, 1, 1), (3, 3, 1), (7, 5, 2)])
    def test_five_in_a_row(self, tmp_path, n, columns, rows):
        write_picture(tmp_path / "x.png", ANISOLES[:1] * n, ["a"] * n)
        assert size_of_png((tmp_path / "x.png").read_bytes()) == (columns * 260, rows * 220)

    def test_an_svg_has_every_molecule_and_caption_in_its_panel(self, tmp_path):
        write_picture(tmp_path / "x.svg", ANISOLES, ["one", "two", "three"])
        svg = (tmp_path / "x.svg").read_text()
        assert "width='780px' height='220px'" in svg
        captions = re.findall(r"<path class='legend' d='M ([\d.]+) ", svg)
        assert len(captions) == len("onetwothree")
        assert [int(float(x) // 260) for x in captions] == [0] * 3 + [1] * 3 + [2] * 5

    @pytest.mark.parametrize("ending", PICTURES)
    def test_the_same_each_time_and_nothing_left_beside(self, tmp_path, ending):
        for name in "ab":
            write_picture(tmp_path / f"{name}{ending}", ANISOLES, ["1", "2", "3"], "title")
        first, second = sorted(tmp_path.iterdir())
        assert first.read_bytes() == second.read_bytes()


class TestPage:
    def test_structures_captions_and_smiles_without_network_or_other_files(self, tmp_path):
        write_picture(tmp_path / "x.html", ANISOLES, ["a < b", "two\nlines", "3"], "A & B")
        page = (tmp_path / "x.html").read_text()
        assert page.count("<svg") == page.count("</svg>") == 3
        assert page.count("<h1>A &amp; B</h1>") == 1
        assert "<figcaption>a &lt; b</figcaption><code>COc1ccccc1</code>" in page
        assert set(re.findall(r"https?://[^\"'<]*", page)) <= {"http://www.w3.org/2000/svg"}
        assert not re.search(r"<(script|link|img)", page)

    def test_a_small_drawing_has_all_bonds_and_letters(self):
        svg = small_svg(Molecule.parse("C[C@H](N)C(=O)Oc1ccc(Br)cc1").mol)
        letters = re.findall(r">([^<]+)</text>", svg)
        assert {"N", "H", "2", "O", "B", "r"} <= set(letters)
        assert svg.count("M") >= 13  # one line or wedge a bond at least
        assert len(svg) < 4000

    @pytest.mark.parametrize(("smiles", "charge"), [("CC(=O)[O-]", "−"), ("C[NH3+]", "+")])
    def test_charges_are_seen(self, smiles, charge):
        """A hyphen of a few pixels is not."""
        assert f">{charge}</text>" in small_svg(Molecule.parse(smiles).mol)


class TestAlignment:
    @staticmethod
    def bonds(page: str) -> list[set[str]]:
        """Lines of each drawing."""
        return [set(re.findall(r"M[\d.,]+L[\d.,]+", svg)) for svg in re.findall(r"<svg.*?</svg>", page)]

    def test_what_is_shared_lies_as_in_the_first(self):
        """The second has a carbon and a hydroxyl more; the ten atoms they share stay where they are."""
        from molvae.chem.pictures import _laid_out

        first = _laid_out(Molecule.parse("Cc1ccccc1CCN"), None)
        second = _laid_out(Molecule.parse("NCCc1ccccc1CO"), first)
        core = first.GetSubstructMatch(first)
        pairs = zip(core, second.GetSubstructMatch(first), strict=True)
        a, b = first.GetConformer(), second.GetConformer()
        gaps = [(a.GetAtomPosition(i) - b.GetAtomPosition(j)).Length() for i, j in pairs]
        assert max(gaps) < 1e-3

    def test_without_anything_in_common_each_is_drawn_on_its_own(self, tmp_path):
        write_picture(tmp_path / "x.html", parse("c1ccccc1", "CCO"), ["", ""])
        write_picture(tmp_path / "y.html", parse("CCO"), [""])
        x, y = ((tmp_path / name).read_text() for name in ("x.html", "y.html"))
        assert self.bonds(x)[1] == self.bonds(y)[0] != set()


class TestRefusals:
    def test_other_endings(self):
        with pytest.raises(UsageError, match=r"x\.gif: pictures are written as \.png, \.svg, \.html; \.gif is none"):
            check_picture("x.gif")
        with pytest.raises(UsageError, match="no ending is none"):
            check_picture("x")

    def test_too_many_and_none(self, tmp_path):
        with pytest.raises(UsageError, match="at most 500 molecules, not 501; write a table"):
            write_picture(tmp_path / "x.png", ANISOLES[:1] * (MOST + 1), [""] * (MOST + 1))
        with pytest.raises(UsageError, match="there is no molecule to draw"):
            write_picture(tmp_path / "x.png", [], [])
        assert list(tmp_path.iterdir()) == []
