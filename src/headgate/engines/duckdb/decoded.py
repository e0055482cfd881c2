"""What decoding one piece of bronze gives, whatever the bronze rows look like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from headgate.engines.duckdb.arrays import take
from headgate.engines.duckdb.judgement import DROPPED, LONGEST_VALUE, REFUSED, ROW, WARNED, Judgement
from headgate.ports.batch import INGESTED_AT, INSTANT, OFFSET, PARTITION, RAW

REASON_TYPE: Any = pa.list_(pa.struct([("rule", pa.string()), ("field", pa.string()), ("value", pa.string())]))
_REFUSED: dict[str, Any] = {
    PARTITION: pa.string(),
    OFFSET: pa.int64(),
    INGESTED_AT: INSTANT,
    "raw": pa.binary(),
    "reasons": REASON_TYPE,
}
REFUSED_SCHEMA = pa.schema(_REFUSED)
_DROPPED: dict[str, Any] = {PARTITION: pa.string(), OFFSET: pa.int64(), "rule": pa.string()}
DROPPED_SCHEMA = pa.schema(_DROPPED)


@dataclass(slots=True)
class Decoded:
    """The rows of a piece, each in exactly one place.

    `rows` has the silver columns, the coordinates, `_hg_key` (keyed data) and `_hg_content`; only rows where
    `keep` is true count. `refused` and `dropped` have the schemas above. `warnings` counts rows per rule.
    """

    rows: pa.Table
    keep: np.ndarray
    refused: pa.Table
    dropped: pa.Table
    warnings: Counter[str]


def joined(parts: Sequence[Decoded]) -> Decoded:
    """Several parts of a piece as one."""
    if len(parts) == 1:
        return parts[0]
    counted: Counter[str] = Counter()
    for part in parts:
        counted.update(part.warnings)
    return Decoded(
        pa.concat_tables([part.rows for part in parts]),
        np.concatenate([part.keep for part in parts]),
        pa.concat_tables([part.refused for part in parts]),
        pa.concat_tables([part.dropped for part in parts]),
        counted,
    )


def no_records(decoded: Decoded, table: pa.Table, wrong: Mapping[int, str]) -> Decoded:
    """Rows of a bronze table that are no records, refused whole: number -> why. `decoded` is the others."""
    numbers = sorted(wrong)
    lines = take(table, np.array(numbers))
    reasons = [[{"rule": "record", "field": None, "value": wrong[n][:LONGEST_VALUE]}] for n in numbers]
    refused = pa.table(
        [lines[PARTITION], lines[OFFSET], lines[INGESTED_AT], lines[RAW], pa.array(reasons, REASON_TYPE)],
        schema=REFUSED_SCHEMA,
    )
    return Decoded(decoded.rows.slice(0, 0), np.empty(0, bool), refused, decoded.dropped.slice(0, 0), Counter())


def warned(judged: pa.Table, judgement: Judgement, keep: np.ndarray) -> Counter[str]:
    """How many kept rows break each warning."""
    found: Counter[str] = Counter()
    if judgement.warnings:
        bits = judged[WARNED].to_numpy()[keep]
        for number, rule in enumerate(judgement.warnings):
            if rows := int(np.count_nonzero(bits & np.uint64(1 << number))):
                found[rule] += rows
    return found


def take_dropped(judged: pa.Table, judgement: Judgement, coordinates: pa.Table, keep: np.ndarray) -> pa.Table:
    """The rows that a declared rule removes; they leave `keep`. Refused rows stay refused, with their reasons."""
    if not judgement.drops:
        return DROPPED_SCHEMA.empty_table()
    rule = judged[DROPPED].to_numpy()
    at = np.flatnonzero((rule > 0) & keep)
    keep[at] = False
    some = take(coordinates.select([PARTITION, OFFSET]), at)
    return pa.table(
        {
            PARTITION: some[PARTITION].cast(pa.string()),
            OFFSET: some[OFFSET],
            "rule": pa.array([judgement.drops[n - 1] for n in rule[at].tolist()], pa.string()),
        },
        schema=DROPPED_SCHEMA,
    )


def without_marks(judged: pa.Table, coordinates: pa.Table) -> pa.Table:
    """The silver columns with hashes and coordinates."""
    names = [n for n in judged.column_names if n not in (ROW, REFUSED, WARNED, DROPPED)]
    rows = judged.select(names)
    for name in (PARTITION, OFFSET):
        rows = rows.append_column(name, coordinates[name])
    return rows
