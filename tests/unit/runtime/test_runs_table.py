"""Runs that end at the same moment are all rows of `headgate.runs`."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest

from headgate.errors import CommitConflict
from headgate.runtime.record import RunRecord
from headgate.runtime.runs_table import NAME, publish_record
from headgate.steps.run import Run
from headgate.stores.iceberg import open_lake


class Beaten:
    """A lake in which somebody else is first, for so many commits."""

    def __init__(self, lake, rival, times=1):
        self.lake, self.rival, self.times = lake, rival, times

    @contextmanager
    def publication(self, step):
        with self.lake.publication(step) as publication:
            yield _Late(publication, self)


class _Late:
    def __init__(self, publication, beaten):
        self._publication, self._beaten = publication, beaten

    def __getattr__(self, name):
        return getattr(self._publication, name)

    def commit(self):
        if self._beaten.times:
            self._beaten.times -= 1
            self._beaten.rival()
        return self._publication.commit()


def publish(lake, name):
    publish_record(lake, RunRecord(name, "2026-11-20T12:00:00+00:00"), Run(name, datetime(2026, 11, 20, tzinfo=UTC)))


def runs(lake):
    files = lake.cut().table(NAME).files()
    return sorted(run for one in files for run in pq.read_table(one.path).column("run_id").to_pylist())


def lakes(folder):
    return [open_lake({"catalog": "sqlite", "warehouse": str(folder / "lake")}) for _ in range(2)]


def test_a_run_whose_rival_makes_the_table_at_the_same_moment_is_a_row_too(tmp_path):
    mine, other = lakes(tmp_path)
    publish(Beaten(mine, lambda: publish(other, "rival")), "mine")
    assert runs(mine) == ["mine", "rival"]


def test_who_is_beaten_every_time_says_so(tmp_path, monkeypatch):
    mine, _ = lakes(tmp_path)

    def beat(self):
        raise CommitConflict("always another", where=NAME)

    monkeypatch.setattr(_Late, "commit", beat)
    with pytest.raises(CommitConflict, match="always another"):
        publish(Beaten(mine, None), "mine")
