"""`agent orders`: decisions about an order."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from agent.cli import console
from agent.cli.app import load_settings, now_utc
from agent.cli.options import By, Id, Number, Reason, read_order_policy
from agent.cli.orders import orders
from agent.cli.signing import os_user, signed_store
from agent.errors import FileError, WrongUse
from agent.terminal import format_count

if TYPE_CHECKING:
    from collections.abc import Sequence
    from zoneinfo import ZoneInfo

    from agent.settings import Settings
    from agent.store import Store


@orders.command()
def urgent(
    context: typer.Context,
    number: Number,
    off: Annotated[
        bool, typer.Option("--off", help="Return the order to normal priority.")
    ] = False,
    by: By = "",
) -> None:
    """Mark an order as urgent: it is processed and reviewed first."""
    from agent.orders.facts.priority import prioritise_urgent

    settings = load_settings(context)
    with signed_store(context, settings, by) as (store, signer):
        store.order_corrections.set_urgent(
            number, urgent=not off, by=signer or os_user(), at=now_utc()
        )
        prioritise_urgent(store, settings)
    console.out.print(f"{number}: {'normal priority' if off else 'urgent'}", markup=False)


@orders.command()
def assign(  # noqa: PLR0917 - each is a word of the command
    context: typer.Context,
    public_id: Id,
    number: Number,
    specimen: Annotated[str, typer.Argument(metavar="SPECIMEN", help="Specimen name.")],
    by: By = "",
    reason: Reason = "",
    preparation: Annotated[str, typer.Option(help="Preparation. Default: the latest.")] = "",
    field: Annotated[str, typer.Option(help="Field number on the specimen.")] = "",
) -> None:
    """Assign a field to an order and a specimen."""
    from agent.orders.judge.permissions import require_may_assign

    keys = {"order": number, "specimen": specimen, "preparation": preparation, "field": field}
    settings = load_settings(context)
    with signed_store(context, settings, by) as (store, signer):
        lab = read_order_policy(settings, store)
        require_may_assign(store, lab, public_id, keys, by=signer)
        store.order_corrections.assign(
            public_id, keys, by=signer, reason=reason, at=now_utc(), lead=lab.may_lead(signer)
        )
    console.out.print(
        f"{public_id}: order {number}, specimen {specimen}, by {signer}.", markup=False
    )


@orders.command("same-place")
def same_place(  # noqa: PLR0917 - each is a word of the command
    context: typer.Context,
    public_id: Id,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="The other micrograph's id.")],
    different: Annotated[
        bool, typer.Option("--different", help="They show different places.")
    ] = False,
    belongs: Annotated[
        bool, typer.Option("--belongs", help="ID shows its own place; OTHER is the copy.")
    ] = False,
    by: By = "",
    reason: Reason = "",
) -> None:
    """Decide about two micrographs that seem to show the same place. Only a lead may."""
    from agent.orders.judge.permissions import require_lead

    if different == belongs:
        raise WrongUse("Use either --different or --belongs.")
    if not reason.strip():
        raise WrongUse("Add a reason with --reason TEXT. The statement shows it.")
    settings = load_settings(context)
    with signed_store(context, settings, by) as (store, signer):
        require_lead(read_order_policy(settings, store), signer)
        store.places.decide(
            public_id,
            other,
            belongs=public_id if belongs else "",
            by=signer,
            reason=reason,
            at=now_utc(),
        )
    decision = f"{public_id} keeps the place" if belongs else "they show different places"
    console.out.print(f"{public_id}, {other}: {decision}, by {signer}.", markup=False)


@orders.command()
def reopen(context: typer.Context, number: Number, by: By = "", reason: Reason = "") -> None:
    """Assess an order by the current specification. Only a lead may."""
    from agent.orders.judge.permissions import require_lead
    from agent.orders.specifications.specification_history import reopen as reopen_order

    settings = load_settings(context)
    with signed_store(context, settings, by) as (store, signer):
        require_lead(read_order_policy(settings, store), signer)
        reopen_order(store, number, by=signer, reason=reason, at=now_utc())
    console.out.print(
        f"{number}: reopened by {signer}; the current specification applies.", markup=False
    )


@orders.command("dismiss-file")
def dismiss_file(
    context: typer.Context,
    number: Number,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Name of the file, or of the alike order.")
    ],
    by: By = "",
    reason: Reason = "",
) -> None:
    """Decide that a file, or an order of an alike number, does not belong to an order.

    Only a lead may dismiss an unusable file. Any reviewer may dismiss a file that belongs to no
    specimen, for all orders, and an order of an alike number.
    """
    from agent.orders.facts.lost_files import dismiss_file
    from agent.orders.facts.possible_fields import dismiss_possible
    from agent.orders.judge.assessment import assess
    from agent.orders.judge.permissions import require_lead
    from agent.orders.lead_acts import load_possible

    settings = load_settings(context)
    with signed_store(context, settings, by) as (store, signer):
        lab = read_order_policy(settings, store)
        assessed = assess(store, number, lab)
        if assessed is None:
            raise WrongUse(f"Unknown order {number!r}. Run `agent orders list`.")
        number, at = assessed.view.number, now_utc()
        possible = load_possible(store, assessed, lab)
        if not dismiss_possible(store, number, file, possible, by=signer, reason=reason, at=at):
            require_lead(lab, signer)
            dismiss_file(store, number, file, assessed.lost, by=signer, reason=reason, at=at)
    console.out.print(f"{number}: {file} dismissed by {signer}.", markup=False)


@orders.command()
def amend(
    context: typer.Context,
    number: Number,
    dismiss: Annotated[
        bool, typer.Option("--dismiss", help="Dismiss the change of the order list.")
    ] = False,
    by: By = "",
    reason: Reason = "",
) -> None:
    """Accept or dismiss a change that an order list makes to an order. Only a lead may."""
    from agent.orders.judge.permissions import require_lead

    settings = load_settings(context)
    with signed_store(context, settings, by) as (store, signer):
        require_lead(read_order_policy(settings, store), signer)
        changed = store.order_corrections.amend(
            number, accept=not dismiss, by=signer, reason=reason, at=now_utc()
        )
    verb = "dismissed" if dismiss else "accepted"
    console.out.print(f"{number}: change of {', '.join(changed)} {verb} by {signer}.", markup=False)


@orders.command()
def hold(
    context: typer.Context,
    number: Number,
    *,
    off: Annotated[
        bool,
        typer.Option(
            "--off",
            help="End the hold. Only a lead may. Evidence of its statements is still kept.",
        ),
    ] = False,
    by: By = "",
    reason: Reason = "",
) -> None:
    """Protect all data of an order from pruning, whatever [retention] allows."""
    from agent.orders.facts.order_policy import is_lead

    settings = load_settings(context)
    if not reason.strip():
        raise WrongUse("Add a reason with --reason TEXT. It is recorded.")
    with signed_store(context, settings, by, "--off" if off else "") as (store, signer):
        who = signer or os_user()
        if off and not is_lead(settings, store, who):
            raise WrongUse(
                f"--by {who}: only a lead may end a hold (an account with that role, or a name in "
                "[orders] leads)."
            )
        if not store.retention.is_known_order(number):
            raise WrongUse(f"Unknown order {number!r}. Run `agent orders list`.")
        if off and not store.retention.is_on_hold(number):
            console.out.print(f"{number}: it was not on hold; nothing was changed.", markup=False)
            return
        at = datetime.now(UTC)
        number = store.retention.set_legal_hold(
            number, hold=not off, by=who, at=at, reason=reason.strip()
        )
    what = "no longer on hold" if off else "on hold; its data is not pruned"
    console.out.print(f"{number}: {what}, by {who}.", markup=False)


METAVAR = "YYYY-MM-DD[THH:MM]"
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""Before any result."""


@orders.command("release-hold")
def release_hold(  # noqa: PLR0917 - each is a word of the command
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Source of the blocked results.")],
    first: Annotated[
        str | None,
        typer.Option("--from", metavar=METAVAR, help="Start. Default: the first blocked result."),
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar=METAVAR, help="End. Default: now.")
    ] = None,
    by: By = "",
    reason: Reason = "",
) -> None:
    """Release results that a failed instrument check blocks. Only a lead may.

    Every statement shows the release.
    """
    from zoneinfo import ZoneInfo

    from agent.orders.facts.order_policy import is_lead
    from agent.orders.instruments.affected_orders import list_affected_orders, release_results
    from agent.orders.instruments.instrument_holds import load_holds
    from agent.service.folder.data_folder import clock

    settings, now = load_settings(context), clock()
    zone = ZoneInfo(settings.site.time_zone)
    with signed_store(context, settings, by) as (store, signer):
        if not is_lead(settings, store, signer):
            raise WrongUse(
                f"--by {signer or 'NAME'}: only a lead may release results (an account with that "
                "role, or a name in [orders] leads)."
            )
        affected = list_affected_orders(store, load_holds(settings, store), now=now)
        starts = [hold.failure.after for hold in affected if hold.failure.source == source]
        times = [start for start in starts if start is not None]
        begin = min(times) if times and len(times) == len(starts) else BEGINNING
        numbers = release_results(
            store,
            affected,
            source,
            start=_parse_time(first, "--from", zone) if first else begin,
            end=_parse_time(last, "--to", zone) if last else now,
            by=signer,
            reason=reason,
            at=now,
        )
    console.out.print(
        f"{source}: released by {signer}; {format_count(len(numbers), 'order')} had blocked "
        f"results: {', '.join(numbers)}",
        markup=False,
    )


def _parse_time(text: str, option: str, zone: ZoneInfo) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise WrongUse(
            f"{option}: write a time such as 2026-11-24T08:00 instead of {text!r}."
        ) from error
    return time if time.tzinfo else time.replace(tzinfo=zone)


Defect = Annotated[
    str,
    typer.Option(
        metavar="KIND",
        help="Defect: over_etched, under_etched, scratched, stained, out_of_focus, "
        "exposure, wrong_crop or wrong_magnification.",
    ),
]

Picture = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Picture of the defect; the archive keeps a copy."),
]


@orders.command()
def supersede(  # noqa: PLR0917 - each is a word of the command
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="ID|NUMBER", help="Micrograph id; with --specimen the number of its order."
        ),
    ],
    specimen: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Start the next preparation of this specimen; later images belong to it.",
        ),
    ] = "",
    by: By = "",
    reason: Reason = "",
    defect: Defect = "",
    picture: Picture = None,
) -> None:
    """Replace a field, or all fields of a specimen; they stay visible but no longer count.

    Only a lead replaces a field that could break the limit. If a reviewer confirmed that it breaks
    the limit, a second lead replaces it and adds a picture of the defect.
    """
    settings = load_settings(context)
    with signed_store(context, settings, by) as (store, signer):
        if specimen:
            number, ids = what, _list_fields(store, what, specimen)
        else:
            found = store.orders.of_micrograph(what)
            if store.results.find(what) is None or found is None:
                raise WrongUse(f"{what} belongs to no order. Run `agent orders list --unassigned`.")
            number, ids = found, [what]
        act = _permit_replacement(
            settings, store, number, ids, by=signer, defect=defect, picture=picture
        )
        if specimen:
            name = store.order_corrections.prepare_again(number, specimen, reason=reason, **act)
        else:
            store.order_corrections.supersede(what, reason=reason, **act)
    if specimen:
        console.out.print(
            f"{number}/{specimen}: preparation {name}; the earlier one is superseded and stays "
            "visible.",
            markup=False,
        )
    else:
        console.out.print(f"{what}: superseded by {signer}; it stays visible.", markup=False)


def _list_fields(store: Store, number: str, specimen: str) -> list[str]:
    """Return the ids of the fields of a specimen's newest preparation."""
    view = store.orders.order(number)
    specimens = [part for part in view.specimens if part.name == specimen] if view else []
    last = specimens[0].preparations[-1:] if specimens else ()
    return [field.view.id for preparation in last for field in preparation.fields]


class _Replacement(TypedDict):
    """Facts that the store records when fields are replaced."""

    by: str
    defect: str
    picture: str
    lead: bool
    at: datetime


def _permit_replacement(
    settings: Settings,
    store: Store,
    number: str,
    ids: Sequence[str],
    *,
    by: str,
    defect: str,
    picture: Path | None,
) -> _Replacement:
    """Raise unless `by` may replace the fields; store the picture of the defect."""
    from agent.orders.judge.permissions import require_may_replace

    lab = read_order_policy(settings, store)
    _require_known(defect)
    sha256 = _keep_picture(settings, picture)
    require_may_replace(store, lab, number, ids, by=by, defect=defect, picture=sha256)
    return {
        "by": by,
        "defect": defect,
        "picture": sha256,
        "lead": lab.is_lead(by),
        "at": now_utc(),
    }


def _require_known(defect: str) -> None:
    from agent.orders.facts.specimen_facts import DEFECTS

    if defect and defect not in DEFECTS:
        raise WrongUse(f"--defect: unknown defect {defect!r}. Use one of {', '.join(DEFECTS)}.")


def _keep_picture(settings: Settings, picture: Path | None) -> str:
    """Copy a picture of a defect into the archive and return its SHA-256, "" without one."""
    if picture is None:
        return ""
    import hashlib

    from agent.archive import Archive
    from agent.imaging import read

    try:
        picture = picture.resolve()
        read(picture)
        sha256 = hashlib.sha256(picture.read_bytes()).hexdigest()
        Archive.open(settings.store).keep_original(picture, sha256)
    except (FileError, OSError) as error:
        raise WrongUse(f"--picture {picture}: not a readable picture ({error}).") from error
    return sha256


@orders.command()
def resume(context: typer.Context, number: Number, by: By = "", reason: Reason = "") -> None:
    """Send the present state of an order of which a restored backup lost a revision.

    Only a lead may.
    """
    from agent.orders.judge.permissions import require_lead
    from agent.orders.lims.lost_conformity import acknowledge

    settings = load_settings(context)
    with signed_store(context, settings, by) as (store, signer):
        require_lead(read_order_policy(settings, store), signer)
        number = acknowledge(store, number, by=signer, reason=reason, at=now_utc())
    console.out.print(
        f"{number}: the loss is acknowledged by {signer}; its present state is sent.",
        markup=False,
    )
