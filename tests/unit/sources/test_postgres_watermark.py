from __future__ import annotations

import pytest

from headgate.sources.postgres_catalog import Activity
from headgate.sources.postgres_types import Column
from headgate.sources.postgres_watermark import Watermark

NOW = "2026-03-01 12:00:00"
NOW_US = 1772366400_000_000
HOUR_US = 3_600_000_000
OIDS = {"zoned": 1184, "naive": 1114, "date": 1082, "number": 20}


def mark(kind: str, slack: int | None = None) -> Watermark:
    return Watermark(Column("at", 1, OIDS[kind], -1, kind, kind, True), slack)


def since(kind, newest, oldest_us=None, slack=None, hidden=0):
    return mark(kind, slack).since(newest, Activity(NOW_US, oldest_us, hidden))


def test_the_bound_lies_the_slack_behind_the_newest_value():
    assert since("zoned", "2026-03-01 11:00:00+00") == "2026-03-01 10:50:00+00"
    assert since("zoned", "2026-03-01 11:00:00+00", slack=0) == "2026-03-01 11:00:00+00"


def test_a_value_of_the_future_does_not_carry_the_bound_along():
    assert since("zoned", "2099-01-01 00:00:00+00", slack=0) == NOW + "+00"
    assert since("zoned", "infinity", slack=0) == NOW + "+00"
    assert since("naive", "2099-01-01 00:00:00", slack=0) == "2026-02-28 23:00:00"


def test_an_open_transaction_holds_the_bound_back_by_its_age():
    assert since("zoned", NOW + "+00", NOW_US - 2 * HOUR_US, slack=0) == "2026-03-01 10:00:00+00"
    assert since("naive", "2026-03-01 04:00:00", NOW_US - 2 * HOUR_US, slack=0) == "2026-03-01 01:00:00", (
        "eight hours west"
    )


def test_a_date_gives_a_whole_day_more():
    assert since("date", "2026-03-01", slack=0) == "2026-02-27"


@pytest.mark.parametrize("kind", ["zoned", "naive", "date"])
def test_there_is_no_bound_when_nobody_knows(kind):
    assert since(kind, "2026-03-01", hidden=1) is None
    assert since(kind, None) is None
    assert since(kind, "-infinity") is None


def test_a_number_has_a_bound_only_with_a_slack_of_its_own():
    assert since("number", "500") is None
    assert since("number", "500", slack=100) == "400"
    assert since("number", "NaN", slack=100) is None


def test_values_are_compared_as_values():
    assert mark("number").newest(["9", "10", None]) == "10"
    assert mark("zoned").newest(["2026-01-01 00:00:00+00", "infinity", "0044-01-01 00:00:00+00 BC"]) == "infinity"
    assert mark("zoned").newest([None, ""]) is None
    assert mark("zoned").is_past("2026-01-01 01:00:00+00", "2026-01-01 00:00:00+00", 3600)
    assert not mark("zoned").is_past("2026-01-01 00:59:59+00", "2026-01-01 00:00:00+00", 3600)
