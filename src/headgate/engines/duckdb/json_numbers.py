"""Finding numbers that are too long to go through a float unseen, at the speed of memory.

A number of at most 15 digits survives decimal -> float -> decimal. So lines in which some number has 16 or more
characters are set apart. The search looks only where a number can stand: after a colon (and, for arrays of
numbers, after a bracket or a comma). It may set apart a line too many, never one too few.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from decimal import Decimal

import numpy as np

from headgate.contract.model import Dataset, Field, Kind, Type
from headgate.contract.sql_names import item_of

LONG = 16
_SLICE = 1 << 18  # bytes looked at together: they stay in the processor's cache
_NUMERIC = np.zeros(256, bool)
_NUMERIC[[*b"0123456789.eE+-"]] = True
_LOOK = (7, LONG - 1, 3, 11)  # characters behind the first that must be numeric too, most telling first
_TOKEN = re.compile(rb'(?:"((?:[^"\\]|\\.)*)"\s*:\s*|([\[,])\s*)-?([0-9][0-9.eE+-]{%d,})' % (LONG - 1))


def lines_with_long_numbers(data: np.ndarray, offsets: np.ndarray, *, in_arrays: bool) -> np.ndarray:
    """Numbers of the lines that may hold a long number. `data` are the bytes, `offsets` where lines begin and end."""
    first, last = int(offsets[0]), int(offsets[-1])
    found = []
    for start in range(first, last, _SLICE):
        stop = min(start + _SLICE, last)
        # The last number of the data ends before a closing bracket: what lies past the end cannot be long.
        part = data[start : min(stop + LONG + 1, last)]
        for opening in b":[," if in_arrays else b":":
            at = _long_numbers(part, opening, stop - start)
            if len(at):
                found.append(at + start)
    if not found:
        return np.empty(0, np.int64)
    return np.unique(np.searchsorted(offsets, np.concatenate(found), side="right") - 1)


def _long_numbers(part: np.ndarray, opening: int, stop: int) -> np.ndarray:
    """Positions below `stop` of openings behind which a long number stands, or two blanks."""
    if len(part) <= LONG:
        return np.empty(0, np.int64)
    here = part[: min(stop, len(part) - LONG)]
    after = part[1 : len(here) + 1]
    # One subtraction finds everything from the minus sign to the digit nine, and a little more.
    opens = here == opening
    at = np.flatnonzero(opens & (after - np.uint8(ord("-")) <= ord("9") - ord("-"))) + 1
    for step in _LOOK:
        at = at[_NUMERIC[part[at + step]]]
    opens &= after <= ord(" ")
    if opens.any():
        spaced = np.flatnonzero(opens) + 2
        again = spaced[part[spaced] <= ord(" ")]  # too rare to follow: such a line is set apart as it is
        for step in (0, *_LOOK):
            spaced = spaced[spaced + step < len(part)]
            spaced = spaced[_NUMERIC[part[spaced + step]]]
        at = np.concatenate([at, again, spaced])
    return at


def survives(line: bytes, names: Collection[bytes]) -> bool:
    """Whether every long number under one of these keys (or in an array) is what its float prints as."""
    for key, opening, token in _TOKEN.findall(line):
        if not opening and b"\\" not in key and key not in names:
            continue
        try:
            same = Decimal(token.decode()) == Decimal(repr(float(token)))
        except (ValueError, ArithmeticError):  # digits and dashes inside a text
            same = False
        if not same:
            return False
    return True


def number_names(dataset: Dataset, keys: Sequence[str]) -> tuple[frozenset[bytes], bool, bool]:
    """Keys under which a number goes through a float, whether numbers stand in arrays, and
    whether some decimal has more digits than a float holds for certain."""
    names: set[bytes] = {key.encode() for key in keys}
    arrays = wide = False

    def visit(one: Field, *, item: bool) -> None:
        nonlocal arrays, wide
        of: Type = one.type
        if of.kind in (Kind.NUMBER, Kind.DECIMAL) or (one.standardise and of.kind is not Kind.STRING):
            names.add(one.source_name.encode())
            arrays = arrays or item
            wide = wide or of.precision > 15
        for inner in of.fields:
            visit(inner, item=False)
        if of.kind in (Kind.ARRAY, Kind.MAP):
            visit(item_of(of), item=True)

    for one in dataset.fields:
        if one.transform is None:
            visit(one, item=False)
    return frozenset(names), arrays, wide
