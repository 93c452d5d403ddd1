"""Describe how often reviewers and model agreed, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.orders.judge.limit import format_limit
from model import wilson
from reports import Fact, decimal, percent
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.nightly.facts.reviewer_agreement import Raters
    from agent.nightly.facts.snapshot import NightFacts


def agreement_facts(facts: NightFacts) -> Iterator[Fact]:
    """Yield how often reviewers and model agreed; nothing before the first decision."""
    agreement = facts.agreement
    if agreement is None:
        return
    if agreement.n:
        yield Fact(_("Decided in the last 90 days"), format_share(agreement.same, agreement.n))
    if agreement.blind_n:
        yield Fact(
            _("Of those without seeing the answer"),
            format_share(agreement.blind_same, agreement.blind_n),
        )
    if agreement.two_n:
        yield Fact(
            _("Two people, unseen by each other"), format_share(agreement.two_same, agreement.two_n)
        )
    if agreement.two_kappa:
        text = _("{kappa}, quadratically weighted, of the sizes of {n} micrographs")
        kappa = _kappa(agreement.two_kappa)
        yield Fact(_("Kappa of two people"), text.format(kappa=kappa, n=agreement.two_n))
    for look in agreement.second_look:
        yield Fact(
            _("Second reviewer at the limit {limit}").format(limit=format_limit(look.limit)),
            _(
                "recommended ([orders] second_look_at_limit): {faults} of {n} specimens with "
                "double reviews are on two sides of it, upper 95 % bound {upper}, {most} is allowed"
            ).format(
                faults=look.faults,
                n=look.n,
                upper=percent(look.upper95),
                most=percent(look.most),
            ),
        )
    if agreement.raters:
        yield Fact(_("Raters among each other"), _raters(agreement.raters))


def _raters(raters: Raters) -> str:
    text = _(
        "Fleiss' kappa {code} for the code, {subtype} for the subtype "
        "({raters} raters, {images} micrographs, round robin {name})"
    )
    return text.format(
        code=_kappa(raters.code),
        subtype=_kappa(raters.subtype),
        raters=raters.raters,
        images=raters.images,
        name=raters.name,
    )


def _kappa(kappa: tuple[float, float, float] | None) -> str:
    if kappa is None:
        return "–"
    value, low, high = (decimal(number, ".2f") for number in kappa)
    return _("{value} (95 % interval {low} to {high})").format(value=value, low=low, high=high)


def format_share(same: int, n: int) -> str:
    """Format how many of some decisions gave the same code, with the interval."""
    sure = wilson(same, n)
    low, high = percent(sure.low or 0.0), percent(sure.high or 0.0)
    text = _("{same} of {n} the same code (95 % interval {low} to {high})")
    return text.format(same=same, n=n, low=low, high=high)
