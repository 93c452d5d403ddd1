"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Number = Annotated[str, typer.Argument(metavar="NUMBER", help="The order's number.")]

Id = Annotated[str, typer.Argument(metavar="ID", help="The micrograph's id, as in the report.")]

By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who does this; it is kept.")]

Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept.")]

FolderArgument = Annotated[
    Path,
    typer.Argument(help="A folder per structure code, named as `agent taxonomy show` lists them."),
]

ManifestOption = Annotated[
    Path | None,
    typer.Option(
        help="CSV with file and code (or subtype and size), instead of folders; its other columns: "
        "agent import --help."
    ),
]

GroupOption = Annotated[
    str,
    typer.Option(
        "--group-by",
        metavar="COLUMN",
        help="What is never on two sides of a split: order, plant, microscope, or any column of "
        "the manifest; without it the specimen.",
    ),
]

FrameOption = Annotated[
    int | None, typer.Option(min=32, help="Side of a frame in pixels, 1994 by default.")
]

EpochsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="At most so many passes over the images, 40 by default; heads alone need none.",
    ),
]

SeedOption = Annotated[int, typer.Option(help="Of everything drawn by chance, the split too.")]

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
