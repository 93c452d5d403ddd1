"""Describe one micrograph in words, and why it needs a reviewer.

Report and review page both use this module, so they agree on a micrograph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import reports
from agent.imaging.crop import locate_specimens
from agent.needles import LongNeedle
from agent.nightly.page.micrograph_rows import build_field_needles
from agent.orders.facts.needle_lengths import describe_calibration
from agent.orders.facts.specimen_facts import PREPARATION_DEFECTS
from agent.orders.specifications.class_texts import ClassTexts
from agent.site_time import local
from agent.store import MicrographView
from agent.triage import is_provisional
from reports import (
    Answer,
    Card,
    Cause,
    Fact,
    FieldNeedles,
    Figure,
    Link,
    Picture,
    Share,
    decimal,
    describe_defect,
    marked,
    percent,
    scale_source,
    shorten_ood_message,
)
from reports import gettext as _

WARNINGS = {
    "scale_conflict": marked("Two sources of the scale differ by more than 5 %."),
    "no_scale": marked("Nothing says how large a pixel is."),
    "bleeding": marked("Bleeding along the border was removed."),
    "surface_layer": marked("Along the border is a decarburised or nitrided rim or a coating."),
    "stain": marked("There is a stain on the specimen; it was kept."),
    "second_material": marked("There is a second material next to the steel."),
    "several_specimens": marked("The field shows several specimens; the largest part was graded."),
    "coating": marked("There is a coating or a second material next to the steel."),
    "scale_out_of_range": marked("A stated scale is not plausible and was not used."),
    "scale_unclear": marked("The metadata state the scale ambiguously; it was not used."),
    "sharpest_plane": marked("Of several focal planes the sharpest was used."),
    "channels_as_rgb": marked("Several channels are shown as one colour image."),
    "first_channel_only": marked("Of several channels only the first was used."),
    "copies_left_out": marked("Smaller copies of the image in the file were not read."),
    "transparency_ignored": marked("Transparency was ignored."),
    "bit_depth_inferred": marked(
        "The number of bits per pixel was inferred from the brightest one."
    ),
    "planes_differ": marked("Other planes or channels show other places; they were not read."),
    "page_without_steel": marked("A page of the file shows no steel and was left out."),
}
SIDES = {
    "left": marked("at the left"),
    "right": marked("at the right"),
    "top": marked("at the top"),
    "bottom": marked("at the bottom"),
}
PROCESS_NAMES = {
    "plant": marked("Plant"),
    "microscope": marked("Microscope"),
    "objective": marked("Objective"),
    "order": marked("Order"),
    "heat": marked("Heat"),
    "batch": marked("Heat-treatment batch"),
    "furnace": marked("Furnace"),
    "specimen": marked("Specimen"),
    "preparation": marked("Preparation"),
    "field": marked("Field"),
    "material": marked("Material"),
    "etchant": marked("Etchant"),
    "magnification": marked("Magnification"),
    "operator": marked("Operator"),
}
PLAIN = ClassTexts()
NEAREST_CODES = 3
NEAREST_PER_CODE = 2


class Gallery(Protocol):
    """Pictures of micrographs: inside the page, or as links."""

    def crop(self, micrograph: MicrographView) -> Picture | None:
        """Return the crop that the model received, its most unusual place marked."""

    def field(self, micrograph: MicrographView) -> Picture | None:
        """Return the whole field, the removed part dark."""

    def heat(self, micrograph: MicrographView, which: str) -> tuple[Picture | None, str]:
        """Return one map over the crop, and a note on it ("" for none).

        Args:
            micrograph: The micrograph.
            which: "subtype", "size" or "strangeness".
        """

    def needle(self, micrograph: MicrographView, needle: LongNeedle) -> Picture | None:
        """Return the part of the crop with one needle, its axis drawn; None without pixels."""

    def known(self, key: str, code: str) -> Picture | None:
        """Return the thumbnail of a reference image, by its training key."""


def build_card(
    micrograph: MicrographView,
    gallery: Gallery,
    *,
    zone: str,
    words: Mapping[str, str],
    review: Link | None,
    texts: ClassTexts,
    needle_limit_um: float | None = None,
    is_brief: bool = False,
) -> Card:
    """Build the card of one micrograph.

    Args:
        micrograph: The facts.
        gallery: Its pictures.
        zone: Time zone of the site.
        words: Structure code → what it means.
        review: Where it is decided, or None.
        texts: What the lab's taxonomy says of its classes.
        needle_limit_um: A limit of L90 that its order has to keep, or None.
        is_brief: The crop is the only picture.
    """
    return Card(
        id=micrograph.id,
        name=micrograph.name,
        path=micrograph.path,
        source=micrograph.source,
        at=local(micrograph.result.done_at, zone),
        causes=tuple(iter_causes(micrograph)),
        answer=build_answer(micrograph, words),
        field=None if is_brief else _field(micrograph, gallery),
        crop=_crop(micrograph, gallery),
        maps=() if is_brief else tuple(_maps(micrograph, gallery, texts)),
        nearest=() if is_brief else tuple(_nearest(micrograph, gallery)),
        facts=tuple(iter_facts(micrograph)),
        warnings=tuple(iter_warnings(micrograph)),
        decision=micrograph.label,
        review=review,
        needles=None if is_brief else _needles(micrograph, gallery, needle_limit_um),
    )


def iter_causes(micrograph: MicrographView) -> Iterator[Cause]:
    """Yield why a micrograph is flagged, the weightiest reason first, and what to do."""
    for word in micrograph.result.reasons:
        title, action = reports.reason(word)
        if word == "input_defect" and micrograph.result.strangeness.is_flagged:
            # What etching or polishing shall be is known of the reference images' kind only.
            if not _list_defects(micrograph):
                continue
            action = _("Shoot again; mark it unusable with U if it cannot be read.")
        yield Cause(word, title, _describe_cause(word, micrograph), action)


def _describe_cause(word: str, micrograph: MicrographView) -> str:
    say = _FINDINGS.get(word)
    return say(micrograph) if say else ""


def _scales(micrograph: MicrographView) -> str:
    scales = [
        _("{witness} says {um} µm per pixel").format(witness=scale_source(s), um=decimal(v, ".4g"))
        for s, v in micrograph.crop_facts.scales
    ]
    return _sentence(", ".join(scales))


def _defects(micrograph: MicrographView) -> str:
    defects = _list_defects(micrograph)
    return _sentence(", ".join(map(describe_defect, defects)))


def _list_defects(micrograph: MicrographView) -> list[str]:
    """Return the defects; of an unusual field only those of the image, not of the preparation."""
    strangeness = micrograph.result.strangeness
    return [
        defect
        for defect in strangeness.defects
        if not (strangeness.is_flagged and _get_defect_name(defect) in PREPARATION_DEFECTS)
    ]


def _get_defect_name(defect: str) -> str:
    """Return the identifier of a defect: "over_etched" of "over-etched: re-polish and re-etch"."""
    return defect.partition(":")[0].strip().replace("-", "_").replace(" ", "_")


def _unexpected(micrograph: MicrographView) -> str:
    result = micrograph.result
    if result.subtype is None:  # hidden
        return ""
    if result.ordered:
        return _("Ordered {wanted}, looks like {subtype}: mix-up or heat treatment?").format(
            wanted=_(" or ").join(result.ordered), subtype=result.subtype
        )
    return _("{material} came out as {subtype}.").format(
        material=micrograph.process_data.get("material") or _("The material"),
        subtype=result.subtype,
    )


def _out_of_scope(micrograph: MicrographView) -> str:
    if outside := str(micrograph.result.outside):
        return _sentence(outside)
    if not micrograph.um_per_px:
        return ""
    return _("The scale is {um} µm per pixel.").format(um=decimal(micrograph.um_per_px, ".4g"))


def _describe_needles(micrograph: MicrographView) -> str:
    return _sentence(str(micrograph.result.needles_conflict or ""))


def _describe_uncertainty(micrograph: MicrographView) -> str:
    result = micrograph.result
    ranked = sorted(result.probabilities.items(), key=lambda item: -item[1])[:2]
    # A two-stage answer has codes of one subtype alone: the subtype may be what is uncertain.
    others = {s: share for s, share in result.subtype_probabilities.items() if s != result.subtype}
    rival = max(others, key=others.__getitem__, default="")
    if rival and ranked and others[rival] > ranked[-1][1]:
        ranked[1:] = [(_("subtype {subtype}").format(subtype=rival), others[rival])]
    text = _(" against ").join(f"{code} {percent(share)}" for code, share in ranked)
    return _sentence(text)


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}." if words else ""


def _describe_strangeness(micrograph: MicrographView) -> str:
    # The card's title has the same words; elsewhere the sentence has no title.
    sentence = str(shorten_ood_message(micrograph.result.strangeness.message))
    return _with_provisional(f"{sentence[:1].upper()}{sentence[1:]}", micrograph)


def _with_provisional(sentence: str, micrograph: MicrographView) -> str:
    if not sentence or not is_provisional(micrograph.result.reasons):
        return sentence
    return _with(sentence, _("Provisional: the scale is not known."))


_FINDINGS: dict[str, Callable[[MicrographView], str]] = {
    "strange": _describe_strangeness,
    "uncertain": _describe_uncertainty,
    "scale_conflict": _scales,
    "scale_unknown": lambda _seen: _(
        "Neither metadata nor a readable scale bar says how large a pixel is."
    ),
    "input_defect": _defects,
    "unexpected_subtype": _unexpected,
    "out_of_scope": _out_of_scope,
    "needles_disagree": _describe_needles,
}


def build_answer(micrograph: MicrographView, words: Mapping[str, str]) -> Answer:
    """Return the model's answer in words; its code is "" where there was none."""
    result = micrograph.result
    others = [code for code in result.prediction_set if code != result.structure_code]
    code = result.structure_code or ""
    return Answer(
        code=code,
        words=_("hidden until you decide") if result.bundle and not code else words.get(code, ""),
        probability=percent(result.probability) if result.probability is not None else "",
        provisional=_("provisional: the scale is not known")
        if code and is_provisional(result.reasons)
        else "",
        possible=_(" or ").join(result.prediction_set) if others else "",
        subtypes=_bars(result.subtype_probabilities, result.subtype),
        sizes=_bars(
            result.size_probabilities,
            result.size,
            possible={
                code.removeprefix(result.subtype or "").strip() for code in result.prediction_set
            },
        )
        if result.size
        else (),
        size_title=_("Size in {subtype}").format(subtype=result.subtype),
        strangeness=_strangeness(micrograph),
        strange=result.strangeness.is_flagged,
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


def _strangeness(micrograph: MicrographView) -> str:
    result = micrograph.result
    if result.strangeness.p_value is None:
        return ""
    rare, sentence = (
        f"p = {decimal(result.strangeness.p_value, '.2g')}",
        str(result.strangeness.message),
    )
    stated = sentence if rare in sentence else f"{sentence} ({rare})".strip()
    return _with_provisional(stated, micrograph)


def _crop(micrograph: MicrographView, gallery: Gallery) -> Figure:
    picture = gallery.crop(micrograph)
    caption = _("The kept rectangle. The box marks the most unusual place.")
    return Figure(
        _("What the model saw") if micrograph.result.bundle else _("Crop"),
        caption if micrograph.result.strangeness.where else _("The kept rectangle."),
        picture,
        "" if picture else _("not in the archive any more"),
    )


def _field(micrograph: MicrographView, gallery: Gallery) -> Figure:
    picture = gallery.field(micrograph)
    return Figure(
        _("Whole field"),
        _("Inside the outline: kept. Darker: removed."),
        picture,
        "" if picture else _("not in the archive any more"),
    )


def _needles(
    micrograph: MicrographView, gallery: Gallery, limit_um: float | None
) -> FieldNeedles | None:
    if micrograph.needles is None:
        return None
    return build_field_needles(
        micrograph.needles,
        lambda needle: gallery.needle(micrograph, needle),
        status=describe_calibration(micrograph.needles.calibration),
        limit_um=limit_um,
    )


def _maps(micrograph: MicrographView, gallery: Gallery, texts: ClassTexts) -> Iterator[Figure]:
    if not micrograph.result.bundle or micrograph.result.subtype is None:
        return
    for which, title, caption in list_maps(micrograph, texts):
        picture, note = gallery.heat(micrograph, which)
        yield Figure(title, caption, picture, note)


def list_maps(
    micrograph: MicrographView, texts: ClassTexts = PLAIN
) -> tuple[tuple[str, str, str], ...]:
    """Return which maps a judged micrograph has: which, title, what to look for."""
    result = micrograph.result
    subtype, size, code = (
        result.subtype or "",
        result.size or "",
        result.structure_code or "",
    )
    speaks = _("Orange speaks for {what}, violet against it.")
    scratches = _("Scratches and edges should not carry it.")
    maps = [
        (
            "subtype",
            _("Why subtype {subtype}").format(subtype=subtype),
            _with(speaks.format(what=subtype), texts.clues.get(subtype) or scratches),
        )
    ]
    if size:
        caption = speaks.format(what=_("size {size}").format(size=size))
        why = _("Why size {size}").format(size=size)
        maps.append(("size", why, _with(caption, texts.clues.get(code, ""))))
    unlike = _("Bright is unlike the reference images; the white outline is the alarm level.")
    return (*maps, ("strangeness", _("Unusual"), unlike))


def _with(sentence: str, more: str) -> str:
    return f"{sentence} {more}".strip()


def _nearest(micrograph: MicrographView, gallery: Gallery) -> Iterator[Figure]:
    for code in _candidates(micrograph):
        for key in micrograph.result.strangeness.nearest.get(code, ())[:NEAREST_PER_CODE]:
            picture = gallery.known(key, code)
            if picture is not None:
                yield Figure(code, _("Known as {code}.").format(code=code), picture)


def _candidates(micrograph: MicrographView) -> list[str]:
    """Return the codes to weigh: the answer, the rest of its prediction set, the next probable."""
    result = micrograph.result
    ranked = sorted(result.probabilities, key=lambda code: -result.probabilities[code])
    ordered = dict.fromkeys(
        (
            *([result.structure_code] if result.structure_code else ()),
            *result.prediction_set,
            *ranked,
        )
    )
    return [code for code in ordered if code in result.strangeness.nearest][:NEAREST_CODES]


def iter_facts(micrograph: MicrographView) -> Iterator[Fact]:
    """Yield scale, size, crop, process data and what computed the answer."""
    result = micrograph.result
    if micrograph.um_per_px is None:
        yield Fact(_("Scale"), _("unknown"))
    else:
        text = _("{um} µm per pixel, from {witness}")
        um, by = (
            decimal(micrograph.um_per_px, ".4g"),
            scale_source(micrograph.um_per_px_source or ""),
        )
        yield Fact(_("Scale"), text.format(um=um, witness=by))
    yield Fact(_("Image"), f"{micrograph.width} × {micrograph.height} px{_page(micrograph)}")
    if micrograph.crop is not None:
        x0, y0, x1, y1 = micrograph.crop
        kept = (x1 - x0) * (y1 - y0) / (micrograph.width * micrograph.height)
        text = _("{width} × {height} px, {share} of the field")
        yield Fact(_("Kept"), text.format(width=x1 - x0, height=y1 - y0, share=percent(kept)))
    process_data = {**micrograph.process_extra, **micrograph.process_data}
    for column, name in PROCESS_NAMES.items():
        if value := process_data.get(column):
            yield Fact(_(name), value)
    if result.strangeness.p_value is not None:
        yield Fact(_("Unusual"), f"p = {decimal(result.strangeness.p_value, '.2g')}")
    if result.bundle:
        yield Fact(
            _("Bundle"), f"{result.bundle} ({', '.join(x for x in _engine(micrograph) if x)})"
        )
    yield Fact(_("File"), micrograph.path)


def _engine(micrograph: MicrographView) -> Sequence[str]:
    return (
        micrograph.result.engine,
        micrograph.result.precision,
        _("crop recipe {recipe}").format(recipe=micrograph.recipe) if micrograph.recipe else "",
    )


def _page(micrograph: MicrographView) -> str:
    return _(", page {n}").format(n=micrograph.page + 1) if micrograph.page else ""


def iter_warnings(micrograph: MicrographView) -> Iterator[str]:
    """Yield the crop's warnings in words; an unknown one is returned as it is."""
    yield from describe_warnings(
        micrograph.warnings, micrograph.crop_facts.document, micrograph.width, micrograph.height
    )


def describe_warnings(
    warnings: Sequence[str], crop: Mapping[str, Any], width: int, height: int
) -> Iterator[str]:
    """Yield warnings in words, and of several specimens where each is and how large.

    Args:
        warnings: Stable words; an unknown one is returned as it is.
        crop: The crop as `agent.imaging.crop.crop_to_json` returned it, or {}.
        width: Of the field, pixels.
        height: Of the field, pixels.
    """
    for word in warnings:
        yield _(WARNINGS.get(word) or _sentence(word.replace("_", " ")))
        area: Mapping[str, Any] = crop.get("specimen_area") or {}
        zone = area.get("zone")
        if word in {"bleeding", "surface_layer"} and zone:
            yield _(
                "The {depth} px next to the border differ from the steel behind them by "
                "{spreads} times the field's own spread."
            ).format(depth=zone["depth_px"], spreads=decimal(zone["spreads"], ".1f"))
        if word == "several_specimens" and area.get("others"):
            outlines = [area["polygon"], *area["others"]]
            text = _("{side}, {share} of the field")
            graded, *others = (
                text.format(side=_(SIDES[side]), share=percent(share))
                for side, share in locate_specimens(outlines, width, height)
            )
            yield _("Graded: {graded}. Not graded: {others}.").format(
                graded=graded, others="; ".join(others)
            )
