"""Which columns of a table a contract wants, and what this way of reading cannot see."""

from __future__ import annotations

import re
from collections.abc import Sequence

from headgate.contract.model import Dataset
from headgate.errors import FixInputError
from headgate.ports.batch import PREFIX
from headgate.sources.postgres_catalog import TID_RANGE_VERSION, Activity, Moment, Relation, near
from headgate.sources.postgres_query import Reading
from headgate.sources.postgres_types import Column
from headgate.sources.postgres_watermark import Watermark

_IDENTIFIER = re.compile(r'"((?:[^"]|"")+)"|([^\W\d]\w*)')


def choose_columns(dataset: Dataset, relation: Relation, watermark: str | None, slack_s: int | None) -> Reading:
    """The columns that the contract's fields name, those that its expressions use, the watermark and the key; no other.

    Raises FixInputError for a column that the table does not have, with near names, and for a watermark that has no
    order in time.
    """
    wanted: list[str] = []
    for field in dataset.fields:
        if field.transform is None:
            place = str(field.place) if field.place else None
            wanted.append(_existing(relation, field.source_name, f"field {field.name}", place).name)
        else:
            wanted += _named_in(field.transform, relation.columns)
    key = [_existing(relation, _source(dataset, name), "primary key") for name in _plain_key(dataset)]
    wanted += [one.name for one in key]
    mark = None
    if watermark is not None:
        column = relation.column(watermark) or _existing(relation, _source(dataset, watermark), "read: watermark")
        if column.watermark_kind is None:
            raise FixInputError(
                f"the watermark {column.name} is {column.spelling}: it must be a timestamp, a date or a number",
                hint=near_watermark(relation),
                where=relation.label,
                stage="extract",
            )
        mark = Watermark(column, slack_s)
        wanted.append(column.name)
    names = set(wanted)
    for name in names:
        if name.startswith(PREFIX):
            raise FixInputError(
                f"the column {name} begins with {PREFIX}, which is for Headgate's own columns",
                hint="rename it in the table, or read the table through one that has another name for it",
                where=relation.label,
                stage="extract",
            )
    columns = tuple(one for one in relation.columns if one.name in names)
    if not columns:
        raise FixInputError("the contract names no column of the table", where=relation.label, stage="extract")
    # Where every row counts, a row version that is read twice must be known again by a name of its own.
    versioned = not dataset.key or dataset.history == "append"
    return Reading(relation, columns, mark, tuple(key), versioned)


def near_watermark(relation: Relation) -> str:
    """A hint: the columns that could be a watermark."""
    fit = [one.name for one in relation.columns if one.watermark_kind]
    return (
        f"columns that could be: {', '.join(fit[:12])}"
        if fit
        else "leave watermark out: each read then looks at all rows"
    )


def _plain_key(dataset: Dataset) -> Sequence[str]:
    fields = {one.name: one for one in dataset.fields}
    return [name for name in dataset.key if name in fields and fields[name].transform is None]


def _source(dataset: Dataset, name: str) -> str:
    return next((one.source_name for one in dataset.fields if one.name == name), name)


def _existing(relation: Relation, name: str, what: str, place: str | None = None) -> Column:
    column = relation.column(name)
    if column is None:
        raise FixInputError(
            f"{what}: the table {relation.label} has no column {name!r}",
            hint=near(name, [one.name for one in relation.columns], "columns"),
            where=place or relation.label,
            stage="extract",
        )
    return column


def _named_in(expression: str, columns: Sequence[Column]) -> list[str]:
    """Columns that an SQL expression may mean: names outside text literals, in any case unless quoted."""
    found: list[str] = []
    for quoted, bare in _IDENTIFIER.findall(re.sub(r"'(?:[^']|'')*'", " ", expression)):
        name = quoted.replace('""', '"')
        found += [one.name for one in columns if one.name == name or (bare and one.name.lower() == bare.lower())]
    return found


def limitations(
    reading: Reading, seen: Moment, at: Activity, sweep_below_bytes: int, sweep_every_s: int, version: int
) -> list[str]:
    """Sentences for `status`: what is not seen, what is slow and why."""
    relation, mark = reading.relation, reading.watermark
    said = ["Deleted rows are not seen: what was landed stays."]
    if reading.versioned:
        said.append("Every row counts: an updated row is landed as one more row.")
    if mark is None:
        said.append("No watermark is set: each read looks at the whole table.")
    elif relation.size_bytes >= sweep_below_bytes:
        if not relation.has_index_on(mark.column):
            said.append(f"No index begins with the watermark {mark.column.name}: each read looks at the whole table.")
        elif mark.kind == "number" and mark.slack_s is None:
            said.append("The watermark is a number and no slack is set: each read looks at the whole table.")
        elif seen.standby:
            said.append("This is a standby, which hides who is writing: each read looks at the whole table.")
        elif at.hidden:
            said.append(
                "Transactions of other users are hidden (grant pg_read_all_stats), or prepared ones wait: reads look "
                "at the whole table."
            )
        elif sweep_every_s:
            said.append(
                f"Changes that set {mark.column.name} far into the past are seen with the next whole look, at least "
                f"every {sweep_every_s / 3600:g} hours."
            )
    if seen.standby:
        said.append("This is a standby: rows come as late as it replays them, and some are landed twice.")
    if version < TID_RANGE_VERSION:
        said.append("PostgreSQL before 14: a first read of a table cannot be resumed in the middle.")
    return said
