"""The position belongs to the rows: it survives upkeep, goes back with a rollback, and is never guessed."""

from __future__ import annotations

import shutil

import pytest

from rigs.other_tool import OtherTool


@pytest.fixture
def thrice(files):
    """Three runs, three snapshots of bronze and silver."""
    for _ in range(3):
        files.change()
        files.project.recover()
    return files


def table(case, name: str):
    return OtherTool(case.project.folder / ".headgate" / "lake" / "catalog.db").load_table(name)


LAYERS = ("bronze.orders", "silver.orders", "quarantine.orders", "ledger.orders")


def test_after_expiry_the_next_run_goes_on(thrice):
    for name in LAYERS:
        found = table(thrice, name)
        old = [one.snapshot_id for one in found.snapshots() if one != found.current_snapshot()]
        found.maintenance.expire_snapshots().by_ids(old).commit()
    thrice.check()
    thrice.change()
    thrice.finish()


def test_after_a_rewrite_by_another_tool_the_next_run_goes_on(thrice):
    found = table(thrice, "silver.orders")
    found.overwrite(found.scan().to_arrow())
    thrice.check()
    thrice.change()
    thrice.finish()


def test_after_a_rollback_of_all_tables_the_same_rows_are_read_again(thrice):
    """Rolled back together by one run: bronze and the three that judge it."""
    before = {name: [one.snapshot_id for one in table(thrice, name).snapshots()] for name in LAYERS}
    thrice.change()
    thrice.project.recover()
    for name in LAYERS:
        found = table(thrice, name)
        found.manage_snapshots().rollback_to_snapshot(before[name][-1]).commit()
    thrice.finish()


def test_a_rollback_of_bronze_alone_is_not_passed_over(thrice):
    """Silver is ahead of bronze then: the run stops by name, or what comes out is right."""
    found = table(thrice, "bronze.orders")
    found.manage_snapshots().rollback_to_snapshot(found.current_snapshot().parent_snapshot_id).commit()
    done = thrice.project.run()
    if done.code == 0:
        thrice.check()
    else:
        assert done.code == 5, done.err[-2000:]


def test_files_of_another_folder_under_the_same_name_stop_the_run(thrice):
    inbox = thrice.project.folder / "inbox"
    for path in inbox.iterdir():
        path.write_bytes(path.read_bytes()[:-20] + b"\n")
    done = thrice.project.run()
    assert done.code == 5, done.err[-2000:]
    assert "source-changed" in done.err
    assert not list(thrice.project.folder.rglob("*.tmp"))


def test_a_moved_project_goes_on_or_says_why_not(thrice, tmp_path):
    """The whole folder under another path, with something new to read."""
    moved = tmp_path / "moved"
    shutil.copytree(thrice.project.folder, moved)
    old, thrice.project.folder = thrice.project.folder, moved
    thrice.drop.inbox = moved / "inbox"
    thrice.change()
    done = thrice.project.run()
    if done.code == 0:
        thrice.check()
    else:
        assert done.code in {2, 5}, done.err[-2000:]
        assert str(old) in done.err or "moved" in done.err, done.err
