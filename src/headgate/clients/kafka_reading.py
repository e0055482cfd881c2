"""Messages of a topic, read without a group and without leaving a trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headgate.clients.kafka import Address, error_of, module, name_of, translated
from headgate.errors import RetryableError, SourceUnavailable

AT_ONCE = 1_000


def messages(
    address: Address,
    topic: str,
    starts: Mapping[int, int],
    ends: Mapping[int, int] | None = None,
    *,
    wait_s: float = 0.1,
    unavailable: type[RetryableError] = SourceUnavailable,
) -> Iterator[list[Any]]:
    """Committed messages from `starts` (partition -> offset) on, some at a time.

    With `ends` (the offsets at which to stop) it ends when every partition has got there; without, it goes on and
    gives an empty list whenever nothing came for `wait_s`.
    """
    kafka = module()
    own = {"group.id": "headgate", "enable.auto.commit": False, "enable.partition.eof": True, "fetch.wait.max.ms": 50}
    left = {p for p, start in starts.items() if ends is None or start < ends[p]}
    if not left:
        return
    with translated(address, unavailable, where=f"{address}/{topic}"):
        consumer = kafka.Consumer({**address.settings(isolation_level="read_committed"), **own})
        try:
            consumer.assign([kafka.TopicPartition(topic, p, starts[p]) for p in sorted(left)])
            while left:
                found = []
                for message in consumer.consume(AT_ONCE, wait_s):
                    error, partition, offset = message.error(), message.partition(), message.offset()
                    if error is not None and name_of(error) != "_PARTITION_EOF":
                        trouble = error_of(error, address, unavailable, where=f"{address}/{topic}")
                        if not isinstance(trouble, RetryableError):
                            raise trouble
                        continue
                    if ends is not None and offset >= ends[partition] - (error is None):
                        left.discard(partition)
                    if error is None and (ends is None or offset < ends[partition]):
                        found.append(message)
                if found or ends is None:
                    yield found
        finally:
            consumer.close()
