"""The client that brings the messages of given partitions, in one of two ways that give the same rows.

Where the compiled part is there, librdkafka's messages become Arrow's columns without an object of Python for each;
else they are the client's `Message` objects (see `kafka_rows`). Neither belongs to a group, nor looks for a place by
itself (`auto.offset.reset: error`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from headgate import native
from headgate.clients.kafka import error_of, module
from headgate.errors import SourceUnavailable
from headgate.sources.kafka_position import label
from headgate.sources.kafka_rows import Gathered, Joined
from headgate.sources.kafka_topic import Topic

MESSAGES = 500  # of objects, per call to the client: measured best
QUEUE_BYTES = 1 << 24  # that the client holds ready: a quarter of its default, so that a backlog takes no more memory
FETCH_BYTES = 1 << 21  # in one answer of a broker: what was received is looked at while it is in the processor's cache
LARGEST_BATCH = 1 << 27  # with one message more, of any size, columns stay within the 2 GiB that they have room for
SETTINGS = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "queued.max.messages.kbytes": QUEUE_BYTES >> 10,  # of all partitions together
    "fetch.max.bytes": FETCH_BYTES,  # a message that is larger comes alone
    "fetch.queue.backoff.ms": 10,  # its 1 s would be waited for whenever the queue was full for a moment
    "receive.message.max.bytes": 2_000_000_000,  # messages of any size that the broker takes
    "reconnect.backoff.max.ms": 2000,
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of each partition by number: the next offset, moved as messages come; the one to stop before; and the leader's
    epoch of the last message (-1: unknown)."""

    next: np.ndarray
    stop: np.ndarray
    epochs: np.ndarray

    @classmethod
    def of(cls, partitions: int) -> Bounds:
        """Nothing read, and no end."""
        endless = np.full(partitions, np.iinfo(np.int64).max)
        return cls(np.zeros(partitions, np.int64), endless, np.full(partitions, -1, np.int32))


class Trouble(NamedTuple):
    """What came in place of a message: the end of a partition, or an error of Kafka's."""

    error: Any
    partition: int
    offset: int


class Client(Protocol):
    """Messages are gathered until they are taken."""

    def __len__(self) -> int:
        """How many are gathered."""

    @property
    def size_bytes(self) -> int:
        """How large they are, about."""

    def gather(self, limit: int, wait_s: float, hold_s: float) -> tuple[bool, list[Trouble]]:
        """Some more messages, until about `limit` bytes are there; whether any came, and what came in their place.
        None for `wait_s` end it; so do `hold_s` (negative: for ever). Raises KafkaException, and SourceUnavailable
        when a message comes again or the client has been closed."""

    def take(self) -> pa.RecordBatch:
        """Rows of all that are gathered; none is gathered then. Those at a stop or after it are left out."""

    def epoch(self, number: int) -> int:
        """The leader's epoch at the last message of a partition, -1 when it is not known."""

    def close(self) -> None:
        """End the client."""


def opened(topic: Topic, bounds: Bounds, numbers: list[int]) -> Client:
    """A client that reads these partitions from where the bounds are."""
    names = pa.array([label(topic.settings.name, n) for n in range(len(bounds.next))], pa.string())
    settings = {
        **topic.address.settings(group_id=topic.settings.group or "headgate"),
        **SETTINGS,
        "isolation.level": topic.settings.isolation,
        "error_cb": topic.heard,
    }
    compiled = native.load("kafka_batch")
    if compiled is not None and compiled.bind(module().cimpl.__file__):
        return _Columns(compiled, topic, settings, bounds, numbers, names)
    return _Objects(topic, settings, bounds, numbers, names)


def _again(topic: Topic) -> SourceUnavailable:
    return SourceUnavailable("the client gave messages again that it had given", where=topic.settings.topic)


class _Columns:
    """By the compiled part."""

    def __init__(
        self, compiled: Any, topic: Topic, settings: dict[str, Any], bounds: Bounds, numbers: list[int], names: Any
    ) -> None:
        self._compiled, self._topic, self._bounds, self._names = compiled, topic, bounds, names
        given = [
            (name, str(value).lower() if isinstance(value, bool) else str(value))
            for name, value in settings.items()
            if name not in {"logger", "error_cb"}
        ]
        starts = [(n, int(bounds.next[n]), int(bounds.epochs[n])) for n in numbers]
        try:
            self._client = compiled.consume(given, topic.settings.topic, starts)
        except compiled.Failed as cause:
            raise self._error(cause) from cause

    def __len__(self) -> int:
        return len(self._client)

    @property
    def size_bytes(self) -> int:
        return int(self._client.size_bytes)

    def gather(self, limit: int, wait_s: float, hold_s: float) -> tuple[bool, list[Trouble]]:
        kafka, bounds = module(), self._bounds
        try:
            came, errors, told, again = self._client.drain(
                bounds.next, bounds.stop, bounds.epochs, limit, wait_s, hold_s
            )
        except ValueError as cause:
            raise SourceUnavailable(
                "the source was closed while it was read", where=self._topic.settings.topic
            ) from cause
        for one in told:
            self._topic.heard(kafka.KafkaError(*one))
        if again:
            raise _again(self._topic)
        return came > 0, [Trouble(kafka.KafkaError(*error), *place) for error, *place in errors]

    def take(self) -> pa.RecordBatch:
        return Joined(*self._client.take()).rows(self._names, self._topic.settings.format)

    def epoch(self, number: int) -> int:
        return int(self._bounds.epochs[number])

    def close(self) -> None:
        self._client.close()

    def _error(self, cause: Exception) -> Exception:
        kafka = module()
        error = kafka.KafkaError(*cause.args)
        return error_of(error, self._topic.address, SourceUnavailable, where=self._topic.settings.topic)


class _Objects:
    """By the client's `Message` objects."""

    def __init__(self, topic: Topic, settings: dict[str, Any], bounds: Bounds, numbers: list[int], names: Any) -> None:
        from confluent_kafka import Consumer, TopicPartition

        self._topic, self._bounds, self._names = topic, bounds, names
        self._gathered = Gathered()
        self._messages = max(1, min(MESSAGES, topic.settings.batch_bytes // 1000))
        self._client = Consumer(settings)
        places = []
        for n in numbers:
            epoch = {} if bounds.epochs[n] < 0 else {"leader_epoch": int(bounds.epochs[n])}
            places.append(TopicPartition(topic.settings.topic, n, int(bounds.next[n]), **epoch))
        self._client.assign(places)

    def __len__(self) -> int:
        return len(self._gathered)

    @property
    def size_bytes(self) -> int:
        return self._gathered.size_bytes

    def gather(self, limit: int, wait_s: float, hold_s: float) -> tuple[bool, list[Trouble]]:  # noqa: ARG002
        """One call to the client, which is far below any limit."""
        messages = self._client.consume(self._messages, wait_s)
        came, errors = messages, []
        if messages and any(map(type(messages[0]).error, messages)):
            came = [one for one in messages if one.error() is None]
            errors = [
                Trouble(one.error(), one.partition(), one.offset()) for one in messages if one.error() is not None
            ]
        if came:
            partitions, offsets = self._gathered.add(came)
            if (offsets < self._bounds.next[partitions]).any():
                raise _again(self._topic)
            np.maximum.at(self._bounds.next, partitions, offsets + 1)
        return bool(came), errors

    def take(self) -> pa.RecordBatch:
        gathered, self._gathered = self._gathered, Gathered()
        rows = gathered.rows(self._names, self._topic.settings.format)
        if not rows.num_rows:
            return rows
        keep = np.concatenate(gathered.offsets) < self._bounds.stop[np.concatenate(gathered.partitions)]
        return rows if keep.all() else rows.filter(pa.array(keep))

    def epoch(self, number: int) -> int:
        from confluent_kafka import TopicPartition

        (now,) = self._client.position([TopicPartition(self._topic.settings.topic, number)])
        return -1 if now.leader_epoch is None else int(now.leader_epoch)

    def close(self) -> None:
        self._client.close()
