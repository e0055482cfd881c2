"""Which rows may share a file: one value of every partition transform of the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headgate.errors import DefectError

_STEPS = {"year": "M8[Y]", "month": "M8[M]", "day": "M8[D]", "hour": "M8[h]"}
_NULL = np.iinfo(np.int64).min


def split(table: pa.Table, partition: Sequence[tuple[str, str]]) -> Iterator[tuple[tuple[object, ...], pa.Table]]:
    """The table's rows by partition value, each part with a value to tell it from the others.

    The values only group: rows of one part have equal transformed values as Iceberg defines them, rows of two
    parts have not.
    """
    if not partition or not table.num_rows:
        yield (), table
        return
    codes = [_codes(table[column], transform) for column, transform in partition]
    if all((one == one[0]).all() for one in codes):
        yield tuple(int(one[0]) for one in codes), table
        return
    stacked = np.stack(codes, axis=1)
    values, inverse = np.unique(stacked, axis=0, return_inverse=True) if len(codes) > 1 else _unique(codes[0])
    order = np.argsort(inverse, kind="stable")
    sorted_table = table.take(pa.array(order))
    edges = np.flatnonzero(np.diff(inverse[order])) + 1
    start = 0
    for number, stop in enumerate([*edges.tolist(), table.num_rows]):
        yield tuple(int(v) for v in values[number]), sorted_table.slice(start, stop - start)
        start = stop


def _unique(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, inverse = np.unique(codes, return_inverse=True)
    return values.reshape(-1, 1), inverse


def _codes(column: pa.ChunkedArray, transform: str) -> np.ndarray:
    """One number per row, equal exactly where the transformed values are equal."""
    if transform in _STEPS:
        return _time_codes(column, _STEPS[transform])
    if transform.startswith("bucket["):
        return _bucket_codes(column, int(transform[7:-1]))
    if transform == "identity":
        return _by_value(column)[0]
    raise DefectError(f"partition transform {transform!r} is not known")


def _time_codes(column: pa.ChunkedArray, step: str) -> np.ndarray:
    if pa.types.is_date32(column.type):
        raw = column.cast(pa.int32()).fill_null(0).to_numpy().astype("M8[D]")
    else:
        raw = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64()).fill_null(0).to_numpy().astype("M8[us]")
    codes = raw.astype(step).astype(np.int64)
    return _nulls_apart(column, codes)


def _nulls_apart(column: pa.ChunkedArray, codes: np.ndarray) -> np.ndarray:
    if column.null_count:
        codes = codes.copy()
        codes[column.is_null().to_numpy()] = _NULL
    return codes


def _by_value(column: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    encoded = pc.dictionary_encode(column.combine_chunks())
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    codes = encoded.indices.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return _nulls_apart(column, codes), encoded.dictionary


def _bucket_codes(column: pa.ChunkedArray, buckets: int) -> np.ndarray:
    """Iceberg's bucket numbers (murmur3 of the value), computed once per distinct value."""
    from pyiceberg.io.pyarrow import visit_pyarrow
    from pyiceberg.io.pyarrow import _ConvertToIcebergWithoutIDs as Converter
    from pyiceberg.transforms import BucketTransform

    codes, values = _by_value(column)
    source = visit_pyarrow(pa.schema([pa.field("v", values.type)]), Converter()).fields[0].field_type
    bucket = BucketTransform(buckets).transform(source)
    if pa.types.is_temporal(values.type) and not pa.types.is_date(values.type):
        plain = values.cast(pa.int64()).to_pylist()
    elif pa.types.is_date(values.type):
        plain = values.cast(pa.int32()).to_pylist()
    else:
        plain = values.to_pylist()
    numbers = np.array([bucket(v) for v in plain] or [0], np.int64)
    found: np.ndarray = numbers[np.where(codes == _NULL, 0, codes)]
    return _nulls_apart(column, found)
