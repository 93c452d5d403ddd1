"""`agent orders`: decisions about an order."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from agent.cli import console
from agent.cli.app import load_settings, now_utc
from agent.cli.options import By, Id, Number, Reason, os_user, read_order_policy, signed_store
from agent.cli.review.orders import orders
from agent.errors import FileError, UsageError
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
    _carry_out(context, number, "normal" if off else "urgent", by=by)


def _carry_out(
    context: typer.Context,
    number: str,
    act: str,
    *,
    by: str,
    reason: str = "",
    option: str = "",
    about: str | None = None,
) -> None:
    """Do with an order what its page and the API do, and print the effect."""
    from agent.orders.facts.order_policy import prioritise_urgent
    from agent.orders.lead_acts import LeadAct, carry_out

    settings = load_settings(context)
    with signed_store(context, settings, by, option) as (store, signer):
        who = signer or os_user()
        policy = read_order_policy(settings, store)
        number, effect = carry_out(
            store, policy, number, LeadAct(act), by=who, reason=reason, at=now_utc(), about=about
        )
        if act == LeadAct.URGENT:
            prioritise_urgent(store, settings)
    console.out.print(f"{number}, by {who}: {effect}", markup=False)


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
    from agent.orders.judge.permissions import list_left, require_may_assign

    keys = {"order": number, "specimen": specimen, "preparation": preparation, "field": field}
    settings = load_settings(context)
    with signed_store(context, settings, by) as (store, signer):
        lab = read_order_policy(settings, store)
        require_may_assign(store, lab, public_id, keys, by=signer)
        store.order_corrections.assign(
            public_id,
            keys,
            by=signer,
            reason=reason,
            at=now_utc(),
            lead=lab.may_lead(signer),
            left=list_left(store, [public_id], keys),
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
    from agent.orders.lead_acts import decide_places
    from agent.store.results.places import DIFFERENT

    if different == belongs:
        raise UsageError("Use either --different or --belongs.")
    verdict, pair = public_id if belongs else DIFFERENT, (public_id, other)
    settings = load_settings(context)
    with signed_store(context, settings, by) as (store, signer):
        policy = read_order_policy(settings, store)
        decide_places(store, policy, pair, verdict, by=signer, reason=reason, at=now_utc())
    decision = f"{public_id} keeps the place" if belongs else "they show different places"
    console.out.print(f"{public_id}, {other}: {decision}, by {signer}.", markup=False)


@orders.command()
def reopen(
    context: typer.Context,
    number: Number,
    by: By = "",
    reason: Reason = "",
    despite: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Time of a later act: the clock of this PC is right, and was ahead then.",
        ),
    ] = None,
) -> None:
    """Assess an order by the current specification. Only a lead may."""
    _carry_out(context, number, "reopen", by=by, reason=reason, about=despite)


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

    Only a lead may dismiss an unusable file. Any reviewer may dismiss another file that belongs to
    no specimen, for all orders, and an order of an alike number. What a reviewer labelled as
    breaking the limit, only a second person, a lead, dismisses.
    """
    from agent.orders.facts.possible_fields import dismiss_file
    from agent.orders.judge.assessment import assess
    from agent.orders.judge.permissions import require_lead, require_reason
    from agent.orders.lead_acts import dismiss_each

    settings = load_settings(context)
    with signed_store(context, settings, by) as (store, signer):
        lab = read_order_policy(settings, store)
        assessed = assess(store, number, lab)
        if assessed is None:
            raise UsageError(f"Unknown order {number!r}. Run `agent orders list`.")
        number, at, reason = assessed.view.number, now_utc(), require_reason(reason)
        if not dismiss_each(store, lab, assessed, [file], by=signer, reason=reason, at=at):
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
    _carry_out(context, number, "dismiss" if dismiss else "accept", by=by, reason=reason)


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
    act, option = ("release", "--off") if off else ("hold", "")
    _carry_out(context, number, act, by=by, reason=reason, option=option)


METAVAR = "YYYY-MM-DD[THH:MM]"


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

    from agent.orders.instruments.instrument_holds import (
        list_affected_orders,
        load_holds,
        release_results,
    )
    from agent.orders.judge.permissions import require_lead
    from agent.service.data_folder import clock

    settings, now = load_settings(context), clock()
    zone = ZoneInfo(settings.site.time_zone)
    with signed_store(context, settings, by) as (store, signer):
        require_lead(read_order_policy(settings, store), signer)
        affected = list_affected_orders(store, load_holds(settings, store), now=now)
        numbers = release_results(
            store,
            affected,
            source,
            start=_parse_time(first, "--from", zone) if first else None,
            end=_parse_time(last, "--to", zone) if last else None,
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
        raise UsageError(
            f"{option}: write a time such as 2026-11-24T08:00 instead of {text!r}."
        ) from error
    if time.tzinfo:
        return time
    first, second = (time.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() != second.utcoffset():
        both = " or ".join(sorted(instant.isoformat("T", "minutes") for instant in (first, second)))
        raise UsageError(
            f"{option}: the clock is changed at {text!r}, so the time is skipped or comes twice. "
            f"Write it with its offset, such as {both}."
        )
    return first


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
                raise UsageError(
                    f"{what} belongs to no order. Run `agent orders list --unassigned`."
                )
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
        raise UsageError(f"--defect: unknown defect {defect!r}. Use one of {', '.join(DEFECTS)}.")


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
        Archive.open(settings).keep_original(picture, sha256)
    except (FileError, OSError) as error:
        raise UsageError(f"--picture {picture}: not a readable picture ({error}).") from error
    return sha256


@orders.command()
def resume(context: typer.Context, number: Number, by: By = "", reason: Reason = "") -> None:
    """Send the present state of an order of which a restored backup lost a revision.

    Only a lead may.
    """
    _carry_out(context, number, "resume", by=by, reason=reason)
