"""Describe what a night brought, how far reviewers agreed, and what computed the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median_low
from zoneinfo import ZoneInfo

from agent.nightly.facts.reviewer_agreement import Raters
from agent.nightly.facts.snapshot import NightFacts
from agent.nightly.page.headline import micrographs
from agent.nightly.page.micrograph_rows import is_hidden_in_report
from agent.orders.judge.limit import format_limit
from agent.site_time import local
from agent.store import SourceHealth
from model import wilson
from reports import Fact, Tone, decimal, percent
from reports import gettext as _


def format_expected(facts: NightFacts) -> str:
    """Return how many micrographs chance alone flags as unusual; "" where none was evaluated."""
    judged = [
        micrograph
        for micrograph in facts.micrographs
        if micrograph.result.strangeness.p_value is not None
    ]
    if not judged:
        return ""
    flagged = sum(micrograph.result.strangeness.is_flagged for micrograph in judged)
    chance = facts.alpha * len(judged)
    text = (
        _(
            "{micrographs} evaluated, {flagged} flagged as unusual, of which about {chance} are "
            "expected by chance alone (false-alarm rate {alpha}{per_specimen})."
        )
        if flagged > chance
        else _(
            "{micrographs} evaluated, {flagged} flagged as unusual, where about {chance} are "
            "expected by chance alone (false-alarm rate {alpha}{per_specimen})."
        )
    )
    return text.format(
        micrographs=micrographs(len(judged)),
        flagged=flagged,
        chance=decimal(chance, ".0f" if chance >= 1.5 else ".1f"),  # noqa: PLR2004
        alpha=percent(facts.alpha),
        per_specimen=_per_specimen(facts),
    )


def _per_specimen(facts: NightFacts) -> str:
    """Return what the false-alarm rate of fields means for specimens of the usual size."""
    fields = Counter(
        (data.get("order", ""), data["specimen"])
        for data in (micrograph.process_data for micrograph in facts.micrographs)
        if data.get("specimen")
    )
    usual = median_low(fields.values()) if fields else 1
    if usual < 2:  # noqa: PLR2004 - a specimen of one field is no more than its field
        return ""
    share = percent(1 - (1 - facts.alpha) ** usual)
    return _("; of good specimens with {n} fields {share} have a flagged one").format(
        n=usual, share=share
    )


def code_counts(facts: NightFacts) -> Iterator[tuple[str, int, int]]:
    """Yield each structure code with its micrographs handled automatically, and to review."""
    automatic: Counter[str] = Counter()
    review: Counter[str] = Counter()
    for micrograph in facts.micrographs:
        counter = review if micrograph.is_flagged else automatic
        hidden = is_hidden_in_report(micrograph)
        code = _("hidden until you decide") if hidden else micrograph.result.structure_code
        counter[code or _("no code")] += 1
    known = [code for code in facts.words if automatic[code] + review[code]]
    others = sorted((automatic.keys() | review.keys()) - facts.words.keys())
    for code in (*known, *others):
        yield code, automatic[code], review[code]


def hour_counts(facts: NightFacts) -> Iterator[tuple[str, int, int]]:
    """Yield each hour with its micrographs handled automatically, and to review."""
    edges = [facts.after]
    while edges[-1] < facts.until:
        edges.append(min(edges[-1] + timedelta(hours=1), facts.until))
    zone = ZoneInfo(facts.zone)
    for start, end in pairwise(edges):
        inside = [
            micrograph
            for micrograph in facts.micrographs
            if start < micrograph.result.done_at <= end
        ]
        review = sum(micrograph.is_flagged for micrograph in inside)
        yield f"{start.astimezone(zone):%H:%M}", len(inside) - review, review


def count_source(
    source: SourceHealth, facts: NightFacts
) -> tuple[SourceHealth, tuple[int, ...], datetime | None, str, Tone]:
    """Return a source with what came from it, when its last file came, and its state.

    The counts are of micrographs, those to review, files not used, and duplicates.
    """
    mine = [micrograph for micrograph in facts.micrographs if micrograph.source == source.name]
    counts = (
        len(mine),
        sum(micrograph.is_flagged for micrograph in mine),
        sum(file.source == source.name for file in facts.unusable),
        sum(file.source == source.name for file in facts.duplicates),
    )
    return source, counts, facts.last_files.get(source.name), *describe_source(source, facts)


def describe_source(source: SourceHealth, facts: NightFacts) -> tuple[str, Tone]:
    """Return the state of a source in words, and its tone."""
    if not source.online:
        if source.offline_since is None:
            return _("not reachable"), Tone.PROBLEM
        since = local(source.offline_since, facts.zone)
        return _("not reachable since {at}").format(at=since), Tone.PROBLEM
    if source.problem:
        return source.problem, Tone.ATTENTION
    return _("reachable"), Tone.CALM


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
