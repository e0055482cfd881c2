"""Arrow decimals as PostgreSQL's binary numeric: header, then digits to the base 10,000, the same number for each row.

PostgreSQL strips digits that are zero at both ends when it takes a value in, so all rows may have as many as the
type needs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_NEGATIVE = 0x4000
_LIMB = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


def numeric(column: Any) -> np.ndarray:
    """The values of a decimal column, each as many bytes; anything where it is NULL."""
    of = column.type
    whole, broken = -(-(of.precision - of.scale) // 4), -(-of.scale // 4)
    layout = np.dtype(
        [("n", ">i2"), ("weight", ">i2"), ("sign", ">u2"), ("scale", ">i2"), ("d", ">i2", (whole + broken,))]
    )
    out = np.zeros(len(column), layout)
    low, high = _words(column)
    negative = high >> np.uint64(63) == 1
    out["n"], out["weight"], out["scale"] = whole + broken, whole - 1, of.scale
    out["sign"] = np.where(negative, _NEGATIVE, 0)
    magnitude = _magnitude(low, high, negative)
    for place in range(whole + broken - 1, -1, -1):
        # The last digit behind the point may be made of fewer than four decimal ones: they are its first.
        short = of.scale % 4 if place == whole + broken - 1 and of.scale % 4 else 4
        magnitude, digit = _divided(magnitude, 10**short)
        out["d"][:, place] = digit * 10 ** (4 - short)
    return out.view(f"V{layout.itemsize}")


def _words(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """Low and high 64 bits of each value."""
    words = np.frombuffer(column.buffers()[1], "<u8")[2 * column.offset : 2 * (column.offset + len(column))]
    return words[0::2], words[1::2]


def _magnitude(low: np.ndarray, high: np.ndarray, negative: np.ndarray) -> list[np.ndarray]:
    """Absolute values as words, highest first: one of 64 bits when all fit there, else four of 32."""
    flipped = np.where(negative, ~low + np.uint64(1), low)
    carried = np.where(negative, ~high + (low == 0).astype("u8"), high)
    if not carried.any():
        return [flipped]
    return [carried >> _LIMB, carried & _LOW, flipped >> _LIMB, flipped & _LOW]


def _divided(words: list[np.ndarray], by: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Quotient and remainder."""
    divisor = np.uint64(by)
    if len(words) == 1:
        quotient = words[0] // divisor
        return [quotient], words[0] - quotient * divisor
    quotients, rest = [], np.zeros(len(words[0]), "u8")
    for word in words:
        current = (rest << _LIMB) | word
        quotient = current // divisor
        rest = current - quotient * divisor
        quotients.append(quotient)
    return quotients, rest
