"""Two processes on one lake: one wins, the other says so, and no row stands twice."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter

import pytest
from under_test import finish, kill

from conftest import KILLS

NAMED = ("stale-position", "commit-conflict", "a data file is gone")  # the last where nothing is kept for readers
LOST = {0, 3, 5}  # nothing left to do, somebody was faster, stopped to protect data


@pytest.fixture(params=["files", "postgres", "kafka"])
def case(request):
    """Each source in turn."""
    return request.getfixturevalue(request.param)


@pytest.mark.timeout(300 + 20 * KILLS)
def test_of_several_runs_at_once_one_wins(case, rng, kills):
    """Two at once; at full size (200 kills) 100 times two to eight."""
    ends = []
    for _ in range(max(3, kills // 2) if kills > 10 else 3):
        case.change()
        started = time.monotonic()
        both = [case.project.begin("run") for _ in range(rng.randrange(2, 9) if kills > 10 else 2)]
        done = [finish(process, started) for process in both]
        codes = [one.code for one in done]
        assert 0 in codes or set(codes) <= {3, 5}, [one.err[-1000:] for one in done]
        for one in done:
            assert one.code in LOST, one.err[-3000:]
            assert one.code == 0 or "stale-position" in one.err or "commit-conflict" in one.err, one.err
        ends.append(codes)
        case.project.recover()
        case.check()
    print(f"exit codes: {ends}")
    case.finish()


def test_a_run_stopped_in_its_commit_adds_nothing_when_it_wakes_up(case, rng, tmp_path):
    """A zombie: frozen with rows written and not published, overtaken, thawed.

    Landing stops by name, for its rows are those of an old position. Refining may look again and find nothing to do.
    """
    case.change()
    case.project.recover()
    for point in ("land: rows written, position not", "refine: files written, not published"):
        case.change()
        fifo = tmp_path / f"stopped {len(point)}"
        os.mkfifo(fifo)
        zombie = case.project.begin("run", env={"HEADGATE_STOP": point, "HEADGATE_STOP_FIFO": str(fifo)})
        waiting = threading.Timer(60, kill, [zombie])
        waiting.start()
        with open(fifo) as told:  # returns when the zombie is about to stop itself
            assert told.read() == point
        waiting.cancel()
        started = time.monotonic()
        case.project.recover()
        os.killpg(zombie.pid, signal.SIGCONT)
        done = finish(zombie, started)
        allowed = {3, 5} if point.startswith("land") else LOST
        assert done.code in allowed, f"the zombie ended with {done.code}: {done.err[-2000:]}"
        assert done.code == 0 or "stale-position" in done.err or "commit-conflict" in done.err, done.err
        case.project.recover()
        case.check()
    case.finish()


@pytest.mark.timeout(900)
def test_of_many_runs_at_once_one_wins_also_beside_upkeep(files, rng, kills):
    """Two to eight runs of one range, and upkeep as strict as it can be, all at once. HEADGATE_ROUNDS: how often."""
    rounds = int(os.environ.get("HEADGATE_ROUNDS") or (100 if kills > 10 else 1))
    files.project.busy_upkeep()
    ends, most = Counter(), 0
    for _ in range(rounds):
        files.change()
        started, many = time.monotonic(), rng.randint(2, 8 if rounds > 1 else 3)
        runs = [files.project.begin("run") for _ in range(many)]
        upkeep = files.project.begin("maintain")
        done = [finish(process, started) for process in runs]
        kept = finish(upkeep, started)
        assert kept.code == 0 or (kept.code == 3 and "commit-conflict" in kept.err), kept.err[-3000:]
        for one in done:
            assert one.code in LOST, one.err[-3000:]
            assert one.code == 0 or any(name in one.err for name in NAMED), one.err
        ends.update(one.code for one in done)
        most = max(most, many)
        files.project.recover()
        files.check()
    files.finish()
    print(f"{rounds} rounds, at most {most} runs at once; exit codes: {dict(ends)}")
