"""Which bronze rows are judged next: all that wait, or as many of the oldest commits as one publication takes.

A portion that ends where a commit of bronze ended reads each of its files once. One that ends within a file has it
decoded again for the rest, and that of several workers' files at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headgate.contract.model import Dataset
from headgate.ports.engine import Span
from headgate.ports.store import Cut, TellsCommits
from headgate.steps.land import bronze_name, offset_fact

SLACK = 2  # times the rows that are wanted: a micro-batch ends a batch of its source later than it was told to


@dataclass(frozen=True, slots=True)
class Portion:
    """Rows to judge. `last_commit` is the sequence of the bronze commit that they end with, None when they do not end
    with one, or end with all that there is (`all_there_is`)."""

    spans: Sequence[Span]
    last_commit: int | None = None
    all_there_is: bool = False


def stream_of(dataset: Dataset) -> str:
    """The stream whose position silver keeps: bronze's offsets."""
    return bronze_name(dataset)


def pending(dataset: Dataset, cut: Cut) -> list[Span]:
    """Bronze rows that have no verdict yet, per partition."""
    bronze = cut.table(bronze_name(dataset))
    if bronze is None:
        return []
    silver = cut.table(f"silver.{dataset.name}")
    judged = silver.position(stream_of(dataset)).tokens if silver else {}
    spans = []
    for partition in sorted(bronze.position(dataset.name).tokens):
        start, stop = int(judged.get(partition, 0)), int(bronze.facts(offset_fact(partition)) or 0)
        if stop > start:
            spans.append(Span(partition, start, stop))
    return spans


def next_portion(dataset: Dataset, cut: Cut, most_rows: int) -> Portion | None:
    """About `most_rows` of the rows that wait, the oldest first; None when none do."""
    spans = pending(dataset, cut)
    if not spans:
        return None
    if _rows(spans) <= most_rows:
        return Portion(spans, all_there_is=True)
    bronze: Any = cut.table(bronze_name(dataset))
    if isinstance(bronze, TellsCommits) and (found := _of_commits(spans, bronze.commits(), most_rows)) is not None:
        return found
    each = max(1, most_rows // len(spans))
    return Portion([Span(s.partition, s.start, min(s.stop, s.start + each)) for s in spans])


def _of_commits(
    spans: Sequence[Span], commits: Iterator[tuple[int, Mapping[str, str]]], most_rows: int
) -> Portion | None:
    """Up to the newest commit that is not too far; `commits` come newest first. None when even the first one is."""
    found = None
    for sequence, facts in commits:
        ends = ((s, min(s.stop, int(facts.get(offset_fact(s.partition)) or 0))) for s in spans)
        until = [Span(s.partition, s.start, stop) for s, stop in ends if stop > s.start]
        rows = _rows(until)
        if rows == 0:
            break
        if rows <= SLACK * most_rows:
            found = Portion(until, sequence)
        if rows <= most_rows:
            break
    return found


def _rows(spans: Sequence[Span]) -> int:
    return sum(s.stop - s.start for s in spans)
