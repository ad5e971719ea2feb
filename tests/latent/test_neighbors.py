import math

import pandas as pd
import pytest
import torch

from molvae.chem.molecule import Molecule
from molvae.chem.objectives import named
from molvae.data.vocab import Vocab
from molvae.errors import InvalidSmiles, UnknownCharacter, UsageError
from molvae.latent.interpolation import interpolate, interpolation_path
from molvae.latent.neighbors import neighbors
from molvae.latent.prediction import predict
from molvae.vae.model import Posterior, SmilesVAE
from molvae.vae.nets.nets import GRUDecoder, GRUEncoder, Net, NetSettings

ALKANES = ("C", "CC", "CCC", "CCCC", "CCCCC", "CCCCCC")
"""Carbon by carbon; in the double below the chain of n carbons lies at (n, 0)."""


class Chains(SmilesVAE):
    """A model of two dimensions: a point decodes to the chain whose length is nearest to its first coordinate.

    Below half a carbon, or beyond six and a half, the text is no molecule. Every text is written backwards from its
    canonical form, or with a branch, so that only parsed molecules are equal.
    """

    latent, longest, known = 2, 6, None
    vocab = Vocab.of(ALKANES)

    def __init__(self) -> None:
        pass  # it has no weights

    def reads(self, text: str) -> bool:
        return text in ALKANES

    def encode_texts(self, texts) -> Posterior:
        mean = torch.tensor([[float(len(text)), 0.0] for text in texts]).reshape(-1, 2)
        return Posterior(mean, torch.zeros_like(mean))

    def decode(self, z) -> list[str]:
        return [self._text(round(float(first))) for first in z[:, 0]]

    @staticmethod
    def _text(carbons: int) -> str:
        return f"C({'C' * (carbons - 1)})" if 2 <= carbons <= 6 else "C" if carbons == 1 else "C1CC("


class TestNeighbors:
    def test_frequent_ones_first_then_near_ones_without_the_query(self):
        table = neighbors(Chains(), "CCC", n=10, radius=1.0, decodes=512)
        assert list(table.columns) == ["SMILES", "frequency", "distance", "similarity", "logP", "QED", "SAS"]
        assert set(table["SMILES"]) == set(ALKANES) - {"CCC"}
        assert set(table["SMILES"][:2]) == {"CC", "CCCC"}
        assert table["frequency"].is_monotonic_decreasing
        assert table["distance"].tolist() == [abs(len(text) - 3.0) for text in table["SMILES"]]
        assert table.attrs["found"] == len(table) == 5

    def test_the_shares_add_up(self):
        table = neighbors(Chains(), "CCC", n=10, radius=1.5, decodes=700)
        told = table.attrs
        assert told["decodes"] == 700
        assert 0.2 < told["itself"] < told["valid"] < 1
        assert table["frequency"].sum() == round(700 * (told["valid"] - told["itself"]))

    def test_a_quarter_of_the_points_at_each_radius(self):
        """The chance that noise of standard deviation s rounds to no carbon more or less is erf(½ / (s √2))."""
        told = neighbors(Chains(), "CCC", n=10, radius=1.0, decodes=8000).attrs
        expected = sum(math.erf(0.5 / (k / 4) / math.sqrt(2)) for k in (1, 2, 3, 4)) / 4
        assert told["itself"] == pytest.approx(expected, abs=0.015)

    def test_it_stops_at_n_after_a_round_or_when_the_points_are_spent(self):
        assert neighbors(Chains(), "CCC", n=2, radius=1.0, decodes=10_000).attrs["decodes"] == 256
        short = neighbors(Chains(), "CCC", n=50, radius=1.0, decodes=300)
        assert (short.attrs["decodes"], len(short) < 50) == (300, True)
        assert len(neighbors(Chains(), "CCC", n=1, radius=1.0)) == 1

    def test_nothing_but_itself(self):
        table = neighbors(Chains(), "CCC", n=3, radius=1e-3, decodes=20)
        assert len(table) == 0
        assert "QED" in table.columns
        assert table.attrs["itself"] == 1

    def test_properties_are_those_of_the_scorers(self):
        table = neighbors(Chains(), "CCC", n=5, radius=1.0).set_index("SMILES")
        butane = Molecule.parse("CCCC")
        for word in ("logp", "qed", "sas"):
            assert table.at["CCCC", named(word).label] == named(word).evaluate(butane)
        assert 0 < table.at["CCCC", "similarity"] < 1

    def test_a_trained_kind_of_model_by_seed_and_in_any_spelling(self, vae, molecules):
        one, same, other = (neighbors(vae, molecules[0], 5, 2.0, 64, seed) for seed in (1, 1, 2))
        pd.testing.assert_frame_equal(one, same)
        assert one.attrs == same.attrs
        assert one.attrs["query"] == molecules[0]
        assert not one.equals(other) or one.attrs != other.attrs

    def test_progress_is_told(self):
        told = []
        neighbors(Chains(), "CCC", n=4, radius=0.5, decodes=300, progress=lambda *now: told.append(now))
        assert told
        assert all(done <= total == 4 for done, total in told)

    @pytest.mark.parametrize("wrong", [{"n": 0}, {"radius": 0.0}, {"radius": math.nan}, {"decodes": 0}])
    def test_refusals(self, wrong):
        with pytest.raises(UsageError, match="n, radius and decodes are above 0"):
            neighbors(Chains(), "CCC", **wrong)

    def test_what_cannot_be_encoded(self, vae):
        with pytest.raises(UnknownCharacter, match="does not know the character"):
            neighbors(vae, "C[Si](C)C")
        with pytest.raises(InvalidSmiles, match="unclosed ring"):
            neighbors(vae, "C1CC")


class TestWay:
    def test_ends_and_norms(self):
        a, b = torch.tensor([3.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])
        t = torch.linspace(0, 1, 5)
        points = interpolation_path(a, b, t)
        assert torch.allclose(points[[0, -1]], torch.stack([a, b]), atol=1e-6)
        assert torch.allclose(points.norm(dim=1), torch.tensor([3.0, 2.5, 2.0, 1.5, 1.0]))

    def test_equal_angles(self):
        a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
        points = interpolation_path(a, b, torch.tensor([1 / 3]))
        assert torch.allclose(points[0], 2 * torch.tensor([math.cos(math.pi / 6), math.sin(math.pi / 6)]))

    @pytest.mark.parametrize("b", [[4.0, 0.0], [-2.0, 0.0], [0.0, 0.0]])
    def test_without_a_great_circle_it_is_straight(self, b):
        points = interpolation_path(torch.tensor([2.0, 0.0]), torch.tensor(b), torch.tensor([0.0, 0.5, 1.0]))
        assert torch.allclose(points[:, 0], torch.tensor([2.0, (2 + b[0]) / 2, b[0]]))
        assert not points[:, 1].any()

    def test_straight_when_asked(self):
        a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 4.0])
        assert torch.allclose(interpolation_path(a, b, torch.tensor([0.5]), straight=True), torch.tensor([[1.0, 2.0]]))

    def test_between_random_points_the_shell_is_kept(self):
        a, b = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
        t = torch.linspace(0, 1, 9)
        round_, straight = (interpolation_path(a, b, t, flag).norm(dim=1) for flag in (False, True))
        assert round_.min() >= min(a.norm(), b.norm()) - 1e-4
        assert straight.min() < 0.8 * min(a.norm(), b.norm())


class TestInterpolate:
    def test_runs_of_one_molecule_are_one_row(self):
        """Ten points from one carbon to four round to 1, 1, 2, 2, 2, 3, 3, 3, 4, 4."""
        table = interpolate(Chains(), "C", "CCCC", n=10)
        assert table["SMILES"].tolist() == ["C", "CC", "CCC", "CCCC"]
        assert (table["t"] * 9).round(9).tolist() == [0, 2, 5, 8]
        assert (table["t_last"] * 9).round(9).tolist() == [1, 4, 7, 9]
        assert table.attrs == {"a": "C", "b": "CCCC", "points": 10, "invalid": 0}

    def test_columns_and_similarity_to_both_ends(self):
        table = interpolate(Chains(), "CC", "C(CCC)C", n=4)
        columns = ["SMILES", "t", "t_last", "similarity_a", "similarity_b", "logP", "QED", "SAS"]
        assert list(table.columns) == columns
        assert table["similarity_a"].iloc[0] == table["similarity_b"].iloc[-1] == 1
        assert table.attrs["b"] == "CCCCC"

    def test_points_without_a_molecule_are_counted_and_do_not_end_a_run(self):
        class Gap(Chains):
            def decode(self, z):
                return ["C", "C1CC(", "C", "CC", "C1CC(", "C"]

        table = interpolate(Gap(), "C", "CC", n=6)
        assert table["SMILES"].tolist() == ["C", "CC", "C"]
        assert table["t_last"].round(2).tolist() == [0.4, 0.6, 1.0]
        assert table.attrs["invalid"] == 2

    def test_no_molecule_at_all(self):
        class Broken(Chains):
            def decode(self, z):
                return ["C1CC("] * len(z)

        table = interpolate(Broken(), "C", "CC", n=3)
        assert len(table) == 0
        assert table.attrs["invalid"] == 3

    def test_a_model_with_weights(self, vae, molecules):
        one, same = (interpolate(vae, molecules[0], molecules[1], n=5) for _ in range(2))
        pd.testing.assert_frame_equal(one, same)

    def test_refusals(self, vae):
        with pytest.raises(UsageError, match="at least 2 points, its ends; n is 1"):
            interpolate(Chains(), "C", "CC", n=1)
        with pytest.raises(UsageError, match="both ends are the same molecule, CCO"):
            interpolate(vae, "OCC", "C(C)O")
        with pytest.raises(UnknownCharacter):
            interpolate(vae, "CC", "C[Si](C)C")


class TestPredict:
    @pytest.fixture
    def with_heads(self, vocab) -> SmilesVAE:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            settings = NetSettings(
                latent=4,
                embedding=6,
                encoder=GRUEncoder(hidden=8),
                decoder=GRUDecoder(hidden=12),
                properties=("logP", "x"),
            )
            return SmilesVAE(Net(settings, len(vocab)), vocab, longest=20)

    def test_what_the_heads_say_of_the_mean(self, with_heads, molecules):
        table = predict(with_heads, molecules[:7])
        assert list(table.columns) == ["SMILES", "logP", "x"]
        assert table["SMILES"].tolist() == list(molecules[:7])
        with torch.inference_mode():
            expected = with_heads.net.predict(with_heads.encode(molecules[:7]).mean)
        assert torch.allclose(torch.tensor(table[["logP", "x"]].to_numpy()).float(), expected)

    def test_any_spelling_and_none_at_all(self, with_heads):
        assert predict(with_heads, ["OCC"])["SMILES"].tolist() == ["CCO"]
        assert len(predict(with_heads, [])) == 0

    def test_without_heads(self, vae):
        with pytest.raises(UsageError, match="properties"):
            predict(vae, ["CCO"])
