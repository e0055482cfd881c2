"""Makes sales lines of a shop as messy as real ones: the same seed always gives the same bytes.

    python examples/retail/generator.py --rows 200000 --seed 1 > lines.csv

The file has the columns of the table `transactions` in their order and is ready for
`copy transactions from stdin (format csv, header)`: NULL is nothing, an empty text is "".

All randomness is a hash of (seed, stream, number), never a running generator: any line can be computed alone, and no
release of any library changes the bytes. What is wrong with the lines, and how often, stands in REJECTED and TOLERATED.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

COLUMNS = (
    "line_id",
    "invoice_no",
    "stock_code",
    "description",
    "quantity",
    "invoice_date",
    "unit_price",
    "customer_id",
    "country",
    "updated_at",
)
BLOCK = 200_000
MOST_ROWS = 8_000_000

# Share of lines with each fault that the contract rejects, about 0.5 % together. A line has at most one of them,
# so that each has one reason.
REJECTED = {
    "negative_price": 0.0004,
    "price_times_1000": 0.0004,
    "nan_price": 0.0001,
    "price_with_four_decimals": 0.0002,
    "no_date": 0.0002,
    "year_1": 0.0001,
    "infinite_date": 0.0001,
    "year_2099": 0.0001,
    "blank_country": 0.0005,
    "unknown_code": 0.0003,
    "code_of_another_shop": 0.0014,
    "customer_in_words": 0.0003,
    "bad_invoice_no": 0.0002,
    "no_quantity": 0.0001,
    "credit_note_gives": 0.002,  # seen on credit notes only, one line in forty
    "never_updated": 0.00005,
}
# Share of the other lines with something that is counted or mended.
TOLERATED = {
    "quantity_zero": 0.0006,
    "free_of_charge": 0.002,
    "untidy_country": 0.02,
    "untidy_description": 0.1,
    "no_description": 0.003,
    "lower_case_code": 0.004,
    "repeated_line": 0.014,
    "changed_weeks_later": 0.01,
}

FIRST_DAY, LAST_DAY = date(2010, 12, 1), date(2011, 12, 9)
COUNTRIES = {
    "United Kingdom": 870, "Germany": 26, "France": 24, "EIRE": 18, "Spain": 8, "Netherlands": 8, "Belgium": 6,
    "Switzerland": 6, "Portugal": 5, "Australia": 4, "Norway": 4, "Italy": 3, "Channel Islands": 3, "Finland": 2,
    "Cyprus": 2, "Sweden": 2, "Austria": 2, "Denmark": 2, "Japan": 1, "Poland": 1, "USA": 1, "RSA": 1, "Unspecified": 1,
}  # fmt: skip
COLOURS = [
    "RED",
    "WHITE",
    "PINK",
    "BLUE",
    "IVORY",
    "GREEN",
    "BLACK",
    "CREAM",
    "SILVER",
    "JUMBO",
    "VINTAGE",
    "RETROSPOT",
]
STYLES = ["HANGING", "WOODEN", "CERAMIC", "PAISLEY", "REGENCY", "DOILEY", "SPACEBOY", "SKULL", "STRAWBERRY", "POLKADOT"]
THINGS = [
    "HEART T-LIGHT HOLDER", "LUNCH BAG", "CAKE TINS", "TEACUP AND SAUCER", "ALARM CLOCK", "BUNTING", "DOORMAT",
    "PICTURE FRAME", "STORAGE BAG", "WATERING CAN", "TEA TOWEL", "NOTEBOOK", "JIGSAW", "PAPER NAPKINS", "CUSHION COVER",
]  # fmt: skip
PENCE = [
    42,
    55,
    65,
    83,
    85,
    125,
    145,
    165,
    195,
    208,
    210,
    246,
    255,
    295,
    375,
    413,
    495,
    595,
    795,
    995,
    1275,
    1695,
    2995,
]
SPECIALS = [  # code, name, pence
    ("POST", "POSTAGE", 1800),
    ("DOT", "DOTCOM POSTAGE", 12550),
    ("M", "Manual", 425),
    ("C2", "CARRIAGE", 5000),
]
OTHERS = [
    ("gift_0001_20", "Dotcomgiftshop Gift Voucher £20.00"),
    ("gift_0001_10", "Dotcomgiftshop Gift Voucher £10.00"),
    ("DCGS0003", "BOXED GLASS ASHTRAY"),
    ("DCGSSGIRL", "GIRLS PARTY BAG"),
    ("DCGSSBOY", "BOYS PARTY BAG"),
]
JUNK = ["TEST001", "????", "23x43", "ebay", "85123-A"]
WORDS = ["guest", "n/a", "C-12847", "walk in"]
CARTONS = np.array([1, 1, 1, 2, 2, 3, 4, 6, 6, 8, 10, 12, 12, 24, 48, 96], dtype=np.int64)


def hashed(seed: int, stream: str, numbers: Ints) -> npt.NDArray[np.uint64]:
    """64 random bits for each number: splitmix64 of the number, keyed by seed and stream."""
    key = int.from_bytes(hashlib.blake2b(f"{seed}/{stream}".encode(), digest_size=8).digest(), "little")
    with np.errstate(over="ignore"):
        x = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def share(seed: int, stream: str, numbers: Ints) -> Floats:
    """A number from 0 (included) to 1 (excluded) for each number."""
    return (hashed(seed, stream, numbers) >> np.uint64(11)).astype(np.float64) * 2.0**-53


@dataclass(frozen=True)
class Shop:
    """A shop's life: `rows` lines in the order of their invoices, from `seed`."""

    seed: int = 1
    rows: int = 200_000

    def _share(self, stream: str, numbers: Ints) -> Floats:
        return share(self.seed, stream, numbers)

    def _below(self, stream: str, numbers: Ints, n: int) -> Ints:
        """A whole number from 0 to n - 1 for each number."""
        return (self._share(stream, numbers) * n).astype(np.int64)

    @cached_property
    def _products(self) -> tuple[pa.Array, pa.Array, pa.Array]:
        """Codes, names and texts of prices: five per product (usual, in bulk, negative, times 1000, four decimals)."""
        n = max(60, min(1_500, self.rows // 60))
        at = np.arange(n, dtype=np.int64)
        letter = self._below("letter", at, 40)
        codes = [
            f"{20000 + i}{'ABCDEF'[x] if x < 6 else ''}" for i, x in zip(at.tolist(), letter.tolist(), strict=True)
        ]
        parts = (
            self._below(s, at, len(w)).tolist() for s, w in (("colour", COLOURS), ("style", STYLES), ("thing", THINGS))
        )
        names = [f"{COLOURS[c]} {STYLES[s]} {THINGS[t]}" for c, s, t in zip(*parts, strict=True)]
        pence = [PENCE[i] for i in self._below("price", at, len(PENCE)).tolist()]
        codes += [code for code, _, _ in SPECIALS]
        names += [name for _, name, _ in SPECIALS]
        pence += [price for _, _, price in SPECIALS]
        prices = []
        for p in pence:
            bulk = max(p * 85 // 100, 1)
            high = max(p * 10, 1001)  # pounds: 1000 x, and always more than any article costs
            prices += [f"{p / 100:.2f}", f"{bulk / 100:.2f}", f"-{p / 100:.2f}", f"{high}.00", f"{p / 100:.2f}49"]
        return pa.array(codes), pa.array(names), pa.array(prices)

    @cached_property
    def _days(self) -> tuple[Ints, Floats]:
        """Trading days (days since 1970) and the share of all lines written before each ends."""
        span = [FIRST_DAY + timedelta(d) for d in range((LAST_DAY - FIRST_DAY).days + 1)]
        open_days = [
            d for d in span if d.weekday() != 5 and not (d.month == 12 and d.day > 23) and d != date(2011, 1, 1)
        ]
        number = np.array([(d - date(1970, 1, 1)).days for d in open_days], dtype=np.int64)
        through = np.arange(len(open_days)) / len(open_days)
        weekday = np.array([(1.0, 1.08, 1.02, 1.15, 0.9, 0.0, 0.62)[d.weekday()] for d in open_days])
        season = 1 + 0.9 * np.maximum(0, through - 0.7) / 0.3 + 0.35 * np.maximum(0, 0.06 - through) / 0.06
        weight = weekday * season * (0.8 + 0.4 * self._share("day", number))
        until = np.cumsum(weight)
        return number, until / until[-1]

    def blocks(self) -> Iterator[pa.RecordBatch]:
        """All lines, columns as text in the table's order, about BLOCK lines at a time."""
        line = np.arange(self.rows, dtype=np.int64)
        starts = self._share("invoice", line) < 1 / 18
        if self.rows:
            starts[0] = True
        number = np.cumsum(starts) - 1  # of the invoice, from 0
        first = np.maximum.accumulate(np.where(starts, line, 0))  # its first line
        for at in range(0, self.rows, BLOCK):
            cut = slice(at, at + BLOCK)
            yield self._block(line[cut], number[cut], first[cut])

    def _block(self, line: Ints, invoice: Ints, first: Ints) -> pa.RecordBatch:
        # A repeated line is the line before it again under its own line_id, if that is of the same invoice.
        copied = (self._share("repeated_line", line) < TOLERATED["repeated_line"]) & (line > first)
        source = np.where(copied, line - 1, line)
        faults = self._faults(source)
        kind = self._share("kind", first)
        credit, written_off = kind < 0.025, (kind >= 0.025) & (kind < 0.0275)
        product = self._product(source)
        known, customer = self._customer(first)
        invoice_date, updated_at = self._times(first, source, faults)
        columns = [
            pa.array(line + 1),
            self._invoice_no(invoice, credit, faults),
            self._code(product, source, faults),
            self._description(product, source, faults),
            self._quantity(product, source, credit, written_off, faults),
            invoice_date,
            self._price(product, source, written_off, faults),
            self._customer_id(known & ~written_off, customer, source, faults),
            self._country(known, customer, source, faults),
            updated_at,
        ]
        return pa.record_batch(columns, names=list(COLUMNS))

    def _faults(self, line: Ints) -> dict[str, Flags]:
        """Which lines have which fault."""
        found: dict[str, Flags] = {}
        dice, low = self._share("fault", line), 0.0
        for name, rate in REJECTED.items():
            found[name] = (dice >= low) & (dice < low + rate)
            low += rate
        for name, rate in TOLERATED.items():
            found[name] = (dice >= low) & (self._share(name, line) < rate)
        return found

    def _product(self, line: Ints) -> Ints:
        codes = len(self._products[0])
        dice = self._share("product", line)
        usual = (dice * dice * (codes - len(SPECIALS))).astype(np.int64)
        special = codes - len(SPECIALS) + self._below("special", line, len(SPECIALS))
        return np.where(self._share("is special", line) < 0.004, special, usual)

    def _is_special(self, product: Ints) -> Flags:
        return product >= len(self._products[0]) - len(SPECIALS)

    def _customer(self, first: Ints) -> tuple[Flags, Ints]:
        """Whether the invoice names a customer, and which: few buy often, many once."""
        crowd = max(20, self.rows // 80)
        dice = self._share("customer", first)
        return self._share("known", first) >= 0.24, (dice * dice * crowd).astype(np.int64)

    def _invoice_no(self, invoice: Ints, credit: Flags, faults: dict[str, Flags]) -> pa.Array:
        text = pc.cast(pa.array(536365 + invoice), pa.string())
        text = pc.if_else(credit, pc.binary_join_element_wise("C", text, ""), text)
        return pc.if_else(faults["bad_invoice_no"], pc.binary_join_element_wise("#", text, ""), text)

    def _code(self, product: Ints, line: Ints, faults: dict[str, Flags]) -> pa.Array:
        text = self._products[0].take(pa.array(product))
        text = pc.if_else(faults["lower_case_code"], pc.ascii_lower(text), text)
        other = pa.array([code for code, _ in OTHERS]).take(pa.array(self._below("other", line, len(OTHERS))))
        text = pc.if_else(faults["code_of_another_shop"], other, text)
        junk = pa.array(JUNK).take(pa.array(self._below("junk", line, len(JUNK))))
        return pc.if_else(faults["unknown_code"], junk, text)

    def _description(self, product: Ints, line: Ints, faults: dict[str, Flags]) -> pa.Array:
        text = self._products[1].take(pa.array(product))
        other = pa.array([name for _, name in OTHERS]).take(pa.array(self._below("other", line, len(OTHERS))))
        text = pc.if_else(faults["code_of_another_shop"], other, text)
        untidy = pc.binary_join_element_wise(" ", pc.replace_substring(text, " ", "  ", max_replacements=1), " ", "")
        text = pc.if_else(faults["untidy_description"], untidy, text)
        blank = self._below("blank", line, 3) == 0
        gone = pc.if_else(blank, pa.scalar("  "), pa.scalar(None, pa.string()))
        return pc.if_else(faults["no_description"], gone, text)

    def _quantity(
        self, product: Ints, line: Ints, credit: Flags, written_off: Flags, faults: dict[str, Flags]
    ) -> pa.Array:
        count = CARTONS[self._below("quantity", line, len(CARTONS))]
        count = np.where(self._is_special(product), 1, count)
        gives = credit & ~faults["credit_note_gives"]
        count = np.where(gives, -np.minimum(count, 12), count)
        count = np.where(written_off, -count, count)
        count = np.where(faults["quantity_zero"], 0, count)
        return pc.cast(pa.array(count, mask=faults["no_quantity"]), pa.string())

    def _times(self, first: Ints, line: Ints, faults: dict[str, Flags]) -> tuple[pa.Array, pa.Array]:
        """invoice_date and updated_at: lines follow the days in order, a day from about 8 to 18 o'clock."""
        number, until = self._days
        through = first / max(self.rows, 1)
        day = np.searchsorted(until, through, side="right")
        begun = np.concatenate([[0.0], until])[day]
        within = (through - begun) / (until[day] - begun)
        off = np.abs(2 * within - 1)  # from noon; only exactly rounded arithmetic, so that all machines agree
        bell = 0.5 + 0.5 * np.sign(within - 0.5) * off * np.sqrt(off)
        written = number[day] * 86400 + ((8 + 10 * bell) * 60).astype(np.int64) * 60
        dates = pc.cast(pa.array(written).cast(pa.timestamp("s")), pa.string())
        for name, value in (("year_1", "0001-01-01 00:00:00"), ("infinite_date", "infinity"), ("no_date", None)):
            dates = pc.if_else(faults[name], pa.scalar(value, pa.string()), dates)
        dates = pc.if_else(
            faults["year_2099"], pc.binary_join_element_wise("2099", pc.utf8_slice_codeunits(dates, 4), ""), dates
        )
        later = np.where(faults["changed_weeks_later"], self._below("weeks", line, 60) * 86400 + 7 * 86400, 0)
        changed = written + later + self._below("minutes", first, 45) * 60  # many lines share one updated_at
        stamps = pc.binary_join_element_wise(pc.cast(pa.array(changed).cast(pa.timestamp("s")), pa.string()), "+00", "")
        return dates, pc.if_else(faults["never_updated"], pa.scalar(None, pa.string()), stamps)

    def _price(self, product: Ints, line: Ints, written_off: Flags, faults: dict[str, Flags]) -> pa.Array:
        tier = (self._share("bulk", line) < 0.2).astype(np.int64)
        for which, name in ((2, "negative_price"), (3, "price_times_1000"), (4, "price_with_four_decimals")):
            tier = np.where(faults[name] & ~self._is_special(product), which, tier)
        text = self._products[2].take(pa.array(product * 5 + tier))
        text = pc.if_else(written_off | faults["free_of_charge"], pa.scalar("0.00"), text)
        return pc.if_else(faults["nan_price"], pa.scalar("NaN"), text)

    def _customer_id(self, known: Flags, customer: Ints, line: Ints, faults: dict[str, Flags]) -> pa.Array:
        text = pc.cast(pa.array(12346 + customer, mask=~known), pa.string())
        words = pa.array(WORDS).take(pa.array(self._below("words", line, len(WORDS))))
        return pc.if_else(faults["customer_in_words"], words, text)

    def _country(self, known: Flags, customer: Ints, line: Ints, faults: dict[str, Flags]) -> pa.Array:
        steps = np.cumsum(np.array(list(COUNTRIES.values()), dtype=np.float64))
        home = np.searchsorted(steps / steps[-1], self._share("country", customer), side="right")
        home = np.where(known, home, 0)
        text = pa.array(list(COUNTRIES)).take(pa.array(home))
        untidy = self._below("untidy", line, 3)
        text = pc.if_else(
            faults["untidy_country"] & (untidy == 0), pc.binary_join_element_wise(" ", text, " ", ""), text
        )
        text = pc.if_else(faults["untidy_country"] & (untidy == 1), pc.ascii_lower(text), text)
        text = pc.if_else(faults["untidy_country"] & (untidy == 2), pc.ascii_upper(text), text)
        blank = pc.if_else(self._below("blank country", line, 2) == 0, pa.scalar(""), pa.scalar("   "))
        return pc.if_else(faults["blank_country"], blank, text)

    def write_csv(self, file: IO[bytes]) -> int:
        """Write header and lines as CSV for COPY; the number of lines."""
        options = pyarrow.csv.WriteOptions(include_header=False)
        file.write((",".join(COLUMNS) + "\n").encode())
        for block in self.blocks():
            pyarrow.csv.write_csv(block, file, options)
        return self.rows


def _load(shop: Shop) -> None:
    """Replace the table `transactions` by the shop's lines."""
    import load
    import psycopg2

    connection = psycopg2.connect(os.environ.get("HEADGATE_PG_DSN", ""))
    try:
        with connection:
            load.create_table(connection)
            load.copy_rows(connection, shop.blocks())
        with connection, connection.cursor() as cursor:
            cursor.execute("analyze public.transactions")
    finally:
        connection.close()


def main(arguments: list[str] | None = None, out: Any = None) -> int:
    """Write a shop's lines to standard output or a file."""
    asked = argparse.ArgumentParser(description="Deterministic, messy sales lines as CSV for COPY.")
    asked.add_argument("--rows", type=int, default=200_000)
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--out", help="file to write; standard output when absent")
    asked.add_argument("--load", action="store_true", help="write nothing: COPY into the database (see load.py)")
    args = asked.parse_args(arguments)
    if not 0 <= args.rows <= MOST_ROWS:
        asked.error(f"--rows must be from 0 to {MOST_ROWS}: invoice numbers have six digits")
    shop = Shop(seed=args.seed, rows=args.rows)
    if args.load:
        _load(shop)
    elif args.out:
        with open(args.out, "wb") as file:
            shop.write_csv(file)
    else:
        shop.write_csv(out or sys.stdout.buffer)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
