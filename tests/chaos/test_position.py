"""The position belongs to the rows: it survives upkeep, goes back with a rollback, and is never guessed."""

from __future__ import annotations

import json
import shutil

import pyarrow as pa
import pytest

from rigs.other_tool import OtherTool


@pytest.fixture
def thrice(files):
    """Three runs, three snapshots of bronze and silver."""
    for _ in range(3):
        files.change()
        files.project.recover()
    return files


NOBODYS = -777  # an id that no source has


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


def test_a_row_that_another_tool_adds_is_named_built_upon_and_never_overwritten(thrice):
    """The account says what is wrong, history whose doing it is; nobody takes the row away but a person."""
    found = table(thrice, "silver.orders")
    row = found.scan().to_arrow().slice(0, 1)
    found.append(row.set_column(0, row.schema.field(0), pa.array([NOBODYS], row.schema.field(0).type)))
    thrice.change()
    thrice.project.recover()
    audit = thrice.project.run("audit", "--deep", "--json")
    assert (audit.code, "1 bronze rows with more than one verdict" in audit.out) == (5, True)
    assert thrice.project.run("maintain", "compact").code == 0
    told = json.loads(thrice.project.run("history", "silver.orders", "--json").out)
    assert [one["step"] for one in told] == ["maintain", "refine", "another tool", "refine", "refine", "refine"]
    assert table(thrice, "silver.orders").scan(f"id = {NOBODYS}").to_arrow().num_rows == 1
    assert thrice.project.run("run", "--full-refresh").code == 0
    thrice.check()


def test_after_a_rollback_of_all_tables_the_same_rows_are_read_again(thrice):
    """Rolled back together by one run: bronze and the three that judge it."""
    before = {name: [one.snapshot_id for one in table(thrice, name).snapshots()] for name in LAYERS}
    thrice.change()
    thrice.project.recover()
    for name in LAYERS:
        found = table(thrice, name)
        found.manage_snapshots().rollback_to_snapshot(before[name][-1]).commit()
    thrice.finish()


def test_after_upkeep_and_a_rollback_by_three_the_right_range_is_read_again(files):
    """Compacted after every other run; then all tables go back by three runs, to files that compaction wrote; then history
    is cut to one snapshot, and a branch and a tag of before stay readable."""
    states = []
    for number in range(5):
        files.change()
        files.project.recover()
        if number % 2:
            assert files.project.run("maintain", "compact").code == 0
        states.append({name: table(files, name).current_snapshot().snapshot_id for name in LAYERS})
    oldest = table(files, "silver.orders")
    rows = oldest.scan(snapshot_id=states[0]["silver.orders"]).to_arrow().num_rows
    first = states[0]["silver.orders"]
    oldest.manage_snapshots().create_tag(first, "first").create_branch(first, "side").commit()
    for name, snapshot in states[-4].items():
        table(files, name).manage_snapshots().rollback_to_snapshot(snapshot).commit()
    files.project.recover()
    files.check()
    files.project.strict_upkeep()
    assert files.project.run("maintain").code == 0
    files.check()
    silver = table(files, "silver.orders")
    for name in ("first", "side"):
        assert silver.scan().use_ref(name).to_arrow().num_rows == rows
    files.change()
    files.finish()


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
