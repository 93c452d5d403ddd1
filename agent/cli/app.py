"""The Typer application, its exit codes, and access to settings and store for commands.

0 done · 1 some files could not be used · 2 wrong use or set-up · 3 a gate or verification refuses.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
import time
from datetime import UTC, datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from agent.cli.examples import add_examples, find_moved
from agent.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.service.statements import StatementKeeper
    from agent.settings import Settings
    from agent.store import Store, Upgrade

SECTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "Start": {
        "demo": ("start.demo",),
        "look": ("start.look",),
        "init": ("start.init",),
        "doctor": ("start.status",),
        "run": ("start.run",),
        "status": ("start.status",),
        "web": ("start.run",),
        "service": ("start.run",),
        "settings": ("start.init",),
    },
    "Grade": {
        "classify": ("grade.classify",),
        "needles": ("grade.needles",),
        "scale": ("grade.scale",),
        "report": ("grade.report",),
        "files": ("grade.files",),
    },
    "Review and orders": {
        "review": ("review.queue",),
        "orders": ("review.orders", "review.orders_acts", "review.orders_statements"),
        "spec": ("review.spec",),
        "export": ("review.export",),
        "users": ("review.users",),
    },
    "Models": {
        "import": ("models.import_",),
        "train": ("models.train",),
        "retrain": ("models.train",),
        "models": (
            *("models.bundles", "models.promotion", "models.evaluate"),
            *("models.reprocess", "models.experiments", "models.datasets"),
        ),
    },
    "Studies": {"roundrobin": ("studies.roundrobin",), "msa": ("studies.msa",)},
    "Operate": {
        "backup": ("operate.backup",),
        "restore": ("operate.restore",),
        "verify": ("operate.verify",),
        "fleet": ("start.status",),
        "support": ("operate.support",),
    },
}
"""Heading of `agent --help` → its commands → the modules that define each."""

MODULES = {name: modules for section in SECTIONS.values() for name, modules in section.items()}
GROUPS = tuple(dict.fromkeys(name for modules in MODULES.values() for name in modules))
"""The modules of commands."""

OFTEN = frozenset({"run", "status", "report", "orders", "classify", "files", "web", "verify"})
"""Commands that are called often and open a lab."""

SHORT = frozenset({"status", "orders show", "files"})

OFTEN_USED = ("intake", "records", "sites")
"""Modules of tables that these need to open a lab and to tell which bundle and settings it uses."""

OF_MICROGRAPHS = ("micrographs",)
"""Modules of tables with micrographs and what they name, which all of these but `status` need."""

HELP = ["-h", "--help"]

USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
"""Typer's usage error, found by its class: some versions bring their own copy of Click."""

CLOCK_STEP_S = 2.0
"""Resolution of modification times on the coarsest supported file system (FAT)."""

DONE, SOME_FAILED, WRONG_USE, SAYS_NO = 0, 1, 2, 3

COLLECT_AFTER = (100_000, 10, 10)
"""How many new objects make Python look for unused cycles: with its default of 700 a short command
spends a tenth of its time on that, while it imports."""

COLLECT_LATE = (1_000_000, 10, 10)
"""The same for commands that are over in a second."""


class SectionedGroup(TyperGroup):
    """The top command, whose help lists commands under headings."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - Click's signature
        """Write the commands of each section with what each does."""
        widest = max(map(len, self.commands), default=0)
        for heading, names in SECTIONS.items():
            rows = [
                (name.ljust(widest), _get_summary(self.commands[name]))
                for name in names
                if name in self.commands
            ]
            with formatter.section(heading):
                formatter.write_dl(rows)


def _get_summary(command: Any) -> str:
    """Return the first clause of a command's help."""
    sentence = " ".join((command.help or "").split()).partition(". ")[0].partition(";")[0]
    return f"{sentence.rstrip('.')}."


app = typer.Typer(
    name="agent",
    cls=SectionedGroup,
    help="Martensight: quality control of hardened-steel micrographs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": HELP},
)


def _print_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        typer.echo(f"martensight {version('martensight')}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    config: Annotated[
        str | None,
        typer.Option(
            help="Settings file. Default: AGENT_CONFIG, ./agent.toml, then the service's folder.",
        ),
    ] = None,
    token: Annotated[  # noqa: ARG001 - `signing` reads it
        str,
        typer.Option(
            envvar="AGENT_TOKEN",
            help="Token of a program account, for scripts that sign. Prefer AGENT_TOKEN.",
            show_envvar=False,
        ),
    ] = "",
    version: Annotated[  # noqa: ARG001 - handled by its callback
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    context.obj = config


@cache
def _build_command(name: str | None) -> Callable[..., object]:
    """Import the modules of commands and build the tree; a process builds it once.

    Args:
        name: The only command of `MODULES` that is needed, "" for none, or None for all; importing
            all takes a fifth of the time of a short command.
    """
    for module in GROUPS if name is None else MODULES.get(name, ()):
        importlib.import_module(f"agent.cli.{module}")
    add_examples(app)
    return typer.main.get_command(app)


def _list_words(arguments: list[str]) -> list[str]:
    """Return the words of a call that name its command and what follows, up to an option."""
    words = []
    names = iter(arguments)
    for name in names:
        if name in {"--config", "--token"}:
            next(names, None)
        elif not name.startswith("-"):
            words.append(name)
        elif words or not name.startswith(("--config=", "--token=")):
            break
    return words


def main(arguments: list[str] | None = None) -> None:
    """Run one command; print a set-up error as one sentence and exit with code 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    words = _list_words(arguments)
    name = words[0] if words and words[0] in MODULES else None
    is_short = " ".join(words[:2]) in SHORT
    gc.set_threshold(*(COLLECT_LATE if is_short else COLLECT_AFTER))
    # No plugin may change how settings are read; pydantic searches every installed package for one.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    _use_utf8()
    if name in OFTEN and not set(HELP) & set(arguments):
        # First, at the bottom of the stack: Python keeps the frames of calls in blocks of 16 KB,
        # and a loop at the end of a block has one mapped and released at each call. Making the
        # tables took up to half as long again in the midst of other imports.
        for table in (*OFTEN_USED, *(OF_MICROGRAPHS if name != "status" else ())):
            importlib.import_module(f"agent.store.tables.{table}")
    command = _build_command("" if arguments == ["--version"] else name)
    try:
        code = command(args=arguments, standalone_mode=False)
    except AgentError as error:  # also a database that became unavailable during the command
        code = _refuse(error)
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:
        sys.stderr.close()
        code = DONE
    except USAGE_ERROR as error:
        if moved := find_moved(words):
            code = _refuse(moved)
        else:
            error.show()  # type: ignore[attr-defined]  # every UsageError has it
            code = WRONG_USE
    except Exception as error:
        if not (sentence := _explain(error)):
            raise
        code = _refuse(sentence)
    gc.freeze()  # at exit Python collects several times: a third of the time of a short command
    sys.exit(code if isinstance(code, int) else DONE)


def load_settings(context: typer.Context) -> Settings:
    """Load the settings of this call.

    Files that root creates in the service's folders during the call become the service account's.

    Raises:
        BadSettingsError: The settings file cannot be used.
    """
    from agent import settings  # `agent --help` answers without it

    loaded = settings.read(find_settings_file(context))
    if sys.platform != "win32":
        from agent.host.file_ownership import restore_owner

        change_owner = partial(
            restore_owner, [loaded.store.folder], since_s=time.time() - CLOCK_STEP_S
        )
        context.find_root().call_on_close(change_owner)
    return loaded


def find_settings_file(context: typer.Context) -> Path | None:
    """Return the settings file of this call, or None if only defaults apply."""
    from agent import settings

    return settings.find_file(context.find_root().obj)


def now_utc() -> datetime:
    """Return the time, aware UTC."""
    return datetime.now(UTC)


def open_store(settings: Settings, *, accepts_other: bool = False, acts: bool = True) -> Store:
    """Open the lab's database for the shell; create or migrate it if needed.

    Args:
        settings: Settings of the lab.
        accepts_other: Accept a database that is not the folder's own, and refuse one that is.
        acts: The command may write an act, after which the statements of changed orders are frozen.

    Raises:
        StoreError: The database cannot be used; the message names the remedy.
    """
    from agent.cli.options import shell_origin
    from agent.settings import find_pc_name
    from agent.store import Store, store_url

    url = store_url(settings.store.folder, settings.store.url)
    opened = Store.open(
        url,
        site=settings.site.name,
        agent=find_pc_name(),
        exact_numbers=settings.orders.exact_numbers,
        folder=settings.store.folder,
        accepts_other=accepts_other,
        on_upgrade=_print_upgrade,
        shares=settings.site.shares,
        connections=settings.store.connections,
    )
    store = opened.acting_as(shell_origin())
    if acts:
        _freeze_after_acts(settings, store)
    return store


def _print_upgrade(upgrade: Upgrade) -> None:
    from agent.cli.console import err  # rich takes a moment to import

    err.print(f"agent: {upgrade.sentence}", markup=False)


def _freeze_after_acts(settings: Settings, store: Store) -> None:
    """Freeze statements of the orders that this command changes."""
    heads, content = store.order_changes.heads(), store.order_changes.newest_content()
    keepers: list[StatementKeeper] = []

    def freeze() -> None:
        from agent.orders.judge.assessment import Position  # only after an act
        from agent.service.statements import StatementKeeper

        if not keepers:
            position = Position(heads.trail, heads.result, content=content)
            keepers.append(StatementKeeper(settings, store, position=position))
        keepers[0].after_act()

    store.after_each_act(freeze)


def _explain(error: Exception) -> str:
    """Return a sentence for a fault outside the program, "" for one of the program itself."""
    if _is_model_error(error):
        return str(error)
    if isinstance(error, OSError) and error.filename:  # it refuses, hangs or is full
        return (
            f"{error.filename}: {error.strerror}. Check that it is there, that this account may "
            "use it, and that its share answers; agent doctor names what is wrong."
        )
    return ""


def _refuse(error: Exception | str) -> int:
    from agent.cli.console import echo  # rich takes a moment to import

    echo(f"agent: {error}", err=True)
    return WRONG_USE


def _is_model_error(error: Exception) -> bool:
    # Checked without importing `model`: torch takes seconds, and most commands never need it.
    model = sys.modules.get("model")
    return model is not None and isinstance(error, model.ModelError)


def _use_utf8() -> None:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
