"""What readers of committed messages see in a topic that Headgate wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from headgate.clients.kafka import Address, admin
from headgate.clients.kafka_memory import Memory
from headgate.clients.kafka_reading import messages
from headgate.clients.kafka_topics import offsets, topic
from headgate.formats.messages import ORIGIN_OFFSET, ORIGIN_PARTITION, Decoder, Form, fingerprints


def visible(bootstrap: str, name: str) -> list[Any]:
    """All committed messages of a topic, in the order of each partition."""
    address = Address(bootstrap)
    client = admin(address)
    found = topic(client, address, name)
    if found is None:
        return []
    bounds = offsets(client, address, name, found.partitions)
    starts, ends = {p: b.first for p, b in bounds.items()}, {p: b.stable for p, b in bounds.items()}
    return [message for some in messages(address, name, starts, ends) for message in some]


def rows(bootstrap: str, name: str, stream: str) -> Iterator[pa.RecordBatch]:
    """The rows of a stream that stand in the topic, under the names that they were sent with."""
    kept = Memory(Address(bootstrap)).all(f"form/{name}/")
    forms = {key.rpartition("/")[2]: Form.understood(value) for key, value in kept.items()}
    values, headers = [], []
    for message in visible(bootstrap, name):
        values.append(message.value())
        headers.append(dict(message.headers())["headgate"])
    if not values:
        return
    told = fingerprints(pa.array(headers, pa.binary()))
    for fingerprint, form in forms.items():
        at = [n for n, one in enumerate(told) if one == fingerprint]
        if form.stream != stream or not at:
            continue
        decoder = Decoder(form)
        batch = decoder.decode(
            pa.array([values[n] for n in at], pa.binary()), pa.array([headers[n] for n in at], pa.binary())
        )
        decoder.close()
        names = {ORIGIN_PARTITION: "_hg_partition", ORIGIN_OFFSET: "_hg_offset"}
        yield batch.rename_columns([names.get(n, n) for n in batch.schema.names])
