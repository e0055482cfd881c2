"""SIGKILL at named points and at random times, again and again; after each, the same command must set all right."""

from __future__ import annotations

from collections import Counter

import pytest

from conftest import KILLS


def kill_again_and_again(case, rng, kills: int) -> Counter:
    """The source changes before each kill; one recovery of four is killed too. Returns what was hit."""
    hit: Counter = Counter()
    points, clean_s = [], 3.0
    for number in range(kills):
        case.change()
        for second in range(2 if rng.random() < 0.25 else 1):
            if points and rng.random() < 0.75:
                name = rng.choice(sorted(set(points)))
                nth = rng.randrange(1, points.count(name) + 1)
                done, where = case.project.run(crash=f"{name}@{nth}"), name
            else:
                done, where = case.project.run(kill_after_s=rng.uniform(0.2, clean_s)), "random time"
            assert done.killed or done.code == 0, f"{where}: ended with {done.code}:\n{done.err[-3000:]}"
            hit[where if done.killed else "not hit"] += 1
            hit["recovery killed"] += second
        if number % 5 == 0:
            case.change()  # so that the run that is traced lands, judges and derives something
            points = case.project.trace("run") or points
        clean_s = case.project.recover().seconds
        case.check()
    case.finish()
    print(f"{kills} kills: {dict(hit)}")
    return hit


@pytest.fixture(params=["files", "postgres", "kafka"])
def case(request):
    """Each source in turn."""
    return request.getfixturevalue(request.param)


@pytest.mark.timeout(60 + 60 * KILLS)
def test_kills_lose_and_double_nothing(case, rng, kills):
    hit = kill_again_and_again(case, rng, kills)
    assert hit["not hit"] <= kills / 2, hit
