"""Samples that resemble a corpus, of strings whose likeness is plain to see."""

import numpy as np
import pytest

from molvae.data.match import MatchSettings, cap, choose, match, strata
from molvae.errors import DataError, RecipeError


@pytest.mark.slow
def test_of_samples_those_are_kept_that_look_like_the_corpus(tmp_path):
    tails = [f"{'C' * n}{mid}{'C' * m}" for n in range(1, 9) for m in range(1, 9) for mid in ("C(C)", "C(CC)", "N")]
    corpus, alike, other = ([f"{head}{tail}" for tail in tails] for head in ("O", "OC(=O)", "Fc1ccc(cc1)"))
    (tmp_path / "corpus.smi").write_text("\n".join(corpus + [f"OC(=O){tail}C=C" for tail in tails]))
    (tmp_path / "samples.csv").write_text("\n".join(["SMILES", *alike, "C1CC", *other, other[0]]))
    settings = MatchSettings(keep=0.5, epochs=100, strata=1)
    found = match([tmp_path / "samples.csv"], tmp_path / "corpus.smi", settings)
    assert 0.4 < len(found.smiles) / len(alike + other) < 0.6
    assert sum("F" in smiles for smiles in found.smiles) < 0.1 * len(found.smiles)
    assert {name: n for name, (n, _) in found.means.items()} == {
        "corpus": 2 * len(tails), "samples": 2 * len(tails), "kept": len(found.smiles)
    }  # fmt: skip
    assert 0.5 < found.told_apart <= 1
    assert match([tmp_path / "samples.csv"], tmp_path / "corpus.smi", settings).smiles == found.smiles


def test_a_table_without_a_molecule_is_an_error(tmp_path):
    (tmp_path / "corpus.smi").write_text("CCO\nCCN\n")
    (tmp_path / "none.csv").write_text("SMILES\nnothing\n")
    with pytest.raises(DataError, match=r"none\.csv: no valid SMILES among 1 different strings"):
        match([tmp_path / "none.csv"], tmp_path / "corpus.smi", MatchSettings())
    with pytest.raises(RecipeError, match="keep: Input should be less than or equal to 1"):
        MatchSettings(keep=2.0)


def test_the_cap_keeps_the_share_asked_for():
    odds = np.random.default_rng(0).normal(size=5000)
    for keep in (0.1, 0.5, 0.9):
        assert np.exp(np.minimum(0, odds - cap(odds, keep))).mean() == pytest.approx(keep, abs=1e-3)


def test_each_stratum_has_what_the_corpus_has_of_it():
    rng = np.random.default_rng(0)
    theirs = np.repeat([0, 1], [900, 100])
    ours = np.repeat([0, 1, 2], [400, 400, 200])
    kept = choose(np.zeros(1000), theirs, ours, 0.3, rng)
    assert [int(kept[ours == cell].sum()) for cell in (0, 1, 2)] == pytest.approx([270, 30, 0], abs=25)
    few = choose(np.zeros(1000), theirs, np.repeat([0, 1], [100, 900]), 0.9, rng)
    assert few[:100].all()  # all, where there are fewer than wanted


def test_strata_lie_between_quantiles_of_the_corpus():
    table = np.zeros((100, 26))
    table[:, -1] = np.arange(100)
    cells, others = strata(table, table[::-1], 2)
    assert sorted(set(cells.tolist())) != [0]
    assert cells.tolist() == others[::-1].tolist()
