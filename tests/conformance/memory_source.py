"""A source in memory that keeps every promise, and wrong ones that each break a promise as real connectors did."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pyarrow as pa

from headgate.errors import PositionLost, SourceChanged, SourceUnavailable
from headgate.ports.batch import ODD, ODD_TYPE, OFFSET, PARTITION, Batch, Position

SCHEMA = pa.schema(
    [(PARTITION, pa.string()), (OFFSET, pa.int64()), ("cursor", pa.int64()), ("text", pa.string()), (ODD, ODD_TYPE)]
)
PAGE = 16


@dataclass
class World:
    """The system behind the source: records with a cursor that many share, and a key."""

    identity: str = "first"
    connection: int = 0
    records: list[dict] = field(default_factory=list)


class MemorySource:
    """Reads by keyset (cursor, key); the position holds identity, last keyset and the running offset."""

    partition = "memory"

    def __init__(self, world: World) -> None:
        self.world = world
        self.connection = world.connection

    def schema(self) -> pa.Schema:
        return SCHEMA

    def read(self, after: Position) -> Iterator[Batch]:
        cursor, key, offset = self.begin(after)
        start = after
        found = self.select(cursor, key)
        for first in range(0, len(found), PAGE):
            if self.connection != self.world.connection:
                yield from self.broken(start, found, offset)
                return
            page = found[first : first + PAGE]
            end = self.position(page, offset + len(page))
            yield Batch(self.batch(page, offset), start, end)
            start, offset = end, offset + len(page)
        if not found:
            yield Batch(self.batch([], 0), start, start)

    def begin(self, after: Position) -> tuple[int, int, int]:
        if not after.tokens:
            return -1, -1, 0
        if set(after.tokens) != {self.partition}:
            raise SourceChanged("a partition of another source")
        try:
            token = json.loads(after.tokens[self.partition])
            identity, cursor, key, offset = token["id"], token["cursor"], token["key"], token["offset"]
            wrong = not all(isinstance(one, int) for one in (cursor, key, offset)) or not isinstance(identity, str)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise PositionLost("the position cannot be read") from error
        if wrong:
            raise PositionLost("the position cannot be read")
        if identity != self.world.identity:
            raise SourceChanged("the position belongs to another source")
        return cursor, key, offset

    def select(self, cursor: int, key: int) -> list[dict]:
        ordered = sorted(self.world.records, key=lambda row: (row["cursor"], row["key"]))
        return [row for row in ordered if (row["cursor"], row["key"]) > (cursor, key)]

    def position(self, page: list[dict], offset: int) -> Position:
        last = page[-1]
        token = {"id": self.world.identity, "cursor": last["cursor"], "key": last["key"], "offset": offset}
        return Position({self.partition: json.dumps(token)})

    def batch(self, page: list[dict], offset: int) -> pa.RecordBatch:
        rows = [{PARTITION: self.partition, OFFSET: offset + n, **self.values(row)} for n, row in enumerate(page)]
        return pa.RecordBatch.from_pylist([{name: row[name] for name in SCHEMA.names} for row in rows], schema=SCHEMA)

    def values(self, row: dict) -> dict:
        text = row["text"]
        odd = text is not None and "\x00" in text  # this column's type cannot hold NUL
        return {**row, "text": None if odd else text, ODD: [("text", ascii(text))] if odd else None}

    def broken(self, start: Position, found: list[dict], offset: int) -> Iterator[Batch]:
        raise SourceUnavailable("the other side hung up")
        yield

    def close(self) -> None:
        self.world = None


class MemoryRig:
    """Shows a source class to the suite."""

    content = ("cursor", "text", ODD)
    source: type[MemorySource] = MemorySource

    def __init__(self) -> None:
        self.world = World()

    def seed(self, rows: int) -> None:
        for _ in range(rows):
            number = len(self.world.records)
            text = "twice" if number % 10 < 2 else f"row {number}"
            self.world.records.append({"cursor": number // 25, "key": number, "text": text})

    def rows_expected(self):
        return [{"cursor": row["cursor"], "text": row["text"], ODD: None} for row in self.world.records]

    def change(self):
        before = len(self.world.records)
        last = self.world.records[-1]["cursor"]
        for n in range(20):
            self.world.records.append({"cursor": last + n // 15, "key": before + n, "text": f"later {before + n}"})
        return self.rows_expected()[before:]

    def connect(self) -> MemorySource:
        return self.source(self.world)

    def break_connection(self) -> None:
        self.world.connection += 1

    def replace_source(self) -> None:
        self.world.identity = "second"
        for row in self.world.records:
            row["text"] = "other"

    def seed_odd(self):
        for text in ("plain", "a\x00b", None):
            self.world.records.append({"cursor": 0, "key": len(self.world.records), "text": text})
        return [
            {"cursor": 0, "text": "plain", ODD: None},
            {"cursor": 0, "text": None, ODD: {"text": "'a\\x00b'"}},
            {"cursor": 0, "text": None, ODD: None},
        ]


@contextmanager
def rig_for(source: type[MemorySource]):
    rig = MemoryRig()
    rig.source = source
    yield rig


# --- wrong ones: what they do is their docstring


class PositionOneTooFar(MemorySource):
    """The end names the first row of the next page."""

    def position(self, page, offset):
        token = json.loads(super().position(page, offset).tokens[self.partition])
        return Position({self.partition: json.dumps({**token, "key": token["key"] + 1})})


class LostTies(MemorySource):
    """Resumes with `cursor > last`, so rows that share the last cursor are lost."""

    def select(self, cursor, key):
        return [row for row in super().select(-1, -1) if row["cursor"] > cursor]


class RepeatedTies(MemorySource):
    """Resumes with `cursor >= last` and does not drop what it had."""

    def select(self, cursor, key):
        return [row for row in super().select(-1, -1) if row["cursor"] >= cursor]


class OffsetsReused(MemorySource):
    """Counts offsets from zero again in every run."""

    def begin(self, after):
        cursor, key, _ = super().begin(after)
        return cursor, key, 0


class SchemaDrift(MemorySource):
    """Batches have a column type that `schema` does not tell."""

    def batch(self, page, offset):
        rows = super().batch(page, offset)
        return rows.set_column(2, "cursor", rows.column("cursor").cast(pa.int32()))


class ForeignPositionIgnored(MemorySource):
    """Takes the position of another source for its own."""

    def begin(self, after):
        if not after.tokens:
            return -1, -1, 0
        token = json.loads(after.tokens[self.partition])
        self_id = json.dumps({**token, "id": self.world.identity})
        return super().begin(Position({self.partition: self_id}))


class MalformedMeansStart(MemorySource):
    """A position that cannot be read is taken for none."""

    def begin(self, after):
        try:
            return super().begin(after)
        except PositionLost:
            return -1, -1, 0


class SwallowedError(MemorySource):
    """A broken connection looks like the end, and the position moves to the newest row it had planned to read."""

    def broken(self, start, found, offset):
        yield Batch(self.batch([], 0), start, self.position(found, offset))


class SwallowedErrorQuietly(MemorySource):
    """A broken connection looks like the end."""

    def broken(self, start, found, offset):
        yield Batch(self.batch([], 0), start, start)


class NoLastEnd(MemorySource):
    """The rows of the last page never get a position."""

    def read(self, after):
        batches = list(super().read(after))
        yield from batches[:-1]
        yield Batch(batches[-1].rows, batches[-1].start, None)


class StartsDoNotChain(MemorySource):
    """Every batch says that it starts where the run started."""

    def read(self, after):
        for batch in super().read(after):
            yield Batch(batch.rows, after, batch.end)


class OddValueChanged(MemorySource):
    """What the column cannot hold is cut off, quietly."""

    def values(self, row):
        text = row["text"]
        return {**row, "text": text.split("\x00")[0] if text else text, ODD: None}


class EqualRowsDropped(MemorySource):
    """Takes rows of equal content for one row."""

    def select(self, cursor, key):
        seen, kept = set(), []
        for row in super().select(cursor, key):
            if (row["cursor"], row["text"]) not in seen:
                seen.add((row["cursor"], row["text"]))
                kept.append(row)
        return kept


class LastRowOfPageTwice(MemorySource):
    """On resuming, the row at the position is given again."""

    def select(self, cursor, key):
        return super().select(cursor, key - 1)


class PositionInMemory(MemorySource):
    """Remembers in the process where it was; another process begins again."""

    def position(self, page, offset):
        return Position({self.partition: json.dumps({"id": self.world.identity, "cursor": -1, "key": -1, "offset": 0})})


WRONG = {
    PositionOneTooFar: "stopping_at_any_end_and_reading_on_gives_the_same_rows",
    LostTies: "stopping_at_any_end_and_reading_on_gives_the_same_rows",
    RepeatedTies: "a_read_after_the_last_end_is_empty",
    OffsetsReused: "offsets_increase_and_are_never_given_twice",
    SchemaDrift: "the_schema_is_what_is_read",
    ForeignPositionIgnored: "a_position_of_another_source_stops",
    MalformedMeansStart: "a_malformed_position_stops",
    SwallowedError: "a_broken_connection_is_not_the_end",
    SwallowedErrorQuietly: "a_broken_connection_is_not_the_end",
    NoLastEnd: "the_last_batch_has_an_end",
    StartsDoNotChain: "every_batch_starts_where_the_one_before_ended",
    OddValueChanged: "values_that_cannot_be_held_are_odd_not_changed",
    EqualRowsDropped: "an_empty_position_reads_everything",
    LastRowOfPageTwice: "one_end_per_connection_gives_the_same_rows",
    PositionInMemory: "a_read_after_the_last_end_is_empty",
}
