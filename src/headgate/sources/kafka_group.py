"""Membership in a consumer group: which partitions are this worker's. It reads nothing itself.

Partitions move one by one (cooperative-sticky), a member with a lasting name keeps its own over a restart. The group is
never asked where to read: the table knows, and refuses whoever reads on after its partitions were given to another.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from threading import Thread
from typing import Any

from headgate.clients.kafka import Address, error_of, module, name_of
from headgate.errors import FixInputError, SourceUnavailable
from headgate.sources.kafka_settings import Settings

LEAVING_S = 5.0


class Member:
    """One worker of the group. `partitions` is None until the group has settled."""

    def __init__(self, address: Address, settings: Settings) -> None:
        module()
        from confluent_kafka import Consumer

        self._address, self._settings = address, settings
        self.partitions: frozenset[int] | None = None
        self.moves = 0  # how often the share has changed
        lasting = {"group.instance.id": settings.member} if settings.member else {}
        self._client: Any = Consumer(
            {
                **address.settings(group_id=settings.group),
                **lasting,
                "session.timeout.ms": int(settings.session_s * 1000),
                "heartbeat.interval.ms": int(min(3.0, settings.session_s / 5) * 1000),
                "partition.assignment.strategy": "cooperative-sticky",
                "enable.auto.commit": False,
                "auto.offset.reset": "latest",
                "topic.metadata.refresh.interval.ms": 30_000,
                "queued.min.messages": 1,
                "queued.max.messages.kbytes": 1024,
            }
        )
        self._client.subscribe([settings.topic], on_assign=self._given, on_revoke=self._taken, on_lost=self._taken)

    def poll(self, wait_s: float = 0.0) -> None:
        """Hear what the group says, for up to so long. FixInputError when it does not take us."""
        message = self._client.poll(wait_s)
        if message is None or message.error() is None:
            return  # a message that came before the partition was paused; the reader gets it too
        error = error_of(message.error(), self._address, SourceUnavailable, where=self._settings.topic)
        if isinstance(error, FixInputError) or name_of(message.error()) == "_FATAL":
            raise error

    def tell(self, offsets: Mapping[int, int]) -> None:
        """Tell the group how far this worker's partitions are in the table; nobody waits for it."""
        if mine := {n: offset for n, offset in offsets.items() if n in (self.partitions or ())}:
            tell(self._client, self._settings.topic, mine, wait=False)

    def close(self) -> None:
        """Leave the group; a member with a lasting name is expected back. While the group gives its partitions anew the
        client may wait for other members for as long as a session: after a moment it is left to do so by itself."""
        leaving = Thread(target=self._client.close, name="kafka-leave", daemon=True)
        leaving.start()
        leaving.join(LEAVING_S)

    def _given(self, client: Any, partitions: Any) -> None:
        client.incremental_assign(partitions)
        client.pause(partitions)
        self._moved((self.partitions or frozenset()) | {one.partition for one in partitions})

    def _taken(self, client: Any, partitions: Any) -> None:
        client.incremental_unassign(partitions)
        self._moved((self.partitions or frozenset()) - {one.partition for one in partitions})

    def _moved(self, partitions: frozenset[int]) -> None:
        self.moves += partitions != self.partitions
        self.partitions = partitions


def client(address: Address, group: str) -> Any:
    """A client that can tell the group something without being a member."""
    from confluent_kafka import Consumer

    return Consumer({**address.settings(group_id=group), "enable.auto.commit": False})


def tell(client: Any, topic: str, offsets: Mapping[int, int], *, wait: bool = True) -> None:
    """Commit offsets of a group, as a hint: an error is nobody's loss."""
    from confluent_kafka import KafkaException, TopicPartition

    asked = [TopicPartition(topic, number, offset) for number, offset in offsets.items()]
    with suppress(KafkaException):
        client.commit(offsets=asked, asynchronous=not wait)
