"""Decisions of reviewers, as entered and as stored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - pydantic reads it
from typing import Literal, TypeAlias

from agent.errors import AgentError, WrongUse

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


class DecisionConflict(AgentError):  # noqa: N818 - an outcome, not a fault
    """Another reviewer decided first; nothing was written."""


def refuse_incomplete(decision: Decision) -> None:
    """Raise `WrongUse` if a decision lacks a value that its kind needs."""
    if decision.kind not in KINDS:
        raise WrongUse(f"a decision is one of {', '.join(KINDS)}, found {decision.kind!r}.")
    if decision.criterion not in CRITERIA:
        raise WrongUse(
            f"a criterion is one of {', '.join(CRITERIA)}, found {decision.criterion!r}."
        )
    if not decision.by.strip():
        raise WrongUse("a decision needs the name of who takes it.")
    needed = {"code": decision.code, "strange": decision.strange_kind, "unusable": decision.why}
    if decision.kind in needed and not needed[decision.kind]:
        raise WrongUse(f"a decision of kind {decision.kind!r} has to say which or why.")
