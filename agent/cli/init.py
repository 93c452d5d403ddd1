"""Set the agent up on a PC: `init`, `settings`, `doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.cli.app import app
from agent.cli.console import out
from agent.errors import WrongUse


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where agent.toml goes.")] = Path(),
) -> None:
    """Write a commented agent.toml and the data folder."""
    from agent import settings
    from agent.cli.settings_reference import render_toml

    file = folder / settings.FILE_NAME
    if file.exists():
        raise WrongUse(f"{file}: already there, and is left as it is; edit it, or name a folder.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir(mode=0o750, exist_ok=True)
    file.touch(mode=0o640)  # a database's password may come to stand in it
    file.write_text(render_toml(), encoding="utf-8")
    out.print(f"wrote {file}", markup=False)
    out.print(
        "next: name your microscopes' export folders under [[sources]], then: agent doctor",
        markup=False,
    )
