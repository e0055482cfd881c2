"""`headgate run`."""

from __future__ import annotations

import argparse

from headgate.cli import show
from headgate.runtime.project import Project
from headgate.runtime.record import RunRecord


def run(arguments: argparse.Namespace) -> int:
    """Run, then say what happened to every row."""
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
