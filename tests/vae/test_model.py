import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from molvae.chem.molecule import parse_or_none
from molvae.data.vocab import END, Vocab
from molvae.errors import InvalidSmiles, SmilesError, UnknownCharacter, UsageError
from molvae.vae.model import Posterior, SmilesVAE
from molvae.vae.nets.nets import GRUDecoder, GRUEncoder, Net, NetSettings


def test_encoding_does_not_depend_on_the_company(vae, molecules):
    together = vae.encode(molecules)
    assert together.mean.shape == together.logvar.shape == (len(molecules), vae.latent)
    assert together.mean.dtype == together.logvar.dtype == torch.float32
    assert together.mean.std(0).min() > 0.01  # molecules differ, so order shows
    for row in range(0, len(molecules), 23):
        alone = vae.encode([molecules[row]])
        torch.testing.assert_close(alone.mean[0], together.mean[row], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone.logvar[0], together.logvar[row], atol=1e-5, rtol=0)


def test_order_is_kept_across_lengths_and_batches(vae, molecules, monkeypatch):
    together = vae.encode(molecules).mean
    monkeypatch.setattr("molvae.vae.model.ENCODE_BATCH", 3)
    shuffled = np.random.default_rng(0).permutation(len(molecules))
    torch.testing.assert_close(vae.encode([molecules[k] for k in shuffled]).mean, together[shuffled])


def test_any_spelling_of_a_molecule_has_one_encoding(vae):
    posterior = vae.encode(["OCCCCC", "C(CCCC)O", " CCCCCO "])
    assert torch.equal(posterior.mean[0], posterior.mean[1])
    assert torch.equal(posterior.mean[0], posterior.mean[2])
    assert not torch.equal(vae.encode_texts(["OCCCCC"]).mean, vae.encode_texts(["CCCCCO"]).mean)


@pytest.mark.parametrize(
    ("smiles", "error", "said"),
    [
        ("", InvalidSmiles, "empty"),
        ("C1CC", InvalidSmiles, "unclosed ring at character 2"),
        ("CCC[Xe]", UnknownCharacter, "does not know the character 'X' at character 5"),
        ("C" * 21, SmilesError, "longer than the 20 characters this model reads"),
        ("C" * 2000, InvalidSmiles, "too long"),
    ],
)
def test_what_cannot_be_encoded_is_said(vae, smiles, error, said):
    with pytest.raises(error, match=said):
        vae.encode(["CCCO", smiles])


@pytest.mark.parametrize(
    ("smiles", "said"),
    [
        ("CCO.[Na+].[Cl-]", r"character '\.' \(it reads the largest part: CCO\) at character 4"),
        ("[13CH3]C[15NH2]", r"character '3' \(it reads it without isotopes: CCN\)"),
        ("C[C@H](N)O.[Na+]", r"\(it reads it without stereochemistry: CC\(N\)O\)"),
        ("[NH3+]CC", r"\(it reads it without charges: CCN\)"),
        ("CCCO." + "C" * 21, r"longer than the 20 characters this model reads: 'C"),
        ("C" * 12 + "." + "O=C=O" + ".N" * 3, r"reads \(it reads the largest part: CCCCCCCCCCCC\)"),
        ("CC[Xe]", r"character 'X' at character 4"),
    ],
)
def test_what_is_near_and_can_be_encoded_is_offered(smiles, said):
    vocab = Vocab.of(["CCO", "C=1(CN)[H]1O"])
    few = SmilesVAE(
        Net(NetSettings(latent=2, embedding=2, encoder=GRUEncoder(hidden=2), decoder=GRUDecoder(hidden=2)), len(vocab)),
        vocab,
        20,
    )
    with pytest.raises(SmilesError, match=said):
        few.encode([smiles])


def test_a_single_string_is_one_molecule(vae):
    assert torch.equal(vae.encode("OCC").mean, vae.encode(["CCO"]).mean)
    assert torch.equal(vae.encode_texts("CCO").mean, vae.encode(["CCO"]).mean)


@pytest.mark.parametrize("smiles", [5, None, [5], ["CC", None], [b"CC"], [["CC"]]])
def test_something_else_than_strings_is_refused(vae, smiles):
    with pytest.raises(UsageError, match=r"of the type (int|NoneType|bytes|list)"):
        vae.encode(smiles)


@pytest.mark.parametrize("z", ["CCO", None, ["CCO"], [[1.0], [1.0, 2.0]], {}])
def test_latent_points_are_numbers(vae, z):
    with pytest.raises(UsageError, match="latent points"):
        vae.decode(z)


def test_it_says_what_it_is(vae):
    assert repr(vae).startswith("SmilesVAE(4 latent dimensions, ")
    assert "normal prior" in repr(vae)


def test_an_empty_text_cannot_be_encoded(vae):
    with pytest.raises(SmilesError, match="empty"):
        vae.encode_texts(["CC", ""])


def test_nothing_in_nothing_out(vae):
    assert vae.encode([]).mean.shape == (0, vae.latent)
    assert vae.decode(torch.zeros(0, vae.latent)) == []
    assert vae.sample(0) == []


def test_decoding_takes_arrays_of_any_float(vae, molecules):
    z = vae.encode(molecules[:5]).mean
    texts = vae.decode(z)
    assert vae.decode(z.double().numpy()) == texts
    assert vae.decode(z.tolist()) == texts
    assert all(set(text) <= set(vae.vocab.characters) and len(text) <= vae.longest for text in texts)


@pytest.mark.parametrize("shape", [(3, 5), (4,), (2, 3, 4)])
def test_points_of_another_space_are_refused(vae, shape):
    with pytest.raises(UsageError, match=r"come as \(n, 4\) for this model; these are \("):
        vae.decode(torch.zeros(shape))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_is_a_positive_number(vae, temperature):
    with pytest.raises(UsageError, match="a temperature is at least"):
        vae.sample(3, temperature=temperature)


def test_the_seed_decides_what_is_sampled(vae):
    assert vae.sample(20, seed=1) == vae.sample(20, seed=1) != vae.sample(20, seed=2)
    z = torch.zeros(20, vae.latent)
    assert len(set(vae.decode(z))) == 1
    assert len(set(vae.decode(z, temperature=1.0))) > 1
    assert vae.decode(z, 1.0, seed=3) == vae.decode(z, 1.0, seed=3) != vae.decode(z, 1.0, seed=4)


@pytest.fixture
def writes(vae, monkeypatch):
    """Make the model write this string first, and these ways to write on, best first."""

    def make(first: str, ways: list[str]) -> SmilesVAE:
        def ids(texts):
            rows = [[*vae.vocab.encode(text), END] for text in texts]
            return torch.tensor([row + [END] * (vae.longest - len(row)) for row in rows]).reshape(-1, vae.longest)

        def beam(decoder, z, longest, grammar, width):
            return [ids(ways if grammar is vae.grammar else ["C1C"]) for _ in z]

        monkeypatch.setattr("molvae.vae.model.beam", beam)
        monkeypatch.setattr("molvae.vae.model.generate", lambda decoder, z, *_: ids([first] * len(z)))
        return vae

    return make


@pytest.mark.parametrize(
    ("first", "ways", "written"),
    [
        ("CCO", ["CCN"], "CCO"),
        ("C1CC", ["C1C", "CCC", "CCO"], "CCC"),
        ("C1CC", ["C1C", "=C"], "C1CC"),
        ("C1CC", [], "C1CC"),
    ],
)
def test_what_rdkit_refuses_gives_way_to_the_next_best(writes, first, ways, written):
    model = writes(first, ways)
    assert model.decode(torch.zeros(2, model.latent)) == [written] * 2
    assert model.decode(torch.zeros(2, model.latent), grammar=False) == [first] * 2


def test_with_the_grammar_even_an_untrained_model_writes_molecules(vae):
    z = vae.prior.sample(60, seed=0)
    valid = [np.mean([parse_or_none(text) is not None for text in vae.decode(z, grammar=on)]) for on in (True, False)]
    assert valid[0] > 0.8
    assert valid[1] < 0.2
    assert vae.sample(60, seed=0) == vae.decode(z)
    assert vae.sample(60, seed=0, grammar=False) == vae.decode(z, grammar=False)


def test_samples_are_of_its_own_prior(vae):
    class Twos:
        def sample(self, n, seed):
            return torch.full((n, vae.latent), 2.0 + seed)

    vae.prior = Twos()
    assert vae.sample(2, seed=1) == vae.decode(torch.full((2, vae.latent), 3.0))


def test_properties_are_predicted_on_the_cpu_in_order(vocab):
    settings = NetSettings(
        latent=3, embedding=2, encoder=GRUEncoder(hidden=2), decoder=GRUDecoder(hidden=2), properties=("logP", "QED")
    )
    model = SmilesVAE(Net(settings, len(vocab)), vocab, 20)
    assert model.properties == ("logP", "QED")
    z = torch.randn(7, 3)
    assert torch.equal(model.predict(z.double()), model.net.predict(z).detach())
    assert not model.predict(z).requires_grad
    with pytest.raises(UsageError, match=r"latent points come as \(n, 3\)"):
        model.predict(torch.zeros(2, 4))


def test_without_heads_nothing_is_predicted(vae):
    assert vae.properties == ()
    with pytest.raises(UsageError, match=r"predicts no properties; train one with net\.properties"):
        vae.predict(torch.zeros(1, vae.latent))


def test_it_reads_what_it_can_encode(vae):
    assert not vae.reads("")
    assert vae.reads("CCO")
    assert not vae.reads("C" * 21)
    assert not vae.reads("[Xe]")


@given(st.floats(-3, 3), st.floats(-4, 2))
def test_posterior_samples_have_its_mean_and_variance(mean, logvar):
    n = 20_000
    posterior = Posterior(torch.full((n, 1), mean), torch.full((n, 1), logvar))
    drawn = posterior.sample(torch.Generator().manual_seed(0)).double()
    sd = math.exp(logvar / 2)
    assert float(drawn.mean()) == pytest.approx(mean, abs=5 * sd / math.sqrt(n) + 1e-5)
    assert float(drawn.var()) == pytest.approx(sd**2, rel=5 * math.sqrt(2 / n))


def test_samples_have_gradients_for_mean_and_variance():
    mean, logvar = torch.zeros(4, 2, requires_grad=True), torch.zeros(4, 2, requires_grad=True)
    drawn = Posterior(mean, logvar).sample(torch.Generator().manual_seed(0))
    drawn.sum().backward()
    assert torch.equal(mean.grad, torch.ones(4, 2))
    torch.testing.assert_close(logvar.grad, drawn.detach() / 2)  # d(ε exp(½ s))/ds = ½ ε at s = 0
