import pytest
import torch

from molvae.vae.evaluation.metrics import evaluate
from molvae.vae.model import SmilesVAE
from molvae.vae.nets.nets import GRUDecoder, GRUEncoder, Net, NetSettings
from molvae.vae.training.finetune import finetune, finetune_settings
from molvae.vae.training.losses import LatentNoise
from molvae.vae.training.optimizers import AdamWSettings
from molvae.vae.training.recipe import TrainSettings


@pytest.fixture
def settings() -> TrainSettings:
    return TrainSettings(epochs=3, batch=16, optimizer=AdamWSettings(learning_rate=1e-2))


def weights(vae: SmilesVAE) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in vae.net.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


def test_what_it_read_it_writes_better_and_the_model_itself_stays(vae, molecules, settings):
    before = weights(vae)
    tuned = finetune(vae, molecules[:60] * 2, settings, seed=0)
    assert same(weights(vae), before)
    assert evaluate(tuned, molecules[:60], 2).nll < 0.7 * evaluate(vae, molecules[:60], 2).nll
    assert (tuned.vocab, tuned.longest, tuned.known, tuned.prior) == (vae.vocab, vae.longest, vae.known, vae.prior)
    assert not tuned.net.training


def test_it_is_a_pure_function_of_texts_settings_and_seed(vae, molecules, settings):
    chance = torch.random.get_rng_state()
    first, again, other = (weights(finetune(vae, molecules[:40], settings, seed)) for seed in (1, 1, 2))
    assert same(first, again)
    assert not same(first, other)
    assert torch.equal(torch.random.get_rng_state(), chance)


def test_property_heads_stay_as_they_are(vocab, molecules, settings):
    net = Net(
        NetSettings(
            latent=4, embedding=6, encoder=GRUEncoder(hidden=8), decoder=GRUDecoder(hidden=12), properties=("logP",)
        ),
        len(vocab),
    )
    vae = SmilesVAE(net, vocab, 20)
    tuned = weights(finetune(vae, molecules[:40], settings, 0))
    heads = {name: value for name, value in tuned.items() if "heads" in name}
    assert same(heads, {name: value for name, value in weights(vae).items() if "heads" in name})


def test_its_settings_are_a_rate_a_weight_of_the_kl_and_latent_noise():
    settings = finetune_settings(learning_rate=2e-4, beta=0.03)
    assert (settings.optimizer.learning_rate, settings.epochs) == (2e-4, 1)
    assert [settings.loss.beta(progress) for progress in (0.0, 0.5, 1.0)] == [0.03] * 3
    assert settings.loss.latent_noise == LatentNoise(share=0.1, weight=0.2)
