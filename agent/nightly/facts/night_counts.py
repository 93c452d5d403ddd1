"""Count what a night brought: by code, hour and source, and what was expected by chance."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import pairwise
from statistics import median_low
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from agent.nightly.page.headline import micrographs
from agent.nightly.page.hidden_answers import is_hidden_in_report
from agent.site_time import local
from reports import Tone, decimal, percent
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from agent.nightly.facts.snapshot import NightFacts
    from agent.store import SourceHealth


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
