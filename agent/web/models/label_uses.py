"""Describe whether a decision will be used for training, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.retrain.label_use import LabelUse, Use, decide_use
from agent.store import LabelledMicrograph, LabelView
from reports import gettext as _
from reports import marked

if TYPE_CHECKING:
    from agent.store import MicrographView
    from agent.web.context import Desk

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


def find_use(desk: Desk, view: MicrographView) -> LabelUse | None:
    """Return what the decision on a micrograph is used for; None where there is no decision."""
    if view.label is None:
        return SECOND if view.votes else None
    label = desk.store.labelled_micrographs.find(view.id)
    return _decide(desk, label) if label else None


def forecast_use(desk: Desk, view: MicrographView, *, blind: bool) -> LabelUse:
    """Return what a structure code would be used for if one reviewer gave it now.

    Args:
        desk: What the pages work on.
        view: The micrograph.
        blind: The model's answer has not been shown to the reviewer.
    """
    result = view.result
    code = result.structure_code or next(
        subtype.code(size.name) for subtype in desk.taxonomy().subtypes for size in subtype.sizes
    )
    label = LabelledMicrograph(
        id=view.id,
        sha256=view.sha256,
        page=view.page,
        label=LabelView(kind="code", by="", code=code, blind=blind, id=0, at=desk.now()),
        group="",
        process_data={},
        origin=result.origin,
        um_per_px=view.um_per_px,
        recipe=view.recipe,
        model_code=result.structure_code,
        seen_code=result.structure_code,
        is_control="control_sample" in result.reasons and result.structure_code is not None,
    )
    use = _decide(desk, label)
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


def _decide(desk: Desk, label: LabelledMicrograph) -> LabelUse:
    return decide_use(
        label,
        has_crop=desk.archive.may_have(desk.archive.crop_path(label.sha256, label.page)),
        taxonomy=desk.taxonomy(),
        learns_from=desk.learns_from,
    )
