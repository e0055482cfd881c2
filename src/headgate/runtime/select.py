"""Selection as dbt writes it: `name`, `+name` (with what it needs), `name+` (with what needs it), `tag:x`,
`bronze.x`, `silver.x`, `gold.m`; several selections add up, `a,b` is what both select."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headgate.errors import FixInputError


@dataclass(frozen=True, slots=True)
class Node:
    """One thing that can run: `bronze.x` (land), `silver.x` (refine) or `gold.m` (derive)."""

    id: str
    needs: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name without its layer."""
        return self.id.partition(".")[2]


def select(nodes: Mapping[str, Node], selections: Sequence[str]) -> set[str]:
    """Ids of the selected nodes; all of them when nothing is asked for. FixInputError for a name that is not there."""
    if not selections:
        return set(nodes)
    chosen: set[str] = set()
    for selection in selections:
        for word in selection.split():
            parts = [_one(nodes, part) for part in word.split(",")]
            chosen |= set.intersection(*parts)
    return chosen


def _one(nodes: Mapping[str, Node], text: str) -> set[str]:
    above, below = text.startswith("+"), text.endswith("+")
    word = text.strip("+")
    if word.startswith("tag:"):
        base = {n.id for n in nodes.values() if word[4:] in n.tags}
    elif word in nodes:
        base = {word}
    elif "." in word:
        base = set()
    else:
        base = {n.id for n in nodes.values() if n.name == word}
    if not base:
        known = sorted({n.name for n in nodes.values()} | set(nodes))
        near = difflib.get_close_matches(word, known, 3)
        raise FixInputError(
            f"nothing is called {text!r}",
            where="selection",
            hint=f"did you mean {', '.join(near)}?" if near else f"there are: {', '.join(known)}",
        )
    found = set(base)
    if above:
        found |= _closure(base, {n.id: set(n.needs) for n in nodes.values()})
    if below:
        found |= _closure(base, {n.id: {m.id for m in nodes.values() if n.id in m.needs} for n in nodes.values()})
    return found


def _closure(start: set[str], edges: Mapping[str, set[str]]) -> set[str]:
    found, open_ = set(start), list(start)
    while open_:
        for following in edges.get(open_.pop(), set()) - found:
            found.add(following)
            open_.append(following)
    return found
