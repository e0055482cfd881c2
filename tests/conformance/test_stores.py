"""Every store of the package keeps every behaviour of the lake and sink suites, on the real thing."""

from __future__ import annotations

import discovery
import pytest

from headgate.testing import LakeConformance, SinkConformance

VERBS = ("open_lake", "open_sink")
KINDS = discovery.connectors("headgate.stores", VERBS)
LAKES = discovery.cases("headgate.stores", VERBS, "LakeRig", LakeConformance)
SINKS = discovery.cases("headgate.stores", VERBS, "SinkRig", SinkConformance)


@pytest.mark.parametrize("kind", KINDS)
def test_every_store_has_a_rig(kind):
    assert discovery.rigs(kind, "LakeRig") or discovery.rigs(kind, "SinkRig"), (
        f"tests/conformance/rigs_{kind}.py with a class …LakeRig or …SinkRig is missing"
    )


@pytest.mark.parametrize(("rig", "behaviour"), LAKES, ids=lambda value: getattr(value, "__name__", value))
def test_lake(rig, behaviour, tmp_path, request):
    with rig.made(tmp_path, request) as made:
        LakeConformance().check(behaviour, made)


@pytest.mark.parametrize(("rig", "behaviour"), SINKS, ids=lambda value: getattr(value, "__name__", value))
def test_sink(rig, behaviour, tmp_path, request):
    with rig.made(tmp_path, request) as made:
        SinkConformance().check(behaviour, made)
