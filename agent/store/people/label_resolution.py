"""Resolve the valid decision where two reviewers decide independently.

A share of what is reviewed is judged twice: two equal votes settle it; where they differ, a third
reviewer sees both and settles it. Until then no decision is valid, so that an order waits, and no
model is trained on it. Imported labels are one vote together, whatever names their files hold, and
none where a reviewer decided. Reviewers are people: what programs decide there is kept and counts
nothing, since one program may have many tokens and name anybody.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from agent.store.spelling import person_key
from reports.vocabulary import Answered

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DOUBLE_SHARE = "double_share"
"""Key of a result's thresholds that stores the share, so that it can be read later."""
TWO, THREE = 2, 3


class Vote(Answered, Protocol):
    """The attributes of a decision that the resolution needs."""

    @property
    def by(self) -> str:
        """Name of the reviewer."""

    @property
    def origin(self) -> str:
        """Where it was entered."""


V = TypeVar("V", bound=Vote)
IMPORTED, FOR_ORDERS = "import", "import_for_orders"
"""Origins of imported labels: without, and with a lead's word that they count for orders."""


def asks_two(sha256: str, thresholds: Mapping[str, Any], handling: str) -> bool:
    """Return whether two reviewers decide: a share of what is in review, by the content's hash."""
    share = float(thresholds.get(DOUBLE_SHARE) or 0.0)
    return handling == "review" and int(sha256[8:16], 16) < share * 2**32


_BY_PROGRAM = re.compile(r".* \(by .+\)|.+ \(program\)")
PROGRAMS = "(program)"
"""The voter of whatever programs decide."""


def signed_by_program(person: str, program: str) -> str:
    """Return the name under which a program decides for a reviewer, or by itself.

    Args:
        person: The reviewer whom the program names; its own name: it decides by itself.
        program: Name of its account.
    """
    if person_key(person) == person_key(program):
        return f"{program} (program)"
    return f"{person} (by {program})"


def is_by_program(name: str) -> bool:
    """Return whether a decision's name is one of `signed_by_program`."""
    return _BY_PROGRAM.fullmatch(name) is not None


OWN_NAMES = ("agent", "agent retrain", "agent.toml", "order list")
"""Names under which this program acts by itself."""
_OWN_KEYS = frozenset(map(person_key, OWN_NAMES))


def is_own_name(name: str) -> bool:
    """Return whether a name, in any spelling, is one under which this program acts by itself."""
    return person_key(name) in _OWN_KEYS


def voter_of(name: str) -> str:
    """Return the voter of a name: all programs are one, whatever reviewers they name."""
    return PROGRAMS if is_by_program(name) else person_key(name)


def is_imported(vote: Vote) -> bool:
    """Return whether a label came with a file: it is never a reviewer's own vote."""
    return vote.origin in {IMPORTED, FOR_ORDERS}


def votes_of(standing: Sequence[V]) -> list[V]:
    """Return the newest decision of each reviewer, in the sequence of their first decisions.

    Imported labels alone are one vote: the newest.
    """
    newest: dict[str, V] = {}
    for vote in _list_counted(standing):
        newest["" if is_imported(vote) else voter_of(vote.by)] = vote
    newest.pop(PROGRAMS, None)
    return list(newest.values())


def _list_counted(standing: Sequence[V]) -> Sequence[V]:
    """Return the decisions of reviewers, or the imported ones where there is no other."""
    return [vote for vote in standing if not is_imported(vote)] or standing


def holding(standing: Sequence[V], *, two: bool) -> V | None:
    """Return the valid decision, or None.

    Args:
        standing: Decisions that were not undone, oldest first.
        two: Two reviewers decide.
    """
    counted = [vote for vote in standing if not (two and is_by_program(vote.by))]
    if not counted or (two and not _resolve(votes_of(counted))):
        return None
    return _list_counted(counted)[-1]


def _resolve(votes: Sequence[Vote]) -> bool:
    if len(votes) < TWO:
        return False
    first, second = votes[:TWO]
    return len(votes) >= THREE or _answer_key(first) == _answer_key(second)


def _answer_key(vote: Vote) -> tuple[str, str | None, str | None, str | None]:
    return vote.kind, vote.code, vote.strange_kind, vote.why
