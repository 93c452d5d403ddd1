"""The one Typer application, and how an error becomes an exit code.

0 done · 1 some files could not be used · 2 wrong use or set-up · 3 a gate or verification says no.
"""

from __future__ import annotations

import importlib
import platform
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.examples import show_examples
from agent.errors import AgentError

if TYPE_CHECKING:
    from pathlib import Path

    from agent.service.statements import StatementKeeper
    from agent.settings import Settings
    from agent.store import Store, Upgrade

GROUPS = (
    "init",
    "demo",
    "run",
    "inspect",
    "taxonomy",
    "train",
    "evaluate",
    "experiments",
    "models_int8",
    "weights",
    "datasets",
    "report",
    "review",
    "orders",
    "statements",
    "orders_release",
    "holding",
    "validate",
    "roundrobin",
    "msa",
    "trace",
    "users",
    "export",
    "files",
    "backup",
    "move",
)
"""The modules of commands, in the order `agent --help` lists them."""

USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
"""Typer's error of wrong use; some versions bring their own copy of Click, so it is asked for."""

CLOCK_STEP_S = 2.0
"""A folder's time may be as coarse as this on some file systems."""

DONE, SOME_FAILED, WRONG_USE, SAYS_NO = 0, 1, 2, 3

app = typer.Typer(
    name="agent",
    help="Martensight: quality control of hardened-steel micrographs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415

        typer.echo(f"martensight {version('martensight')}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    config: Annotated[
        str | None,
        typer.Option(
            help="The agent.toml to use; else AGENT_CONFIG, ./agent.toml, the platform's folder.",
        ),
    ] = None,
    token: Annotated[  # noqa: ARG001 - `signing` reads it
        str,
        typer.Option(
            envvar="AGENT_TOKEN",
            help="A program's token, for a script that signs; better in AGENT_TOKEN.",
            show_envvar=False,
        ),
    ] = "",
    version: Annotated[  # noqa: ARG001 - handled by its callback
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    context.obj = config


def main(arguments: list[str] | None = None) -> None:
    """Run one command; a set-up error is one sentence and exit code 2, never a traceback."""
    _speak_utf8()
    for group in GROUPS:
        importlib.import_module(f"agent.cli.{group}")
    show_examples(app)
    try:
        code = app(args=arguments, standalone_mode=False)
    except AgentError as error:  # also a database that went away while we asked
        code = _refuse(error)
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:
        sys.stderr.close()
        code = DONE
    except USAGE_ERROR as error:
        error.show()  # type: ignore[attr-defined]  # every UsageError has it
        code = WRONG_USE
    except Exception as error:
        if not _is_the_models(error):
            raise
        code = _refuse(error)
    sys.exit(code if isinstance(code, int) else DONE)


def settings_of(context: typer.Context) -> Settings:
    """Read the settings that hold for this call. Raises `BadSettings`.

    What root makes in the service's folders during the call is left to the service's account.
    """
    from agent import settings  # noqa: PLC0415 - `agent --help` answers without it

    read = settings.read(settings_file_of(context))
    if sys.platform != "win32":
        from agent.host.file_ownership import restore_owner  # noqa: PLC0415

        left = partial(restore_owner, [read.store.folder], since_s=time.time() - CLOCK_STEP_S)
        context.find_root().call_on_close(left)
    return read


def settings_file_of(context: typer.Context) -> Path | None:
    """Say which settings file holds for this call, or None if only defaults do."""
    from agent import settings  # noqa: PLC0415

    return settings.find_file(context.find_root().obj)


def store_of(settings: Settings, *, anew: bool = False) -> Store:
    """Open the lab's database for the shell, made or migrated where needed.

    Args:
        settings: Of the lab.
        anew: A database that is not the data folder's own is taken, and one that is, refused.

    Raises:
        BadStore: It cannot be used; one sentence says what to do.
    """
    from agent.cli.signing import shell_origin  # noqa: PLC0415
    from agent.store import Store, store_url  # noqa: PLC0415

    address = store_url(settings.store.folder, settings.store.url)
    opened = Store.open(
        address,
        site=settings.site.name,
        agent=platform.node() or "agent",
        exact_numbers=settings.orders.exact_numbers,
        folder=settings.store.folder,
        anew=anew,
        on_upgrade=_say_upgrade,
        shares=settings.site.shares,
    )
    store = opened.acting_as(shell_origin())
    _freeze_after_acts(settings, store)
    return store


def _say_upgrade(upgrade: Upgrade) -> None:
    from agent.cli.console import aside  # noqa: PLC0415 - rich takes a moment to import

    aside.print(f"agent: {upgrade.sentence}", markup=False)


def _freeze_after_acts(settings: Settings, store: Store) -> None:
    """Freeze statements of the orders that an act of this command changes."""
    heads, content = store.order_changes.heads(), store.order_changes.newest_content()
    keepers: list[StatementKeeper] = []

    def freeze() -> None:
        from agent.orders.examination import Position  # noqa: PLC0415 - only after an act
        from agent.service.statements import StatementKeeper  # noqa: PLC0415

        if not keepers:
            position = Position(heads.trail, heads.result, content=content)
            keepers.append(StatementKeeper(settings, store, position=position))
        keepers[0].after_act()

    store.after_each_act(freeze)


def _refuse(error: Exception) -> int:
    from agent.cli.console import echo  # noqa: PLC0415 - rich takes a moment to import

    echo(f"agent: {error}", err=True)
    return WRONG_USE


def _is_the_models(error: Exception) -> bool:
    # Asked without importing `model`: torch takes seconds, and most commands never need it.
    model = sys.modules.get("model")
    return model is not None and isinstance(error, model.ModelError)


def _speak_utf8() -> None:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
