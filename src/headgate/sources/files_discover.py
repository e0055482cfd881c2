"""What files could be read as: format, how they are written, and the fields of their records.

At most `SAMPLE_ROWS` records are looked at. A record that cannot be decoded or is ragged tells nothing; it would go to
quarantine. No field gets a type that a value of the sample does not have, but for JSON values of several types, which
become text and say so in their description.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from headgate.contract.model import Dataset, Field, Server, Standardise
from headgate.errors import FixInputError
from headgate.ports.batch import HEADER, PREFIX, RAW, Position
from headgate.ports.source import Source
from headgate.sources.files_infer import Digits, Values, arrow_type, text_type
from headgate.sources.files_listing import extensions_of, find, kind_of, place
from headgate.sources.files_open import ByteStream, Opening
from headgate.sources.files_source import FilesSource

SAMPLE_ROWS = 100_000
_SHOWN = 5
_HEAD_BYTES = 1 << 18
_DELIMITERS = ",;\t|"


@dataclass(frozen=True, slots=True)
class Discovery:
    """Files as contract fields, with the server that reads them.

    `records` were looked at, `undecodable` of them told nothing, `whole` says that there are no others. `samples` are
    the first few records: name -> value (text for CSV).
    """

    format: str
    fields: tuple[Field, ...]
    server: Server
    records: int
    undecodable: int
    whole: bool
    samples: tuple[Mapping[str, Any], ...]


def discover(path: str) -> Discovery:
    """Look at the files of a path, folder or glob, relative to the working folder.

    Raises FixInputError for what cannot be read, is empty, or is of no known format.
    """
    options: dict[str, Any] = {"path": path, "format": None}
    here = os.path.abspath(path)
    found = find(place(here, "/"), extensions_of(None))
    if not found:
        raise FixInputError("no file matches", where=path, hint="headgate discover FILE, FOLDER or 'GLOB'")
    options["format"] = kind_of(found[0].name)[0] or _guessed_format(found[0].path, found[0].name)
    if options["format"] == "csv":
        options |= _guessed_csv(found[0].path, found[0].name)
    server = Server("files", "local", options)
    absolute = Server(server.name, server.kind, {**options, "path": here, "_base": "/"})
    source = FilesSource.of(Dataset("discovered", (), "discovered", "0"), absolute, {})
    if options["format"] == "parquet":
        return _of_parquet(source, server)
    if options["format"] == "csv":
        return _of_csv(source, server, here)
    return of_json(source, server)


def _sampled(source: Source) -> Iterator[pa.RecordBatch]:
    left = SAMPLE_ROWS
    for batch in source.read(Position.start()):
        if not batch.rows.num_rows:
            continue
        if left <= 0:
            return
        yield batch.rows.slice(0, left)
        left -= batch.rows.num_rows


def _raw(batch: pa.RecordBatch) -> list[bytes]:
    records: list[Any] = batch.column(RAW).to_pylist()
    return records


def _of_parquet(source: FilesSource, server: Server) -> Discovery:
    schema, nulls, records = source.schema(), dict[str, int](), 0
    samples: list[Mapping[str, Any]] = []
    own = [f for f in schema if not f.name.startswith(PREFIX)]
    for batch in _sampled(source):
        records += batch.num_rows
        for one in own:
            nulls[one.name] = nulls.get(one.name, 0) + batch.column(one.name).null_count
        if len(samples) < _SHOWN:
            samples += batch.select([f.name for f in own]).slice(0, _SHOWN - len(samples)).to_pylist()
    fields = tuple(Field(f.name, arrow_type(f.type), required=bool(records) and not nulls[f.name]) for f in own)
    return Discovery("parquet", fields, server, records, 0, records < SAMPLE_ROWS, tuple(samples))


def of_json(source: Source, server: Server) -> Discovery:
    """The fields of JSON records; a record without a value tells nothing."""
    seen, records, wrong = Values(), 0, 0
    samples: list[Mapping[str, Any]] = []
    for batch in _sampled(source):
        for raw in _raw(batch):
            records += 1
            try:
                value = json.loads(raw or b"", parse_int=Digits, parse_float=Digits, parse_constant=_refuse)
            except (ValueError, RecursionError):
                value = None
            if not isinstance(value, dict):
                wrong += 1
                continue
            seen.add(value)
            if len(samples) < _SHOWN:
                samples.append(json.loads(raw))
    fields = _some(seen.fields(), server)
    return Discovery(
        str(server.options["format"]), fields, server, records, wrong, records < SAMPLE_ROWS, tuple(samples)
    )


def _of_csv(source: FilesSource, server: Server, path: str) -> Discovery:
    delimiter = str(server.options.get("delimiter", "\t" if ".tsv" in path.lower() else ","))
    names: list[str] = []
    rows: list[list[str]] = []
    records = 0
    for batch in _sampled(source):
        names = names or json.loads(str(batch.column(HEADER)[0]))
        records += batch.num_rows
        rows += (row for raw in _raw(batch) if (row := _fields_of(raw, delimiter)) is not None)
    if rows and all(len(row) == len(names) + 1 for row in rows):
        # Written by R: the row names have no heading. The header then lands as one record, which is ragged.
        names = ["row", *names]
        server = Server(server.name, server.kind, {**server.options, "header": names})
    sound = [row for row in rows if len(row) == len(names)]
    fields = []
    for name, values in zip(names, zip(*sound, strict=True) if sound else [()] * len(names), strict=True):
        told = [value for value in values if value]
        of, marks = text_type(told)
        required = bool(told) and len(told) == len(values) and not marks
        standardise = (Standardise("null_if", list(marks)),) if marks else ()
        fields.append(Field(name, of, required=required, standardise=standardise))
    samples = tuple(dict(zip(names, row, strict=True)) for row in sound[:_SHOWN])
    whole = records < SAMPLE_ROWS
    return Discovery("csv", _some(fields, server), server, records, records - len(sound), whole, samples)


def _some(fields: Sequence[Field], server: Server) -> tuple[Field, ...]:
    if not fields:
        raise FixInputError(
            "there is no record to learn from", where=str(server.options.get("path") or server.options.get("host"))
        )
    return tuple(fields)


def _fields_of(raw: bytes, delimiter: str) -> list[str] | None:
    try:
        return next(csv.reader(io.StringIO(raw.decode(), newline=""), delimiter=delimiter, strict=True), [])
    except (UnicodeDecodeError, csv.Error):
        return None


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _head(path: str, name: str) -> bytes:
    """The first content of a file."""
    compression = kind_of(name)[1]
    opening = Opening("zstd" if compression == "zstd" else "gzip" if compression else None)
    with ByteStream(path, name, opening) as stream:
        room = bytearray(_HEAD_BYTES)
        return bytes(room[: stream.readinto(memoryview(room))])


def _guessed_format(path: str, name: str) -> str:
    head = _head(path, name).lstrip()
    if head.startswith(b"PAR1"):
        return "parquet"
    return "json" if head.startswith((b"{", b"[")) else "csv"


def _guessed_csv(path: str, name: str) -> dict[str, Any]:
    """Delimiter and encoding where they are not the usual ones."""
    head = _head(path, name)
    options: dict[str, Any] = {}
    lines = head.splitlines()
    try:
        b"\n".join(lines[:-1] if len(head) == _HEAD_BYTES else lines).decode("utf-8-sig")
    except UnicodeDecodeError:
        options["encoding"] = "cp1252"
    text = [line.decode("latin-1") for line in lines[:200]]
    best = max(_DELIMITERS, key=lambda d: _regularity(text, d))
    usual = "\t" if ".tsv" in name.lower() else ","
    if best != usual and _regularity(text, best) > _regularity(text, usual):
        options["delimiter"] = best
    return options


def _regularity(lines: list[str], delimiter: str) -> tuple[int, int]:
    """How many lines have as many columns as the first, and how many those are."""
    try:
        rows = list(csv.reader(lines, delimiter=delimiter))
    except csv.Error:
        return (0, 0)
    width = len(rows[0]) if rows else 0
    return (0, 0) if width < 2 else (sum(len(row) == width for row in rows), width)
