"""Messages sent to a topic, each stored by the cluster before the call returns."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from headgate.clients.kafka import TIMEOUT_S, Address, error_of, module, told_by
from headgate.errors import StoreUnavailable


def send(
    address: Address, topic: str, messages: Iterable[tuple[bytes | None, bytes]], rate: float | None = None
) -> int:
    """Send (key, value) pairs, `rate` a second or as fast as it goes; how many were stored.

    Raises FixInputError for a missing right or a message that is too large, StoreUnavailable when the cluster does not
    take them in time; messages before the one that failed may be stored.
    """
    kafka = module()
    failed: list[Any] = []

    def delivered(error: Any, _message: Any) -> None:
        if error is not None and not failed:
            failed.append(error)

    own = {
        "enable.idempotence": True,
        "linger.ms": 5 if rate else 20,
        "compression.type": "lz4",
        "partitioner": "murmur2_random",
        "message.max.bytes": 1_000_000_000,  # the topic decides
        "message.timeout.ms": int(TIMEOUT_S * 1000),
        "on_delivery": delivered,
    }
    producer = kafka.Producer({**address.settings(), **own})
    try:
        sent = _queue(producer, topic, messages, rate, failed)
        left = producer.flush(TIMEOUT_S)
    except (kafka.KafkaException, SystemError) as cause:
        told = told_by(cause)
        if told is None:
            raise
        raise error_of(told, address, StoreUnavailable, where=f"{address}/{topic}") from cause
    if failed:
        producer.purge()
        raise error_of(failed[0], address, StoreUnavailable, where=f"{address}/{topic}")
    if left:
        raise StoreUnavailable(f"{left} messages were not taken in time", where=f"{address}/{topic}")
    return sent


def _queue(
    producer: Any,
    topic: str,
    messages: Iterable[tuple[bytes | None, bytes]],
    rate: float | None,
    failed: Sequence[Any],
) -> int:
    """Hand all messages to the client, until one failed; how many."""
    sent, begun = 0, time.monotonic()
    for key, value in messages:
        if rate and (early := begun + sent / rate - time.monotonic()) > 0:
            producer.poll(early)
        while not failed:
            try:
                producer.produce(topic, value, key)
            except BufferError:
                producer.poll(0.1)
            else:
                sent += 1
                break
        if failed:
            break
        if not sent % 1000:
            producer.poll(0)
    return sent
