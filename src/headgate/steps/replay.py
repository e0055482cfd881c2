"""Replay: quarantined rows are judged again from bronze, under today's contract."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from headgate import crash
from headgate.contract.model import Dataset
from headgate.ports.batch import OFFSET, PARTITION
from headgate.ports.engine import QUARANTINED, Engine, Span
from headgate.ports.store import Cut, Lake
from headgate.steps.judged import HOLD, Judged, check_budget
from headgate.steps.refine import Step
from headgate.steps.run import Run


@dataclass(slots=True)
class Replayed:
    """What a replay did, or would do."""

    read: int = 0
    recovered: int = 0  # rows that left quarantine
    remaining: int = 0
    verdicts: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    dry_run: bool = False


def replay(dataset: Dataset, lake: Lake, engine: Engine, run: Run, *, dry_run: bool = False) -> Replayed:
    """Judge every quarantined row again. Recovered rows leave quarantine and reach silver in one publication.

    Idempotent: a second replay under the same contract changes nothing and publishes nothing. With `dry_run`
    the work is done and thrown away; only the counts stay.
    """
    done = Replayed(dry_run=dry_run)
    cut = lake.cut()
    only = _coordinates(dataset, lake, cut)
    if not only.num_rows:
        return done
    with lake.publication("replay") as publication:
        step = Step(dataset, cut, publication, engine, run)
        spans = _spans(only)
        refined = engine.refine(step.job(spans, only=only, replay=True))
        judged = Judged()
        judged.add(refined, spans)
        done.read = judged.read
        done.remaining = judged.total(QUARANTINED)
        done.recovered = judged.read - done.remaining
        for counts in judged.verdicts.values():
            for verdict, rows in counts.items():
                done.verdicts[verdict] = done.verdicts.get(verdict, 0) + rows
        done.reasons = judged.reasons
        if dry_run or (not done.recovered and not _relabelled(dataset, cut)):
            return done
        publication.clear(step.specs["quarantine"].name)
        step.apply(refined)
        step.seal(refined)
        if check_budget(dataset, judged) is None:
            publication.note_fact(step.specs["silver"].name, HOLD, "")
        crash.point("replay: files written, not published")
        publication.commit()
    crash.point("replay: published")
    run.tell("replay", dataset=dataset.name, rows=done.read, recovered=done.recovered)
    return done


def release(dataset: Dataset, lake: Lake, run: Run) -> bool:
    """Accept the rejects that keep gold closed. True when there was something to accept."""
    silver = lake.cut().table(f"silver.{dataset.name}")
    if silver is None or not silver.facts(HOLD):
        return False
    with lake.publication("replay") as publication:
        publication.note_fact(silver.name, HOLD, "")
        publication.note({"run": run.id, "dataset": dataset.name, "accepted_quarantine": True})
        publication.commit()
    return True


def _coordinates(dataset: Dataset, lake: Lake, cut: Cut) -> pa.Table:
    fields: list[Any] = [pa.field(PARTITION, pa.string()), pa.field(OFFSET, pa.int64())]
    schema = pa.schema(fields)
    view = cut.table(f"quarantine.{dataset.name}")
    if view is None:
        return schema.empty_table()
    batches = [b.select([PARTITION, OFFSET]).cast(schema) for b in lake.scan(view, [PARTITION, OFFSET])]
    return pa.Table.from_batches(batches, schema)


def _spans(only: pa.Table) -> list[Span]:
    rows = only.group_by(PARTITION).aggregate([(OFFSET, "min"), (OFFSET, "max")]).to_pylist()
    return sorted(
        (Span(r[PARTITION], r[f"{OFFSET}_min"], r[f"{OFFSET}_max"] + 1) for r in rows), key=lambda s: s.partition
    )


def _relabelled(dataset: Dataset, cut: Cut) -> bool:
    """Whether the contract changed since the last judgement: then reasons may read differently."""
    silver = cut.table(f"silver.{dataset.name}")
    return silver is not None and silver.facts("contract") != dataset.contract_version
