"""Describe what computed a report: software, bundles, thresholds, period, database."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from agent.nightly.page.headline import micrographs
from reports import Fact, decimal, percent
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from agent.nightly.facts.snapshot import NightFacts


def provenance_facts(facts: NightFacts, revision: int) -> Iterator[Fact]:
    """Yield what computed the report and from what."""
    yield Fact(_("Software"), facts.software)
    used: Mapping[str, int] = Counter(
        f"{micrograph.result.bundle} · {micrograph.result.engine} {micrograph.result.precision} · "
        + _("crop recipe {recipe}").format(recipe=micrograph.recipe)
        for micrograph in facts.micrographs
        if micrograph.result.bundle
    )
    for bundle, n in sorted(used.items()):
        yield Fact(_("Bundle"), f"{bundle} · {micrographs(n)}")
    if not used:
        yield Fact(_("Bundle"), facts.bundle or _("none yet"))
    yield Fact(
        _("Thresholds"),
        _("unusual below p = {alpha}; uncertain below {share}").format(
            alpha=decimal(facts.alpha, "g"), share=percent(facts.min_probability)
        ),
    )
    text = _("{night}, by the time each result was stored")
    yield Fact(_("Night"), text.format(night=facts.night))
    yield Fact(
        _("Period"),
        f"({_utc(facts.after)}, {_utc(facts.until)}], "
        + _("shown in {zone}").format(zone=facts.zone),
    )
    frozen = _("frozen, revision {n}").format(n=revision)
    kept = _("gathered, night still running") if facts.running else frozen
    yield Fact(_("Facts"), f"{kept}, {_utc(facts.gathered_at)}")
    yield Fact(
        _("Database"),
        f"{facts.database}, schema {facts.schema}" if facts.schema else facts.database,
    )
    if facts.trail:
        yield Fact(
            _("Audit log"),
            _("{count} acts, the last is number {number}, {sha256}").format(
                count=facts.trail.count, number=facts.trail.number, sha256=facts.trail.sha256
            ),
        )
    if facts.host:
        yield Fact(_("Written on"), facts.host)
    if facts.config:
        yield Fact(_("Settings"), facts.config)
    if facts.texts.scale:
        yield Fact(_("Size numbers"), facts.texts.scale)


def _utc(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S} UTC"
