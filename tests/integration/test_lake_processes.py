"""Several processes on one lake, and processes that die in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from headgate.errors import CommitConflict, StalePosition
from rigs import iceberg_reader
from rigs import small_lake as small

TABLES = ("bronze.orders", "silver.orders")
POINTS = {
    "lake: data files written": "old",
    "lake: manifests written": "old",
    "lake: metadata written": "old",
    "lake: inside sql": "old",
    "lake: before sql commit": "old",
    "lake: after sql": "new",
}


@pytest.fixture
def lake(tmp_path):
    return small.lake_in(tmp_path)


def worker(lake, *arguments, **environment):
    """A worker process that has not been waited for."""
    return subprocess.Popen(
        [sys.executable, "-m", "rigs.lake_worker", str(lake.settings.warehouse), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_of_two_that_continue_one_position_in_opposite_table_order_exactly_one_wins(lake):
    small.publish(lake, 0, 1, *TABLES)
    rounds = 8
    racers = [worker(lake, "race", *order, rounds) for order in (TABLES, TABLES[::-1])]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for number in range(rounds):
        for racer in racers:
            racer.stdin.write(f"{number + 1}\n")
            racer.stdin.flush()
        assert sorted(racer.stdout.readline().strip() for racer in racers) == ["refused", "won"]
        assert [small.offsets(lake, t) for t in TABLES] == [list(range(number + 2))] * 2
    for racer in racers:
        racer.communicate()
        assert racer.returncode == 0


def test_two_that_publish_twenty_times_each_all_land(lake):
    small.publish(lake, 0, 1)
    both = [worker(lake, "count", "bronze.orders", 20) for _ in range(2)]
    for one in both:
        one.communicate()
        assert one.returncode == 0
    assert small.offsets(lake) == list(range(41))
    assert small.where(lake) == 41
    assert len(lake.publications()) == 41


@pytest.mark.parametrize("point", [f"{p}{n}" for p in POINTS for n in ("", "@2")])
def test_killed_at_any_point_the_lake_is_old_or_new_never_torn(lake, point):
    small.publish(lake, 0, 5, *TABLES)
    child = worker(lake, "once", HEADGATE_CRASH=point)
    child.communicate()
    name, _, nth = point.partition("@")
    once_only = name in (
        "lake: data files written",
        "lake: metadata written",
        "lake: before sql commit",
        "lake: after sql",
    )
    expected = "new" if nth and once_only else POINTS[name]
    assert child.returncode == (0 if nth and once_only else -signal.SIGKILL)
    rows = list(range(5)) if expected == "old" else list(range(5, 12))
    assert [small.offsets(lake, t) for t in TABLES] == [rows, rows]
    assert small.where(lake) == (5 if expected == "old" else 12)
    assert lake.publications(1)[0].get("replaced", False) is (expected == "new")
    small.publish(lake, small.where(lake), 3, *TABLES)
    assert len(small.offsets(lake)) == len(rows) + 3
    located = {t.split(".")[0]: lake.cut().table(t).location for t in TABLES}
    if nth == "":
        answers = iceberg_reader.ask(located, *(f"select count(*), sum(_hg_offset) from {t}" for t in located))
        total = [[str(len(rows) + 3), str(sum(small.offsets(lake)))]]
        assert answers == [total, total]


def test_every_crash_point_of_a_publication_is_tested():
    import re
    from pathlib import Path

    import headgate.stores.iceberg as store

    found = {
        p
        for f in Path(store.__file__).parent.glob("*.py")
        for p in re.findall(r'crash\.point\("(.+?)"\)', f.read_text())
    }
    assert {point for point in found if point.startswith("lake: ")} == set(POINTS)


def test_a_reader_never_sees_one_table_new_and_another_old(lake):
    small.publish(lake, 0, 1, *TABLES)
    torn, reads = [], 0
    writer = worker(lake, "fill", *TABLES, 60)
    while writer.poll() is None:
        cut = lake.cut()
        seen = [(cut.table(t).rows(), cut.table(t).position(small.STREAM).dumps()) for t in TABLES]
        reads += 1
        if seen[0] != seen[1]:
            torn.append(seen)
    writer.communicate()
    assert writer.returncode == 0
    assert torn == []
    assert reads > 50
    assert small.where(lake) == 60


def test_a_slow_replacement_is_not_starved_by_a_fast_appender(lake):
    small.publish(lake, 0, 1)
    paths = [f.path for f in lake.cut().table("bronze.orders").files()]
    appender = worker(lake, "count", "bronze.orders", 40)
    with lake.publication("maintain") as publication:
        publication.remove("bronze.orders", paths)
        publication.write("bronze.orders", [small.rows(0, 1)])
        publication.commit()
    appender.communicate()
    assert appender.returncode == 0
    assert small.offsets(lake) == list(range(41))


def test_threads_of_one_lake_publish_side_by_side(lake):
    small.publish(lake, 0, 1)
    trouble = []

    def add(partition):
        for number in range(5):
            try:
                with lake.publication("land") as publication:
                    publication.write("bronze.orders", [small.rows(number, 1, partition=partition)])
                    start = small.at(number, partition) if number else small.at(None)
                    publication.move("bronze.orders", small.STREAM, start, small.at(number + 1, partition))
                    publication.commit()
            except (CommitConflict, StalePosition) as error:
                trouble.append(error)

    threads = [threading.Thread(target=add, args=(f"worker-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trouble == []
    tokens = lake.cut().table("bronze.orders").position(small.STREAM).tokens
    assert tokens == {"p": "1", **{f"worker-{n}": "5" for n in range(4)}}
    assert len(small.offsets(lake)) == 21
