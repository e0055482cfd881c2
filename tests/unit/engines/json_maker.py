"""Contracts and JSON lines out of a random generator: lines that fit, that nearly do, and that are broken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from random import Random
from typing import Any

from refine_rig import dataset

from headgate.contract.model import Dataset, Field, Kind, Rule, Severity, Standardise, Type

_SCALARS = [k for k in Kind if k not in (Kind.OBJECT, Kind.ARRAY, Kind.MAP)]
_LETTERS = 'abcXYZ 09_-"\\/\b\n\t\x1f\x7féßжह中\u2028\ud7ff\ue000\ufffd\U0001f600\U0010ffff'
_ODD = [
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"-", b"0", b"1e9", b".", b"e", b"\0", b"\x1f",
    b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\\u0000", b"\\ud800", b"\\ud83d\\ude00", b"NaN", b" ",
    b"\t\r\n", b"9" * 25, b"0.0000001", b"\xef\xbb\xbf", b"\\x", b"Z", b"+05:30", b"2026-02-29", b"24:00:00",
]  # fmt: skip
_MOMENTS = [
    "{d}T{t}Z", "{d} {t}Z", "{d}T{t}", "{d}T{t}.5Z", "{d}T{t}.123456Z", "{d}T{t}.1234560Z", "{d}T{t}.1234567Z",
    "{d}T{t}+05:30", "{d}T{t}-0800", "{d}T{t}.25", "{d}t{t}z", "{d}T{t}+15:00", "{d}T{t}.Z", "{d}",
]  # fmt: skip


def make_dataset(random: Random) -> Dataset:
    """A dataset that the compiled decoder can read, with rules at every depth."""
    fields = tuple(_field(random, f"f{n}", 0) for n in range(random.randint(1, 6)))
    rules = tuple(rule for one in fields for rule in _rules(random, one.type, one.name))
    properties = {"unknown_fields": "ignore"} if random.random() < 0.5 else {}
    return dataset(fields, rules=rules, properties=properties)


def make_line(random: Random, of: Dataset) -> bytes:
    """A line that most often fits, or nearly so; now and then its bytes are mixed up."""
    doubt = random.choice([0.0, 0.0, 0.05])
    strange = 0.3 if of.properties.get("unknown_fields") == "ignore" else 0.0
    line = _object(random, Type(Kind.OBJECT, fields=of.fields), doubt, strange).encode()
    if random.random() < 0.1:
        line = b" " + line + b"\t"
    return mixed_up(random, line) if random.random() < 0.2 else line


def mixed_up(random: Random, line: bytes) -> bytes:
    """The line with some bytes changed, lost, doubled or put in."""
    for _ in range(random.choice([1, 1, 2, 4])):
        at = random.randrange(len(line) + 1)
        to = min(at + random.choice([0, 1, 1, 3, 20]), len(line))
        with_what = random.choice([b"", bytes([random.randrange(256)]), random.choice(_ODD), line[at:to] * 2])
        line = line[:at] + with_what + line[to:]
    return line


def _field(random: Random, name: str, depth: int) -> Field:
    of = _type(random, depth)
    source = random.choice(["", "", f"{name}é", f"{name} key that is longer than sixteen bytes"])
    own: dict[str, Any] = {"required": random.random() < 0.3} if depth == 0 else {}
    if depth == 0 and of.kind not in (Kind.OBJECT, Kind.ARRAY) and random.random() < 0.1:
        own["standardise"] = (Standardise("trim"),)
    return Field(name, of, source=source, **own)


def _type(random: Random, depth: int) -> Type:
    draw = random.random()
    if depth < 3 and draw < 0.15:
        fields = tuple(_field(random, f"g{n}", depth + 1) for n in range(random.randint(1, 4)))
        return Type(Kind.OBJECT, fields=fields)
    if depth < 3 and draw < 0.3:
        return Type(Kind.ARRAY, item=Field("item", _type(random, depth + 1)))
    kind = random.choice(_SCALARS)
    precision = random.choice([1, 5, 12, 18, 19, 38])
    return Type(
        kind,
        bits=random.choice([32, 64]),
        precision=precision if kind is Kind.DECIMAL else 0,
        scale=random.choice([0, precision // 3, precision]) if kind is Kind.DECIMAL else 0,
        zoned=random.random() < 0.5,
    )


def _rules(random: Random, of: Type, path: str) -> Iterator[Rule]:
    """Rules on a value and on what is in it. Those of its own that a field implies are not among them."""
    if random.random() < 0.3 and (found := _rule(random, of, path)):
        yield found
    inner = [(f.type, f"{path}.{f.name}") for f in of.fields]
    if of.kind is Kind.ARRAY and of.item:
        inner.append((of.item.type, f"{path}[]"))
    for one, below in inner:
        if random.random() < 0.4:
            severity = random.choice([Severity.ERROR, Severity.ERROR, Severity.WARNING])
            yield Rule(f"{below}.required", "required", below, severity=severity)
        yield from _rules(random, one, below)


def _rule(random: Random, of: Type, path: str) -> Rule | None:
    check: str
    argument: Any
    match of.kind:
        case Kind.STRING:
            check = random.choice(["min_length", "max_length", "enum", "pattern"])
            argument = {"enum": ["a", "", "é"], "pattern": "^[^9]*$"}.get(check, random.randint(0, 4))
        case Kind.INTEGER | Kind.NUMBER | Kind.DECIMAL:
            check = random.choice(["minimum", "maximum", "exclusive_minimum", "exclusive_maximum", "enum"])
            argument = Decimal(random.choice(["0", "-3", "7.5", "0.1", "1e3", "12345678901234567890"]))
            if check == "enum":
                if of.kind is not Kind.INTEGER:
                    return None
                argument = [0, 1, -1, 77]
        case Kind.ARRAY:
            check, argument = random.choice(["min_items", "max_items"]), random.randint(0, 2)
        case _:
            return None
    severity = random.choice([Severity.ERROR, Severity.ERROR, Severity.WARNING])
    return Rule(f"{path}.{check}", check, path, argument, severity)


def _blank(random: Random) -> str:
    return random.choice(["", "", "", "", " ", "\t\n"])


def _object(random: Random, of: Type, doubt: float, strange: float) -> str:
    members = [(f.source_name, _value(random, f.type, doubt, strange)) for f in of.fields if random.random() > doubt]
    if random.random() < 0.2:
        random.shuffle(members)
    if members and random.random() < doubt:
        members.append(random.choice(members))
    for _ in range(random.choice([1, 2]) if random.random() < max(doubt, strange) else 0):
        members.insert(random.randrange(len(members) + 1), (random.choice("uvwxyz"), _anything(random, 0)))
    inside = ",".join(f"{_key(random, k)}{_blank(random)}:{_blank(random)}{v}{_blank(random)}" for k, v in members)
    return f"{{{_blank(random)}{inside}}}"


def _key(random: Random, key: str) -> str:
    return json.dumps(key, ensure_ascii=random.random() < 0.1)


def _value(random: Random, of: Type, doubt: float, strange: float) -> str:
    if random.random() < 0.1:
        return "null"
    if random.random() < doubt:
        return _anything(random, 0)
    match of.kind:
        case Kind.OBJECT:
            return _object(random, of, doubt, strange)
        case Kind.ARRAY:
            assert of.item
            inner = (_value(random, of.item.type, doubt, strange) + _blank(random) for _ in range(random.randint(0, 3)))
            return f"[{','.join(inner)}]"
        case Kind.STRING:
            return _text(random)
        case Kind.BOOLEAN:
            return random.choice(["true", "false"])
        case Kind.INTEGER | Kind.NUMBER | Kind.DECIMAL:
            return _number(random, of)
        case Kind.BINARY:
            return json.dumps("\\x" + random.randbytes(random.randint(0, 3)).hex())
        case _:
            return json.dumps(_time(random, of))


def _text(random: Random) -> str:
    text = "".join(random.choices(_LETTERS, k=random.choice([0, 1, 3, 17, 40])))
    written = json.dumps(text, ensure_ascii=random.random() < 0.3)
    return written.replace("/", "\\/") if random.random() < 0.1 else written


def _number(random: Random, of: Type) -> str:
    size = random.choice([1, 3, 6, 7, 15, 16, 17, 19, 20])
    whole = str(random.randrange(10**size))
    if of.kind is Kind.INTEGER:
        edge = 2 ** (of.bits - 1)
        return random.choice([whole, f"-{whole}", str(random.randint(-5, 5)), str(edge), str(-edge), str(edge - 1)])
    places = min(of.scale, len(whole)) if of.kind is Kind.DECIMAL else random.randint(0, len(whole))
    shown = f"{whole[: len(whole) - places] or '0'}.{whole[len(whole) - places :] or '0'}"
    return random.choice([
        shown, f"-{shown}", repr(random.uniform(-1e3, 1e3)), repr(random.lognormvariate(0, 50)), "0", "-0", "-0.0", whole,
        f"{shown}e{random.randint(-25, 25)}", f"{shown}00", "0.1", "5e-324", "1.7976931348623157e308", "99671088.0",
        f"{random.uniform(-1, 1):.{random.randint(1, 19)}f}",
    ])  # fmt: skip


def _time(random: Random, of: Type) -> str:
    years = [1, 1600, 1900, 1969, 1970, 2000, 2026, 9999, random.randint(1, 9999)]
    day = f"{random.choice(years):04}-{random.randint(1, 12):02}-{random.choice([1, 28, 29, 30, 31]):02}"
    clock = f"{random.choice([0, 12, 23]):02}:{random.randint(0, 59):02}:{random.choice([0, 59, 30, 60]):02}"
    if of.kind is Kind.DATE:
        return day
    if of.kind is Kind.TIME:
        return clock + random.choice(["", ".1", ".123456", ".1234567", ".1200000"])
    fitting = [form for form in _MOMENTS if form.endswith("Z") == of.zoned]
    return random.choice([*fitting, *_MOMENTS]).format(d=day, t=clock)


def _anything(random: Random, depth: int) -> str:
    if depth < 3 and random.random() < 0.2:
        return f"[{','.join(_anything(random, depth + 1) for _ in range(random.randint(0, 3)))}]"
    if depth < 3 and random.random() < 0.2:
        pairs = (f"{_text(random)}:{_anything(random, depth + 1)}" for _ in range(random.randint(0, 3)))
        return f"{{{','.join(pairs)}}}"
    of = Type(random.choice([Kind.STRING, Kind.NUMBER, Kind.INTEGER, Kind.TIMESTAMP, Kind.BOOLEAN, Kind.BINARY]))
    return _value(random, of, 0.0, 0.0)
