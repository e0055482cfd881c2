"""What must hold when nothing is killed: the measure for all that follows, and the part that planted faults must fail."""

from __future__ import annotations

import random

import proof
import pytest
from cases import FilesCase


@pytest.fixture(scope="module")
def three_runs(tmp_path_factory):
    """Three runs with new files, updates, copies and bad lines in between."""
    case = FilesCase(tmp_path_factory.mktemp("quiet") / "project", random.Random("quiet"))
    for _ in range(3):
        case.drop.drop(lines=150, files=2)
        case.project.recover()
    return case


def test_every_row_has_one_verdict(three_runs):
    rows = proof.conserved(three_runs.project.folder)
    assert rows["bronze"] == len(three_runs.drop.lines)
    assert all(rows[part] > 0 for part in proof.PARTS), rows


def test_silver_is_what_the_source_says(three_runs):
    proof.silver_is(three_runs.project.folder, three_runs.drop.expected())


def test_bronze_and_quarantine_hold_the_records_byte_for_byte(three_runs):
    proof.bronze_raw_is(three_runs.project.folder, three_runs.drop.lines)
    proof.quarantine_raw_is(three_runs.project.folder, three_runs.drop.bad)


def test_a_run_with_nothing_new_changes_nothing(three_runs):
    before = proof.conserved(three_runs.project.folder)
    three_runs.project.recover()
    assert proof.conserved(three_runs.project.folder) == before


def test_the_product_says_the_same_about_its_account(three_runs):
    told = three_runs.project.audit()
    assert [account["state"] for account in told] == ["balanced"], told
