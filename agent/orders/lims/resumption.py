"""What has to be settled after an older database was restored: revisions, statements, order lists.

The LIMS, customers and the drop folder know more than the database then. What they know is recorded
in the database, so that numbers continue above it, and the operator gets a list.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from agent.orders.lims.sent_revisions import SentRevision
from agent.store import number_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from agent.store import Record, Store

RESUMPTION, FLOOR = "resumption", "outbox_floor"
"""Kinds of records: what is settled after a restore (by `OUTBOX` or `LISTS`), and the highest
numbers of an order that are used outside the database."""
OUTBOX, LISTS = "outbox", "lists"
STATEMENTS = "statements"
AFTER = "after_statement"
"""Fact of a floor: row id of the newest statement that the back-up held."""


@dataclass(frozen=True, slots=True)
class Resumption:
    """What is known of the newest restore.

    Attributes:
        epoch: Names the restore in the id of each later revision, "" where none was.
        since: When the back-up was made.
        is_settled: What is outside the database was compared with it.
        newest_statement: Row id of the newest statement that the back-up held, 0 for none.
    """

    epoch: str = ""
    since: datetime | None = None
    is_settled: bool = True
    newest_statement: int = 0

    @classmethod
    def of(cls, record: Record | None) -> Resumption:
        """Return it from a record."""
        if record is None:
            return cls()
        facts = record.facts
        since = datetime.fromisoformat(facts["since"]) if facts["since"] else None
        return cls(
            epoch=facts["epoch"],
            since=since,
            is_settled=bool(facts["is_settled"]),
            newest_statement=int(facts["newest_statement"]),
        )


def begin_resumption(
    store: Store, *, since: datetime | None, at: datetime, kinds: Iterable[str] = (OUTBOX, LISTS)
) -> None:
    """Note that a database was put back, and that the world outside is to be compared with it.

    Args:
        store: The database that was put back.
        since: When its back-up was made, None where that is not known.
        at: Now, aware UTC.
        kinds: What is to be compared.
    """
    epoch = at.strftime("%Y%m%dT%H%M%SZ")
    newest = store.statements.newest_id()
    for kind in kinds:
        resumption = Resumption(epoch, since, is_settled=False, newest_statement=newest)
        _note(store, kind, resumption, at=at)


def find_resumption(store: Store, kind: str) -> Resumption:
    """Return what is known of the newest restore."""
    return Resumption.of(store.records.newest(RESUMPTION).get(kind))


def settle(store: Store, kind: str, *, at: datetime) -> None:
    """Note that what is outside was compared."""
    _note(store, kind, replace(find_resumption(store, kind), is_settled=True), at=at)


def _note(store: Store, kind: str, resumption: Resumption, *, at: datetime) -> None:
    facts = {
        "epoch": resumption.epoch,
        "since": resumption.since.isoformat() if resumption.since else "",
        "is_settled": resumption.is_settled,
        "newest_statement": resumption.newest_statement,
    }
    store.records.add(RESUMPTION, kind, by="agent", at=at, facts=facts)


# --- the numbers that are used ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Beyond:
    """An order of which more was given out than the database knows.

    Attributes:
        sent: What was given out.
        revision: The highest revision that the database knows, 0 for none.
        statement_number: The highest statement that it knows, 0 for none.
    """

    sent: SentRevision
    revision: int
    statement_number: int

    @property
    def is_sent(self) -> bool:
        """Whether a revision was sent that the database does not know."""
        return self.sent.revision > self.revision

    @property
    def sentence(self) -> str:
        """What was issued, for the operator."""
        sent, parts = self.sent, []
        if self.is_sent:
            parts.append(f"the LIMS holds revision {sent.revision}, the database {self.revision}")
        if sent.statement_number > self.statement_number:
            parts.append(
                f"statement {sent.statement_number} was made, the database holds "
                f"{self.statement_number}"
            )
        word = sent.conformity.replace("_", " ")
        last = f" (last: {word}, {sent.at[:16].replace('T', ' ')})" if word else ""
        return f"order {sent.order}: {' and '.join(parts)}{last}"


def list_beyond(store: Store, given_out: Iterable[SentRevision]) -> list[Beyond]:
    """Return the orders of which more was given out than the database knows.

    Args:
        store: Open.
        given_out: From the notes of sent revisions and from the files of statements.
    """
    exact = store.exact_numbers
    revisions = {
        number_key(number, exact=exact): int(record.facts["revision"])
        for number, record in store.records.newest("outbox").items()
    }
    statements = {
        number_key(number, exact=exact): statement.number
        for number, statement in store.statements.newest().items()
    }
    floors = read_floors(store)
    highest: dict[str, SentRevision] = {}
    for revision in given_out:
        key = number_key(revision.order, exact=exact)
        highest[key] = highest[key].merged_with(revision) if key in highest else revision
    gaps = []
    for key, sent in sorted(highest.items()):
        floor = floors.get(key, SentRevision(sent.order))
        known = (
            max(revisions.get(key, 0), floor.revision),
            max(statements.get(key, 0), floor.statement_number),
        )
        if sent.revision > known[0] or sent.statement_number > known[1]:
            gaps.append(Beyond(sent, revisions.get(key, 0), statements.get(key, 0)))
    return gaps


def adopt(store: Store, beyond: Iterable[Beyond], *, at: datetime) -> None:
    """Note the numbers that are used, so that revisions and statements go on above them."""
    floors = read_floors(store)
    newest = find_resumption(store, OUTBOX).newest_statement
    for gap in beyond:
        sent = gap.sent if gap.is_sent else _take_statement(gap.sent)
        key = number_key(sent.order, exact=store.exact_numbers)
        known = floors.get(key)
        facts = (known.merged_with(sent) if known else sent).to_json()
        store.records.add(FLOOR, sent.order, by="agent", at=at, facts=facts | {AFTER: newest})


def _take_statement(sent: SentRevision) -> SentRevision:
    """Return the statement alone of what was given out, whose revision the database knows."""
    word = sent.lost or sent.conformity
    return replace(sent, revision=0, id="", state="", conformity=word, lost="")


def read_floors(store: Store) -> dict[str, SentRevision]:
    """Return key of an order's number → the highest numbers used outside the database."""
    floors: dict[str, SentRevision] = {}
    for number, record in store.records.newest(FLOOR).items():
        key = number_key(number, exact=store.exact_numbers)
        if sent := SentRevision.from_json(record.facts):
            floors[key] = floors[key].merged_with(sent) if key in floors else sent
    return floors


def iter_statement_files(folder: Path) -> Iterator[SentRevision]:
    """Yield what the files of statements in a data folder state; no revision is known of them."""
    for file in sorted((folder / STATEMENTS).glob("??/*.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            yield SentRevision(
                order=str(document["order"]),
                conformity=str(document["conformity"]),
                statement=file.stem,
                statement_number=int(document["number"]),
                at=str(document["at"]),
            )
