import pytest

from molvae.chem.degeneracy import longest_chain, mean_similarity
from molvae.chem.molecule import Molecule


@pytest.mark.parametrize(
    ("smiles", "n"),
    [
        ("c1ccccc1", 0),
        ("C", 1),
        ("CCCCCCCC", 8),
        ("CCCCOCCC", 4),
        ("CC(CCC)CCCC", 8),
        ("C#CC#CC#CC#C", 8),
        ("CCCC1CCCCC1CC", 3),
        ("O=S(=O)(SSSSS)C", 6),
        ("C" * 200, 200),
    ],
)
def test_the_longest_chain_is_of_one_element_and_outside_rings(smiles, n):
    assert longest_chain(Molecule.parse(smiles)) == n


def test_mean_similarity_is_over_pairs():
    ethanol, propane = Molecule.parse("CCO"), Molecule.parse("CCC")
    one = mean_similarity([ethanol, propane])
    assert 0 < one < 1
    assert mean_similarity([ethanol, ethanol]) == 1
    assert mean_similarity([ethanol, ethanol, propane]) == pytest.approx((1 + 2 * one) / 3)
    assert mean_similarity([ethanol]) is None
