"""`agent needles`: needle lengths measured, calibrated, and compared with people."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from agent.cli import console
from agent.cli.app import DONE, SAYS_NO, SOME_FAILED, app, load_settings, now_utc, open_store
from agent.cli.console import out, print_json
from agent.cli.grade.classify import (
    Files,
    Json,
    iter_cropped,
    make_folder,
    micrograph_title,
    picture_stem,
    print_outcomes,
    report_refused,
    write_picture,
)
from agent.cli.options import By, JsonOption, Reason, os_user, signed_store
from agent.errors import UsageError

if TYPE_CHECKING:
    from agent.imaging import Crop
    from agent.needle_truth import NeedleCalibration, TruthGroup
    from agent.settings import Settings
    from agent.store import Store
    from model.needles.field import FieldMeasurement
    from model.needles.lengths import LengthEstimate
    from model.needles.needle_map import NeedleMapper

SHARES = (0.5, 0.9, 0.99)
MEASURE = "measure"


class MeasuringGroup(TyperGroup):
    """Group that measures files unless its first word is one of its commands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name of the measuring command before files and options."""
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = [MEASURE, *args]
        return super().parse_args(ctx, args)


needles = typer.Typer(
    cls=MeasuringGroup,
    help="Needle lengths: measure files, compare with people, calibrate. A trial.",
    no_args_is_help=True,
)


app.add_typer(needles, name="needles")


@needles.command(MEASURE)
def measure(
    context: typer.Context,
    files: Files,
    *,
    as_json: Json = False,
    overlay: Annotated[
        Path | None,
        typer.Option(
            help="Folder for pictures with the five longest needles; unreliable ones are dashed."
        ),
    ] = None,
    together: Annotated[
        bool,
        typer.Option("--together", help="Also evaluate all micrographs as fields of one specimen."),
    ] = False,
    longest_in: Annotated[
        float | None,
        typer.Option(
            metavar="MM2",
            help="With --together and 20 fields or more: predict the longest needle in this area.",
        ),
    ] = None,
) -> None:
    """Measure apparent needle lengths in µm; the word measure can be left out.

    A trial: not calibrated, nothing is stored.
    """
    from agent.needles.results import TRIAL, measurement_to_json
    from model.needles.needle_map import NeedleMapper

    _check_area(longest_in, together=together)
    settings = load_settings(context)
    make_folder(overlay, "--overlay")
    mapper = NeedleMapper()
    rows: list[tuple[object, ...]] = []
    refused: list[str] = []
    fields: dict[str, FieldMeasurement] = {}
    copies = 0
    for path, outcome in iter_cropped(files, settings, but=overlay):
        if not isinstance(outcome, list):
            refused.append(report_refused(path, outcome, as_json=as_json))
            continue
        for crop in outcome:
            measured = _measure(crop, mapper)
            if measured is not None:
                content = f"{crop.um_per_px} {hashlib.sha256(crop.pixels.tobytes()).hexdigest()}"
                copies += content in fields
                fields[content] = measured
            if as_json:
                facts = measurement_to_json(
                    measured, pixel_um=crop.um_per_px, weights=mapper.version
                )
                print_json({"file": str(path), "id": crop.id, "needles": facts})
            if overlay:
                _draw(crop, measured, path, overlay)
            rows.append(_format_row(crop, measured, path))
    if not as_json:
        columns = ("file", "status", "needles", "L50 µm", "L90 µm", "L99 µm", "longest µm")
        print_outcomes(columns, rows, refused)
    if together:
        _print_together([*fields.values()], longest_in, copies=copies, as_json=as_json)
    if not as_json:
        out.print(TRIAL, markup=False)
    raise typer.Exit(SOME_FAILED if refused else DONE)


def _check_area(longest_in: float | None, *, together: bool) -> None:
    if longest_in is None:
        return
    if not together:
        raise UsageError("--longest-in needs --together: one field does not predict another.")
    if not 0 < longest_in < math.inf:
        raise UsageError(f"--longest-in: {longest_in:g} is no area in mm². Write one above 0.")


def _measure(crop: Crop, mapper: NeedleMapper) -> FieldMeasurement | None:
    from agent.needles.measuring import to_grey
    from model.needles.field import measure_field

    if crop.um_per_px is None:
        return None
    return measure_field(to_grey(crop.pixels, crop.valid), crop.um_per_px, mapper)


def _format_row(crop: Crop, measured: FieldMeasurement | None, path: Path) -> tuple[object, ...]:
    from agent.needles.field import NO_SCALE, REASONS
    from model.needles.field import NeedleOutcome

    title = micrograph_title(crop, path)
    if measured is None:
        return title, f"not measured: {REASONS[NO_SCALE]}", "", "", "", "", ""
    if measured.outcome is not NeedleOutcome.MEASURED:
        return title, f"not measured: {REASONS[measured.outcome]}", "", "", "", "", ""
    quantiles = (f"{measured.distribution.quantile_um(share) or 0:.1f}" for share in SHARES)
    longest = " ".join(f"{measured.needles.length_um[index]:.1f}" for index in measured.longest)
    return title, "not calibrated", int((measured.weights > 0).sum()), *quantiles, longest


def _draw(crop: Crop, measured: FieldMeasurement | None, path: Path, folder: Path) -> None:
    from agent.files.pictures import encode_jpeg
    from agent.needles.results import render_needles

    picture = render_needles(crop, measured, micrograph_title(crop, path))
    write_picture(folder / f"{picture_stem(crop, path)}.needles.jpg", encode_jpeg(picture))


def _print_together(
    fields: list[FieldMeasurement], longest_in: float | None, *, copies: int, as_json: bool
) -> None:
    from agent.needles.results import estimate_to_json, longest_to_json
    from model.needles.field import NeedleOutcome
    from model.needles.lengths import estimate_quantile, predict_longest

    used = [field for field in fields if field.outcome is NeedleOutcome.MEASURED]
    distributions = [field.distribution for field in used]
    quantiles = {share: estimate_quantile(distributions, share) for share in SHARES}
    longest = None
    if longest_in is not None and used:
        maxima = [field.maximum_um or 0.0 for field in used]
        areas = [field.size_um[0] * field.size_um[1] for field in used]
        longest = predict_longest(maxima, areas, longest_in)
    if as_json:
        lengths = {
            f"l{round(100 * share)}": estimate_to_json(each) for share, each in quantiles.items()
        }
        facts = {
            "fields": len(used),
            "fields_not_measured": len(fields) - len(used),
            "copies_left_out": copies,
        }
        print_json({"together": facts | lengths | {"longest": longest_to_json(longest)}})
        return
    left_out = f" {copies} copies of a field were left out." if copies else ""
    out.print(f"All measured fields together: {len(used)}.{left_out}", markup=False)
    for share, each in quantiles.items():
        if each is not None:
            out.print(f"  L{round(100 * share)}: {_format_length(share, each)}", markup=False)
    if longest is not None:
        out.print(
            f"  Longest needle expected in {longest.area_mm2:g} mm²: {longest.value_um:.0f} µm"
            f"{_format_interval(longest.low_um, longest.high_um)}",
            markup=False,
        )
    elif longest_in is not None:
        out.print(
            "  Longest needle: not predicted, needs 20 measured fields of about the same area.",
            markup=False,
        )


def _format_length(share: float, estimate: LengthEstimate) -> str:
    from model.needles.lengths import LEAST_FIELDS, count_needed

    if estimate.high_um is None and estimate.n_fields >= LEAST_FIELDS:
        return f"not stated below {count_needed(share):.0f} needles"
    return f"{estimate.value_um:.1f} µm{_format_interval(estimate.low_um, estimate.high_um)}"


def _format_interval(low_um: float | None, high_um: float | None) -> str:
    if low_um is None or high_um is None:
        return ", no interval below 5 fields"
    return f" ({low_um:.1f} to {high_um:.1f})"


@needles.command("calibrate")
def calibrate_(
    context: typer.Context,
    *,
    subtype: Annotated[str | None, typer.Option(help="Only this subtype.")] = None,
    microscope: Annotated[str | None, typer.Option(help="Only this microscope.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be set, and set nothing.")
    ] = False,
    off: Annotated[
        bool,
        typer.Option("--off", help="Withdraw the calibration of --subtype and --microscope."),
    ] = False,
    by: By = "",
    reason: Reason = "",
    json: JsonOption = False,
) -> None:
    """Set the ratio that corrects needle lengths, per subtype and microscope. Only a lead may.

    Run agent needles compare first. Needs 10 fields with 10 measured needles each, and is refused
    where the ratio depends on the length. The calibration is recorded with a version.
    """
    settings = load_settings(context)
    if off and not (subtype and microscope):
        raise UsageError("--off needs --subtype and --microscope.")
    if dry_run:
        with open_store(settings) as store:
            _show(_select(store, subtype, microscope), {}, json=json)
        return
    if not reason.strip():
        raise UsageError("Add a reason with --reason TEXT. It is recorded.")
    with signed_store(context, settings, by) as (store, signer):
        _require_lead(settings, store, signer)
        if off:
            _withdraw(store, subtype or "", microscope or "", by=signer, reason=reason.strip())
            return
        groups = _select(store, subtype, microscope)
        made = _set(store, groups, by=signer, reason=reason.strip())
    _show(groups, made, json=json)
    if len(made) < len(groups):
        raise typer.Exit(SAYS_NO)


def _require_lead(settings: Settings, store: Store, signer: str) -> None:
    from agent.orders.facts.order_policy import is_lead

    if not is_lead(settings, store, signer):
        raise UsageError(
            f"--by {signer or 'NAME'}: only a lead may do this. Add an account (agent users "
            "add NAME --role lead), or name leads under [orders] leads in agent.toml."
        )


def _select(store: Store, subtype: str | None, microscope: str | None) -> list[TruthGroup]:
    from agent.needle_truth import load_groups

    groups = [
        group
        for group in load_groups(store)
        if subtype in (None, group.subtype) and microscope in (None, group.microscope)
    ]
    if not groups:
        raise UsageError(
            "No measured needles of this subtype and microscope. Reviewers measure them in the "
            "viewer: Shift and L, two clicks."
        )
    return groups


def _set(
    store: Store, groups: list[TruthGroup], *, by: str, reason: str
) -> dict[tuple[str, str], NeedleCalibration]:
    from agent.needle_truth import calibrate, find_refusal

    return {
        (group.subtype, group.microscope): calibrate(
            store, group, by=by, reason=reason, at=now_utc()
        )
        for group in groups
        if not find_refusal(group)
    }


def _withdraw(store: Store, subtype: str, microscope: str, *, by: str, reason: str) -> None:
    from agent.needle_truth import withdraw_calibration

    was = withdraw_calibration(store, subtype, microscope, by=by, reason=reason, at=now_utc())
    what = f"withdrawn by {by}" if was else "there is none; nothing was changed"
    console.out.print(f"Calibration of {subtype} on {microscope}: {what}.", markup=False)


def _show(
    groups: list[TruthGroup], made: dict[tuple[str, str], NeedleCalibration], *, json: bool
) -> None:
    from agent.needle_truth import find_refusal

    if json:
        console.print_json([_to_json(group, made) for group in groups])
        return
    for group in groups:
        name = f"{group.subtype or '-'} on {group.microscope}"
        if refused := find_refusal(group):
            console.out.print(f"{name}: not calibrated. {refused}", markup=False)
            continue
        calibration = made.get((group.subtype, group.microscope))
        console.out.print(f"{name}: {_describe(group, calibration)}", markup=False)


def _describe(group: TruthGroup, calibration: NeedleCalibration | None) -> str:
    from agent.needle_truth import fit_calibration

    fitted = calibration or fit_calibration(group)
    act = f"version {calibration.version} set" if calibration else "would be set"
    ratio = fitted.ratio
    return (
        f"{act}. Lengths are divided by {ratio.value:.3f} ({ratio.low:.3f} to {ratio.high:.3f}); "
        f"single needles before that: {fitted.lower.value:.2f} to {fitted.upper.value:.2f}. From "
        f"{fitted.needles} needles of {fitted.from_um:.1f} to {fitted.to_um:.1f} µm in "
        f"{fitted.fields} fields, measured by {fitted.people}."
    )


def _to_json(group: TruthGroup, made: dict[tuple[str, str], NeedleCalibration]) -> dict[str, Any]:
    from agent.needle_truth import find_refusal, fit_calibration

    calibration = made.get((group.subtype, group.microscope))
    if calibration is None and not find_refusal(group):
        calibration = fit_calibration(group)
    document = calibration.to_json() if calibration else None
    return {
        **to_json(group),
        "calibration": document,
        "set": calibration is not None and bool(made),
    }


@needles.command("compare")
def compare(context: typer.Context, json: JsonOption = False) -> None:
    """Compare the needles that reviewers measured with the program's, and keep the result.

    Measures the micrographs whose needles are not compared yet. The page /needles shows the plot.
    """
    from agent.archive import Archive
    from agent.needle_truth import compare_needles, load_groups
    from model import Progress
    from model.needles.needle_map import NeedleMapper

    settings = load_settings(context)
    with open_store(settings) as store:
        archive, record = Archive.open(settings), 0
        steps = compare_needles(store, archive, NeedleMapper(), by=os_user(), at=now_utc())
        with console.progress("Micrographs", None) as advance:
            for step in steps:
                if isinstance(step, Progress):
                    advance(step.done, f"of {step.total}")
                else:
                    record = step
        groups = load_groups(store)
    if json:
        console.print_json({"record": record, "groups": [to_json(group) for group in groups]})
        return
    if not record:
        console.out.print(
            "No measured needles. Reviewers measure them in the viewer: Shift and L, two clicks.",
            markup=False,
        )
        return
    console.table(
        ("subtype", "microscope", "needles", "fields", "people", "found", "ratio", "limits"),
        [format_row(group) for group in groups],
    )


def format_row(group: TruthGroup) -> tuple[object, ...]:
    """Return the cells that describe a group in a table."""
    from agent.needle_truth import Place

    agreement, found = group.agreement, group.counts[Place.MATCHED]
    ratio = limits = ""
    if agreement is not None:
        bias = agreement.bias
        ratio = f"{bias.value:.2f} ({bias.low:.2f} to {bias.high:.2f})"
        limits = f"{agreement.lower.value:.2f} to {agreement.upper.value:.2f}"
    return (
        group.subtype,
        group.microscope,
        group.needles,
        group.fields,
        len(group.people),
        found,
        ratio,
        limits,
    )


def to_json(group: TruthGroup) -> dict[str, Any]:
    """Return a group as JSON."""
    from agent.needle_truth import find_refusal

    agreement = group.agreement
    return {
        "subtype": group.subtype,
        "microscope": group.microscope,
        "needles": group.needles,
        "fields": group.fields,
        "full_fields": group.full_fields,
        "missing_fields": group.missing_fields,
        "people": list(group.people),
        "new": group.new,
        "counts": {place.value: n for place, n in group.counts.items()},
        "tips_agree": agreement.tips_agree if agreement else None,
        "ratio": agreement.bias.to_json() if agreement else None,
        "lower": agreement.lower.to_json() if agreement else None,
        "upper": agreement.upper.to_json() if agreement else None,
        "network": group.network,
        "refused": find_refusal(group) or None,
    }
