"""Options that several commands share: arguments, the lab's policy, and signatures."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.app import now_utc
from agent.errors import AgentError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from agent.orders.judge.assessed import OrderPolicy
    from agent.settings import Settings
    from agent.store import Account, Origin, Store


MOST_COMPLETED = 50
"""Words that a shell is offered for one argument."""


def _complete(context: typer.Context, list_words: Callable[[Settings, Store], list[str]]) -> Any:
    """Return what a shell offers, nothing where there is no lab: completion prints no error."""
    from agent import settings
    from agent.cli.app import open_store

    try:
        config = context.find_root().params.get("config")  # the callback of the root did not run
        loaded = settings.read(settings.find_file(config))
        if not loaded.store.folder.is_dir():
            return []
        with open_store(loaded, acts=False) as store:
            return list_words(loaded, store)
    except (AgentError, OSError):
        return []


def complete_orders(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the numbers of the newest orders that begin as typed."""
    found: list[str] = _complete(
        ctx,
        lambda _settings, store: store.orders.list_numbers(incomplete, most=MOST_COMPLETED),
    )
    return found


def complete_bundles(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of the bundles that begin as typed, newest first."""
    from agent.retrain.bundle_registry import list_bundles

    names: list[str] = _complete(
        ctx,
        lambda settings, _store: [path.name for path in list_bundles(settings.store.folder)],
    )
    return [name for name in sorted(names, reverse=True) if name.startswith(incomplete)]


def complete_codes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the structure codes that begin as typed."""
    from agent.orders.facts.order_policy import taxonomy_in_force

    codes: list[str] = _complete(
        ctx,
        lambda settings, store: [
            subtype.code(size.name)
            for subtype in taxonomy_in_force(settings, store).subtypes
            for size in subtype.sizes
        ],
    )
    return [code for code in codes if code.startswith(incomplete)]


Number = Annotated[
    str,
    typer.Argument(metavar="NUMBER", help="Order number.", autocompletion=complete_orders),
]
Id = Annotated[str, typer.Argument(metavar="ID", help="Micrograph id, as in the report.")]

By = Annotated[
    str,
    typer.Option("--by", metavar="NAME", help="Name of the person who does this; it is recorded."),
]

Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Reason; it is recorded.")]

FolderArgument = Annotated[
    Path,
    typer.Argument(
        help="Folder with a sub-folder per structure code; `agent spec taxonomy` lists the codes."
    ),
]

ManifestOption = Annotated[
    Path | None,
    typer.Option(
        help="CSV with file and code (or subtype and size) instead of sub-folders; for more "
        "columns see agent import --help."
    ),
]

GroupOption = Annotated[
    str,
    typer.Option(
        "--group-by",
        metavar="COLUMN",
        help="Column that a split keeps together: order, plant, microscope, or any column of the "
        "manifest. Default: the specimen.",
    ),
]

FrameOption = Annotated[
    int | None, typer.Option(min=32, help="Side of a frame in pixels. Default: 1994.")
]

EpochsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Largest number of passes over the images. Default: 40; frozen networks need none.",
    ),
]

SeedOption = Annotated[int, typer.Option(help="Seed of all random draws, including the split.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def read_order_policy(settings: Settings, store: Store, *, is_noted: bool = True) -> OrderPolicy:
    """Return the lab's specifications, taxonomy, permissions and instrument holds.

    Args:
        settings: Settings of the lab.
        store: Open store.
        is_noted: Whether to record a changed specification or taxonomy.

    Raises:
        SpecificationError: specifications.toml cannot be used.
    """
    from agent.orders.facts.order_policy import load_policy, taxonomy_in_force
    from agent.orders.instruments.instrument_holds import load_holds
    from agent.service.copies import record_older

    record_older(settings, store, now=now_utc())
    taxonomy = taxonomy_in_force(settings, store)
    holds = load_holds(settings, store)
    return load_policy(settings, store, taxonomy, now=now_utc(), held=holds, is_noted=is_noted)


# --- signatures of commands -----------------------------------------------------------------------
# The audit log records the operating-system user of every command. If the lab has accounts, a
# command that decides, promotes, supersedes or releases also requires the password of an account,
# or the token of a program; without accounts `--by` is enough.


SHELL = "shell"
TOKEN_VARIABLE = "AGENT_TOKEN"  # noqa: S105 - the name of a variable
PASSWORD, TOKEN = "password", "token"


@dataclass(frozen=True, slots=True)
class Signing:
    """The signature that a command requires.

    Attributes:
        meaning: Meaning of the signature; it is recorded.
        role: Lowest role that may sign.
    """

    meaning: str
    role: str = "lead"


ADMIN = "admin"
REVIEWED = "reviewed"
WITHDRAWN = "withdrawn"
SIGNED: dict[str, Signing] = {
    "fleet": Signing("retired"),
    "import": Signing("imported", "reviewer"),
    "models promote": Signing("promoted"),
    "models rollback": Signing("promoted"),
    "models rollout --continue": Signing("promoted"),
    "msa plan": Signing("planned"),
    "needles calibrate": Signing("calibrated"),
    "orders amend": Signing("amended"),
    "orders assign": Signing("assigned", "reviewer"),
    "orders dismiss-file": Signing("dismissed", "reviewer"),
    "orders hold": Signing("held", "reviewer"),
    "orders hold --off": Signing("released from hold"),
    "orders release-hold": Signing("released"),
    "orders reopen": Signing("reopened"),
    "orders resume": Signing("acknowledged"),
    "orders same-place": Signing("decided"),
    "orders supersede": Signing("superseded", "reviewer"),
    "orders urgent": Signing("put first"),
    "report --acknowledge": Signing("acknowledged"),
    "restore": Signing("accepted"),
    "review label": Signing(REVIEWED, "reviewer"),
    "review label --undo": Signing(WITHDRAWN, "reviewer"),
    "roundrobin close": Signing("closed"),
    "roundrobin new": Signing("planned"),
    "roundrobin open": Signing("opened"),
    "scale check": Signing("measured", "reviewer"),
    "spec automatic": Signing("released"),
    "spec validate": Signing("validated"),
    "train": Signing("imported and promoted"),
    "users add": Signing("let in", ADMIN),
    "users change --enable": Signing("let in", ADMIN),
    "users change --role": Signing("role changed", ADMIN),
}
"""Every command that requires a signature. Further permissions are checked by the command.
`train` signs if it imports labels or promotes the first bundle, `restore` if it accepts a loss,
`fleet` if it retires a PC. `users change` does not for a new password, the way back where one is
lost, nor to disable an account at once. The signature of an administrator is not required while no
administrator can log in."""


def os_user() -> str:
    """Return the operating-system user; environment variables are ignored."""
    try:
        if sys.platform == "win32":
            import win32api  # Windows alone

            return str(win32api.GetUserName())
        import pwd  # POSIX alone

        return pwd.getpwuid(os.getuid()).pw_name
    except (KeyError, OSError, ImportError):
        return "unknown user"


def _os_user_with_sudo() -> str:
    """Return the operating-system user; for root also the user who ran sudo."""
    user = os_user()
    before = os.environ.get("SUDO_USER", "") if user == "root" else ""
    return f"{user} (sudo by {before})" if before and before != user else user


def shell_origin() -> Origin:
    """Return the origin that the audit log records for a command."""
    from agent.store import Origin  # `agent --help` answers without it

    return Origin(SHELL, os_user=_os_user_with_sudo())


def command_name(context: typer.Context) -> str:
    """Return the name of the command that runs, such as "review label"."""
    names = []
    link = context
    while link.parent is not None:
        names.append(str(link.info_name))
        link = link.parent  # type: ignore[assignment]
    return " ".join(reversed(names))


@contextmanager
def signed_store(
    context: typer.Context, settings: Settings, by: str, option: str = ""
) -> Iterator[tuple[Store, str]]:
    """Open the store for a command that requires a signature.

    Args:
        context: Context of the command, one of `SIGNED`.
        settings: Settings of the lab.
        by: Name from `--by`, or "".
        option: With which the command does something else that is signed.

    Yields:
        The store, which records the signature, and the name that signs.

    Raises:
        UsageError: The lab has accounts, and no account with the role signed.
    """
    from agent.cli.app import open_store  # it imports this module

    with open_store(settings) as store:
        yield sign(context, store, by, leads=settings.orders.leads, option=option)


@contextmanager
def shell_store(settings: Settings, by: str) -> Iterator[tuple[Store, str]]:
    """Open the store for a command without signature; yields as `signed_store`."""
    from agent.cli.app import open_store  # it imports this module

    with open_store(settings) as store:
        yield store, _require_person(by)


def _require_person(by: str) -> str:
    """Return a name from `--by`. Raises `UsageError` where no person has it."""
    from agent.store import is_own_name  # `agent --help` answers without it

    if not by.isprintable():
        raise UsageError(f"--by {by!r} has letters that cannot be shown; type the name again.")
    if is_own_name(by):
        raise UsageError(f"--by {by}: this is a name of the program. Write your own.")
    return by


def sign(
    context: typer.Context,
    store: Store,
    by: str,
    *,
    leads: Collection[str] = (),
    option: str = "",
) -> tuple[Store, str]:
    """Sign a command in an open store; returns what `signed_store` yields.

    Args:
        context: Context of the command.
        store: Open store.
        by: Name from `--by`, or "".
        leads: Names that are leads whatever the role of their account.
        option: As in `signed_store`.
    """
    from agent.store import Origin, signed_by_program
    from agent.store.people import auth  # argon2 is heavy

    command = f"{command_name(context)} {option}".rstrip()
    signing = SIGNED[command]
    if not store.accounts.are_there() or (signing.role == ADMIN and not _has_admin(store)):
        origin = Origin(SHELL, _os_user_with_sudo(), signing.meaning)
        return store.acting_as(origin), _require_person(by)
    token = str(context.find_root().params.get("token") or "").strip()
    if token:
        account, proof = _by_token(store, token, by, command), TOKEN
        name = account.name
        if signing.meaning in {REVIEWED, WITHDRAWN}:
            name = signed_by_program(account.name, account.name)
    else:
        account, proof = _by_password(store, by, command), PASSWORD
        name = account.name
    is_lead = signing.role == "lead" and account.name in leads
    if not (is_lead or auth.may(account.role, signing.role)):
        raise UsageError(
            f"{account.name} has role {account.role}; agent {command} requires role "
            f"{signing.role}. See agent users list."
        )
    origin = Origin(SHELL, _os_user_with_sudo(), signing.meaning, account.name, proof)
    return store.acting_as(origin), name


def require_lead(settings: Settings, store: Store, by: str) -> None:
    """Raise `UsageError` unless a lead signs, where the lab has accounts or names leads."""
    from agent.orders.facts.order_policy import is_lead  # `agent --help` answers without it

    if (settings.orders.leads or store.accounts.every()) and not is_lead(settings, store, by):
        raise UsageError(
            f"{by} is not a lead. Only a lead or an administrator may do this; see agent users "
            "list and [orders] leads in agent.toml."
        )


def _has_admin(store: Store) -> bool:
    """Return whether an administrator can log in."""
    return any(
        account.role == ADMIN and account.kind == "person" and account.disabled_at is None
        for account in store.accounts.every()
    )


def _by_token(store: Store, token: str, by: str, command: str) -> Account:
    from agent.store.people import auth

    account = store.accounts.program(auth.hash_token(token))
    if account is None or account.disabled_at is not None:
        raise UsageError(
            f"agent {command}: the token is unknown or disabled. To make one: agent users add NAME "
            "--program."
        )
    if by.strip() and " ".join(by.split()) != account.name:
        raise UsageError(
            f"agent {command}: the token belongs to {account.name}, not to {by}. Omit --by, or "
            "sign with a password."
        )
    return account


def _by_password(store: Store, by: str, command: str) -> Account:
    from agent.store.people import auth

    name = auth.spelled(by or os_user())
    if not sys.stdin.isatty():
        raise UsageError(
            f"agent {command} requires a signature. Run it on a terminal, which prompts for the "
            f"password of {name}, or set {TOKEN_VARIABLE} to the token of a program."
        )
    password: str = typer.prompt(f"Password of {name}", hide_input=True, err=True)
    at = datetime.now(UTC)
    tried = store.accounts.begin_try(name, browser="", at=at)
    if tried.locked_until:
        raise UsageError(
            f"{name} is locked until {tried.locked_until:%H:%M} UTC after too many wrong passwords."
        )
    account = tried.account
    usable = account is not None and account.kind == "person" and account.disabled_at is None
    if account is None or not auth.is_password(account.hashed if usable else None, password):
        store.accounts.failed(name, at=at)
        raise UsageError("Wrong name or password. Nothing was changed.")
    store.accounts.succeeded(name)
    return account
