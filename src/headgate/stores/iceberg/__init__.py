"""The Iceberg store: tables that any Iceberg reader opens, changed by publications of several at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headgate.stores.iceberg.peek import Peek, peek

if TYPE_CHECKING:
    from headgate.stores.iceberg.lake import IcebergLake

__all__ = ["Peek", "open_lake", "peek"]


def open_lake(settings: Mapping[str, Any]) -> IcebergLake:
    """The lake that the project file's `lake:` describes (see `settings.Settings`). Writes nothing.

    Raises FixInputError for a wrong setting.
    """
    from headgate.stores.iceberg.lake import IcebergLake
    from headgate.stores.iceberg.settings import Settings

    return IcebergLake(Settings.of(settings))
