"""A run that goes on: stages side by side, each in a thread, until somebody asks it to stop.

    lander    source → bronze, a micro-batch at a time       one a dataset
    refiner   bronze → silver, quarantine, ledger            one a dataset
    builder   silver → gold, at its own pace                 one
    sender    a table → a target outside of the lake         one an entry and table of `serve:`

1. Asked to stop, landers publish what they hold and hang up.
2. Refiners give every landed row its verdict.
3. The builder builds gold once more, senders send what is left. Then the record is written.

Killed at any moment nothing is lost or doubled: every stage goes on from the tables.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import BoundedSemaphore, Condition, Event, Thread
from typing import TYPE_CHECKING, Any

import headgate
from headgate.errors import (
    CommitConflict,
    DefectError,
    FixInputError,
    HeadgateError,
    OutcomeUnknownError,
    RetryableError,
    StalePosition,
)
from headgate.runtime.flow import Flow
from headgate.runtime.loop import chosen_models, chosen_nodes, recorded, within_budget
from headgate.runtime.observe import Meter
from headgate.runtime.outlets import outlets
from headgate.runtime.record import DatasetRecord, RunRecord
from headgate.steps.run import Run

if TYPE_CHECKING:
    from headgate.runtime.downstream import Builder, Sender
    from headgate.runtime.stages import Stage
    from headgate.runtime.workspace import Workspace

LOOK_S = 0.1  # how often the conductor asks whether to stop
LONGEST_PAUSE_S = 30.0
STALE_IN_A_ROW = 5  # positions moved by somebody else without one success of ours between
DRAIN_S = 60.0  # how long a stopping run goes on trying what fails


class Conductor:
    """Starts the stages, keeps them going, and ends them. `flows` and `problems` may be read meanwhile."""

    def __init__(self, project: Workspace, selections: Sequence[str], meter: Meter, tell: Callable[..., None]) -> None:
        self.project, self.meter = project, meter
        self.run = Run.begin(tell)
        self.record = RunRecord(self.run.id, self.run.at.isoformat(), list(selections), headgate.__version__)
        self.stop = Event()
        self.changed = Condition()
        self.flows: list[Flow] = []
        self.problems: dict[str, str] = {}  # stage -> what it is trying again for
        self.ready = False  # whether the stages have been started
        self._error: Exception | None = None
        self._stopped_at = 0.0
        self._builder: Builder | None = None
        self._senders: list[Sender] = []

    def conduct(self, asked: Callable[[], bool], *, accept_quarantine: bool = False) -> RunRecord:
        """Run until `asked()` says to stop, or an error ends it; then drain. The record; raises as `run` does."""
        try:
            with recorded(self.project, self.record, self.run):
                self._conduct(asked, accept_quarantine=accept_quarantine)
        finally:
            self.ready = False
        return self.record

    def _conduct(self, asked: Callable[[], bool], *, accept_quarantine: bool) -> None:
        self.meter.set("headgate_info", 1, version=headgate.__version__, run=self.run.id)
        stages = self._stages()
        for flow in self.flows:
            self._open_gold(flow, accept=accept_quarantine)
        threads = [Thread(target=self._keep_going, args=(s,), name=f"{s.step} {s.subject}") for s in stages]
        for thread in threads:
            thread.start()
        self.ready = True
        self.run.tell("following", stages=len(stages), datasets=[f.dataset.name for f in self.flows])
        while any(thread.is_alive() for thread in threads):
            if not self.stop.is_set() and (self._error is not None or asked()):
                self._ask_to_stop()
            self._join(threads)
        self.record.datasets = [flow.record for flow in self.flows]
        self.record.models = self._builder.built if self._builder is not None else {}
        self.record.served = [sender.sent for sender in self._senders]
        self.record.moved = any(f.record.landed_rows or f.record.read for f in self.flows) or bool(self.record.models)
        if self._error is not None:
            raise self._error

    def _join(self, threads: Sequence[Thread]) -> None:
        """Wait a moment, less when all are at their end."""
        alive = next((thread for thread in threads if thread.is_alive()), None)
        if alive is not None:
            alive.join(LOOK_S)

    def _ask_to_stop(self) -> None:
        self._stopped_at = time.monotonic()
        self.run.tell("stopping")
        self.stop.set()
        with self.changed:
            self.changed.notify_all()

    def _stages(self) -> list[Stage]:
        from headgate.runtime.downstream import Builder, Sender
        from headgate.runtime.stages import Lander, Refiner

        chosen = chosen_nodes(self.project, self.record.selection)
        cores = BoundedSemaphore(os.cpu_count() or 1)
        stages: list[Stage] = []
        for dataset in self.project.datasets:
            record = DatasetRecord(dataset.name, dataset.contract_version)
            flow = Flow(dataset, record, self.project.settings.continuous, self.meter, self.changed)
            if f"silver.{dataset.name}" in chosen:
                stages.append(Refiner(self.project, flow, self.run, self.stop, cores))
            if f"bronze.{dataset.name}" in chosen:
                stages.append(Lander(self.project, flow, self.run, self.stop))
            if flow.landing or flow.judging:
                self.flows.append(flow)
        models = chosen_models(self.project, chosen)
        if models or any(flow.dataset.checks for flow in self.flows):
            self._builder = Builder(self.project, self.flows, models, self.run, self.stop)
            stages.append(self._builder)
        for outlet in outlets(self.project) if self.flows else ():
            if outlet.id in chosen:
                self._senders.append(Sender(self.project, outlet, self.flows, self._builder, self.run, self.stop))
        stages += self._senders
        if self.project.settings.upkeep.automatic and self.flows:
            from headgate.runtime.keeper import Keeper

            stages.append(Keeper(self.project, self.flows, self.stop))
        return stages

    def _open_gold(self, flow: Flow, *, accept: bool) -> None:
        """Gold that an earlier run closed stays closed until somebody decides; `accept` is the decision."""
        from headgate.steps.judged import Judged
        from headgate.steps.replay import release

        if accept:
            release(flow.dataset, self.project.lake, self.run)
        elif flow.judging and flow.settings.on_budget == "stop":
            within_budget(self.project, flow.dataset, Judged())

    def _keep_going(self, stage: Stage) -> None:
        """One stage's thread: its turns, and what becomes of their errors."""
        failures = stale = 0
        name = f"{stage.step} {stage.subject}"
        while not self._over(stage):
            try:
                stage.turn()
                failures = stale = 0
                self.problems.pop(name, None)
            except (RetryableError, OutcomeUnknownError, StalePosition) as error:
                failures += 1
                stale += isinstance(error, StalePosition)
                if stale > STALE_IN_A_ROW or self._too_late():
                    self._fail(stage, error)
                    return
                self._say(stage, error)
                self._hang_up(stage)
                self._pause(error, failures)
            except Exception as error:
                self._fail(stage, error)
                return

    def _over(self, stage: Stage) -> bool:
        try:
            return stage.over()
        except HeadgateError as error:
            self._fail(stage, error)
            return True

    def _too_late(self) -> bool:
        return self.stop.is_set() and time.monotonic() > self._stopped_at + DRAIN_S

    def _say(self, stage: Stage, error: HeadgateError) -> None:
        self.meter.add("headgate_retries_total", dataset=stage.subject, step=stage.step, code=error.code)
        if not isinstance(error, (CommitConflict, StalePosition)):  # of those only somebody else's speed is to blame
            self.problems[f"{stage.step} {stage.subject}"] = f"{error.code}: {error}"
            self.run.tell("retry", step=stage.step, dataset=stage.subject, code=error.code, error=str(error))

    def _hang_up(self, stage: Stage) -> None:
        with suppress(HeadgateError):  # the other side hung up first: that is what is being dealt with
            stage.reset()

    def _pause(self, error: HeadgateError, failures: int) -> None:
        first = error.retry_after_s if isinstance(error, RetryableError) else 0.05
        seconds = min(first * 2 ** min(failures - 1, 10), LONGEST_PAUSE_S)
        if self.stop.is_set():
            time.sleep(min(seconds, 1.0))
        else:
            self.stop.wait(seconds)

    def _fail(self, stage: Stage, error: Exception) -> None:
        """The first error is the run's; the others drain and stop. What the failed stage owed is not waited for."""
        if not isinstance(error, HeadgateError):
            error = _ours(error)
        if self._error is None:
            self._error = error
        self._hang_up(stage)
        if stage is self._builder:
            self._builder.working = False
        for flow in self.flows:
            if stage.subject == flow.dataset.name:
                with self.changed:
                    flow.landing &= stage.step != "land"
                    flow.judging &= stage.step != "refine"
                    self.changed.notify_all()


def _ours(error: Exception) -> HeadgateError:
    if isinstance(error, MemoryError):
        return FixInputError(
            "out of memory", hint="set engine_options: {memory_limit: …} in headgate.yaml", stage="run"
        )
    made = DefectError(
        f"{type(error).__name__}: {error}",
        hint="please report this with the output of `headgate doctor --json`",
        stage="run",
    )
    made.__cause__ = error
    return made


def state_of(conductor: Conductor) -> dict[str, Any]:
    """Liveness and readiness, for whoever asks: started, stopping, and what is being tried again."""
    return {
        "ready": conductor.ready and not conductor.stop.is_set() and not conductor.problems,
        "stopping": conductor.stop.is_set(),
        "problems": dict(conductor.problems),
    }
