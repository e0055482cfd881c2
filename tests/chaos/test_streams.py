"""A topic that workers follow while they come and go, stand still and wake up, and while the broker is restarted.

At full size (`make chaos`): 600 s of storm, 20 restarts of the broker of which 5 are kills, 20 workers that stand still.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
import topic_drop
from cases import KafkaCase

from headgate import Project
from rigs.going import rows_of, until
from rigs.kafka import Broker

STORM_S = float(os.environ.get("HEADGATE_STORM_S") or 12)
TICK_S = 3.0
CONTINUOUS = "continuous: {batch_ms: 200}\n"
SHARED = "group: workers, session_s: 3"


class Worker:
    """One `run --continuous` in a process group of its own."""

    def __init__(self, project, said: Path) -> None:
        self.said = said
        with said.open("w") as err:
            self.process = project.begin("run", "--continuous", stderr=err)

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def is_following(self) -> bool:
        assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.said.read_text()[-2000:]}"
        return "following" in self.said.read_text()

    def end(self) -> int:
        """Its exit code, after it was asked to stop or was killed."""
        code = self.process.wait(120)
        self.process.communicate()
        return code


@pytest.fixture
def workers(kafka, tmp_path):
    """Starts workers on one project; ends what still runs."""
    made: list[Worker] = []

    def start(number: int = 1) -> list[Worker]:
        fresh = [Worker(kafka.project, tmp_path / f"worker-{len(made) + n}.err") for n in range(number)]
        made.extend(fresh)
        return fresh

    yield start
    for one in made:
        if one.process.poll() is None:
            os.killpg(one.process.pid, signal.SIGKILL)
            one.end()


def shared(case: KafkaCase) -> None:
    """Its workers share the topic."""
    path = case.project.folder / "headgate.yaml"
    group = SHARED.replace("workers", f"{case.drop.topic}-workers")
    path.write_text(CONTINUOUS + path.read_text().replace("{topic", "{" + group + ", topic"))


def landed(case: KafkaCase):
    """Whether every message that was sent is in bronze."""
    return lambda: rows_of(case.project.folder, "bronze.orders") == len(case.drop.lines)


def ended(workers: list[Worker]) -> None:
    """All of them, well."""
    for one in workers:
        code = one.end()
        assert code == 0, f"ended with {code}: {one.said.read_text()[-3000:]}"


def stand_still(case: KafkaCase, worker: Worker, *, in_catalog: bool) -> None:
    """Stops a worker inside a transaction of the catalog or outside. Inside, everybody waits for it."""
    state = Path(f"/proc/{worker.process.pid}/stat")
    for _ in range(1000):
        worker.send(signal.SIGSTOP)
        until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", "it stands still", 10)
        if is_locked(catalog_of(case)) == in_catalog:
            return
        worker.send(signal.SIGCONT)
        if in_catalog:
            case.change()
        time.sleep(0.02)
    raise AssertionError(f"never stopped {'inside' if in_catalog else 'outside'} the catalog's transaction")


def catalog_of(case: KafkaCase) -> Path:
    return case.project.folder / ".headgate" / "lake" / "catalog.db"


def is_locked(catalog: Path) -> bool:
    """Whether somebody is inside a transaction that writes, and stays there for a while."""
    with closing(sqlite3.connect(catalog, timeout=0.5, isolation_level=None)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            return True
        database.execute("ROLLBACK")
        return False


def one_writer_at_a_time(folder: Path) -> int:
    """What each publication wrote of a partition lies wholly before what the next one wrote. Returns publications."""
    with Project.open(folder) as project:
        rows = project.query(
            "SELECT _hg_partition AS p, min(_hg_offset) AS first, max(_hg_offset) AS last, _hg_ingested_at AS at"
            " FROM bronze.orders GROUP BY 1, 4 ORDER BY 1, 2"
        ).to_pylist()
    for one, other in pairwise(rows):
        assert one["p"] != other["p"] or (one["last"] < other["first"] and one["at"] < other["at"]), (one, other)
    return len({row["at"] for row in rows})


@pytest.mark.timeout(300 + 2 * STORM_S)
def test_a_storm_of_rebalances_loses_and_doubles_nothing(kafka, rng, workers):
    """Every few seconds a worker comes, leaves in order, or is killed; three at most."""
    shared(kafka)
    alive = workers(1)
    until(alive[0].is_following, "the first worker follows")
    counts = {"came": 1, "left": 0, "killed": 0}
    end = time.monotonic() + STORM_S
    while time.monotonic() < end:
        tick = time.monotonic() + TICK_S
        kafka.change()
        if len(alive) < 3:
            alive += workers(1)
            counts["came"] += 1
        else:
            one = alive.pop(rng.randrange(3))
            number = rng.choice([signal.SIGTERM, signal.SIGTERM, signal.SIGKILL])
            early = "following" not in one.said.read_text()
            one.send(number)
            code = one.end()
            assert code in ((-number,) if number == signal.SIGKILL else (0, -number) if early else (0,)), (
                f"ended with {code}: {one.said.read_text()[-3000:]}"
            )
            counts["killed" if number == signal.SIGKILL else "left"] += 1
        time.sleep(max(0.0, tick - time.monotonic()))
    until(alive[-1].is_following, "the last worker follows")
    until(landed(kafka), "everything is in bronze", 120)
    for one in alive:
        one.send(signal.SIGTERM)
    ended(alive)
    publications = one_writer_at_a_time(kafka.project.folder)
    kafka.finish()
    print(f"{STORM_S:.0f} s: {counts}, {len(kafka.drop.lines)} messages in {publications} publications")
    assert min(counts.values()) > 0 or STORM_S < 60


@pytest.mark.timeout(300 + 30 * 20)
def test_workers_that_stand_still_until_they_are_replaced_add_nothing_when_they_wake_up(kafka, rng, workers, kills):
    """Each with the group's word that it is gone, and rows of partitions that are another's now."""
    shared(kafka)
    pair = workers(2)
    for one in pair:
        until(one.is_following, "both follow")
    kafka.change()
    until(landed(kafka), "there is a catalog to stand still beside")
    rounds = max(1, kills // 10)
    for _ in range(rounds):
        zombie = rng.choice(pair)
        kafka.change()
        time.sleep(rng.uniform(0, 0.3))  # anywhere in a micro-batch
        stand_still(kafka, zombie, in_catalog=False)
        kafka.change()
        until(landed(kafka), "the other took over", 120)
        zombie.send(signal.SIGCONT)
        kafka.change()
        until(landed(kafka), "both go on", 120)
    for one in pair:
        one.send(signal.SIGTERM)
    ended(pair)
    one_writer_at_a_time(kafka.project.folder)
    kafka.finish()
    print(f"{rounds} workers stood still")


@pytest.mark.slow  # it takes luck to stop one there
def test_a_worker_that_stands_still_inside_the_catalog_holds_up_the_others_until_it_is_killed(kafka, workers):
    """SQLite's lock is its process'. Nobody can take it away, and it goes with the process."""
    shared(kafka)
    one, other = workers(2)
    for each in (one, other):
        until(each.is_following, "both follow")
    kafka.change()
    until(landed(kafka), "there is a catalog to stand still in")
    stand_still(kafka, one, in_catalog=True)
    kafka.change()
    time.sleep(2 * TICK_S)  # its partitions are the other's by now
    assert is_locked(catalog_of(kafka))
    one.send(signal.SIGKILL)
    one.end()
    until(landed(kafka), "the other took over", 120)
    other.send(signal.SIGTERM)
    ended([other])
    kafka.finish()


@pytest.fixture
def own_broker():
    """One that may be killed."""
    one = Broker()
    try:
        yield one.start()
    finally:
        one.stop()


@pytest.mark.timeout(900)
def test_a_broker_that_is_restarted_again_and_again_costs_no_message(own_broker, rng, kills, tmp_path):
    """Back in a minute each time; a quarter of them are kill -9."""
    case = KafkaCase(tmp_path / "project", rng, own_broker)
    path = case.project.folder / "headgate.yaml"
    path.write_text(CONTINUOUS + path.read_text())
    worker = Worker(case.project, tmp_path / "worker.err")
    restarts, slowest_s, hard = max(2, kills // 10), 0.0, 0
    try:
        until(worker.is_following, "the worker follows")
        for number in range(restarts):
            case.change()
            if number % 4 == 0:
                own_broker.settled(case.drop.topic, topic_drop.PARTITIONS)
                own_broker.kill()
                hard += 1
            else:
                own_broker.cluster.nodes[0].stop()
            own_broker.restart()
            begun = time.monotonic()
            case.change()
            until(landed(case), "all messages are in bronze a minute after the broker is back", 60)
            slowest_s = max(slowest_s, time.monotonic() - begun)
        worker.send(signal.SIGTERM)
        assert worker.end() == 0, worker.said.read_text()[-3000:]
        case.finish()
    finally:
        if worker.process.poll() is None:
            os.killpg(worker.process.pid, signal.SIGKILL)
            worker.end()
    print(json.dumps({"restarts": restarts, "hard": hard, "slowest_s": round(slowest_s, 1)}))
