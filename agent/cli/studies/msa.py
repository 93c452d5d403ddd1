"""`agent msa`: measurement-system analysis of the grading."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.app import app, load_settings, now_utc, open_store
from agent.cli.console import echo, err, print_json
from agent.cli.options import os_user, signed_store
from agent.cli.studies.roundrobin import (
    By,
    Json,
    Out,
    Seed,
    draw_seed,
    parse_code,
    parse_limits,
    read_rows,
    report_path,
)
from agent.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model import Taxonomy

msa = typer.Typer(
    name="msa",
    help="Measurement-system analysis: specimens, operators, microscopes, images, preparations.",
    no_args_is_help=True,
)
app.add_typer(msa)

Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="Name of the plan; it is the order number of its images."),
]
FOLDER = "msa"
MOST = 100
"""Largest number of images or preparations of one specimen; more is a typing error."""


@msa.command()
def plan(  # noqa: PLR0917 - each is an option of the command
    context: typer.Context,
    name: Name,
    specimens: Annotated[
        Path, typer.Option(metavar="CSV", help="Columns specimen and code (the true code).")
    ],
    operators: Annotated[
        str,
        typer.Option(
            metavar="A,B", help="Comma-separated names of the operators who take the images."
        ),
    ],
    microscopes: Annotated[
        str, typer.Option(metavar="A,B", help="Comma-separated microscope names.")
    ],
    images: Annotated[
        int,
        typer.Option(min=1, max=MOST, help="Images of each preparation, operator and microscope."),
    ] = 2,
    preparations: Annotated[
        int, typer.Option(min=1, max=MOST, help="Preparations of each specimen.")
    ] = 2,
    seed: Seed = None,
    out: Out = None,
    by: By = "",
) -> None:
    """Write a plan in random order: a sheet to print and a CSV, both without true codes."""
    import reports  # heavy
    from agent.orders.facts.order_policy import taxonomy_in_force
    from agent.roundrobin import msa_study as analysis
    from agent.roundrobin.campaign import require_name
    from agent.site_time import local_full

    require_name(name)
    settings, at = load_settings(context), now_utc()
    speaking = reports.speaking(settings.report.language)
    with signed_store(context, settings, by) as (store, signer), speaking:
        path = out or report_path(settings, store, FOLDER, f"{name}-plan")
        taxonomy = taxonomy_in_force(settings, store)
        codes = _true_codes(specimens, taxonomy)
        n = analysis.write_plan(
            store,
            name,
            codes,
            _parse_names(operators, "--operators"),
            _parse_names(microscopes, "--microscopes"),
            path,
            images=images,
            preparations=preparations,
            seed=draw_seed() if seed is None else seed,
            site=settings.site.name,
            generated=local_full(at, settings.site.time_zone),
            by=signer or os_user(),
            at=at,
        )
    err.print(f"{n} runs of {len(codes)} specimens", markup=False)
    echo(str(path))


@msa.command()
def report(  # noqa: PLR0917 - each is an option of the command
    context: typer.Context,
    name: Name,
    codes: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Columns run and code, filled in by raters."),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help='Limit such as "8 or finer". Default: all limits that the specimens allow.',
        ),
    ] = None,
    out: Out = None,
    as_json: Json = False,
    by: By = "",
) -> None:
    """Report effectiveness, miss rate and false-alarm rate per limit, and variance components."""
    from agent.orders.facts.order_policy import taxonomy_in_force
    from agent.roundrobin import msa_study as analysis
    from agent.roundrobin.msa_page import Thresholds
    from agent.site_time import local_full

    settings, at = load_settings(context), now_utc()
    with open_store(settings) as store:
        path = out or report_path(settings, store, FOLDER, name)
        taxonomy = taxonomy_in_force(settings, store)
        if codes is None:
            gathered = analysis.gather_results(store, name)
        else:
            gathered = analysis.gather_codes(store, name, _read_codes(codes, taxonomy))
        limits = parse_limits(limit, taxonomy) if limit else None
        document = analysis.write_report(
            store,
            name,
            gathered,
            limits or analysis.limits_in(gathered.measured, taxonomy),
            path,
            taxonomy=taxonomy,
            thresholds=Thresholds(
                settings.msa.effectiveness_min,
                settings.msa.miss_rate_max,
                settings.msa.false_alarm_max,
                settings.msa.study_share_max,
                settings.msa.source,
            ),
            site=settings.site.name,
            generated=local_full(at, settings.site.time_zone),
            by=by or os_user(),
            at=at,
            language=settings.report.language,
        )
    if as_json:
        print_json(document)
    else:
        echo(str(path))


def _true_codes(file: Path, taxonomy: Taxonomy) -> dict[str, str]:
    """Return the true code of each specimen.

    Raises:
        UsageError: A specimen or a code is missing, unknown or repeated.
    """
    codes: dict[str, str] = {}
    for line, row in read_rows(file, "specimen", "code"):
        if row["specimen"] in codes:
            raise UsageError(f"{file}: line {line}: specimen {row['specimen']} is repeated.")
        codes[row["specimen"]] = parse_code(row["code"], file, line, taxonomy)
    if not codes:
        raise UsageError(f"{file}: the file has no specimen.")
    return codes


def _read_codes(file: Path, taxonomy: Taxonomy) -> dict[str, str | None]:
    """Return the code of each run, None for an empty cell.

    Raises:
        UsageError: A run is repeated, or a code is unknown.
    """
    codes: dict[str, str | None] = {}
    for line, row in read_rows(file, "run", "code"):
        if row["run"] in codes:
            raise UsageError(
                f"{file}: line {line}: run {row['run']} is repeated. Delete one of the rows."
            )
        codes[row["run"]] = parse_code(row["code"], file, line, taxonomy) if row["code"] else None
    return codes


def _parse_names(text: str, option: str) -> Sequence[str]:
    names = [part.strip() for part in text.split(",") if part.strip()]
    if not names or len(set(names)) < len(names):
        raise UsageError(
            f"{option}: write each name once, separated by commas, instead of {text!r}."
        )
    return names
