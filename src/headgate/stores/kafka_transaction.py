"""One stream's way into a topic: transactions that carry rows and position, and what is known of their outcome."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import repeat
from typing import TYPE_CHECKING, Any

from headgate import crash
from headgate.clients.kafka import Address, error_of, module, name_of, told_by
from headgate.clients.kafka_memory import Memory, position_key
from headgate.clients.kafka_topics import Topic, offsets
from headgate.errors import (
    CommitConflict,
    HeadgateError,
    OutcomeUnknownError,
    RetryableError,
    SourceChanged,
    StalePosition,
    StoreUnavailable,
)
from headgate.formats.messages import HEADER, Encoder
from headgate.ports.batch import Batch, Position, Stretch

if TYPE_CHECKING:
    from headgate.stores.kafka_settings import Settings

SENT_S = 5.0  # how long the queue may take to become empty before the end is sent
VISIBLE_S = 1.0
ANSWER_S = 60.0  # how long a transaction's end is waited for before the outcome is looked up


class Writer:
    """Writes one stream. Kafka lets only the newest writer of a stream go on: an older one is fenced.

    A commit:

    1. The writer takes over: what an older one left open is taken back by Kafka, and it can commit nothing any more.
    2. The position is read; it cannot move any more without fencing this writer.
    3. Rows are sent.
    4. The end is compared with the position and sent.
    5. The transaction is committed. Without a clear answer the position tells whether it was (1 and 2 again).
    """

    def __init__(self, address: Address, memory: Memory, topic: Topic, stream: str, settings: Settings) -> None:
        self.address, self.memory, self.topic, self.stream, self.settings = address, memory, topic, stream, settings
        self.where = f"{address}/{topic.name}"
        self._key = position_key(topic.name, stream)
        self._producer: Any = None
        self._held = Position.start()
        self._forms: set[bytes] = set()

    def look(self) -> Position:
        """The position that the last committed transaction left.

        A transaction of a writer that died keeps it hidden; this then takes over, which ends that transaction.
        """
        return self._understood(self.memory.newest(self._key, held=self._take_over))

    def commit(self, batches: Iterable[Batch], encoder: Encoder, form_key: bytes, form: bytes) -> int:
        """See the class. `form` is kept under `form_key`, once. The number of rows.

        Raises StalePosition or CommitConflict when somebody else wrote (nothing landed), StoreUnavailable when there
        is no answer (nothing landed), OutcomeUnknownError when not even the position can be read.
        """
        stretch = Stretch(batches)
        rows = stretch.rows()
        first = next(rows, None)
        if first is None:
            return 0
        try:
            if self._producer is None:
                self._take_over()  # 1
                self._held = self.look()  # 2
            self._producer.begin_transaction()
            count = self._send(encoder, first)  # 3
            for batch in rows:
                count += self._send(encoder, batch)
            if stretch.start is None or stretch.end is None:
                self._abort()
                return 0
            crash.point("kafka: rows sent, position not")
            self._agree(stretch.start, stretch.end)  # 4
            after = self._held.advanced(stretch.end)
            self._note(after, form_key, form)
        except (module().KafkaException, SystemError) as cause:
            told = told_by(cause)
            if told is None:
                raise
            raise self._broken(told, stretch.start) from cause
        except (Exception, KeyboardInterrupt):
            self._abort()
            raise
        crash.point("kafka: position sent, not committed")
        self._end(stretch.start, after)  # 5
        crash.point("kafka: committed")
        self._until_visible()
        self._held = after
        self._forms.add(form_key)
        return count

    def close(self) -> None:
        """Take back what is open, and let go."""
        if self._producer is not None:
            self._abort()
        self._drop()

    # --- the steps

    def _take_over(self) -> None:
        """Step 1."""
        self._drop()
        kafka = module()
        own = {
            "transactional.id": f"headgate/{self.topic.name}/{self.stream}",
            "transaction.timeout.ms": self.settings.transaction_timeout_s * 1000,
            "message.timeout.ms": self.settings.transaction_timeout_s * 500,
            "partitioner": "murmur2_random",
            "compression.type": self.settings.compression,
            "linger.ms": 20,
            "batch.size": 1_000_000,
            "message.max.bytes": 1_000_000_000,  # the topic decides
            "queue.buffering.max.messages": 200_000,
            "queue.buffering.max.kbytes": 256 * 1024,
            "delivery.report.only.error": True,
            "retry.backoff.ms": 20,
        }
        try:
            self._producer = kafka.Producer({**self.address.settings(), **own})
            self._until_answered(self._producer.init_transactions)
        except kafka.KafkaException as cause:
            self._drop()
            raise error_of(cause, self.address, StoreUnavailable, where=self.where) from cause

    def _send(self, encoder: Encoder, rows: Any) -> int:
        """Step 3, one batch."""
        if not rows.num_rows:
            return 0
        messages = encoder.encode(rows)
        produce, name = self._producer.produce, self.topic.name
        partition = self.topic.partitions[0] if self.settings.ordered else -1
        others: Any = messages.others or repeat(())
        for key, value, header, came in zip(messages.keys, messages.values, messages.headers, others, strict=False):
            while True:
                try:
                    produce(name, value, key, partition, None, None, 0, [*came, (HEADER, header)])
                except BufferError:
                    self._producer.poll(0.01)
                else:
                    break
        self._producer.poll(0)
        return int(rows.num_rows)

    def _agree(self, start: Position, end: Position) -> None:
        """Step 4: the partitions that move must stand where the batches begin."""
        for partition in end.tokens:
            held, begun = self._held.tokens.get(partition), start.tokens.get(partition)
            if held != begun:
                raise StalePosition(
                    f"{self.stream} stands at {held} in {partition}, and these rows continue {begun}", where=self.where
                )

    def _note(self, after: Position, form_key: bytes, form: bytes) -> None:
        """Step 4: position and form. Late, so that others who look up theirs are hardly ever kept waiting."""
        self._until_sent()
        if form_key not in self._forms:
            self._producer.produce(self.memory.name, form, form_key, 0)
        kept = {"topic": self.topic.id, "partitions": len(self.topic.partitions), "tokens": dict(after.tokens)}
        value = json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()
        self._producer.produce(self.memory.name, value, self._key.encode(), 0)

    def _end(self, start: Position, after: Position) -> None:
        """Step 5."""
        kafka = module()
        try:
            self._until_answered(self._producer.commit_transaction)
        except kafka.KafkaException as cause:
            error = error_of(cause, self.address, StoreUnavailable, where=self.where)
            try:
                self._take_over()
                found = self.look()
            except RetryableError as unseen:
                raise OutcomeUnknownError(
                    f"no answer whether the rows were committed: {error.message}",
                    where=self.where,
                    hint="run again: the position tells whether they were",
                ) from unseen
            if found == after:
                return
            self._held = found
            if found == start or all(found.tokens.get(p) == start.tokens.get(p) for p in after.tokens):
                raise error from cause
            raise StalePosition("another writer moved the stream meanwhile", where=self.where) from cause

    def _until_visible(self) -> None:
        """Kafka answers a commit a moment before readers see it. Who goes on from here reads the rows; only somebody
        else's open transaction is not waited for."""
        deadline = time.monotonic() + VISIBLE_S
        ends: Mapping[int, int] | None = None
        with suppress(HeadgateError):
            while time.monotonic() < deadline:
                now = offsets(self.memory.admin, self.address, self.topic.name, self.topic.partitions)
                ends = ends or {number: one.end for number, one in now.items()}
                if all(one.stable >= ends[number] for number, one in now.items()):
                    return
                time.sleep(0.002)

    # --- trouble

    def _broken(self, cause: Any, start: Position | None) -> HeadgateError:
        """What to raise when Kafka refused something before the end: for certain nothing landed."""
        reason = self._reason(cause)
        self._abort()
        error = error_of(reason, self.address, StoreUnavailable, where=self.where)
        if isinstance(error, CommitConflict):
            self._drop()
            now = self._understood(self.memory.newest(self._key))
            if start is not None and any(now.tokens.get(p) != t for p, t in start.tokens.items()):
                return StalePosition("another writer moved the stream meanwhile", where=self.where)
            if start == Position.start() and now != start:
                return StalePosition("another writer began the stream meanwhile", where=self.where)
            return CommitConflict("another writer took over; nothing of this commit landed", where=self.where)
        return error

    def _reason(self, cause: Any) -> Any:
        """Why a transaction broke. The client tells only who tries to commit it; a broken one cannot be committed."""
        if name_of(cause) in ("_STATE", "_FATAL") and self._producer is not None:
            try:
                self._producer.commit_transaction(ANSWER_S)
            except module().KafkaException as told:
                return told
        return cause

    def _abort(self) -> None:
        """Take back the open transaction. When that does not work, the producer goes: the next one's start does it."""
        if self._producer is None:
            return
        try:
            self._producer.purge()
            self._until_answered(self._producer.abort_transaction)
        except module().KafkaException:
            self._drop()

    def _drop(self) -> None:
        if self._producer is not None:
            with suppress(module().KafkaException):
                self._producer.purge()
        self._producer = None

    def _until_sent(self) -> None:
        """Wait a little until the queue is empty. When it does not get so, whatever is asked next says why."""
        deadline = time.monotonic() + SENT_S
        while len(self._producer) > 0 and time.monotonic() < deadline:
            self._producer.poll(0.01)

    def _until_answered(self, ask: Any) -> None:
        """Ask again what may be asked again."""
        kafka = module()
        deadline = time.monotonic() + ANSWER_S
        while True:
            try:
                ask(min(10.0, ANSWER_S))
            except kafka.KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() > deadline:
                    raise
            else:
                return

    def _understood(self, value: bytes | None) -> Position:
        if value is None:
            return Position.start()
        kept = json.loads(value)
        if kept["topic"] != self.topic.id:
            raise SourceChanged(
                "the topic was made anew, and what was written to the earlier one is gone",
                where=self.where,
                hint="give another topic, or write everything again under another name",
            )
        if kept["partitions"] != len(self.topic.partitions) and not self.settings.ordered:
            raise SourceChanged(
                f"the topic had {kept['partitions']} partitions and has {len(self.topic.partitions)}: "
                "later rows of a key would not stand behind its earlier ones",
                where=self.where,
                hint="give a new topic with as many partitions as are needed",
            )
        return Position(kept["tokens"])
