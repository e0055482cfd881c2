"""The independent ledger: two engines, one number; nothing cancels."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headgate.testing.ledger import Tally, tally_batches, tally_parquet, tally_rows

UTC = dt.UTC
VALUES = {
    "flag": (pa.bool_(), [True, False, None]),
    "small": (pa.int32(), [-1, 0, 2**31 - 1]),
    "big": (pa.int64(), [-(2**63), 2**63 - 1, None]),
    "single": (pa.float32(), [0.1, -0.0, None]),
    "double": (pa.float64(), [0.1, float("nan"), float("-inf"), 5e-324, 1.7976931348623157e308, -0.0, 1e23]),
    "money": (pa.decimal128(12, 3), [Decimal("1.5"), Decimal("-0.001"), None]),
    "share": (pa.decimal128(3, 3), [Decimal("0.5"), Decimal("-0.125"), Decimal("0.000")]),
    "wide": (pa.decimal128(38, 0), [Decimal(10) ** 37, Decimal(-1)]),
    "text": (pa.string(), ["", "é\x00\n'\"", "2:ab", None, "-", "𝕏" * 70]),
    "bytes": (pa.binary(), [b"", b"\x00\xff", None]),
    "day": (pa.date32(), [dt.date(1, 1, 1), dt.date(1969, 12, 31), dt.date(9999, 12, 31)]),
    "clock": (pa.time64("us"), [dt.time(0), dt.time(23, 59, 59, 999999), None]),
    "local": (pa.timestamp("us"), [dt.datetime(1960, 1, 1, 0, 0, 0, 1), dt.datetime(2038, 1, 19, 3, 14, 8)]),
    "instant": (pa.timestamp("us", "UTC"), [dt.datetime(1, 1, 1, tzinfo=UTC), dt.datetime(2026, 10, 25, tzinfo=UTC)]),
    "odd": (pa.map_(pa.string(), pa.string()), [[("a", "1"), ("b", None)], [], None]),
    "items": (
        pa.list_(pa.struct([("sku", pa.string()), ("qty", pa.int64())])),
        [[{"sku": "x", "qty": 1}, None, {"sku": None, "qty": 2}], [], None],
    ),
    "nested": (
        pa.struct([("inner", pa.list_(pa.int64())), ("x", pa.string())]),
        [{"inner": [1, None], "x": "y"}, None],
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_two_engines_give_the_same_number_for_every_type(name, tmp_path):
    kind, values = VALUES[name]
    table = pa.table({name: pa.array(values, kind), "id": pa.array(range(len(values)), pa.int64())})
    path = str(tmp_path / "rows.parquet")
    pq.write_table(table, path)
    python = tally_batches(table.to_batches(), table.column_names)
    assert python == tally_parquet([path], table.column_names, table.schema)
    assert python.rows == len(values)


@pytest.mark.parametrize("name", VALUES)
def test_different_values_give_different_numbers(name):
    kind, values = VALUES[name]
    seen = {tally_batches([pa.record_batch({name: pa.array([value], kind)})], [name]).total for value in values}
    assert len(seen) == len(values)


SCHEMA = pa.schema([("id", pa.int64()), ("text", pa.string())])


def rows(*ids: int) -> list[dict]:
    return [{"id": one, "text": f"row {one}"} for one in ids]


def test_order_and_batching_do_not_matter():
    assert tally_rows(rows(1, 2, 3), SCHEMA) == tally_rows(rows(3, 1), SCHEMA) + tally_rows(rows(2), SCHEMA)


@pytest.mark.parametrize("wrong", [(1, 2), (1, 2, 2), (1, 2, 4), (1, 2, 3, 3, 3), (1, 1, 2, 2, 3)])
def test_a_missing_doubled_or_changed_row_moves_the_tally(wrong):
    assert tally_rows(rows(*wrong), SCHEMA) != tally_rows(rows(1, 2, 3), SCHEMA)


def test_doubled_pairs_do_not_cancel_in_the_sum():
    """An XOR would give the same hash for {1, 1} and {2, 2}: rows lost and doubled would look balanced."""
    assert tally_rows(rows(1, 1), SCHEMA).total != tally_rows(rows(2, 2), SCHEMA).total


def test_text_moved_between_columns_moves_the_tally():
    two = pa.schema([("a", pa.string()), ("b", pa.string())])
    assert tally_rows([{"a": "x", "b": "yz"}], two) != tally_rows([{"a": "xy", "b": "z"}], two)


def test_no_rows_no_tally():
    assert tally_rows([], SCHEMA) == Tally() == tally_parquet([], ["id"], SCHEMA)


def test_a_slice_of_a_batch_is_tallied_as_what_it_shows():
    kind, values = VALUES["items"]
    whole = pa.record_batch({"items": pa.array(values, kind)})
    parts = [whole.slice(0, 1), whole.slice(1)]
    assert tally_batches(parts, ["items"]) == tally_batches([whole], ["items"])
    kind, values = VALUES["nested"]
    whole = pa.record_batch({"nested": pa.array(values, kind)})
    assert tally_batches([whole.slice(0, 1), whole.slice(1)], ["nested"]) == tally_batches([whole], ["nested"])
