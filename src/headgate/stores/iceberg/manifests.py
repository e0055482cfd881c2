"""Which manifests a snapshot has, and what stands in them: read once, and not at all when this process wrote them."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from pyiceberg.manifest import (
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    _inherit_from_manifest,
)
from pyiceberg.table.snapshots import Snapshot

from headgate.errors import FixInputError
from headgate.stores.iceberg.local_io import LocalIO
from headgate.stores.iceberg.manifest_reads import in_list, live_in

UNUSED_S = 60.0  # after which what nobody asked for is let go


class ManifestCache:
    """Decoded manifests and lists of manifests by location. Neither ever changes, so what is held can be unused but
    never wrong. A run that goes on writes some new ones each second: what nobody has asked for in a while goes.
    """

    def __init__(self, entries: int = 100_000, keep_s: float = UNUSED_S) -> None:
        self._limit, self._keep_s = entries, keep_s
        self.held = 0  # entries, and one for each location
        self._held: OrderedDict[str, tuple[float, Sequence[ManifestEntry] | Sequence[ManifestFile]]] = OrderedDict()
        self._lock = threading.Lock()

    def entries(self, io: LocalIO, manifest: ManifestFile) -> Sequence[ManifestEntry]:
        """The live entries of a manifest."""
        found: Sequence[ManifestEntry] | None = self._get(manifest.manifest_path)
        if found is None:
            found = live_in(io, manifest)
            self._put(manifest.manifest_path, found)
        return found

    def listed(self, io: LocalIO, location: str) -> Sequence[ManifestFile]:
        """The manifests in a list."""
        found: Sequence[ManifestFile] | None = self._get(location)
        if found is None:
            found = in_list(io, location)
            self._put(location, found)
        return found

    def wrote(self, manifest: ManifestFile, entries: Sequence[ManifestEntry]) -> None:
        """Remember a manifest as whoever reads it will find it, its list's sequence number inherited."""
        live = [entry for entry in entries if entry.status != ManifestEntryStatus.DELETED]
        self._put(manifest.manifest_path, [_inherit_from_manifest(entry, manifest) for entry in live])

    def wrote_list(self, location: str, manifests: Sequence[ManifestFile]) -> None:
        """Remember a list of manifests."""
        self._put(location, manifests)

    def _get(self, location: str) -> Sequence[Any] | None:
        with self._lock:
            if location not in self._held:
                return None
            _, found = self._held.pop(location)
            self._held[location] = time.monotonic(), found
            return found

    def _put(self, location: str, found: Sequence[Any]) -> None:
        with self._lock:
            if location not in self._held:
                self._held[location] = time.monotonic(), found
                self.held += len(found) + 1
            while len(self._held) > 1:  # the longest unused first, and never the newest
                used, oldest = next(iter(self._held.values()))
                if self.held <= self._limit and used >= time.monotonic() - self._keep_s:
                    return
                self._held.popitem(last=False)
                self.held -= len(oldest) + 1


def manifests_of(
    io: LocalIO, snapshot: Snapshot | None, table: str, cache: ManifestCache | None = None
) -> list[ManifestFile]:
    """The manifests of a snapshot; FixInputError when it has delete files: Headgate never writes nor applies them."""
    if snapshot is None:
        return []
    manifests = (cache or ManifestCache()).listed(io, snapshot.manifest_list)
    if any(m.content != ManifestContent.DATA and (m.has_added_files() or m.has_existing_files()) for m in manifests):
        raise FixInputError(
            "the table has delete files that another writer left",
            where=table,
            hint="write it without them, then run again; in Spark: rewrite_data_files with delete-file-threshold 1, "
            "then rewrite_position_delete_files with rewrite-all",
        )
    return [
        m for m in manifests if m.content == ManifestContent.DATA and (m.has_added_files() or m.has_existing_files())
    ]
