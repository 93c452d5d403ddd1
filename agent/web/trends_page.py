"""Page of the trends: codes, unusual share, agreement and throughput of a range of days.

Alarms of `agent.nightly.facts.change_alarm` are at its top until a lead acknowledges them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool

import reports
from agent.files.csv_export import format_csv
from agent.nightly.page.night_charts import acknowledge_alarm, describe_alarms, find_open_alarms
from agent.orders.judge.permissions import require_lead
from agent.store import LabelledMicrograph
from agent.web import cookies
from agent.web.context import WebContext, order_rules
from agent.web.dashboard_figures import start_of
from agent.web.forms import read_stripped_form
from agent.web.orders.order_desk import is_lead
from agent.web.pages import render_page, request_name
from reports import decimal, marked
from reports import gettext as _

STEPS = {
    "day": marked("Day"),
    "week": marked("Week"),
    "month": marked("Month"),
    "range": marked("Whole range"),
}
"""What one point of a chart is; of the whole range there is one for each group."""
GROUPS = {
    "": marked("All together"),
    "source": marked("Source"),
    "furnace": marked("Furnace"),
    "heat": marked("Heat"),
}
USUAL_WEEKS = 13
MOST_STEPS = 106
"""Steps of one page: two years of weeks."""
MOST_CHARTS = 12
MONTH_DAYS = 31
TOO_LONG = marked("A page shows at most {n} steps. Choose a shorter range or a longer step.")
WRONG_RANGE = marked("Write two days such as 2026-11-24, the earlier one first.")


@dataclass(slots=True)
class _Row:
    """What is counted of one step and one group."""

    n: int = 0
    review: int = 0
    unusual: int = 0
    blind: int = 0
    same: int = 0
    codes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Range:
    """The days that a request asks for, in steps, by group, or of one group alone."""

    first: date
    last: date
    step: str
    by: str
    only: str

    def list_steps(self) -> list[tuple[date, date]]:
        """Return the first day of each step, and of the one after it."""
        if self.step == "range":
            return [(self.first, self.last + timedelta(days=1))]
        starts = [_begin(self.first, self.step)]
        while starts[-1] <= self.last:
            starts.append(_next(starts[-1], self.step))
        return list(pairwise(starts))

    def to_query(self, **other: str) -> str:
        """Return the address of this range, with other values."""
        asked = {"first": str(self.first), "last": str(self.last), "step": self.step}
        return urlencode({**asked, "by": self.by, "only": self.only, **other})


def _begin(day: date, step: str) -> date:
    if step == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if step == "month" else day


def _next(day: date, step: str) -> date:
    if step == "month":
        return (day + timedelta(days=MONTH_DAYS)).replace(day=1)
    return day + timedelta(days=7 if step == "week" else 1)


def router(web: WebContext) -> APIRouter:
    """Build the routes of the trends."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/trends")
    def trends(request: Request) -> Response:
        wanted, problem = _read_range(web, request)
        return _render(web, request, wanted, problem)

    @routes.get("/trends.csv")
    def export(request: Request) -> Response:
        wanted, problem = _read_range(web, request)
        if problem:
            raise HTTPException(422, problem)
        headers = {"Content-Disposition": 'attachment; filename="trends.csv"'}
        text = _format_csv(_count(web, wanted))
        return Response(text.encode("utf-8-sig"), media_type="text/csv", headers=headers)

    @routes.post("/trends")
    async def acknowledge(request: Request) -> Response:
        form = await read_stripped_form(request)
        return await run_in_threadpool(_acknowledge, web, request, form)

    return routes


def _acknowledge(web: WebContext, request: Request, form: Mapping[str, str]) -> Response:
    """Acknowledge the alarms of a measure."""
    who = cookies.decides(request, form)
    fields = [(key, form[key]) for key in ("measure", "night", "reason") if key in form]
    if page := request_name(web, request, who, "/trends", fields, then="/trends"):
        return page
    require_lead(order_rules(web), who.strip())
    acknowledge_alarm(
        web.store,
        form.get("measure", ""),
        by=who.strip(),
        reason=form.get("reason", ""),
        at=web.now(),
        night=form.get("night", ""),
    )
    answer = RedirectResponse("/trends", 303)
    cookies.keep(answer, cookies.NAME, who.strip())
    return answer


def _read_range(web: WebContext, request: Request) -> tuple[_Range, str]:
    """Return the range that a request asks for, and what of it is not understood."""
    asked = request.query_params
    step, by = asked.get("step", ""), asked.get("by", "")
    step, by = step if step in STEPS else "week", by if by in GROUPS else ""
    today = web.now().astimezone(ZoneInfo(web.zone)).date()
    usual = _begin(today, "week") - timedelta(weeks=USUAL_WEEKS - 1)
    only = asked.get("only", "") if by else ""
    try:
        first = date.fromisoformat(asked.get("first") or str(usual))
        last = min(today, date.fromisoformat(asked.get("last") or str(today)))
    except ValueError:
        return _Range(usual, today, step, by, only), _(WRONG_RANGE)
    if first > last:
        return _Range(usual, today, step, by, only), _(WRONG_RANGE)
    days = {"day": 1, "week": 7}.get(step, MONTH_DAYS)
    if (last - first).days > MOST_STEPS * days:
        return _Range(usual, today, step, by, only), _(TOO_LONG).format(n=MOST_STEPS)
    return _Range(first, last, step, by, only), ""


def _count(web: WebContext, wanted: _Range) -> dict[tuple[date, str], _Row]:
    """Return (first day of the step, group) → what is counted, steps in order."""
    steps = wanted.list_steps()
    starts = [start_of(first, web.zone) for first, _end in steps]
    starts.append(start_of(steps[-1][1], web.zone))
    rows: dict[tuple[date, str], _Row] = {}
    blind = web.store.labelled_micrographs.list_blind_since(starts[0])
    for (first, _end), (after, until) in zip(steps, pairwise(starts), strict=True):
        counted = web.store.live_figures.count_trend(after, until, wanted.by)
        for group, code, n, review, unusual in counted:
            row = rows.setdefault((first, group), _Row())
            row.n, row.review, row.unusual = row.n + n, row.review + review, row.unusual + unusual
            row.codes[code] += n
        for entry in blind:
            if after < entry.label.at <= until and _is_counted(entry):
                row = rows.setdefault((first, _name_group(entry, wanted.by)), _Row())
                row.blind += 1
                row.same += entry.label.code == entry.model_code
    if wanted.only:
        return {key: row for key, row in rows.items() if key[1] == wanted.only}
    return rows


def _is_counted(entry: LabelledMicrograph) -> bool:
    return entry.origin == "watch" and entry.model_code is not None


def _name_group(entry: LabelledMicrograph, by: str) -> str:
    known = {"source": entry.source, "heat": entry.process_data.get("heat", "")}
    return str(entry.process_extra.get("furnace", "")) if by == "furnace" else known.get(by, "")


def _render(web: WebContext, request: Request, wanted: _Range, problem: str) -> Response:
    rows = {} if problem else _count(web, wanted)
    night, alarms = find_open_alarms(web.store)
    groups = Counter[str]()
    for (_first, group), row in rows.items():
        groups[group] += row.n + row.blind
    return render_page(
        web,
        request,
        "trends",
        422 if problem else 200,
        wanted=wanted,
        problem=problem,
        steps=STEPS,
        groups=GROUPS,
        alarms=list(describe_alarms(alarms)),
        night=night,
        is_lead=bool(alarms) and (not cookies.name_of(request) or is_lead(web, request)),
        sections=list(_list_sections(rows, wanted, [g for g, _n in groups.most_common()])),
        columns=_list_columns(rows),
        table=list(_list_lines(rows, wanted)),
        query=wanted.to_query(),
        all=wanted.to_query(only=""),
    )


def _list_sections(
    rows: Mapping[tuple[date, str], _Row], wanted: _Range, groups: Sequence[str]
) -> Iterator[tuple[str, str, list[tuple[str, str, Markup]]]]:
    """Yield title, note, and the charts of each: name, address of the group alone, drawing."""
    if not rows:
        return
    steps = [first for first, _end in wanted.list_steps()]
    if wanted.step == "range":  # a chart with a point for each group
        shown = groups[:MOST_STEPS]
        series = [("", "", [(group or "–", rows[steps[0], group]) for group in shown])]
        totals = [(label, row.codes) for label, row in series[0][2]]
    else:
        shown = groups[:MOST_CHARTS]
        labels = [_label(first, wanted.step, is_short=True) for first in steps]
        series = [
            (
                group,
                f"/trends?{wanted.to_query(only=group)}" if wanted.by and not wanted.only else "",
                [(x, rows.get((s, group), _Row())) for x, s in zip(labels, steps, strict=True)],
            )
            for group in shown
        ]
        totals = [
            (x, sum((rows[s, g].codes for g in groups if (s, g) in rows), Counter[str]()))
            for x, s in zip(labels, steps, strict=True)
        ]
    left = len(groups) - len(shown)
    more = _("{n} more groups are in the table.").format(n=left) if left else ""
    most = max(row.n for row in rows.values())
    alt = _("Micrographs per step; the table has the numbers.")
    yield (
        _("Micrographs"),
        " ".join((_("Lower part: sent to review."), more)).strip(),
        [
            (
                name,
                href,
                reports.counts_chart([(x, r.n, r.review) for x, r in points], most=most, alt=alt),
            )
            for name, href, points in series
        ],
    )
    of_all = _("Share of all micrographs, with its 95 % interval.")
    of_blind = _("Blind decisions with the model's code, with the 95 % interval of their share.")
    step = wanted.step
    for title, note, part, whole in (
        (_("Unusual micrographs"), of_all, "unusual", "n"),
        (_("Agreement"), of_blind, "same", "blind"),
    ):
        drawn = []
        for name, href, points in series:
            values = [(x, getattr(row, part), getattr(row, whole)) for x, row in points]
            drawn.append((name, href, _draw(values, title, step)))
        yield title, note, [chart for chart in drawn if chart[2]]
    codes = sum((counts for _x, counts in totals), Counter[str]())
    codes.pop("", None)
    yield (
        _("Structure codes"),
        of_all,
        [
            (code, "", _draw([(x, n[code], n.total()) for x, n in totals], code, step))
            for code in sorted(code for code, _n in codes.most_common(MOST_CHARTS))
        ],
    )


def _draw(values: Sequence[tuple[str, int, int]], title: str, step: str) -> Markup:
    """Draw shares: label, how many, of how many."""
    from model import wilson  # noqa: PLC0415 - loads scipy

    points = []
    for label, k, n in values:
        sure = wilson(k, n)
        points.append((label, k, n, sure.low or 0.0, sure.high or 1.0))
    alt = _("{title}: share per step; the table has the numbers.").format(title=title)
    return reports.shares_chart(points, is_joined=step != "range", alt=alt)


def _label(first: date, step: str, *, is_short: bool = False) -> str:
    if step == "month":
        return f"{first:%m/%y}" if is_short else f"{first:%Y-%m}"
    return reports.short_day(first)


def _list_columns(rows: Mapping[tuple[date, str], _Row]) -> list[str]:
    """Return the codes that the table has a column for."""
    return sorted({code for row in rows.values() for code in row.codes if code})


def _list_lines(
    rows: Mapping[tuple[date, str], _Row], wanted: _Range
) -> Iterator[tuple[str, str, _Row, str, str]]:
    """Yield step, group, numbers, and both shares in words, group by group."""
    for (first, group), row in sorted(rows.items(), key=lambda item: (item[0][1], item[0][0])):
        yield (
            _label(first, wanted.step),
            group,
            row,
            _format_share(row.unusual, row.n),
            _format_share(row.same, row.blind),
        )


def _format_share(k: int, n: int) -> str:
    if not n:
        return "–"
    from model import wilson  # noqa: PLC0415 - loads scipy

    sure = wilson(k, n)
    low, high = (decimal(100 * (end or 0.0), ".0f") for end in (sure.low, sure.high))
    return _("{k} of {n}, {share} % ({low} to {high})").format(
        k=k, n=n, share=decimal(100 * k / n, ".0f"), low=low, high=high
    )


def _format_csv(rows: Mapping[tuple[date, str], _Row]) -> str:
    codes = _list_columns(rows)
    columns = ("first_day", "group", "micrographs", "review", "unusual", "blind", "agreed", *codes)

    def lines() -> Iterable[dict[str, Any]]:
        for (first, group), row in sorted(rows.items()):
            numbers = (row.n, row.review, row.unusual, row.blind, row.same)
            values = (str(first), group, *numbers, *(row.codes[code] for code in codes))
            yield dict(zip(columns, values, strict=True))

    return format_csv(columns, lines())
