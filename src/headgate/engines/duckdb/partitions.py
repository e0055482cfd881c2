"""Which rows may share a file: one value of every partition transform of the table."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from headgate.engines.duckdb.arrays import Array, compute, pick, take, whole
from headgate.errors import DefectError

_STEPS = {"year": "M8[Y]", "month": "M8[M]", "day": "M8[D]", "hour": "M8[h]"}
_SHARE = 4  # a part that is left where it stands keeps all of the table, which may be so many times as much
_FEW = 8  # values up to which picking rows value by value beats sorting them


def split(
    table: pa.Table, partition: Sequence[tuple[str, str]], keep: np.ndarray | None = None
) -> Iterator[tuple[tuple[Hashable, ...], pa.Table]]:
    """The kept rows by partition value, each part with a value to tell it from the others.

    The values only group: rows of one part have equal transformed values as Iceberg defines them, rows of two
    parts have not, in this table and in the next.
    """
    if not table.num_rows:
        return
    codes, labels = _whole_codes(table, partition)
    if codes is None:
        rows = table if keep is None or keep.all() else pick(table, keep)
        if rows.num_rows:
            yield labels[0], rows
        return
    present = np.bincount(codes if keep is None else codes[keep], minlength=len(labels))
    several = np.flatnonzero(present)
    if keep is None and len(codes) <= _SHARE * int(present[several].min()) and (codes[1:] >= codes[:-1]).all():
        for code, stop in zip(several.tolist(), np.cumsum(present[several]).tolist(), strict=True):
            yield labels[code], table.slice(stop - int(present[code]), int(present[code]))
        return
    if len(several) <= _FEW:
        for code in several.tolist():
            mine = codes == code
            yield labels[code], pick(table, mine if keep is None else mine & keep)
        return
    at = np.arange(len(codes)) if keep is None else np.flatnonzero(keep)
    at = at[np.argsort(codes[at], kind="stable")]
    ordered, start = take(table, at), 0
    for code in several.tolist():
        yield labels[code], ordered.slice(start, int(present[code]))
        start += int(present[code])


def _whole_codes(
    table: pa.Table, partition: Sequence[tuple[str, str]]
) -> tuple[np.ndarray | None, list[tuple[Hashable, ...]]]:
    """A small number per row and what each number stands for; no numbers when all rows are alike."""
    codes: np.ndarray | None = None
    labels: list[tuple[Hashable, ...]] = [()]
    for column, transform in partition:
        these, names = _codes(table[column], transform)
        if len(names) == 1:
            labels = [(*label, names[0]) for label in labels]
            continue
        codes = these if codes is None else codes * len(names) + these
        labels = [(*label, name) for label in labels for name in names]
    return codes, labels


def _codes(column: Array, transform: str) -> tuple[np.ndarray, list[Hashable]]:
    """One small number per row, and the transformed values that the numbers stand for."""
    if transform in _STEPS:
        return _ranged(_times(column, _STEPS[transform]), _nulls(column))
    if transform == "identity":
        codes, values = _by_value(column)
        return _with_null(codes, values.to_pylist(), _nulls(column))
    if transform.startswith("bucket["):
        codes, values = _by_value(column)
        numbers = _buckets(values, int(transform[7:-1]))
        return _ranged(numbers[codes] if len(numbers) else codes, _nulls(column))
    raise DefectError(f"partition transform {transform!r} is not known")


def _nulls(column: Array) -> np.ndarray | None:
    return column.is_null().to_numpy() if column.null_count else None


def _ranged(values: np.ndarray, nulls: np.ndarray | None) -> tuple[np.ndarray, list[Hashable]]:
    real = values if nulls is None else values[~nulls]
    if not len(real):
        return np.zeros(len(values), np.int64), [None]
    least, most = int(real.min()), int(real.max())
    if most - least > 4 * len(values) + 1000:  # too far apart to count: number them instead
        distinct, codes = np.unique(values, return_inverse=True)
        return _with_null(codes, distinct.tolist(), nulls)
    return _with_null(values - least, list(range(least, most + 1)), nulls)


def _with_null(
    codes: np.ndarray, labels: list[Hashable], nulls: np.ndarray | None
) -> tuple[np.ndarray, list[Hashable]]:
    if nulls is None:
        return codes, labels
    return np.where(nulls, len(labels), codes), [*labels, None]


def _times(column: Array, step: str) -> np.ndarray:
    of = column.type
    if pa.types.is_date32(of):
        days = column.cast(pa.int32()).fill_null(0).to_numpy().astype("M8[D]")
        return np.asarray(days.astype(step).astype(np.int64))
    micros = column.cast(pa.timestamp("us", of.tz)).cast(pa.int64()).fill_null(0).to_numpy().astype("M8[us]")
    edges = np.array([micros.min(), micros.max()]).astype(step).astype(np.int64)
    if edges[0] == edges[1]:  # NumPy's calendar takes 30 ns a row
        return np.full(len(micros), edges[0])
    return np.asarray(micros.astype(step).astype(np.int64))


def _by_value(column: Array) -> tuple[np.ndarray, Array]:
    encoded = compute.dictionary_encode(whole(column))
    return encoded.indices.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False), encoded.dictionary


def _buckets(values: Array, buckets: int) -> np.ndarray:
    """Iceberg's bucket numbers: murmur3 of each value."""
    from pyiceberg.io.pyarrow import _ConvertToIcebergWithoutIDs, visit_pyarrow
    from pyiceberg.transforms import BucketTransform

    schema: Any = visit_pyarrow(pa.schema([pa.field("v", values.type)]), _ConvertToIcebergWithoutIDs())
    bucket: Any = BucketTransform(buckets).transform(schema.fields[0].field_type)
    if pa.types.is_date32(values.type):
        values = values.cast(pa.int32())
    elif pa.types.is_timestamp(values.type) or pa.types.is_time(values.type):
        values = values.cast(pa.int64())
    return np.array([bucket(value) for value in values.to_pylist()], np.int64)
