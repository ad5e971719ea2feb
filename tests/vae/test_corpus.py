import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from molvae.errors import DataError, UnknownCharacter
from molvae.folders import seal, sha256
from molvae.vae.corpus import Corpus, LengthBatches
from molvae.vae.vocab import Vocab

VOCAB = Vocab("CNO")
texts = st.lists(st.text("CNO", min_size=1, max_size=6), min_size=1, max_size=60).map(tuple)


def written(batches: list[np.ndarray]) -> list[str]:
    return [VOCAB.decode(row) for batch in batches for row in batch.tolist()]


@given(texts, st.integers(1, 7), st.integers(0, 9), st.integers(0, 9))
def test_each_epoch_has_each_molecule_once_in_batches_of_one_length(texts, size, seed, epoch):
    batches = LengthBatches(texts, VOCAB, size)
    found = batches.epoch(seed, epoch)
    assert sorted(written(found)) == sorted(texts)
    assert len(found) == batches.steps
    assert all(batch.ndim == 2 and 1 <= len(batch) <= size for batch in found)
    assert all(batch.min() >= 2 for batch in found)  # characters only: nothing is padded


@given(texts, st.integers(1, 7))
def test_only_the_last_batch_of_a_length_is_smaller(texts, size):
    counts: dict[int, list[int]] = {}
    for batch in LengthBatches(texts, VOCAB, size).epoch(0, 0):
        counts.setdefault(batch.shape[1], []).append(len(batch))
    assert all(sorted(sizes, reverse=True)[:-1] == [size] * (len(sizes) - 1) for sizes in counts.values())


def test_the_order_is_a_pure_function_of_seed_and_epoch(molecules, vocab):
    batches = LengthBatches(molecules, vocab, 8)

    def order(seed, epoch):
        return [batch.tolist() for batch in LengthBatches(molecules, vocab, 8).epoch(seed, epoch)]

    first = [batch.tolist() for batch in batches.epoch(0, 0)]
    batches.epoch(3, 4)
    assert [batch.tolist() for batch in batches.epoch(0, 0)] == first == order(0, 0)
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
