"""A contract as Arrow schemas: the columns of the tables that one dataset has, and how they are laid out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from headgate.contract.model import Dataset, Field, Kind, Type

PARTITION = "_hg_partition"
OFFSET = "_hg_offset"
VERSION = "_hg_version"
INGESTED_AT = "_hg_ingested_at"
MESSAGE_KEY, HEADERS = "_hg_key", "_hg_headers"
VALID_FROM, VALID_TO, IS_CURRENT = "valid_from", "valid_to", "is_current"
VALIDITY = (VALID_FROM, VALID_TO, IS_CURRENT)
DOC = b"doc"

_INSTANT = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a table's files are arranged: (column, transform) pairs, columns to sort by, identifier columns."""

    partition: tuple[tuple[str, str], ...] = ()
    sort: tuple[str, ...] = ()
    key: tuple[str, ...] = ()


def arrow_type(of: Type) -> pa.DataType:
    """The Arrow type of a contract type.

    Members of objects, items and map values may always be NULL there: what the contract requires of them is a
    rule, judged row by row.
    """
    match of.kind:
        case Kind.STRING:
            return pa.string()
        case Kind.INTEGER:
            return pa.int32() if of.bits == 32 else pa.int64()
        case Kind.NUMBER:
            return pa.float32() if of.bits == 32 else pa.float64()
        case Kind.DECIMAL:
            return pa.decimal128(of.precision, of.scale)
        case Kind.BOOLEAN:
            return pa.bool_()
        case Kind.DATE:
            return pa.date32()
        case Kind.TIMESTAMP:
            return _INSTANT if of.zoned else pa.timestamp("us")
        case Kind.TIME:
            return pa.time64("us")
        case Kind.BINARY:
            return pa.binary()
        case Kind.OBJECT:
            return pa.struct([_inner(one, one.name) for one in of.fields])
        case Kind.ARRAY:
            assert of.item is not None
            return pa.list_(_inner(of.item, "element"))
        case Kind.MAP:
            assert of.key is not None
            assert of.item is not None
            key: Any = pa.field("key", arrow_type(of.key.type), nullable=False)
            return pa.map_(key, _inner(of.item, "value"))  # type: ignore[call-overload, no-any-return]


def _inner(one: Field, name: str) -> pa.Field[Any]:
    return _documented(name, arrow_type(one.type), one.description, required=False)


def _documented(name: str, of: pa.DataType, doc: str, *, required: bool) -> pa.Field[Any]:
    return pa.field(name, of, nullable=not required, metadata={DOC: doc.encode()} if doc else None)


def silver_schema(dataset: Dataset, *, version_column: bool = False) -> pa.Schema:
    """The contract's fields, then the coordinates of the bronze row.

    `version_column`: also `_hg_version`, for a PostgreSQL table without a key, whose row versions are told apart by it.
    """
    columns = [
        _documented(one.name, arrow_type(one.type), one.description, required=one.required) for one in dataset.fields
    ]
    if dataset.history == "scd2":
        of = arrow_type(dataset.field(dataset.order[0]).type)
        columns += [
            _documented(VALID_FROM, of, "When this version of the key began.", required=True),
            _documented(VALID_TO, of, "When it ended: then it was no longer so. NULL while it lasts.", required=False),
            _documented(IS_CURRENT, pa.bool_(), "Whether it lasts.", required=True),
        ]
    columns += _coordinates()
    if version_column:
        doc = "Which version of the source's row this is; greater is later."
        columns.append(_documented(VERSION, pa.string(), doc, required=True))
    return pa.schema(columns)


def _coordinates() -> list[pa.Field[Any]]:
    return [
        _documented(PARTITION, pa.string(), "Partition of the source that the row came from.", required=True),
        _documented(OFFSET, pa.int64(), "Number of the row within its partition.", required=True),
    ]


def quarantine_schema(*, messages: bool = False) -> pa.Schema:
    """Rows that broke the contract: whole, with every reason; of `messages` also what is beside their values."""
    reason = pa.struct([
        _documented("rule", pa.string(), "Rule that the row broke.", required=False),
        _documented("field", pa.string(), "Field that the rule is about.", required=False),
        _documented("value", pa.string(), "The value as text.", required=False),
    ])  # fmt: skip
    return pa.schema([
        *_coordinates(),
        _documented(INGESTED_AT, _INSTANT, "When the run that landed the row began.", required=True),
        _documented("raw", pa.binary(), "The record as it came; JSON text of a row that came typed.", required=False),
        _documented("reasons", pa.list_(pa.field("element", reason)), "Every rule that the row broke.", required=True),
        _documented("contract_version", pa.string(), "Version of the contract that judged.", required=True),
        _documented("run_id", pa.string(), "The run that judged.", required=True),
        _documented("quarantined_at", _INSTANT, "When it was judged.", required=True),
        *(_beside_the_value() if messages else ()),
    ])  # fmt: skip


def _beside_the_value() -> list[pa.Field[Any]]:
    header = pa.struct([
        _documented("name", pa.string(), "Of the header; one may come twice.", required=False),
        _documented("value", pa.binary(), "Of the header.", required=False),
    ])  # fmt: skip
    return [
        _documented(MESSAGE_KEY, pa.binary(), "The message's key.", required=False),
        _documented(HEADERS, pa.list_(pa.field("element", header)), "The message's headers, in order.", required=False),
    ]


def ledger_schema(dataset: Dataset) -> pa.Schema:
    """Rows that are neither in silver nor in quarantine, and why."""
    deleted = []
    if dataset.operation:
        members = [
            pa.field(n, arrow_type(dataset.field(n).type)) for n in dict.fromkeys([*dataset.key, *dataset.order])
        ]
        doc = "Key and order of a row that deletes: what comes later and is older is superseded by it."
        deleted = [_documented("deleted", pa.struct(members), doc, required=False)]
    return pa.schema([
        *_coordinates(),
        _documented("verdict", pa.string(), "duplicate, superseded, deleted or dropped.", required=True),
        _documented("rule", pa.string(), "The declared rule that dropped the row.", required=False),
        _documented("by_partition", pa.string(), "Partition of the row that won.", required=False),
        _documented("by_offset", pa.int64(), "Offset of the row that won.", required=False),
        _documented("run_id", pa.string(), "The run that judged.", required=True),
        _documented("judged_at", _INSTANT, "When it was judged.", required=True),
        *deleted,
    ])  # fmt: skip


def silver_layout(dataset: Dataset) -> Layout:
    """Partitions as the contract says; sorted and identified by the key where there is one."""
    chosen = [one for one in dataset.fields if one.partition]
    # Fields without a position keep their order, behind those that have one.
    chosen.sort(key=lambda one: one.partition_position or len(dataset.fields) + 1)
    keyed = dataset.key if dataset.history == "latest" else ()
    return Layout(
        partition=tuple((one.name, one.partition) for one in chosen if one.partition), sort=dataset.key, key=keyed
    )
