"""Check how the sites of a shared database are held apart, and what this one shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.cli.app import open_store
from agent.cli.finding import Finding
from agent.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.settings import Settings
    from agent.store import Store

TWO = 2
"""So many sites it takes to share a database, or anything in it."""


def examine_sites(settings: Settings) -> Iterator[Finding]:
    """Yield what is found; nothing for a site that is alone and shares nothing."""
    try:
        with open_store(settings) as store:
            names = store.over_all_sites().names()
            if len(names) < TWO and not settings.site.shares:
                return
            yield _apart(store, len(names))
            yield from _shared(settings, store)
    except AgentError:
        return  # `database` says so


def _apart(store: Store, n: int) -> Finding:
    if bare := store.unscoped_tables():
        return Finding(
            "sites",
            "wrong",
            f"PostgreSQL does not hold the rows of {len(bare)} tables ({bare[0]}, …) apart by "
            "site. Run any agent command as the owner of the tables: it lays the policies again.",
        )
    if store.is_exempt_from_policies():
        return Finding(
            "sites",
            "doubtful",
            "this PostgreSQL user is a superuser or has BYPASSRLS, so row-level security does not "
            "bind it: the program alone holds the sites apart (OPERATIONS, Several sites).",
        )
    own = " and PostgreSQL's row-level security hold" if store.kind == "postgresql" else " holds"
    return Finding("sites", "right", f"{n} share the database; the program{own} them apart.")


def _shared(settings: Settings, store: Store) -> Iterator[Finding]:
    shared = " and ".join(settings.site.shares) or "nothing"
    yield Finding("shared", "right", f"{settings.site.name} shares {shared} ([site] shares).")
    for what in settings.site.shares:
        if len(store.over_all_sites().sharing(what)) < TWO:
            yield Finding(
                "shared",
                "doubtful",
                f'no other site has "{what}" in its [site] shares, so nothing of it is shared.',
            )
    if store.accounts.are_there() and not store.accounts.every():
        yield Finding(
            "shared",
            "doubtful",
            "an account is asked for, and this site has none. Add one (agent users add), or put "
            '"accounts" into [site] shares here and at the site that has them.',
        )
