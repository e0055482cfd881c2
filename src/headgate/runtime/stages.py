"""The stages of a run that goes on: each does one thing again and again, in a thread of its own.

Bronze is the queue between landing and judging: what has been landed is safe, and costs no memory. `turn` does one
unit of work, or waits a moment; it is called until `over`. An error leaves everything as the last publication left it:
the next turn begins from the tables.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from threading import BoundedSemaphore, Event
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from headgate import crash
from headgate.errors import CommitConflict, FixInputError, StalePosition
from headgate.ports.batch import TIMESTAMP, Batch, Position
from headgate.ports.source import Acknowledges, Follows, Peeks, Source, Tells
from headgate.ports.store import Lake, TakesTurns
from headgate.runtime.flow import Flow
from headgate.steps.judged import Judged, check_budget
from headgate.steps.land import Incoming, Landed, Pace, bronze_name, bronze_spec, keep_end, land_group, offset_fact
from headgate.steps.portion import pending, stream_of
from headgate.steps.refine import refine
from headgate.steps.run import Run

if TYPE_CHECKING:
    from headgate.ports.store import TableSpec
    from headgate.runtime.workspace import Workspace

STUCK_S = 10.0  # without a step of silver, after which whose turn it is no longer counts: its process may stand still
NOT_MINE_S = 0.1  # between two looks at what another process does
WAIT_S = 0.25  # the longest sleep before a stage looks at its surroundings again
KEEP_S = 2.0  # without anything to judge, after which another process may: it has to load the engine and to read keys
LOOK_S = 5.0  # how often a refiner asks the tables whether somebody else has landed rows
SLOWEST_POLL = 8  # times poll_ms
BUDGET_ROWS = 1_000  # fewer say nothing about a rate, unless a whole `budget_s` has not brought more


def turn_at(lake: Lake, what: str) -> AbstractContextManager[bool]:
    """Whether it is this process' turn at something that only one of several can land."""
    return lake.turn(what) if isinstance(lake, TakesTurns) else nullcontext(True)


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
        if flow.dataset.full_reads is not None:
            raise FixInputError(
                "a run that goes on cannot make full reads",
                where=self.subject,
                hint="let a scheduler start `headgate run` for this dataset, and select the others here",
                stage="land",
            )
        self._source: Source | None = None
        self._spec: TableSpec | None = None
        self._batches: Incoming | None = None
        self._position = Position.start()
        self._came: list[tuple[float, int]] = []
        self._offsets: dict[str, int] = {}
        self._lag_due, self._lag = 0.0, 0
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
        if self._lag or self.flow.full:
            self._measure_lag()
        if self.flow.wait(lambda: not self.flow.full or self.stop.is_set(), WAIT_S) and not self.stop.is_set():
            batches = self._incoming()
            if batches.more(wait=not self._follows()):
                self._land(batches)
            elif batches.over:
                self._next_read(batches)

    def reset(self) -> None:
        """Hang up."""
        self._forget_lag()
        batches, self._batches = self._batches, None
        source, self._source = self._source, None
        try:
            if batches is not None:
                batches.close()
        finally:
            if source is not None:
                source.close()

    def _end(self) -> None:
        """Keep an end that came without rows, then hang up. When others are faster it is looked through again later."""
        self._ended = True
        try:
            if self._batches is not None and self._spec is not None:
                with suppress(CommitConflict, StalePosition):
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
        settings = self.flow.settings
        pace = Pace(settings.batch_rows, settings.batch_bytes, self.flow.gather_s)
        group = land_group(dataset, self._spec, self.project.lake, self._now(), batches, self._position, pace)
        self._position = group.end
        self._offsets.update(group.offsets)
        self._polls = 1
        source: Any = self._source
        if isinstance(source, Acknowledges):
            source.acknowledge(self._position)
        self._took(begun, group)
        self._measure_lag()

    def _measure_lag(self) -> None:
        """What the source still holds beyond what was landed, where it can tell, every few seconds."""
        source: Any = self._source
        now = time.monotonic()
        if not isinstance(source, Tells) or not isinstance(source, Follows) or now < self._lag_due:
            return
        self._lag_due = now + LOOK_S
        ends: Mapping[str, int] = source.tell().get("ends", {})
        self._lag = 0
        for partition, stop in self._offsets.items():
            if (end := ends.get(partition.rpartition("/")[2])) is not None:
                behind = max(end - stop, 0)
                self._lag += behind
                self.flow.meter.set("headgate_source_lag_rows", behind, dataset=self.subject, partition=partition)

    def _forget_lag(self) -> None:
        """The partitions may be another's now."""
        for partition in self._offsets:
            self.flow.meter.set("headgate_source_lag_rows", 0, dataset=self.subject, partition=partition)
        self._offsets, self._lag = {}, 0

    def _took(self, begun: float, group: Landed) -> None:
        came, self._came = self._came, []
        seconds = time.perf_counter() - begun
        self.flow.land_s = max(seconds - group.gathered_s, 0.0)
        self.flow.meter.observe("headgate_step_seconds", [(seconds, 1)], dataset=self.subject, step="land")
        self.flow.landed(group, came)
        self.run.tell("land", dataset=self.subject, rows=self.flow.record.landed_rows)
        crash.point("continuous: landed, not told")

    def _next_read(self, batches: Incoming) -> None:
        """The read is over: keep its end, wait, and ask again."""
        if self._spec is not None:
            self._keep_end(batches, self._spec)
        self._batches = None
        self._forget_lag()
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
    """Verdicts for what bronze holds, one publication a turn.

    Of several processes one judges, whoever has landed the rows, and goes on until nothing has waited for a while:
    were they to take turns, each would load the engine and read every key that the others have added.
    """

    step = "refine"

    def __init__(self, project: Workspace, flow: Flow, run: Run, stop: Event, cores: BoundedSemaphore) -> None:
        self.project, self.flow, self.run, self.stop, self.cores = project, flow, run, stop, cores
        self.subject = flow.dataset.name
        self._begun = time.monotonic()
        self._looked = 0.0
        self._judged_s = 0.0  # when it last had something to judge
        self._stops: dict[str, int] = {}  # where silver was when another process judged
        self._moved_s = self._begun  # when it last moved, or nothing waited
        self._more = True  # something may wait from before
        self._theirs = False  # something waits that another process has landed
        self._mine: ExitStack | None = None  # while it is this process that judges
        flow.judging = True

    def over(self) -> bool:
        """After a stop, once landing has ended and every row has its verdict."""
        done = self.stop.is_set() and not self.flow.landing and not self.flow.waiting_rows and not self._more
        if done and self.flow.judging:
            self._let_go()
            with self.flow.changed:
                self.flow.judging = False
                self.flow.changed.notify_all()
        return done

    def turn(self) -> None:
        """Judge what waits; else wait for it."""
        due = time.monotonic() >= self._looked + LOOK_S
        if not (self._more or self._theirs or self.flow.waiting_rows or due):
            if not self.flow.wait(lambda: self.flow.waiting_rows > 0 or self._last(), WAIT_S):
                self._rest()
            self._moved_s = time.monotonic()
        elif self._is_mine() or time.monotonic() > self._moved_s + STUCK_S:
            self._judge()
            self._moved_s = time.monotonic()
        else:
            self._look()

    def _last(self) -> bool:
        """Whether nothing more will be landed here."""
        return self.stop.is_set() and not self.flow.landing

    def _rest(self) -> None:
        """Nothing of this process waits. If it is the one that judges: does anything of another one's? When nothing has
        for a while it lets go, and whoever lands next goes on."""
        if self._mine is None:
            return
        self._theirs = not self.stop.is_set() and self._behind()
        if not self._theirs and (self.stop.is_set() or time.monotonic() > self._judged_s + KEEP_S):
            self._let_go()

    def _is_mine(self) -> bool:
        """Whether this process is the one that judges, from now on until it lets go."""
        if self._mine is None:
            with ExitStack() as stack:
                if stack.enter_context(turn_at(self.project.lake, f"refine {self.subject}")):
                    self._mine = stack.pop_all()
        return self._mine is not None

    def _let_go(self) -> None:
        mine, self._mine = self._mine, None
        if mine is not None:
            mine.close()

    def _look(self) -> None:
        """Another process judges: see how far it is. Two at once would judge the same rows, and one in vain."""
        at = self._silver_at()
        if at is not None:
            stops = {p: int(stop) for p, stop in at.tokens.items()}
            self.flow.reached(stops)
            if stops != self._stops or not self.flow.waiting_rows:
                self._stops, self._moved_s = stops, time.monotonic()
        time.sleep(NOT_MINE_S)

    def _behind(self) -> bool:
        """Whether bronze holds rows without a verdict, whoever landed them."""
        bronze, noted = bronze_name(self.flow.dataset), self.project.noted()
        at, landed = noted.position(f"silver.{self.subject}", bronze), noted.position(bronze, self.subject)
        if at is None or landed is None:
            return bool(pending(self.flow.dataset, self.project.lake.cut()))
        return any(noted.fact(bronze, offset_fact(p)) not in {None, at.tokens.get(p)} for p in landed.tokens)

    def _silver_at(self) -> Position | None:
        """How far silver is; None while there is none."""
        name, stream = f"silver.{self.subject}", stream_of(self.flow.dataset)
        if (at := self.project.noted().position(name, stream)) is not None:
            return at
        view = self.project.lake.cut().table(name)
        return view.position(stream) if view is not None else None

    def _judge(self) -> None:
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
                most_rows=settings.batch_rows,
            )
        self._looked = time.monotonic()
        self._more, self._theirs = self._more and judged.read > 0, self._theirs and judged.read > 0
        if judged.read:
            self._judged_s = self._looked
            seconds = self.flow.judge_s = time.perf_counter() - begun
            self.flow.meter.observe("headgate_step_seconds", [(seconds, 1)], dataset=self.subject, step="refine")
        self.flow.judged(judged, mark)
        if judged.read and enough:
            before.join(judged)
            self._within_budget(before)

    def reset(self) -> None:
        """Nothing is kept but the tables; another process may be luckier."""
        self._more = True
        self._let_go()

    def _within_budget(self, lately: Judged) -> None:
        error = check_budget(self.flow.dataset, lately)
        self.flow.held = self.flow.held or error is not None
        self.flow.meter.set("headgate_gold_held", int(self.flow.held), dataset=self.subject)
        if error is not None and self.flow.settings.on_budget == "stop":
            raise error
