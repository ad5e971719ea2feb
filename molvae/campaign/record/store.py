"""The record of a campaign: a SQLite file, one transaction a step. The only thing that changes."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    RowMapping,
    String,
    Table,
    create_engine,
    event,
    insert,
    select,
    text,
)
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from molvae.campaign.record.state import Failed, Observed, Outcome, Proposal, Round, State, fold
from molvae.errors import CampaignError
from molvae.folders import atomic_path

FILE = "campaign.sqlite"
FORMAT = "3"

_tables = MetaData()
_meta = Table("meta", _tables, Column("key", String, primary_key=True), Column("value", String, nullable=False))
_proposals = Table(
    "proposals",
    _tables,
    Column("call", Integer, primary_key=True),
    Column("round", Integer, nullable=False),
    Column("smiles", String, nullable=False, unique=True),
    Column("z", LargeBinary, nullable=False),
    Column("parent", String),
    Column("move", String, nullable=False),
    Column("mean", String),
    Column("sd", String),
    Column("acquisition", Float),
)
_outcomes = Table(
    "outcomes",
    _tables,
    Column("call", Integer, primary_key=True),
    Column("values", String),
    Column("reason", String),
    Column("seconds", Float, nullable=False),
)
_rounds = Table(
    "rounds",
    _tables,
    Column("round", Integer, primary_key=True),
    Column("decoded", Integer, nullable=False),
    Column("valid", Integer, nullable=False),
    Column("new", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("weights", String, nullable=False),
)


class Store:
    """The SQLite file of one run folder. Made by `Store.create` (which also opens) or `Store.read`."""

    def __init__(self, path: Path, engine: Engine) -> None:
        self.path, self._engine = path, engine

    @classmethod
    def create(cls, folder: str | Path) -> "Store":
        """Open for writing, made if it does not exist. One writer a folder: see `molvae.folders.only_writer`.

        Raises:
            CampaignError: the file cannot be written, is damaged, or is something else.
        """
        path = Path(folder) / FILE
        if not path.exists():  # readers may come any time, so the file appears with its tables in it
            with atomic_path(path) as partial, cls(partial, _engine(partial)) as store, store._writing() as connection:
                _tables.create_all(connection)
                connection.execute(insert(_meta), {"key": "format", "value": FORMAT})
        store = cls(path, _engine(path))
        with store._writing() as connection:
            check = connection.execute(text("PRAGMA quick_check")).scalar()
        if check != "ok":
            raise CampaignError(f"{path} is damaged: {check}")
        store._check_format()
        return store

    @classmethod
    def read(cls, folder: str | Path) -> "Store":
        """Open for reading, also while a campaign is running.

        Raises:
            CampaignError: there is no such file, or it is damaged or something else.
        """
        path = Path(folder) / FILE
        if not path.is_file():
            raise CampaignError(f"there is no campaign in {folder}: it has no {FILE}")
        query = {"mode": "ro", "uri": "true"}
        if not os.access(path.parent, os.W_OK) and not path.with_name(f"{FILE}-wal").exists():
            query["immutable"] = "1"  # a reader, too, would make files beside the database
        url = URL.create("sqlite", database=path.resolve().as_uri(), query=query)
        store = cls(path, create_engine(url, poolclass=NullPool))
        store._check_format()
        return store

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.dispose()

    def propose(self, proposals: Sequence[Proposal], made: Round) -> None:
        """Add a round, all or nothing."""
        rows = [
            {**vars(p), "z": p.z.astype("<f4").tobytes(), "mean": _json(p.mean), "sd": _json(p.sd)} for p in proposals
        ]
        with self._writing() as connection:
            connection.execute(insert(_proposals), rows)
            connection.execute(insert(_rounds), asdict(made))

    def conclude(self, call: int, outcome: Outcome) -> None:
        """Add the outcome of one call."""
        row: dict[str, Any] = {"call": call, "seconds": outcome.seconds, "values": None, "reason": None}
        if isinstance(outcome, Observed):
            row["values"] = _json(outcome.values)
        else:
            row["reason"] = outcome.reason
        with self._writing() as connection:
            connection.execute(insert(_outcomes), row)

    def note(self, **facts: str) -> None:
        """Keep facts about the campaign, in place of earlier ones of the same name."""
        with self._writing() as connection:
            for key, value in facts.items():
                statement = upsert(_meta).values(key=key, value=value)
                connection.execute(statement.on_conflict_do_update(["key"], set_={"value": value}))

    def facts(self) -> dict[str, str]:
        """All facts that were noted."""
        with self._reading() as connection:
            return {row["key"]: row["value"] for row in connection.execute(select(_meta)).mappings()}

    def state(self) -> State:
        """The fold over all records, as of one moment."""
        with self._reading() as connection:
            proposals = [_proposal(row) for row in connection.execute(select(_proposals)).mappings()]
            outcomes = {row["call"]: _outcome(row) for row in connection.execute(select(_outcomes)).mappings()}
        return fold(proposals, outcomes)

    def rounds(self) -> tuple[Round, ...]:
        """How each round was made, in order."""
        with self._reading() as connection:
            rows = connection.execute(select(_rounds).order_by(_rounds.c.round)).mappings()
            return tuple(Round(**row) for row in rows)

    def _check_format(self) -> None:
        kept = self.facts().get("format")
        if kept != FORMAT:
            raise CampaignError(f"{self.path} has the format {kept!r}; this version of molvae reads {FORMAT!r}")

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise CampaignError(
                f"{self.path} could not be written: {_cause(error)}; what it held before is still there, "
                "and the same command goes on from it"
            ) from error

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection, connection.begin():
                yield connection
        except (SQLAlchemyError, ValueError, TypeError) as error:
            raise CampaignError(f"{self.path} cannot be read: {_cause(error)}") from error


def _engine(path: Path) -> Engine:
    engine = create_engine(URL.create("sqlite", database=str(path)))
    event.listen(engine, "connect", _durable)
    return engine


def _durable(connection: Any, _: Any) -> None:
    """Readers never wait for the writer (WAL), and what is committed survives a power cut (FULL)."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _proposal(row: RowMapping) -> Proposal:
    fields: Mapping[str, Any] = {
        **row,
        "z": np.frombuffer(row["z"], dtype="<f4").astype(np.float32),
        "mean": _floats(row["mean"]),
        "sd": _floats(row["sd"]),
    }
    return Proposal(**fields)


def _outcome(row: RowMapping) -> Outcome:
    if row["values"] is None:
        return Failed(row["reason"], row["seconds"])
    return Observed(tuple(json.loads(row["values"])), row["seconds"])


def _json(values: tuple[float, ...] | None) -> str | None:
    return None if values is None else json.dumps(values)


def _floats(text: str | None) -> tuple[float, ...] | None:
    return None if text is None else tuple(json.loads(text))


def _cause(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0]
