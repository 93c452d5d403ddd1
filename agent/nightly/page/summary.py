"""Build what a lab lead reads first: orders, instruments, and changes since the night before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from urllib.parse import quote

import reports
from agent.nightly.facts.control_charts import BASELINE_NIGHTS, Individuals
from agent.nightly.facts.order_status import PRESSING, Instrument, OpenOrder, get_order_status
from agent.nightly.facts.snapshot import NightFacts
from agent.nightly.page.headline import micrographs
from agent.orders.facts.specimen_facts import Conformity
from agent.orders.judge.next_step import NextStep
from agent.site_time import local, local_full
from reports import ControlTrend, OpenOrderLine, Tone, VerdictLine, decimal, marked, ngettext
from reports import gettext as _

ORDERS_SHOWN = 100
SENTENCES_SHOWN = 3
GROUPS_SHOWN = 300
COMMON_FROM = 3
"""From so many orders on, a shared reason is stated once above the list."""
MOST_NUMBERS = 12
DAY_S = 86_400.0
MEASURES = {"brightness": marked("Brightness"), "focus": marked("Focus")}


# --- orders -------------------------------------------------------------------------------------


def order_lines(facts: NightFacts) -> Iterator[VerdictLine]:
    """Yield a line for each reason why orders are open, and one for those that conform."""
    for status in PRESSING:
        orders = [order for order in facts.orders if get_order_status(order) == status]
        if orders:
            text = _status_text(status, len(orders))
            if urgent := [order.number for order in orders if order.urgent]:
                text += " " + _("(urgent: {numbers})").format(numbers=_few(urgent))
            yield VerdictLine(STATUS_TONES[status], str(len(orders)), text, "#orders")
    if n := facts.conforming:
        yield VerdictLine(Tone.CALM, str(n), ngettext("order conforms", "orders conform", n))
    for kept, until, at in facts.trail.lost if facts.trail else ():
        text = _(
            "restored back-up: acts of the audit log from number {first} to {last} were lost on "
            "{at}; a lead signs with agent restore --accept"
        ).format(
            first=kept + 1,
            last=until if until > kept else _("an unknown one"),
            at=local(at, facts.zone),
        )
        yield VerdictLine(Tone.PROBLEM, "1", text)
    if facts.dated_ahead:
        n, until_at = facts.dated_ahead
        text = ngettext(
            "micrograph is dated in the future, up to {at}, so no night before contains it; check "
            "the clock of each PC",
            "micrographs are dated in the future, up to {at}, so no night before contains them; "
            "check the clock of each PC",
            n,
        ).format(at=local_full(until_at, facts.zone))
        yield VerdictLine(Tone.PROBLEM, str(n), text)
    if facts.lab_fault:
        text = _("orders cannot be assessed: {why}").format(why=facts.lab_fault)
        yield VerdictLine(Tone.PROBLEM, "1", text)


STATUS_TONES = {
    Conformity.DOES_NOT_CONFORM.value: Tone.PROBLEM,
    NextStep.PROBABLY_OUT.value: Tone.PROBLEM,
    NextStep.HELD.value: Tone.ATTENTION,
    NextStep.TO_CONFIRM.value: Tone.ATTENTION,
    NextStep.WAITING_FOR_IMAGES.value: Tone.CALM,
}


def _status_text(status: str, n: int) -> str:
    return {
        Conformity.DOES_NOT_CONFORM.value: ngettext(
            "order does not conform", "orders do not conform", n
        ),
        NextStep.PROBABLY_OUT.value: ngettext(
            "order probably out of specification", "orders probably out of specification", n
        ),
        NextStep.HELD.value: ngettext(
            "order held by a failed instrument check",
            "orders held by a failed instrument check",
            n,
        ),
        NextStep.TO_CONFIRM.value: ngettext("order to confirm", "orders to confirm", n),
        NextStep.WAITING_FOR_IMAGES.value: ngettext(
            "order waiting for images", "orders waiting for images", n
        ),
    }[status]


def open_orders(facts: NightFacts) -> tuple[OpenOrderLine, ...]:
    """Return each open order, and what is missing."""
    common = _common_refusals(facts)
    return tuple(_order(order, facts, common) for order in facts.orders[:ORDERS_SHOWN])


def orders_note(facts: NightFacts) -> str:
    """Return what applies to so many open orders that it is stated once, "" for nothing."""
    return " ".join(
        ngettext(
            "{n} order rests on the model alone in part, and {why}.",
            "{n} orders rest on the model alone in part, and {why}.",
            n,
        ).format(n=n, why=why)
        for why, n in _common_refusals(facts).items()
    )


def _common_refusals(facts: NightFacts) -> dict[str, int]:
    whys = Counter(why for order in facts.orders for why in order.model_alone)
    return {why: n for why, n in whys.items() if n >= COMMON_FROM}


def orders_left_out(facts: NightFacts) -> str:
    """Return how many orders are not shown, in words; "" for none."""
    more = len(facts.orders) - ORDERS_SHOWN
    text = ngettext(
        "{n} more order is named in the JSON file next to this page.",
        "{n} more orders are named in the JSON file next to this page.",
        more,
    )
    return text.format(n=more) if more > 0 else ""


def _order(order: OpenOrder, facts: NightFacts, common: Mapping[str, int]) -> OpenOrderLine:
    status = get_order_status(order)
    is_broken = status == Conformity.DOES_NOT_CONFORM
    own = [
        _("rests on the model alone, and {why}").format(why=why)
        for why in order.model_alone
        if why not in common
    ]
    sentences = (*order.said, *own) or (
        _("rests on the model alone, as named above")
        if order.model_alone
        else (Conformity(status) if is_broken else NextStep(status)).words,
    )
    href = order_href(order.number, facts)
    more = len(sentences) - SENTENCES_SHOWN
    return OpenOrderLine(
        number=order.number,
        href=href,
        word=Conformity(status).words if is_broken else NextStep(status).words,
        tone=STATUS_TONES[status],
        said=sentences[:SENTENCES_SHOWN],
        more=_("and {n} more").format(n=more) if more > 0 else "",
        age=_age(order.heard_at, facts),
        waits=_("a field waits for {age}").format(age=_age(order.waits_since, facts))
        if order.waits_since
        else "",
        urgent=order.urgent,
    )


def order_href(number: str, facts: NightFacts) -> str:
    """Return the address of an order's page, "" where the agent's address is not set."""
    return f"{facts.review_url}/order/{quote(number, safe='')}" if facts.review_url else ""


def _age(since: datetime | None, facts: NightFacts) -> str:
    if since is None:
        return ""
    days = int((facts.gathered_at - since).total_seconds() // DAY_S)
    if days < 1:
        return _("less than a day")
    return ngettext("{n} day", "{n} days", days).format(n=days)


# --- what waits, and belongs to nothing ---------------------------------------------------------


def waiting_lines(facts: NightFacts) -> Iterator[VerdictLine]:
    """Yield what waits from earlier nights, and how many fields belong to no specimen."""
    queue = f"{facts.review_url}/review" if facts.review_url else ""
    loose = f"{facts.review_url}/orders#loose" if facts.review_url else ""
    if facts.waits_before and facts.waits_since:
        text = ngettext(
            "micrograph of an earlier night waits, since {at}",
            "micrographs of earlier nights wait, the oldest since {at}",
            facts.waits_before,
        )
        at = local(facts.waits_since, facts.zone)
        yield VerdictLine(Tone.ATTENTION, str(facts.waits_before), text.format(at=at), queue)
    if n := facts.unassigned:
        text = ngettext("field belongs to no specimen", "fields belong to no specimen", n)
        yield VerdictLine(Tone.ATTENTION, str(n), text, loose)


# --- instruments --------------------------------------------------------------------------------


def instrument_lines(facts: NightFacts) -> Iterator[VerdictLine]:
    """Yield the instruments that failed a check, or are due for one."""
    for instrument in facts.instruments:
        problems = {
            text: tone
            for text, tone in (_check(instrument, facts), _control(instrument, facts))
            if tone is not Tone.CALM
        }
        if problems:
            tone = Tone.PROBLEM if Tone.PROBLEM in problems.values() else Tone.ATTENTION
            text = _("source {name}: {how}").format(name=instrument.source, how="; ".join(problems))
            yield VerdictLine(tone, "1", text, "#instruments")
    for chart in facts.charts.control_charts:
        if chart.alarm:
            yield VerdictLine(Tone.ATTENTION, "1", _control_alarm(chart), "#trends")


def instruments(facts: NightFacts) -> tuple[tuple[str, tuple[tuple[str, Tone], ...]], ...]:
    """Return each source with its checks by reference images and control specimen, and its scale.

    A state is a few words and how urgently they need action.
    """
    return tuple(
        (
            instrument.source,
            (_check(instrument, facts), _control(instrument, facts), _scale(instrument)),
        )
        for instrument in facts.instruments
    )


def _check(instrument: Instrument, facts: NightFacts) -> tuple[str, Tone]:
    newest, tone = _newest_check(instrument, facts)
    if not instrument.affected:
        return newest, tone
    n = len(instrument.affected)
    shown = ", ".join(instrument.affected[:MOST_NUMBERS]) + (" …" if n > MOST_NUMBERS else "")
    text = ngettext(
        "{n} order affected, its results are held: {numbers}",
        "{n} orders affected, their results are held: {numbers}",
        n,
    )
    return f"{newest}; {text.format(n=n, numbers=shown)}", Tone.PROBLEM


def _newest_check(instrument: Instrument, facts: NightFacts) -> tuple[str, Tone]:
    if instrument.checked_at is None:
        return _("not checked yet: new source"), Tone.ATTENTION
    at = local(instrument.checked_at, facts.zone)
    if instrument.failed:
        text = _("the check of {at} failed: {what}").format(at=at, what=instrument.failed)
        return text, Tone.PROBLEM
    if instrument.overdue:
        return _("overdue, the last check was {at}").format(at=at), Tone.ATTENTION
    return _("good, {at}").format(at=at), Tone.CALM


def _control(instrument: Instrument, facts: NightFacts) -> tuple[str, Tone]:
    at = local(instrument.control_at, facts.zone) if instrument.control_at else ""
    if instrument.control_faults:
        text = _("the control specimen of {at} failed: {what}")
        return text.format(at=at, what="; ".join(instrument.control_faults)), Tone.PROBLEM
    if instrument.control_overdue:
        text = _("a control specimen is overdue, the last came {at}").format(at=at)
        return text if at else _("no control specimen has come yet"), Tone.ATTENTION
    return _("good, {at}").format(at=at) if at else _("none required"), Tone.CALM


def _scale(instrument: Instrument) -> tuple[str, Tone]:
    if not instrument.scale_doubts:
        return _("known of every micrograph"), Tone.CALM
    text = ngettext(
        "unreliable for {n} micrograph", "unreliable for {n} micrographs", instrument.scale_doubts
    )
    return text.format(n=instrument.scale_doubts), Tone.ATTENTION


# --- since the night before ---------------------------------------------------------------------


def changes(facts: NightFacts) -> Iterator[str]:
    """Yield what differs from the last report; nothing where there was none."""
    then, now = facts.before, facts.summary
    if then is None:
        return
    text = _(
        "{taken} processed, {review} of them to review; previous report ({day}): {taken_then}, "
        "{review_then} of them to review."
    )
    yield text.format(
        taken=micrographs(now.taken),
        review=now.review,
        day=reports.short_day(then.night),
        taken_then=micrographs(then.taken),
        review_then=then.review,
    )
    for what, numbers in (
        (_("Orders that do not conform since then: {numbers}."), then.broken),
        (_("Orders that are settled since then: {numbers}."), then.settled),
    ):
        if numbers:
            yield what.format(numbers=_few(numbers))
    for what, before, after in (
        (_("Another bundle is in use: {after}, before {before}."), then.bundle, facts.bundle),
        (
            _("Another software version is in use: {after}, before {before}."),
            then.software,
            facts.software,
        ),
    ):
        if before and after and before != after:
            yield what.format(before=before, after=after)


def _few(numbers: Sequence[str]) -> str:
    shown = ", ".join(islice(numbers, 10))
    more = len(numbers) - 10
    return f"{shown}, {_('and {n} more').format(n=more)}" if more > 0 else shown


# --- groups -------------------------------------------------------------------------------------


def groups(facts: NightFacts) -> Iterator[tuple[str, tuple[tuple[str, str, int, int], ...]]]:
    """Yield how many micrographs each microscope and each order brought."""
    for title, column in ((_("By microscope"), "microscope"), (_("By order"), "order")):
        taken = Counter(micrograph.process_data.get(column, "") for micrograph in facts.micrographs)
        review = Counter(
            micrograph.process_data.get(column, "")
            for micrograph in facts.micrographs
            if micrograph.is_flagged
        )
        if set(taken) - {""}:
            yield (
                title,
                tuple(
                    (name or "–", _href(column, name, facts), taken[name], review[name])
                    for name in sorted(taken)[:GROUPS_SHOWN]
                ),
            )


def _href(column: str, name: str, facts: NightFacts) -> str:
    return order_href(name, facts) if column == "order" and name else ""


# --- the control specimen over the nights -------------------------------------------------------


def control_trends(facts: NightFacts) -> Iterator[ControlTrend]:
    """Yield brightness and focus of the control specimens over the nights."""
    for chart in facts.charts.control_charts:
        title = _("{measure} of the control specimen, {source}").format(
            measure=_(MEASURES[chart.measure]), source=chart.source
        )
        yield ControlTrend(
            title=title,
            text=_control_text(chart),
            tone=Tone.ATTENTION if chart.alarm else Tone.CALM,
            points=tuple((reports.short_day(d), v) for d, v in chart.points or chart.gathered),
            usual=chart.usual,
            low=chart.low,
            high=chart.high,
        )


def _control_text(chart: Individuals) -> str:
    if not chart.points:
        text = _("{n} of {of} nights that set the limits.")
        return text.format(n=chart.nights, of=BASELINE_NIGHTS)
    usual = _("Usual: {usual}, between {low} and {high}.").format(
        usual=decimal(chart.usual, ".3g"),
        low=decimal(chart.low, ".3g"),
        high=decimal(chart.high, ".3g"),
    )
    tonight = f"{_control_alarm(chart)}." if chart.alarm else _("As usual.")
    return f"{tonight} {usual}"


def _control_alarm(chart: Individuals) -> str:
    if chart.alarm == "step":
        text = _("{measure} of the control specimen of {source} changed more than usual since the "
                 "night before it")  # fmt: skip
    else:
        text = _("{measure} of the control specimen of {source} is not as usual")
    return text.format(measure=_(MEASURES[chart.measure]), source=chart.source)
