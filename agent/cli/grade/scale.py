"""`agent scale`: check the physical scale with a stage micrometer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli.app import DONE, SAYS_NO, app, load_settings
from agent.cli.console import echo, print_json, table
from agent.cli.grade.classify import Json, describe_fault
from agent.cli.options import os_user, shell_store, signed_store

scale = typer.Typer(help="Check the physical scale with a stage micrometer.", no_args_is_help=True)
app.add_typer(scale, name="scale")

TOLERANCE = 0.02
"""Largest accepted relative deviation from the table of objectives."""


@scale.command("check")
def check(  # noqa: PLR0917 - Typer's parameters are the command's options
    context: typer.Context,
    image: Annotated[Path, typer.Argument(help="Image of a stage micrometer.")],
    division: Annotated[str, typer.Option(help="Distance between its lines, such as 10um.")],
    expected: Annotated[
        float | None, typer.Option(help="Expected µm per pixel, from the table of objectives.")
    ] = None,
    by: Annotated[str, typer.Option(help="Name of the person who measured.")] = "",
    certificate: Annotated[str, typer.Option(help="Certificate of the stage micrometer.")] = "",
    microscope: Annotated[str, typer.Option(help="Microscope name, as in the process data.")] = "",
    source: Annotated[
        str, typer.Option(help="Source of its images, instead of the microscope.")
    ] = "",
    objective: Annotated[
        str,
        typer.Option(help="Objective, such as 50x; later scales are traced to this measurement."),
    ] = "",
    as_json: Json = False,
) -> None:
    """Measure the pixel size on an image of a stage micrometer.

    The measurement is recorded in the audit log. With --objective, --by and --microscope or
    --source, the scale of each later field of that objective is traced to it. Exit code 3 if the
    deviation from --expected exceeds 2 %.
    """
    from agent.errors import FileError, UsageError
    from agent.imaging.readers.read import read
    from agent.imaging.stage_micrometer import measure
    from agent.orders.facts.scale_tracing import SCALE_CHECK
    from agent.service.data_folder import clock
    from model import suggest_nearest

    settings = load_settings(context)
    if objective and not (by and (microscope or source)):
        raise UsageError("--objective needs --by and --microscope or --source for the record.")
    sources = [entry.name for entry in settings.sources]
    if source and source not in sources:
        raise UsageError(
            f"--source: unknown source {source!r}. agent.toml lists the sources."
            f"{suggest_nearest(source, sources)}"
        )
    if expected is not None and not 0 < expected < float("inf"):
        raise UsageError(
            f"--expected: write µm per pixel above 0, such as 0.172, instead of {expected}."
        )
    opened = signed_store(context, settings, by) if objective else shell_store(settings, by)
    with opened as (store, signer):
        try:
            micrograph = read(image.resolve())[0]
        except (FileError, OSError) as error:
            raise UsageError(f"{image}: {describe_fault(error)[1]}") from error
        measured = measure(micrograph.pixels, division_um=_parse_micrometres(division))
        if measured is None:
            echo(
                f"{image}: no ruling with equal divisions detected. The image needs at least six "
                "sharp lines along its rows or columns.",
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
        store.audit_log.add(
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
        table(("quantity", "measured"), _iter_rows(facts), title=str(image))
    raise typer.Exit(SAYS_NO if abs(deviation or 0) > TOLERANCE else DONE)


def _parse_micrometres(division: str) -> float:
    import re

    from agent.errors import UsageError
    from agent.imaging.readers.metadata import UM_PER

    match = re.fullmatch(r"\s*(\d+(?:[.,]\d+)?)\s*([^\d\s]+)\s*", division)
    unit = UM_PER.get(match[2].lower()) if match else None
    if match is None or unit is None or float(match[1].replace(",", ".")) <= 0:
        raise UsageError(
            f"--division: write a length such as 10um or 0.01mm instead of {division!r}."
        )
    return float(match[1].replace(",", ".")) * unit


def _iter_rows(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
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
