"""`agent files`: the state of each file; queue again, delete old pixels, object storage."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from agent.cli import console
from agent.cli.app import app, load_settings, open_store
from agent.cli.console import out, print_json, progress, table
from agent.cli.operate.backup import PER_MEGABYTE
from agent.cli.options import JsonOption
from agent.errors import SetupError, UsageError
from agent.terminal import format_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agent.backup.maintenance import Pruning
    from agent.objects import ObjectMirror
    from agent.settings import Settings
    from agent.store import FileFate

AsJson = Annotated[bool, typer.Option("--json", help="One object per line on stdout.")]
FAILED = ("failed", "set_aside")
MAX_ROWS = 500
files = typer.Typer(name="files")


app.add_typer(files)


@files.callback(invoke_without_command=True)
def list_files(
    context: typer.Context,
    as_json: AsJson = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only files that failed or were set aside.")
    ] = False,
    state: Annotated[
        str | None, typer.Option(help="Only files in this state, for example queued.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Only files of this source.")] = None,
) -> None:
    """List every file with its state and the reason."""
    if context.invoked_subcommand is not None:
        return
    states = _states(state, failed=failed)
    with open_store(load_settings(context)) as store:
        fates = store.files.iter_status(states, source)
        if as_json:
            for fate in fates:
                print_json(fate.as_json())
        else:
            _show(fates)


def _states(state: str | None, *, failed: bool) -> tuple[str, ...] | None:
    from agent.store import State  # brings the database

    if state and state not in set(State):
        raise UsageError(f"--state: unknown state {state!r}. Use one of {', '.join(State)}.")
    if failed:
        return FAILED
    return (state,) if state else None


def _show(fates: Iterable[FileFate]) -> None:
    rows: list[tuple[object, ...]] = []
    more = 0
    for fate in fates:
        if len(rows) < MAX_ROWS:
            rows.append((fate.state, fate.source, fate.path, _why(fate), fate.attempts))
        else:
            more += 1
    if not rows:
        out.print("no files")
        return
    table(("state", "source", "file", "why", "attempts"), rows)
    if more:
        out.print(f"and {more} more; --json lists all")


def _why(fate: FileFate) -> str:
    if fate.duplicate_of:
        return f"same content as {fate.duplicate_of}"
    reason = fate.said or ""
    if fate.next_try_at and fate.state in FAILED:
        again = "next try" if fate.state == "failed" else "read again"
        reason = f"{reason.rstrip('.')}; {again} {fate.next_try_at:%Y-%m-%d %H:%M} UTC"
    return reason


@files.command()
def retry(
    context: typer.Context,
    which: Annotated[
        list[str] | None,
        typer.Argument(help="Paths, hashes or numbers of files. For all files use --all."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All files that failed or were set aside.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Queue files again that failed or were set aside."""
    if bool(which) == every:
        raise UsageError("Name the files to queue again, or use --all.")
    with open_store(load_settings(context)) as store:
        names = None if every else [_as_stored(name) for name in which or ()]
        count = store.files.retry(names, at=datetime.now(UTC))
    if which and not count:
        raise UsageError(
            f"{which[0]}: no failed or set-aside file has this name. Run `agent files --failed`."
        )
    if json:
        print_json({"queued": count})
        return
    out.print(f"{count} queued again. The running agent processes them, or run: agent run --once")


def _as_stored(name: str) -> str:
    from agent.watch import to_text  # brings the observer

    path = Path(name)
    return to_text(str(path.absolute()) if path.exists() else name)


LEFTOVER_AGE = timedelta(days=1)


@files.command()
def prune(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what would be deleted.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Delete pixels that are older than [retention] allows and are no evidence.

    Evidence is what a statement, a label, a round robin, a check, a study or a hold refers to. The
    command prints what it keeps and why.
    """
    from agent.archive import Archive
    from agent.backup import maintenance

    settings, at = load_settings(context), datetime.now(UTC)
    archive = Archive.open(settings)
    with open_store(settings) as store:
        befores = _compute_cutoffs(settings, at)
        since = maintenance.compute_statements_start(settings.retention.statements_years, now=at)
        plans = maintenance.plan(store, archive, befores=befores, statements_since=since)
        if json:
            print_json(_build_document(plans, settings.store.folder, dry_run=dry_run))
        else:
            _print_plans(plans, dry_run=dry_run, never=not befores)
            _print_kept_copies(settings.store.folder)
        if dry_run:
            return
        with progress("prune", sum(len(plan.files) for plan in plans)) as advance:
            maintenance.prune(
                store, archive, plans, at=at, progress=lambda done, _of, what: advance(done, what)
            )
    archive.sweep(before_s=(at - LEFTOVER_AGE).timestamp())


def _build_document(plans: Iterable[Pruning], folder: Path, *, dry_run: bool) -> dict[str, object]:
    from agent.store.sites.site_folders import list_kept_copies

    return {
        "dry_run": dry_run,
        "plans": [
            {
                "kind": plan.kind,
                "files": len(plan.files),
                "micrographs": len(plan.ids),
                "size_bytes": plan.size_bytes,
                "kept": dict(plan.kept),
            }
            for plan in plans
        ],
        "kept_copies": {str(path): size for path, size in list_kept_copies(folder).items()},
    }


def _print_kept_copies(folder: Path) -> None:
    """Print what upgrades and restores kept: an operator deletes it, no command does."""
    from agent.store.sites.site_folders import list_kept_copies

    for path, size_bytes in list_kept_copies(folder).items():
        out.print(
            f"kept from before an upgrade or restore, may be deleted by hand: {path}, "
            f"{size_bytes / PER_MEGABYTE:.1f} MB",
            markup=False,
        )


def _compute_cutoffs(settings: Settings, at: datetime) -> dict[str, datetime]:
    days = {
        "crops": settings.retention.crops_days,
        "originals": settings.retention.originals_days,
    }
    return {kind: at - timedelta(days=count) for kind, count in days.items() if count}


def _print_plans(plans: Iterable[Pruning], *, dry_run: bool, never: bool) -> None:
    if never:
        out.print("[retention] keeps everything forever: nothing is deleted", markup=False)
    for plan in plans:
        out.print(
            f"{'would delete' if dry_run else 'deleting'} "
            f"{format_count(len(plan.files), 'file')} of "
            f"{format_count(len(plan.ids), 'micrograph')} ({plan.kind}), "
            f"{plan.size_bytes / PER_MEGABYTE:.1f} MB"
        )
        for reason, count in plan.kept.items():
            out.print(f"  {'would keep' if dry_run else 'keeping'} {count}: {reason}")


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
        raise UsageError("Use either --send or --fetch.")
    settings = load_settings(context)
    if send:
        _send(settings)
    elif fetch:
        _fetch(settings)
    else:
        _show_storage(settings, json=json)


def _show_storage(settings: Settings, *, json: bool) -> None:
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
    from agent.service.jobs.archive import build_records

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
        raise UsageError(
            "No object storage is set. Name one in agent.toml: [store] objects = "
            '"s3://bucket/prefix".'
        )
    return mirror


def _run(act: Callable[[], Result]) -> Result:
    try:
        return act()
    except OSError as error:  # the storage, its index, or a file that cannot be read
        raise SetupError(f"{error}.") from error
