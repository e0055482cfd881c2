"""What is judged together ends where a commit of bronze ended, as long as that is neither too much nor too far."""

from dataclasses import dataclass, field

from headgate.contract.model import Dataset
from headgate.ports.batch import Position
from headgate.ports.engine import Span
from headgate.steps.portion import Portion, next_portion

DATASET = Dataset("events", (), "events", "1.0.0")


@dataclass
class Table:
    """`stops` are the offsets of partitions after each commit, the oldest first."""

    stops: list[dict[str, int]] = field(default_factory=list)
    kept: int = 100
    at: dict[str, int] = field(default_factory=dict)

    def position(self, stream):
        return Position({p: str(n) for p, n in (self.at or self.stops[-1]).items()})

    def facts(self, name):
        return str(self.stops[-1].get(name.partition(":")[2], 0))

    def commits(self):
        numbered = list(enumerate(self.stops, 1))[-self.kept :]
        return iter([(n, {f"offset:{p}": str(stop) for p, stop in one.items()}) for n, one in reversed(numbered)])


@dataclass
class Lake:
    bronze: Table | None
    silver: Table | None = None

    def table(self, name):
        return {"bronze.events": self.bronze, "silver.events": self.silver}[name]


# Two workers, each with two partitions, take turns: 10 rows of each in a commit.
SHARED = [
    {"a": 10, "b": 10},
    {"a": 10, "b": 10, "c": 10, "d": 10},
    {"a": 20, "b": 20, "c": 10, "d": 10},
    {"a": 20, "b": 20, "c": 20, "d": 20},
]


def portion(most_rows, *, judged=None, stops=SHARED, kept=100):
    silver = Table(at=judged) if judged else None
    return next_portion(DATASET, Lake(Table(stops, kept), silver), most_rows)


def test_all_that_waits_is_one_portion_when_it_is_not_too_much():
    everything = [Span(p, 0, 20) for p in "abcd"]
    assert portion(80) == portion(1000) == Portion(everything, all_there_is=True)
    assert portion(80, judged=dict.fromkeys("abcd", 20)) is None
    assert next_portion(DATASET, Lake(None), 10) is None


def test_a_portion_ends_with_the_newest_commit_that_is_not_too_much():
    assert portion(79) == Portion([Span("a", 0, 20), Span("b", 0, 20), Span("c", 0, 10), Span("d", 0, 10)], 3)
    assert portion(59) == Portion([Span(p, 0, 10) for p in "abcd"], 2)
    assert portion(20) == Portion([Span("a", 0, 10), Span("b", 0, 10)], 1)
    after_one = {"a": 10, "b": 10}
    assert portion(20, judged=after_one) == Portion([Span("c", 0, 10), Span("d", 0, 10)], 2)
    assert portion(40, judged={"a": 5, "b": 10}) == Portion([Span("a", 5, 10), Span("c", 0, 10), Span("d", 0, 10)], 2)


def test_a_commit_somewhat_larger_than_a_portion_is_judged_whole_and_one_much_larger_in_slices():
    assert portion(15) == Portion([Span("a", 0, 10), Span("b", 0, 10)], 1)
    assert portion(9) == Portion([Span(p, 0, 2) for p in "abcd"])


def test_commits_that_are_no_longer_known_are_judged_in_slices():
    assert portion(20, kept=2) == Portion([Span(p, 0, 5) for p in "abcd"])
    assert portion(20, kept=3) == Portion([Span(p, 0, 10) for p in "abcd"], 2)
