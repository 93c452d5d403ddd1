"""Say which decision holds where two people are asked, each without seeing what the other said.

In:  the decisions on one micrograph that were not taken back, oldest first. Out: the one that
holds, or None. Next: `labels` and `results`. A share of what is reviewed is judged twice: two who
say the same settle it; where they do not, a third sees both and settles it. Until then nothing
holds, so that an order waits, and nothing is learned from it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from agent.store.spelling import person_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DOUBLE_SHARE = "double_share"
"""Under this name the share is written beside each result, so that it is known ever after."""
TWO, THREE = 2, 3


class Vote(Protocol):
    """What is asked of a decision."""

    @property
    def by(self) -> str:
        """Who."""

    @property
    def kind(self) -> str:
        """What kind of decision."""

    @property
    def code(self) -> str | None:
        """The structure code, if it is one."""

    @property
    def strange_kind(self) -> str | None:
        """What kind of strange, if it is."""

    @property
    def why(self) -> str | None:
        """Why it is unusable, if it is."""


V = TypeVar("V", bound=Vote)


def asks_two(sha256: str, thresholds: Mapping[str, Any], handling: str) -> bool:
    """Say whether two people are asked: of what is in review, a share by the content's hash."""
    share = float(thresholds.get(DOUBLE_SHARE) or 0.0)
    return handling == "review" and int(sha256[8:16], 16) < share * 2**32


_BY_PROGRAM = re.compile(r" \(by (?P<program>.+)\)$")
_ALONE = re.compile(r"^(?P<program>.+) \(program\)$")


def signed_by_program(person: str, program: str) -> str:
    """Return the name under which a program decides for a person, or by itself.

    Args:
        person: Whom the program names; its own name: it decides by itself.
        program: Name of its account.
    """
    if person_key(person) == person_key(program):
        return f"{program} (program)"
    return f"{person} (by {program})"


def voter_of(name: str) -> str:
    """Return whose vote a name is: whatever person a program names, it has one vote."""
    found = _BY_PROGRAM.search(name) or _ALONE.search(name)
    return f"(by {person_key(found['program'])})" if found else person_key(name)


def votes_of(standing: Sequence[V]) -> list[V]:
    """Give the newest decision of each person, in the order in which they first spoke."""
    newest: dict[str, V] = {}
    for one in standing:
        newest[voter_of(one.by)] = one
    return list(newest.values())


def holding(standing: Sequence[V], *, two: bool) -> V | None:
    """Say which decision holds.

    Args:
        standing: What was not taken back, oldest first.
        two: Two people are asked.
    """
    if not standing or (two and not _settled(votes_of(standing))):
        return None
    return standing[-1]


def _settled(votes: Sequence[Vote]) -> bool:
    if len(votes) < TWO:
        return False
    first, second = votes[:TWO]
    return len(votes) >= THREE or _said(first) == _said(second)


def _said(vote: Vote) -> tuple[str, str | None, str | None, str | None]:
    return vote.kind, vote.code, vote.strange_kind, vote.why
