"""Revisions that may have reached a LIMS, and what to settle after an older database was restored.

A restored database does not know what was sent after its back-up. So each revision is noted in the
data folder and in a hidden folder of the outbox before its files are written there: each of the
two is enough to know which numbers are used.

The LIMS, customers and the drop folder know more than the database then. What they know is recorded
in the database, so that numbers continue above it, and the operator gets a list.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from agent.errors import AgentError
from agent.files.whole_file import write_whole
from agent.store import Record, Store, number_key

IN_DATA_FOLDER = "sent"
IN_OUTBOX = ".martensight"
"""Folders that hold the notes: of the data folder, and of the outbox, where no LIMS looks."""
HIGHEST = 1_000_000
"""A note with a higher revision is damaged."""


@dataclass(frozen=True, slots=True)
class SentRevision:
    """A revision of an order that a LIMS may hold.

    Attributes:
        order: Number of the order, as the lab spells it.
        revision: From 1; 0 where only a statement is known.
        id: Of the revision.
        state: Hash of what it states.
        conformity: The word of the order.
        statement: Hash of its statement, "" where none was frozen.
        statement_number: Of its statement, 0 where none was frozen.
        at: When its state was found, ISO 8601.
        lab: Hash of the first act of the lab that sent it, "" where that is not known.
        lost: Conformity of an earlier revision that a restored database lost and that was neither
            reached again nor acknowledged, "" for none.
    """

    order: str
    revision: int = 0
    id: str = ""
    state: str = ""
    conformity: str = ""
    statement: str = ""
    statement_number: int = 0
    at: str = ""
    lab: str = ""
    lost: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as a file or a record holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Any) -> Self | None:
        """Return what `to_json` wrote, None where it is something else."""
        try:
            return cls(
                order=str(document["order"]),
                revision=_parse_number(document["revision"]),
                id=str(document["id"]),
                state=str(document["state"]),
                conformity=str(document["conformity"]),
                statement=str(document["statement"]),
                statement_number=_parse_number(document["statement_number"]),
                at=str(document["at"]),
                lab=str(document["lab"]),
                lost=str(document.get("lost", "")),
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            return None

    def merged_with(self, other: SentRevision) -> SentRevision:
        """Return the higher revision of the same order, with the higher number of a statement.

        What a later statement states that was not sent is lost too.
        """
        higher = max(self, other, key=lambda sent: (sent.revision, sent.statement_number))
        newest = max(self, other, key=lambda sent: sent.statement_number)
        if newest.statement_number <= higher.statement_number:
            return higher
        words = filter(None, (higher.lost, newest.lost, newest.conformity))
        lost = min(words, key=_rank_word, default="")
        return replace(higher, statement_number=newest.statement_number, lost=lost)


def _rank_word(word: str) -> int:
    """Return the place of a conformity, the worst first; what is not known is the worst."""
    known = ("does_not_conform", "undecided", "not_assessed", "conforms")
    return known.index(word) if word in known else -1


class UnreadableNoteError(AgentError):
    """No copy of an order's note can be read, so nobody knows what was sent of it."""


class SentRevisions:
    """The notes of one site.

    Args:
        site: Name of the site; two sites may share an outbox.
        data: The data folder, None: none is kept there.
        outbox: The folder of the LIMS, None: none is kept there.
        exact_numbers: Every spelling of a number is an order.
    """

    def __init__(
        self, site: str, *, data: Path | None, outbox: Path | None, exact_numbers: bool
    ) -> None:
        self._exact_numbers = exact_numbers
        name = name_file(site)
        self._data = data / IN_DATA_FOLDER / name if data else None
        self._outbox = outbox / IN_OUTBOX / name if outbox else None

    def find(self, order: str) -> SentRevision | None:
        """Return the highest revision of an order that is noted, by any spelling, or None.

        Raises:
            UnreadableNoteError: A note of the order is there, and none can be read.
        """
        name = self._name(order)
        files = [folder / name for folder in (self._data, self._outbox) if folder]
        highest = _find_highest(files)
        unreadable = [file for file in files if file.exists()]
        if highest is None and unreadable:
            raise UnreadableNoteError(_describe_unreadable(unreadable))
        return highest

    def iter_all(self) -> Iterator[SentRevision]:
        """Yield the highest revision of each order that is noted.

        Raises:
            OSError: The outbox cannot be seen.
        """
        for files in self._iter_notes():
            if highest := _find_highest(files):
                yield highest

    def iter_unreadable(self) -> Iterator[str]:
        """Yield a sentence for each order of which no note can be read.

        Raises:
            OSError: The outbox cannot be seen.
        """
        for files in self._iter_notes():
            if _find_highest(files) is None:
                yield _describe_unreadable(files)

    def _iter_notes(self) -> Iterator[list[Path]]:
        """Yield the files of each order that are there."""
        if self._outbox and not self._outbox.parent.parent.is_dir():
            raise FileNotFoundError(f"{self._outbox.parent.parent} is no folder that can be seen")
        folders = [folder for folder in (self._data, self._outbox) if folder and folder.is_dir()]
        names = sorted({file.name for folder in folders for file in folder.glob("*.json")})
        for name in names:
            yield [folder / name for folder in folders if (folder / name).exists()]

    def keep(self, sent: SentRevision) -> None:
        """Note a revision before its files are written.

        Raises:
            OSError: It can be noted nowhere.
        """
        text = json.dumps(sent.to_json(), ensure_ascii=False).encode()
        name = self._name(sent.order)
        if self._data:
            write_whole({self._data / name: text})
        if self._outbox:
            try:
                write_whole({self._outbox / name: text})
            except OSError as error:
                if not self._data:
                    raise
                import structlog  # noqa: PLC0415 - takes as long as a tenth of a short command

                log = structlog.get_logger()
                log.warning("outbox.note_unwritable", reason=str(error))

    def _name(self, order: str) -> str:
        return name_file(number_key(order, exact=self._exact_numbers)) + ".json"


def list_noted_sites(*, data: Path | None = None, outbox: Path | None = None) -> set[str]:
    """Return the names, as `name_file` makes them, of the sites that have notes in a folder.

    Raises:
        OSError: A folder cannot be read.
    """
    folders = [data / IN_DATA_FOLDER] if data else []
    folders += [outbox / IN_OUTBOX] if outbox else []
    return {
        site.name
        for folder in folders
        if folder.is_dir()
        for site in folder.iterdir()
        if next(site.glob("*.json"), None)
    }


def name_file(text: str) -> str:
    """Return a file name for a text; two texts have two names on any file system."""
    plain = re.sub(r"[^\w-]", "_", text, flags=re.ASCII)[:40]
    return f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _find_highest(files: Iterable[Path]) -> SentRevision | None:
    """Return the highest revision that the copies of a note hold, None where none can be read."""
    highest: SentRevision | None = None
    for revision in filter(None, map(_read, files)):
        highest = highest.merged_with(revision) if highest else revision
    return highest


def _read(file: Path) -> SentRevision | None:
    with suppress(OSError, ValueError, RecursionError):
        return SentRevision.from_json(json.loads(file.read_text(encoding="utf-8")))
    return None


def _parse_number(number: Any) -> int:
    """Return a number of a revision or a statement.

    Raises:
        ValueError: It is no whole number, or none that an order ever reaches.
    """
    if type(number) is not int or not 0 <= number <= HIGHEST:
        raise ValueError(f"{number!r} is no number of a revision")
    return number


def _describe_unreadable(files: Iterable[Path]) -> str:
    names = " and ".join(str(file) for file in files)
    return (
        f"the note of what was sent cannot be read ({names}). Put the file back from a copy, or "
        "remove it if nothing of the order was sent"
    )


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


def begin_resumption(store: Store, *, since: datetime | None, at: datetime) -> None:
    """Note that a database was put back, and that the world outside is to be compared with it.

    Args:
        store: The database that was put back.
        since: When its back-up was made, None where that is not known.
        at: Now, aware UTC.
    """
    epoch = at.strftime("%Y%m%dT%H%M%SZ")
    newest = store.statements.newest_id()
    for kind in (OUTBOX, LISTS):
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


def iter_statement_files(folder: Path, store: Store) -> Iterator[SentRevision]:
    """Yield what files of statements state that the database lacks; no revision is known of them.

    Args:
        folder: The data folder, which sites may share.
        store: Of the site whose statements are wanted.
    """
    files = sorted((folder / STATEMENTS).glob("??/*.json"))
    known = {statement.sha256 for statement in store.statements.every()} if files else set()
    for file in files:
        if file.stem in known:
            continue
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            if document.get("site", store.site) != store.site:
                continue
            yield SentRevision(
                order=str(document["order"]),
                conformity=str(document["conformity"]),
                statement=file.stem,
                statement_number=int(document["number"]),
                at=str(document["at"]),
            )
