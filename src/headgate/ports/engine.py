"""What an engine must do: judge bronze rows, build models, answer queries. Files in, files out: rows never pass
through the caller, so a cluster can do the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from headgate.contract.model import Dataset
from headgate.ports.store import FileInfo, TableView

ACCEPTED = "accepted"
DUPLICATE = "duplicate"
SUPERSEDED = "superseded"
QUARANTINED = "quarantined"
DROPPED = "dropped"
DELETED = "deleted"  # of the row that deletes its key
VERDICTS = (ACCEPTED, DUPLICATE, SUPERSEDED, QUARANTINED, DROPPED, DELETED)


@dataclass(frozen=True, slots=True)
class Span:
    """Bronze rows of one partition with `start` <= offset < `stop`."""

    partition: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Output:
    """Where new files of a table go and how they must look. `keys_of` is the dataset whose silver rows they hold, for
    an engine that remembers keys; empty for other tables."""

    folder: str
    schema: pa.Schema  # of the whole file, in the table's order
    field_ids: Mapping[str, Any]
    partition: tuple[tuple[str, str], ...] = ()
    sort: tuple[str, ...] = ()
    keys_of: str = ""


@dataclass(frozen=True, slots=True)
class RefineJob:
    """Judge the rows of `spans` that stand in the `bronze` files.

    `silver` are the files of the present silver table, `ledger` those of the ledger table, both needed to
    compare with history. `only`, when given, restricts to these coordinates (a replay): an Arrow table with
    `_hg_partition` and `_hg_offset`; `spans` then bound them. `beside` says that other work of this process keeps the
    other cores busy.
    """

    dataset: Dataset
    bronze: Sequence[FileInfo]
    bronze_schema: pa.Schema
    spans: Sequence[Span]
    silver: Sequence[FileInfo]
    ledger: Sequence[FileInfo]
    outputs: Mapping[str, Output]  # silver, quarantine, ledger
    run_id: str
    judged_at_us: int  # microseconds since 1970 UTC
    only: pa.Table | None = None
    replay: bool = False
    beside: bool = False


@dataclass(slots=True)
class Refined:
    """What a refine job wrote and found.

    `added` and `removed` name files per table (silver, quarantine, ledger); `verdicts` counts the job's bronze
    rows: partition -> verdict -> rows; `replaced` counts rows that silver held before and that this job
    superseded; `reasons` rule id -> failing rows; `warnings` rule id -> rows; `checksum` is the change of the sum
    of silver's row hashes, `silver_rows` the change of its row count.
    """

    added: dict[str, list[str]] = field(default_factory=dict)
    removed: dict[str, list[str]] = field(default_factory=dict)
    verdicts: dict[str, dict[str, int]] = field(default_factory=dict)
    replaced: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    warnings: dict[str, int] = field(default_factory=dict)
    checksum: int = 0
    silver_rows: int = 0


class Engine(Protocol):
    """Computes; never commits."""

    def refine(self, job: RefineJob) -> Refined:
        """Decode, type, standardise, check and de-duplicate; write silver, quarantine and ledger files."""

    def derive(self, sql: str, tables: Mapping[str, TableView], output: Output) -> Sequence[str]:
        """Run one model over the tables (`layer.table` -> view) and write its rows as files of the output."""

    def describe(self, sql: str, tables: Mapping[str, TableView]) -> pa.Schema:
        """The columns that a query gives, without running it. FixInputError with the place of a mistake."""

    def query(self, sql: str, tables: Mapping[str, TableView]) -> pa.RecordBatchReader:
        """Answer a read-only query over the tables."""

    def references(self, sql: str) -> Sequence[str]:
        """Tables that a query reads, as written (`silver.transactions`, `daily_revenue`), sorted."""

    def close(self) -> None:
        """Stop workers and give back memory."""


@runtime_checkable
class Prepares(Protocol):
    """An engine that can get ready for a job while its rows still come, or are still looked for."""

    def prepare(self, *, many: bool = True) -> None:
        """A job is likely to come, of `many` raw rows or of few: begin what it needs, beside the caller. May be called
        again."""


@runtime_checkable
class Rewrites(Protocol):
    """An engine that can write the same rows into fewer files."""

    def rewrite(
        self, groups: Sequence[Sequence[FileInfo]], output: Output, *, beside: bool = False
    ) -> Sequence[Sequence[str]]:
        """New files for each group of files of one partition value: the same rows, in runs sorted by `output.sort`,
        in the table's present columns. Memory is bounded whatever a group's size; `beside` other work of this process
        one group is written at a time."""
