"""Parts that somebody else wrote do what ours do: they train, are saved, come back, and work."""

import json
import sys
from pathlib import Path

import pytest
import torch

from molvae.data.vocab import END, START
from molvae.errors import ModelError, TrainingError
from molvae.vae.folder import load_model
from molvae.vae.training.loop import train

PARTS = Path(__file__).parent / "outside"


@pytest.fixture
def toy_parts(monkeypatch):
    """The parts, from a folder that is on the path."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(PARTS)])
    yield __import__("toy_parts")
    sys.modules.pop("toy_parts", None)


@torch.no_grad()
def one_by_one(decoder, point, longest) -> list[int]:
    """What greedy decoding means, without batches."""
    ids, state, last = [], decoder.initial(point[None]), START
    while len(ids) < longest:
        logits, state = decoder(torch.tensor([[last]]), point[None], state)
        logits[0, 0, START] = -torch.inf
        last = int(logits[0, 0].argmax())
        if last == END:
            break
        ids.append(last)
    return ids


def test_an_encoder_and_a_decoder_train_encode_and_decode(toy_parts, recipe, tmp_path, molecules, figures):
    net = {"encoder": {"kind": "toy_parts:BagEncoder"}, "decoder": {"kind": "toy_parts:LeakyDecoder", "width": 32}}
    train_table = {"epochs": 20, "optimizer": {"learning_rate": 0.01}}
    settings = recipe(net=net, train=train_table, evaluate={"every": 50}, checkpoint_seconds=60.0)
    vae = load_model(train(settings, tmp_path / "run"))
    nll = [float(row["nll"]) for row in figures(tmp_path / "run")]
    assert nll[-1] < 0.9 * nll[0]
    assert isinstance(vae.net.decoder, toy_parts.LeakyModule)
    assert vae.net.settings == settings.net
    mean = vae.encode(molecules).mean
    alone = torch.cat([vae.encode([smiles]).mean for smiles in molecules])
    torch.testing.assert_close(mean, alone)
    texts = vae.decode(mean, grammar=False)
    assert texts == [vae.vocab.decode(one_by_one(vae.net.decoder, point, vae.longest)) for point in mean]
    assert len(set(texts)) > 10
    valid = vae.decode(mean)  # beams, and the grammar
    assert [text for text, free in zip(valid, texts, strict=True) if text != free]
    assert len(vae.sample(20, temperature=1.0)) == 20


def test_a_loss_an_optimiser_and_a_prior_train_resume_and_come_back(toy_parts, recipe, tmp_path, figures):
    table = {"loss": {"kind": "toy_parts:PlainLoss", "steepness": 5.0}, "optimizer": {"kind": "toy_parts:Momentum"}}
    settings = recipe(train=table, prior={"kind": "toy_parts:Ball", "width": 0.9})

    def stop(event):
        if event.step == 11:
            raise KeyboardInterrupt

    whole = load_model(train(settings, tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "stopped", stop)
    again = load_model(train(settings, tmp_path / "stopped"))
    assert whole.fingerprint == again.fingerprint
    assert figures(tmp_path / "whole") == figures(tmp_path / "stopped")
    beta = [float(row["beta"]) for row in figures(tmp_path / "whole")]
    assert 0 < beta[0] < beta[-1] < 0.05
    assert whole.prior.settings == settings.prior == toy_parts.Ball(width=0.9)
    assert torch.equal(whole.prior.sample(5, 0), again.prior.sample(5, 0))
    assert json.loads((tmp_path / "whole/model/model.json").read_text())["prior"]["kind"] == "toy_parts:Ball"


def test_a_schedule_of_the_weight_of_the_kl_does_for_our_loss(toy_parts, recipe, tmp_path, figures):
    train(recipe(train={"loss": {"beta": {"kind": "toy_parts:Sigmoid"}}}), tmp_path)
    (first, *_, last) = [float(row["beta"]) for row in figures(tmp_path)]
    assert 0 < first < 0.025 < last < 0.05


def test_an_optimiser_of_gru_matrices_is_refused_where_there_are_none(toy_parts, recipe, tmp_path):
    net = {"encoder": {"kind": "toy_parts:BagEncoder"}, "decoder": {"kind": "toy_parts:LeakyDecoder"}}
    with pytest.raises(TrainingError, match='"muon" is for the matrices of GRU layers; this net has none'):
        train(recipe(net=net, train={"optimizer": {"kind": "muon"}}), tmp_path)


def test_a_model_folder_brings_no_code_with_it(toy_parts, vae, recipe, tmp_path, monkeypatch):
    """A module of the current folder is imported for a recipe, which is one's own, and not for a model."""
    model = train(recipe(net={"decoder": {"kind": "toy_parts:LeakyDecoder"}}, train={"epochs": 1}), tmp_path / "run")
    sys.modules.pop("toy_parts")
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder not in ("", str(PARTS))])
    monkeypatch.chdir(PARTS)
    with pytest.raises(ModelError, match=r"No module named 'toy_parts'.*put its folder on PYTHONPATH"):
        load_model(model)
    assert "toy_parts" not in sys.modules
    monkeypatch.setattr(sys, "path", [*sys.path, str(PARTS)])
    assert load_model(model).latent == 4
