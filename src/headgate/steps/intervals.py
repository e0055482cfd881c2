"""Does silver hold of each key what its kind of history says? Proven from the rows of silver and the ledger.

    latest   a key stands in silver once
    scd2     a version begins at its order value and ends where the next one of its key begins, or the row that
             deletes it: none overlap, there is no gap that nothing explains, one lasts unless the key is deleted

Rows that retention has taken leave gaps, so where the contract has any, gaps are none of our business. A window for
duplicates lets a key in again after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from headgate.contract.model import Dataset
from headgate.contract.to_arrow import IS_CURRENT, VALID_FROM, VALID_TO
from headgate.contract.to_sql import literal, quote
from headgate.ports.batch import OFFSET, PARTITION
from headgate.ports.engine import DELETED, Engine
from headgate.ports.store import TableView

_SHOWN = 3  # coordinates of rows that a finding names


def wrong_history(dataset: Dataset, engine: Engine, tables: Mapping[str, TableView]) -> Iterator[str]:
    """What is wrong with silver's history of keys, a finding each with the coordinates of some rows."""
    if not dataset.key or f"silver.{dataset.name}" not in tables:
        return
    if dataset.history == "scd2":
        sql, checks = _versions(dataset, tables), _version_checks(dataset)
    elif dataset.history == "latest" and dataset.window is None:
        sql, checks = _keys(dataset), {"copies > 1": "rows of a key that stands in silver more than once"}
    else:
        return
    counts = ", ".join(
        f"count(*) filter ({wrong}) as n{i}, min_by({PARTITION} || ':' || {OFFSET}, {OFFSET}, {_SHOWN}) "
        f"filter ({wrong}) as at{i}"
        for i, wrong in enumerate(checks)
    )
    (told,) = engine.query(f"with rows as ({sql}) select {counts} from rows", tables).read_all().to_pylist()
    for i, what in enumerate(checks.values()):
        if told[f"n{i}"]:
            yield f"{told[f'n{i}']:,} {what}: {', '.join(told[f'at{i}'])}"


def _keys(dataset: Dataset) -> str:
    key = ", ".join(quote(name) for name in dataset.key)
    silver = f"{quote('silver')}.{quote(dataset.name)}"
    return f"select {PARTITION}, {OFFSET}, count(*) over (partition by {key}) as copies from {silver}"


def _versions(dataset: Dataset, tables: Mapping[str, TableView]) -> str:
    """Every version with the moment at which the next version or delete of its key comes."""
    names = [quote(name) for name in dict.fromkeys([*dataset.key, *dataset.order])]
    validity = (VALID_FROM, VALID_TO, IS_CURRENT)
    events = (
        f"select {', '.join([*names, *validity, PARTITION, OFFSET])}, true as version "
        f"from {quote('silver')}.{quote(dataset.name)}"
    )
    if dataset.operation and f"ledger.{dataset.name}" in tables:
        members = ", ".join(f"deleted.{name} as {name}" for name in names)
        nothing = ", ".join(f"null as {name}" for name in validity)
        events += (
            f" union all by name select {members}, {nothing}, {PARTITION}, {OFFSET}, false as version "
            f"from {quote('ledger')}.{quote(dataset.name)} where verdict = {literal(DELETED)}"
        )
    key, moment = ", ".join(quote(name) for name in dataset.key), quote(dataset.order[0])
    return (
        f"select * from (select *, lead({moment}) over (partition by {key} order by {moment}, {OFFSET}) as following "
        f"from ({events})) where version"
    )


def _version_checks(dataset: Dataset) -> dict[str, str]:
    """Over the versions: SQL that is true for one that is wrong -> what is wrong with it."""
    moment = quote(dataset.order[0])
    overlaps = f"following is not null and coalesce({VALID_TO} > following, true)"
    checks = {
        f"{VALID_FROM} is distinct from {moment}": f"versions that do not begin at their {dataset.order[0]}",
        f"{VALID_TO} <= {VALID_FROM}": "versions that end before they begin",
        f"{IS_CURRENT} is distinct from ({VALID_TO} is null)": f"versions with a wrong {IS_CURRENT}",
        overlaps: "versions that overlap the next one of their key",
    }
    if not dataset.retention:
        ends_alone = f"{VALID_TO} is not null and coalesce({VALID_TO} < following, true)"
        checks[ends_alone] = "versions that end where nothing of their key begins or deletes it"
    return checks
