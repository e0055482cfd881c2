"""A mapping inside a document: typed look-ups that complain at the right place instead of raising."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from headgate.contract.complaint import Complaints, missing, name_of, shown
from headgate.contract.model import Place
from headgate.contract.yaml_reader import Document, Step

_CODE = "standard"


@dataclass(frozen=True, slots=True)
class Part:
    """One mapping of a document. A look-up of something absent gives None; of a wrong type, None and a complaint."""

    document: Document
    path: tuple[Step, ...]
    value: Mapping[str, Any]
    complaints: Complaints

    def __contains__(self, name: str) -> bool:
        return name in self.value

    def place(self, *steps: Step) -> Place:
        """Where the value below stands (this mapping's own place without steps)."""
        return self.document.place((*self.path, *steps))

    def key_place(self, name: str) -> Place:
        """Where a key of this mapping stands."""
        return self.document.key_place((*self.path, name))

    def error(self, message: str, hint: str | None = None, *at: Step, code: str = "contract") -> None:
        """Complain about this mapping, or about what is at the steps below it."""
        self.complaints.error(self.place(*at), message, hint, code)

    def warn(self, message: str, hint: str | None = None, *at: Step, code: str = "contract") -> None:
        """Warn about this mapping, or about what is at the steps below it."""
        self.complaints.warn(self.place(*at), message, hint, code)

    def _wrong(self, name: str, wanted: str, hint: str | None = None) -> None:
        what = name_of((*self.path, name))
        self.error(f"{what} must be {wanted}, not {shown(self.value[name])}", hint, name, code=_CODE)

    def text(self, name: str) -> str | None:
        """Text; an empty text counts as absent."""
        given = self.value.get(name)
        if given is None or isinstance(given, str):
            if given is None and name in self.value:
                self._wrong(name, "text", "quote it")
            return given or None
        self._wrong(name, "text", "quote it")
        return None

    def needed_text(self, name: str) -> str | None:
        """Text that must be there."""
        if name not in self.value:
            self.complaints.add([missing(self.place(), name, self.path)])
            return None
        given = self.text(name)
        if given is None:
            self._wrong(name, "text of at least one character")
        return given

    def boolean(self, name: str) -> bool | None:
        """A truth value."""
        given = self.value.get(name)
        if name not in self.value or isinstance(given, bool):
            return given
        self._wrong(name, "true or false")
        return None

    def integer(self, name: str) -> int | None:
        """A whole number; 5.0 counts, as in JSON Schema."""
        given = self.value.get(name)
        if isinstance(given, float) and given.is_integer():
            return int(given)
        if name not in self.value or (isinstance(given, int) and not isinstance(given, bool)):
            return given
        self._wrong(name, "a whole number")
        return None

    def number(self, name: str) -> Decimal | None:
        """A finite number, exactly as it was written."""
        if name not in self.value:
            return None
        exact = self.exact(self.value[name], name)
        if exact is None:
            self._wrong(name, "a number")
        return exact

    def exact(self, given: object, *at: Step) -> Decimal | None:
        """The number at the steps below, exactly as it was written; None when it is not a finite number."""
        if isinstance(given, bool) or not isinstance(given, int | float):
            return None
        if isinstance(given, int):
            return Decimal(given)
        try:
            exact = Decimal(self.document.node((*self.path, *at)).text)
        except InvalidOperation:
            exact = Decimal(repr(given))
        return exact if exact.is_finite() else None

    def part(self, name: str) -> Part | None:
        """The mapping below that name."""
        given = self.value.get(name)
        if isinstance(given, Mapping):
            return Part(self.document, (*self.path, name), given, self.complaints)
        if name in self.value:
            self._wrong(name, "a mapping")
        return None

    def list(self, name: str) -> list[Any]:
        """The list below that name, empty when absent."""
        given = self.value.get(name, [])
        if isinstance(given, list):
            return given
        self._wrong(name, "a list", "begin each entry with `- `")
        return []

    def parts(self, name: str) -> Iterator[Part]:
        """The mappings in the list below that name."""
        for index, given in enumerate(self.list(name)):
            path = (*self.path, name, index)
            if isinstance(given, Mapping):
                yield Part(self.document, path, given, self.complaints)
            else:
                place = self.document.place(path)
                message = f"each entry of {name_of(path)} must be a mapping, not {shown(given)}"
                self.complaints.error(place, message, None, _CODE)

    def named(self, name: str) -> dict[str, Part]:
        """The mappings in the list below that name, by their own `name`; the first of each."""
        found: dict[str, Part] = {}
        for entry in self.parts(name):
            called = entry.value.get("name")
            if isinstance(called, str):
                found.setdefault(called, entry)
        return found

    def custom(self, prefix: str) -> dict[str, Part]:
        """Entries of `customProperties` whose name has the prefix: rest of the name -> the entry."""
        found: dict[str, Part] = {}
        for entry in self.parts("customProperties"):
            name = entry.value.get("property")
            if not isinstance(name, str) or not name.casefold().startswith(prefix):
                continue
            rest = name[len(prefix) :]
            if rest in found:
                entry.error(f"property `{name}` stands twice", "keep one of the two", "property")
            found.setdefault(rest, entry)
        return found
