"""No space, no rights, no answer: each is told by name, and the lake stays what it was."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from headgate.errors import FixInputError, OutcomeUnknownError, StoreUnavailable
from headgate.stores.iceberg import local_io
from headgate.stores.iceberg.publication import IcebergPublication
from headgate.stores.iceberg.sqlite_catalog import Sqlite
from rigs import small_lake as small

TABLE = "bronze.orders"


@pytest.fixture
def lake(tmp_path):
    lake = small.lake_in(tmp_path)
    small.publish(lake, 0, 2)
    return lake


def tell(lake, *arguments):
    """What a worker process told."""
    done = subprocess.run(
        [sys.executable, "-m", "rigs.lake_worker", str(lake.settings.warehouse), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class FailingCommit:
    """A real connection whose COMMIT raises: after it was done, or instead of it."""

    def __init__(self, connection, database):
        self._connection = connection
        self._database = database

    def cursor(self):
        return FailingCursor(self._connection.cursor(), self._database)

    def __getattr__(self, name):
        return getattr(self._connection, name)


class FailingCursor:
    def __init__(self, cursor, database):
        self._cursor = cursor
        self._database = database

    def execute(self, sql, values=()):
        if sql == "COMMIT":
            if self._database.lands:
                self._cursor.execute(sql)
            self._database.failed = True
            raise sqlite3.OperationalError("disk I/O error")
        return self._cursor.execute(sql, values)

    def __getattr__(self, name):
        return getattr(self._cursor, name)


class FailingDatabase(Sqlite):
    """SQLite whose next commit loses its answer; `blind`: and which cannot be opened after that."""

    def __init__(self, lake, *, lands, blind=False):
        super().__init__(str(lake.settings.warehouse / "catalog.db"), 5.0)
        self.lands, self.blind, self.failed = lands, blind, False

    def connect(self):
        if self.failed and self.blind:
            raise sqlite3.OperationalError("unable to open database file")
        connection = super().connect()
        return connection if self.failed else FailingCommit(connection, self)


def test_a_lost_answer_of_a_commit_that_landed_is_settled_as_landed(lake):
    lake.pointers.database = FailingDatabase(lake, lands=True)
    small.publish(lake, 2, 1)
    assert small.offsets(lake) == [0, 1, 2]
    assert len(lake.publications()) == 2


def test_a_commit_that_did_not_land_is_settled_as_refused_and_leaves_nothing(lake):
    before = small.files_under(lake)
    lake.pointers.database = FailingDatabase(lake, lands=False)
    with pytest.raises(StoreUnavailable):
        small.publish(lake, 2, 1)
    assert small.offsets(lake) == [0, 1]
    assert small.files_under(lake) == before
    small.publish(lake, 2, 1)
    assert small.offsets(lake) == [0, 1, 2]


@pytest.mark.parametrize("commits", [6, pytest.param(100, marks=pytest.mark.slow)])
def test_of_many_lost_answers_no_row_is_doubled_and_no_named_file_removed(lake, commits):
    """Every other commit had landed. What is tried again is what the table says is missing."""
    sound, landed = lake.pointers.database, 0
    for number in range(commits):
        at = small.where(lake)
        lake.pointers.database = FailingDatabase(lake, lands=number % 2 == 0)
        try:
            small.publish(lake, at, 3)
            landed += 1
        except StoreUnavailable:
            assert number % 2
        lake.pointers.database = sound
    assert landed == (commits + 1) // 2
    assert small.offsets(lake) == list(range(2 + 3 * landed))
    paths = [info.path for info in lake.cut().table(TABLE).files()]
    assert len(paths) == len(set(paths))
    assert all(os.path.exists(path) for path in paths)


@pytest.mark.parametrize("lands", [True, False])
def test_an_outcome_that_cannot_be_looked_up_is_unknown_and_nothing_is_deleted(lake, lands):
    before = small.files_under(lake)
    sound, lake.pointers.database = lake.pointers.database, FailingDatabase(lake, lands=lands, blind=True)
    with pytest.raises(OutcomeUnknownError):
        small.publish(lake, 2, 1)
    assert len(small.files_under(lake)) >= len(before) + 4
    lake.pointers.database = sound
    assert small.offsets(lake) == ([0, 1, 2] if lands else [0, 1])


@pytest.mark.parametrize("limit", [1_500, 20_000])
def test_no_space_is_told_by_name_and_leaves_nothing(lake, limit):
    """The limit hits the data file, or a later and smaller file, whichever is first too long."""
    before = small.files_under(lake)
    assert tell(lake, "full", limit).startswith("FixInputError no space")
    assert small.files_under(lake) == before
    assert small.offsets(lake) == [0, 1]
    small.publish(lake, 2, 1)


def test_a_warehouse_that_may_not_be_written_is_told_by_name(lake):
    for path in (lake.settings.warehouse, *lake.settings.warehouse.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    parent = lake.settings.warehouse
    while parent != parent.parent:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
        parent = parent.parent
    assert tell(lake, "nobody").startswith(("FixInputError no right", "FixInputError cannot open or write"))
    for path in (lake.settings.warehouse, *lake.settings.warehouse.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert small.offsets(lake) == [0, 1]


def test_a_catalog_that_another_holds_locked_is_unavailable(tmp_path):
    lake = small.lake_in(tmp_path, busy_timeout_s=0.05)
    small.publish(lake, 0, 1)
    with closing(sqlite3.connect(lake.settings.warehouse / "catalog.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailable, match="locked"):
            small.publish(lake, 1, 1)
        with pytest.raises(StoreUnavailable, match="locked"):
            lake.cut()
        other.execute("ROLLBACK")
    small.publish(lake, 1, 1)
    assert small.offsets(lake) == [0, 1]


def test_a_catalog_in_which_another_program_never_ends_to_read_is_unavailable_and_nothing_is_in_doubt(tmp_path):
    """As Spark's JDBC catalog does: SQLite refuses the COMMIT itself, and the transaction would stay open."""
    lake = small.lake_in(tmp_path, busy_timeout_s=0.05)
    small.publish(lake, 0, 1)
    before = small.files_under(lake)
    with closing(sqlite3.connect(lake.settings.warehouse / "catalog.db", isolation_level=None)) as other:
        long = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 99) SELECT i FROM n, iceberg_tables"
        unread = other.execute(long)
        assert unread.fetchone()
        with pytest.raises(StoreUnavailable, match="locked") as refused:
            small.publish(lake, 1, 1)
        assert "init-catalog-tables" in refused.value.hint
        assert small.files_under(lake) == before
        assert small.offsets(lake) == [0]
        unread.close()
        small.publish(lake, 1, 1)
    assert small.offsets(lake) == [0, 1]


def test_a_file_that_is_no_catalog_is_told_by_name(tmp_path):
    lake = small.lake_in(tmp_path)
    lake.settings.warehouse.mkdir()
    (lake.settings.warehouse / "catalog.db").write_bytes(b"not a database, but long enough to look like one" * 100)
    with pytest.raises(FixInputError, match="catalog"):
        lake.cut()
    with pytest.raises(FixInputError, match="catalog"):
        small.publish(lake, 0, 1)


def test_a_metadata_file_that_was_removed_is_told_with_its_table(lake):
    os.remove(lake.cut().table(TABLE).location.removeprefix("file://"))
    other = small.lake_in(lake.settings.warehouse.parent)  # the one that wrote it remembers it
    with pytest.raises(StoreUnavailable, match="metadata file is gone") as caught:
        other.cut().table(TABLE)
    assert caught.value.where == TABLE


def test_a_table_with_delete_files_is_refused_by_name(lake):
    """Headgate would read deleted rows as live."""
    from pyiceberg.manifest import ManifestContent
    from pyiceberg.manifest import ManifestFile as Manifest

    from headgate.stores.iceberg import manifest_files, snapshots

    view = lake.cut().table(TABLE)
    io = lake._storage.io
    snapshot = view.metadata.current_snapshot()
    (manifest,) = snapshots.manifests_of(io, snapshot, TABLE)
    deletes = Manifest(*manifest._data)
    deletes._data[3] = ManifestContent.DELETES
    target = snapshot.manifest_list + ".deletes"
    with manifest_files.manifest_list_writer(2, io.new_output(target), snapshot.snapshot_id, None, 9) as writer:
        writer.add_manifests([manifest, deletes])
    with pytest.raises(FixInputError, match="delete files"):
        snapshots.manifests_of(io, snapshot.model_copy(update={"manifest_list": target}), TABLE)


def test_a_data_file_that_cannot_be_synced_is_never_pointed_to(tmp_path, monkeypatch):
    lake = small.lake_in(tmp_path)
    small.publish(lake, 0, 1)
    at, sync = lake.pointers.read(), local_io.sync_path

    def fails(path):
        if path.endswith(".parquet"):
            raise OSError(errno.EIO, "broken disk")
        sync(path)

    monkeypatch.setattr(local_io, "sync_path", fails)
    with pytest.raises(StoreUnavailable, match="broken disk"):
        small.publish(lake, 1, 2)
    assert lake.pointers.read() == at
    monkeypatch.setattr(local_io, "sync_path", sync)
    small.publish(lake, 1, 2)


def test_all_that_a_publication_names_is_synced_before_its_pointers_move(tmp_path, monkeypatch):
    synced, lake = set(), small.lake_in(tmp_path)
    small.publish(lake, 0, 1)
    lake = small.lake_in(tmp_path)  # as another process sees it
    moved, swing = [], IcebergPublication._swing
    monkeypatch.setattr(local_io, "sync_path", synced.add)
    monkeypatch.setattr(IcebergPublication, "_swing", lambda *a: (moved.append(set(synced)), swing(*a))[1])
    before = {str(p) for p in tmp_path.rglob("*")}
    small.publish(lake, 1, 2)
    new = {
        p
        for p in map(str, tmp_path.rglob("*"))
        if p not in before and p.endswith((".parquet", ".avro", "metadata.json"))
    }
    assert len(new) >= 4
    for path in new:
        assert {path, os.path.dirname(path)} <= moved[0]
        folder = os.path.dirname(path)
        if folder not in before:
            assert os.path.dirname(folder) in moved[0]
