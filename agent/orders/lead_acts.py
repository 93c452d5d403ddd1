"""What may be done with an order as a whole: list what is possible now, and carry it out.

The order's page, the API and the commands `agent orders urgent`, `hold`, `reopen`, `amend` and
`resume` all come here, so that each refuses what the others refuse.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum

from agent.errors import UsageError
from agent.orders.facts.order_list import list_changes
from agent.orders.facts.possible_fields import (
    Possible,
    dismiss_file,
    dismiss_possible,
    find_possible,
    iter_views,
    list_possible_orders,
    list_undecided,
)
from agent.orders.facts.specimen_facts import Conformity
from agent.orders.judge.assessed import Assessed, OrderPolicy, build_rules
from agent.orders.judge.assessment import assess, assess_view
from agent.orders.judge.conformity import find_confirmed_break, require_may_take_away
from agent.orders.judge.judgement_rules import Rules
from agent.orders.judge.permissions import require_lead, require_reason
from agent.orders.lims.lost_conformity import acknowledge, find_unfollowed
from agent.orders.specifications.applicable_specification import (
    choose_specification,
    has_newer_rules,
)
from agent.orders.specifications.specification import Specification, Specifications
from agent.orders.specifications.specification_history import SpecificationHistory, reopen
from agent.store import Store, voter_of
from agent.store.orders.order_corrections import DISMISSED
from agent.store.orders.orders import accept_changes
from agent.store.results.places import DIFFERENT
from reports import gettext as _


class LeadAct(StrEnum):
    """What a lead may do with an order."""

    URGENT = "urgent"
    NORMAL = "normal"
    ACCEPT = "accept"
    DISMISS = "dismiss"
    DISMISS_FILES = "dismiss_files"
    DISMISS_POSSIBLE = "dismiss_possible"
    REOPEN = "reopen"
    RESUME = "resume"
    HOLD = "hold"
    RELEASE = "release"


UNREASONED = frozenset({LeadAct.URGENT, LeadAct.NORMAL})
"""Acts that need no reason; every other one is recorded with one."""
OF_REVIEWERS = frozenset({LeadAct.DISMISS_POSSIBLE, LeadAct.HOLD})
"""Acts of each reviewer: they make an order less certain, or keep what it rests on."""


def needs_lead(act: LeadAct, *, has_accounts: bool) -> bool:
    """Return whether only a lead may do it; without accounts the priority is anybody's."""
    return act not in OF_REVIEWERS and (has_accounts or act not in UNREASONED)


@dataclass(frozen=True, slots=True)
class PossibleAct:
    """An act that changes something of an order as it is now.

    Attributes:
        act: What.
        label: For a button.
        effect: What it does, one sentence.
        needs_reason: It is recorded with a reason.
        about: What it concerns, as the page shows it: of what came later it decides nothing.
    """

    act: LeadAct
    label: str
    effect: str
    needs_reason: bool
    about: str = ""


def list_possible_acts(
    store: Store, assessed: Assessed, policy: OrderPolicy, *, at: datetime
) -> list[PossibleAct]:
    """Return the acts that change something of an order, most pressing first.

    Args:
        store: Open.
        assessed: The order in its present state.
        policy: The policy of the lab.
        at: Now, aware UTC.
    """
    return [_build_act(*entry) for entry in _iter_acts(store, assessed, policy, at)]


def list_settling_acts(store: Store, assessed: Assessed) -> list[PossibleAct]:
    """Return the acts that an undecided order waits for, apart from answers on its fields."""
    return [_build_act(*entry) for entry in _iter_settling(store, assessed)]


def _build_act(act: LeadAct, label: str, effect: str, *about: str) -> PossibleAct:
    return PossibleAct(act, label, effect, act not in UNREASONED, " ".join(about))


def _iter_settling(
    store: Store, assessed: Assessed
) -> Iterator[tuple[LeadAct, str, str, *tuple[str, ...]]]:
    number = assessed.view.number
    if lost := find_unfollowed(store, number):
        effect = (
            _(
                "A restored backup lost revision {n}, which the LIMS has. This acknowledges the "
                "loss and sends the present state."
            )
            if lost.sent.revision
            else _(
                "A restored backup lost statement {n}. This acknowledges the loss: the present "
                "state counts."
            )
        )
        n = lost.sent.revision or lost.sent.statement_number
        yield LeadAct.RESUME, _("Acknowledge the loss"), effect.format(n=n)
    if changes := list_changes(assessed.view.facts):
        text = "; ".join(changes)
        accept = _("From now on the values of the order list apply: {changes}.")
        yield LeadAct.ACCEPT, _("Accept the change of the list"), accept.format(changes=text)
        dismiss = _("The present values stay: {changes} is dismissed.")
        yield LeadAct.DISMISS, _("Dismiss the change of the list"), dismiss.format(changes=text)
    if files := list_undecided(assessed.lost, store.records.all(DISMISSED, number)):
        effect = _("The order is assessed without {files}.").format(files=", ".join(files))
        yield LeadAct.DISMISS_FILES, _("Dismiss the unusable files"), effect, *files
    if assessed.possible or assessed.alike:
        names, files = list_possible_names(assessed), [*assessed.possible.values(), *assessed.alike]
        effect = _(
            "Not of this order: {files}. A micrograph of no specimen is dismissed for every order."
        ).format(files=", ".join(files))
        yield LeadAct.DISMISS_POSSIBLE, _("Dismiss what is not of it"), effect, *names


def _iter_acts(
    store: Store, assessed: Assessed, policy: OrderPolicy, at: datetime
) -> Iterator[tuple[LeadAct, str, str, *tuple[str, ...]]]:
    number = assessed.view.number
    yield from _iter_settling(store, assessed)
    if has_newer_rules(assessed, policy, at=at):
        effect, despite = _("The order is assessed by the present specification and sizes."), ""
        if later := store.audit_log.find_later(at=at):
            despite = f"{later:%Y-%m-%dT%H:%M}"
            effect += " " + _(
                "The lead confirms that the clock of this PC is right, {now} UTC, although an act "
                "is dated {later} UTC."
            ).format(now=f"{at:%Y-%m-%d %H:%M}", later=despite)
        yield LeadAct.REOPEN, _("Reopen the order"), effect, *([despite] if despite else [])
    if assessed.view.urgent:
        yield LeadAct.NORMAL, _("Normal priority"), _("Remove urgent.")
    else:
        yield LeadAct.URGENT, _("Mark as urgent"), _("Its images are processed and reviewed first.")
    if store.retention.is_on_hold(number):
        effect = _("Its data may be pruned again as [retention] allows.")
        yield LeadAct.RELEASE, _("End the protection"), effect
    else:
        effect = _("Its data is not pruned, even where [retention] allows it.")
        yield LeadAct.HOLD, _("Protect from pruning"), effect


def carry_out(  # noqa: C901 - one case an act
    store: Store,
    policy: OrderPolicy,
    number: str,
    act: LeadAct,
    *,
    by: str,
    reason: str,
    at: datetime,
    about: str | None = None,
    is_lead: bool = False,
) -> tuple[str, str]:
    """Carry out an act on an order.

    Args:
        store: Open.
        policy: The policy of the lab.
        number: Of the order, in any spelling.
        act: What.
        by: A lead, or whoever `needs_lead` allows.
        reason: Why; "" only where the act needs none.
        at: Now, aware UTC.
        about: What the page showed that the act concerns; None: what it concerns now.
        is_lead: The account that sends it is a lead's, a program's too, whatever its name.

    Returns:
        The number as it is stored, and the act's effect.

    Raises:
        UsageError: The order is unknown, `by` is no lead, the reason is missing, or the act would
            change nothing now, perhaps because somebody else was first.
    """
    if not is_lead and needs_lead(act, has_accounts=store.accounts.are_there()):
        require_lead(policy, by)
    assessed = assess(store, number, policy)
    if assessed is None:
        raise UsageError(_("Unknown order {number}.").format(number=number))
    number = assessed.view.number
    possible = {entry.act: entry for entry in list_possible_acts(store, assessed, policy, at=at)}
    if act not in possible:
        text = _("Order {number} has nothing of the kind to settle now; nothing was recorded.")
        raise UsageError(text.format(number=number))
    if about not in {None, possible[act].about}:
        raise _build_too_late(number)
    if possible[act].needs_reason:
        reason = require_reason(reason)
    match act:
        case LeadAct.URGENT | LeadAct.NORMAL:
            store.order_corrections.set_urgent(number, urgent=act is LeadAct.URGENT, by=by, at=at)
        case LeadAct.HOLD | LeadAct.RELEASE:
            _protect(store, number, hold=act is LeadAct.HOLD, by=by, reason=reason, at=at)
        case LeadAct.DISMISS_FILES:
            _dismiss_files(store, assessed, by=by, reason=reason, at=at)
        case LeadAct.DISMISS_POSSIBLE:
            names = list_possible_names(assessed)
            dismiss_each(store, policy, assessed, names, by=by, reason=reason, at=at)
        case LeadAct.REOPEN:
            confirmed = possible[act].about if about is not None else ""
            _reopen(store, policy, assessed, by=by, reason=reason, at=at, despite=confirmed)
        case LeadAct.RESUME:
            acknowledge(store, number, by=by, reason=reason, at=at)
        case LeadAct.ACCEPT | LeadAct.DISMISS:
            accept = act is LeadAct.ACCEPT
            breaks = _require_may_accept(store, policy, assessed, by=by) if accept else []
            store.order_corrections.amend(
                number, accept=accept, by=by, reason=reason, at=at, breaks=breaks
            )
    return number, possible[act].effect


def _reopen(
    store: Store,
    policy: OrderPolicy,
    assessed: Assessed,
    *,
    by: str,
    reason: str,
    at: datetime,
    despite: str,
) -> None:
    later, number = store.audit_log.find_later(at=at), assessed.view.number
    if later and not despite:
        raise UsageError(
            _(
                "The clock of this PC shows {now} UTC, and an act is dated {later} UTC. Set the "
                "clock. If it is right and was ahead then, add --despite {later}."
            ).format(now=f"{at:%Y-%m-%d %H:%M}", later=f"{later:%Y-%m-%dT%H:%M}")
        )
    breaks = _require_may_reopen(store, policy, assessed, by=by)
    reopen(store, number, by=by, reason=reason, at=at, breaks=breaks, despite=despite)


def _require_may_reopen(
    store: Store, policy: OrderPolicy, assessed: Assessed, *, by: str
) -> list[str]:
    choice = choose_specification(assessed.view, policy, material=assessed.material, since=None)
    if choice.specification is None:
        return []
    args = (choice.specification, assessed.material, policy.taxonomy, policy)
    return _require_may_loosen(store, policy, assessed, build_rules(assessed.view, *args), by=by)


def _require_may_accept(
    store: Store, policy: OrderPolicy, assessed: Assessed, *, by: str
) -> list[str]:
    accepted = assess_view(store, accept_changes(assessed.view), policy)
    if accepted.specification is None:
        return []
    return _require_may_loosen(store, policy, assessed, accepted.rules(policy), by=by)


def _require_may_loosen(
    store: Store, policy: OrderPolicy, assessed: Assessed, now: Rules, *, by: str
) -> list[str]:
    """Return the fields that `by` labelled as breaking the limit and that would keep it then.

    Another lead releases an order of them. A lab with one lead would have nobody who records what a
    customer agreed to, so there the statement says whose label it was.

    Raises:
        UsageError: There is such a field, and another lead.
    """
    if assessed.specification is None:
        return []
    own, breaks = assessed.rules(policy), []
    for view in iter_views(store, assessed.view.number):
        against = find_confirmed_break(view, own, policy.is_lead)
        is_own = voter_of(by) in map(voter_of, against)
        if is_own and not find_confirmed_break(view, now, policy.is_lead):
            breaks.append(view.process_data.get("field") or view.id)
    if breaks and {*map(voter_of, policy.leads())} - {voter_of(by)}:
        raise UsageError(
            _(
                "{who} labelled field {fields} as breaking the limit, and the other one allows "
                "it: another lead decides about order {number}."
            ).format(who=by, fields=", ".join(breaks), number=assessed.view.number)
        )
    return breaks


def _dismiss_files(store: Store, assessed: Assessed, *, by: str, reason: str, at: datetime) -> None:
    number, lost = assessed.view.number, assessed.lost
    for file in list_undecided(lost, store.records.all(DISMISSED, number)):
        dismiss_file(store, number, file, lost, by=by, reason=reason, at=at)


def dismiss_each(
    store: Store,
    policy: OrderPolicy,
    assessed: Assessed,
    names: Collection[str],
    *,
    by: str,
    reason: str,
    at: datetime,
) -> bool:
    """Decide that fields of no specimen, or orders of alike numbers, do not belong to an order.

    Args:
        store: Open.
        policy: The policy of the lab.
        assessed: The order.
        names: Files, public ids or orders.
        by: A reviewer; of what breaks the limit a second person, a lead.
        reason: Why.
        at: Now, aware UTC.

    Returns:
        False where nothing of these names might belong to the order.

    Raises:
        UsageError: One of them breaks the limit, and `by` may not take it away.
    """
    number = assessed.view.number
    possible = _require_may_dismiss(store, policy, assessed, names, by=by)
    done = [
        dismiss_possible(store, number, name, possible, by=by, reason=reason, at=at)
        for name in names
    ]
    return any(done)


def dismiss_stray(
    store: Store, policy: OrderPolicy, public_id: str, *, by: str, reason: str, at: datetime
) -> None:
    """Decide that a field of no specimen belongs to no order.

    Each order that it might belong to records it, so that its statement shows it.

    Args:
        store: Open.
        policy: The policy of the lab.
        public_id: Of the field.
        by: A reviewer; of what breaks the limit of one of these orders a second person, a lead.
        reason: Why.
        at: Now, aware UTC.

    Raises:
        UsageError: It belongs to a specimen, the reason is missing, or `by` may not take it away.
    """
    reason = require_reason(reason)
    stray = next((own for own in store.orders.unassigned() if own.view.id == public_id), None)
    if stray is None:
        raise UsageError(_("{id} belongs to a specimen.").format(id=public_id))
    orders = [
        assessed
        for number in list_possible_orders(store, [public_id]).get(public_id, ())
        if (assessed := assess(store, number, policy))
    ]
    each = [
        (order.view.number, _require_may_dismiss(store, policy, order, [public_id], by=by))
        for order in orders
    ]
    names = Possible({public_id: (stray.view, "")}, (), {})
    for number, possible in each or [(public_id, names)]:
        dismiss_possible(store, number, public_id, possible, by=by, reason=reason, at=at)


def _require_may_dismiss(
    store: Store, policy: OrderPolicy, assessed: Assessed, names: Collection[str], *, by: str
) -> Possible:
    """Return what might belong to an order; raise where `by` may not dismiss a name of it."""
    number, possible = assessed.view.number, load_possible(store, assessed)
    views = [view for name in names for view in possible.find_fields(name)]
    for other in {*names} & {*possible.alike}:
        views += iter_views(store, other)
    if assessed.specification:
        require_may_take_away(views, number, assessed.rules(policy), policy.is_lead, by=by)
    return possible


def list_possible_names(assessed: Assessed) -> list[str]:
    """Return the public ids of the fields, and the orders, that might belong to an order."""
    return [*assessed.possible, *assessed.alike]


def load_possible(store: Store, assessed: Assessed) -> Possible:
    """Return what might belong to an order."""
    demanded = assessed.specification.fields if assessed.specification else 1
    return find_possible(store, assessed.view, demanded=demanded)


def _protect(store: Store, number: str, *, hold: bool, by: str, reason: str, at: datetime) -> None:
    if not store.retention.set_legal_hold(
        number, hold=hold, by=by, at=at, reason=reason, must_change=True
    ):
        raise _build_too_late(number)


def _build_too_late(number: str) -> UsageError:
    text = _(
        "Order {number} has changed since this page was opened; this was not recorded. "
        "Reload the page."
    )
    return UsageError(text.format(number=number))


def decide_places(
    store: Store,
    policy: OrderPolicy,
    pair: tuple[str, str],
    verdict: str,
    *,
    by: str,
    reason: str,
    at: datetime,
) -> None:
    """Record a lead's decision about two micrographs that seem to show one place.

    Args:
        store: Open.
        policy: The policy of the lab.
        pair: Their public ids.
        verdict: `DIFFERENT`, or the id of the micrograph that the place belongs to.
        by: The lead.
        reason: Why.
        at: Now, aware UTC.

    Raises:
        UsageError: `by` is no lead, the two are no such pair, or verdict or reason is not valid.
    """
    require_lead(policy, by)
    if verdict not in {DIFFERENT, *pair}:
        raise UsageError(_("Choose one of the decisions."))
    belongs = "" if verdict == DIFFERENT else verdict
    reason = require_reason(reason)
    store.places.decide(*pair, belongs=belongs, by=by, reason=reason, at=at)


def list_judged_by(
    store: Store, policy: OrderPolicy, wanted: Specification, *, most: int
) -> list[tuple[str, Conformity, Conformity]]:
    """Return number, present conformity and conformity by a specification of the newest orders.

    Args:
        store: Open.
        policy: The policy of the lab.
        wanted: Judged by as if it had been valid when each order that it is for was released.
        most: How many of the newest orders are looked through.
    """
    always = wanted.model_copy(update={"valid_from": date.min, "valid_until": None})
    alone = replace(
        policy, specifications=Specifications((always,)), history=SpecificationHistory()
    )
    judged = []
    for number in store.orders.list_numbers("", most=most):
        now, then = assess(store, number, policy), assess(store, number, alone)
        if now is not None and then is not None and then.specification is not None:
            judged.append((number, now.statement.conformity, then.statement.conformity))
    return judged
