"""Proves from the tables alone, in two engines, that no row was lost, doubled or invented."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import compute
from under_test import COLUMNS

from headgate import Project
from headgate.ports.batch import OFFSET, PARTITION
from headgate.testing import ledger
from headgate.testing.ledger import Tally

PARTS = ("silver", "quarantine", "ledger")


# A data file never changes once it is named, so it is hashed in Python once. DuckDB hashes all files every time: a file
# that did change would make the two disagree.
_HASHED: dict[tuple[str, tuple[str, ...]], Tally] = {}


class _OneFile:
    """A table of which only one file is looked at."""

    def __init__(self, view, info) -> None:
        self.schema, self._info = view.schema, info

    def files(self):
        return [self._info]


class Tables:
    """The tables of dataset `orders` at one moment, read through the product and through DuckDB on its files."""

    def __init__(self, folder: Path) -> None:
        self.project = Project.open(folder)
        self.lake = self.project.lake
        self.cut = self.lake.cut()

    def __enter__(self) -> Tables:
        return self

    def __exit__(self, *_: object) -> None:
        self.project.close()

    def view(self, layer: str):
        return self.cut.table(f"{layer}.orders")

    def tally(self, layer: str, columns: Sequence[str]) -> Tally:
        """The tally of a table's columns: computed twice, by two engines that must agree."""
        view = self.view(layer)
        if view is None:
            return Tally()
        schema = pa.schema([view.schema.field(name) for name in columns])
        python = sum((self._hashed(view, info, columns) for info in view.files()), Tally())
        by_sql = ledger.tally_parquet([file.path for file in view.files()], columns, schema)
        assert python == by_sql, f"{layer}: the product reads {python}, DuckDB reads {by_sql}"
        return python

    def _hashed(self, view, info, columns: Sequence[str]) -> Tally:
        key = info.path, tuple(sorted(columns))
        if key not in _HASHED:
            one = _OneFile(view, info)
            _HASHED[key] = ledger.tally_batches(self.lake.scan(one, list(columns)), columns)
        return _HASHED[key]

    def twice(self, layer: str, columns: Sequence[str]) -> list[dict]:
        """Values of these columns that stand in more than one row."""
        view = self.view(layer)
        batches = [b.select(columns) for b in self.lake.scan(view, list(columns))] if view else []
        if not batches:
            return []
        counted = pa.Table.from_batches(batches).group_by(list(columns)).aggregate([([], "count_all")])
        return counted.filter(compute.field("count_all") > 1).to_pylist()

    def rows(self, layer: str, columns: Sequence[str]) -> list[dict]:
        view = self.view(layer)
        if view is None:
            return []
        return [row for batch in self.lake.scan(view, list(columns)) for row in batch.select(columns).to_pylist()]


def conserved(folder: Path) -> Counter:
    """Every bronze coordinate stands in exactly one of silver, quarantine and ledger. Returns rows by table."""
    coordinates = (PARTITION, OFFSET)
    with Tables(folder) as tables:
        bronze = tables.tally("bronze", coordinates)
        parts = {layer: tables.tally(layer, coordinates) for layer in PARTS}
        total = sum(parts.values(), Tally())
        assert total == bronze, f"bronze {bronze}; verdicts {total} = { ({k: str(v) for k, v in parts.items()}) }"
        for layer in ("bronze", *PARTS):
            twice = tables.twice(layer, coordinates)
            assert not twice, f"{layer}: {len(twice)} coordinates twice, such as {twice[:3]}"
        return Counter({"bronze": bronze.rows, **{layer: one.rows for layer, one in parts.items()}})


def silver_is(folder: Path, expected: Iterable[dict]) -> None:
    """Silver holds exactly these rows (`COLUMNS`), in both engines; on a difference, says which."""
    expected = list(expected)
    with Tables(folder) as tables:
        got = tables.tally("silver", COLUMNS)
        want = ledger.tally_rows(expected, silver_schema())
        if got == want:
            return
        have = Counter(_key(row) for row in tables.rows("silver", COLUMNS))
        wish = Counter(_key(row) for row in expected)
        raise AssertionError(
            f"silver {got}; expected {want}; missing {list((wish - have).elements())[:3]};"
            f" too many {list((have - wish).elements())[:3]}"
        )


def bronze_raw_is(folder: Path, lines: Iterable[bytes]) -> None:
    """Bronze holds exactly these records, byte for byte."""
    with Tables(folder) as tables:
        got = tables.tally("bronze", ["_hg_raw"])
    want = ledger.tally_rows([{"_hg_raw": line} for line in lines], pa.schema([("_hg_raw", pa.binary())]))
    assert got == want, f"bronze holds {got}; the files hold {want}"


def quarantine_raw_is(folder: Path, lines: Iterable[bytes]) -> None:
    """Quarantine holds exactly these records, whole."""
    with Tables(folder) as tables:
        got = tables.tally("quarantine", ["raw"])
    want = ledger.tally_rows([{"raw": line} for line in lines], pa.schema([("raw", pa.binary())]))
    assert got == want, f"quarantine holds {got}; bad records were {want}"


def silver_schema() -> pa.Schema:
    return pa.schema(
        [("id", pa.int64()), ("quantity", pa.int64()), ("note", pa.string()), ("updated_at", pa.timestamp("us", "UTC"))]
    )


def _key(row: dict) -> tuple:
    return tuple(row[name] for name in COLUMNS)
