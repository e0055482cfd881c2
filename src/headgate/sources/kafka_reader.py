"""Messages of some partitions, from known offsets on, as batches with their positions.

The client never looks for a place by itself (`auto.offset.reset: error`), and a topic that was deleted and made again
while it was read is noticed: its id is asked for after messages came and before they are handed on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from headgate.clients.kafka import error_of, module, name_of
from headgate.errors import FixInputError, PositionLost, SourceUnavailable
from headgate.ports.batch import Batch, Position
from headgate.sources.kafka_position import Token, label, position_of
from headgate.sources.kafka_rows import Gathered
from headgate.sources.kafka_topic import Facts, Topic

MESSAGES = 500  # per call to the client: measured best
QUEUE_BYTES = 1 << 24  # that the client holds ready: a quarter of its default, so that a backlog takes no more memory
_WAIT_S = 0.05  # for them
_HOLD_S = 0.05  # how long a batch may gather when it is waited for
_ASK_S = 2.0  # of silence, after which the cluster is asked whether it is still there
_END = "_PARTITION_EOF"
_LOST = ("_AUTO_OFFSET_RESET", "_LOG_TRUNCATION", "OFFSET_OUT_OF_RANGE")
_GROUP = "GROUP_AUTHORIZATION_FAILED"
_GONE = ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION", "UNKNOWN_TOPIC_ID")
SETTINGS = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "queued.max.messages.kbytes": QUEUE_BYTES >> 10,  # of all partitions together
    "fetch.max.bytes": QUEUE_BYTES,  # a message that is larger comes alone
    "fetch.queue.backoff.ms": 10,  # its 1 s would be waited for whenever the queue was full for a moment
    "receive.message.max.bytes": 2_000_000_000,  # messages of any size that the broker takes
    "reconnect.backoff.max.ms": 2000,
}


class Reader:
    """Reads from `tokens` on: up to `until` (offsets by partition) or, without it, for ever."""

    def __init__(
        self, topic: Topic, facts: Facts, start: Position, tokens: Mapping[int, Token], until: Mapping[int, int] | None
    ) -> None:
        self._topic, self._facts, self._settings = topic, facts, topic.settings
        self._position = start
        self._tokens = dict(tokens)
        self._next = np.zeros(facts.partitions, np.int64)
        for number, token in tokens.items():
            self._next[number] = token.offset
        self._until = until
        self._stop = np.full(facts.partitions, np.iinfo(np.int64).max)
        for number, offset in (until or {}).items():
            self._stop[number] = max(offset, int(self._next[number]))
        self._names: Any = pa.array([label(self._settings.name, n) for n in range(facts.partitions)], pa.string())
        self._gathered = Gathered()
        self._messages = max(1, min(MESSAGES, self._settings.batch_bytes // 1000))
        self._silent_since = self._asked = time.monotonic()
        self._client: Any = None

    def batches(self) -> Iterator[Batch]:
        """Batches, each with an end. Without `until`: an empty one whenever nothing came for a moment."""
        unfinished = [n for n in self._tokens if self._next[n] < self._stop[n]]
        if unfinished:
            self._open(unfinished)
        while unfinished or self._until is None:
            begun = time.monotonic()
            while self._gathered.size_bytes < self._settings.batch_bytes:
                came = self._take()
                if self._finished():
                    break
                if not came or (self._until is None and time.monotonic() - begun > _HOLD_S):
                    break
            if self._finished():
                break
            if len(self._gathered) or self._until is None:
                yield from self._handed_on()
            if not len(self._gathered):
                self._ask_when_silent()
        yield from self._handed_on(last=True)

    def close(self) -> None:
        """Ends the client, also from within a read."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    @contextmanager
    def _calling(self) -> Iterator[Any]:
        if self._client is None:
            raise SourceUnavailable("the source was closed while it was read", where=self._settings.topic)
        try:
            yield self._client
        except module().KafkaException as cause:
            raise error_of(cause, self._topic.address, SourceUnavailable, where=self._settings.topic) from cause

    def _open(self, numbers: list[int]) -> None:
        from confluent_kafka import Consumer, TopicPartition

        settings = self._topic.address.settings(group_id=self._settings.group or "headgate")
        own = {**SETTINGS, "isolation.level": self._settings.isolation, "error_cb": self._topic.heard}
        self._client = Consumer({**settings, **own})
        with self._calling() as client:
            client.assign(
                [
                    TopicPartition(self._settings.topic, n, self._tokens[n].offset, leader_epoch=self._tokens[n].epoch)
                    if self._tokens[n].epoch >= 0
                    else TopicPartition(self._settings.topic, n, self._tokens[n].offset)
                    for n in numbers
                ]
            )

    def _take(self) -> bool:
        """Some more messages into what is gathered; whether any came."""
        if not self._tokens:
            time.sleep(_WAIT_S)  # no partition is ours
            return False
        with self._calling() as client:
            messages = client.consume(self._messages, _WAIT_S)
        if not messages:
            return False
        came, errors = messages, []
        if any(map(type(messages[0]).error, messages)):
            came = [one for one in messages if one.error() is None]
            errors = [one for one in messages if one.error() is not None]
        if came:
            partitions, offsets = self._gathered.add(came)
            if (offsets < self._next[partitions]).any():
                raise SourceUnavailable("the client gave messages again that it had given", where=self._settings.topic)
            np.maximum.at(self._next, partitions, offsets + 1)
            self._silent_since = time.monotonic()
        self._look(errors)
        return bool(came)

    def _look(self, errors: Sequence[Any]) -> None:
        """What came in place of messages: the end of a partition, or trouble."""
        for message in errors:
            name, number = name_of(message.error()), message.partition()
            if name == _END:
                self._next[number] = max(int(self._next[number]), message.offset())
                continue
            if name == _GROUP:
                continue  # no group is asked for anything
            if name in _LOST:
                self._lost(number, name)
            elif name in _GONE:
                self._check(self._topic.facts())
                continue  # it is there: the client has not seen it yet
            error = error_of(message.error(), self._topic.address, SourceUnavailable, where=self._settings.topic)
            if isinstance(error, FixInputError) or name in _LOST:
                raise error

    def _lost(self, number: int, name: str) -> None:
        """The broker does not have the place where we are: say which of the reasons it is."""
        self._check(self._topic.facts())
        tokens = self._tokens_now()
        self._topic.reachable(tokens, self._topic.ranges(list(tokens)))
        if name == "_LOG_TRUNCATION":
            raise PositionLost(
                f"the log was cut before offset {tokens[number].offset} and written anew: some of what was read is no"
                " longer there",
                where=label(self._settings.name, number),
                hint="to read it from its start beside what was read: another name (read: name: …)",
                stage="extract",
            )

    def _finished(self) -> bool:
        return self._until is not None and all(self._next[n] >= self._stop[n] for n in self._tokens)

    def _handed_on(self, *, last: bool = False) -> Iterator[Batch]:
        """What is gathered, once it is certain whose it is."""
        gathered, self._gathered = self._gathered, Gathered()
        rows = gathered.rows(self._names, self._settings.format)
        if self._until is not None and rows.num_rows:
            keep = np.concatenate(gathered.offsets) < self._stop[np.concatenate(gathered.partitions)]
            rows = rows if keep.all() else rows.filter(pa.array(keep))
        tokens = self._tokens_now()
        end = position_of(self._settings.name, tokens)
        if rows.num_rows or end != self._position:
            yield from self._known()
            yield Batch(rows, self._position, end)
            self._position, self._tokens = end, tokens
        elif not last:
            yield Batch(rows, self._position, self._position)

    def _known(self) -> Iterator[Batch]:
        """Ask whose messages these are. A read that goes on waits as long as it takes."""
        nothing = Gathered().rows(self._names, self._settings.format)
        while True:
            try:
                self._check(self._topic.facts(None if self._until is not None else 0.5))
            except SourceUnavailable:
                if self._until is not None:
                    raise
                yield Batch(nothing, self._position, self._position)
            else:
                return

    def _check(self, facts: Facts) -> None:
        self._topic.check(facts, self._tokens)
        self._asked = time.monotonic()

    def _tokens_now(self) -> dict[int, Token]:
        """The tokens after what was taken."""
        stop = np.minimum(self._next, self._stop)
        moved = {n: t for n, t in self._tokens.items() if stop[n] != t.offset}
        return {**self._tokens, **{n: replace(t, offset=int(stop[n]), epoch=self._epoch(n)) for n, t in moved.items()}}

    def _epoch(self, number: int) -> int:
        from confluent_kafka import TopicPartition

        if self._client is None:
            return self._tokens[number].epoch
        with self._calling() as client:
            (now,) = client.position([TopicPartition(self._settings.topic, number)])
        return self._tokens[number].epoch if now.leader_epoch is None else int(now.leader_epoch)

    def _ask_when_silent(self) -> None:
        """After some silence: is the cluster there, and the topic the same? A read with an end gives up in the end."""
        now = time.monotonic()
        if now - max(self._silent_since, self._asked) < _ASK_S:
            return
        self._asked = now
        try:
            facts = self._topic.facts(None if self._until is not None else 0.5)
        except SourceUnavailable:
            if self._until is not None:
                raise
            return
        self._check(facts)
        waits = [n for n in self._tokens if self._next[n] < self._stop[n] and n in facts.leaderless]
        if self._until is not None and waits and now - self._silent_since > self._settings.wait_s:
            raise self._topic.unavailable(self._settings.wait_s)
