"""The highest revision of each order that may have reached a LIMS, stored outside the database.

A restored database does not know what was sent after its back-up. So each revision is noted in the
data folder and in a hidden folder of the outbox before its files are written there: each of the
two is enough to know which numbers are used.
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from agent.errors import AgentError
from agent.files.whole_file import write_whole
from agent.store import number_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


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


class UnreadableNote(AgentError):  # noqa: N818 - read aloud
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
        self, site: str, *, data: Path | None, outbox: Path | None, exact_numbers: bool = False
    ) -> None:
        self._exact_numbers = exact_numbers
        name = name_file(site)
        self._data = data / IN_DATA_FOLDER / name if data else None
        self._outbox = outbox / IN_OUTBOX / name if outbox else None

    def find(self, order: str) -> SentRevision | None:
        """Return the highest revision of an order that is noted, by any spelling, or None.

        Raises:
            UnreadableNote: A note of the order is there, and none can be read.
        """
        name = self._name(order)
        files = [folder / name for folder in (self._data, self._outbox) if folder]
        highest = _find_highest(files)
        unreadable = [file for file in files if file.exists()]
        if highest is None and unreadable:
            raise UnreadableNote(_describe_unreadable(unreadable))
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
