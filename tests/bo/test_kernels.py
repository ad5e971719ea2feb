import numpy as np
import pytest
import torch
from gpytorch.kernels import RBFKernel
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rdkit import DataStructs

from molvae.bo.kernels import Levels, MinMaxKernel, nearness
from molvae.chem.features import Featurizer
from molvae.chem.fingerprints import morgan
from molvae.chem.molecule import Molecule

DRUGS = (
    "CC(=O)Oc1ccccc1C(=O)O",
    "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
    "CC1(C)S[C@@H]2[C@H](NC(=O)Cc3ccccc3)C(=O)N2[C@H]1C(=O)O",
    "CN1CCN(Cc2ccc(C(=O)Nc3ccc(C)c(Nc4nccc(-c5cccnc5)n4)c3)cc2)CC1",
    "CCCCCCCCCCCCCCCCCC(=O)O",
    "C",
)


def matrices(rows):
    return arrays(np.int64, st.tuples(rows, st.just(5)), elements=st.integers(0, 6))


def brute(A, B):
    """Pair by pair, column by column."""
    K = np.empty((len(A), len(B)))
    for i, a in enumerate(A):
        for j, b in enumerate(B):
            least = sum(min(x, y) for x, y in zip(a, b, strict=True))
            most = sum(max(x, y) for x, y in zip(a, b, strict=True))
            K[i, j] = least / most if most else 1.0
    return K


def kernel(A, B=None, **options):
    found = MinMaxKernel()(torch.as_tensor(A), None if B is None else torch.as_tensor(B), **options)
    return (found if options else found.to_dense()).numpy()


@given(matrices(st.integers(1, 5)), matrices(st.integers(1, 4)))
def test_it_is_the_sum_of_minima_over_the_sum_of_maxima(A, B):
    A, B = A.astype(float), B.astype(float)
    assert kernel(A, B).tolist() == brute(A, B).tolist()
    assert kernel(B, A).tolist() == brute(B, A).tolist()
    n = min(len(A), len(B))
    assert kernel(A[:n], B[:n], diag=True).tolist() == np.diag(brute(A[:n], B[:n])).tolist()


@given(matrices(st.integers(1, 12)))
def test_it_is_a_kernel(A):
    K = kernel(A.astype(float))
    assert np.linalg.eigvalsh(K).min() > -1e-12
    assert (K == K.T).all()
    assert (np.diag(K) == 1).all()
    assert kernel(A.astype(float), diag=True).tolist() == [1.0] * len(A)


def test_vectors_of_zeros_are_alike_and_unlike_all_others():
    A = np.array([[0.0, 0.0], [0.0, 3.0], [0.0, 0.0]])
    assert kernel(A).tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    assert kernel(A[:1]).tolist() == [[1]]


def test_batches_broadcast():
    rng = np.random.default_rng(0)
    A, B = rng.integers(0, 5, (3, 1, 4, 6)).astype(float), rng.integers(0, 9, (2, 5, 6)).astype(float)
    K = kernel(A, B)
    assert K.shape == (3, 2, 4, 5)
    for i in range(3):
        for j in range(2):
            assert K[i, j].tolist() == brute(A[i, 0], B[j]).tolist()
    diagonal = kernel(A, B[:, :4], diag=True)
    assert diagonal.shape == (3, 2, 4)
    assert diagonal[2, 1].tolist() == np.diag(brute(A[2, 0], B[1, :4])).tolist()


@pytest.mark.parametrize(
    ("given", "expected"),
    [(torch.float32, torch.float32), (torch.float64, torch.float64), (torch.uint8, torch.float64)],
)
def test_type_of_the_numbers(given, expected):
    X = torch.tensor([[250, 1], [200, 100], [255, 255]], dtype=given)  # whose sums are no uint8
    for found in (MinMaxKernel()(X).to_dense(), MinMaxKernel()(X, diag=True)):
        assert found.dtype == expected
    assert MinMaxKernel()(X).to_dense()[0].tolist() == pytest.approx([1, 201 / 350, 251 / 510], rel=1e-6)


@given(matrices(st.integers(0, 4)), matrices(st.integers(1, 4)))
def test_levels_make_minima_a_product(A, B):
    """Also where the other counts are above all that the levels were made for."""
    levels = Levels(torch.from_numpy(A))
    one, other = levels(torch.from_numpy(A)), levels(torch.from_numpy(B))
    assert set(one.unique().tolist()) <= {0.0, 1.0}
    assert (one @ other.T).tolist() == np.minimum(A[:, None], B[None]).sum(-1).tolist()
    assert one.shape[1] == (A.max(0, initial=0).sum())


def test_of_molecules_it_is_rdkits_tanimoto_of_count_fingerprints():
    molecules = [Molecule.parse(smiles) for smiles in DRUGS]
    fingerprints = [morgan(3, counts=True)(molecule.mol) for molecule in molecules]
    expected = [DataStructs.BulkTanimotoSimilarity(one, fingerprints) for one in fingerprints]
    np.testing.assert_allclose(kernel(Featurizer()(molecules)[0]), expected, rtol=1e-15, atol=0)


def test_nearness_is_the_squared_exponential_kernel_whose_length_grows_with_the_dimension():
    rng = torch.Generator().manual_seed(0)
    A, B = (
        torch.randn(2, 4, 7, dtype=torch.float64, generator=rng),
        torch.randn(5, 7, dtype=torch.float64, generator=rng),
    )
    theirs = RBFKernel().double()
    theirs.lengthscale = 7**0.5
    torch.testing.assert_close(nearness(A, B), theirs(A, B).to_dense().detach())
