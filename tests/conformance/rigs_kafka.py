"""Rigs of Kafka: a topic of a real broker for each behaviour.

Of the source one that is read as it was written, and one that is written in transactions.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
from contextlib import contextmanager

from headgate.contract.model import Dataset, Field, Kind, Server, Type
from headgate.ports.store import TableSpec
from headgate.sources import kafka
from headgate.stores import kafka as kafka_store
from headgate.testing import SINK_SCHEMA
from rigs import kafka_topics
from rigs.kafka import Broker

TOPICS = itertools.count(1)
DATASET = Dataset(
    name="rows",
    fields=(Field("id", Type(Kind.INTEGER)), Field("text", Type(Kind.STRING))),
    contract_id="conformance",
    contract_version="1.0.0",
)
PARTITIONS = 3
SENT_AT = dt.datetime(2026, 11, 18, 11, 6, 40, 123_000, dt.UTC)


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


class KafkaSourceRig:
    """JSON messages with keys and headers."""

    content = ("_hg_raw", "_hg_key", "_hg_headers", "_hg_timestamp", "_hg_timestamp_kind")
    cannot = {"break_connection": "the client mends its connections by itself: see tests/integration/test_kafka_broken"}
    config: dict[str, str] = {}

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.topic = broker.topic(PARTITIONS, **self.config)
        self.sent: list[dict] = []

    @classmethod
    @contextmanager
    def made(cls, _folder, request):
        yield cls(request.getfixturevalue("broker"))

    def connect(self):
        options = {"host": self.broker.bootstrap, "topic": self.topic}
        return kafka.connect(DATASET, Server("bus", "kafka", options), {"batch_bytes": 3_000})

    def seed(self, rows: int) -> None:
        self._send([self._message(n) for n in range(rows)])

    def _message(self, number: int) -> dict:
        text = "twice" if number % 10 < 2 else f"row {number} é"
        body = {"id": 1 if text == "twice" else number, "text": text}
        return self._row(json.dumps(body, ensure_ascii=False).encode(), b"k%d" % (number % 7), [("n", b"\xff\x00")])

    def _row(self, raw, key, headers) -> dict:
        return {
            "_hg_raw": raw,
            "_hg_key": key,
            "_hg_headers": headers and [{"name": n, "value": v} for n, v in headers],
            "_hg_timestamp": SENT_AT,
            "_hg_timestamp_kind": "create",
        }

    def _send(self, rows: list[dict]) -> None:
        for partition in range(PARTITIONS):
            self._send_to(partition, rows[partition::PARTITIONS])
        self.sent += rows

    def _send_to(self, partition: int, rows: list[dict]) -> None:
        for row in rows:
            headers = row["_hg_headers"] and [(h["name"], h["value"]) for h in row["_hg_headers"]]
            self.producer.produce(
                self.topic,
                row["_hg_raw"],
                row["_hg_key"],
                partition,
                timestamp=int(SENT_AT.timestamp() * 1000),
                headers=headers,
            )
        assert self.producer.flush(30) == 0

    @property
    def producer(self):
        if not hasattr(self, "_producer"):
            self._producer = self.broker.producer()
        return self._producer

    def rows_expected(self) -> list[dict]:
        return self.sent

    def change(self) -> list[dict]:
        fresh = [self._message(len(self.sent) + n) for n in range(40)]
        self._send(fresh)
        return fresh

    def replace_source(self) -> None:
        """A topic of the same name with more messages."""
        self.broker.recreate(self.topic, PARTITIONS)
        self._send([self._message(1000 + n) for n in range(300)])

    def seed_odd(self) -> list[dict]:
        bad = [b"", b'{"id": 1', b"\xff\xfe\x00", b'{"id": 1e400, "text": "\\u0000"}', b"[1]", b'{"id": "\xc3"}', None]
        odd = [self._row(raw, None, None) for raw in bad]
        odd += [self._row(b"x", b"", [("twice", b"1"), ("twice", None), ("", b"")])]
        self._send(odd)
        return odd


class TransactionSourceRig(KafkaSourceRig):
    """After each transaction that is committed one that is aborted: offsets have gaps, also at the end."""

    _count = 0

    @property
    def producer(self):
        if not hasattr(self, "_producer"):
            self._producer = self.broker.producer(transactional_id=f"{self.topic}-writer")
            self._producer.init_transactions()
        return self._producer

    def _send(self, rows: list[dict]) -> None:
        half = len(rows) // 2
        for some in (rows[:half], rows[half:]):
            self.producer.begin_transaction()
            super()._send(some)
            self.producer.commit_transaction()
            self.producer.begin_transaction()
            for partition in range(PARTITIONS):
                self.producer.produce(self.topic, b"never happened", partition=partition)
            self.producer.flush(30)
            self.producer.abort_transaction()


class ObjectsSourceRig(TransactionSourceRig):
    """The same without the compiled part: by the client's `Message` objects."""

    @classmethod
    @contextmanager
    def made(cls, folder, request):
        request.getfixturevalue("monkeypatch").setenv("HEADGATE_PURE", "1")
        with super().made(folder, request) as rig:
            yield rig
