"""A sink in memory that keeps every promise, and wrong ones that each break a promise as real ones did."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field

import pyarrow as pa

from headgate import crash
from headgate.errors import StalePosition
from headgate.ports.batch import Position


@dataclass
class Place:
    """What outlives a process: per stream, rows and position."""

    rows: dict[str, list[pa.RecordBatch]] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class MemorySink:
    """Compare-and-swap of rows and position under one lock."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def position(self, stream):
        return self.place.positions.get(stream, Position.start())

    def commit(self, stream, batches):
        start, end, rows = self.collect(batches)
        if end is None:
            return 0
        with self.place.lock:
            self.check(stream, start, end)
            crash.point("before the swap")
            self.swap(stream, rows, end)
            crash.point("after the swap")
        return sum(batch.num_rows for batch in rows)

    def close(self):
        pass

    def collect(self, batches):
        start = end = None
        rows, waiting = [], []
        for batch in batches:
            start = batch.start if start is None else start
            waiting.append(batch.rows)
            if batch.end is not None:
                rows += waiting
                waiting = []
                end = batch.end
        return start, end, rows

    def check(self, stream, start, end):
        now = self.position(stream)
        if any(now.tokens.get(name) != start.tokens.get(name) for name in end.tokens):
            raise StalePosition("the stream has moved")

    def swap(self, stream, rows, end):
        self.place.rows[stream] = self.place.rows.get(stream, []) + rows
        self.place.positions[stream] = self.position(stream).advanced(end)


class MemorySinkRig:
    sink: type[MemorySink] = MemorySink
    holds_nul = True
    cannot = {"unholdable": "every text can be held"}

    def __init__(self) -> None:
        self.place = Place()

    def open(self):
        return self.sink(self.place)

    def rows(self, stream):
        return self.place.rows.get(stream, [])


@contextmanager
def rig_for(sink: type[MemorySink]):
    rig = MemorySinkRig()
    rig.sink = sink
    yield rig


# --- wrong ones


class TwoWrites(MemorySink):
    """Rows first, then the position, in a second write: death between them doubles the rows."""

    def swap(self, stream, rows, end):
        self.place.rows[stream] = self.place.rows.get(stream, []) + rows
        crash.point("between rows and position")
        self.place.positions[stream] = self.position(stream).advanced(end)


class OffsetBeforeCommit(MemorySink):
    """The position first: death between the two writes loses the rows."""

    def swap(self, stream, rows, end):
        self.place.positions[stream] = self.position(stream).advanced(end)
        crash.point("between position and rows")
        self.place.rows[stream] = self.place.rows.get(stream, []) + rows


class NoFence(MemorySink):
    """Does not compare the start with where the stream stands."""

    def check(self, stream, start, end):
        pass


class RetryWithoutCheck(MemorySink):
    """A refused commit is sent again on the newest state, without a look at the position."""

    def commit(self, stream, batches):
        batches = list(batches)
        try:
            return super().commit(stream, batches)
        except StalePosition:
            return NoFence(self.place).commit(stream, batches)


class CheckThenWrite(MemorySink):
    """Compares at the beginning, and writes later without a second look."""

    def commit(self, stream, batches):
        before = self.position(stream)
        start, end, rows = self.collect(batches)
        if end is None:
            return 0
        if any(before.tokens.get(name) != start.tokens.get(name) for name in end.tokens):
            raise StalePosition("the stream has moved")
        with self.place.lock:
            crash.point("before the swap")
            self.swap(stream, rows, end)
        return sum(batch.num_rows for batch in rows)


class PartialOnError(MemorySink):
    """Keeps the rows that came before the iterator failed."""

    def collect(self, batches):
        taken = []
        try:
            for batch in batches:
                taken.append(batch)  # noqa: PERF402 (keeps what came before the error)
        except ConnectionResetError:
            super().commit("conformance", taken)
            raise
        return super().collect(taken)


class SwallowedError(MemorySink):
    """Takes an iterator that failed for one that ended."""

    def collect(self, batches):
        taken = []
        try:
            for batch in batches:
                taken.append(batch)  # noqa: PERF402 (keeps what came before the error)
        except ConnectionResetError:
            pass
        return super().collect(taken)


class PositionInTheHandle(MemorySink):
    """Remembers the position in the process only."""

    def __init__(self, place):
        super().__init__(place)
        self.mine = {}

    def position(self, stream):
        return self.mine.get(stream, Position.start())

    def swap(self, stream, rows, end):
        self.place.rows[stream] = self.place.rows.get(stream, []) + rows
        self.mine[stream] = self.position(stream).advanced(end)


class OlderOffsetWins(MemorySink):
    """Refuses a position ahead of its own, but takes an older one: rows come twice and the position goes back."""

    def check(self, stream, start, end):
        def offset(position):
            return [int("".join(c for c in text if c.isdigit()) or 0) for text in position.tokens.values()] or [0]

        if max(offset(start)) > max(offset(self.position(stream))):
            raise StalePosition("ahead")


class TailKept(MemorySink):
    """Keeps rows that have no end yet."""

    def collect(self, batches):
        batches = list(batches)
        start, end, _ = super().collect(batches)
        return start, end, [batch.rows for batch in batches]


class OnePositionForAll(MemorySink):
    """Compares and replaces the whole position, so workers on other partitions are forgotten."""

    def swap(self, stream, rows, end):
        super().swap(stream, rows, end)
        self.place.positions[stream] = end


class DropsEqualRows(MemorySink):
    """De-duplicates by content of the first column."""

    def swap(self, stream, rows, end):
        seen = self.place.rows.get(stream, [])
        super().swap(stream, [row for row in rows if not any(row.column(0).equals(one.column(0)) for one in seen)], end)


class EmptyTextIsNull(MemorySink):
    """Stores "" as NULL."""

    def swap(self, stream, rows, end):
        changed = []
        for row in rows:
            text = pa.array([value or None for value in row.column("text").to_pylist()], pa.string())
            changed.append(row.set_column(2, "text", text))
        super().swap(stream, changed, end)


WRONG = {
    TwoWrites: "death_at_any_point_of_a_commit_leaves_all_or_nothing",
    OffsetBeforeCommit: "death_at_any_point_of_a_commit_leaves_all_or_nothing",
    NoFence: "a_commit_from_an_older_position_is_refused",
    RetryWithoutCheck: "the_same_batches_again_are_refused",
    CheckThenWrite: "a_committer_overtaken_while_writing_is_refused",
    PartialOnError: "an_iterator_that_raises_leaves_nothing",
    SwallowedError: "an_iterator_that_raises_leaves_nothing",
    PositionInTheHandle: "the_position_is_found_by_a_fresh_handle",
    OlderOffsetWins: "a_commit_from_an_older_position_is_refused",
    TailKept: "rows_after_the_last_end_are_not_kept",
    OnePositionForAll: "partitions_move_independently",
    DropsEqualRows: "one_handle_commits_again_and_again",
    EmptyTextIsNull: "values_come_back_as_they_went_in",
}
