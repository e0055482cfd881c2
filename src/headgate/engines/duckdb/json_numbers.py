"""Finding numbers that are too long to go through a float unseen, at the speed of memory.

A number of at most 15 digits survives decimal -> float -> decimal. So lines in which some number has 16 or more
characters are set apart. The search looks only where a number can stand: after a colon (and, for arrays of
numbers, after a bracket or a comma). It may set apart a line too many, never one too few.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from decimal import Decimal

import numpy as np

LONG = 16
_SLICE = 1 << 20
_NUMERIC = np.zeros(256, bool)
_NUMERIC[[*b"0123456789.eE+-"]] = True
_BLANK = np.zeros(256, bool)
_BLANK[[*b" \t\r\n"]] = True
_LOOK = (3, 7, 11, LONG - 1)
_TOKEN = re.compile(rb'(?:"((?:[^"\\]|\\.)*)"\s*:\s*|([\[,])\s*)-?([0-9][0-9.eE+-]{%d,})' % (LONG - 1))


def lines_with_long_numbers(data: np.ndarray, offsets: np.ndarray, *, in_arrays: bool) -> np.ndarray:
    """Numbers of the lines that may hold a long number. `data` are the bytes, `offsets` where lines begin and end."""
    first, last = int(offsets[0]), int(offsets[-1])
    found = []
    for start in range(first, last, _SLICE):
        stop = min(start + _SLICE, last)
        part = data[start : min(stop + LONG + 4, last)]
        if len(part) < LONG:
            continue
        opens = part[: stop - start] == ord(":")
        if in_arrays:
            opens |= (part[: stop - start] == ord("[")) | (part[: stop - start] == ord(","))
        at = np.flatnonzero(opens) + 1
        at = at[at + LONG + 2 < len(part)] if stop == last else at
        here = part[at]
        blank = _BLANK[here]
        at = at + blank
        here = part[at]
        # Two blanks before a number are too rare to follow: such a line is set apart as it is.
        sure = at[_NUMERIC[here]]
        for step in _LOOK:
            sure = sure[_NUMERIC[part[sure + step]]]
        found.append(np.concatenate([sure, at[blank & _BLANK[here]]]) + start)
    where = np.concatenate(found) if found else np.empty(0, np.int64)
    return np.unique(np.searchsorted(offsets, where, side="right") - 1)


def survives(line: bytes, names: Collection[bytes]) -> bool:
    """Whether every long number under one of these keys (or in an array) is what its float prints as."""
    for key, opening, token in _TOKEN.findall(line):
        if not opening and b"\\" not in key and key not in names:
            continue
        if Decimal(token.decode()) != Decimal(repr(float(token))):
            return False
    return True
