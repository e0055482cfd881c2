"""`slaProperties` -> what a dataset promises about its freshness, and how long its rows are kept."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from headgate.contract.complaint import did_you_mean
from headgate.contract.model import Dataset, Freshness, Kind, Retention
from headgate.contract.part import Part

_LATENCY = ("latency", "freshness")
_SECONDS = {
    "s": 1, "sec": 1, "second": 1, "seconds": 1,
    "m": 60, "min": 60, "minute": 60, "minutes": 60,
    "h": 3600, "hr": 3600, "hour": 3600, "hours": 3600,
    "d": 86400, "day": 86400, "days": 86400,
    "w": 604800, "week": 604800, "weeks": 604800,
    "y": 31557600, "yr": 31557600, "year": 31557600, "years": 31557600,
}  # fmt: skip


def freshness_of(part: Part, datasets: Sequence[Dataset]) -> dict[str, list[Freshness]]:
    """Dataset name -> its promises of freshness. Other service levels are for people."""
    found: dict[str, list[Freshness]] = {}
    for level in part.parts("slaProperties"):
        if level.text("property") not in _LATENCY:
            continue
        seconds = _seconds(level)
        written = level.text("element") or part.text("slaDefaultElement")
        if written is None:
            message = "a latency without `element` is not checked"
            level.warn(message, "element: dataset.timestamp_field", code="not-checked")
            continue
        for element in written.split(","):
            target = _target(level, element.strip(), datasets)
            if target and seconds is not None:
                found.setdefault(target[0], []).append(Freshness(target[1], seconds))
    return found


def retention_of(part: Part, datasets: Sequence[Dataset]) -> dict[str, list[Retention]]:
    """Dataset name -> how long its rows are kept. `element: dataset.field` is about silver, `dataset` about bronze."""
    found: dict[str, list[Retention]] = {}
    for level in part.parts("slaProperties"):
        if level.text("property") != "retention":
            continue
        seconds = _seconds(level)
        for element in (level.text("element") or ",".join(d.name for d in datasets)).split(","):
            named = next((d.name for d in datasets if d.name == element.strip()), None)
            target = (named, None) if named else _target(level, element.strip(), datasets)
            if target and seconds is not None:
                found.setdefault(target[0], []).append(Retention(target[1], seconds))
    return found


def _seconds(level: Part) -> float | None:
    value = level.number("value")
    unit = level.text("unit") or "d"
    if unit not in _SECONDS:
        level.error(f"unknown unit of time `{unit[:40]}`", did_you_mean(unit, ("s", "min", "h", "d", "w")), "unit")
        return None
    if value is None:
        return None
    if not 0 < value <= Decimal(10**9):
        level.error(
            f"a {level.text('property')} of {value} can never hold",
            "it must be greater than 0",
            "value",
            code="contradiction",
        )
        return None
    return float(value * _SECONDS[unit])


def _target(level: Part, element: str, datasets: Sequence[Dataset]) -> tuple[str, str] | None:
    """(dataset, field) that `dataset.field` names; the dataset may be left out when there is one only."""
    at = "element" if "element" in level else "property"
    name, dot, rest = element.partition(".")
    one = next((dataset for dataset in datasets if dot and dataset.name == name), None)
    if one is None and len(datasets) == 1:
        one, rest = datasets[0], element
    if one is None:
        names = [dataset.name for dataset in datasets]
        level.error(f"`{element[:80]}` names no dataset of this contract", did_you_mean(name, names), at)
        return None
    known = {each.name: each for each in one.fields}
    if rest not in known:
        message = f"`{element[:80]}` names a field that is not declared"
        level.error(message, did_you_mean(rest, known), at, code="unknown-name")
        return None
    if known[rest].type.kind not in (Kind.TIMESTAMP, Kind.DATE):
        message = f"`{rest}` is {known[rest].type}: {level.text('property')} needs a timestamp or a date"
        level.error(message, None, at, code="contradiction")
        return None
    return one.name, rest
