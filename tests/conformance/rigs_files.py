"""Rigs of the files source: NDJSON, CSV plain and gzipped, Parquet, and a log that grows."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import json
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from headgate.contract.model import Dataset, Field, Kind, Server, Type
from headgate.sources import files

EPOCH = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
DATASET = Dataset(
    name="rows",
    fields=(Field("id", Type(Kind.INTEGER)), Field("text", Type(Kind.STRING))),
    contract_id="conformance",
    contract_version="1.0.0",
)


class NdjsonSourceRig:
    """A folder of NDJSON files."""

    content = ("_hg_raw", "_hg_format")
    cannot = {"break_connection": "a local file has no connection to cut"}
    suffix = ".ndjson"
    options = {"format": "ndjson"}
    label = "json"

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "inbox"
        self.folder.mkdir()
        self.files: list[Path] = []
        self.records: list[bytes] = []

    @classmethod
    @contextmanager
    def made(cls, folder, _request):
        yield cls(folder)

    def connect(self):
        options = {"path": f"inbox/*{self.suffix}", "_base": str(self.folder.parent), **self.options}
        return files.connect(DATASET, Server("drop", "files", options), {"batch_bytes": 700})

    def seed(self, rows: int) -> None:
        for part in range(3):
            self._add([self._record(n) for n in range(part, rows, 3)])

    def _record(self, number: int) -> bytes:
        text = "twice" if number % 10 < 2 else f"row {number} é"
        return json.dumps({"id": 1 if text == "twice" else number, "text": text}, ensure_ascii=False).encode()

    def _add(self, records: list[bytes]) -> None:
        if not records:
            return
        path = self.folder / f"{len(self.files):03d}{self.suffix}"
        path.write_bytes(self._bytes(records))
        self.files.append(path)
        self.records += records

    def _bytes(self, records: list[bytes]) -> bytes:
        return b"".join(record + b"\n" for record in records)

    def _rows(self, records: list[bytes]) -> list[dict]:
        return [{"_hg_raw": record, "_hg_format": self.label} for record in records]

    def rows_expected(self) -> list[dict]:
        return self._rows(self.records)

    def change(self) -> list[dict]:
        fresh = [self._record(len(self.records) + n) for n in range(30)]
        self._add(fresh)
        return self._rows(fresh)

    def replace_source(self) -> None:
        """Other files under the same names."""
        for number, path in enumerate(self.files):
            path.unlink()
            path.write_bytes(self._bytes([self._record(1000 + number * 7 + n) for n in range(50)]))

    def seed_odd(self) -> list[dict]:
        odd = [b'{"id": 1', b"\xff\xfe\x00", b'{"id": 1e400, "text": "\\u0000"}', b"[1]", b'{"id": "\xc3"}', b"NULL"]
        self._add(odd)
        return self._rows(odd)


class CsvSourceRig(NdjsonSourceRig):
    """CSV with a header, quoted line ends and ragged lines."""

    content = ("_hg_raw", "_hg_format", "_hg_header")
    suffix = ".csv"
    options = {"format": "csv"}
    label = "csv"

    def _record(self, number: int) -> bytes:
        text = "twice" if number % 10 < 2 else f'"row\n{number}, ""é"""'
        return f"{1 if text == 'twice' else number},{text}".encode()

    def _bytes(self, records: list[bytes]) -> bytes:
        return b"id,text\n" + super()._bytes(records)

    def _rows(self, records: list[bytes]) -> list[dict]:
        return [{**row, "_hg_header": '["id", "text"]'} for row in super()._rows(records)]

    def seed_odd(self) -> list[dict]:
        odd = [b"1", b"1,2,3", b"x,\xff\xfe", b",", b'"a""b",c', b"=cmd|' /C calc'!A0,x"]
        self._add(odd)
        return self._rows(odd)


class GzipSourceRig(CsvSourceRig):
    """The same CSV, gzipped."""

    suffix = ".csv.gz"

    def _bytes(self, records: list[bytes]) -> bytes:
        return gzip.compress(super()._bytes(records), mtime=0)


class GrowingSourceRig(NdjsonSourceRig):
    """A log that is appended to: only its new lines are read."""

    options = {"format": "ndjson", "grows": True}

    def change(self) -> list[dict]:
        fresh = [self._record(len(self.records) + n) for n in range(30)]
        with self.files[0].open("ab") as file:
            file.write(self._bytes(fresh[:10]))
        self.records += fresh[:10]
        self._add(fresh[10:])
        return self._rows(fresh)


class ParquetSourceRig(NdjsonSourceRig):
    """Parquet files: typed columns, several row groups."""

    content = ("id", "text", "amount", "at")
    cannot = {
        **NdjsonSourceRig.cannot,
        "seed_odd": "what Parquet holds, Arrow holds: see the types in tests/unit/sources",
    }
    suffix = ".parquet"
    options = {"format": "parquet"}
    seed_odd = None

    def seed(self, rows: int) -> None:
        super().seed(rows)
        if not rows:  # a file without rows still tells its columns
            (self.folder / "empty.parquet").write_bytes(self._bytes([]))

    def _record(self, number: int):
        text = "twice" if number % 10 < 2 else f"row {number} é"
        id_ = 1 if text == "twice" else number
        return {"id": id_, "text": text, "amount": Decimal(id_) / 1000, "at": EPOCH + dt.timedelta(microseconds=id_)}

    def _bytes(self, records) -> bytes:
        columns = [
            ("id", pa.int64()), ("text", pa.string()), ("amount", pa.decimal128(20, 3)), ("at", pa.timestamp("us", "UTC")),
        ]  # fmt: skip
        file = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(records, schema=pa.schema(columns)), file, row_group_size=10)
        return file.getvalue()

    def _rows(self, records) -> list[dict]:
        return [dict(record) for record in records]
