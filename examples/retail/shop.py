"""The shop going on with its work while the pipeline runs: new lines, changes, mistakes, late commits, wrong clocks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# Lines without anything wrong: new lines are made in their image.
SOUND = """stock_code ~ '^[0-9]{5}[A-Z]?$' and unit_price between 0.1 and 100 and quantity between 1 and 1000
    and customer_id ~ '^[0-9]{5}$' and country ~ '[A-Za-z]' and invoice_no ~ '^[0-9]{6}$'
    and invoice_date between '2009-12-01' and '2035-12-31' and updated_at is not null"""
COLUMNS = (
    "line_id, invoice_no, stock_code, description, quantity, invoice_date, unit_price, customer_id, country, updated_at"
)

# What people and programs get wrong: the expressions that replace a sound line's values.
MISTAKES = (
    {"unit_price": "-unit_price"},
    {"unit_price": "unit_price * 100000"},
    {"unit_price": "'NaN'::numeric"},
    {"invoice_date": "'infinity'::timestamp"},
    {"invoice_date": "'0001-01-01 00:00:00'::timestamp"},
    {"country": "'   '"},
    {"stock_code": "'gift_0001_30'", "description": "'Dotcomgiftshop Gift Voucher £30.00'", "unit_price": "25.53"},
    {"customer_id": "'guest'"},
)


class ShopError(RuntimeError):
    """The table has no lines that can serve as examples."""


@dataclass(frozen=True, slots=True)
class Work:
    """How many lines of which kind the shop wrote."""

    inserted: int = 0
    changed: int = 0
    backdated: int = 0
    touched: int = 0
    mistakes: int = 0
    corrected: int = 0

    def sentence(self) -> str:
        """For people."""
        return (
            ", ".join(f"{n:,} {what}" for n, what in self._parts()).capitalize() + "."
            if self._parts()
            else "Nothing happened."
        )

    def short(self) -> str:
        """For a table."""
        return ", ".join(f"{n:,} {what}" for n, what in self._parts())

    def _parts(self) -> list[tuple[int, str]]:
        texts = {
            "inserted": "new lines",
            "changed": "changed",
            "backdated": "changed with an older time",
            "touched": "written again unchanged",
            "mistakes": "with mistakes",
            "corrected": "mistakes corrected",
        }
        return [(getattr(self, name), text) for name, text in texts.items() if getattr(self, name)]


class Shop:
    """Works on the table through one connection; everything is decided by line numbers, nothing by chance."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.mistaken: list[int] = []
        self.base = self.last_line()  # lines up to here were loaded

    def last_line(self) -> int:
        """The greatest line number."""
        return int(self._one("select coalesce(max(line_id), 0) from public.transactions"))

    def rows(self) -> int:
        """Lines in the table now."""
        return int(self._one("select count(*) from public.transactions"))

    def _one(self, sql: str, *values: Any) -> Any:
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchone()[0]

    def work(self) -> Work:
        """A busy hour: new lines, changes of every manner, mistakes, and a till whose clock runs a year ahead."""
        with self.connection, self.connection.cursor() as cursor:
            inserted = insert(cursor, self.base, 1_500, invoice=900_000)
            insert(cursor, self.base, 1, invoice=900_900, changed="clock_timestamp() + interval '1 year'")
            changed = self._change(cursor, 800, 3, "quantity = quantity + 1, updated_at = clock_timestamp()")
            backdated = self._change(
                cursor, 300, 5, "description = description || ' (OLD)', updated_at = updated_at - interval '1 day'"
            )
            touched = self._change(cursor, 200, 7, "quantity = quantity")
            for number, mistake in enumerate(MISTAKES):
                first = _next_line(cursor)
                insert(cursor, self.base, 2, invoice=901_000 + number, replace=mistake)
                self.mistaken += [first, first + 1]
        return Work(inserted + 1, changed, backdated, touched, len(self.mistaken))

    def work_more(self) -> Work:
        """The next hour: more lines, and somebody corrects the wrong prices."""
        with self.connection, self.connection.cursor() as cursor:
            inserted = insert(cursor, self.base, 600, invoice=902_000)
            cursor.execute(
                "update public.transactions set unit_price = 2.95, updated_at = clock_timestamp() "
                "where line_id = any(%s) and (unit_price < 0 or unit_price > 1000)",
                (self.mistaken,),
            )
            return Work(inserted=inserted, corrected=cursor.rowcount)

    def _change(self, cursor: Any, count: int, digit: int, assignments: str) -> int:
        """Change `count` sound lines whose number ends in `digit`, newest first."""
        cursor.execute(
            f"update public.transactions set {assignments} where line_id in (select line_id from public.transactions"
            f" where line_id <= %s and line_id %% 10 = %s and {SOUND} and description is not null"
            " order by line_id desc limit %s)",
            (self.base, digit, count),
        )
        return int(cursor.rowcount)

    @contextlib.contextmanager
    def open_transaction(self, connection: Any) -> Iterator[OpenTransaction]:
        """A second session that holds its lines back until `commit`; rolled back and closed at the end otherwise."""
        try:
            yield OpenTransaction(connection, self.base)
        finally:
            connection.close()


class OpenTransaction:
    """Lines written but not committed."""

    first_invoice, last_invoice = "910000", "910999"

    def __init__(self, connection: Any, base: int) -> None:
        self.connection, self.base = connection, base

    def insert(self, count: int, minutes_ago: int) -> int:
        """Write lines whose `updated_at` lies in the past; they are invisible to others."""
        with self.connection.cursor() as cursor:
            changed = f"clock_timestamp() - interval '{int(minutes_ago)} minutes'"
            far = _next_line(cursor) + 1_000_000  # line numbers that nobody else takes meanwhile
            return insert(cursor, self.base, count, invoice=int(self.first_invoice), changed=changed, line=far)

    def commit(self) -> None:
        """Show them to the world."""
        self.connection.commit()


def _next_line(cursor: Any) -> int:
    cursor.execute("select coalesce(max(line_id), 0) + 1 from public.transactions")
    return int(cursor.fetchone()[0])


def insert(
    cursor: Any,
    base: int,
    count: int,
    *,
    invoice: int,
    changed: str = "clock_timestamp()",
    replace: dict[str, str] | None = None,
    line: int | None = None,
) -> int:
    """New lines in the image of the newest sound ones up to `base`, a day later, twenty to an invoice.

    `replace` maps columns to expressions. Raises ShopError when there is no sound line at all.
    """
    values = {name: name for name in ("stock_code", "description", "quantity", "unit_price", "customer_id", "country")}
    values["invoice_date"] = "invoice_date + interval '1 day'"
    values |= replace or {}
    cursor.execute(
        f"""
        with sound as (
            select *, row_number() over (order by line_id desc) - 1 as place from public.transactions
            where line_id <= %(base)s and {SOUND} order by line_id desc limit %(count)s)
        insert into public.transactions ({COLUMNS})
        select %(line)s + n, (%(invoice)s + n / 20)::text, {values["stock_code"]}, {values["description"]},
               {values["quantity"]}, {values["invoice_date"]}, {values["unit_price"]}, {values["customer_id"]},
               {values["country"]}, {changed}
        from generate_series(0, %(count)s - 1) as n join sound on place = n %% (select count(*) from sound)
        """,
        {"line": line if line is not None else _next_line(cursor), "invoice": invoice, "count": count, "base": base},
    )
    if cursor.rowcount != count:
        raise ShopError("the table has no sound line that could serve as an example for new ones")
    return count
