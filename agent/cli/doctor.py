"""`agent doctor`: check this PC."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.cli.app import SAYS_NO, app, find_settings_file, load_settings
from agent.cli.console import print_json, table


@app.command()
def doctor(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Check folders, rights, disk, database, bundle and GPU. Exit code 3 if a check fails."""
    from agent.cli.doctor_checks import examine

    findings = examine(load_settings(context), find_settings_file(context))
    if as_json:
        print_json([{"check": f.check, "level": f.level, "sentence": f.sentence} for f in findings])
    else:
        table(("", "check", "finding"), [(f.mark, f.check, f.sentence) for f in findings])
    if any(f.level == "wrong" for f in findings):
        raise typer.Exit(SAYS_NO)
