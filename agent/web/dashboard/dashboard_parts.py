"""Sections of the dashboard: each figure in words, with the page behind it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from agent.orders.facts.specimen_facts import Conformity
from agent.orders.judge.next_step import NextStep
from agent.site_time import local
from agent.triage import Reason
from agent.web.dashboard.dashboard_figures import HOUR
from reports import (
    CodeRow,
    FirstStep,
    LabFact,
    Need,
    SourceCard,
    Tile,
    Tone,
    decimal,
    marked,
    ngettext,
    percent,
    share_chart,
)
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.nightly.facts.order_status import Instrument
    from agent.web.dashboard.dashboard_figures import CodeFigures, Figures, SourceFigures

REVIEWER, LEAD, OPERATOR = marked("reviewer"), marked("lead"), marked("operator")
LOW_DISK_SHARE = 0.1
GB = 1e9


def list_first_steps(figures: Figures) -> Iterator[FirstStep]:
    """Yield what to do first; nothing once files come and a bundle answers."""
    status = figures.slow.status
    has_bundle = bool(status.get("bundle", True))
    if not figures.is_empty and has_bundle:
        return
    yield FirstStep(
        _("Set the folder of a microscope as a source"), bool(figures.sources), "/setup#source"
    )
    yield FirstStep(
        _("Export a micrograph into that folder"), not figures.is_empty, "/help/first-night"
    )
    yield FirstStep(_("Add or train a model bundle"), has_bundle, "/setup#train")
    yield FirstStep(_("Set a folder for back-ups"), bool(status.get("backup")), "/setup#backup")
    yield FirstStep(
        _("Add an account for each reviewer"), figures.slow.has_accounts, "/setup#account"
    )


def list_needs(figures: Figures) -> Iterator[Need]:
    """Yield what waits for a reviewer, a lead or an operator, the most pressing first."""
    needs = (
        *_list_order_needs(figures.slow.orders),
        *_list_review_needs(figures),
        *_list_other_needs(figures),
    )
    yield from (need for need in needs if need.n)


def _list_order_needs(orders: Mapping[str, int]) -> Iterator[Need]:
    n = orders.get(NextStep.PROBABLY_OUT, 0)
    text = ngettext(
        "order is probably out of specification", "orders are probably out of specification", n
    )
    yield Need(n, text, _(LEAD), _orders(NextStep.PROBABLY_OUT), Tone.PROBLEM)
    n = orders.get(Conformity.DOES_NOT_CONFORM, 0)
    text = ngettext("order does not conform", "orders do not conform", n)
    yield Need(n, text, _(LEAD), _orders(Conformity.DOES_NOT_CONFORM), Tone.PROBLEM)
    n = orders.get(NextStep.TO_CONFIRM, 0)
    text = ngettext("order to confirm", "orders to confirm", n)
    yield Need(n, text, _(REVIEWER), _orders(NextStep.TO_CONFIRM), Tone.ATTENTION)
    n = orders.get(NextStep.HELD, 0)
    text = ngettext("order held", "orders held", n)
    yield Need(n, text, _(LEAD), _orders(NextStep.HELD), Tone.ATTENTION)


def _list_review_needs(figures: Figures) -> Iterator[Need]:
    n = figures.waiting
    text = ngettext("micrograph to review", "micrographs to review", n)
    yield Need(n, text, _(REVIEWER), "/review", Tone.ATTENTION)
    n = figures.slow.disagreed
    text = ngettext(
        "micrograph that two reviewers answered differently",
        "micrographs that two reviewers answered differently",
        n,
    )
    yield Need(n, text, _(REVIEWER), "/review", Tone.ATTENTION)
    n = figures.reasons.get(Reason.DOUBTED_LABEL, 0)
    text = ngettext("suspect label to review again", "suspect labels to review again", n)
    yield Need(n, text, _(REVIEWER), _queue(Reason.DOUBTED_LABEL), Tone.ATTENTION)
    n = figures.reasons.get(Reason.DISAGREEMENT, 0)
    text = ngettext(
        "micrograph that raters answered differently",
        "micrographs that raters answered differently",
        n,
    )
    yield Need(n, text, _(REVIEWER), _queue(Reason.DISAGREEMENT), Tone.ATTENTION)
    n = figures.slow.unassigned
    text = ngettext("field without a specimen", "fields without a specimen", n)
    yield Need(n, text, _(REVIEWER), "/orders#loose", Tone.ATTENTION)


def _list_other_needs(figures: Figures) -> Iterator[Need]:
    n = sum(source.failed for source in figures.sources)
    text = ngettext("file failed", "files failed", n)
    yield Need(n, text, _(OPERATOR), "/files?state=failed", Tone.ATTENTION)
    failed = [one for one in figures.slow.instruments if one.failed or one.control_faults]
    n = len(failed)
    text = ngettext("instrument check failed", "instrument checks failed", n)
    yield Need(n, text, _(OPERATOR), "#lab", Tone.PROBLEM)
    due = [one for one in figures.slow.instruments if one not in failed and _is_check_due(one)]
    n = len(due)
    text = ngettext("instrument check due", "instrument checks due", n)
    yield Need(n, text, _(OPERATOR), "#lab", Tone.ATTENTION)
    n = len(figures.slow.proposed)
    text = ngettext("bundle to sign", "bundles to sign", n)
    yield Need(n, text, _(LEAD), "/models", Tone.ATTENTION)


def _orders(state: str) -> str:
    return f"/orders?{urlencode({'state': str(state)})}"


def _queue(reason: Reason) -> str:
    return f"/review?{urlencode({'reason': reason.value})}"


def _name_last_hour(figures: Figures, zone: str) -> str:
    """Return the search text of what was taken within the hour before the figures were read."""
    since = (figures.read_at - HOUR).astimezone(ZoneInfo(zone))
    return f"since:{since:%Y-%m-%dT%H:%M}"


def list_tiles(figures: Figures, zone: str, *, has_archive: bool) -> Iterator[Tile]:
    """Yield the numbers of today, in the time zone of the site."""
    day = figures.day.isoformat()
    archive = f"/archive?{urlencode({'q': day})}" if has_archive else "/reports/index.html"
    n = figures.today
    yield Tile(str(n), ngettext("micrograph today", "micrographs today", n), archive)
    hour = sum(source.last_hour for source in figures.sources)
    last = f"/archive?{urlencode({'q': _name_last_hour(figures, zone)})}"
    yield Tile(str(hour), _("within the last hour"), last if has_archive else archive)
    basis = ngettext(
        "{done} of {n} sent to review today", "{done} of {n} sent to review today", figures.review
    ).format(done=figures.reviewed, n=figures.review)
    share = percent(figures.reviewed / figures.review) if figures.review else "–"
    yield Tile(share, _("reviewed"), "/review", basis)
    queued = sum(source.waiting for source in figures.sources)
    yield Tile(str(queued), ngettext("file in work", "files in work", queued), "/files")


def list_source_cards(figures: Figures, zone: str, *, has_archive: bool) -> Iterator[SourceCard]:
    """Yield each source: whether it is reached, its newest file and its counts."""
    for source in figures.sources:
        last = ""
        if source.last_at is not None:
            last = _("Last file {at}: {name}").format(
                at=local(source.last_at, zone), name=source.last_file
            )
        yield SourceCard(
            name=source.name,
            state=_("online") if source.online else _("unavailable"),
            tone=_tone_source(source),
            last=last,
            numbers=tuple(
                _list_numbers(
                    source,
                    (figures.day.isoformat(), _name_last_hour(figures, zone))
                    if has_archive
                    else None,
                )
            ),
        )


def _tone_source(source: SourceFigures) -> Tone:
    if not source.online:
        return Tone.PROBLEM
    return Tone.ATTENTION if source.failed else Tone.CALM


def _list_numbers(source: SourceFigures, times: tuple[str, str] | None) -> Iterator[Tile]:
    """Yield the counts of a source.

    Args:
        source: The source.
        times: Search texts of today and of the last hour; None where there is no archive.
    """

    def files(state: str) -> str:
        return f"/files?{urlencode({'state': state, 'source': source.name})}"

    def taken(when: str) -> str:
        return f"/archive?{urlencode({'q': when, 'source': source.name})}"

    queue = f"/review?{urlencode({'source': source.name})}"
    today, last_hour = map(taken, times) if times else (queue, queue)
    yield Tile(str(source.today), _("Today"), today)
    yield Tile(str(source.last_hour), _("Last hour"), last_hour)
    yield Tile(str(source.waiting), _("In work"), files("waiting") if source.waiting else "")
    yield Tile(str(source.failed), _("Reading failed"), files("failed") if source.failed else "")
    yield Tile(str(source.set_aside), _("Unusable"), files("set_aside") if source.set_aside else "")


def list_code_rows(figures: Figures, *, has_archive: bool) -> Iterator[CodeRow]:
    """Yield each structure code of today next to its usual share."""
    largest = max((max(row.share, row.high or 0.0) for row in figures.codes), default=1.0)
    for row in figures.codes:
        usual = _format_usual(row)
        share = percent(row.share)
        alt = (
            _("{code}: {share} today, usual {usual}").format(
                code=row.code, share=share, usual=usual
            )
            if usual
            else _("{code}: {share} today").format(code=row.code, share=share)
        )
        query = {"q": figures.day.isoformat(), "code": row.code}
        yield CodeRow(
            code=row.code,
            href=f"/archive?{urlencode(query)}" if has_archive and row.n else "",
            n=row.n,
            share=share,
            usual=usual,
            chart=share_chart(
                row.share, usual=row.usual, low=row.low, high=row.high, largest=largest, alt=alt
            ),
        )


def _format_usual(row: CodeFigures) -> str:
    if row.usual is None or row.low is None or row.high is None:
        return ""
    return _("{usual} ({low} to {high})").format(
        usual=percent(row.usual), low=percent(row.low), high=percent(row.high)
    )


def name_codes_basis(figures: Figures) -> str:
    """Return what the shares of today are compared with."""
    n = figures.slow.usual_days
    if not figures.slow.usual:
        return _("The usual share needs five days with micrographs; there are {n}.").format(n=n)
    return _(
        "Line: share over the last {n} days with micrographs; band: smallest and largest day."
    ).format(n=n)


# --- the lab ------------------------------------------------------------------------------------


def list_lab_facts(figures: Figures, zone: str) -> Iterator[LabFact]:
    """Yield how the lab is: agreement, instruments, disk, back-up, bundle, next report."""
    status = figures.slow.status
    if not status.get("running", True):
        yield LabFact(_("Agent"), _("does not run; no new file is processed"), Tone.PROBLEM)
    yield _describe_agreement(figures)
    for instrument in figures.slow.instruments:
        yield _describe_instrument(instrument, zone)
    yield from _list_storage(figures, zone)
    bundle = status.get("bundle")
    yield LabFact(
        _("Model bundle"),
        str(bundle) if bundle else _("none in use: every micrograph goes to review"),
        Tone.CALM if bundle else Tone.ATTENTION,
        "/models",
    )
    for note in status.get("notes", ()):
        yield LabFact(_("False-alarm rate"), str(note), Tone.ATTENTION, "/models")
    if at := status.get("next_report_at"):
        value = local(datetime.fromisoformat(at), zone)
        yield LabFact(_("Next report"), value, Tone.CALM, "/reports/index.html")
    if fault := figures.slow.orders_fault:
        yield LabFact(_("Orders"), fault, Tone.PROBLEM, "/orders")


def _describe_agreement(figures: Figures) -> LabFact:
    n, same = figures.slow.blind_n, figures.slow.blind_same
    name = _("Agreement, blind")
    if not n:
        text = _("not known: no decision in 90 days without the model's answer in view")
        return LabFact(name, text, Tone.ATTENTION, "/help/reviewing")
    from model import wilson  # noqa: PLC0415 - loads scipy

    share = wilson(same, n)
    low, high = (decimal(100 * (end or 0.0), ".0f") for end in (share.low, share.high))
    text = _("{share} % of {n} decisions (95 % interval {low} to {high} %)").format(
        share=decimal(100 * same / n, ".0f"), n=n, low=low, high=high
    )
    return LabFact(name, text, Tone.CALM, "/reports/index.html")


def _is_check_due(instrument: Instrument) -> bool:
    return instrument.overdue or instrument.control_overdue


def _describe_instrument(instrument: Instrument, zone: str) -> LabFact:
    name = _("Checks of {source}").format(source=instrument.source)
    if instrument.failed or instrument.control_faults:
        text = _("failed: {why}").format(
            why=instrument.failed or "; ".join(instrument.control_faults)
        )
        return LabFact(name, text, Tone.PROBLEM)
    if instrument.checked_at is None and not instrument.control_overdue:
        return LabFact(name, _("not checked yet: new source"), Tone.ATTENTION)
    checked = local(instrument.checked_at, zone) if instrument.checked_at else _("never")
    if instrument.overdue:
        return LabFact(name, _("due; last one {at}").format(at=checked), Tone.ATTENTION)
    if instrument.control_overdue:
        control = local(instrument.control_at, zone) if instrument.control_at else _("never")
        text = _("control specimen due; last one {at}").format(at=control)
        return LabFact(name, text, Tone.ATTENTION)
    return LabFact(name, _("passed {at}").format(at=checked), Tone.CALM)


def _list_storage(figures: Figures, zone: str) -> Iterator[LabFact]:
    status = figures.slow.status
    if disk := status.get("disk"):
        free, total = disk["free_bytes"], disk["total_bytes"]
        text = _("{free} GB of {total} GB free").format(
            free=decimal(free / GB, ".0f"), total=decimal(total / GB, ".0f")
        )
        tone = Tone.ATTENTION if free < LOW_DISK_SHARE * total else Tone.CALM
        yield LabFact(_("Disk"), text, tone)
    if "backup" not in status:
        return
    backup, name = status["backup"], _("Last back-up")
    if backup is None:
        text = _("none: no folder for back-ups is set")
        yield LabFact(name, text, Tone.ATTENTION, "/help/settings")
    elif backup["last_at"] is None:
        yield LabFact(name, _("none yet"), Tone.ATTENTION, "/help/troubleshooting")
    else:
        yield LabFact(name, local(datetime.fromisoformat(backup["last_at"]), zone), Tone.CALM)
