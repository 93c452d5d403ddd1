"""Accounts of people and programs, the log-in sessions of browsers, and searches kept by name.

An account is disabled, never deleted: the audit log refers to it. Each act is in the audit log,
secrets are not. An account belongs to a site. Where sites share accounts it is valid at each, and
only its own site changes it; of two with the same name a site's own account is used.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select, update

from agent.errors import UsageError
from agent.store.engine import Repository, reading, write_retrying, writing
from agent.store.evidence import audit_log
from agent.store.evidence.acts import append_act
from agent.store.numbers import account_key
from agent.store.people.auth import AttemptCounter
from agent.store.people.label_decisions import is_own_name
from agent.store.tables import Account, Login, SavedView, SiteRow


@dataclass(frozen=True, slots=True)
class Try:
    """A password that is about to be checked.

    Args:
        account: The account, None if there is none of this name.
        locked_until: Passwords are not checked before this time; None: this one is.
        is_known_browser: The account has been logged in before in this browser.
    """

    account: Account | None
    locked_until: datetime | None = None
    is_known_browser: bool = False


class Accounts(Repository):
    """Repository of accounts and log-in sessions."""

    # --- accounts ---

    def add(
        self,
        name: str,
        *,
        kind: str,
        role: str,
        hashed: str,
        by: str,
        at: datetime,
        only_first: bool = False,
    ) -> None:
        """Add an account; `only_first`: where there is none yet, since nobody has logged in.

        Raises:
            UsageError: The name is the program's own or taken, or reads like one that is, or there
                are accounts already.
        """
        if is_own_name(name):
            raise UsageError(f"{name} is a name of the program; take another name.")
        with writing(self._engine) as session:
            if only_first:
                audit_log.lock(session)  # on PostgreSQL two of them could look at once
                if session.exec(select(Account.id)).first() is not None:
                    raise UsageError("There are accounts already: log in first.")
            if self._find(session, name) is not None:
                raise UsageError(f"there is an account {name!r} already; take another name.")
            if like := _find_look_alike(session, name):
                raise UsageError(
                    f"there is an account {like!r}, which reads like {name!r}; take another name."
                )
            row = Account(name=name, kind=kind, role=role, hashed=hashed, created_at=at)
            append_act(session, "account.added", row, actor=by)

    def set_role(self, name: str, role: str, *, by: str, at: datetime) -> None:
        """Change the role of an account. Raises `UsageError` if there is none of this name."""
        with writing(self._engine) as session:
            row = self._own(session, name)
            row.role = role
            _log_out(session, row, at=at)
            self._remember(session, "account.role_changed", name, by=by, at=at, role=role)

    def set_hash(self, name: str, hashed: str, *, by: str, at: datetime) -> None:
        """Change a password or token and unlock the account; `UsageError` if there is none."""
        with writing(self._engine) as session:
            row = self._own(session, name)
            row.hashed, row.failures, row.locked_until = hashed, 0, None
            _log_out(session, row, at=at)
            secret = fingerprint(hashed)
            self._remember(session, "account.secret_changed", name, by=by, at=at, secret=secret)

    def disable(self, name: str, *, disabled: bool, by: str, at: datetime) -> None:
        """Disable or enable an account. Raises `UsageError` if there is none of this name."""
        with writing(self._engine) as session:
            row = self._own(session, name)
            row.disabled_at = at if disabled else None
            _log_out(session, row, at=at)
            act = "account.disabled" if disabled else "account.enabled"
            self._remember(session, act, name, by=by, at=at)

    def every(self) -> list[Account]:
        """List all accounts by name, with those that other sites share."""
        with reading(self._engine) as session:
            rows: dict[str, Account] = {}
            for row in session.exec(select(Account).order_by(Account.name)):
                if row.site_id == self._whose.site_id or row.name not in rows:
                    rows[row.name] = row
            return list(rows.values())

    def find(self, name: str) -> Account | None:
        """Find an account by its name."""
        with reading(self._engine) as session:
            return self._find(session, name)

    def program(self, hashed: str) -> Account | None:
        """Find the program whose token has this hash."""
        with reading(self._engine) as session:
            query = select(Account).where(Account.kind == "program", Account.hashed == hashed)
            return session.exec(query).first()

    def are_there(self) -> bool:
        """Return whether there is any account, enabled or not; then a log-in is required."""
        with reading(self._engine) as session:
            return session.exec(select(Account.id).limit(1)).first() is not None

    # --- log-in sessions ---

    def begin_try(self, name: str, *, browser: str, at: datetime) -> Try:
        """Count a password before it is checked, so that parallel attempts are counted too.

        In a browser in which the account was logged in before, attempts made elsewhere do not lock
        it: its attempts are not counted here.

        Args:
            name: As typed, in its one spelling.
            browser: Hash of the cookie of an earlier log-in, "" for none.
            at: Now.
        """
        with writing(self._engine) as session:
            row = self._find(session, name, alone=True)
            if row is None:
                return Try(None)
            if browser and _was_logged_in(session, row, browser):
                return Try(row, is_known_browser=True)
            tally = AttemptCounter(row.failures, row.locked_until)
            if tally.is_locked(at):
                return Try(row, locked_until=row.locked_until)
            tally = tally.counted(at)
            row.failures, row.locked_until = tally.failures, tally.until
            return Try(row)

    def failed(self, name: str, *, at: datetime) -> None:
        """Record that a password was wrong; `begin_try` has counted it."""
        with writing(self._engine) as session:
            self._remember(session, "login.failed", "web", by=name, at=at)

    def succeeded(self, name: str) -> None:
        """Record that a password was right: those before it count no longer."""
        with writing(self._engine) as session:
            row = self._get_existing(session, name)
            row.failures, row.locked_until = 0, None

    def begin(self, name: str, *, cookie: str, at: datetime) -> None:
        """Record a log-in of a person in the browser whose cookie has this hash.

        Raises:
            UsageError: There is no account of this name.
        """
        with writing(self._engine) as session:
            row = self._get_existing(session, name)
            row.failures, row.locked_until = 0, None
            login = fingerprint(cookie)
            # PostgreSQL refuses a log-in whose act is not the newest of the site.
            self._remember(session, "login.began", "web", by=name, at=at, login=login)
            session.add(Login(sha256=cookie, account_id=row.id, began_at=at, seen_at=at))

    def end(self, cookie: str, *, at: datetime) -> None:
        """End a login; ending one that is over is no fault."""
        with writing(self._engine) as session:
            query = select(Login, Account.name).join(Account)
            row = session.exec(query.where(Login.sha256 == cookie)).first()
            if row is None or row[0].ended_at is not None:
                return
            row[0].ended_at = at
            self._remember(session, "login.ended", "web", by=row[1], at=at)

    def logged_in(self, cookie: str) -> tuple[Login, Account] | None:
        """Return the log-in session of the cookie with this hash, with its account, or None."""
        with reading(self._engine) as session:
            query = select(Login, Account).join(Account)
            row = session.exec(query.where(Login.sha256 == cookie)).first()
            if row is None or row[0].ended_at is not None or _is_over(*row):
                return None
            return row

    def seen(self, cookie: str, *, at: datetime) -> None:
        """Record that a browser showed itself."""
        with writing(self._engine) as session:
            session.exec(update(Login).where(col(Login.sha256) == cookie).values(seen_at=at))

    # --- helpers ---

    def _find(self, session: Session, name: str, *, alone: bool = False) -> Account | None:
        query = (
            select(Account)
            .where(Account.name == name)
            .order_by(col(Account.site_id) != self._whose.site_id, col(Account.id))
        )
        return session.exec(query.with_for_update() if alone else query).first()

    def _get_existing(self, session: Session, name: str) -> Account:
        row = self._find(session, name)
        if row is None:
            raise UsageError(f"there is no account {name!r}; agent users list shows all.")
        return row

    def _own(self, session: Session, name: str) -> Account:
        row = self._get_existing(session, name)
        if row.site_id != self._whose.site_id:
            home = session.get_one(SiteRow, row.site_id).name
            raise UsageError(
                f"the account {name!r} belongs to the site {home!r}, which shares it; change it "
                "there."
            )
        return row

    def _remember(
        self, session: Session, act: str, subject: str, *, by: str, at: datetime, **facts: str
    ) -> None:
        audit_log.append(
            session, self._whose.site_id, at=at, actor=by, act=act, subject=subject, facts=facts
        )


def fingerprint(hashed: str) -> str:
    """Return what the audit log keeps of a hash: an exchanged one differs, and none can be made."""
    return hashlib.sha256(hashed.encode()).hexdigest()


def _is_over(login: Login, account: Account) -> bool:
    """Return whether the account was changed since: its site ends no log-in of another one."""
    return account.logins_since is not None and login.began_at < account.logins_since


def _find_look_alike(session: Session, name: str) -> str | None:
    key = account_key(name)
    names = session.exec(select(Account.name))
    return next((other for other in names if account_key(other) == key), None)


def _was_logged_in(session: Session, row: Account, cookie: str) -> bool:
    query = select(Login.id).where(Login.sha256 == cookie, Login.account_id == row.id)
    return session.exec(query).first() is not None


def _log_out(session: Session, row: Account, *, at: datetime) -> None:
    row.logins_since = at
    logins = update(Login).where(col(Login.account_id) == row.id, col(Login.ended_at).is_(None))
    session.exec(logins.values(ended_at=at))


MOST_VIEWS = 50
LONGEST_VIEW_NAME, LONGEST_VIEW_QUERY = 60, 2000


class SavedViews(Repository):
    """Repository of kept searches."""

    def list_all(self, owner: str) -> list[SavedView]:
        """Return the searches that an account, or a reviewer without one, keeps, by name."""
        query = (
            select(SavedView)
            .where(SavedView.site_id == self._whose.site_id, SavedView.owner == owner)
            .order_by(col(SavedView.name))
        )
        with reading(self._engine) as session:
            return list(session.exec(query))

    def save(self, owner: str, name: str, query: str, *, at: datetime) -> None:
        """Keep a search; one of the same name is replaced.

        Raises:
            UsageError: The name or the search is empty or too long, or the owner keeps too many.
        """
        name = " ".join(name.split())
        if not owner or not name or len(name) > LONGEST_VIEW_NAME or not name.isprintable():
            raise UsageError(f"a saved view needs a name of at most {LONGEST_VIEW_NAME} letters.")
        if len(query) > LONGEST_VIEW_QUERY:
            raise UsageError(f"a search has at most {LONGEST_VIEW_QUERY} letters.")
        write_retrying(self._engine, lambda session: self._save(session, owner, name, query, at))

    def _save(self, session: Session, owner: str, name: str, query: str, at: datetime) -> None:
        rows = session.exec(
            select(SavedView).where(
                SavedView.site_id == self._whose.site_id, SavedView.owner == owner
            )
        ).all()
        row = next((row for row in rows if row.name == name), None)
        if row is None and len(rows) >= MOST_VIEWS:
            raise UsageError(f"{MOST_VIEWS} views are saved already; delete one first.")
        row = row or SavedView(site_id=self._whose.site_id, owner=owner, name=name, saved_at=at)
        row.query, row.saved_at = query, at
        session.add(row)

    def delete(self, owner: str, name: str) -> bool:
        """Delete a kept search; return whether there was one."""
        with writing(self._engine) as session:
            row = session.exec(
                select(SavedView).where(
                    SavedView.site_id == self._whose.site_id,
                    SavedView.owner == owner,
                    SavedView.name == name,
                )
            ).first()
            if row is not None:
                session.delete(row)
            return row is not None
