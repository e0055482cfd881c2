"""Long numbers: none is missed, and only those are right that a float prints the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.engines.duckdb.json_numbers import lines_with_long_numbers, survives


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", " ", "  ", "\t"]),
            st.from_regex(r"-?[0-9]{1,12}(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
            st.sampled_from(["}", " }", ',"k":"a:1234567890123456789"}']),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_no_line_with_a_long_number_is_missed(parts):
    lines = [f'{{"key":{blank}{number}{end}'.encode() for blank, number, end in parts]
    offsets = np.cumsum([0, *map(len, lines)])
    found = set(lines_with_long_numbers(np.frombuffer(b"".join(lines), np.uint8), offsets, in_arrays=False).tolist())
    long = {n for n, (_, number, _) in enumerate(parts) if len(number.lstrip("-")) >= 16}
    assert long <= found


def test_long_numbers_are_found_across_slices_and_in_arrays():
    line = b'{"a":[1.0000000000000001,2],"pad":"' + b"x" * 1000 + b'"}'
    data = np.frombuffer(line * 1000, np.uint8)
    offsets = np.arange(1001) * len(line)
    assert len(lines_with_long_numbers(data, offsets, in_arrays=True)) == 1000
    assert len(lines_with_long_numbers(data, offsets, in_arrays=False)) == 0


@pytest.mark.parametrize(
    ("line", "right"),
    [
        (b'{"a":0.30000000000000004}', True),
        (b'{"a":0.3000000000000000444}', False),
        (b'{"b":1234567890123456789}', True),
        (b'{"a":1234567890123456789}', False),
        (b'{"b":[1234567890123456789]}', False),
        (b'{"a":19.9900000000000000000}', True),
        (b'{"b":"x, 2026-11-20-12-33-44-55"}', False),
        (b'{"b":"x","c":1.5}', True),
    ],
)
def test_a_long_number_survives_only_when_its_float_prints_the_same(line, right):
    assert survives(line, {b"a"}) is right
