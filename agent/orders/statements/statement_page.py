"""Build what a reader sees of a statement, from its frozen document alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import reports
from agent.orders.facts.specimen_facts import Conformity
from agent.orders.judge.limit import format_limit
from agent.orders.statements.statement_evidence import (
    build_evidence_sections,
    format_at,
    format_date,
    name_fields,
    yes_or_no,
)
from agent.orders.statements.trace_page import TONES
from reports import DocumentSection, Fact, StatementPage, StatementPicture, Table, decimal, ngettext
from reports import gettext as _

Thumbnail = Callable[[Mapping[str, Any]], tuple[bytes, int, int] | None]

SHORT_HASH = 16


def build_statement_page(
    whole: Mapping[str, Any], sha256: str, thumbnail: Thumbnail, *, is_brief: bool = False
) -> StatementPage:
    """Build the page in the language that is spoken.

    Args:
        whole: The frozen document.
        sha256: Its hash.
        thumbnail: Returns JPEG, width and height of a field's picture, or None where there is none.
        is_brief: Leave out hashes of pixels, evidence and history, as a customer's report does.
    """
    order, words = whole["document"], _words(whole)
    zone = ZoneInfo(whole["zone"])
    word = Conformity(whole["conformity"])
    at = format_at(datetime.fromisoformat(whole["at"]), zone)
    return StatementPage(
        site=whole["site"],
        title=_("Statement of conformity, order {number}").format(number=whole["order"]),
        number=_("Statement {n}").format(n=whole["number"]),
        word=_("The order {word}").format(word=word.words)
        if word in (Conformity.CONFORMS, Conformity.DOES_NOT_CONFORM)
        else word.words[:1].upper() + word.words[1:],
        tone=TONES[word],
        demand=_("demanded: {what}").format(what=words["demand"]) if words["demand"] else "",
        sentences=(*words["because"], *words["missing"]),
        facts=tuple(_head(whole, order, zone)),
        sections=(
            _result(order, words),
            _rule(words),
            _specification(whole, zone),
            *_needles(whole, words, is_brief=is_brief),
            _fields(whole, zone, thumbnail, is_brief=is_brief),
            *(
                ()
                if is_brief
                else (*build_evidence_sections(whole, zone), _history(whole, words, zone))
            ),
            _proof(whole, sha256, is_brief=is_brief),
        ),
        generated=at,
        sha256=sha256,
        footer=_("{site}, order {order}, statement {n}, {at} ({zone}), {software}").format(
            site=whole["site"],
            order=whole["order"],
            n=whole["number"],
            at=at,
            zone=whole["zone"],
            software=whole["software"],
        ),
    )


def _words(whole: Mapping[str, Any]) -> Mapping[str, Any]:
    words: Mapping[str, Any] = whole["words"].get(reports.language()) or whole["words"]["en"]
    return words


def _facts(values: Mapping[str, Any]) -> Iterator[Fact]:
    yield from (Fact(name, str(value)) for name, value in values.items() if value)


def _head(whole: Mapping[str, Any], order: Mapping[str, Any], zone: ZoneInfo) -> Iterator[Fact]:
    specimens = order["specimens"]
    taken = sorted(field["taken_at"] for field in whole["fields"] if field["taken_at"])
    ends = dict.fromkeys(format_date(time, zone) for time in (taken[:1] + taken[-1:]))
    yield from _facts(
        {
            _("Order"): whole["order"],
            _("Customer"): order["customer"],
            _("Product"): order["product"],
            _("Material"): order["material"],
            _("Heat"): ", ".join(
                sorted({specimen["heat"] for specimen in specimens if specimen["heat"]})
            ),
            _("Batch"): ", ".join(
                sorted({specimen["batch"] for specimen in specimens if specimen["batch"]})
            ),
            _("Released"): whole["released_at"] and format_date(whole["released_at"], zone),
            _("Micrographs taken"): " – ".join(ends),
            _("Replaces"): whole["previous"]
            and _("statement {n}, SHA-256 {hash}…").format(
                n=whole["number"] - 1, hash=whole["previous"][:SHORT_HASH]
            ),
        }
    )


def _result(order: Mapping[str, Any], words: Mapping[str, Any]) -> DocumentSection:
    rows = tuple(
        (
            specimen["specimen"],
            Conformity(specimen["conformity"]).words,
            specimen["preparation"],
            ngettext("{n} field", "{n} fields", len(specimen["fields"])).format(
                n=len(specimen["fields"])
            ),
            specimen["heat"],
            specimen["batch"],
        )
        for specimen in order["specimens"]
    )
    sentences = words["specimens"]
    lines = [
        _("Specimen {name}: {said}").format(name=name, said=sentence)
        for name, value in sentences.items()
        for sentence in value["notes"]
    ]
    columns = (
        _("Specimen"),
        _("Conformity"),
        _("Preparation"),
        _("Fields that count"),
        _("Heat"),
        _("Batch"),
    )
    return DocumentSection(
        title=_("Result per specimen"),
        lines=(*lines, *words["notes"]),
        tables=(Table("", columns, rows),),
    )


def _rule(words: Mapping[str, Any]) -> DocumentSection:
    lines = tuple(f"{line[:1].upper()}{line[1:]}." for line in words["decision_rule"])
    return DocumentSection(_("Decision rule"), lines)


def _specification(whole: Mapping[str, Any], zone: ZoneInfo) -> DocumentSection:
    wanted, method, words = whole["specification"], whole["method"], _words(whole)
    if not wanted:
        return DocumentSection(_("Specification and method"), (_("No specification applies."),))
    entry, recorded = wanted["entry"], method["recorded"]
    risk = method["max_false_conform"]
    area, scale = entry.get("area_mm2"), entry.get("um_per_px")
    return DocumentSection(
        _("Specification and method"),
        facts=tuple(
            _facts(
                {
                    _("Specification"): _("{name}, version {n}").format(
                        name=wanted["name"], n=wanted["version"] or "–"
                    ),
                    _("Valid from"): format_date(entry["valid_from"], None),
                    _("Approved by"): entry["approved_by"],
                    _("Recorded"): recorded
                    and _("{at} by {who}").format(
                        at=format_at(datetime.fromisoformat(recorded["at"]), zone),
                        who=recorded["by"],
                    ),
                    _("Limit"): words["demand"],
                    _("Fields per specimen"): entry["fields"],
                    _("Area per specimen"): area and f"{decimal(area, 'g')} mm²",
                    _("Scale"): scale
                    and _("{low} to {high} µm per pixel").format(
                        low=decimal(scale[0], "g"), high=decimal(scale[1], "g")
                    ),
                    _("Chart"): method["chart"],
                    _("Standard"): method["standard"],
                    _("Specimen rule"): _RULES[method["specimen_rule"]](),
                    _("Cropping recipe"): ", ".join(
                        sorted({field["recipe"] for field in whole["fields"] if field["recipe"]})
                    ),
                    _("Etchant"): ", ".join(
                        sorted(
                            {field["process_data"].get("etchant", "") for field in whole["fields"]}
                            - {""}
                        )
                    ),
                    _("Taxonomy"): method["taxonomy"]["name"],
                    _("Hash of the entry"): wanted["sha256"],
                    _("The entry as recorded"): ", ".join(
                        f"{key}: {value}" for key, value in entry.items()
                    ),
                    _('Highest risk of a false "conforms" for the model alone'): decimal(
                        100 * risk, "g"
                    )
                    + " %",
                    _("Second reviewer at the limit"): yes_or_no(
                        is_so=method["second_look_at_limit"]
                    ),
                }
            )
        ),
        lines=(
            _("A structure code names a subtype and, where it has sizes, a size."),
            *([words["scale"]] if words.get("scale") else ()),
            *(f"{code}: {title}." for code, title in words.get("codes", {}).items()),
        ),
    )


def _needles(
    whole: Mapping[str, Any], words: Mapping[str, Any], *, is_brief: bool
) -> Iterator[DocumentSection]:
    """Yield the needle lengths, a trial; for a customer only where a specification limits them."""
    lines = words.get("needles") or ()
    entry = (whole["specification"] or {}).get("entry", {})
    is_limited = any(entry.get(name) for name in ("needle_limit", "longest_in_mm2"))
    if lines and (is_limited or not is_brief):
        note = _("Apparent lengths in the section, weighted by area. They make no order conform.")
        yield DocumentSection(_("Needle lengths"), lines=(*lines, note))


_RULES: Mapping[str, Callable[[], str]] = {
    "worst_field": lambda: _("every field has to keep the limit"),
    "mean_of_fields": lambda: _("the mean of the fields has to keep the limit"),
}


# --- fields -------------------------------------------------------------------------------------


def _fields(
    whole: Mapping[str, Any], zone: ZoneInfo, thumbnail: Thumbnail, *, is_brief: bool
) -> DocumentSection:
    names = name_fields(whole)
    columns = (
        _("Specimen/field"),
        _("Code"),
        _("Held against"),
        _("Stated by"),
        _("µm per pixel"),
        _("Area (mm²)"),
        _("Source"),
        _("Taken"),
        _("Micrograph"),
    )
    rows = tuple(_row(field, names, zone) for field in whole["fields"])
    return DocumentSection(
        _("Fields"),
        tables=(Table("", columns, rows), *(() if is_brief else (_pixels(whole),))),
        pictures=tuple(
            picture
            for field in whole["fields"]
            if (picture := _picture(field, names, thumbnail)) is not None
        ),
    )


def _pixels(whole: Mapping[str, Any]) -> Table:
    """Build the table of files and crops: which pixels were judged."""
    names = name_fields(whole)
    columns = (
        _("Specimen/field"),
        _("File"),
        _("SHA-256 of the file"),
        _("Crop (pixels)"),
        _("SHA-256 of the crop"),
    )
    rows = tuple(
        (
            names[field["id"]],
            field["file"].replace("\\", "/").rsplit("/", 1)[-1],
            field["sha256"],
            _("{x0}, {y0} to {x1}, {y1} of {width} × {height}").format(
                **dict(zip(("x0", "y0", "x1", "y1"), field["crop"], strict=True)),
                width=field["size_px"][0],
                height=field["size_px"][1],
            )
            if field["crop"]
            else "–",
            field["files"].get("crop", "–"),
        )
        for field in whole["fields"]
    )
    return Table(_("Files and crops"), columns, rows)


def _row(field: Mapping[str, Any], names: Mapping[str, str], zone: ZoneInfo) -> tuple[str, ...]:
    scale, area = field["um_per_px"], field["area_mm2"]
    return (
        _name(field, names),
        _code(field),
        format_limit(limit) if (limit := field.get("limit")) else _("no limit"),
        _author(field),
        _("{scale}, from {source}").format(
            scale=decimal(scale, ".4g"), source=reports.scale_source(field["um_per_px_source"])
        )
        if scale
        else "–",
        decimal(area, ".4f") if area else "–",
        field["source"],
        format_at(datetime.fromisoformat(field["taken_at"] or field["judged_at"]), zone),
        field["id"],
    )


def _name(field: Mapping[str, Any], names: Mapping[str, str]) -> str:
    name = names[field["id"]]
    return f"({name})" if field["superseded"] else name


def _code(field: Mapping[str, Any]) -> str:
    decided = field["decided"]
    if decided is None:
        return field["structure_code"] or "–"
    if decided["kind"] == "code":
        return str(decided["said"])
    from_word = {"strange": reports.strange_kind, "unusable": reports.unusable_why}
    word = from_word.get(decided["kind"])
    return word(decided["said"]) if word else _("cannot tell")


def _author(field: Mapping[str, Any]) -> str:
    if field["superseded"]:
        return _("set aside")
    if field["decided"]:
        return str(field["decided"]["by"])
    return _("open, awaits review") if field["awaits_review"] else _("the model alone")


def _picture(
    field: Mapping[str, Any], names: Mapping[str, str], thumbnail: Thumbnail
) -> StatementPicture | None:
    picture = thumbnail(field)
    if picture is None:
        return None
    jpeg, width, height = picture
    return StatementPicture(
        jpeg=jpeg,
        width=width,
        height=height,
        title=f"{_name(field, names)}: {_code(field)}",
        caption=f"{_author(field)} · {field['id']}",
        gone=bool(field["superseded"]),
    )


# --- what came before, and how to check it ------------------------------------------------------


def _history(whole: Mapping[str, Any], words: Mapping[str, Any], zone: ZoneInfo) -> DocumentSection:
    if not whole["previous"]:
        return DocumentSection("")
    rows = tuple(
        (
            format_at(datetime.fromisoformat(act["at"]), zone),
            act["by"],
            reports.act_name(act["act"]),
            act["subject"],
            act["reason"] or "",
        )
        for act in whole["cause"]
    )
    columns = (_("At"), _("By"), _("Act"), _("About"), _("Reason"))
    return DocumentSection(
        _("What changed since statement {n}").format(n=whole["number"] - 1),
        lines=tuple(f"{line[:1].upper()}{line[1:]}." for line in words["changed"]),
        tables=(Table(_("Acts since then"), columns, rows),),
    )


def _proof(whole: Mapping[str, Any], sha256: str, *, is_brief: bool) -> DocumentSection:
    number, head = whole["trail"]["number"], whole["trail"]["sha256"]
    return DocumentSection(
        _("How to check this statement"),
        lines=(
            _(
                "The PDF of this report has the attached file statement.json, which holds this "
                "statement whole. Its SHA-256 has to be the one below, and the laboratory's audit "
                "log holds the same."
            )
            if is_brief
            else _(
                "The attached file statement.json holds this statement whole. Its SHA-256 has to "
                "be the one below, and the laboratory's audit log holds the same."
            ),
        ),
        facts=tuple(
            _facts(
                {
                    _("SHA-256"): sha256,
                    _("Audit log"): _("after row {n}, {hash}").format(n=number, hash=head),
                    _("Software"): whole["software"],
                    _("Pictures"): ""
                    if is_brief
                    else _(
                        "thumbnails of at most 320 pixels; the SHA-256 of each full crop is in "
                        "statement.json"
                    ),
                }
            )
        ),
    )
