"""`agent files prune`: delete pixels past their retention time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.app import load_settings, open_store
from agent.cli.backup import PER_MEGABYTE
from agent.cli.console import out, progress
from agent.cli.files import files
from agent.counts import format_count

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from agent.maintenance import Pruning
    from agent.settings import Settings

LEFTOVER_AGE = timedelta(days=1)


@files.command()
def prune(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what would be deleted.")
    ] = False,
) -> None:
    """Delete pixels that are older than [retention] allows and are no evidence.

    Evidence is what a statement, a label, a round robin, a check, a study or a hold refers to. The
    command prints what it keeps and why.
    """
    from agent import maintenance
    from agent.archive import Archive

    settings, at = load_settings(context), datetime.now(UTC)
    archive = Archive.open(settings.store)
    with open_store(settings) as store:
        befores = _compute_cutoffs(settings, at)
        since = maintenance.compute_statements_start(settings.retention.statements_years, now=at)
        plans = maintenance.plan(store, archive, befores=befores, statements_since=since)
        _print_plans(plans, dry_run=dry_run, never=not befores)
        _print_kept_copies(settings.store.folder)
        if dry_run:
            return
        with progress("prune", sum(len(plan.files) for plan in plans)) as advance:
            maintenance.prune(
                store, archive, plans, at=at, progress=lambda done, _of, what: advance(done, what)
            )
    archive.sweep(before_s=(at - LEFTOVER_AGE).timestamp())


def _print_kept_copies(folder: Path) -> None:
    """Print what upgrades and restores kept: an operator deletes it, no command does."""
    from agent.site_folders import list_kept_copies

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
