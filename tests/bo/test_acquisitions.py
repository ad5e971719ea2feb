import warnings

import pytest
import torch
from botorch.acquisition import LogExpectedImprovement

from molvae.bo.acquisitions import Acquisition
from molvae.bo.surrogates import ExactGP


@pytest.fixture(scope="module")
def line():
    """f(x) = −x², seen at seven points of a line."""
    X = torch.tensor([-3.0, -2.0, -1.5, 1.5, 2.0, 2.5, 3.0], dtype=torch.float64).unsqueeze(1)
    return X, -(X**2)


@pytest.fixture(scope="module")
def compromise():
    """Two objectives that pull x to −1 and to 1."""
    X = torch.tensor([-3.0, -2.0, 0.0, 2.0, 3.0], dtype=torch.float64).unsqueeze(1)
    return X, torch.cat([-((X + 1) ** 2), -((X - 1) ** 2)], dim=1)


def test_single_choice_is_the_argmax_of_log_expected_improvement(line):
    X, Y = line
    model = ExactGP()(X, Y)
    candidates = torch.linspace(-2.9, 2.9, 30, dtype=torch.float64).unsqueeze(1)
    with torch.no_grad():
        scores = LogExpectedImprovement(model, Y.max())(candidates.unsqueeze(1))
    choice = Acquisition(samples=512)(model, Y, candidates, q=1)
    assert abs(choice.indices[0] - int(scores.argmax())) <= 1
    assert choice.acquisition[0] == pytest.approx(scores.max().item(), abs=0.05)
    assert abs(candidates[choice.indices[0]].item()) < 0.5


def test_a_batch_has_different_rows_and_the_models_own_predictions(line):
    X, Y = line
    model = ExactGP()(X, Y)
    candidates = torch.linspace(-2, 2, 25, dtype=torch.float64).unsqueeze(1)
    choice = Acquisition(screen=10)(model, Y, candidates, q=4, seed=5)
    assert len(set(choice.indices)) == 4
    posterior = model.posterior(candidates[list(choice.indices)])
    assert [row[0] for row in choice.mean] == pytest.approx(posterior.mean.flatten().tolist())
    assert [row[0] for row in choice.sd] == pytest.approx(posterior.variance.sqrt().flatten().tolist())
    assert choice == Acquisition(screen=10)(model, Y, candidates, q=4, seed=5)


def test_fewer_candidates_than_q_are_all_taken_and_twins_once_each(line):
    X, Y = line
    candidates = torch.tensor([[0.5], [0.5], [1.0]], dtype=torch.float64)
    choice = Acquisition()(ExactGP()(X, Y), Y, candidates, q=10)
    assert sorted(choice.indices) == [0, 1, 2]


@pytest.mark.slow
def test_several_objectives_seek_the_pareto_set(compromise):
    X, Y = compromise
    candidates = torch.tensor([[-2.9], [-1.0], [1.0], [2.9]], dtype=torch.float64)
    before = torch.random.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choice = Acquisition()(ExactGP()(X, Y), Y, candidates, q=2, seed=1)
    assert set(choice.indices) == {1, 2}
    assert [len(row) for row in choice.mean] == [2, 2]
    assert torch.equal(torch.random.get_rng_state(), before)


def test_reference_point_decides_which_end_counts(compromise):
    X, Y = compromise
    candidates = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    model = ExactGP()(X, Y)
    for reference, best in (([-0.5, -5.0], 0), ([-5.0, -0.5], 1)):
        point = torch.tensor(reference, dtype=torch.float64)
        assert Acquisition()(model, Y, candidates, 1, point).indices == (best,)
