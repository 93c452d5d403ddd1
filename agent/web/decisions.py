"""Write down what people decide, and what they take back.

In:  a decision as it is sent. Out: rows in the store. Next: whoever reads them.
A decision goes through here whoever sends it, so that a form, a program and a key press obey the
same rules: a name, a known code, and no overwriting of what somebody else said meanwhile. What is
said of a specimen is a decision of its own for every field that waits, marked as given in bulk, so
that one of them can be changed later, and all of them be taken back at once.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from agent.errors import WrongUse
from agent.store import Decision, Overtaken, voter_of
from agent.web.context import LONGEST_NAME, find
from agent.web.specimen_fields import fields_of, given_together, waiting

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from agent.store import LabelView, MicrographView
    from agent.web.context import Desk
    from model import Taxonomy

LONGEST_WORD, LONGEST_CODE = 80, 90
"""Letters of a reason, and of a structure code: two names of 40 and what joins them fit."""
LONGEST_COMMENT = 500
DECISION_ID = re.compile(r"[0-9A-Za-z_-]{8,64}")
"""Id under which a decision is sent, the same at each attempt."""


class NotYours(Exception):  # noqa: N818 - it is a finding, not a fault
    """What somebody else decided is not this person's to take back."""


class Meanwhile(Exception):  # noqa: N818 - it is a finding, not a fault
    """What the person looked at is no longer what holds; nothing was written.

    Args:
        view: The micrograph as it is now.
        answer: It is the model's answer that changed, not a person's decision.
    """

    def __init__(self, view: MicrographView, *, answer: bool = False) -> None:
        said = "the model has answered anew" if answer else "somebody else decided meanwhile"
        super().__init__(said)
        self.view, self.answer = view, answer


def read_decision(
    said: str,
    *,
    taxonomy: Callable[[], Taxonomy],
    by: str,
    criterion: str = "unrecorded",
    unsure: bool = False,
    comment: str = "",
    viewing_s: float | None = None,
    blind: bool = False,
    result_seen: int | None = None,
    origin: str = "review",
    decision_id: str = "",
) -> Decision:
    """Read a decision as it is sent: "code:G8", "strange:pearlite", "unusable:…", "cannot_tell".

    Raises:
        WrongUse: It is none, a name or comment is too long, or its id is none.
        model.TaxonomyError: A code is not in the taxonomy; the nearest is named.
    """
    kind, _, what = said.partition(":")
    name = by.strip()
    longest = LONGEST_CODE if kind == "code" else LONGEST_WORD
    if len(name) > LONGEST_NAME or len(what) > longest or len(comment) > LONGEST_COMMENT:
        raise WrongUse("a name, a reason or a comment is too long.")
    if not (name.isprintable() and what.isprintable()):
        raise WrongUse("a name or a reason has letters that cannot be shown.")
    if decision_id and not DECISION_ID.fullmatch(decision_id):
        raise WrongUse("a decision id has 8 to 64 letters, digits, hyphens or underscores.")
    if kind == "code":
        known = taxonomy()
        what = known.code(*known.parse(what))
    return Decision(
        kind=kind,
        by=name,
        code=what if kind == "code" else None,
        strange_kind=what if kind == "strange" else None,
        why=what if kind == "unusable" else None,
        criterion=criterion,
        unsure=unsure,
        comment=shown(comment),
        viewing_s=viewing_s,
        blind=blind,
        result_seen=result_seen,
        origin=origin,
        id=decision_id,
    )


def shown(comment: str) -> str:
    """Give a comment as it is kept."""
    # Line breaks become spaces; what no page and no database can show is left out.
    return "".join(letter for letter in " ".join(comment.split()) if letter.isprintable())


def decide(
    desk: Desk,
    public_id: str,
    decision: Decision,
    *,
    label_seen: int | Literal["any"] | None = "any",
    at: datetime | None = None,
) -> int:
    """Append a decision; the label's number comes back.

    A decision that is sent again under its id, since no answer came, is not appended again.

    Args:
        desk: Where.
        public_id: Of the micrograph.
        decision: What is said.
        label_seen: Number of the label the person saw, None for none, "any" for whatever holds.
        at: When, aware UTC; None: now.

    Raises:
        Unknown: No such micrograph.
        Meanwhile: Another label holds by now, or the model has answered anew.
        WrongUse: The decision is incomplete.

    The same answer as the one that holds by now is no conflict: another reviewer's confirms it, and
    a reviewer's own, sent once more, is written once.
    """
    view = find(desk, public_id)
    if (number := desk.store.labels.find_decision(public_id, decision)) is not None:
        return number
    holds = view.label.id if view.label else None
    if label_seen not in ("any", holds):
        if view.label is None or not is_same_answer(view.label, decision):
            raise Meanwhile(view)
        if voter_of(view.label.by) == voter_of(decision.by):
            return view.label.id
        label_seen = holds
    if decision.result_seen not in (None, view.result_id):
        raise Meanwhile(view, answer=True)
    try:
        return desk.store.labels.decide(
            public_id, decision, at=at or desk.now(), expected=label_seen
        )
    except Overtaken:  # between our look and the act
        return decide(desk, public_id, decision, label_seen=label_seen, at=at)


def is_same_answer(label: LabelView, decision: Decision) -> bool:
    """Return whether a decision gives the answer of a label, by the same criterion."""
    return all(
        getattr(label, name) == getattr(decision, name)
        for name in ("kind", "code", "strange_kind", "why", "criterion", "unsure")
    )


def undo(desk: Desk, public_id: str, *, by: str, any_ones: bool = True) -> int:
    """Take the decision that holds back, by a row of its own.

    Args:
        desk: Where.
        public_id: Of the micrograph.
        by: Who takes it back.
        any_ones: Whether they may take back what somebody else decided.

    Raises:
        Unknown: No such micrograph.
        NotYours: Somebody else decided, and `by` may not take that back.
        WrongUse: There is nothing to take back, or nobody is named.
    """
    label = find(desk, public_id).label
    if label is not None and label.by != by and not any_ones:
        raise NotYours(f"{label.by} decided that; a lead may take it back")
    return desk.store.labels.undo(public_id, by=by, at=desk.now())


def decide_together(
    desk: Desk, view: MicrographView, decision: Decision, *, label_seen: int | None
) -> set[str]:
    """Say the same of a field and of every other field of its specimen that waits.

    Returns:
        Ids of those it was said of; one that somebody decides meanwhile keeps what they said.

    Raises:
        Meanwhile: Another label holds for the field that was looked at; nothing was written.
    """
    at, others = desk.now(), waiting(fields_of(desk, view), view)
    given = replace(decision, bulk=bool(others))
    decide(desk, view.id, given, label_seen=label_seen, at=at)
    said = {view.id}
    for one in others:
        unseen = replace(given, result_seen=one.result_id, viewing_s=None)
        with suppress(Overtaken):
            desk.store.labels.decide(one.id, unseen, at=at, expected=None)
            said.add(one.id)
    return said


def undo_together(desk: Desk, view: MicrographView, *, by: str, any_ones: bool) -> int:
    """Take a decision back, and with it all that were given in the same act; how many.

    Raises:
        NotYours: Somebody else decided, and `by` may not take that back.
        WrongUse: There is nothing to take back, or nobody is named.
    """
    together = given_together(fields_of(desk, view), view)
    for one in together:
        undo(desk, one.id, by=by, any_ones=any_ones)
    return len(together)
