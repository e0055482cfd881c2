"""Headgate: one data contract drives the whole pipeline, and every record is accounted for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headgate.allocator import choose

if TYPE_CHECKING:
    from headgate.runtime.project import Project
    from headgate.runtime.record import RunRecord

__version__ = "0.1.0"
__all__ = ["Project", "RunRecord", "__version__"]


def __getattr__(name: str) -> Any:
    """The public names, imported on first use so that `import headgate` stays quick."""
    if name == "Project":
        choose()
        from headgate.runtime.project import Project

        return Project
    if name == "RunRecord":
        from headgate.runtime.record import RunRecord

        return RunRecord
    raise AttributeError(name)
