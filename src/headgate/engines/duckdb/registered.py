"""Bronze of topics with a schema registry: each message becomes JSON, and is then judged like any other JSON."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from headgate.clients.schema_registry import Registry
from headgate.contract.model import Dataset
from headgate.engines.duckdb.arrays import compute, pick
from headgate.engines.duckdb.connection import Settings
from headgate.engines.duckdb.decoded import Decoded, joined, no_records
from headgate.engines.duckdb.json_lines import JsonDecoder
from headgate.errors import FixInputError
from headgate.formats.registered import HEAD, KINDS, converter, number_of
from headgate.ports.batch import FORMAT, ORIGINAL, RAW

_MOST_BYTES = 2**26  # of JSON in one Arrow array
_FORMATS = pa.array(list(KINDS))

MOST_UNKNOWN = 200  # schema numbers that the registry turns out not to have, at once; and so many more each second:
UNKNOWN_PER_S = 20.0

_FLOOD = f"more than {MOST_UNKNOWN} others are not in the registry; to ask again: headgate quarantine replay"

_Convert = Callable[[bytes], bytes]


class Patience:
    """How many more numbers this process asks registries for that they do not have."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left, self._at = float(MOST_UNKNOWN), clock()

    def left(self) -> bool:
        """Whether another may be asked for."""
        now = self._clock()
        self._left = min(float(MOST_UNKNOWN), self._left + (now - self._at) * UNKNOWN_PER_S)
        self._at = now
        return self._left >= 1

    def lose(self) -> None:
        """One more was asked for in vain."""
        self._left -= 1


_PATIENCE = Patience()


def is_registered(table: pa.Table) -> bool:
    """Whether some rows are messages of a schema registry."""
    return FORMAT in table.column_names and bool(compute.any(compute.is_in(table[FORMAT], _FORMATS)).as_py())


class RegisteredDecoder:
    """Decodes pieces of one dataset. A schema is asked for once, also one that the registry does not have.

    Numbers of many messages come first: of a flood of numbers out of nowhere only some are asked for, up to a rate, and
    messages of the others are refused.
    """

    def __init__(self, settings: Settings, dataset: Dataset, json: JsonDecoder) -> None:
        self._settings, self._dataset, self._json = settings, dataset, json
        self._registry: Registry | None = None
        self._made: dict[tuple[str, int], _Convert | str] = {}

    def decode(self, table: pa.Table) -> Decoded:
        """The rows of a bronze table, judged. Those that are no message of a known schema break the rule `record`.

        Raises SourceUnavailable when a schema that was never seen cannot be had now.
        """
        wrong: dict[int, str] = {}
        texts = self._texts(table, wrong)
        whole = table.append_column(ORIGINAL, table[RAW])
        whole = whole.set_column(whole.schema.get_field_index(RAW), RAW, texts)
        if not wrong:
            return self._json.decode(whole)
        good = np.ones(table.num_rows, bool)
        good[list(wrong)] = False
        decoded = self._json.decode(pick(whole, good))
        return joined([decoded, no_records(decoded, table, wrong)])

    def _texts(self, table: pa.Table, wrong: dict[int, str]) -> pa.ChunkedArray[Any]:
        """Every row as JSON; what is wrong with the others stands in `wrong`."""
        self._get_ready(table)
        chunks, texts, size = [], [], 0
        rows: Any = zip(table[RAW].to_pylist(), table[FORMAT].to_pylist(), strict=True)
        for number, (message, text_format) in enumerate(rows):
            text = message
            if message is not None and text_format in KINDS:
                try:
                    text = self._converter(text_format, number_of(message))(message[HEAD:])
                except ValueError as problem:
                    wrong[number], text = self._why(message, text_format, problem), b""
            texts.append(text)
            size += len(text or b"")
            if size > _MOST_BYTES:
                chunks.append(pa.array(texts, pa.binary()))
                texts, size = [], 0
        return pa.chunked_array([*chunks, pa.array(texts, pa.binary())], pa.binary())

    def _get_ready(self, table: pa.Table) -> None:
        """Ask for the schemas of these messages, those of many messages first."""
        heads = pa.table({"format": table[FORMAT], "head": compute.binary_slice(table[RAW], 0, HEAD)})
        counted = (
            heads.group_by(["format", "head"]).aggregate([([], "count_all")]).sort_by([("count_all", "descending")])
        )
        for one in counted.to_pylist():
            head, text_format = one["head"], one["format"]
            if head is None or len(head) < HEAD or head[0] or text_format not in KINDS:
                continue
            key = (text_format, number_of(head))
            if key not in self._made and _PATIENCE.left():
                self._made[key] = self._make(*key)

    def _why(self, message: bytes, text_format: str, problem: ValueError) -> str:
        known = len(message) >= HEAD and self._made.get((text_format, int.from_bytes(message[1:HEAD], "big")))
        if message[:1] != b"\0" or not callable(known):
            return str(problem)
        return f"no {text_format} message of schema {int.from_bytes(message[1:HEAD], 'big')}: {problem}"

    def _converter(self, text_format: str, number: int) -> _Convert:
        made = self._made.get((text_format, number), f"schema {number} was not asked for: {_FLOOD}")
        if not isinstance(made, str):
            return made
        raise ValueError(made)

    def _make(self, text_format: str, number: int) -> _Convert | str:
        """What makes JSON of messages of a schema, or why nothing can."""
        schema = self._asked().schema(number)
        if schema is None:
            _PATIENCE.lose()
            return f"schema {number} is not in the registry"
        if schema.kind != KINDS[text_format]:
            return f"schema {number} is {schema.kind}, not {KINDS[text_format]}"
        try:
            return converter(text_format, schema.text, schema.references)
        except ValueError as problem:
            return f"schema {number}: {problem}"

    def _asked(self) -> Registry:
        if self._registry is None:
            url = self._settings.registries.get(self._dataset.name)
            if url is None:
                raise FixInputError(
                    f"bronze of {self._dataset.name} was written with a schema registry, and none is named",
                    where=f"headgate.yaml: {self._dataset.name}",
                    hint="read: {registry: http://HOST:8081}",
                    stage="refine",
                )
            self._registry = Registry(url, self._settings.schema_directory)
        return self._registry
