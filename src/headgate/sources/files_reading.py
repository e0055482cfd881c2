"""Reads one text file as Arrow rows, from its start or from a place within."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from headgate.errors import SourceChanged
from headgate.ports.batch import FILE, FORMAT, HEADER, LINE, RAW
from headgate.sources.files_listing import Found
from headgate.sources.files_open import ByteStream, Opening
from headgate.sources.files_text import Dialect, Point, head_of, pieces


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one file without coordinates, and the place behind them."""

    batch: pa.RecordBatch
    end: Point


class FileReader(Protocol):
    """Reads files of one format."""

    def schema(self) -> pa.Schema:
        """Columns of the rows, coordinates not included."""

    def rows(self, found: Found, start: Point) -> Iterator[Rows]:
        """The file's rows from a place on. FixInputError for a file that cannot be read as what it should be."""


class TextReader:
    """Reads CSV and JSON files."""

    def __init__(self, *, csv: bool, piece_bytes: int, grows: bool) -> None:
        self._csv = csv
        self._piece_bytes = piece_bytes
        self._grows = grows

    def schema(self) -> pa.Schema:
        """Raw records with format, header (CSV), file and line."""
        text = pa.string()
        fields = [(RAW, pa.binary()), (FORMAT, text), (HEADER, text), (FILE, text), (LINE, pa.int64())]
        return pa.schema([pa.field(n, t, nullable=False) for n, t in fields if self._csv or n != HEADER])

    def read(self, found: Found, start: Point, opening: Opening, dialect: Dialect) -> Iterator[Rows]:
        """The file's records from a place on, which is its start or behind earlier rows.

        Raises SourceChanged when the file was changed while it was read (a growing one may get longer).
        """
        schema = self.schema()
        with ByteStream(found.path, found.name, opening) as stream:
            head = head_of(stream, found.name, dialect)
        if head is None:
            return
        start = start if start.byte else head.start
        header = json.dumps(head.names, ensure_ascii=False) if head.names is not None else ""
        overhead = len(header) + len(found.name) + 32
        with ByteStream(found.path, found.name, opening) as stream:
            for piece in pieces(
                stream,
                found.name,
                dialect,
                head=head,
                start=start,
                piece_bytes=self._piece_bytes,
                overhead=overhead,
                whole=not self._grows,
            ):
                count = len(piece.raw)
                constant = {FORMAT: "csv" if self._csv else "json", HEADER: header, FILE: found.name}
                columns = {RAW: piece.raw, LINE: piece.lines}
                arrays = [columns.get(n) or pa.repeat(constant[n], count) for n in schema.names]
                yield Rows(pa.RecordBatch.from_arrays(arrays, schema=schema), piece.end)
            if not self._grows:
                _refuse_change(found, stream.stat())


def _refuse_change(found: Found, now: os.stat_result) -> None:
    if (now.st_size, now.st_mtime_ns) != (found.size, found.mtime_ns):
        raise SourceChanged(
            "the file was changed while it was read",
            where=found.name,
            hint="write files under another name and rename them when they are whole, or set settle_s",
            stage="extract",
        )
