"""Upkeep as strict as it can be, killed, without space, beside runs: the account, positions and replays do not notice."""

from __future__ import annotations

import time

import pytest
from test_disk_full import limited, said_so
from under_test import finish

from conftest import KILLS
from headgate import Project

LAYERS = ("bronze.orders", "silver.orders", "quarantine.orders", "ledger.orders")


def changed(case, times: int):
    """Small commits."""
    for _ in range(times):
        case.change()
        case.project.recover()
    return case


def tables(case) -> dict[str, tuple[int, int]]:
    """Files and snapshots of each table."""
    with Project.open(case.project.folder) as project:
        cut = project.lake.cut()
        return {name: (len(cut.table(name).files()), cut.table(name).snapshots()) for name in LAYERS}


def test_the_account_positions_and_a_replay_survive_compaction_expiry_and_cleaning(files):
    changed(files, 4)
    files.project.strict_upkeep()
    assert files.project.run("maintain").code == 0
    after = tables(files)
    assert all(after[name] == (1, 1) for name in LAYERS if name != "silver.orders"), after
    assert after["silver.orders"] == (1, 2)  # gold was built from the older one, and the next build compares with it
    assert files.project.audit()[0]["state"] == "balanced"
    files.check()
    assert "nothing new" in files.project.run().err
    files.change()
    files.project.recover()
    files.check()
    files.project.write_contract(minimum=-1000)
    assert files.project.run("quarantine", "replay").code == 0
    files.check_account()
    assert files.project.audit()[0]["state"] == "balanced"
    assert files.project.run("run", "--full-refresh").code == 0
    files.check_account()


@pytest.mark.parametrize("size_bytes", [0, 3000])
def test_upkeep_without_space_leaves_all_as_it_was(files, size_bytes):
    changed(files, 3)
    files.project.strict_upkeep()
    before = tables(files)
    said_so(finish(files.project.begin("maintain", limits=limited(size_bytes)), time.monotonic()))
    assert tables(files) == before
    files.check()
    assert files.project.run("maintain").code == 0
    files.check()
    files.change()
    files.finish()


@pytest.mark.timeout(120 + 40 * KILLS)
def test_upkeep_killed_beside_a_run_that_is_killed_too(files, rng, kills):
    """Both at once, each killed at a random time; then both again."""
    changed(files, 2)
    files.project.strict_upkeep()
    for _ in range(max(kills // 4, 2)):
        files.change()
        ends = [(files.project.begin(verb), rng.uniform(0.3, 3.0)) for verb in ("maintain", "run")]
        for process, after_s in ends:
            done = finish(process, time.monotonic(), after_s)
            assert done.killed or done.code in (0, 3), done.err[-3000:]
        files.project.recover()
        assert files.project.run("maintain").code == 0
        files.check()
    files.finish()
