"""Reads one text file as Arrow rows, from its start or from a place within."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from headgate.errors import FixInputError, SourceChanged
from headgate.ports.batch import FILE, FORMAT, HEADER, LINE, RAW
from headgate.sources.files_listing import Found, kind_of
from headgate.sources.files_open import ByteStream
from headgate.sources.files_settings import Settings
from headgate.sources.files_text import Head, Piece, Point, head_of, pieces


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one file without coordinates, and the place behind them."""

    batch: pa.RecordBatch
    end: Point


class FileReader(Protocol):
    """Reads files of one family."""

    def schema(self) -> pa.Schema:
        """Columns of the rows, coordinates not included."""

    def read(self, found: Found, start: Point) -> Iterator[Rows]:
        """The file's rows from a place on, which is Point() or behind earlier rows.

        Raises FixInputError for a file that is not what it should be, SourceChanged when it was changed while it
        was read, SourceUnavailable when it cannot be read now.
        """


class TextReader:
    """Reads CSV files, or JSON files."""

    def __init__(self, settings: Settings, *, csv: bool) -> None:
        self._settings = settings
        self._csv = csv

    def schema(self) -> pa.Schema:
        """Raw records with format, header (CSV), file and line."""
        text = pa.string()
        fields = [(RAW, pa.binary()), (FORMAT, text), (HEADER, text), (FILE, text), (LINE, pa.int64())]
        return pa.schema([pa.field(n, t, nullable=False) for n, t in fields if self._csv or n != HEADER])

    def head(self, found: Found) -> Head | None:
        """What stands before the file's records; None when a CSV file has no header."""
        with ByteStream(found.path, found.name, self._settings.opening(kind_of(found.name)[1])) as stream:
            return head_of(stream, found.name, self._settings.dialect(found.name))

    def read(self, found: Found, start: Point) -> Iterator[Rows]:
        """The file's records; a growing file may get longer meanwhile, and an unfinished last line is left."""
        settings = self._settings
        opening = settings.opening(kind_of(found.name)[1])
        dialect = settings.dialect(found.name)
        if settings.grows and (opening.compression or dialect.format == "json"):
            raise FixInputError("only plain CSV and NDJSON files can grow", where=found.name, hint="remove grows")
        head = self.head(found)
        if head is None:
            return
        header = json.dumps(head.names, ensure_ascii=False) if head.names is not None else ""
        with ByteStream(found.path, found.name, opening) as stream:
            for piece in pieces(
                stream,
                found.name,
                dialect,
                head=head,
                start=start if start.byte else head.start,
                piece_bytes=settings.batch_bytes,
                overhead=len(header) + len(found.name) + 32,
                whole=not settings.grows,
            ):
                yield Rows(self._batch(piece, header, found.name), piece.end)
        if not settings.grows:
            refuse_change(found)

    def _batch(self, piece: Piece, header: str, name: str) -> pa.RecordBatch:
        count, schema = len(piece.raw), self.schema()
        constant = {FORMAT: "csv" if self._csv else "json", HEADER: header, FILE: name}
        columns = {RAW: piece.raw, LINE: piece.lines}
        arrays = [columns[n] if n in columns else pa.repeat(constant[n], count) for n in schema.names]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


def refuse_change(found: Found) -> None:
    """Raise SourceChanged when the file is no longer what the listing saw."""
    try:
        now = os.stat(found.path)
    except FileNotFoundError:
        return  # it was read to its end, and is the same to us as one that is taken away later
    if (now.st_size, now.st_mtime_ns) != (found.size, found.mtime_ns):
        raise SourceChanged(
            "the file was changed while it was read",
            where=found.name,
            hint="write files under another name and rename them when they are whole, or set settle_s",
            stage="extract",
        )
