import pytest
import torch

from molvae.bo.layout import FeatureLayout

LAYOUT = FeatureLayout((("counts", 3), ("descriptors", 0), ("latent", 2)))


def test_blocks_follow_each_other():
    assert [LAYOUT[name] for name in ("counts", "descriptors", "latent")] == [slice(0, 3), slice(3, 3), slice(3, 5)]
    assert LAYOUT.width == 5


def test_rows_are_split_into_blocks():
    X = torch.arange(20).reshape(2, 2, 5)
    found = LAYOUT.split(X)
    assert list(found) == ["counts", "descriptors", "latent"]
    assert found["latent"].tolist() == [[[3, 4], [8, 9]], [[13, 14], [18, 19]]]
    assert found["descriptors"].shape == (2, 2, 0)


def test_rows_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"have 5 columns.*these have 4"):
        LAYOUT.split(torch.zeros(3, 4))


def test_a_block_that_is_not_there_is_named():
    with pytest.raises(KeyError, match="no block 'descriptor' among counts, descriptors, latent"):
        LAYOUT["descriptor"]


@pytest.mark.parametrize("blocks", [(("counts", 3), ("counts", 2)), (("counts", -1),)])
def test_layouts_that_make_no_sense_are_refused(blocks):
    with pytest.raises(ValueError, match="different names, and widths of at least 0"):
        FeatureLayout(blocks)
