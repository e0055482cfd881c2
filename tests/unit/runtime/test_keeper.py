"""When upkeep of a run that goes on has its turn."""

from contextlib import contextmanager
from threading import Condition, Event
from types import SimpleNamespace

import pytest

from headgate.runtime import keeper
from headgate.runtime.flow import Flow
from headgate.runtime.observe import Meter
from headgate.runtime.settings import ContinuousSettings


@pytest.fixture
def tended(monkeypatch):
    """How often upkeep was at work."""
    done = []

    @contextmanager
    def ours(*_):
        yield True

    monkeypatch.setattr(keeper, "EVERY_S", 0)
    monkeypatch.setattr(keeper, "turn_at", ours)
    monkeypatch.setattr(
        keeper, "tend", lambda *_, beside: done.append(beside) or SimpleNamespace(moved=False, seconds=0.0)
    )
    return done


def test_a_backlog_goes_first_but_not_for_ever(tended, monkeypatch):
    flow = Flow(None, None, ContinuousSettings(batch_rows=100), Meter(), Condition())
    one = keeper.Keeper(SimpleNamespace(lake=None), [flow], Event())
    flow.moved, flow.waiting_rows = 1, 101
    one.turn()
    assert not tended
    flow.waiting_rows = 100
    one.turn()
    assert len(tended) == 1
    flow.moved, flow.waiting_rows = 2, 101
    monkeypatch.setattr(keeper, "PATIENCE_S", 0)
    one.turn()
    assert tended == [True, True]  # beside the other stages


@pytest.mark.parametrize(("every_s", "times"), [(3600, 1), (0, 3)])
def test_free_memory_goes_back_now_and_then_also_behind_a_backlog(tended, monkeypatch, every_s, times):
    given = []
    monkeypatch.setattr(keeper, "give_back", lambda: given.append(1))
    monkeypatch.setattr(keeper, "MEMORY_EVERY_S", every_s)
    flow = Flow(None, None, ContinuousSettings(batch_rows=100), Meter(), Condition())
    one = keeper.Keeper(SimpleNamespace(lake=None), [flow], Event())
    flow.moved, flow.waiting_rows = 1, 101
    for _ in range(3):
        one.turn()
    assert (len(given), tended) == (times, [])
