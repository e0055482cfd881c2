"""What the stages of a run that goes on know of each other: how far each dataset is, and who waits for whom."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Condition
from typing import TYPE_CHECKING

from headgate.contract.model import Dataset
from headgate.runtime.observe import Meter
from headgate.runtime.record import DatasetRecord
from headgate.runtime.settings import ContinuousSettings

if TYPE_CHECKING:
    from headgate.steps.judged import Judged
    from headgate.steps.land import Landed


@dataclass(slots=True)
class _Landing:
    """One landed micro-batch that silver does not show yet: where it ends, and when its rows came."""

    offsets: dict[str, int]
    rows: int
    came: list[tuple[float, int]]  # Unix time, rows


@dataclass(slots=True)
class Flow:
    """One dataset under way. Its methods are called with `changed` held where they say so."""

    dataset: Dataset
    record: DatasetRecord
    settings: ContinuousSettings
    meter: Meter
    changed: Condition
    landing: bool = False  # somebody of this process lands it
    judging: bool = False
    waiting_rows: int = 0  # landed by this process, not judged
    moved: int = 0  # publications of silver
    held: bool = False
    land_s: float = 0.0  # what the last micro-batch took to be published, and to be judged
    judge_s: float = 0.0
    _landings: deque[_Landing] = field(default_factory=deque)
    _gone: int = 0
    _reached: dict[str, int] = field(default_factory=dict)  # partition -> the offset that silver is at
    _window: deque[tuple[float, Judged]] = field(default_factory=deque)

    @property
    def full(self) -> bool:
        """Whether bronze is so far ahead of silver that landing waits."""
        return self.judging and (
            self.waiting_rows >= self.settings.ahead_batches * self.settings.batch_rows
            or len(self._landings) >= 8 * self.settings.ahead_batches
        )

    @property
    def gather_s(self) -> float:
        """How long a micro-batch gathers: as long as one takes to pass, between half of `batch_ms` and all of it.

        More of them would cost the processor more than half of its time; fewer would only make rows wait.
        """
        most = self.settings.batch_ms / 1000
        return min(max(self.land_s + self.judge_s, most / 2), most)

    def landed(self, group: Landed, came: list[tuple[float, int]]) -> None:
        """Take in one landed micro-batch and wake who waits for it."""
        name = self.dataset.name
        record = self.record
        if not record.start:
            record.start = dict(group.start.tokens)
        record.landed_rows += group.rows
        record.landed_bytes += group.size_bytes
        record.end = dict(group.end.tokens)
        self.meter.add("headgate_landed_rows_total", group.rows, dataset=name)
        self.meter.add("headgate_landed_bytes_total", group.size_bytes, dataset=name)
        self.meter.add("headgate_publications_total", dataset=name, step="land")
        with self.changed:
            self.waiting_rows += group.rows
            self._landings.append(_Landing(group.offsets, group.rows, came))
            self.meter.set("headgate_waiting_rows", self.waiting_rows, dataset=name)
            self.changed.notify_all()

    @property
    def mark(self) -> int:
        """How many micro-batches this process has landed."""
        return self._gone + len(self._landings)

    def judged(self, judged: Judged, mark: int) -> None:
        """Take in what was judged: counts, and which micro-batches silver shows now. When there was nothing to
        judge, another process has judged what had been landed before: the micro-batches up to `mark`."""
        name, meter = self.dataset.name, self.meter
        for verdict, rows in _totals(judged).items():
            meter.add("headgate_verdict_rows_total", rows, dataset=name, verdict=verdict)
            self.record.verdicts[verdict] = self.record.verdicts.get(verdict, 0) + rows
        for rule, rows in judged.reasons.items():
            meter.add("headgate_reason_rows_total", rows, dataset=name, rule=rule)
        _add_up(self.record, judged)
        meter.add("headgate_publications_total", judged.publications, dataset=name, step="refine")
        with self.changed:
            self.moved += judged.publications
        self.reached({partition: stop for partition, (_, stop) in judged.spans.items()}, 0 if judged.read else mark)
        now = time.monotonic()
        if self._window and now < self._window[-1][0] + 1:
            self._window[-1][1].join(judged)
        else:
            self._window.append((now, judged.copy()))

    def reached(self, stops: Mapping[str, int], mark: int = 0) -> None:
        """Silver is at these offsets, whoever judged: which micro-batches does it show now? All up to `mark`."""
        now, name = time.time(), self.dataset.name
        with self.changed:
            self._reached.update(stops)
            while self._landings and (self._shown(self._landings[0]) or self._gone < mark):
                gone = self._landings.popleft()
                self._gone += 1
                self.waiting_rows -= gone.rows
                seen = [(max(now - at, 0), n) for at, n in gone.came]
                self.meter.observe("headgate_visible_seconds", seen, dataset=name)
            self.meter.set("headgate_waiting_rows", self.waiting_rows, dataset=name)
            self.changed.notify_all()

    def oldest_s(self, now: float) -> float:
        """How long the oldest row that this process has landed waits for silver, from its source's clock on."""
        with self.changed:
            return max((now - at for landing in self._landings for at, _ in landing.came), default=0.0)

    def _shown(self, landing: _Landing) -> bool:
        """Whether silver is past this micro-batch in every partition that it touched."""
        return all(self._reached.get(partition, 0) >= stop for partition, stop in landing.offsets.items())

    def lately(self) -> Judged:
        """What was judged within the time over which the error budget is counted."""
        from headgate.steps.judged import Judged

        since = time.monotonic() - self.settings.budget_s
        while self._window and self._window[0][0] < since:
            self._window.popleft()
        total = Judged()
        for _, one in self._window:
            total.join(one)
        return total

    def wait(self, ready: Callable[[], bool], seconds: float) -> bool:
        """Sleep until something changed that makes it ready, or the time is over."""
        with self.changed:
            return self.changed.wait_for(ready, seconds)


def _totals(judged: Judged) -> dict[str, int]:
    totals: dict[str, int] = {}
    for counts in judged.verdicts.values():
        for verdict, rows in counts.items():
            totals[verdict] = totals.get(verdict, 0) + rows
    return totals


def _add_up(record: DatasetRecord, judged: Judged) -> None:
    record.read += judged.read
    record.replaced += judged.replaced
    for partition, counts in judged.verdicts.items():
        mine = record.partitions.setdefault(partition, {})
        for verdict, rows in counts.items():
            mine[verdict] = mine.get(verdict, 0) + rows
    for mine, theirs in ((record.reasons, judged.reasons), (record.warnings, judged.warnings)):
        for rule, rows in theirs.items():
            mine[rule] = mine.get(rule, 0) + rows
