"""Writes plain values as tidy YAML that every reader understands alike.

What fits on a line stands in braces on one line; everything else in blocks. Texts that any version of YAML might
take for something else are quoted. Deterministic: equal values give equal text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

WIDTH = 110

_PLAIN = re.compile(
    r"[A-Za-z_/](?:[A-Za-z0-9_./@+()=<>-]|(?<=[^ ,:]) (?=[A-Za-z0-9_(])|,(?= ))*|v?[0-9]+\.[0-9]+\.[0-9]+"
)
_FLOW_UNSAFE = re.compile(r"[,\[\]{}]")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
# What may not stand as it is, not all that may: a class that goes up to the last character takes 4 ms to compile.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def yaml_text(value: Mapping[str, Any], *, apart: Sequence[str] = ()) -> str:
    """The mapping as a YAML document; a blank line stands before each of the top-level keys in `apart`."""
    lines: list[str] = []
    for key, below in value.items():
        if key in apart and lines:
            lines.append("")
        lines += _entry(key, below, "")
    return "\n".join(lines) + "\n"


def _entry(key: str, value: Any, indent: str) -> list[str]:
    name = f"{indent}{_scalar(key, flow=False)}:"
    if not isinstance(value, Mapping | list | tuple):
        return [f"{name} {_scalar(value, flow=False)}"]
    on_one_line = f"{name} {_flow(value)}"
    if _small(value) and len(on_one_line) <= WIDTH:
        return [on_one_line]
    if isinstance(value, Mapping):
        return [name, *(line for k, v in value.items() for line in _entry(k, v, indent + "  "))]
    return [name, *(line for one in value for line in _item(one, indent + "  "))]


def _item(value: Any, indent: str) -> list[str]:
    flow = f"{indent}- {_flow(value)}"
    if not isinstance(value, Mapping) or not value or (_small(value) and len(flow) <= WIDTH):
        return [flow]
    lines = [line for key, below in value.items() for line in _entry(key, below, indent + "  ")]
    return [f"{indent}- {lines[0].lstrip()}", *lines[1:]]


def _small(value: Any) -> bool:
    """Whether a value reads well on one line: nothing below it is a list of mappings."""
    if isinstance(value, Mapping):
        return all(_small(one) for one in value.values())
    if isinstance(value, list | tuple):
        mappings = [one for one in value if isinstance(one, Mapping)]
        return all(len(one) <= 1 for one in mappings) and all(_small(one) for one in value)
    return True


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(str(k), flow=True)}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(one) for one in value) + "]"
    return _scalar(value, flow=True)


def _scalar(value: Any, *, flow: bool) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal | float):
        return _number(Decimal(repr(value)) if isinstance(value, float) else value)
    return _quoted(str(value), flow=flow)


def _number(value: Decimal) -> str:
    """Fixed point: an exponent is read differently by different versions of YAML."""
    return format(value, "f")


def _quoted(text: str, *, flow: bool) -> str:
    plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS and not (flow and _FLOW_UNSAFE.search(text))
    if plain:
        return text
    if _UNPRINTABLE.search(text) or "\t" in text:
        return _double(text)
    return "'" + text.replace("'", "''") + "'"


def _double(text: str) -> str:
    escaped = json.dumps(text, ensure_ascii=False)[1:-1]
    return '"' + _UNPRINTABLE.sub(lambda found: _escape(found[0]), escaped) + '"'


def _escape(one: str) -> str:
    code = ord(one)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
