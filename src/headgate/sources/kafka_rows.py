"""Messages as Arrow rows, whole columns at a time.

`Gathered` makes them of the client's `Message` objects: one call per message and attribute is all that is affordable.
`Joined` is given the buffers that the compiled part has filled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

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
    """Messages taken from the client, in the order in which they came. Their bytes are put one behind the other at
    once, while they are in the processor's cache and their memory can be used for the next."""

    def __init__(self) -> None:
        self.partitions: list[np.ndarray] = []
        self.offsets: list[np.ndarray] = []
        self._stamps: list[np.ndarray] = []
        self._values, self._keys = _Bytes(), _Bytes()
        self._headers: list[Any] = []
        self._headers_bytes = 0

    def __len__(self) -> int:
        return sum(map(len, self.offsets))

    @property
    def size_bytes(self) -> int:
        """Of values, keys and headers."""
        return self._values.size_bytes + self._keys.size_bytes + self._headers_bytes

    def add(self, messages: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        """Take messages (none an error); their partitions and offsets."""
        of, count = type(messages[0]), len(messages)
        partitions = np.fromiter(map(of.partition, messages), np.int32, count)
        offsets = np.fromiter(map(of.offset, messages), np.int64, count)
        self._stamps.append(np.fromiter(chain.from_iterable(map(of.timestamp, messages)), np.int64, 2 * count))
        self._values.add(list(map(of.value, messages)))
        self._keys.add(list(map(of.key, messages)))
        try:
            headers = list(map(of.headers, messages))
        except UnicodeDecodeError:
            headers = list(map(_headers, messages))
        lists = _header_lists(headers)
        self._headers.append(lists)
        self._headers_bytes += lists.nbytes
        self.partitions.append(partitions)
        self.offsets.append(offsets)
        return partitions, offsets

    def rows(self, names: pa.Array[Any], text_format: str) -> pa.RecordBatch:
        """The rows with `SCHEMA`. `names` are the partitions' labels by number."""
        if not self.offsets:
            return no_rows()
        partitions, offsets = np.concatenate(self.partitions), np.concatenate(self.offsets)
        stamps = np.concatenate(self._stamps)
        columns = [
            names.take(pa.array(partitions)),
            pa.array(offsets),
            self._values.column(),
            pa.repeat(pa.scalar(text_format, pa.string()), len(offsets)),
            self._keys.column(),
            pa.concat_arrays(self._headers),
            *_timestamps(stamps[::2], stamps[1::2]),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


_Column = tuple[Any, Any, Any, int]  # which are there (None: all), where each ends, the bytes, how many are NULL


class Joined(NamedTuple):
    """Messages as the compiled part gives them: buffers, in the order in which they came."""

    many: int
    partitions: Any
    offsets: Any
    kinds: Any
    instants: Any
    values: _Column
    keys: _Column
    headers: tuple[Any, Any, int, int, _Column, _Column] | None

    def rows(self, names: pa.Array[Any], text_format: str) -> pa.RecordBatch:
        """As those of `Gathered`."""
        if not self.many:
            return no_rows()
        partitions: Any = pa.array(np.frombuffer(self.partitions, np.int32))
        columns = [
            names.take(partitions),
            pa.array(np.frombuffer(self.offsets, np.int64)),
            _bytes(pa.binary(), self.many, self.values),
            pa.repeat(pa.scalar(text_format, pa.string()), self.many),
            _bytes(pa.binary(), self.many, self.keys),
            self._headers(),
            *_timestamps(np.frombuffer(self.kinds, np.int8), np.frombuffer(self.instants, np.int64)),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)

    def _headers(self) -> Any:
        if self.headers is None:
            return pa.nulls(self.many, HEADERS_TYPE)
        there, ends, nulls, items, names, values = self.headers
        named, valued = _bytes(pa.binary(), items, names), _bytes(pa.binary(), items, values)
        buffers: list[Any] = [pa.py_buffer(there), pa.py_buffer(ends)]
        try:
            pairs = pa.StructArray.from_arrays([named.cast(pa.string()), valued], fields=list(HEADERS_TYPE.value_type))
        except pa.ArrowInvalid:  # a name that is no UTF-8
            pairs = pa.StructArray.from_arrays([named, valued], ["name", "value"])
            lists: Any = pa.Array.from_buffers(pa.list_(pairs.type), self.many, buffers, nulls, children=[pairs])
            return _header_lists([_decoded(one) for one in lists.to_pylist()])
        return pa.Array.from_buffers(HEADERS_TYPE, self.many, buffers, nulls, children=[pairs])


def no_rows() -> pa.RecordBatch:
    """None, with `SCHEMA`."""
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in SCHEMA], schema=SCHEMA)


def _bytes(kind: Any, count: int, column: _Column) -> Any:
    there, ends, content, nulls = column
    valid = None if there is None else pa.py_buffer(there)
    return pa.Array.from_buffers(kind, count, [valid, pa.py_buffer(ends), pa.py_buffer(content)], nulls)


def _timestamps(kinds: np.ndarray, instants: np.ndarray) -> tuple[Any, Any]:
    """Instants, NULL where a message has none that counts, and whose they are."""
    missing = (kinds == 0) | (instants > _FURTHEST_MS) | (instants < -_FURTHEST_MS)
    micros: Any = pa.array(np.where(missing, 0, instants) * 1000, pa.int64(), mask=missing)
    kind: Any = pa.array(kinds)
    return micros.cast(INSTANT), _KINDS.take(kind)


class _Bytes:
    """A binary column that grows: the bytes one behind the other, and how many each value has (-1: NULL)."""

    def __init__(self) -> None:
        self._joined: list[bytes] = []
        self._lengths: list[np.ndarray] = []
        self.size_bytes = 0

    def add(self, values: list[bytes | None]) -> None:
        nulls = values.count(None)
        present: Any = values if not nulls else [value for value in values if value is not None]
        lengths = np.fromiter(map(len, present), np.int64, len(present))
        if nulls:
            there = np.fromiter((value is not None for value in values), np.bool_, len(values))
            known, lengths = lengths, np.full(len(values), -1)
            lengths[there] = known
        joined = b"".join(present)
        self._joined.append(joined)
        self._lengths.append(lengths)
        self.size_bytes += len(joined) + lengths.nbytes

    def column(self) -> pa.Array[Any]:
        """pa.ArrowInvalid for more bytes than a column has room for (2 GiB)."""
        lengths = np.concatenate(self._lengths)
        there = lengths >= 0
        ends: Any = pa.array(np.concatenate([np.zeros(1, np.int64), np.cumsum(np.where(there, lengths, 0))]))
        content = pa.py_buffer(b"".join(self._joined))
        nulls = len(lengths) - int(np.count_nonzero(there))
        valid = pa.array(there).buffers()[1] if nulls else None
        edges = ends.cast(pa.int32()).buffers()[1]
        return pa.Array.from_buffers(pa.binary(), len(lengths), [valid, edges, content], nulls)


def _headers(message: Any) -> Sequence[tuple[str, bytes | None]] | None:
    try:
        headers: Sequence[tuple[str, bytes | None]] | None = message.headers()
    except UnicodeDecodeError:
        return [(UNREADABLE, None)]
    return headers


def _decoded(headers: Sequence[Mapping[str, Any]] | None) -> Sequence[tuple[str, bytes | None]] | None:
    try:
        return None if headers is None else [(one["name"].decode(), one["value"]) for one in headers]
    except UnicodeDecodeError:
        return [(UNREADABLE, None)]


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
