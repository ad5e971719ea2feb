import logging

import pytest

from molvae.campaign.propose.initial import FromFile, FromPrior, FromTraining, Given
from molvae.errors import CampaignError, DataError, InvalidSmiles, UnknownCharacter


def test_given_molecules_are_canonical_and_once_each(space):
    smiles = space.smiles[0]
    assert Given(smiles=(smiles, smiles, space.smiles[1]))(space, 10, 0) == space.smiles[:2]


def test_given_molecules_must_be_usable(space):
    with pytest.raises(InvalidSmiles):
        Given(smiles=("C1CC",))(space, 10, 0)
    with pytest.raises(UnknownCharacter, match="cannot encode"):
        Given(smiles=("CCO",))(space, 10, 0)


def test_a_file_skips_bad_rows_with_a_warning(space, tmp_path, caplog):
    path = tmp_path / "start.smi"
    path.write_text("\n".join([space.smiles[3], "C1CC", "CCO", space.smiles[3], space.smiles[4]]) + "\n")
    with caplog.at_level(logging.WARNING, "molvae"):
        assert FromFile(path=str(path))(space, 10, 0) == space.smiles[3:5]
    assert [record.getMessage().split(" is skipped")[0] for record in caplog.records] == [
        f"{path}, line 2",
        f"{path}, line 3",
    ]
    assert FromFile(path=str(path), n=1)(space, 10, 0) == [space.smiles[3]]


def test_a_row_that_is_too_long_is_skipped_with_a_warning(space, tmp_path, caplog):
    path = tmp_path / "start.csv"
    path.write_text(f"SMILES,name\n{space.smiles[3]},a, b\n{space.smiles[4]},c\n")
    with caplog.at_level(logging.WARNING, "molvae"):
        assert FromFile(path=str(path))(space, 10, 0) == space.smiles[4:5]
    assert f"{path}, line 2 is skipped: 3 cells for 2 columns" in caplog.text


def test_a_file_with_nothing_usable_is_an_error(space, tmp_path):
    path = tmp_path / "start.smi"
    path.write_text("C1CC\nCCO\n")
    with pytest.raises(DataError, match="none of its 2 rows can be used"):
        FromFile(path=str(path))(space, 10, 0)


def test_training_draws_by_seed_from_the_training_part(space, tmp_path):
    (tmp_path / "train.smi").write_text("\n".join(space.smiles) + "\n")
    start = FromTraining(path=str(tmp_path), n=5)
    first, again, other = (start(space, 300, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert len(set(first)) == 5
    assert set(first) <= set(space.smiles)
    assert start(space, 3, 1) == first[:3]


def test_the_prior_gives_valid_different_molecules_by_seed(space):
    first, again, other = (FromPrior(n=20)(space, 300, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert len(set(first)) == 20
    assert all(space.can_encode(smiles) for smiles in first)


def test_a_model_that_makes_nothing_valid_is_an_error(space):
    class Broken(type(space)):
        def sample(self, n, seed):
            return ["C1CC("] * n

    with pytest.raises(CampaignError, match=r"of 80 samples .* only 0 are different valid .*start\.n is 2"):
        FromPrior(n=2)(Broken(), 300, 0)
