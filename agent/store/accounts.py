"""Keep who may come in: people and programs, and the browsers in which people are logged in.

In:  names, roles, and secrets that are already hashed. Out: `Account`s. Next: `web`.
An account is disabled, never deleted: the trail names it. Every act is in the trail, the secrets
are not. `Store.accounts` is this room's own door, so that the main one stays short.
An account belongs to a site. Where sites share accounts it holds at each, and only its own site
changes it; of two of one name a site's own holds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlmodel import col, select, update

from agent.auth import AttemptCounter
from agent.errors import WrongUse
from agent.store import audit_log
from agent.store.engine import reading, writing
from agent.store.spelling import account_key
from agent.store.tables import AccountRow, LoginRow, SiteRow

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine
    from sqlmodel import Session

    from agent.store.sources import Whose


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may come in.

    Args:
        name: Unique. kind: "person" or "program". role: what it may do.
        hashed: Hash of the password or token.
        created_at: Since when, aware UTC. disabled_at: since when no longer; None: it may come in.
        failures: Wrong passwords since the last right one.
        locked_until: Until then no password is tried; None: one may be.
        site: The site that it belongs to, "" for this one.
    """

    name: str
    kind: str
    role: str
    hashed: str
    created_at: datetime
    disabled_at: datetime | None
    failures: int
    locked_until: datetime | None
    site: str = ""


@dataclass(frozen=True, slots=True)
class Login:
    """A browser in which a person is logged in.

    Args:
        account: Whose. began_at, seen_at: since when, and when it showed itself last; aware UTC.
    """

    account: Account
    began_at: datetime
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Try:
    """A password that is about to be tried.

    Args:
        account: Whose; None where nobody is called so.
        locked_until: Until then none is tried, and this one is not; None: it is.
        is_known_browser: The account has been logged in before in this browser.
    """

    account: Account | None
    locked_until: datetime | None = None
    is_known_browser: bool = False


class Accounts:
    """Every question and act about accounts; each method is one transaction.

    Args:
        engine: At this program's schema.
        whose: The site and the agent that ask.
    """

    def __init__(self, engine: Engine, whose: Whose) -> None:
        self._engine, self._whose = engine, whose

    # --- accounts ---

    def add(self, name: str, *, kind: str, role: str, hashed: str, by: str, at: datetime) -> None:
        """Add an account.

        Raises:
            WrongUse: The name is taken, or reads like one that is.
        """
        with writing(self._engine) as session:
            if self._find(session, name) is not None:
                raise WrongUse(f"there is an account {name!r} already; take another name.")
            if like := _look_alike(session, name):
                raise WrongUse(
                    f"there is an account {like!r}, which reads like {name!r}; take another name."
                )
            session.add(AccountRow(name=name, kind=kind, role=role, hashed=hashed, created_at=at))
            self._tell(session, "account.added", name, by=by, at=at, kind=kind, role=role)

    def set_role(self, name: str, role: str, *, by: str, at: datetime) -> None:
        """Change what somebody may do. Raises `WrongUse` where nobody is called so."""
        with writing(self._engine) as session:
            row = self._own(session, name)
            row.role = role
            _log_out(session, row, at=at)
            self._tell(session, "account.role_changed", name, by=by, at=at, role=role)

    def set_hash(self, name: str, hashed: str, *, by: str, at: datetime) -> None:
        """Change a password or token; it unlocks. Raises `WrongUse` where nobody is called so."""
        with writing(self._engine) as session:
            row = self._own(session, name)
            row.hashed, row.failures, row.locked_until = hashed, 0, None
            _log_out(session, row, at=at)
            self._tell(session, "account.secret_changed", name, by=by, at=at)

    def disable(self, name: str, *, disabled: bool, by: str, at: datetime) -> None:
        """Let somebody no longer in, or in again. Raises `WrongUse` where nobody is called so."""
        with writing(self._engine) as session:
            row = self._own(session, name)
            row.disabled_at = at if disabled else None
            _log_out(session, row, at=at)
            act = "account.disabled" if disabled else "account.enabled"
            self._tell(session, act, name, by=by, at=at)

    def every(self) -> list[Account]:
        """List all accounts by name, with those that other sites share."""
        with reading(self._engine) as session:
            rows: dict[str, AccountRow] = {}
            for row in session.exec(select(AccountRow).order_by(AccountRow.name)):
                if row.site_id == self._whose.site_id or row.name not in rows:
                    rows[row.name] = row
            names = dict(session.exec(select(SiteRow.id, SiteRow.name)).all())
            names[self._whose.site_id] = ""
            return [replace(_account(row), site=names[row.site_id]) for row in rows.values()]

    def find(self, name: str) -> Account | None:
        """Find an account by its name."""
        with reading(self._engine) as session:
            row = self._find(session, name)
            return _account(row) if row else None

    def program(self, hashed: str) -> Account | None:
        """Find the program that holds the token of this hash."""
        with reading(self._engine) as session:
            asked = select(AccountRow).where(
                AccountRow.kind == "program", AccountRow.hashed == hashed
            )
            row = session.exec(asked).first()
            return _account(row) if row else None

    def are_there(self) -> bool:
        """Return whether there is any account, in use or not: then no one comes in without one."""
        with reading(self._engine) as session:
            if session.exec(select(AccountRow.id).limit(1)).first() is not None:
                return True
            return session.get_one(SiteRow, self._whose.site_id).needs_accounts

    # --- coming in and going ---

    def begin_try(self, name: str, *, browser: str, at: datetime) -> Try:
        """Count a password before it is checked, so that many at once are no more than one by one.

        A browser in which the account was logged in before is not held up by what others try: its
        tries are not counted here.

        Args:
            name: As typed, in its one spelling.
            browser: Hash of the cookie of an earlier login, "" for none.
            at: Now.
        """
        with writing(self._engine) as session:
            row = self._find(session, name, alone=True)
            if row is None:
                return Try(None)
            if browser and _was_logged_in(session, row, browser):
                return Try(_account(row), is_known_browser=True)
            tally = AttemptCounter(row.failures, row.locked_until)
            if tally.is_locked(at):
                return Try(_account(row), locked_until=row.locked_until)
            tally = tally.counted(at)
            row.failures, row.locked_until = tally.failures, tally.until
            return Try(_account(row))

    def failed(self, name: str, *, at: datetime) -> None:
        """Write down that a password was wrong; `begin_try` has counted it."""
        with writing(self._engine) as session:
            self._tell(session, "login.failed", "web", by=name, at=at)

    def succeeded(self, name: str) -> None:
        """Write down that a password was right: those before it count no longer."""
        with writing(self._engine) as session:
            row = self._existing(session, name)
            row.failures, row.locked_until = 0, None

    def begin(self, name: str, *, cookie: str, at: datetime) -> None:
        """Write down that a person is logged in, in the browser whose cookie has this hash.

        Raises:
            WrongUse: Nobody is called so.
        """
        with writing(self._engine) as session:
            row = self._existing(session, name)
            row.failures, row.locked_until = 0, None
            session.add(LoginRow(sha256=cookie, account_id=row.id or 0, began_at=at, seen_at=at))
            self._tell(session, "login.began", "web", by=name, at=at)

    def end(self, cookie: str, *, at: datetime) -> None:
        """End a login; ending one that is over is no fault."""
        with writing(self._engine) as session:
            asked = select(LoginRow, AccountRow.name).join(AccountRow)
            found = session.exec(asked.where(LoginRow.sha256 == cookie)).first()
            if found is None or found[0].ended_at is not None:
                return
            found[0].ended_at = at
            self._tell(session, "login.ended", "web", by=found[1], at=at)

    def logged_in(self, cookie: str) -> Login | None:
        """Say whose browser holds the cookie of this hash; None where it is nobody's."""
        with reading(self._engine) as session:
            asked = select(LoginRow, AccountRow).join(AccountRow)
            found = session.exec(asked.where(LoginRow.sha256 == cookie)).first()
            if found is None or found[0].ended_at is not None or _is_over(*found):
                return None
            return Login(_account(found[1]), found[0].began_at, found[0].seen_at)

    def seen(self, cookie: str, *, at: datetime) -> None:
        """Write down that a browser showed itself."""
        with writing(self._engine) as session:
            session.exec(update(LoginRow).where(col(LoginRow.sha256) == cookie).values(seen_at=at))

    # --- inside ---

    def _find(self, session: Session, name: str, *, alone: bool = False) -> AccountRow | None:
        asked = (
            select(AccountRow)
            .where(AccountRow.name == name)
            .order_by(col(AccountRow.site_id) != self._whose.site_id, col(AccountRow.id))
        )
        return session.exec(asked.with_for_update() if alone else asked).first()

    def _existing(self, session: Session, name: str) -> AccountRow:
        row = self._find(session, name)
        if row is None:
            raise WrongUse(f"there is no account {name!r}; agent users list shows all.")
        return row

    def _own(self, session: Session, name: str) -> AccountRow:
        row = self._existing(session, name)
        if row.site_id != self._whose.site_id:
            home = session.get_one(SiteRow, row.site_id).name
            raise WrongUse(
                f"the account {name!r} belongs to the site {home!r}, which shares it; change it "
                "there."
            )
        return row

    def _tell(
        self, session: Session, act: str, subject: str, *, by: str, at: datetime, **facts: str
    ) -> None:
        audit_log.append(
            session, self._whose.site_id, at=at, actor=by, act=act, subject=subject, facts=facts
        )


def _is_over(login: LoginRow, account: AccountRow) -> bool:
    """Return whether the account was changed since: its site ends no log-in of another one."""
    return account.logins_since is not None and login.began_at < account.logins_since


def _look_alike(session: Session, name: str) -> str | None:
    key = account_key(name)
    names = session.exec(select(AccountRow.name))
    return next((other for other in names if account_key(other) == key), None)


def _was_logged_in(session: Session, row: AccountRow, cookie: str) -> bool:
    asked = select(LoginRow.id).where(LoginRow.sha256 == cookie, LoginRow.account_id == row.id)
    return session.exec(asked).first() is not None


def _log_out(session: Session, row: AccountRow, *, at: datetime) -> None:
    row.logins_since = at
    logins = update(LoginRow).where(
        col(LoginRow.account_id) == row.id, col(LoginRow.ended_at).is_(None)
    )
    session.exec(logins.values(ended_at=at))


def _account(row: AccountRow) -> Account:
    return Account(
        name=row.name,
        kind=row.kind,
        role=row.role,
        hashed=row.hashed,
        created_at=row.created_at,
        disabled_at=row.disabled_at,
        failures=row.failures,
        locked_until=row.locked_until,
    )
