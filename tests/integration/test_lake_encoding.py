"""Row groups are encoded beside what is read: in one file, and in a second one while the first is behind."""

from __future__ import annotations

import os
import threading

import pyarrow.parquet as pq
import pytest

from headgate.errors import HeadgateError
from headgate.stores.iceberg import row_writer
from headgate.stores.iceberg.local_io import begin_sync
from rigs import small_lake as small

BATCHES, ROWS = 12, 10


class Encoders:
    """A row group waits until `release`d; how many did at once."""

    def __init__(self, monkeypatch, *, held: bool) -> None:
        self.free, self.lock, self.now, self.most = threading.Event(), threading.Lock(), 0, 0
        self.begun = threading.Semaphore(0)
        if not held:
            self.free.set()
        write_table = pq.ParquetWriter.write_table

        def waits(writer, table, **options):
            with self.lock:
                self.now += 1
                self.most = max(self.most, self.now)
            self.begun.release()
            assert self.free.wait(30)
            write_table(writer, table, **options)
            with self.lock:
                self.now -= 1

        monkeypatch.setattr(pq.ParquetWriter, "write_table", waits)


@pytest.fixture
def lake(tmp_path):
    return small.lake_in(tmp_path)


def written(lake, batches) -> list[int]:
    """The rows of each file, and that all of them are there once."""
    with lake.publication("land") as publication:
        publication.ensure(small.spec())
        publication.write("bronze.orders", batches)
        publication.commit()
    assert small.offsets(lake) == list(range(BATCHES * ROWS))
    return [info.rows for info in lake.cut().table("bronze.orders").files()]


def test_a_second_file_is_begun_while_the_first_is_encoded_and_no_third(lake, monkeypatch):
    monkeypatch.setattr(row_writer, "GROUP_ROWS", ROWS)
    encoders = Encoders(monkeypatch, held=True)

    def batches():
        for n in range(BATCHES):
            if n == 2:  # both row groups before it are being encoded
                assert encoders.begun.acquire(timeout=30)
                assert encoders.begun.acquire(timeout=30)
                encoders.free.set()
            yield small.rows(n * ROWS, ROWS)

    assert len(written(lake, batches())) == 2
    assert encoders.most == 2


def test_rows_that_are_encoded_as_fast_as_they_come_stay_in_one_file(lake, monkeypatch):
    monkeypatch.setattr(row_writer, "GROUP_ROWS", ROWS)
    encoders = Encoders(monkeypatch, held=False)

    def batches():
        for n in range(BATCHES):
            yield small.rows(n * ROWS, ROWS)
            for file in files:
                file._settle()

    files, begin = [], row_writer.RowWriter._begin
    monkeypatch.setattr(row_writer.RowWriter, "_begin", lambda self: files.append(begin(self)) or files[-1])
    assert written(lake, batches()) == [BATCHES * ROWS]
    assert encoders.most == 1


def test_row_groups_are_on_their_way_to_the_disk_before_the_commit_but_the_last_of_a_file(lake, monkeypatch):
    monkeypatch.setattr(row_writer, "GROUP_ROWS", ROWS)
    begun = {}

    def told(path, start, end):
        begun.setdefault(path, []).append((start, end))
        begin_sync(path, start, end)

    monkeypatch.setattr(row_writer, "begin_sync", told)
    written(lake, (small.rows(n * ROWS, ROWS) for n in range(BATCHES)))
    for path, stretches in begun.items():
        footer = pq.read_metadata(path)
        groups = [footer.row_group(n) for n in range(footer.num_row_groups)]
        starts = [min(c.dictionary_page_offset or c.data_page_offset for c in columns_of(one)) for one in groups]
        assert stretches == [(4, 4), *zip(starts, starts[1:], strict=False)]


def columns_of(group):
    return [group.column(n) for n in range(group.num_columns)]


def test_what_was_begun_is_still_to_be_read_and_where_it_cannot_be_begun_nothing_happens(tmp_path, monkeypatch):
    path = tmp_path / "some"
    path.write_bytes(b"x" * 10_000)
    begin_sync(str(path), 0, 8192)
    assert path.read_bytes() == b"x" * 10_000
    begin_sync(str(tmp_path / "none"), 0, 8192)
    monkeypatch.delattr(os, "posix_fadvise")
    begin_sync(str(path), 0, 8192)


def test_a_file_that_is_full_is_ended_and_another_takes_its_place(lake, monkeypatch):
    monkeypatch.setattr(row_writer, "GROUP_ROWS", ROWS)
    monkeypatch.setattr(row_writer, "FILE_BYTES", 1)
    assert sum(written(lake, (small.rows(n * ROWS, ROWS) for n in range(BATCHES)))) == BATCHES * ROWS


def test_an_encoder_that_fails_ends_the_publication_and_leaves_no_file(lake, monkeypatch):
    monkeypatch.setattr(row_writer, "GROUP_ROWS", ROWS)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(HeadgateError, match="space"):
        written(lake, (small.rows(n * ROWS, ROWS) for n in range(BATCHES)))
    assert not [path for path in small.files_under(lake) if str(path).endswith(".parquet")]
