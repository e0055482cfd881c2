"""The SQL that reads: columns, page ranges, and which row versions are new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from headgate.contract.sql_names import quote, text_literal
from headgate.ports.batch import ODD, ODD_TYPE, OFFSET, PARTITION
from headgate.sources.postgres_catalog import Leaf, Relation
from headgate.sources.postgres_position import Snapshot
from headgate.sources.postgres_types import Column
from headgate.sources.postgres_watermark import Watermark

VERSION = "_hg_version"
_XID32 = 4294967295
_PLACE = ("tableoid::int8", "ctid")
_PLACE_CAST = ("int8", "tid")


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read of a table, and how its rows are told apart."""

    relation: Relation
    columns: tuple[Column, ...]
    watermark: Watermark | None
    key: tuple[Column, ...]
    versioned: bool  # rows carry their version's name: for datasets in which every row counts

    @property
    def schema(self) -> pa.Schema:
        """Of the batches."""
        fields: list[pa.Field[Any]] = [pa.field(PARTITION, pa.string()), pa.field(OFFSET, pa.int64())]
        if self.versioned:
            fields.append(
                pa.field(VERSION, pa.string(), metadata={b"doc": b"transaction id and place of the row version"})
            )
        for one in self.columns:
            doc = {b"doc": one.comment.encode()} if one.comment else None
            fields.append(pa.field(one.name, one.arrow, metadata=doc))
        return pa.schema([*fields, pa.field(ODD, ODD_TYPE)])

    @property
    def by_place(self) -> bool:
        """Ties of the watermark are broken by the row's place, because nothing else is surely unique."""
        return not self.relation.is_unique(self.key)

    @property
    def order(self) -> tuple[str, ...]:
        """What a later read is ordered by, in SQL: the watermark, then what tells ties apart."""
        ties = _PLACE if self.by_place else tuple(quote(one.name) for one in self.key)
        return ((self.watermark.sql,) if self.watermark else ()) + ties

    def fields(self) -> list[pa.Field[Any]]:
        """The fields of the copied columns, in their order."""
        names = [pa.field(one.name, one.arrow) for one in self.columns]
        return [pa.field(VERSION, pa.string()), *names] if self.versioned else names

    def hexadecimal(self) -> list[bool]:
        """Which copied columns come as hexadecimal digits."""
        return ([False] if self.versioned else []) + [one.is_bytes for one in self.columns]

    def places(self) -> list[int]:
        """Where the values of `order` stand in a copied record of a later read."""
        names = [one.name for one in self.columns]
        shift = 1 if self.versioned else 0
        at = [names.index(self.watermark.column.name) + shift] if self.watermark else []
        if self.by_place:
            return [*at, len(names) + shift, len(names) + shift + 1]
        return at + [names.index(one.name) + shift for one in self.key]

    def _selected(self, now: Snapshot) -> list[str]:
        listed = [f"encode({quote(c.name)}, 'hex')" if c.is_bytes else quote(c.name) for c in self.columns]
        return [self._version(now), *listed] if self.versioned else listed

    def _version(self, now: Snapshot) -> str:
        xid = f"lpad(({now.xmax} - (({now.xmax} - xmin::text::int8) & {_XID32}))::text, 20, '0')"
        table = "tableoid::text || ':' || " if self.relation.several else ""
        block = "lpad((ctid::text::point)[0]::int8::text, 10, '0')"
        item = "lpad((ctid::text::point)[1]::int8::text, 5, '0')"
        return f"{xid} || ':' || {table}{block} || ':' || {item}"

    def copy_pages(self, leaf: Leaf, first: int, last: int | None, now: Snapshot) -> str:
        """COPY of the pages first <= page < last of one table; to its end when last is None."""
        conditions = [f"ctid >= '({first},0)'::tid"] if first else []
        if last is not None:
            conditions.append(f"ctid < '({last},0)'::tid")
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return f"COPY (SELECT {', '.join(self._selected(now))} FROM ONLY {leaf.sql}{where}) TO STDOUT (FORMAT csv)"

    def copy_new(self, new: str, after: Sequence[str | None] | None, now: Snapshot) -> str:
        """COPY of the row versions for which the condition `new` holds, in order, those up to `after` left out."""
        columns = self._selected(now) + (list(_PLACE) if self.by_place else [])
        where = new if after is None else f"({new}) AND {self._after(after)}"
        order = ", ".join(
            f"{one} NULLS FIRST" if i == 0 and self.watermark else one for i, one in enumerate(self.order)
        )
        query = f"SELECT {', '.join(columns)} FROM {self.relation.sql} WHERE {where} ORDER BY {order}"
        return f"COPY ({query}) TO STDOUT (FORMAT csv)"

    def _after(self, after: Sequence[str | None]) -> str:
        values = list(after)
        mark = values.pop(0) if self.watermark else None
        ties = _PLACE if self.by_place else tuple(quote(one.name) for one in self.key)
        casts = _PLACE_CAST if self.by_place else tuple(one.cast for one in self.key)
        hexes = [False] * len(casts) if self.by_place else [one.is_bytes for one in self.key]
        prefixes = ["\\x" if is_hex else "" for is_hex in hexes]
        literals = [
            f"{text_literal(prefix + (value or ''))}::{cast}"
            for value, cast, prefix in zip(values, casts, prefixes, strict=True)
        ]
        if self.watermark and mark is not None:
            left = ", ".join((self.watermark.sql, *ties))
            return f"({left}) > ({', '.join([self.watermark.literal(mark), *literals])})"
        beyond = f"({', '.join(ties)}) > ({', '.join(literals)})"
        return f"({self.watermark.sql} IS NOT NULL OR {beyond})" if self.watermark else beyond


def newer(xid: int, at_most: str | None = None) -> str:
    """Row versions whose transaction id is at least `xid`, in 32-bit arithmetic (see `check_reach`).

    Frozen rows are either far older (no match) or, once in four billion transactions, look new and are read twice.
    """
    age = f"age(xmin) BETWEEN 0 AND (SELECT age('{xid & _XID32}'::xid))"
    return age if at_most is None else f"({age} AND {at_most})"


def new_versions(xid: int, bound: str | None, watermark: Watermark | None) -> str:
    """Condition of a bounded read, or of one without a bound."""
    if bound is None or watermark is None:
        return newer(xid)
    return f"({watermark.sql} >= {watermark.literal(bound)} OR {watermark.sql} IS NULL) AND {newer(xid)}"


def swept_versions(
    xid: int, steps: Sequence[tuple[int, str]], watermark: Watermark | None, fresh: Sequence[Leaf]
) -> str:
    """Condition of a sweep: everything new, what bounded reads left out since the last sweep, and whole new tables."""
    parts = [newer(xid)]
    if watermark is not None:
        parts += [newer(since, f"{watermark.sql} < {watermark.literal(bound)}") for since, bound in steps]
    if fresh:
        parts.append(f"tableoid IN ({', '.join(str(leaf.oid) for leaf in fresh)})")
    return " OR ".join(parts)
