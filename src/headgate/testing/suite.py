"""What the conformance suites are made of: named behaviours, and rigs that show one connector to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Self, TypeVar

from headgate import crash

Method = TypeVar("Method", bound=Callable[..., None])


class Broken(AssertionError):
    """A connector does not keep a behaviour that its interface promises."""


def demand(kept: bool, said: str) -> None:
    """Raise Broken with what was seen, unless the promise was kept."""
    if not kept:
        raise Broken(said)


def behaviour(*needs: str) -> Callable[[Method], Method]:
    """Mark a method as a behaviour. `needs` names optional methods of the rig without which it cannot be shown."""

    def mark(method: Method) -> Method:
        method.__dict__["needs"] = needs
        return method

    return mark


class Suite:
    """A list of named behaviours; every connector of one kind is held to all of them.

    A rig that lacks an optional method must say why: `cannot = {"replace_source": "the reason"}`. What is
    neither there nor explained is an error, so that no behaviour is left out in silence.
    """

    @classmethod
    def behaviours(cls) -> Sequence[str]:
        """Names of all behaviours in the order in which they are written."""
        return [name for kind in reversed(cls.__mro__) for name, value in vars(kind).items() if hasattr(value, "needs")]

    @classmethod
    def applicable(cls, rig: type) -> Sequence[str]:
        """Names of the behaviours that a rig can show. Broken when it lacks a method and does not say why."""
        cannot: Mapping[str, str] = getattr(rig, "cannot", {})
        names = []
        for name in cls.behaviours():
            missing = [need for need in getattr(cls, name).needs if getattr(rig, need, None) is None]
            unexplained = [need for need in missing if need not in cannot]
            demand(not unexplained, f"{rig.__name__} has no {unexplained} and `cannot` does not say why")
            if not missing:
                names.append(name)
        return names

    def check(self, name: str, rig: Any) -> None:
        """Show one behaviour with a fresh rig; raises Broken, or whatever the connector raised."""
        getattr(self, name)(rig)

    def broken(self, make_rig: Callable[[], AbstractContextManager[Any]], rig: type) -> Mapping[str, str]:
        """Behaviours that a connector does not keep, with what was seen: for testing the suite itself."""
        found: dict[str, str] = {}
        for name in self.applicable(rig):
            with make_rig() as fresh:
                try:
                    self.check(name, fresh)
                except Exception as error:
                    found[name] = f"{type(error).__name__}: {error}"
        return found


class Killed(BaseException):
    """Stands for the death of the process at a crash point: not an Exception, so that nothing retries it."""


class CrashPoints:
    """Counts the crash points that are passed while it is active, and dies at the chosen one.

    `crash.point` is replaced for the time of the `with` block, so connectors must call it through its module
    (`from headgate import crash; crash.point("…")`), as all do.
    """

    def __init__(self, die_at: int = 0) -> None:
        self.die_at = die_at
        self.passed: list[str] = []

    def __enter__(self) -> Self:
        self._point = crash.point
        vars(crash)["point"] = self._pass
        return self

    def __exit__(self, *_: object) -> None:
        vars(crash)["point"] = self._point

    def _pass(self, name: str) -> None:
        self.passed.append(name)
        if len(self.passed) == self.die_at:
            raise Killed(name)


def at_every_crash_point(run: Callable[[], None], reset: Callable[[], None]) -> Iterator[str]:
    """Run an action until it dies at its first crash point, then at its second, … ; yields each point's name.

    `reset` prepares the next attempt. After each yield the caller judges what the death left behind. Ends when
    the action passes to its end; Broken when it has no crash point at all, for then nothing was shown.
    """
    for nth in range(1, 1000):
        with CrashPoints(nth):
            try:
                run()
            except Killed as killed:
                name = f"{killed} ({nth})"
            else:
                demand(nth > 1, "the commit passes no crash point, so its atomicity cannot be shown")
                return
        yield name
        reset()
    raise Broken("the action never came to its end")
