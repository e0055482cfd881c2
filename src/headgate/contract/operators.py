"""The standard's comparison operators of a quality entry, as intervals of numbers."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from headgate.contract.complaint import shown
from headgate.contract.model import Budget, TableCheck
from headgate.contract.part import Part

NAMES = (
    "mustBe", "mustNotBe", "mustBeGreaterThan", "mustBeGreaterOrEqualTo", "mustBeLessThan", "mustBeLessOrEqualTo",
    "mustBeBetween", "mustNotBeBetween",
)  # fmt: skip
_PAIRS = ("mustBeBetween", "mustNotBeBetween")
_HAIR = Decimal("1e-15")  # less than any difference that counts of rows can make


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator with its number, or its pair of numbers (both ends included)."""

    name: str
    value: Any

    def __str__(self) -> str:
        return f"{self.name} {' and '.join(map(str, self.value)) if isinstance(self.value, tuple) else self.value}"

    def span(self) -> tuple[Decimal | None, bool, Decimal | None, bool]:
        """(low, low included, high, high included) of what may be; None where it is open."""
        match self.name:
            case "mustBe":
                return self.value, True, self.value, True
            case "mustBeGreaterThan":
                return self.value, False, None, False
            case "mustBeGreaterOrEqualTo":
                return self.value, True, None, False
            case "mustBeLessThan":
                return None, False, self.value, False
            case "mustBeLessOrEqualTo":
                return None, False, self.value, True
            case "mustBeBetween":
                return self.value[0], True, self.value[1], True
            case _:
                return None, False, None, False

    def demands_some(self) -> bool:
        """True when 0 is not permitted."""
        low, included, _, _ = self.span()
        if self.name == "mustNotBe":
            return bool(self.value == 0)
        return low is not None and (low > 0 or (low == 0 and not included))

    def possible_percent(self) -> bool:
        """False when no percentage permits it."""
        return not apart(self.span(), (Decimal(0), True, Decimal(100), True))

    def possible_count(self) -> bool:
        """False when no count permits it."""
        return not apart(self.span(), (Decimal(0), True, None, False))


def apart(
    a: tuple[Decimal | None, bool, Decimal | None, bool], b: tuple[Decimal | None, bool, Decimal | None, bool]
) -> bool:
    """True when two intervals have no number in common."""
    for (low, low_in), (high, high_in) in (((a[0], a[1]), (b[2], b[3])), ((b[0], b[1]), (a[2], a[3]))):
        if low is not None and high is not None and (low > high or (low == high and not (low_in and high_in))):
            return True
    return False


def operator_of(entry: Part) -> Operator | None:
    """The one operator of an entry; a complaint when there is none, or more than one, or none that can hold."""
    given = [name for name in NAMES if name in entry]
    if not given:
        hint = "add `mustBe: 0`, `mustBeLessThan: 5` with `unit: percent`, …"
        entry.error("no operator says what is permitted", hint)
        return None
    if len(given) > 1:
        message = f"several operators: {', '.join(given)}"
        entry.error(message, "one entry has one operator; mustBeBetween has two ends", given[1], code="contradiction")
        return None
    name = given[0]
    if name in _PAIRS:
        return _pair(entry, name)
    value = entry.number(name)
    if value is None:
        return None
    operator = Operator(name, value)
    if entry.value.get("type") != "sql" and not operator.possible_count():
        entry.error(f"{operator} can never hold for a count", None, name, code="contradiction")
    return operator


def _pair(entry: Part, name: str) -> Operator | None:
    ends = entry.list(name)
    numbers = [entry.exact(one, name, index) for index, one in enumerate(ends)]
    if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
        entry.error(f"{name} takes two numbers, not {shown(ends)}", f"write `{name}: [10, 20]`", name)
        return None
    if numbers[0] > numbers[1]:
        message = f"{name}: {numbers[0]} is greater than {numbers[1]}"
        entry.error(message, "the smaller number comes first", name, code="contradiction")
        return None
    return Operator(name, (numbers[0], numbers[1]))


def tolerance_of(entry: Part, operator: Operator) -> Budget | None:
    """The budget that an upper bound on invalid values is; None when none is tolerated.

    None tolerated means that rows with such values are quarantined; the dataset's own budget still counts them.
    """
    percent = entry.value.get("unit") == "percent"
    _, _, high, included = operator.span()
    if high is None or operator.demands_some():
        message = f"{operator} does not say how many invalid values are too many"
        hint = "use mustBe: 0, mustBeLessThan or mustBeLessOrEqualTo"
        entry.error(message, hint, operator.name, code="contradiction")
        return None
    if not included and high <= 0:
        entry.error(f"{operator} can never hold for a count", None, operator.name, code="contradiction")
        return None
    if percent:
        limit = high if included else high - _HAIR
        return Budget(limit, percent=True) if high > 0 else None
    limit = high.to_integral_value(rounding="ROUND_FLOOR")
    if not included and limit == high:
        limit -= 1
    return Budget(limit, percent=False) if limit > 0 else None


def contradictions(checks: list[TableCheck]) -> list[tuple[TableCheck, TableCheck]]:
    """Pairs of checks of the same thing that cannot both hold."""
    found = []
    for index, one in enumerate(checks):
        for other in checks[:index]:
            same = (one.metric, one.fields, one.query, one.percent) == (
                other.metric, other.fields, other.query, other.percent,
            )  # fmt: skip
            if same and apart(Operator(one.operator, one.value).span(), Operator(other.operator, other.value).span()):
                found.append((other, one))
    return found
