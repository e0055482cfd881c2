"""The live view draws whatever a running process may show."""

import io

from rich.console import Console

from headgate.cli.watch import screen, sparkline


def drawn(found, width=130):
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(screen(found))
    return out.getvalue()


def sample(**more):
    history = {"landed": [0, 5_000, 10_000], "quarantined": [0, 0, 0], "p99": [0.0, 0.4, 0.8]}
    events = {
        "dataset": "events",
        "totals": {"landed": 15_000, "bytes": 9e6, "accepted": 14_000, "quarantined": 1_000},
        "rates": {"landed": 5_000, "accepted": 4_900, "quarantined": 100, "bytes": 3e6},
        "waiting_rows": 12,
        "held": False,
        "alerts": ["lag_rows"],
        "lag": {"events/0": 7, "events/1": 0},
        "latency_s": {"p50": 0.2, "p95": 0.6, "p99": 1.84},
        "reasons": {"amount.type": 600, "[record]": 400},
        "compression": 7.9,
        "history": history,
    }
    table = {"table": "bronze.events", "rows": 15_000, "files": 3, "snapshots": 9, "bytes": 1_200_000}
    process = {"rss_mib": 212.0, "cpu_percent": 41.0, "history": {"rss_mib": [212.0], "cpu_percent": [41.0]}}
    shown = {
        "name": "shop", "pid": 1, "run_id": "r", "started_at": 0.0, "at": 0.0, "stopping": False, "problems": {},
        "stale": False, "datasets": [events], "tables": [table], "process": process,
    }  # fmt: skip
    return {**shown, **more}


def test_rates_latency_lag_reasons_and_memory_are_shown():
    text = drawn([sample()])
    for words in (
        "5,000/s",
        "p99 1.8 s",
        "p50 200 ms",
        "7 in the source",
        "[record] 400",
        "212 MiB",
        "7.9 : 1",
        "alert: lag_rows",
        "6.67 %",
    ):
        assert words in text, text


def test_what_is_wrong_is_said_first():
    assert "silent" in drawn([sample(stale=True)])
    text = drawn([sample(problems={"land events": "source-unavailable: no answer"})])
    assert "trying again" in text
    assert "no answer" in text
    assert "nothing is running" in drawn([])


def test_a_narrow_terminal_is_no_reason_to_fail():
    assert "events" in drawn([sample()], width=60)


def test_bars_show_the_greatest_value_full():
    assert sparkline([0, 1, 2], 3) == "▁▄█"
    assert sparkline([0, 0], 3) == "▁▁"
    assert sparkline([]) == ""
