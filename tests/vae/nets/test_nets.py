"""The two terms of the evidence lower bound, against other ways of computing them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import log_softmax

from molvae.data.vocab import END, START
from molvae.vae.model import Posterior
from molvae.vae.nets.nets import DECODERS, ENCODERS, GRUDecoder, GRUEncoder, Net, NetSettings, gaussian_kl

SIZES = NetSettings(latent=3, embedding=4, encoder=GRUEncoder(hidden=5), decoder=GRUDecoder(hidden=6))
CHARACTERS = 9

pairs = st.lists(st.tuples(st.floats(-6, 6), st.floats(-8, 4)), min_size=1, max_size=8)


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net(SIZES, CHARACTERS).eval()


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(2, CHARACTERS, (7, 11), generator=torch.Generator().manual_seed(0))


@given(pairs)
def test_kl_is_that_of_torch_distributions_and_not_negative(values):
    mean, logvar = torch.tensor(values, dtype=torch.float64).t()
    kl = gaussian_kl(mean, logvar)
    torch.testing.assert_close(kl, kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(0.0, 1.0)))
    assert (kl >= -1e-15).all()


def test_kl_of_known_gaussians():
    kl = gaussian_kl(torch.tensor([0.0, 2.0, 0.0]), torch.tensor([0.0, 0.0, math.log(4)]))
    torch.testing.assert_close(kl, torch.tensor([0.0, 2.0, 1.5 - math.log(2)]))


def test_nll_is_the_sum_over_characters_of_a_loop(net, tokens):
    z = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = []
        for ids, point in zip(tokens, z, strict=True):
            state, before, total = net.decoder.initial(point[None]), START, 0.0
            for character in [*ids.tolist(), END]:
                logits, state = net.decoder(torch.tensor([[before]]), point[None], state)
                total -= float(log_softmax(logits[0, 0].double(), -1)[character])
                before = character
            expected.append(total)
        nll = net.nll(tokens, z)
    torch.testing.assert_close(nll, torch.tensor(expected), rtol=1e-5, atol=1e-4)


def test_nll_is_in_nats_per_molecule_with_its_end(net, tokens):
    """A decoder that knows nothing pays log(characters) for each of 11 characters and the end."""
    with torch.no_grad():
        for weights in net.decoder.logits.parameters():
            weights.zero_()
        nll = net.nll(tokens, torch.zeros(7, 3))
    torch.testing.assert_close(nll, torch.full((7,), 12 * math.log(CHARACTERS)))


def test_the_terms_are_one_a_molecule_and_one_a_latent_dimension(net, tokens):
    nll, kl, _ = net(tokens, torch.zeros(7, 3))
    assert (nll.shape, kl.shape) == ((7,), (7, 3))
    mean, logvar = net.encoder(tokens)
    assert mean.shape == logvar.shape == (7, 3)
    assert mean.dtype == logvar.dtype == torch.float32
    torch.testing.assert_close(nll, net.nll(tokens, mean))  # no noise: z is the mean
    torch.testing.assert_close(kl.sum(-1), Posterior(mean, logvar).kl())


def test_noise_moves_z_by_the_standard_deviation(net, tokens):
    noise = torch.randn(7, 3, generator=torch.Generator().manual_seed(2))
    mean, logvar = net.encoder(tokens)
    torch.testing.assert_close(net(tokens, noise).nll, net.nll(tokens, mean + noise * torch.exp(logvar / 2)))


def test_every_parameter_has_a_gradient(net, tokens):
    nll, kl, _ = net(tokens, torch.ones(7, 3))
    (nll.mean() + kl.mean(0).sum()).backward()
    assert [name for name, weights in net.named_parameters() if not weights.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("member", ENCODERS.members)
def test_each_encoder_gives_a_posterior(member, tokens):
    encoder = member()(latent=3, embedding=4, characters=CHARACTERS)
    mean, logvar = encoder(tokens)
    assert mean.shape == logvar.shape == (7, 3)
    assert mean.dtype == logvar.dtype == torch.float32
    torch.testing.assert_close(encoder(tokens[2:3])[0], mean[2:3])
    (mean.square() + logvar.square()).sum().backward()
    assert all(weights.grad.abs().sum() > 0 for weights in encoder.parameters())


@pytest.mark.parametrize("member", DECODERS.members)
def test_each_decoder_reads_on_from_its_state(member, tokens):
    decoder = member()(latent=3, embedding=4, characters=CHARACTERS)
    z = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
    start = decoder.initial(z)
    assert len(start) == 7
    whole, last = decoder(tokens, z, start)
    assert whole.shape == (7, 11, CHARACTERS)
    logits, state = [], start
    for character in tokens.unbind(1):
        one, state = decoder(character[:, None], z, state)
        logits.append(one)
    torch.testing.assert_close(whole, torch.cat(logits, 1))
    torch.testing.assert_close(state, last)
    rows = torch.tensor([4, 0, 4])  # as a beam takes them
    again, _ = decoder(tokens[rows], z[rows], start[rows])
    torch.testing.assert_close(again, whole[rows])


def test_strings_of_several_lengths_are_read_as_those_of_one(net):
    strings = [[2, 3, 4, 5], [5, 4, 3, 2], [6, 7], [8]]
    with torch.no_grad():
        mean, logvar = net.read(strings)
        alone = [net.encoder(torch.tensor([ids])) for ids in strings]
    torch.testing.assert_close(mean, torch.cat([one[0] for one in alone]), atol=0.02, rtol=0.02)  # bfloat16 somewhere
    torch.testing.assert_close(logvar, torch.cat([one[1] for one in alone]), atol=0.02, rtol=0.02)


def test_the_default_net_has_1_6_million_parameters():
    assert round(sum(weights.numel() for weights in Net(NetSettings(), 40).parameters()) / 1e6, 1) == 1.6


def test_heads_learn_from_the_labels_there_are():
    """Errors are in standard deviations, and a missing label costs nothing."""
    net = Net(SIZES.model_copy(update={"properties": ("logP", "QED")}), CHARACTERS)
    nan = math.nan
    labels = torch.tensor([[1.0, 10.0], [3.0, nan], [nan, 30.0]])
    net.heads.standardise(labels)
    assert net.heads.center.tolist() == [2.0, 20.0]
    assert net.heads.scale.tolist() == [1.0, 10.0]
    with torch.no_grad():
        for weights in net.heads.layers.parameters():
            weights.zero_()
    z = torch.ones(3, 3, requires_grad=True)
    assert net.predict(z).tolist() == [[2.0, 20.0]] * 3
    torch.testing.assert_close(net.heads.loss(z, labels), torch.tensor([1.0, 1.0]))
    torch.testing.assert_close(net.heads.loss(z, labels + nan), torch.zeros(2))
    net.heads.loss(z, labels).sum().backward()
    assert all(weights.grad.isfinite().all() for weights in net.heads.parameters())


def test_a_label_that_never_varies_is_no_division_by_zero():
    net = Net(SIZES.model_copy(update={"properties": ("same", "never")}), CHARACTERS)
    net.heads.standardise(torch.tensor([[5.0, math.nan], [5.0, math.nan]]))
    assert net.heads.scale.tolist() == [1.0, 1.0]
    assert net.heads.center.tolist() == [5.0, 0.0]


def test_heads_read_the_posterior_mean(tokens):
    net = Net(SIZES.model_copy(update={"properties": ("logP",)}), CHARACTERS)
    labels = torch.linspace(-1, 1, 7)[:, None]
    mean, _ = net.encoder(tokens)
    terms = net(tokens, torch.ones(7, 3), labels)
    torch.testing.assert_close(terms.errors, net.heads.loss(mean, labels))
    terms.errors.sum().backward()
    assert net.encoder.posterior.weight.grad.abs().sum() > 0


def test_latent_noise_is_added_to_the_mean_and_teaches_the_encoder_nothing(net, tokens):
    noise = torch.randn(7, 3, generator=torch.Generator().manual_seed(2))
    latent_sd = torch.tensor([[0.0], [0.5], [0.0], [2.0], [0.0], [0.0], [1.0]])
    mean, logvar = net.encoder(tokens)
    z = mean + noise * torch.where(latent_sd > 0, latent_sd, torch.exp(logvar / 2))
    torch.testing.assert_close(net(tokens, noise, None, latent_sd).nll, net.nll(tokens, z))
    net(tokens, noise, None, latent_sd + 1).nll.sum().backward()
    assert net.encoder.posterior.weight.grad is None or not net.encoder.posterior.weight.grad.any()
