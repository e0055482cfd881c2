"""Rigs of Kafka: a topic of a real broker for each behaviour."""

from __future__ import annotations

import itertools
from contextlib import contextmanager

from headgate.ports.store import TableSpec
from headgate.stores import kafka as kafka_store
from headgate.testing import SINK_SCHEMA
from rigs import kafka_topics

TOPICS = itertools.count(1)


class KafkaSinkRig:
    """A topic that the sink makes; a stream's rows are told apart by their form."""

    cannot = {"unholdable": "a message holds every text"}
    key: tuple[str, ...] = ("text",)

    def __init__(self, broker) -> None:
        self.broker = broker
        self.topic = f"conformance-{next(TOPICS)}"
        self.opened = []

    @classmethod
    @contextmanager
    def made(cls, _folder, request):
        rig = cls(request.getfixturevalue("broker"))
        yield rig
        for one in rig.opened:
            one.close()

    def open(self):
        sink = kafka_store.open_sink(
            self.broker.bootstrap, {"topic": self.topic}, TableSpec("silver.x", SINK_SCHEMA, key=self.key)
        )
        self.opened.append(sink)
        return sink

    def rows(self, stream: str):
        return kafka_topics.rows(self.broker.bootstrap, self.topic, stream)

    holds_nul = True
