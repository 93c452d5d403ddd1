"""`agent service`: the agent as a service of the operating system."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.cli.app import app, find_settings_file, load_settings
from agent.cli.console import out

service = typer.Typer(help="Run the agent as a service of this PC.", no_args_is_help=True)
app.add_typer(service, name="service")


@service.command("install")
def install(
    context: typer.Context,
    account: Annotated[
        str,
        typer.Option(
            help="Account of the service. Default: a user martensight (Linux), LocalSystem "
            r"(Windows). On Windows DOMAIN\user, or DOMAIN\name$ for a gMSA."
        ),
    ] = "",
) -> None:
    """Install the agent as a service that starts with this PC."""
    from agent.host import get_manager

    lines = get_manager().install(
        find_settings_file(context), load_settings(context), account=account
    )
    for line in lines:
        out.print(line, markup=False)


@service.command("uninstall")
def uninstall() -> None:
    """Remove the service; data and settings stay."""
    _run_command("uninstall")


@service.command("start")
def start() -> None:
    """Start the service."""
    _run_command("start")


@service.command("stop")
def stop_() -> None:
    """Stop the service after the current file."""
    _run_command("stop")


@service.command("status")
def service_status() -> None:
    """Show the state of the service."""
    _run_command("status")


def _run_command(name: str) -> None:
    from agent.host import get_manager

    for line in getattr(get_manager(), name)():
        out.print(line, markup=False)
