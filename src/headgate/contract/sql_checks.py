"""Checks of a whole table as SQL: one row with one number."""

from __future__ import annotations

from headgate.contract.model import Dataset, TableCheck
from headgate.contract.sql_names import quote, text_literal
from headgate.contract.sql_rules import find
from headgate.errors import ContractSyntaxError


def check_query(check: TableCheck, dataset: Dataset, table_sql: str) -> str:
    """A query that gives one row with one number: the check's count, or percent of the table's rows.

    `table_sql` is what may stand behind FROM. The metrics:

        rowCount         rows
        nullValues       rows where one of the fields is NULL
        missingValues    the same: texts that the contract calls missing have become NULL before (null_if)
        duplicateValues  rows beyond the first of each combination of the fields, those with a NULL not counted
        sql              what the contract's query gives; `${object}` (or the dataset's name) is the table,
                         `${property}` the first field

    The percentage of an empty table is 0. Raises ContractSyntaxError for an unknown metric or field.
    """
    if check.metric == "sql":
        return _own_query(check, dataset, table_sql)
    names = [_column(check, dataset, one) for one in check.fields]
    if not names and check.metric != "rowCount":
        raise _problem(check, f"{check.metric} needs a field")
    match check.metric:
        case "rowCount":
            count = "count(*)"
        case "nullValues" | "missingValues":
            count = f"count(*) FILTER (WHERE {' OR '.join(f'{sql} IS NULL' for sql in names)})"
        case "duplicateValues":
            # A row value, not a list of columns: count(DISTINCT a, b) is no SQL.
            whole = f"row({', '.join(names)})"
            present = " AND ".join(f"{sql} IS NOT NULL" for sql in names)
            filtered = f"FILTER (WHERE {present})"
            count = f"count(*) {filtered} - count(DISTINCT {whole}) {filtered}"
        case _:
            raise _problem(check, f"there is no table metric {check.metric}")
    if check.percent:
        count = f"coalesce(100.0 * ({count}) / nullif(count(*), 0), 0)"
    return f"SELECT {count} FROM {table_sql}"


def _own_query(check: TableCheck, dataset: Dataset, table_sql: str) -> str:
    if not check.query:
        raise _problem(check, "an sql check needs a query")
    name = quote(dataset.name)
    query = check.query.replace("${object}", name).replace("{object}", name)
    if check.fields:
        column = _column(check, dataset, check.fields[0])
        query = query.replace("${property}", column).replace("{property}", column)
    return f"WITH {name} AS (SELECT * FROM {table_sql}) SELECT (\n{query.rstrip().rstrip(';')}\n)"


def _column(check: TableCheck, dataset: Dataset, path: str) -> str:
    fields, sql, rest = dataset.fields, "", path
    while rest:
        field, rest = find(fields, rest)
        if field is None or rest.startswith("[]"):
            raise _problem(check, f"there is no field {path}" if field is None else f"{path} leads into a list")
        sql = f"struct_extract({sql}, {text_literal(field.name)})" if sql else quote(field.name)
        fields, rest = field.type.fields, rest.removeprefix(".")
    return sql


def _problem(check: TableCheck, message: str) -> ContractSyntaxError:
    return ContractSyntaxError(f"check {check.id}: {message}", where=str(check.place) if check.place else None)
