"""The suite is itself tested: each planted fault must make its part of the suite fail, and no fault must not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import planted
import pytest

TESTS = Path(__file__).parents[1]
STORE = "conformance/test_stores.py"
SOURCES = "conformance/test_sources.py"
JUDGED = "chaos/test_quiet.py"
LEDGER = "unit/testing/test_ledger.py"

# fault: the part of the suite, and the tests of it that must fail (parts of their names)
CAUGHT_BY = {
    "offset_before_commit": (STORE, ["death_at_any_point_leaves_all", "death_at_any_point_of_a_commit"]),
    "rows_before_position": (STORE, ["death_at_any_point_leaves_all", "death_at_any_point_of_a_commit"]),
    "fence_off": (STORE, ["a_stale_start_is_refused", "of_two_committers_one_wins", "the_same_batches_again"]),
    "retry_without_check": (STORE, ["of_many_publications_at_once", "of_two_publications_from_one_position"]),
    "half_publication": (STORE, ["a_publication_moves_all_its_tables"]),
    "swallowed_exception": (STORE, ["an_iterator_that_raises_leaves_nothing", "rows_that_raise_while_written"]),
    "position_not_checked": (SOURCES, ["a_position_of_another_source_stops", "a_malformed_position_stops"]),
    "position_one_too_far": (SOURCES, ["stopping_at_any_end_and_reading_on", "one_end_per_connection"]),
    "lost_ties": (SOURCES, ["a_later_read_can_stop_at_any_end_too"]),
    "first_transaction_lost": (SOURCES, ["a_change_is_read_by_the_next_run"]),
    "lost_quarantine_row": (JUDGED, ["every_row_has_one_verdict"]),
    "double_accept": (JUDGED, ["every_row_has_one_verdict"]),
    "stale_silver_rewrite": (JUDGED, ["every_row_has_one_verdict"]),
    "lost_ledger_rows": (JUDGED, ["every_row_has_one_verdict"]),
    "value_changed": (JUDGED, ["silver_is_what_the_source_says"]),
    "xor_ledger": (LEDGER, ["doubled_pairs_do_not_cancel"]),
}


# What of a part is run: the tests that must notice the fault, and some that must not.
RIGS = {STORE: "(IcebergLakeRig or IcebergSinkRig) and ", SOURCES: "(KeyedSourceRig or NdjsonSourceRig) and "}
UNHARMED = {STORE: ["a_new_stream_stands_at_the_start"], SOURCES: ["the_schema_is_what_is_read"]}


def suite(part: str, fault: str = "", names: list[str] | None = None) -> subprocess.CompletedProcess:
    """Run one part of the suite in a process of its own, with the fault planted."""
    env = {**os.environ, "PYTHONPATH": str(TESTS / "chaos"), "HEADGATE_FAULT": fault}
    if not fault:
        del env["HEADGATE_FAULT"]
    command = [sys.executable, "-m", "pytest", "-p", "planted", "-rA", str(TESTS / part)]
    if names and part in UNHARMED:
        command += ["-k", f"{RIGS[part]}({' or '.join(names + UNHARMED[part])})"]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=280, cwd=TESTS.parent)


def test_every_fault_has_a_part_of_the_suite_that_catches_it():
    assert CAUGHT_BY.keys() == planted.FAULTS.keys()
    assert len(planted.FAULTS) >= 10


@pytest.mark.parametrize("fault", CAUGHT_BY)
def test_a_planted_fault_makes_the_suite_fail(fault):
    part, names = CAUGHT_BY[fault]
    done = suite(part, fault, names)
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr[-2000:]
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    passed = [line for line in done.stdout.splitlines() if line.startswith("PASSED ")]
    missed = [name for name in names if not any(name in line for line in failed)]
    assert not missed, f"{missed} did not notice it; noticed by {failed}"
    assert passed, "everything fails: the fault broke the tests, not the promise"


@pytest.mark.slow
@pytest.mark.parametrize("part", sorted({part for part, _ in CAUGHT_BY.values()}))
def test_without_a_fault_the_same_parts_pass(part):
    done = suite(part)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
