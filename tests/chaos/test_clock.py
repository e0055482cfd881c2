"""A clock that is wrong, or jumps while a run is under way: positions, verdicts and upkeep do not depend on it."""

from __future__ import annotations

import json
import os
import time

import pytest

HOUR, DAY = 3600, 86_400
END_OF_32_BITS = 2**31  # in January 2038
CLOCKS = {
    "back ten minutes, again and again": (0, -600, -1200, 0),
    "over the end of 32 bits": ("to 2038", -5, 5),
    "an hour on": (HOUR,),
    "an hour back": (-HOUR,),
    "a day on": (DAY,),
    "a day back": (-DAY,),
    "a day on and back": (0, DAY, 0, -DAY),
    "into summer": ("to spring", -5, HOUR + 5),
    "out of summer": ("to autumn", -5, HOUR + 5),
}
TARGETS = {  # seconds since 1970; Berlin changes at 01:00 UTC
    "to 2038": END_OF_32_BITS,
    "to spring": 1_806_195_600,  # 28 March 2027
    "to autumn": 1_824_944_400,  # 31 October 2027
}


def offsets(shifts) -> str:
    """What HEADGATE_CLOCK says: seconds to add to the true time."""
    base = 0.0
    if isinstance(shifts[0], str):
        base, shifts = TARGETS[shifts[0]] - time.time(), shifts[1:]
    return ",".join(str(base + shift) for shift in shifts)


def durations(folder):
    """Every number of seconds in the run records."""

    def seconds(value, key=""):
        if isinstance(value, dict):
            for name, inner in value.items():
                yield from seconds(inner, "seconds" if key == "seconds" else name)
        elif isinstance(value, list):
            for inner in value:
                yield from seconds(inner)
        elif key == "seconds":
            yield value

    return [
        one for path in (folder / ".headgate" / "runs").glob("*.json") for one in seconds(json.loads(path.read_text()))
    ]


@pytest.mark.timeout(900)
def test_no_clock_loses_doubles_or_expires_anything_that_lives(files, kills):
    """All clocks in a long session, else the first."""
    files.project.strict_upkeep(", max_age_hours: 1")
    for shifts in list(CLOCKS.values())[: None if kills > 10 else 1]:
        env = {"HEADGATE_CLOCK": offsets(shifts), "TZ": "Europe/Berlin"}
        for command in (("run",), ("maintain",)):
            files.change()
            done = files.project.run(*command, env=env)
            assert done.code == 0, f"{shifts}: {command} ended with {done.code}: {done.err[-3000:]}"
            files.project.recover()  # by the true clock
            files.check()
    files.change()
    files.finish()
    told = durations(files.project.folder)
    assert told
    assert min(told) >= 0
    assert files.project.audit()[0]["state"] == "balanced"


def test_the_other_clock_is_really_another(files):
    """The runs' ids tell by which clock they were made."""
    files.change()
    env = {"HEADGATE_CLOCK": str(END_OF_32_BITS - time.time() + DAY)}
    assert files.project.run(env=env).code == 0
    (name,) = os.listdir(files.project.folder / ".headgate" / "runs")
    assert name.startswith("2038012")
