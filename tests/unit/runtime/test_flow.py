"""Back-pressure: how far bronze may be ahead of silver, and what silver's progress gives back."""

from threading import Condition
from types import SimpleNamespace

from headgate.ports.batch import Position
from headgate.runtime.flow import Flow
from headgate.runtime.observe import Meter
from headgate.runtime.record import DatasetRecord
from headgate.runtime.settings import ContinuousSettings
from headgate.steps.judged import Judged
from headgate.steps.land import Landed


def flow(**settings):
    dataset = SimpleNamespace(name="orders")
    made = Flow(dataset, DatasetRecord("orders", "1"), ContinuousSettings(**settings), Meter(), Condition())
    made.judging = True
    return made


def landed(one, partition, start, stop):
    one.landed(Landed(stop - start, 1, 1, Position.start(), Position.start(), {partition: stop}), [(0.0, stop - start)])


def judged(one, partition, start, stop, mark=0):
    counts = {"accepted": stop - start}
    one.judged(Judged(stop - start, 1, {partition: counts}, spans={partition: (start, stop)}), mark)


def test_landing_waits_when_bronze_is_so_many_batches_ahead_and_goes_on_when_silver_follows():
    one = flow(batch_rows=100, ahead_batches=2)
    landed(one, "p", 0, 150)
    assert not one.full
    landed(one, "p", 150, 250)
    assert one.full
    judged(one, "p", 0, 120)  # in the middle of a micro-batch: it is not seen yet
    assert (one.full, one.waiting_rows) == (True, 250)
    judged(one, "p", 120, 250)
    assert (one.full, one.waiting_rows) == (False, 0)


def test_many_small_batches_wait_too():
    one = flow(batch_rows=1_000_000, ahead_batches=1)
    for number in range(8):
        assert not one.full
        landed(one, "p", number, number + 1)
    assert one.full


def test_nothing_waits_for_a_silver_that_is_not_selected():
    one = flow(batch_rows=1, ahead_batches=1)
    one.judging = False
    landed(one, "p", 0, 100)
    assert not one.full


def test_what_another_process_judged_is_not_waited_for_but_what_came_later_is():
    one = flow()
    landed(one, "p", 0, 10)
    mark = one.mark
    landed(one, "p", 10, 20)
    judged(one, "p", 0, 0, mark)
    assert one.waiting_rows == 10


def test_every_landed_row_is_seen_once():
    one = flow()
    landed(one, "p", 0, 10)
    landed(one, "q", 0, 5)
    judged(one, "q", 0, 5)
    judged(one, "p", 0, 10)
    _, distributions = one.meter.everything()
    assert sum(d.count for (name, _), d in distributions.items() if name == "headgate_visible_seconds") == 15


def test_a_micro_batch_gathers_for_as_long_as_one_takes_within_bounds():
    one = flow(batch_ms=400)
    assert one.gather_s == 0.2
    one.land_s, one.judge_s = 0.05, 0.25
    assert one.gather_s == 0.05 + 0.25
    one.judge_s = 5.0
    assert one.gather_s == 0.4


def test_the_budget_is_counted_over_all_that_was_judged_lately(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("headgate.runtime.flow.time.monotonic", lambda: clock[0])
    one = flow(budget_s=10)
    for number in range(20):  # two a second
        judged(one, "p", number * 10, number * 10 + 10)
        clock[0] += 0.5
    assert one.lately().read == 200
    clock[0] += 5.2
    assert one.lately().read == 80  # what was judged in a second goes together
    clock[0] += 60
    assert one.lately().read == 0
