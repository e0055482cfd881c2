"""`headgate maintain`: compaction, expiry, left-overs."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from headgate.cli import show
from headgate.runtime.project import Project


def maintain(arguments: argparse.Namespace) -> int:
    """Keep the lake small and fast; rows, positions and the account stay as they are."""
    from headgate.runtime.upkeep import maintain as keep

    with Project.open(arguments.project) as project:
        kept = keep(project, [arguments.verb] if arguments.verb else [], arguments.table)
    if arguments.json:
        show.document(asdict(kept))
        return 0
    for one in kept.compacted:
        show.line(
            f"{one.table}: {one.files_before:,} files became {one.files_after:,}, "
            f"{one.bytes_before / 2**20:,.1f} MiB became {one.bytes_after / 2**20:,.1f}"
            + ("; gave up: others change the table too fast, the rest waits" if one.gave_up else "")
        )
    if not kept.compacted:
        show.line("nothing to do")
    return 0
