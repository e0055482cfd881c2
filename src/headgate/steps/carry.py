"""Carry: a source's new rows into a sink as they came, with the position in the same commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import monotonic

import pyarrow as pa

from headgate import crash
from headgate.contract.model import Dataset
from headgate.contract.to_arrow import arrow_type
from headgate.ports.batch import RAW, Batch, Position
from headgate.ports.source import Acknowledges, Follows, Source
from headgate.ports.store import Sink
from headgate.steps.land import Pace

PACE = Pace(rows=250_000, size_bytes=128 << 20)


@dataclass(slots=True)
class Carried:
    """What one carry did."""

    rows: int = 0
    commits: int = 0
    end: Position = field(default_factory=Position.start)


def carry(
    source: Source, sink: Sink, stream: str, *, pace: Pace = PACE, stop: Callable[[], bool] | None = None
) -> Carried:
    """Everything new in the source, in groups; each group's rows and end position are one commit of the sink.

    With `stop`, a source that follows is read on until `stop()` says so; what has come by then is committed.
    Raises what the source and the sink raise; committed groups stay.
    """
    done = Carried(end=sink.position(stream))
    while True:
        follows = stop is not None and isinstance(source, Follows)
        going = source.follow(done.end) if follows and isinstance(source, Follows) else source.read(done.end)
        batches = _Batches(going, done.end, pace, stop if follows else None)
        while batches.more():
            done.rows += sink.commit(stream, batches.group())
            done.commits += 1
            done.end = batches.at
            crash.point("carry: committed")
            if isinstance(source, Acknowledges):
                source.acknowledge(done.end)
        if stop is None or not follows or stop():
            return done


class _Batches:
    """A source's batches, cut into groups; those that change nothing are passed over."""

    def __init__(
        self, batches: Iterator[Batch], at: Position, pace: Pace, stop: Callable[[], bool] | None = None
    ) -> None:
        self._batches, self._pace, self._stop = batches, pace, stop
        self._next: Batch | None = None
        self.at = at

    def more(self, due: float | None = None) -> bool:
        """Whether rows, or a new position, are still to come; at `due` no more is waited for."""
        while self._next is None:
            if (self._stop is not None and self._stop()) or (due is not None and monotonic() >= due):
                return False
            batch = next(self._batches, None)
            if batch is None:
                return False
            if batch.rows.num_rows or (batch.end is not None and self.at.advanced(batch.end) != self.at):
                self._next = batch
        return True

    def group(self) -> Iterator[Batch]:
        """Batches up to the first end after enough rows, bytes or seconds."""
        rows = size = 0
        due = monotonic() + self._pace.seconds
        while self.more(due) and (batch := self._next) is not None:
            self._next = None
            rows += batch.rows.num_rows
            size += batch.rows.nbytes
            yield batch
            if batch.end is not None:
                self.at = self.at.advanced(batch.end)
                if rows >= self._pace.rows or size >= self._pace.size_bytes:
                    return


def key_columns(dataset: Dataset, schema: pa.Schema) -> tuple[str, ...] | None:
    """Columns of the source that are equal whenever the dataset's keys are: rows may go separate ways by them.

    None when there are none such, because the key is first made from what came (text that is parsed, a transform, a
    standardisation): then only one way keeps the rows of a key in order. Empty when the order means nothing.
    """
    if not dataset.key:
        return ()
    columns = []
    for name in dataset.key:
        one = dataset.field(name)
        plain = one.transform is None and not one.standardise and one.source_name in schema.names
        if RAW in schema.names or not plain or schema.field(one.source_name).type != arrow_type(one.type):
            return None
        columns.append(one.source_name)
    return tuple(columns)
