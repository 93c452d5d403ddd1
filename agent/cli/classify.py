"""`agent classify`: structure codes of image files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.app import DONE, SOME_FAILED, app, load_settings, open_store
from agent.cli.console import err, print_json
from agent.cli.cropped_files import (
    Files,
    Json,
    iter_cropped,
    make_folder,
    picture_stem,
    print_outcomes,
    report_refused,
    write_picture,
)

if TYPE_CHECKING:
    from agent.imaging import Crop
    from agent.settings import Settings
    from agent.triage import Policy, TriageVerdict
    from model import Classifier, Prediction

ALARM_LIMIT = 2.0

EVIDENCE_LIMIT = 6.0
"""Values at full colour on an out-of-distribution map and on a saliency map, as in the report."""


@app.command("classify")
def classify(
    context: typer.Context,
    files: Files,
    as_json: Json = False,
    saliency: Annotated[Path | None, typer.Option(help="Folder for saliency maps.")] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Folder of a bundle. Default: the bundle in use.")
    ] = None,
) -> None:
    """Classify micrographs by structure code. The database is not changed."""
    from agent.imaging.crop_json import crop_to_json
    from agent.service.composition import build_policy
    from model import Field

    settings = load_settings(context)
    make_folder(saliency, "--saliency")
    classifier = _load_classifier(settings, bundle)
    policy = build_policy(settings, classifier)
    rows: list[tuple[object, ...]] = []
    refused: list[str] = []
    for path, outcome in iter_cropped(files, settings, but=saliency):
        if not isinstance(outcome, list):
            refused.append(report_refused(path, outcome, as_json=as_json))
            continue
        fields = [
            Field(c.pixels, c.valid, c.um_per_px, c.metadata.get("microscope", "")) for c in outcome
        ]
        for crop, prediction in zip(outcome, classifier.classify(fields), strict=True):
            verdict = _decide(crop, prediction, policy)
            if as_json:
                print_json(
                    {"file": str(path)}
                    | crop_to_json(crop)
                    | prediction_to_json(prediction, verdict)
                )
            if saliency:
                _draw_maps(crop, prediction, path, saliency)
            rows.append(_format_row(crop, prediction, verdict, path))
    if classifier.degraded_reason:
        err.print(classifier.degraded_reason, markup=False)
    if not as_json:
        columns = ("file", "structure code", "probability", "OOD p", "handling", "reasons")
        print_outcomes(columns, rows, refused)
    raise typer.Exit(SOME_FAILED if refused else DONE)


def _load_classifier(settings: Settings, bundle: Path | None) -> Classifier:
    from agent.errors import BadBundle
    from agent.service.composition import load_bundle
    from agent.store.engine import DATABASE_FILE

    if bundle is not None:
        return load_bundle(settings, str(bundle.resolve() if bundle.is_dir() else bundle))
    name = None
    if settings.store.url or (settings.store.folder / DATABASE_FILE).is_file():
        with open_store(settings) as store:
            name = store.promotions.find_current()
    if name is None:
        raise BadBundle(
            "No bundle is in use yet. Train one with `agent train FOLDER`, or name one with "
            "--bundle."
        )
    return load_bundle(settings, name)


def _decide(crop: Crop, prediction: Prediction, policy: Policy) -> TriageVerdict:
    from agent.triage import triage

    return triage(
        prediction,
        sha256=crop.sha256,
        um_per_px=crop.um_per_px,
        warnings=crop.warnings,
        material="",
        policy=policy,
    )


def prediction_to_json(prediction: Prediction, verdict: TriageVerdict) -> dict[str, object]:
    """Return what `agent classify --json` adds to the facts of a crop."""
    ood = prediction.strangeness
    return {
        "subtype": prediction.subtype,
        "subtype_probabilities": prediction.subtype_probabilities,
        "size": prediction.size,
        "size_min": prediction.size_min,
        "size_max": prediction.size_max,
        "size_probabilities": prediction.size_probabilities,
        "structure_code": prediction.structure_code,
        "probability": prediction.probability,
        "probabilities": prediction.probabilities,
        "prediction_set": list(prediction.prediction_set),
        "coarser_share": prediction.coarser_share,
        "strangeness": {
            "p_value": ood.p_value,
            "flagged": ood.flagged,
            "global": ood.whole,
            "local": ood.local,
            "where": ood.where and list(ood.where),
        },
        "defects": list(prediction.defects),
        "handling": verdict.handling.value,
        "reasons": [reason.value for reason in verdict.reasons],
        "bundle": prediction.bundle,
        "engine": prediction.engine,
        "precision": prediction.precision,
    }


def _format_row(
    crop: Crop, prediction: Prediction, verdict: TriageVerdict, path: Path
) -> tuple[object, ...]:
    return (
        path.name + (f" · {crop.page + 1}/{crop.pages}" if crop.pages > 1 else ""),
        prediction.structure_code,
        f"{prediction.probability:.0%}",
        f"{prediction.strangeness.p_value:.3g}",
        verdict.handling.value,
        ", ".join(reason.value for reason in verdict.reasons).replace("_", " "),
    )


def _draw_maps(crop: Crop, prediction: Prediction, path: Path, folder: Path) -> None:
    from agent.pictures import PREVIEW_PX, Palette, encode_jpeg, fit_within, heat_overlay

    field = fit_within(crop.pixels, PREVIEW_PX)
    subtype_limit, size_limit = (
        prediction.evidence_limits.get(f"{stage}_evidence_limit", EVIDENCE_LIMIT)
        for stage in ("subtype", "size")
    )
    maps = {
        "subtype": (prediction.subtype_map, subtype_limit, Palette.EVIDENCE),
        "size": (prediction.size_map, size_limit, Palette.EVIDENCE),
        f"size-not-{prediction.contrast_with}": (
            prediction.contrast_map,
            size_limit,
            Palette.EVIDENCE,
        ),
        "coarser": (prediction.coarser_map, size_limit, Palette.EVIDENCE),
        "strangeness": (prediction.strangeness.heat, ALARM_LIMIT, Palette.ALARM),
    }
    for name, (heat, limit, palette) in maps.items():
        if heat is not None:
            drawn = heat_overlay(field, heat, limit=limit, palette=palette)
            write_picture(folder / f"{picture_stem(crop, path)}.{name}.jpg", encode_jpeg(drawn))
