"""molvae train, evaluate, doctor, sample, encode, decode, score, models."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from molvae.chem.molecule import Molecule
from molvae.chem.objectives import named
from molvae.data.tables import read_table

ENDINGS = (".csv", ".tsv", ".parquet", ".sdf", ".smi", ".xlsx")


def read(path) -> pd.DataFrame:
    if path.suffix == ".xlsx":
        return pd.read_excel(path)
    if path.suffix == ".sdf":
        from rdkit.Chem import PandasTools

        return PandasTools.LoadSDF(str(path), smilesName="SMILES")
    return read_table(path)


class TestTrain:
    def test_it_leaves_a_model_and_figures(self, molvae, training, tmp_path):
        result = molvae("train", training(), "--out", "run")
        assert "run/model" in result.stderr
        assert "reconstruction" in result.stderr
        assert (tmp_path / "run" / "metrics.csv").read_text().count("\n") == 2
        assert len(molvae("sample", "run/model", "-n", 3).stdout.splitlines()) == 3

    def test_a_finished_one_returns_at_once_and_changes_nothing(self, molvae, training, tmp_path):
        recipe = training()
        molvae("train", recipe, "--out", "run")
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "model").iterdir()}
        molvae("train", recipe, "--out", "run")
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "model").iterdir()} == before

    def test_options_go_over_the_recipe(self, molvae, training, tmp_path):
        words = ["--set", "train.batch=70", "--set", "name=other", "--device", "cpu", "--seed", 5]
        molvae("train", training(), "--out", "run", *words)
        kept = json.loads((tmp_path / "run" / "recipe.json").read_text())
        assert (kept["train"]["batch"], kept["name"], kept["seed"]) == (70, "other", 5)
        assert kept["hardware"]["device"] == "cpu"

    def test_quiet_says_nothing(self, molvae, training):
        result = molvae("train", training(), "--out", "run", "-q")
        assert result.stdout + result.stderr == ""

    def test_it_does_without_tensorboard(self, molvae, training, monkeypatch, tmp_path):
        for name in [*sys.modules]:
            if name.startswith("torch.utils.tensorboard"):
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "tensorboard", None)  # what import finds of a package that is not there
        molvae("train", training(), "--out", "run")
        assert (tmp_path / "run" / "model" / "manifest.json").exists()
        assert not (tmp_path / "run" / "tensorboard").exists()


class TestEvaluate:
    @pytest.fixture(autouse=True)
    def without_chemnet(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "fcd", None)  # what import finds of a package that is not there

    def test_the_prior_alone(self, molvae, model):
        result = molvae("evaluate", model, "-n", 40, "--json")
        figures = json.loads(result.stdout)
        assert list(figures)[:3] == ["samples", "validity_prior", "validity_prior_grammar"]
        assert figures["samples"] == 40
        assert 0.5 < figures["validity_prior"] <= figures["validity_prior_grammar"]
        assert "reconstruction" not in figures
        assert "ChemNet" not in result.stderr

    def test_molecules_that_it_knows_come_back(self, molvae, model, trained):
        words = ["--smiles", trained / "corpus" / "train.smi", "-n", 30, "--json"]
        result = molvae("evaluate", model, *words)
        figures = json.loads(result.stdout)
        assert figures["molecules"] == 30
        assert figures["reconstruction"] > 0.5
        assert 0 < figures["nll"] < 30
        assert figures["active_units"] == 8
        assert "pip install 'molvae[fcd]'" in result.stderr

    def test_as_a_table_and_the_same_each_time(self, molvae, model, trained):
        words = ["evaluate", model, "--smiles", trained / "corpus" / "valid.smi", "-n", 10, "--seed", 3]
        told = molvae(*words).stdout
        assert "the same molecule, greedy, from the posterior mean" in told
        assert "Samples of the prior" in [line.strip() for line in told.splitlines()]
        assert molvae(*words).stdout == told

    def test_rows_it_cannot_read_are_left_out_and_named(self, molvae, model, tmp_path):
        (tmp_path / "mixed.smi").write_text("CCCCO\nBrCCBr\nC1CC\nCCCN\n")
        result = molvae("evaluate", model, "--smiles", "mixed.smi", "-n", 10, "--json")
        assert json.loads(result.stdout)["molecules"] == 2
        assert "mixed.smi:2: the model does not know the character" in result.stderr
        assert "mixed.smi:3: RDKit cannot make a molecule" in result.stderr

    def test_one_molecule_is_too_few(self, refused, model, tmp_path):
        (tmp_path / "one.smi").write_text("CCCCO\nBrCCBr\n")
        told = refused("evaluate", model, "--smiles", "one.smi", code=2)
        assert "one.smi has 1 molecules that this model reads; 2 or more are needed" in told

    def test_the_figures_go_on_the_card_and_the_weights_stay(self, molvae, model, trained, tmp_path):
        shutil.copytree(model, tmp_path / "mine")
        before = json.loads(molvae("models", "mine", "--json").stdout)
        words = ["--smiles", trained / "corpus" / "valid.smi", "-n", 10, "--seed", 2, "--json", "--to-card"]
        result = molvae("evaluate", "mine", *words)
        assert "the figures are on the card: mine/card.md" in result.stderr
        facts = json.loads(molvae("models", "mine", "--json").stdout)
        evaluation = facts.pop("evaluation")
        assert facts == before
        assert evaluation["figures"] == json.loads(result.stdout)
        assert evaluation["molecules"]["name"] == "valid.smi"
        assert "| samples | 10 |  | molecules |" in molvae("models", "mine").stdout
        weights = "weights.safetensors"
        assert (tmp_path / "mine" / weights).read_bytes() == (Path(model) / weights).read_bytes()
        assert molvae("sample", "mine", "-n", 9).stdout == molvae("sample", model, "-n", 9).stdout


class TestDoctor:
    def test_a_model_that_is_fit(self, molvae, model, trained):
        assert "fit for campaigns" in molvae("doctor", model).stdout
        told = molvae("doctor", model, "--smiles", trained / "corpus" / "train.smi", "--json").stdout
        found = json.loads(told)
        assert found["fit"]
        assert found["molecules"] == "140 given molecules"
        checks = {check["check"]: check for check in found["checks"]}
        assert checks["the same molecule after encoding and decoding"]["verdict"] == "ok"
        assert checks["the same molecule after encoding and decoding"]["value"] > 0.6

    def test_one_that_is_not_and_what_to_change(self, molvae, model, tmp_path):
        import torch

        from molvae.vae.folder import load_model, save_model

        vae = load_model(model)
        with torch.no_grad():
            for weights in vae.net.parameters():
                weights.zero_()
        save_model(tmp_path / "broken", vae, {})
        result = molvae("doctor", "broken", code=1)
        assert "bad" in result.stdout
        assert "error: not fit for campaigns:" in result.stderr
        assert "train.loss.beta.end" in result.stderr
        assert json.loads(molvae("doctor", "broken", "--json", code=1).stdout)["fit"] is False


class TestSample:
    def test_the_seed_decides(self, molvae, model):
        texts = [molvae("sample", model, "-n", 20, "--seed", seed).stdout for seed in (1, 1, 2)]
        assert texts[0] == texts[1] != texts[2]
        assert len(texts[0].splitlines()) == 20

    def test_temperature_draws_characters(self, molvae, model):
        words = ["sample", model, "-n", 30, "--no-grammar"]
        told = {t: molvae(*words, "--temperature", t).stdout for t in (0.001, 1.5)}
        assert told[0.001] == molvae(*words).stdout != told[1.5]

    def test_the_grammar_is_on_and_can_be_left_out(self, molvae, model):
        free, *strict = (
            molvae("sample", model, "-n", 60, *more).stdout.splitlines()
            for more in (["--no-grammar"], ["--grammar"], [])
        )
        assert strict[0] == strict[1]
        assert all(map(_valid, strict[0]))
        assert not all(map(_valid, free))

    @pytest.mark.parametrize("ending", ENDINGS)
    def test_into_a_table(self, molvae, model, tmp_path, ending):
        words = ["sample", model, "-n", 25, "--seed", 4, "--no-grammar"]
        texts = molvae(*words).stdout.splitlines()
        result = molvae(*words, "-o", f"tables/samples{ending}")
        valid = [text for text in texts if _valid(text)]
        assert f"{len(valid)} of 25 strings are valid molecules" in result.stderr
        table = read(tmp_path / "tables" / f"samples{ending}")
        if ending == ".sdf":
            assert list(table["SMILES"]) == [Molecule.parse(text).smiles for text in valid]
        else:
            assert list(table["SMILES"]) == texts
        assert [path.name for path in (tmp_path / "tables").iterdir()] == [f"samples{ending}"]


def _valid(text: str) -> bool:
    from molvae.chem.molecule import parse_or_none

    return parse_or_none(text) is not None


class TestEncodeDecode:
    def test_there_and_back(self, molvae, model, trained, tmp_path):
        molvae("encode", model, trained / "corpus" / "train.smi", "-o", "z.parquet")
        points = pd.read_parquet(tmp_path / "z.parquet")
        smiles = (trained / "corpus" / "train.smi").read_text().split()
        assert list(points.columns) == ["SMILES", *(f"z{k}" for k in range(8))]
        assert list(points["SMILES"]) == smiles
        molvae("decode", model, "z.parquet", "-o", "back.csv")
        back = pd.read_csv(tmp_path / "back.csv")["SMILES"]
        assert np.mean([a == b for a, b in zip(smiles, back, strict=True)]) > 0.5

    def test_points_survive_text_too(self, molvae, model, trained, tmp_path):
        for ending in ("parquet", "csv", "tsv"):
            molvae("encode", model, trained / "corpus" / "valid.smi", "-o", f"z.{ending}", "-q")
        told = {molvae("decode", model, f"z.{ending}").stdout for ending in ("parquet", "csv", "tsv")}
        assert len(told) == 1
        assert len(told.pop().splitlines()) == 20

    def test_a_named_column_and_a_spelling_that_is_not_canonical(self, molvae, model, tmp_path):
        (tmp_path / "mine.csv").write_text("SMILES,structure\nC,OCCCC\n")
        molvae("encode", model, "mine.csv", "--column", "structure", "-o", "z.csv")
        assert pd.read_csv(tmp_path / "z.csv").at[0, "SMILES"] == "CCCCO"

    def test_decoding_draws_by_seed_and_temperature(self, molvae, model, trained):
        molvae("encode", model, trained / "corpus" / "valid.smi", "-o", "z.parquet")
        words = ["decode", model, "z.parquet", "--temperature", 1.5]
        told = [molvae(*words, "--seed", seed).stdout for seed in (1, 1, 2)]
        assert told[0] == told[1] != told[2]
        free = molvae(*words, "--seed", 1, "--no-grammar").stdout
        assert all(map(_valid, told[0].splitlines()))
        assert not all(map(_valid, free.splitlines()))


class TestScore:
    @pytest.fixture
    def table(self, tmp_path):
        path = tmp_path / "drugs.csv"
        path.write_text("name,smiles\naspirin,CC(=O)Oc1ccccc1C(=O)O\nindole,c1ccc2[nH]ccc2c1\n")
        return path

    @pytest.mark.parametrize("ending", ENDINGS)
    def test_the_usual_objectives_into_each_format(self, molvae, table, tmp_path, ending):
        molvae("score", table, "-o", f"scored{ending}")
        scored = read(tmp_path / f"scored{ending}")
        assert scored["SMILES"].tolist() == ["CC(=O)Oc1ccccc1C(=O)O", "c1ccc2[nH]ccc2c1"]
        if ending != ".smi":
            for word in ("logp", "qed", "sas"):
                expected = [named(word).evaluate(Molecule.parse(smiles)) for smiles in scored["SMILES"]]
                assert scored[named(word).label].astype(float).tolist() == pytest.approx(expected, abs=1e-12)

    def test_what_was_in_the_table_stays(self, molvae, table, tmp_path):
        molvae("score", table, "-o", "scored.csv", "--objective", "MolWt", "--objective", "qed_sas")
        scored = pd.read_csv(tmp_path / "scored.csv", keep_default_na=False)
        assert list(scored.columns) == ["SMILES", "name", "MolWt", "5QED-SAS", "failure"]
        assert scored["name"].tolist() == ["aspirin", "indole"]
        assert scored["MolWt"].tolist() == pytest.approx([180.159, 117.151], abs=1e-3)
        assert scored["failure"].tolist() == ["", ""]

    def test_a_function_in_the_current_folder(self, molvae, table, tmp_path):
        (tmp_path / "carbons_here.py").write_text("def count(smiles):\n    return smiles.lower().count('c')\n")
        molvae("score", table, "-o", "scored.csv", "--objective", "carbons_here:count")
        scored = pd.read_csv(tmp_path / "scored.csv")
        assert scored.iloc[:, 2].tolist() == [9.0, 8.0]

    def test_one_bad_row_costs_that_row_alone(self, molvae, table, tmp_path):
        table.write_text(table.read_text() + "broken,C1CC\nnothing,\n")
        result = molvae("score", table, "-o", "scored.csv", code=1)
        assert "2 of 4 molecules scored" in result.stderr
        assert "error: 2 rows have no value; the column 'failure' of scored.csv says why" in result.stderr
        scored = pd.read_csv(tmp_path / "scored.csv")
        assert scored["QED"].notna().tolist() == [True, True, False, False]
        assert "unclosed ring" in scored.at[2, "failure"]


class TestModels:
    def test_a_folder_has_a_card_too(self, molvae, model):
        assert "tiny" in molvae("models", model).stdout
        facts = json.loads(molvae("models", model, "--json").stdout)
        assert facts["name"] == "tiny"
        assert facts["recipe"]["net"]["latent"] == 8

    def test_those_that_are_installed(self, molvae, model, monkeypatch, tmp_path):
        from molvae.vae import folder as checkpoint

        monkeypatch.setattr(checkpoint, "MODELS", tmp_path / "installed")
        assert "no models are installed" in molvae("models").stderr
        (tmp_path / "installed").mkdir()
        (tmp_path / "installed" / "mine").symlink_to(model)
        told = molvae("models").stdout.splitlines()
        assert told[0].split()[:2] == ["model", "nll"]
        assert told[1].split()[0] == "mine"
        assert told[2].endswith("mine/card.md")
        assert json.loads(molvae("models", "--json").stdout)["mine"]["card"].endswith("mine/card.md")
        assert len(molvae("sample", "mine", "-n", 2).stdout.splitlines()) == 2
        assert "did you mean 'mine'?" in molvae("sample", "mien", code=1).stderr
