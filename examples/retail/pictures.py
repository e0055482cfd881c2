"""The report's pictures, as SVG and HTML that follow the page's colours, light or dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from html import escape
from math import ceil, floor, log10


def flow(*, source: int, bronze: int, silver: int, quarantine: int, ledger: Mapping[str, int], gold: int) -> str:
    """Where the rows went: source, bronze, then silver, quarantine or ledger, then gold.

    The width of a stream grows with its rows; small ones stay visible.
    """
    removed = sum(ledger.values())
    total = max(bronze, 1)

    def thick(rows: int) -> float:
        return 0.0 if not rows else max(3.0, 92.0 * rows / total)

    wide, thin_q, thin_l = thick(silver), thick(quarantine), thick(removed)
    top = 32.0
    streams = [
        _stream((130, top + thick(bronze) / 2), (300, top + thick(bronze) / 2), thick(bronze), "bronze"),
        _stream((410, top + wide / 2), (590, top + wide / 2), wide, "silver"),
        _stream((410, top + wide + thin_q / 2), (590, 180), thin_q, "quarantine"),
        _stream((410, top + wide + thin_q + thin_l / 2), (590, 248), thin_l, "ledger"),
        _stream((700, top + wide / 2), (860, top + wide / 2), wide * 0.6, "gold"),
    ]
    nodes = [
        _node((20, top), 96, "PostgreSQL", f"{source:,} lines", "source"),
        _node((300, top), 96, "bronze", f"{bronze:,} rows", "bronze"),
        _node((590, top), 96, "silver", f"{silver:,} rows", "silver"),
        _node((590, 156), 48, "quarantine", f"{quarantine:,} rows", "quarantine"),
        _node((590, 224), 48, "ledger", f"{removed:,} rows", "ledger"),
        _node((860, top), 96, "gold", f"{gold:,} days", "gold"),
    ]
    verbs = "".join(
        f'<text x="{x}" y="18" class="verb">{verb}</text>'
        for x, verb in ((215, "land"), (500, "refine"), (780, "derive"))
    )
    kinds = [f"{n:,} {name}" for name, n in ledger.items() if n]
    notes = "".join(
        f'<text x="714" y="{238 + 15 * i}" class="small">{escape(kind)}</text>' for i, kind in enumerate(kinds)
    )
    back = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" class="tip"/></marker></defs>'
        '<path d="M700 180 C 735 180, 735 150, 735 132 C 735 118, 725 110, 704 104" class="replay" '
        'marker-end="url(#tip)"/>'
        '<text x="744" y="160" class="small">replay</text>'
    )
    return (
        '<svg viewBox="0 0 990 284" role="img" aria-label="Rows from source to gold">'
        f"{''.join(streams)}{''.join(nodes)}{back}{verbs}{notes}</svg>"
    )


def _stream(start: tuple[float, float], end: tuple[float, float], width: float, kind: str) -> str:
    if not width:
        return ""
    (x1, y1), (x2, y2) = start, end
    middle = (x1 + x2) / 2
    return (
        f'<path d="M{x1} {y1:.1f} C {middle} {y1:.1f}, {middle} {y2:.1f}, {x2} {y2:.1f}" '
        f'class="stream {kind}" stroke-width="{width:.1f}"/>'
    )


def _node(corner: tuple[float, float], height: float, name: str, text: str, kind: str) -> str:
    (x, y), width = corner, 110
    centre, middle = x + width / 2, y + height / 2
    return (
        f'<g class="node {kind}"><rect x="{x}" y="{y}" width="{width}" height="{height}" rx="10"/>'
        f'<text x="{centre}" y="{middle - 3}" class="name">{escape(name)}</text>'
        f'<text x="{centre}" y="{middle + 15}" class="count">{escape(text)}</text></g>'
    )


def days(rows: Sequence[tuple[date, float, float]]) -> str:
    """Revenue per day upwards, returns downwards, and the mean of seven trading days as a line."""
    if not rows:
        return '<p class="note">no days</p>'
    width, height, left, right, base = 960.0, 300.0, 56.0, 12.0, 236.0
    first, last = rows[0][0], rows[-1][0]
    span = max((last - first).days + 1, 1)
    step = (width - left - right) / span
    ceiling = nice(sorted(r[1] for r in rows)[max(0, ceil(len(rows) * 0.995) - 1)])
    scale = (base - 24) / ceiling

    def x(day: date) -> float:
        return left + ((day - first).days + 0.5) * step

    grid = []
    for i in range(5):
        value = ceiling * i / 4
        y = base - value * scale
        grid.append(f'<line x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        grid.append(f'<text x="{left - 8}" y="{y + 4:.1f}" class="tick end">£{short(value)}</text>')
    bar = max(step * 0.72, 0.6)
    bars = []
    for day, revenue, returned in rows:
        up = min(revenue, ceiling) * scale
        down = min(returned * scale, height - base - 22)
        title = f"{day:%a %d %b %Y}: £{revenue:,.0f} sold, £{returned:,.0f} returned"
        bars.append(
            f'<g><title>{title}</title><rect x="{x(day) - bar / 2:.2f}" y="{base - up:.2f}" width="{bar:.2f}" '
            f'height="{up:.2f}" class="up"/><rect x="{x(day) - bar / 2:.2f}" y="{base + 1}" width="{bar:.2f}" '
            f'height="{max(down, 0):.2f}" class="down"/></g>'
        )
    mean = []
    for i, (day, _, _) in enumerate(rows):
        window = [r[1] for r in rows[max(0, i - 6) : i + 1]]
        mean.append(f"{x(day):.1f},{base - min(sum(window) / len(window), ceiling) * scale:.1f}")
    months = []
    for i, (day, _, _) in enumerate(rows):
        turns = i > 0 and day.month != rows[i - 1][0].month and 20 < x(day) - left < width - left - 40
        if turns or i == 0:
            text = f"{day:%b}" + (f" {day:%Y}" if i == 0 or day.month == 1 else "")
            months.append(f'<text x="{x(day):.1f}" y="{height - 6}" class="tick">{text}</text>')
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="Revenue by day">'
        f"{''.join(grid)}{''.join(bars)}"
        f'<polyline points="{" ".join(mean)}" class="mean"/>{"".join(months)}</svg>'
    )


def bars(rows: Sequence[tuple[str, float, str]], kind: str = "") -> str:
    """Horizontal bars: name, pounds, and a word about it (`long`: names need the room of that word)."""
    most = max((value for _, value, _ in rows), default=0) or 1
    parts = []
    for name, value, note in rows:
        share = max(0.0, 100 * value / most)
        parts.append(
            f'<div class="bar" title="{escape(name)}: £{value:,.2f}, {escape(note)}"><span class="what">{escape(name)}'
            f'<small>{escape(note)}</small></span><span class="track"><i style="width:{share:.1f}%"></i></span>'
            f'<span class="value">£{short(value)}</span></div>'
        )
    return f'<div class="bars {kind}">{"".join(parts)}</div>'


def cells(counts: Mapping[tuple[int, int], int]) -> str:
    """Customers by recency (across) and frequency (up), darker where there are more."""
    most = max(counts.values(), default=0) or 1
    parts = ['<svg viewBox="0 0 400 320" role="img" aria-label="Customers by recency and frequency">']
    for r in range(1, 6):
        for f in range(1, 6):
            n = counts.get((r, f), 0)
            x, y, strength = 44 + (r - 1) * 70, 8 + (5 - f) * 54, 0.06 + 0.94 * n / most
            ink = " dark" if strength > 0.55 else ""
            parts.append(
                f"<g><title>recency {r}, frequency {f}: {n:,} customers</title>"
                f'<rect x="{x}" y="{y}" width="66" height="50" rx="6" class="cell" fill-opacity="{strength:.2f}"/>'
                f'<text x="{x + 33}" y="{y + 30}" class="in{ink}">{n:,}</text></g>'
            )
    parts += [f'<text x="{77 + i * 70}" y="292" class="tick">{i + 1}</text>' for i in range(5)]
    parts += [f'<text x="34" y="{38 + (4 - i) * 54}" class="tick end">{i + 1}</text>' for i in range(5)]
    parts.append('<text x="217" y="312" class="tick">recency: 5 bought last</text>')
    parts.append('<text x="12" y="142" class="tick" transform="rotate(-90 12 142)">frequency: 5 buys most</text></svg>')
    return "".join(parts)


def nice(value: float) -> float:
    """The next round number above, for the top of an axis."""
    if value <= 0:
        return 1.0
    power = 10 ** floor(log10(value))
    return next(step * power for step in (1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10) if step * power >= value)


def short(value: float) -> str:
    """A number in few characters."""
    for limit, unit in ((1e6, "m"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:,.{1 if abs(value) < 100 * limit else 0}f}{unit}"
    return f"{value:,.0f}"
