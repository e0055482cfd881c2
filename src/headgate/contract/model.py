"""What a contract says, as plain values: no YAML, no I/O, no engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a file something was written; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Kind(StrEnum):
    """Logical types of a value in silver."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"
    TIME = "time"
    BINARY = "binary"
    OBJECT = "object"
    ARRAY = "array"
    MAP = "map"


@dataclass(frozen=True, slots=True)
class Type:
    """A value's type. Only the attributes that its kind uses are set.

    INTEGER: `bits` 32 or 64 (signed). NUMBER: `bits` 32 or 64 (IEEE float). DECIMAL: `precision` 1..38 and
    `scale`. TIMESTAMP: `zoned` (microseconds; zoned means an instant, kept as UTC). OBJECT: `fields`.
    ARRAY: `item`. MAP: `key` and `item` (the value).
    """

    kind: Kind
    bits: int = 64
    precision: int = 0
    scale: int = 0
    zoned: bool = False
    fields: tuple[Field, ...] = ()
    key: Field | None = None
    item: Field | None = None

    def __str__(self) -> str:
        match self.kind:
            case Kind.DECIMAL:
                return f"decimal({self.precision},{self.scale})"
            case Kind.TIMESTAMP:
                return "timestamp with time zone" if self.zoned else "timestamp"
            case _:
                return str(self.kind)


@dataclass(frozen=True, slots=True)
class Limits:
    """`logicalTypeOptions` that judge one value. Bounds are Decimal for numbers, ISO text for times."""

    minimum: Decimal | str | None = None
    maximum: Decimal | str | None = None
    exclusive_minimum: Decimal | str | None = None
    exclusive_maximum: Decimal | str | None = None
    multiple_of: Decimal | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    format: str | None = None
    min_items: int | None = None
    max_items: int | None = None
    unique_items: bool = False


@dataclass(frozen=True, slots=True)
class Standardise:
    """One standardisation of a text value, applied in the order written.

    `op` is one of: trim, squeeze (inner white space to one blank), lower, upper, title, empty_to_null,
    currency (text such as "$1,299.00" to a plain number), number (strip grouping marks), date (argument:
    list of strptime formats tried in order), map (argument: {from: to}), null_if (argument: list of texts).
    """

    op: str
    argument: Any = None


class Severity(StrEnum):
    """error: the row goes to quarantine. warning: the row is accepted and counted."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Budget:
    """How many rows may fail: `limit` rows, or `limit` percent of the rows read in a run."""

    limit: Decimal
    percent: bool

    def exceeded(self, failed: int, read: int) -> bool:
        """True when `failed` of `read` rows is more than the budget allows."""
        if self.percent:
            return Decimal(failed) * 100 > self.limit * read
        return failed > self.limit


@dataclass(frozen=True, slots=True)
class Rule:
    """A judgement of one row. `id` is unique in the dataset and stable, e.g. `unit_price.minimum`.

    `check` is one of: type, required, enum, minimum, maximum, exclusive_minimum, exclusive_maximum,
    multiple_of, min_length, max_length, pattern, format, min_items, max_items, unique_items, valid_values,
    sql (argument: predicate over silver columns), checksum. `field` is a dotted path (arrays as `items[]`),
    None for a rule on the whole row. A predicate that is NULL passes.
    """

    id: str
    check: str
    field: str | None = None
    argument: Any = None
    severity: Severity = Severity.ERROR
    tolerance: Budget | None = None
    description: str = ""
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class TableCheck:
    """A judgement of the whole silver table after a run.

    `metric` is nullValues, missingValues, invalidValues, duplicateValues, rowCount or sql. `operator` is an
    ODCS operator such as mustBe or mustBeBetween; `value` a number or a pair. `percent` when the unit is percent.
    """

    id: str
    metric: str
    operator: str
    value: Any
    fields: tuple[str, ...] = ()
    query: str | None = None
    percent: bool = False
    severity: Severity = Severity.ERROR
    description: str = ""
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """One property of the contract."""

    name: str
    type: Type
    source: str = ""  # name of the column or key in the source; the field's own name when empty
    required: bool = False
    unique: bool = False
    key_position: int | None = None  # position in the primary key, from 1
    partition: str | None = None  # identity, year, month, day, hour or bucket[N]
    partition_position: int = 0
    limits: Limits = Limits()
    enum: tuple[Any, ...] = ()
    standardise: tuple[Standardise, ...] = ()
    transform: str | None = None  # SQL expression over the source's columns (transformLogic)
    description: str = ""
    classification: str | None = None
    place: Place | None = None

    @property
    def source_name(self) -> str:
        """The column or key to read in the source."""
        return self.source or self.name


@dataclass(frozen=True, slots=True)
class Server:
    """Where a dataset comes from or lives. `options` hold the contract's other keys, `${VAR}` not yet resolved."""

    name: str
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """Rows that say what happened to their key: those whose `field` has one of the `delete` values end it."""

    field: str
    delete: tuple[Any, ...]


INSERT, UPDATE, DELETE = "insert", "update", "delete"  # what full reads find


@dataclass(frozen=True, slots=True)
class FullReads:
    """The source is read whole each time; what changed since the last time becomes rows, whose fields `at` and `change`
    Headgate fills. A read in which more than `most_deleted` of the rows are gone is not believed; without one, a read
    in which all are gone."""

    at: str
    change: str
    most_deleted: Budget | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """Duplicates are looked for among rows whose `field` is at most so much older than the newest in silver."""

    field: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Freshness:
    """`slaProperties` latency: the newest value of `field` is at most `seconds` old."""

    field: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Retention:
    """`slaProperties` retention: silver rows go once `field` is older than `seconds`; without a field, bronze rows go
    (whole UTC days) once they have been landed for so long."""

    field: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Dataset:
    """One schema object of a contract: what one pipeline moves. Its name is also its tables' name."""

    name: str
    fields: tuple[Field, ...]
    contract_id: str
    contract_version: str
    physical_name: str = ""
    physical_type: str = ""
    key: tuple[str, ...] = ()  # primary key fields in position order; empty: every row counts
    order: tuple[str, ...] = ()  # latest wins by these fields; ties are decided by position
    history: str = "latest"  # append | latest | scd2; append when there is no key
    window: Window | None = None  # None: duplicates are looked for in all history
    operation: Operation | None = None  # how rows say that they delete their key
    full_reads: FullReads | None = None  # the source tells no changes: each time all of it is read and compared
    rules: tuple[Rule, ...] = ()  # every row rule in a fixed order
    drops: tuple[Rule, ...] = ()  # headgate.drop: rows for which the predicate is true get the verdict `dropped`
    checks: tuple[TableCheck, ...] = ()
    error_budget: Budget | None = None
    freshness: tuple[Freshness, ...] = ()
    retention: tuple[Retention, ...] = ()
    servers: tuple[Server, ...] = ()
    properties: Mapping[str, Any] = field(default_factory=dict)  # every headgate.* property, without the prefix
    description: str = ""
    tags: tuple[str, ...] = ()
    place: Place | None = None
    document: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)  # as written, without servers

    def as_read(self) -> Dataset:
        """Without the fields that the source does not have because Headgate fills them."""
        if self.full_reads is None:
            return self
        own = (self.full_reads.at, self.full_reads.change)
        return replace(self, fields=tuple(one for one in self.fields if one.name not in own))

    def field(self, name: str) -> Field:
        """The field of that name; KeyError when there is none."""
        for one in self.fields:
            if one.name == name:
                return one
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Contract:
    """One ODCS file."""

    id: str
    version: str
    api_version: str
    status: str
    datasets: tuple[Dataset, ...]
    file: str
    sha256: str  # of the file's bytes
    name: str = ""
    domain: str = ""
    description: Mapping[str, str] = field(default_factory=dict)
