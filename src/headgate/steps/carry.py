"""Carry: a source's new rows into a sink as they came, with the position in the same commit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from headgate import crash
from headgate.contract.model import Dataset
from headgate.contract.to_arrow import arrow_type
from headgate.ports.batch import RAW, Batch, Position
from headgate.ports.source import Source
from headgate.ports.store import Sink

COMMIT_ROWS = 250_000
COMMIT_BYTES = 128 << 20


@dataclass(slots=True)
class Carried:
    """What one carry did."""

    rows: int = 0
    commits: int = 0
    end: Position = field(default_factory=Position.start)


def carry(source: Source, sink: Sink, stream: str) -> Carried:
    """Everything new in the source, in groups; each group's rows and end position are one commit of the sink.

    Raises what the source and the sink raise; committed groups stay.
    """
    done = Carried(end=sink.position(stream))
    batches = _Batches(source.read(done.end), done.end)
    while batches.more():
        done.rows += sink.commit(stream, batches.group())
        done.commits += 1
        done.end = batches.at
        crash.point("carry: committed")
    return done


class _Batches:
    """A source's batches, cut into groups; those that change nothing are passed over."""

    def __init__(self, batches: Iterator[Batch], at: Position) -> None:
        self._batches = batches
        self._next: Batch | None = None
        self.at = at

    def more(self) -> bool:
        """Whether rows, or a new position, are still to come."""
        while self._next is None:
            batch = next(self._batches, None)
            if batch is None:
                return False
            if batch.rows.num_rows or (batch.end is not None and self.at.advanced(batch.end) != self.at):
                self._next = batch
        return True

    def group(self) -> Iterator[Batch]:
        """Batches up to the first end after enough rows or bytes."""
        rows = size = 0
        while self.more() and (batch := self._next) is not None:
            self._next = None
            rows += batch.rows.num_rows
            size += batch.rows.nbytes
            yield batch
            if batch.end is not None:
                self.at = self.at.advanced(batch.end)
                if rows >= COMMIT_ROWS or size >= COMMIT_BYTES:
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
