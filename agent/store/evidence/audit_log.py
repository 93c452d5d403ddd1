"""Audit log: acts with actor, time and subject, chained by hash so that a later change shows.

A row is written in the transaction of its act. There is no way to switch it off.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, text
from sqlmodel import Session, col, select

from agent.errors import UsageError
from agent.store.engine import ACTED, Repository, reading, writing
from agent.store.sites.site_scope import get_site
from agent.store.tables import SiteRow, TrailRow
from agent.store.work.file_states import chunks

BEGINNING = "0" * 64
"""What the first row is chained to."""

ONE_AT_A_TIME = 0x74726169  # a number of ours for PostgreSQL's advisory lock: "trai"


@dataclass(frozen=True, slots=True)
class TrailEntry:
    """An act in the audit log.

    Args:
        at: Aware UTC.
        actor: Who acted.
        act: Name of the act, such as "label.given".
        subject: Key of what it was done to.
        facts: The rest, as JSON has it.
        id: Its number in the chain.
        site: Name of the site.
        sha256: Hash of this row and the one before.
    """

    at: datetime
    actor: str
    act: str
    subject: str
    facts: dict[str, Any]
    id: int
    site: str
    sha256: str


@dataclass(frozen=True, slots=True)
class TrailHead:
    """The end of the audit log.

    Args:
        number: Of the newest act, 0 for none.
        count: Number of acts.
        sha256: Hash of the newest act.
        at: Time of the newest act, aware UTC, or None.
        actor: Of the newest act.
        act: Name of the newest act.
        subject: Of the newest act.
    """

    number: int
    count: int
    sha256: str
    at: datetime | None = None
    actor: str = ""
    act: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """The interface and the account of an act, stored with each act of a `Store`.

    Args:
        kind: "shell", "web" (a page) or "api" (a program).
        os_user: The system's user who ran the command.
        meaning: What the signature means, such as "reviewed"; "" for an act without one.
        account: The account that signed, "" where the lab has none.
        proof: "password" or "token", "" where the lab has no accounts.
        address: Of the PC that sent the request, "" for the shell.
    """

    kind: str
    os_user: str = ""
    meaning: str = ""
    account: str = ""
    proof: str = ""
    address: str = ""

    def as_json(self) -> dict[str, str]:
        """Return it as stored in the facts of an act under `SIGNED`, without empty values."""
        return {key: value for key, value in asdict(self).items() if value}


CLOCK_STEP = timedelta(hours=1)
SIGNED = "signed"
"""Key of an act's facts: its `Origin`."""
FACTS_SHA256 = "facts_sha256"
"""Key of an act's facts: the hash of a record's facts that are too long for it."""
ORIGIN = "origin"
"""Execution option of an engine that carries the `Origin` of its acts."""
_CURRENT: ContextVar[Origin | None] = ContextVar("origin", default=None)


@contextmanager
def acting_through(origin: Origin) -> Iterator[None]:
    """Set the origin of all acts of this context, in every store.

    A web request runs in a context, which its thread inherits. The origin of `Store.acting_as`
    takes precedence.
    """
    token = _CURRENT.set(origin)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def lock(session: Session) -> None:
    """Lock the site's audit log until the transaction ends; SQLite has one writer anyway."""
    if session.get_bind().dialect.name == "postgresql":
        site = get_site(session)
        session.execute(text(f"SELECT pg_advisory_xact_lock({ONE_AT_A_TIME}, {site})"))


def append(
    session: Session,
    site_id: int,
    *,
    at: datetime,
    actor: str,
    act: str,
    subject: str = "",
    facts: Mapping[str, object] | None = None,
) -> None:
    """Add one act to the chain of a site, in the transaction of the act itself."""
    lock(session)
    last = session.exec(select(TrailRow.sha256).order_by(col(TrailRow.id).desc()).limit(1)).first()
    origin = _find_origin(session)
    stored = {**(facts or {}), **({SIGNED: origin.as_json()} if origin else {})}
    row = TrailRow(
        site_id=site_id,
        at=at,
        actor=actor,
        act=act,
        subject=subject,
        facts=json.dumps(stored, ensure_ascii=False, sort_keys=True, default=str),
        previous_sha256=last or BEGINNING,
        sha256="",
    )
    row.sha256 = _hash(row)
    session.add(row)
    session.flush()
    session.info[ACTED] = True


def _find_origin(session: Session) -> Origin | None:
    origin: Origin | None = session.connection().get_execution_options().get(ORIGIN)
    return origin or _CURRENT.get()


def require_person(session: Session, act: str) -> None:
    """Refuse a program where two people have to sign.

    Args:
        session: Of the act.
        act: What is signed, as the sentence calls it.

    Raises:
        UsageError: A token signs.
    """
    origin = _find_origin(session)
    if origin and origin.proof == "token":
        raise UsageError(
            f"Two people sign for {act} (retrain.promoters = 2), and {origin.account} is a "
            "program. Sign with the name and password of a lead."
        )


def _hash(row: TrailRow) -> str:
    values = [
        row.previous_sha256,
        row.site_id,
        _to_microseconds(row.at),
        row.actor,
        row.act,
        row.subject,
    ]
    return hashlib.sha256(json.dumps([*values, row.facts]).encode()).hexdigest()


def sha256_of(facts: object) -> str:
    """Return the hash of facts that are JSON, whatever the order of their keys."""
    return sha256_of_text(json.dumps(facts, ensure_ascii=False, sort_keys=True, default=str))


def sha256_of_text(text_: str) -> str:
    """Return the hash of a text."""
    return hashlib.sha256(text_.encode()).hexdigest()


def _to_microseconds(at: datetime) -> int:
    # Whole microseconds: both databases keep those, and no spelling of a zone matters.
    return round(at.timestamp() * 1_000_000)


def entries(
    session: Session,
    *,
    act: str | None = None,
    subjects: Collection[str] | None = None,
    after: int = 0,
    where: ColumnElement[bool] | None = None,
) -> Iterator[TrailEntry]:
    """Yield acts, oldest first.

    Args:
        session: Open.
        act: Select those whose name begins with it.
        subjects: Select those on one of them.
        after: Select those with a larger number.
        where: Select those that match this condition.
    """
    query = select(TrailRow, SiteRow.name).join(SiteRow).order_by(col(TrailRow.id))
    if act:
        query = query.where(col(TrailRow.act).startswith(act, autoescape=True))
    if after:
        query = query.where(col(TrailRow.id) > after)
    if where is not None:
        query = query.where(where)
    if subjects is not None:
        query = query.where(col(TrailRow.subject).in_(subjects))
    for row, site in session.exec(query.execution_options(yield_per=500)):
        yield TrailEntry(
            row.at,
            row.actor,
            row.act,
            row.subject,
            json.loads(row.facts),
            row.id,
            site,
            row.sha256,
        )


def head(session: Session) -> TrailHead:
    """Return the end of the audit log."""
    row = session.exec(select(TrailRow).order_by(col(TrailRow.id).desc()).limit(1)).first()
    if row is None:
        return TrailHead(0, 0, BEGINNING)
    count = session.exec(select(func.count(col(TrailRow.id)))).one()
    return TrailHead(row.id, count, row.sha256, row.at, row.actor, row.act, row.subject)


def first_sha256(session: Session) -> str:
    """Return the hash of the first act, by which a database is known again; "" for no act."""
    first = select(TrailRow.sha256).order_by(col(TrailRow.id)).limit(1)
    return session.exec(first).first() or ""


def list_first_acts(session: Session) -> dict[str, str]:
    """Return site → hash of its first act, in a session that reads all sites."""
    first = select(func.min(TrailRow.id)).group_by(col(TrailRow.site_id))
    acts = select(SiteRow.name, TrailRow.sha256).join(SiteRow).where(col(TrailRow.id).in_(first))
    return dict(session.exec(acts.order_by(SiteRow.name)).all())


def _problems(session: Session, *, last: int, newest: int) -> list[str]:
    """Verify the whole chain of a site; return a sentence for each break.

    Args:
        session: Of the site.
        last: The newest number ever assigned, read before `newest`.
        newest: The newest number of all sites.
    """
    faults, before = [], BEGINNING
    query = select(TrailRow).order_by(col(TrailRow.id)).execution_options(yield_per=500)
    for row in session.exec(query):
        if row.previous_sha256 != before:
            faults.append(f"trail: a row is missing before number {row.id} ({row.act})")
        if row.sha256 != _hash(row):
            faults.append(f"trail: number {row.id} ({row.act}) was changed after it was written")
        before = row.sha256
    if last > newest:
        faults.append(
            f"trail: it ended with number {last}, and ends with number {newest} now: the "
            "acts after it were deleted"
        )
    return faults


def clock_notes(session: Session) -> list[str]:
    """Return a sentence where acts are dated long before the act before them, else nothing.

    The numbers define the sequence of the acts, whatever the clock was.
    """
    earlier = []
    newest = None
    wanted = select(TrailRow.id, TrailRow.at).order_by(col(TrailRow.id))
    for number, at in session.exec(wanted.execution_options(yield_per=500)):
        if newest is not None and newest - at > CLOCK_STEP:
            earlier.append(number)
        newest = at
    if not earlier:
        return []
    sentence = (
        f"trail: {len(earlier)} acts are dated more than an hour before the one before them (the "
        f"first is number {earlier[0]}): a clock was set back; their numbers say what came first"
    )
    return [sentence]


def last_number(session: Session) -> int:
    """Return the newest number that SQLite ever gave an act; PostgreSQL skips some, so 0."""
    if session.get_bind().dialect.name != "sqlite":
        return 0
    query = text("SELECT seq FROM sqlite_sequence WHERE name = 'trail'")
    return int(session.execute(query).scalar() or 0)


_NEWEST = 100
"""Acts by which a clock is judged; a clock that was once ahead is forgotten after as many."""
_BEHIND = timedelta(minutes=5)


def find_later(session: Session, site_id: int | None, *, at: datetime) -> datetime | None:
    """Return the time of the latest of the newest acts where a clock is behind it, else None."""
    numbers = select(TrailRow.at).where(TrailRow.site_id == site_id)
    newest = numbers.order_by(col(TrailRow.id).desc()).limit(_NEWEST)
    latest = max(session.exec(newest), default=at)
    return latest if latest - at > _BEHIND else None


def require_clock(session: Session, site_id: int | None, *, at: datetime) -> None:
    """Refuse an act that divides files or results by time while this PC's clock is set back.

    Args:
        session: Open.
        site_id: Number of the site.
        at: Now, by the clock of this PC.

    Raises:
        UsageError: One of the newest acts is dated later.
    """
    if latest := find_later(session, site_id, at=at):
        raise UsageError(
            f"the clock of this PC says {at:%Y-%m-%d %H:%M} UTC, and the audit log holds an act of "
            f"{latest:%Y-%m-%d %H:%M} UTC: what was there before this act could count as of after "
            "it. Set the clock, then try again. If it is right and was ahead then, that act is "
            f"forgotten after {_NEWEST} newer ones."
        )


RESTORED, BEGUN_ANEW, ACCEPTED = "backup.restored", "lab.begun_anew", "loss.accepted"
"""Acts that put another database in place, and that of a lead who accepts what was lost by it."""
FOUND_OLDER = "database.found_older"
"""Act of the agent that found that the database was replaced by an older one without a command."""


class AuditLog(Repository):
    """Repository of the acts of this site."""

    def list_replacements(self) -> list[TrailEntry]:
        """Return the acts that put another database in place, and who accepted it, oldest first."""
        named = col(TrailRow.act).in_((RESTORED, BEGUN_ANEW, FOUND_OLDER, ACCEPTED))
        with reading(self._engine) as session:
            return list(entries(session, where=named))

    def add(
        self,
        *,
        at: datetime,
        actor: str,
        act: str,
        subject: str = "",
        facts: Mapping[str, object] | None = None,
    ) -> None:
        """Append an act that no other repository writes, such as a changed setting."""
        with writing(self._engine) as session:
            append(
                session,
                self._whose.site_id,
                at=at,
                actor=actor,
                act=act,
                subject=subject,
                facts=facts,
            )

    def find_later(self, *, at: datetime) -> datetime | None:
        """Return the time of an act that this PC's clock is behind, None where it is not."""
        with reading(self._engine) as session:
            return find_later(session, self._whose.site_id, at=at)

    def require_clock(self, *, at: datetime) -> None:
        """Refuse an act while this PC's clock is set back; see the function of that name."""
        with reading(self._engine) as session:
            require_clock(session, self._whose.site_id, at=at)

    def iter_acts(self, act: str | None = None, *, after: int = 0) -> Iterator[TrailEntry]:
        """Yield acts, oldest first.

        Args:
            act: Select those whose name begins with it.
            after: Select those with a larger number.
        """
        with reading(self._engine) as session:
            yield from entries(session, act=act, after=after)

    def find_problems(self) -> list[str]:
        """Verify the audit log of this site; return a sentence for each change or gap."""
        with reading(self._engine) as session:
            last = last_number(session)
        with reading(self._all_sites) as every:
            newest = every.exec(select(func.max(TrailRow.id))).one() or 0
        with reading(self._engine) as session:
            return _problems(session, last=last, newest=newest)

    def get_head(self) -> TrailHead:
        """Return the end of the audit log, to be stored outside the database."""
        with reading(self._engine) as session:
            return head(session)

    def get_end(self, *, before: int | None = None) -> tuple[int, str]:
        """Return number and hash of the newest act, without the count that `get_head` takes.

        Args:
            before: The newest act of a smaller number; None: of all.
        """
        newest = select(TrailRow.id, TrailRow.sha256).order_by(col(TrailRow.id).desc()).limit(1)
        if before is not None:
            newest = newest.where(col(TrailRow.id) < before)
        with reading(self._engine) as session:
            number, sha256 = session.exec(newest).first() or (0, BEGINNING)
            return number or 0, sha256

    def find_earliest_at(self, *, until: datetime) -> datetime | None:
        """Return the earliest time of this site's acts up to an instant, None where none is."""
        query = select(func.min(TrailRow.at)).where(
            TrailRow.site_id == self._whose.site_id, col(TrailRow.at) <= until
        )
        with reading(self._engine) as session:
            return session.exec(query).one()

    def get_first_hash(self) -> str:
        """Return the hash of the first act, which identifies the lab; "" for no act."""
        with reading(self._engine) as session:
            return first_sha256(session)

    def get_hashes(self, numbers: Sequence[int]) -> dict[int, str]:
        """Return number → hash of the acts of these numbers that are there."""
        with reading(self._engine) as session:
            by_number: dict[int, str] = {}
            for batch in chunks(numbers):
                wanted = select(TrailRow.id, TrailRow.sha256).where(col(TrailRow.id).in_(batch))
                by_number |= {number or 0: sha256 for number, sha256 in session.exec(wanted)}
            return by_number
