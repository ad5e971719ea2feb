"""A model folder: what was saved comes back bit by bit; what is damaged or foreign is refused in one clear message."""

import contextlib
import json
import pickle
import resource
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save_file

from molvae.errors import FolderError, ModelError
from molvae.folders import MANIFEST, seal
from molvae.vae import folder as checkpoint
from molvae.vae.folder import FILES, FILES_BEFORE, find_model, installed_models, load_model, model_facts, save_model
from molvae.vae.prior import Flow, Mixture, StandardNormal

FACTS = {"name": "tiny", "metrics": {"nll": 1.5}}


@pytest.fixture
def folder(vae, tmp_path) -> Path:
    save_model(tmp_path / "model", vae, FACTS)
    return tmp_path / "model"


@pytest.fixture
def models(tmp_path, monkeypatch, vae) -> Path:
    """Two installed models."""
    monkeypatch.setattr(checkpoint, "MODELS", tmp_path / "models")
    for name in ("zinc250k", "natural"):
        save_model(tmp_path / "models" / name, vae, FACTS)
    return tmp_path / "models"


def reseal(folder: Path) -> None:
    """As somebody would who changes a model by hand."""
    seal(folder, FILES, kind="smiles-vae", format=3)


def edit(folder: Path, name: str, change) -> None:
    table = json.loads((folder / name).read_text())
    change(table)
    (folder / name).write_text(json.dumps(table))


def test_a_saved_model_comes_back_bit_by_bit(vae, folder, molecules):
    back = load_model(folder)
    assert (back.vocab, back.longest, back.latent) == (vae.vocab, vae.longest, vae.latent)
    for (name, a), (_, b) in zip(vae.net.state_dict().items(), back.net.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    assert torch.equal(back.encode(molecules).mean, vae.encode(molecules).mean)
    assert back.sample(20) == vae.sample(20)
    assert back.known.contains([molecules[0], "CCO"]).tolist() == [True, False]
    assert not back.net.training


def test_the_folder_is_what_it_says(folder):
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, MANIFEST])
    assert model_facts(folder) == FACTS
    assert (folder / "card.md").read_text().startswith("# tiny\n")


def test_the_fingerprint_is_of_the_weights(vae, folder, tmp_path):
    fingerprint = load_model(folder).fingerprint
    assert len(fingerprint) == 16
    save_model(tmp_path / "again", vae, {"name": "other facts"})
    assert load_model(tmp_path / "again").fingerprint == fingerprint
    with torch.no_grad():
        vae.net.decoder.logits.bias[0] += 1e-3
    save_model(folder, vae, FACTS)
    assert load_model(folder).fingerprint != fingerprint


def test_a_model_without_known_molecules(vae, tmp_path):
    vae.known = None
    save_model(tmp_path, vae, FACTS)
    assert load_model(tmp_path).known is None


def test_nothing_is_unpickled(folder, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("unpickled")

    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, refuse)
    assert load_model(folder).sample(2)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_in_any_file_is_found(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"damaged: {name} differs"):
        load_model(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        load_model(folder)


def test_without_a_manifest_it_was_never_finished(folder):
    (folder / MANIFEST).unlink()
    with pytest.raises(ModelError, match=r"has no manifest\.json: it was never finished.*a model folder holds"):
        load_model(folder)


def test_a_save_that_is_stopped_leaves_no_model(vae, folder, monkeypatch):
    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "card_text", stop)
    with pytest.raises(KeyboardInterrupt):
        save_model(folder, vae, FACTS)
    with pytest.raises(ModelError, match="never finished"):
        load_model(folder)


@pytest.mark.parametrize("content", [None, "model.pkl", "pytorch_model.bin"])
def test_a_foreign_folder_is_no_model(tmp_path, content):
    if content:
        (tmp_path / content).write_bytes(pickle.dumps({"weights": [1.0]}))
    with pytest.raises(ModelError, match=r"a model folder holds model\.json"):
        load_model(tmp_path)


def test_a_prepared_corpus_is_no_model(corpus_folder):
    with pytest.raises(ModelError, match="is not a model folder"):
        load_model(corpus_folder)


def test_weights_of_another_vocabulary_do_not_fit(folder):
    edit(folder, "vocab.json", lambda table: table.update(characters="".join(sorted(table["characters"] + "Z"))))
    reseal(folder)
    with pytest.raises(ModelError, match=r"(?s)does not fit together: .*size mismatch for encoder\.embed"):
        load_model(folder)


def test_weights_of_another_net_do_not_fit(folder):
    edit(folder, "model.json", lambda table: table["net"].update(latent=5))
    reseal(folder)
    with pytest.raises(ModelError, match="size mismatch"):
        load_model(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table["net"].update(latnet=4), "unknown key; did you mean 'latent'"),
        (lambda table: table["net"].update(latent="4"), "Input should be a valid integer"),
        (lambda table: table["net"]["decoder"].update(kind="lstm"), "there is no kind 'lstm'"),
        (lambda table: table.pop("net"), "net"),
        (lambda table: table.pop("longest"), "longest"),
        (lambda table: table.update(longest=None), "NoneType"),
    ],
)
def test_a_description_that_was_changed_is_refused(folder, change, said):
    edit(folder, "model.json", change)
    reseal(folder)
    with pytest.raises(ModelError, match=f"(?s)does not fit together.*{said}"):
        load_model(folder)


def test_a_vocabulary_that_was_changed_is_refused(folder):
    edit(folder, "vocab.json", lambda table: table.update(characters="ba"))
    reseal(folder)
    with pytest.raises(ModelError, match="does not fit together: a vocabulary is sorted"):
        load_model(folder)


def test_weights_that_are_a_pickle_are_refused(folder):
    torch.save(load((folder / "weights.safetensors").read_bytes()), folder / "weights.safetensors")
    reseal(folder)
    with pytest.raises(ModelError, match="does not fit together"):
        load_model(folder)


def test_a_missing_weight_is_named(folder):
    weights = load((folder / "weights.safetensors").read_bytes())
    del weights["decoder.begin.bias"]
    save_file(weights, folder / "weights.safetensors")
    reseal(folder)
    with pytest.raises(ModelError, match=r"Missing key.*decoder\.begin\.bias"):
        load_model(folder)


def test_a_later_format_is_refused(folder):
    seal(folder, FILES, kind="smiles-vae", format=4)
    with pytest.raises(ModelError, match="has format 4; this molvae reads formats 1 to 3"):
        load_model(folder)


@pytest.mark.parametrize(
    "settings", [StandardNormal(), Mixture(components=2, rounds=1, width=0.9), Flow(layers=2, hidden=4, steps=2)]
)
def test_the_prior_comes_back_bit_by_bit(vae, molecules, tmp_path, settings):
    posterior = vae.encode_texts(molecules)
    vae.prior = settings.fit(posterior.mean, posterior.logvar, seed=0)
    save_model(tmp_path, vae, FACTS)
    back = load_model(tmp_path)
    assert back.prior.settings == settings
    z = back.prior.sample(30, seed=1)
    assert torch.equal(z, vae.prior.sample(30, seed=1))
    assert torch.equal(back.prior.log_prob(z), vae.prior.log_prob(z))
    assert back.sample(5) == vae.sample(5)


def test_a_prior_of_other_settings_does_not_fit(vae, molecules, folder):
    posterior = vae.encode_texts(molecules)
    vae.prior = Flow(layers=2, hidden=4, steps=2).fit(posterior.mean, posterior.logvar, seed=0)
    save_model(folder, vae, FACTS)
    edit(folder, "model.json", lambda table: table["prior"].update(layers=3))
    reseal(folder)
    with pytest.raises(ModelError, match=r"(?s)does not fit together.*networks"):
        load_model(folder)
    edit(folder, "model.json", lambda table: table["prior"].update(kind="flows"))
    reseal(folder)
    with pytest.raises(ModelError, match=r"(?s)does not fit together.*there is no kind 'flows'"):
        load_model(folder)


def test_a_folder_from_before_there_were_priors_has_the_standard_normal(vae, folder):
    (folder / "prior.safetensors").unlink()
    edit(folder, "model.json", lambda table: (table.pop("prior"), table["net"].pop("properties")))
    seal(folder, FILES_BEFORE, kind="smiles-vae", format=1)
    back = load_model(folder)
    assert back.prior.settings == StandardNormal()
    assert back.properties == ()
    assert back.sample(20, seed=1) == vae.sample(20, seed=1)


def test_a_folder_from_before_encoders_and_decoders_had_kinds_is_read_without_a_remark(vae, folder, caplog):
    def flat(table):
        net = table["net"]
        net.update(encoder_hidden=net.pop("encoder")["hidden"], decoder_hidden=net.pop("decoder")["hidden"])

    edit(folder, "model.json", flat)
    seal(folder, FILES, kind="smiles-vae", format=2)
    back = load_model(folder)
    assert back.net.settings == vae.net.settings
    assert back.sample(20, seed=1) == vae.sample(20, seed=1)
    assert not caplog.text


def test_an_installed_model_goes_by_its_name(models):
    assert find_model("natural") == models / "natural"
    assert [(model.name, model.folder, model.facts) for model in installed_models()] == [
        ("natural", models / "natural", FACTS),
        ("zinc250k", models / "zinc250k", FACTS),
    ]
    assert load_model("zinc250k").sample(2)


def test_an_unknown_name_hears_the_nearest(models):
    with pytest.raises(ModelError, match=r"no model folder zinc25k, and no installed .*did you mean 'zinc250k'\?"):
        load_model("zinc25k")
    with pytest.raises(ModelError, match="known are natural, zinc250k"):
        load_model("runs/demo/xyz")
    shutil.rmtree(models)
    with pytest.raises(ModelError, match=r"no installed model of that name$"):
        load_model("zinc25k")


@contextlib.contextmanager
def little_space():
    """Files end at 1,000 bytes, as on a disk that is full; also those that pytest's own output may go to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_said_and_leaves_nothing_half_written(vae, tmp_path):
    with little_space(), pytest.raises(FolderError, match=r"weights\.safetensors could not be written: File too large"):
        save_model(tmp_path, vae, FACTS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "vocab.json"]
