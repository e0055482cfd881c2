"""Topics of a Kafka cluster: made, listed, described, with their offsets."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headgate.clients.kafka import TIMEOUT_S, Address, module, name_of, translated
from headgate.errors import FixInputError, RetryableError, SourceUnavailable

PARTITIONS = 3
_OURS = 3  # references: of the description, of a local name, and of who counts them
_UNSETTLED = (
    "NOT_LEADER_FOR_PARTITION",
    "LEADER_NOT_AVAILABLE",
    "UNKNOWN_LEADER_EPOCH",
    "FENCED_LEADER_EPOCH",
    "OFFSET_NOT_AVAILABLE",
)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the cluster knows it. `id` differs from that of an earlier topic of the same name."""

    name: str
    id: str
    partitions: tuple[int, ...]
    replication: int
    leaders: Mapping[int, int | None]
    internal: bool = False


@dataclass(frozen=True, slots=True)
class Offsets:
    """Of one partition: the oldest offset kept, the end for readers of committed messages, and the log's end."""

    first: int
    stable: int
    end: int


def topic(client: Any, address: Address, name: str, *, timeout_s: float = TIMEOUT_S) -> Topic | None:
    """The topic, None when there is none or the client may not know. Raises SourceUnavailable and so on."""
    kafka = module()
    collection = kafka.TopicCollection([name])
    with translated(address, SourceUnavailable, where=name, client=client):
        future = client.describe_topics(collection, request_timeout=timeout_s)[name]
        try:
            found = future.result()
        except kafka.KafkaException as error:
            if name_of(error) in ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "UNKNOWN_TOPIC_ID"):
                return None
            raise
    leaders = {p.id: p.leader.id if p.leader is not None and p.leader.id >= 0 else None for p in found.partitions}
    replication = max((len(p.replicas) for p in found.partitions), default=0)
    return Topic(name, id_of(found), tuple(sorted(leaders)), replication, leaders, bool(found.is_internal))


def id_of(described: Any) -> str:
    """The id of a described topic. The client (2.16) counts one reference too many of each id that it gives: 130 bytes
    would stay of each question, of which a run that goes on asks ten a second."""
    given = described.topic_id
    if sys.getrefcount(given) > _OURS:
        ctypes.pythonapi.Py_DecRef(ctypes.py_object(given))
    return str(given)


def existing(client: Any, address: Address, name: str) -> Topic:
    """The topic. FixInputError with near names when there is none."""
    found = topic(client, address, name)
    if found is None:
        import difflib

        near = difflib.get_close_matches(name, names(client, address), 3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"headgate topic create {name}; headgate topic list"
        raise FixInputError("there is no such topic", where=f"{address}/{name}", hint=hint)
    return found


def names(client: Any, address: Address) -> list[str]:
    """Names of all topics that the client may see, sorted."""
    with translated(address, SourceUnavailable, client=client):
        return sorted(client.list_topics(timeout=TIMEOUT_S).topics)


def create(
    client: Any,
    address: Address,
    name: str,
    *,
    partitions: int = PARTITIONS,
    replication: int = -1,
    config: Mapping[str, str] | None = None,
    may_exist: bool = False,
) -> Topic:
    """A new topic, ready to be written; replication -1 is the cluster's default.

    Raises FixInputError when it exists (unless it may), or when Kafka refuses what is asked.
    """
    kafka = module()
    from confluent_kafka.admin import NewTopic

    asked = NewTopic(name, num_partitions=partitions, replication_factor=replication, config=dict(config or {}))
    with translated(address, SourceUnavailable, where=name, client=client):
        future = client.create_topics([asked], request_timeout=TIMEOUT_S, operation_timeout=TIMEOUT_S)[name]
        try:
            future.result()
        except kafka.KafkaException as error:
            if not (may_exist and name_of(error) == "TOPIC_ALREADY_EXISTS"):
                raise
    return _led(client, address, name)


def _led(client: Any, address: Address, name: str) -> Topic:
    """The topic once every partition has a leader."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        found = topic(client, address, name)
        if found is not None and found.partitions and None not in found.leaders.values():
            return found
        if time.monotonic() > deadline:
            raise SourceUnavailable("the topic has no leader", where=f"{address}/{name}", hint="are all brokers up?")
        time.sleep(0.05)


def configured(client: Any, address: Address, name: str) -> dict[str, str]:
    """What was set for the topic itself, not by default."""
    module()
    from confluent_kafka.admin import ConfigResource, ConfigSource

    resource = ConfigResource("topic", name)
    with translated(address, SourceUnavailable, where=name, client=client):
        found = client.describe_configs([resource], request_timeout=TIMEOUT_S)[resource].result()
    own = ConfigSource.DYNAMIC_TOPIC_CONFIG.value
    return {key: entry.value for key, entry in sorted(found.items()) if entry.source in (own, "DYNAMIC_TOPIC_CONFIG")}


def offsets(
    client: Any,
    address: Address,
    name: str,
    partitions: Sequence[int],
    unavailable: type[RetryableError] = SourceUnavailable,
) -> dict[int, Offsets]:
    """Where each partition begins and ends."""
    kafka = module()
    from confluent_kafka.admin import OffsetSpec

    every = [kafka.TopicPartition(name, one) for one in partitions]
    asked = [
        (OffsetSpec.earliest(), kafka.IsolationLevel.READ_UNCOMMITTED),
        (OffsetSpec.latest(), kafka.IsolationLevel.READ_COMMITTED),
        (OffsetSpec.latest(), kafka.IsolationLevel.READ_UNCOMMITTED),
    ]

    def ask() -> list[dict[int, int]]:
        futures = [
            client.list_offsets(dict.fromkeys(every, spec), isolation_level=level, request_timeout=TIMEOUT_S)
            for spec, level in asked
        ]
        return [{p.partition: future.result().offset for p, future in one.items()} for one in futures]

    with translated(address, unavailable, where=name, client=client):
        found = _settled(ask)
    return {one: Offsets(found[0][one], found[1][one], found[2][one]) for one in partitions}


def _settled(ask: Callable[[], list[dict[int, int]]]) -> list[dict[int, int]]:
    """The answer, asked for again while a leader is new to its partition."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return ask()
        except module().KafkaException as error:
            if name_of(error) not in _UNSETTLED or time.monotonic() > deadline:
                raise
        time.sleep(0.05)
