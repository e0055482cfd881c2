"""Rows on their way, and the position that belongs to them.

Every bronze row carries its coordinates: `_hg_partition` (which partition of the source, text) and
`_hg_offset` (int64, strictly increasing within the partition, never given twice). The pair names one
bronze row for ever. `_hg_ingested_at` is the instant of the run that landed it (UTC, microseconds).

Sources that read text land it as it came: `_hg_raw` (binary, one record without its line end) and
`_hg_format` (`json` or `csv`; of topics with a schema registry `avro`, `protobuf` or `json-schema`); csv also
`_hg_header` (text: a JSON array of the column names).
Sources that know types land typed columns under the source's own names; a value that the column's Arrow
type cannot hold exactly is NULL there and stands as the source's text in `_hg_odd`
(map<string, string>, column name to text; NULL when the row has none).
File sources add `_hg_file` (text) and `_hg_line` (int64, from 1).
Kafka adds `_hg_key` (binary), `_hg_headers` (a list of `name` and `value`, in order, a name as often as it came),
`_hg_timestamp` (UTC) and `_hg_timestamp_kind` (`create` or `append`); `_hg_raw` of a tombstone is NULL.

Rows on their way from a table of the lake to a sink carry the table's columns. Where rows can leave the table again,
they also carry `_hg_removed` (boolean, last column): true says that the row with this key is no longer there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from headgate.errors import DefectError, StalePosition

PREFIX = "_hg_"
PARTITION = "_hg_partition"
OFFSET = "_hg_offset"
INGESTED_AT = "_hg_ingested_at"
RAW = "_hg_raw"
ORIGINAL = "_hg_original"  # within an engine: the bytes as they came, where `_hg_raw` has been made into something else
FORMAT = "_hg_format"
HEADER = "_hg_header"
ODD = "_hg_odd"
FILE = "_hg_file"
LINE = "_hg_line"
VERSION = "_hg_version"
KEY = "_hg_key"
HEADERS = "_hg_headers"
TIMESTAMP = "_hg_timestamp"
TIMESTAMP_KIND = "_hg_timestamp_kind"
REMOVED = "_hg_removed"

ODD_TYPE = pa.map_(pa.string(), pa.string())
HEADERS_TYPE: Any = pa.list_(pa.struct([pa.field("name", pa.string()), pa.field("value", pa.binary())]))
INSTANT = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, slots=True)
class Position:
    """How far a stream has been read: partition -> token that only its source understands (JSON-safe text).

    The token carries the source's identity, so that a changed source is noticed. An empty position means
    that nothing has been read yet.
    """

    tokens: Mapping[str, str]

    @classmethod
    def start(cls) -> Position:
        return cls({})

    def advanced(self, other: Position) -> Position:
        """This position with the partitions that `other` names moved to where `other` is."""
        return Position({**self.tokens, **other.tokens})

    def dumps(self) -> str:
        """The position as canonical JSON text: equal positions give equal text."""
        return json.dumps(dict(self.tokens), sort_keys=True, separators=(",", ":"))

    @classmethod
    def loads(cls, text: str) -> Position:
        """The position from its JSON text; ValueError when it is not one."""
        tokens: Any = json.loads(text)
        if not isinstance(tokens, dict) or not all(isinstance(v, str) for v in tokens.values()):
            raise ValueError("a position is a JSON object of texts")
        return cls(tokens)


def served_token(table_id: str, snapshot_id: int | None, version: int | None) -> str:
    """A table's state as the token of a served table's position: which table, its snapshot, and the snapshot that
    brought its rows."""
    return f"{table_id}/{snapshot_id or ''}/{version or ''}"


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows and the positions before and after them.

    `end` is None when reading cannot resume after these rows: a later batch of the same read carries the end
    for all rows since the last one. A store commits only up to a batch that has an end.
    """

    rows: pa.RecordBatch
    start: Position
    end: Position | None


class Stretch:
    """The batches of one commit, checked while they pass: `start` and `end` are known once `rows` has ended.

    `start` is where the first batch starts (None: there was no batch), `end` the positions that the commit moves to
    (None: no batch had one).
    """

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = batches
        self._at: Position | None = None
        self.start: Position | None = None
        self.end: Position | None = None

    def rows(self) -> Iterator[pa.RecordBatch]:
        """The rows of all batches, as they come.

        Raises StalePosition when a batch does not continue the one before, DefectError after the last one when rows
        came without a position behind them: then nothing may be kept.
        """
        open_rows = 0
        for batch in self._batches:
            if self.start is None or self._at is None:
                self.start = self._at = batch.start
            elif batch.start != self._at:
                raise StalePosition("a batch does not continue the one before")
            open_rows += batch.rows.num_rows
            yield batch.rows
            if batch.end is not None:
                open_rows = 0
                self._at = self._at.advanced(batch.end)
                self.end = self.end.advanced(batch.end) if self.end else batch.end
        if open_rows:
            raise DefectError(f"{open_rows:,} rows came without the position behind them")
