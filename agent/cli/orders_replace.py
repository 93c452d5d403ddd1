"""`agent orders supersede`: replace fields."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from agent.cli import console
from agent.cli.app import load_settings, now_utc
from agent.cli.options import By, Reason
from agent.cli.order_policy import read_order_policy
from agent.cli.orders import orders
from agent.cli.signing import signed_store
from agent.errors import FileError, WrongUse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.settings import Settings
    from agent.store import Store

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
    from agent.orders.permissions import require_may_replace

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
    from agent.orders.specimen_facts import DEFECTS

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
