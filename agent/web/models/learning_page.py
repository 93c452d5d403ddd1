"""Page of the training: what would be trained on and why, its start, what to label next.

The page requests a job of the running agent; it trains nothing itself, so that closing it, or the
pages' process ending, ends no training. In the queue of micrographs to label the model's answer is
hidden until the decision, so that the decision is learned from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from markupsafe import Markup

import reports
from agent.labelled_import import get_key
from agent.retrain.bundle_registry import get_bundles_folder
from agent.retrain.label_use import (
    FEW_MICROGRAPHS,
    FEWEST_GROUPS,
    LabelUse,
    Use,
    decide_use,
    list_known,
)
from agent.site_time import local
from agent.store import Job, LabelledMicrograph, LabelView, MicrographView
from agent.store.work.jobs import NO_FACTS
from agent.web import cookies
from agent.web.authentication import signing_name
from agent.web.context import WebContext
from agent.web.orders.order_fields import is_done_by
from agent.web.pages import render_page
from agent.web.schemas import FAULTS, JobRequested, SignedIn
from model import ModelError, read_manifest
from reports import decimal, marked, percent
from reports import gettext as _

USES = {
    Use.TRAINED: marked("used for training"),
    Use.TESTED: marked("used for tests only"),
    Use.UNUSED: marked("not used for training"),
}
SECOND = LabelUse(Use.UNUSED, "second")
WHYS = {
    (Use.TRAINED, "blind"): marked("the model's answer is not in view"),
    (Use.TRAINED, "imported"): marked("it was imported"),
    (Use.TRAINED, "confirmed"): marked("two reviewers gave the same code"),
    (Use.TRAINED, "seen"): marked("the lab trains on codes given with the answer in view too"),
    (Use.TESTED, "control_sample"): marked(
        "a control sample measures how often the model is right"
    ),
    (Use.TESTED, "strange"): marked("it tests whether the agent notices such micrographs"),
    (Use.UNUSED, "seen"): marked("the model's answer is in view, and one reviewer alone gives it"),
    (Use.UNUSED, "second"): marked("a second reviewer has to give the same code"),
    (Use.UNUSED, "not_in_taxonomy"): marked("the taxonomy has no code {code}"),
    (Use.UNUSED, "other_recipe"): marked(
        "an earlier version cropped it; import the original again"
    ),
    (Use.UNUSED, "no_crop"): marked("its pixels are no longer in the archive"),
    (Use.UNUSED, "doubted"): marked("the label is suspect until a reviewer decides again"),
    (Use.UNUSED, "no_code"): marked("it names no structure code"),
}
OTHERWISE = marked("the setting [retrain] learns_from leaves it out")


def find_use(web: WebContext, view: MicrographView) -> LabelUse | None:
    """Return what the decision on a micrograph is used for; None where there is no decision."""
    if view.label is None:
        return SECOND if view.votes else None
    label = web.store.labelled_micrographs.find(view.id)
    return _decide(web, label) if label else None


def forecast_use(web: WebContext, view: MicrographView, *, blind: bool) -> LabelUse:
    """Return what a structure code would be used for if one reviewer gave it now.

    Args:
        web: What the pages work on.
        view: The micrograph.
        blind: The model's answer has not been shown to the reviewer.
    """
    result = view.result
    code = result.structure_code or next(
        subtype.code(size.name) for subtype in web.taxonomy().subtypes for size in subtype.sizes
    )
    label = LabelledMicrograph(
        id=view.id,
        sha256=view.sha256,
        page=view.page,
        label=LabelView(kind="code", by="", code=code, blind=blind, id=0, at=web.now()),
        group="",
        process_data={},
        origin=result.origin,
        um_per_px=view.um_per_px,
        recipe=view.recipe,
        model_code=result.structure_code,
        seen_code=result.structure_code,
        is_control="control_sample" in result.reasons and result.structure_code is not None,
    )
    use = _decide(web, label)
    if use.use is Use.UNUSED or not view.asks_two or view.label is not None:
        return use
    return use if view.votes else SECOND


def describe(use: LabelUse) -> str:
    """Return in a sentence what a decision is used for."""
    return _("This decision is {use}: {why}.").format(use=_(USES[use.use]), why=explain_use(use))


def describe_ahead(use: LabelUse) -> str:
    """Return in a sentence what a structure code would be used for."""
    text = _("A structure code that you give now is {use}: {why}.")
    return text.format(use=_(USES[use.use]), why=explain_use(use))


def use_to_json(use: LabelUse | None) -> dict[str, Any] | None:
    """Return the use of a decision as JSON has it."""
    return {"use": str(use.use), "why": use.why, "sentence": describe(use)} if use else None


def explain_use(use: LabelUse) -> str:
    """Return why a label is used as it is, in words."""
    return _(WHYS.get((use.use, use.why), OTHERWISE)).format(code=use.code)


def _decide(web: WebContext, label: LabelledMicrograph) -> LabelUse:
    return decide_use(
        label,
        has_crop=web.archive.may_have(web.archive.crop_path(label.sha256, label.page)),
        taxonomy=web.taxonomy(),
        learns_from=web.learns_from,
    )


SUGGEST = "suggest"
"""Name of the job that chooses."""
SUGGESTED = "suggested"
"""Name of the filter of the queue; its value is "1"."""


def find_last_choice(web: WebContext) -> Job | None:
    """Return the last job that chose what to label next, or None."""
    done = [job for job in web.store.jobs.list_ended(SUGGEST) if job.outcome == "done"]
    return done[-1] if done else None


def list_suggested(web: WebContext) -> list[MicrographView]:
    """Return what was chosen last, the most useful first."""
    last = find_last_choice(web)
    ids = [str(public_id) for public_id in last.facts.get("ids", ())] if last else []
    return web.store.search.list_micrographs(ids)


def list_suggestion_queue(web: WebContext, who: str) -> list[MicrographView]:
    """Return what was chosen last and this reviewer may decide."""
    return [
        view for view in list_suggested(web) if view.label is None and not is_done_by(view, who)
    ]


def is_suggested(narrowed: Mapping[str, str]) -> bool:
    """Return whether a queue is narrowed to the suggestions."""
    return narrowed.get(SUGGESTED) == "1"


RETRAIN = "retrain"
MESSAGES = {
    "started": marked("Requested. The agent starts within some seconds."),
    "running": marked("Not started: it runs or is requested already."),
    "stopped": marked("Not started: the agent does not run. Start it, or run agent retrain."),
}


STATES = {"started": "requested", "running": "running", "stopped": "agent_stopped"}


class JobIn(SignedIn):
    """A job that the running agent is to start."""

    name: Literal["retrain", "suggest"]


def router(web: WebContext) -> APIRouter:
    """Build the routes of the training."""
    routes = APIRouter()

    @routes.get("/models/training", include_in_schema=False)
    def training(request: Request) -> Response:
        return _render(web, request)

    @routes.post("/models/retrain", include_in_schema=False)
    def retrain(request: Request) -> Response:
        return _request_job(web, request, RETRAIN)

    @routes.post("/models/suggest", include_in_schema=False)
    def suggest(request: Request) -> Response:
        return _request_job(web, request, SUGGEST)

    @routes.post("/api/v1/jobs", status_code=202, response_model=JobRequested, responses=FAULTS)
    def job(request: Request, body: JobIn) -> dict[str, str]:
        """Request a training, or the choice of what to label next, of the running agent."""
        state = request_job(web, body.name, by=signing_name(request, body.by))
        return {"state": STATES[state]}

    return routes


def request_job(web: WebContext, name: str, *, by: str, facts: Mapping[str, Any] = NO_FACTS) -> str:
    """Request a job of the running agent and return a key of `MESSAGES`."""
    if not web.status().get("running"):
        return "stopped"
    is_new = web.store.jobs.request(name, by=by, at=web.now(), facts=facts)
    return "started" if is_new else "running"


def _request_job(web: WebContext, request: Request, name: str) -> Response:
    by = cookies.name_of(request) or _("a user of this PC")
    done = request_job(web, name, by=by)
    return RedirectResponse(f"/models/training?{urlencode({'done': done})}", 303)


# --- the page -----------------------------------------------------------------------------------


def _render(web: WebContext, request: Request) -> Response:
    current = web.store.promotions.find_current()
    known = _list_known(web, current)
    labels, unused = _count_labels(web, known or frozenset())
    last = find_last_choice(web)
    curve, curve_note = _draw_curve(last)
    return render_page(
        web,
        request,
        "learning",
        labels=labels,
        is_known=known is not None,
        bundle=current,
        fewest_new=web.learning.min_new_labels,
        enough=(
            *_describe_enough(labels, last, has_bundle=current is not None),
            *((curve_note,) if curve else ()),
        ),
        unused=unused,
        wanted=_describe_wanted(web),
        suggested=list_suggested(web),
        suggested_note=_describe_suggested(web, last),
        curve=curve,
        curve_note=curve_note,
        message=_(MESSAGES.get(request.query_params.get("done", ""), "")),
    )


def _count_labels(
    web: WebContext, known: frozenset[str]
) -> tuple[dict[str, Counter[str]], list[tuple[str, int]]]:
    """Return each code's labels by use, new ones and specimens; and why others are not used."""
    counts: dict[str, Counter[str]] = {}
    specimens: dict[str, set[str]] = {}
    whys: Counter[str] = Counter()
    taxonomy = web.taxonomy()
    groups = web.store.labelled_micrographs.list_alike()
    crops = iter(
        web.archive.has_crops(
            [(sha256, page) for _, alike in groups for sha256, page, _specimen in alike]
        )
    )
    for labelled, alike in groups:
        code = labelled.label.code or ""
        own = counts.setdefault(code, Counter())
        uses = [
            decide_use(labelled, has_crop=has_crop, taxonomy=taxonomy, learns_from=web.learns_from)
            for has_crop in (False, True)
        ]
        for (sha256, page, specimen), has_crop in zip(alike, crops, strict=False):
            use = uses[has_crop]
            own[str(use.use)] += 1
            if use.use is Use.UNUSED:
                whys[explain_use(use)] += 1
                continue
            specimens.setdefault(code, set()).add(specimen)
            if get_key(sha256, page) not in known:
                own["new"] += 1
    for code, own in counts.items():
        own["specimens"] = len(specimens.get(code, ()))
    return dict(sorted(counts.items())), whys.most_common()


def _describe_enough(
    labels: Mapping[str, Counter[str]], last: Job | None, *, has_bundle: bool
) -> Iterator[str]:
    """Yield how many labels are enough, and of which code more are needed, a sentence each."""
    coded = {code: own for code, own in labels.items() if code}
    few = {code: FEWEST_GROUPS - own["specimens"] for code, own in coded.items()}
    if listed := _list_lacking(few):
        text = _("A code is trained from {n} specimens on. Lacking: {codes}.")
        yield text.format(n=FEWEST_GROUPS, codes=listed)
    ready = [code for code, n in few.items() if n <= 0]
    if listed := _list_lacking(
        {
            code: FEW_MICROGRAPHS - coded[code][Use.TRAINED] - coded[code][Use.TESTED]
            for code in ready
        }
    ):
        text = _("{n} micrographs a code are a good start. Label more of: {codes}.")
        yield text.format(n=FEW_MICROGRAPHS, codes=listed)
    if not has_bundle:
        yield (
            _("Enough for a first bundle of {codes}.").format(codes=", ".join(ready))
            if len(ready) > 1
            else _("A first bundle needs two codes with {n} specimens each.").format(
                n=FEWEST_GROUPS
            )
        )
    if last and (weakest := _find_weakest(last)):
        code, right = weakest
        text = _("{code} is recognised least often, {share} of its labels. Label it next.")
        yield text.format(code=code, share=percent(right))


def _list_lacking(lacking: Mapping[str, int]) -> str:
    return ", ".join(f"{code} (+{n})" for code, n in lacking.items() if n > 0)


def _find_weakest(last: Job) -> tuple[str, float] | None:
    """Return the code of which the fewest labels are predicted right, and their share."""
    recalls = {
        code: value
        for code, recall in last.facts.get("recall", {}).items()
        if (value := recall.get("value")) is not None and value < 1
    }
    return min(recalls.items(), key=lambda item: item[1]) if recalls else None


def _list_known(web: WebContext, current: str | None) -> frozenset[str] | None:
    """Return the keys of the images in the split of the bundle in use, None if unreadable."""
    if current is None:
        return frozenset()
    try:
        return list_known(read_manifest(get_bundles_folder(web.archive.folder) / current))
    except ModelError:
        return None


def _describe_wanted(web: WebContext) -> str:
    now = web.now()
    for job in web.store.jobs.list_running(at=now):
        if job.name == RETRAIN:
            done = f" {job.facts['done']}/{job.facts['total']}" if job.facts.get("total") else ""
            return _("A training runs: {stage}.").format(stage=f"{job.facts['stage']}{done}")
    if web.store.jobs.is_requested(RETRAIN, at=now):
        return _("A training is requested; the agent starts it within some seconds.")
    return ""


# --- what to label next ---------------------------------------------------------------------------


def _describe_suggested(web: WebContext, last: Job | None) -> str:
    now = web.now()
    runs = any(job.name == SUGGEST for job in web.store.jobs.list_running(at=now))
    if runs or web.store.jobs.is_requested(SUGGEST, at=now):
        return _("The agent chooses now. Reload the page in a minute.")
    if last is None or last.ended_at is None:
        return _(
            "The agent chooses micrographs that are uncertain, unlike the labelled ones and unlike "
            "each other."
        )
    return _("Chosen {at}, the most useful first.").format(at=local(last.ended_at, web.zone))


def _format_interval(more: Mapping[str, Any]) -> str:
    low, high = more["low"], more["high"]
    if low is None and high is None:
        return _("95 % interval unknown")
    if high is None:
        return _("95 %: at least {n}").format(n=low)
    if low is None:
        return _("95 %: at most {n}").format(n=high)
    return _("95 % interval {low} to {high}").format(low=low, high=high)


def _draw_curve(last: Job | None) -> tuple[Markup, str]:
    """Return the learning curve as SVG, and what more labels would bring."""
    if last is None:
        return Markup(), ""
    facts: Mapping[str, Any] = last.facts
    curve = facts.get("curve")
    if not curve:
        return Markup(), _("Too few labelled specimens to estimate how many labels are needed.")
    more, points = facts["more_labels"], decimal(100 * facts["gain"], "g")
    if more["value"] is None:
        note = _("{points} points more accuracy: not reachable with more labels of these kinds.")
        text = note.format(points=points)
    else:
        note = _("{points} points more accuracy: about {n} more labels ({interval}).")
        text = note.format(points=points, n=more["value"], interval=_format_interval(more))
    alt = _("Error rate over the number of labelled images, up to {n}.").format(n=curve["n"])
    return reports.learning_curve_chart(curve["points"], alt), text
