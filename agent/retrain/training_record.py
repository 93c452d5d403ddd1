"""Write how a bundle was trained and tested: CSV and SVG, in the bundle's folder `record`.

The record is no part of the bundle: nothing in it changes an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.files.csv_export import format_csv
from agent.files.whole_file import write_whole
from agent.retrain.bundle_registry import get_record_folder
from model import read_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def save_record(bundle: Path) -> Path:
    """Write how a bundle was trained and tested, into its folder `record`.

    Returns:
        The folder: `epochs.csv` and `curves-NETWORK.svg` where whole networks were trained,
        `confusion.svg`, and one per stage, where there were test images.
    """
    manifest = read_manifest(bundle)
    folder = get_record_folder(bundle)
    epochs = manifest.facts.get("history", [])
    write_figures(folder, manifest.metrics, f"bundle {bundle.name}", epochs)
    return folder


def write_figures(
    folder: Path,
    metrics: Mapping[str, Any],
    title: str,
    epochs: Sequence[Mapping[str, Any]] = (),
) -> list[Path]:
    """Write an evaluation's confusion matrices, and the losses of training per epoch.

    Args:
        folder: Created if missing.
        metrics: `Evaluation.as_json()`; nothing is drawn where nothing was tested.
        title: Above each matrix.
        epochs: Of every network, each naming it as "eye".

    Returns:
        The files.
    """
    from reports import confusion_svg, curves_svg  # noqa: PLC0415 - matplotlib takes seconds

    files: dict[Path, bytes] = {}
    if metrics.get("n"):
        confusion = metrics["confusion"]
        drawn = confusion_svg(confusion["codes"], confusion["rows_predicted"], title)
        files[folder / "confusion.svg"] = drawn.encode()
        for stage, stage_confusion in metrics.get("stage_confusions", {}).items():
            what = "subtype" if stage == "subtype" else "size"
            heading = f"{title}: {stage.replace('size:', 'sizes of ')}"
            drawn = confusion_svg(
                stage_confusion["classes"], stage_confusion["rows_predicted"], heading, what
            )
            files[folder / f"confusion-{stage.replace(':', '-')}.svg"] = drawn.encode()
    if epochs:
        files[folder / "epochs.csv"] = format_csv(list(epochs[0]), epochs).encode()
    for eye in dict.fromkeys(epoch["eye"] for epoch in epochs):
        own = [epoch for epoch in epochs if epoch["eye"] == eye]
        name = f"curves-{eye.replace(':', '-')}.svg"
        files[folder / name] = curves_svg(own, f"network {eye}").encode()
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(files)
    return list(files)
