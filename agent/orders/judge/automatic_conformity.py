"""Decide whether the model's answer on a field may prove "conforms" without a reviewer.

A permission covers a field where all of this holds: material and bundle are the validated ones, the
result was made while the permission was valid, the scale is within the validated range, and the
upper 95 % bound of a false "conforms" is at most `[orders] max_false_conform`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.orders.specifications.specification import is_same_name
from model import upper_bound
from reports import decimal
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.orders.facts.specimen_facts import Allowance, FieldFacts
    from agent.orders.judge.judgement_rules import Rules

SCALE_TOLERANCE = 0.02
"""A scale may be outside the validated range by so much: what two calibrations may differ by."""
MOST_SPECIMENS = 1_000_000


def count_needed(most: float, wrong: int = 0) -> int:
    """Return how many specimens a validation needs for its bound.

    Args:
        most: Largest upper 95 % bound that is allowed.
        wrong: Specimens that were called conforming falsely.

    Returns:
        The smallest n for which `at_most(wrong, n) <= most`: 149 for 2 % and none wrong.
    """
    low, high = wrong, MOST_SPECIMENS
    while high - low > 1:
        middle = (low + high) // 2
        if (upper_bound(wrong, middle) or 1.0) <= most:
            high = middle
        else:
            low = middle
    return high


def refuse_field(field: FieldFacts, rules: Rules) -> str:
    """Return why the model alone does not prove a field, "" where it does."""
    material = rules.material
    if not material:
        return _("the order's material is not known")
    on = [
        allowance
        for allowance in rules.allowances
        if allowance.on and is_same_name(allowance.material, material)
    ]
    if not on:
        return _("automatic conformity is off for {material}").format(material=material)
    mine = [permission for permission in on if permission.bundle == field.bundle]
    if not mine:
        sentence = _("no validation record of {material} names its bundle {bundle}")
        return sentence.format(material=material, bundle=field.bundle)
    in_force = [permission for permission in mine if permission.covers_time(field.done_at)]
    if not in_force:
        return _(
            "its result was not made after automatic conformity was switched on ({at} UTC)"
        ).format(at=f"{max(permission.since for permission in mine):%Y-%m-%d %H:%M}")
    refusals = (
        _refuse_subtype(field, rules, subtype, in_force) for subtype in rules.specification.subtype
    )
    return next((refusal for refusal in refusals if refusal), "")


def _refuse_subtype(
    field: FieldFacts, rules: Rules, subtype: str, allowances: Sequence[Allowance]
) -> str:
    mine = [permission for permission in allowances if rules.is_validated_by(permission, subtype)]
    words = {
        "material": rules.material,
        "subtype": subtype,
        "limit": limit.words if (limit := rules.limit_in(subtype)) else "",
    }
    bound = mine[-1].bound if mine else None
    if bound is None:
        return (
            _("no validation record of {material} speaks of {subtype} {limit}")
            .format(**words)
            .rstrip()
        )
    allowance = mine[-1]
    if allowance.um_per_px is None:
        return _(
            "the validation record of {material} holds no range of scales: validate again "
            "(agent spec validate)"
        ).format(**words)
    low, high = allowance.um_per_px
    if field.um_per_px is None or not (
        low * (1 - SCALE_TOLERANCE) <= field.um_per_px <= high * (1 + SCALE_TOLERANCE)
    ):
        return _(
            "its scale is outside the validated {low} to {high} µm per pixel of {subtype} {limit}"
        ).format(low=decimal(low, ".3g"), high=decimal(high, ".3g"), **words)
    if bound > rules.max_false_conform:
        return _(
            "up to {bound} of {subtype} {limit} could be called conforming falsely (n = {n}), at "
            "most {most} is allowed"
        ).format(
            bound=decimal(bound, ".2%"),
            n=allowance.n,
            most=decimal(rules.max_false_conform, ".2%"),
            **words,
        )
    return ""
