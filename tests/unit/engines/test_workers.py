"""Workers side by side give what one gives, and end with their job."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from refine_rig import Rig, dataset, instant, integer, text

from headgate.engines.duckdb import open_engine, pieces, pool
from headgate.engines.duckdb.connection import Settings
from headgate.engines.duckdb.pieces import plan_pieces
from headgate.engines.duckdb.processes import start_workers
from headgate.engines.duckdb.worker import hash_sum, where_among
from headgate.errors import FixInputError, HeadgateError, RetryableError
from headgate.ports.batch import FORMAT, RAW

FIELDS = [integer("k", required=True, key_position=1), instant("at", required=True), text("v", required=True)]
DATASET = dataset(FIELDS, key=("k",), order=("at",))


def lines(start, count):
    made = []
    for n in range(start, start + count):
        if n % 13 == 0:
            made.append(b"broken")
        elif n % 17 == 0:
            made.append(json.dumps({"k": n, "at": "2026-01-01", "v": None}).encode())
        else:
            at = f"2026-0{1 + n % 3}-01T00:00:{n % 60:02}Z"
            made.append(json.dumps({"k": n * 7919 % 900, "at": at, "v": f"{n % 2}"}).encode())
    return pa.table({RAW: pa.array(made, pa.binary()), FORMAT: ["json"] * count})


def history(folder, **settings):
    rig = Rig(folder, DATASET, **settings)
    for start in (0, 2000):
        rig.land(lines(start, 2000), row_group_size=100)
        rig.refine()
    return rig


def content(rig):
    own = {"run_id", "judged_at", "quarantined_at"}
    return {layer: [{k: v for k, v in r.items() if k not in own} for r in rig.rows(layer)] for layer in rig.files}


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(pieces, "PIECE_BYTES", 8192)


@pytest.mark.parametrize("kind", ["THREADS_FROM_BYTES", "PROCESSES_FROM_BYTES"])
def test_threads_and_processes_give_what_one_worker_gives(tmp_path, monkeypatch, small_pieces, kind):
    expected = history(tmp_path / "one", threads=1)
    assert expected.silver_rows == len(expected.rows("silver")) > 500
    monkeypatch.setattr(pool, kind, 0)
    rig = history(tmp_path / "several", threads=3)
    assert content(rig) == content(expected)
    assert (rig.checksum, rig.silver_rows) == (expected.checksum, expected.silver_rows)


def test_a_worker_that_is_killed_is_an_error_to_retry_and_nothing_stays_behind(tmp_path, small_pieces):
    rig = Rig(tmp_path, DATASET)
    job = rig.job([rig.land(lines(0, 1000), row_group_size=100)])
    piece = plan_pieces(job)[0]
    with start_workers(Settings(), job, 2) as workers:
        pids = _pids_behind()
        assert len(pids) == 2
        os.kill(pids[1], signal.SIGKILL)
        assert "died" in " ".join(filter(None, (_failure(worker, piece) for worker in workers)))
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)


def _failure(worker, piece):
    try:
        worker.decode(piece)
    except RetryableError as error:
        return error.message
    return None


def _pids_behind():
    """The processes that workers run in: the one that was started, and those that it forked."""
    with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children") as children:
        started = int(children.read().split()[-1])
    with open(f"/proc/{started}/task/{started}/children") as children:
        return [started, *map(int, children.read().split())]


def test_a_contract_error_in_a_worker_process_arrives_as_itself(tmp_path, monkeypatch, small_pieces):
    monkeypatch.setattr(pool, "PROCESSES_FROM_BYTES", 0)
    rig = Rig(tmp_path, dataset([integer("k", transform="nothing(a)")]), threads=2)
    rig.land(lines(0, 500), row_group_size=100)
    with pytest.raises(FixInputError) as error:
        rig.refine()
    assert "transformLogic" in str(error.value)
    assert error.value.hint.startswith("source columns")


def test_row_groups_outside_the_job_are_not_read(tmp_path):
    rig = Rig(tmp_path, DATASET)
    rig.land(lines(0, 1000), row_group_size=100)
    rig.judged["p"] = 950
    (piece,) = plan_pieces(rig.job(rig.pending()))
    assert piece.row_groups == (9,)
    assert not piece.whole


def test_sums_of_hashes_are_exact():
    hashes = np.array([2**64 - 1, 2**64 - 1, 5], np.uint64)
    assert hash_sum(hashes) == 2 * (2**64 - 1) + 5
    assert hash_sum(hashes[:0]) == 0


def test_membership_is_exact():
    ordered = np.array([2, 5, 9, 2**64 - 1], np.uint64)
    alike = 2 + 2**40  # in its lowest bits
    values = np.array([1, 2, 9, 10, alike, 2**64 - 1, 2], np.uint64)
    assert where_among(values, ordered).tolist() == [1, 2, 5, 6]
    assert where_among(values, ordered[:0]).tolist() == []
    assert where_among(values[:0], ordered).tolist() == []


@pytest.mark.parametrize(
    "given",
    [{"memory": "1GB"}, {"memory_limit": "lots"}, {"memory_limit": "1MB"}, {"threads": -1}, {"threads": "two"}],
)
def test_wrong_settings_are_refused_by_name(given):
    with pytest.raises(FixInputError):
        open_engine(given)


def test_errors_cross_a_pipe_whole():
    import pickle

    error = pickle.loads(pickle.dumps(FixInputError("m", hint="h", where="w", stage="s")))
    assert isinstance(error, HeadgateError)
    assert error.as_dict() == FixInputError("m", hint="h", where="w", stage="s").as_dict()


def test_processes_that_were_started_before_the_job_do_it(tmp_path, monkeypatch, small_pieces):
    monkeypatch.setattr(pool, "THREADS_FROM_BYTES", 0)
    expected = history(tmp_path / "one", threads=1)
    rig = Rig(tmp_path / "prepared", DATASET, threads=2)
    for start in (0, 2000):
        rig.land(lines(start, 2000), row_group_size=100)
        rig.engine.prepare()
        rig.engine.prepare()  # once more does nothing
        pids = _pids_behind()
        monkeypatch.setattr(pool, "Worker", lambda *a: pytest.fail("a thread"))
        rig.refine()
        assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
    assert content(rig) == content(expected)


def test_processes_that_no_job_wanted_end_with_the_engine(tmp_path):
    engine = open_engine({"threads": 2})
    engine.prepare()
    with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children") as children:
        started = int(children.read().split()[-1])
    engine.close()
    assert not os.path.exists(f"/proc/{started}")


def test_beside_other_work_one_worker_does_it(tmp_path, monkeypatch, small_pieces):
    monkeypatch.setattr(pool, "THREADS_FROM_BYTES", 0)
    monkeypatch.setattr(pool, "Worker", lambda *a: pytest.fail("another worker"))
    rig = Rig(tmp_path, DATASET, threads=3)
    job = rig.job([rig.land(lines(0, 1000), row_group_size=100)])
    refined = rig.engine.refine(replace(job, beside=True))
    assert sum(sum(counts.values()) for counts in refined.verdicts.values()) == 1000
