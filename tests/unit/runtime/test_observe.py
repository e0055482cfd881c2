"""Counts, percentiles and the text that Prometheus reads."""

import pytest

from headgate.apps.metrics import MetricsServer, as_text
from headgate.errors import FixInputError
from headgate.runtime.observe import METRICS, Meter, Spread


def test_a_metric_that_nobody_documented_cannot_be_counted():
    with pytest.raises(KeyError):
        Meter().add("headgate_invented_total")
    with pytest.raises(KeyError):
        Meter().add("headgate_landed_rows_total", 1, table="orders")


def test_percentiles_are_right_to_a_tenth_and_forget_after_a_minute():
    spread = Spread()
    for milliseconds in range(1, 1001):
        spread.add(milliseconds / 1000, 1, 100.0)
    for share, found in zip((0.5, 0.99), spread.percentiles((0.5, 0.99), 100.0), strict=True):
        assert share <= found <= share * 1.1
    assert spread.percentiles((0.5,), 161.0) == [None]


def test_histograms_count_everything_below_each_bound():
    meter = Meter()
    meter.observe("headgate_step_seconds", [(0.02, 3), (0.3, 1)], dataset='a"\n\\', step="land")
    text = as_text(meter)
    labels = 'dataset="a\\"\\n\\\\",step="land"'
    assert f'headgate_step_seconds_bucket{{{labels},le="0.01"}} 0\n' in text
    assert f'headgate_step_seconds_bucket{{{labels},le="0.025"}} 3\n' in text
    assert f'headgate_step_seconds_bucket{{{labels},le="0.5"}} 4\n' in text
    assert f'headgate_step_seconds_bucket{{{labels},le="+Inf"}} 4\n' in text
    assert f"headgate_step_seconds_count{{{labels}}} 4\n" in text


def test_every_metric_has_a_help_and_a_unit_in_its_name():
    for name, metric in METRICS.items():
        assert metric.help.endswith("."), name
        assert metric.kind != "counter" or name.endswith("_total"), name


def test_a_host_that_others_reach_must_be_named():
    with pytest.raises(FixInputError):
        MetricsServer(Meter(), dict, "0.0.0.0", 0)
