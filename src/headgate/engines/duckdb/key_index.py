"""What verdicts need of the rows of one silver file, found by the hash of their key at a cost that does not grow with
the file: sorted hashes behind a Bloom filter, and beside each hash the key, order, coordinates and content hash.

An index is a cache. It is made from rows that are being written, or read back from the data file; it names the file,
the engine's version (whose hashes it holds) and the columns, so a stale one is never found; losing all of them costs
time and nothing else.

A file is indexed in parts of up to PART_ROWS rows, each a record batch of its own:

    _hg_key      hash of the key, sorted
    _hg_filter   a Bloom filter of 16 bits a row: four rows share a word of 64 bits, a row sets four bits of one word
    _hg_row      number of the row in its file
    …            key, order, coordinates, `_hg_content`
"""

from __future__ import annotations

import hashlib
import math
import mmap
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from headgate.contract.to_arrow import VALID_TO
from headgate.engines.duckdb.arrays import compute, pick, take, whole
from headgate.engines.duckdb.dictionaries import together
from headgate.engines.duckdb.hashes import order_of
from headgate.engines.duckdb.judgement import CONTENT, KEY
from headgate.threads import begun

PART_ROWS = 1_048_576
FILTER, ROW = "_hg_filter", "_hg_row"
_FEWEST = 4096  # rows below which the sorted hashes alone are as fast
_WORD = 4  # rows that share a word of the filter
_ROWS_TO_A_PAGE = 512  # hashes
_MANY = 65_536  # rows from which the pages of a part are worth giving back
_FEW_WANTED = 64  # keys that leave most pages of a filter alone
_ASIDE: dict[str, list[Future[None]]] = {}  # folder -> what is being done there
_LOCK = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ASIDE.clear)  # whoever was to do it is not there


def aside(folder: str, work: Callable[[], None]) -> None:
    """Let another thread work on the indexes in a folder: nobody waits for it before the next look at them."""
    with _LOCK:
        _ASIDE.setdefault(folder, []).append(begun(work))


def settle(folder: str | None = None) -> None:
    """Wait until everything is done that was put aside for a folder, or for all."""
    with _LOCK:
        pending = {name: tuple(some) for name, some in _ASIDE.items() if folder in (None, name)}
    for name, some in pending.items():
        wait(some)
        with _LOCK:
            _ASIDE[name] = [one for one in _ASIDE.get(name, ()) if one not in some]


@dataclass(frozen=True, slots=True)
class IndexLayout:
    """The columns of an index and where indexes are kept. An empty `folder`: nowhere, they live in memory."""

    folder: str
    schema: pa.Schema
    fingerprint: str

    @classmethod
    def of(cls, folder: str, columns: pa.Schema, identity: str) -> IndexLayout:
        """`columns` are key, order and coordinates; `identity` says what the hashes are of."""
        own: Any = [(KEY, pa.uint64()), (FILTER, pa.uint16()), (ROW, pa.uint32()), (CONTENT, pa.uint64())]
        schema = pa.schema([*(pa.field(name, of) for name, of in own), *columns])
        stated = f"{duckdb.__version__}\n{identity}\n{schema.to_string(show_field_metadata=False)}"
        return cls(folder, schema, hashlib.sha256(stated.encode()).hexdigest()[:12])

    def path(self, data: str) -> str:
        """Where the index of a data file is kept."""
        name = os.path.splitext(os.path.basename(data))[0]
        return os.path.join(self.folder, f"{name}-{self.fingerprint}.arrow")


@dataclass(slots=True)
class Wanted:
    """Key hashes to look for: sorted, distinct; and the bits they set in a filter."""

    hashes: np.ndarray
    bits: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.bits = _bits(self.hashes)


def _bits(hashes: np.ndarray) -> np.ndarray:
    """Four bits of a word for each hash, by its lowest 24 bits."""
    one, low = np.uint64(1), np.uint64(63)
    bits = one << (hashes & low)
    for shift in (6, 12, 18):
        bits |= one << ((hashes >> np.uint64(shift)) & low)
    return bits


def _word_of(hashes: np.ndarray, words: int) -> np.ndarray:
    """Which word of a filter each hash uses, by its highest 32 bits: so sorted hashes use ascending words."""
    at: np.ndarray = ((hashes >> np.uint64(32)) * np.uint64(words)) >> np.uint64(32)
    return at.astype(np.int64)


def _filter(hashes: np.ndarray) -> np.ndarray:
    """The Bloom filter of sorted hashes, in as many 16-bit values as there are hashes."""
    words = len(hashes) // _WORD
    filled = np.zeros(len(hashes), np.uint16)
    if len(hashes) >= _FEWEST:
        at = _word_of(hashes, words)
        starts = np.flatnonzero(np.r_[True, at[1:] != at[:-1]])
        whole_words = np.zeros(words, np.uint64)
        whole_words[at[starts]] = np.bitwise_or.reduceat(_bits(hashes), starts)
        filled[: words * _WORD] = whole_words.view(np.uint16)
    return filled


def first_not_less(ordered: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Where each hash would stand among sorted ones. Hashes are spread evenly, so a few are looked for only near where
    they should be: a search from the middle reads three times as many pages."""
    rows = len(ordered)
    if len(hashes) * _ROWS_TO_A_PAGE > rows:
        return np.searchsorted(ordered, hashes)
    guess, reach = (hashes * (rows / 2.0**64)).astype(np.int64), 2 * math.isqrt(rows)  # four standard deviations
    low, high = np.maximum(guess - reach, 0), np.minimum(guess + reach, rows)
    while (unsure := low < high).any():
        middle = (low + high) // 2
        less = ordered[np.minimum(middle, rows - 1)] < hashes
        low, high = np.where(unsure & less, middle + 1, low), np.where(unsure & ~less, middle, high)
    right = (low == 0) | (ordered[np.maximum(low, 1) - 1] < hashes)
    right &= (low == rows) | (ordered[np.minimum(low, rows - 1)] >= hashes)
    return low if right.all() else np.searchsorted(ordered, hashes)


class Part:
    """One record batch of an index."""

    def __init__(self, rows: pa.RecordBatch) -> None:
        self.rows = rows
        self.hashes: np.ndarray = rows.column(KEY).to_numpy()
        words = len(self.hashes) // _WORD
        self._words: np.ndarray = rows.column(FILTER).to_numpy()[: words * _WORD].view(np.uint64)

    def matches(self, wanted: Wanted) -> np.ndarray:
        """Numbers of the rows whose hash is wanted, ascending."""
        hashes = wanted.hashes
        if len(hashes) >= len(self.hashes):  # fewer to look for the other way round
            at = np.searchsorted(hashes, self.hashes)
            at[at == len(hashes)] = 0
            return np.flatnonzero(hashes[at] == self.hashes)
        if len(self.hashes) >= _FEWEST:
            at = _word_of(hashes, len(self._words))
            hashes = hashes[(self._words[at] & wanted.bits) == wanted.bits]
        first = first_not_less(self.hashes, hashes)
        there = self.hashes[np.minimum(first, len(self.hashes) - 1)] == hashes
        first, hashes = first[there], hashes[there]
        count = np.searchsorted(self.hashes, hashes, "right") - first
        ends = np.cumsum(count)
        return np.repeat(first - ends + count, count) + np.arange(ends[-1] if len(ends) else 0)


class KeyIndex:
    """The index of one silver file."""

    def __init__(self, parts: Sequence[Part], layout: IndexLayout, mapped: mmap.mmap | None = None) -> None:
        self.parts, self.layout, self._mapped = parts, layout, mapped

    @property
    def rows(self) -> int:
        """Rows indexed."""
        return sum(part.rows.num_rows for part in self.parts)

    def expect(self, rows: int) -> None:
        """So many rows will be looked for. When they are few, pages beside those that are read are not worth their
        reading, but filters are, at one go."""
        if self._mapped is None or not hasattr(mmap, "MADV_RANDOM"):
            return
        few = rows * _ROWS_TO_A_PAGE < self.rows
        self._mapped.madvise(mmap.MADV_RANDOM if few else mmap.MADV_NORMAL)
        if few and rows > _FEW_WANTED:
            for part in self.parts:
                begin, end = self._place(part, FILTER)
                start = begin // mmap.PAGESIZE * mmap.PAGESIZE
                self._mapped.madvise(mmap.MADV_WILLNEED, start, end - start)

    def find(self, wanted: Wanted) -> Iterator[pa.Table]:
        """The rows whose key hash is wanted, without the filter."""
        for number, part in enumerate(self.parts):
            at = part.matches(wanted)
            if len(at):
                yield take(pa.Table.from_batches([part.rows]), at).drop_columns([FILTER])
            if len(part.hashes) >= _MANY and len(at) * _ROWS_TO_A_PAGE < len(part.hashes):
                self._let_go(number)

    def _let_go(self, number: int) -> None:
        """Pages from all over a part, with which the system has mapped those beside them, are not likely to be wanted
        again: only the filter stays in memory."""
        if self._mapped is None or not hasattr(mmap, "MADV_DONTNEED"):
            return
        begin, end = self._place(self.parts[number], FILTER)
        start, _ = self._place(self.parts[number], KEY)
        last = number + 1 == len(self.parts)
        stop = len(self._mapped) if last else self._place(self.parts[number + 1], KEY)[0]
        for one, other in ((start, begin), (end, stop)):
            first, after = -(-one // mmap.PAGESIZE) * mmap.PAGESIZE, other // mmap.PAGESIZE * mmap.PAGESIZE
            if first < after:
                self._mapped.madvise(mmap.MADV_DONTNEED, first, after - first)

    def _place(self, part: Part, column: str) -> tuple[int, int]:
        """Where in the mapped file the values of a column are."""
        mapped: Any = self._mapped
        values: Any = part.rows.column(column).buffers()[1]
        start = values.address - pa.py_buffer(mapped).address
        return start, start + values.size

    def without(self, gone: np.ndarray, closes: pa.Table) -> Iterator[pa.Table]:
        """The index's rows, part by part and sorted, once these rows of the file are gone and the rest has moved up.

        `gone` has a flag for every row of the file; `closes` gives rows a new end of validity, in their order.
        """
        self.expect(self.rows)
        moved = np.cumsum(~gone, dtype=np.int64) - 1
        for part in self.parts:
            at = part.rows.column(ROW).to_numpy()
            kept = ~gone[at]
            if kept.any():
                rows = closed(pick(pa.Table.from_batches([part.rows]), kept), at[kept], closes)
                yield rows.set_column(
                    rows.schema.get_field_index(ROW), ROW, pa.array(moved[at[kept]].astype(np.uint32))
                )


def closed(rows: pa.Table, numbers: np.ndarray, closes: pa.Table) -> pa.Table:
    """The rows, which have these numbers, with the ends of validity that `closes` gives (numbers ascending)."""
    if not closes.num_rows:
        return rows
    which = closes[ROW].to_numpy()
    at = np.searchsorted(which, numbers)
    at[at == len(which)] = 0
    mask = which[at] == numbers
    ends = compute.replace_with_mask(whole(rows[VALID_TO]), pa.array(mask), whole(take(closes, at[mask])[VALID_TO]))
    return rows.set_column(rows.schema.get_field_index(VALID_TO), rows.schema.field(VALID_TO), ends)


class IndexWriter:
    """Takes the rows of one data file; `close` gives their index, kept on disk where the layout says so."""

    def __init__(self, layout: IndexLayout) -> None:
        self._layout = layout
        self._waiting: list[pa.Table] = []
        self._rows = 0
        self._parts: list[Part] = []
        self._path = os.path.join(layout.folder, f"{uuid.uuid4()}.part") if layout.folder else ""
        self._sink: Any = None
        self._writer: Any = None

    def add(self, rows: pa.Table, start: int | None = None) -> None:
        """Rows of the file with key and content hashes; the first is row number `start`, or they say it themselves."""
        if start is not None:
            numbers = pa.array(np.arange(start, start + rows.num_rows, dtype=np.uint32))
            rows = rows.append_column(ROW, numbers)
        names = [name for name in self._layout.schema.names if name != FILTER]
        self._waiting.append(rows.select(names))
        self._rows += rows.num_rows
        if self._rows >= PART_ROWS:
            self._flush()

    def add_part(self, rows: pa.Table) -> None:
        """Rows that say their numbers and are sorted by their hashes: a part of their own."""
        self._flush()
        self._write(rows)

    def close(self, data: str) -> KeyIndex | None:
        """Finish the index of this data file; the index itself where it is kept in memory. One on disk gets its name
        once it is whole there, beside what the caller does next; see `settle`."""
        self._flush()
        if not self._path:
            return KeyIndex(self._parts, self._layout)
        if self._writer is not None:
            self._writer.close()
            self._sink.flush()
            aside(self._layout.folder, lambda: self._name(self._layout.path(data)))
        return None

    def _name(self, path: str) -> None:
        try:
            with self._sink:
                os.fsync(self._sink.fileno())
            os.replace(self._path, path)
        except OSError:  # without an index its file is read once more
            with suppress(OSError):
                os.unlink(self._path)

    def _flush(self) -> None:
        if not self._rows:
            return
        rows = together(self._waiting)
        self._waiting, self._rows = [], 0
        self._write(take(rows, order_of(rows[KEY].to_numpy())))

    def _write(self, rows: pa.Table) -> None:
        columns = []
        for one in self._layout.schema:
            column = pa.array(_filter(whole(rows[KEY]).to_numpy())) if one.name == FILTER else whole(rows[one.name])
            columns.append(column.cast(one.type))
        batch = pa.RecordBatch.from_arrays(columns, schema=self._layout.schema)
        if not self._path:
            self._parts.append(Part(batch))
            return
        if self._writer is None:
            os.makedirs(self._layout.folder, exist_ok=True)
            self._sink = open(self._path, "wb")  # noqa: SIM115
            self._writer = pa.ipc.new_file(self._sink, self._layout.schema)
        self._writer.write_batch(batch)


def _mapped(path: str) -> mmap.mmap:
    """A file's bytes. Not by Arrow's own map, which has all of a batch fetched from the disk as soon as it is opened:
    a few new keys touch a few pages."""
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def open_index(layout: IndexLayout, data: str, rows: int | None) -> KeyIndex | None:
    """The kept index of a data file of so many rows; None when there is none that is whole."""
    path = layout.path(data)
    settle(layout.folder)
    if not layout.folder or not os.path.exists(path):
        return None
    try:
        mapped = _mapped(path)
        reader = pa.ipc.open_file(pa.py_buffer(mapped))
        parts = [Part(reader.get_batch(n)) for n in range(reader.num_record_batches)]
        index = KeyIndex(parts, layout, mapped)
    except (OSError, ValueError, pa.ArrowException):  # an empty file cannot be mapped
        return None
    return index if rows in (None, index.rows) and reader.schema.equals(layout.schema) else None
