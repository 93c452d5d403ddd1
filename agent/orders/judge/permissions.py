"""Refuse acts that only a lead may do, and hide answers that no reviewer may know yet.

Without a lead an act can only make an order less certain. An act refused here would leave the
order undecided anyway; refusing it reports that at once, before anything is written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial

from agent.errors import UsageError
from agent.orders.facts.needle_lengths import list_hidden_doubts
from agent.orders.facts.possible_fields import list_possible_orders
from agent.orders.judge.assessed import Assessed, OrderPolicy
from agent.orders.judge.assessment import assess
from agent.orders.judge.conformity import is_covered, may_take_away, require_may_take_away
from agent.orders.judge.field_evidence import could_break, describe_wait, iter_breaking_labels
from agent.store import MicrographView, Store, number_key
from agent.triage import Reason
from reports import gettext as _
from reports import marked


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


LONGEST_REASON = 500
HOW_TO_LEAD = marked("an account of that role, or a name in [orders] leads")


def require_may_replace(
    store: Store,
    policy: OrderPolicy,
    number: str,
    ids: Collection[str],
    *,
    by: str,
    defect: str,
    picture: str,
) -> None:
    """Refuse to replace fields although one of them could break the limit.

    Args:
        store: Open.
        policy: The policy of the lab.
        number: Of the order.
        ids: Public ids of the fields.
        by: Who replaces them.
        defect: The defect behind it, or "".
        picture: SHA-256 of a picture of the defect, or "".

    Raises:
        UsageError: `by` is no lead; or a reviewer confirmed a break, and `by` is that reviewer, or
            defect or picture is missing.
    """
    assessed = assess(store, number, policy)
    if assessed is None or assessed.specification is None:
        return
    rules = assessed.rules(policy)
    for specimen in assessed.specimens:
        for field in specimen.facts.fields:
            if field.id not in ids or field.superseded:
                continue
            why = could_break(field, rules, is_covered=is_covered(field, rules))
            if why and not policy.is_lead(by):
                raise UsageError(
                    _(
                        "{field} ({id}) {why}, so it could break the limit: a lead alone may "
                        "replace it ({how})."
                    ).format(field=field.called, id=field.id, why=why, how=_(HOW_TO_LEAD))
                )
            against = {label.by for label in iter_breaking_labels(field, rules) if not label.unsure}
            is_second = may_take_away(against, policy.is_lead, by=by)
            if against and not (is_second and defect and picture):
                raise UsageError(
                    _(
                        "{field} ({id}) breaks the limit, labelled by {who}: a second person, a "
                        "lead, sets it aside with --defect KIND and --picture FILE."
                    ).format(field=field.called, id=field.id, who=", ".join(sorted(against)))
                )


def require_may_assign(
    store: Store, policy: OrderPolicy, public_id: str, keys: Mapping[str, str], *, by: str
) -> None:
    """Refuse to assign a field for which another specimen is named, unless by a lead.

    What a reviewer saw break the limit of an order that it leaves, only a second lead assigns.

    Args:
        store: Open.
        policy: The policy of the lab.
        public_id: Of the micrograph.
        keys: Its new `order` and `specimen`.
        by: Who assigns it.

    Raises:
        UsageError: `by` is no lead, and something names another order or specimen, or the field is
            labelled and the order unknown; or it breaks the limit of an order that it leaves, and
            `by` may not take it away.
    """
    require_may_leave(store, policy, public_id, keys, by=by)
    if policy.may_lead(by):
        return
    number, view = keys.get("order", ""), store.results.find(public_id)
    others = store.orders.claimed_elsewhere(public_id, number, keys.get("specimen", ""))
    if others:
        raise UsageError(
            _("{id} is named for {others}: only a lead may assign it elsewhere ({how}).").format(
                id=public_id, others=", ".join(map("/".join, others)), how=_(HOW_TO_LEAD)
            )
        )
    if view and any(label.code for label in view.labels) and store.orders.order(number) is None:
        raise UsageError(
            _(
                "{id} is labelled, and there is no order {number} yet: only a lead may begin an "
                "order with it ({how})."
            ).format(id=public_id, number=number, how=_(HOW_TO_LEAD))
        )


def require_may_leave(
    store: Store, policy: OrderPolicy, public_id: str, keys: Mapping[str, str], *, by: str
) -> None:
    """Refuse to take a field away from an order whose limit it breaks by a reviewer's label.

    Args:
        store: Open.
        policy: The policy of the lab.
        public_id: Of the micrograph.
        keys: Where it goes; empty: to no specimen.
        by: Who takes it away.

    Raises:
        UsageError: A second lead alone may do that.
    """
    target, view = keys.get("order", ""), store.results.find(public_id)
    if view is None or not any(label.code for label in view.labels):
        return
    others = store.orders.claimed_elsewhere(public_id, target, keys.get("specimen", ""))
    left = {order for order, _specimen in others}
    left |= {*list_left(store, [public_id], keys).get(public_id, ())}
    key = partial(number_key, exact=store.exact_numbers)
    for number in sorted(order for order in left if key(order) != key(target)):
        assessed = assess(store, number, policy)
        if assessed is None or assessed.specification is None:
            continue
        rules, is_lead = assessed.rules(policy), policy.is_lead
        require_may_take_away([view], number, rules, is_lead, by=by)


def list_left(
    store: Store, public_ids: Collection[str], keys: Mapping[str, str]
) -> dict[str, list[str]]:
    """Return the orders that fields of no specimen might be of, apart from where they go."""
    key = partial(number_key, exact=store.exact_numbers)
    return {
        public_id: [number for number in numbers if key(number) != key(keys.get("order", ""))]
        for public_id, numbers in list_possible_orders(store, public_ids).items()
    }


def require_lead(policy: OrderPolicy, by: str) -> None:
    """Refuse an act by anyone but a lead. Raises `UsageError`."""
    if not policy.may_lead(by):
        raise UsageError(
            _("{who} is not a lead: only a lead may do this ({how}).").format(
                who=by or "–", how=_(HOW_TO_LEAD)
            )
        )


def require_reason(reason: str) -> str:
    """Return a reason as it is recorded: one line of printable letters.

    Raises:
        UsageError: Nothing is left of it, or it is longer than `LONGEST_REASON`.
    """
    if len(reason) > LONGEST_REASON:
        raise UsageError(_("A reason has at most {n} letters.").format(n=LONGEST_REASON))
    kept = "".join(letter for letter in " ".join(reason.split()) if letter.isprintable())
    if not kept:
        raise UsageError(_("Add a reason. It is recorded."))
    return kept
