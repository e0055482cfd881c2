"""A real Kafka for tests: started, broken, thrown away. The cluster itself is the examples' (`examples/broker`).

The plain listener takes anybody as an administrator. `Broker(listeners=("SASL_PLAINTEXT",))` adds one where users
`reader` and `nobody` log in (password: the name and `-secret`), each with no right that `allow` did not give. `SSL` and
`SASL_SSL` have a certificate for 127.0.0.1 by the authority at `broker.authority`; with SASL by PLAIN, or by
SCRAM-SHA-512 after `scram`.
"""

from __future__ import annotations

import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "broker"))

from broker import BrokerError, Cluster, Node  # noqa: E402, F401
from rigs import certificates  # noqa: E402

_NUMBER = count(1)
WAIT_S = 30.0
# Compaction and retention act within a second, and the rights of users count. Retention only of topics that ask for it:
# records that say they are of a certain day must not go when that day is a week ago.
PROPERTIES = {
    "log.retention.ms": "-1",
    "log.initial.task.delay.ms": "100",
    "log.cleaner.backoff.ms": "100",
    "log.retention.check.interval.ms": "200",
    "log.segment.delete.delay.ms": "100",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "200",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
}
USERS = ("reader", "nobody")


def until(true: Callable[[], Any], what: str, timeout_s: float = WAIT_S) -> Any:
    """The first answer that is true; AssertionError when there is none in time."""
    pause, end = threading.Event(), time.monotonic() + timeout_s
    while not (answer := true()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout_s:.0f} s: {what}")
        pause.wait(0.02)
    return answer


class Broker:
    """A cluster of one node or several: `start`, break, `stop`."""

    def __init__(
        self, nodes: int = 1, listeners: Sequence[str] = (), properties: Mapping[str, str] | None = None
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hgkafka-"))
        self._admin: Any = None
        settings = {**PROPERTIES, **(properties or {})}
        for name in listeners:
            logins = "".join(f' user_{user}="{user}-secret"' for user in USERS)
            module = "org.apache.kafka.common.security.plain.PlainLoginModule"
            settings[f"listener.name.{name.lower()}.plain.sasl.jaas.config"] = f"{module} required{logins};"
            settings["sasl.enabled.mechanisms"] = "PLAIN,SCRAM-SHA-512"
            scram = "org.apache.kafka.common.security.scram.ScramLoginModule"
            settings[f"listener.name.{name.lower()}.scram-sha-512.sasl.jaas.config"] = f"{scram} required;"
        if any("SSL" in name for name in listeners):
            self.authority, server = certificates.made(self.folder)
            settings |= {"ssl.keystore.type": "PEM", "ssl.keystore.location": str(server)}
        self.cluster = Cluster(self.folder, nodes, properties=settings, listeners=listeners)

    @property
    def bootstrap(self) -> str:
        """`host:port,…` for clients."""
        return self.cluster.bootstrap()

    def start(self) -> Broker:
        self.cluster.start()
        return self

    def stop(self) -> None:
        """Ends the processes by their ids and removes the data."""
        self.cluster.stop(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    # Breaking it.

    def kill(self, number: int = 1) -> None:
        """kill -9."""
        self._node(number).stop(signal.SIGKILL)

    def restart(self, number: int = 1) -> None:
        """Starts a node that was killed or stopped, on its own ports and data."""
        self._node(number).start()
        self._node(number).wait()

    @contextmanager
    def frozen(self, number: int = 1) -> Iterator[None]:
        """The process stands still: it takes connections and never answers."""
        process = self._running(number)
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def stop_disk_writes(self, number: int = 1) -> None:
        """From now on every write to its files fails; a node with one folder ends by itself then. `restart` heals."""
        resource.prlimit(self._running(number).pid, resource.RLIMIT_FSIZE, (0, 0))

    def move_leader(self, topic: str, partition: int = 0) -> int:
        """Another replica becomes the leader; its node's number."""
        from confluent_kafka import ElectionType, TopicPartition

        before = self.leader(topic, partition)
        self._node(before).stop()
        after = until(
            lambda: (now := self.leader(topic, partition)) not in (-1, before) and now, f"a new leader of {topic}"
        )
        self.restart(before)
        self.admin().elect_leaders(ElectionType.PREFERRED, [TopicPartition(topic, partition)])
        return int(after)

    def leader(self, topic: str, partition: int = 0) -> int:
        metadata = self.admin().list_topics(topic, timeout=WAIT_S)
        return int(metadata.topics[topic].partitions[partition].leader)

    def _node(self, number: int) -> Node:
        return self.cluster.nodes[number - 1]

    def _running(self, number: int) -> Any:
        process = self._node(number).process
        assert process is not None, f"node {number} does not run"
        return process

    # Using it.

    def admin(self) -> Any:
        """One client for as long as the cluster lives: what it was asked ends with it."""
        from confluent_kafka.admin import AdminClient

        if self._admin is None:
            self._admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, "error_cb": lambda _: None})
        return self._admin

    def topic(self, partitions: int = 1, name: str | None = None, **config: Any) -> str:
        """A new topic (settings with underscores for dots); its name. All its leaders are there."""
        from confluent_kafka.admin import NewTopic

        name = name or f"test-{next(_NUMBER)}"
        settings = {key.replace("_", "."): str(value) for key, value in config.items()}
        asked = NewTopic(name, partitions, len(self.cluster.nodes), config=settings)
        self.admin().create_topics([asked])[name].result(WAIT_S)
        self._settled(name, partitions)
        return name

    def delete(self, topic: str) -> None:
        """Deletes the topic and waits until it is gone."""
        self.admin().delete_topics([topic])[topic].result(WAIT_S)
        until(lambda: topic not in self.admin().list_topics(timeout=WAIT_S).topics, f"{topic} is gone")

    def recreate(self, topic: str, partitions: int = 1) -> None:
        """Same name, another topic."""
        self.delete(topic)
        self.topic(partitions, topic)

    def cut(self, topic: str, offset: int, partition: int = 0) -> None:
        """Records before the offset are gone, as after retention."""
        from confluent_kafka import TopicPartition

        for future in self.admin().delete_records([TopicPartition(topic, partition, offset)]).values():
            future.result(WAIT_S)

    def producer(self, **config: Any) -> Any:
        """A producer (settings with underscores for dots)."""
        from confluent_kafka import Producer

        settings = {key.replace("_", "."): value for key, value in config.items()}
        return Producer({"bootstrap.servers": self.bootstrap, "log_level": 0, "linger.ms": 5, **settings})

    def produce(self, topic: str, values: Iterable[bytes | None], partition: int = 0, **more: Any) -> None:
        """Sends records to a partition and waits until they are stored. `more`: key, headers, timestamp."""
        producer, failed = self.producer(message_max_bytes=200_000_000), []

        def told(error: Any, _message: Any) -> None:
            if error is not None:
                failed.append(error)

        for value in values:
            while True:
                try:
                    producer.produce(topic, value, partition=partition, on_delivery=told, **more)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        assert producer.flush(WAIT_S) == 0, "records were not stored in time"
        assert not failed, failed[0]

    def ends(self, topic: str, partitions: int = 1, *, committed: bool = False) -> list[int]:
        """The high watermark of each partition, or where the first open transaction begins."""
        from confluent_kafka import IsolationLevel, TopicPartition
        from confluent_kafka.admin import OffsetSpec

        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        asked = {TopicPartition(topic, number): OffsetSpec.latest() for number in range(partitions)}
        answers = self.admin().list_offsets(asked, isolation_level=level)
        return [int(answers[one].result(WAIT_S).offset) for one in asked]

    def settled(self, topic: str, partitions: int = 1) -> None:
        """Waits until every transaction that was ended is marked so in every partition.

        Ending one returns before. A broker that is killed in between and holds the only copy leaves the marks out when
        it is back, if it looks while its partitions have no leader yet ("likely deleted already", it says): then
        messages that were taken back are committed by the next transaction (Kafka 4.3.1).
        """
        until(
            lambda: self.ends(topic, partitions, committed=True) == self.ends(topic, partitions),
            f"no transaction is open in {topic}",
        )

    def committed(self, group: str, topic: str, partitions: int = 1) -> list[int]:
        """What the group has been told; -1001 where nothing."""
        from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

        asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, n) for n in range(partitions)])
        (future,) = self.admin().list_consumer_group_offsets([asked]).values()
        return [int(one.offset) for one in future.result(WAIT_S).topic_partitions]

    def allow(self, user: str, topic: str, *operations: str) -> None:
        """Gives a user rights on a topic, such as READ and DESCRIBE."""
        from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

        asked = [
            AclBinding(
                ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, f"User:{user}", "*",
                AclOperation[operation], AclPermissionType.ALLOW,
            )
            for operation in operations
        ]  # fmt: skip
        for future in self.admin().create_acls(asked).values():
            future.result(WAIT_S)

    def scram(self, user: str) -> None:
        """Lets a user log in by SCRAM-SHA-512, with the password that PLAIN takes too."""
        from confluent_kafka.admin import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        asked = UserScramCredentialUpsertion(user, info, f"{user}-secret".encode())
        self.admin().alter_user_scram_credentials([asked])[user].result(WAIT_S)

    def _settled(self, topic: str, partitions: int) -> None:
        def led() -> bool:
            found = self.admin().list_topics(topic, timeout=WAIT_S).topics[topic]
            return len(found.partitions) == partitions and all(p.leader >= 0 for p in found.partitions.values())

        until(led, f"leaders of {topic}")
