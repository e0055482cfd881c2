"""Messages as Arrow rows, whole columns at a time: one call per message and attribute is all that is affordable."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from headgate.ports.batch import (
    FORMAT,
    HEADERS,
    HEADERS_TYPE,
    INSTANT,
    KEY,
    OFFSET,
    PARTITION,
    RAW,
    TIMESTAMP,
    TIMESTAMP_KIND,
)

_FIELDS: list[Any] = [
    pa.field(PARTITION, pa.string(), nullable=False),
    pa.field(OFFSET, pa.int64(), nullable=False),
    pa.field(RAW, pa.binary()),
    pa.field(FORMAT, pa.string(), nullable=False),
    pa.field(KEY, pa.binary()),
    pa.field(HEADERS, HEADERS_TYPE),
    pa.field(TIMESTAMP, INSTANT),
    pa.field(TIMESTAMP_KIND, pa.string()),
]
SCHEMA = pa.schema(_FIELDS)
UNREADABLE = "_hg_unreadable"  # stands for headers whose names are no UTF-8: the client cannot give them
_KINDS = pa.array([None, "create", "append"], pa.string())  # by librdkafka's number
_FURTHEST_MS = (1 << 63) // 1000 - 1  # beyond it microseconds do not count


class Gathered:
    """Messages taken from the client, in the order in which they came. They become columns at once, while they are in
    the processor's cache and their memory can be used for the next."""

    def __init__(self) -> None:
        self._parts: list[tuple[Any, ...]] = []
        self.partitions: list[np.ndarray] = []
        self.offsets: list[np.ndarray] = []
        self.size_bytes = 0

    def __len__(self) -> int:
        return sum(map(len, self.offsets))

    def add(self, messages: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        """Take messages (none an error); their partitions and offsets."""
        of, count = type(messages[0]), len(messages)
        partitions = np.fromiter(map(of.partition, messages), np.int32, count)
        offsets = np.fromiter(map(of.offset, messages), np.int64, count)
        stamps = np.fromiter(chain.from_iterable(map(of.timestamp, messages)), np.int64, 2 * count)
        values: Any = pa.array(list(map(of.value, messages)), pa.binary())
        keys: Any = pa.array(list(map(of.key, messages)), pa.binary())
        try:
            headers = list(map(of.headers, messages))
        except UnicodeDecodeError:
            headers = list(map(_headers, messages))
        lists = _header_lists(headers)
        self.partitions.append(partitions)
        self.offsets.append(offsets)
        self._parts.append((values, keys, lists, stamps))
        self.size_bytes += values.nbytes + keys.nbytes + lists.nbytes
        return partitions, offsets

    def rows(self, names: pa.Array[Any], text_format: str) -> pa.RecordBatch:
        """The rows with `SCHEMA`. `names` are the partitions' labels by number."""
        if not self._parts:
            return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in SCHEMA], schema=SCHEMA)
        partitions, offsets = np.concatenate(self.partitions), np.concatenate(self.offsets)
        values, keys, headers, all_stamps = zip(*self._parts, strict=True)
        stamps = np.concatenate(all_stamps)
        kinds, instants = stamps[::2], stamps[1::2]
        missing = (kinds == 0) | (instants > _FURTHEST_MS) | (instants < -_FURTHEST_MS)
        micros: Any = pa.array(np.where(missing, 0, instants) * 1000, pa.int64(), mask=missing)
        kind: Any = pa.array(kinds)
        columns = [
            names.take(pa.array(partitions)),
            pa.array(offsets),
            pa.concat_arrays(values),
            pa.repeat(pa.scalar(text_format, pa.string()), len(offsets)),
            pa.concat_arrays(keys),
            pa.concat_arrays(headers),
            micros.cast(INSTANT),
            _KINDS.take(kind),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _headers(message: Any) -> Sequence[tuple[str, bytes | None]] | None:
    try:
        headers: Sequence[tuple[str, bytes | None]] | None = message.headers()
    except UnicodeDecodeError:
        return [(UNREADABLE, None)]
    return headers


def _header_lists(headers: Sequence[Sequence[tuple[str, bytes | None]] | None]) -> Any:
    """Lists of name and value, in order, a name as often as it came; NULL for a message without headers."""
    if not any(headers):
        return pa.nulls(len(headers), HEADERS_TYPE)
    lengths = np.fromiter((len(h) if h else 0 for h in headers), np.int32, len(headers))
    edges = np.concatenate([np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)])
    flat = list(chain.from_iterable(filter(None, headers)))
    items = pa.StructArray.from_arrays(
        [pa.array([n for n, _ in flat], pa.string()), pa.array([v for _, v in flat], pa.binary())],
        fields=list(HEADERS_TYPE.value_type),
    )
    return pa.ListArray.from_arrays(pa.array(edges), items, type=HEADERS_TYPE, mask=pa.array(lengths == 0))
