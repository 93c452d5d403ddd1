"""Decisions of reviewers: which is valid where two decide, and what is reviewed first.

A share of what is reviewed is judged twice: two equal votes settle it; where they differ, a third
reviewer sees both and settles it. Until then no decision is valid, so that an order waits, and no
model is trained on it. Imported labels are one vote together, whatever names their files hold, and
none where a reviewer decided. Reviewers are people: what programs decide there is kept and counts
nothing, since one program may have many tokens and name anybody.

The queue is ranked by reason, then by probability; urgent orders come first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar

from agent.errors import AgentError, UsageError
from agent.store.numbers import person_key
from agent.triage import Handling, Reason, get_weightiest
from reports.vocabulary import Answered

if TYPE_CHECKING:  # a short command reads no tables of micrographs
    from agent.store.tables import ResultRow

GIVEN_REFERENCE = "reference value"
"""Stratum of a micrograph that was added with a reference value, not with a label of the lab."""
KINDS = ("code", "strange", "unusable", "cannot_tell")


CRITERIA = ("mean", "max", "unrecorded")


Expected: TypeAlias = int | Literal["any"] | None
"""Number of the valid label that a reviewer saw; None: none; "any": whatever it is."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A reviewer's decision on a micrograph.

    Args:
        kind: "code", "strange", "unusable" or "cannot_tell".
        by: Name of the reviewer.
        code: The structure code, with kind "code".
        strange_kind: The kind of unusual micrograph, with kind "strange".
        why: Why it is unusable, with kind "unusable".
        criterion: "mean", "max" or "unrecorded": the needle-length criterion that was used.
        unsure: The reviewer marked it as uncertain.
        comment: Free text.
        viewing_s: Viewing time in seconds, or None.
        blind: The model's answer was hidden until the decision.
        bulk: One act for many micrographs.
        result_seen: Number of the result that the reviewer saw, or None: the current one.
        origin: "review", "import", "import_for_orders" (a lead imported it for orders) or "api".
        decision_id: Under which it is sent, the same at each attempt, so that it counts once; ""
            for none.
    """

    kind: str
    by: str
    code: str | None = None
    strange_kind: str | None = None
    why: str | None = None
    criterion: str = "unrecorded"
    unsure: bool = False
    comment: str = ""
    viewing_s: float | None = None
    blind: bool = False
    bulk: bool = False
    result_seen: int | None = None
    origin: str = "review"
    decision_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelView(Decision):
    """A decision as stored.

    Args:
        id: Its number.
        at: Aware UTC.
        supersedes: Number of the label that was valid before.
        undone: It was revoked.
        undone_by: Who revoked it, "" if it was not.
        undone_at: When it was revoked, aware UTC, or None.
        after_record: As in `LabelRow`.
    """

    id: int
    at: datetime
    supersedes: int | None = None
    undone: bool = False
    undone_by: str = ""
    undone_at: datetime | None = None
    after_record: int | None = None


@dataclass(frozen=True, slots=True)
class DoubleReview:
    """The codes that two reviewers gave to one micrograph, each unseen by the other.

    Args:
        codes: Of both; with `is_reference` a reviewer's code and the reference value.
        at: When the second one was given, aware UTC.
        specimen: Order and specimen, "" where none is named.
        material: Of the micrograph, "" where it is not known.
        answers: What the model could not exclude: its structure code and its prediction set.
        is_reference: The second code is a reference value that came with the micrograph.
    """

    codes: tuple[str, str]
    at: datetime
    specimen: str = ""
    material: str = ""
    answers: tuple[str, ...] = ()
    is_reference: bool = False


class DecisionConflictError(AgentError):
    """Another reviewer decided first; nothing was written."""


def refuse_incomplete(decision: Decision) -> None:
    """Raise `UsageError` if a decision lacks a value that its kind needs."""
    if decision.kind not in KINDS:
        raise UsageError(f"a decision is one of {', '.join(KINDS)}, found {decision.kind!r}.")
    if decision.criterion not in CRITERIA:
        raise UsageError(
            f"a criterion is one of {', '.join(CRITERIA)}, found {decision.criterion!r}."
        )
    if not decision.by.strip():
        raise UsageError("a decision needs the name of who takes it.")
    needed = {"code": decision.code, "strange": decision.strange_kind, "unusable": decision.why}
    if decision.kind in needed and not needed[decision.kind]:
        raise UsageError(f"a decision of kind {decision.kind!r} has to say which or why.")


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


RANKS_PER_REASON = 1_000_000
URGENT = 1_000_000_000  # more than all reasons together
DOUBTED_RANK = list(Reason).index(Reason.DOUBTED_LABEL) * RANKS_PER_REASON
DRAWN = (Reason.CONTROL_SAMPLE, Reason.UNLIKE_TAUGHT)
"""Reasons of random draws, which would otherwise wait while anything else is queued."""
ONE_IN = 10
_RANKED_AS = {
    Reason.REQUESTED: Reason.UNEXPECTED_SUBTYPE,
    Reason.NEEDLES_DISAGREE: Reason.UNCERTAIN,
}
"""The newest reasons are the last of their list, as ranks are stored → the place they have."""


def rank_of(row: ResultRow, *, urgent: bool) -> int | None:
    """Return a result's rank in the review queue: by reason, then by probability.

    Args:
        row: The result.
        urgent: Its order is urgent and precedes every other.

    Returns:
        The smallest rank is first; None where no review is needed.
    """
    if row.handling != Handling.REVIEW or row.origin == "import" or not row.reasons:
        return None
    reason = get_weightiest(row.reasons)
    weight = list(Reason).index(_RANKED_AS.get(reason, reason))
    doubt = row.p_value if reason == Reason.STRANGE else row.probability
    if reason == Reason.CONTROL_SAMPLE:
        doubt = 0.0  # by arrival: uncertain ones first would not be a random sample
    inside = min(max(doubt or 0.0, 0.0), 1.0)
    rank = weight * RANKS_PER_REASON + round(inside * (RANKS_PER_REASON - 1))
    return with_urgency(rank, urgent=urgent)


def with_urgency(rank: int, *, urgent: bool) -> int:
    """Return the rank of a micrograph of an urgent order, or the one without urgency."""
    place = rank % URGENT
    return place - URGENT if urgent else place


def insert_drawn(rows: Sequence[Any], drawn: Sequence[Any]) -> list[Any]:
    """Insert a drawn micrograph at each tenth rank after the urgent ones.

    Args:
        rows: The most important that wait, in order; some of the drawn may be among them.
        drawn: Those that were drawn and are not urgent, in order.
    """
    taken = {row.r_id for row in drawn}
    urgent = [row for row in rows if row.r_review_rank < 0]
    weighty = [row for row in rows[len(urgent) :] if row.r_id not in taken]
    left, merged = list(drawn), list(urgent)
    for start in range(0, len(weighty), ONE_IN - 1):
        merged += [*weighty[start : start + ONE_IN - 1], *left[:1]]
        left = left[1:]
    return merged + left
