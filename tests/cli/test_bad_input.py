"""Each bad input gets one clear message, the right exit code, and nothing is half-written or lost."""

import json
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest

BAD_ROWS = {
    "an unknown character": ("CCBr", "the model does not know the character 'B' at character"),
    "a long line": ("C" * 10_000, "10000 characters is too long, at most 1000 are read"),
    "a salt": ("CC(=O)[O-].[Na+]", "the model does not know the character '"),
    "a molecule RDKit rejects": ("CC(C)(C)(C)C", "valence"),
    "an open bracket": ("CC(C", "RDKit cannot make a molecule"),
    "an empty row": ("", "an empty text is not a SMILES"),
    "longer than the model reads": ("C" * 40, "longer than the 17 characters this model reads"),
}


class TestMolecules:
    @pytest.mark.parametrize("name", BAD_ROWS)
    def test_encode_keeps_the_good_rows_and_says_why_of_the_others(self, molvae, model, tmp_path, name):
        text, reason = BAD_ROWS[name]
        (tmp_path / "mixed.csv").write_text(f"SMILES\nCCCO\n{text or '  '}\nCCCN\n")
        result = molvae("encode", model, "mixed.csv", "-o", "z.parquet", code=1)
        assert "Traceback" not in result.stderr
        assert "mixed.csv:3: " in result.stderr
        assert reason in result.stderr
        assert "error: 1 of 3 rows were not encoded; all reasons are in z.rejects.csv" in result.stderr
        assert len(result.stderr) < 2000
        assert pd.read_parquet(tmp_path / "z.parquet")["SMILES"].tolist() == ["CCCO", "CCCN"]
        rejects = pd.read_csv(tmp_path / "z.rejects.csv", keep_default_na=False)
        assert rejects[["SMILES", "line"]].values.tolist() == [[text, 3]]
        assert reason in rejects.at[0, "reason"]

    def test_an_unknown_character_is_pointed_at(self, molvae, model, tmp_path):
        (tmp_path / "one.smi").write_text("CCCCCF\n")
        told = molvae("encode", model, "one.smi", "-o", "z.csv", code=1).stderr.splitlines()
        assert told[0].endswith("the model does not know the character 'F' at character 6")
        assert told[1:3] == ["  CCCCCF", "       ^"]
        assert not (tmp_path / "z.csv").exists()

    def test_score_keeps_every_row(self, molvae, tmp_path):
        rows = ["SMILES", "CCO", "C" * 10_000, "CC(=O)[O-].[Na+]", "CC(C)(C)(C)C"]
        (tmp_path / "mixed.csv").write_text("\n".join(rows) + "\n")
        molvae("score", "mixed.csv", "-o", "scored.csv", code=1)
        scored = pd.read_csv(tmp_path / "scored.csv", keep_default_na=False)
        assert scored["SMILES"].tolist() == rows[1:]
        assert [bool(why) for why in scored["failure"]] == [False, True, False, True]


READERS = {
    "score": ["score", "FILE", "-o", "out.csv"],
    "encode": ["encode", "MODEL", "FILE", "-o", "out.csv"],
    "evaluate": ["evaluate", "MODEL", "-n", "5", "--smiles", "FILE"],
    "prepare": ["data", "prepare", "FILE", "-o", "mine"],
}


class TestTables:
    @pytest.fixture(params=READERS)
    def refuse(self, refused, request, model, tmp_path):
        def run(file: str, *more: str) -> str:
            words = [{"FILE": file, "MODEL": model}.get(word, word) for word in READERS[request.param]]
            told = refused(*words, *more, code=1)
            assert file in told
            assert not (tmp_path / "out.csv").exists()
            assert not (tmp_path / "mine" / "manifest.json").exists()
            return told

        return run

    def test_a_missing_file(self, refuse):
        assert "there is no file nowhere.csv" in refuse("nowhere.csv")

    def test_an_empty_file(self, refuse, tmp_path):
        for name, content in (("none.csv", ""), ("header.csv", "smiles,n\n"), ("none.smi", "")):
            (tmp_path / name).write_text(content)
            assert "is empty" in refuse(name)

    def test_a_missing_column_names_those_there_are(self, refuse, tmp_path):
        (tmp_path / "mine.csv").write_text("smilez,weight\nCCO,46\n")
        assert "no column 'SMILES'; its columns are smilez, weight; did you mean 'smilez'?" in refuse("mine.csv")
        assert "no column 'smile'; its columns are smilez, weight" in refuse("mine.csv", "--column", "smile")

    def test_a_damaged_file(self, refuse, tmp_path):
        for name in ("mine.parquet", "mine.csv.gz"):
            (tmp_path / name).write_bytes(b"not what the ending says")
            assert "cannot be read" in refuse(name)

    def test_an_unknown_ending(self, refuse, tmp_path):
        (tmp_path / "mine.doc").write_text("CCO\n")
        assert "the ending tells the format" in refuse("mine.doc")

    def test_decode_names_the_columns_it_lacks(self, refused, model, tmp_path):
        (tmp_path / "z.csv").write_text("SMILES,z0,z1\nCCO,1,2\n")
        told = refused("decode", model, "z.csv", code=1)
        assert "lacks 6 of the 8 columns z0 … z7, the first is 'z2'" in told
        (tmp_path / "z.csv").write_text(",".join(f"z{k}" for k in range(8)) + "\n" + ",".join("1234567x") + "\n")
        assert "something else than numbers" in refused("decode", model, "z.csv", code=1)


class TestOutput:
    def commands(self, model, trained) -> list[list]:
        smi = trained / "molecules.smi"
        return [["sample", model, "-n", 5], ["score", smi], ["encode", model, smi]]

    def test_an_unknown_ending(self, refused, model, trained, tmp_path):
        for words in self.commands(model, trained):
            told = refused(*words, "-o", "out.doc", code=2)
            assert "out.doc: tables are written as .csv, .tsv, .parquet, .sdf, .smi, .xlsx; .doc is none" in told
        assert not (tmp_path / "out.doc").exists()

    def test_a_folder_that_cannot_be_made(self, refused, model, trained, tmp_path):
        (tmp_path / "file").write_text("content")
        for words in self.commands(model, trained):
            assert "file/out.csv could not be written" in refused(*words, "-o", "file/out.csv", code=1)
        assert (tmp_path / "file").read_text() == "content"

    def test_a_folder_that_may_not_be_written(self, refused, model, training, campaign, trained, read_only):
        for words in self.commands(model, trained):
            assert f"{read_only}/out.csv could not be written: " in refused(*words, "-o", read_only / "out.csv", code=1)
        for words in (["train", training()], ["optimize", campaign()]):
            assert str(read_only) in refused(*words, "--out", read_only / "run", code=1)
            assert str(read_only) in refused(*words, "--out", read_only, code=1)

    @pytest.fixture
    def read_only(self, small_disk, remount):
        """A disk mounted read-only, since root may write where permissions say no."""
        folder = small_disk("64k")
        remount(folder, "ro")
        return folder


class TestRecipes:
    @pytest.mark.parametrize("command", ["train", "optimize"])
    def test_a_missing_one(self, refused, command):
        assert "there is no recipe nowhere.toml" in refused(command, "nowhere.toml", "--out", "run", code=2)

    @pytest.mark.parametrize("command", ["train", "optimize"])
    def test_one_that_is_not_toml(self, refused, command, tmp_path):
        (tmp_path / "bad.toml").write_text("a = = 1\n")
        assert "bad.toml is not valid TOML" in refused(command, "bad.toml", "--out", "run", code=2)

    @pytest.mark.parametrize(
        ("key", "message"),
        [
            ("train.bach=64", "train.bach: unknown key; did you mean 'batch'?"),
            ('train.batch="many"', 'train.batch: Input should be a valid integer; it is "many"'),
            ("train.batch=64.5", "train.batch: Input should be a valid integer"),
            ("train.loss.beta.kind=liner", "did you mean 'linear'?"),
            ("hardware.device=gpu", "hardware.device: Input should be 'auto', 'cpu' or 'cuda'"),
            ("seed=-1", "seed: Input should be greater than or equal to 0"),
            ("corpus=nowhere", "there is no folder nowhere"),
            ("batch", "--set takes KEY=VALUE"),
        ],
    )
    def test_of_a_training(self, refused, training, tmp_path, key, message):
        told = refused("train", training(), "--out", "run", "--set", key, code=1 if "corpus" in key else 2)
        assert message in told
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        ("key", "message"),
        [
            ("budgets.evaluations=3", "budgets: unknown key; did you mean 'budget'?"),
            ("budget.evaluation=3", "budget.evaluation: unknown key; did you mean 'evaluations'?"),
            ('q="four"', 'q: Input should be a valid integer; it is "four"'),
            ("start.kind=prio", "did you mean 'prior'?"),
            ('objectives=[{score={kind="qedd"}}]', "did you mean 'qed'?"),
            ("objectives=[]", "objectives: "),
            ("budget.evaluations=3", "6 start molecules are more than the 3 budget.evaluations"),
        ],
    )
    def test_of_a_campaign(self, refused, campaign, tmp_path, key, message):
        assert message in refused("optimize", campaign(), "--out", "run", "--set", key, code=2)
        assert not (tmp_path / "run").exists()

    def test_a_changed_one_is_refused_with_the_keys(self, molvae, refused, training, campaign):
        for command, recipe in (("train", training()), ("optimize", campaign())):
            molvae(command, recipe, "--out", command, "-q")
            before = {path: path.read_bytes() for path in Path(command).rglob("*.*") if path.is_file()}
            told = refused(command, recipe, "--out", command, "--seed", 7, code=2)
            assert f"{command} was begun with another recipe; what differs (old → new):\n  seed: 0 → 7\n" in told
            assert {path: path.read_bytes() for path in before} == before

    def test_an_objective_whose_module_is_missing(self, refused, campaign, trained):
        objectives = [{"score": {"kind": "callable", "call": "no_such_module:score"}}]
        told = refused("optimize", campaign(objectives=objectives), "--out", "run", code=1)
        assert "no_such_module" in told
        words = ["score", trained / "molecules.smi", "-o", "out.csv", "--objective"]
        assert "no_such_module" in refused(*words, "no_such_module:score", code=1)
        assert "did you mean 'qed'?" in refused(*words, "qedd", code=2)


class TestModels:
    WORDS = (["sample"], ["evaluate"], ["models"], ["encode", "FILE", "-o", "z.csv"], ["decode", "FILE"])

    @pytest.fixture
    def refuse(self, refused, trained):
        def run(model) -> set[str]:
            file = trained / "molecules.smi"
            return {
                refused(name, model, *(file if word == "FILE" else word for word in rest), code=1)
                for name, *rest in self.WORDS
            }

        return run

    def test_a_missing_one(self, refuse):
        assert {told.split(",")[0] for told in refuse("nowhere")} == {"there is no model folder nowhere"}

    def test_a_folder_that_is_none(self, refuse, trained):
        (told,) = refuse(trained)
        assert "has no manifest.json" in told
        (told,) = refuse(trained / "corpus")
        assert "is not a model folder" in told

    @pytest.mark.parametrize("name", ["weights.safetensors", "vocab.json", "model.json"])
    def test_a_damaged_one(self, refuse, model, tmp_path, name):
        shutil.copytree(model, tmp_path / "damaged")
        content = (tmp_path / "damaged" / name).read_bytes()
        (tmp_path / "damaged" / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        (told,) = refuse("damaged")
        assert f"damaged is damaged: {name} differs from what the manifest says" in told
        (tmp_path / "damaged" / name).unlink()
        (told,) = refuse("damaged")
        assert f"{name} is missing" in told

    def test_options_that_do_not_fit(self, refused, model):
        assert "it is 'gpu'" in refused("sample", model, "--device", "gpu", code=2)
        assert "at least 0.001" in refused("sample", model, "--temperature", "0", code=2)
        assert "at least 0.001" in refused("sample", model, "--temperature", "nan", code=2)

    def test_no_gpu(self, refused, model, training):
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is a GPU")
        assert "there is no CUDA device" in refused("sample", model, "--device", "cuda", code=2)
        assert "there is no CUDA device" in refused("train", training(), "-o", "run", "--device", "cuda", code=1)


class TestRuns:
    def test_a_folder_that_is_no_run(self, refused, trained, tmp_path):
        for folder in ("nowhere", trained):
            for words in (["status", folder], ["export", folder, "-o", "out.csv"]):
                assert f"there is no campaign in {folder}" in refused(*words, code=1)
        assert not (tmp_path / "nowhere").exists()

    def test_a_damaged_store(self, molvae, refused, campaign, tmp_path):
        recipe = campaign()
        molvae("optimize", recipe, "--out", "run", "-q")
        (tmp_path / "run" / "campaign.sqlite").write_bytes(b"not a database at all" * 100)
        for words in (["status", "run"], ["export", "run", "-o", "out.csv"], ["optimize", recipe, "--out", "run"]):
            assert "run/campaign.sqlite" in refused(*words, code=1)
        assert not (tmp_path / "out.csv").exists()

    def test_export_takes_a_known_ending(self, molvae, refused, campaign, tmp_path):
        molvae("optimize", campaign(), "--out", "run", "-q")
        assert ".doc is none of them" in refused("export", "run", "-o", "out.doc", code=2)
        assert not (tmp_path / "columns.json").exists()


class TestVerbose:
    COMMANDS = (["status", "nowhere"], ["sample", "nowhere"], ["train", "nowhere.toml", "-o", "run"])

    @pytest.mark.parametrize("words", COMMANDS)
    def test_the_traceback_comes_with_v_alone(self, molvae, words):
        told = [molvae(*words, *more, code=None).stderr for more in ([], ["-q"], ["-v"])]
        assert ["Traceback" in one for one in told] == [False, False, True]
        assert told[0] == told[1]
        assert told[2].endswith(told[0])
        assert told[0].count("\n") == 1

    def test_an_error_of_our_own_says_so(self, molvae, model, monkeypatch):
        from molvae.vae.model import SmilesVAE

        monkeypatch.setattr(SmilesVAE, "sample", lambda *_: 1 / 0)
        told = molvae("sample", model, code=1).stderr
        assert told == "error: this is a bug in molvae: ZeroDivisionError: division by zero (-v shows where)\n"


@pytest.mark.slow
class TestFullDisk:
    @pytest.mark.parametrize("words", [["sample", "MODEL", "-n", 400], ["score", "FILE"], ["encode", "MODEL", "FILE"]])
    def test_a_table_is_whole_or_what_it_was(self, molvae, refused, small_disk, remount, model, tmp_path, words):
        disk = small_disk("40k")
        (tmp_path / "many.smi").write_text("CCCCO\nCCCCN\n" * 200)
        words = [{"MODEL": model, "FILE": "many.smi"}.get(word, word) for word in words]
        for ending in (".csv", ".parquet", ".smi", ".xlsx", ".sdf"):
            target = disk / f"out{ending}"
            target.write_text("old")
            (disk / "ballast").write_bytes(b"0" * 36_864)  # all there is but a page, which the old table has
            told = refused(*words, "-o", target, code=1)
            assert told.startswith(f"{target} could not be written: ")
            assert "No space left on device" in told
            assert target.read_text() == "old"
            assert sorted(path.name for path in disk.iterdir()) == ["ballast", target.name]
            target.unlink()
        (disk / "ballast").unlink()
        remount(disk, "size=8m")
        molvae(*words, "-o", disk / "out.csv")
        assert len(pd.read_csv(disk / "out.csv")) >= 400

    def test_an_export(self, molvae, refused, campaign, small_disk, remount):
        molvae("optimize", campaign(), "--out", "run", "-q")
        disk = small_disk("12k")
        (disk / "out.csv").write_text("old")
        (disk / "ballast").write_bytes(b"0" * 8192)
        assert f"{disk}/out.csv could not be written" in refused("export", "run", "-o", disk / "out.csv", code=1)
        assert (disk / "out.csv").read_text() == "old"
        remount(disk, "size=1m")
        molvae("export", "run", "-o", disk / "out.csv")
        assert len(pd.read_csv(disk / "out.csv")) == 14

    def test_a_training_goes_on_when_there_is_room(self, molvae, process, training, small_disk, remount, tmp_path):
        recipe = training(train={"epochs": 6}, evaluate={"every": 7})
        molvae("train", recipe, "--out", "whole", "-q")
        disk = small_disk("64k")
        one = process("train", recipe, "--out", disk / "run")
        _, told = one.communicate(timeout=200)
        assert one.returncode == 1
        assert "Traceback" not in told
        assert f"error: {disk}/run/" in told
        assert "No space left on device" in told
        remount(disk, "size=4m")
        again = process("train", recipe, "--out", disk / "run")
        _, told = again.communicate(timeout=200)
        assert again.returncode == 0, told
        name = "model/weights.safetensors"
        assert (disk / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()

    def test_a_campaign_goes_on_when_there_is_room(self, molvae, process, campaign, small_disk, remount, tmp_path):
        from molvae.campaign.campaign import Campaign

        recipe = campaign(budget={"evaluations": 40})
        molvae("optimize", recipe, "--out", "whole", "-q")
        disk = small_disk("124k")
        one = process("optimize", recipe, "--out", disk / "run")
        _, told = one.communicate(timeout=200)
        assert one.returncode == 1
        assert "Traceback" not in told
        assert f"error: {disk}/run/campaign.sqlite could not be written: " in told
        before = Campaign.read(disk / "run").state()
        remount(disk, "size=4m")
        again = process("optimize", recipe, "--out", disk / "run")
        _, told = again.communicate(timeout=200)
        assert again.returncode == 0, told
        found, whole = (Campaign.read(folder).state() for folder in (disk / "run", tmp_path / "whole"))
        assert [r.proposal.smiles for r in found.records] == [r.proposal.smiles for r in whole.records]
        assert [r.proposal.smiles for r in before.records] == [
            r.proposal.smiles for r in found.records[: len(before.records)]
        ]
        assert 0 < len(before.observed) < 40


@pytest.mark.slow
class TestTwoWriters:
    def test_the_second_training_hears_of_the_first(self, molvae, refused, process, training, tmp_path):
        recipe = training(train={"epochs": 2000})
        first = process("train", recipe, "--out", "run")
        _wait(tmp_path / "run" / "state.safetensors", first)
        told = refused("train", recipe, "--out", "run", code=1)
        assert f"this training is running in process {first.pid} (run); wait for it or stop it" in told
        assert first.poll() is None

    def test_the_second_campaign_hears_of_the_first(self, molvae, refused, process, campaign, tmp_path):
        (tmp_path / "patient_here.py").write_text("import time\n\n\ndef score(_):\n    time.sleep(0.5)\n    return 1\n")
        recipe = campaign(objectives=[{"score": {"kind": "callable", "call": "patient_here:score"}}])
        first = process("optimize", recipe, "--out", "run")
        _wait(tmp_path / "run" / "campaign.sqlite", first)
        told = refused("optimize", recipe, "--out", "run", code=1)
        assert f"this campaign is running in process {first.pid} (run); wait for it or stop it" in told
        assert json.loads(molvae("status", "run", "--json").stdout)["budget"] == 14
        assert first.poll() is None


def _wait(path: Path, process) -> None:
    for _ in range(1200):
        if path.exists() or process.poll() is not None:
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not come")
