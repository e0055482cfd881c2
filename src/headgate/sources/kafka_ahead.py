"""A read that begins before anybody asks for its batches: the first ones are gathered in a thread meanwhile."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from queue import SimpleQueue
from threading import Event, Thread

from headgate.ports.batch import Batch, Position

MOST_BYTES = 96 << 20  # as much as waits in memory while files are written: no more than a read has at once anyway


class Ahead:
    """The batches of a read after `after`; those that come before anybody asks are kept, about `most` bytes of them."""

    def __init__(self, after: Position, read: Generator[Batch], most: int = MOST_BYTES) -> None:
        self.after = after
        self._read, self._most = read, most
        self._kept: SimpleQueue[Batch | None] = SimpleQueue()  # None: no more are
        self._asked = Event()
        self._error: BaseException | None = None
        self._thread = Thread(target=self._gather, name="kafka-ahead", daemon=True)
        self._thread.start()

    def batches(self) -> Iterator[Batch]:
        """All of them, in order. Raises what the read raises, where it does."""
        self._asked.set()
        try:
            while (batch := self._kept.get()) is not None:
                yield batch
            if self._error is not None:
                raise self._error
            yield from self._read
        finally:
            self.stop()

    def stop(self) -> None:
        """End the read, after the batch under way."""
        self._asked.set()
        self._thread.join()
        self._read.close()

    def _gather(self) -> None:
        size = 0
        try:
            while size < self._most and not self._asked.is_set() and (batch := next(self._read, None)) is not None:
                size += batch.rows.nbytes
                self._kept.put(batch)
        except BaseException as error:
            self._error = error
        finally:
            self._kept.put(None)
