"""`agent objects`: the files of the data folder in the lab's object storage."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import typer

from agent.cli import console
from agent.cli.app import app, load_settings, open_store
from agent.cli.options import JsonOption
from agent.counts import format_count
from agent.errors import SetupError, WrongUse

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.objects import ObjectMirror
    from agent.settings import Settings

objects = typer.Typer(
    help="Object storage: the files of the data folder in an S3-compatible storage.",
    no_args_is_help=True,
)
app.add_typer(objects, name="objects")
GB = 1e9
Result = TypeVar("Result")


@objects.command("status")
def status(context: typer.Context, json: JsonOption = False) -> None:
    """Show what the object storage contains by the records of this PC, and what is not sent yet."""
    settings = load_settings(context)
    mirror = _open_mirror(settings)
    files, size_bytes, local_bytes = mirror.index.measure()
    waiting = [path.stat().st_size for path in mirror.iter_unsent()]
    doomed = mirror.index.list_doomed()
    document = {
        "url": settings.store.objects,
        "files": files,
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
        f"{format_count(files, 'file')}, {size_bytes / GB:.2f} GB in {settings.store.objects}; "
        f"{local_bytes / GB:.2f} GB of it are on this disk too",
        markup=False,
    )
    console.out.print(
        f"{format_count(len(waiting), 'file')} to send, {sum(waiting) / GB:.2f} GB; "
        f"{format_count(len(doomed), 'object')} to delete"
    )


@objects.command("send")
def send(context: typer.Context) -> None:
    """Send every file that is new now; `agent run` does so every minute.

    Fetches the bundles and kept features of other PCs, and deletes what another PC pruned. Exit
    code 2 if the storage does not answer; nothing is lost, and the next run continues.
    """
    settings = load_settings(context)
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


@objects.command("fetch")
def fetch(context: typer.Context) -> None:
    """Fetch every file that is only in the object storage, for a new PC or to give the storage up.

    A file whose bytes are not those that were sent ends the command with exit code 2 and its name.
    """
    mirror = _open_mirror(load_settings(context))
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
