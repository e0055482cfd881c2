"""Raw NDJSON folders as Parquet: one folder of days in, one folder of days out, judged by the contract like any run.

Each day (`ingest_date=YYYY-MM-DD`) is landed and refined in a lake of its own that is thrown away, so rows get the same
verdicts as in a project: accepted rows are written, duplicates are left out, what breaks the contract goes to
`_quarantine/` beside, whole and with its reasons. A day's folder is replaced whole or not at all. Days run in processes
side by side.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.contract.model import Dataset, Server
from headgate.errors import FixInputError
from headgate.ports.store import FileInfo

if TYPE_CHECKING:
    import pyarrow as pa

    from headgate.runtime.workspace import Workspace

_DAY = re.compile(r"ingest_date=(\d{4}-\d{2}-\d{2})")
QUARANTINE = "_quarantine"
_ABANDONED_S = 86_400


@dataclass(frozen=True, slots=True)
class Day:
    """One day's account: lines read, rows written, and what became of the others."""

    day: str
    lines: int
    rows: int
    duplicate: int
    superseded: int
    quarantined: int
    dropped: int
    files: int


@dataclass(frozen=True, slots=True)
class _Task:
    """One day's work."""

    dataset: Dataset
    day: str
    source: str
    options: Mapping[str, Any]
    out: Path
    rows_per_file: int


def daily_parquet(
    project: Workspace,
    dataset: Dataset,
    source: str,
    out: Path,
    *,
    days: Sequence[str] = (),
    rows_per_file: int = 250_000,
    processes: int | None = None,
) -> list[Day]:
    """Turn the days of a folder or an `s3://` prefix into Parquet below `out`; all days when none are named.

    Raises FixInputError for a day that is not there, and what a run raises.
    """
    if rows_per_file < 1:
        raise FixInputError(f"a file cannot hold {rows_per_file} rows", hint="--rows 250000")
    there = _days(source)
    for day in days:
        if day not in there:
            raise FixInputError(f"no ingest_date={day}", where=source, hint=f"there are: {', '.join(there) or 'none'}")
    out.mkdir(parents=True, exist_ok=True)
    _recover(out)
    options = dict(project.settings.engine_options)
    tasks = [_Task(dataset, day, source, options, out, rows_per_file) for day in days or there]
    workers = min(processes or os.cpu_count() or 1, len(tasks))
    if workers <= 1:
        return [_convert(task) for task in tasks]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(pool.map(_convert, [_shared(task, workers) for task in tasks]))


def _shared(task: _Task, workers: int) -> _Task:
    """The same task with its share of the cores."""
    cores = max(1, (os.cpu_count() or 1) // workers)
    return replace(task, options={"threads": cores, **task.options})


def _days(source: str) -> list[str]:
    from headgate.stores.ndjson_place import open_place

    found = {match[1] for name in open_place(source, {}).names("") if (match := _DAY.search(name))}
    return sorted(found)


def _convert(task: _Task) -> Day:
    with tempfile.TemporaryDirectory(dir=task.out, prefix=".working-") as working:
        folder = Path(working)
        inbox = _brought(task, folder)
        return _judged(task, folder, inbox)


def _brought(task: _Task, folder: Path) -> Path:
    """The day's files on this machine: where they are, or copied from the bucket."""
    from headgate.stores.ndjson_place import open_place

    if "://" not in task.source:
        return next(p for p in Path(task.source).rglob(f"ingest_date={task.day}") if p.is_dir()).absolute()
    place = open_place(task.source, {})
    inbox = folder / "inbox"
    inbox.mkdir()
    for name in place.names(""):
        if f"ingest_date={task.day}/" in name:
            (inbox / Path(name).name).write_bytes(place.read(name))
    return inbox


def _judged(task: _Task, folder: Path, inbox: Path) -> Day:
    from headgate.engines.duckdb import open_engine
    from headgate.runtime.wire import source_module
    from headgate.steps.land import land
    from headgate.steps.refine import refine
    from headgate.steps.run import Run
    from headgate.stores.iceberg import open_lake

    server = Server("days", "local", {"path": f"{inbox}/*.ndjson*", "format": "json", "_base": str(folder)}, None)
    dataset = replace(task.dataset, servers=(server,))
    lake, run = open_lake({"warehouse": str(folder / "lake")}), Run.begin()
    engine = open_engine({**task.options, "temp_directory": str(folder / "tmp")})
    source = source_module("local", str(inbox)).connect(dataset, server, {})
    try:
        landed = land(dataset, source, lake, run)
        judged = refine(dataset, lake, engine, run)
    finally:
        source.close()
        engine.close()
    cut = lake.cut()
    written = folder / "written"
    files = rows = 0
    for layer, target in (("silver", written), ("quarantine", folder / "rejected")):
        view = cut.table(f"{layer}.{dataset.name}")
        if view is not None:
            count, total = _write(view.files(), view.schema, target, task.rows_per_file)
            if layer == "silver":
                files, rows = count, total
    _replace(folder / "rejected", task.out / QUARANTINE / f"ingest_date={task.day}")
    _replace(written, task.out / f"ingest_date={task.day}")
    totals = {v: judged.total(v) for v in ("duplicate", "superseded", "quarantined", "dropped")}
    return Day(day=task.day, lines=landed.rows, rows=rows, files=files, **totals)


def _write(infos: Sequence[FileInfo], schema: pa.Schema, target: Path, rows_per_file: int) -> tuple[int, int]:
    """The rows as Parquet files of at most so many rows; files and rows written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [n for n in schema.names if not n.startswith("_hg_")] if target.name == "written" else schema.names
    plain = pa.schema([schema.field(n).remove_metadata() for n in names])
    files = total = left = 0
    writer: pq.ParquetWriter | None = None
    target.mkdir(parents=True)
    for batch in _batches(infos, names):
        rows = batch
        while rows.num_rows:
            if writer is None:
                writer = pq.ParquetWriter(target / f"part-{files:05}.parquet", plain, compression="zstd")
                files, left = files + 1, rows_per_file
            some = rows.slice(0, left)
            writer.write_table(pa.Table.from_batches([some]).cast(plain))
            total, left, rows = total + some.num_rows, left - some.num_rows, rows.slice(some.num_rows)
            if not left:
                writer.close()
                writer = None
    if writer is not None:
        writer.close()
    return files, total


def _batches(infos: Sequence[FileInfo], names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    for info in infos:
        with pq.ParquetFile(info.path) as file:
            yield from file.iter_batches(columns=list(names))


def _replace(made: Path, target: Path) -> None:
    """Put a folder in the place of another one; a process that dies in between leaves the old one for `_recover`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".replaced-{target.name}-{uuid.uuid4().hex}")
    if target.exists():
        target.rename(aside)
    if made.is_dir() and any(made.iterdir()):
        made.rename(target)
    shutil.rmtree(aside, ignore_errors=True)


def _recover(out: Path) -> None:
    """Finish what a killed process had begun."""
    for aside in [*out.glob(".replaced-*"), *(out / QUARANTINE).glob(".replaced-*")]:
        target = aside.with_name(aside.name.removeprefix(".replaced-").rsplit("-", 1)[0])
        if target.exists():
            shutil.rmtree(aside)
        else:
            aside.rename(target)
    for working in out.glob(".working-*"):
        if time.time() - working.stat().st_mtime > _ABANDONED_S:
            shutil.rmtree(working, ignore_errors=True)
