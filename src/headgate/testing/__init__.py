"""The public conformance suites: what every source, sink and lake must keep, and the ledger that proves it.

A connector author writes a rig (how to fill the system, open it, change it, break it) and runs the suite:

    suite = SourceConformance()
    for name in suite.applicable(MyRig):
        suite.check(name, MyRig())
"""

from headgate.testing.lake_material import LakeRig
from headgate.testing.lake_sink import LakeSink
from headgate.testing.lakes import LakeConformance
from headgate.testing.ledger import Tally, tally_batches, tally_parquet, tally_rows
from headgate.testing.sinks import SCHEMA as SINK_SCHEMA
from headgate.testing.sinks import SinkConformance, SinkRig
from headgate.testing.sources import SourceConformance, SourceRig
from headgate.testing.suite import Broken, Suite, behaviour, demand

__all__ = [
    "SINK_SCHEMA",
    "Broken",
    "LakeConformance",
    "LakeRig",
    "LakeSink",
    "SinkConformance",
    "SinkRig",
    "SourceConformance",
    "SourceRig",
    "Suite",
    "Tally",
    "behaviour",
    "demand",
    "tally_batches",
    "tally_parquet",
    "tally_rows",
]
