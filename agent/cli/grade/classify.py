"""`agent classify`: micrographs cropped and graded without a lab."""

from __future__ import annotations

import os
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.app import DONE, SOME_FAILED, app, load_settings, open_store
from agent.cli.console import err, out, print_json, progress, table
from agent.terminal import format_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.imaging import Crop
    from agent.imaging.pool import Outcome
    from agent.settings import Settings
    from agent.triage import Policy, TriageVerdict
    from agent.watch.listing import Listing
    from model import Classifier, Prediction

Files = Annotated[
    list[Path],
    # Typer's own conversion inspects the path, for ever where its share hangs.
    typer.Argument(help="Image files, or folders to search.", parser=Path, metavar="FILES"),
]

Json = Annotated[bool, typer.Option("--json", help="One JSON object per micrograph on stdout.")]
LISTING_S = 300.0
"""Longest time to list a folder: a hundred thousand files on a share take minutes."""

LONGEST_STEM = 180
"""Bytes of the file name in a picture's name; file systems allow 255, id and map follow."""


def iter_cropped(
    files: Sequence[Path],
    settings: Settings,
    *,
    but: Path | None,
    landmarks: bool = False,
    um_per_px: float | None = None,
) -> Iterator[tuple[Path, Outcome]]:
    """Crop files in parallel and yield them in the given order.

    Args:
        files: Files and folders that the command names.
        settings: Settings of this call.
        but: Output folder, left out if it is inside a named folder.
        landmarks: Extract the landmarks of each crop as well.
        um_per_px: Scale that the command gives for all files, or None.

    Raises:
        UsageError: There is no image file.
    """
    from agent.errors import UsageError
    from agent.imaging import CropPool, Limits

    paths = list(_listed(files, but))
    if not paths:
        raise UsageError(
            f"{', '.join(map(str, files))}: no image file found. Name files or folders with "
            "micrographs."
        )
    imaging = settings.imaging
    finished: dict[Path, Outcome] = {}
    with (
        CropPool(
            workers=min(imaging.workers or (os.cpu_count() or 1), max(1, len(paths))),
            time_limit_s=imaging.time_limit_s,
            memory_limit_mb=imaging.memory_limit_mb,
            limits=Limits(imaging.max_megapixels, sidecars=imaging.sidecars),
            um_per_px_range=imaging.um_per_px_range,
            keep_surface=imaging.surface_layer == "keep",
            landmarks=landmarks,
        ) as pool,
        progress("reading", len(paths)) as advance,
    ):
        order = iter(paths)
        next_path = next(order, None)
        for done, (path, outcome) in enumerate(pool.crop_all([(p, um_per_px) for p in paths]), 1):
            finished[path] = outcome
            while next_path in finished:
                yield next_path, finished.pop(next_path)
                next_path = next(order, None)
            advance(done, path.name)


def _listed(files: Sequence[Path], but: Path | None) -> Iterator[Path]:
    """Yield each file once; of a folder, the files that the watcher would process."""
    from agent.watch import locate

    yielded: set[Path] = set()
    for named in files:
        if is_folder(named):
            listed = [locate(named, relative) for relative in list_named(named, but).pictures]
        else:
            listed = [named]
        for path in listed:
            real = path.resolve() if path.is_symlink() else path  # a named link is intended
            if real not in yielded:
                yielded.add(real)
                yield real


def is_folder(named: Path) -> bool:
    """Return whether a folder has this name.

    Raises:
        OSError: It refuses, or its share hangs.
    """
    from agent.files import shares

    return shares.inspect(named, named.is_dir)


def list_named(folder: Path, but: Path | None) -> Listing:
    """List what is below a folder that a command names, in order of the names.

    Args:
        folder: The folder.
        but: Output folder, left out if it is inside.

    Raises:
        OSError: The folder cannot be listed, or its share hangs.
    """
    from agent.files import shares
    from agent.watch.listing import list_folder, to_text

    def touch() -> None:
        with os.scandir(folder) as entries:
            next(entries, None)

    shares.inspect(folder, touch)  # one that hangs is refused sooner than a large one is listed
    listing = shares.inspect(folder, lambda: list_folder(folder.absolute()), limit_s=LISTING_S)
    top, ours = folder.resolve(), but.resolve() if but else None
    inside = f"{to_text(ours.relative_to(top).as_posix())}/" if ours and top in ours.parents else ""
    listing.pictures = {
        relative: listing.pictures[relative]
        for relative in sorted(listing.pictures, key=lambda relative: relative.split("/"))
        if not (inside and relative.startswith(inside))
    }
    return listing


def describe_fault(error: Exception) -> tuple[str, str]:
    """Return the error code and the sentence for a file that cannot be used."""
    from agent.errors import FileCode, FileError

    if isinstance(error, FileError):
        return error.code.value, error.message
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        return FileCode.UNREADABLE.value, f"it cannot be opened: {reason}."
    return FileCode.CRASHED.value, f"{type(error).__name__}: {error}"


def report_refused(path: Path, error: Exception, *, as_json: bool) -> str:
    """Return a line for a file that cannot be used; print its JSON object if `as_json`."""
    code, message = describe_fault(error)
    if as_json:
        print_json({"file": str(path), "error": {"code": code, "message": message}})
    return f"{path}: {code}: {message}"


def print_outcomes(
    columns: Sequence[str], rows: Sequence[tuple[object, ...]], refused: Sequence[str]
) -> None:
    """Print the table of results, then each file that could not be used."""
    if rows:
        table(columns, rows)
    if refused:
        out.print(f"{format_count(len(refused), 'file')} not used:", markup=False)
    for sentence in refused:
        out.print(f"  {sentence}", markup=False)


def micrograph_title(crop: Crop, path: PurePath) -> str:
    """Return the file name with its page number."""
    return path.name + (f", page {crop.page + 1} of {crop.pages}" if crop.pages > 1 else "")


def picture_stem(crop: Crop, path: Path) -> str:
    """Return the name of a picture: file name with suffix, and id, since stems may repeat.

    A long name is cut; the id keeps it unique.
    """
    return f"{shorten_name(path.name)}.{crop.id}"


def shorten_name(name: str) -> str:
    """Return a name that leaves room for an extension."""
    while len(os.fsencode(name)) > LONGEST_STEM:
        name = name[:-1]
    return name


def make_folder(folder: Path | None, option: str) -> None:
    """Create the folder for pictures.

    Raises:
        UsageError: The folder cannot be created.
    """
    from agent.errors import UsageError

    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{option} {folder}: cannot create this folder ({error.strerror or error}). Name a "
            "folder that you may write to."
        ) from error


def write_picture(file: Path, content: bytes) -> None:
    """Write one picture.

    Raises:
        UsageError: The file cannot be written.
    """
    from agent.errors import UsageError

    try:
        file.write_bytes(content)
    except OSError as error:
        raise UsageError(
            f"{file}: cannot be written ({error.strerror or error}). Free disk space, or name a "
            "folder that you may write to."
        ) from error


ALARM_LIMIT = 2.0
EVIDENCE_LIMIT = 6.0
"""Values at full colour on an out-of-distribution map and on a saliency map, as in the report."""


@app.command("classify")
def classify(  # noqa: PLR0917 - each is a word of the command
    context: typer.Context,
    files: Files,
    as_json: Json = False,
    saliency: Annotated[Path | None, typer.Option(help="Folder for saliency maps.")] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Folder of a bundle. Default: the bundle in use.")
    ] = None,
    um_per_px: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Scale of the files (µm per pixel), as of an objective in the settings. A file "
            "that states another one has a scale conflict.",
        ),
    ] = None,
) -> None:
    """Classify micrographs by structure code. The database is not changed."""
    from agent.errors import UsageError
    from agent.imaging.crop import crop_to_json
    from agent.service.composition import build_policy
    from model import Field

    settings = load_settings(context)
    low, high = settings.imaging.um_per_px_range
    if um_per_px is not None and not low <= um_per_px <= high:
        raise UsageError(
            f"--um-per-px {um_per_px:g}: not between {low:g} and {high:g} µm per pixel; see "
            "[imaging] um_per_px_range."
        )
    make_folder(saliency, "--saliency")
    classifier = _load_classifier(settings, bundle)
    policy = build_policy(settings, classifier)
    rows: list[tuple[object, ...]] = []
    refused: list[str] = []
    for path, outcome in iter_cropped(files, settings, but=saliency, um_per_px=um_per_px):
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
    from agent.errors import UnusableBundleError
    from agent.service.composition import load_bundle
    from agent.store.engine import DATABASE_FILE

    if bundle is not None:
        return load_bundle(settings, str(bundle.resolve() if bundle.is_dir() else bundle))
    name = None
    if settings.store.url or (settings.store.folder / DATABASE_FILE).is_file():
        with open_store(settings) as store:
            name = store.promotions.find_current()
    if name is None:
        raise UnusableBundleError(
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
    from agent.triage import is_provisional

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
        "provisional": is_provisional(verdict.reasons),
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
    from agent.files.pictures import PREVIEW_PX, Palette, encode_jpeg, fit_within, heat_overlay

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
