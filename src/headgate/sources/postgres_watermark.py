"""The watermark column as an accelerator: below which value nothing new can stand, most likely.

Exactness never depends on what is computed here: rows that a bound leaves out are read by the next sweep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from headgate.contract.sql_names import quote, text_literal
from headgate.sources.postgres_catalog import Activity
from headgate.sources.postgres_types import Column

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR_US = 3_600_000_000
_FAR_US = 1 << 62


@dataclass(frozen=True, slots=True)
class Watermark:
    """The column that grows with time, or nearly."""

    column: Column
    slack_s: int | None  # None: not set by the user

    @property
    def kind(self) -> str:
        return self.column.watermark_kind or "number"

    @property
    def sql(self) -> str:
        return quote(self.column.name)

    def literal(self, value: str) -> str:
        """A value of the column as SQL."""
        return f"{text_literal(value)}::{self.column.cast}"

    def newest(self, values: Sequence[str | None]) -> str | None:
        """The greatest of some values."""
        known = [one for one in values if one]
        return max(known, key=self.order) if known else None

    def newest_in(self, array: Any) -> str | None:
        """The greatest value of an Arrow column of this watermark, as text."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if pa.types.is_string(array.type):  # a numeric without a size
            return self.newest(array.to_pylist())
        top = pc.max(array)
        if not top.is_valid:
            return None
        if self.kind in ("zoned", "naive"):
            return _instant_text(top.value, self.kind == "zoned")
        return str(top.as_py())

    def since(self, newest: str | None, at: Activity) -> str | None:
        """The bound for the read after a snapshot that was taken just after `at`; None when there is none.

        A row that commits later was written by a transaction that was running then (its clock stood at the
        transaction's start, at the earliest) or that began later. The application's clock is measured by the newest
        value, unless that stands in the future.
        """
        if self.kind == "number":
            return self._number_since(newest)
        if at.hidden or newest is None:  # nobody knows who may commit, or what the application writes
            return None
        top = self._micros(newest)
        if self.kind == "zoned":
            base, slack = min(top, at.now_us), 0
        else:  # written in some zone's local time: up to 12 hours behind UTC, and an hour twice in autumn
            base, slack = (top if top <= at.now_us else at.now_us - 12 * _HOUR_US), _HOUR_US
        waiting = 0 if at.oldest_us is None else max(0, at.now_us - at.oldest_us)
        micros = base - waiting - slack - (600 if self.slack_s is None else self.slack_s) * 1_000_000
        if self.kind == "date":
            micros -= 24 * _HOUR_US
        text = _instant_text(micros, self.kind == "zoned")
        return text[:10] if text and self.kind == "date" else text

    def is_past(self, one: str, other: str, seconds: float) -> bool:
        """Whether one bound is greater than another by that much (for a number: at all)."""
        if self.kind == "number":
            return bool(self.order(one) > self.order(other))
        return bool(self._micros(one) - self._micros(other) >= max(1, seconds * 1_000_000))

    def _number_since(self, newest: str | None) -> str | None:
        if self.slack_s is None or newest is None:
            return None
        try:
            value = Decimal(newest) - self.slack_s
        except InvalidOperation:
            return None
        return str(value) if value.is_finite() else None

    def order(self, value: str) -> Any:
        """A sort key for values and bounds."""
        if self.kind == "number":
            number = Decimal(value)
            return Decimal("Infinity") if number.is_nan() else number
        return self._micros(value)

    def _micros(self, value: str) -> int:
        try:
            moment = (
                datetime.fromisoformat(value)
                if self.kind != "date"
                else datetime.combine(date.fromisoformat(value), datetime.min.time())
            )
        except ValueError:  # infinity, a year past 9999, BC
            return -_FAR_US if value.startswith("-") or value.endswith("BC") else _FAR_US
        return (moment.replace(tzinfo=moment.tzinfo or UTC) - _EPOCH) // timedelta(microseconds=1)


def _instant_text(micros: int, zoned: bool) -> str | None:
    try:
        moment = _EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        return None
    return moment.replace(tzinfo=None).isoformat(" ") + ("+00" if zoned else "")
