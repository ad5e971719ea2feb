"""Which weights each optimiser moves, and how far."""

import pytest
import torch

from molvae.vae.nets.nets import GRUDecoder, GRUEncoder, Net, NetSettings
from molvae.vae.training.optimizers import OPTIMIZERS, MuonSettings, set_rate

SIZES = NetSettings(
    latent=3, embedding=4, encoder=GRUEncoder(hidden=5), decoder=GRUDecoder(hidden=6), properties=("logP",)
)


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net(SIZES, 9)


@pytest.mark.parametrize("member", OPTIMIZERS.members)
def test_each_weight_is_moved_by_one_optimiser(net, member):
    assert member().learning_rate > 0
    moved = [weights for one in member()(net) for group in one.param_groups for weights in group["params"]]
    assert len(moved) == len(set(moved))
    assert set(moved) == set(net.parameters())


def test_muon_moves_the_gru_matrices_alone(net):
    muon, _ = MuonSettings()(net)
    names = {weights: name for name, weights in net.named_parameters()}
    found = [names[weights] for weights in muon.param_groups[0]["params"]]
    assert found == [
        *(f"encoder.gru.weight_{kind}_l0{way}" for way in ("", "_reverse") for kind in ("ih", "hh")),
        *(f"decoder.gru.weight_{kind}_l0" for kind in ("ih", "hh")),
    ]


def test_a_step_of_muon_is_orthogonal_and_as_large_as_one_of_adamw(net):
    """U Vᵀ of the gradient, up to the few steps of Newton and Schulz, times 0.2 · √(larger side) · rate."""
    muon, _ = MuonSettings(learning_rate=0.5)(net)
    weights = net.decoder.gru.weight_hh_l0
    before = weights.detach().clone()
    for other in muon.param_groups[0]["params"]:
        other.grad = torch.zeros_like(other)
    weights.grad = torch.randn(18, 6, generator=torch.Generator().manual_seed(0))
    muon.step()
    sizes = torch.linalg.svdvals(before - weights.detach())
    assert (sizes / (0.5 * 0.2 * 18**0.5) - 1).abs().max() < 0.4
    assert (before - weights).square().mean().sqrt().item() == pytest.approx(0.2 * 0.5, rel=0.3)


def test_rates_are_shares_of_their_highest(net):
    both = MuonSettings(learning_rate=0.4, others=0.1)(net)
    for factor in (0.5, 0.25, 1.0):
        set_rate(both, factor)
        assert [one.param_groups[0]["lr"] for one in both] == [0.4 * factor, 0.1 * factor]
