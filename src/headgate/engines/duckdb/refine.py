"""One refine job from bronze files to silver, quarantine and ledger files.

1. cut       bronze into pieces
2. decode    every piece: typed, checked; refused rows go to quarantine, keyed rows wait
3. decide    per key who stays, over the waiting rows and silver
4. write     what stays; silver files that lose rows are written again; the ledger
5. account   rows read = rows written, per source partition
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa

from headgate.engines.duckdb.arrays import Array, compute, distinct, order_of_pairs, take, whole, without_repeats
from headgate.engines.duckdb.connection import Settings
from headgate.engines.duckdb.files import open_parquet
from headgate.engines.duckdb.hashes import in_order
from headgate.engines.duckdb.history import FILE_NUMBER, Indexes, Silver, forget_others, index_layout, last_positions
from headgate.engines.duckdb.idle import Idle
from headgate.engines.duckdb.judgement import CONTENT, KEY
from headgate.engines.duckdb.key_index import ROW, settle
from headgate.engines.duckdb.lateness import limit
from headgate.engines.duckdb.output import TableWriter, Written
from headgate.engines.duckdb.pieces import partition_counts, plan_pieces
from headgate.engines.duckdb.pool import Pool, open_pool
from headgate.engines.duckdb.rewrite import Rewrite, RewriteReport, rewrite
from headgate.engines.duckdb.verdicts import Verdicts, decide, partition_ranks, repeated
from headgate.engines.duckdb.worker import AT, PIECE, PieceReport, WriteReport, merged
from headgate.errors import DefectError
from headgate.ports.batch import OFFSET, PARTITION
from headgate.ports.engine import (
    ACCEPTED,
    DELETED,
    DROPPED,
    DUPLICATE,
    QUARANTINED,
    SUPERSEDED,
    VERDICTS,
    Refined,
    RefineJob,
)
from headgate.threads import begun


def refine(settings: Settings, job: RefineJob, indexes: Indexes, idle: Idle) -> Refined:
    """Judge the job's rows and write the files. DefectError when a row has no verdict or two."""
    job, cutoff = limit(job)
    pieces = plan_pieces(job)
    layout = index_layout(settings, job)
    if layout:
        settle(layout.folder)  # what the last job let go would else take indexes of this one along
        if not job.beside:
            begun(lambda: len(job.silver))  # silver's files are looked up while bronze is read
    with open_pool(settings, job, pieces, idle) as pool, idle.database(settings) as database:
        reports = pool.decode(pieces)
        silver = Silver(database, job, layout, indexes, cutoff) if layout else None
        verdicts = _decide(job, reports, pool, silver) if silver else None
        lost, closed = (verdicts.in_pieces(), verdicts.closed_in_pieces()) if verdicts else ({}, {})
        tasks = _rewrites(verdicts, silver) if verdicts and silver else []
        # New files and the ledger beside files that change. A third thread would mostly wait for Python's lock.
        with ThreadPoolExecutor(1) as threads:
            writing = threads.submit(pool.write, lost, closed)
            listing = threads.submit(_write_ledger, job, reports, verdicts)
            rewritten = rewrite(settings, job, tasks)
            # Who is free first writes the ledger.
            ledger = _write_ledger(job, reports, verdicts) if listing.cancel() else listing.result()
            written = writing.result()
    refined = _result(reports, written, rewritten, ledger)
    _account(job, reports, written, rewritten, verdicts, refined)
    if layout and job.silver:
        new = [path for some in refined.added.values() for path in some]
        indexed = [*job.silver, *(job.ledger if job.dataset.operation else ())]
        forget_others(layout, indexes, indexed, new)
    return refined


def _decide(job: RefineJob, reports: Sequence[PieceReport], pool: Pool, silver: Silver) -> Verdicts | None:
    """Step 3. Only rows whose key hash occurs twice can have a rival; for them the keys themselves decide. Rows that
    delete are decided with or without one."""
    hashes = [r.hashes for r in reports if r.hashes is not None and len(r.hashes)]
    if not hashes:
        return None
    ordered = in_order(np.concatenate(hashes))
    deleted = [r.deleted for r in reports if r.deleted is not None]
    suspects = without_repeats(in_order(np.concatenate([repeated(ordered), *deleted])))
    if not len(suspects) and not silver.files:
        return None
    wanted = without_repeats(ordered) if silver.files else suspects
    rows = silver.rows_with(wanted, _bounds(reports), _values(reports))
    suspects = without_repeats(in_order(np.concatenate([suspects, rows[KEY].to_numpy()])))
    if not len(suspects):
        return None
    return decide(
        silver.database,
        pool.suspects(suspects),
        rows,
        silver.key,
        job.dataset.order,
        lambda winners, after: last_positions(silver.database(), job.ledger, winners, after),
        versions=job.dataset.history == "scd2",
        remember=job.dataset.operation is not None,
    )


def _bounds(reports: Sequence[PieceReport]) -> dict[str, tuple[object, object]]:
    """The smallest and greatest value of key columns for which every piece told them."""
    told = [r.bounds for r in reports if r.hashes is not None and len(r.hashes)]
    names = set.intersection(*(set(bounds) for bounds in told))
    return {name: (min(bounds[name][0] for bounds in told), max(bounds[name][1] for bounds in told)) for name in names}


def _values(reports: Sequence[PieceReport]) -> np.ndarray | None:
    told = [r for r in reports if r.hashes is not None and len(r.hashes)]
    values = [r.values for r in told if r.values is not None]
    if len(values) != len(told):
        return None
    return values[0] if len(values) == 1 else distinct(np.concatenate(values))


def _rewrites(verdicts: Verdicts, silver: Silver) -> list[Rewrite]:
    tasks = []
    for number, (lost, closes) in verdicts.in_files().items():
        info, table = silver.files[number], "silver" if number < silver.in_silver else "ledger"
        tasks.append(Rewrite(table, info.path, info.rows, lost, closes, silver.index(number)))
    return tasks


def _write_ledger(job: RefineJob, reports: Sequence[PieceReport], verdicts: Verdicts | None) -> list[Written]:
    """Rows that silver does not hold, with the row that stands for them or the rule that dropped them."""
    writer = TableWriter(job.outputs["ledger"])
    tables = [_ledger_rows(job, r.dropped, verdict=DROPPED) for r in reports if r.dropped.num_rows]
    if verdicts is not None and verdicts.lost.num_rows:
        tables.append(_ledger_rows(job, _by_place(verdicts.lost)))
    for table in tables:
        writer.write(table)
    return writer.close()


def _by_place(rows: pa.Table) -> pa.Table:
    """The rows in the order of their coordinates, without what only their files need to know."""
    order = order_of_pairs(partition_ranks(rows), rows[OFFSET].to_numpy())
    return take(rows.drop_columns([CONTENT, FILE_NUMBER, ROW, PIECE, AT]), order)


def _ledger_rows(job: RefineJob, rows: pa.Table, *, verdict: str | None = None) -> pa.Table:
    count = rows.num_rows

    def always(value: object, of: Any) -> Array:
        once: Any = pa.array([value], of)
        if pa.types.is_string(of):
            return pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), once)
        return pa.repeat(once[0], count)

    table = pa.table(
        {
            PARTITION: rows[PARTITION],
            OFFSET: rows[OFFSET],
            "verdict": rows["verdict"] if verdict is None else always(verdict, pa.string()),
            "rule": rows["rule"] if verdict == DROPPED else pa.nulls(count, pa.string()),
            "by_partition": rows["by_partition"] if verdict is None else pa.nulls(count, pa.string()),
            "by_offset": rows["by_offset"] if verdict is None else pa.nulls(count, pa.int64()),
            "run_id": always(job.run_id, pa.string()),
            "judged_at": always(job.judged_at_us, pa.timestamp("us", "UTC")),
        }
    )
    if job.dataset.operation:
        of: Any = job.outputs["ledger"].schema.field("deleted").type
        table = table.append_column("deleted", _deleted(rows, of) if verdict is None else pa.nulls(count, of))
    return table


def _deleted(rows: pa.Table, of: Any) -> Array:
    """Key and order of the rows that delete."""
    members = [whole(rows[member.name]).cast(member.type) for member in of]
    return pa.StructArray.from_arrays(members, fields=list(of), mask=compute.not_equal(whole(rows["verdict"]), DELETED))


def _result(
    reports: Sequence[PieceReport],
    written: Sequence[WriteReport],
    rewritten: Sequence[RewriteReport],
    ledger: Sequence[Written],
) -> Refined:
    refined = Refined()
    files: dict[str, list[Written]] = {"silver": [], "quarantine": [], "ledger": list(ledger)}
    for write in written:
        for table, some in write.files.items():
            files[table].extend(some)
        refined.checksum += write.checksum
        refined.silver_rows += sum(write.accepted.values())
    for one in rewritten:
        files[one.table].extend(one.files)
        refined.removed.setdefault(one.table, []).append(one.path)
        if one.table == "silver":
            refined.checksum -= one.checksum
            refined.silver_rows -= one.lost
            refined.replaced += one.lost
    for table, some in files.items():
        if some:
            refined.added[table] = [one.path for one in some]
    refined.reasons = dict(merged([r.reasons for r in reports]))
    refined.warnings = dict(merged([r.warnings for r in reports]))
    return refined


def _account(
    job: RefineJob,
    reports: Sequence[PieceReport],
    written: Sequence[WriteReport],
    rewritten: Sequence[RewriteReport],
    verdicts: Verdicts | None,
    refined: Refined,
) -> None:
    """Step 5: counted from what was written, compared with what was read, and with the files' own footers."""
    counts: dict[str, Counter[str]] = {verdict: Counter() for verdict in VERDICTS}
    read: Counter[str] = Counter()
    for report in reports:
        read.update(report.read)
        counts[QUARANTINED].update(report.refused)
        counts[DROPPED].update(dict(partition_counts(report.dropped)))
    for write in written:
        counts[ACCEPTED].update(write.accepted)
    displaced = 0
    if verdicts is not None:
        mine = verdicts.of_job()
        displaced = verdicts.lost.num_rows - mine.num_rows
        for verdict in (DUPLICATE, SUPERSEDED, DELETED):
            some = mine.filter(compute.equal(mine["verdict"], verdict))
            counts[verdict].update(dict(partition_counts(some)))
    for partition, rows in read.items():
        refined.verdicts[partition] = {verdict: counts[verdict][partition] for verdict in VERDICTS}
        if sum(refined.verdicts[partition].values()) != rows:
            raise DefectError(
                f"{rows} rows of {partition} were read and {refined.verdicts[partition]} written",
                where=f"silver.{job.dataset.name}",
                stage="refine",
            )
    expected = {
        "silver": counts[ACCEPTED].total() + _kept(rewritten, "silver"),
        "quarantine": counts[QUARANTINED].total(),
        "ledger": counts[DROPPED].total() + (verdicts.lost.num_rows if verdicts else 0) + _kept(rewritten, "ledger"),
    }
    if sum(r.lost for r in rewritten) != displaced:
        raise DefectError(
            "silver rows that lost were not found again", where=f"silver.{job.dataset.name}", stage="refine"
        )
    for table, rows in expected.items():
        there = 0
        for path in refined.added.get(table, []):
            with open_parquet(path) as file:
                there += file.metadata.num_rows
        if there != rows:
            raise DefectError(
                f"{there} rows are in new files of {table}, not {rows}", where=job.dataset.name, stage="refine"
            )


def _kept(rewritten: Sequence[RewriteReport], table: str) -> int:
    return sum(file.rows for one in rewritten if one.table == table for file in one.files)
