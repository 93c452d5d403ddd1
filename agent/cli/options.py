"""Arguments and options that several commands share, and the lab's policy of orders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.app import now_utc
from agent.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.orders.judge.assessed import OrderPolicy
    from agent.settings import Settings
    from agent.store import Store

MOST_COMPLETED = 50
"""Words that a shell is offered for one argument."""


def _complete(context: typer.Context, list_words: Callable[[Settings, Store], list[str]]) -> Any:
    """Return what a shell offers, nothing where there is no lab: completion prints no error."""
    from agent import settings
    from agent.cli.app import open_store

    try:
        config = context.find_root().params.get("config")  # the callback of the root did not run
        loaded = settings.read(settings.find_file(config))
        if not loaded.store.folder.is_dir():
            return []
        with open_store(loaded, acts=False) as store:
            return list_words(loaded, store)
    except (AgentError, OSError):
        return []


def complete_orders(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the numbers of the newest orders that begin as typed."""
    found: list[str] = _complete(
        ctx,
        lambda _settings, store: store.orders.list_numbers(incomplete, most=MOST_COMPLETED),
    )
    return found


def complete_bundles(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of the bundles that begin as typed, newest first."""
    from agent.retrain.bundle_registry import list_bundles

    names: list[str] = _complete(
        ctx,
        lambda settings, _store: [path.name for path in list_bundles(settings.store.folder)],
    )
    return [name for name in sorted(names, reverse=True) if name.startswith(incomplete)]


def complete_codes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the structure codes that begin as typed."""
    from agent.orders.lab_context import taxonomy_in_force

    codes: list[str] = _complete(
        ctx,
        lambda settings, store: [
            subtype.code(size.name)
            for subtype in taxonomy_in_force(settings, store).subtypes
            for size in subtype.sizes
        ],
    )
    return [code for code in codes if code.startswith(incomplete)]


Number = Annotated[
    str,
    typer.Argument(metavar="NUMBER", help="Order number.", autocompletion=complete_orders),
]
Id = Annotated[str, typer.Argument(metavar="ID", help="Micrograph id, as in the report.")]

By = Annotated[
    str,
    typer.Option("--by", metavar="NAME", help="Name of the person who does this; it is recorded."),
]

Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Reason; it is recorded.")]

FolderArgument = Annotated[
    Path,
    typer.Argument(
        help="Folder with a sub-folder per structure code; `agent spec taxonomy` lists the codes."
    ),
]

ManifestOption = Annotated[
    Path | None,
    typer.Option(
        help="CSV with file and code (or subtype and size) instead of sub-folders; for more "
        "columns see agent import --help."
    ),
]

GroupOption = Annotated[
    str,
    typer.Option(
        "--group-by",
        metavar="COLUMN",
        help="Column that a split keeps together: order, plant, microscope, or any column of the "
        "manifest. Default: the specimen.",
    ),
]

FrameOption = Annotated[
    int | None, typer.Option(min=32, help="Side of a frame in pixels. Default: 1994.")
]

EpochsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Largest number of passes over the images. Default: 40; frozen networks need none.",
    ),
]

SeedOption = Annotated[int, typer.Option(help="Seed of all random draws, including the split.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def read_order_policy(settings: Settings, store: Store, *, is_noted: bool = True) -> OrderPolicy:
    """Return the lab's specifications, taxonomy, permissions and instrument holds.

    Args:
        settings: Settings of the lab.
        store: Open store.
        is_noted: Whether to record a changed specification or taxonomy.

    Raises:
        BadSpecification: specifications.toml cannot be used.
    """
    from agent.orders.facts.order_policy import load_policy
    from agent.orders.instruments.instrument_holds import load_holds
    from agent.orders.lab_context import taxonomy_in_force

    taxonomy = taxonomy_in_force(settings, store)
    holds = load_holds(settings, store)
    return load_policy(settings, store, taxonomy, now=now_utc(), held=holds, is_noted=is_noted)
