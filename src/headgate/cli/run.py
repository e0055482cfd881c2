"""`headgate run`."""

from __future__ import annotations

import argparse
import gc
import os
import signal
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from headgate.cli import show
from headgate.errors import FixInputError
from headgate.runtime.project import Project
from headgate.runtime.record import RunRecord
from headgate.runtime.settings import MetricsSettings

if TYPE_CHECKING:
    from headgate.runtime.continuous import Conductor


def run(arguments: argparse.Namespace) -> int:
    """Run, then say what happened to every row."""
    if arguments.continuous:
        return _go_on(arguments)
    progress = show.Progress()
    with Project.open(arguments.project) as project:
        try:
            record = project.run(
                arguments.select,
                full_refresh=arguments.full_refresh,
                accept_quarantine=arguments.accept_quarantine,
                tell=progress,
            )
        finally:
            progress.close()
    if arguments.json:
        show.document(record.as_dict())
    else:
        _say(record)
    return 0


def _go_on(arguments: argparse.Namespace) -> int:
    """Run until somebody says stop."""
    from headgate.runtime.alerts import watching
    from headgate.runtime.continuous import Conductor
    from headgate.runtime.live import Pulse
    from headgate.runtime.memory import share_heap
    from headgate.runtime.observe import Meter

    if arguments.full_refresh:
        raise FixInputError("--continuous and --full-refresh exclude each other", hint="rebuild first, then go on")
    share_heap()
    gc.freeze()
    gc.enable()  # what goes on for days must not leave its circles lying
    progress = show.Progress(steady=True)
    with Project.open(arguments.project) as project, Asked() as asked, ExitStack() as stack:
        given = {n: getattr(arguments, n) for n in ("batch_rows", "batch_bytes", "batch_ms")}
        changed = {name: value for name, value in given.items() if value is not None}
        if any(value < 1 for value in changed.values()):
            raise FixInputError("a micro-batch has at least one row, byte and millisecond")
        project.settings = replace(project.settings, continuous=replace(project.settings.continuous, **changed))
        conductor = Conductor(project, arguments.select, Meter(), progress)
        stack.callback(progress.close)
        _show_metrics(stack, conductor, project.settings.metrics, arguments.metrics_port)
        stack.enter_context(Pulse(conductor, project.settings.state / "live", project.folder.name))
        if (watchman := watching(conductor)) is not None:
            stack.enter_context(watchman)
        record = conductor.conduct(asked, accept_quarantine=arguments.accept_quarantine)
    if arguments.json:
        show.document(record.as_dict())
    else:
        _say(record)
    return 0


def _show_metrics(stack: ExitStack, conductor: Conductor, settings: MetricsSettings, port: int | None) -> None:
    """Open the page when a port is set, by flag or in the file."""
    from headgate.apps.metrics import MetricsServer
    from headgate.runtime.continuous import state_of

    port = settings.port if port is None else port
    if port is not None:
        named = settings.host != MetricsSettings().host
        server = MetricsServer(conductor.meter, lambda: state_of(conductor), settings.host, port, named=named)
        stack.enter_context(server)
        show.line(f"metrics on http://{settings.host}:{server.port}/metrics")


def _say(record: RunRecord) -> None:
    for one in record.datasets:
        show.line(f"{one.name}: {one.landed_rows:,} rows landed; {one.read:,} judged: {show.counts(one.verdicts)}")
        for rule, rows in sorted(one.reasons.items(), key=lambda item: -item[1])[:5]:
            show.line(f"  quarantined by {rule}: {rows:,}")
        for rule, rows in one.warnings.items():
            show.line(f"  warned by {rule}: {rows:,}")
        for check in one.checks:
            show.line(f"  check {check['id']}: {check['value']} {'passed' if check['passed'] else 'FAILED'}")
    if record.models:
        show.line(
            f"gold: {show.counts(record.models)} rows"
            + (f"; unchanged: {', '.join(record.models_kept)}" if record.models_kept else "")
        )
    for sent in record.served:
        whole = f"; replaced as a whole: {sent['whole']}" if sent["whole"] else ""
        show.line(f"{sent['outlet']}: {sent['rows']:,} rows sent, {sent['removed']:,} of them removals{whole}")
    show.line(
        f"run {record.run_id}: {record.status} in {record.seconds:.2f} s, {record.peak_rss_mib:.0f} MiB"
        + ("" if record.moved else "; nothing new")
    )


class Asked:
    """Counts requests to stop: the first SIGTERM or SIGINT asks, the second ends the process where it stands.

    Nothing needs to be done for what is under way then: it was not published, and the next run begins from the tables.
    """

    def __init__(self) -> None:
        self._times = 0

    def __call__(self) -> bool:
        return self._times > 0

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._take) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, _frame: object) -> None:
        self._times += 1
        if self._times > 1:
            os.write(2, b"headgate: stopped at once; what was published stays, nothing is half done\n")
            os._exit(128 + number)
