"""Complaints about a file: collected, sorted by place, told all at once."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headgate.contract.model import Place, Severity
from headgate.errors import ContractSyntaxError

MOST_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing that is wrong (error) or doubtful (warning) at one place, and what to do about it.

    `code` is stable and tells the kind: `yaml`, `standard` (the standard's JSON Schema), `missing`, `unknown-name`,
    `contradiction`, `not-supported`; of warnings `not-checked`, `inexact`, `no-effect`; else `contract`.
    """

    place: Place
    message: str
    hint: str | None = None
    severity: Severity = Severity.ERROR
    code: str = "contract"

    def __str__(self) -> str:
        said = f"{self.place}: {self.severity}: {self.message}"
        return f"{said}\n    hint: {self.hint}" if self.hint else said

    def as_dict(self) -> dict[str, str | int | None]:
        """The complaint as JSON-safe values."""
        return {
            "file": self.place.file,
            "line": self.place.line,
            "column": self.place.column,
            "severity": str(self.severity),
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
        }


class ContractRefused(ContractSyntaxError):
    """A file is refused: `complaints` holds every complaint, warnings too; the text shows all errors."""

    def __init__(self, complaints: Sequence[Complaint]) -> None:
        errors = [one for one in complaints if one.severity is Severity.ERROR]
        first = errors[0]
        others = [str(one) for one in errors[1:MOST_SHOWN]]
        if len(errors) > MOST_SHOWN:
            others.append(f"… and {len(errors) - MOST_SHOWN} more")
        message = "\n".join([first.message, *others])
        super().__init__(message, hint=first.hint, where=str(first.place), stage="validate")
        self.complaints = tuple(complaints)


class Complaints:
    """Collects complaints about one file; one complaint of a code for a place and message is enough."""

    def __init__(self) -> None:
        self._found: dict[tuple[Place, str], Complaint] = {}

    def error(self, place: Place, message: str, hint: str | None = None, code: str = "contract") -> None:
        """Something that must be changed."""
        self._found.setdefault((place, message), Complaint(place, message, hint, Severity.ERROR, code))

    def warn(self, place: Place, message: str, hint: str | None = None, code: str = "contract") -> None:
        """Something that the writer should know."""
        self._found.setdefault((place, message), Complaint(place, message, hint, Severity.WARNING, code))

    def add(self, complaints: Iterable[Complaint]) -> None:
        """Complaints that somebody else has found."""
        for one in complaints:
            self._found.setdefault((one.place, one.message), one)

    def errors_at(self, place: Place) -> bool:
        """True when an error stands at exactly this place."""
        return any(one.place == place and one.severity is Severity.ERROR for one in self._found.values())

    def sorted(self) -> list[Complaint]:
        """All complaints in reading order."""
        return sorted(self._found.values(), key=lambda one: (one.place.line, one.place.column))

    def refuse(self) -> None:
        """Raise ContractRefused if there is any error."""
        found = self.sorted()
        if any(one.severity is Severity.ERROR for one in found):
            raise ContractRefused(found)


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A hint naming the closest known name; the known names when none is close and they are few."""
    names = sorted(set(known))
    if len(name) <= 100:
        by_folded = {one.casefold(): one for one in names}
        close = difflib.get_close_matches(name.casefold(), list(by_folded), n=1, cutoff=0.6)
        if close:
            return f"did you mean `{by_folded[close[0]]}`?"
    return f"known are: {', '.join(names)}" if 0 < len(names) <= 12 else None


def name_of(path: Sequence[str | int]) -> str:
    """A short name of the thing at a path in a contract, for messages."""
    names = [step for step in path if isinstance(step, str)]
    return f"`{'.'.join(names[-2:])}`" if names else "the contract"


def shown(value: object) -> str:
    """A value as it may stand in a message: JSON, cut short."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…"


def missing(place: Place, name: str, path: Sequence[str | int]) -> Complaint:
    """The complaint that a mapping lacks something."""
    return Complaint(place, f"`{name}` is missing in {name_of(path)}", f"add `{name}: …`", code="missing")
