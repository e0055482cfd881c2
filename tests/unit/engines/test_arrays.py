"""Orders that are found in quick ways are those that sorting gives."""

import numpy as np
import pytest

from headgate.engines.duckdb.arrays import order_of_pairs


@pytest.mark.parametrize("spread", [1, 2, 1000])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 5000])
def test_pairs_are_ordered_by_the_first_and_then_the_second(count, groups, spread):
    random = np.random.default_rng(count)
    second = random.permutation(count) * spread + 2**60
    first = random.integers(0, groups, count)
    assert np.array_equal(order_of_pairs(first, second), np.lexsort((second, first)))


def test_pairs_that_stand_twice_stay_twice():
    first, second = np.array([0, 1, 0, 1]), np.array([5, 4, 5, 4])
    assert np.array_equal(order_of_pairs(first, second), np.lexsort((second, first)))
