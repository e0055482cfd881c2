"""What is accepted as a pattern, DuckDB's RE2 takes as well."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headgate.contract.regex import pattern_problem

PIECES = [
    "a", "Z", "0", "é", ".", "^", "$", "|", "(", ")", "(?:", "(?P<n>", "(?i)", "(?i:", "(?=", "(?<", "[", "]", "[^", "-",
    "{2}", "{1,3}", "{,2}", "{500}", "{", "}", "*", "+", "?", "\\d", "\\w", "\\b", "\\A", "\\z", "\\Z", "\\pL", "\\p{Lu}",
    "\\p{Greek}", "\\p{x}", "\\x41", "\\x{1F600}", "\\1", "\\.", "\\-", "\\", "[:alpha:]", "[[:digit:]]", "&&", " ", "_",
    "\\n", "\\u0041", "\\Q", "\\C", "\\h",
]  # fmt: skip


@pytest.fixture(scope="module")
def re2():
    connection = duckdb.connect()

    def takes(pattern):
        try:
            connection.execute("SELECT regexp_matches('abc', ?)", [pattern]).fetchall()
        except duckdb.Error:
            return False
        return True

    yield takes
    connection.close()


@settings(max_examples=2000, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=9).map("".join))
@example("\\pL{1000}")
@example("(\\pL\\pN){900}")
@example("((a{50}b){2}c){11}")
def test_accepted_pattern_is_one_of_re2(re2, pattern):
    if pattern_problem(pattern) is None:
        assert re2(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^[AC]?\d{6}$",
        "^[A-Z]{3}$",
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        r"^\+?[1-9]\d{1,14}$",
        r"(?i)^abc|def$",
        r"^\p{L}+(?:[ '-]\p{L}+)*$",
        "^[[:alpha:]]+$",
        r"^(?P<year>\d{4})-(?P<month>0[1-9]|1[0-2])$",
        r"^[^\s@]+@[^\s@]+\.[a-z]{2,}$",
        "^$",
    ],
)
def test_usual_patterns_are_accepted(re2, pattern):
    assert pattern_problem(pattern) is None
    assert re2(pattern)


@pytest.mark.parametrize("pattern", ["(" * 100_000, "(a" * 400 + ")" * 400, "a" * 5000, "[" * 900, "(?:" * 300])
def test_huge_patterns_are_refused_quickly(pattern):
    assert pattern_problem(pattern)
