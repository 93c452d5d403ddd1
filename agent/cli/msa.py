"""`agent msa`: how far the measuring system can be trusted, and what its scatter comes from."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - Typer reads it
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.app import app, settings_of, store_of
from agent.cli.console import aside, echo, print_json
from agent.cli.roundrobin import (
    By,
    Json,
    Out,
    Seed,
    code_in,
    drawn_seed,
    limits_asked,
    now_utc,
    page_among_reports,
    rows_with,
)
from agent.cli.signing import os_user, signed_store
from agent.errors import WrongUse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model import Taxonomy

msa = typer.Typer(
    name="msa",
    help="Measurement-system analysis: specimens, operators, microscopes, images, preparations.",
    no_args_is_help=True,
)
app.add_typer(msa)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the plan: its images' order number.")]
FOLDER = "msa"
MOST = 100
"""Images or preparations of one specimen; more is a slip of the hand."""


@msa.command()
def plan(  # noqa: PLR0917 - each is an option of the command
    context: typer.Context,
    name: Name,
    specimens: Annotated[
        Path, typer.Option(metavar="CSV", help="Columns specimen and code: what each truly is.")
    ],
    operators: Annotated[str, typer.Option(metavar="A,B", help="Who takes the images.")],
    microscopes: Annotated[str, typer.Option(metavar="A,B", help="On which.")],
    images: Annotated[
        int, typer.Option(min=1, max=MOST, help="How often each is imaged anew.")
    ] = 2,
    preparations: Annotated[
        int, typer.Option(min=1, max=MOST, help="How often each specimen is prepared.")
    ] = 2,
    seed: Seed = None,
    out: Out = None,
    by: By = "",
) -> None:
    """Write a plan in random order: a sheet to print, and a CSV; no true code is on either."""
    import reports  # noqa: PLC0415 - heavy
    from agent.lab_context import taxonomy_in_force  # noqa: PLC0415
    from agent.roundrobin import msa_study as analysis  # noqa: PLC0415
    from agent.roundrobin.campaign import require_name  # noqa: PLC0415
    from agent.site_time import local_full  # noqa: PLC0415

    require_name(name)
    settings, at = settings_of(context), now_utc()
    speaking = reports.speaking(settings.report.language)
    with signed_store(context, settings, by) as (store, signer), speaking:
        path = out or page_among_reports(settings, store, FOLDER, f"{name}-plan")
        taxonomy = taxonomy_in_force(settings, store)
        codes = _true_codes(specimens, taxonomy)
        n = analysis.write_plan(
            store,
            name,
            codes,
            _names(operators, "--operators"),
            _names(microscopes, "--microscopes"),
            path,
            images=images,
            preparations=preparations,
            seed=drawn_seed() if seed is None else seed,
            site=settings.site.name,
            generated=local_full(at, settings.site.time_zone),
            by=signer or os_user(),
            at=at,
        )
    aside.print(f"{n} runs of {len(codes)} specimens", markup=False)
    echo(str(path))


@msa.command()
def report(  # noqa: PLR0917 - each is an option of the command
    context: typer.Context,
    name: Name,
    codes: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Columns run and code, filled in by people."),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help='As "8 or finer"; else all that the specimens allow.'),
    ] = None,
    out: Out = None,
    as_json: Json = False,
    by: By = "",
) -> None:
    """Say effectiveness, misses and false alarms per limit, and where the scatter comes from."""
    from agent.lab_context import taxonomy_in_force  # noqa: PLC0415
    from agent.roundrobin import msa_study as analysis  # noqa: PLC0415
    from agent.roundrobin.msa_page import Thresholds  # noqa: PLC0415
    from agent.site_time import local_full  # noqa: PLC0415

    settings, at = settings_of(context), now_utc()
    with store_of(settings) as store:
        path = out or page_among_reports(settings, store, FOLDER, name)
        taxonomy = taxonomy_in_force(settings, store)
        if codes is None:
            gathered = analysis.gather_results(store, name)
        else:
            gathered = analysis.gather_codes(store, name, _filled_in(codes, taxonomy))
        asked = limits_asked(limit, taxonomy) if limit else None
        document = analysis.write_report(
            store,
            name,
            gathered,
            asked or analysis.limits_in(gathered.measured, taxonomy),
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
    """Read what each specimen truly is. Raises `WrongUse`."""
    found: dict[str, str] = {}
    for line, row in rows_with(file, "specimen", "code"):
        if row["specimen"] in found:
            raise WrongUse(f"{file}: line {line}: specimen {row['specimen']} is named twice.")
        found[row["specimen"]] = code_in(row["code"], file, line, taxonomy)
    if not found:
        raise WrongUse(f"{file}: it names no specimen.")
    return found


def _filled_in(file: Path, taxonomy: Taxonomy) -> dict[str, str | None]:
    """Read run → the code that people filled in, None for an empty cell. Raises `WrongUse`."""
    found: dict[str, str | None] = {}
    for line, row in rows_with(file, "run", "code"):
        if row["run"] in found:
            raise WrongUse(f"{file}: line {line}: run {row['run']} is there twice; which holds?")
        found[row["run"]] = code_in(row["code"], file, line, taxonomy) if row["code"] else None
    return found


def _names(text: str, option: str) -> Sequence[str]:
    names = [one.strip() for one in text.split(",") if one.strip()]
    if not names or len(set(names)) < len(names):
        raise WrongUse(f"{option}: name each once, with commas between; found {text!r}.")
    return names
