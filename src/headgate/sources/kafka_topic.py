"""What the cluster knows of one topic: who it is, its partitions, where they begin and end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from headgate.clients.kafka import Address, error_of, module
from headgate.clients.kafka_topics import id_of
from headgate.errors import FixInputError, PositionLost, SourceChanged, SourceUnavailable
from headgate.sources.kafka_position import Token, label
from headgate.sources.kafka_settings import Settings

_TRY_S = 5.0  # how long one question may take
_LISTEN_S = 0.2  # how often something else is listened for meanwhile
_PAUSE_S = 0.1  # before the second try; then twice as long each time
_MOST_PAUSE_S = 2.0
_SAID_EVERY_S = 10.0
_REFUSED = ("_AUTHENTICATION", "_SSL")  # told beside the question, which only times out

_T = TypeVar("_T")
_log = logging.getLogger("headgate.sources.kafka")


@dataclass(frozen=True, slots=True)
class Facts:
    """A topic at one moment."""

    cluster: str
    topic: str  # its id; of zeros where the cluster has none
    partitions: int
    leaderless: tuple[int, ...]  # partitions that nobody serves now


@dataclass(frozen=True, slots=True)
class Range:
    """Offsets of a partition: the first there is, the end for readers, and the end of what was written."""

    first: int
    stable: int
    end: int


def has_id(topic: str) -> bool:
    """Whether it is a topic's id, and not the zeros of a cluster that gives none."""
    return bool(topic.strip("A"))


class Topic:
    """Asks the cluster about one topic; repeats a question with back-off while nobody answers, up to `wait_s`."""

    def __init__(self, address: Address, settings: Settings) -> None:
        self.address, self.settings = address, settings
        self._admin: Any = None
        self._refusal: Any = None
        self._said = 0.0
        self._ended = False
        self._known_topic = self._known_cluster = ""

    def facts(self, wait_s: float | None = None) -> Facts:
        """Identity and partitions. FixInputError when there is no such topic, or no right to it."""
        from confluent_kafka import TopicCollection

        name = self.settings.topic

        def ask(admin: Any) -> Facts:
            told = self._answer(admin.describe_topics(TopicCollection([name]), request_timeout=_TRY_S)[name])
            missing = tuple(p.id for p in told.partitions if p.leader is None or p.leader.id < 0)
            topic = id_of(told)
            if topic != self._known_topic:  # else its id, which no other topic ever has, speaks for the cluster too
                self._known_cluster = str(admin.list_topics(name, timeout=_TRY_S).cluster_id)
                self._known_topic = topic if has_id(topic) else ""
            return Facts(self._known_cluster, topic, len(told.partitions), missing)

        return self._asked(ask, wait_s)

    def ranges(self, partitions: Sequence[int]) -> dict[int, Range]:
        """Where the partitions begin and end now."""
        from confluent_kafka import IsolationLevel
        from confluent_kafka.admin import OffsetSpec

        committed = self.settings.isolation == "read_committed"
        stable = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        # The end is asked for last, so that it is not before the stable one.
        first = self._offsets(partitions, OffsetSpec.earliest(), stable)
        stables = self._offsets(partitions, OffsetSpec.latest(), stable)
        ends = self._offsets(partitions, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED) if committed else stables
        return {p: Range(first[p], stables[p], ends[p]) for p in partitions}

    def starts(self, partitions: Sequence[int], ranges: Mapping[int, Range]) -> dict[int, int]:
        """Where the first read begins. An instant after the last message is its end."""
        from confluent_kafka import IsolationLevel
        from confluent_kafka.admin import OffsetSpec

        at = self.settings.start_ms
        if at is None:
            return {p: ranges[p].stable if self.settings.start == "latest" else ranges[p].first for p in partitions}
        found = self._offsets(partitions, OffsetSpec.for_timestamp(at), IsolationLevel.READ_UNCOMMITTED)
        return {p: found[p] if found[p] >= 0 else ranges[p].stable for p in partitions}

    def check(self, facts: Facts, tokens: Mapping[int, Token]) -> None:
        """Raises SourceChanged when the tokens are not of this topic on this cluster."""
        for number, token in sorted(tokens.items()):
            where = label(self.settings.name, number)
            hint = "to read it from its start beside what was read: another name (read: name: …)"
            if token.cluster != facts.cluster:
                raise SourceChanged(
                    f"the position is of cluster {token.cluster}, this is {facts.cluster}: rebuilt, or another one",
                    where=where,
                    hint=hint,
                    stage="extract",
                )
            if token.topic != facts.topic or number >= facts.partitions:
                raise SourceChanged(
                    f"topic {self.settings.topic} was deleted and made again since it was read",
                    where=where,
                    hint=hint,
                    stage="extract",
                )

    def reachable(self, tokens: Mapping[int, Token], ranges: Mapping[int, Range]) -> None:
        """Raises PositionLost when messages after the tokens are gone, or never were."""
        for number, token in sorted(tokens.items()):
            where, there = label(self.settings.name, number), ranges[number]
            if token.offset < there.first:
                raise PositionLost(
                    f"offsets {token.offset} to {there.first - 1} are gone: the topic kept them for a shorter time than"
                    " it took to read them",
                    where=where,
                    hint="restore them, or go on without them under another name (read: name: …)",
                    stage="extract",
                )
            if token.offset > there.end:
                raise PositionLost(
                    f"the position {token.offset} is beyond the end {there.end}: the log was cut, or made anew",
                    where=where,
                    hint="to read it from its start beside what was read: another name (read: name: …)",
                    stage="extract",
                )

    def close(self) -> None:
        """Ends the client; a question under way has no answer."""
        self._ended = True
        self._admin = None

    def _offsets(self, partitions: Sequence[int], spec: Any, isolation: Any) -> dict[int, int]:
        from confluent_kafka import TopicPartition

        asked = {TopicPartition(self.settings.topic, number): spec for number in partitions}

        def ask(admin: Any) -> dict[int, int]:
            told = admin.list_offsets(asked, isolation_level=isolation, request_timeout=_TRY_S)
            return {one.partition: int(self._answer(future).offset) for one, future in told.items()}

        return self._asked(ask, None) if asked else {}

    def _asked(self, ask: Callable[[Any], _T], wait_s: float | None) -> _T:
        """The answer. SourceUnavailable when there is none for so long."""
        kafka = module()
        wait = self.settings.wait_s if wait_s is None else wait_s
        begun, pause = time.monotonic(), _PAUSE_S
        while True:
            try:
                return ask(self._client())
            except (kafka.KafkaException, TimeoutError) as cause:
                error = error_of(cause, self.address, SourceUnavailable, where=self._where)
                if isinstance(error, FixInputError):
                    raise error from cause
                self._refused()
                left = begun + wait - time.monotonic()
                if left <= 0 or self._ended:
                    raise self.unavailable(wait) from cause
                self._say(left)
                time.sleep(min(pause, left))
                pause = min(2 * pause, _MOST_PAUSE_S)

    def _answer(self, future: Any) -> Any:
        """What the cluster answers. A login that is refused is told beside the question, which would only time out."""
        end = time.monotonic() + 2 * _TRY_S
        while True:
            try:
                return future.result(_LISTEN_S)
            except TimeoutError:
                self._refused()
                if time.monotonic() > end or self._ended:
                    raise

    def unavailable(self, wait_s: float) -> SourceUnavailable:
        """Nobody answered for so long."""
        return SourceUnavailable(
            f"Kafka did not answer for {wait_s:g} s",
            where=self._where,
            hint=f"is a broker running at {self.address}, and does security.protocol fit it?",
            stage="extract",
        )

    def heard(self, error: Any) -> None:
        """Errors that librdkafka tells beside the calls: a login that is refused."""
        if error.name() in _REFUSED:
            self._refusal = error

    def _refused(self) -> None:
        if self._admin is not None:
            with suppress(Exception):
                self._admin.poll(0)
        if self._refusal is not None:
            raise error_of(self._refusal, self.address, SourceUnavailable, where=self._where)

    @property
    def _where(self) -> str:
        return f"{self.address}/{self.settings.topic}"

    def _say(self, left_s: float) -> None:
        now = time.monotonic()
        if now - self._said > _SAID_EVERY_S:
            self._said = now
            _log.warning("Kafka at %s does not answer; trying for another %.0f s", self.address, left_s)

    def _client(self) -> Any:
        if self._admin is None:
            module()
            from confluent_kafka.admin import AdminClient

            settings = self.address.settings(reconnect_backoff_max_ms=2000)
            self._admin = AdminClient({**settings, "error_cb": self.heard})
        return self._admin
