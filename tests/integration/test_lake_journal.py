"""The journal kept short: what its lines add up to stays, however often and whenever it is folded."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.command import good, headgate
from headgate.runtime.project import Project
from headgate.runtime.upkeep import maintain
from headgate.steps.records import added_up
from headgate.stores.iceberg import journal
from rigs import small_lake as small

KILLED = "journal: folded, not committed"


@pytest.fixture
def eager(monkeypatch):
    """The two newest lines are spared, and all else may be folded."""
    monkeypatch.setattr(journal, "NEWEST", 2)


@pytest.fixture
def lake(tmp_path):
    lake = small.lake_in(tmp_path, snapshots=3)
    for number in range(12):
        small.publish(lake, number, 1)
        with lake.publication("land") as publication:
            publication.note({"dataset": "orders", "rows": number, "run": "r"})
            publication.commit()
    return lake


def landed(lake):
    return added_up(r for r in reversed(lake.publications(None)) if r.get("dataset") == "orders")


def test_old_lines_become_one_and_the_sum_stays(lake, eager):
    before = landed(lake)
    assert (len(lake.publications(None)), before["rows"], before["folded"]) == (24, 66, 12)
    kept = {one["id"] for one in lake.publications(2)} | lake.cut().table("bronze.orders").publications()
    gone = lake.fold(0.0, added_up)
    assert gone == 24 - len(lake.publications(None)) > 12
    assert landed(lake) == before
    assert kept <= {one["id"] for one in lake.publications(None)}
    small.publish(lake, 12, 1)
    assert lake.fold(0.0, added_up) >= 0
    assert landed(lake) == before
    assert lake.history("bronze.orders")[-1]["record"]["folded"] > 1


def test_young_lines_and_short_journals_are_left_alone(lake, monkeypatch):
    assert lake.fold(0.0, added_up) == 0, "there are few"
    monkeypatch.setattr(journal, "NEWEST", 2)
    assert lake.fold(3600.0, added_up) == 0, "they are young"


def test_some_at_a_time_come_to_the_same(lake, eager, monkeypatch):
    before = landed(lake)
    monkeypatch.setattr(journal, "AT_ONCE", 5)
    while lake.fold(0.0, added_up):
        assert landed(lake) == before
    assert len(lake.publications(None)) < 10


def test_killed_within_a_fold_the_journal_is_as_it_was(lake, eager):
    before = lake.publications(None)
    code = (
        f"from rigs import small_lake as s; from pathlib import Path; from headgate.stores.iceberg import journal\n"
        f"from headgate.steps.records import added_up\njournal.NEWEST = 2\n"
        f"s.lake_in(Path({str(lake.settings.warehouse.parent)!r}), snapshots=3).fold(0.0, added_up)"
    )
    env = {**os.environ, "HEADGATE_CRASH": KILLED, "PYTHONPATH": str(Path(__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", code], env=env, timeout=60, check=False).returncode == -9
    assert lake.publications(None) == before
    assert lake.fold(0.0, added_up) > 0


def test_files_whose_publication_is_folded_away_wait_like_published_ones(lake, eager):
    """A reader may still be at them: they go when they have been without a name for so long, not when they are old."""
    (old,) = {one.path for one in lake.cut().table("bronze.orders").files()[:1]}
    lake.fold(0.0, added_up)
    with lake.publication("refine") as publication:
        publication.clear("bronze.orders")
        publication.commit()
    for _ in range(4):  # until no snapshot names the file
        small.publish(lake, small.where(lake), 1)
    os.utime(old, (os.path.getmtime(old) - 7200,) * 2)
    lake.clean(3600.0)
    assert Path(old).exists()
    lake.clean(0.0)
    assert not Path(old).exists()


def test_the_account_is_proven_from_a_folded_journal(tmp_path, eager):
    project = tmp_path / "shop"
    assert headgate("init", project).code == 0
    (project / "headgate.yaml").write_text("upkeep: {automatic: false, snapshots: 1, keep_hours: 0}\n")
    head = "order_id,ordered_at,customer,amount,status,updated_at\n"
    for number in range(4):
        good("run", *(["--full-refresh"] if number == 2 else []), project=project)
        line = f"{100 + number},2026-11-01 09:12:00,ada@example.com,19.99,paid,2026-11-03 07:00:00\n"
        (project / "data" / f"orders_{number}.csv").write_text(head + line)
    good("run", project=project)
    (before,) = good("audit", "--deep", project=project)
    with Project.open(str(project)) as opened:
        assert maintain(opened, ["expire"]).folded > 3
    (after,) = good("audit", "--deep", project=project)
    assert after == before
    assert after["state"] == "balanced"


@pytest.mark.parametrize("seed", range(20))
def test_a_sum_of_sums_is_the_sum(seed):
    luck = random.Random(seed)
    records = [
        {
            "dataset": "d",
            "rows": luck.randrange(9),
            "verdicts": {v: luck.randrange(9) for v in luck.sample(["accepted", "duplicate", "quarantined"], 2)},
            "partitions": {luck.choice("ab"): {"accepted": luck.randrange(9)}},
            "rebuild": luck.random() < 0.2,
        }
        for _ in range(12)
    ]
    whole, parts = added_up(records), list(records)
    while len(parts) > 1:
        at = luck.randrange(len(parts) - 1)
        until = luck.randrange(at + 2, len(parts) + 1)
        parts[at:until] = [added_up(parts[at:until])]
        assert added_up(parts) == whole
    last = max((i for i, r in enumerate(records) if r["rebuild"]), default=0)
    assert whole["rows"] == sum(r["rows"] for r in records[last:])
    assert whole["folded"] == 12
