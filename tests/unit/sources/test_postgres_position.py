from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.errors import PositionLost
from headgate.sources.postgres_position import (
    REACH,
    FirstScan,
    Identity,
    LaterScan,
    Snapshot,
    Token,
    check_reach,
    unseen_from,
)

ID = Identity("7710236350515009371", 1, "sales", 5, 16385)
FULL = Token(
    ID,
    done=Snapshot(10, 20, (10, 15)),
    watermark="2026-01-01 00:00:00+00",
    rows=7,
    since="2025-12-31 23:50:00+00",
    swept_at=1.5,
    steps=((10, "2025-12-31 00:00:00+00"),),
    leaves={16385: 16390},
    scan=LaterScan(Snapshot(20, 21), (None, "k"), ('"at"', '"id"'), False, None, {16385: 16390}),
)


def test_a_snapshot_is_its_text():
    for text in ("10:20:10,15", "7:7:", "5000000000:5000000002:5000000000"):
        assert str(Snapshot.parse(text)) == text


@given(st.data())
def test_every_transaction_that_comes_into_sight_is_at_or_past_the_bound(data):
    """A model of what PostgreSQL does: transactions with subtransactions, two snapshots, the versions seen between."""
    parents = {}
    for xid in range(1, 13):
        parents[xid] = data.draw(st.sampled_from([xid, *[p for p, top in parents.items() if p == top]]))
    tops = sorted(set(parents.values()))
    ended_first = {t for t in tops if data.draw(st.booleans())}
    ended_later = ended_first | {t for t in tops if data.draw(st.booleans())}
    first_end = data.draw(st.integers(1, 13))

    def snapshot(end, ended):
        running = tuple(t for t in tops if t < end and t not in ended)
        return Snapshot(min(running, default=end), end, running)

    done, now = snapshot(first_end, ended_first), snapshot(13, ended_later)
    seen_then = {x for x in parents if x < first_end and parents[x] in ended_first}
    seen_now = {x for x in parents if parents[x] in ended_later}
    assert all(x >= unseen_from(done, now) for x in seen_now - seen_then)
    assert all(x >= unseen_from(replace(done, running=()), now) for x in seen_now - seen_then), "as on a standby"


def test_a_transaction_that_stays_open_does_not_pull_the_bound_back():
    assert unseen_from(Snapshot(10, 20, (10,)), Snapshot(10, 30, (10, 25))) == 20
    assert unseen_from(Snapshot(10, 20, (10,)), Snapshot(25, 30, (25,))) == 10


@pytest.mark.parametrize("token", [FULL, Token(ID), replace(FULL, scan=FirstScan(Snapshot(1, 1), 16385, 16390, 4))])
def test_a_token_survives_as_text(token):
    assert Token.loads(token.dumps()) == token
    assert Token.loads(token.dumps()).dumps() == token.dumps()


@given(
    st.sampled_from(sorted(json.loads(FULL.dumps()))), st.sampled_from([None, [], {}, "x", -1, True, [[1]], {"a": []}])
)
def test_a_token_with_one_wrong_part_is_refused_or_read_as_it_stands(name, wrong):
    text = json.dumps({**json.loads(FULL.dumps()), name: wrong})
    try:
        token = Token.loads(text)
    except PositionLost:
        return
    assert json.loads(token.dumps()) == json.loads(text)


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", "-1", '"x"', FULL.dumps()[:-5], FULL.dumps() * 2, "{" * 3000])
def test_what_is_not_a_token_is_refused(text):
    with pytest.raises(PositionLost):
        Token.loads(text)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"system": "1"}, "another PostgreSQL cluster"),
        ({"timeline": 2}, "restored or failed over"),
        ({"database": "x"}, "another database"),
        ({"database_oid": 6}, "another database"),
        ({"table": 1}, "dropped and made again"),
    ],
)
def test_each_change_of_identity_is_told_in_words(changes, said):
    assert ID.difference(ID) is None
    assert said in ID.difference(replace(ID, **changes))


def test_ids_must_be_within_reach():
    token = Token(ID, done=Snapshot(100, 100))
    check_reach(token, Snapshot(99 + REACH, 99 + REACH))
    with pytest.raises(PositionLost):
        check_reach(token, Snapshot(100 + REACH, 100 + REACH))
    with pytest.raises(PositionLost):
        check_reach(replace(token, steps=((50, "x"),)), Snapshot(50 + REACH, 50 + REACH))
