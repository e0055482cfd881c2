"""Messages of some partitions, from known offsets on, as batches with their positions.

A topic that was deleted and made again while it was read is noticed: its id is asked for after messages came and before
they are handed on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from headgate.clients.kafka import error_of, name_of, translated
from headgate.errors import FixInputError, PositionLost, SourceUnavailable
from headgate.ports.batch import Batch, Position
from headgate.sources.kafka_client import LARGEST_BATCH, Bounds, Client, Trouble, opened
from headgate.sources.kafka_position import Token, label, position_of
from headgate.sources.kafka_rows import no_rows
from headgate.sources.kafka_topic import Facts, Topic

_WAIT_S = 0.05  # for messages
_HOLD_S = 0.05  # how long a batch may gather when it is waited for
_ASK_S = 2.0  # of silence, after which the cluster is asked whether it is still there
_END = "_PARTITION_EOF"
_LOST = ("_AUTO_OFFSET_RESET", "_LOG_TRUNCATION", "OFFSET_OUT_OF_RANGE")
_GROUP = "GROUP_AUTHORIZATION_FAILED"
_GONE = ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION", "UNKNOWN_TOPIC_ID")


class Reader:
    """Reads from `tokens` on: up to `until` (offsets by partition) or, without it, for ever."""

    def __init__(
        self, topic: Topic, facts: Facts, start: Position, tokens: Mapping[int, Token], until: Mapping[int, int] | None
    ) -> None:
        self._topic, self._facts, self._settings = topic, facts, topic.settings
        self._position = start
        self._tokens = dict(tokens)
        self._bounds = Bounds.of(facts.partitions)
        for number, token in tokens.items():
            self._bounds.next[number], self._bounds.epochs[number] = token.offset, token.epoch
        self._until = until
        for number, offset in (until or {}).items():
            self._bounds.stop[number] = max(offset, int(self._bounds.next[number]))
        self._limit = min(self._settings.batch_bytes, LARGEST_BATCH)
        self._hold_s = -1.0 if until is not None else _HOLD_S
        self._silent_since = self._asked = time.monotonic()
        self._client: Client | None = None

    def batches(self) -> Iterator[Batch]:
        """Batches, each with an end. Without `until`: an empty one whenever nothing came for a moment."""
        unfinished = [n for n in self._tokens if self._bounds.next[n] < self._bounds.stop[n]]
        if unfinished:
            self._open(unfinished)
        while unfinished or self._until is None:
            begun = time.monotonic()
            while self._gathered_bytes() < self._limit:
                came = self._take()
                if self._finished():
                    break
                if not came or (self._until is None and time.monotonic() - begun > _HOLD_S):
                    break
            if self._finished():
                break
            if self._gathered_bytes() or self._until is None:
                yield from self._handed_on()
            if not self._gathered_bytes():
                self._ask_when_silent()
        yield from self._handed_on(last=True)

    def close(self) -> None:
        """Ends the client, also from within a read."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    @contextmanager
    def _calling(self) -> Iterator[Client]:
        if self._client is None:
            raise SourceUnavailable("the source was closed while it was read", where=self._settings.topic)
        with translated(self._topic.address, SourceUnavailable, where=self._settings.topic):
            yield self._client

    def _open(self, numbers: list[int]) -> None:
        with translated(self._topic.address, SourceUnavailable, where=self._settings.topic):
            self._client = opened(self._topic, self._bounds, numbers)

    def _gathered_bytes(self) -> int:
        return self._client.size_bytes if self._client is not None else 0

    def _take(self) -> bool:
        """Some more messages into what is gathered; whether any came."""
        if not self._tokens:
            time.sleep(_WAIT_S)  # no partition is ours
            return False
        with self._calling() as client:
            came, errors = client.gather(self._limit, _WAIT_S, self._hold_s)
        if came:
            self._silent_since = time.monotonic()
        self._look(errors)
        return came

    def _look(self, errors: Sequence[Trouble]) -> None:
        """What came in place of messages: the end of a partition, or trouble."""
        following = self._bounds.next
        for told, number, offset in errors:
            name = name_of(told)
            if name == _END:
                following[number] = max(int(following[number]), offset)
                continue
            if name == _GROUP:
                continue  # no group is asked for anything
            if name in _LOST:
                self._lost(number, name)
            elif name in _GONE:
                self._check(self._topic.facts())
                continue  # it is there: the client has not seen it yet
            error = error_of(told, self._topic.address, SourceUnavailable, where=self._settings.topic)
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
        return self._until is not None and bool((self._bounds.next >= self._bounds.stop).all())

    def _handed_on(self, *, last: bool = False) -> Iterator[Batch]:
        """What is gathered, once it is certain whose it is."""
        rows = no_rows() if self._client is None else self._client.take()
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
        nothing = no_rows()
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
        stop = np.minimum(self._bounds.next, self._bounds.stop)
        moved = {n: t for n, t in self._tokens.items() if stop[n] != t.offset}
        return {**self._tokens, **{n: replace(t, offset=int(stop[n]), epoch=self._epoch(n)) for n, t in moved.items()}}

    def _epoch(self, number: int) -> int:
        if self._client is None:
            return self._tokens[number].epoch
        with self._calling() as client:
            now = client.epoch(number)
        return self._tokens[number].epoch if now < 0 else now

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
        waits = [n for n in self._tokens if self._bounds.next[n] < self._bounds.stop[n] and n in facts.leaderless]
        if self._until is not None and waits and now - self._silent_since > self._settings.wait_s:
            raise self._topic.unavailable(self._settings.wait_s)
