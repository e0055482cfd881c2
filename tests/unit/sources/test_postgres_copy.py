from __future__ import annotations

import csv
import io

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.sources.postgres_copy import Parser, from_hexadecimal, last_record, record_end

TEXT = st.text(st.sampled_from('a",\n\r é'), max_size=6)


def as_copy(values) -> bytes:
    """A record as COPY writes it."""
    quoted = ['"' + v.replace('"', '""') + '"' if v == "" or any(c in v for c in '",\n\r') else v for v in values]
    return (",".join(quoted) + "\n").encode()


@given(st.lists(st.lists(TEXT, min_size=2, max_size=2), min_size=1, max_size=6), st.integers(0, 20))
def test_blocks_are_cut_only_at_the_ends_of_records(records, beyond):
    lines = [as_copy(one) for one in records]
    whole, rest = b"".join(lines[:-1]), lines[-1][:-1][:beyond]
    ends = {sum(map(len, lines[:n])) for n in range(len(lines))}
    assert record_end(whole + rest) in ends
    assert record_end(whole) == len(whole)
    assert record_end(b"".join(lines)) == len(b"".join(lines))


@given(st.lists(st.lists(TEXT, min_size=2, max_size=2), min_size=1, max_size=6))
def test_the_last_record_is_found(records):
    assert last_record(b"".join(as_copy(one) for one in records)) == records[-1]


@given(st.lists(st.lists(TEXT, min_size=2, max_size=2), min_size=1, max_size=6))
def test_text_is_parsed_as_a_csv_reader_does(records):
    block = b"".join(as_copy(one) for one in records)
    parsed = Parser([pa.field("a", pa.string()), pa.field("b", pa.string())], [False, False]).parse(block)
    assert [list(row) for row in zip(*(c.to_pylist() for c in parsed.columns), strict=True)] == records
    assert list(csv.reader(io.StringIO(block.decode(), newline=""))) == records


@given(st.lists(st.none() | st.binary(max_size=5)))
def test_hexadecimal_digits_become_bytes(values):
    texts = pa.array([None if one is None else one.hex() for one in values], pa.string())
    assert from_hexadecimal(texts).to_pylist() == values
    assert from_hexadecimal(texts.slice(1)).to_pylist() == values[1:]


@pytest.mark.parametrize(
    ("of", "good", "odd"),
    [
        (pa.decimal128(4, 1), "-12.5", "NaN"),
        (pa.date32(), "2026-01-01", "infinity"),
        (pa.time64("us"), "23:59:59.1", "24:00:00"),
        (pa.timestamp("us"), "2026-01-01 00:00:00.5", "10000-01-01 00:00:00"),
        (pa.timestamp("us", tz="UTC"), "2026-01-01 00:00:00+00", "0044-03-15 00:00:00+00 BC"),
    ],
)
def test_an_odd_value_is_null_with_its_text_and_only_there(of, good, odd):
    parser = Parser([pa.field("n", pa.int64()), pa.field("v", of)], [False, False])
    plain = parser.parse(f"1,{good}\n".encode())
    for _ in range(2):  # the second time the column is known to hold odd values
        parsed = parser.parse(f"1,{good}\n2,{odd}\n3,\n".encode())
        assert parsed.columns[0].to_pylist() == [1, 2, 3]
        assert parsed.columns[1].to_pylist() == [plain.columns[1][0].as_py(), None, None]
        assert parsed.columns[1].type == of
        assert parsed.odd.to_pylist() == [None, [("v", odd)], None]
    assert parser.parse(f"1,{good}\n".encode()).columns[1].equals(plain.columns[1])


def test_null_and_empty_text_are_kept_apart():
    parsed = Parser([pa.field("v", pa.string())], [False]).parse(b'\n""\n\n')
    assert parsed.columns[0].to_pylist() == [None, "", None]
