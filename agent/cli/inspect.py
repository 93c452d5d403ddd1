"""Commands that look at files: `inspect` and `classify` keep nothing, `scale check` a record."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.app import DONE, SAYS_NO, SOME_FAILED, app, settings_of, store_of
from agent.cli.console import aside, console, echo, print_json, progress, table
from agent.cli.signing import os_user, shell_store, signed_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agent.imaging import Crop
    from agent.imaging.pool import Outcome
    from agent.settings import Settings
    from agent.triage import Policy, Verdict
    from model import Classifier, Prediction

Files = Annotated[list[Path], typer.Argument(help="Files, or folders to look through.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per micrograph on stdout.")]
ALARM_LIMIT = 2.0
EVIDENCE_LIMIT = 6.0
"""The values that get the full colour on a strangeness and on a saliency map, as in the report."""
LONGEST_STEM = 180
"""Bytes of a file's name in a picture's; file systems take 255, and id and map's name follow."""


@app.command("inspect")
def inspect(
    context: typer.Context,
    files: Files,
    as_json: Json = False,
    overlay: Annotated[
        Path | None, typer.Option(help="Write a picture of what was found to this folder.")
    ] = None,
) -> None:
    """Read micrographs and cut them down to steel, without a model."""
    from agent.imaging.crop_json import crop_to_json  # heavy imports inside commands

    settings = settings_of(context)
    _make(overlay, "--overlay")
    rows: list[tuple[object, ...]] = []
    refused: list[str] = []
    for path, outcome in _cropped(files, settings, but=overlay):
        if not isinstance(outcome, list):
            refused.append(_refused(path, outcome, as_json=as_json))
            continue
        for crop in outcome:
            if as_json:
                print_json({"file": str(path)} | crop_to_json(crop))
            if overlay:
                _draw(crop, path, overlay)
            rows.append(_found(crop, path))
    if not as_json:
        _print(("file", "micrograph", "µm/px", "micron bar", "kept", "remarks"), rows, refused)
    raise typer.Exit(SOME_FAILED if refused else DONE)


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

    settings = settings_of(context)
    _make(saliency, "--saliency")
    classifier = _classifier(settings, bundle)
    policy = policy_of(settings, classifier)
    rows: list[tuple[object, ...]] = []
    refused: list[str] = []
    for path, outcome in _cropped(files, settings, but=saliency):
        if not isinstance(outcome, list):
            refused.append(_refused(path, outcome, as_json=as_json))
            continue
        fields = [
            Field(c.pixels, c.valid, c.um_per_px, c.metadata.get("microscope", "")) for c in outcome
        ]
        for crop, said in zip(outcome, classifier.classify(fields), strict=True):
            verdict = _verdict(crop, said, policy)
            if as_json:
                print_json({"file": str(path)} | crop_to_json(crop) | answer_of(said, verdict))
            if saliency:
                _draw_maps(crop, said, path, saliency)
            rows.append(_answered(crop, said, verdict, path))
    if classifier.degraded_reason:
        aside.print(classifier.degraded_reason, markup=False)
    if not as_json:
        columns = ("file", "structure code", "probability", "strangeness p", "handling", "reasons")
        _print(columns, rows, refused)
    raise typer.Exit(SOME_FAILED if refused else DONE)


scale = typer.Typer(
    help="The physical scale: check it with a stage micrometer.", no_args_is_help=True
)
app.add_typer(scale, name="scale")
TOLERANCE = 0.02
"""Relative deviation from the table of objectives above which the check says no."""


@scale.command("check")
def check(  # noqa: PLR0917 - Typer's parameters are the command's options
    context: typer.Context,
    image: Annotated[Path, typer.Argument(help="A picture of a stage micrometer.")],
    division: Annotated[str, typer.Option(help="Distance of its lines, such as 10um.")],
    expected: Annotated[
        float | None, typer.Option(help="µm per pixel that the table of objectives says.")
    ] = None,
    by: Annotated[str, typer.Option(help="Who measured.")] = "",
    certificate: Annotated[str, typer.Option(help="Of the stage micrometer.")] = "",
    microscope: Annotated[str, typer.Option(help="The microscope, as fields name it.")] = "",
    source: Annotated[str, typer.Option(help="Else the source that its pictures come from.")] = "",
    objective: Annotated[
        str, typer.Option(help="The objective, such as 50x: scales are traced to the measurement.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Measure a stage micrometer; with an objective, scales of fields are traced to it.

    The measurement is kept in the audit log. With --objective, --by and --microscope or --source it
    is a record to which the scale of each later field of that objective is traced.
    """
    from agent.errors import FileError, WrongUse
    from agent.imaging.readers.read import read
    from agent.imaging.stage_micrometer import measure
    from agent.orders.scale_tracing import SCALE_CHECK
    from agent.service.data_folder import clock

    settings = settings_of(context)
    if objective and not (by and (microscope or source)):
        raise WrongUse("--objective: name --by and --microscope or --source too, for the record.")
    if source and source not in {one.name for one in settings.sources}:
        raise WrongUse(f"--source: no source is called {source!r}; agent.toml lists them.")
    if expected is not None and not 0 < expected < float("inf"):
        raise WrongUse(f"--expected: write µm per pixel above 0, such as 0.172, found {expected}.")
    opened = signed_store(context, settings, by) if objective else shell_store(settings, by)
    with opened as (store, signer):
        try:
            micrograph = read(image.resolve())[0]
        except (FileError, OSError) as error:
            raise WrongUse(f"{image}: {_fault(error)[1]}") from error
        measured = measure(micrograph.pixels, division_um=_micrometres(division))
        if measured is None:
            echo(
                f"{image}: no ruling of equal divisions is seen; it needs six lines or more, "
                "in focus, along the picture's rows or columns.",
                err=True,
            )
            raise typer.Exit(SAYS_NO)
        deviation = measured.um_per_px / expected - 1 if expected is not None else None
        facts = measured.as_json() | {
            "file": str(image),
            "sha256": micrograph.sha256,
            "division": division,
            "certificate": certificate,
            "by": signer,
            "expected_um_per_px": expected,
            "deviation": deviation,
        }
        now = clock()
        store.remember(
            at=now, actor=signer or os_user(), act="scale.checked", subject=image.name, facts=facts
        )
        if objective:
            names = {"microscope": microscope, "source": source, "objective": objective}
            facts |= names
            subject = microscope or source
            facts["record"] = store.records.add(
                SCALE_CHECK, subject, by=signer, at=now, facts=facts
            )
    if as_json:
        print_json(facts)
    else:
        table(("what", "measured"), _measured(facts), title=str(image))
    raise typer.Exit(SAYS_NO if abs(deviation or 0) > TOLERANCE else DONE)


def _micrometres(division: str) -> float:
    import re

    from agent.errors import WrongUse
    from agent.imaging.readers.metadata import UM_PER

    said = re.fullmatch(r"\s*(\d+(?:[.,]\d+)?)\s*([^\d\s]+)\s*", division)
    unit = UM_PER.get(said[2].lower()) if said else None
    if said is None or unit is None or float(said[1].replace(",", ".")) <= 0:
        raise WrongUse(f"--division: write a length such as 10um or 0.01mm, found {division!r}.")
    return float(said[1].replace(",", ".")) * unit


def _measured(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "µm per pixel", f"{facts['um_per_px']:.5g} ± {facts['uncertainty']:.2%} (k = 2)"
    for axis, ruling in facts["along"].items():
        yield f"along {axis}", f"{ruling['um_per_px']:.5g} from {ruling['lines']} lines"
    for corner, um in facts["corners"].items():
        yield corner, f"{um:.5g} ({um / facts['um_per_px'] - 1:+.2%})"
    if facts["deviation"] is not None:
        yield "deviation from the table", f"{facts['deviation']:+.2%}"
    if facts.get("record"):
        where = facts["microscope"] or facts["source"]
        yield "record", f"{facts['record']}: {where}, {facts['objective']}, by {facts['by']}"


# -------------------------------------------------------------------------- reading and cropping


def _cropped(
    files: Sequence[Path], settings: Settings, *, but: Path | None
) -> Iterator[tuple[Path, Outcome]]:
    """Crop files in parallel and give them in the order they were named.

    Args:
        files: As named.
        settings: Those of this call.
        but: A folder of our own pictures, left out where it lies in a folder that is named.

    Raises:
        WrongUse: There is nothing to read.
    """
    from agent.errors import WrongUse
    from agent.imaging.pool import CropPool

    paths = list(_listed(files, but))
    if not paths:
        raise WrongUse(
            f"{', '.join(map(str, files))}: no picture in it, by the names of its files; "
            "name the folder or the files that hold micrographs."
        )
    imaging = settings.imaging
    came: dict[Path, Outcome] = {}
    with (
        CropPool(
            workers=min(imaging.workers or _cores(), max(1, len(paths))),
            time_limit_s=imaging.time_limit_s,
            memory_limit_mb=imaging.memory_limit_mb,
            max_megapixels=imaging.max_megapixels,
            um_per_px_range=imaging.um_per_px_range,
            sidecars=imaging.sidecars,
        ) as pool,
        progress("reading", len(paths)) as advance,
    ):
        turn = iter(paths)
        next_path = next(turn, None)
        for done, (path, outcome) in enumerate(pool.crop_all([(p, None) for p in paths]), 1):
            came[path] = outcome
            while next_path in came:
                yield next_path, came.pop(next_path)
                next_path = next(turn, None)
            advance(done, path.name)


def _cores() -> int:
    return os.cpu_count() or 1


def _listed(files: Sequence[Path], but: Path | None) -> Iterator[Path]:
    """Give each file once; of a folder, what the watch would take for a picture."""
    seen: set[Path] = set()
    for named in files:
        for path in _pictures(named, but) if named.is_dir() else (named,):
            real = path.resolve() if path.is_symlink() else path  # a person names it: it is meant
            if real not in seen:
                seen.add(real)
                yield real


def _pictures(folder: Path, but: Path | None) -> Iterator[Path]:
    from agent.watch.file_types import Kind, classify_name

    top, ours = folder.resolve(), but.resolve() if but else None
    inside = folder / ours.relative_to(top) if ours and top in ours.parents else None
    for path in sorted(folder.rglob("*")):
        if inside and path.is_relative_to(inside):
            continue
        if classify_name(path.relative_to(folder).as_posix()) is Kind.PICTURE and path.is_file():
            yield path


def _fault(error: Exception) -> tuple[str, str]:
    from agent.errors import FileCode, FileError

    if isinstance(error, FileError):
        return error.code.value, error.message
    if isinstance(error, OSError):
        said = error.strerror or str(error)
        return FileCode.UNREADABLE.value, f"it cannot be opened: {said}."
    return FileCode.CRASHED.value, f"{type(error).__name__}: {error}"


def _refused(path: Path, error: Exception, *, as_json: bool) -> str:
    code, message = _fault(error)
    if as_json:
        print_json({"file": str(path), "error": {"code": code, "message": message}})
    return f"{path}: {code}: {message}"


def _print(
    columns: Sequence[str], rows: Sequence[tuple[object, ...]], refused: Sequence[str]
) -> None:
    if rows:
        table(columns, rows)
    if refused:
        console.print(f"{len(refused)} not used:", markup=False)
    for sentence in refused:
        console.print(f"  {sentence}", markup=False)


# --------------------------------------------------------------------------------------- inspect


def _found(crop: Crop, path: Path) -> tuple[object, ...]:
    x0, y0, x1, y1 = crop.box
    kept = (x1 - x0) * (y1 - y0) / (crop.width * crop.height)
    bar = crop.micron_bar
    return (
        path.name + (f" · {crop.page + 1}/{crop.pages}" if crop.pages > 1 else ""),
        f"{crop.format} {crop.width} × {crop.height}",
        _scale(crop),
        bar and f"{bar.label or 'label not read'} = {bar.line_px:.0f} px",
        f"{x1 - x0} × {y1 - y0} ({kept:.0%})",
        ", ".join(crop.warnings).replace("_", " "),
    )


def _scale(crop: Crop) -> str:
    if crop.um_per_px is not None:
        return f"{crop.um_per_px:.4g} ({(crop.um_per_px_source or '').replace('_', ' ')})"
    return "sources disagree" if "scale_conflict" in crop.warnings else "not known"


def _draw(crop: Crop, path: Path, folder: Path) -> None:
    from agent.imaging.overlay import render_overlay
    from agent.pictures import encode_jpeg

    picture = render_overlay(crop, _titled(crop, path))
    _write(folder / f"{_stem(crop, path)}.jpg", encode_jpeg(picture, quality=90))


def _titled(crop: Crop, path: Path) -> str:
    return path.name + (f", page {crop.page + 1} of {crop.pages}" if crop.pages > 1 else "")


def _stem(crop: Crop, path: Path) -> str:
    """Name a picture after its file, suffix and id included: two files may share a stem.

    A name that leaves no room for more is cut; the id still tells two apart.
    """
    name = path.name
    while len(os.fsencode(name)) > LONGEST_STEM:
        name = name[:-1]
    return f"{name}.{crop.id}"


def _make(folder: Path | None, option: str) -> None:
    """Make the folder for pictures before anything is read. Raises `WrongUse`."""
    from agent.errors import WrongUse

    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WrongUse(
            f"{option} {folder}: this folder cannot be made ({error.strerror or error}); "
            "name one that you may write to."
        ) from error


def _write(file: Path, content: bytes) -> None:
    """Write one picture. Raises `WrongUse`, where the folder takes none."""
    from agent.errors import WrongUse

    try:
        file.write_bytes(content)
    except OSError as error:
        raise WrongUse(
            f"{file}: cannot be written ({error.strerror or error}); "
            "make room there, or name a folder that you may write to."
        ) from error


# -------------------------------------------------------------------------------------- classify


def _classifier(settings: Settings, bundle: Path | None) -> Classifier:
    from agent.errors import BadBundle
    from agent.service.composition import load_bundle
    from agent.store.engine import DATABASE_FILE

    if bundle is not None:
        return load_bundle(settings, str(bundle.resolve() if bundle.is_dir() else bundle))
    name = None
    if settings.store.url or (settings.store.folder / DATABASE_FILE).is_file():
        with store_of(settings) as store:
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


def answer_of(said: Prediction, verdict: Verdict) -> dict[str, object]:
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
            _write(folder / f"{_stem(crop, path)}.{name}.jpg", encode_jpeg(drawn))
