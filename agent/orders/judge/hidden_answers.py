"""Find the fields of an order whose answer no reviewer may know yet, and leave it unsaid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.orders.facts.needle_lengths import list_hidden_doubts
from agent.orders.judge.field_questions import describe_wait
from agent.triage import Reason
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent.orders.judge.assessed import Assessed, OrderPolicy
    from agent.store import MicrographView


def is_hidden(view: MicrographView) -> bool:
    """Return whether the model's answer and other reviewers' decisions are hidden.

    Control samples are, flagged or not; double reviews are until both reviewers have decided. So
    are suspect labels: only a reviewer who has not seen the label can confirm it.
    """
    if view.doubt:
        return True
    if view.label is not None or view.disagreed:
        return False
    return Reason.CONTROL_SAMPLE in view.result.reasons or view.asks_two


def find_hidden(assessed: Assessed) -> set[str]:
    """Return the public ids of an order's fields whose answer must not show."""
    return {
        field.view.id
        for specimen in assessed.view.specimens
        for prepared in specimen.preparations
        for field in prepared.fields
        if is_hidden(field.view)
    }


def leave_unsaid(
    assessed: Assessed, policy: OrderPolicy, sentences: Iterable[str]
) -> Iterator[str]:
    """Yield the sentences of an order, without what a hidden field looks like.

    Args:
        assessed: The order.
        policy: Order policy of the lab.
        sentences: Of the order or of a specimen.
    """
    hidden, shorter = find_hidden(assessed), {}
    if hidden and assessed.specification:
        rules = assessed.rules(policy)
        shorter = {
            describe_wait(field, rules): _("{field} awaits review").format(field=field.called)
            for specimen in assessed.specimens
            for field in specimen.facts.fields
            if field.id in hidden and field.awaits
        }
        if assessed.needles:
            shorter |= list_hidden_doubts(assessed.needles, assessed.specification, hidden)
    for sentence in sentences:
        text = sentence
        for whole, short in shorter.items():
            text = text.replace(whole, short)
        yield text
