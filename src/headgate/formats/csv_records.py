"""CSV records, strictly: each is as many fields as its header names, or it is no record.

A field that begins with the quote ends with it, before a delimiter or the end; inside, two quotes stand for one. A
quote anywhere else is content. An empty field without quotes is NULL; one with quotes is an empty text.

Records that are plainly written (a regular expression says so) are read by Arrow's parser in one go; the others one
by one, for their fields or for what is wrong with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Literal, TypeAlias, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv

Array: TypeAlias = Any
compute: Any = pyarrow.compute
DELIMITERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}


@dataclass(frozen=True, slots=True)
class Dialect:
    """How fields stand in a record. No quote: quotes are content."""

    delimiter: str = ","
    quote: str = '"'


@dataclass(frozen=True, slots=True)
class Parsed:
    """Texts by column for the records `rows` (ascending), and what is wrong with each of the others."""

    texts: pa.Table
    rows: np.ndarray
    wrong: dict[int, str]


def parse(raw: Array, names: Sequence[str], dialect: Dialect) -> Parsed:
    """The records of a binary array as texts under these column names."""
    wrong: dict[int, str] = {}
    records = _decoded(raw, wrong)
    left = np.ones(len(records), bool)
    left[list(wrong)] = False
    tables, rows = [], []
    # Arrow takes an empty field behind a quoted one for quoted. So records are read in two groups, of which each has
    # only one kind of empty field and needs no telling apart.
    for empty_is_null in (True, False):
        plain = left & _matching(records, _plain(dialect, empty_is_null=empty_is_null))
        left &= ~plain
        at = np.flatnonzero(plain)
        some = records.take(pa.array(at))
        table, kept = _at_once(some, names, dialect, wrong, at, empty_is_null=empty_is_null)
        tables.append(table)
        rows.append(kept)
    others = np.flatnonzero(left)
    table, kept = _one_by_one(records.take(pa.array(others)).to_pylist(), others.tolist(), names, dialect, wrong)
    numbers = np.concatenate([*rows, kept])
    order: Any = np.argsort(numbers)
    texts = pa.concat_tables([*tables, table])
    if np.array_equal(order, np.arange(len(order))):
        return Parsed(texts, numbers, wrong)
    return Parsed(texts.take(order), numbers[order], wrong)


def _matching(records: Array, pattern: str) -> np.ndarray:
    # Of an empty line Arrow makes a row of NULLs, whatever the number of columns: so that is not plain.
    found = compute.and_(
        compute.match_substring_regex(records, pattern), compute.greater(compute.binary_length(records), 0)
    )
    matching: np.ndarray = np.asarray(compute.fill_null(found, False))
    return matching


def _decoded(raw: Array, wrong: dict[int, str]) -> Array:
    """The records as texts; NULL, and a complaint, where the bytes are no UTF-8 text or hold a NUL."""
    try:
        texts = raw.cast(pa.string())
    except pa.ArrowInvalid:
        found: list[str | None] = []
        for number, record in enumerate(raw.to_pylist()):
            try:
                found.append(record.decode())
            except UnicodeDecodeError as problem:
                wrong[number] = f"not UTF-8: {problem.reason} at byte {problem.start}"
                found.append(None)
        texts = pa.array(found, pa.string())
    for number in np.flatnonzero(np.asarray(compute.fill_null(compute.match_substring(texts, "\0"), False))).tolist():
        wrong[number] = "a NUL character"
    if wrong:
        keep = np.ones(len(texts), bool)
        keep[list(wrong)] = False
        texts = compute.if_else(pa.array(keep), texts, pa.scalar(None, pa.string()))
    return texts


def _plain(dialect: Dialect, *, empty_is_null: bool) -> str:
    """What Arrow's parser surely reads as we do, among records whose empty fields are all without quotes (NULL) or
    all with them (empty text). A lone CR, to Arrow, ends a line."""
    delimiter, quote = re.escape(dialect.delimiter), re.escape(dialect.quote)
    if not dialect.quote:
        return r"\A[^\r\n]*\z" if empty_is_null else r"\A[^\s\S]\z"
    in_quotes, bare = ("+", "*") if empty_is_null else ("*", "+")
    field = rf"(?:{quote}(?:[^{quote}]|{quote}{quote}){in_quotes}{quote}|[^{quote}{delimiter}\r\n]{bare})"
    return rf"\A{field}(?:{delimiter}{field})*\z"


def _at_once(
    records: Array,
    names: Sequence[str],
    dialect: Dialect,
    wrong: dict[int, str],
    at: np.ndarray,
    *,
    empty_is_null: bool,
) -> tuple[pa.Table, np.ndarray]:
    """Plainly written records, and which of them have the right number of fields."""
    ragged: list[int] = []

    def skip(row: Any) -> Literal["skip"]:
        number = row.number - 1
        ragged.append(number)
        wrong[int(at[number])] = _ragged(row.actual_columns, row.expected_columns)
        return "skip"

    columns = [f"c{n}" for n in range(len(names))]
    if not len(records):
        empty = pa.table({name: pa.array([], pa.string()) for name in columns})
        return _named(empty, names), at
    lines = compute.binary_join(pa.ListArray.from_arrays(pa.array([0, len(records)], pa.int32()), records), "\n")
    table = pyarrow.csv.read_csv(
        cast("IO[bytes]", pa.BufferReader(lines.buffers()[2])),
        read_options=pyarrow.csv.ReadOptions(use_threads=False, column_names=columns, block_size=2**31 - 1),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char=dialect.quote or False,
            newlines_in_values=True,
            ignore_empty_lines=False,
            invalid_row_handler=skip,
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()),
            null_values=[""],
            strings_can_be_null=empty_is_null,
            quoted_strings_can_be_null=empty_is_null,
            check_utf8=False,
        ),
    )
    keep = np.ones(len(at), bool)
    keep[ragged] = False
    return _named(table, names), at[keep]


def _named(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """The columns under their names; of two with one name the first."""
    first = {name: number for number, name in reversed(list(enumerate(names)))}
    return pa.table({name: table.column(number) for name, number in sorted(first.items(), key=lambda i: i[1])})


def _one_by_one(
    records: Sequence[str], numbers: Sequence[int], names: Sequence[str], dialect: Dialect, wrong: dict[int, str]
) -> tuple[pa.Table, np.ndarray]:
    good, rows = [], []
    for number, record in zip(numbers, records, strict=True):
        try:
            values = list(fields(record, dialect))
        except ValueError as problem:
            wrong[number] = str(problem)
            continue
        if len(values) != len(names):
            wrong[number] = _ragged(len(values), len(names))
            continue
        good.append(values)
        rows.append(number)
    columns = [pa.array([values[n] for values in good], pa.string()) for n in range(len(names))]
    table = pa.Table.from_arrays(columns, names=[f"c{n}" for n in range(len(names))])
    return _named(table, names), np.array(rows, np.int64)


def fields(record: str, dialect: Dialect) -> Iterator[str | None]:
    """The fields of one record. ValueError for a quoted field that does not end where it must."""
    at, delimiter, quote = 0, dialect.delimiter, dialect.quote
    while True:
        if quote and record.startswith(quote, at):
            value, at = _quoted(record, at, quote)
            if at < len(record) and not record.startswith(delimiter, at):
                raise ValueError(f"text behind the closing quote at character {at + 1}")
            yield value
        else:
            stop = record.find(delimiter, at)
            stop = len(record) if stop < 0 else stop
            yield record[at:stop] or None
            at = stop
        if at >= len(record):
            return
        at += len(delimiter)


def _quoted(record: str, at: int, quote: str) -> tuple[str, int]:
    parts, start = [], at + 1
    while True:
        stop = record.find(quote, start)
        if stop < 0:
            raise ValueError(f"the quote at character {at + 1} is not closed")
        parts.append(record[start:stop])
        if not record.startswith(quote, stop + 1):
            return quote.join(parts), stop + 1
        start = stop + 2


def _ragged(actual: int, expected: int) -> str:
    return f"{actual} field{'' if actual == 1 else 's'}, the header names {expected}"
