"""CREATE TABLE statements for a dataset's silver table: Iceberg in Spark, Trino and Athena, and a Snowflake table.

Types hold every value that silver can hold, or the statement is refused with the field's name: nothing is widened or
cut in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headgate.contract.model import Dataset, Field, Kind, Type
from headgate.contract.to_arrow import IS_CURRENT, VALID_FROM, VALID_TO, silver_layout
from headgate.errors import FixInputError


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one system writes names, types and partitions."""

    name: str
    mark: str  # around identifiers
    plain: dict[Kind, str]
    integer: tuple[str, str]  # of 32 and 64 bits
    number: tuple[str, str]
    timestamp: tuple[str, str]  # without and with zone
    nested: Callable[[Dialect, Type, str], str]
    transform: Callable[[str, str], str]  # (quoted column, transform) -> partition expression
    backslash: bool = True  # whether it escapes within texts

    def quote(self, name: str) -> str:
        """An identifier, quoted."""
        return f"{self.mark}{name.replace(self.mark, self.mark * 2)}{self.mark}"

    def text(self, value: str) -> str:
        """A text literal, on one line."""
        value = " ".join(value.split())
        if self.backslash:
            value = value.replace("\\", "\\\\")
        return "'" + value.replace("'", "\\'" if self.backslash and self.mark == "`" else "''") + "'"

    def type(self, of: Type, where: str) -> str:
        """The type's name. FixInputError when there is none that holds all its values."""
        made: str | None
        match of.kind:
            case Kind.INTEGER:
                made = self.integer[of.bits == 64]
            case Kind.NUMBER:
                made = self.number[of.bits == 64]
            case Kind.DECIMAL:
                made = f"{self.plain[Kind.DECIMAL]}({of.precision}, {of.scale})"
            case Kind.TIMESTAMP:
                made = self.timestamp[of.zoned]
            case Kind.OBJECT | Kind.ARRAY | Kind.MAP:
                made = self.nested(self, of, where)
            case _:
                made = self.plain.get(of.kind)
        if made is None:
            raise FixInputError(
                f"{self.name} has no type for {of}", where=where, hint="choose another dialect or another type"
            )
        return made


def _inner(of: Field | None) -> Field:
    assert of is not None
    return of


def _angles(dialect: Dialect, of: Type, where: str) -> str:
    if of.kind is Kind.OBJECT:
        members = (f"{dialect.quote(f.name)}: {dialect.type(f.type, f'{where}.{f.name}')}" for f in of.fields)
        return f"STRUCT<{', '.join(members)}>"
    item = dialect.type(_inner(of.item).type, f"{where}[]")
    return f"ARRAY<{item}>" if of.kind is Kind.ARRAY else f"MAP<{dialect.type(_inner(of.key).type, where)}, {item}>"


def _rows(dialect: Dialect, of: Type, where: str) -> str:
    if of.kind is Kind.OBJECT:
        members = (f"{dialect.quote(f.name)} {dialect.type(f.type, f'{where}.{f.name}')}" for f in of.fields)
        return f"ROW({', '.join(members)})"
    item = dialect.type(_inner(of.item).type, f"{where}[]")
    return f"ARRAY({item})" if of.kind is Kind.ARRAY else f"MAP({dialect.type(_inner(of.key).type, where)}, {item})"


def _variants(_dialect: Dialect, of: Type, _where: str) -> str:
    return "ARRAY" if of.kind is Kind.ARRAY else "OBJECT"


def _spark_transform(column: str, transform: str, ending: str = "s") -> str:
    """`days(at)`, `bucket(16, id)`."""
    name, _, argument = transform.rstrip("]").partition("[")
    if name == "identity":
        return column
    return f"bucket({argument}, {column})" if name == "bucket" else f"{name}{ending}({column})"


def _athena_transform(column: str, transform: str) -> str:
    """`day(at)`, `bucket(16, id)`."""
    return _spark_transform(column, transform, ending="")


def _trino_transform(column: str, transform: str) -> str:
    """`'day(at)'`, `'bucket(id, 16)'`: texts of an array."""
    name, _, argument = transform.rstrip("]").partition("[")
    made = f"bucket({column}, {argument})" if name == "bucket" else _athena_transform(column, transform)
    return "'" + made.replace("'", "''") + "'"


def _snowflake_transform(column: str, transform: str) -> str:
    """An expression to cluster by: `date_trunc('day', at)`."""
    name, _, _ = transform.partition("[")
    return column if name in ("identity", "bucket") else f"date_trunc('{name}', {column})"


_SPARK = Dialect(
    name="spark",
    mark="`",
    plain={
        Kind.STRING: "STRING", Kind.DECIMAL: "DECIMAL", Kind.BOOLEAN: "BOOLEAN", Kind.DATE: "DATE",
        Kind.BINARY: "BINARY",
    },
    integer=("INT", "BIGINT"),
    number=("FLOAT", "DOUBLE"),
    timestamp=("TIMESTAMP_NTZ", "TIMESTAMP"),
    nested=_angles,
    transform=_spark_transform,
)  # fmt: skip
_ATHENA = Dialect(
    name="athena",
    mark="`",
    plain=_SPARK.plain,
    integer=("INT", "BIGINT"),
    number=("FLOAT", "DOUBLE"),
    timestamp=("TIMESTAMP", "TIMESTAMP"),
    nested=_angles,
    transform=_athena_transform,
)
_TRINO = Dialect(
    name="trino",
    mark='"',
    plain={
        Kind.STRING: "VARCHAR", Kind.DECIMAL: "DECIMAL", Kind.BOOLEAN: "BOOLEAN", Kind.DATE: "DATE",
        Kind.BINARY: "VARBINARY", Kind.TIME: "TIME(6)",
    },
    integer=("INTEGER", "BIGINT"),
    number=("REAL", "DOUBLE"),
    timestamp=("TIMESTAMP(6)", "TIMESTAMP(6) WITH TIME ZONE"),
    nested=_rows,
    transform=_trino_transform,
    backslash=False,
)  # fmt: skip
_SNOWFLAKE = Dialect(
    name="snowflake",
    mark='"',
    plain={
        Kind.STRING: "VARCHAR", Kind.DECIMAL: "NUMBER", Kind.BOOLEAN: "BOOLEAN", Kind.DATE: "DATE",
        Kind.BINARY: "BINARY", Kind.TIME: "TIME(6)",
    },
    integer=("NUMBER(10, 0)", "NUMBER(19, 0)"),
    number=("FLOAT", "FLOAT"),
    timestamp=("TIMESTAMP_NTZ(6)", "TIMESTAMP_TZ(6)"),
    nested=_variants,
    transform=_snowflake_transform,
)  # fmt: skip
DIALECTS = {one.name: one for one in (_SPARK, _TRINO, _ATHENA, _SNOWFLAKE)}


def ddl(dataset: Dataset, dialect: str, *, location: str = "s3://BUCKET/PREFIX") -> str:
    """The statement that makes the dataset's silver table. `location` is used by Athena only.

    Raises FixInputError for a dialect that is not known or a type that it does not have.
    """
    if dialect not in DIALECTS:
        raise FixInputError(f"unknown dialect {dialect!r}", hint=f"one of {', '.join(DIALECTS)}")
    to = DIALECTS[dialect]
    columns = [_column(to, one, dataset) for one in (*dataset.fields, *_validity(dataset))]
    needed = "" if to.name == "athena" else " NOT NULL"
    coordinates = (("_hg_partition", to.plain[Kind.STRING]), ("_hg_offset", to.integer[1]))
    columns += [f"{to.quote(name)} {of}{needed}" for name, of in coordinates]
    if to.name == "snowflake" and dataset.key:
        key = (*dataset.key, *([VALID_FROM] if dataset.history == "scd2" else ()))
        columns.append(f"PRIMARY KEY ({', '.join(map(to.quote, key))})")
    partition = [to.transform(to.quote(name), how) for name, how in silver_layout(dataset).partition]
    name = f"{to.quote('silver')}.{to.quote(dataset.name)}"
    body = ",\n  ".join(columns)
    note = ""
    if to.name == "athena" and any(f.type.zoned for f in dataset.fields):
        note = "-- Instants are declared as TIMESTAMP, in UTC: Athena's DDL has no zones.\n"
    return f"{note}CREATE TABLE IF NOT EXISTS {name} (\n  {body}\n){_tail(to, dataset, partition, location)};\n"


def _validity(dataset: Dataset) -> list[Field]:
    """The columns that silver has besides the contract's where every version is kept."""
    if dataset.history != "scd2":
        return []
    moment = dataset.field(dataset.order[0]).type
    return [
        Field(VALID_FROM, moment, required=True),
        Field(VALID_TO, moment),
        Field(IS_CURRENT, Type(Kind.BOOLEAN), required=True),
    ]


def _column(to: Dialect, field: Field, dataset: Dataset) -> str:
    made = f"{to.quote(field.name)} {to.type(field.type, f'{dataset.name}.{field.name}')}"
    if field.required and to.name != "athena":
        made += " NOT NULL"
    return f"{made} COMMENT {to.text(field.description)}" if field.description else made


def _tail(to: Dialect, dataset: Dataset, partition: Sequence[str], location: str) -> str:
    comment = to.text(dataset.description) if dataset.description else None
    listed = ", ".join(partition)
    parts: list[str] = []
    match to.name:
        case "spark":
            parts = ["USING iceberg", f"PARTITIONED BY ({listed})" if partition else ""]
            parts += [f"COMMENT {comment}" if comment else "", "TBLPROPERTIES ('format-version' = '2')"]
        case "athena":
            parts = [f"COMMENT {comment}" if comment else "", f"PARTITIONED BY ({listed})" if partition else ""]
            folder = f"{location.rstrip('/')}/silver/{dataset.name}/"
            parts += [f"LOCATION {to.text(folder)}", "TBLPROPERTIES ('table_type' = 'ICEBERG', 'format' = 'parquet')"]
        case "trino":
            options = ["format = 'PARQUET'", "format_version = 2"]
            options += [f"partitioning = ARRAY[{listed}]"] if partition else []
            parts = [f"COMMENT {comment}" if comment else "", f"WITH ({', '.join(options)})"]
        case _:
            parts = [f"CLUSTER BY ({listed})" if partition else "", f"COMMENT = {comment}" if comment else ""]
    return "".join(f"\n{part}" for part in parts if part)
