"""A window for duplicates: what is older than it is neither looked for nor let in unseen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from headgate.contract.model import Rule
from headgate.contract.to_sql import literal, quote
from headgate.ports.engine import RefineJob
from headgate.ports.store import FileInfo

LATE = "headgate.late"  # the rule that a row breaks which is older than the window


@dataclass(frozen=True, slots=True)
class Cutoff:
    """Rows of silver count whose `field` is not before `value`."""

    field: str
    value: Any

    def may_hold(self, info: FileInfo) -> bool:
        """Whether a file can hold rows that count."""
        newest = info.upper.get(self.field)
        return newest is None or bool(newest >= self.value)


def limit(job: RefineJob) -> tuple[RefineJob, Cutoff | None]:
    """The job, in which rows older than the window break a rule; and where the window begins. It reaches back from
    the newest row of silver as the job found it; a job that finds none has no window."""
    window = job.dataset.window
    newest = [info.upper[window.field] for info in job.silver if window.field in info.upper] if window else []
    if window is None or not newest:
        return job, None
    span = timedelta(seconds=window.seconds)
    first = max(newest)
    cutoff = first - (timedelta(days=-(-window.seconds // 86_400)) if type(first) is date else span)
    rule = Rule(LATE, "sql", window.field, f"{quote(window.field)} >= {literal(cutoff)}")
    limited = replace(job.dataset, rules=(*job.dataset.rules, rule))
    return replace(job, dataset=limited), Cutoff(window.field, cutoff)
