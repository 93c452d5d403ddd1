"""`agent files storage`: the files of the data folder in the lab's object storage."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from agent.cli import console
from agent.cli.app import load_settings, open_store
from agent.cli.files import files
from agent.cli.options import JsonOption
from agent.counts import format_count
from agent.errors import SetupError, WrongUse

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.objects import ObjectMirror
    from agent.settings import Settings

GB = 1e9

Result = TypeVar("Result")


@files.command()
def storage(
    context: typer.Context,
    *,
    send: Annotated[
        bool,
        typer.Option(
            "--send",
            help="Send every file that is new now, fetch bundles and kept features of other PCs, "
            "and delete what another PC pruned; `agent run` does so every minute.",
        ),
    ] = False,
    fetch: Annotated[
        bool,
        typer.Option(
            "--fetch",
            help="Fetch every file that is only in the object storage, for a new PC or to give the "
            "storage up.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show what the object storage contains by the records of this PC, and what is not sent yet.

    Exit code 2 if the storage does not answer, or gives other bytes than were sent: nothing is
    lost, and the next run continues.
    """
    if send and fetch:
        raise WrongUse("Use either --send or --fetch.")
    settings = load_settings(context)
    if send:
        _send(settings)
    elif fetch:
        _fetch(settings)
    else:
        _show(settings, json=json)


def _show(settings: Settings, *, json: bool) -> None:
    mirror = _open_mirror(settings)
    count, size_bytes, local_bytes = mirror.index.measure()
    waiting = [path.stat().st_size for path in mirror.iter_unsent()]
    doomed = mirror.index.list_doomed()
    document = {
        "url": settings.store.objects,
        "files": count,
        "size_bytes": size_bytes,
        "local_bytes": local_bytes,
        "waiting": len(waiting),
        "waiting_bytes": sum(waiting),
        "to_delete": len(doomed),
    }
    if json:
        console.print_json(document)
        return
    console.out.print(
        f"{format_count(count, 'file')}, {size_bytes / GB:.2f} GB in {settings.store.objects}; "
        f"{local_bytes / GB:.2f} GB of it are on this disk too",
        markup=False,
    )
    console.out.print(
        f"{format_count(len(waiting), 'file')} to send, {sum(waiting) / GB:.2f} GB; "
        f"{format_count(len(doomed), 'object')} to delete"
    )


def _send(settings: Settings) -> None:
    from agent.service.jobs.objects import build_records

    mirror = _open_mirror(settings)
    total = sum(1 for _ in mirror.iter_unsent())
    done = 0
    with open_store(settings) as store, console.progress("send", total) as advance:
        records = build_records(settings, store, now=datetime.now(UTC))

        def note() -> bool:
            nonlocal done
            done += 1
            advance(min(done, total), "")
            return False

        sent = _run(
            lambda: mirror.run_round(
                cache_bytes=round(settings.store.objects_cache_gb * GB),
                is_enough=note,
                records=records,
            )
        )
    console.out.print(
        f"{format_count(sent.sent, 'file')} sent ({sent.size_bytes / GB:.2f} GB), "
        f"{sent.fetched} fetched, {sent.removed} removed from this disk, "
        f"{sent.pruned} deleted that another PC pruned"
    )


def _fetch(settings: Settings) -> None:
    mirror = _open_mirror(settings)
    with console.progress("fetch", 0) as advance:
        fetched = _run(
            lambda: mirror.fetch_all(progress=lambda done, of: advance(done, f"of {of}"))
        )
    console.out.print(f"{format_count(fetched, 'file')} fetched to {mirror.folder}", markup=False)


def _open_mirror(settings: Settings) -> ObjectMirror:
    from agent.objects import open_mirror

    mirror = open_mirror(settings.store)
    if mirror is None:
        raise WrongUse(
            "No object storage is set. Name one in agent.toml: [store] objects = "
            '"s3://bucket/prefix".'
        )
    return mirror


def _run(act: Callable[[], Result]) -> Result:
    try:
        return act()
    except OSError as error:  # the storage, its index, or a file that cannot be read
        raise SetupError(f"{error}.") from error
