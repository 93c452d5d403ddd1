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
    taxonomy: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Labelled images, a folder per class, or a CSV with file and code: proposes "
            "subtypes and sizes from the names, and writes taxonomy.toml next to agent.toml.",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Write taxonomy.toml without a question.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="With --yes: replace a taxonomy.toml, keeping a copy."),
    ] = False,
) -> None:
    """Write a commented agent.toml and the data folder; with --taxonomy the lab's classes too."""
    from agent import settings
    from agent.cli.init_taxonomy import describe_missing_setting, name_taxonomy, write_proposal
    from agent.cli.settings_reference import render_toml

    settings.refuse_unfinished_move(folder)
    file = folder / settings.FILE_NAME
    if file.exists() and taxonomy is None:
        raise WrongUse(
            f"{file} already exists and was not changed. Edit it, or name another folder."
        )
    if taxonomy is not None:
        write_proposal(folder, taxonomy, yes=yes, force=force)
        if file.exists():
            if sentence := describe_missing_setting(file):
                out.print(sentence, markup=False)
            return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir(mode=0o750, exist_ok=True)
    file.touch(mode=0o640)  # it may hold a database password later
    file.write_text(name_taxonomy(render_toml()) if taxonomy else render_toml(), encoding="utf-8")
    out.print(f"wrote {file}", markup=False)
    out.print(
        "next: enter the export folders of your microscopes under [[sources]], then: agent doctor",
        markup=False,
    )
