"""`agent settings`: every setting in effect and its origin."""

from __future__ import annotations

import typer

from agent.cli.app import app, find_settings_file, load_settings
from agent.cli.console import print_json, table
from agent.cli.options import JsonOption


@app.command("settings")
def settings_(context: typer.Context, json: JsonOption = False) -> None:
    """List every setting in effect and its origin: environment, file or default."""
    from agent.cli.settings_reference import list_settings

    settings, file = load_settings(context), find_settings_file(context)
    rows = list_settings(settings, file)
    if json:
        print_json([{"setting": n, "value": v, "from": f} for n, v, f in rows])
        return
    table(("setting", "value", "from"), rows, title=str(file or "no agent.toml: defaults"))
