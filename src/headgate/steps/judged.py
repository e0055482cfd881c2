"""What a step judged, and whether that is within the error budget."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from headgate.contract.model import Dataset
from headgate.errors import BudgetExceeded
from headgate.ports.engine import QUARANTINED, VERDICTS, Refined, Span

HOLD = "hold"  # silver's fact that keeps gold closed after a run past its error budget


@dataclass(slots=True)
class Judged:
    """What one refine step did to one dataset: the sum over its publications."""

    read: int = 0
    publications: int = 0
    verdicts: dict[str, dict[str, int]] = field(default_factory=dict)  # partition -> verdict -> rows
    replaced: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    warnings: dict[str, int] = field(default_factory=dict)
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)  # partition -> offsets judged

    def total(self, verdict: str) -> int:
        """Rows that got this verdict, over all partitions."""
        return sum(one.get(verdict, 0) for one in self.verdicts.values())

    def copy(self) -> Judged:
        """The same counts, free to change."""
        return deepcopy(self)

    def join(self, other: Judged) -> None:
        """Take in what another step judged before this one."""
        for partition, counts in other.verdicts.items():
            mine = self.verdicts.setdefault(partition, dict.fromkeys(VERDICTS, 0))
            for verdict, rows in counts.items():
                mine[verdict] += rows
        for mine, theirs in ((self.reasons, other.reasons), (self.warnings, other.warnings)):
            for rule, rows in theirs.items():
                mine[rule] = mine.get(rule, 0) + rows
        for partition, (start, stop) in other.spans.items():
            first, last = self.spans.get(partition, (start, stop))
            self.spans[partition] = (min(start, first), max(stop, last))
        self.read += other.read
        self.replaced += other.replaced
        self.publications += other.publications

    def add(self, refined: Refined, spans: Sequence[Span]) -> None:
        """Take in one publication's result."""
        for partition, counts in refined.verdicts.items():
            mine = self.verdicts.setdefault(partition, dict.fromkeys(VERDICTS, 0))
            for verdict, rows in counts.items():
                mine[verdict] = mine.get(verdict, 0) + rows
                self.read += rows
        for mine, theirs in ((self.reasons, refined.reasons), (self.warnings, refined.warnings)):
            for rule, rows in theirs.items():
                mine[rule] = mine.get(rule, 0) + rows
        self.replaced += refined.replaced
        self.publications += 1
        for span in spans:
            start, _ = self.spans.get(span.partition, (span.start, span.stop))
            self.spans[span.partition] = (start, span.stop)


def check_budget(dataset: Dataset, judged: Judged) -> BudgetExceeded | None:
    """The error to raise when a run rejected more rows than the contract allows, or None."""
    rejected = judged.total(QUARANTINED)
    top = sorted(judged.reasons.items(), key=lambda item: -item[1])[:3]
    why = ", ".join(f"{rule} {rows:,}" for rule, rows in top)
    if dataset.error_budget and dataset.error_budget.exceeded(rejected, judged.read):
        return _exceeded(
            dataset, f"{rejected:,} of {judged.read:,} rows were quarantined ({why})", dataset.error_budget
        )
    for rule in dataset.rules:
        failed = judged.reasons.get(rule.id, 0) + judged.warnings.get(rule.id, 0)
        if rule.tolerance and rule.tolerance.exceeded(failed, judged.read):
            return _exceeded(dataset, f"{failed:,} of {judged.read:,} rows break {rule.id}", rule.tolerance)
    return None


def _exceeded(dataset: Dataset, what: str, budget: Any) -> BudgetExceeded:
    limit = f"{Decimal(budget.limit).normalize():f}{' percent' if budget.percent else ' rows'}"
    return BudgetExceeded(
        f"{what}; the contract allows {limit}. Gold was not touched.",
        where=f"silver.{dataset.name}",
        hint=f"headgate quarantine list {dataset.name}; correct the contract or the source, then: headgate quarantine "
        f"replay {dataset.name}; or accept the loss once: headgate run --accept-quarantine",
        stage="refine",
    )


def hold_fact(judged: Judged) -> str:
    """The fact that keeps gold closed until the rejected rows of these spans are dealt with."""
    return json.dumps({"read": judged.read, "spans": judged.spans}, sort_keys=True)
