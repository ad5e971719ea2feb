import sqlite3

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from molvae.campaign.record.state import Failed, Observed, Proposal
from molvae.campaign.record.store import FILE, Round, Store
from molvae.errors import CampaignError

MADE = Round(0, 2, 2, 2, 0.5, "abc")
finite = st.floats(allow_nan=False, allow_infinity=False)


def proposal(call: int, smiles: str, **fields) -> Proposal:
    return Proposal(call, 0, smiles, np.array([0.1, -2.5], dtype=np.float32), **fields)


@pytest.fixture
def store(tmp_path):
    with Store.create(tmp_path) as store:
        yield store


def test_records_come_back_as_they_went_in(tmp_path, store):
    second = proposal(2, "CC", parent="C", move="noise", mean=(0.1,), sd=(1 / 3,), acquisition=-7.25)
    store.propose([proposal(1, "C"), second], MADE)
    store.conclude(2, Observed((0.1 + 0.2,), 0.01))
    store.note(model="abc", stopped="x")
    store.note(stopped="y")
    reader = Store.read(tmp_path)
    state = reader.state()
    assert [record.proposal for record in state.records] == [proposal(1, "C"), second]
    assert state.records[1].proposal.z.dtype == np.float32
    assert state.records[1].proposal.z.tolist() == second.z.tolist()
    assert [record.outcome for record in state.records] == [None, Observed((0.1 + 0.2,), 0.01)]
    assert reader.rounds() == (MADE,)
    assert reader.facts() == {"format": "3", "model": "abc", "stopped": "y"}


@settings(max_examples=20, deadline=None)
@given(values=st.lists(finite, min_size=1, max_size=3).map(tuple), reason=st.text())
def test_any_outcome_round_trips(tmp_path_factory, values, reason):
    folder = tmp_path_factory.mktemp("store")
    with Store.create(folder) as store:
        store.propose([proposal(1, "C"), proposal(2, "CC")], MADE)
        store.conclude(1, Observed(values, 0.0))
        store.conclude(2, Failed(reason, 1.0))
        outcomes = [record.outcome for record in store.state().records]
    assert outcomes == [Observed(values, 0.0), Failed(reason, 1.0)]


def test_a_round_is_stored_whole_or_not_at_all(store):
    with pytest.raises(CampaignError, match="UNIQUE constraint failed"):
        store.propose([proposal(1, "C"), proposal(2, "C")], MADE)
    assert store.state().records == ()
    assert store.rounds() == ()


def test_readers_read_while_a_writer_is_in_a_transaction(tmp_path, store):
    store.propose([proposal(1, "C")], MADE)
    with store._writing() as connection:
        connection.exec_driver_sql("INSERT INTO meta VALUES ('half', 'done')")
        assert len(Store.read(tmp_path).state().records) == 1
        assert "half" not in Store.read(tmp_path).facts()


def test_a_reader_cannot_write(tmp_path, store):
    with pytest.raises(CampaignError, match="readonly"):
        Store.read(tmp_path).note(a="b")


def test_full_disk_is_one_clear_error_and_loses_nothing(tmp_path, store):
    store.propose([proposal(1, "C")], MADE)
    with store._engine.connect() as connection:  # the pool's only one, used again below
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    big = [proposal(k, "C" * k, parent="C" * 900) for k in range(2, 200)]
    with pytest.raises(CampaignError, match=r"could not be written: database or disk is full.*goes on"):
        store.propose(big, Round(1, 1, 1, 1, 0.0, "abc"))
    assert len(Store.read(tmp_path).state().records) == 1


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to look at" * 30, b"SQLite format 3\0"])
def test_damaged_file_is_refused(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    for opening in (Store.read, Store.create):
        with pytest.raises(CampaignError, match=FILE):
            opening(tmp_path)


def test_damage_inside_is_found_before_anything_is_added(tmp_path):
    with Store.create(tmp_path) as store:
        store.propose([proposal(k, "C" * k, parent="C" * 500) for k in range(1, 100)], MADE)
    content = bytearray((tmp_path / FILE).read_bytes())
    content[20_000:40_000] = b"\xff" * 20_000
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(CampaignError, match=FILE):
        Store.create(tmp_path)


def test_another_program_s_database_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("CREATE TABLE cats (name)")
    with pytest.raises(CampaignError, match="no such table: meta"):
        Store.create(tmp_path)


def test_a_store_of_an_earlier_format_is_refused(tmp_path, store):
    store.note(format="2")
    for opening in (Store.read, Store.create):
        with pytest.raises(CampaignError, match="has the format '2'; this version of molvae reads '3'"):
            opening(tmp_path)


def test_a_folder_without_campaign_says_so(tmp_path):
    with pytest.raises(CampaignError, match=r"there is no campaign in .*has no campaign\.sqlite"):
        Store.read(tmp_path)


def test_a_folder_that_may_only_be_read(tmp_path, monkeypatch):
    with Store.create(tmp_path) as store:
        store.propose([proposal(1, "C")], MADE)
    monkeypatch.setattr("os.access", lambda *_: False)  # the tests may run as root, who may write anywhere
    assert len(Store.read(tmp_path).state().records) == 1
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_folders_with_odd_names(tmp_path):
    folder = tmp_path / "a b#c?d%20é"
    folder.mkdir()
    with Store.create(folder) as store:
        store.note(a="b")
    assert Store.read(folder).facts()["a"] == "b"
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
