"""Every source of the package keeps every behaviour of `headgate.testing.SourceConformance`, on the real system."""

from __future__ import annotations

import discovery
import pytest

from headgate.testing import SourceConformance

KINDS = discovery.connectors("headgate.sources", ("connect",))
CASES = discovery.cases("headgate.sources", ("connect",), "SourceRig", SourceConformance)


@pytest.mark.parametrize("kind", KINDS)
def test_every_source_has_a_rig(kind):
    assert discovery.rigs(kind, "SourceRig"), f"tests/conformance/rigs_{kind}.py with a class …SourceRig is missing"


@pytest.mark.parametrize(("rig", "behaviour"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_source(rig, behaviour, tmp_path, request):
    with rig.made(tmp_path, request) as made:
        SourceConformance().check(behaviour, made)
