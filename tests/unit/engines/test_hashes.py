"""Hashes are sorted as NumPy sorts them, compiled or not, whatever numbers they are."""

from __future__ import annotations

import numpy as np
import pytest

from headgate import native
from headgate.engines.duckdb.hashes import in_order, order_of

MOST = 2**64 - 1


def even(count, seed=1):
    return np.random.default_rng(seed).integers(0, MOST, count, np.uint64, endpoint=True)


def alike(count, bits):
    """Hashes whose highest bits are alike, so that their place among each other is not told by these."""
    return even(count) >> np.uint64(bits) | np.uint64(MOST << (64 - bits) & MOST)


SHAPES = {
    "none": even(0),
    "one": even(1),
    "two": np.array([5, 3], np.uint64),
    "few": even(100),
    "edges": np.array([MOST, 0, MOST, 1, 0, 2**63, 2**63 - 1] * 3, np.uint64),
    "some": even(70_000),
    "many": even(300_000),
    "twice": np.concatenate([even(150_000)] * 2),
    "all the same": np.full(200_000, 7, np.uint64),
    "a few values": even(1000)[np.arange(200_000) % 7],
    "sorted": np.sort(even(150_000)),
    "alike in bits that are looked at": alike(3000, 20),
    "alike in all bits but some": alike(200_000, 45),
    "small numbers downwards": np.arange(200_000, 0, -1).astype(np.uint64),
    "one far off": np.append(np.arange(140_000, 0, -1), -1).astype(np.uint64),
}


@pytest.fixture(params=["compiled", "python"])
def way(request, monkeypatch):
    monkeypatch.setenv("HEADGATE_PURE", "0" if request.param == "compiled" else "1")


@pytest.mark.parametrize("hashes", SHAPES.values(), ids=SHAPES)
def test_any_numbers_come_in_order_and_equal_ones_as_they_stood(way, hashes):
    before = hashes.copy()
    assert np.array_equal(in_order(hashes), np.sort(hashes))
    assert np.array_equal(order_of(hashes), np.argsort(hashes, kind="stable"))
    assert np.array_equal(hashes, before)


def test_every_size_is_sorted():
    for count in [*range(40), *(2**bits + more for bits in range(6, 18) for more in (-1, 0, 1))]:
        hashes = (
            even(count, seed=count) % np.uint64(2 ** (count % 65) - 1 or 1) if count % 2 else even(count, seed=count)
        )
        assert np.array_equal(in_order(hashes), np.sort(hashes))
        assert np.array_equal(order_of(hashes), np.argsort(hashes, kind="stable"))


def test_numbers_of_another_kind_and_every_other_one_are_sorted_too(way):
    signed = np.array([3, -1, 2, -1])
    assert in_order(signed).tolist() == [-1, -1, 2, 3]
    assert order_of(even(1000)[::2]).tolist() == np.argsort(even(1000)[::2], kind="stable").tolist()


@pytest.mark.skipif(native.load("hash_order") is None, reason="not compiled")
def test_compiled_code_sorts_what_is_spread_evenly_and_leaves_what_would_take_long():
    from headgate.native import hash_order

    for count in (10, 5000, 200_000):
        assert hash_order.in_order(even(count)) is not None
        assert hash_order.order(np.concatenate([even(count)] * 3)) is not None
    assert hash_order.in_order(SHAPES["small numbers downwards"]) is None
    assert hash_order.order(SHAPES["small numbers downwards"]) is None
    with pytest.raises(ValueError, match="aligned"):
        hash_order.order(memoryview(bytes(64))[1:57])
