"""Row groups are encoded beside what is read: in one file, and in a second one while the first is behind."""

from __future__ import annotations

import threading

import pyarrow.parquet as pq
import pytest

from headgate.errors import HeadgateError
from headgate.stores.iceberg import row_writer
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
