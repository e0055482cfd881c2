"""What every sink promises, as named behaviours: see `headgate.ports.store.Sink`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

import pyarrow as pa

from headgate.errors import CommitConflict, FixInputError, HeadgateError, StalePosition
from headgate.ports.batch import OFFSET, PARTITION, Batch, Position
from headgate.ports.store import Sink
from headgate.testing.ledger import Tally, tally_batches
from headgate.testing.suite import Killed, Suite, at_every_crash_point, behaviour, demand

STREAM = "conformance"
_COLUMNS: list[pa.Field[Any]] = [
    pa.field(PARTITION, pa.string(), nullable=False),
    pa.field(OFFSET, pa.int64(), nullable=False),
    pa.field("text", pa.string()),
    pa.field("amount", pa.decimal128(20, 6)),
]
SCHEMA = pa.schema(_COLUMNS)


class SinkRig(Protocol):
    """An empty place to write to, made for one behaviour and thrown away. Rows have the columns of `SCHEMA`.

    A store that takes every text offers `holds_nul`; one that does not, `unholdable`: texts that it must refuse.
    """

    def open(self) -> Sink:
        """A fresh handle on the same place, as a new process would have: it remembers nothing."""

    def rows(self, stream: str) -> Iterable[pa.RecordBatch]:
        """All rows that a reader sees there now, read without the sink; none when nothing was written."""


class SinkConformance(Suite):
    """Behaviours of a sink."""

    @behaviour()
    def a_new_stream_stands_at_the_start(self, rig: SinkRig) -> None:
        """Before the first commit the position is empty and there are no rows."""
        demand(rig.open().position(STREAM) == Position.start(), "a stream that was never written has a position")
        _holds(rig, [])

    @behaviour()
    def rows_and_position_move_together(self, rig: SinkRig) -> None:
        """After a commit the rows are there once and the position is the last end."""
        batches = chain(5)
        counted = rig.open().commit(STREAM, iter(batches))
        demand(counted == _rows(batches), f"commit told {counted} rows of {_rows(batches)}")
        _holds(rig, batches)

    @behaviour()
    def the_position_is_found_by_a_fresh_handle(self, rig: SinkRig) -> None:
        """What one process wrote, the next continues."""
        batches = chain(6)
        for batch in batches:
            rig.open().commit(STREAM, [batch])
        _holds(rig, batches)

    @behaviour()
    def one_handle_commits_again_and_again(self, rig: SinkRig) -> None:
        """A handle goes on from its own commits."""
        sink, batches = rig.open(), chain(4)
        for batch in batches:
            sink.commit(STREAM, [batch])
            demand(sink.position(STREAM) == batch.end, "the handle does not see its own commit")
        _holds(rig, batches)

    @behaviour()
    def a_commit_from_an_older_position_is_refused(self, rig: SinkRig) -> None:
        """Rows that continue a position which the stream has left raise StalePosition and add nothing."""
        batches = chain(4)
        rig.open().commit(STREAM, batches[:3])
        _refused(rig, batches[1:])
        _holds(rig, batches[:3])

    @behaviour()
    def a_commit_from_a_later_position_is_refused(self, rig: SinkRig) -> None:
        """A gap is refused like a repetition: rows between the two positions would be lost."""
        batches = chain(5)
        rig.open().commit(STREAM, batches[:2])
        _refused(rig, batches[3:])
        _holds(rig, batches[:2])

    @behaviour()
    def the_same_batches_again_are_refused(self, rig: SinkRig) -> None:
        """Sending a commit again after its answer was lost adds no rows: StalePosition."""
        batches = chain(3)
        rig.open().commit(STREAM, batches)
        for _ in range(2):
            _refused(rig, batches)
        _holds(rig, batches)

    @behaviour()
    def rows_already_there_do_not_make_a_start(self, rig: SinkRig) -> None:
        """An empty start is refused too when the stream has moved: a lost position is not a new beginning."""
        batches = chain(2)
        rig.open().commit(STREAM, batches)
        again = chain(2, first=1000)
        _refused(rig, again)
        _holds(rig, batches)

    @behaviour()
    def an_iterator_that_raises_leaves_nothing(self, rig: SinkRig) -> None:
        """When reading fails midway, the error comes through and no row and no position of the commit is seen."""
        batches = chain(6)
        rig.open().commit(STREAM, batches[:2])
        for cut in range(2, 6):
            demand(_dies(partial(rig.open().commit, STREAM, _raising(batches[2:cut]))), "the error was swallowed")
            _holds(rig, batches[:2])
        rig.open().commit(STREAM, batches[2:])
        _holds(rig, batches)

    @behaviour()
    def the_first_commit_that_raises_leaves_nothing(self, rig: SinkRig) -> None:
        """The same when nothing was there before: no half-made table is in the way of the next try."""
        batches = chain(3)
        demand(_dies(lambda: rig.open().commit(STREAM, _raising(batches[:2]))), "the error was swallowed")
        _holds(rig, [])
        rig.open().commit(STREAM, batches)
        _holds(rig, batches)

    @behaviour()
    def rows_after_the_last_end_are_not_kept(self, rig: SinkRig) -> None:
        """Rows whose position is not known yet are not committed: refused, or left out."""
        batches = chain(3)
        tail = Batch(chain(1, first=900)[0].rows, batches[-1].end or Position.start(), None)
        with suppress(HeadgateError):
            rig.open().commit(STREAM, [*batches, tail])
        if rig.open().position(STREAM) == Position.start():
            _holds(rig, [])
        else:
            _holds(rig, batches)

    @behaviour()
    def batches_without_an_end_belong_to_the_next_end(self, rig: SinkRig) -> None:
        """Several batches may share one end: all their rows come with it."""
        batches = chain(4)
        open_ended = [Batch(b.rows, batches[0].start, None) for b in batches[:3]]
        last = Batch(batches[3].rows, batches[0].start, batches[3].end)
        rig.open().commit(STREAM, [*open_ended, last])
        _holds(rig, batches)

    @behaviour()
    def an_empty_batch_moves_the_position(self, rig: SinkRig) -> None:
        """A position may move without rows (a source may know that it has looked); the rows stay."""
        batches = chain(3)
        rig.open().commit(STREAM, batches[:2])
        moved = Batch(batches[2].rows.slice(0, 0), batches[2].start, batches[2].end)
        rig.open().commit(STREAM, [moved])
        at = rig.open().position(STREAM)
        demand(at == moved.end, f"the position is {at} after a commit without rows")
        _contains(rig, batches[:2])
        _refused(rig, [batches[2]])

    @behaviour()
    def no_batches_change_nothing(self, rig: SinkRig) -> None:
        """A commit of an empty iterable is a no-op."""
        rig.open().commit(STREAM, [])
        _holds(rig, [])
        batches = chain(2)
        rig.open().commit(STREAM, batches)
        rig.open().commit(STREAM, [])
        _holds(rig, batches)

    @behaviour()
    def of_two_committers_one_wins(self, rig: SinkRig) -> None:
        """Two processes hold the same position; the second to commit gets StalePosition and adds nothing."""
        batches = chain(4)
        rig.open().commit(STREAM, batches[:2])
        first, second = rig.open(), rig.open()
        demand(first.position(STREAM) == second.position(STREAM), "two handles see two positions")
        first.commit(STREAM, batches[2:])
        demand(_stale(lambda: second.commit(STREAM, batches[2:])), "the second commit was accepted")
        _holds(rig, batches)

    @behaviour()
    def a_committer_overtaken_while_writing_is_refused(self, rig: SinkRig) -> None:
        """A zombie whose rows are half written when another commits them adds nothing when it wakes up."""
        batches = chain(4)
        rig.open().commit(STREAM, batches[:1])

        def overtaken() -> Iterator[Batch]:
            yield batches[1]
            rig.open().commit(STREAM, batches[1:])
            yield from batches[2:]

        demand(_stale(lambda: rig.open().commit(STREAM, overtaken())), "the overtaken commit was accepted")
        _holds(rig, batches)

    @behaviour()
    def of_many_committers_at_once_one_wins(self, rig: SinkRig) -> None:
        """Four threads commit the same rows at the same moment: they stand there once."""
        batches = chain(3)
        rig.open().commit(STREAM, batches[:1])
        gate, won, errors = threading.Barrier(4), [], []

        def race(sink: Sink) -> None:
            gate.wait()
            try:
                sink.commit(STREAM, batches[1:])
                won.append(True)
            except (StalePosition, CommitConflict):
                pass
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=race, args=(rig.open(),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        demand(not errors, f"a loser must get StalePosition or CommitConflict, not {errors[:1]!r}")
        demand(len(won) == 1, f"{len(won)} of four committers believe that they won")
        _holds(rig, batches)

    @behaviour()
    def partitions_move_independently(self, rig: SinkRig) -> None:
        """Workers may share a stream: a commit is compared only on the partitions that its batches name."""
        left, right = chain(3, partition="left"), chain(3, partition="right", first=500)
        one, two = rig.open(), rig.open()
        one.commit(STREAM, left[:2])
        _committed(two, right[:2])
        _committed(one, left[2:])
        _committed(rig.open(), right[2:])
        whole = rig.open().position(STREAM)
        demand(
            whole == (left[-1].end or whole).advanced(right[-1].end or whole), f"the two partitions stand at {whole}"
        )
        _contains(rig, left + right)
        _refused(rig, right[1:])

    @behaviour()
    def streams_do_not_mix(self, rig: SinkRig) -> None:
        """Two streams of one store have rows and positions of their own."""
        batches = chain(3)
        rig.open().commit(STREAM, batches[:1])
        rig.open().commit("other", batches[:2])
        demand(rig.open().position("other") == batches[1].end, "the other stream's position is wrong")
        _holds(rig, batches[:1])

    @behaviour()
    def death_at_any_point_of_a_commit_leaves_all_or_nothing(self, rig: SinkRig) -> None:
        """Killed at each crash point in turn: rows and position are both there or both not, and going on from
        the position found gives every row once.
        """
        batches = chain(60)
        done = 0

        def attempt() -> None:
            rig.open().commit(STREAM, batches[done : done + 2])

        def recover() -> None:
            nonlocal done
            done += 0 if rig.open().position(STREAM) == _end(batches[:done]) else 2

        for name in at_every_crash_point(attempt, lambda: None):
            at = rig.open().position(STREAM)
            demand(at in (_end(batches[:done]), _end(batches[: done + 2])), f"killed at {name}: position {at}")
            recover()
            _holds(rig, batches[:done], f"killed at {name}")
        _holds(rig, batches[: done + 2])

    @behaviour()
    def values_come_back_as_they_went_in(self, rig: SinkRig) -> None:
        """Text of every kind and exact decimals are stored unchanged, NULL stays NULL and "" stays ""."""
        texts: list[str | None] = [
            "",
            None,
            "é\n\r\t",
            "'; DROP TABLE x; --",
            "\\N",
            "NULL",
            "\U0001d54f" * 3000,
            " a ",
            "\ufeff",
        ]
        batch = _of_texts(texts)
        rig.open().commit(STREAM, [batch])
        _holds(rig, [batch])

    @behaviour("holds_nul")
    def a_nul_character_comes_back(self, rig: SinkRig) -> None:
        """A text with a NUL character is a text like others."""
        batch = _of_texts(["\0", "a\0b", "é\u0000\n\r\t"])
        rig.open().commit(STREAM, [batch])
        _holds(rig, [batch])

    @behaviour("unholdable")
    def a_text_that_cannot_be_held_is_refused(self, rig: SinkRig) -> None:
        """What the store has no way to hold is an error with a hint, not another value, and nothing of it stays."""
        batches = chain(2)
        rig.open().commit(STREAM, batches[:1])
        for text in rig.unholdable():  # type: ignore[attr-defined]
            odd = _of_texts(["fine", text], batches[0].end or Position.start())
            try:
                rig.open().commit(STREAM, [odd])
            except FixInputError as error:
                demand(bool(error.hint), f"no hint: {error}")
            else:
                demand(False, f"{text!r} was accepted")
            _holds(rig, batches[:1])
        rig.open().commit(STREAM, batches[1:])
        _holds(rig, batches)


# --- material


def chain(length: int, *, partition: str = "p", first: int = 0, rows: int = 7) -> list[Batch]:
    """Batches that continue one another, with distinct rows; the first starts at the empty position."""
    batches = []
    start = Position.start()
    for index in range(length):
        offsets = range(first + index * rows, first + (index + 1) * rows)
        record = pa.RecordBatch.from_pylist(
            [{PARTITION: partition, OFFSET: n, "text": f"row {n}", "amount": None} for n in offsets], schema=SCHEMA
        )
        end = Position({partition: f'{{"next":{offsets.stop}}}'})
        batches.append(Batch(record, start, end))
        start = end
    return batches


def _of_texts(texts: Sequence[str | None], start: Position | None = None) -> Batch:
    rows = pa.RecordBatch.from_pylist(
        [{PARTITION: "p", OFFSET: 10_000 + n, "text": text, "amount": None} for n, text in enumerate(texts)],
        schema=SCHEMA,
    )
    return Batch(rows, start or Position.start(), Position({"p": "after the texts"}))


def _raising(batches: Sequence[Batch]) -> Iterator[Batch]:
    yield from batches
    raise ConnectionResetError("the source hung up")


def _dies(commit: Callable[[], object]) -> bool:
    try:
        commit()
    except (Exception, Killed):
        return True
    return False


def _stale(commit: Callable[[], object]) -> bool:
    try:
        commit()
    except (StalePosition, CommitConflict):
        return True
    return False


def _refused(rig: SinkRig, batches: Sequence[Batch]) -> None:
    try:
        rig.open().commit(STREAM, batches)
    except StalePosition:
        return
    demand(False, f"a commit that starts at {batches[0].start} was accepted")


def _committed(sink: Sink, batches: Sequence[Batch]) -> None:
    """Commit; when somebody was faster elsewhere (nothing landed), once more."""
    try:
        sink.commit(STREAM, batches)
    except CommitConflict:
        sink.commit(STREAM, batches)


# --- judging


def _rows(batches: Sequence[Batch]) -> int:
    return sum(batch.rows.num_rows for batch in batches)


def _end(batches: Sequence[Batch]) -> Position:
    return next((batch.end for batch in reversed(batches) if batch.end is not None), Position.start())


def _tally(batches: Iterable[pa.RecordBatch]) -> Tally:
    return tally_batches(batches, SCHEMA.names)


def _contains(rig: SinkRig, batches: Sequence[Batch], when: str = "") -> None:
    got, want = _tally(rig.rows(STREAM)), _tally(batch.rows for batch in batches)
    demand(got == want, f"{when + ': ' if when else ''}the sink holds {got}; committed were {want}")


def _holds(rig: SinkRig, batches: Sequence[Batch], when: str = "") -> None:
    """The sink holds exactly these rows, and stands at their last end."""
    _contains(rig, batches, when)
    at = rig.open().position(STREAM)
    demand(at == _end(batches), f"{when + ': ' if when else ''}the position is {at}; the last end is {_end(batches)}")
