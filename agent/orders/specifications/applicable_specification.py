"""Choose the specification and the taxonomy of an order, and describe why it is these."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from agent.orders.facts.order_list import describe_breaks
from agent.orders.judge.assessed import Assessed, OrderPolicy
from agent.orders.judge.judgement_rules import Rules
from agent.orders.specifications.specification import Specification, SpecificationChoice
from agent.orders.specifications.specification_history import (
    OrderTaxonomy,
    describe_taxonomy,
    find_scale,
)
from agent.store import NOT_BEFORE, RELEASED_AFTER, OrderView, Record
from agent.store.sites.sites import STEP
from model import Taxonomy
from reports import gettext as _


@dataclass(frozen=True, slots=True)
class AppliedSpecification:
    """Specification and time by which an order is judged.

    Attributes:
        choice: The specification, or why there is none.
        material: Of the order.
        since: When the order was released or reopened.
        reopened: A lead's act, or None.
        last: Number of the newest record at that time, None where it was not kept.
        doubt: Why it may be another, as the order arrived by a clock that was wrong; "" if not.
    """

    choice: SpecificationChoice
    material: str
    since: datetime | None
    reopened: Record | None
    last: int | None
    doubt: str = ""


def apply_specification(
    view: OrderView, policy: OrderPolicy, *, material: str, reopened: Record | None
) -> AppliedSpecification:
    """Return what an order is judged by.

    What a list named late counts only where nothing else names a specification: a lead decides.
    """
    since = reopened.at if reopened else view.first_seen_at
    last = reopened.id if reopened else view.facts.get(RELEASED_AFTER)
    choice = choose_specification(view, policy, material=material, since=since, last=last)
    if late := _late(view):
        own = _material_without(view, material, late)
        first = choose_specification(
            view, policy, material=own, since=since, last=last, without=late
        )
        choice = first if first.specification else choice
    other_day = _find_other_day(view)
    if reopened or other_day is None:
        return AppliedSpecification(choice, material, since, reopened, last)
    by_right_clock = choose_specification(
        view, policy, material=material, since=other_day, last=last
    )
    doubt = _describe_clock(view, choice, by_right_clock, other_day)
    choice = choice if choice.specification else by_right_clock
    return AppliedSpecification(choice, material, since, reopened, last, doubt)


def _find_other_day(view: OrderView) -> datetime | None:
    """Return when an order may have arrived instead, by a clock that was right; None if it was.

    A clock that was behind follows a later act. One that was ahead shows once it is set back: by
    the time of a field or of a label, which an order has only from its arrival on.
    """
    if later := view.facts.get(NOT_BEFORE):
        return datetime.fromisoformat(str(later))
    times = [
        at
        for specimen in view.specimens
        for prepared in specimen.preparations
        for field in prepared.fields
        for at in (field.view.result.done_at, *(label.at for label in field.view.labels))
    ]
    if view.first_seen_at is None or not times or view.first_seen_at - min(times) <= STEP:
        return None
    return min(times)


def _describe_clock(
    view: OrderView, own: SpecificationChoice, other: SpecificationChoice, other_day: datetime
) -> str:
    """Return that a clock that was wrong chose the specification of an order, "" if not."""
    if own.specification == other.specification or view.first_seen_at is None:
        return ""
    if other_day < view.first_seen_at:
        return _(
            "the order arrived at {at} UTC, after the time of a field or label of it, {earlier} "
            "UTC, and its limit depends on the day: a lead reopens it (agent orders reopen)"
        ).format(at=f"{view.first_seen_at:%Y-%m-%d %H:%M}", earlier=f"{other_day:%Y-%m-%d %H:%M}")
    return _(
        "the clock was behind when the order arrived, at {at} UTC, after an act of {later} UTC, "
        "and its limit depends on the day: a lead reopens it (agent orders reopen)"
    ).format(at=f"{view.first_seen_at:%Y-%m-%d %H:%M}", later=f"{other_day:%Y-%m-%d %H:%M}")


def _late(view: OrderView) -> tuple[str, ...]:
    """Return the keys that a list named late and no lead has decided about."""
    return tuple(view.facts.get("late") or ())


def _material_without(view: OrderView, material: str, late: Sequence[str]) -> str:
    """Return an order's material without what a list named late."""
    if "material" not in late:
        return material
    return next((specimen.material for specimen in view.specimens if specimen.material), "")


def choose_specification(
    view: OrderView,
    policy: OrderPolicy,
    *,
    material: str,
    since: datetime | None,
    last: int | None = None,
    without: Sequence[str] = (),
) -> SpecificationChoice:
    """Return the specification that applies to an order.

    Args:
        view: The order.
        policy: What is laid down.
        material: Of the order.
        since: When it was released or reopened.
        last: See `SpecificationHistory.choose`.
        without: Keys that are left out, as a list named them late.
    """
    keys = {
        "material": material,
        "product": view.product,
        "customer": view.customer,
        "specification": str(view.facts.get("specification") or ""),
    }
    return policy.history.choose(
        {key: "" if key in without else value for key, value in keys.items()},
        at=since or view.first_seen_at or datetime.now(UTC),
        zone=policy.zone,
        since=since,
        current=policy.specifications,
        last=last,
        can_judge=partial(_can_judge, policy, since, last),
    )


def _can_judge(
    policy: OrderPolicy, since: datetime | None, last: int | None, wanted: Specification
) -> bool:
    """Return whether a taxonomy of an order's release or later can judge a specification."""
    taxonomy = policy.taxonomies.choose(
        since=since,
        last=last,
        current=policy.taxonomy,
        can_judge=lambda taxonomy: not Rules(wanted, taxonomy).fault,
    )
    return not Rules(wanted, taxonomy).fault


def describe_late_change(
    view: OrderView, policy: OrderPolicy, applied: AppliedSpecification
) -> str:
    """Return that a list which was imported late changes what is demanded, "" if not."""
    first = applied.choice.specification
    if first is None or not _late(view):
        return ""
    choice = choose_specification(
        view, policy, material=applied.material, since=applied.since, last=applied.last
    )
    wanted = choice.specification
    if wanted is None:
        return choice.sentence
    if wanted == first:
        return ""
    return _(
        "a later list makes {now} of {before} the specification: a lead decides "
        "(agent orders amend)"
    ).format(before=first.name, now=wanted.name)


def describe_version(
    view: OrderView, policy: OrderPolicy, applied: AppliedSpecification, versions: Mapping[str, int]
) -> Iterator[str]:
    """Yield which version applies, where another one is valid now or a lead reopened the order."""
    wanted, reopened = applied.choice.specification, applied.reopened
    if wanted is None:
        return
    number = versions.get(wanted.sha256, 0)
    if reopened:
        yield _("reopened by {who}: {reason}; version {n} of {name} applies").format(
            who=reopened.by, reason=reopened.facts["reason"], n=number, name=wanted.name
        )
    if reopened and (despite := reopened.facts.get("despite")):
        yield _(
            "{who} confirmed that the clock was right at the reopening, {at} UTC, although an act "
            "is dated {later} UTC"
        ).format(who=reopened.by, at=f"{reopened.at:%Y-%m-%d %H:%M}", later=despite)
    if reopened and (breaks := reopened.facts.get("breaks")):
        yield describe_breaks(reopened.by, breaks)
    now = choose_specification(view, policy, material=applied.material, since=None).specification
    if now != wanted:
        newer = f"{now.name} {versions.get(now.sha256, 0)}" if now else _("none")
        yield _(
            "version {n} of {name} applies, as it was valid when the order was released; now "
            "valid: {newer}"
        ).format(n=number, name=wanted.name, newer=newer)


def describe_demands(policy: OrderPolicy, demands: Mapping[str, Any]) -> Iterator[str]:
    """Yield which settings apply, where others are valid now."""
    now = policy.demands[-1].facts if demands else {}
    if demands == now:
        return
    yield _(
        "the settings of the order's release apply: {own}; now valid: {now} (agent orders reopen)"
    ).format(
        own=", ".join(
            f"{key} = {json.dumps(demands[key])}" for key in now if demands[key] != now[key]
        ),
        now=", ".join(f"{key} = {json.dumps(now[key])}" for key in now if demands[key] != now[key]),
    )


def apply_taxonomy(policy: OrderPolicy, applied: AppliedSpecification) -> OrderTaxonomy:
    """Return the taxonomy that an order is judged by: of its release, or of its reopening."""
    chosen = _choose_taxonomy(policy, applied, applied.since, applied.last)
    return OrderTaxonomy(chosen, policy.taxonomies, applied.reopened)


def describe_applied_taxonomy(
    view: OrderView, policy: OrderPolicy, applied: AppliedSpecification, own: OrderTaxonomy
) -> Iterator[str]:
    """Yield which sizes apply, where others are valid now or a lead reopened the order."""
    wanted = applied.choice.specification
    if wanted is None:
        return
    last = view.facts.get(RELEASED_AFTER)
    released = _choose_taxonomy(policy, applied, view.first_seen_at, last)
    yield from describe_taxonomy(
        own, released=released, current=policy.taxonomy, subtypes=wanted.subtype
    )


def _choose_taxonomy(
    policy: OrderPolicy, applied: AppliedSpecification, since: datetime | None, last: int | None
) -> Taxonomy:
    wanted = applied.choice.specification
    return policy.taxonomies.choose(
        since=since,
        last=last,
        current=policy.taxonomy,
        can_judge=lambda taxonomy: wanted is None or not Rules(wanted, taxonomy).fault,
    )


def has_newer_rules(assessed: Assessed, policy: OrderPolicy, *, at: datetime) -> bool:
    """Return whether another specification, sizes or settings than the applied are valid now.

    Args:
        assessed: The order in its present state.
        policy: The policy of the lab.
        at: When it would be reopened: a version that begins after its release counts from then on.
    """
    material, applied = assessed.material, assessed.specification
    for since in (None, at):
        choice = choose_specification(assessed.view, policy, material=material, since=since)
        if choice.specification is not None and choice.specification != applied:
            return True
    if assessed.demands and assessed.demands != policy.demands[-1].facts:
        return True
    return applied is not None and any(
        find_scale(policy.taxonomy, subtype) != find_scale(assessed.taxonomy, subtype)
        for subtype in applied.subtype
    )
