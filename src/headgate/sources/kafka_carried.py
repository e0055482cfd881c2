"""Rows that travelled through a topic (see `headgate.stores.kafka`), in the columns that they set out with.

The coordinates are the messages' own; those that the rows had before are `_hg_origin_partition` and
`_hg_origin_offset`. Topics written in several forms, because a column was added meanwhile, give all columns of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from headgate.clients.kafka import Address
from headgate.clients.kafka_memory import Memory, form_key
from headgate.contract.model import Dataset, Server
from headgate.errors import BreakingChangeError, SourceChanged, SourceUnavailable
from headgate.formats.messages import HEADER, Decoder, Form, fingerprints
from headgate.ports.batch import HEADERS, OFFSET, PARTITION, RAW, Batch, Position
from headgate.sources.kafka import KafkaSource
from headgate.sources.kafka import connect as connect_topic

compute: Any = pyarrow.compute  # its types do not fit ours
_COORDINATES: list[pa.Field[Any]] = [
    pa.field(PARTITION, pa.string(), nullable=False),
    pa.field(OFFSET, pa.int64(), nullable=False),
]


def connect(dataset: Dataset, server: Server, read: Mapping[str, Any], newest: Form) -> CarriedSource:
    """The rows of a dataset in a topic. `newest` is the form that rows have now, whether any has been sent or not."""
    address = Address.parse({**server.options, **read}, str(server.place or server.name))
    topic = str(server.options["topic"])
    return CarriedSource(connect_topic(dataset, server, read), Memory(address), topic, newest)


class CarriedSource:
    """See `headgate.ports.source`."""

    def __init__(self, source: KafkaSource, memory: Memory, topic: str, newest: Form) -> None:
        self._source, self._memory, self._topic, self._newest = source, memory, topic, newest
        self._where = f"{memory.address}/{topic}"
        self._decoders: dict[str, Decoder] = {}
        self._schema: pa.Schema | None = None

    def schema(self) -> pa.Schema:
        """Coordinates and every column of every form, with the type that it was given last."""
        self._schema = self._merged(self._forms())
        return self._schema

    def read(self, after: Position) -> Iterator[Batch]:
        """All rows in the topic after the position. As the topic's own source; also SourceChanged for a message that
        no sink of ours has written."""
        schema = self._schema or self.schema()
        for batch in self._source.read(after):
            yield Batch(self._rows(batch.rows, schema), batch.start, batch.end)

    def idle(self, after: Position) -> bool:
        """Whether the topic has been read to its end."""
        return self._source.idle(after)

    def tell(self) -> Mapping[str, Any]:
        """As the topic's own source."""
        return self._source.tell()

    def close(self) -> None:
        """Give back connections."""
        for one in self._decoders.values():
            one.close()
        self._decoders.clear()
        self._source.close()

    def _forms(self) -> list[Form]:
        kept = self._memory.all(form_key(self._topic, ""))
        return [*(Form.understood(value) for value in kept.values()), self._newest]

    def _merged(self, forms: list[Form]) -> pa.Schema:
        columns: dict[str, pa.Field[Any]] = {}
        for form in forms:
            for one in form.arrived if form.stream == self._newest.stream else ():
                columns[one.name] = one
        first = [one.name for one in self._newest.arrived]
        ordered = [columns[name] for name in dict.fromkeys([*first, *columns])]
        return pa.schema([*_COORDINATES, *(one.with_nullable(True) for one in ordered)])

    def _rows(self, messages: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
        if not messages.num_rows:
            return pa.RecordBatch.from_arrays([pa.array([], one.type) for one in schema], schema=schema)
        headers = self._headers(messages)
        values: Any = messages.column(RAW)
        told = np.array(fingerprints(headers), dtype=object)
        parts, places = [], []
        for fingerprint in dict.fromkeys(told.tolist()):
            at = np.flatnonzero(told == fingerprint)
            whole = len(at) == len(told)
            some = (values, headers) if whole else (values.take(pa.array(at)), headers.take(pa.array(at)))
            parts.append(self._decoded(fingerprint, *some, messages.slice(int(at[0]), 1), schema))
            places.append(at)
        rows = parts[0] if len(parts) == 1 else _ordered(parts, places)
        arrays = [messages.column(PARTITION), messages.column(OFFSET), *rows.columns]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _headers(self, messages: pa.RecordBatch) -> Any:
        """The header of ours of each message."""
        lists: Any = messages.column(HEADERS)
        lengths = compute.list_value_length(lists)
        flat: Any = lists.flatten()
        plain = lists.null_count == 0 and compute.all(compute.equal(lengths, 1)).as_py()
        if plain and compute.all(compute.equal(flat.field(0), HEADER)).as_py():
            return flat.field(1)
        found: list[bytes] = []
        for number, pairs in enumerate(lists.to_pylist()):
            ours = [pair["value"] for pair in pairs or () if pair["name"] == HEADER]
            if not ours or ours[-1] is None:  # what the row came with stands before it
                raise self._foreign(messages.slice(number, 1))
            found.append(ours[-1])
        return pa.array(found, pa.binary())

    def _decoded(
        self, fingerprint: str | None, values: Any, headers: Any, first: pa.RecordBatch, schema: pa.Schema
    ) -> pa.RecordBatch:
        decoder = self._decoder(fingerprint)
        if decoder is None:
            raise self._foreign(first)
        try:
            rows = decoder.decode(values, headers)
        except ValueError as cause:
            raise self._foreign(first, f": {cause}") from cause
        columns = []
        for one in list(schema)[len(_COORDINATES) :]:
            if one.name not in rows.schema.names:
                columns.append(pa.nulls(rows.num_rows, one.type))
                continue
            try:
                columns.append(rows.column(one.name).cast(one.type))
            except pa.ArrowInvalid as cause:
                raise BreakingChangeError(
                    f"{one.name} was {rows.schema.field(one.name).type} when it was sent and is {one.type} now",
                    where=self._where,
                    hint="give the transport another topic",
                ) from cause
        return pa.RecordBatch.from_arrays(columns, schema=pa.schema(list(schema)[len(_COORDINATES) :]))

    def _decoder(self, fingerprint: str | None) -> Decoder | None:
        if fingerprint is not None and fingerprint not in self._decoders:
            forms = self._forms()
            found = next((form for form in forms if form.fingerprint == fingerprint), None)
            if found is None or found.stream != self._newest.stream:
                return None
            if self._schema is not None and not self._merged(forms).equals(self._schema):
                raise SourceUnavailable("the columns changed a moment ago; trying again helps", where=self._where)
            self._decoders[fingerprint] = Decoder(found)
        return self._decoders.get(fingerprint) if fingerprint is not None else None

    def _foreign(self, message: pa.RecordBatch, why: str = "") -> SourceChanged:
        partition, offset = message.column(PARTITION)[0].as_py(), message.column(OFFSET)[0].as_py()
        return SourceChanged(
            f"the message at {partition} {offset} was not written by this transport{why}",
            where=self._where,
            hint="let nobody else write to this topic, and give the transport a new one",
        )


def _ordered(parts: list[pa.RecordBatch], places: list[np.ndarray]) -> pa.RecordBatch:
    """Parts put together again, each row at its place."""
    whole = pa.Table.from_batches(parts).combine_chunks().to_batches()[0]
    return whole.take(np.argsort(np.concatenate(places), kind="stable"))
