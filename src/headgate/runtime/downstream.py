"""The stages of a run that goes on that come after silver: gold, and what leaves the lake."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING, Any

from headgate.errors import BudgetExceeded
from headgate.runtime.flow import Flow
from headgate.runtime.outlets import Outlet, serve_one
from headgate.runtime.stages import WAIT_S
from headgate.steps.derive import Model, derive
from headgate.steps.judged import HOLD
from headgate.steps.run import Run

if TYPE_CHECKING:
    from headgate.runtime.workspace import Workspace


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
