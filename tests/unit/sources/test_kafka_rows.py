"""Messages become rows in whole columns; told against the messages one by one."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest
from confluent_kafka import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.sources import kafka_rows
from headgate.sources.kafka_rows import SCHEMA, Gathered

NAMES = pa.array(["orders/0", "orders/1", "orders/2"])
BYTES = st.none() | st.binary(max_size=40)
HEADERS = st.none() | st.lists(st.tuples(st.sampled_from("ab"), BYTES), min_size=1, max_size=3)
STAMPS = st.just((0, -1)) | st.tuples(st.sampled_from([1, 2]), st.integers(0, 1 << 41))
MESSAGES = st.lists(
    st.builds(
        lambda partition, key, value, headers, stamp: Message(
            "orders", partition, key=key, value=value, headers=headers, timestamp=stamp
        ),
        st.integers(0, 2),
        BYTES,
        BYTES,
        HEADERS,
        STAMPS,
    ),
    min_size=1,
    max_size=30,
)


def numbered(messages: list[Message]) -> list[Message]:
    """The same, each with its place for an offset."""
    return [
        Message("orders", m.partition(), n, m.key(), m.value(), m.headers(), timestamp=m.timestamp())
        for n, m in enumerate(messages)
    ]


def row(message: Message) -> dict:
    kind, instant = message.timestamp()
    headers = message.headers()
    return {
        "_hg_partition": f"orders/{message.partition()}",
        "_hg_offset": message.offset(),
        "_hg_raw": message.value(),
        "_hg_format": "json",
        "_hg_key": message.key(),
        "_hg_headers": headers and [{"name": name, "value": value} for name, value in headers],
        "_hg_timestamp": dt.datetime.fromtimestamp(instant / 1000, dt.UTC) if kind else None,
        "_hg_timestamp_kind": [None, "create", "append"][kind],
    }


@given(MESSAGES, st.integers(1, 30))
@settings(max_examples=200, deadline=None)
def test_every_message_is_a_row_with_all_that_it_has_however_they_came(messages, at_once):
    messages, gathered = numbered(messages), Gathered()
    for at in range(0, len(messages), at_once):
        gathered.add(messages[at : at + at_once])
    rows = gathered.rows(NAMES, "json")
    rows.validate(full=True)
    assert rows.schema == SCHEMA
    wanted = [row(message) for message in messages]
    assert rows.to_pylist() == wanted
    assert rows.column("_hg_raw").null_count == sum(one["_hg_raw"] is None for one in wanted)


def test_an_empty_value_is_no_tombstone():
    gathered = Gathered()
    gathered.add(numbered([Message("orders", 0, value=b"", key=None), Message("orders", 0, value=None, key=b"")]))
    rows = gathered.rows(NAMES, "json")
    assert rows.column("_hg_raw").to_pylist() == [b"", None]
    assert rows.column("_hg_key").to_pylist() == [None, b""]


def test_more_bytes_than_a_column_has_room_for_are_refused_and_not_mixed_up(monkeypatch):
    monkeypatch.setattr(kafka_rows, "len", lambda value: 1 << 32 if value == b"huge" else len(value), raising=False)
    gathered = Gathered()
    gathered.add([Message("orders", 0, 0, value=b"huge")])
    with pytest.raises(pa.ArrowInvalid):
        gathered.rows(NAMES, "json")


def test_bytes_are_counted():
    gathered = Gathered()
    assert gathered.size_bytes == 0
    gathered.add([Message("orders", 0, 0, key=b"k" * 10, value=b"v" * 1000)])
    assert gathered.size_bytes >= 1010
