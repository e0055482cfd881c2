"""The run record: one JSON document per run, with a published schema."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from headgate.errors import FixInputError

DONE, FAILED = "done", "failed"
SCHEMA = "https://json-schema.org/draft/2020-12/schema"


@dataclass(slots=True)
class DatasetRecord:
    """What one run did to one dataset. `verdicts` per source partition; `replaced` rows that silver held before
    and that newer versions superseded; positions as the source writes them."""

    name: str
    contract_version: str
    landed_rows: int = 0
    landed_bytes: int = 0
    read: int = 0
    verdicts: dict[str, int] = field(default_factory=dict)
    partitions: dict[str, dict[str, int]] = field(default_factory=dict)
    replaced: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    warnings: dict[str, int] = field(default_factory=dict)
    checks: list[dict[str, Any]] = field(default_factory=list)
    start: dict[str, str] = field(default_factory=dict)
    end: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)  # step -> wall seconds


@dataclass(slots=True)
class RunRecord:
    """One run. `status` is done or failed; `error` is the error's code, message, where, hint and stage."""

    run_id: str
    started_at: str  # ISO 8601, UTC
    selection: list[str] = field(default_factory=list)
    version: str = ""
    status: str = DONE
    seconds: float = 0.0
    peak_rss_mib: float = 0.0
    moved: bool = False  # whether anything was published
    datasets: list[DatasetRecord] = field(default_factory=list)
    models: dict[str, int] = field(default_factory=dict)  # built model -> rows of its table
    models_kept: list[str] = field(default_factory=list)  # unchanged since they were built
    models_partly: dict[str, int] = field(default_factory=dict)  # incremental model -> values rebuilt
    tests: list[dict[str, Any]] = field(default_factory=list)
    served: list[dict[str, Any]] = field(default_factory=list)  # one for each table and target
    upkeep: dict[str, Any] | None = None  # what was compacted, expired and cleaned within the run
    error: dict[str, str | None] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The record as JSON-safe values."""
        return asdict(self)

    def total(self, verdict: str) -> int:
        """Rows of this run that got a verdict, over all datasets."""
        return sum(d.verdicts.get(verdict, 0) for d in self.datasets)


def write_record(folder: Path, record: RunRecord) -> Path:
    """Keep the record as `<folder>/<run id>.json`, whole or not at all. FixInputError when it cannot be written."""
    try:
        return _write(folder, record)
    except OSError as cause:
        raise FixInputError(
            f"the run's record cannot be written: {cause.strerror}",
            where=str(folder),
            hint="free space, or give the right to write here; what was published stays",
            stage="state",
        ) from cause


def _write(folder: Path, record: RunRecord) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{record.run_id}.json"
    draft = path.with_suffix(".tmp")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(record.as_dict(), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    return path


def read_records(folder: Path, limit: int = 20) -> Iterator[dict[str, Any]]:
    """The newest records, newest first."""
    if not folder.is_dir():
        return
    for path in sorted(folder.glob("*.json"), reverse=True)[:limit]:
        yield json.loads(path.read_text("utf-8"))


def record_schema() -> dict[str, Any]:
    """The JSON Schema of a run record."""
    counts = {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}}
    texts = {"type": "object", "additionalProperties": {"type": "string"}}
    objects = {"type": "array", "items": {"type": "object"}}
    number = {"type": "number", "minimum": 0}
    dataset = {
        "name": {"type": "string"},
        "contract_version": {"type": "string"},
        "landed_rows": {"type": "integer", "minimum": 0},
        "landed_bytes": {"type": "integer", "minimum": 0},
        "read": {"type": "integer", "minimum": 0},
        "verdicts": counts,
        "partitions": {"type": "object", "additionalProperties": counts},
        "replaced": {"type": "integer", "minimum": 0},
        "reasons": counts,
        "warnings": counts,
        "checks": objects,
        "start": texts,
        "end": texts,
        "seconds": {"type": "object", "additionalProperties": number},
    }
    run = {
        "run_id": {"type": "string", "pattern": "^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$"},
        "started_at": {"type": "string", "format": "date-time"},
        "selection": {"type": "array", "items": {"type": "string"}},
        "version": {"type": "string"},
        "status": {"enum": [DONE, FAILED]},
        "seconds": number,
        "peak_rss_mib": number,
        "moved": {"type": "boolean"},
        "datasets": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": dataset,
                "required": list(dataset),
                "additionalProperties": False,
            },
        },
        "models": counts,
        "models_kept": {"type": "array", "items": {"type": "string"}},
        "models_partly": counts,
        "tests": objects,
        "served": objects,
        "upkeep": {"type": ["object", "null"]},
        "error": {"type": ["object", "null"]},
    }
    return {
        "$schema": SCHEMA,
        "title": "Headgate run record",
        "type": "object",
        "properties": run,
        "required": list(run),
        "additionalProperties": False,
    }
