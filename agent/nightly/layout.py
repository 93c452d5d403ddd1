"""Lay a night's facts out on pages: the verdict first, and every omission stated.

The first page stays small enough for any mail box and old PC; the rest is on pages in a folder next
to it, and the first page names them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from statistics import median_low
from typing import TYPE_CHECKING, TypeVar
from zoneinfo import ZoneInfo

import reports
from agent.nightly import summary
from agent.nightly.contact_sheet import build_contact_sheet, enlarge
from agent.nightly.embedded_images import Embedded, embed_colour_scale
from agent.nightly.furnace_view import furnace_lines, furnace_trends
from agent.nightly.micrograph_cards import build_card, build_row, percent
from agent.nightly.micrograph_rows import night_to_json
from agent.nightly.shadow_results import build_shadow
from agent.nightly.snapshot import micrographs
from agent.nightly.spc.p_chart import BASELINE_NIGHTS, BASELINE_SPECIMENS
from agent.pictures import Palette
from agent.site_time import format_night_title, local, local_full
from model import wilson
from reports import (
    Card,
    CodeCount,
    ContactPrint,
    Duplicate,
    Fact,
    Hour,
    Line,
    Link,
    MorePage,
    Night,
    Row,
    SourceCount,
    Tone,
    Unusable,
    Verdict,
    decimal,
    marked,
    ngettext,
)
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from agent.archive import Archive
    from agent.nightly.reviewer_agreement import Raters
    from agent.nightly.snapshot import Failed, Folder, NightFacts, ReportedMicrograph
    from agent.nightly.spc.p_chart import Point, Trend

T = TypeVar("T")

PAGE_BYTES = 3_700_000
"""What the pictures of one page may weigh; everything else of a page is some hundred kB."""
CARDS_PER_PAGE = 100
ROWS_PER_PAGE = 500
LINES_PER_TABLE = 1000

REASON_LINES = (
    ("strange", "problem", marked("not comparable with the reference images")),
    ("uncertain", "attention", marked("where the model is unsure of the code")),
    ("scale_unknown", "attention", marked("without a known scale")),
    ("scale_conflict", "attention", marked("whose scales disagree")),
    ("input_defect", "attention", marked("with an image or preparation defect")),
    ("unexpected_subtype", "attention", marked("of another subtype than expected")),
    ("out_of_scope", "attention", marked("outside what the model was validated on")),
    ("untrained", "attention", marked("waiting for a first model")),
    ("control_sample", "attention", marked("picked as control sample")),
    ("unlike_taught", "attention", marked("unlike every training image")),
    ("requested", "attention", marked("review requested")),
)


@dataclass(frozen=True, slots=True)
class Laid:
    """A night on its pages.

    Args:
        night: The first page.
        more: Overflow pages, in order.
        flagged: Micrographs that wait for a reviewer, the weightiest first.
    """

    night: Night
    more: tuple[MorePage, ...]
    flagged: tuple[ReportedMicrograph, ...] = ()


def _ignore_progress(_done: int, _of: int) -> None:
    """Ignore the progress: the default of `on_drawn`."""


def lay_out(
    facts: NightFacts,
    archive: Archive,
    *,
    revision: int,
    generated: datetime,
    late: datetime | None = None,
    on_drawn: Callable[[int, int], None] = _ignore_progress,
) -> Laid:
    """Lay a night out on pages.

    Args:
        facts: Frozen, or those of a night that is still running.
        archive: Has the pictures.
        revision: Number of the facts' revision, from 1.
        generated: Now, aware.
        late: When the facts were frozen, where that was long after the night's end.
        on_drawn: Called with the number of micrographs drawn, and the number of all.
    """
    gallery = Embedded(archive)
    inside = night_to_json(facts)
    room = PAGE_BYTES - len(reports.as_json(inside))
    flagged = _by_weight(
        micrograph for micrograph in facts.micrographs if micrograph.needs_a_person
    )
    others = [micrograph for micrograph in facts.micrographs if not micrograph.needs_a_person]

    def drawn(batch: list[ReportedMicrograph], before: int) -> Iterator[ReportedMicrograph]:
        for number, micrograph in enumerate(batch, start=before + 1):
            yield micrograph
            on_drawn(number, len(facts.micrographs))

    places = {micrograph.id: f"#m-{micrograph.id}" for micrograph in flagged}
    prints = tuple(build_contact_sheet(flagged, places, gallery))
    room -= sum(map(_print_weight, prints))
    cards = _paginate(
        (_card(micrograph, facts, gallery) for micrograph in drawn(flagged, 0)),
        _card_weight,
        CARDS_PER_PAGE,
        PAGE_BYTES,
        first_bytes=room,
    )
    room -= sum(map(_card_weight, cards[0]))
    places |= {
        card.id: f"{facts.night}/{page_name(number)}#m-{card.id}"
        for number, page in enumerate(cards[1:], start=1)
        for card in page
    }
    rows = _paginate(
        (_row(micrograph, facts, gallery) for micrograph in drawn(others, len(flagged))),
        _row_weight,
        ROWS_PER_PAGE,
        PAGE_BYTES,
        first_bytes=room if len(cards) < 2 else 0,  # noqa: PLR2004 - rows follow the last cards
    )
    room -= sum(map(_row_weight, rows[0]))
    by_id = {micrograph.id: micrograph for micrograph in flagged}
    rooms = [room, *(PAGE_BYTES - sum(map(_card_weight, page)) for page in cards[1:])]
    cards = [enlarge(page, by_id, gallery, left) for page, left in zip(cards, rooms, strict=True)]
    stamp = local_full(generated, facts.zone)
    more = _more(facts, cards[1:], rows[1:], stamp)
    night = replace(
        _night(facts, cards[0], rows[0], more=more, revision=revision, stamp=stamp),
        shadow=build_shadow(facts.shadow, archive),
        inside=inside,
        late=_describe_late(facts, late) if late else "",
        prints=tuple(replace(entry, href=places[entry.id]) for entry in prints),
    )
    return Laid(night, more, tuple(micrograph for micrograph in flagged if micrograph.waits))


def _describe_late(facts: NightFacts, frozen_at: datetime) -> str:
    """Return what a report that was written late cannot know."""
    return _(
        "First written {at}. The report shows what was known at the end of the night, {until}. "
        "Not known as of then: problems of sources, files that failed then and were read since, "
        "and places in orders that were changed since by hand or by an order list."
    ).format(at=local(frozen_at, facts.zone), until=local(facts.gathered_at, facts.zone))


def _by_weight(
    flagged: Iterator[ReportedMicrograph] | Sequence[ReportedMicrograph],
) -> list[ReportedMicrograph]:
    order = [word for word, _, _ in REASON_LINES]
    return sorted(
        flagged,
        key=lambda micrograph: (
            micrograph.decision is not None,
            min(
                (order.index(r) if r in order else len(order) for r in micrograph.reasons),
                default=99,
            ),
            micrograph.p_value if micrograph.p_value is not None else 1.0,
            micrograph.done_at,
        ),
    )


def _card(micrograph: ReportedMicrograph, facts: NightFacts, gallery: Embedded) -> Card:
    review = (
        Link(_("Decide"), f"{facts.review_url}/review/{micrograph.id}")
        if facts.review_url
        else None
    )
    card = build_card(
        micrograph,
        gallery,
        zone=facts.zone,
        words=facts.words,
        review=review,
        texts=facts.texts,
    )
    order = micrograph.process_data.get("order", "")
    return replace(card, order=Link(order, summary.order_href(order, facts)) if order else None)


def _row(micrograph: ReportedMicrograph, facts: NightFacts, gallery: Embedded) -> Row:
    href = f"{facts.review_url}/review/{micrograph.id}" if facts.review_url else ""
    return build_row(
        micrograph,
        zone=facts.zone,
        thumbnail=gallery.thumbnail(micrograph),
        words=facts.words,
        href=href,
    )


def _card_weight(card: Card) -> int:
    figures = (card.crop, card.field, *card.maps, *card.nearest)
    return 4000 + sum(len(f.picture.src) for f in figures if f.picture)


def _print_weight(entry: ContactPrint) -> int:
    return 400 + (len(entry.picture.src) if entry.picture else 0)


def _row_weight(row: Row) -> int:
    return 500 + (len(row.thumbnail.src) if row.thumbnail else 0)


def _paginate(
    items: Iterator[T],
    weight: Callable[[T], int],
    most: int,
    most_bytes: int,
    first_bytes: int | None = None,
) -> list[tuple[T, ...]]:
    pages: list[list[T]] = [[]]
    room = most_bytes if first_bytes is None else first_bytes
    for item in items:
        heavy = weight(item)
        if (pages[-1] or first_bytes is not None) and (heavy > room or len(pages[-1]) >= most):
            pages.append([])
            room = most_bytes
            first_bytes = None
        pages[-1].append(item)
        room -= heavy
    return [tuple(page) for page in pages]


def _more(
    facts: NightFacts,
    cards: Sequence[tuple[Card, ...]],
    rows: Sequence[tuple[Row, ...]],
    stamp: str,
) -> tuple[MorePage, ...]:
    contents: list[tuple[tuple[Card, ...], tuple[Row, ...]]] = [
        *((batch, ()) for batch in cards),
        *(((), batch) for batch in rows),
    ]
    total = len(contents)
    evidence, alarm = _scales()
    return tuple(
        MorePage(
            site=facts.site,
            date=facts.night.isoformat(),
            title=format_night_title(facts.night),
            heading=_("{what}, page {n} of {total}").format(
                what=_("To review") if batch else _("Handled automatically"),
                n=number + 1,
                total=total + 1,
            ),
            cards=batch,
            rows=lines,
            evidence_scale=evidence,
            alarm_scale=alarm,
            back=Link(_("First page"), f"../{facts.night}.html"),
            previous=Link(_("Previous page"), page_name(number - 1)) if number > 1 else None,
            next=Link(_("Next page"), page_name(number + 1)) if number < total else None,
            generated=stamp,
            agent=facts.review_url,
        )
        for number, (batch, lines) in enumerate(contents, start=1)
    )


def page_name(number: int) -> str:
    """Return the file name of an overflow page; the first of them is page 2."""
    return f"page-{number + 1}.html"


def _night(
    facts: NightFacts,
    cards: tuple[Card, ...],
    rows: tuple[Row, ...],
    *,
    more: tuple[MorePage, ...],
    revision: int,
    stamp: str,
) -> Night:
    evidence, alarm = _scales()
    day = facts.night.isoformat()
    return Night(
        site=facts.site,
        date=day,
        title=format_night_title(facts.night),
        period=_("{after} to {until}, {zone}").format(
            after=local(facts.after, facts.zone),
            until=local(facts.until, facts.zone),
            zone=facts.zone,
        ),
        running=facts.running,
        revision=revision,
        verdict=_verdict(facts),
        expected=_expected(facts),
        codes=tuple(_codes(facts)),
        hours=tuple(_hours(facts)),
        sources=tuple(_source(folder, facts) for folder in facts.sources),
        cards=cards,
        more=tuple(
            Link(page.heading, f"{day}/{page_name(number)}")
            for number, page in enumerate(more, start=1)
        ),
        left_out=_left_out(facts, more),
        rows=rows,
        unusable=tuple(_unusable(file, facts) for file in facts.unusable[:LINES_PER_TABLE]),
        duplicates=tuple(
            Duplicate(twin.path, twin.source, local(twin.at, facts.zone), twin.known_as)
            for twin in facts.duplicates[:LINES_PER_TABLE]
        ),
        p_values=tuple(
            micrograph.p_value for micrograph in facts.micrographs if micrograph.p_value is not None
        ),
        alpha=facts.alpha,
        evidence_scale=evidence,
        alarm_scale=alarm,
        trends=tuple(_trend(trend) for trend in facts.trends),
        agreement=tuple(_agreement(facts)),
        provenance=tuple(_provenance(facts, revision)),
        generated=stamp,
        beside=(Link("CSV", f"{day}.csv"), Link("JSON", f"{day}.json")),
        older=Link(_("All nights"), "index.html"),
        orders=summary.open_orders(facts),
        orders_left_out=summary.orders_left_out(facts),
        orders_note=summary.orders_note(facts),
        instruments=summary.instruments(facts),
        changes=tuple(summary.changes(facts)),
        groups=tuple(summary.groups(facts)),
        control=tuple(summary.control_trends(facts)),
        furnaces=tuple(furnace_trends(facts)),
        drifts=tuple(summary.drifts(facts)),
        links=_links(facts),
        agent=facts.review_url,
    )


def _links(facts: NightFacts) -> tuple[Link, ...]:
    """Return links to the agent's queue and orders, () where its address is not set."""
    url = facts.review_url
    if not url:
        return ()
    return Link(_("Review queue"), f"{url}/review"), Link(_("Orders"), f"{url}/orders")


def _scales() -> tuple[reports.Picture, reports.Picture]:
    return (
        embed_colour_scale(
            Palette.EVIDENCE, _("scale from violet, against, to orange, for the answer")
        ),
        embed_colour_scale(Palette.ALARM, _("scale from grey, normal, to yellow, unusual")),
    )


def _verdict(facts: NightFacts) -> Verdict:
    lines = (
        *summary.order_lines(facts),
        *furnace_lines(facts),
        *_reason_lines(facts),
        *summary.waiting_lines(facts),
        *_file_lines(facts),
        *summary.instrument_lines(facts),
        *_source_lines(facts),
        *(
            Line(Tone.PROBLEM, "1", reports.retold(sentence), "#provenance")
            for sentence in facts.refused
        ),
        *trend_lines(facts),
    )
    return Verdict(Tone(facts.summary.tone), facts.summary.headline, lines)


def _reason_lines(facts: NightFacts) -> Iterator[Line]:
    waiting = _by_weight([micrograph for micrograph in facts.micrographs if micrograph.waits])
    first = {
        word: next(
            (micrograph.id for micrograph in waiting if micrograph.reasons[:1] == (word,)), ""
        )
        for word, _, _ in REASON_LINES
    }
    counts = Counter(micrograph.reasons[0] for micrograph in waiting if micrograph.reasons)
    for word, tone, text in REASON_LINES:
        if n := counts[word]:
            noun = ngettext("micrograph {which}", "micrographs {which}", n)
            yield Line(Tone(tone), str(n), noun.format(which=_(text)), f"#m-{first[word]}")
    decided = sum(
        micrograph.needs_a_person and not micrograph.waits for micrograph in facts.micrographs
    )
    if decided:
        yield Line(Tone.CALM, str(decided), _("flagged and decided already"), "#review")


def _file_lines(facts: NightFacts) -> Iterator[Line]:
    if facts.unusable:
        kinds = Counter(_within(reports.file_code(file.code)[0]) for file in facts.unusable)
        each = _("{n} {kind}")
        counted = ", ".join(each.format(n=n, kind=kind) for kind, n in kinds.most_common())
        text = ngettext(
            "file that could not be used: {kinds}",
            "files that could not be used: {kinds}",
            len(facts.unusable),
        )
        yield Line(
            Tone.ATTENTION, str(len(facts.unusable)), text.format(kinds=counted), "#unusable"
        )


def _source_lines(facts: NightFacts) -> Iterator[Line]:
    for folder in facts.sources:
        state, tone = _state(folder, facts)
        if tone is not Tone.CALM:
            yield Line(tone, "1", _source_line(folder.name, state), "#sources")
    for outage in facts.outages:
        if outage.until is not None:
            text = _source_line(outage.source, outage.said(facts.zone))
            yield Line(Tone.ATTENTION, "1", text, "#sources")


def _source_line(name: str, how: str) -> str:
    return _("source {name}: {how}").format(name=name, how=how)


def _within(title: str) -> str:
    """Return a title as it is written within a sentence: German keeps the capitals of its nouns."""
    return title.lower() if reports.language() == "en" else title


def _expected(facts: NightFacts) -> str:
    judged = [micrograph for micrograph in facts.micrographs if micrograph.p_value is not None]
    if not judged:
        return ""
    flagged = sum(micrograph.strange for micrograph in judged)
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


def trend_lines(facts: NightFacts) -> Iterator[Line]:
    """Yield the trends that alarm."""
    for trend in facts.trends:
        if trend.alarm:
            yield Line(Tone.ATTENTION, str(trend.points[-1].bad), _alarm(trend), "#trends")


def _alarm(trend: Trend) -> str:
    usual, last = percent(trend.usual_bad / trend.usual_n), trend.points[-1]
    if trend.alarm == "night":
        text = _("of {n} specimens of {material} are {measure}: more than usual ({usual})")
    else:
        text = _(
            "of {n} specimens of {material} are {measure}, and {run} nights in a row were above "
            "the usual {usual}"
        )
    return text.format(
        n=last.n, material=_material(trend), measure=_measure(trend), usual=usual, run=trend.run
    )


def _material(trend: Trend) -> str:
    return trend.material or _("unnamed material")


def _measure(trend: Trend) -> str:
    return {"strange": _("strange"), "doubtful": _("doubtful")}[trend.measure]


def _trend(trend: Trend) -> reports.Trend:
    titles = {
        "strange": _("Strange specimens, {material}"),
        "doubtful": _("Doubtful specimens, {material}"),
    }
    title = titles[trend.measure].format(material=_material(trend))
    if not trend.points:
        return reports.Trend(
            title,
            _(
                "{n} of {of} nights that set the limits; limits are drawn from then on, with at "
                "least {specimens} specimens."
            ).format(n=trend.nights, of=BASELINE_NIGHTS, specimens=BASELINE_SPECIMENS),
            Tone.CALM,
            tuple(_gathered(point) for point in trend.gathered),
            0.0,
        )
    usual = trend.usual_bad / trend.usual_n
    alarm = _alarm(trend) if trend.alarm else ""
    text = f"{trend.points[-1].bad} {alarm}." if alarm else _("As usual.")
    return reports.Trend(
        title,
        _(
            "{text} Usual: {bad} of {n} ({share}), by the first nights under bundle {bundle}."
        ).format(
            text=text,
            bad=trend.usual_bad,
            n=trend.usual_n,
            share=percent(usual),
            bundle=trend.bundle,
        )
        + _limits_in_words(trend),
        Tone.ATTENTION if trend.alarm else Tone.CALM,
        tuple(
            reports.TrendPoint(reports.short_day(p.night), p.n, p.bad, p.limit)
            for p in trend.points
        ),
        usual,
    )


def _gathered(point: Point) -> reports.TrendPoint:
    sure = wilson(point.bad, point.n)
    return reports.TrendPoint(
        reports.short_day(point.night), point.n, point.bad, None, sure.low or 0.0, sure.high or 1.0
    )


def _limits_in_words(trend: Trend) -> str:
    """Return how the limits were computed; "" for a report from before this was stored."""
    if trend.spread is None:
        return ""
    text = _(
        "Limits: binomial, with nights that differ (log rate: standard deviation {spread}, fitted "
        "to the first nights)."
    )
    return " " + text.format(spread=decimal(trend.spread, ".2f"))


def _agreement(facts: NightFacts) -> Iterator[Fact]:
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
            _("Second reviewer at the limit {limit}").format(limit=reports.retold(look.limit)),
            _(
                "recommended ([orders] second_look_at_limit): {faults} of {n} double reviews are "
                "on two sides of it, upper 95 % bound {upper}, {most} is allowed"
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


def _codes(facts: NightFacts) -> Iterator[CodeCount]:
    automatic: Counter[str] = Counter()
    review: Counter[str] = Counter()
    for micrograph in facts.micrographs:
        counter = review if micrograph.needs_a_person else automatic
        counter[micrograph.structure_code or _("no code")] += 1
    known = [code for code in facts.words if automatic[code] + review[code]]
    others = sorted((automatic.keys() | review.keys()) - facts.words.keys())
    for code in (*known, *others):
        yield CodeCount(code, facts.words.get(code, ""), automatic[code], review[code])


def _hours(facts: NightFacts) -> Iterator[Hour]:
    edges = [facts.after]
    while edges[-1] < facts.until:
        edges.append(min(edges[-1] + timedelta(hours=1), facts.until))
    zone = ZoneInfo(facts.zone)
    for start, end in pairwise(edges):
        inside = [
            micrograph for micrograph in facts.micrographs if start < micrograph.done_at <= end
        ]
        review = sum(micrograph.needs_a_person for micrograph in inside)
        yield Hour(f"{start.astimezone(zone):%H:%M}", len(inside) - review, review)


def _source(folder: Folder, facts: NightFacts) -> SourceCount:
    mine = [micrograph for micrograph in facts.micrographs if micrograph.source == folder.name]
    state, tone = _state(folder, facts)
    return SourceCount(
        name=folder.name,
        folder=folder.folder,
        taken=len(mine),
        review=sum(micrograph.needs_a_person for micrograph in mine),
        unusable=sum(file.source == folder.name for file in facts.unusable),
        duplicates=sum(twin.source == folder.name for twin in facts.duplicates),
        last_file=local(folder.last_file_at, facts.zone) if folder.last_file_at else "–",
        state=state,
        tone=tone,
    )


def _state(folder: Folder, facts: NightFacts) -> tuple[str, Tone]:
    if not folder.online:
        if folder.offline_since is None:
            return _("not reachable"), Tone.PROBLEM
        since = local(folder.offline_since, facts.zone)
        return _("not reachable since {at}").format(at=since), Tone.PROBLEM
    if folder.problem:
        return folder.problem, Tone.ATTENTION
    return _("reachable"), Tone.CALM


def _unusable(file: Failed, facts: NightFacts) -> Unusable:
    title, action = reports.file_code(file.code)
    again = ""
    if file.state == "failed":
        title = _("Failed for now")
        action = _("Nothing to do yet: the agent tries again by itself.")
        again = ngettext("tried {n} time, again {at}", "tried {n} times, again {at}", file.attempts)
        at = local(file.next_try_at, facts.zone) if file.next_try_at else ""
        again = again.format(n=file.attempts, at=at).strip()
    return Unusable(
        path=file.path,
        source=file.source,
        at=local(file.at, facts.zone),
        code=file.code,
        title=title,
        sentence=f"{file.sentence[:1].upper()}{file.sentence[1:]}",
        action=action,
        next=again,
    )


def _left_out(facts: NightFacts, more: tuple[MorePage, ...]) -> str:
    cards = sum(len(page.cards) for page in more)
    rows = sum(len(page.rows) for page in more)
    parts = [
        _("{micrographs} more that need a person").format(micrographs=micrographs(cards))
        if cards
        else "",
        _("{micrographs} more that were handled automatically").format(
            micrographs=micrographs(rows)
        )
        if rows
        else "",
    ]
    omitted = _(" and ").join(part for part in parts if part)
    own = _("To keep this page small, {what} are on separate pages.")
    sentences = [own.format(what=omitted) if omitted else ""]
    for files, what in (
        (
            facts.unusable,
            _("{n} more files not used are named in the JSON file next to this page."),
        ),
        (facts.duplicates, _("{n} more duplicates are named in the JSON file next to this page.")),
    ):
        if (over := len(files) - LINES_PER_TABLE) > 0:
            sentences.append(what.format(n=over))
    return " ".join(sentence for sentence in sentences if sentence)


def _provenance(facts: NightFacts, revision: int) -> Iterator[Fact]:
    yield Fact(_("Software"), facts.software)
    used: Mapping[str, int] = Counter(
        f"{micrograph.bundle} · {micrograph.engine} {micrograph.precision} · "
        + _("crop recipe {recipe}").format(recipe=micrograph.recipe)
        for micrograph in facts.micrographs
        if micrograph.bundle
    )
    for bundle, n in sorted(used.items()):
        yield Fact(_("Bundle"), f"{bundle} · {micrographs(n)}")
    if not used:
        yield Fact(_("Bundle"), facts.bundle or _("none yet"))
    yield Fact(
        _("Thresholds"),
        _("strangeness alarm below p = {alpha}; uncertain below {share}").format(
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
