"""`agent roundrobin`: people rate the same micrographs, each without seeing what others said."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.app import app, settings_of, store_of
from agent.cli.console import aside, console, echo, print_json, table
from agent.cli.signing import os_user, signed_store
from agent.errors import WrongUse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agent.orders.limit import Limit
    from agent.roundrobin.campaign import Invited
    from agent.settings import Settings
    from agent.store import Campaign, NewImage, Store
    from model import Taxonomy

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
    settings = settings_of(context)
    drawn = drawn_seed() if seed is None else seed
    with signed_store(context, settings, by) as (store, signer):
        taxonomy = taxonomy_in_force(settings, store)
        if (micrographs is None) == (not stratified):
            raise WrongUse("say which micrographs: --micrographs CSV, or --stratified N.")
        if micrographs is not None:
            images = _listed(store, micrographs, taxonomy)
        else:
            limits = _limits(settings, limit or (), taxonomy)
            learned = frozenset() if include_taught else _learned_now(settings, store)
            images = _chosen(
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
    console.print(
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

    settings = settings_of(context)
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
    aside.print("Each link is its rater's alone. They are not kept: hand them out now.")
    if not at and is_this_pc_alone(settings.web.host):
        aside.print(
            f"They open on this PC alone ([web] host is {settings.web.host}): for others set it, "
            "and say with --at URL where they reach it.",
            markup=False,
        )


@roundrobin.command()
def close(context: typer.Context, name: Name, by: By = "") -> None:
    """Take no more ratings; micrographs on which people disagree go into the review queue."""
    from agent.roundrobin import campaign as campaigns  # brings numpy

    with signed_store(context, settings_of(context), by) as (store, signer):
        disputed = campaigns.close(store, name, by=signer or os_user(), at=now_utc())
        campaign = campaigns.get_campaign(store, name)
    whole = len(campaign.images) * len(campaign.raters)
    console.print(
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

    settings, now = settings_of(context), now_utc()
    if (raters or names) and out is None:
        raise WrongUse("--raters and --names write a page of their own: say where with --out HTML.")
    wanted = reporting.Wanted(
        site=settings.site.name,
        generated=local_full(now, settings.site.time_zone),
        raters=tuple(one.strip() for one in raters.split(",") if one.strip()),
        names=names,
    )
    with store_of(settings) as store:
        path = out or page_among_reports(settings, store, reporting.FOLDER, name)
        document = reporting.write(
            store,
            Archive(settings.store.folder),
            name,
            path,
            wanted,
            learned=lambda bundles: learned_by(settings, bundles),
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
    with store_of(settings_of(context)) as store:
        campaigns = store.campaigns.all()
    if as_json:
        print_json([_document(one) for one in campaigns])
        return
    if not campaigns:
        console.print("No campaigns yet: agent roundrobin new --help")
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


# --- what was asked for -------------------------------------------------------------------------


def _listed(store: Store, file: Path, taxonomy: Taxonomy) -> list[NewImage]:
    from agent.store import NewImage

    found = []
    for number, row in rows_with(file, "id"):
        view = store.micrograph(row["id"])
        if view is None:
            raise WrongUse(f"{file}: line {number}: no micrograph has the id {row['id']!r}.")
        held = view.label.code if view.label else None
        said = row.get("code") or ""
        found.append(NewImage(view.id, code_in(said, file, number, taxonomy) if said else held))
    return found


def _chosen(
    settings: Settings,
    store: Store,
    n: int,
    limits: Sequence[tuple[str, Limit]],
    *,
    taxonomy: Taxonomy,
    learned: frozenset[str],
    seed: int,
) -> list[NewImage]:
    from agent.roundrobin.campaign import candidates
    from agent.roundrobin.sampling import choose, count_strata
    from agent.store import NewImage

    some = candidates(
        store,
        taxonomy=taxonomy,
        limits=limits,
        least_sure=settings.triage.min_probability,
        learned=learned,
    )
    chosen = choose(some, n, seed=seed)
    if not chosen:
        raise WrongUse(
            "no labelled micrograph can be rated: there is none, or the model learned from all of "
            "them; label some (agent review), or say --include-taught."
        )
    for stratum, count in count_strata(chosen).items():
        aside.print(f"{count:4}  {stratum}", markup=False)
    near = sum(one.near for one in chosen)
    if len(chosen) < n or 3 * near < n:
        aside.print(
            f"{len(chosen)} of {n} chosen, {near} near a limit: there were no more.", markup=False
        )
    return [NewImage(one.id, one.code, one.stratum) for one in chosen]


def _limits(settings: Settings, said: Sequence[str], taxonomy: Taxonomy) -> list[tuple[str, Limit]]:
    from agent.orders.specification import read_specifications

    if said:
        return limits_asked(said, taxonomy)
    entries = read_specifications(settings.orders.specifications).entries
    return [(name, one.bound) for one in entries for name in one.subtype if one.bound]


def limits_asked(said: Sequence[str], taxonomy: Taxonomy) -> list[tuple[str, Limit]]:
    """Read limits such as "8 or finer", of every subtype that has the size.

    Raises:
        WrongUse: It is none, or no subtype can be judged by it.
    """
    from agent.orders.limit import fault_of, read_limit

    found = []
    for text in said:
        try:
            limit = read_limit(text)
        except ValueError as error:
            raise WrongUse(f"--limit: {error}.") from error
        faults = {one.name: fault_of(limit, [one.name], taxonomy) for one in taxonomy.subtypes}
        if all(faults.values()):
            raise WrongUse(f"--limit {text}: {next(iter(faults.values()))}.")
        found += [(name, limit) for name, fault in faults.items() if not fault]
    return found


def _learned_now(settings: Settings, store: Store) -> frozenset[str]:
    name = store.current_bundle()
    return learned_by(settings, [name]).get(name, frozenset()) if name else frozenset()


def learned_by(settings: Settings, bundles: Iterable[str]) -> dict[str, frozenset[str]]:
    """Say what each bundle learned from, by its keys; one that is not there is left out."""
    from agent.bundle_registry import list_bundles
    from model import read_manifest

    there = {path.name: path for path in list_bundles(settings.store.folder)}
    return {name: read_manifest(there[name]).learned_from for name in bundles if name in there}


def _invited(
    raters: Path | None, names: Sequence[str], accounts: Sequence[str]
) -> Iterable[Invited]:
    from agent.auth import checked_name
    from agent.roundrobin.campaign import Invited

    if raters is not None:
        for _, row in rows_with(raters, "name"):
            name = checked_name(row["name"])
            yield Invited(name, row.get("account", ""), row.get("team", ""))
    yield from (Invited(checked_name(name)) for name in names)
    yield from (Invited(name, name) for name in accounts)


def rows_with(file: Path, *columns: str) -> Iterable[tuple[int, dict[str, str]]]:
    """Read a CSV that has these columns; line number and cells, the first one never empty.

    Raises:
        WrongUse: Names the file and the line.
    """
    from agent.labelled_import import iter_rows

    def refuse(table_: Path, there: Sequence[str]) -> None:
        if missing := [one for one in columns if one not in there]:
            found = ", ".join(one for one in there if one) or "none"
            raise WrongUse(f"{table_}: needs a column {missing[0]!r}; found: {found}.")

    for number, row in iter_rows(file, refuse):
        if not row.get(columns[0]):
            raise WrongUse(f"{file}: line {number}: it names no {columns[0]}.")
        yield number, {**dict.fromkeys(columns, ""), **row}


def code_in(text: str, file: Path, line: int, taxonomy: Taxonomy) -> str:
    """Read the structure code in a line of a file. Raises `WrongUse`, which names both."""
    from model import TaxonomyError  # brings torch

    try:
        return taxonomy.code(*taxonomy.parse(text))
    except TaxonomyError as error:
        raise WrongUse(f"{file}: line {line}: {error}") from error


def _merged(said: Sequence[str]) -> dict[str, str]:
    pairs = [one.partition("=") for one in said]
    if wrong := [one for one, pair in zip(said, pairs, strict=True) if not (pair[0] and pair[2])]:
        raise WrongUse(f"--merge is written CODE=CODE, as G9=G9-10; found {wrong[0]!r}.")
    return {first.strip(): second.strip() for first, _, second in pairs}


def page_among_reports(settings: Settings, store: Store, folder: str, name: str) -> Path:
    """Say where a page lies in a folder of this site's reports."""
    from agent.lab_context import reports_folder

    return reports_folder(settings.store.folder, store) / folder / f"{name}.html"


def drawn_seed() -> int:
    """Draw a seed where none is given; it is said and kept, so that a draw can be repeated."""
    return secrets.randbelow(2**31 - 1)


def now_utc() -> datetime:
    """Say the time, aware UTC."""
    return datetime.now(UTC)
