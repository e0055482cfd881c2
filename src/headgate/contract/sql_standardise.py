"""Standardisation of text that a contract declares, as SQL. Applied in the order written, before typing.

    trim            white space (Unicode) off both ends
    squeeze         each run of white space becomes one blank
    lower, upper    as Unicode says
    title           the first letter of each blank-separated word upper, the rest lower
    empty_to_null   an empty text becomes NULL
    null_if         a text in the list becomes NULL
    map             {from: to}; a text that is not named stays as it is
    number          grouping marks out: 1,299.5 -> 1299.5
    currency        the same, and one currency mark out; brackets or a minus sign mean negative: ($1,299.50) -> -1299.50
    date            a list of strptime formats, tried in order -> the ISO text of what was read

number and currency take {decimal: ","} for 1.299,50; the default is a decimal point. A group has three digits and
one kind of mark, so 1.299,50 without that argument is refused, not guessed. Text that number, currency or date
cannot read is refused: the value is bad. What goes out is text again, digit by digit, so that the type decides
about precision, not these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from headgate.contract.model import Standardise
from headgate.contract.sql_names import literal, once, text_literal
from headgate.contract.sql_reading import LONG
from headgate.errors import FixInputError

# Unicode's White_Space property.
BLANKS = (
    "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)

_MARK = r"(?:[A-Z]{1,2}\p{Sc}|\p{Sc}|[A-Z]{3})"
_GAP = r"[ \x{A0}\x{202F}]"

# strptime directives: what DuckDB reads, held to what the directive says (DuckDB skips blanks and takes less).
_DIRECTIVES = {
    "Y": "[0-9]{4}",
    "y": "[0-9]{2}",
    "m": "[0-9]{1,2}",
    "d": "[0-9]{1,2}",
    "H": "[0-9]{1,2}",
    "I": "[0-9]{1,2}",
    "M": "[0-9]{1,2}",
    "S": "[0-9]{1,2}",
    "f": "[0-9]{1,6}",
    "j": "[0-9]{1,3}",
    "w": "[0-6]",
    "b": "[A-Za-z]+",
    "B": "[A-Za-z]+",
    "a": "[A-Za-z]+",
    "A": "[A-Za-z]+",
    "p": "[AaPp][Mm]",
    "z": "[+-][0-9]{2}(?::?[0-9]{2})?",
    "%": "%",
}


def apply(operations: Sequence[Standardise], text: str) -> tuple[str, list[str]]:
    """SQL text after the operations, and SQL conditions (never NULL) under which one of them refused its input."""
    refusals: list[str] = []
    for one in operations:
        before = text
        text = once(before, "hg_b", _operation(one, "hg_b")) if len(before) > LONG else _operation(one, before)
        if one.op in ("number", "currency", "date"):
            refusals.append(f"({before} IS NOT NULL AND {text} IS NULL)")
    return text, refusals


def _operation(one: Standardise, text: str) -> str:
    match one.op:
        case "trim":
            # Looking is ten times cheaper than trimming, and most texts have nothing to trim.
            outer = text_literal(f"^[{BLANKS}]|[{BLANKS}]$")
            return (
                f"CASE WHEN regexp_matches({text}, {outer}) THEN trim({text}, {text_literal(BLANKS)}) ELSE {text} END"
            )
        case "squeeze":
            run = text_literal(f"[{BLANKS}]+")
            wide = text_literal(f"[{BLANKS}]{{2}}|[{BLANKS.replace(' ', '')}]")
            return (
                f"CASE WHEN regexp_matches({text}, {wide}) THEN regexp_replace({text}, {run}, ' ', 'g') ELSE {text} END"
            )
        case "lower" | "upper":
            return f"{one.op}({text})"
        case "title":
            words = f"list_transform(string_split({text}, ' '), lambda hg_w: upper(hg_w[1]) || lower(hg_w[2:]))"
            return f"array_to_string({words}, ' ')"
        case "empty_to_null":
            return f"nullif({text}, '')"
        case "null_if":
            return _null_if(text, one.argument)
        case "map":
            return _mapped(text, one.argument)
        case "number":
            return _number(text, one.argument, currency=False)
        case "currency":
            return _number(text, one.argument, currency=True)
        case "date":
            return _date(text, one.argument)
        case _:
            raise FixInputError(f"there is no standardisation {one.op!r}")


def _null_if(text: str, values: Any) -> str:
    listed = [values] if isinstance(values, str) else list(values or ())
    if not listed:
        return text
    return f"CASE WHEN {text} IN ({', '.join(text_literal(str(one)) for one in listed)}) THEN NULL ELSE {text} END"


def _mapped(text: str, pairs: Any) -> str:
    if not isinstance(pairs, Mapping):
        raise FixInputError("the standardisation map needs a mapping of texts")
    if not pairs:
        return text
    cases = " ".join(
        f"WHEN {text_literal(str(old))} THEN {literal(None if new is None else str(new))}" for old, new in pairs.items()
    )
    return f"CASE {text} {cases} ELSE {text} END"


def _number(text: str, argument: Any, *, currency: bool) -> str:
    decimal = argument.get("decimal", ".") if isinstance(argument, Mapping) else "."
    if decimal not in (".", ","):
        raise FixInputError(f"a decimal mark is '.' or ',', not {decimal!r}")
    group = "," if decimal == "." else "."
    grouped = "|".join(f"[0-9]{{1,3}}(?:{mark}[0-9]{{3}})+" for mark in (f"[{group}]", "'", "\u2019", _GAP))
    fraction = f"[{decimal}][0-9]+"
    digits = f"(?:(?:{grouped}|[0-9]+)(?:{fraction})?|{fraction})"
    signed = f"[+-]?{digits}"
    if currency:
        # The mark may stand on either side, the sign before or after the mark; brackets take no sign.
        front = f"{_MARK}{_GAP}?"
        back = f"{_GAP}?{_MARK}"
        bare = f"(?:{front}{digits}|{digits}{back}|{digits})"
        signed = rf"(?:[+-]?{bare}|{front}[+-]{digits}|\({bare}\))"
    plain = f"replace(regexp_replace({text}, {text_literal(f'[^0-9{decimal}]')}, '', 'g'), '{decimal}', '.')"
    negative = f"regexp_matches({text}, '[(-]')"
    sign = f"CASE WHEN {negative} THEN '-' ELSE '' END"
    return f"CASE WHEN regexp_full_match({text}, {text_literal(signed)}) THEN ({sign}) || {plain} END"


def _date(text: str, formats: Any) -> str:
    listed = [formats] if isinstance(formats, str) else list(formats or ())
    if not listed:
        raise FixInputError("the standardisation date needs a list of formats")
    return "coalesce(" + ", ".join(_strptime(text, str(one)) for one in listed) + ")"


def _strptime(text: str, layout: str) -> str:
    """SQL: ISO text of what the format reads, with a time of day and a Z only when the format has time and zone."""
    pieces, used = [], set()
    for literal_part, directive in re.findall(r"([^%]+)|%-?(.)", layout, re.DOTALL):
        if directive and directive not in _DIRECTIVES:
            raise FixInputError(
                f"the date format {layout!r} holds %{directive}, which is not one of {''.join(_DIRECTIVES)}"
            )
        used.add(directive)
        pieces.append(_DIRECTIVES[directive] if directive else re.escape(literal_part))
    iso = "%Y-%m-%d"
    if used & set("HIMSf"):
        iso += " %H:%M:%S.%f"
    instant = f"try_strptime({text}, {text_literal(layout)})"
    if "z" in used:
        iso += "Z"
        instant = f"make_timestamp(epoch_us({instant}))"
    return (
        f"CASE WHEN regexp_full_match({text}, {text_literal(''.join(pieces))}) "
        f"THEN strftime({instant}, {text_literal(iso)}) END"
    )
