"""`agent roundrobin`: raters grade the same micrographs independently."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.app import app, load_settings, now_utc, open_store
from agent.cli.console import echo, err, out, print_json, table
from agent.cli.options import JsonOption, os_user, signed_store
from agent.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agent.orders.judge.limit import Limit
    from agent.settings import Settings
    from agent.store import Campaign, NewImage, NewRater, Store
    from model import Taxonomy


def read_rows(file: Path, *columns: str) -> Iterable[tuple[int, dict[str, str]]]:
    """Yield line number and cells of each row of a CSV.

    Args:
        file: CSV file.
        columns: Columns that must exist; the first one must have a value in each row.

    Raises:
        UsageError: The file lacks a column or a value; the message names file and line.
    """
    from agent.labelled_import import iter_rows

    def refuse(table: Path, header: Sequence[str]) -> None:
        if missing := [column for column in columns if column not in header]:
            names = ", ".join(name for name in header if name) or "none"
            raise UsageError(f"{table}: column {missing[0]!r} is missing. Columns: {names}.")

    for number, row in iter_rows(file, refuse):
        if not row.get(columns[0]):
            raise UsageError(f"{file}: line {number}: {columns[0]} is missing.")
        yield number, {**dict.fromkeys(columns, ""), **row}


def parse_code(text: str, file: Path, line: int, taxonomy: Taxonomy) -> str:
    """Return the normalised structure code of a cell.

    Raises:
        UsageError: The code is unknown; the message names file and line.
    """
    from model import TaxonomyError  # imports torch

    try:
        return taxonomy.code(*taxonomy.parse(text))
    except TaxonomyError as error:
        raise UsageError(f"{file}: line {line}: {error}") from error


roundrobin = typer.Typer(
    name="roundrobin",
    help="Round-robin campaigns: raters and the model grade the same micrographs.",
    no_args_is_help=True,
)


app.add_typer(roundrobin)


Name = Annotated[str, typer.Argument(metavar="NAME", help="Campaign name.")]

By = Annotated[
    str,
    typer.Option("--by", metavar="NAME", help="Name of the person who does this; it is recorded."),
]

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]

Out = Annotated[
    Path | None, typer.Option(metavar="HTML", help="Output file. Default: in the reports folder.")
]

Seed = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=0, max=2**31 - 1, help="Seed of the draw, to repeat it. Default: random."
    ),
]


@roundrobin.command()
def new(  # noqa: PLR0917 - each is an option of the command
    context: typer.Context,
    name: Name,
    micrographs: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Columns id and, if a reference is known, code."),
    ] = None,
    stratified: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Choose N labelled micrographs: all codes, a third near a limit.",
        ),
    ] = 0,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help='Limit such as "8 or finer". Default: the limits in specifications.toml.',
        ),
    ] = None,
    raters: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Columns name and, optionally, account and team."),
    ] = None,
    rater: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Rater who uses a link; repeatable.")
    ] = None,
    account: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Rater who uses an account; repeatable."),
    ] = None,
    merge: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CODE=CODE", help="Count the first code as the second in merged figures."
        ),
    ] = None,
    may_go_back: Annotated[
        bool, typer.Option("--may-go-back", help="Raters may change submitted ratings.")
    ] = False,
    include_taught: Annotated[
        bool,
        typer.Option("--include-taught", help="Also choose training images of the model."),
    ] = False,
    seed: Seed = None,
    by: By = "",
) -> None:
    """Plan a campaign: its micrographs and raters. `agent roundrobin open` starts it."""
    from agent.orders.facts.order_policy import taxonomy_in_force
    from agent.roundrobin.campaign import require_name, set_up

    require_name(name)
    settings = load_settings(context)
    drawn = draw_seed() if seed is None else seed
    with signed_store(context, settings, by) as (store, signer):
        taxonomy = taxonomy_in_force(settings, store)
        if (micrographs is None) == (not stratified):
            raise UsageError("Choose the micrographs: --micrographs CSV, or --stratified N.")
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
        invited = [*_iter_invited(raters, rater or (), account or ())]
        set_up(
            store,
            name,
            images,
            invited,
            taxonomy=taxonomy,
            seed=drawn,
            merged=_parse_merges(merge or ()),
            may_go_back=may_go_back,
            by=signer or os_user(),
            at=now_utc(),
        )
    referenced = sum(image.reference is not None for image in images)
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
        str,
        typer.Option(metavar="NAME", help="Invite another rater, also while the campaign is open."),
    ] = "",
    team: Annotated[str, typer.Option(help="Team of that rater.")] = "",
    again: Annotated[
        str,
        typer.Option(
            metavar="PSEUDONYM", help="Make a new link for this rater; the old one stops working."
        ),
    ] = "",
    at: Annotated[
        str,
        typer.Option(
            metavar="URL", help="Address of the review page for the raters, without /rate."
        ),
    ] = "",
    by: By = "",
    as_json: JsonOption = False,
) -> None:
    """Open a campaign and print each rater's link. The links are printed only once."""
    from agent.orders.facts.order_policy import review_url
    from agent.roundrobin.campaign import get_campaign, invite, links
    from agent.store import NewRater
    from agent.web import is_this_pc_alone

    settings = load_settings(context)
    address = (at or review_url(settings)).rstrip("/")
    with signed_store(context, settings, by) as (store, signer):
        who = signer or os_user()
        campaign = get_campaign(store, name)
        wanted = [entry for entry in campaign.raters if not entry.account]
        if rater:
            made = invite(store, campaign, NewRater("", rater, team), by=who, at=now_utc())
            campaign = get_campaign(store, name)
            wanted = [entry for entry in campaign.raters if entry.pseudonym == made]
        elif again:
            wanted = [entry for entry in campaign.raters if entry.pseudonym == again]
            if not wanted:
                raise UsageError(f"campaign {name!r} has no rater {again!r}.")
        else:
            store.campaigns.open(name, by=who, at=now_utc())
        tokens = links(store, campaign, wanted, by=who, at=now_utc())
    invited = [(entry, f"{address}/rate/{tokens[entry.pseudonym]}") for entry in wanted]
    invited += [
        (entry, f"{address}/rate/{name}")
        for entry in campaign.raters
        if entry.account and not (rater or again)
    ]
    if as_json:
        print_json(
            [
                {
                    "pseudonym": entry.pseudonym,
                    "name": entry.name,
                    "url": url,
                    "logs_in": bool(entry.account),
                }
                for entry, url in invited
            ]
        )
    for entry, url in () if as_json else invited:
        logged_in = " (logged in)" if entry.account else ""
        echo(f"{entry.pseudonym}\t{entry.name}\t{url}{logged_in}")
    err.print("Each link is personal. The links are not stored: send them now.")
    if not at and is_this_pc_alone(settings.web.host):
        err.print(
            f"The links work on this PC only ([web] host is {settings.web.host}). For other PCs "
            "change [web] host and give the address with --at URL.",
            markup=False,
        )


@roundrobin.command()
def close(context: typer.Context, name: Name, by: By = "") -> None:
    """Close a campaign. Micrographs on which raters disagree go to review."""
    from agent.roundrobin import campaign as campaigns  # brings numpy

    with signed_store(context, load_settings(context), by) as (store, signer):
        disputed = campaigns.close(store, name, by=signer or os_user(), at=now_utc())
        campaign = campaigns.get_campaign(store, name)
    whole = len(campaign.images) * len(campaign.raters)
    out.print(
        f"{name} is closed: {campaign.given} of {whole} ratings; {len(disputed)} disputed "
        f"micrographs go to review. Next: agent roundrobin report {name}",
        markup=False,
    )


@roundrobin.command()
def report(  # noqa: PLR0917 - each is an option of the command
    context: typer.Context,
    name: Name,
    raters: Annotated[
        str, typer.Option(metavar="R01,R02", help="Only these raters; needs --out.")
    ] = "",
    names: Annotated[
        bool, typer.Option("--names", help="Show raters by name; needs --out.")
    ] = False,
    out: Out = None,
    as_json: Json = False,
    by: By = "",
) -> None:
    """Write the report of a closed campaign: a page, the ratings as CSV and the figures as JSON."""
    from agent.archive import Archive
    from agent.roundrobin import report as reporting  # matplotlib takes seconds
    from agent.site_time import local_full

    settings, now = load_settings(context), now_utc()
    if (raters or names) and out is None:
        raise UsageError("--raters and --names write a separate page. Name it with --out HTML.")
    wanted = reporting.Wanted(
        site=settings.site.name,
        generated=local_full(now, settings.site.time_zone),
        raters=tuple(part.strip() for part in raters.split(",") if part.strip()),
        names=names,
    )
    with open_store(settings) as store:
        path = out or report_path(settings, store, reporting.FOLDER, name)
        document = reporting.write(
            store,
            Archive.open(settings),
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
    """List all campaigns with their progress, newest first."""
    with open_store(load_settings(context)) as store:
        campaigns = store.campaigns.all()
    if as_json:
        print_json([_to_json(campaign) for campaign in campaigns])
        return
    if not campaigns:
        out.print("No campaigns yet. To plan one: agent roundrobin new --help")
        return
    rows = [
        (
            campaign.row.name,
            campaign.row.state,
            len(campaign.images),
            len(campaign.raters),
            f"{campaign.given} of {len(campaign.images) * len(campaign.raters)}",
            f"{campaign.row.created_at:%Y-%m-%d}",
        )
        for campaign in campaigns
    ]
    table(("campaign", "state", "micrographs", "raters", "ratings", "planned"), rows)


def _to_json(campaign: Campaign) -> dict[str, object]:
    return {
        "name": campaign.row.name,
        "state": campaign.row.state,
        "images": len(campaign.images),
        "raters": [rater.pseudonym for rater in campaign.raters],
        "ratings": campaign.given,
        "expected": len(campaign.images) * len(campaign.raters),
        "created_at": campaign.row.created_at.isoformat(),
        "opened_at": campaign.row.opened_at and campaign.row.opened_at.isoformat(),
        "closed_at": campaign.row.closed_at and campaign.row.closed_at.isoformat(),
    }


def _iter_invited(
    raters: Path | None, names: Sequence[str], accounts: Sequence[str]
) -> Iterable[NewRater]:
    from agent.store import NewRater
    from agent.store.people.auth import require_name

    if raters is not None:
        for _, row in read_rows(raters, "name"):
            name = require_name(row["name"])
            yield NewRater("", name, row.get("team", ""), row.get("account", ""))
    yield from (NewRater("", require_name(name)) for name in names)
    yield from (NewRater("", name, account=name) for name in accounts)


def _parse_merges(options: Sequence[str]) -> dict[str, str]:
    pairs = [option.partition("=") for option in options]
    wrong = [
        option for option, pair in zip(options, pairs, strict=True) if not (pair[0] and pair[2])
    ]
    if wrong:
        raise UsageError(
            f"--merge: write CODE=CODE, for example G9=G9-10, instead of {wrong[0]!r}."
        )
    return {first.strip(): second.strip() for first, _, second in pairs}


def report_path(settings: Settings, store: Store, folder: str, name: str) -> Path:
    """Return the path of a page in a folder of this site's reports."""
    from agent.store.sites.site_folders import reports_folder

    return reports_folder(settings.store.folder, store) / folder / f"{name}.html"


def draw_seed() -> int:
    """Return a random seed; it is printed and stored, so that the draw can be repeated."""
    return secrets.randbelow(2**31 - 1)


def read_images(store: Store, file: Path, taxonomy: Taxonomy) -> list[NewImage]:
    """Read the micrographs of a campaign from a CSV."""
    from agent.store import GIVEN_REFERENCE, NewImage

    images = []
    for number, row in read_rows(file, "id"):
        view = store.results.find(row["id"])
        if view is None:
            raise UsageError(f"{file}: line {number}: unknown micrograph id {row['id']!r}.")
        label = view.label.code if view.label else None
        text = row.get("code") or ""
        code = parse_code(text, file, number, taxonomy) if text else label
        images.append(NewImage(view.id, code, GIVEN_REFERENCE if text else ""))
    return images


def choose_images(
    settings: Settings,
    store: Store,
    n: int,
    limits: Sequence[tuple[str, Limit]],
    *,
    taxonomy: Taxonomy,
    learned: frozenset[str],
    seed: int,
) -> list[NewImage]:
    """Draw labelled micrographs, stratified by code and by distance to the limits."""
    from agent.roundrobin.campaign import candidates, choose, count_strata
    from agent.store import NewImage

    pool = candidates(
        store,
        taxonomy=taxonomy,
        limits=limits,
        least_sure=settings.triage.min_probability,
        learned=learned,
    )
    chosen = choose(pool, n, seed=seed)
    if not chosen:
        raise UsageError(
            "There is no labelled micrograph outside the training set of the model. Label some "
            "(agent review), or use --include-taught."
        )
    for stratum, count in count_strata(chosen).items():
        err.print(f"{count:4}  {stratum}", markup=False)
    near = sum(image.near for image in chosen)
    if len(chosen) < n or 3 * near < n:
        err.print(
            f"{len(chosen)} of {n} micrographs chosen, {near} near a limit; no more are available.",
            markup=False,
        )
    return [NewImage(image.id, image.code, image.stratum) for image in chosen]


def read_limits(
    settings: Settings, options: Sequence[str], taxonomy: Taxonomy
) -> list[tuple[str, Limit]]:
    """Return the limits by subtype: those given, else those of specifications.toml."""
    from agent.orders.specifications.specification import find_limit, read_specifications

    if options:
        return parse_limits(options, taxonomy)
    entries = read_specifications(settings.orders.specifications).entries
    return [
        (name, limit)
        for entry in entries
        for name in entry.subtype
        if (limit := find_limit(entry, name, taxonomy))
    ]


def parse_limits(options: Sequence[str], taxonomy: Taxonomy) -> list[tuple[str, Limit]]:
    """Parse limits such as "8 or finer" for every subtype that has the size.

    Raises:
        UsageError: A text is no limit, or no subtype has its sizes.
    """
    from agent.orders.judge.limit import find_limit_fault, read_limit

    limits = []
    for text in options:
        try:
            limit = read_limit(text)
        except ValueError as error:
            raise UsageError(f"--limit: {error}.") from error
        faults = {
            subtype.name: find_limit_fault(limit, [subtype.name], taxonomy)
            for subtype in taxonomy.subtypes
        }
        if all(faults.values()):
            raise UsageError(f"--limit {text}: {next(iter(faults.values()))}.")
        limits += [(name, limit) for name, fault in faults.items() if not fault]
    return limits


def learned_by_current(settings: Settings, store: Store) -> frozenset[str]:
    """Return the keys of the images that trained the bundle in use."""
    name = store.promotions.find_current()
    return list_training_keys(settings, [name]).get(name, frozenset()) if name else frozenset()


def list_training_keys(settings: Settings, bundles: Iterable[str]) -> dict[str, frozenset[str]]:
    """Return the training-image keys of each bundle; missing bundles are left out."""
    from agent.retrain.bundle_registry import list_bundles
    from model import read_manifest

    folders = {path.name: path for path in list_bundles(settings.store.folder)}
    return {name: read_manifest(folders[name]).learned_from for name in bundles if name in folders}
