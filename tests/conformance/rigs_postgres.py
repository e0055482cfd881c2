"""Rigs of the PostgreSQL source, on a real server: with a key and a watermark, with a bound, and with neither."""

from __future__ import annotations

import datetime as dt
from contextlib import contextmanager
from decimal import Decimal
from itertools import count

import pyarrow as pa

from headgate.contract.model import Dataset, Field, Kind, Server, Type
from headgate.ports.store import TableSpec
from headgate.sources import postgres
from headgate.stores import postgres as postgres_store
from headgate.testing import SINK_SCHEMA

EPOCH = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
FIELDS = tuple(Field(name, Type(Kind.STRING)) for name in ("id", "text", "amount", "updated_at", "padding"))
FAR, LONG_AGO = dt.datetime(2099, 1, 1, tzinfo=dt.UTC), dt.datetime(2001, 1, 1, tzinfo=dt.UTC)

TABLES = count(1)


class KeyedSourceRig:
    """A table with a primary key; small enough that every later read is a sweep. Rows are padded to fill pages."""

    content = ("id", "text", "amount", "updated_at", "padding", "_hg_odd")
    key = ("id",)
    read = {"watermark": "updated_at", "range": 8192, "block": 4096}
    id_type = "bigint PRIMARY KEY"
    epoch = EPOCH

    def __init__(self, database) -> None:
        self.database = database
        self.name = f"rows_{next(TABLES)}"
        self.number = 0
        self._create()

    @classmethod
    @contextmanager
    def made(cls, _folder, request):
        yield cls(request.getfixturevalue("conformance_database"))

    def _create(self) -> None:
        columns = "text text, amount numeric(12,2), updated_at timestamptz, padding text"
        self.database.run(f"CREATE TABLE {self.name} (id {self.id_type}, {columns})")

    def connect(self):
        dataset = Dataset("rows", FIELDS, "conformance", "1.0.0", physical_name=self.name, key=self.key)
        return postgres.connect(dataset, Server("shop", "postgres", self.database.options), self.read)

    def _insert(self, count: int, updated_at=None) -> list[int]:
        ids = list(range(self.number, self.number + count))
        self.number += count
        values = []
        for id_ in ids:
            when = self.epoch + dt.timedelta(seconds=id_ // 25) if updated_at is None else updated_at
            values += [id_, f"row {id_} é\t\\N", None if id_ % 7 == 0 else Decimal(id_) / 100, when, "x" * 400]
        if ids:
            self.database.run(f"INSERT INTO {self.name} VALUES {', '.join(['(%s, %s, %s, %s, %s)'] * count)}", values)
        return ids

    def seed(self, rows: int) -> None:
        self._insert(rows)

    def _select(self, where: str = "true") -> list[dict]:
        found = self.database.run(f"SELECT id, text, amount, updated_at, padding FROM {self.name} WHERE {where}")
        return [{**dict(zip(self.content, row, strict=False)), "_hg_odd": None} for row in found]

    def rows_expected(self) -> list[dict]:
        return self._select()

    def change(self) -> list[dict]:
        """Insertions in time, late, in the far future and without a time; updates that keep their time; deletes."""
        touched = self._insert(10) + self._insert(3, LONG_AGO) + self._insert(2, FAR)
        touched.append(self.number)
        self.number += 1
        self.database.run(f"INSERT INTO {self.name} VALUES (%s, 'no time', 1, NULL, '')", (touched[-1],))
        updated = [touched[0] - n for n in (1, 30, 60)]
        self.database.run(f"UPDATE {self.name} SET text = text || '+' WHERE id = ANY(%s)", (updated,))
        self.database.run(f"DELETE FROM {self.name} WHERE id = %s", (touched[0] - 2,))
        return self._select(f"id IN ({', '.join(str(id_) for id_ in touched + updated)})")

    def break_connection(self) -> None:
        self.database.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'headgate'")

    def replace_source(self) -> None:
        """The table is dropped and made again."""
        self.database.run(f"DROP TABLE {self.name}")
        self._create()
        self._insert(30)

    def seed_odd(self) -> list[dict]:
        for id_, amount, when in (
            (1, "NaN", "infinity"),
            (2, "1.50", "0044-03-15 00:00:00+00 BC"),
            (3, "2", "2026-01-01Z"),
        ):
            self.database.run(f"INSERT INTO {self.name} VALUES (%s, 'odd', %s, %s, '')", (id_, amount, when))
        one = {"id": 1, "text": "odd", "padding": ""}
        bc = "0044-03-15 00:00:00+00 BC"
        return [
            {**one, "amount": None, "updated_at": None, "_hg_odd": {"amount": "NaN", "updated_at": "infinity"}},
            {**one, "id": 2, "amount": Decimal("1.50"), "updated_at": None, "_hg_odd": {"updated_at": bc}},
            {**one, "id": 3, "amount": Decimal("2.00"), "updated_at": EPOCH, "_hg_odd": None},
        ]


class BoundedSourceRig(KeyedSourceRig):
    """Later reads go through the watermark's index and look no further back than ten minutes before the newest row."""

    read = {**KeyedSourceRig.read, "sweep_below": 1}
    epoch = dt.datetime.now(dt.UTC).replace(microsecond=0)

    def _create(self) -> None:
        super()._create()
        self.database.run(f"CREATE INDEX ON {self.name} (updated_at)")

    def change(self) -> list[dict]:
        """Insertions and updates near the newest watermark, many with an equal one."""
        touched = self._insert(20)
        newest = self.epoch + dt.timedelta(seconds=touched[-1] // 25)
        updated = [touched[0] - n for n in (1, 30, 60)]
        self.database.run(f"UPDATE {self.name} SET text = 'new', updated_at = %s WHERE id = ANY(%s)", (newest, updated))
        return self._select(f"id IN ({', '.join(str(id_) for id_ in touched + updated)})")


class KeylessSourceRig(KeyedSourceRig):
    """A table without a key, with equal rows: each counts."""

    key = ()
    id_type = "bigint"

    def seed(self, rows: int) -> None:
        super().seed(rows)
        if rows:
            self.database.run(f"INSERT INTO {self.name} SELECT * FROM {self.name} WHERE id = 5")


class NoWatermarkSourceRig(KeyedSourceRig):
    """Nothing but transaction ids tells what is new."""

    read = {"range": 8192, "block": 4096}


class PostgresSinkRig:
    """A schema of its own; each stream has its table there, served as rows that are only added."""

    cannot = {"holds_nul": "PostgreSQL's text has no NUL character"}
    mode = "append"

    def __init__(self, database) -> None:
        self.database = database
        self.schema = f"served_{next(TABLES)}"

    @classmethod
    @contextmanager
    def made(cls, _folder, request):
        rig = cls(request.getfixturevalue("conformance_database"))
        yield rig
        for one in rig.opened:
            one.close()

    @property
    def opened(self) -> list:
        return self.__dict__.setdefault("_opened", [])

    def open(self):
        sink = TablePerStream(self)
        self.opened.append(sink)
        return sink

    def sink(self, stream: str):
        spec = TableSpec(f"silver.{stream}", SINK_SCHEMA, key=("_hg_partition", "_hg_offset"))
        options = {"mode": self.mode, "schema": self.schema, "lock_timeout": 20}
        return postgres_store.open_sink(self.database.url, options, spec)

    def rows(self, stream: str):
        if not self.database.run("SELECT to_regclass(%s) IS NOT NULL", (f"{self.schema}.{stream}",))[0][0]:
            return
        rows = self.database.run(f"SELECT {', '.join(SINK_SCHEMA.names)} FROM {self.schema}.{stream}")
        yield pa.RecordBatch.from_pylist([dict(zip(SINK_SCHEMA.names, row, strict=True)) for row in rows], SINK_SCHEMA)

    def unholdable(self):
        return ["\0", "a\0b"]


class KeyedPostgresSinkRig(PostgresSinkRig):
    """The same, with a primary key: rows go in beside the table first."""

    mode = "upsert"


class TablePerStream:
    """The store holds one table to a sink; the suite asks for several streams."""

    def __init__(self, rig) -> None:
        self.rig, self.sinks = rig, {}

    def _of(self, stream: str):
        if stream not in self.sinks:
            self.sinks[stream] = self.rig.sink(stream)
        return self.sinks[stream]

    def position(self, stream: str):
        return self._of(stream).position(stream)

    def commit(self, stream: str, batches):
        return self._of(stream).commit(stream, batches)

    def close(self) -> None:
        for one in self.sinks.values():
            one.close()
