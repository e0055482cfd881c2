"""Reads a YAML file into plain values that know their places, and refuses what is dangerous or ambiguous.

The file is read as a stream of events and built without recursion, so every limit is checked before anything
is built: bytes, depth, aliases, nodes (an alias counts as all the nodes it stands for). One document per file,
UTF-8, no duplicate keys, no tags beyond the plain types.

Values are text, int, float, bool, None, list and dict with text keys. Dates stay text. Words that YAML 1.1 and
1.2 read differently (`yes`, `off`, `007`, `1_000`) must be quoted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from headgate.contract.complaint import Complaint, Complaints, ContractRefused
from headgate.contract.model import Place

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_ALIASES = 100
MAX_NODES = 50_000
MAX_DIGITS = 100

Step = str | int

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL = {".inf": float("inf"), "+.inf": float("inf"), "-.inf": float("-inf"), ".nan": float("nan")}
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_AMBIGUOUS_WORD = frozenset({"yes", "no", "on", "off"})
# Octal and binary, grouping by underscore, base 60 (`1:30`), an exponent without point or sign.
_AMBIGUOUS_NUMBER = re.compile(
    r"[-+]?0[0-9_]+|0[ob][0-7_]+|[-+]?[0-9][0-9_]*_[0-9_]*(?:\.[0-9_]*)?"
    r"|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?|[-+]?(?:\.?[0-9]+|[0-9]+\.[0-9]*)[eE][0-9]+|[-+]?[0-9]+[eE][-+][0-9]+"
)
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt \t].*)?")
# Everything outside YAML's printable set, as ranges: the complement of that set takes 5 ms to compile.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_PLAIN_TAGS = frozenset({"tag:yaml.org,2002:" + kind for kind in ("str", "int", "float", "bool", "null", "seq", "map")})
_STR_TAG = "tag:yaml.org,2002:str"


@dataclass(slots=True, eq=False)
class Node:
    """A value in the file with its place; `text` is a scalar's source text, `keys` a mapping's key places."""

    value: Any
    line: int
    column: int
    text: str = ""
    size: int = 1  # nodes it stands for, itself included, aliases counted in full
    height: int = 1  # levels below and including it
    open: bool = False  # still being read
    items: list[Node] | None = None
    entries: dict[str, Node] | None = None
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file's value, and where each part of it was written.

    `data` are the file's bytes, `warnings` what the reader found doubtful.
    """

    file: str
    root: Node
    data: bytes
    warnings: tuple[Complaint, ...] = ()

    @property
    def value(self) -> Any:
        """The whole as plain values."""
        return self.root.value

    def node(self, path: tuple[Step, ...]) -> Node:
        """The node at a path; the deepest one on the way that exists when the path does not."""
        at = self.root
        for step in path:
            below = _below(at, step)
            if below is None:
                return at
            at = below
        return at

    def place(self, path: tuple[Step, ...] = ()) -> Place:
        """Where the value at a path stands."""
        at = self.node(path)
        return Place(self.file, at.line, at.column)

    def key_place(self, path: tuple[Step, ...]) -> Place:
        """Where the key of the entry at a path stands; the value's place when it has no key."""
        if path and isinstance(path[-1], str):
            at = self.node(path[:-1]).keys.get(path[-1])
            if at is not None:
                return Place(self.file, *at)
        return self.place(path)


def _below(node: Node, step: Step) -> Node | None:
    if isinstance(step, str):
        return node.entries.get(step) if node.entries is not None else None
    if node.items is not None and 0 <= step < len(node.items):
        return node.items[step]
    return None


def read_yaml(path: str | Path, *, shown: str | None = None) -> Document:
    """The document in a file.

    `shown` is how complaints name the file. The value of an empty file is None. Raises ContractSyntaxError (with
    `complaints`) for anything that is not one well-formed YAML document within the limits, also for a file that is
    absent or cannot be read.
    """
    name = shown or str(path)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
        raise _refusal(Place(name, 1, 1), f"cannot be read: {reason}", "check the path and its rights") from cause
    return read_yaml_bytes(data, name)


def read_yaml_bytes(data: bytes, shown: str) -> Document:
    """The document in these bytes; as `read_yaml`."""
    text = _decode(data, shown)
    complaints = Complaints()
    root = _Builder(shown, complaints).build(text)
    complaints.refuse()
    return Document(shown, root, data, tuple(complaints.sorted()))


def _refusal(place: Place, message: str, hint: str | None = None) -> ContractRefused:
    return ContractRefused([Complaint(place, message, hint, code="yaml")])


def _decode(data: bytes, shown: str) -> str:
    """UTF-8 text without its byte order mark; the place of the first bad byte otherwise."""
    if len(data) > MAX_BYTES:
        raise _refusal(Place(shown, 1, 1), f"the file is larger than {MAX_BYTES} bytes", "split it into several files")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise _refusal(Place(shown, 1, 1), "the file is UTF-16, not UTF-8", "save it as UTF-8")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as cause:
        place = _place_after(shown, data[: cause.start].decode("utf-8"))
        raise _refusal(place, f"byte 0x{data[cause.start]:02x} is not valid UTF-8", "save the file as UTF-8") from cause
    text = text.removeprefix("\ufeff")
    bad = _UNPRINTABLE.search(text)
    if bad:
        message = f"character U+{ord(bad[0]):04X} is not allowed in YAML"
        raise _refusal(_place_after(shown, text[: bad.start()]), message, "remove or escape it")
    return text


def _place_after(shown: str, before: str) -> Place:
    last = before.rfind("\n")
    return Place(shown, before.count("\n") + 1, len(before) - last)


class _Builder:
    """Builds the nodes of one document from its events, on a stack of its own."""

    def __init__(self, shown: str, complaints: Complaints) -> None:
        self.shown = shown
        self.complaints = complaints
        self.stack: list[Node] = []
        self.pending: list[tuple[str, int, int] | None] = []  # the key that waits for its value, per open node
        self.anchors: dict[str, Node] = {}
        self.nodes = 0
        self.aliases = 0
        self.root: Node | None = None
        self.documents = 0

    def build(self, text: str) -> Node:
        for event in self._events(text):
            kind = type(event).__name__
            mark = event.start_mark
            place = (mark.line + 1, mark.column + 1)
            if kind == "ScalarEvent":
                self._add(self._scalar(event, *place), event.anchor)
            elif kind == "MappingStartEvent":
                self._open(Node({}, *place, entries={}, open=True), event)
            elif kind == "SequenceStartEvent":
                self._open(Node([], *place, items=[], open=True), event)
            elif kind in ("MappingEndEvent", "SequenceEndEvent"):
                self._close()
            elif kind == "AliasEvent":
                self._alias(event.anchor, *place)
            elif kind == "DocumentStartEvent":
                self.documents += 1
                if self.documents > 1:
                    self._refuse(*place, "a second document", "keep one document in a file, without a second `---`")
        if self.root is None:
            return Node(None, 1, 1)
        return self.root

    def _refuse(self, line: int, column: int, message: str, hint: str | None = None) -> NoReturn:
        raise _refusal(Place(self.shown, line, column), message, hint)

    def _events(self, text: str) -> Iterator[Any]:
        import yaml

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            parser = loader(text)
            try:
                while parser.check_event():
                    yield parser.get_event()
            finally:
                parser.dispose()
        except yaml.MarkedYAMLError as cause:
            mark = cause.problem_mark or cause.context_mark
            place = Place(self.shown, mark.line + 1, mark.column + 1) if mark else Place(self.shown, 1, 1)
            raise _refusal(place, *_explain(cause, text, place)) from cause
        except (yaml.YAMLError, UnicodeError, ValueError, RecursionError) as cause:
            raise _refusal(Place(self.shown, 1, 1), f"not YAML: {cause}") from cause

    def _open(self, node: Node, event: Any) -> None:
        if len(self.stack) >= MAX_DEPTH:
            self._refuse(node.line, node.column, f"nested deeper than {MAX_DEPTH} levels", "flatten it")
        self._check_tag(event, node)
        self._count(node, 1)
        if event.anchor:
            self.anchors[event.anchor] = node
        self.stack.append(node)
        self.pending.append(None)

    def _close(self) -> None:
        node = self.stack.pop()
        self.pending.pop()
        node.open = False
        if node.entries is not None and "<<" in node.entries:
            self._merge(node)
        self._add(node, None)

    def _alias(self, name: str, line: int, column: int) -> None:
        self.aliases += 1
        if self.aliases > MAX_ALIASES:
            self._refuse(line, column, f"more than {MAX_ALIASES} aliases", "write the values out")
        node = self.anchors.get(name)
        if node is None:
            self._refuse(line, column, f"alias `*{name}` has no anchor `&{name}` before it")
        if node.open:
            self._refuse(line, column, f"alias `*{name}` stands inside what it names", "write the values out")
        if len(self.stack) + node.height > MAX_DEPTH:
            self._refuse(line, column, f"nested deeper than {MAX_DEPTH} levels", "flatten it")
        self._count(Node(None, line, column), node.size)
        self._add(node, None)

    def _count(self, node: Node, more: int) -> None:
        self.nodes += more
        if self.nodes > MAX_NODES:
            self._refuse(node.line, node.column, f"more than {MAX_NODES} values", "split the file")

    def _add(self, node: Node, anchor: str | None) -> None:
        """Put a finished node where it belongs: root, item, key or value."""
        if anchor:
            self.anchors[anchor] = node
        if not self.stack:
            self.root = node
            return
        parent = self.stack[-1]
        key = self.pending[-1]
        if parent.items is not None:
            parent.items.append(node)
            parent.value.append(node.value)
        elif key is None:
            self.pending[-1] = self._key(node)
            return
        else:
            self._entry(parent, key, node)
            self.pending[-1] = None
        parent.size += node.size
        parent.height = max(parent.height, node.height + 1)

    def _key(self, node: Node) -> tuple[str, int, int]:
        if node.items is not None or node.entries is not None:
            self._refuse(node.line, node.column, "a key must be text", "quote braces: `'{…}'`")
        if node.text == "":
            self._refuse(node.line, node.column, "a key is empty", "write the name before the colon")
        return node.text, node.line, node.column

    def _entry(self, parent: Node, key: tuple[str, int, int], node: Node) -> None:
        name, line, column = key
        assert parent.entries is not None
        if name in parent.keys:
            first = parent.keys[name]
            self.complaints.error(
                Place(self.shown, line, column),
                f"key `{name[:80]}` stands twice, first at line {first[0]}",
                "keep one of the two",
                code="yaml",
            )
            return
        parent.keys[name] = (line, column)
        parent.entries[name] = node
        parent.value[name] = node.value

    def _merge(self, node: Node) -> None:
        """`<<: *anchor`: take over the entries that the mapping does not have itself."""
        assert node.entries is not None
        merged = node.entries.pop("<<")
        node.value.pop("<<")
        node.keys.pop("<<")
        for other in merged.items if merged.items is not None else [merged]:
            if other.entries is None:
                self._refuse(other.line, other.column, "`<<` takes a mapping or a list of mappings")
            for name, below in other.entries.items():
                if name not in node.entries:
                    node.entries[name] = below
                    node.value[name] = below.value
                    node.keys[name] = other.keys[name]

    def _check_tag(self, event: Any, node: Node) -> None:
        if event.tag is not None and event.tag != "!" and event.tag not in _PLAIN_TAGS:
            self._refuse(node.line, node.column, f"tag `{event.tag[:80]}` is not allowed", "remove the tag")

    def _scalar(self, event: Any, line: int, column: int) -> Node:
        text: str = event.value
        node = Node(text, line, column, text)
        self._count(node, 1)
        self._check_tag(event, node)
        if "\0" in text:
            self._refuse(line, column, "a NUL character", "remove it")
        # implicit[0]: plain and untagged, so its look decides. A `!!str` is text whatever it looks like.
        is_key = bool(self.stack) and self.stack[-1].entries is not None and self.pending[-1] is None
        tagged = event.tag in _PLAIN_TAGS and event.tag != _STR_TAG
        if tagged or (event.implicit[0] and not is_key):
            node.value = self._resolve(text, line, column)
        return node

    def _resolve(self, text: str, line: int, column: int) -> Any:
        """What an unquoted word means."""
        if text in _NULL:
            return None
        if text in _BOOL:
            return _BOOL[text]
        if text.lower() in _AMBIGUOUS_WORD or _AMBIGUOUS_NUMBER.fullmatch(text):
            self.complaints.error(
                Place(self.shown, line, column),
                f"`{text[:80]}` means different things to different readers of YAML",
                "quote it if it is text, otherwise write true, false or a plain number",
                code="yaml",
            )
            return text
        if _INT.fullmatch(text):
            if len(text) > MAX_DIGITS:
                self._refuse(line, column, f"a number of more than {MAX_DIGITS} digits", "quote it if it is text")
            return int(text, 0)
        if _FLOAT.fullmatch(text):
            return float(text)
        if _DATE.fullmatch(text):
            self.complaints.warn(
                Place(self.shown, line, column),
                "an unquoted date is text here, but not to every reader of YAML",
                "quote it",
                code="yaml",
            )
        return _SPECIAL.get(text.lower(), text)


_UNCLEAR = "look at this line and the one before it: something is not closed, quoted or indented"


def _explain(cause: Any, text: str, place: Place) -> tuple[str, str | None]:
    """The parser's words, and a hint for the usual mistakes."""
    problem = str(cause.problem or cause)
    lines = text.split("\n")
    line = lines[place.line - 1] if place.line <= len(lines) else ""
    here = line[place.column - 1 : place.column]
    if "'\\t'" in problem or here == "\t" or line[: len(line) - len(line.lstrip())].count("\t"):
        return "a tab where YAML wants blanks", "indent with blanks"
    if "${" in line:
        return problem, "quote values with `${…}` inside braces: '${NAME}'"
    if "mapping values are not allowed" in problem:
        return problem, "quote a text that holds `: `, or check the indentation"
    if cause.context:
        return f"{problem} ({cause.context})", _UNCLEAR
    return problem, _UNCLEAR
