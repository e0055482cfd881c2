"""The compose file says what clients need: addresses that lead back to the broker from where they are used."""

import re
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose

FILE = Path(__file__).resolve().parents[3] / "examples" / "compose" / "kafka.yaml"
SERVICES = yaml.safe_load(FILE.read_text())["services"]
BROKERS = {"kafka": "KAFKA_ADVERTISED_LISTENERS", "redpanda": "--advertise-kafka-addr="}


def addresses(service: dict, setting: str) -> dict[str, str]:
    """Listener -> host:port."""
    given = service.get("environment", {}).get(setting)
    given = given or next(one.removeprefix(setting) for one in service["command"] if one.startswith(setting))
    return dict(one.split("://") for one in given.split(","))


def test_the_file_is_one_by_the_specification_and_a_slip_in_it_would_be_seen():
    text = FILE.read_text()
    assert set(PyCompose.from_yaml(text).service_names()) == SERVICES.keys()
    for right, wrong in (("healthcheck:", "healthchek:"), ("interval: 5s", "interval: soon")):
        with pytest.raises(ValueError, match="services.kafka"):
            PyCompose.from_yaml(text.replace(right, wrong, 1))


@pytest.mark.parametrize("name", BROKERS)
def test_a_broker_is_reached_from_the_host_and_from_containers_under_the_address_that_it_gives(name):
    service = SERVICES[name]
    told = addresses(service, BROKERS[name])
    listens = addresses(service, {"kafka": "KAFKA_LISTENERS", "redpanda": "--kafka-addr="}[name])
    assert told["HOST"].startswith("localhost:")
    assert told["INSIDE"].startswith(f"{name}:")
    ports = {listener: address.rpartition(":")[2] for listener, address in told.items()}
    assert {listener: listens[listener].rpartition(":")[2] for listener in told} == ports
    assert f"127.0.0.1:{ports['HOST']}:{ports['HOST']}" in service["ports"]


def test_every_service_has_a_health_check_a_pinned_image_a_profile_and_ports_of_this_machine_only():
    for name, service in SERVICES.items():
        assert service["healthcheck"]["test"], name
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name
        assert len(service["profiles"]) == 1, name
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name


def test_each_page_waits_for_its_broker_and_asks_it_from_inside():
    for profile in BROKERS:
        (ui,) = [s for s in SERVICES.values() if s["profiles"] == [profile] and "kafka-ui" in s["image"]]
        assert ui["depends_on"] == {profile: {"condition": "service_healthy"}}
        inside = addresses(SERVICES[profile], BROKERS[profile])["INSIDE"]
        assert ui["environment"]["KAFKA_CLUSTERS_0_BOOTSTRAPSERVERS"] == inside
