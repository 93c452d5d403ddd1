"""Set the agent up on a PC: `init`, `settings`, `doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.cli.app import SAYS_NO, app, settings_file_of, settings_of
from agent.cli.console import console, print_json, table
from agent.errors import WrongUse


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where agent.toml goes.")] = Path(),
) -> None:
    """Write a commented agent.toml and the data folder."""
    from agent import settings
    from agent.cli.settings_reference import page

    file = folder / settings.FILE_NAME
    if file.exists():
        raise WrongUse(f"{file}: already there, and is left as it is; edit it, or name a folder.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir(mode=0o750, exist_ok=True)
    file.touch(mode=0o640)  # a database's password may come to stand in it
    file.write_text(page(), encoding="utf-8")
    console.print(f"wrote {file}", markup=False)
    console.print(
        "next: name your microscopes' export folders under [[sources]], then: agent doctor",
        markup=False,
    )


@app.command(name="settings")
def settings_(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Say every setting that holds, and where it comes from."""
    from agent.cli.settings_reference import in_effect

    settings, file = settings_of(context), settings_file_of(context)
    rows = in_effect(settings, file)
    if as_json:
        print_json([{"setting": n, "value": v, "from": f} for n, v, f in rows])
        return
    table(("setting", "value", "from"), rows, title=str(file or "no agent.toml: defaults"))


@app.command()
def doctor(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Check this PC: folders, rights, disk, database, bundle, GPU. Exit code 3 if any is wrong."""
    from agent.cli.doctor import examine

    findings = examine(settings_of(context), settings_file_of(context))
    if as_json:
        print_json([{"check": f.check, "level": f.level, "sentence": f.sentence} for f in findings])
    else:
        table(("", "check", "finding"), [(f.mark, f.check, f.sentence) for f in findings])
    if any(f.level == "wrong" for f in findings):
        raise typer.Exit(SAYS_NO)
