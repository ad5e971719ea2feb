"""molvae optimize, status, export."""

import json
import re

import numpy as np
import pandas as pd
import pytest

ENDINGS = (".csv", ".tsv", ".parquet", ".sdf", ".smi", ".xlsx")


def table(folder) -> list[tuple]:
    from molvae.campaign.campaign import Campaign

    state = Campaign.read(folder).state()
    return [(record.proposal.smiles, record.outcome.values) for record in state.observed]


class TestOptimize:
    def test_it_uses_its_budget_and_shows_the_best(self, molvae, campaign, tmp_path):
        result = molvae("optimize", campaign(), "--out", "run")
        head, _, header, *rows = [" ".join(line.split()) for line in result.stdout.splitlines()]
        assert head.startswith("run: 14 of 14 molecules evaluated, 0 failed, round 2; budget of 14 evaluations used")
        assert header == "# SMILES 5QED-SAS"
        values = [float(row.split()[2]) for row in rows]
        assert values == sorted(values, reverse=True)
        assert len(values) == 10
        assert "molvae export run -o candidates.csv" in result.stderr
        assert len(table(tmp_path / "run")) == 14

    def test_the_same_command_again_returns_what_there_is(self, molvae, campaign, tmp_path):
        recipe = campaign()
        first = molvae("optimize", recipe, "--out", "run")
        again = molvae("optimize", recipe, "--out", "run")
        assert again.stdout == first.stdout
        molvae("optimize", recipe, "--out", "other")
        assert table(tmp_path / "other") == table(tmp_path / "run")

    def test_options_go_over_the_recipe(self, molvae, campaign):
        words = ["--set", "budget.evaluations=9", "--set", "q=3", "--seed", 5, "-q"]
        assert "9 of 9 molecules evaluated" in molvae("optimize", campaign(), "--out", "run", *words).stdout
        with open("run/recipe.json") as file:
            kept = json.load(file)
        assert (kept["seed"], kept["q"], kept["budget"]["evaluations"]) == (5, 3, 9)

    def test_prior_samples_training_and_given_molecules_start_it_too(self, molvae, campaign, trained):
        starts = [
            {"kind": "prior", "n": 6},
            {"kind": "training", "path": str(trained / "corpus"), "n": 6},
            {"kind": "given", "smiles": ["CCCCO", "CCCN", "c1ccccc1"]},
        ]
        for start in starts:
            recipe = campaign(start=start, budget={"evaluations": 7})
            assert "7 of 7" in molvae("optimize", recipe, "--out", f"run_{start['kind']}").stdout

    def test_several_objectives_one_with_a_target_one_from_the_current_folder(self, molvae, campaign, tmp_path):
        (tmp_path / "nitrogens_here.py").write_text("def count(smiles):\n    return smiles.upper().count('N')\n")
        objectives = [
            {"score": {"kind": "qed"}},
            {"score": {"kind": "logp"}, "direction": "target", "target": 2.0, "tolerance": 0.5},
            {"score": {"kind": "callable", "call": "nitrogens_here:count"}, "name": "N", "direction": "minimize"},
        ]
        molvae("optimize", campaign(objectives=objectives, budget={"evaluations": 10}), "--out", "run")
        molvae("export", "run", "-o", "found.csv")
        found = pd.read_csv(tmp_path / "found.csv")
        assert {"QED", "logP", "N"} <= set(found.columns)
        assert found["N"].tolist() == [smiles.upper().count("N") for smiles in found["SMILES"]]
        assert found["front"].iloc[0] == 1

    def test_a_constraint_is_a_column_and_a_share(self, molvae, campaign, tmp_path):
        bound = {"score": {"kind": "logp"}, "direction": "at least", "bound": 1.0}
        told = molvae("optimize", campaign(objectives=[{"score": {"kind": "qed"}}, bound]), "--out", "run").stdout
        molvae("export", "run", "-o", "found.csv")
        found = pd.read_csv(tmp_path / "found.csv")
        assert f"{found['feasible'].mean():.0%} of the others feasible, round" in told
        assert (found["feasible"] == (found["logP"] >= 1)).all()
        assert "into the ten best" in molvae("status", "run").stdout

    def test_an_objective_that_fails_costs_its_molecule_alone(self, molvae, campaign, tmp_path):
        (tmp_path / "fussy_here.py").write_text("def score(smiles):\n    return len(smiles) / ('N' not in smiles)\n")
        objectives = [{"score": {"kind": "callable", "call": "fussy_here:score"}}]
        told = molvae("optimize", campaign(objectives=objectives), "--out", "run").stdout
        assert int(re.search(r"(\d+) failed", told)[1]) > 0
        assert "14 of 14 molecules evaluated" in told

    @pytest.mark.slow
    def test_worker_processes_give_the_same_table(self, molvae, process, campaign, tmp_path):
        molvae("optimize", campaign(), "--out", "inline")
        one = process("optimize", campaign(executor={"kind": "processes", "workers": 2}), "--out", "pool")
        _, errors = one.communicate(timeout=200)
        assert one.returncode == 0, errors
        assert table(tmp_path / "pool") == table(tmp_path / "inline")

    def test_a_recipe_that_led_nowhere_may_be_corrected(self, molvae, refused, campaign):
        assert "no model folder zinc" in refused("optimize", campaign(model="zinc"), "--out", "run", code=1)
        refused("optimize", campaign(start={"kind": "file", "path": "nowhere.smi", "n": 6}), "--out", "run", code=1)
        assert "14 of 14" in molvae("optimize", campaign(), "--out", "run").stdout

    def test_the_folder_of_a_training_is_left_alone(self, refused, campaign, trained):
        before = {path: path.stat().st_mtime_ns for path in (trained / "training").rglob("*.*")}
        told = refused("optimize", campaign(), "--out", trained / "training", code=2)
        assert "was begun with another recipe" in told
        assert {path: path.stat().st_mtime_ns for path in (trained / "training").rglob("*.*")} == before


class TestStatus:
    @pytest.fixture
    def run(self, molvae, campaign):
        molvae("optimize", campaign(), "--out", "run", "-q")
        return "run"

    def test_for_people(self, molvae, run):
        told = molvae("status", run).stdout
        assert told.startswith("run: 14 of 14 molecules evaluated")
        assert told.splitlines().index("") == 13

    def test_where_the_search_began_again(self, molvae, campaign):
        changes = {"restarts": {"patience": 4, "gain": 0.9}, "budget": {"evaluations": 40}}
        head = molvae("optimize", campaign(**changes), "--out", "run", "-q").stdout.splitlines()[0]
        calls = json.loads(molvae("status", "run", "--json").stdout)["restarts"]
        assert calls
        assert [int(call) for call in re.findall(r"begun again at call (\d+)", head)] == calls

    def test_for_programs(self, molvae, run):
        found = json.loads(molvae("status", run, "--json").stdout)
        assert (found["used"], found["budget"], found["failed"], found["pending"]) == (14, 14, 0, 0)
        assert found["objectives"] == {"5QED-SAS": "maximize"}
        assert found["stopped"] == "budget of 14 evaluations used"
        assert found["best"]["5QED-SAS"] == found["molecules"][0]["5QED-SAS"]
        assert len(found["molecules"]) == 10

    def test_export_in_each_format(self, molvae, run, tmp_path):
        told = {row["SMILES"] for row in json.loads(molvae("status", run, "--json").stdout)["molecules"]}
        for ending in ENDINGS:
            result = molvae("export", run, "-o", f"out{ending}/candidates{ending}")
            folder = tmp_path / f"out{ending}"
            assert f"14 molecules: out{ending}/candidates{ending}" in result.stderr
            assert sorted(path.name for path in folder.iterdir()) == sorted([f"candidates{ending}", "columns.json"])
            found = _read(folder / f"candidates{ending}")
            assert len(found) == 14
            assert set(found["SMILES"][:10]) == told
            if ending != ".smi":
                described = json.loads((folder / "columns.json").read_text())
                assert set(found.columns) - {"ID", "ROMol"} <= set(described)

    def test_the_table_has_every_column_and_each_is_explained(self, molvae, run, tmp_path):
        molvae("export", run, "-o", "candidates.parquet")
        found = pd.read_parquet(tmp_path / "candidates.parquet")
        described = json.loads((tmp_path / "columns.json").read_text())
        assert found.columns[0] == "SMILES"
        assert list(found.columns) == list(described)
        assert all(one["meaning"] for one in described.values())
        assert described["5QED-SAS"]["direction"] == "maximize"
        assert found["rank"].tolist() == sorted(found["rank"])
        assert found["call"].sort_values().tolist() == list(range(1, 15))

    def test_the_model_may_be_gone_by_then(self, molvae, campaign, model, tmp_path):
        (tmp_path / "mine").symlink_to(model)
        molvae("optimize", campaign(model="mine"), "--out", "run2", "-q")
        (tmp_path / "mine").unlink()
        assert "14 of 14" in molvae("status", "run2").stdout
        result = molvae("export", "run2", "-o", "candidates.csv")
        assert "warning: training molecules are not told apart" in result.stderr
        assert pd.read_csv(tmp_path / "candidates.csv")["in_training"].isna().all()


def _read(path) -> pd.DataFrame:
    if path.suffix == ".xlsx":
        return pd.read_excel(path)
    if path.suffix == ".sdf":
        from rdkit.Chem import PandasTools

        return PandasTools.LoadSDF(str(path), smilesName="SMILES")
    from molvae.data.tables import read_table

    return read_table(path)


class TestDiagnosis:
    @pytest.fixture
    def strings(self, tmp_path, campaign):
        """A finished run of 12 start molecules and 11 strings of carbon that were thought worse; gives its recipe."""
        from molvae.campaign.campaign import Campaign
        from molvae.campaign.record.state import Observed, Proposal
        from molvae.campaign.record.store import Round, Store

        recipe = campaign(budget={"evaluations": 23})
        tails = ("C", "N", "O", "F", "CC", "CN", "CO", "CF", "C#N", "C=O", "OC", "NC")
        z = np.zeros(2, dtype=np.float32)
        start = [Proposal(k, 0, f"c1ccccc1{tail}", z) for k, tail in enumerate(tails, 1)]
        told = {"parent": start[0].smiles, "move": "mutation", "mean": (0.0,), "sd": (3.0,), "acquisition": 1.0}
        strings = [Proposal(12 + k, 1, "C" * (30 + k), z, **told) for k in range(1, 12)]
        Campaign.open(recipe, tmp_path / "run")
        with Store.create(tmp_path / "run") as store:
            store.propose(start, Round(0, 12, 12, 12, 0.1, "w"))
            store.propose(strings, Round(1, 100, 30, 15, 5.5, "w"))
            for one in [*start, *strings]:
                store.conclude(one.call, Observed((float(one.call - 12),), 0.0))
        return recipe

    def test_for_people(self, molvae, strings):
        result = molvae("status", "run")
        told = [" ".join(line.split()) for line in result.stdout.splitlines()]
        assert re.sub(r"y 0\.\d\d", "y 0.##", told.pop()) == (
            "ten best: Tanimoto similarity 0.## to the nearest start molecule, 1.00 to each other; "
            "10 far outside the start set's heavy atoms, logP, SAS"
        )
        assert told[13:] == [
            "",
            "predictions of the last 11 molecules; 68%, 95% and a correlation near 1 are good",
            "objective within 1 sd within 2 sd rank correlation",
            "5QED-SAS 27% 55%",
            "",
            "moves of the last 11 molecules",
            "move proposed into the ten best",
            "mutation 11 11",
            "",
            "rounds: 1, of which 0 since the last gain; 0.50 s to choose a molecule",
            "texts: 70% invalid, 50% of the others not new",
        ]
        assert [line.partition(":")[0] for line in result.stderr.splitlines()] == ["warning"] * 4

    def test_warnings_end_an_optimisation_too_unless_it_is_to_be_quiet(self, molvae, strings):
        result = molvae("optimize", strings, "--out", "run")
        assert "warning: 10 of the ten best have a string of 8 or more atoms of one element" in result.stderr
        assert "predictions" not in result.stdout
        assert molvae("optimize", strings, "--out", "run", "-q").stderr == ""

    def test_for_programs(self, molvae, strings):
        found = json.loads(molvae("status", "run", "--json").stdout)
        assert len(found["warnings"]) == 4
        assert found["diagnosis"]["moves"] == {"mutation": {"proposed": 11, "entered": 11}}
        assert found["diagnosis"]["calibration"]["5QED-SAS"]["rank_correlation"] is None
        assert (found["diagnosis"]["invalid"], found["diagnosis"]["best"]["chains"]) == (0.7, 10)

    def test_a_start_set_alone_has_none(self, molvae, campaign):
        molvae("optimize", campaign(budget={"evaluations": 6}), "--out", "begun", "-q")
        assert len(molvae("status", "begun").stdout.splitlines()) == 9
