"""Loads any Online Retail CSV into the table `transactions` of the shop's database.

    PGDATABASE=sales_db python examples/retail/load.py online_retail.csv.gz

Plain or gzip; UTF-8 or the old Windows and Latin encodings; comma, semicolon or tab; the usual spellings of the
headers (InvoiceNo, Invoice, invoice_no, …); dates as 2010-12-01 08:26, 12/1/2010 8:26 or 01/12/2010 08:26, where the
whole column decides whether days or months come first. A file loads whole or not at all. `line_id` is the number of the
record in the file, `updated_at` the newest invoice date so far, read as UTC: the same file always gives the same table.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

# The table takes what the shop's program wrote, right or wrong: only line_id is certain. The contract judges later.
TABLE = """
create table public.transactions (
    line_id      bigint primary key,
    invoice_no   text,
    stock_code   text,
    description  text,
    quantity     integer,
    invoice_date timestamp,
    unit_price   numeric,
    customer_id  text,
    country      text,
    updated_at   timestamptz
);
create index transactions_updated_at on public.transactions (updated_at, line_id);
comment on table public.transactions is 'Made by the Headgate retail example.';
"""
OURS = "select obj_description(to_regclass('public.transactions')::oid, 'pg_class'), to_regclass('public.transactions')"
BLOCK = 200_000

SPELLINGS = {
    "invoice_no": ("invoiceno", "invoice", "invoicenumber", "invoiceid"),
    "stock_code": ("stockcode", "stock", "productcode", "sku"),
    "description": ("description", "productname"),
    "quantity": ("quantity", "qty"),
    "invoice_date": ("invoicedate", "date", "invoicedatetime"),
    "unit_price": ("unitprice", "price"),
    "customer_id": ("customerid", "customer", "customerno"),
    "country": ("country",),
}
WHOLE = r"^-?\d{1,10}(\.0+)?$"
NUMBER = r"^-?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?$"
COMMA_NUMBER = r"^-?\d+,\d+$"
CLOCK = r"(?:[ T]+(?P<H>\d{1,2}):(?P<M>\d{2})(?::(?P<S>\d{2})(?:\.0+)?)?(?: ?(?P<half>[AaPp][Mm]))?)?$"
ISO = r"^(?P<y>\d{4})[-/](?P<a>\d{1,2})[-/](?P<b>\d{1,2})" + CLOCK
SLASHED = r"^(?P<a>\d{1,2})[/.-](?P<b>\d{1,2})[/.-](?P<y>\d{4}|\d{2})" + CLOCK

Numbers = npt.NDArray[np.int64]


class LoadError(ValueError):
    """The file cannot be loaded; the message names file, line and what to do. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Lines:
    """A file's records as the table's columns, all as text, and how they were understood."""

    rows: pa.Table
    encoding: str
    delimiter: str
    dates: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the table holds after loading: exact sums over all lines (not a number and infinity left out)."""

    lines: int
    quantity_sum: int
    value_sum: Decimal


def read_file(path: str | Path) -> Lines:
    """The records of an Online Retail CSV, ready for COPY. LoadError with the line when something does not fit."""
    text, encoding = _text(Path(path))
    header = text[: text.find(b"\n")] if b"\n" in text else text
    delimiter = max(",;\t", key=lambda mark: header.count(mark.encode()))
    if not text.strip():
        raise LoadError(f"{path}: the file is empty")
    try:
        table = pyarrow.csv.read_csv(
            io.BytesIO(text),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={name: pa.string() for name in _header(header, delimiter)},
                strings_can_be_null=True,
                null_values=[""],
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as cause:
        raise LoadError(f"{path}: not a CSV with the same columns on every line: {cause}") from cause
    columns = _columns(path, table)
    dates, updated, order = _dates(path, columns["invoice_date"])
    rows = pa.table(
        {
            "line_id": pa.array(np.arange(1, len(table) + 1)),
            "invoice_no": columns["invoice_no"],
            "stock_code": columns["stock_code"],
            "description": columns["description"],
            "quantity": _whole(path, columns["quantity"]),
            "invoice_date": dates,
            "unit_price": _number(path, columns["unit_price"]),
            "customer_id": _without_point(columns["customer_id"]),
            "country": columns["country"],
            "updated_at": updated,
        }
    )
    return Lines(rows, encoding, delimiter, order)


def _text(path: Path) -> tuple[bytes, str]:
    """The file's text as UTF-8 without byte order mark, and the encoding it had."""
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError) as cause:
        raise LoadError(f"{path}: cannot be read: {cause}") from cause
    for encoding in ("utf-8-sig", "cp1252", "latin-1"):
        try:
            return data.decode(encoding).encode(), encoding
        except UnicodeDecodeError:
            continue
    raise AssertionError("latin-1 decodes everything")


def _header(line: bytes, delimiter: str) -> list[str]:
    """Names as pyarrow will see them."""
    return pyarrow.csv.read_csv(
        io.BytesIO(line.strip() + b"\n"), parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter)
    ).column_names


def _columns(path: Any, table: pa.Table) -> dict[str, pa.Array]:
    """The eight columns under our names; other columns are left behind."""
    plain = {re.sub(r"[^a-z]", "", name.lower()): name for name in table.column_names}
    found = {
        ours: next((plain[one] for one in spellings if one in plain), None) for ours, spellings in SPELLINGS.items()
    }
    missing = [ours for ours, theirs in found.items() if theirs is None]
    if missing:
        raise LoadError(
            f"{path}:1: no column for {', '.join(missing)}; the file has {', '.join(table.column_names)}. "
            "Rename the columns as in the Online Retail data set: InvoiceNo, StockCode, Description, Quantity, "
            "InvoiceDate, UnitPrice, CustomerID, Country"
        )
    return {ours: table[theirs].combine_chunks() for ours, theirs in found.items()}


def _refuse(path: Any, wrong: pa.Array, values: pa.Array, what: str) -> None:
    """LoadError naming the first wrong lines; line numbers count records, the header is line 1."""
    at = np.flatnonzero(wrong.to_numpy(zero_copy_only=False))
    if len(at):
        some = "; ".join(f"line {i + 2}: {values[int(i)].as_py()!r}" for i in at[:3])
        more = f" and {len(at) - 3} more" if len(at) > 3 else ""
        raise LoadError(f"{path}: {some}{more}: not {what}. Mend or remove these lines; nothing was loaded")


def _blank_to_null(values: pa.Array) -> pa.Array:
    text = pc.utf8_trim_whitespace(values)
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def _whole(path: Any, values: pa.Array) -> pa.Array:
    text = _blank_to_null(values)
    _refuse(path, _not_like(text, WHOLE), values, "a whole number (quantity)")
    text = _without_point(text)
    number = pc.cast(text, pa.int64())
    too_large = pc.greater(pc.abs(number), 2**31 - 1)
    _refuse(path, pc.fill_null(too_large, False), values, "a number of pieces that fits 32 bits (quantity)")
    return text


def _number(path: Any, values: pa.Array) -> pa.Array:
    """Prices as plain numbers. A decimal comma is understood when the column has one."""
    text = _blank_to_null(values)
    if pc.any(pc.match_substring_regex(text, COMMA_NUMBER)).as_py():
        text = pc.replace_substring(text, ",", ".")
    _refuse(path, _not_like(text, NUMBER), values, "a number (unit price)")
    return text


def _without_point(values: pa.Array) -> pa.Array:
    """17850.0 is what spreadsheets make of 17850."""
    text = _blank_to_null(values)
    whole = pc.match_substring_regex(text, WHOLE)
    return pc.if_else(pc.fill_null(whole, False), pc.replace_substring_regex(text, r"\.0+$", ""), text)


def _not_like(text: pa.Array, pattern: str) -> pa.Array:
    return pc.fill_null(pc.invert(pc.match_substring_regex(text, pattern)), False)


def _dates(path: Any, values: pa.Array) -> tuple[pa.Array, pa.Array, str]:
    """Invoice dates as ISO text, updated_at (the newest date so far, UTC), and how the dates were read."""
    text = _blank_to_null(values)
    present = text.is_valid().to_numpy(zero_copy_only=False)
    iso, slashed = _parts(text, ISO), _parts(text, SLASHED)
    moment = _moment(iso, "a", "b")
    order = "year first"
    if slashed["seen"].any():
        first, second = slashed["a"][slashed["seen"]], slashed["b"][slashed["seen"]]
        by_month, by_day = _moment(slashed, "a", "b"), _moment(slashed, "b", "a")
        if first.max() > 12 or second.max() > 12:
            day_first = first.max() > 12
        else:  # both would do: the reading in which time runs forward more often, then in less time; else the usual one
            day_first = _forward(by_day[slashed["seen"]]) > _forward(by_month[slashed["seen"]])
        order = "day first" if day_first else "month first"
        moment = np.where(slashed["seen"], by_day if day_first else by_month, moment)
    _refuse(path, pa.array(present & np.isnat(moment)), values, f"a date (invoice date, read {order})")
    newest = np.fmax.accumulate(moment) if len(moment) else moment
    if len(newest) and np.isnat(newest).any():
        dated = newest[~np.isnat(newest)]
        newest = np.where(np.isnat(newest), dated[0] if len(dated) else np.datetime64(0, "s"), newest)
    stamps = pc.binary_join_element_wise(pc.cast(pa.array(newest), pa.string()), "+00", "")
    return pc.cast(pa.array(moment), pa.string()), stamps, order


def _parts(text: pa.Array, pattern: str) -> dict[str, Any]:
    """Numbers named in the pattern (0 where absent) and `seen`: which values match."""
    found = pc.extract_regex(text, pattern)
    parts: dict[str, Any] = {"seen": found.is_valid().to_numpy(zero_copy_only=False)}
    for name in ("y", "a", "b", "H", "M", "S", "half"):
        part = pc.fill_null(pc.struct_field(found, name), "")
        if name == "half":
            parts[name] = pc.ascii_lower(part).to_numpy(zero_copy_only=False)
        else:
            number = pc.cast(pc.if_else(pc.equal(part, ""), "0", part), pa.int64())
            parts[name] = number.to_numpy(zero_copy_only=False)
    return parts


def _moment(parts: dict[str, Any], month: str, day: str) -> npt.NDArray[np.datetime64]:
    """The moments that the parts name; NaT where they name none."""
    y, m, d, half = parts["y"], parts[month], parts[day], parts["half"]
    y = np.where(y < 70, y + 2000, np.where(y < 100, y + 1900, y))
    hour = np.where(half == "", parts["H"], parts["H"] % 12 + 12 * (half == "pm"))
    right = parts["seen"] & (m >= 1) & (m <= 12) & (d >= 1) & (hour < 24) & (parts["M"] < 60) & (parts["S"] < 60)
    month_start = (np.where(right, (y - 1970) * 12 + m - 1, 0)).astype("datetime64[M]")
    days_in_month = (month_start + 1).astype("datetime64[D]") - month_start.astype("datetime64[D]")
    right &= d <= days_in_month.astype(np.int64)
    seconds = (d - 1) * 86400 + hour * 3600 + parts["M"] * 60 + parts["S"]
    moment = month_start.astype("datetime64[s]") + seconds.astype("timedelta64[s]")
    return np.where(right, moment, np.datetime64("NaT", "s"))


def _forward(moments: npt.NDArray[np.datetime64]) -> tuple[int, int]:
    """In how many steps time does not run back, and (negative) how many seconds the file spans."""
    return int((moments[1:] >= moments[:-1]).sum()), -int((moments.max() - moments.min()).astype(np.int64))


def create_table(connection: Any) -> None:
    """An empty `transactions`. A table of that name that is not this example's is never touched: LoadError."""
    with connection.cursor() as cursor:
        cursor.execute(OURS)
        comment, exists = cursor.fetchone()
        if exists and comment != "Made by the Headgate retail example.":
            raise LoadError(
                "the database has a table public.transactions that this example did not make; "
                "name another database in HEADGATE_PG_DSN or PGDATABASE"
            )
        cursor.execute("drop table if exists public.transactions")
        cursor.execute(TABLE)


def copy_rows(connection: Any, batches: Iterable[pa.RecordBatch]) -> int:
    """COPY the batches (columns by name, values as text) into `transactions`; the number of rows."""
    rows = 0
    with connection.cursor() as cursor:
        for batch in batches:
            data = io.BytesIO()
            pyarrow.csv.write_csv(batch, data, pyarrow.csv.WriteOptions(include_header=False))
            data.seek(0)
            names = ", ".join(batch.schema.names)
            cursor.copy_expert(f"copy public.transactions ({names}) from stdin (format csv)", data)
            rows += len(batch)
    return rows


def summary(connection: Any) -> Loaded:
    """Exact sums over the table."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select count(*), coalesce(sum(quantity), 0), coalesce(sum(quantity * unit_price)"
            " filter (where unit_price not in ('NaN', 'Infinity', '-Infinity')), 0) from public.transactions"
        )
        lines, quantity, value = cursor.fetchone()
    return Loaded(lines, int(quantity), value)


def load_file(connection: Any, path: str | Path) -> tuple[Lines, Loaded]:
    """Replace the table's rows by the file's, in one transaction; statistics for the planner follow."""
    lines = read_file(path)
    with connection:
        create_table(connection)
        copy_rows(connection, lines.rows.to_batches(max_chunksize=BLOCK))
        loaded = summary(connection)
    with connection, connection.cursor() as cursor:
        cursor.execute("analyze public.transactions")
    return lines, loaded


def main(arguments: list[str] | None = None) -> int:
    """Load a file into the database that HEADGATE_PG_DSN, or else PGHOST, PGDATABASE and so on, name."""
    asked = argparse.ArgumentParser(description="Load an Online Retail CSV into sales_db.transactions.")
    asked.add_argument("csv", type=Path)
    asked.add_argument("--json", action="store_true", help="the counts as one JSON document")
    args = asked.parse_args(arguments)
    import psycopg2

    try:
        connection = psycopg2.connect(os.environ.get("HEADGATE_PG_DSN", ""))
        try:
            lines, loaded = load_file(connection, args.csv)
        finally:
            connection.close()
    except (LoadError, psycopg2.Error) as error:
        print(f"load: {str(error).strip()}", file=sys.stderr)
        return 2 if isinstance(error, LoadError) else 3
    if args.json:
        print(json.dumps({**asdict(loaded), "value_sum": str(loaded.value_sum)}))
        return 0
    print(
        f"{loaded.lines:,} lines, {loaded.quantity_sum:,} pieces, {loaded.value_sum:,} pounds "
        f"({lines.encoding}, dates {lines.dates})"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
