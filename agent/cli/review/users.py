"""`agent users`: accounts for the review page and the API."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.app import app, load_settings, open_store
from agent.cli.console import echo, out, print_json, table
from agent.cli.options import signed_store
from agent.errors import UsageError

if TYPE_CHECKING:
    from agent.settings import Settings
    from agent.store import Account

users = typer.Typer(
    name="users",
    help="Accounts for the review page and the API. From the first account on, a login is "
    "required.",
    no_args_is_help=True,
)
app.add_typer(users)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Account name, as in the audit log.")]
By = Annotated[
    str,
    typer.Option(
        "--by", metavar="NAME", help="Name of the administrator who does this; it is recorded."
    ),
]
Role = Annotated[
    str,
    typer.Option(
        metavar="viewer|reviewer|lead|admin",
        help="Role; each includes the rights of the roles before it.",
    ),
]
FromStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]
AT_THE_SHELL = "shell"
"""Actor in the audit log if no name is given."""


@users.command()
def add(  # noqa: PLR0917 - each is an option of the command
    context: typer.Context,
    name: Name,
    role: Role = "reviewer",
    by: By = "",
    password_stdin: FromStdin = False,
    program: Annotated[
        bool,
        typer.Option(
            "--program", help="An account for a program; its token is printed, only once."
        ),
    ] = False,
) -> None:
    """Add an account for a user. The command prompts for the password."""
    from agent.store.people import auth  # heavy

    name, role = auth.require_name(name), auth.require_role(role)
    with signed_store(context, load_settings(context), by) as (store, signer):
        token = auth.make_token() if program else ""
        hashed = (
            auth.hash_token(token)
            if program
            else auth.hash_password(_password(stdin=password_stdin), name=name)
        )
        kind = "program" if program else "person"
        store.accounts.add(
            name, kind=kind, role=role, hashed=hashed, by=signer or AT_THE_SHELL, at=_now()
        )
    if program:
        echo(token)
        echo("Send it with each request: Authorization: Bearer TOKEN. It is not stored.", err=True)
    else:
        out.print(f"Account {name} added with role {role}.", markup=False)


@users.command()
def change(  # noqa: PLR0917 - each is an option of the command
    context: typer.Context,
    name: Name,
    role: Annotated[
        str,
        typer.Option("--role", metavar="ROLE", help="New role: viewer, reviewer, lead or admin."),
    ] = "",
    password: Annotated[
        bool, typer.Option("--password", help="Set a new password. Open sessions end.")
    ] = False,
    disable: Annotated[
        bool, typer.Option("--disable", help="Disable it immediately. Its history is kept.")
    ] = False,
    enable: Annotated[bool, typer.Option("--enable", help="Enable it again.")] = False,
    by: By = "",
    password_stdin: FromStdin = False,
) -> None:
    """Change an account: its role, its password, or whether it is enabled."""
    password = password or password_stdin
    if bool(role) + password + disable + enable != 1:
        raise UsageError("Choose one: --role ROLE, --password, --disable or --enable.")
    settings = load_settings(context)
    if role:
        _set_role(context, settings, name, role, by)
    elif enable:
        with signed_store(context, settings, by, "--enable") as (store, signer):
            store.accounts.disable(name, disabled=False, by=signer or AT_THE_SHELL, at=_now())
        out.print(f"Account {name} enabled.", markup=False)
    elif disable:
        with open_store(settings) as store:
            store.accounts.disable(name, disabled=True, by=by or AT_THE_SHELL, at=_now())
        out.print(f"Account {name} disabled.", markup=False)
    else:
        _set_password(settings, name, by, stdin=password_stdin)


def _set_role(context: typer.Context, settings: Settings, name: str, role: str, by: str) -> None:
    from agent.store.people import auth  # heavy

    with signed_store(context, settings, by, "--role") as (store, signer):
        store.accounts.set_role(name, auth.require_role(role), by=signer or AT_THE_SHELL, at=_now())
    out.print(f"{name} now has role {role}.", markup=False)


def _set_password(settings: Settings, name: str, by: str, *, stdin: bool) -> None:
    from agent.store.people import auth  # heavy

    with open_store(settings) as store:
        hashed = auth.hash_password(_password(stdin=stdin), name=name)
        store.accounts.set_hash(name, hashed, by=by or AT_THE_SHELL, at=_now())
    out.print(f"Password of {name} changed.", markup=False)


@users.command("list")
def list_all(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One object per account.")] = False,
) -> None:
    """List all accounts."""
    with open_store(load_settings(context)) as store:
        accounts = store.accounts.every()
    if as_json:
        for account in accounts:
            print_json(_to_json(account))
        return
    if not accounts:
        out.print("No accounts. Every user of this PC may review.")
        return
    rows = [(a.name, a.kind, a.role, _state(a)) for a in accounts]
    table(("name", "kind", "role", "state"), rows)


def _to_json(account: Account) -> dict[str, object]:
    return {
        "name": account.name,
        "kind": account.kind,
        "role": account.role,
        "state": _state(account),
        "created_at": account.created_at.isoformat(),
    }


def _state(account: Account) -> str:
    if account.disabled_at is not None:
        return "disabled"
    locked = account.locked_until is not None and account.locked_until > _now()
    return "locked" if locked else "active"


def _password(*, stdin: bool) -> str:
    if stdin:
        return sys.stdin.readline().rstrip("\r\n")
    password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    return password


def _now() -> datetime:
    return datetime.now(UTC)
