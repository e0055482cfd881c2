"""What Headgate keeps in a Kafka cluster beside its messages: a compacted topic of keys and JSON values.

    position/<topic>/<stream>    how far the stream has been written to the topic; moves in the rows' transaction
    form/<topic>/<fingerprint>   what messages of that form hold

Only committed values are seen, and all of those that were committed before the look began.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from headgate.clients.kafka import TIMEOUT_S, Address, admin, error_of, module, name_of, translated
from headgate.clients.kafka_topics import create, offsets, topic
from headgate.errors import HeadgateError, RetryableError, StoreUnavailable

TOPIC = "_headgate.memory"
_CONFIG = {"cleanup.policy": "compact", "segment.ms": "3600000", "min.cleanable.dirty.ratio": "0.1"}
_FIRST_LOOK = 2_000  # offsets before the end; each further look goes ten times as far back


def position_key(name: str, stream: str) -> str:
    """Where the position of a stream in a topic is kept."""
    return f"position/{name}/{stream}"


def form_key(name: str, fingerprint: str) -> str:
    """Where the form of messages in a topic is kept."""
    return f"form/{name}/{fingerprint}"


class Memory:
    """Looks things up. What a transaction of somebody else holds back is waited for, up to `wait_s`."""

    def __init__(
        self,
        address: Address,
        name: str = TOPIC,
        *,
        wait_s: float = TIMEOUT_S,
        unavailable: type[RetryableError] = StoreUnavailable,
    ) -> None:
        self.address, self.name, self.wait_s = address, name, wait_s
        self._unavailable = unavailable
        self.admin = admin(address)

    def ensure(self) -> None:
        """Make the topic when it is not there."""
        if topic(self.admin, self.address, self.name) is None:
            create(self.admin, self.address, self.name, partitions=1, config=_CONFIG, may_exist=True)

    def newest(self, key: str, *, held: Callable[[], None] | None = None) -> bytes | None:
        """The last value of a key, None when it has none. `held` is called once when an open transaction is in the
        way for more than a second: it may end it.
        """
        found = self._look(lambda k: k == key, first=True, held=held)
        return found.get(key)

    def all(self, prefix: str) -> dict[str, bytes]:
        """The last values of all keys with the prefix, in the order of their last writing."""
        return self._look(lambda k: k.startswith(prefix), first=False, held=None)

    def _look(self, wanted: Callable[[str], bool], *, first: bool, held: Callable[[], None] | None) -> dict[str, bytes]:
        if topic(self.admin, self.address, self.name) is None:
            return {}
        bounds = offsets(self.admin, self.address, self.name, [0], self._unavailable)[0]
        reach = _FIRST_LOOK if first else bounds.end
        deadline = time.monotonic() + self.wait_s
        while True:
            start = max(bounds.first, bounds.end - reach)
            found = self._read(start, bounds.end, wanted, deadline, held)
            if found or start == bounds.first:
                return found
            reach *= 10

    def _read(
        self, start: int, end: int, wanted: Callable[[str], bool], deadline: float, held: Callable[[], None] | None
    ) -> dict[str, bytes]:
        """Every wanted key's last value in the stretch. Raises when an open transaction hides a part of it."""
        kafka = module()
        found: dict[str, bytes] = {}
        if start >= end:
            return found
        own = {
            "group.id": "headgate",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 20,
        }
        patience = time.monotonic() + 1.0
        trouble: HeadgateError | None = None  # such as a new leader: the client asks again by itself
        with translated(self.address, self._unavailable, where=self.name):
            consumer = kafka.Consumer({**self.address.settings(), **own})
            try:
                consumer.assign([kafka.TopicPartition(self.name, 0, start)])
                while time.monotonic() < deadline:
                    message = consumer.poll(0.1)
                    if message is not None:
                        error = message.error()
                        if error is None and (key := (message.key() or b"").decode()) and wanted(key):
                            found.pop(key, None)
                            found[key] = message.value()
                        if error is not None and name_of(error) != "_PARTITION_EOF":
                            trouble = error_of(error, self.address, self._unavailable, where=self.name)
                            if not isinstance(trouble, RetryableError):
                                raise trouble
                        elif message.offset() >= end - (error is None):
                            return found
                    if held is not None and time.monotonic() > patience:
                        held()
                        held = None
            finally:
                consumer.close()
        raise trouble or self._unavailable(
            f"an open transaction hides what was written to {self.name}",
            where=f"{self.address}/{self.name}",
            hint="another producer has stopped in its middle; Kafka ends its transaction after its time limit",
        )
