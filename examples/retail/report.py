"""Writes the demo's report: one HTML file with its pictures inside, nothing loaded from anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from html import escape
from pathlib import Path
from typing import Any

import pictures
from page import PAGE

LEDGER = ("superseded", "duplicate", "dropped")


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run, as the report's table shows it."""

    name: str
    what: str
    landed: int
    verdicts: Mapping[str, int]
    replaced: int
    gold: str
    warnings: Mapping[str, int]
    seconds: float
    peak_rss_mib: float

    @classmethod
    def of(cls, name: str, what: str, record: Mapping[str, Any], dataset: str) -> RunLine:
        """From a run record."""
        one = next(d for d in record["datasets"] if d["name"] == dataset)
        built, partly = record.get("models", {}), record.get("models_partly", {})
        gold = f"{len(built)} models" + "".join(
            f" ({days:,} {'day' if days == 1 else 'days'})" for days in partly.values()
        )
        return cls(
            name=name,
            what=what,
            landed=one["landed_rows"],
            verdicts=one["verdicts"],
            replaced=one["replaced"],
            gold=gold,
            warnings=one["warnings"],
            seconds=record["seconds"],
            peak_rss_mib=record["peak_rss_mib"],
        )

    def as_row(self) -> dict[str, Any]:
        """For a table on the terminal."""
        seen = {k: self.verdicts.get(k, 0) for k in ("accepted", "quarantined", *LEDGER)}
        return {
            "run": self.name,
            "landed": self.landed,
            **seen,
            "replaced": self.replaced,
            "gold": self.gold,
            "seconds": self.seconds,
        }


@dataclass(frozen=True, slots=True)
class Story:
    """Everything the report tells."""

    source: str
    source_rows: int
    account: Mapping[str, Any]
    verdicts: Mapping[str, int]
    runs: Sequence[RunLine]
    reasons_before: Sequence[Mapping[str, Any]]
    reasons_after: Sequence[Mapping[str, Any]]
    replayed: Mapping[str, Any]
    file_lines: int
    seconds: float
    peak_rss_mib: float
    answers: Mapping[str, Sequence[Mapping[str, Any]]]


def write(path: Path, story: Story) -> None:
    """Write the report."""
    page = PAGE
    for name, part in _parts(story).items():
        page = page.replace(f"<!--{name}-->", part)
    path.write_text(page, "utf-8")


def _parts(story: Story) -> dict[str, str]:
    answers = story.answers
    return {
        "lead": _lead(story),
        "figures": _figures(story),
        "flow": pictures.flow(
            source=story.source_rows,
            bronze=story.account["bronze"],
            silver=story.account["silver"],
            quarantine=story.account["quarantine"],
            ledger={k: story.verdicts.get(k, 0) for k in LEDGER},
            gold=len(answers["daily"]),
        ),
        "daily": pictures.days(
            [(_day(r["day"]), float(r["revenue_gbp"]), float(r["returns_gbp"])) for r in answers["daily"]]
        ),
        "countries": _countries(answers["countries"]),
        "products": pictures.bars(
            [(r["description"], float(r["net_gbp"]), r["stock_code"]) for r in answers["products"]], "long"
        ),
        "segments": pictures.bars(
            [(r["segment"], float(r["net_gbp"]), _segment(r)) for r in answers["segments"]], "tall"
        ),
        "cells": pictures.cells({(r["r"], r["f"]): r["customers"] for r in answers["cells"]}),
        "returns": table(answers["returns"], {"returns_gbp": "returned £", "returned_percent": "% of pieces"}),
        "reasons": _reasons(story),
        "replay": _replay(story),
        "warnings": _warnings(story),
        "runs": _runs(story),
        "audit": _audit(story),
    }


def _segment(row: Mapping[str, Any]) -> str:
    return f"{row['customers']:,} with {row['invoices']:.1f} invoices, {row['days_since']} days ago"


def _day(value: Any) -> date:
    return value if isinstance(value, date) else date.fromisoformat(str(value)[:10])


def _lead(story: Story) -> str:
    return (
        f"{story.file_lines:,} sales lines ({escape(story.source)}) went from PostgreSQL to these pages in four runs, "
        f"while the shop went on working. Every one of the {story.account['bronze']:,} row versions that were read is "
        "accounted for."
    )


def _figures(story: Story) -> str:
    totals = story.answers["totals"][0]
    rejected = 100 * story.account["quarantine"] / max(story.account["bronze"], 1)
    state = story.account["state"]
    figures = [  # name, value, more, look
        ("account", state, "every row has one verdict", "good" if state == "balanced" else "bad"),
        ("net revenue", money(totals["net_gbp"]), f"{totals['days']:,} days", ""),
        ("returned", money(totals["returns_gbp"]), f"of {money(totals['revenue_gbp'])} sold", ""),
        ("known customers", f"{story.answers['customers'][0]['customers']:,}", "others buy as guests", ""),
        ("in quarantine", f"{story.account['quarantine']:,}", f"{rejected:.2f} % of the rows read", ""),
        ("whole demo", f"{story.seconds:.0f} s", f"{story.peak_rss_mib:.0f} MiB at most", ""),
    ]
    return "".join(
        f'<div class="figure {look}"><b>{value}</b><span>{name}<small>{more}</small></span></div>'
        for name, value, more, look in figures
    )


def _countries(rows: Sequence[Mapping[str, Any]]) -> str:
    """Home dwarfs the rest: it is said in words, and the picture shows the others."""
    if not rows:
        return ""
    first, others = rows[0], rows[1:]
    total = sum(float(r["net_gbp"]) for r in rows)
    share = 100 * float(first["net_gbp"]) / total if total else 0
    home = f"{escape(first['country'])}: {money(first['net_gbp'])}, {share:.0f} % of these. The others:"
    text = f'<p class="note">{home}</p>'
    return text + pictures.bars([(r["country"], float(r["net_gbp"]), f"{r['customers']:,} customers") for r in others])


def _reasons(story: Story) -> str:
    after = {r["rule"]: r["rows"] for r in story.reasons_after}
    rows = [
        {
            "rule": r["rule"],
            "rows": r["rows"],
            "after replay": after.get(r["rule"], 0),
            "for example": str(r["example"])[:60] if r["example"] is not None else "nothing",
        }
        for r in story.reasons_before
    ]
    return table(rows, {})


def _replay(story: Story) -> str:
    done = story.replayed
    return (
        f"Contract 1.1.0 allows the codes of Dotcomgiftshop. Replay judged all {done['read']:,} quarantined rows again "
        f"from bronze: {done['recovered']:,} left quarantine, {done['remaining']:,} stay where they are."
    )


def _warnings(story: Story) -> str:
    found: dict[str, int] = {}
    for run in story.runs:
        for rule, rows in run.warnings.items():
            found[rule] = found.get(rule, 0) + rows
    if not found:
        return ""
    listed = ", ".join(f"{escape(rule)} <b>{rows:,}</b>" for rule, rows in found.items())
    return f"Accepted, but counted as warnings: {listed}."


def _runs(story: Story) -> str:
    rows = []
    for run in story.runs:
        seen = {k: run.verdicts.get(k, 0) for k in ("accepted", "quarantined", *LEDGER)}
        rejected = 100 * seen["quarantined"] / max(sum(seen.values()), 1)
        row = {"run": run.name, "what came": run.what, "landed": run.landed, **seen, "rejected %": rejected}
        rows.append(row | {"gold": run.gold, "seconds": run.seconds, "MiB": round(run.peak_rss_mib)})
    return table(rows, {})


def _audit(story: Story) -> str:
    account = story.account
    parts = [("silver", account["silver"]), ("quarantine", account["quarantine"]), ("ledger", account["ledger"])]
    if account["pending"]:
        parts.append(("pending", account["pending"]))
    sums = " + ".join(f"<b>{n:,}</b> <i>{name}</i>" for name, n in parts)
    findings = "".join(f"<li>{escape(f)}</li>" for f in account["findings"])
    checksum = escape(str(account["checksum"]))
    seal = f'<p class="note">Content checksum of silver, computed again from its rows: {checksum}</p>'
    return f'<p class="equation"><b>{account["bronze"]:,}</b> <i>bronze</i> = {sums}</p><ul>{findings}</ul>{seal}'


def table(rows: Sequence[Mapping[str, Any]], headings: Mapping[str, str]) -> str:
    """An HTML table; columns of numbers are aligned right."""
    if not rows:
        return '<p class="note">none</p>'
    names = list(rows[0])
    right = {n for n in names if is_number(rows[0][n])}
    head = "".join(
        f"<th{' class=n' if n in right else ''}>{escape(headings.get(n, n.replace('_', ' ')))}</th>" for n in names
    )
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{' class=n' if n in right else ' class=wide' if n == 'what came' else ''}>{escape(shown(r[n]))}</td>"
            for n in names
        )
        + "</tr>"
        for r in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def is_number(value: Any) -> bool:
    """Whether a column of such values is aligned right."""
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def shown(value: Any) -> str:
    """One value for people."""
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float | Decimal):
        return f"{value:,.2f}"
    return str(value)


def money(value: Any) -> str:
    """Pounds, short."""
    amount = float(value or 0)
    return f"£{amount / 1e6:,.2f} m" if abs(amount) >= 1e6 else f"£{amount:,.0f}"
