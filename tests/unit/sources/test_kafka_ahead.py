"""A read that begins before it is asked for gives what any read gives, and is over when nobody wants it."""

from threading import Event

import pyarrow as pa
import pytest

from headgate.errors import SourceUnavailable
from headgate.ports.batch import Batch, Position
from headgate.sources.kafka_ahead import Ahead

MANY = 20


def at(number: int) -> Position:
    return Position({"events/0": str(number)})


class Read:
    """Batches of one row; what has been done with it."""

    def __init__(self, fails_at: int | None = None):
        self.fails_at = fails_at
        self.given = 0
        self.over = Event()

    def batches(self):
        try:
            for number in range(MANY):
                if number == self.fails_at:
                    raise SourceUnavailable("gone")
                self.given = number + 1
                yield Batch(pa.record_batch({"n": pa.array([number])}), at(number), at(number + 1))
        finally:
            self.over.set()


def numbers(batches):
    return [batch.rows.column("n")[0].as_py() for batch in batches]


def settled(ahead: Ahead) -> None:
    ahead._thread.join(30)


def test_all_batches_come_in_their_order_however_many_came_before():
    size = next(Read().batches()).rows.nbytes
    for most in (1, 3 * size, 1 << 20):
        read = Read()
        ahead = Ahead(at(0), read.batches(), most)
        settled(ahead)
        assert read.given == min(max(1, most // size), MANY)
        assert numbers(ahead.batches()) == list(range(MANY))
        assert read.over.is_set()


def test_an_error_is_raised_where_it_came_and_what_came_before_it_is_kept():
    ahead = Ahead(at(0), Read(fails_at=3).batches())
    settled(ahead)
    batches = ahead.batches()
    assert numbers(next(batches) for _ in range(3)) == [0, 1, 2]
    with pytest.raises(SourceUnavailable):
        next(batches)


def test_a_read_that_nobody_asks_for_or_finishes_is_ended():
    forgotten = Read()
    Ahead(at(0), forgotten.batches(), 1).stop()
    assert forgotten.over.is_set()
    left = Read()
    batches = Ahead(at(0), left.batches(), 1).batches()
    next(batches)
    batches.close()
    assert left.over.is_set()
