"""How far a PostgreSQL table has been read: transaction snapshots, not hopes about timestamps.

The token of the one partition `schema.table` is JSON text:

    id         system identifier, timeline, database (name and oid) and table oid that everything below belongs to
    done       snapshot of the last complete read: row versions visible in it have been landed
    watermark  newest watermark value landed, as PostgreSQL prints it (only a hint for the bound)
    rows       next offset
    since      watermark below which nothing can have been pending at `done`, less the slack; null: not known
    swept_at   time (s since 1970) of the last read that used no bound
    steps      [[xid, bound], ...]: reads since then left out row versions with xid >= xid and watermark < bound
    leaves     {oid: filenode} of the tables (a partitioned table has several) whose old rows have been landed
    scan       null, or a read that has not come to its end:
               {"snapshot", "leaf", "filenode", "page"}       first read, resumed at that page of that table
               {"snapshot", "after", "sweep", "bound", ...}   later read, resumed after that watermark and key

Why it loses nothing. Let D be `done` and S the snapshot of this read. A row version that S sees and D did not see
was written by a transaction that D saw as running, or that began after D. So its xid (subtransactions have greater
ids than their parent) is at least `unseen_from(D, S)`. Reading all such versions is enough, whatever the watermark
says. A read that was cut short and resumed under a newer snapshot ends at the *first* snapshot it used, so changes
behind its back are read by the next one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headgate.errors import PositionLost

READ_ANEW = "give the dataset another name in the contract, to be read anew into tables of its own"
REACH = 2**31 - 2**24  # 32-bit transaction ids of stored rows are comparable within this distance


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What `pg_current_snapshot()` says: 64-bit ids. `running` may be empty on a standby although xmin < xmax."""

    xmin: int
    xmax: int
    running: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        """The snapshot from its text `xmin:xmax:xip,xip`; ValueError when it is not one."""
        xmin, xmax, running = text.split(":")
        return cls(int(xmin), int(xmax), tuple(int(one) for one in running.split(",") if one))

    def __str__(self) -> str:
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, self.running))}"

    @property
    def quiet(self) -> bool:
        """No writing transaction was running."""
        return self.xmin == self.xmax

    @property
    def tells_running(self) -> bool:
        """Whether `running` is complete: a standby does not list them."""
        return self.quiet or bool(self.running)


def unseen_from(done: Snapshot, now: Snapshot) -> int:
    """The least transaction id whose rows `now` may see and `done` did not.

    Ids at or past done.xmax are new. Of those below, only transactions that `done` saw running and that have ended
    since (and their subtransactions, whose ids are greater) can have come into sight. A standby does not say which
    were running: there it is done.xmin.
    """
    if not done.tells_running or not now.tells_running:
        return done.xmin
    ended = set(done.running) - set(now.running)
    return min(ended, default=done.xmax)


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes transaction ids and row places comparable."""

    system: str
    timeline: int
    database: str
    database_oid: int
    table: int

    def as_json(self) -> dict[str, Any]:
        return {
            "system": self.system,
            "timeline": self.timeline,
            "database": self.database,
            "database_oid": self.database_oid,
            "table": self.table,
        }

    def difference(self, other: Identity) -> str | None:
        """What has changed from self to other, in words; None when nothing."""
        if self.system != other.system:
            return f"this is another PostgreSQL cluster (system identifier {other.system}, it was {self.system})"
        if (self.database, self.database_oid) != (other.database, other.database_oid):
            return (
                f"this is another database ({other.database}, oid {other.database_oid}, it was {self.database}, "
                f"oid {self.database_oid})"
            )
        if self.timeline != other.timeline:
            return (
                f"the cluster was restored or failed over (timeline {other.timeline}, it was {self.timeline}), so "
                "transactions may be missing or have other ids"
            )
        if self.table != other.table:
            return f"the table was dropped and made again (oid {other.table}, it was {self.table})"
        return None


@dataclass(frozen=True, slots=True)
class FirstScan:
    """A whole-table read by page ranges: leaf table `leaf` has been landed up to `page` (exclusive). Between two
    leaves all three are 0."""

    snapshot: Snapshot
    leaf: int
    filenode: int
    page: int

    def as_json(self) -> dict[str, Any]:
        return {"snapshot": str(self.snapshot), "leaf": self.leaf, "filenode": self.filenode, "page": self.page}


@dataclass(frozen=True, slots=True)
class LaterScan:
    """A read of new row versions in the order of watermark and tie-break: landed up to and including `after`."""

    snapshot: Snapshot
    after: tuple[str | None, ...]
    order: tuple[str, ...]  # the columns of `after`, in SQL
    sweep: bool
    bound: str | None
    files: Mapping[int, int] = field(default_factory=dict)  # leaves when the scan began

    def as_json(self) -> dict[str, Any]:
        return {
            "snapshot": str(self.snapshot),
            "after": list(self.after),
            "order": list(self.order),
            "sweep": self.sweep,
            "bound": self.bound,
            "files": {str(k): v for k, v in sorted(self.files.items())},
        }


@dataclass(frozen=True, slots=True)
class Token:
    """The position in one table; see the module's text."""

    id: Identity
    done: Snapshot | None = None
    watermark: str | None = None
    rows: int = 0
    since: str | None = None
    swept_at: float = 0.0
    steps: tuple[tuple[int, str], ...] = ()
    leaves: Mapping[int, int] = field(default_factory=dict)
    scan: FirstScan | LaterScan | None = None

    def dumps(self) -> str:
        """Canonical JSON text: equal tokens give equal text."""
        value = {
            "id": self.id.as_json(),
            "done": None if self.done is None else str(self.done),
            "watermark": self.watermark,
            "rows": self.rows,
            "since": self.since,
            "swept_at": self.swept_at,
            "steps": [list(step) for step in self.steps],
            "leaves": {str(k): v for k, v in sorted(self.leaves.items())},
            "scan": None if self.scan is None else self.scan.as_json(),
        }
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def loads(cls, text: str) -> Token:
        """The token from its text. Raises PositionLost when it is not one of ours."""
        try:
            value = json.loads(text)
            scan = value["scan"]
            token = cls(
                id=_identity(value["id"]),
                done=None if value["done"] is None else Snapshot.parse(value["done"]),
                watermark=_text(value["watermark"]),
                rows=_whole(value["rows"]),
                since=_text(value["since"]),
                swept_at=float(value["swept_at"]),
                steps=tuple((int(xid), str(bound)) for xid, bound in value["steps"]),
                leaves={int(k): int(v) for k, v in value["leaves"].items()},
                scan=None if scan is None else _scan(scan),
            )
            if json.loads(token.dumps()) != value:
                raise ValueError("it says more or other things than a token does")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
            raise PositionLost(
                "the stored position is not one of a PostgreSQL table",
                hint=f"was the dataset read from another kind of source? Then {READ_ANEW}",
                stage="extract",
            ) from cause
        return token

    @property
    def newest_snapshot(self) -> Snapshot | None:
        """Of those that rows were read under."""
        return self.scan.snapshot if self.scan is not None else self.done


def _scan(value: Mapping[str, Any]) -> FirstScan | LaterScan:
    snapshot = Snapshot.parse(value["snapshot"])
    if "page" in value:
        return FirstScan(snapshot, int(value["leaf"]), int(value["filenode"]), int(value["page"]))
    return LaterScan(
        snapshot,
        tuple(_text(one) for one in value["after"]),
        tuple(str(one) for one in value["order"]),
        bool(value["sweep"]),
        _text(value["bound"]),
        {int(k): int(v) for k, v in value["files"].items()},
    )


def _identity(value: Mapping[str, Any]) -> Identity:
    system, database = value["system"], value["database"]
    if not isinstance(system, str) or not isinstance(database, str):
        raise TypeError("an identity has texts")
    return Identity(system, _whole(value["timeline"]), database, _whole(value["database_oid"]), _whole(value["table"]))


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError("not a whole number")
    return value


def check_reach(token: Token, now: Snapshot) -> None:
    """Raises PositionLost when row versions can no longer be told new from old by their 32-bit ids."""
    oldest = min([token.done.xmin if token.done else now.xmax, *(xid for xid, _ in token.steps)])
    if now.xmax - oldest >= REACH:
        raise PositionLost(
            f"{now.xmax - oldest:,} transactions have passed since the last read; PostgreSQL tells new rows from old "
            f"ones within {REACH:,} only",
            hint=READ_ANEW,
            stage="extract",
        )
