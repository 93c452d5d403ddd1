"""`agent bundle-wheels`: wheels for a PC without internet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.cli.app import app
from agent.cli.console import out
from agent.host.wheels import LOCK, collect

EXTRAS = "postgres,vendor,openvino,notify"


@app.command("bundle-wheels")
def bundle_wheels(
    folder: Annotated[Path, typer.Argument(help="Where the wheels go: a USB stick, a share.")],
    package: Annotated[
        str, typer.Option(help="This program: its wheel, its source folder, or its name.")
    ] = "martensight",
    extras: Annotated[str, typer.Option(help="Which extras, or none.")] = EXTRAS,
    lock: Annotated[
        Path, typer.Option(help="Versions and hashes to hold them to; default: the tested ones.")
    ] = LOCK,
    no_lock: Annotated[
        bool, typer.Option("--no-lock", help="Take the newest versions that fit instead.")
    ] = False,
) -> None:
    """Collect wheels to install from on a PC without internet, of this system and this Python."""
    folder.mkdir(parents=True, exist_ok=True)
    wheels = collect(folder, package, extras, None if no_lock else lock)
    size = sum(one.stat().st_size for one in wheels) / 1e6
    out.print(f"{len(wheels)} wheels, {size:.0f} MB, in {folder}", markup=False)
    out.print(
        f"on the other PC, in {folder}: "
        "pip install --no-index --require-hashes -r requirements.txt",
        markup=False,
    )
