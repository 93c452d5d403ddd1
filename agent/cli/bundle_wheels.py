"""`agent support wheels`: wheels for a PC without internet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.cli.console import out
from agent.cli.support_bundle import support
from agent.host.wheels import LOCK, collect

EXTRAS = "postgres,vendor,openvino,notify"


@support.command()
def wheels(
    folder: Annotated[Path, typer.Argument(help="Target folder, such as a USB stick or a share.")],
    package: Annotated[
        str, typer.Option(help="This program: its wheel, source folder or package name.")
    ] = "martensight",
    extras: Annotated[str, typer.Option(help="Comma-separated extras; may be empty.")] = EXTRAS,
    lock: Annotated[
        Path, typer.Option(help="File with versions and hashes. Default: the tested ones.")
    ] = LOCK,
    no_lock: Annotated[
        bool, typer.Option("--no-lock", help="Use the newest compatible versions.")
    ] = False,
) -> None:
    """Collect wheels for a PC without internet with the same system and Python version."""
    folder.mkdir(parents=True, exist_ok=True)
    collected = collect(folder, package, extras, None if no_lock else lock)
    size = sum(wheel.stat().st_size for wheel in collected) / 1e6
    out.print(f"{len(collected)} wheels, {size:.0f} MB, in {folder}", markup=False)
    out.print(
        f"on the other PC, in {folder}: "
        "pip install --no-index --require-hashes -r requirements.txt",
        markup=False,
    )
