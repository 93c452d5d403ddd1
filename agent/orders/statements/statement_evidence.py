"""Build the parts of a statement's page that prove it: scales, reviewers, models, checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import reports
from agent.orders.judge.limit import format_limit
from reports import DocumentSection, Table, decimal, statement_date, statement_time
from reports import gettext as _


def format_at(at: datetime, zone: ZoneInfo) -> str:
    """Return an instant in a zone, with its year and minute."""
    return statement_time(at.astimezone(zone))


def format_date(text: str, zone: ZoneInfo | None) -> str:
    """Return the day of an ISO 8601 text: of an instant in a zone, or a day as it is."""
    if zone is None:
        return statement_date(date.fromisoformat(text))
    return statement_date(datetime.fromisoformat(text).astimezone(zone).date())


def name_fields(whole: Mapping[str, Any]) -> dict[str, str]:
    """Return public id → specimen and number of each field, such as "01/4"."""
    specimens = {
        field["id"]: specimen["specimen"]
        for specimen in whole["document"]["specimens"]
        for field in (*specimen["fields"], *specimen["superseded"])
    }
    return {
        field["id"]: f"{specimens.get(field['id'], '–')}/{field['field'] or '–'}"
        for field in whole["fields"]
    }


def yes_or_no(*, is_so: bool) -> str:
    """Return yes or no."""
    return _("yes") if is_so else _("no")


def build_evidence_sections(
    whole: Mapping[str, Any], zone: ZoneInfo
) -> tuple[DocumentSection, ...]:
    """Build them from the frozen document; what it does not hold is an empty section."""
    return (
        _set_aside(whole),
        _scales(whole, zone),
        _reviewers(whole, zone),
        _models(whole, zone),
        _checks(whole, zone),
    )


def _scales(whole: Mapping[str, Any], zone: ZoneInfo) -> DocumentSection:
    names = name_fields(whole)
    certificates: dict[int, Mapping[str, Any]] = {}
    fields: dict[int, list[str]] = {}
    for field in whole["fields"]:
        if traced_to := field["scale_certificate"]:
            certificates[traced_to["record"]] = traced_to
            fields.setdefault(traced_to["record"], []).append(names[field["id"]])
    untraced = [names[field["id"]] for field in whole["fields"] if not field["scale_certificate"]]
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
            format_date(certificate["at"], zone),
            certificate["by"],
            certificate["certificate"] or "–",
            certificate["objective"] or "–",
            decimal(certificate["um_per_px"], ".4g"),
            "±" + decimal(certificate["uncertainty"] * 100, ".2g") + " %"
            if certificate["uncertainty"]
            else "–",
            ", ".join(fields[record]),
        )
        for record, certificate in certificates.items()
    )
    lines = [
        _("Not traced to a stage micrometer: {fields}.").format(fields=", ".join(untraced))
    ] * bool(untraced)
    lines += [
        _("{field}: the scale was given by {who} (record {record}), not by its file.").format(
            field=names[entry["id"]],
            who=_(" and ").join(entry["scale_given"]["by"]),
            record=entry["scale_given"]["record"],
        )
        for entry in whole["fields"]
        if entry.get("scale_given")
    ]
    return DocumentSection(
        _("Scale"), tuple(lines), tables=(Table(_("Stage micrometer"), columns, rows),)
    )


# --- people -------------------------------------------------------------------------------------


def _reviewers(whole: Mapping[str, Any], zone: ZoneInfo) -> DocumentSection:
    people = tuple(
        (
            person["name"],
            _("lead") if person["lead"] else _("reviewer"),
            str(person["labels"]),
            str(person["taken_back"]),
        )
        for person in whole["people"]
    )
    names = name_fields(whole)
    labels = tuple(
        (names[field["id"]], *_label(label, zone))
        for field in whole["fields"]
        for label in field["decisions"]
    )
    return DocumentSection(
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
        _("imported with a file") if label["imported"] else "",
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
    words = str(label["said"] or "")
    if label["kind"] == "strange":
        return reports.strange_kind(words)
    if label["kind"] == "unusable":
        return reports.unusable_why(words)
    return words if label["kind"] == "code" else _("cannot tell")


def _set_aside(whole: Mapping[str, Any]) -> DocumentSection:
    columns = (_("What"), _("Code"), _("By"), _("Reason"), _("Defect"), _("Lead"))
    return DocumentSection(_("Set aside"), tables=(Table("", columns, tuple(_aside_rows(whole))),))


def _aside_rows(whole: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    names = {
        "field": _("field {name}"),
        "file": _("file {name}"),
        "claim": _("micrograph {name}, named for another place"),
    }
    for entry in whole["set_aside"]:
        defect = entry.get("defect")
        lead = entry.get("lead")
        yield (
            names[entry["what"]].format(name=entry.get("field") or entry["name"]),
            entry.get("code") or "–",
            entry["by"] or "–",
            entry["reason"],
            reports.unusable_why(defect) if defect else "–",
            "–" if lead is None else yes_or_no(is_so=bool(lead)),
        )


# --- machines -----------------------------------------------------------------------------------


def _models(whole: Mapping[str, Any], zone: ZoneInfo) -> DocumentSection:
    bundles = tuple(_bundle_rows(whole, zone))
    permissions = tuple(
        (
            permission["by"],
            permission["since"] and format_at(datetime.fromisoformat(permission["since"]), zone),
            _limit(permission["limit"]),
            _("{wrong} of {n} called conforming falsely").format(
                wrong=permission["wrong"], n=permission["specimens"]
            ),
            "–"
            if permission["false_conform_upper95"] is None
            else decimal(permission["false_conform_upper95"], ".2%"),
            _record(permission["validation"], zone),
        )
        for permission in whole["permissions"]
    )
    automatic = any(
        field["decided"] is None and not field["superseded"] for field in whole["fields"]
    )
    lines = () if automatic else (_("No field rests on the model alone."),)
    return DocumentSection(
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
                    _("Promoted"),
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
    return f"{subtype} {format_limit(rest)}".rstrip()


def _bundle_rows(whole: Mapping[str, Any], zone: ZoneInfo) -> Iterator[tuple[str, ...]]:
    for name, known in whole["bundles"].items():
        own = [field for field in whole["fields"] if field["bundle"] == name]
        engines = sorted(
            {f"{check['engine']} {check['precision']}".strip() for check in own} - {""}
        )
        thresholds = {
            f"{key} {decimal(value, 'g')}"
            for check in own
            for key, value in check["thresholds"].items()
            if isinstance(value, int | float)
        }
        yield (
            name,
            str(known.get("sha256") or "–"),
            ", ".join(engines) or "–",
            ", ".join(sorted({check["recipe"] for check in own} - {""})) or "–",
            ", ".join(sorted(thresholds)).replace("_", " ") or "–",
            "; ".join(_promotion(act, zone) for act in known["promoted"]) or "–",
        )


def _promotion(act: Mapping[str, Any], zone: ZoneInfo) -> str:
    at = format_at(datetime.fromisoformat(act["at"]), zone)
    return _("{at} by {who}: {why}").format(at=at, who=act["by"], why=act["reason"])


def _record(record: Mapping[str, Any] | None, zone: ZoneInfo) -> str:
    if not record:
        return "–"
    return _("record {n} of {day} by {who}").format(
        n=record["record"], day=format_date(record["at"], zone), who=record["by"]
    )


def _checks(whole: Mapping[str, Any], zone: ZoneInfo) -> DocumentSection:
    rows = tuple(
        (
            format_at(datetime.fromisoformat(check["at"]), zone),
            str(check["on"]),
            _("good") if check["passed"] else _("failed"),
            str(len(check["findings"])),
            str(check["bundle"] or "–"),
            str(check["software"] or "–"),
            str(check["record"]),
        )
        for check in whole["control_checks"]
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
    held_fields = [
        f"{names[field['id']]}: {field['held']}" for field in whole["fields"] if field["held"]
    ]
    none = [_("None is on record for these days.")] * (not rows)
    return DocumentSection(
        _("Control checks of the days on which the fields were judged"),
        lines=(*none, *held_fields),
        tables=(Table("", columns, rows),),
    )
