"""Rigs of the NDJSON store: a folder, and a bucket of a real S3 server. Rows are read back by Python's own JSON."""

from __future__ import annotations

import gzip
import json
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pyarrow as pa

from headgate.ports.batch import OFFSET, PARTITION
from headgate.stores import ndjson
from headgate.testing import SINK_SCHEMA
from rigs.s3 import bucket


def _read(content: bytes) -> pa.RecordBatch:
    rows = [json.loads(line) for line in content.splitlines()]
    for row in rows:
        row["amount"] = None if row["amount"] is None else Decimal(row["amount"])
    offsets = [row[OFFSET] for row in rows]
    assert len({row[PARTITION] for row in rows}) == 1
    assert offsets == sorted(set(offsets))
    return pa.RecordBatch.from_pylist(rows, schema=SINK_SCHEMA)


class FolderSinkRig:
    """A folder; files are gzipped and small."""

    holds_nul = True
    cannot = {"unholdable": "every text can be held"}

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "files"

    @classmethod
    @contextmanager
    def made(cls, folder, _request):
        yield cls(folder)

    def open(self):
        return ndjson.open_sink(str(self.folder), {"compression": "gzip", "roll_rows": 10})

    def rows(self, stream: str):
        for path in sorted(self.folder.glob(f"{stream}/ingest_date=*/*.ndjson.gz")):
            yield _read(gzip.decompress(path.read_bytes()))


class BucketSinkRig:
    """A bucket of an S3 server."""

    holds_nul = True
    cannot = {"unholdable": "every text can be held"}

    def __init__(self, target: str, options: dict) -> None:
        self.target, self.options = target, options

    @classmethod
    @contextmanager
    def made(cls, _folder, request):
        request.getfixturevalue("s3_keys")
        yield cls(*bucket(request))

    def open(self):
        return ndjson.open_sink(self.target, {**self.options, "compression": "none"})

    def rows(self, stream: str):
        place = self.open().place
        for name in place.names(stream):
            if "/ingest_date=" in name:
                yield _read(place.read(name))
