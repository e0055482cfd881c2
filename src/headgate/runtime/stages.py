"""The stages of a run that goes on: each does one thing again and again, in a thread of its own.

Bronze is the queue between landing and judging: what has been landed is safe, and costs no memory. `turn` does one
unit of work, or waits a moment; it is called until `over`. An error leaves everything as the last publication left it:
the next turn begins from the tables.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from threading import BoundedSemaphore, Event
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from headgate import crash
from headgate.errors import BudgetExceeded
from headgate.ports.batch import TIMESTAMP, Batch, Position
from headgate.ports.source import Acknowledges, Follows, Peeks, Source
from headgate.runtime.flow import Flow
from headgate.runtime.outlets import Outlet, serve_one
from headgate.steps.derive import Model, derive
from headgate.steps.land import Incoming, Landed, Pace, bronze_name, bronze_spec, keep_end, land_group
from headgate.steps.refine import HOLD, Judged, check_budget, refine
from headgate.steps.run import Run

if TYPE_CHECKING:
    from headgate.ports.store import TableSpec
    from headgate.runtime.workspace import Workspace

WAIT_S = 0.25  # the longest sleep before a stage looks at its surroundings again
LOOK_S = 5.0  # how often a refiner asks the tables whether somebody else has landed rows
SLOWEST_POLL = 8  # times poll_ms
BUDGET_ROWS = 1_000  # fewer say nothing about a rate, unless a whole `budget_s` has not brought more


class Stage(Protocol):
    """One unit of work after the other."""

    step: str
    subject: str  # the dataset, or what else it works on

    def over(self) -> bool:
        """Whether there is nothing left to do, for ever."""

    def turn(self) -> None:
        """One unit of work."""

    def reset(self) -> None:
        """Forget what was begun: the next turn begins anew."""


class Lander:
    """Rows of one source into bronze, in micro-batches."""

    step = "land"

    def __init__(self, project: Workspace, flow: Flow, run: Run, stop: Event) -> None:
        self.project, self.flow, self.run, self.stop = project, flow, run, stop
        self.subject = flow.dataset.name
        settings = flow.settings
        self.pace = Pace(settings.batch_rows, settings.batch_bytes, settings.batch_ms / 1000)
        self._source: Source | None = None
        self._spec: TableSpec | None = None
        self._batches: Incoming | None = None
        self._position = Position.start()
        self._came: list[tuple[float, int]] = []
        self._polls = 1
        self._ended = False
        flow.landing = True

    def over(self) -> bool:
        """After a stop, once what was begun is published."""
        if self.stop.is_set() and not self._ended:
            self._end()
        return self._ended

    def turn(self) -> None:
        """One publication; or a wait: for silver to catch up, or for the source."""
        if self.flow.wait(lambda: not self.flow.full or self.stop.is_set(), WAIT_S) and not self.stop.is_set():
            batches = self._incoming()
            if batches.more(wait=not self._follows()):
                self._land(batches)
            elif batches.over:
                self._next_read(batches)

    def reset(self) -> None:
        """Hang up."""
        batches, self._batches = self._batches, None
        source, self._source = self._source, None
        try:
            if batches is not None:
                batches.close()
        finally:
            if source is not None:
                source.close()

    def _end(self) -> None:
        """Keep an end that came without rows, then hang up."""
        self._ended = True
        try:
            if self._batches is not None and self._spec is not None:
                self._keep_end(self._batches, self._spec)
        finally:
            self.reset()
            with self.flow.changed:
                self.flow.landing = False
                self.flow.changed.notify_all()

    def _follows(self) -> bool:
        return isinstance(self._source, Follows)

    def _incoming(self) -> Incoming:
        """The read under way, or a new one from where the table stands."""
        if self._batches is None:
            dataset = self.flow.dataset
            if self._source is None:
                self._source = self.project.connect(dataset)
            self._spec = bronze_spec(dataset, self._source.schema())
            view = self.project.lake.cut().table(bronze_name(dataset))
            self._position = view.position(dataset.name) if view else Position.start()
            if view is None:
                keep_end(dataset, self._spec, self.project.lake, self._now(), self._position, Position.start())
            source = self._source
            if isinstance(source, Follows):
                read = source.follow(self._position)
            elif isinstance(source, Peeks) and view is not None and source.idle(self._position):
                read = iter(())
            else:
                read = source.read(self._position)
            self._batches = Incoming(self._clocked(read), self.stop.is_set)
        return self._batches

    def _clocked(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            if batch.rows.num_rows:
                self._came += _arrivals(batch.rows)
            yield batch

    def _now(self) -> Run:
        """Every micro-batch has its own instant."""
        return replace(self.run, at=datetime.now(UTC))

    def _land(self, batches: Incoming) -> None:
        begun = time.perf_counter()
        dataset = self.flow.dataset
        assert self._spec is not None
        group = land_group(dataset, self._spec, self.project.lake, self._now(), batches, self._position, self.pace)
        self._position = group.end
        self._polls = 1
        source: Any = self._source
        if isinstance(source, Acknowledges):
            source.acknowledge(self._position)
        self._took(begun, group)

    def _took(self, begun: float, group: Landed) -> None:
        came, self._came = self._came, []
        seconds = time.perf_counter() - begun
        self.flow.meter.observe("headgate_step_seconds", [(seconds, 1)], dataset=self.subject, step="land")
        self.flow.landed(group, came)
        self.run.tell("land", dataset=self.subject, rows=self.flow.record.landed_rows)
        crash.point("continuous: landed, not told")

    def _next_read(self, batches: Incoming) -> None:
        """The read is over: keep its end, wait, and ask again."""
        if self._spec is not None:
            self._keep_end(batches, self._spec)
        self._batches = None
        if not self._follows():
            self.stop.wait(self.flow.settings.poll_ms * self._polls / 1000)
            self._polls = min(self._polls * 2, SLOWEST_POLL)

    def _keep_end(self, batches: Incoming, spec: TableSpec) -> None:
        end, batches.end = batches.end, None
        if end is not None and self._position.advanced(end) != self._position:
            dataset = self.flow.dataset
            self._position = keep_end(dataset, spec, self.project.lake, self._now(), self._position, end)


def _arrivals(rows: pa.RecordBatch) -> list[tuple[float, int]]:
    """When the rows were made, as far as the source tells (to a tenth of a second), else now: Unix time, rows."""
    if TIMESTAMP not in rows.schema.names:
        return [(time.time(), rows.num_rows)]
    stamps: Any = rows.column(TIMESTAMP)
    tenths, counts = np.unique(stamps.drop_null().cast(pa.int64()).to_numpy() // 100_000, return_counts=True)
    return [(tenth / 10, count) for tenth, count in zip(tenths.tolist(), counts.tolist(), strict=True)]


class Refiner:
    """Verdicts for what bronze holds, one publication a turn."""

    step = "refine"

    def __init__(self, project: Workspace, flow: Flow, run: Run, stop: Event, cores: BoundedSemaphore) -> None:
        self.project, self.flow, self.run, self.stop, self.cores = project, flow, run, stop, cores
        self.subject = flow.dataset.name
        self._begun = time.monotonic()
        self._looked = 0.0
        self._more = True  # something may wait from before
        flow.judging = True

    def over(self) -> bool:
        """After a stop, once landing has ended and every row has its verdict."""
        done = self.stop.is_set() and not self.flow.landing and not self.flow.waiting_rows and not self._more
        if done and self.flow.judging:
            with self.flow.changed:
                self.flow.judging = False
                self.flow.changed.notify_all()
        return done

    def turn(self) -> None:
        """Judge what waits; else wait for it."""
        due = time.monotonic() >= self._looked + LOOK_S
        if not (self._more or self.flow.waiting_rows or due):
            self.flow.wait(lambda: self.flow.waiting_rows > 0 or self.stop.is_set(), WAIT_S)
            return
        settings = self.flow.settings
        before, mark = self.flow.lately(), self.flow.mark
        enough = before.read >= BUDGET_ROWS or time.monotonic() >= self._begun + settings.budget_s
        begun = time.perf_counter()
        with self.cores:
            judged = refine(
                self.flow.dataset,
                self.project.lake,
                self.project.engine,
                replace(self.run, at=datetime.now(UTC)),
                before=before if enough else None,
                hold=enough,
                most_rows=settings.ahead_batches * settings.batch_rows,
            )
        self._looked = time.monotonic()
        self._more = self._more and judged.read > 0
        if judged.read:
            seconds = time.perf_counter() - begun
            self.flow.meter.observe("headgate_step_seconds", [(seconds, 1)], dataset=self.subject, step="refine")
        self.flow.judged(judged, mark)
        if judged.read and enough:
            before.join(judged)
            self._within_budget(before)

    def reset(self) -> None:
        """Nothing is kept between turns but the tables."""
        self._more = True

    def _within_budget(self, lately: Judged) -> None:
        error = check_budget(self.flow.dataset, lately)
        self.flow.held = self.flow.held or error is not None
        self.flow.meter.set("headgate_gold_held", int(self.flow.held), dataset=self.subject)
        if error is not None and self.flow.settings.on_budget == "stop":
            raise error


class Builder:
    """Gold at its pace: whole-table checks, models and their tests."""

    step = "derive"
    subject = "gold"

    def __init__(
        self, project: Workspace, flows: Sequence[Flow], models: Sequence[Model], run: Run, stop: Event
    ) -> None:
        self.project, self.flows, self.models, self.run, self.stop = project, flows, models, run, stop
        self.built: dict[str, int] = {}
        self.builds = 0
        self.working = True
        self._seen: dict[str, int] = {}
        self._first = True
        self._due = time.monotonic()

    def over(self) -> bool:
        """After a stop, once all verdicts are given and gold follows from them."""
        self.working = not (
            self.stop.is_set() and not any(f.judging or f.landing for f in self.flows) and not self._behind()
        )
        return not self.working

    def turn(self) -> None:
        """Build what changed; else wait."""
        draining = self.stop.is_set()
        if not self._behind() or (time.monotonic() < self._due and not draining):
            self.stop.wait(WAIT_S) if not draining else time.sleep(WAIT_S / 10)
            return
        if draining and any(f.judging or f.landing for f in self.flows):
            time.sleep(WAIT_S / 10)  # once, when all verdicts are given
            return
        seen = {flow.dataset.name: flow.moved for flow in self.flows}
        self._check(seen)
        if not self._closed():
            self._build()
        self._seen, self._first = seen, False
        settings = self.flows[0].settings if self.flows else None
        self._due = time.monotonic() + (settings.gold_ms if settings else 10_000) / 1000

    def reset(self) -> None:
        """Nothing is kept between turns but the tables."""

    def _behind(self) -> bool:
        return self._first or any(self._seen.get(f.dataset.name, 0) != f.moved for f in self.flows)

    def _closed(self) -> bool:
        """Whether some dataset's error budget keeps gold closed."""
        cut = self.project.lake.cut()
        for flow in self.flows:
            silver = cut.table(f"silver.{flow.dataset.name}")
            flow.held = bool(silver is not None and silver.facts(HOLD))
            flow.meter.set("headgate_gold_held", int(flow.held), dataset=flow.dataset.name)
        return any(flow.held for flow in self.flows)

    def _check(self, moved: dict[str, int]) -> None:
        from headgate.runtime.checks import check_tables, refuse_failed

        for flow in self.flows:
            if flow.dataset.checks and moved[flow.dataset.name] != self._seen.get(flow.dataset.name, 0):
                flow.record.checks = check_tables(self.project, flow.dataset)
                refuse_failed(flow.dataset, flow.record.checks)

    def _build(self) -> None:
        from headgate.runtime.model_tests import run_tests

        cut = self.project.lake.cut()
        if any(cut.table(f"silver.{flow.dataset.name}") is None for flow in self.flows):
            return  # nothing to build from yet
        begun = time.perf_counter()
        derived = derive(self.models, self.project.lake, self.project.engine, self.run, cut=cut)
        if not derived.built:
            return
        self.built.update(derived.built)
        self.builds += 1
        meter = self.flows[0].meter if self.flows else None
        if meter is not None:
            meter.observe(
                "headgate_step_seconds", [(time.perf_counter() - begun, 1)], dataset=self.subject, step=self.step
            )
            for model, rows in derived.built.items():
                meter.set("headgate_model_rows", rows, model=model)
        failed = [t["name"] for t in run_tests(self.project, cut) if t["rows"]]
        if failed:
            raise BudgetExceeded(
                f"tests on models failed: {', '.join(failed)}", where="gold", hint="headgate query …", stage="derive"
            )


class Sender:
    """One table to one target outside of the lake, whenever it changed."""

    step = "serve"

    def __init__(
        self, project: Workspace, outlet: Outlet, flows: Sequence[Flow], builder: Builder | None, run: Run, stop: Event
    ) -> None:
        self.project, self.outlet, self.flows, self.builder, self.run, self.stop = (
            project,
            outlet,
            flows,
            builder,
            run,
            stop,
        )
        self.subject = outlet.id
        self.sent: dict[str, Any] = {"outlet": outlet.id, "table": outlet.table, "rows": 0, "removed": 0}
        self._seen = (-1, -1)
        self._done = False

    def over(self) -> bool:
        """After a stop, once everything before it has ended and was sent."""
        return self._done

    def turn(self) -> None:
        """Send what changed; else wait."""
        ended = self.stop.is_set() and not self._upstream()
        now = (sum(f.moved for f in self.flows), self.builder.builds if self.builder else 0)
        if now == self._seen and not ended:
            time.sleep(WAIT_S / 10) if self.stop.is_set() else self.stop.wait(WAIT_S / 5)
            return
        begun = time.perf_counter()
        told = serve_one(self.project, self.outlet, replace(self.run, at=datetime.now(UTC)))
        self._seen, self._done = now, ended
        if told["moved"]:
            meter = self.flows[0].meter
            seconds = time.perf_counter() - begun
            meter.observe("headgate_step_seconds", [(seconds, 1)], dataset=self.subject, step=self.step)
            meter.add("headgate_served_rows_total", told["rows"], outlet=self.subject)
            self.sent |= told | {name: self.sent[name] + told[name] for name in ("rows", "removed")}

    def reset(self) -> None:
        """Nothing is kept between turns but the target."""

    def _upstream(self) -> bool:
        return any(f.landing or f.judging for f in self.flows) or (self.builder is not None and self.builder.working)
