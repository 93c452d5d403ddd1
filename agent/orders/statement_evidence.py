"""Build the parts of a statement's page that prove it: scales, people, models, checks."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import reports
from agent.orders.statement_words import format_at, format_date, name_fields, yes_or_no
from reports import StatementSection, Table, decimal
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from zoneinfo import ZoneInfo


def build_evidence_sections(
    whole: Mapping[str, Any], zone: ZoneInfo
) -> tuple[StatementSection, ...]:
    """Build them from the frozen document; what it does not hold is an empty section."""
    return (
        _set_aside(whole),
        _scales(whole, zone),
        _reviewers(whole, zone),
        _models(whole, zone),
        _checks(whole, zone),
    )


def _scales(whole: Mapping[str, Any], zone: ZoneInfo) -> StatementSection:
    names = name_fields(whole)
    certificates: dict[int, Mapping[str, Any]] = {}
    fields: dict[int, list[str]] = {}
    for one in whole["fields"]:
        if found := one["scale_certificate"]:
            certificates[found["record"]] = found
            fields.setdefault(found["record"], []).append(names[one["id"]])
    untraced = [names[one["id"]] for one in whole["fields"] if not one["scale_certificate"]]
    columns = (
        _("Record"),
        _("Measured"),
        _("By"),
        _("Certificate"),
        _("Objective"),
        _("µm per pixel"),
        _("Uncertainty (k = 2)"),
        _("Fields"),
    )
    rows = tuple(
        (
            str(record),
            format_date(one["at"], zone),
            one["by"],
            one["certificate"] or "–",
            one["objective"] or "–",
            decimal(one["um_per_px"], ".4g"),
            "±" + decimal(one["uncertainty"] * 100, ".2g") + " %" if one["uncertainty"] else "–",
            ", ".join(fields[record]),
        )
        for record, one in certificates.items()
    )
    lines = [
        _("Not traced to a stage micrometer: {fields}.").format(fields=", ".join(untraced))
    ] * bool(untraced)
    lines += [
        _("{field}: the scale was given by {who} (record {record}), not by its file.").format(
            field=names[one["id"]],
            who=_(" and ").join(one["scale_given"]["by"]),
            record=one["scale_given"]["record"],
        )
        for one in whole["fields"]
        if one.get("scale_given")
    ]
    return StatementSection(
        _("Scale"), tuple(lines), tables=(Table(_("Stage micrometer"), columns, rows),)
    )


# --- people -------------------------------------------------------------------------------------


def _reviewers(whole: Mapping[str, Any], zone: ZoneInfo) -> StatementSection:
    people = tuple(
        (
            one["name"],
            _("lead") if one["lead"] else _("reviewer"),
            str(one["labels"]),
            str(one["taken_back"]),
        )
        for one in whole["people"]
    )
    names = name_fields(whole)
    labels = tuple(
        (names[one["id"]], *_label(label, zone))
        for one in whole["fields"]
        for label in one["decisions"]
    )
    return StatementSection(
        _("Reviewers and their decisions"),
        tables=(
            Table("", (_("Name"), _("Role"), _("Decisions"), _("Taken back")), people),
            Table(
                _("Each decision"),
                (_("Field"), _("At"), _("By"), _("Decision"), _("Criterion"), _("Remark")),
                labels,
            ),
        ),
    )


def _label(label: Mapping[str, Any], zone: ZoneInfo) -> tuple[str, ...]:
    remarks = (
        _("without having seen the answer") if label["blind"] else "",
        _("not sure") if label["unsure"] else "",
        label["comment"],
        _("taken back by {who}").format(who=label["taken_back_by"] or label["by"])
        if label["taken_back"]
        else "",
    )
    return (
        format_at(datetime.fromisoformat(label["at"]), zone),
        label["by"],
        _decision(label),
        {"mean": _("mean"), "max": _("max")}.get(label["criterion"], "–"),
        "; ".join(filter(None, remarks)),
    )


def _decision(label: Mapping[str, Any]) -> str:
    said = str(label["said"] or "")
    if label["kind"] == "strange":
        return reports.strange_kind(said)
    if label["kind"] == "unusable":
        return reports.unusable_why(said)
    return said if label["kind"] == "code" else _("cannot tell")


def _set_aside(whole: Mapping[str, Any]) -> StatementSection:
    columns = (_("What"), _("Code"), _("By"), _("Reason"), _("Defect"), _("Lead"))
    return StatementSection(_("Set aside"), tables=(Table("", columns, tuple(_aside_rows(whole))),))


def _aside_rows(whole: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    names = {
        "field": _("field {name}"),
        "file": _("file {name}"),
        "claim": _("micrograph {name}, named for another place"),
    }
    for one in whole["set_aside"]:
        defect = one.get("defect")
        lead = one.get("lead")
        yield (
            names[one["what"]].format(name=one.get("field") or one["name"]),
            one.get("code") or "–",
            one["by"] or "–",
            reports.retold(one["reason"]),
            reports.unusable_why(defect) if defect else "–",
            "–" if lead is None else yes_or_no(is_so=bool(lead)),
        )


# --- machines -----------------------------------------------------------------------------------


def _models(whole: Mapping[str, Any], zone: ZoneInfo) -> StatementSection:
    bundles = tuple(_bundle_rows(whole))
    permissions = tuple(
        (
            one["by"],
            one["since"] and format_at(datetime.fromisoformat(one["since"]), zone),
            _limit(one["limit"]),
            _("{wrong} of {n} called conforming falsely").format(
                wrong=one["wrong"], n=one["specimens"]
            ),
            "–"
            if one["false_conform_upper95"] is None
            else decimal(one["false_conform_upper95"], ".2%"),
            _record(one["validation"], zone),
        )
        for one in whole["permissions"]
    )
    automatic = any(one["decided"] is None and not one["superseded"] for one in whole["fields"])
    lines = () if automatic else (_("No field rests on the model alone."),)
    return StatementSection(
        _("Model"),
        lines=lines if whole["fields"] else (),
        tables=(
            Table(
                "",
                (
                    _("Bundle"),
                    _("Hash of its manifest"),
                    _("Computed by"),
                    _("Recipe"),
                    _("Thresholds"),
                ),
                bundles,
            ),
            Table(
                _("Permissions for fields that rest on the model alone"),
                (
                    _("Lead"),
                    _("Since"),
                    _("Limit"),
                    _("Validation"),
                    _("95 % upper bound"),
                    _("Record"),
                ),
                permissions,
            ),
        ),
    )


def _limit(text: str) -> str:
    """Return "G 8 or finer" in the language that is spoken."""
    subtype, _space, rest = text.partition(" ")
    return f"{subtype} {reports.retold(rest)}".rstrip()


def _bundle_rows(whole: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, known in whole["bundles"].items():
        own = [one for one in whole["fields"] if one["bundle"] == name]
        engines = sorted({f"{one['engine']} {one['precision']}".strip() for one in own} - {""})
        thresholds = {
            f"{key} {decimal(value, 'g')}"
            for one in own
            for key, value in one["thresholds"].items()
            if isinstance(value, int | float)
        }
        yield (
            name,
            str(known.get("sha256") or "–"),
            ", ".join(engines) or "–",
            ", ".join(sorted({one["recipe"] for one in own} - {""})) or "–",
            ", ".join(sorted(thresholds)).replace("_", " ") or "–",
        )


def _record(found: Mapping[str, Any] | None, zone: ZoneInfo) -> str:
    if not found:
        return "–"
    return _("record {n} of {day} by {who}").format(
        n=found["record"], day=format_date(found["at"], zone), who=found["by"]
    )


def _checks(whole: Mapping[str, Any], zone: ZoneInfo) -> StatementSection:
    rows = tuple(
        (
            format_at(datetime.fromisoformat(one["at"]), zone),
            str(one["on"]),
            _("good") if one["passed"] else _("failed"),
            str(len(one["findings"])),
            str(one["bundle"] or "–"),
            str(one["software"] or "–"),
            str(one["record"]),
        )
        for one in whole["control_checks"]
    )
    columns = (
        _("At"),
        _("On"),
        _("Result"),
        _("Reference images"),
        _("Bundle"),
        _("Software"),
        _("Record"),
    )
    names = name_fields(whole)
    held = [f"{names[one['id']]}: {one['held']}" for one in whole["fields"] if one["held"]]
    none = [_("None is on record for these days.")] * (not rows)
    return StatementSection(
        _("Control checks of the days on which the fields were judged"),
        lines=(*none, *held),
        tables=(Table("", columns, rows),),
    )
