"""Reads one CSV or JSON text file as pieces: raw records with the place behind them.

A UTF-8 byte order mark at the start belongs to the file, not to its first record. CSV files begin with a header
unless told otherwise. `json` files hold an array, one document, or one value per line: see `files_json`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from headgate.contract.names import fold
from headgate.errors import FixInputError
from headgate.sources.files_json import ARRAY, DOCUMENT, LINES, cut_array, cut_document, shape_of
from headgate.sources.files_open import ByteStream
from headgate.sources.files_split import Cut, OversizeRecord, arrow, cut_csv, cut_lines

BLOCK_BYTES = 4 << 20
_HEAD_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Dialect:
    """How records stand in a text file. `header`: True, or the names when the files have none."""

    format: str = "ndjson"  # csv | ndjson | json
    delimiter: str = ","
    quote: str = '"'
    header: bool | tuple[str, ...] = True
    max_record_bytes: int = 1 << 24


@dataclass(frozen=True, slots=True)
class Point:
    """A point between two records of a file: bytes of decompressed content before it, and lines."""

    byte: int = 0
    line: int = 0


@dataclass(frozen=True, slots=True)
class Head:
    """What a file begins with: where its records start, a CSV file's column names, how JSON stands in it."""

    start: Point
    names: tuple[str, ...] | None = None
    shape: str = LINES


@dataclass(frozen=True, slots=True)
class Piece:
    """Some records in file order: `raw` and `lines` (int64, from 1), and the place behind the last."""

    raw: pa.Array[Any]
    lines: pa.Array[Any]
    end: Point


def head_of(stream: ByteStream, name: str, dialect: Dialect) -> Head | None:
    """The head of the file; None when a CSV file has no header, or not yet a whole one.

    Reads from the stream's start; the caller opens the file again. Raises FixInputError for a bad header.
    """
    blocks = _Blocks(stream, name, dialect, head=Head(Point()), start=Point(), size=_HEAD_BYTES)
    mark = blocks.mark()
    if dialect.format == "json":
        first = blocks.peek()
        shape = shape_of(first)
        if shape != ARRAY:
            return Head(Point(mark), shape=shape)
        before = first[: first.index(b"[") + 1]
        return Head(Point(mark + len(before), before.count(b"\n")), shape=ARRAY)
    if dialect.format != "csv":
        return Head(Point(mark))
    if isinstance(dialect.header, tuple):
        return Head(Point(mark), dialect.header)
    for block, cut, _ in blocks.cuts(whole=True):
        more = len(cut.starts) > 1
        after, line = (int(cut.starts[1]), int(cut.lines[1])) if more else (cut.used, cut.used_lines)
        record = bytes(block[int(cut.starts[0]) : int(cut.stops[0])])
        return Head(Point(mark + after, line), _names(record, name, dialect))
    return None


def pieces(
    stream: ByteStream,
    name: str,
    dialect: Dialect,
    *,
    head: Head,
    start: Point,
    piece_bytes: int,
    overhead: int = 0,
    whole: bool = True,
) -> Iterator[Piece]:
    """Records from `start` on, which is the head's start or the end of an earlier piece.

    A piece holds about `piece_bytes` (at least one record), each record counted with `overhead`. `whole`: the end
    of the file ends the last record; otherwise a last line without its line end is left for later. Raises
    FixInputError for a record longer than allowed and for a file that cannot be unpacked.
    """
    stream.skip(start.byte)
    size = min(BLOCK_BYTES, max(piece_bytes, _HEAD_BYTES))
    blocks = _Blocks(stream, name, dialect, head=head, start=start, size=size)
    for block, cut, place in blocks.cuts(whole=whole):
        first, count = 0, len(cut.starts)
        costs = cut.starts + overhead * np.arange(count)
        while first < count:
            last = int(np.searchsorted(costs, int(costs[first]) + piece_bytes, side="left"))
            last = min(max(last, first + 1), count)
            if last < count:
                end = Point(place.byte + int(cut.starts[last]), place.line + int(cut.lines[last]))
            else:
                end = Point(place.byte + cut.used, place.line + cut.used_lines)
            lines = pa.array(cut.lines[first:last] + (place.line + 1))
            yield Piece(arrow(block, cut, first, last), lines, end)
            first = last


class _Blocks:
    """A stream as blocks that begin with a record."""

    def __init__(self, stream: ByteStream, name: str, dialect: Dialect, *, head: Head, start: Point, size: int) -> None:
        self._stream = stream
        self._name = name
        self._dialect = dialect
        self._shape = head.shape
        self._place = start
        self._size = size
        self._step = min(size, _HEAD_BYTES)  # small files, of which there may be many, need no large block
        self._block = bytearray()
        self._end = 0
        self._final = False

    def mark(self) -> int:
        """Bytes of the byte order mark that the stream begins with. Other encodings' marks are refused."""
        self._fill()
        if self._block.startswith((b"\xff\xfe", b"\xfe\xff")) and self._end >= 2:
            raise FixInputError(
                "the file is UTF-16", where=self._name, hint="convert it to UTF-8, for example with iconv"
            )
        if self._end < 3 or not self._block.startswith(b"\xef\xbb\xbf"):
            return 0
        self._drop(3)
        return 3

    def peek(self) -> bytes:
        """The beginning of the content."""
        return bytes(self._block[: self._end])

    def cuts(self, *, whole: bool) -> Iterator[tuple[bytearray, Cut, Point]]:
        """Blocks of records with the place where they start; valid until the next one is asked for."""
        if not self._end:
            self._fill()
        while self._end:
            final = self._final and whole
            try:
                cut = self._cut(final)
            except OversizeRecord as cause:
                raise FixInputError(
                    f"the record at line {self._place.line + cause.line + 1} is longer than max_record_bytes,"
                    f" {self._dialect.max_record_bytes:,} bytes",
                    where=f"{self._name}:{self._place.line + cause.line + 1}",
                    hint="if the file is sound, raise max_record_bytes in the contract's server",
                    stage="extract",
                ) from cause
            if len(cut.starts):
                yield self._block, cut, self._place
            self._place = Point(self._place.byte + cut.used, self._place.line + cut.used_lines)
            self._drop(cut.used)
            if self._final:
                return
            self._fill()

    def _cut(self, final: bool) -> Cut:
        dialect, limit = self._dialect, self._dialect.max_record_bytes
        if self._shape == ARRAY:
            return cut_array(self._block, self._end, final, limit)
        if self._shape == DOCUMENT:
            return cut_document(self._block, self._end, final, limit)
        if dialect.format == "csv" and dialect.quote:
            delimiter, quote = ord(dialect.delimiter), ord(dialect.quote)
            return cut_csv(self._block, self._end, final, limit, delimiter=delimiter, quote=quote)
        return cut_lines(self._block, self._end, final, limit)

    def _drop(self, count: int) -> None:
        """Take the first `count` bytes out of the block."""
        rest = self._end - count
        self._block[:rest] = self._block[count : self._end]
        self._end = rest

    def _fill(self) -> None:
        """Read more content behind what is there, making room for it."""
        want = self._end + max(self._step, self._end)  # doubling: a long record is not searched over and over
        self._step = min(self._size, 8 * self._step)
        if want + 2 > len(self._block):
            grown = bytearray(want + (want >> 2) + 2)
            grown[: self._end] = self._block[: self._end]
            self._block = grown
        with memoryview(self._block) as view:
            got = self._stream.readinto(view[self._end : want])
        self._end += got
        self._final = self._end < want


def _names(record: bytes, name: str, dialect: Dialect) -> tuple[str, ...]:
    """The column names of a header record."""
    try:
        text = record.decode()
    except UnicodeDecodeError as cause:
        raise FixInputError(
            "the header is not UTF-8", where=f"{name}:1", hint="declare the server's encoding: latin-1 or cp1252"
        ) from cause
    lines = io.StringIO(text, newline="")
    if dialect.quote:
        reader = csv.reader(lines, delimiter=dialect.delimiter, quotechar=dialect.quote)
    else:
        reader = csv.reader(lines, delimiter=dialect.delimiter, quoting=csv.QUOTE_NONE)
    try:
        names = tuple(next(reader, ()))
    except csv.Error as cause:
        raise FixInputError(f"not a header: {cause}", where=f"{name}:1", stage="extract") from cause
    folded = [fold(n) for n in names]
    twice = sorted({n for n, same in zip(names, folded, strict=True) if n and folded.count(same) > 1})
    if twice:
        raise FixInputError(
            f"the header names {twice[0]!r} twice (case does not count)",
            where=f"{name}:1",
            hint="make the names unique, or give them in the server's `header` for files without one",
            stage="extract",
        )
    return names
