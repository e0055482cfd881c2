"""What a stage does while the one behind it stands still: it takes nothing more, so memory is bounded by settings."""

from __future__ import annotations

import gc
import threading
from dataclasses import replace
from datetime import UTC, datetime
from threading import BoundedSemaphore, Condition, Event

import pyarrow as pa
import pytest

from e2e.command import headgate
from headgate.ports.batch import OFFSET, PARTITION, RAW, Batch, Position
from headgate.runtime import stages
from headgate.runtime.flow import Flow, _Landing
from headgate.runtime.observe import Meter
from headgate.runtime.project import Project
from headgate.runtime.record import DatasetRecord
from headgate.runtime.settings import ContinuousSettings
from headgate.steps.refine import refine
from headgate.steps.run import Run

SCHEMA = pa.schema(
    [
        pa.field(PARTITION, pa.string(), nullable=False),
        pa.field(OFFSET, pa.int64(), nullable=False),
        pa.field(RAW, pa.binary()),
        pa.field("_hg_format", pa.string(), nullable=False),
    ]
)
LINE = (
    b'{"order_id": %d, "ordered_at": "2026-11-01T09:00:00", "customer": "a@example.com", "amount": "1.50",'
    b' "status": "paid", "updated_at": "2026-11-01T09:00:00"}'
)
ROWS = 10  # in a batch of the source


class Endless:
    """A source that always has more."""

    def __init__(self):
        self.taken = 0

    def schema(self):
        return SCHEMA

    def follow(self, after):
        at = int(after.tokens.get("p", 0))
        while True:
            start, at = Position({"p": str(at)} if at else {}), at + ROWS
            numbers = range(at - ROWS, at)
            columns = [["p"] * ROWS, list(numbers), [LINE % n for n in numbers], ["json"] * ROWS]
            self.taken += ROWS
            rows = pa.RecordBatch.from_arrays(
                [pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
            )
            yield Batch(rows, start, Position({"p": str(at)}))

    read = follow

    def close(self):
        pass


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "WAIT_S", 0.0)
    assert headgate("init", tmp_path / "shop").code == 0
    with Project.open(tmp_path / "shop") as opened:
        opened.source = Endless()
        opened.connect = lambda dataset: opened.source
        yield opened


@pytest.fixture
def flow(project):
    settings = ContinuousSettings(batch_rows=100, batch_ms=60_000, ahead_batches=2)
    dataset = project.dataset("orders")
    return Flow(dataset, DatasetRecord(dataset.name, "1"), settings, Meter(), Condition())


def run():
    return Run("r", datetime.now(UTC))


def test_landing_takes_nothing_more_while_judging_stands_still_and_goes_on_when_it_moves(project, flow):
    lander, flow.judging = stages.Lander(project, flow, run(), Event()), True
    for _ in range(20):
        lander.turn()
    assert flow.waiting_rows == 200, "two micro-batches ahead"
    assert project.source.taken == 200, "and not one more is asked for"
    judged = refine(flow.dataset, project.lake, project.engine, run())
    flow.judged(judged, flow.mark)
    for _ in range(20):
        lander.turn()
    assert (flow.waiting_rows, project.source.taken) == (200, 400)
    lander.reset()


def test_each_bronze_file_is_read_for_one_publication(project, flow, monkeypatch):
    lander = stages.Lander(project, flow, run(), Event())
    flow.settings = replace(flow.settings, ahead_batches=100)
    for _ in range(6):
        lander.turn()
    jobs, real = [], project.engine.refine
    monkeypatch.setattr(project.engine, "refine", lambda job: (jobs.append([f.path for f in job.bronze]), real(job))[1])
    while refine(flow.dataset, project.lake, project.engine, run(), most_rows=250).read:
        pass
    assert [len(files) for files in jobs] == [2, 2, 2]
    assert len({path for files in jobs for path in files}) == 6
    (account,) = project.audit(deep=True)
    assert (account.state, account.bronze) == ("balanced", 600)
    lander.reset()


def test_of_two_workers_one_judges_at_a_time_and_the_other_sees_what_it_did(project, flow, monkeypatch):
    monkeypatch.setattr(stages, "NOT_MINE_S", 0.0)
    other = Flow(flow.dataset, DatasetRecord("orders", "1"), flow.settings, Meter(), Condition())
    lander = stages.Lander(project, flow, run(), Event())
    lander.turn()
    one, two = (stages.Refiner(project, f, run(), Event(), BoundedSemaphore(2)) for f in (flow, other))
    judging, go_on = threading.Event(), threading.Event()
    real = project.engine.refine

    def slow(job):
        judging.set()
        assert go_on.wait(30)
        return real(job)

    monkeypatch.setattr(project.engine, "refine", slow)
    thread = threading.Thread(target=one.turn)
    thread.start()
    assert judging.wait(30)
    monkeypatch.setattr(project.engine, "refine", lambda job: pytest.fail("the same rows are judged twice"))
    two.turn()
    go_on.set()
    thread.join()
    assert (flow.waiting_rows, flow.moved) == (0, 1)
    other.waiting_rows = 100  # as if the other process had landed them
    other._landings.append(_Landing({"p": 100}, 100, []))
    with project.lake.turn("refine orders"):
        two.turn()
    assert other.waiting_rows == 0
    lander.reset()


def test_who_judges_goes_on_until_nothing_has_waited_for_a_while_and_then_lets_another(project, flow, monkeypatch):
    monkeypatch.setattr(stages, "NOT_MINE_S", 0.0)
    clock = [1000.0]
    monkeypatch.setattr(stages.time, "monotonic", lambda: clock[0])
    other = Flow(flow.dataset, DatasetRecord("orders", "1"), flow.settings, Meter(), Condition())
    one, two = (stages.Refiner(project, f, run(), Event(), BoundedSemaphore(2)) for f in (flow, other))
    mine, its = (stages.Lander(project, f, run(), Event()) for f in (flow, other))
    mine.turn()
    one.turn()  # judges, and keeps the turn
    its.turn()
    for _ in range(3):
        two.turn()
    assert (other.waiting_rows, other.record.read) == (100, 0), "two engines would be loaded where one is enough"
    one._more = False
    one.turn()  # nothing of its own waits: it looks whether anything of the other's does
    one.turn()
    two.turn()
    assert (flow.record.read, other.record.read, other.waiting_rows) == (200, 0, 0)
    one._more = False
    clock[0] += stages.KEEP_S / 2
    one.turn()
    assert one._mine is not None, "it may go on in a moment"
    clock[0] += stages.KEEP_S
    one.turn()
    assert one._mine is None
    its.turn()
    two.turn()
    assert (other.waiting_rows, other.record.read) == (0, 100)
    one._more = True
    one.turn()
    assert flow.record.read == 200, "now the other one has the turn"
    two.reset()  # as after an error
    with project.lake.turn("refine orders") as free:
        assert free
    for lander in (mine, its):
        lander.reset()


def test_a_refiner_that_is_asked_to_stop_sleeps_until_landing_has_ended(project, flow, monkeypatch):
    stop = Event()
    one = stages.Refiner(project, flow, run(), stop, BoundedSemaphore(2))
    one._more, one._looked = False, stages.time.monotonic()
    asked = []
    monkeypatch.setattr(Flow, "wait", lambda _, ready, seconds: asked.append((flow.landing, ready())))
    stop.set()
    for flow.landing in (True, False):
        one.turn()
    assert asked == [(True, False), (False, True)]


def test_a_process_that_stands_still_in_its_turn_does_not_hold_up_the_others(project, flow, monkeypatch):
    lander = stages.Lander(project, flow, run(), Event())
    lander.turn()
    one = stages.Refiner(project, flow, run(), Event(), BoundedSemaphore(2))
    clock = [1000.0]
    monkeypatch.setattr(stages.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(stages.time, "sleep", lambda seconds: None)
    with project.lake.turn("refine orders"):
        one._moved_s = clock[0]
        one.turn()
        assert flow.waiting_rows == 100, "it waits"
        clock[0] += stages.STUCK_S + 1
        one.turn()
        assert flow.waiting_rows == 0, "but not for ever"
    lander.reset()


def test_a_run_that_goes_on_collects_its_garbage(tmp_path, monkeypatch):
    """One that ends does not: it is over sooner than garbage matters."""
    seen = []

    def conduct(self, asked, *, accept_quarantine):
        seen.append(gc.isenabled())
        return self.record

    monkeypatch.setattr("headgate.runtime.continuous.Conductor.conduct", conduct)
    assert headgate("init", tmp_path / "shop").code == 0
    assert headgate("run", "--continuous", project=tmp_path / "shop").code == 0
    assert seen == [True]
