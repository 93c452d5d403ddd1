"""Build the verdict of a night, the weightiest first, and its digest in a few lines of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import reports
from agent.nightly.facts.snapshot import NightFacts
from agent.nightly.page import summary
from agent.nightly.page.headline import micrographs
from agent.nightly.page.night_charts import alarm_lines, furnace_lines
from agent.nightly.page.night_tables import describe_source
from agent.nightly.page.summary import order_lines
from agent.site_time import format_night_title
from agent.store import MicrographView
from reports import Tone, VerdictLine, marked, ngettext
from reports import gettext as _

TONES = (Tone.CALM, Tone.ATTENTION, Tone.PROBLEM)
REASON_LINES = (
    ("strange", "problem", marked("unusual")),
    ("uncertain", "attention", marked("where the model is unsure of the code")),
    ("scale_unknown", "attention", marked("without a known scale")),
    ("scale_conflict", "attention", marked("whose scales disagree")),
    ("input_defect", "attention", marked("with an image or preparation defect")),
    ("unexpected_subtype", "attention", marked("of another subtype than expected")),
    ("out_of_scope", "attention", marked("outside what the model was validated on")),
    (
        "needles_disagree",
        "attention",
        marked("where size number and needle lengths disagree"),
    ),
    ("untrained", "attention", marked("waiting for a first model")),
    ("control_sample", "attention", marked("picked as control sample")),
    ("unlike_taught", "attention", marked("unlike every training image")),
    ("requested", "attention", marked("whose review was requested")),
)


def sort_by_weight(
    flagged: Iterator[MicrographView] | Sequence[MicrographView],
) -> list[MicrographView]:
    """Return flagged micrographs, those that wait first, the weightiest reason first."""
    order = [word for word, _, _ in REASON_LINES]
    return sorted(
        flagged,
        key=lambda micrograph: (
            micrograph.label is not None,
            min(
                (order.index(r) if r in order else len(order) for r in micrograph.result.reasons),
                default=99,
            ),
            1.0 if (p := micrograph.result.strangeness.p_value) is None else p,
            micrograph.result.done_at,
        ),
    )


def raise_tone(facts: NightFacts) -> NightFacts:
    """Return the facts with the tone of the weightiest line, where the summary's is calmer."""
    lines = list_lines(facts)
    tone = max((Tone(facts.summary.tone), *(line.tone for line in lines)), key=TONES.index)
    planned = facts.summary.planned and tone is Tone.CALM
    return replace(facts, summary=replace(facts.summary, tone=tone.value, planned=planned))


def list_lines(facts: NightFacts) -> tuple[VerdictLine, ...]:
    """Return what needs action, a line per thing."""
    return (
        *summary.order_lines(facts),
        *alarm_lines(facts),
        *furnace_lines(facts),
        *_reason_lines(facts),
        *summary.waiting_lines(facts),
        *_file_lines(facts),
        *summary.instrument_lines(facts),
        *_source_lines(facts),
        *(
            VerdictLine(Tone.PROBLEM, "1", str(message), "#provenance")
            for message in facts.refusals
        ),
    )


def _reason_lines(facts: NightFacts) -> Iterator[VerdictLine]:
    waiting = sort_by_weight(
        [micrograph for micrograph in facts.micrographs if micrograph.is_undecided]
    )
    first = {
        word: next(
            (micrograph.id for micrograph in waiting if micrograph.result.reasons[:1] == (word,)),
            "",
        )
        for word, _, _ in REASON_LINES
    }
    counts = Counter(
        micrograph.result.reasons[0] for micrograph in waiting if micrograph.result.reasons
    )
    for word, tone, text in REASON_LINES:
        if n := counts[word]:
            noun = ngettext("micrograph {which}", "micrographs {which}", n)
            yield VerdictLine(Tone(tone), str(n), noun.format(which=_(text)), f"#m-{first[word]}")
    decided = sum(
        micrograph.is_flagged and not micrograph.is_undecided for micrograph in facts.micrographs
    )
    if decided:
        yield VerdictLine(Tone.CALM, str(decided), _("flagged and decided already"), "#review")


def _file_lines(facts: NightFacts) -> Iterator[VerdictLine]:
    if facts.unusable:
        kinds = Counter(_within(reports.file_code(file.known_code)[0]) for file in facts.unusable)
        each = _("{n} {kind}")
        counted = ", ".join(each.format(n=n, kind=kind) for kind, n in kinds.most_common())
        text = ngettext(
            "file that could not be used: {kinds}",
            "files that could not be used: {kinds}",
            len(facts.unusable),
        )
        yield VerdictLine(
            Tone.ATTENTION, str(len(facts.unusable)), text.format(kinds=counted), "#unusable"
        )


def _source_lines(facts: NightFacts) -> Iterator[VerdictLine]:
    for folder in facts.sources:
        state, tone = describe_source(folder, facts)
        if tone is not Tone.CALM:
            yield VerdictLine(tone, "1", _source_line(folder.name, state), "#sources")
    for outage in facts.outages:
        if outage.until is not None:
            text = _source_line(outage.source, outage.said(facts.zone))
            yield VerdictLine(Tone.ATTENTION, "1", text, "#sources")


def _source_line(name: str, how: str) -> str:
    return _("source {name}: {how}").format(name=name, how=how)


def _within(title: str) -> str:
    """Return a title as it is written within a sentence: German keeps the capitals of its nouns."""
    return title.lower() if reports.language() == "en" else title


SUMMED_UP = 4
"""Reasons of the order line that are named."""


def build_digest(facts: NightFacts, place: str) -> tuple[str, ...]:
    """Return site and night, verdict, alarms, orders, files, and where the report is.

    Args:
        facts: Of the night; the lines are in its language.
        place: Address or path of the report.
    """
    with reports.speaking(facts.language):
        return (
            _("{site}, night of {night}").format(
                site=facts.site, night=format_night_title(facts.night)
            ),
            facts.summary.headline,
            *(_("Alarm: {what}").format(what=f"{a.count} {a.text}") for a in alarm_lines(facts)),
            _("Orders: {what}").format(what=_sum_up_orders(facts)),
            _sum_up_files(facts),
            _("Report: {place}").format(place=place),
        )


def _sum_up_orders(facts: NightFacts) -> str:
    lines = [f"{line.count} {line.text}" for line in order_lines(facts)]
    return "; ".join(lines[:SUMMED_UP]) or _("none open")


def _sum_up_files(facts: NightFacts) -> str:
    waiting = sum(micrograph.is_undecided for micrograph in facts.micrographs)
    parts = [
        micrographs(len(facts.micrographs)),
        ngettext("{n} to review", "{n} to review", waiting).format(n=waiting),
        ngettext("{n} file failed", "{n} files failed", len(facts.unusable)).format(
            n=len(facts.unusable)
        ),
    ]
    return ", ".join(parts)
