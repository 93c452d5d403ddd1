"""`agent roundrobin`: people rate the same micrographs, each without seeing what others said."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.app import app, load_settings, now_utc, open_store
from agent.cli.console import echo, err, out, print_json, table
from agent.cli.csv_rows import read_rows
from agent.cli.roundrobin_images import (
    choose_images,
    learned_by_current,
    list_training_keys,
    read_images,
    read_limits,
)
from agent.cli.signing import os_user, signed_store
from agent.errors import WrongUse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agent.roundrobin.campaign import Invited
    from agent.settings import Settings
    from agent.store import Campaign, Store

roundrobin = typer.Typer(
    name="roundrobin",
    help="Campaigns in which people rate the same micrographs, and what they and the model said.",
    no_args_is_help=True,
)
app.add_typer(roundrobin)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the campaign.")]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who does this; for the trail.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Out = Annotated[Path | None, typer.Option(metavar="HTML", help="Where to; else among the reports.")]
Seed = Annotated[
    int | None,
    typer.Option(metavar="N", min=0, max=2**31 - 1, help="Of the draw, to repeat it; else drawn."),
]


@roundrobin.command()
def new(  # noqa: PLR0917 - each is an option of the command
    context: typer.Context,
    name: Name,
    micrographs: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Column id, and code where a reference is known."),
    ] = None,
    stratified: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="Choose N labelled ones: all codes, a third near a limit."
        ),
    ] = 0,
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help='As "8 or finer"; else those of specifications.toml.'),
    ] = None,
    raters: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Columns name, and account, team if any.")
    ] = None,
    rater: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="One rater, by link; repeatable.")
    ] = None,
    account: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="One rater, by account; repeatable.")
    ] = None,
    merge: Annotated[
        list[str] | None,
        typer.Option(metavar="CODE=CODE", help="In merged figures the first counts as the second."),
    ] = None,
    may_go_back: Annotated[
        bool, typer.Option("--may-go-back", help="Let raters change what they submitted.")
    ] = False,
    include_taught: Annotated[
        bool,
        typer.Option("--include-taught", help="Choose also from what the model learned from."),
    ] = False,
    seed: Seed = None,
    by: By = "",
) -> None:
    """Plan a campaign: which micrographs, and who rates them. Nobody can rate yet."""
    from agent.lab_context import taxonomy_in_force
    from agent.roundrobin.campaign import require_name, set_up

    require_name(name)
    settings = load_settings(context)
    drawn = draw_seed() if seed is None else seed
    with signed_store(context, settings, by) as (store, signer):
        taxonomy = taxonomy_in_force(settings, store)
        if (micrographs is None) == (not stratified):
            raise WrongUse("say which micrographs: --micrographs CSV, or --stratified N.")
        if micrographs is not None:
            images = read_images(store, micrographs, taxonomy)
        else:
            limits = read_limits(settings, limit or (), taxonomy)
            learned = frozenset() if include_taught else learned_by_current(settings, store)
            images = choose_images(
                settings,
                store,
                stratified,
                limits,
                taxonomy=taxonomy,
                learned=learned,
                seed=drawn,
            )
        invited = [*_invited(raters, rater or (), account or ())]
        set_up(
            store,
            name,
            images,
            invited,
            taxonomy=taxonomy,
            seed=drawn,
            merged=_merged(merge or ()),
            may_go_back=may_go_back,
            by=signer or os_user(),
            at=now_utc(),
        )
    referenced = sum(one.reference is not None for one in images)
    out.print(
        f"{name}: {len(images)} micrographs, {referenced} with a reference, "
        f"{len(invited)} raters, seed {drawn}. Next: agent roundrobin open {name}",
        markup=False,
    )


@roundrobin.command("open")
def open_(  # noqa: PLR0917 - each is an option of the command
    context: typer.Context,
    name: Name,
    rater: Annotated[
        str, typer.Option(metavar="NAME", help="Invite one more, also while it is open.")
    ] = "",
    team: Annotated[str, typer.Option(help="Of that rater.")] = "",
    again: Annotated[
        str, typer.Option(metavar="PSEUDONYM", help="Make a new link; the old one ends.")
    ] = "",
    at: Annotated[
        str, typer.Option(metavar="URL", help="Where raters reach the page, before /rate.")
    ] = "",
    by: By = "",
) -> None:
    """Open a campaign and print each rater's link, this once: only its hash is kept."""
    from agent.lab_context import review_url
    from agent.roundrobin.campaign import Invited, get_campaign, invite, links
    from agent.web import is_this_pc_alone

    settings = load_settings(context)
    address = (at or review_url(settings)).rstrip("/")
    with signed_store(context, settings, by) as (store, signer):
        who = signer or os_user()
        campaign = get_campaign(store, name)
        wanted = [one for one in campaign.raters if not one.account]
        if rater:
            made = invite(store, campaign, Invited(rater, team=team), by=who, at=now_utc())
            campaign = get_campaign(store, name)
            wanted = [one for one in campaign.raters if one.pseudonym == made]
        elif again:
            wanted = [one for one in campaign.raters if one.pseudonym == again]
            if not wanted:
                raise WrongUse(f"campaign {name!r} has no rater {again!r}.")
        else:
            store.campaigns.open(name, by=who, at=now_utc())
        tokens = links(store, campaign, wanted, by=who, at=now_utc())
    for one in wanted:
        echo(f"{one.pseudonym}\t{one.name}\t{address}/rate/{tokens[one.pseudonym]}")
    for one in campaign.raters:
        if one.account and not (rater or again):
            echo(f"{one.pseudonym}\t{one.name}\t{address}/rate/{name} (logged in)")
    err.print("Each link is its rater's alone. They are not kept: hand them out now.")
    if not at and is_this_pc_alone(settings.web.host):
        err.print(
            f"They open on this PC alone ([web] host is {settings.web.host}): for others set it, "
            "and say with --at URL where they reach it.",
            markup=False,
        )


@roundrobin.command()
def close(context: typer.Context, name: Name, by: By = "") -> None:
    """Take no more ratings; micrographs on which people disagree go into the review queue."""
    from agent.roundrobin import campaign as campaigns  # brings numpy

    with signed_store(context, load_settings(context), by) as (store, signer):
        disputed = campaigns.close(store, name, by=signer or os_user(), at=now_utc())
        campaign = campaigns.get_campaign(store, name)
    whole = len(campaign.images) * len(campaign.raters)
    out.print(
        f"{name} is closed: {campaign.given} of {whole} ratings; {len(disputed)} micrographs are "
        f"disputed and wait in the review. Next: agent roundrobin report {name}",
        markup=False,
    )


@roundrobin.command()
def report(  # noqa: PLR0917 - each is an option of the command
    context: typer.Context,
    name: Name,
    raters: Annotated[
        str, typer.Option(metavar="R01,R02", help="Count only these; the page goes to --out.")
    ] = "",
    names: Annotated[
        bool, typer.Option("--names", help="Raters by name; the page goes to --out.")
    ] = False,
    out: Out = None,
    as_json: Json = False,
    by: By = "",
) -> None:
    """Write a closed campaign's report: a page, with its ratings as CSV and figures as JSON."""
    from agent.archive import Archive
    from agent.roundrobin import report as reporting  # matplotlib takes seconds
    from agent.site_time import local_full

    settings, now = load_settings(context), now_utc()
    if (raters or names) and out is None:
        raise WrongUse("--raters and --names write a page of their own: say where with --out HTML.")
    wanted = reporting.Wanted(
        site=settings.site.name,
        generated=local_full(now, settings.site.time_zone),
        raters=tuple(one.strip() for one in raters.split(",") if one.strip()),
        names=names,
    )
    with open_store(settings) as store:
        path = out or report_path(settings, store, reporting.FOLDER, name)
        document = reporting.write(
            store,
            Archive(settings.store.folder),
            name,
            path,
            wanted,
            learned=lambda bundles: list_training_keys(settings, bundles),
            by=by or os_user(),
            at=now,
        )
    if as_json:
        print_json(document)
    else:
        echo(str(path))


@roundrobin.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List every campaign, the newest first, and how far it has come."""
    with open_store(load_settings(context)) as store:
        campaigns = store.campaigns.all()
    if as_json:
        print_json([_document(one) for one in campaigns])
        return
    if not campaigns:
        out.print("No campaigns yet: agent roundrobin new --help")
        return
    rows = [
        (
            one.name,
            one.state,
            len(one.images),
            len(one.raters),
            f"{one.given} of {len(one.images) * len(one.raters)}",
            f"{one.created_at:%Y-%m-%d}",
        )
        for one in campaigns
    ]
    table(("campaign", "state", "micrographs", "raters", "ratings", "planned"), rows)


def _document(one: Campaign) -> dict[str, object]:
    return {
        "name": one.name,
        "state": one.state,
        "images": len(one.images),
        "raters": [rater.pseudonym for rater in one.raters],
        "ratings": one.given,
        "expected": len(one.images) * len(one.raters),
        "created_at": one.created_at.isoformat(),
        "opened_at": one.opened_at and one.opened_at.isoformat(),
        "closed_at": one.closed_at and one.closed_at.isoformat(),
    }


def _invited(
    raters: Path | None, names: Sequence[str], accounts: Sequence[str]
) -> Iterable[Invited]:
    from agent.auth import checked_name
    from agent.roundrobin.campaign import Invited

    if raters is not None:
        for _, row in read_rows(raters, "name"):
            name = checked_name(row["name"])
            yield Invited(name, row.get("account", ""), row.get("team", ""))
    yield from (Invited(checked_name(name)) for name in names)
    yield from (Invited(name, name) for name in accounts)


def _merged(said: Sequence[str]) -> dict[str, str]:
    pairs = [one.partition("=") for one in said]
    if wrong := [one for one, pair in zip(said, pairs, strict=True) if not (pair[0] and pair[2])]:
        raise WrongUse(f"--merge is written CODE=CODE, as G9=G9-10; found {wrong[0]!r}.")
    return {first.strip(): second.strip() for first, _, second in pairs}


def report_path(settings: Settings, store: Store, folder: str, name: str) -> Path:
    """Say where a page lies in a folder of this site's reports."""
    from agent.lab_context import reports_folder

    return reports_folder(settings.store.folder, store) / folder / f"{name}.html"


def draw_seed() -> int:
    """Draw a seed where none is given; it is said and kept, so that a draw can be repeated."""
    return secrets.randbelow(2**31 - 1)
