"""A token of a topic's position is understood whole, or not at all."""

from __future__ import annotations

import json

import pytest

from headgate.errors import PositionLost
from headgate.ports.batch import Position
from headgate.sources.kafka_position import Token, position_of, tokens_of

TOKEN = Token("vPeOCWypqUOSepEvx0cbog", "Yl1eWMbVTK6z0Yl6Kk1jVw", 2**62, 17)
TEXT = TOKEN.dump()


def test_it_comes_back_as_it_was_and_others_are_left_alone():
    held = position_of("a/b", {0: TOKEN, 11: TOKEN})
    assert tokens_of(held, "a/b") == {0: TOKEN, 11: TOKEN}
    assert tokens_of(Position({**held.tokens, "a": "x", "owner": "y"}), "a/b") == {0: TOKEN, 11: TOKEN}


@pytest.mark.parametrize("length", range(len(TEXT)))
def test_cut_anywhere_it_is_lost_by_name(length):
    with pytest.raises(PositionLost) as told:
        tokens_of(Position({"t/3": TEXT[:length]}), "t")
    assert (told.value.exit_code, "t/3" in str(told.value)) == (5, True)


WRONG = {
    "another file": '{"file": "a.csv", "line": 7}',
    "an older form": '{"offset": 5}',
    "a newer form": json.dumps({**json.loads(TEXT), "more": 1}),
    "an offset as text": json.dumps({**json.loads(TEXT), "offset": "5"}),
    "an offset that is no number": json.dumps({**json.loads(TEXT), "offset": True}),
    "a float": json.dumps({**json.loads(TEXT), "offset": 5.0}),
    "before the start": json.dumps({**json.loads(TEXT), "offset": -1}),
    "no epoch": json.dumps({**json.loads(TEXT), "epoch": -2}),
    "no identity": json.dumps({**json.loads(TEXT), "cluster": None}),
    "a list": "[]",
    "null": "null",
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_none_of_ours_is_lost_by_name(name):
    with pytest.raises(PositionLost):
        tokens_of(Position({"t/0": WRONG[name]}), "t")
