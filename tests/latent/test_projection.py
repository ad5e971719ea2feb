import json
import re
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from molvae.chem.molecule import Molecule
from molvae.chem.objectives import named
from molvae.errors import UsageError
from molvae.latent.map_page import BOTTOM, DRAWN, LEFT, RIGHT, TOP, draw, ticks, write_map
from molvae.latent.projection import latent_map, principal_plane


@pytest.fixture
def table(molecules) -> pd.DataFrame:
    return pd.DataFrame({"SMILES": molecules[:40], "activity": np.linspace(-1, 2, 40)})


@pytest.fixture
def frame() -> pd.DataFrame:
    """Four points; the colours go from 0 to 10, and one has none."""
    columns = {"SMILES": ["C", "CC", "CCC", "CCO"], "PC1": [0.0, 4, 4, 0], "PC2": [0.0, 0, 2, 2]}
    found = pd.DataFrame({**columns, "a<b": [0.0, 10.0, np.nan, 5.0]})
    found.attrs = {"axes": ["first", "second"]}
    return found


class TestPlane:
    def test_the_directions_of_largest_variance_and_their_shares(self):
        """Along (3, 4)/5 the variance is 9, across it 1, in the third dimension 0."""
        a, b = np.array([1.0, -1, 1, -1]) * 3, np.array([1.0, 1, -1, -1])
        points = np.outer(a, [0.6, 0.8, 0]) + np.outer(b, [-0.8, 0.6, 0]) + 7
        plane, axes = principal_plane(points)
        assert np.allclose(plane[:, 0], a)
        assert np.allclose(np.abs(plane[:, 1]), np.abs(b))
        assert axes == ["PC 1 (90.0% of the variance)", "PC 2 (10.0% of the variance)"]

    def test_points_on_a_line_or_all_in_one(self):
        plane, axes = principal_plane(np.outer(np.arange(4.0), [1.0]))
        assert np.allclose(plane, [[-1.5, 0], [-0.5, 0], [0.5, 0], [1.5, 0]])
        assert axes[1].startswith("PC 2 (0.0%")
        assert not principal_plane(np.ones((3, 5)))[0].any()


class TestLatentMap:
    def test_coordinates_and_a_score(self, vae, table):
        found = latent_map(vae, table, "sas")
        assert list(found.columns) == ["SMILES", "PC1", "PC2", "SAS"]
        expected, axes = principal_plane(vae.encode(table["SMILES"]).mean.double().numpy())
        assert np.allclose(found[["PC1", "PC2"]], expected)
        assert found.attrs["axes"] == axes
        assert found["SAS"].tolist() == [named("sas").evaluate(Molecule.parse(text)) for text in table["SMILES"]]

    def test_a_column_of_the_table_goes_before_a_score(self, vae, table):
        assert latent_map(vae, table, "activity")["activity"].tolist() == table["activity"].tolist()
        renamed = table.rename(columns={"activity": "qed"})
        assert latent_map(vae, renamed, "qed")["qed"].tolist() == table["activity"].tolist()

    def test_values_that_are_missing_are_told(self, vae, table, caplog):
        mixed = table.assign(activity=["high", None, "inf", *["1.5"] * 37])
        assert latent_map(vae, mixed, "activity")["activity"].isna().tolist() == [True] * 3 + [False] * 37
        assert "3 of 40 molecules have no number in 'activity'; they are grey" in caplog.text

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"color": "activty"}, "no column of the table is called 'activty', and there is no objective 'activty'"),
            ({"color": "SMILES"}, "'SMILES' has no number for any molecule"),
            ({"method": "tsne"}, "a map is made by pca or umap, not by 'tsne'"),
            ({"rows": 2}, "a map has at least 3 molecules; here are 2"),
            ({"rename": "PC2", "color": "PC2"}, "the map has a column 'PC2' of its own; rename"),
        ],
    )
    def test_refusals(self, vae, table, changes, told):
        few = table.head(changes.pop("rows", 40)).rename(columns={"activity": changes.pop("rename", "activity")})
        with pytest.raises(UsageError, match=told):
            latent_map(vae, few, **changes)

    def test_umap_that_is_not_installed(self, vae, table, monkeypatch):
        monkeypatch.setitem(sys.modules, "umap", None)
        with pytest.raises(UsageError, match="`pip install umap-learn`, or take --method pca"):
            latent_map(vae, table, method="umap")

    def test_umap_gets_the_points_and_the_seed(self, vae, table, monkeypatch):
        asked = {}

        class Double:
            def __init__(self, **settings):
                asked.update(settings)

            def fit_transform(self, points):
                asked["shape"] = points.shape
                return points[:, :2].astype("float32")

        monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Double))
        found = latent_map(vae, table.head(6), method="umap", seed=9)
        assert list(found.columns) == ["SMILES", "UMAP1", "UMAP2", "QED"]
        assert asked == {"n_neighbors": 5, "random_state": 9, "n_jobs": 1, "shape": (6, 4)}


class TestDrawing:
    def test_both_axes_have_one_scale_and_the_points_are_centred(self, frame):
        drawing = draw(frame)
        assert np.ptp(drawing.x) == pytest.approx(2 * np.ptp(drawing.y))
        assert (drawing.x.min() + drawing.x.max()) / 2 == pytest.approx((LEFT + RIGHT) / 2)
        assert drawing.y[0] > drawing.y[3]  # up is more
        assert LEFT < drawing.x.min() < drawing.x.max() < RIGHT
        assert all(TOP <= y <= BOTTOM for y, _ in drawing.y_ticks)
        assert {label for _, label in drawing.x_ticks} >= {"0", "1", "2", "3", "4"}
        assert {label: x for x, label in drawing.x_ticks}["4"] == pytest.approx(drawing.x[1])

    def test_colours_span_the_values(self, frame):
        assert draw(frame).shade.tolist() == [0, 63, -1, 32]

    def test_one_value_and_one_place(self, frame):
        same = frame.assign(PC1=1.0, PC2=1.0, **{"a<b": 3.0})
        same.attrs = frame.attrs
        drawing = draw(same)
        assert drawing.shade.tolist() == [32] * 4
        assert np.isfinite(drawing.x).all()

    @pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.1, 3.3), (1.2e-5, 1.4e-5), (0, 12_345), (99.99, 100.01)])
    def test_ticks_are_round_few_and_inside(self, low, high):
        marks = ticks(low, high)
        assert 2 <= len(marks) <= 9
        assert all(low <= mark <= high for mark, _ in marks)
        assert len({label for _, label in marks}) == len(marks)
        assert all(len(label) <= 8 for _, label in marks)


class TestFiles:
    @staticmethod
    def points(page: str) -> dict:
        return json.loads(re.search(r'id="points">(.*?)</script>', page, re.DOTALL)[1])

    def test_a_page_that_needs_nothing_else(self, frame, tmp_path):
        write_map(frame, tmp_path / "map.html", "<mine> & {{points}}")
        page = (tmp_path / "map.html").read_text()
        assert set(re.findall(r"https?://[^\"'<\\ ]*", page)) == {"http://www.w3.org/2000/svg"}
        assert "&lt;mine&gt; &amp; {{points}}</title>" in page
        assert "a&lt;b</text>" in page
        assert page.count("</script>") == 2
        points = self.points(page)
        assert points["smiles"] == frame["SMILES"].tolist()
        assert points["values"] == [0.0, 10.0, None, 5.0]
        assert points["shades"] == [0, 63, -1, 32]
        assert points["x"] == draw(frame).x.round(1).tolist()
        assert points["name"] == "a<b"
        assert all(drawing.startswith("<svg") for drawing in points["drawings"])

    def test_many_points_take_little_room(self, frame, tmp_path):
        many = pd.concat([frame] * (DRAWN // 4 + 1), ignore_index=True)
        many.attrs = frame.attrs
        write_map(many, tmp_path / "map.html")
        page = (tmp_path / "map.html").read_text()
        assert self.points(page)["drawings"] == []
        assert len(page) < 20_000 + 100 * len(many)

    def test_an_image(self, frame, tmp_path):
        from PIL import Image

        write_map(frame, tmp_path / "map.png", "mine")
        with Image.open(tmp_path / "map.png") as image:
            assert image.size == (1800, 1280)
            drawing = draw(frame)
            at = [image.getpixel((round(2 * x), round(2 * y))) for x, y in zip(drawing.x, drawing.y, strict=True)]
        assert at == [(0x48, 0x28, 0x78), (0xB5, 0xDE, 0x2B), (0x8F, 0x94, 0x9E), at[3]]

    @pytest.mark.parametrize("ending", [".html", ".png", ".csv"])
    def test_the_same_each_time(self, frame, tmp_path, ending):
        for name in "ab":
            write_map(frame, tmp_path / f"{name}{ending}", "mine")
        first, second = sorted(tmp_path.iterdir())
        assert first.read_bytes() == second.read_bytes()

    def test_a_table(self, frame, tmp_path):
        write_map(frame, tmp_path / "map.csv")
        pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "map.csv"), frame, check_flags=False)
