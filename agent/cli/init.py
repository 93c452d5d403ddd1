"""`agent init`: a commented settings file and the data folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.cli.app import app
from agent.cli.console import out
from agent.errors import WrongUse


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder for agent.toml.")] = Path(),
) -> None:
    """Write a commented agent.toml and the data folder."""
    from agent import settings
    from agent.cli.settings_reference import render_toml

    file = folder / settings.FILE_NAME
    if file.exists():
        raise WrongUse(
            f"{file} already exists and was not changed. Edit it, or name another folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir(mode=0o750, exist_ok=True)
    file.touch(mode=0o640)  # it may hold a database password later
    file.write_text(render_toml(), encoding="utf-8")
    out.print(f"wrote {file}", markup=False)
    out.print(
        "next: enter the export folders of your microscopes under [[sources]], then: agent doctor",
        markup=False,
    )
