import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from molvae.data.corpus import Batch, Corpus, LengthBatches
from molvae.data.labels import LABELS
from molvae.data.prepare import PrepareSettings, prepare
from molvae.data.vocab import Vocab
from molvae.errors import DataError, UnknownCharacter
from molvae.folders import seal, sha256

VOCAB = Vocab("CNO")
texts = st.lists(st.text("CNO", min_size=1, max_size=6), min_size=1, max_size=60).map(tuple)


def written(batches: list[Batch]) -> list[str]:
    return [VOCAB.decode(row) for batch in batches for row in batch.tokens.tolist()]


@given(texts, st.integers(1, 7), st.integers(0, 9), st.integers(0, 9))
def test_each_epoch_has_each_molecule_once_in_batches_of_one_length(texts, size, seed, epoch):
    batches = LengthBatches(texts, VOCAB, size)
    found = batches.epoch(seed, epoch)
    assert sorted(written(found)) == sorted(texts)
    assert len(found) == batches.steps
    assert all(tokens.ndim == 2 and 1 <= len(tokens) <= size for tokens, _ in found)
    assert all(tokens.min() >= 2 for tokens, _ in found)  # characters only: nothing is padded


@given(texts, st.integers(1, 7), st.integers(0, 9))
def test_a_batch_knows_where_its_strings_stand(texts, size, seed):
    found = LengthBatches(texts, VOCAB, size).epoch(seed, 0)
    assert written(found) == [texts[row] for batch in found for row in batch.rows]
    assert sorted(row for batch in found for row in batch.rows) == list(range(len(texts)))
    assert {(batch.tokens.dtype, batch.rows.dtype) for batch in found} == {(np.dtype(np.uint8), np.dtype(np.int32))}


def test_the_batches_of_a_seed_stay_what_they_were():
    found = LengthBatches(("C", "N", "CC", "O", "CN", "CO", "NN"), VOCAB, 2).epoch(7, 1)
    assert [batch.rows.tolist() for batch in found] == [[5, 6], [4, 2], [1], [0, 3]]


@given(texts, st.integers(1, 7))
def test_only_the_last_batch_of_a_length_is_smaller(texts, size):
    counts: dict[int, list[int]] = {}
    for batch in LengthBatches(texts, VOCAB, size).epoch(0, 0):
        counts.setdefault(batch.tokens.shape[1], []).append(len(batch.rows))
    assert all(sorted(sizes, reverse=True)[:-1] == [size] * (len(sizes) - 1) for sizes in counts.values())


def test_the_order_is_a_pure_function_of_seed_and_epoch(molecules, vocab):
    batches = LengthBatches(molecules, vocab, 8)

    def order(seed, epoch):
        return [batch.tokens.tolist() for batch in LengthBatches(molecules, vocab, 8).epoch(seed, epoch)]

    first = [batch.tokens.tolist() for batch in batches.epoch(0, 0)]
    batches.epoch(3, 4)
    assert [batch.tokens.tolist() for batch in batches.epoch(0, 0)] == first == order(0, 0)
    assert order(0, 1) != first != order(1, 0)
    assert {tuple(map(tuple, batch)) for batch in order(0, 1)} != {tuple(map(tuple, batch)) for batch in first}


def test_no_molecules_make_no_batches():
    with pytest.raises(DataError, match="no molecules"):
        LengthBatches((), VOCAB, 4)


def test_an_unknown_character_is_pointed_at():
    with pytest.raises(UnknownCharacter, match="'F' at character 2"):
        LengthBatches(("CC", "CF"), VOCAB, 4)


def test_a_prepared_folder_is_read_whole(corpus_folder, molecules):
    corpus = Corpus.load(corpus_folder)
    assert (len(corpus.train), len(corpus.valid), len(corpus.test)) == (160, 20, 20)
    assert sorted(corpus.train + corpus.valid + corpus.test) == sorted(molecules)
    assert corpus.vocab == Vocab.of(molecules)
    assert corpus.manifest["counts"]["train"] == 160
    assert corpus.digest == sha256(corpus_folder / "manifest.json")


@pytest.fixture
def labelled(tmp_path):
    """A corpus of five molecules in two parts, with two labels; give it other tensors, and it is sealed anew."""
    source = tmp_path / "a.csv"
    source.write_text("smiles,y\nC,1\nCC,\nCCC,3\nCO,4\nCN,5\n")
    settings = PrepareSettings(labels=("y",), scores=("MolWt",), valid=2, test=0)
    manifest = prepare(source, tmp_path / "labelled", settings)

    def make(**tensors):
        if tensors:
            (tmp_path / "labelled" / LABELS).write_bytes(save(tensors))
            facts = {key: value for key, value in manifest.items() if key != "files"}
            seal(tmp_path / "labelled", list(manifest["files"]), **facts)
        return tmp_path / "labelled"

    return make


def test_labels_stand_in_the_rows_of_their_molecules(labelled):
    corpus = Corpus.load(labelled())
    assert corpus.properties == ("y", "MolWt")
    known = {"C": (1, 16.04), "CC": (np.nan, 30.07), "CCC": (3, 44.1), "CO": (4, 32.04), "CN": (5, 31.06)}
    for part, texts in (("train", corpus.train), ("valid", corpus.valid), ("test", corpus.test)):
        values = corpus.labels[part]
        assert (values.shape, values.dtype) == ((len(texts), 2), np.float32)
        np.testing.assert_allclose(values, np.array([known[text] for text in texts]).reshape(-1, 2), atol=5e-3)
    for tokens, rows in LengthBatches(corpus.train, corpus.vocab, 2).epoch(0, 0):
        texts = [corpus.vocab.decode(ids) for ids in tokens.tolist()]
        np.testing.assert_allclose(corpus.labels["train"][rows], [known[text] for text in texts], atol=5e-3)


def test_a_corpus_without_labels_has_none_a_molecule(corpus_folder):
    corpus = Corpus.load(corpus_folder)
    assert corpus.properties == ()
    assert {part: values.shape for part, values in corpus.labels.items()} == {
        "train": (160, 0),
        "valid": (20, 0),
        "test": (20, 0),
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": np.zeros((4, 2), np.float32)}, r"does not fit train\.smi: \(3, 2, 'float32'\) .* it has \(4, 2"),
        ({"train": np.zeros((3, 1), np.float32)}, r"does not fit train\.smi"),
        ({"valid": np.zeros((2, 2))}, r"does not fit valid\.smi.*float64"),
        ({"test": None}, r"does not fit test\.smi.*it has None"),
        ({"valid": np.full((2, 2), np.inf, np.float32)}, "infinite label in valid"),
    ],
)
def test_labels_that_do_not_fit_their_molecules_are_refused(labelled, change, message):
    right = {part: np.full((size, 2), np.nan, np.float32) for part, size in (("train", 3), ("valid", 2), ("test", 0))}
    assert np.isnan(Corpus.load(labelled(**right)).labels["train"]).all()
    wrong = {part: values for part, values in (right | change).items() if values is not None}
    with pytest.raises(DataError, match=message):
        Corpus.load(labelled(**wrong))


def test_a_file_that_holds_no_labels_is_refused(labelled):
    folder = labelled(train=np.zeros((3, 2), np.float32))
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / LABELS).write_bytes(b"nothing")
    seal(folder, list(manifest.pop("files")), **manifest)
    with pytest.raises(DataError, match=r"labels\.safetensors cannot be read"):
        Corpus.load(folder)


def test_another_folder_is_refused_with_the_command_that_makes_one(tmp_path):
    for folder in (tmp_path / "nothing", tmp_path):
        with pytest.raises(DataError, match="`molvae data prepare INPUT -o"):
            Corpus.load(folder)
    (tmp_path / "a.json").write_text(json.dumps({}))
    seal(tmp_path, ["a.json"], kind="smiles-vae")
    with pytest.raises(DataError, match="is not a prepared corpus"):
        Corpus.load(tmp_path)


def test_a_damaged_corpus_is_refused(tmp_path, corpus_folder):
    for path in corpus_folder.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "train.smi").write_text("CCO\n")
    with pytest.raises(DataError, match=r"train\.smi differs"):
        Corpus.load(tmp_path)
