"""The crash points of the product, found by reading its source."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import headgate


@dataclass(frozen=True)
class Point:
    name: str
    place: str


def crash_points() -> list[Point]:
    """Every `crash.point("…")` of the package; the name must be a literal, so that it can be found and killed at."""
    root = Path(headgate.__file__).parent
    found = []
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "point"):
                continue
            if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "crash"):
                continue
            place = f"{path.relative_to(root)}:{node.lineno}"
            argument = node.args[0] if len(node.args) == 1 else None
            if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
                raise SyntaxError(f"{place}: the name of a crash point must be a literal text")  # noqa: TRY004
            found.append(Point(argument.value, place))
    return found


def names() -> list[str]:
    """Names of all crash points, each once, sorted."""
    return sorted({point.name for point in crash_points()})
