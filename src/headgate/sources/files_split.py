"""Cuts blocks of bytes into records: lines, or CSV records whose quoted fields may hold line ends.

A line ends with LF or CR LF; a lone CR is content. Line ends belong to no record. The last line of a file need
not have one; after a final line end there is no further, empty record, but every other empty line is a record.

A CSV record is one line or, when a quoted field goes on, several. A field is quoted when its first byte is the
quote; inside, two quotes stand for one; the closing quote stands before a delimiter, a line end or the end of
the file. A quote anywhere else in an unquoted field is content. A quoted field that breaks these rules, or is
not closed before the end of the file or within the largest record allowed, is not believed: then the record is
its first physical line alone, and the next line begins a new record. So a stray quote costs one record, and
every byte of the file but line ends belongs to exactly one record.

All of it works on whole blocks in numpy; only records that hold a misplaced quote are walked one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]

_LF, _CR = 10, 13
_STEP = 1 << 20  # searching in slices that fit the processor's cache is twice as fast
_WALK = 64  # records to walk one by one after a misplaced quote, before trying whole blocks again


class OversizeRecord(Exception):
    """The record that starts at line `line` (from 0, within the block) is longer than allowed."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


@dataclass(frozen=True, slots=True)
class Cut:
    """Records of a block: record i is bytes starts[i] to stops[i] and starts on line lines[i] (from 0).

    The first `used` bytes and `used_lines` lines are done with; the rest of the block begins a record that a
    longer block may complete.
    """

    starts: Ints
    stops: Ints
    lines: Ints
    used: int
    used_lines: int


def positions(block: bytearray, end: int, byte: int) -> Ints:
    """Where `byte` stands in the first `end` bytes, ascending."""
    view = np.frombuffer(block, np.uint8, count=end)
    found = []
    for at in range(0, end, _STEP):
        stop = min(at + _STEP, end)
        if block.find(byte, at, stop) < 0:
            continue
        part = np.flatnonzero(view[at:stop] == byte)
        part += at
        found.append(part)
    if not found:
        return np.empty(0, np.int64)
    return found[0] if len(found) == 1 else np.concatenate(found)


def cut_lines(block: bytearray, end: int, final: bool, limit: int) -> Cut:
    """Each line is a record. `final`: nothing follows the first `end` bytes."""
    line_ends = _line_ends(block, end, final)
    return _cut(block, end, line_ends, np.arange(len(line_ends)), limit)


def cut_csv(block: bytearray, end: int, final: bool, limit: int, *, delimiter: int, quote: int) -> Cut:
    """Each CSV record is a record. The block has room for two more bytes after `end`."""
    line_ends = _line_ends(block, end, final)
    ready = int(line_ends[-1]) if len(line_ends) else 0
    quotes = positions(block, ready, quote)
    if not len(quotes):
        return _cut(block, end, line_ends, np.arange(len(line_ends)), limit)
    block[end : end + 2] = b"\n\n"  # so that the end of the file closes a field like a line end
    records = _Records(block, end, final, limit, line_ends=line_ends, quotes=quotes, delimiter=delimiter).ends()
    return _cut(block, end, line_ends, records, limit)


def arrow(block: bytearray, cut: Cut, first: int, last: int) -> pa.Array[Any]:
    """Records first to last (exclusive) as an Arrow binary array of its own memory."""
    start = int(cut.starts[first])
    stop = int(cut.stops[last - 1])
    if stop == start:
        return pa.array([b""] * (last - first), pa.binary())
    # Records and what stands between them take turns; every other one is wanted.
    edges = np.empty(2 * (last - first), np.int32)
    edges[0::2] = cut.starts[first:last]
    edges[1::2] = cut.stops[first:last]
    edges -= np.int32(start)
    data = pa.py_buffer(memoryview(block)[start:stop])
    both = pa.Array.from_buffers(pa.binary(), len(edges) - 1, [None, pa.py_buffer(edges.data), data])
    return both.take(np.arange(0, len(edges) - 1, 2, dtype=np.int32))


def _line_ends(block: bytearray, end: int, final: bool) -> Ints:
    """Where lines end; a last line without line end ends at `end` when the file does."""
    found = positions(block, end, _LF)
    if final and end and (not len(found) or found[-1] != end - 1):
        found = np.append(found, end)
    return found


def _cut(block: bytearray, end: int, line_ends: Ints, records: Ints, limit: int) -> Cut:
    """The cut whose records end with the lines `records`. Raises OversizeRecord."""
    if not len(records):
        if end > limit + 1:  # more than a record and the CR that may end its line
            raise OversizeRecord(0)
        none = np.empty(0, np.int64)
        return Cut(none, none, none, 0, 0)
    lines = np.empty(len(records), np.int64)
    lines[0] = 0
    lines[1:] = records[:-1] + 1
    stops = line_ends[records]
    starts = np.empty(len(records), np.int64)
    starts[0] = 0
    starts[1:] = stops[:-1] + 1
    used = min(int(stops[-1]) + 1, end)
    view = np.frombuffer(block, np.uint8, count=end)
    if block.find(_CR, 0, end) >= 0:
        # A CR before a line end is part of it; not the CR at the end of a file whose last line has none.
        stops = stops - ((stops > starts) & (view[np.maximum(stops - 1, 0)] == _CR) & (stops < end))
    long = np.flatnonzero(stops - starts > limit)
    if len(long):
        raise OversizeRecord(int(lines[long[0]]))
    return Cut(starts, stops, lines, used, int(records[-1]) + 1)


class _Records:
    """Finds the lines with which CSV records end.

    In a block without misplaced quotes, quotes open and close in turn: a line ends a record when an even number
    of quotes stands before its end. `_wrong` knows for both parities which quotes break that pattern, so the
    pattern is followed up to the next of them, the record that holds it is walked, and the pattern taken up again.
    """

    def __init__(
        self, block: bytearray, end: int, final: bool, limit: int, *, line_ends: Ints, quotes: Ints, delimiter: int
    ) -> None:
        self._line_ends = line_ends
        self._quotes = quotes
        self._end = end
        self._final = final
        self._limit = limit
        self._block = block
        view = np.frombuffer(block, np.uint8, count=end + 2)
        before = np.where(quotes > 0, view[quotes - 1], _LF)
        after, second = view[quotes + 1], view[quotes + 2]
        twin = np.empty(len(quotes) + 1, np.bool_)  # twin[k]: quote k stands directly after quote k - 1
        twin[0] = twin[-1] = False
        twin[1:-1] = np.diff(quotes) == 1
        self._opens = (before == delimiter) | (before == _LF)
        self._closes = (after == delimiter) | (after == _LF) | ((after == _CR) & (second == _LF))
        self._twin = twin
        may_open = self._opens | twin[:-1]
        may_close = self._closes | twin[1:]
        even = (np.arange(len(quotes)) & 1) == 0
        self._wrong = tuple(np.flatnonzero(~np.where(even == (parity == 0), may_open, may_close)) for parity in (0, 1))
        self._before = np.searchsorted(quotes, line_ends)  # quotes before each line's end
        odd = (self._before & 1) == 1
        self._closed = (np.flatnonzero(~odd), np.flatnonzero(odd))
        # Single items are read much faster from memory views than from arrays.
        self._views = (line_ends.data, self._before.data, self._opens.data, self._closes.data, twin.data)

    def ends(self) -> Ints:
        """Indices of the lines that end a record, as far as they can be told."""
        found: list[Ints] = []
        line, count = 0, len(self._line_ends)
        while line < count:
            some = self._follow(line)
            if len(some):
                found.append(some)
                line = int(some[-1]) + 1
            walked: list[int] = []
            while line < count and len(walked) < _WALK:
                last = self._walk(line)
                if last is None:
                    break
                walked.append(last)
                line = last + 1
            if walked:
                found.append(np.array(walked, np.int64))
            elif line < count:
                break
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def _follow(self, line: int) -> Ints:
        """Record ends from `line` on while quotes keep to the pattern and records to the limit."""
        first = int(self._before[line - 1]) if line else 0
        parity = first & 1
        wrong = self._wrong[parity]
        at = int(np.searchsorted(wrong, first))
        bound = int(wrong[at]) if at < len(wrong) else len(self._quotes)
        stop_line = int(np.searchsorted(self._before, bound, side="right"))
        closed = self._closed[parity]
        some = closed[int(np.searchsorted(closed, line)) : int(np.searchsorted(closed, stop_line))]
        if not len(some):
            return some
        ends = self._line_ends[some]
        sizes = np.diff(ends, prepend=self._line_ends[line - 1] if line else -1) - 1
        long = np.flatnonzero(sizes > self._limit)  # a CR counts here; the walk decides exactly
        return some[: int(long[0])] if len(long) else some

    def _walk(self, line: int) -> int | None:
        """The line that ends the record starting at `line`; None when the block does not tell."""
        line_ends, before, opens, closes, twin = self._views
        start = line_ends[line - 1] + 1 if line else 0
        k = before[line - 1] if line else 0
        inside = False
        for at in range(line, len(line_ends)):
            line_end = line_ends[at]
            if at > line and line_end - start - 1 > self._limit:
                return line
            stop = before[at]
            while k < stop:
                if not inside:
                    inside = opens[k]
                elif twin[k + 1]:
                    k += 1
                elif closes[k]:
                    inside = False
                else:
                    return line
                k += 1
            if not inside:
                return at if at == line or self._fits(start, line_end) else line
        if self._final or self._end - start > self._limit + 1:
            return line
        return None

    def _fits(self, start: int, line_end: int) -> bool:
        """Whether a record that ends with this line is within the limit, its line end not counted."""
        ends_cr_lf = line_end < self._end and line_end > start and self._block[line_end - 1] == _CR
        return line_end - start - ends_cr_lf <= self._limit
