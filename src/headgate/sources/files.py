"""Files: CSV, JSON and Parquet, one file, a folder or a glob; gzip and zstd; new files only on the next run.

Text lands as it stands in the file, one raw record per row (`_hg_raw`): line ends (LF or CR LF), a byte order mark
and a CSV header belong to no record, everything else does. Only when an encoding other than UTF-8 is declared are
records transcoded to UTF-8 on landing, for nothing later could know it. Parquet lands as typed columns.

The position is one partition, named like the server. Files are read in the order of their names; a file is
known by its place, size and time of change (`identity: time`) or by its size and first and last 64 KiB
(`identity: content`, for files that are copied about). A file that changed after it was read stops the run, unless
`changed: read` says to read it again as new rows. `grows: true` is for logs: such a file is read on from where it
was left, a last line without its end waits for it; a log that is renamed when it is full counts as a new file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headgate.contract.model import Dataset, Server
from headgate.sources.files_discover import Discovery, discover
from headgate.sources.files_settings import Settings
from headgate.sources.files_source import FilesSource

__all__ = ["Discovery", "FilesSource", "Settings", "connect", "discover"]


def connect(dataset: Dataset, server: Server, read: Mapping[str, Any]) -> FilesSource:
    """The source behind a server of kind `local` or `files`. Raises FixInputError for settings that cannot be."""
    return FilesSource.of(dataset, server, read)
