"""Group fields by specimen, and find which of them one decision covers.

A metallographer assesses a specimen, not a file: its fields are shown at one scale, and one
decision can cover every field that still waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.orders.judge.permissions import is_hidden

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from agent.store import MicrographView
    from agent.web.context import Desk

MOST_FIELDS = 1000
OF_ONE = ("order", "specimen", "preparation")


def fields_of(desk: Desk, view: MicrographView) -> list[MicrographView]:
    """Return every field of a micrograph's specimen and preparation, sorted by field number.

    The micrograph itself is included; one that names no specimen is returned alone.
    """
    told = view.process_data
    if not told.get("order") or not told.get("specimen"):
        return [view]
    others = desk.store.results.search(
        order=told["order"], specimen=told["specimen"], limit=MOST_FIELDS
    )
    own = [other for other in others if _key(other) == _key(view)]
    return sorted(own, key=lambda one: (_number(one.process_data.get("field", "")), one.path))


def _key(view: MicrographView) -> tuple[str, ...]:
    return tuple(view.process_data.get(name, "") for name in OF_ONE)


def _number(field: str) -> tuple[int, str]:
    return (int(field), "") if field.isdecimal() else (0, field)


def waiting(fields: Sequence[MicrographView], view: MicrographView) -> list[MicrographView]:
    """Return the other fields of the specimen that wait, except those that are decided alone."""
    return [
        field_view
        for field_view in fields
        if field_view.id != view.id
        and field_view.awaits
        and field_view.label is None
        and not stands_alone(field_view)
    ]


def stands_alone(view: MicrographView) -> bool:
    """Return whether a field is never decided together with others: blind, or reviewed twice."""
    return view.asks_two or is_blind(view)


def is_blind(view: MicrographView, *, asked: bool = False) -> bool:
    """Return whether the model's answer and other reviewers' decisions are hidden.

    Control samples are blind, flagged or not; double reviews are until both reviewers have decided.
    So are suspect labels: only a reviewer who has not seen the label can confirm it.

    Args:
        view: The micrograph.
        asked: The reviewer requested micrographs without the answer.
    """
    return is_hidden(view) or (asked and view.label is None and not view.disagreed)


def remember_shown(desk: Desk, micrographs: Iterable[MicrographView], who: str) -> None:
    """Record that a page has shown a reviewer the answers that are not hidden."""
    for view in micrographs:
        if view.result.structure_code and not is_blind(view):
            desk.shown.add(who, view.result.id)


def remember_read(desk: Desk, micrographs: Iterable[MicrographView], who: str) -> None:
    """Record that a named reader got the answers, hidden ones too, from the API or a file."""
    for view in micrographs if who else ():
        if view.result.structure_code and view.awaits:
            desk.shown.add(who, view.result.id)


def is_done_by(view: MicrographView, who: str) -> bool:
    """Return whether a reviewer has answered a field without a label; another one has to."""
    return view.label is None and any(vote.by == who for vote in view.votes)


def given_together(fields: Sequence[MicrographView], view: MicrographView) -> list[MicrographView]:
    """Return the fields that were decided in the same act as a field, itself included."""
    act = _bulk_act(view)
    return [
        view,
        *(
            field_view
            for field_view in fields
            if act and field_view.id != view.id and _bulk_act(field_view) == act
        ),
    ]


def _bulk_act(view: MicrographView) -> tuple[str, datetime] | None:
    label = view.label
    return (label.by, label.at) if label is not None and label.bulk else None
