"""Arguments and options that several commands share, and the lab's policy of orders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.app import now_utc

if TYPE_CHECKING:
    from agent.orders.judge.assessed import OrderPolicy
    from agent.settings import Settings
    from agent.store import Store

Number = Annotated[str, typer.Argument(metavar="NUMBER", help="Order number.")]
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
