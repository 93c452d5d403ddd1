"""Render the printable page of a trace, and write it with its pixels into a folder.

The folder is written whole or not at all. Originals are copied and never written to; a copy of
other bytes than were judged is left out.

    trace.html  trace.json  SHA256SUMS
    pixels/<id>/original.tif crop.png valid.png preview.jpg
    specifications/<name>-<version>.json  statements/<order>-<number>.json  bundles/<name>.json
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import reports
from agent.errors import UsageError
from agent.files import pictures
from agent.orders.facts.scale_tracing import describe_givers
from agent.orders.facts.specimen_facts import Conformity, FieldFacts
from agent.orders.statements.order_json import trace_to_json
from agent.orders.statements.statement import plain
from agent.orders.statements.trace import Sameness, Trace, TracedField, TraceKind
from agent.store import is_imported, to_canonical
from reports import Fact, Tone, decimal, marked, scale_source, speaking
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from agent.archive import Archive
    from agent.orders.instruments.instrument_checks import ControlPoint
    from agent.orders.judge.assessed import Assessed
    from agent.store import LabelView, MicrographView, Record, Result, StoredStrangeness
    from reports import Language

    FormatAt = Callable[[datetime], str]


TONES = {
    Conformity.CONFORMS: Tone.CALM,
    Conformity.DOES_NOT_CONFORM: Tone.PROBLEM,
    Conformity.UNDECIDED: Tone.ATTENTION,
    Conformity.NOT_ASSESSED: Tone.ATTENTION,
}
RERUN_TONES = {
    Sameness.SAME: Tone.CALM,
    Sameness.DIFFERENT: Tone.PROBLEM,
    Sameness.NOT_POSSIBLE: Tone.ATTENTION,
}
SHOWN_PX = 900
JPEG_QUALITY = 82  # on paper, at about 8 cm, more is not seen
TITLES = {
    TraceKind.ORDER: marked("Trace of order {asked}"),
    TraceKind.HEAT: marked("Trace of heat {asked}"),
    TraceKind.ID: marked("Trace of micrograph {asked}"),
}
COLUMNS = {
    "plant": marked("Plant"),
    "microscope": marked("Microscope"),
    "objective": marked("Objective"),
    "order": marked("Order"),
    "heat": marked("Heat"),
    "batch": marked("Batch"),
    "specimen": marked("Specimen"),
    "preparation": marked("Preparation"),
    "field": marked("Field"),
    "material": marked("Material"),
    "etchant": marked("Etchant"),
    "magnification": marked("Magnification"),
    "operator": marked("Operator"),
}
"""Columns of process data; another column is shown by its own name."""
RERUN = {
    Sameness.SAME: marked("same"),
    Sameness.DIFFERENT: marked("different"),
    Sameness.NOT_POSSIBLE: marked("not possible"),
}
OWN_ACTS = ("label.", "statement.")
"""Acts that are on the page already, as decisions and statements."""


def render_trace(
    trace: Trace,
    *,
    archive: Archive,
    pixels: Mapping[str, str],
    site: str,
    zone: str,
    by: str,
    software: str,
    at: datetime,
) -> str:
    """Render the printable page of a trace.

    Args:
        trace: The trace.
        archive: Source of the pictures.
        pixels: Public id → where the pixels in the folder come from, in words.
        site: Name of the site.
        zone: Its time zone.
        by: Author.
        software: That wrote it.
        at: Now, aware.
    """
    format_at = partial(_format_at, zone=ZoneInfo(zone))
    return reports.render(
        "trace",
        site=site,
        title=_(TITLES[trace.found.kind]).format(asked=trace.found.asked),
        zone=zone,
        format_at=format_at,
        orders=trace.orders,
        order_facts={
            order.assessed.view.number: _list_order_facts(order.assessed) for order in trace.orders
        },
        loose=trace.loose,
        fields={
            field.view.id: {
                "code": _format_code(field.facts),
                "gone": _gone(field.facts),
                "picture": _find_picture(field, archive),
                "facts": _list_facts(field, pixels.get(field.view.id, ""), format_at),
                "lists": _list_evidence(field, format_at),
            }
            for field in trace.fields
        },
        conformity=Conformity,
        tones=TONES,
        rerun_tones=RERUN_TONES,
        rerun=RERUN,
        own_acts=OWN_ACTS,
        generated=_("{at} by {by} with {software}").format(
            at=format_at(at), by=by, software=software
        ),
    )


def _format_at(at: datetime, *, zone: ZoneInfo) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M:%S}"


# --- a field ------------------------------------------------------------------------------------


def _find_picture(traced: TracedField, archive: Archive) -> tuple[bytes, int, int] | None:
    """Return the crop as JPEG with its width and height, None where it is not archived."""
    try:
        pixels, _valid = archive.field(traced.view.sha256, traced.view.page)
    except (OSError, ValueError):
        return None
    shown = pictures.fit_within(pixels, SHOWN_PX)
    height, width = shown.shape[:2]
    return pictures.encode_jpeg(shown, quality=JPEG_QUALITY), width, height


def _list_facts(traced: TracedField, origin: str, format_at: FormatAt) -> list[Fact]:
    view, facts, result = traced.view, traced.facts, traced.view.result
    values = {
        _("File"): view.path,
        "SHA-256": view.sha256,
        _("Page"): str(view.page + 1) if view.page else "",
        _("Source"): view.source,
        _("Classified at"): format_at(result.done_at),
        _("Pixels"): origin,
        _("Crop"): _("{box} of {width} × {height} px, recipe {recipe}").format(
            box=_box(view.crop), width=view.width, height=view.height, recipe=view.recipe
        ),
        _("Area"): f"{decimal(facts.area_mm2, '.4f')} mm²" if facts.area_mm2 is not None else "",
        _("Answer"): result.structure_code or _("no model answered"),
        _("Probability"): decimal(result.probability, ".4f")
        if result.probability is not None
        else "",
        _("Prediction set"): ", ".join(result.prediction_set),
        _("Out-of-distribution check"): _describe_ood(result.strangeness),
        _("Handling"): ", ".join((result.handling, *(w.replace("_", " ") for w in result.reasons))),
        _("Bundle"): result.bundle,
        _("Computed by"): " ".join(filter(None, (result.engine, result.precision))),
        _("Held"): facts.held,
        _("Outside"): str(result.outside),
        **{
            _(COLUMNS.get(name, name.capitalize())): value
            for name, value in view.process_data.items()
        },
    }
    return [Fact(name, value) for name, value in values.items() if value]


def _list_evidence(traced: TracedField, format_at: FormatAt) -> dict[str, list[str]]:
    """Return what stands behind a field's result, a line each, by what it is about."""
    checks = [
        *(_describe_check(record, format_at) for record in traced.checks),
        *(_describe_point(point, format_at) for point in traced.control),
    ]
    return {
        _("Scale and its checks"): list(_iter_scale_facts(traced)),
        _("Control check of that day"): checks or [_("none is on record")],
        _("Decisions"): [_describe_decision(label, format_at) for label in traced.view.labels],
        _("Superseded results"): [
            _describe_answer(answer, format_at) for answer in traced.answers if not answer.current
        ],
    }


def _describe_check(record: Record, format_at: FormatAt) -> str:
    findings = record.facts.get("findings", ())
    bad = [f"{name}: {sentence}" for name, sentence, is_good in findings if not is_good]
    word = (
        _("good") if record.facts.get("passed") else _("failed ({why})").format(why="; ".join(bad))
    )
    return _(
        "{at} on {source}: {word}; {n} reference images, {bundle}, Martensight {version}"
    ).format(
        at=format_at(record.at),
        source=record.subject,
        word=word,
        n=len(findings),
        bundle=record.facts.get("bundle") or _("no bundle"),
        version=record.facts.get("software", ""),
    )


def _describe_point(point: ControlPoint, format_at: FormatAt) -> str:
    words = "; ".join(point.faults) or _("as usual")
    return _("{at}, control specimen {id}: {code}, {finding}").format(
        at=format_at(point.at), id=point.id, code=point.code or "–", finding=words
    )


def _describe_decision(label: LabelView, format_at: FormatAt) -> str:
    words = label.code or label.strange_kind or label.why or ""
    what = f"{label.kind.replace('_', ' ')} {words.replace('_', ' ')}".strip()
    more = (
        _("criterion {criterion}").format(criterion=label.criterion)
        if label.criterion != "unrecorded"
        else "",
        _("without having seen the answer") if label.blind else "",
        _("imported with a file") if is_imported(label) else "",
        f"“{label.comment}”" if label.comment else "",
        _("taken back") if label.undone else "",
    )
    return ", ".join((f"{format_at(label.at)}, {label.by}: {what}", *filter(None, more)))


def _describe_answer(answer: Result, format_at: FormatAt) -> str:
    code = answer.structure_code or _("no code")
    if answer.probability is not None:
        code = _("{code}, probability {probability}").format(
            code=code, probability=decimal(answer.probability, ".4f")
        )
    bundle = answer.bundle or _("no bundle")
    return f"{format_at(answer.done_at)}, {bundle} ({answer.role}): {code}"


# --- an order -----------------------------------------------------------------------------------


def _list_order_facts(assessed: Assessed) -> list[Fact]:
    view, wanted = assessed.view, assessed.specification
    values = {
        _("Customer"): view.customer,
        _("Product"): view.product,
        _("Material"): assessed.material,
        _("Specification"): _("{name}, version {version}").format(
            name=wanted.name, version=assessed.version
        )
        if wanted
        else "",
        _("Valid from"): f"{wanted.valid_from}" if wanted else "",
        _("Approved by"): wanted.approved_by if wanted else "",
        _("Chart"): f"{wanted.chart} {wanted.chart_revision}".strip() if wanted else "",
        _("Standard"): wanted.standard if wanted else "",
        _("Specimen rule"): wanted.specimen_rule.replace("_", " ") if wanted else "",
        _("Decision rule"): assessed.decision_rule.text if assessed.decision_rule else "",
    }
    for specimen in assessed.specimens:
        named = (
            (_("Heat"), specimen.view.heat),
            (_("Batch"), specimen.view.batch),
            (_("Bundle"), specimen.view.bundle),
        )
        more = ", ".join(f"{name} {value}" for name, value in named if value)
        word = specimen.statement.conformity.words
        values[_("Specimen {name}").format(name=specimen.view.name)] = (
            f"{word}{f' ({more})' if more else ''}"
        )
    values[_("Notes")] = "; ".join(assessed.notes)
    return [Fact(name, value) for name, value in values.items() if value]


def _format_code(facts: FieldFacts) -> str:
    decided = facts.decided
    if decided is None:
        return facts.code or "–"
    words = decided.said if decided.kind == "code" else decided.kind.replace("_", " ")
    return _("{code}, decided by {by}").format(code=words, by=decided.by)


def _gone(facts: FieldFacts) -> str:
    gone = facts.superseded
    if gone is None:
        return ""
    said = (
        _("superseded by {by}: {reason}").format(by=gone.by, reason=gone.reason)
        if gone.by
        else _("superseded: {reason}").format(reason=gone.reason)
    )
    defect = (
        _("defect {defect}").format(defect=gone.defect.replace("_", " ")) if gone.defect else ""
    )
    return ", ".join(filter(None, (said, defect, _("approved by a lead") if gone.lead else "")))


def _box(box: tuple[int, int, int, int] | None) -> str:
    return _("({0}, {1}) to ({2}, {3})").format(*box) if box else _("not recorded")


def _describe_ood(strangeness: StoredStrangeness) -> str:
    if strangeness.p_value is None:
        return ""
    shown = f"p = {decimal(strangeness.p_value, '.3f')}"
    return _("{p}, flagged").format(p=shown) if strangeness.is_flagged else shown


def _iter_scale_facts(traced: TracedField) -> Iterator[str]:
    """Yield the scale, each evidence of it, and the scale bar as it was read."""
    view = traced.view
    if traced.facts.scale_in_doubt:
        yield _("uncertain: its sources differ by more than 5 %")
    elif view.um_per_px is None:
        yield _("no scale is known")
    else:
        given = describe_givers(view.result.thresholds)
        by = (
            _("given by {people}").format(people=given)
            if given
            else _("from {source}").format(source=scale_source(view.um_per_px_source or ""))
        )
        yield _("{scale} µm per pixel, {by}").format(scale=decimal(view.um_per_px, ".5g"), by=by)
    if traced.facts.scale_traced_to:
        measured = traced.facts.scale_traced_to
        traced_to = _("traced to the stage micrometer of {date}, record {record}").format(
            date=measured["at"][:10], record=measured["record"]
        )
        if measured["certificate"]:
            certificate = measured["certificate"]
            traced_to += _(", certificate {certificate}").format(certificate=certificate)
        yield traced_to
    else:
        yield _("not traced to a stage micrometer")
    for source, um_per_px in view.crop_facts.scales:
        yield _("{source}: {scale} µm per pixel").format(
            source=scale_source(source), scale=decimal(um_per_px, ".5g")
        )
    bar = view.crop_facts.micron_bar
    if bar and bar.um is not None:
        yield _("scale bar “{label}”: {um} µm over {px} px").format(
            label=bar.label, um=decimal(bar.um, "g"), px=decimal(bar.line_px, ".1f")
        )
    yield from (warning.replace("_", " ") for warning in view.warnings if "scale" in warning)


PAGE, DOCUMENT, SUMS = "trace.html", "trace.json", "SHA256SUMS"
PIXELS, SPECIFICATIONS, STATEMENTS, BUNDLES = "pixels", "specifications", "statements", "bundles"


@dataclass(frozen=True, slots=True)
class TraceSignature:
    """Author, site, software and time of a trace; language of its page."""

    by: str
    site: str
    zone: str
    software: str
    at: datetime
    language: Language = "en"


def require_new_folder(folder: Path) -> Path:
    """Return a folder that does not exist yet. Raises `UsageError`: nothing is overwritten."""
    if folder.exists():
        raise UsageError(f"{folder}: already there, and is left as it is; name another folder.")
    return folder


def write_trace(
    trace: Trace, folder: Path, *, archive: Archive, bundles: Path, signature: TraceSignature
) -> None:
    """Write a trace into a folder that does not exist yet.

    Args:
        trace: The trace.
        folder: From `require_new_folder`; it is made, its parent too.
        archive: The pixels.
        bundles: Folder of the bundles; their manifests are copied.
        signature: Author, site, software and time.

    Raises:
        UsageError: The folder cannot be written.
    """
    part = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        _fill(part, trace, archive=archive, bundles=bundles, signature=signature)
        part.rename(folder)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror or error}).") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _fill(
    folder: Path, trace: Trace, *, archive: Archive, bundles: Path, signature: TraceSignature
) -> None:
    kept = {field.view.id: _keep(folder, field.view, archive) for field in trace.fields}
    for name, document in _iter_documents(trace, bundles):
        _write_json(folder / name, document)
    for order in trace.orders:
        for made in order.statements:
            path = folder / STATEMENTS / made.file
            path.parent.mkdir(exist_ok=True)
            path.write_text(to_canonical(made.whole), encoding="utf-8", newline="")
    files = {public_id: names for public_id, (names, _origin) in kept.items()}
    head = {
        "site": signature.site,
        "written_at": signature.at.isoformat(),
        "written_by": signature.by,
        "software": signature.software,
    }
    _write_json(folder / DOCUMENT, head | trace_to_json(trace, files))
    with speaking(signature.language):
        page = render_trace(
            trace,
            archive=archive,
            pixels={public_id: origin for public_id, (_names, origin) in kept.items()},
            site=signature.site,
            zone=signature.zone,
            by=signature.by,
            software=signature.software,
            at=signature.at,
        )
    (folder / PAGE).write_text(page, encoding="utf-8")
    sums = "".join(f"{sum_}  {name}\n" for sum_, name in _iter_sums(folder))
    (folder / SUMS).write_text(sums, encoding="utf-8")


def _iter_documents(trace: Trace, bundles: Path) -> Iterator[tuple[str, Any]]:
    """Yield the documents that a trace refers to, each with the name of its file."""
    for order in trace.orders:
        wanted, version = order.assessed.specification, order.assessed.version
        if wanted:
            yield f"{SPECIFICATIONS}/{plain(wanted.name)}-{version}.json", wanted.entry
    for name in sorted(
        {field.view.result.bundle for field in trace.fields if field.view.result.bundle}
    ):
        try:
            manifest = json.loads((bundles / name / "bundle.json").read_text("utf-8"))
        except (OSError, ValueError):
            continue  # the page says of each of its fields that the bundle is not here
        yield f"{BUNDLES}/{plain(name)}.json", manifest


def _write_json(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, ensure_ascii=False, indent=1, default=str)
    path.write_text(text + "\n", encoding="utf-8")


# --- pixels -------------------------------------------------------------------------------------


def _keep(folder: Path, view: MicrographView, archive: Archive) -> tuple[list[str], str]:
    """Copy one field's pixels: what was archived, and the original where it can be had.

    Returns:
        Names of the copies below the folder, and where they come from, in words.
    """
    target = folder / PIXELS / view.id
    target.mkdir(parents=True)
    archived = {
        "crop.png": archive.crop_path(view.sha256, view.page),
        "valid.png": archive.valid_path(view.sha256, view.page),
        "preview.jpg": archive.preview_path(view.sha256, view.page),
    }
    files = {name: path for name, path in archived.items() if archive.has(path)}
    for name, path in files.items():
        shutil.copyfile(archive.make_local(path), target / name)
    original, origin = _copy_original(target, view, archive)
    if not original:
        origin = f"{'the archived crop' if 'crop.png' in files else 'none'}; {origin}"
    names = (*([original] if original else ()), *files)
    below = f"{PIXELS}/{view.id}"
    return [f"{below}/{name}" for name in names], origin


def _copy_original(target: Path, view: MicrographView, archive: Archive) -> tuple[str, str]:
    kept = archive.original_path(view.sha256)
    path = kept or Path(view.path)
    copy = target / f"original{path.suffix.lower()}"
    try:
        shutil.copyfile(archive.make_local(path) if kept else path, copy)
    except OSError as error:
        return "", f"the original cannot be read ({error.strerror or error})"
    if _compute_sha256(copy) != view.sha256:
        copy.unlink()
        return "", f"{path} holds other bytes than those that were judged"
    where = "from the archive" if kept else f"from {path}"
    return copy.name, f"the original bytes, {where}"


def _iter_sums(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield _compute_sha256(path), path.relative_to(folder).as_posix()


def _compute_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
