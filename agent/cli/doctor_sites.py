"""Check the PCs of this site, the separation of sites in a shared database, and what they share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.cli.app import open_store
from agent.cli.finding import DoctorResult
from agent.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.settings import Settings
    from agent.store import Store

TWO = 2
"""Smallest number of sites that share a database."""


def examine_sites(settings: Settings) -> Iterator[DoctorResult]:
    """Yield the findings; none if one PC runs, and there is one site that shares nothing."""
    from agent.service.renamed_site import describe_renamed

    try:
        with open_store(settings) as store:
            if renamed := describe_renamed(settings, store):
                yield DoctorResult("site name", "wrong", renamed)
            yield from _check_pcs(store)
            names = store.over_all_sites().names()
            if len(names) < TWO and not settings.site.shares:
                return
            yield _check_separation(store, len(names))
            yield from _check_sharing(settings, store)
    except AgentError:
        return  # the check `database` reports it


def _check_pcs(store: Store) -> Iterator[DoctorResult]:
    """Compare version, bundle, crop recipe and settings of the PCs that run at this site."""
    from agent.cli.fleet import REMARKS
    from agent.fleet import PcState, list_members
    from agent.service.data_folder import clock
    from agent.service.database_clock import DatabaseClock

    members = list_members(
        store.agents.list_all(),
        now=DatabaseClock(store, now=clock)(),
        wanted=store.rollouts.list_wanted(),
    )
    running = [member for member in members if member.state is PcState.RUNNING]
    if len(running) < TWO:
        return
    differing = [
        f"{member.name} has {', '.join(others)}"
        for member in running
        if (others := [REMARKS[name] for name in member.remarks if name.startswith("other_")])
    ]
    if differing:
        sentence = f"{'; '.join(differing)} than most PCs of this site. Compare agent settings."
        yield DoctorResult("PCs", "doubtful", sentence)
    else:
        yield DoctorResult("PCs", "right", f"{len(running)} PCs run with the same settings.")


def _check_separation(store: Store, n: int) -> DoctorResult:
    if bare := store.checks.find_unscoped_tables():
        return DoctorResult(
            "sites",
            "wrong",
            f"PostgreSQL does not separate the rows of {len(bare)} tables ({bare[0]}, …) by site. "
            "Run any agent command as the owner of the tables; it restores the policies.",
        )
    if store.checks.is_exempt_from_policies():
        return DoctorResult(
            "sites",
            "doubtful",
            "this PostgreSQL user is a superuser or has BYPASSRLS, so row-level security does not "
            "apply. Only the program separates the sites (OPERATIONS, Several sites).",
        )
    by = " and row-level security separate" if store.kind == "postgresql" else " separates"
    return DoctorResult("sites", "right", f"{n} sites share the database; the program{by} them.")


def _check_sharing(settings: Settings, store: Store) -> Iterator[DoctorResult]:
    shared = " and ".join(settings.site.shares) or "nothing"
    yield DoctorResult("shared", "right", f"{settings.site.name} shares {shared} ([site] shares).")
    for what in settings.site.shares:
        if len(store.over_all_sites().sharing(what)) < TWO:
            yield DoctorResult(
                "shared",
                "doubtful",
                f'no other site has "{what}" in [site] shares, so it is not shared.',
            )
    if store.accounts.are_there() and not store.accounts.every():
        yield DoctorResult(
            "shared",
            "doubtful",
            "a login is required, but this site has no account. Add one (agent users add), or add "
            '"accounts" to [site] shares here and at the site that has accounts.',
        )
