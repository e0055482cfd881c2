"""Thousands of small commits with upkeep on: files, snapshots, memory, the time of a commit and the disk stay bounded.

HEADGATE_SOAK says how many commits. They may be made in several goes: with HEADGATE_SOAK_DIR the project is kept there
and goes on where it was, and a go ends after HEADGATE_SOAK_SECONDS; the last one judges all.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from dataclasses import replace
from pathlib import Path

import pytest

from headgate import Project
from headgate.runtime.memory import peak_rss_mib
from headgate.runtime.upkeep import expiry, tend
from headgate.stores.iceberg.expiry import BRIDGES
from rigs import small_lake as small

COMMITS = int(os.environ.get("HEADGATE_SOAK", "2000"))
SECONDS = float(os.environ.get("HEADGATE_SOAK_SECONDS", "inf"))
ROWS = 100
TABLES = ("ledger.orders", "silver.orders")
READER = "serve.somewhere.silver.orders"  # a target that was served once and never again
HOLD_S = 3600.0


def disk_mib(folder) -> float:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 2**20


def look(project, number: int, seconds: list[float], upkeep_s: float) -> dict:
    """What is to stay bounded, after so many commits."""
    cut = project.lake.cut()
    views = [cut.table(name) for name in TABLES]
    return {
        "commits": number,
        "files": max(len(view.files()) for view in views),
        "snapshots": max(view.snapshots() for view in views),
        "metadata_kib": max(Path(view.location.removeprefix("file://")).stat().st_size for view in views) / 1024,
        "rss_mib": round(peak_rss_mib(), 1),
        "disk_mib": round(disk_mib(project.folder / ".headgate"), 2),
        "journal_kib": round((project.folder / ".headgate/lake/catalog.db").stat().st_size / 1024, 1),
        "commit_ms": round(statistics.median(seconds) * 1000, 2),
        "upkeep_ms": round(upkeep_s * 1000 / len(seconds), 2),
    }


def go_on(project, log: Path, commits: int) -> None:
    """Commit, tend, look now and then, until there are so many or the time of this go is over."""
    ends = time.monotonic() + SECONDS
    number = small.where(project.lake, TABLES[1]) // ROWS if project.lake.cut().names() else 0
    every = max(commits // 20, 1)
    seconds, upkeep_s = [], 0.0
    while number < commits and time.monotonic() < ends:
        begun = time.process_time()
        small.publish(project.lake, number * ROWS, ROWS, *TABLES, sort=("_hg_offset",))
        seconds.append(time.process_time() - begun)
        begun = time.process_time()
        kept = tend(project, seconds[-1])
        upkeep_s += time.process_time() - begun
        assert kept.error is None, kept.error
        number += 1
        if number == every // 2 + 1:
            held = project.lake.cut().table(TABLES[1]).snapshot_id
            project.lake.hold(READER, TABLES[1], {held}, HOLD_S)
        if number % every == 0:
            told = look(project, number, seconds, upkeep_s)
            print(told)
            with log.open("a") as file:
                file.write(json.dumps(told) + "\n")
            seconds, upkeep_s = [], 0.0


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("commits", [80, pytest.param(COMMITS, marks=pytest.mark.slow, id="all")])
def test_many_small_commits_leave_a_small_fast_lake(files, commits, monkeypatch):
    folder = (
        Path(os.environ.get("HEADGATE_SOAK_DIR", files.project.folder)) if commits == COMMITS else files.project.folder
    )
    if not (folder / "contracts").is_dir():
        files.project.folder.rename(folder)
    (folder / "headgate.yaml").write_text("upkeep: {keep_hours: 0}\n")
    log = folder / "soak.jsonl"
    with Project.open(folder) as project:
        go_on(project, log, commits)
        done = small.where(project.lake, TABLES[1]) // ROWS
        for name in TABLES:
            assert small.offsets(project.lake, name) == list(range(done * ROWS))
        if done < commits:
            print(f"{done} of {commits} commits: call again")
            return
        looks = [json.loads(line) for line in log.read_text().splitlines()]
        (hold,) = project.lake.holds()
        added, removed = project.lake.cut().table(TABLES[1]).changes(hold.snapshot)
        assert added
        assert removed == [] or len(removed) <= 10
        later = time.time() + HOLD_S  # the target has been away too long
        monkeypatch.setattr("time.time", lambda: later)
        # With no more snapshots than are kept there would be nothing to do yet.
        project.lake.expire(TABLES[1], replace(expiry(project.settings.upkeep), snapshots=10))
        assert BRIDGES not in project.lake.cut().table(TABLES[1]).properties
        assert project.lake.holds() == []
    early, late = looks[len(looks) // 10], looks[-1]
    assert max(one["files"] for one in looks) <= 40
    assert max(one["snapshots"] for one in looks) <= 60
    assert max(one["metadata_kib"] for one in looks) <= 256
    if commits >= 1000:
        assert late["commit_ms"] / early["commit_ms"] <= 1.5
        assert max(one["rss_mib"] for one in looks) - early["rss_mib"] <= 64
        without = [one["disk_mib"] - one["journal_kib"] / 1024 for one in looks]
        assert without[-1] <= max(without[: len(looks) // 2]) + 10
