"""Say which fields belong together, and let one decision hold for all of them.

In:  a micrograph. Out: its specimen's fields, and decisions on them. Next: `pages`.
A metallographer judges a specimen, not a file: the fields stand side by side at one scale, and
what is said once can hold for every one that still waits. Each gets a decision of its own, marked
as given in bulk, so that one of them can be changed later, and all of them be taken back at once.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.store import Overtaken
from agent.web import desk as acts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.store import Decision, MicrographView
    from agent.web.desk import Desk

MOST_FIELDS = 1000
OF_ONE = ("order", "specimen", "preparation")


def fields_of(desk: Desk, view: MicrographView) -> list[MicrographView]:
    """Say every field of a micrograph's specimen and preparation, in their order, itself included.

    A micrograph that names no specimen stands alone.
    """
    told = view.process_data
    if not told.get("order") or not told.get("specimen"):
        return [view]
    others = desk.store.find(order=told["order"], specimen=told["specimen"], limit=MOST_FIELDS)
    own = [one for one in others if _key(one) == _key(view)]
    return sorted(own, key=lambda one: (_number(one.process_data.get("field", "")), one.path))


def _key(view: MicrographView) -> tuple[str, ...]:
    return tuple(view.process_data.get(name, "") for name in OF_ONE)


def _number(field: str) -> tuple[int, str]:
    return (int(field), "") if field.isdecimal() else (0, field)


def waiting(fields: Sequence[MicrographView], view: MicrographView) -> list[MicrographView]:
    """Say which other fields of its specimen wait; what is to be judged blind waits for itself."""
    return [
        one
        for one in fields
        if one.id != view.id and one.awaits and one.label is None and not _stands_alone(one)
    ]


def _stands_alone(view: MicrographView) -> bool:
    return view.asks_two or is_blind(view)


def is_blind(view: MicrographView) -> bool:
    """Say whether the model's answer, and what others said, are hidden until one has decided.

    So are control samples, what two people judge until both have spoken, and a label that is
    doubted: only who has not seen it can say the same again.
    """
    if view.doubt:
        return True
    if view.label is not None:
        return False
    return view.reasons == ("control_sample",) or (view.asks_two and not view.disagreed)


def is_done_by(view: MicrographView, who: str) -> bool:
    """Say whether somebody has said what they can: where two are asked, another one has to."""
    return view.label is None and any(vote.by == who for vote in view.votes)


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
    acts.decide(desk, view.id, given, label_seen=label_seen, at=at)
    said = {view.id}
    for one in others:
        unseen = replace(given, result_seen=one.result_id, viewing_s=None)
        with suppress(Overtaken):
            desk.store.decide(one.id, unseen, at=at, expected=None)
            said.add(one.id)
    return said


def undo_together(desk: Desk, view: MicrographView, *, by: str, any_ones: bool) -> int:
    """Take a decision back, and with it all that were given in the same act; how many.

    Raises:
        NotYours: Somebody else decided, and `by` may not take that back.
        WrongUse: There is nothing to take back, or nobody is named.
    """
    together = [view.id]
    if view.label is not None and view.label.bulk:
        act = (view.label.by, view.label.at)
        together += [
            one.id
            for one in fields_of(desk, view)
            if one.id != view.id
            and one.label is not None
            and one.label.bulk
            and (one.label.by, one.label.at) == act
        ]
    for public_id in together:
        acts.undo(desk, public_id, by=by, any_ones=any_ones)
    return len(together)
