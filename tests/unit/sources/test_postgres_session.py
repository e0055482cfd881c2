from __future__ import annotations

import pytest

from headgate.errors import FixInputError
from headgate.sources.postgres import Settings
from headgate.sources.postgres_session import Address, seconds, size

CANARY = "canary-Pa55w0rd"


@pytest.mark.parametrize(
    ("text", "value"),
    [(90, 90), ("90", 90), ("10 min", 600), ("24h", 86400), ("1 day", 86400), ("2 hours", 7200), (0, 0)],
)
def test_durations_are_read(text, value):
    assert seconds(text, "x") == value


@pytest.mark.parametrize(("text", "value"), [(5, 5), ("64 MiB", 64 << 20), ("1.5 KiB", 1536), ("2GB", 2 * 10**9)])
def test_sizes_are_read(text, value):
    assert size(text, "x") == value


@pytest.mark.parametrize("text", [-1, "", "x", "10 parsecs", None, [], True, "-5 s", "nan", float("inf"), float("nan")])
def test_what_is_no_measure_is_refused(text):
    with pytest.raises(FixInputError, match="is not a measure"):
        seconds(text, "slack")


def test_secrets_are_in_the_parameters_and_nowhere_else():
    options = {
        "host": "db",
        "port": "5433",
        "database": "sales",
        "password": CANARY,
        "sslpassword": CANARY + "2",
        "_base": "/x",
    }
    address = Address.parse(options, {"sslmode": "require"})
    assert address.parameters()["password"] == CANARY
    assert address.parameters()["sslmode"] == "require"
    assert "_base" not in address.parameters()
    assert CANARY not in f"{address!r} {address}"
    assert str(address) == "db:5433/sales"


def test_unset_parts_are_left_to_libpq(monkeypatch):
    assert set(Address.parse({}, {}).parameters()) == {"connect_timeout", "application_name"}
    monkeypatch.setenv("PGHOST", "elsewhere")
    assert str(Address.parse({"port": ""}, {})) == "elsewhere:5432"


def test_a_port_that_is_no_number_is_refused():
    with pytest.raises(FixInputError, match="port"):
        Address.parse({"port": "five"}, {})


def test_settings_have_defaults_and_refuse_unknown_names():
    assert Settings.parse({}) == Settings()
    assert Settings.parse({"watermark": "at", "slack": "1 min", "sweep_every": 0}).slack_s == 60
    with pytest.raises(FixInputError, match="watermrak") as told:
        Settings.parse({"watermrak": "at"})
    assert "watermark" in told.value.hint
    with pytest.raises(FixInputError, match="not a column name"):
        Settings.parse({"watermark": 5})
