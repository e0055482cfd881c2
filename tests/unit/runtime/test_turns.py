"""Short turns of Python's lock: as long as somebody wants them, and not longer."""

from __future__ import annotations

import sys

import pytest

from headgate.runtime.turns import TURN_S, short_turns


def test_turns_are_short_until_the_last_one_has_left_and_then_as_before():
    before = sys.getswitchinterval()
    one, other = short_turns(), short_turns()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)  # it came first and goes first
    assert sys.getswitchinterval() == pytest.approx(TURN_S)
    other.__exit__(None, None, None)
    assert sys.getswitchinterval() == pytest.approx(before)


def test_an_error_ends_short_turns_too():
    before = sys.getswitchinterval()
    with pytest.raises(KeyError), short_turns():
        raise KeyError
    assert sys.getswitchinterval() == pytest.approx(before)
