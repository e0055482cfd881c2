"""Store `kafka`: rows as messages of a topic, the position in the same transaction.

A commit is one Kafka transaction over the topic and `_headgate.memory` (see `headgate.clients.kafka_memory`): readers
of committed messages see all its rows or none. Which columns stand where in a message: `headgate.formats.messages`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from headgate.clients.kafka import Address, admin
from headgate.clients.kafka_memory import Memory, form_key
from headgate.clients.kafka_topics import Topic, create, existing, topic
from headgate.formats.messages import Encoder, Form
from headgate.ports.batch import Batch, Position
from headgate.ports.store import TableSpec
from headgate.stores.kafka_settings import Settings, topic_name
from headgate.stores.kafka_transaction import Writer

__all__ = ["KafkaSink", "open_sink"]


def open_sink(target: str, options: Mapping[str, Any], spec: TableSpec) -> KafkaSink:
    """The topic that holds the spec's rows, made when it is not there. `target` is `host:port[,host:port…]`.

    Raises FixInputError for an impossible setting or a missing right, SourceUnavailable when no broker answers.
    """
    settings = Settings.parse(options)
    address = Address.parse({**options, "host": target})
    return KafkaSink(address, settings, spec)


class KafkaSink:
    """See `headgate.ports.store.Sink`. Rows with the same key stay in order, in one partition."""

    def __init__(self, address: Address, settings: Settings, spec: TableSpec) -> None:
        self.address, self.settings, self.spec = address, settings, spec
        self.topic = topic_name(settings.topic, spec.name)
        self._memory = Memory(address)
        self._writers: dict[str, Writer] = {}
        self._encoders: dict[str, tuple[Encoder, bytes, bytes]] = {}

    def position(self, stream: str) -> Position:
        """Where the stream stands in the topic: what the last committed transaction says."""
        return self._writer(stream).look()

    def commit(self, stream: str, batches: Iterable[Batch]) -> int:
        """All rows and the last end in one transaction, or nothing. See `Writer.commit` for what it raises."""
        return self._writer(stream).commit(batches, *self._encoder(stream))

    def close(self) -> None:
        """Give back connections; an open transaction is taken back."""
        for writer in self._writers.values():
            writer.close()
        for encoder, _, _ in self._encoders.values():
            encoder.close()
        self._writers.clear()
        self._encoders.clear()

    def _writer(self, stream: str) -> Writer:
        if stream not in self._writers:
            made = self._topic()
            self._memory.ensure()
            self._writers[stream] = Writer(self.address, self._memory, made, stream, self.settings)
        return self._writers[stream]

    def _topic(self) -> Topic:
        client = admin(self.address)
        found = topic(client, self.address, self.topic)
        if found is not None:
            return found
        if not self.settings.create:
            return existing(client, self.address, self.topic)
        return create(
            client,
            self.address,
            self.topic,
            partitions=self.settings.partitions,
            replication=self.settings.replication,
            config=self.settings.config,
            may_exist=True,
        )

    def _encoder(self, stream: str) -> tuple[Encoder, bytes, bytes]:
        """What makes the messages, and the key and value under which their form is kept."""
        if stream not in self._encoders:
            form = Form.of(stream, self.spec.schema)
            key = form_key(self.topic, form.fingerprint)
            self._encoders[stream] = (Encoder(form, self.spec.key), key.encode(), form.described().encode())
        return self._encoders[stream]
