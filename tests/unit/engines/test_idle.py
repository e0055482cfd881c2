"""What rests between jobs, and for how long."""

from types import SimpleNamespace

import duckdb
import pytest

from headgate.engines.duckdb import idle
from headgate.engines.duckdb.connection import Settings

JOB = SimpleNamespace(dataset=SimpleNamespace(name="orders"))


@pytest.fixture
def resting(monkeypatch):
    monkeypatch.setattr(idle, "MOST_JOBS", 2)
    one = idle.Idle()
    yield one
    one.close()


def test_a_connection_serves_so_many_jobs_and_is_closed_then(resting):
    used = []
    for _ in range(3):
        with resting.database(Settings()) as database:
            used.append(database())
    assert used[0] is used[1]
    assert used[2].execute("SELECT 1").fetchall() == [(1,)]
    with pytest.raises(duckdb.Error, match="closed"):
        used[0].execute("SELECT 1")


def test_a_worker_serves_so_many_jobs_and_is_closed_then(resting, monkeypatch):
    told = []

    class Worker:
        def __init__(self, *_, **__):
            told.append("made")

        fits = staticmethod(lambda _: True)
        begin = staticmethod(lambda _: told.append("begun"))
        rest = staticmethod(lambda: None)
        close = staticmethod(lambda: told.append("closed"))

    monkeypatch.setattr(idle, "Worker", Worker)
    for _ in range(3):
        with resting.worker(Settings(), JOB):
            pass
    assert told == ["made", "begun", "closed", "made"]


def test_a_database_that_was_opened_ahead_serves_the_first_who_needs_one(resting):
    resting.start_database(Settings())
    resting.start_database(Settings())  # once more does nothing
    opening = resting._opening.result()
    with resting.database(Settings()) as database:
        assert database() is opening
    resting.start_database(Settings())
    assert resting._opening is None  # one rests


def test_a_database_that_nobody_needed_is_closed(resting):
    resting.start_database(Settings())
    opening = resting._opening.result()
    resting.close()
    with pytest.raises(duckdb.Error, match="closed"):
        opening.execute("SELECT 1")
