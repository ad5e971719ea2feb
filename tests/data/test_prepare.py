"""A corpus folder: every row accounted for, splits without leaks, the same bytes whatever happens on the way."""

import csv
import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from molvae.chem.molecule import Molecule
from molvae.config import parse_recipe
from molvae.data.corpus import Corpus
from molvae.data.labels import LABELS
from molvae.data.prepare import FILES, PrepareSettings, prepare, split_by_seed
from molvae.data.tables import rdkit_file
from molvae.errors import DataError, FolderBusy, FolderError, ObjectiveError, RecipeError, UsageError
from molvae.folders import only_writer, seal, unseal

SALT = "CC(=O)[O-].[Na+]"
ROWS = ["OCC", "CCO", "C(C)C", "C1CC", SALT, "", "C" * 130, "C" * 10_000, "c1ccccc1", "N[C@@H](C)C(=O)O", "xyz"]


def smi(path: Path, rows=ROWS) -> Path:
    path.write_text("".join(f"{row}\n" for row in rows))
    return path


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def parts(folder: Path) -> dict[str, list[str]]:
    return {part: lines(folder / f"{part}.smi") for part in ("train", "valid", "test")}


def hashes(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (*FILES, "manifest.json")}


def nci(path: Path, copies: int) -> Path:
    """``copies`` × 4,999 different rows, some of them invalid: NCI molecules joined end to end."""
    texts = [line.split()[0] for line in lines(rdkit_file("NCI/first_5K.smi"))]
    return smi(path, [a + texts[k - shift] for shift in range(1, copies + 1) for k, a in enumerate(texts)])


def test_every_row_is_kept_rejected_or_a_duplicate(tmp_path):
    seen = []
    manifest = prepare(
        smi(tmp_path / "a.smi"),
        tmp_path / "out",
        PrepareSettings(valid=1, test=0),
        lambda *step: seen.append(step),
    )
    assert manifest["counts"] == {"train": 3, "valid": 1, "test": 0, "rejected": 6, "duplicates": 1}
    found = parts(tmp_path / "out")
    assert {*found["train"], *found["valid"]} == {"CCO", "CCC", "c1ccccc1", "C[C@H](N)C(=O)O"}
    assert manifest["longest"] == len("C[C@H](N)C(=O)O")
    assert seen == [(11, 11)]
    with open(tmp_path / "out" / "rejects.csv", newline="") as file:
        rejects = list(csv.DictReader(file))
    assert [(int(row["line"]), row["text"]) for row in rejects] == [(k + 1, ROWS[k]) for k in (3, 4, 5, 6, 7, 10)]
    assert {row["file"] for row in rejects} == {"a.smi"}
    reasons = [row["reason"] for row in rejects]
    assert reasons[1:4] == [
        "2 fragments, a salt or mixture; keep_largest_fragment keeps one",
        "empty",
        "130 characters, at most 120 are kept (max_length)",
    ]
    assert "unclosed ring at character 2" in reasons[0]
    assert "10000 characters is too long, at most 1000" in reasons[4]
    assert "at character 1" in reasons[5]


def test_the_folder_says_what_it_is(tmp_path):
    source = smi(tmp_path / "a.smi")
    manifest = prepare(source, tmp_path / "out", PrepareSettings(seed=3))
    assert manifest == unseal(tmp_path / "out")
    assert manifest["kind"] == "corpus"
    assert manifest["source"] == {"a.smi": hashlib.sha256(source.read_bytes()).hexdigest()}
    assert (manifest["split"], manifest["seed"]) == ("random", 3)
    assert set(manifest["files"]) == set(FILES)
    characters = json.loads((tmp_path / "out" / "vocab.json").read_text())["characters"]
    assert characters == "".join(sorted(set("CCOc1ccccc1C[C@H](N)C(=O)O")))


def test_the_largest_fragment_is_kept_if_asked(tmp_path):
    source = smi(tmp_path / "a.smi", [SALT, "CCO", "O"])
    manifest = prepare(source, tmp_path / "out", PrepareSettings(keep_largest_fragment=True, valid=0, test=0))
    assert lines(tmp_path / "out" / "train.smi") == ["CC(=O)[O-]", "CCO", "O"]
    assert manifest["counts"]["rejected"] == 0


def test_a_named_column_and_its_line_numbers(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('id,ligand\n1,"CCO\n"\n2,C1\n')
    prepare(path, tmp_path / "out", PrepareSettings(column="ligand", valid=0, test=0))
    assert lines(tmp_path / "out" / "train.smi") == ["CCO"]
    assert lines(tmp_path / "out" / "rejects.csv")[1].startswith("4,C1,")


def test_the_same_call_again_returns_at_once_and_another_is_refused(tmp_path):
    source, out = smi(tmp_path / "a.smi"), tmp_path / "out"
    first = prepare(source, out, PrepareSettings())
    before = os.stat(out / "train.smi").st_mtime_ns
    assert prepare(source, out, PrepareSettings(split="random")) == first
    assert os.stat(out / "train.smi").st_mtime_ns == before
    with pytest.raises(FolderError, match=r"settings\.seed: 0 → 1\n.*another folder"):
        prepare(source, out, PrepareSettings(seed=1))
    smi(source, ["CCO", "CCC"])
    with pytest.raises(FolderError, match=r"made otherwise .*\n  source\.a\.smi: "):
        prepare(source, out, PrepareSettings())
    (out / "train.smi").write_text("tampered")
    with pytest.raises(FolderError, match=r"damaged: train\.smi"):
        prepare(source, out, PrepareSettings())


def test_foreign_folders_stay_as_they_are(tmp_path):
    source, out = smi(tmp_path / "a.smi"), tmp_path / "out"
    out.mkdir()
    smi(out / "train.smi", ["mine"])
    with pytest.raises(FolderError, match=r"holds other files already \(train\.smi\)"):
        prepare(source, out, PrepareSettings())
    assert lines(out / "train.smi") == ["mine"]
    with pytest.raises(FolderError, match="where the source lies"):
        prepare(source, tmp_path, PrepareSettings())
    seal(out, ["train.smi"], kind="model")
    with pytest.raises(FolderError, match="holds something else"):
        prepare(source, out, PrepareSettings())


def test_two_writers(tmp_path):
    with only_writer(tmp_path / "out", "a preparation"), pytest.raises(FolderBusy, match=f"process {os.getpid()}"):
        prepare(smi(tmp_path / "a.smi"), tmp_path / "out", PrepareSettings())


def test_nothing_left_to_train_on(tmp_path):
    source = smi(tmp_path / "a.smi", ["C1CC", "c1cc"])
    with pytest.raises(DataError, match=r"2 rows came, 2 were rejected \(.*rejects\.csv says why\), 0 molecules"):
        prepare(source, tmp_path / "out", PrepareSettings())
    assert len(lines(tmp_path / "out" / "rejects.csv")) == 3
    smi(source, ["CCO", "CCC"])
    with pytest.raises(DataError, match="2 molecules remain, of which valid = 5"):
        prepare(source, tmp_path / "out", PrepareSettings(valid=5))
    assert prepare(source, tmp_path / "out", PrepareSettings(valid=0))["counts"]["train"] == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("a.smi", "", "is empty"), ("a.csv", "x\nC\n", "no column 'SMILES'"), ("a.doc", "C\n", "ending")],
)
def test_sources_that_cannot_be_read_leave_no_folder(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        prepare(tmp_path / name, tmp_path / "out", PrepareSettings())
    with pytest.raises(DataError, match="there is no file"):
        prepare(tmp_path / "missing.smi", tmp_path / "out", PrepareSettings())
    assert not (tmp_path / "out").exists()


def test_settings_are_checked(tmp_path):
    with pytest.raises(RecipeError):
        PrepareSettings(valid=-1)
    with pytest.raises(RecipeError, match="test"):
        parse_recipe({"test": 1.5}, PrepareSettings)
    recipe = parse_recipe({"valid": 500, "test": 0.2}, PrepareSettings)
    assert (recipe.valid, recipe.test) == (500, 0.2)
    assert type(recipe.valid) is int
    with pytest.raises(UsageError, match="'given' needs a source in parts"):
        prepare(smi(tmp_path / "a.smi"), tmp_path / "out", PrepareSettings(split="given"))


def fetched(folder: Path, **rows: list[str]) -> Path:
    folder.mkdir()
    entries = {}
    for part, texts in rows.items():
        smi(folder / f"{part}.smi", texts)
        entries[part] = {"file": f"{part}.smi"}
    seal(folder, [entry["file"] for entry in entries.values()], kind="dataset", name="toy", parts=entries)
    return folder


def test_given_parts_stay_and_the_test_part_wins_a_duplicate(tmp_path):
    source = fetched(tmp_path / "toy", train=["C", "CC", "CCC", "CCCC", "C1"], valid=["CC", "CO"], test=["OC", "CCC"])
    manifest = prepare(source, tmp_path / "out", PrepareSettings())
    assert manifest["split"] == "given"
    assert set(manifest["source"]) == {"train.smi", "valid.smi", "test.smi"}
    assert parts(tmp_path / "out") == {"train": ["C", "CCCC"], "valid": ["CC"], "test": ["CO", "CCC"]}
    assert manifest["counts"] == {"train": 2, "valid": 1, "test": 2, "rejected": 1, "duplicates": 3}
    assert lines(tmp_path / "out" / "rejects.csv")[1].endswith(",train.smi")


def test_parts_are_pooled_when_another_split_is_asked(tmp_path):
    source = fetched(tmp_path / "toy", train=["C", "CC"], valid=["CCC"], test=["CO"])
    manifest = prepare(source, tmp_path / "out", PrepareSettings(split="random", valid=0, test=1))
    assert manifest["counts"] == {"train": 3, "valid": 0, "test": 1, "rejected": 0, "duplicates": 0}


def test_a_fetched_set_of_one_part_is_a_file(tmp_path):
    manifest = prepare(fetched(tmp_path / "toy", all=["C", "CC"]), tmp_path / "out", PrepareSettings(valid=0))
    assert (manifest["split"], set(manifest["source"])) == ("random", {"all.smi"})


def test_folders_that_are_no_dataset(tmp_path):
    (tmp_path / "toy").mkdir()
    with pytest.raises(FolderError, match=r"no manifest\.json"):
        prepare(tmp_path / "toy", tmp_path / "out", PrepareSettings())
    seal(tmp_path / "toy", [], kind="model")
    with pytest.raises(DataError, match="no fetched dataset but model"):
        prepare(tmp_path / "toy", tmp_path / "out", PrepareSettings())


TABLE = """smiles,solubility,activity,name
OCC,1.5,n/a,a
c1ccccc1,,7,b
C1CC,9,9,an open ring
CCO,2.5,,c
CCC,inf,1e300,d
CCN, -4e-1 ,,e
C(C)O,,,f
"""


def labels(folder: Path) -> dict[str, list[float | None]]:
    """Of every molecule of a corpus, whichever part it is in; None where one is missing."""
    corpus = Corpus.load(folder)
    found = {}
    for part in ("train", "valid", "test"):
        rows = zip(getattr(corpus, part), corpus.labels[part].tolist(), strict=True)
        found |= {text: [None if np.isnan(value) else value for value in row] for text, row in rows}
    return found


@pytest.mark.parametrize("seed", range(3))
def test_labels_follow_their_molecules_and_those_of_several_rows_are_averaged(tmp_path, seed):
    (tmp_path / "a.csv").write_text(TABLE)
    settings = PrepareSettings(labels=("solubility", "activity"), valid=1, test=1, seed=seed)
    manifest = prepare(tmp_path / "a.csv", tmp_path / "out", settings)
    assert manifest["counts"] == {"train": 2, "valid": 1, "test": 1, "rejected": 1, "duplicates": 2}
    assert manifest["properties"] == ["solubility", "activity"]
    assert set(manifest["files"]) == {*FILES, LABELS}
    assert {name: sum(counts.values()) for name, counts in manifest["labelled"].items()} == {
        "solubility": 2,
        "activity": 1,
    }
    assert labels(tmp_path / "out") == {
        "CCO": [2.0, None],
        "c1ccccc1": [None, 7.0],
        "CCC": [None, None],
        "CCN": [pytest.approx(-0.4), None],
    }


def test_scores_are_those_of_the_molecule_that_is_kept(tmp_path):
    source = smi(tmp_path / "a.smi", [SALT, "CCO", "OCC", "C1CC"])
    settings = PrepareSettings(scores=("LogP", "MolWt"), keep_largest_fragment=True, valid=0, test=0)
    assert prepare(source, tmp_path / "out", settings)["properties"] == ["logP", "MolWt"]
    ethanol, acetate = (pytest.approx(values, abs=1e-3) for values in ((-0.0014, 46.069), (-1.2439, 59.044)))
    assert labels(tmp_path / "out") == {"CCO": ethanol, "CC(=O)[O-]": acetate}


def test_labels_of_all_parts_are_averaged_where_the_test_part_has_the_molecule(tmp_path):
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "train.csv").write_text("smiles,y\nCCO,1\nCC,5\n")
    (folder / "test.csv").write_text("y,smiles\n4,OCC\n")
    entries = {part: {"file": f"{part}.csv"} for part in ("train", "test")}
    seal(folder, ["train.csv", "test.csv"], kind="dataset", name="toy", parts=entries)
    prepare(folder, tmp_path / "out", PrepareSettings(labels=("y",)))
    corpus = Corpus.load(tmp_path / "out")
    assert (corpus.train, corpus.test) == (("CC",), ("CCO",))
    assert (corpus.labels["train"].tolist(), corpus.labels["test"].tolist()) == ([[5.0]], [[2.5]])
    with pytest.raises(DataError, match="no column 'z'"):
        prepare(folder, tmp_path / "other", PrepareSettings(labels=("z",)))
    assert not (tmp_path / "other").exists()


def test_the_source_is_read_twice_however_many_labels_there_are(tmp_path, monkeypatch):
    source = tmp_path / "a.csv"
    source.write_text("SMILES,a,b,c\nCCO,1,2,3\nCC,4,5,6\n")
    opened = []

    def counting(path, *arguments, **named):
        opened.append(str(path))
        return open(path, *arguments, **named)

    monkeypatch.setattr("molvae.data.cells.open", counting, raising=False)
    settings = PrepareSettings(labels=("a", "b", "c"), valid=0, test=0)
    prepare(source, tmp_path / "out", settings)
    assert opened == [str(source)] * 2
    assert labels(tmp_path / "out") == {"CCO": [1, 2, 3], "CC": [4, 5, 6]}
    prepare(source, tmp_path / "out", settings)
    assert opened == [str(source)] * 2


def test_rows_that_are_none_are_rejects(tmp_path):
    (tmp_path / "a.csv").write_text('SMILES,name,y\nCCN,amine, ethyl,6.2\nCCO,x,1\nCC,"open,2\nCCC,y,3\n')
    manifest = prepare(tmp_path / "a.csv", tmp_path / "out", PrepareSettings(labels=("y",), valid=0, test=0))
    assert (manifest["counts"]["train"], manifest["counts"]["rejected"]) == (2, 2)
    assert labels(tmp_path / "out") == {"CCO": [1], "CCC": [3]}
    with open(tmp_path / "out" / "rejects.csv", newline="") as file:
        rejects = [(row["line"], row["text"], row["reason"][:27]) for row in csv.DictReader(file)]
    assert rejects == [
        ("2", "CCN,amine, ethyl,6.2", "4 cells for 3 columns"),
        ("4", 'CC,"open,2', "its quotation marks do not "),
    ]


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"labels": ("Solubility",)}, DataError, "no column 'Solubility'.*did you mean 'solubility'"),
        ({"labels": ("name",)}, DataError, "'name' of .*a.csv has not one number; it begins with 'a'"),
        ({"labels": ("solubility", "solubility")}, UsageError, "'solubility' is asked for twice"),
        ({"scores": ("qedd",)}, UsageError, "did you mean 'qed'"),
        ({"scores": ("qed", "QED")}, UsageError, "'QED' is asked for twice"),
        ({"scores": ("no_such_module:f",)}, ObjectiveError, "'no_such_module', which cannot be imported"),
        ({"scores": ("math:sqrt",)}, DataError, "not one molecule that is kept has a value of 'sqrt'"),
        ({"scores": ("sys:exit",)}, DataError, "not one molecule that is kept has a value of 'exit'"),
    ],
)
def test_labels_that_cannot_be(tmp_path, settings, kind, message):
    (tmp_path / "a.csv").write_text(TABLE)
    with pytest.raises(kind, match=message):
        prepare(tmp_path / "a.csv", tmp_path / "out", PrepareSettings(valid=0, test=0, **settings))
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_other_labels_are_other_settings_and_a_corpus_of_before_labels_is_still_its_own(tmp_path):
    source, out = tmp_path / "a.csv", tmp_path / "out"
    source.write_text(TABLE)
    first = prepare(source, out, PrepareSettings(valid=1, test=0))
    assert "properties" not in first
    with pytest.raises(FolderError, match=r'settings\.labels: \[\] → \["solubility"\]'):
        prepare(source, out, PrepareSettings(valid=1, test=0, labels=("solubility",)))
    with pytest.raises(FolderError, match=r'settings\.scores: \[\] → \["qed"\]'):
        prepare(source, out, PrepareSettings(valid=1, test=0, scores=("qed",)))
    old = json.loads((out / "manifest.json").read_text())
    del old["settings"]["labels"], old["settings"]["scores"]
    (out / "manifest.json").write_text(json.dumps(old))
    assert prepare(source, out, PrepareSettings(valid=1, test=0)) == old
    with pytest.raises(FolderError, match=r"settings\.scores"):
        prepare(source, out, PrepareSettings(valid=1, test=0, scores=("qed",)))


@given(
    groups=st.dictionaries(st.text("CNO", min_size=1, max_size=5), st.sampled_from("abcdefg"), min_size=1),
    valid=st.integers(0, 20),
    test=st.integers(0, 20),
    seed=st.integers(0, 5),
)
def test_a_group_is_in_one_part_only(groups, valid, test, seed):
    found = split_by_seed(groups, valid, test, seed)
    assert sorted(itertools.chain(*found.values())) == sorted(groups)
    held = {part: {groups[smiles] for smiles in texts} for part, texts in found.items()}
    assert not held["train"] & held["valid"]
    assert not held["train"] & held["test"]
    assert not held["valid"] & held["test"]
    assert len(found["valid"]) <= valid
    assert len(found["test"]) <= test


@given(st.sets(st.text("CNO", min_size=1, max_size=5), min_size=9), st.integers(0, 99))
def test_single_molecules_give_exact_sizes_whatever_their_order(texts, seed):
    found = split_by_seed({text: text for text in sorted(texts)}, 3, 2, seed)
    assert (len(found["valid"]), len(found["test"])) == (3, 2)
    turned = split_by_seed({text: text for text in sorted(texts, reverse=True)}, 3, 2, seed)
    assert {part: sorted(texts) for part, texts in turned.items()} == found


def test_scaffold_split_of_real_molecules(tmp_path):
    source = smi(tmp_path / "a.smi", lines(rdkit_file("NCI/first_5K.smi"))[:600])
    manifest = prepare(source, tmp_path / "out", PrepareSettings(split="scaffold", valid=0.1, test=0.1))
    counts = manifest["counts"]
    scaffolds = {
        part: {Molecule.parse(text).scaffold for text in texts} for part, texts in parts(tmp_path / "out").items()
    }
    assert not scaffolds["train"] & (scaffolds["valid"] | scaffolds["test"])
    assert not scaffolds["valid"] & scaffolds["test"]
    tenth = round((counts["train"] + counts["valid"] + counts["test"]) / 10)
    assert (counts["valid"], counts["test"]) == (tenth, tenth)


def test_seeds_differ(tmp_path):
    source = smi(tmp_path / "a.smi", ["C" * k for k in range(1, 60)])
    for seed in (0, 1):
        prepare(source, tmp_path / str(seed), PrepareSettings(valid=9, test=9, seed=seed))
    assert parts(tmp_path / "0") != parts(tmp_path / "1")


def test_one_and_two_workers_write_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("molvae.data.prepare.SMALL", 10)
    source = smi(tmp_path / "a.smi", [*lines(rdkit_file("NCI/first_5K.smi"))[:2000], "C1CC"])
    settings = PrepareSettings(scores=("logp", "MolWt"))
    seen = []
    for workers in (1, 2):
        prepare(source, tmp_path / str(workers), settings, lambda *step: seen.append(step), workers=workers)
    assert hashes(tmp_path / "1") == hashes(tmp_path / "2")
    assert (tmp_path / "1" / LABELS).read_bytes() == (tmp_path / "2" / LABELS).read_bytes()
    half = len(seen) // 2
    assert seen[:half] == seen[half:]
    assert seen[-2:] == [(2000, 2001), (2001, 2001)]


SCRIPT = """
import sys
import molvae.data.prepare
from molvae.data.prepare import PrepareSettings, prepare
if __name__ == "__main__":
    molvae.data.prepare.SMALL = 10
    prepare(sys.argv[1], sys.argv[2], PrepareSettings(), lambda done, total: print(done, flush=True), workers=2)
    assert "torch" not in sys.modules
"""


def start(folder: Path, source: Path, out: Path) -> "subprocess.Popen[str]":
    (folder / "run.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, str(folder / "run.py"), str(source), str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def alive(session: int) -> list[str]:
    """Processes of a session that still run; their parent may be gone."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().rpartition(") ")
        except OSError:
            continue
        state, _, _, of_session = rest.split()[:4]
        if int(of_session) == session and state != "Z":
            found.append(name)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_preparation_starts_over_and_ends_with_the_same_bytes(tmp_path, blow):
    source = nci(tmp_path / "a.smi", 2)
    process = start(tmp_path, source, tmp_path / "out")
    assert process.stdout is not None
    done = int(process.stdout.readline())
    assert 0 < done < 2 * 4999
    if blow is signal.SIGINT:
        os.killpg(process.pid, blow)  # as Ctrl-C in a terminal: to the workers too
    else:
        process.kill()
    _, complaint = process.communicate(timeout=30)
    assert process.returncode != 0
    assert ("KeyboardInterrupt" in complaint) == (blow is signal.SIGINT), complaint
    deadline = time.monotonic() + 20
    while alive(process.pid):
        assert time.monotonic() < deadline, f"still there: {alive(process.pid)}"
        time.sleep(0.1)
    assert not (tmp_path / "out" / "manifest.json").exists()
    with pytest.raises(FolderError):
        unseal(tmp_path / "out")

    again = start(tmp_path, source, tmp_path / "out")
    _, complaint = again.communicate(timeout=120)
    assert again.returncode == 0, complaint
    prepare(source, tmp_path / "calm", PrepareSettings(), workers=1)
    assert hashes(tmp_path / "out") == hashes(tmp_path / "calm")
    kept = {path.name for path in (tmp_path / "out").iterdir()} - {".lock"}
    assert kept == {*FILES, "manifest.json"}


@pytest.mark.slow
def test_a_script_without_a_guard_gets_a_message_and_no_flood_of_processes(tmp_path):
    (tmp_path / "run.py").write_text(SCRIPT.replace('if __name__ == "__main__":', "if True:"))
    source = nci(tmp_path / "a.smi", 1)
    ended = subprocess.run(
        [sys.executable, str(tmp_path / "run.py"), str(source), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=60,
        check=False,
    )
    assert ended.returncode != 0
    assert ended.stderr.rstrip().splitlines()[-1].startswith("molvae.errors.WorkerError: no worker process was ready")
    assert "needs `if __name__ == '__main__':`" in ended.stderr
