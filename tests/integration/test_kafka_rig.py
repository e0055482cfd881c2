"""The broker of the tests breaks as asked: what later tests rely on."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, KafkaException

from rigs.kafka import Broker, until


def values(broker: Broker, topic: str, number: int, **config) -> list[bytes | None]:
    from confluent_kafka import TopicPartition

    settings = {key.replace("_", "."): value for key, value in config.items()}
    consumer = Consumer(
        {"bootstrap.servers": broker.bootstrap, "group.id": "rig", "enable.auto.commit": False, "log_level": 0}
        | settings
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    got: list[bytes | None] = []

    def read() -> bool:
        got.extend(m.value() for m in consumer.consume(500, 0.2) if m.error() is None)
        return len(got) >= number

    try:
        until(read, f"{number} records of {topic}")
    finally:
        consumer.close()
    return got


def test_what_is_produced_is_consumed_and_a_cut_removes_it(broker: Broker):
    topic = broker.topic()
    broker.produce(topic, [b"a", None, b"c"])
    assert values(broker, topic, 3) == [b"a", None, b"c"]
    assert broker.ends(topic) == [3]
    broker.cut(topic, 2)
    assert values(broker, topic, 1, auto_offset_reset="earliest") == [b"c"]


def test_a_user_without_rights_is_refused_and_with_them_reads(broker: Broker):
    topic = broker.topic()
    broker.produce(topic, [b"a"])
    login = {
        "bootstrap_servers": broker.cluster.bootstrap("SASL_PLAINTEXT"),
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_username": "reader",
        "sasl_password": "reader-secret",
    }
    from confluent_kafka.admin import AdminClient

    client = AdminClient({k.replace("_", "."): v for k, v in login.items()} | {"log_level": 0})
    assert topic not in client.list_topics(timeout=10).topics
    broker.allow("reader", topic, "READ", "DESCRIBE")
    until(lambda: topic in client.list_topics(timeout=10).topics, "the right")
    assert values(broker, topic, 1, **login) == [b"a"]


@pytest.mark.slow
def test_a_killed_broker_comes_back_with_its_records_and_one_without_a_disk_ends():
    broker = Broker()
    try:
        topic = broker.start().topic()
        broker.produce(topic, [b"a"])
        broker.kill()
        broker.restart()
        assert values(broker, topic, 1) == [b"a"]
        with broker.frozen(), pytest.raises(KafkaException):
            broker.admin().list_topics(timeout=0.3)
        assert values(broker, topic, 1) == [b"a"]
        broker.stop_disk_writes()
        broker.producer(message_timeout_ms=1000).produce(topic, b"lost")
        process = broker.cluster.nodes[0].process
        until(lambda: process.poll() is not None, "it ends")
        broker.restart()
        assert values(broker, topic, 1) == [b"a"]
    finally:
        broker.stop()


@pytest.mark.slow
def test_three_nodes_change_the_leader_and_keep_the_records():
    broker = Broker(nodes=3)
    try:
        topic = broker.start().topic(min_insync_replicas=2)
        broker.produce(topic, [b"a"])
        before = broker.leader(topic)
        assert broker.move_leader(topic) != before
        assert values(broker, topic, 1) == [b"a"]
    finally:
        broker.stop()
