"""Two thousand small commits with upkeep on: files, snapshots, memory, the time of a commit and the disk stay bounded."""

from __future__ import annotations

import os
import statistics
import time

import pytest

from headgate import Project
from headgate.runtime.loop import peak_rss_mib
from headgate.runtime.upkeep import tend
from rigs import small_lake as small

COMMITS = int(os.environ.get("HEADGATE_SOAK", "2000"))
ROWS = 100
TABLE = "silver.orders"


def disk_mib(folder) -> float:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 2**20


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_small_commits_leave_a_small_fast_lake(files):
    folder = files.project.folder
    (folder / "headgate.yaml").write_text("upkeep: {keep_hours: 0}\n")
    seconds, looks = [], []
    with Project.open(folder) as project:
        for number in range(COMMITS):
            begun = time.process_time()
            small.publish(project.lake, number * ROWS, ROWS, TABLE, sort=("_hg_offset",))
            seconds.append(time.process_time() - begun)
            kept = tend(project, seconds[-1])
            assert kept.error is None, kept.error
            if (number + 1) % (COMMITS // 4) == 0:
                view = project.lake.cut().table(TABLE)
                looks.append((len(view.files()), view.snapshots(), peak_rss_mib(), disk_mib(folder)))
                print(f"{number + 1} commits: files, snapshots, MiB of memory, MiB on disk: {looks[-1]}")
        assert small.offsets(project.lake, TABLE) == list(range(COMMITS * ROWS))
        assert small.where(project.lake, TABLE) == COMMITS * ROWS
    tenth = COMMITS // 10
    early, late = statistics.median(seconds[:tenth]), statistics.median(seconds[-tenth:])
    print(f"a commit: {early * 1000:.1f} ms of CPU at first, {late * 1000:.1f} ms at last")
    assert late / early <= 2
    first, last = looks[0], looks[-1]
    assert last[0] <= 40
    assert last[1] <= 60
    assert last[2] - first[2] <= 64
    assert last[3] <= first[3] + 10
