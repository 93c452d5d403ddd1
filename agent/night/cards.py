"""Describe one micrograph in words, and why it needs a reviewer.

Report and review page both use this module, so they agree on a micrograph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import reports
from agent.night.period import local
from reports import Answer, Card, Cause, Decision, Fact, Figure, Link, Row, Share, decimal, marked
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from agent.night.facts import ReportedDecision, ReportedMicrograph
    from reports import Picture

SOURCES_OF_SCALE = {
    "metadata": marked("the file's metadata"),
    "micron_bar": marked("the micron bar"),
    "sidecar": marked("the file beside it"),
    "settings": marked("the settings"),
}
WARNINGS = {
    "scale_conflict": marked("Two witnesses of the scale disagree by more than 5 %."),
    "no_scale": marked("Nothing says how large a pixel is."),
    "coating": marked("There is a coating or a second material beside the steel."),
}
PROCESS_NAMES = {
    "plant": marked("Plant"),
    "microscope": marked("Microscope"),
    "objective": marked("Objective"),
    "order": marked("Order"),
    "heat": marked("Heat"),
    "batch": marked("Heat-treatment batch"),
    "specimen": marked("Specimen"),
    "preparation": marked("Preparation"),
    "field": marked("Field"),
    "material": marked("Material"),
    "etchant": marked("Etchant"),
    "magnification": marked("Magnification"),
    "operator": marked("Operator"),
}
NEAREST_CODES = 3
NEAREST_PER_CODE = 2


class Gallery(Protocol):
    """Pictures of micrographs: inside the page, or as links."""

    def crop(self, seen: ReportedMicrograph) -> Picture | None:
        """Return the crop that the model received, its most unusual place marked."""

    def field(self, seen: ReportedMicrograph) -> Picture | None:
        """Return the whole field, the removed part dark."""

    def heat(self, seen: ReportedMicrograph, which: str) -> tuple[Picture | None, str]:
        """Return one map over the crop, and a note on it ("" for none).

        Args:
            seen: The micrograph.
            which: "subtype", "size" or "strangeness".
        """

    def known(self, key: str, code: str) -> Picture | None:
        """Return the thumbnail of a reference image, by its training key."""


def build_card(
    seen: ReportedMicrograph,
    gallery: Gallery,
    *,
    zone: str,
    words: Mapping[str, str],
    review: Link | None,
) -> Card:
    """Build the card of one micrograph.

    Args:
        seen: The facts.
        gallery: Its pictures.
        zone: Time zone of the site.
        words: Structure code → what it means.
        review: Where it is decided, or None.
    """
    return Card(
        id=seen.id,
        name=seen.name,
        path=seen.path,
        source=seen.source,
        at=local(seen.done_at, zone),
        causes=tuple(iter_causes(seen)),
        answer=build_answer(seen, words),
        field=_field(seen, gallery),
        crop=_crop(seen, gallery),
        maps=tuple(_maps(seen, gallery)),
        nearest=tuple(_nearest(seen, gallery)),
        facts=tuple(iter_facts(seen)),
        warnings=tuple(iter_warnings(seen)),
        decision=build_decision(seen.decision, zone) if seen.decision else None,
        review=review,
    )


def build_row(
    seen: ReportedMicrograph,
    *,
    zone: str,
    thumbnail: Picture | None,
    words: Mapping[str, str],
    href: str = "",
) -> Row:
    """Build the one-line summary of a micrograph."""
    why = ", ".join(reports.reason(word)[0].lower() for word in seen.reasons)
    return Row(
        id=seen.id,
        name=seen.name,
        source=seen.source,
        at=local(seen.done_at, zone),
        code=seen.structure_code or "",
        probability=percent(seen.probability) if seen.probability is not None else "",
        handling=format_handling(seen.handling),
        why=why or words.get(seen.structure_code or "", ""),
        thumbnail=thumbnail,
        href=href,
    )


def format_handling(word: str) -> str:
    """Return a handling in words; an unknown one is returned as it is."""
    return {"automatic": _("automatic"), "review": _("review")}.get(word, word)


def scale_source(word: str) -> str:
    """Return the source of a scale in words; an unknown one is returned as it is."""
    return _(SOURCES_OF_SCALE.get(word, word)) if word else ""


def percent(share: float) -> str:
    """Format a share; never as 100 % or 0 % unless it is exactly that."""
    if 0 < share < 0.005:  # noqa: PLR2004 - rounds to 0
        return "< 1 %"
    if 0.995 <= share < 1:  # noqa: PLR2004 - rounds to 100
        return "> 99 %"
    return f"{share * 100:.0f} %"


def iter_causes(seen: ReportedMicrograph) -> Iterator[Cause]:
    """Yield why a micrograph is flagged, the weightiest reason first, and what to do."""
    for word in seen.reasons:
        title, action = reports.reason(word)
        yield Cause(word, title, _describe_cause(word, seen), action)


def _describe_cause(word: str, seen: ReportedMicrograph) -> str:
    say = _FINDINGS.get(word)
    return say(seen) if say else ""


def _scales(seen: ReportedMicrograph) -> str:
    scales = [
        _("{witness} says {um} µm per pixel").format(witness=scale_source(s), um=decimal(v, ".4g"))
        for s, v in seen.scales
    ]
    return _sentence(", ".join(scales))


def _defects(seen: ReportedMicrograph) -> str:
    defects = [w.partition(":")[2] or w for w in seen.warnings if w.startswith("input_defect")]
    return _sentence(", ".join(reports.retold(f.replace("_", " ").strip()) for f in defects))


def _unexpected(seen: ReportedMicrograph) -> str:
    if seen.ordered:
        return _("Ordered {wanted}, looks like {subtype}: mix-up or heat treatment?").format(
            wanted=_(" or ").join(seen.ordered), subtype=seen.subtype
        )
    return _("{material} came out as {subtype}.").format(
        material=seen.process_data.get("material") or _("The material"), subtype=seen.subtype
    )


def _out_of_scope(seen: ReportedMicrograph) -> str:
    if seen.outside:
        return _sentence(reports.retold(seen.outside))
    if not seen.um_per_px:
        return ""
    return _("The scale is {um} µm per pixel.").format(um=decimal(seen.um_per_px, ".4g"))


def _describe_uncertainty(seen: ReportedMicrograph) -> str:
    ranked = sorted(seen.probabilities.items(), key=lambda item: -item[1])[:2]
    # A two-stage answer has codes of one subtype alone: the subtype may be what is uncertain.
    others = {s: share for s, share in seen.subtype_probabilities.items() if s != seen.subtype}
    rival = max(others, key=others.__getitem__, default="")
    if rival and ranked and others[rival] > ranked[-1][1]:
        ranked[1:] = [(_("subtype {subtype}").format(subtype=rival), others[rival])]
    text = _(" against ").join(f"{code} {percent(share)}" for code, share in ranked)
    return _sentence(text)


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}." if words else ""


def _describe_strangeness(seen: ReportedMicrograph) -> str:
    # The card's title has the same words; elsewhere the sentence has no title.
    lead, colon, rest = seen.strangeness.partition(": ")
    is_repeated = colon and lead.casefold() == reports.REASONS["strange"][0].casefold()
    sentence = reports.retold(rest if is_repeated else seen.strangeness)
    return f"{sentence[:1].upper()}{sentence[1:]}"


_FINDINGS: dict[str, Callable[[ReportedMicrograph], str]] = {
    "strange": _describe_strangeness,
    "uncertain": _describe_uncertainty,
    "scale_conflict": _scales,
    "scale_unknown": lambda _seen: _(
        "Neither metadata nor a readable micron bar says how large a pixel is."
    ),
    "input_defect": _defects,
    "unexpected_subtype": _unexpected,
    "out_of_scope": _out_of_scope,
}


def build_answer(seen: ReportedMicrograph, words: Mapping[str, str]) -> Answer:
    """Return the model's answer in words; its code is "" where there was none."""
    scale_missing = {"scale_unknown", "scale_conflict"} & set(seen.reasons)
    others = [code for code in seen.prediction_set if code != seen.structure_code]
    code = seen.structure_code or ""
    return Answer(
        code=code,
        words=words.get(code, ""),
        probability=percent(seen.probability) if seen.probability is not None else "",
        provisional=_("provisional: the scale is not known") if code and scale_missing else "",
        possible=_(" or ").join(seen.prediction_set) if others else "",
        subtypes=_bars(seen.subtype_probabilities, seen.subtype),
        sizes=_bars(
            seen.size_probabilities,
            seen.size,
            possible={p.removeprefix(seen.subtype or "") for p in seen.prediction_set},
        ),
        size_title=_("Size number in {subtype}").format(subtype=seen.subtype),
        strangeness=_strangeness(seen),
        strange=seen.strange,
    )


def _bars(
    shares: Mapping[str, float], chosen: str | None, possible: set[str] | None = None
) -> tuple[Share, ...]:
    return tuple(
        Share(
            label=label or "–",
            words="",
            percent=round(share * 100, 1),
            text=percent(share),
            chosen=label == chosen,
            possible=label in (possible or ()),
        )
        for label, share in shares.items()
    )


def _strangeness(seen: ReportedMicrograph) -> str:
    if seen.p_value is None:
        return ""
    rare, sentence = f"p = {decimal(seen.p_value, '.2g')}", reports.retold(seen.strangeness)
    return sentence if rare in sentence else f"{sentence} ({rare})".strip()


def _crop(seen: ReportedMicrograph, gallery: Gallery) -> Figure:
    picture = gallery.crop(seen)
    caption = _("The kept rectangle. The box marks the strangest place.")
    return Figure(
        _("What the model saw") if seen.bundle else _("Crop"),
        caption if seen.where else _("The kept rectangle."),
        picture,
        "" if picture else _("not in the archive any more"),
    )


def _field(seen: ReportedMicrograph, gallery: Gallery) -> Figure:
    picture = gallery.field(seen)
    return Figure(
        _("Whole field"),
        _("Inside the outline: what was kept. Darker: cut away."),
        picture,
        "" if picture else _("not in the archive any more"),
    )


def _maps(seen: ReportedMicrograph, gallery: Gallery) -> Iterator[Figure]:
    if not seen.bundle:
        return
    for which, title, caption in list_maps(seen):
        picture, note = gallery.heat(seen, which)
        yield Figure(title, caption, picture, note)


def list_maps(seen: ReportedMicrograph) -> tuple[tuple[str, str, str], ...]:
    """Return the maps of an answered micrograph: which, title, what to check."""
    size = seen.size or ""
    one_size = not size
    return (
        (
            "subtype",
            _("Why subtype {subtype}").format(subtype=seen.subtype),
            _(
                "Orange speaks for {subtype}, violet against it. Carbides and retained austenite "
                "should carry it, not scratches or edges."
            ).format(subtype=seen.subtype),
        ),
        *(
            ()
            if one_size
            else (
                (
                    "size",
                    _("Why size {size}").format(size=size),
                    _(
                        "Orange speaks for size {size}, violet against it. Needles should carry it."
                    ).format(size=size),
                ),
            )
        ),
        (
            "strangeness",
            _("Strangeness"),
            _("Bright is unlike the reference images; the white outline is the alarm level."),
        ),
    )


def _nearest(seen: ReportedMicrograph, gallery: Gallery) -> Iterator[Figure]:
    for code in _candidates(seen):
        for key in seen.nearest.get(code, ())[:NEAREST_PER_CODE]:
            picture = gallery.known(key, code)
            if picture is not None:
                yield Figure(code, _("Known as {code}.").format(code=code), picture)


def _candidates(seen: ReportedMicrograph) -> list[str]:
    """Return the codes to weigh: the answer, the rest of its prediction set, the next probable."""
    ranked = sorted(seen.probabilities, key=lambda code: -seen.probabilities[code])
    ordered = dict.fromkeys(
        (*([seen.structure_code] if seen.structure_code else ()), *seen.prediction_set, *ranked)
    )
    return [code for code in ordered if code in seen.nearest][:NEAREST_CODES]


def iter_facts(seen: ReportedMicrograph) -> Iterator[Fact]:
    """Yield scale, size, crop, process data and what computed the answer."""
    if seen.um_per_px is None:
        yield Fact(_("Scale"), _("unknown"))
    else:
        text = _("{um} µm per pixel, from {witness}")
        um, by = decimal(seen.um_per_px, ".4g"), scale_source(seen.um_per_px_source or "")
        yield Fact(_("Scale"), text.format(um=um, witness=by))
    yield Fact(_("Image"), f"{seen.width} × {seen.height} px{_page(seen)}")
    if seen.crop is not None:
        x0, y0, x1, y1 = seen.crop
        kept = (x1 - x0) * (y1 - y0) / (seen.width * seen.height)
        text = _("{width} × {height} px, {share} of the field")
        yield Fact(_("Kept"), text.format(width=x1 - x0, height=y1 - y0, share=percent(kept)))
    for column, name in PROCESS_NAMES.items():
        if value := seen.process_data.get(column):
            yield Fact(_(name), value)
    if seen.p_value is not None:
        yield Fact(_("Strangeness"), f"p = {decimal(seen.p_value, '.2g')}")
    if seen.bundle:
        yield Fact(_("Bundle"), f"{seen.bundle} ({', '.join(x for x in _engine(seen) if x)})")
    yield Fact(_("File"), seen.path)


def _engine(seen: ReportedMicrograph) -> Sequence[str]:
    return (
        seen.engine,
        seen.precision,
        _("crop recipe {recipe}").format(recipe=seen.recipe) if seen.recipe else "",
    )


def _page(seen: ReportedMicrograph) -> str:
    return _(", page {n}").format(n=seen.page + 1) if seen.page else ""


def iter_warnings(seen: ReportedMicrograph) -> Iterator[str]:
    """Yield the crop's warnings in words; an unknown one is returned as it is."""
    for word in seen.warnings:
        if not word.startswith("input_defect"):
            yield _(WARNINGS.get(word) or _sentence(word.replace("_", " ")))


def format_decision(decision: ReportedDecision) -> str:
    """Return a decision in a few words."""
    if decision.kind == "code":
        return decision.code or ""
    if decision.kind == "strange":
        return _("strange: {kind}").format(kind=reports.strange_kind(decision.strange_kind or ""))
    if decision.kind == "unusable":
        return _("unusable: {why}").format(why=reports.unusable_why(decision.why or ""))
    return _("cannot tell")


def build_decision(decision: ReportedDecision, zone: str) -> Decision:
    """Return a decision with reviewer and time."""
    return Decision(
        text=format_decision(decision),
        by=decision.by,
        at=local(decision.at, zone),
        comment=decision.comment,
        criterion=decision.criterion if decision.criterion != "unrecorded" else "",
        undone=decision.undone,
        unsure=decision.unsure,
    )
