import re
import shutil
import subprocess

import torch

from molvae.vae import card

FACTS = {
    "name": "tiny",
    "data": {"counts": {"train": 160, "valid": 20}, "digest": "abc123", "source": {"a.smi": "def456"}},
    "recipe": {"train": {"batch": 16}},
    "commit": "0123456789ab",
    "hardware": {"device": "a processor", "precision": "32-true", "platform": "Linux"},
    "versions": {"torch": "2.0"},
    "seconds": 90.0,
    "step": 20,
    "metrics": {"nll": 12.3456, "reconstruction": 0.71},
}


def test_every_fact_is_on_the_card():
    text = card.card_text(FACTS)
    for shown in (
        "# tiny\n",
        "| training molecules | 160 |",
        "| validation molecules | 20 |",
        "`abc123`",
        "| source `a.smi` (SHA-256) | `def456` |",
        "`0123456789ab`",
        "a processor, 32-true",
        "torch 2.0",
        "1.5 minutes, 20 steps",
        "| nll | 12.35 |",
        "| reconstruction | 0.71 |",
        '"batch": 16',
    ):
        assert shown in text


def test_the_trainings_before_are_on_the_card():
    first = {**FACTS, "weights": "w1", "step": 7, "recipe": {"seed": 11}}
    added = {**FACTS["data"], "synthetic": {"molecules": 77, "digest": "made1"}}
    second = {**FACTS, "weights": "w2", "step": 8, "recipe": {"seed": 22}, "start": first, "data": added}
    text = card.card_text({**FACTS, "start": second})
    assert text.index("before: 8 steps, 1.5 minutes") < text.index("before: 7 steps")
    for shown in (
        "`w1`",
        "`w2`",
        '"seed": 11',
        '"seed": 22',
        "Training molecules: 160 and 77 synthetic (corpus `made1`).",
    ):
        assert shown in text
    assert "The training before" not in card.card_text(FACTS)
    fine_tuned = {key: value for key, value in second.items() if key != "data"}  # a campaign's model
    assert card.card_text({**FACTS, "start": fine_tuned}).count("Training molecules: ") == 1


def test_the_kinds_of_encoder_and_decoder_are_on_the_card():
    assert "(bidirectional GRU encoder, GRU decoder)" in card.card_text(FACTS)
    recipe = {"net": {"encoder": {"kind": "gru", "hidden": 8}, "decoder": {"kind": "theirs:Decoder"}}}
    foreign = {**FACTS, "recipe": recipe, "weights": "w1"}
    for facts in (foreign, {**FACTS, "start": foreign}):  # a fine-tuning tells of no net
        assert "(encoder `gru`, decoder `theirs:Decoder`)" in card.card_text(facts)


def test_an_evaluation_is_on_the_card_where_there_was_one():
    row = {"figure": "valid", "value": "74.00", "with grammar": "100.00", "unit": "%"}
    molecules = {"name": "valid.smi", "sha256": "abc789"}
    evaluation = {"n": 500, "seed": 3, "molecules": molecules, "tables": {"Samples of the prior": [row]}}
    text = card.card_text({**FACTS, "evaluation": evaluation})
    assert "### Samples of the prior\n\n| figure | value | with grammar | unit |\n|---|--:|--:|---|\n" in text
    assert "| valid | 74.00 | 100.00 | % |" in text
    assert "`molvae evaluate … -n 500 --seed 3`, on `valid.smi` (SHA-256 `abc789`)" in text
    assert "without molecules" in card.card_text({**FACTS, "evaluation": {**evaluation, "molecules": None}})
    assert "## Evaluation" not in card.card_text(FACTS)


def test_what_is_not_known_is_said_so():
    assert card.card_text({}).count("unknown") >= 5
    assert "unknown" in card.card_text({"data": {"counts": None, "source": None}})


def test_hardware_and_versions_are_told():
    machine = card.hardware(torch.device("cpu"), "32-true")
    assert re.search(r"\d+ threads of \d+ cores", machine["device"])
    assert machine["precision"] == "32-true"
    assert set(card.versions()) == {"python", "molvae", "torch", "rdkit", "numpy"}


def test_the_commit_is_of_this_source_tree_only(tmp_path, monkeypatch):
    """A copy installed inside somebody's repository must not report that repository's commit."""
    if shutil.which("git"):
        assert re.fullmatch(r"[0-9a-f]{12}(-dirty)?|unknown", card.commit())
        subprocess.run(["git", "init", "-q", tmp_path], check=True)
    installed = tmp_path / "venv" / "site-packages" / "molvae" / "vae" / "card.py"
    installed.parent.mkdir(parents=True)
    monkeypatch.setattr(card, "__file__", str(installed))
    assert card.commit() == "unknown"
