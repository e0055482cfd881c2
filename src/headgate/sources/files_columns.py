"""CSV files as texts by column, for full reads: only what has columns can be compared by its key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa

from headgate.errors import FixInputError
from headgate.formats.csv_records import Dialect, parse
from headgate.ports.batch import FILE, HEADER, LINE, RAW
from headgate.sources.files_listing import Found
from headgate.sources.files_reading import Rows, TextReader
from headgate.sources.files_settings import Settings
from headgate.sources.files_text import Point


class ColumnsReader:
    """Reads CSV files whose headers may differ: a column that a file does not have is NULL in all of its rows."""

    def __init__(self, settings: Settings, listing: Sequence[Found]) -> None:
        self._settings, self._listing = settings, listing
        self._records = TextReader(settings, csv=True)

    def schema(self) -> pa.Schema:
        """The headers' columns, file and line."""
        return self._schema

    @cached_property
    def _schema(self) -> pa.Schema:
        heads = [self._records.head(found) for found in self._listing]
        names = dict.fromkeys(name for head in heads if head is not None for name in head.names or ())
        fields: list[pa.Field[Any]] = [pa.field(name, pa.string()) for name in names]
        fields.append(pa.field(FILE, pa.string(), nullable=False))
        fields.append(pa.field(LINE, pa.int64(), nullable=False))
        return pa.schema(fields)

    def read(self, found: Found, start: Point) -> Iterator[Rows]:
        """The file's rows. FixInputError for a record that is none: the row that it should be would count as gone."""
        told = self._settings.dialect(found.name)
        dialect = Dialect(told.delimiter, told.quote)
        for rows in self._records.read(found, start):
            yield Rows(self._by_column(rows.batch, found, dialect), rows.end)

    def _by_column(self, batch: pa.RecordBatch, found: Found, dialect: Dialect) -> pa.RecordBatch:
        parsed = parse(batch.column(RAW), json.loads(batch.column(HEADER)[0].as_py()), dialect)
        if parsed.wrong:
            number = min(parsed.wrong)
            raise FixInputError(
                f"line {batch.column(LINE)[number].as_py()}: {parsed.wrong[number]}",
                where=found.name,
                hint="a full read counts as a whole or not at all: correct the file and run again",
                stage="extract",
            )
        texts = parsed.texts.combine_chunks()
        there = set(texts.column_names)
        columns = [
            batch.column(one.name)
            if one.name in (FILE, LINE)
            else pa.concat_arrays(texts.column(one.name).chunks)
            if one.name in there and texts.num_rows
            else pa.nulls(batch.num_rows, pa.string())
            for one in self._schema
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)
