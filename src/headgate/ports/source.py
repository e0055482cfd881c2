"""What a source must offer: a schema and a read. Everything else is an optional capability."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from headgate.ports.batch import Batch, Position


class Source(Protocol):
    """Where rows come from.

    The module `headgate.sources.<kind>` holds a frozen dataclass `Settings` (units, defaults, secrets marked)
    and `def connect(dataset: Dataset, server: Server, read: Mapping[str, Any]) -> Source`, where the
    server's options and `read` (the project file's settings for this dataset) have every `${VAR}` resolved.
    """

    def schema(self) -> pa.Schema:
        """The Arrow schema of the rows that `read` yields, coordinates included, `_hg_ingested_at` not.

        Raises FixInputError for a missing table, column or right; SourceUnavailable when there is no answer.
        """

    def read(self, after: Position) -> Iterator[Batch]:
        """All rows after the position, then end (a finite source) or empty batches (an idle endless one).

        Raises SourceChanged when `after` belongs to another source, PositionLost when the source no longer
        reaches back to it, SourceUnavailable when it hangs up. Rows yielded before an error stay valid up to the
        last batch with an end.
        """

    def close(self) -> None:
        """Give back connections. Called once, also after an error."""


@runtime_checkable
class Tells(Protocol):
    """A source that can say something about itself for `status` and `doctor`."""

    def tell(self) -> Mapping[str, Any]:
        """JSON-safe facts: `identity`, `lag_rows` or `lag_bytes`, and `limitations` (list of sentences)."""


@runtime_checkable
class Peeks(Protocol):
    """A source that can cheaply say that nothing is new."""

    def idle(self, after: Position) -> bool:
        """True only when a read after this position would certainly yield no rows and no new position."""


@runtime_checkable
class Begins(Protocol):
    """A source that can fetch rows while its caller still gets ready for them."""

    def begin(self, after: Position) -> None:
        """`read(after)` is likely to be asked for in a moment: its first rows may be fetched until then, no more than
        memory should hold. Raises nothing, which is left to that read; another read, or `close`, forgets them.
        """


@runtime_checkable
class Follows(Protocol):
    """A source that can wait for what comes next. Others are asked again and again by a run that goes on."""

    def follow(self, after: Position) -> Iterator[Batch]:
        """Like `read`, but at the end of what there is it waits. While nothing comes it yields an empty batch at
        least every tenth of a second, so that the caller can look at the clock, and stop by closing the iterator.

        It ends by itself only when its share of the partitions changes: the caller then follows again, after the
        position that the table has at that moment.
        """


@dataclass(frozen=True, slots=True)
class FullRead:
    """All that a source held at one moment; `at` is None where the source does not know when that was.

    Only the last of the `batches` has an end, and there is one in any case: a read that does not come to it is none.
    """

    at: datetime | None
    batches: Iterator[Batch]


@runtime_checkable
class ReadsWhole(Protocol):
    """A source that can be read whole each time, for a dataset with `full_reads`. Rows have typed columns."""

    def full_reads(self, after: Position) -> Iterator[FullRead]:
        """The reads that come after the position, oldest first, each to be consumed before the next; none when nothing
        can have changed. Raises what `read` does, and whatever keeps it from coming to an end."""


@runtime_checkable
class Acknowledges(Protocol):
    """A source that likes to know how far the table is, such as a consumer group that others watch. Only a hint."""

    def acknowledge(self, position: Position) -> None:
        """Called after a commit is known to have landed. Raises nothing: the table knows better in any case."""
