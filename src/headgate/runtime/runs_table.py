"""Run records as an Iceberg table, `headgate.runs`: one row for each run that moved something."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from headgate.errors import CommitConflict
from headgate.ports.batch import INSTANT
from headgate.ports.engine import VERDICTS
from headgate.ports.store import Lake, TableSpec
from headgate.runtime.record import RunRecord
from headgate.steps.run import Run

NAME = "headgate.runs"
_FIELDS: list[Any] = [
    pa.field("run_id", pa.string(), metadata={b"doc": b"identifies the run; sorts by time"}),
    pa.field("started_at", INSTANT),
    pa.field("seconds", pa.float64()),
    pa.field("status", pa.string(), metadata={b"doc": b"done or failed"}),
    pa.field("landed", pa.int64(), metadata={b"doc": b"rows landed in bronze"}),
    pa.field("read", pa.int64(), metadata={b"doc": b"bronze rows judged"}),
    *(pa.field(verdict, pa.int64()) for verdict in VERDICTS),
    pa.field("record", pa.string(), metadata={b"doc": b"the whole run record as JSON"}),
]
SCHEMA = pa.schema(_FIELDS)
_TRIES = 5


def publish_record(lake: Lake, record: RunRecord, run: Run) -> None:
    """Append the record to `headgate.runs`."""
    row = {
        "run_id": record.run_id,
        "started_at": run.at,
        "seconds": record.seconds,
        "status": record.status,
        "landed": sum(d.landed_rows for d in record.datasets),
        "read": sum(d.read for d in record.datasets),
        **{verdict: record.total(verdict) for verdict in VERDICTS},
        "record": json.dumps(record.as_dict()),
    }
    for left in reversed(range(_TRIES)):
        try:
            with lake.publication("run") as publication:
                publication.ensure(TableSpec(NAME, SCHEMA, comment="One row for each run that moved something."))
                publication.write(NAME, [pa.RecordBatch.from_pylist([row], SCHEMA)])
                publication.note({"run": record.run_id})
                publication.commit()
                return
        except CommitConflict:  # nothing landed: another run made the table, or changed its layout, at the same moment
            if not left:
                raise
