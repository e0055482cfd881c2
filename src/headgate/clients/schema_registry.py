"""A schema registry that speaks Confluent's API (Confluent, Apicurio, Karapace, Redpanda): a schema by its number.

What a number stands for never changes, so a schema that was fetched once is kept in a folder, and what was written
with it can be read for ever, registry or not.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import time
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from headgate.errors import FixInputError, MissingSecretError, SourceUnavailable

TRIES = 3
TIMEOUT_S = 10.0  # for a whole answer, however it drips in
MOST_BYTES = 1 << 24  # of an answer
_PAUSE_S = 0.5  # before the second try; then twice as long
_UNKNOWN = (40401, 40402, 40403)  # the registry's own codes for a subject, a version, a number that it does not have;
# any other 404 says that there is no registry at this address


@dataclass(frozen=True, slots=True)
class Schema:
    """`kind` is AVRO, PROTOBUF or JSON; `references` are the names and texts that it builds on, deepest first."""

    kind: str
    text: str
    references: tuple[tuple[str, str], ...] = ()


class _Stay(HTTPRedirectHandler):
    """A login must not travel to where an answer points."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Registry:
    """One registry. `url` is the root of the API and may hold `user:password@`; `folder` keeps schemas, if given."""

    def __init__(self, url: str, folder: str = "") -> None:
        if "${" in url:
            raise MissingSecretError("a variable in `registry` is not set", hint="set it in the environment or in .env")
        parts = urlsplit(url.rstrip("/"))
        host = parts.netloc.rpartition("@")[2]
        if parts.scheme not in {"http", "https"} or not host:
            raise FixInputError("registry is no address", hint="registry: http://HOST:8081")
        self.shown = f"{parts.scheme}://{host}{parts.path}"
        self._headers = {"Accept": "application/vnd.schemaregistry.v1+json, application/json"}
        if "@" in parts.netloc:
            login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        name = hashlib.sha256(self.shown.encode()).hexdigest()[:16]
        self._folder = os.path.join(folder, name) if folder else ""
        self._opener = build_opener(_Stay())

    def schema(self, number: int) -> Schema | None:
        """The schema, or None when the registry has none of that number.

        Raises SourceUnavailable when nobody answers, FixInputError for a refused login or an address of something else.
        """
        if (kept := self._kept(number)) is not None:
            return kept
        schema = self._whole(self._ask(f"/schemas/ids/{number}"))
        if schema is not None:
            self._keep(number, schema)
        return schema

    def latest(self, subject: str) -> Schema | None:
        """The newest schema of a subject, or None when there is none of that name. Raises as `schema`."""
        return self._whole(self._ask(f"/subjects/{quote(subject, safe='')}/versions/latest"))

    def _whole(self, told: Any) -> Schema | None:
        """A schema with all that it refers to."""
        if told is None:
            return None
        references: dict[str, str] = {}
        self._follow(told, references)
        return Schema(str(told.get("schemaType") or "AVRO"), str(told["schema"]), tuple(references.items()))

    def _follow(self, told: Any, found: dict[str, str]) -> None:
        for one in told.get("references") or ():
            name = str(one["name"])
            if name in found:
                continue
            subject = quote(str(one["subject"]), safe="")
            inner = self._ask(f"/subjects/{subject}/versions/{int(one['version'])}")
            if inner is None:
                raise FixInputError(
                    f"the schema that is referred to as {name} is gone", where=self.shown, stage="refine"
                )
            self._follow(inner, found)
            found[name] = str(inner["schema"])

    def _ask(self, path: str) -> Any:
        """The answer; None for an unknown schema."""
        for left in reversed(range(TRIES)):
            try:
                asked = Request(self.shown + path, headers=self._headers)  # noqa: S310 - http or https, see above
                with self._opener.open(asked, timeout=TIMEOUT_S) as answer:
                    told = json.loads(_all_of(answer))
            except HTTPError as problem:
                if problem.code == 404 and _code(problem) in _UNKNOWN:
                    return None
                if problem.code < 500 and problem.code not in {408, 429}:
                    raise self._refused(problem.code) from None
                why = f"status {problem.code}"
            except ValueError:
                raise self._refused(200) from None
            except (OSError, http.client.HTTPException) as problem:
                why = type(problem).__name__
            else:
                if not isinstance(told, dict) or not isinstance(told.get("schema"), str):
                    raise self._refused(200)
                return told
            if left:
                time.sleep(_PAUSE_S * 2 ** (TRIES - 1 - left))
        raise SourceUnavailable(
            f"the schema registry does not answer ({why})",
            where=self.shown,
            hint="schemas that were seen before are kept; this one was not",
            stage="refine",
        )

    def _refused(self, status: int) -> FixInputError:
        if status in {401, 403}:
            return FixInputError(
                f"the schema registry refuses the login (status {status})",
                where=self.shown,
                hint="registry: https://${USER}:${PASSWORD}@HOST",
                stage="refine",
            )
        return FixInputError(
            f"no schema registry answers there (status {status})",
            where=self.shown,
            hint="the address is the API's root, such as http://HOST:8081 or http://HOST:8080/apis/ccompat/v7",
            stage="refine",
        )

    def _kept(self, number: int) -> Schema | None:
        try:
            with open(self._path(number), encoding="utf-8") as file:
                told = json.load(file)
            return Schema(told["kind"], told["text"], tuple((name, text) for name, text in told["references"]))
        except (OSError, ValueError, KeyError, TypeError):  # not there, or cut by a full disk: asked for again
            return None

    def _keep(self, number: int, schema: Schema) -> None:
        if not self._folder:
            return
        os.makedirs(self._folder, exist_ok=True)
        path = self._path(number)
        beside = f"{path}.{os.getpid()}"
        with open(beside, "w", encoding="utf-8") as file:
            json.dump({"kind": schema.kind, "text": schema.text, "references": schema.references}, file)
        os.replace(beside, path)

    def _path(self, number: int) -> str:
        return os.path.join(self._folder, f"{number}.json")


def _all_of(answer: Any) -> bytes:
    """All of an answer. TimeoutError when it drips in too slowly, ValueError when it is larger than any schema."""
    end, parts, size = time.monotonic() + TIMEOUT_S, [], 0
    while part := answer.read1(1 << 16):
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            raise ValueError("too large")
        if time.monotonic() > end:
            raise TimeoutError
    if getattr(answer, "length", None):
        raise ConnectionError("cut off")
    return b"".join(parts)


def _code(problem: HTTPError) -> Any:
    try:
        told = json.loads(_all_of(problem))
    except (ValueError, OSError):
        return None
    return told.get("error_code") if isinstance(told, dict) else None
