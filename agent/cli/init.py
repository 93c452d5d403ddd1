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
    taxonomy: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Labelled images, a folder per class, or a CSV with file and code: proposes "
            "subtypes and sizes from the names, and writes taxonomy.toml next to agent.toml.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Write taxonomy.toml unasked.")] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="With --yes: replace a taxonomy.toml, keeping a copy."),
    ] = False,
) -> None:
    """Write a commented agent.toml and the data folder; with --taxonomy the lab's classes too."""
    from agent import settings  # noqa: PLC0415
    from agent.cli.init_taxonomy import (  # noqa: PLC0415
        describe_missing_setting,
        name_taxonomy,
        write_proposal,
    )
    from agent.cli.settings_reference import page  # noqa: PLC0415

    file = folder / settings.FILE_NAME
    if file.exists() and taxonomy is None:
        raise WrongUse(f"{file}: already there, and is left as it is; edit it, or name a folder.")
    if taxonomy is not None:
        write_proposal(folder, taxonomy, yes=yes, force=force)
        if file.exists():
            if sentence := describe_missing_setting(file):
                console.print(sentence, markup=False)
            return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir(mode=0o750, exist_ok=True)
    file.touch(mode=0o640)  # a database's password may come to stand in it
    file.write_text(name_taxonomy(page()) if taxonomy else page(), encoding="utf-8")
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
    from agent.cli.settings_reference import in_effect  # noqa: PLC0415

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
    from agent.cli.doctor import examine  # noqa: PLC0415

    findings = examine(settings_of(context), settings_file_of(context))
    if as_json:
        print_json([{"check": f.check, "level": f.level, "sentence": f.sentence} for f in findings])
    else:
        table(("", "check", "finding"), [(f.mark, f.check, f.sentence) for f in findings])
    if any(f.level == "wrong" for f in findings):
        raise typer.Exit(SAYS_NO)
