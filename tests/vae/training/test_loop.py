"""The training: it learns, and however it is stopped, it ends with the same bits."""

import json
import math
import os
import resource
import shutil
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load, save_file

from molvae.config import parse_recipe
from molvae.data.corpus import Corpus, LengthBatches
from molvae.data.prepare import PrepareSettings, prepare
from molvae.data.vocab import Vocab
from molvae.errors import DataError, FolderBusy, FolderError, ModelError, RecipeError, TrainingError
from molvae.folders import only_writer, seal
from molvae.vae.folder import load_model, model_facts
from molvae.vae.training.loop import train
from molvae.vae.training.recipe import TrainRecipe
from molvae.vae.training.setup import make_fabric, set_up

BF16 = torch.cpu._is_avx512_bf16_supported()


def stop_at(*steps: int):
    """What a user is who closes the terminal after one of these steps."""

    def on_event(event) -> None:
        if event.step in steps:
            raise KeyboardInterrupt

    return on_event


def same_weights(a: Path, b: Path) -> bool:
    return (a / "model/weights.safetensors").read_bytes() == (b / "model/weights.safetensors").read_bytes()


def same_state(a: Path, b: Path) -> bool:
    """Weights and optimiser moments."""
    first, second = load((a / "state.safetensors").read_bytes()), load((b / "state.safetensors").read_bytes())
    return first.keys() == second.keys() and all(torch.equal(value, second[key]) for key, value in first.items())


def damaged(path: Path, change) -> None:
    """Rewrite a state with its tensors changed."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load(path.read_bytes())
    change(tensors)
    save_file(tensors, path, metadata)


@pytest.fixture(scope="module")
def steps(corpus_folder) -> int:
    corpus = Corpus.load(corpus_folder)
    return 2 * LengthBatches(corpus.train, corpus.vocab, 16).steps


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory) -> Path:
    """A training that nothing stopped."""
    return train(recipe(), tmp_path_factory.mktemp("whole")).parent


def test_a_training_leaves_a_model_its_figures_and_its_recipe(whole, recipe, figures, steps, corpus_folder):
    rows = figures(whole)
    assert [int(row["step"]) for row in rows] == [*range(9, steps, 9), steps]
    assert float(rows[-1]["train_nll"]) < float(rows[0]["train_nll"])
    assert float(rows[-1]["epoch"]) == 2.0
    vae = load_model(whole / "model")
    corpus = Corpus.load(corpus_folder)
    assert vae.known.contains(corpus.train).all()
    assert not vae.known.contains(corpus.valid).any()
    assert vae.longest == math.ceil(1.2 * max(map(len, corpus.train + corpus.valid + corpus.test)))
    facts = model_facts(whole / "model")
    assert parse_recipe(facts["recipe"], TrainRecipe) == recipe()
    assert facts["data"]["digest"] == corpus.digest
    assert facts["metrics"]["nll"] == float(rows[-1]["nll"])


def test_events_tell_each_step(recipe, tmp_path, steps):
    seen = []
    train(recipe(), tmp_path, seen.append)
    assert [event.step for event in seen] == list(range(1, steps + 1))
    assert {event.steps for event in seen} == {steps}
    assert all(event.molecules_per_second > 0 for event in seen)
    assert [event.step for event in seen if event.figures] == [*range(9, steps, 9), steps]


def test_the_seed_decides(whole, recipe, tmp_path):
    train(recipe(), tmp_path / "same")
    train(recipe(seed=1), tmp_path / "other")
    assert same_weights(whole, tmp_path / "same")
    assert not same_weights(whole, tmp_path / "other")


@pytest.mark.parametrize("between", [0.0, 1e9], ids=["saved each step", "never saved"])
def test_a_stopped_training_ends_with_the_same_bits(recipe, tmp_path, figures, whole, between):
    """Stopped at the first step, just before and at evaluations, and in another epoch."""
    out = tmp_path / "stopped"
    for step in (1, 8, 9, 10, 25, 36):
        with pytest.raises(KeyboardInterrupt):
            train(recipe(checkpoint_seconds=between), out, stop_at(step))
    train(recipe(checkpoint_seconds=between), out)
    assert same_weights(whole, out)
    assert same_state(whole, out)
    assert figures(whole) == figures(out)


@pytest.mark.skipif(not BF16, reason="this processor does not compute in bfloat16")
def test_so_does_one_in_bfloat16(recipe, tmp_path):
    hardware = {"precision": "bf16-mixed"}
    train(recipe(hardware=hardware), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(recipe(hardware=hardware), tmp_path / "stopped", stop_at(11))
    train(recipe(hardware=hardware), tmp_path / "stopped")
    assert same_weights(tmp_path / "whole", tmp_path / "stopped")


def test_so_does_one_with_all_its_levers(recipe, tmp_path, molecules, figures):
    """Muon, property heads with missing labels, latent noise."""
    with open(tmp_path / "labelled.csv", "w") as file:
        file.write("SMILES,activity\n")
        file.writelines(f"{smiles},{len(smiles) if k % 3 else ''}\n" for k, smiles in enumerate(molecules))
    settings = PrepareSettings(valid=20, test=20, labels=("activity",), scores=("MolWt",))
    prepare(tmp_path / "labelled.csv", tmp_path / "corpus", settings)
    changes = {
        "corpus": str(tmp_path / "corpus"),
        "net": {"properties": ("MolWt", "activity")},
        "train": {
            "optimizer": {"kind": "muon"},
            "loss": {"latent_noise": {"share": 0.3}, "property_weights": {"activity": 2.0}},
        },
        "prior": {"kind": "mixture", "components": 2},
    }
    train(recipe(**changes), tmp_path / "whole")
    for step in (1, 11):
        with pytest.raises(KeyboardInterrupt):
            train(recipe(**changes), tmp_path / "stopped", stop_at(step))
    train(recipe(**changes), tmp_path / "stopped")
    assert same_weights(tmp_path / "whole", tmp_path / "stopped")
    assert same_state(tmp_path / "whole", tmp_path / "stopped")
    vae = load_model(tmp_path / "whole/model")
    assert vae.net.settings.properties == ("MolWt", "activity")
    assert torch.equal(vae.prior.sample(5, 0), load_model(tmp_path / "stopped/model").prior.sample(5, 0))
    assert vae.prior.settings.components == 2
    labels = Corpus.load(tmp_path / "corpus").labels["train"]  # the order of the corpus is another than the net's
    torch.testing.assert_close(vae.net.heads.center, torch.from_numpy(np.nanmean(labels, 0)[::-1].copy()))


def test_heads_learn_a_property(recipe, tmp_path, molecules):
    with open(tmp_path / "mine.smi", "w") as file:
        file.writelines(f"{smiles}\n" for smiles in molecules)
    prepare(tmp_path / "mine.smi", tmp_path / "corpus", PrepareSettings(valid=20, test=20, scores=("MolWt",)))
    train(
        recipe(
            corpus=str(tmp_path / "corpus"),
            net={"properties": ("MolWt",), "latent": 8, "encoder": {"kind": "gru", "hidden": 32}},
            train={"epochs": 20, "optimizer": {"learning_rate": 0.01}, "loss": {"property_weights": {"MolWt": 30.0}}},
            evaluate={"every": 10_000},
            checkpoint_seconds=60.0,
        ),
        tmp_path / "run",
    )
    vae, corpus = load_model(tmp_path / "run/model"), Corpus.load(tmp_path / "corpus")
    labels = torch.from_numpy(corpus.labels["train"])
    error = (vae.net.predict(vae.encode_texts(corpus.train).mean) - labels).abs().mean()
    assert error < 0.5 * (labels - labels.mean()).abs().mean()


def test_labels_that_the_corpus_does_not_have_are_named(recipe, tmp_path):
    with pytest.raises(DataError, match=r"has no labels logP for net.properties; it has none; .*--score NAME"):
        train(recipe(net={"properties": ("logP",)}), tmp_path)


def test_a_weight_of_a_property_that_is_not_predicted_is_refused(recipe):
    with pytest.raises(RecipeError, match="property_weights names 'QED'"):
        recipe(train={"loss": {"property_weights": {"QED": 1.0}}})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_step_and_saves_the_state(recipe, tmp_path, whole, number):
    def on_event(event) -> None:
        if event.step == 5:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    settings = recipe(checkpoint_seconds=1e9)
    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "stopped", on_event)
    assert signal.getsignal(number) is before
    seen = []
    train(settings, tmp_path / "stopped", seen.append)
    assert seen[0].step == 7  # the step under way when the signal came was the last
    assert same_weights(whole, tmp_path / "stopped")


def test_a_training_in_a_thread_leaves_signals_alone(recipe, tmp_path, whole):
    worker = threading.Thread(target=train, args=(recipe(), tmp_path / "thread"))
    worker.start()
    worker.join()
    assert same_weights(whole, tmp_path / "thread")


def test_a_finished_training_returns_at_once(whole, recipe):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*.*") if path.is_file() and path.suffix != ".0"}
    seen = []
    assert train(recipe(), whole, seen.append) == whole / "model"
    assert seen == []
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_another_recipe_is_refused_with_the_keys(whole, recipe):
    with pytest.raises(RecipeError, match=r"(?s)seed: 0 → 4.*train\.batch: 16 → 8") as caught:
        train(recipe(train={"batch": 8}, seed=4), whole)
    assert "epochs" not in str(caught.value)


def test_a_run_of_the_release_before_goes_on(recipe, tmp_path, whole):
    """Its recipe was recorded by other keys."""
    out = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        train(recipe(), out, stop_at(11))
    table = json.loads((out / "recipe.json").read_text())
    net, settings, loss = table["net"], table["train"], table["train"].pop("loss")
    net.update({f"{part}_hidden": net.pop(part)["hidden"] for part in ("encoder", "decoder")})
    settings.update(free_bits=0.0, beta=loss["beta"], property_weights=loss["property_weights"])
    noise = loss["latent_noise"]
    settings.update(astray=noise["share"], astray_noise=noise["sd"], astray_weight=noise["weight"])
    table["hardware"]["nodes"] = 1
    (out / "recipe.json").write_text(json.dumps(table))
    (out / "parts.json").unlink()
    train(recipe(), out)
    assert same_weights(whole, out)
    settings["free_bits"] = 0.5
    (out / "recipe.json").write_text(json.dumps(table))
    with pytest.raises(RecipeError, match=r"train\.free_bits was removed"):
        train(recipe(), out)


def test_a_recipe_whose_corpus_is_wrong_does_not_claim_the_folder(recipe, tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        train(recipe(corpus=str(tmp_path / "typo")), tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        train(recipe(), tmp_path / "out", stop_at(1))


def test_two_trainings_in_one_folder(recipe, tmp_path):
    with (
        only_writer(tmp_path, "this training"),
        pytest.raises(FolderBusy, match=f"this training is running in process {os.getpid()} "),
    ):
        train(recipe(), tmp_path)


def test_a_learning_rate_without_bounds_diverges(recipe, tmp_path):
    with pytest.raises(
        TrainingError, match=r"diverged at step \d+: nll .*smaller train.optimizer.learning_rate \(it is 1e\+30\)"
    ):
        train(recipe(train={"optimizer": {"learning_rate": 1e30}}, evaluate={"every": 1}), tmp_path)
    assert not (tmp_path / "model").exists()


def test_a_weight_that_is_no_number_diverges(recipe, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(recipe(), tmp_path, stop_at(4))
    damaged(tmp_path / "state.safetensors", lambda tensors: tensors["net.decoder.begin.bias"].fill_(math.nan))
    with pytest.raises(TrainingError, match="diverged at step 5: nll nan"):
        train(recipe(), tmp_path)


def test_a_posterior_that_says_nothing_has_collapsed(recipe, tmp_path):
    loss = {"beta": {"start": 1e4, "end": 1e4}}
    settings = recipe(train={"loss": loss, "optimizer": {"learning_rate": 0.05}, "epochs": 4}, evaluate={"every": 18})
    with pytest.raises(
        TrainingError, match=r"the posterior collapsed: .* take a smaller .*train\.loss\.beta\.end; it is 10000"
    ):
        train(settings, tmp_path)


@pytest.mark.parametrize("damage", ["cut", "other net", "no progress", "text"])
def test_a_damaged_state_is_said_with_what_to_do(recipe, tmp_path, damage):
    with pytest.raises(KeyboardInterrupt):
        train(recipe(), tmp_path, stop_at(4))
    path = tmp_path / "state.safetensors"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "text":
        path.write_text("not a state")
    elif damage == "no progress":
        save_file(load(path.read_bytes()), path)
    else:
        damaged(path, lambda tensors: tensors.update({"net.decoder.begin.bias": torch.zeros(3)}))
    with pytest.raises(
        TrainingError, match=r"(?s)state\.safetensors cannot be read: .*remove it to start from the beginning"
    ):
        train(recipe(), tmp_path)


def test_another_corpus_under_the_same_name_is_refused(recipe, molecules, tmp_path):
    source = tmp_path / "source.smi"
    settings = recipe(corpus=str(tmp_path / "prepared"))
    for seed in (0, 1):
        source.write_text("\n".join(molecules))
        shutil.rmtree(tmp_path / "prepared", ignore_errors=True)
        prepare(source, tmp_path / "prepared", PrepareSettings(valid=20, test=20, seed=seed))
        if seed == 0:
            with pytest.raises(KeyboardInterrupt):
                train(settings, tmp_path / "out", stop_at(4))
    with pytest.raises(TrainingError, match=r"prepared has changed since .*out was begun; bring it back"):
        train(settings, tmp_path / "out")


def test_a_full_disk_stops_the_training_and_keeps_the_last_state(recipe, tmp_path, whole):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        train(recipe(), out, stop_at(4))
    kept = (out / "state.safetensors").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        with pytest.raises(FolderError, match=r"state\.safetensors could not be written: File too large"):
            train(recipe(), out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (out / "state.safetensors").read_bytes() == kept
    train(recipe(), out)
    assert same_weights(whole, out)


def corpus_of(folder: Path, train_part, valid_part) -> Path:
    folder.mkdir()
    for name, texts in (("train", train_part), ("valid", valid_part), ("test", ())):
        (folder / f"{name}.smi").write_text("".join(f"{text}\n" for text in texts))
    characters = Vocab.of([*train_part, *valid_part]).characters
    (folder / "vocab.json").write_text(f'{{"characters": "{characters}"}}')
    seal(folder, ["train.smi", "valid.smi", "test.smi", "vocab.json"], kind="corpus")
    return folder


def test_validation_molecules_may_be_longer_than_any_trained_on(recipe, tmp_path):
    corpus = corpus_of(tmp_path / "corpus", ["CCO", "CCN", "CCC"], ["C" * 30, "CCCC"])
    train(recipe(corpus=str(corpus), train={"epochs": 40, "optimizer": {"learning_rate": 0.05}}), tmp_path / "out")
    assert load_model(tmp_path / "out/model").longest == 36


@pytest.mark.parametrize("valid", [(), ("CCO",)])
def test_a_corpus_without_validation_molecules_is_refused_at_once(recipe, tmp_path, valid):
    corpus = corpus_of(tmp_path / "corpus", ["CCO", "CCN"], valid)
    with pytest.raises(DataError, match=f"has {len(valid)} validation molecules"):
        train(recipe(corpus=str(corpus)), tmp_path / "out")


def test_hardware_that_is_not_there_is_said(recipe):
    if not torch.cuda.is_available():
        with pytest.raises(TrainingError, match="no CUDA device here; take --device cpu"):
            make_fabric(recipe(hardware={"device": "cuda"}).hardware)
    with pytest.raises(RecipeError, match=r"hardware\.strategy: Input should be 'auto' or 'ddp'"):
        recipe(hardware={"strategy": "magic"})


def test_a_small_net_learns_fifty_molecules_by_heart(recipe, tmp_path, molecules):
    """The proof that encoder, decoder, loss, optimiser and decoding fit together."""
    fifty = sorted(molecules, key=len)[-50:]  # few lengths, so few and full batches
    settings = recipe(
        corpus=str(corpus_of(tmp_path / "corpus", fifty, fifty)),
        net={
            "latent": 16,
            "embedding": 16,
            "encoder": {"kind": "gru", "hidden": 48},
            "decoder": {"kind": "gru", "hidden": 96},
        },
        train={
            "epochs": 100,
            "batch": 25,
            "optimizer": {"learning_rate": 0.01},
            "loss": {"beta": {"end": 0.001}},
        },
        evaluate={"every": 100_000, "molecules": 50},
        checkpoint_seconds=1e9,
    )
    vae = load_model(train(settings, tmp_path / "out"))
    decoded = vae.decode(vae.encode(fifty).mean)
    assert sum(a == b for a, b in zip(fifty, decoded, strict=True)) >= 48


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_model_trained_on_a_gpu_works_on_the_cpu(recipe, tmp_path, molecules, figures):
    settings = recipe(
        net={"latent": 16, "encoder": {"kind": "gru", "hidden": 32}, "decoder": {"kind": "gru", "hidden": 64}},
        train={"epochs": 30, "optimizer": {"learning_rate": 0.01}},
        hardware={"device": "cuda", "precision": "bf16-mixed"},
    )
    train(settings, tmp_path)
    nll = [float(row["nll"]) for row in figures(tmp_path)]
    assert nll[-1] < 0.7 * nll[0]
    here, there = load_model(tmp_path / "model"), load_model(tmp_path / "model", device="cuda")
    torch.testing.assert_close(here.encode(molecules).mean, there.encode(molecules).mean, atol=1e-3, rtol=1e-3)
    z = here.encode(molecules).mean
    assert sum(a == b for a, b in zip(here.decode(z), there.decode(z), strict=True)) >= 0.9 * len(molecules)


def test_a_training_goes_on_from_a_model(whole, recipe, tmp_path, molecules, caplog):
    """Of fewer molecules, with fewer characters: vocabulary, length and known molecules stay those of the model."""
    before = load_model(whole / "model")
    few = tmp_path / "few.smi"
    plain = [text for text in molecules if set(text) <= set("CNO()=c1")]
    few.write_text("".join(f"{text}\n" for text in [*plain, "C[Se]C"]))
    prepare(few, tmp_path / "corpus", PrepareSettings(valid=3, test=3))
    start, corpus = str(whole / "model"), str(tmp_path / "corpus")
    out = train(recipe(start=start, corpus=corpus, train={"epochs": 1}), tmp_path / "on")
    after, facts = load_model(out), model_facts(out)
    assert "1 molecules of" in caplog.text
    assert after.vocab == before.vocab
    assert after.longest == before.longest
    assert len(after.known) > len(before.known)
    assert facts["data"]["counts"]["train"] + facts["data"]["counts"]["valid"] + 3 >= len(plain)
    assert after.known.contains([text for text in Corpus.load(corpus).train if "e" not in text]).all()
    assert facts["start"]["weights"] == before.fingerprint
    assert facts["start"]["recipe"] == model_facts(whole / "model")["recipe"]


def test_a_stopped_training_from_a_model_ends_with_the_same_bits(whole, recipe, tmp_path):
    settings = recipe(start=str(whole / "model"), seed=5, checkpoint_seconds=0.0)
    train(settings, tmp_path / "whole")
    assert model_facts(tmp_path / "whole/model")["metrics"]["nll"] < model_facts(whole / "model")["metrics"]["nll"]
    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "stopped", stop_at(5))
    train(settings, tmp_path / "stopped")
    assert same_weights(tmp_path / "whole", tmp_path / "stopped")


def test_synthetic_molecules_are_trained_on_and_nothing_else(corpus_folder, recipe, tmp_path, molecules):
    """Held-out molecules, and those that the model cannot write, are not among them; they are no known molecules."""
    corpus = Corpus.load(corpus_folder)
    alphabet = set(corpus.vocab.characters)
    new = [text for text in ("CCCCCCCN", "CCCCCCCCN", "CCCCOCCCN", "CCCCCCCCO") if set(text) <= alphabet]
    assert not set(new) & set(molecules)
    made = tmp_path / "made.smi"
    made.write_text("".join(f"{text}\n" for text in [*corpus.valid, *corpus.test, *corpus.train, *new, "C[Se]CCCC"]))
    prepare(made, tmp_path / "made", PrepareSettings(valid=0, test=0))
    settings = recipe(synthetic=str(tmp_path / "made"), checkpoint_seconds=0.0)
    with pytest.raises(DataError, match=r"no folder .*nowhere"):
        train(recipe(synthetic=str(tmp_path / "nowhere")), tmp_path / "whole")
    model = train(settings, tmp_path / "whole")
    assert model_facts(model)["data"]["synthetic"]["molecules"] == len(new) > 1
    assert f"160 and {len(new)} synthetic" in (model / "card.md").read_text()
    assert len(load_model(model).known) == len(corpus.train)
    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "stopped", stop_at(5))
    train(settings, tmp_path / "stopped")
    assert same_weights(tmp_path / "whole", tmp_path / "stopped")
    shutil.copytree(tmp_path / "stopped", tmp_path / "changed")
    shutil.rmtree(tmp_path / "made")
    made.write_text("".join(f"{text}\n" for text in new))
    prepare(made, tmp_path / "made", PrepareSettings(valid=0, test=0))
    with pytest.raises(TrainingError, match="has changed since"):
        train(settings, tmp_path / "changed")


def test_synthetic_molecules_have_the_labels_that_are_there(molecules, recipe, tmp_path):
    source, made = tmp_path / "source.smi", tmp_path / "made.smi"
    source.write_text("".join(f"{text}\n" for text in molecules[:60]))
    made.write_text("".join(f"{text}\n" for text in molecules[60:90]))
    prepare(source, tmp_path / "corpus", PrepareSettings(valid=5, test=5, scores=("logp", "qed")))
    prepare(made, tmp_path / "made", PrepareSettings(valid=0, test=0, scores=("qed",)))
    both = recipe(
        corpus=str(tmp_path / "corpus"), synthetic=str(tmp_path / "made"), net={"properties": ["logP", "QED"]}
    )
    corpus, more = (Corpus.load(tmp_path / name) for name in ("corpus", "made"))
    examples = set_up(both)
    assert examples.texts[:50] == corpus.train
    rows = [more.train.index(text) for text in examples.texts[50:]]
    assert len(rows) > 10
    assert examples.labels[50:, 0].isnan().all()
    np.testing.assert_array_equal(examples.labels[50:, 1], more.labels["train"][rows, 0])
    np.testing.assert_array_equal(examples.labels[:50], corpus.labels["train"])


def test_it_goes_on_from_no_other_net_and_with_no_other_characters(whole, recipe, tmp_path):
    start = str(whole / "model")
    with pytest.raises(TrainingError, match=r"\(there → here\): net\.latent: 4 → 5"):
        train(recipe(start=start, net={"latent": 5}), tmp_path / "net")
    strange = tmp_path / "strange.smi"
    strange.write_text("C[Se]C\nCC[Se]C\nCC[Se]CC\nCCC[Se]CC\n")
    prepare(strange, tmp_path / "corpus", PrepareSettings(valid=2, test=0))
    with pytest.raises(TrainingError, match="cannot write any molecule of"):
        train(recipe(start=start, corpus=str(tmp_path / "corpus")), tmp_path / "characters")
    with pytest.raises(ModelError, match="no model folder"):
        train(recipe(start="nowhere"), tmp_path / "nowhere")


def test_latent_noise_weighs_as_much_as_asked(recipe, tmp_path, figures):
    losses = []
    for weight in (0.0, 1.0):
        train(recipe(train={"loss": {"latent_noise": {"share": 0.8, "weight": weight}}}), tmp_path / str(weight))
        losses.append(float(figures(tmp_path / str(weight))[0]["train_nll"]))
    assert 0.1 < losses[0] / losses[1] < 0.3  # the share of the others is 0.2
