from __future__ import annotations

import pyarrow as pa
import pytest

from headgate.contract.model import Kind, Limits, Type
from headgate.sources.postgres_types import Column, numeric_size


def column(oid: int, modifier: int = -1) -> Column:
    return Column("c", 1, oid, modifier, "x", "x", True)


def modifier(precision: int, scale: int) -> int:
    return ((precision << 16) | (scale & 0x7FF)) + 4


@pytest.mark.parametrize(("precision", "scale"), [(10, 2), (38, 38), (5, -2), (1000, 1000), (3, 5), (2, -1000)])
def test_precision_and_scale_are_unpacked(precision, scale):
    assert numeric_size(modifier(precision, scale)) == (precision, scale)


def test_a_numeric_is_decimal_only_where_that_is_exact():
    assert column(1700, modifier(38, 10)).arrow == pa.decimal128(38, 10)
    for one in (-1, modifier(39, 0), modifier(5, -2), modifier(3, 5)):
        assert column(1700, one).arrow == pa.string()


def test_what_has_no_exact_type_is_text():
    for oid in (114, 3802, 2950, 1186, 1266, 790, 869, 1007, 26, 999999):
        assert column(oid).arrow == pa.string()
        assert column(oid).watermark_kind is None


def test_contract_types_and_limits_follow():
    assert column(1184).logical == Type(Kind.TIMESTAMP, zoned=True)
    assert column(21).logical == Type(Kind.INTEGER, bits=32)
    assert column(17).logical == Type(Kind.BINARY)
    assert column(1083).logical == Type(Kind.TIME)
    assert column(1043, 11).limits == Limits(max_length=7)
    assert column(1042, 11).limits == Limits(min_length=7, max_length=7)
    assert column(25).limits == Limits()
