"""Where NDJSON files are kept: a folder on disk, or a prefix in an S3-compatible bucket.

Both offer the same few verbs over names relative to the place. `create` is the one that decides: of several writers of
one name exactly one succeeds. Everything durable is durable when a verb returns.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from headgate.errors import FixInputError, HeadgateError, MissingExtraError, StoreUnavailable


class Place(Protocol):
    """A folder of files under relative names with `/` between."""

    shown: str

    def names(self, prefix: str) -> list[str]:
        """Names that begin with a folder's name, sorted; none when there is no such folder."""

    def read(self, name: str) -> bytes:
        """A whole small file."""

    def create(self, name: str, content: bytes) -> bool:
        """Make a file that must not exist yet; False when it does. Its content is whole or not there."""

    def upload(self, local: Path, name: str) -> None:
        """Bring a local file here under a name that nobody reads yet."""

    def move(self, name: str, to: str) -> None:
        """Rename, at once and whole; done already when the old name is gone and the new one is there."""

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""

    def old(self, prefix: str, age_s: float) -> list[str]:
        """Names under a prefix that were written longer ago."""


def open_place(target: str, options: Mapping[str, Any]) -> Place:
    """The place that a path or an `s3://bucket/prefix` names."""
    if target.startswith("s3://"):
        return Bucket(target, options)
    if "://" in target:
        raise FixInputError(
            f"cannot keep files in {target.partition('://')[0]}://", hint="a folder or s3://bucket/prefix"
        )
    return Folder(Path(options.get("_base", ".")) / target)  # beside the project file, not where the command is run


@contextmanager
def _disk_errors(where: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as cause:
        raise FixInputError(
            f"cannot write: {cause.strerror or cause}", where=where, hint="make room or give the right to write"
        ) from cause


class Folder:
    """A folder on this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.shown = str(root)

    def _path(self, name: str) -> Path:
        return self.root / name

    def names(self, prefix: str) -> list[str]:
        """See `Place`."""
        found = []
        for folder, folders, files in os.walk(self._path(prefix)):
            folders.sort()
            found += [str((Path(folder) / one).relative_to(self.root)) for one in files if one[0] != "."]
        return sorted(found)

    def read(self, name: str) -> bytes:
        """See `Place`."""
        return self._path(name).read_bytes()

    def create(self, name: str, content: bytes) -> bool:
        """Written aside, synced, then linked: a link is made only where there is none."""
        path = self._path(name)
        aside = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
        with _disk_errors(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with aside.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                try:
                    os.link(aside, path)
                except FileExistsError:
                    return False
                _sync_folder(path.parent)
            finally:
                aside.unlink(missing_ok=True)
        return True

    def upload(self, local: Path, name: str) -> None:
        """See `Place`."""
        path = self._path(name)
        with _disk_errors(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(local, path)
            with path.open("rb") as file:
                os.fsync(file.fileno())
            _sync_folder(path.parent)

    def move(self, name: str, to: str) -> None:
        """See `Place`."""
        target = self._path(to)
        with _disk_errors(str(target)):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.rename(self._path(name), target)
            except FileNotFoundError:
                if not target.exists():
                    raise
            _sync_folder(target.parent)
            with suppress(OSError):
                self._path(name).parent.rmdir()

    def delete(self, name: str) -> None:
        """See `Place`."""
        with _disk_errors(name):
            self._path(name).unlink(missing_ok=True)
            with suppress(OSError):
                self._path(name).parent.rmdir()

    def old(self, prefix: str, age_s: float) -> list[str]:
        """See `Place`."""
        before = time.time() - age_s
        found = []
        for name in self.names(prefix):
            with suppress(FileNotFoundError):
                if self._path(name).stat().st_mtime < before:
                    found.append(name)
        return found


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Bucket:
    """A prefix of an S3-compatible bucket. The store must refuse to make an object twice (`If-None-Match: *`), as
    Amazon's does; keys come from the environment (`AWS_ACCESS_KEY_ID`, …), the endpoint from `AWS_ENDPOINT_URL` or the
    option `endpoint`."""

    def __init__(self, target: str, options: Mapping[str, Any]) -> None:
        try:
            import obstore
            from obstore import exceptions
            from obstore.store import S3Store
        except ImportError as cause:
            raise MissingExtraError("writing to S3 needs another package", hint="pip install 'headgate[s3]'") from cause
        self._obstore, self._errors = obstore, exceptions
        self._absent = (FileNotFoundError, exceptions.NotFoundError)
        self.shown = target
        config = {}
        endpoint = options.get("endpoint") or os.environ.get("AWS_ENDPOINT_URL")
        if endpoint:
            config = {"endpoint": str(endpoint), "virtual_hosted_style_request": "false"}
        region = options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        self._store = S3Store.from_url(
            target,
            config=config,
            region=str(region or "us-east-1"),
            client_options={"allow_http": str(endpoint or "").startswith("http://"), "timeout": "60s"},
            retry_config={"max_retries": 5},
        )

    @contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        where = f"{self.shown}/{name}"
        denied = (self._errors.PermissionDeniedError, self._errors.UnauthenticatedError)
        try:
            yield
        except HeadgateError:
            raise
        except denied as cause:
            raise FixInputError("the bucket refuses", where=where, hint="check the keys and their rights") from cause
        except (*self._absent, self._errors.AlreadyExistsError, self._errors.PreconditionError):
            raise
        except self._errors.BaseError as cause:
            raise StoreUnavailable(f"the bucket does not answer as it should: {_first(cause)}", where=where) from cause

    def names(self, prefix: str) -> list[str]:
        """See `Place`."""
        with self._translated(prefix):
            return sorted(one["path"] for some in self._obstore.list(self._store, prefix) for one in some)

    def read(self, name: str) -> bytes:
        """See `Place`."""
        with self._translated(name):
            return bytes(self._obstore.get(self._store, name).bytes())

    def create(self, name: str, content: bytes) -> bool:
        """See `Place`. A refused answer may be that of our own first try: what stands there tells."""
        with self._translated(name):
            try:
                self._obstore.put(self._store, name, content, mode="create")
            except (self._errors.AlreadyExistsError, self._errors.PreconditionError):
                return self.read(name) == content
        return True

    def upload(self, local: Path, name: str) -> None:
        """See `Place`."""
        with self._translated(name):
            self._obstore.put(self._store, name, local)
        local.unlink()

    def move(self, name: str, to: str) -> None:
        """Copied by the store itself, then deleted."""
        with self._translated(to):
            try:
                self._obstore.copy(self._store, name, to)
            except self._absent:
                self._obstore.head(self._store, to)  # moved already, or lost: then this raises
            self.delete(name)

    def delete(self, name: str) -> None:
        """See `Place`."""
        with self._translated(name), suppress(*self._absent):
            self._obstore.delete(self._store, name)

    def old(self, prefix: str, age_s: float) -> list[str]:
        """See `Place`."""
        before = time.time() - age_s
        with self._translated(prefix):
            found = [one for some in self._obstore.list(self._store, prefix) for one in some]
        return sorted(one["path"] for one in found if one["last_modified"].timestamp() < before)


def _first(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:300]
