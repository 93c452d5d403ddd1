"""`agent inspect`: read and crop image files without a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.app import DONE, SOME_FAILED, app, load_settings
from agent.cli.console import print_json
from agent.cli.cropped_files import (
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

if TYPE_CHECKING:
    from agent.imaging import Crop


@app.command("inspect")
def inspect(
    context: typer.Context,
    files: Files,
    as_json: Json = False,
    overlay: Annotated[
        Path | None, typer.Option(help="Folder for pictures of the detected scale bar and crop.")
    ] = None,
) -> None:
    """Read micrographs and crop them to the steel area, without a model."""
    from agent.imaging.crop_json import crop_to_json  # heavy imports inside commands

    settings = load_settings(context)
    make_folder(overlay, "--overlay")
    rows: list[tuple[object, ...]] = []
    refused: list[str] = []
    for path, outcome in iter_cropped(files, settings, but=overlay):
        if not isinstance(outcome, list):
            refused.append(report_refused(path, outcome, as_json=as_json))
            continue
        for crop in outcome:
            if as_json:
                print_json({"file": str(path)} | crop_to_json(crop))
            if overlay:
                _draw(crop, path, overlay)
            rows.append(_format_row(crop, path))
    if not as_json:
        print_outcomes(
            ("file", "micrograph", "µm/px", "micron bar", "kept", "remarks"), rows, refused
        )
    raise typer.Exit(SOME_FAILED if refused else DONE)


def _format_row(crop: Crop, path: Path) -> tuple[object, ...]:
    x0, y0, x1, y1 = crop.box
    kept = (x1 - x0) * (y1 - y0) / (crop.width * crop.height)
    bar = crop.micron_bar
    return (
        path.name + (f" · {crop.page + 1}/{crop.pages}" if crop.pages > 1 else ""),
        f"{crop.format} {crop.width} × {crop.height}",
        _format_scale(crop),
        bar and f"{bar.label or 'label not read'} = {bar.line_px:.0f} px",
        f"{x1 - x0} × {y1 - y0} ({kept:.0%})",
        ", ".join(crop.warnings).replace("_", " "),
    )


def _format_scale(crop: Crop) -> str:
    if crop.um_per_px is not None:
        return f"{crop.um_per_px:.4g} ({(crop.um_per_px_source or '').replace('_', ' ')})"
    return "sources disagree" if "scale_conflict" in crop.warnings else "unknown"


def _draw(crop: Crop, path: Path, folder: Path) -> None:
    from agent.imaging.overlay import render_overlay
    from agent.pictures import encode_jpeg

    picture = render_overlay(crop, micrograph_title(crop, path))
    write_picture(folder / f"{picture_stem(crop, path)}.jpg", encode_jpeg(picture, quality=90))
