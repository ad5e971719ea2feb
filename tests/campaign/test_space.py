from types import SimpleNamespace

import numpy as np
import pytest
import torch

from molvae.campaign.space import CachedSpace, LatentSpace
from molvae.chem.molecule import parse_or_none
from molvae.data.training_index import KnownMolecules
from molvae.data.vocab import Vocab
from molvae.vae.model import SmilesVAE
from molvae.vae.nets.nets import GRUDecoder, GRUEncoder, Net, NetSettings


@pytest.fixture(scope="module")
def model_space():
    """A model that was never trained: what it writes is nonsense, but of the right kind."""
    vocab = Vocab.of(["CCO", "c1ccccc1"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Net(
            NetSettings(latent=5, embedding=4, encoder=GRUEncoder(hidden=8), decoder=GRUDecoder(hidden=8)), len(vocab)
        )
    return LatentSpace(SmilesVAE(net, vocab, 12, "abc", KnownMolecules.of(["CCO"])))


def test_points_are_float32_posterior_means(model_space):
    z = model_space.encode(["CCO", "c1ccccc1", "C"])
    assert (z.shape, z.dtype, model_space.latent) == ((3, 5), np.float32, 5)
    assert z.tolist() == model_space.model.encode(["CCO", "c1ccccc1", "C"]).mean.tolist()


def test_decoding_and_sampling_are_repeatable(model_space):
    z = model_space.encode(["CCO", "C"])
    assert model_space.decode(z) == model_space.decode(z)
    assert len(model_space.decode(z)) == 2
    assert model_space.sample(20, 1) == model_space.sample(20, 1)


def test_samples_are_of_the_models_own_prior(model_space, monkeypatch):
    model, z = model_space.model, torch.linspace(-1, 1, 15).reshape(3, 5)
    monkeypatch.setattr(model, "prior", SimpleNamespace(sample=lambda n, seed: z[:n] + seed))
    assert model_space.sample(3, 2) == model.decode(z + 2)


def test_it_decodes_by_the_decoder_alone_and_samples_with_the_grammar(model_space):
    """Without grammar an untrained model writes nonsense."""
    z = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    written = model_space.decode(z.numpy())
    assert written == model_space.model.decode(z, grammar=False)
    sampled = model_space.sample(50, 0)
    valid = [np.mean([parse_or_none(text) is not None for text in texts]) for texts in (written, sampled)]
    assert valid[0] < 0.7
    assert valid[1] > 0.9


def test_it_knows_what_the_model_reads(model_space):
    assert [model_space.can_encode(text) for text in ("CCO", "CCN", "C" * 12, "C" * 13)] == [True, False, True, False]
    assert model_space.fingerprint == "abc"
    assert model_space.training_index.contains(["CCO", "C"]).tolist() == [True, False]


def test_a_space_that_remembers_encodes_each_text_once(model_space, monkeypatch):
    asked = []
    before = model_space.encode
    monkeypatch.setattr(model_space, "encode", lambda smiles: (asked.append(list(smiles)), before(smiles))[1])
    given = np.arange(5, dtype=np.float32)
    space = CachedSpace(model_space, {"CCO": given})
    z = space.encode(["C", "CCO", "C", "CC"])
    assert asked == [["C", "CC"]]
    assert z[1].tolist() == given.tolist()
    # a batch of another size may round otherwise where PyTorch multiplies
    np.testing.assert_allclose(z[[0, 2, 3]], before(["C", "C", "CC"]), atol=1e-6)
    assert space.encode(["CC", "C"]).tolist() == z[[3, 0]].tolist()
    assert len(asked) == 1
    assert (space.latent, space.fingerprint, space.can_encode("CCO")) == (5, "abc", True)
    assert space.decode(z) == model_space.decode(z)
