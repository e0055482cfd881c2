"""Checks of whole tables after a run, and freshness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from headgate.contract.model import Dataset, Severity
from headgate.contract.to_sql import check_query, quote
from headgate.errors import BudgetExceeded

if TYPE_CHECKING:
    from headgate.runtime.workspace import Workspace


def check_tables(project: Workspace, dataset: Dataset) -> list[dict[str, Any]]:
    """Every table check of the contract against silver: id, metric, value, passed, severity."""
    results = []
    table = f"{quote('silver')}.{quote(dataset.name)}"
    for check in dataset.checks:
        answer = project.query(check_query(check, dataset, table)).to_pylist()
        value = next(iter(answer[0].values())) if answer else None
        results.append(
            {
                "id": check.id,
                "metric": check.metric,
                "value": None if value is None else str(value),
                "operator": check.operator,
                "expected": check.value if isinstance(check.value, list | tuple) else str(check.value),
                "passed": value is not None and holds(check.operator, Decimal(str(value)), check.value),
                "severity": str(check.severity),
            }
        )
    return results


def refuse_failed(dataset: Dataset, results: Sequence[Mapping[str, Any]]) -> None:
    """BudgetExceeded when a check of severity error failed."""
    failed = [c for c in results if not c["passed"] and c["severity"] == Severity.ERROR]
    if failed:
        names = ", ".join(f"{c['id']} ({c['value']})" for c in failed)
        raise BudgetExceeded(
            f"checks of the whole table failed: {names}",
            where=f"silver.{dataset.name}",
            hint="headgate query …",
            stage="refine",
        )


def holds(operator: str, value: Decimal, expected: Any) -> bool:
    """Whether `value operator expected` is true, with ODCS operators."""
    if operator in ("mustBeBetween", "mustNotBeBetween"):
        low, high = (Decimal(str(x)) for x in expected)
        return (low <= value <= high) == (operator == "mustBeBetween")
    other = Decimal(str(expected))
    match operator:
        case "mustBe":
            return value == other
        case "mustNotBe":
            return value != other
        case "mustBeGreaterThan":
            return value > other
        case "mustBeGreaterOrEqualTo":
            return value >= other
        case "mustBeLessThan":
            return value < other
        case "mustBeLessOrEqualTo":
            return value <= other
        case _:
            raise ValueError(operator)
