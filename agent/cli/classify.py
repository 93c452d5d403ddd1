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
    from agent.triage import Policy, Verdict
    from model import Classifier, Prediction

ALARM_LIMIT = 2.0

EVIDENCE_LIMIT = 6.0
"""The values that get the full colour on a strangeness and on a saliency map, as in the report."""


@app.command("classify")
def classify(
    context: typer.Context,
    files: Files,
    as_json: Json = False,
    saliency: Annotated[
        Path | None, typer.Option(help="Write the maps of what the networks looked at here.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="A bundle's folder; by default the promoted one.")
    ] = None,
) -> None:
    """Give micrographs their structure code; writes nothing to the database."""
    from agent.imaging.crop_json import crop_to_json
    from agent.service.composition import policy_of
    from model import Field

    settings = load_settings(context)
    make_folder(saliency, "--saliency")
    classifier = _classifier(settings, bundle)
    policy = policy_of(settings, classifier)
    rows: list[tuple[object, ...]] = []
    refused: list[str] = []
    for path, outcome in iter_cropped(files, settings, but=saliency):
        if not isinstance(outcome, list):
            refused.append(report_refused(path, outcome, as_json=as_json))
            continue
        fields = [
            Field(c.pixels, c.valid, c.um_per_px, c.metadata.get("microscope", "")) for c in outcome
        ]
        for crop, said in zip(outcome, classifier.classify(fields), strict=True):
            verdict = _verdict(crop, said, policy)
            if as_json:
                print_json(
                    {"file": str(path)} | crop_to_json(crop) | prediction_to_json(said, verdict)
                )
            if saliency:
                _draw_maps(crop, said, path, saliency)
            rows.append(_answered(crop, said, verdict, path))
    if classifier.degraded_reason:
        err.print(classifier.degraded_reason, markup=False)
    if not as_json:
        columns = ("file", "structure code", "probability", "strangeness p", "handling", "reasons")
        print_outcomes(columns, rows, refused)
    raise typer.Exit(SOME_FAILED if refused else DONE)


def _classifier(settings: Settings, bundle: Path | None) -> Classifier:
    from agent.errors import BadBundle
    from agent.service.composition import load_bundle
    from agent.store.engine import DATABASE_FILE

    if bundle is not None:
        return load_bundle(settings, str(bundle.resolve() if bundle.is_dir() else bundle))
    name = None
    if settings.store.url or (settings.store.folder / DATABASE_FILE).is_file():
        with open_store(settings) as store:
            name = store.current_bundle()
    if name is None:
        raise BadBundle(
            "no bundle has been promoted yet; `agent train FOLDER` makes one, "
            "or name one with --bundle."
        )
    return load_bundle(settings, name)


def _verdict(crop: Crop, said: Prediction, policy: Policy) -> Verdict:
    from agent.triage import triage

    return triage(
        said,
        sha256=crop.sha256,
        um_per_px=crop.um_per_px,
        warnings=crop.warnings,
        material="",
        policy=policy,
    )


def prediction_to_json(said: Prediction, verdict: Verdict) -> dict[str, object]:
    """Give what `agent classify --json` adds to a crop's facts."""
    strange = said.strangeness
    return {
        "subtype": said.subtype,
        "subtype_probabilities": said.subtype_probabilities,
        "size": said.size,
        "size_min": said.size_min,
        "size_max": said.size_max,
        "size_probabilities": said.size_probabilities,
        "structure_code": said.structure_code,
        "probability": said.probability,
        "probabilities": said.probabilities,
        "prediction_set": list(said.prediction_set),
        "coarser_share": said.coarser_share,
        "strangeness": {
            "p_value": strange.p_value,
            "flagged": strange.flagged,
            "global": strange.whole,
            "local": strange.local,
            "where": strange.where and list(strange.where),
        },
        "defects": list(said.defects),
        "handling": verdict.handling.value,
        "reasons": [reason.value for reason in verdict.reasons],
        "bundle": said.bundle,
        "engine": said.engine,
        "precision": said.precision,
    }


def _answered(crop: Crop, said: Prediction, verdict: Verdict, path: Path) -> tuple[object, ...]:
    return (
        path.name + (f" · {crop.page + 1}/{crop.pages}" if crop.pages > 1 else ""),
        said.structure_code,
        f"{said.probability:.0%}",
        f"{said.strangeness.p_value:.3g}",
        verdict.handling.value,
        ", ".join(reason.value for reason in verdict.reasons).replace("_", " "),
    )


def _draw_maps(crop: Crop, said: Prediction, path: Path, folder: Path) -> None:
    from agent.pictures import PREVIEW_PX, Palette, encode_jpeg, fit_within, heat_overlay

    field = fit_within(crop.pixels, PREVIEW_PX)
    subtype_limit, size_limit = (
        said.evidence_limits.get(f"{stage}_evidence_limit", EVIDENCE_LIMIT)
        for stage in ("subtype", "size")
    )
    maps = {
        "subtype": (said.subtype_map, subtype_limit, Palette.EVIDENCE),
        "size": (said.size_map, size_limit, Palette.EVIDENCE),
        f"size-not-{said.contrast_with}": (said.contrast_map, size_limit, Palette.EVIDENCE),
        "coarser": (said.coarser_map, size_limit, Palette.EVIDENCE),
        "strangeness": (said.strangeness.heat, ALARM_LIMIT, Palette.ALARM),
    }
    for name, (heat, limit, palette) in maps.items():
        if heat is not None:
            drawn = heat_overlay(field, heat, limit=limit, palette=palette)
            write_picture(folder / f"{picture_stem(crop, path)}.{name}.jpg", encode_jpeg(drawn))
