"""The quick verdicts of a plain merge are those of the general way, or none at all."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.engines.duckdb import verdicts
from headgate.engines.duckdb.history import FILE_NUMBER
from headgate.engines.duckdb.judgement import CONTENT, DELETES, KEY
from headgate.engines.duckdb.key_index import ROW
from headgate.engines.duckdb.plain_merge import replaced
from headgate.engines.duckdb.worker import AT, PIECE
from headgate.ports.batch import OFFSET, PARTITION

SAME_HASH = 3  # keys that share a hash: a collision, which real hashes have once in a lifetime


def held_rows(rows):
    """(key, order, deletes) as an index of silver gives them, or one of deletions in the ledger."""
    count = len(rows)
    return pa.table(
        {
            **_values(rows, "held", 0),
            ROW: pa.array(range(count), pa.uint32()),
            FILE_NUMBER: pa.array([n % 2 for n in range(count)], pa.int32()),
        }
    )


def job_rows(rows):
    count = len(rows)
    return pa.table({**_values(rows, "new", 100), PIECE: pa.array([0] * count, pa.int32()), AT: pa.array(range(count))})


def _values(rows, partition, start):
    keys = [key for key, *_ in rows]
    return {
        "k": pa.array(keys, pa.int32()),
        "o": pa.array([order for _, order, _ in rows], pa.timestamp("us")),
        PARTITION: pa.array([partition] * len(rows), pa.string()),
        OFFSET: pa.array(range(start, start + len(rows)), pa.int64()),
        KEY: pa.array([key // SAME_HASH for key in keys], pa.uint64()),
        CONTENT: pa.array([hash((key, order, gone)) % 2**32 for key, order, gone in rows], pa.uint64()),
        DELETES: pa.array([gone for *_, gone in rows], pa.bool_()),
    }


def in_general(rows, held, *, remember=False):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verdicts, "replaced", lambda *_: None)
        return decided(rows, held, remember=remember)


def decided(rows, held, *, remember=False):
    def last_positions(winners, after):
        names = ["by_partition", "by_offset", PARTITION, OFFSET]
        return pa.table({n: pa.array([], pa.int64() if n.endswith("offset") else pa.string()) for n in names})

    with duckdb.connect() as connection:
        return verdicts.decide(lambda: connection, rows, held, ["k"], ["o"], last_positions, remember=remember)


def some(orders, least=0):
    one = st.tuples(st.integers(0, 11), orders, st.sampled_from([False] * 9 + [True]))
    return st.lists(one, min_size=least, max_size=8)


@settings(max_examples=300, deadline=None)
@given(some(st.integers(0, 4)), some(st.one_of(st.none(), st.integers(3, 9), st.integers(3, 9)), 1), st.booleans())
def test_what_it_says_is_what_the_general_way_says(held, rows, remember):
    held = list({key: (key, *others) for key, *others in held}.values())  # silver holds a key once
    rows, held = job_rows(rows), held_rows(held)
    quick = replaced(rows, held, ["k"], ["o"], ["k", "o"] if remember else [])
    if quick is not None:
        general = in_general(rows, held, remember=remember)
        assert quick.equals(general.lost)
        assert not general.closes.num_rows


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2]])
@pytest.mark.parametrize("remember", [False, True])
def test_a_plain_merge_is_decided_by_it(order, remember):
    held = held_rows([(3 * n, 5, False) for n in range(6)])
    rows = job_rows([(3 * n, 6 + n, False) for n in order] + [(99, 6, False)])
    found = decided(rows, held, remember=remember)
    assert replaced(rows, held, ["k"], ["o"], ["k", "o"] if remember else []).equals(found.lost)
    assert found.lost.equals(in_general(rows, held, remember=remember).lost)
    assert dict(zip(found.lost[OFFSET].to_pylist(), found.lost["by_offset"].to_pylist(), strict=True)) == {
        n: 100 + order.index(n) for n in range(4)
    }


@pytest.mark.parametrize(
    ("held", "rows"),
    [
        ([(0, 5, False)], [(0, 5, False)]),  # a tie
        ([(0, 5, False)], [(0, 4, False)]),  # late
        ([(0, 5, False)], [(0, None, False)]),  # no order
        ([(0, 5, False)], [(0, 6, False), (0, 7, False)]),  # twice in the job
        ([(0, 5, False)], [(0, 6, True)]),  # deletes
        ([(0, 5, True)], [(0, 6, False)]),  # was deleted
        ([(0, 5, False)], [(1, 6, False)]),  # another key of the same hash
        ([(0, 5, False), (1, 5, False)], [(0, 6, False)]),  # two keys of one hash
    ],
)
def test_whatever_else_may_be_is_left_to_the_general_way(held, rows):
    assert replaced(job_rows(rows), held_rows(held), ["k"], ["o"], []) is None


def test_keys_and_orders_of_other_kinds_are_left_to_the_general_way():
    rows, held = job_rows([(0, 6, False)]), held_rows([(0, 5, False)])
    assert replaced(rows, held, ["k"], [], []) is None
    assert replaced(rows, held, ["k"], ["o", "k"], []) is None
    nested = pa.array([{"a": 1}], pa.struct([("a", pa.int64())]))
    rows, held = (t.set_column(t.schema.get_field_index("k"), "k", nested) for t in (rows, held))
    assert replaced(rows, held, ["k"], ["o"], []) is None


def test_missing_parts_of_a_key_are_equal():
    rows, held = job_rows([(0, 6, False), (3, 6, False)]), held_rows([(0, 5, False), (3, 5, False)])
    part = pa.array([None, "b"])
    rows, held = rows.append_column("part", part), held.append_column("part", part)
    found = replaced(rows, held, ["k", "part"], ["o"], [])
    assert found is not None
    assert found["by_offset"].to_pylist() == [100, 101]
    other = rows.set_column(rows.schema.get_field_index("part"), "part", pa.array(["a", "b"]))
    assert replaced(other, held, ["k", "part"], ["o"], []) is None


def test_nothing_meets_nothing():
    found = replaced(job_rows([(0, 6, False)]), held_rows([]), ["k"], ["o"], [])
    assert found is not None
    assert not found.num_rows
    assert np.array_equal(found.schema.names, in_general(job_rows([(0, 6, False)]), held_rows([])).lost.schema.names)
