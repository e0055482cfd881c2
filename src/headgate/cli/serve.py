"""`headgate serve metrics`: the state of a project as metrics, also when nothing runs."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from threading import Event
from typing import Any

from headgate.apps.metrics import MetricsServer, as_text
from headgate.cli import show
from headgate.cli.run import Asked
from headgate.runtime.live import measure_process, measure_tables
from headgate.runtime.observe import Meter
from headgate.runtime.project import Project
from headgate.runtime.record import FAILED, read_records
from headgate.steps.judged import HOLD
from headgate.steps.portion import pending

LOOK_S = 0.2


class _Asking(Meter):
    """A meter that looks at the lake and the newest run record each time it is read."""

    def __init__(self, project: Project) -> None:
        super().__init__()
        self._project = project

    def everything(self) -> Any:
        look(self._project, self)
        return super().everything()


def metrics(arguments: argparse.Namespace) -> int:
    """Print the metrics once, or serve them until interrupted."""
    with Project.open(arguments.project) as project:
        meter = _Asking(project)
        if arguments.once:
            sys.stdout.write(as_text(meter))
            return 0
        settings = project.settings.metrics
        port = arguments.port if arguments.port is not None else settings.port or 0
        named = settings.host != "127.0.0.1"
        with (
            Asked() as asked,
            MetricsServer(meter, lambda: {"ready": True}, settings.host, port, named=named) as server,
        ):
            show.line(f"metrics on http://{settings.host}:{server.port}/metrics; Ctrl-C ends")
            while not asked():
                Event().wait(LOOK_S)
    return 0


def look(project: Project, meter: Meter) -> None:
    """Tables, what waits, what is held, and how the newest run ended."""
    measure_process(meter)
    measure_tables(project.lake, meter)
    cut = project.lake.cut()
    for dataset in project.datasets:
        silver = cut.table(f"silver.{dataset.name}")
        waiting = sum(span.stop - span.start for span in pending(dataset, cut))
        meter.set("headgate_waiting_rows", waiting, dataset=dataset.name)
        meter.set("headgate_gold_held", int(bool(silver and silver.facts(HOLD))), dataset=dataset.name)
    for record in read_records(project.settings.state / "runs", 1):
        meter.set("headgate_last_run_seconds", record["seconds"])
        meter.set("headgate_last_run_started_seconds", datetime.fromisoformat(record["started_at"]).timestamp())
        meter.set("headgate_last_run_failed", int(record["status"] == FAILED))
