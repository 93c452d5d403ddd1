"""Ends of the audit log, kept outside the database.

Reports, back-ups, the log and a file on a share hold them: rewriting the whole audit log, with all
its hashes, does not rewrite those.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from agent.errors import BadStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from agent.store import Store, TrailHead

MANIFEST = "manifest.json"
NOT_WHOLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    EOFError,
    RuntimeError,  # a member with a password, or a manifest of brackets alone
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a damaged back-up raises."""
BEGUN_ANEW = "lab.begun_anew"
KEY = "trail"
"""Key of an anchor in a report's JSON, in a back-up's manifest and in a line of a file."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """An end of the audit log.

    Args:
        number: Of the newest act.
        count: How many acts there were.
        sha256: Of the newest act.
        at: When the anchor was written, aware UTC.
        actor, act, subject: Of the newest act, "" where they were not kept.
        place: Where it was found, such as a file's name.
    """

    number: int
    count: int
    sha256: str
    at: datetime
    actor: str = ""
    act: str = ""
    subject: str = ""
    place: str = ""

    @classmethod
    def of(cls, head: TrailHead, *, at: datetime) -> Anchor:
        """Return where the audit log ends now."""
        return cls(head.number, head.count, head.sha256, at, head.actor, head.act, head.subject)

    def to_json(self) -> dict[str, Any]:
        """Return it as a manifest, a line of a file or the log holds it."""
        kept = {key: value for key, value in asdict(self).items() if key != "place"}
        return kept | {"at": self.at.isoformat()}

    @classmethod
    def from_json(cls, document: Any, *, place: str, at: datetime | None = None) -> Anchor | None:
        """Return the anchor in a document, or None where it holds none.

        Args:
            document: As `to_json` wrote it; other keys do no harm.
            place: Where it was found.
            at: Its time where the document has none.
        """
        try:
            when = at or datetime.fromisoformat(document["at"])
            return cls(
                number=int(document["number"]),
                count=int(document["count"]),
                sha256=str(document["sha256"]),
                at=when if when.tzinfo else when.replace(tzinfo=UTC),
                **{key: str(document.get(key) or "") for key in ("actor", "act", "subject")},
                place=place,
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            return None


def append(file: Path, anchor: Anchor) -> None:
    """Append an anchor to a file, one JSON line. Raises `OSError`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as opened:
        opened.write(json.dumps(anchor.to_json(), ensure_ascii=False) + "\n")


def iter_lines(file: Path) -> Iterator[Anchor]:
    """Yield the anchors of a file or a log; lines that hold none are passed over.

    Raises:
        BadStore: It cannot be read.
    """
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            for line in opened:
                with suppress(ValueError):
                    document = json.loads(line)
                    if anchor := Anchor.from_json(document, place=file.name):
                        yield anchor
    except OSError as error:
        raise BadStore(
            f"{file}: the anchors in it cannot be read ({error.strerror or error})."
        ) from error


def iter_reports(folder: Path) -> Iterator[Anchor]:
    """Yield the anchors in the JSON of each night's report."""
    for file in sorted(folder.glob("????-??-??.json")):
        with suppress(OSError, ValueError, TypeError, KeyError):
            document = json.loads(file.read_text(encoding="utf-8"))
            at = datetime.fromisoformat(document["gathered_at"])
            if anchor := Anchor.from_json(document.get(KEY), place=file.name, at=at):
                yield anchor


def find_in_backup(file: Path) -> Anchor | None:
    """Return the anchor in a back-up's manifest, or None where it holds none."""
    try:
        with zipfile.ZipFile(file) as packed:
            document = json.loads(packed.read(MANIFEST))
        return Anchor.from_json(document[KEY], place=file.name)
    except NOT_WHOLE:
        return None  # `find_broken_backups` names it


@dataclass(frozen=True, slots=True)
class AnchorChecks:
    """Comparison of the audit log with its anchors.

    Args:
        faults: One sentence per stretch that was rewritten or deleted.
        notes: What was lost by a back-up that was restored, a sentence each.
    """

    faults: tuple[str, ...]
    notes: tuple[str, ...]


def check(store: Store, anchors: Iterable[Anchor]) -> AnchorChecks:
    """Compare the audit log with what was written down outside."""
    known = sorted({anchor for anchor in anchors if anchor.number}, key=lambda one: one.number)
    hashes = store.audit_log.get_hashes([anchor.number for anchor in known])
    restores = [
        (number, entry.at)
        for entry in store.audit_log.iter_acts("backup.restored")
        if isinstance(number := entry.facts.get("trail"), int)
    ]
    begun_at = _find_beginning(store)
    faults: list[str] = []
    notes: list[str] = []
    good = 0
    for anchor in known:
        if hashes.get(anchor.number) == anchor.sha256:
            good = max(good, anchor.number)
        elif restored := _lost_by(anchor, restores):
            notes.append(
                f"trail: number {anchor.number} of {anchor.place} was lost when a back-up was "
                f"restored on {restored:%Y-%m-%d %H:%M} UTC"
            )
        elif begun_at and anchor.at <= begun_at:
            notes.append(
                f"trail: number {anchor.number} of {anchor.place} is of the database that was lost "
                f"before the lab was begun anew on {begun_at:%Y-%m-%d %H:%M} UTC"
            )
        else:
            faults.append(_fault(anchor, good, is_there=anchor.number in hashes))
    return AnchorChecks(tuple(faults[:1]), tuple(notes))


def _find_beginning(store: Store) -> datetime | None:
    """Return when a lab was begun anew if that is its first act, else None: earlier acts are lost.

    As a later act it explains nothing: the acts before it are there.
    """
    first = next(iter(store.audit_log.iter_acts()), None)
    return first.at if first and first.act == BEGUN_ANEW else None


def _lost_by(anchor: Anchor, restores: Iterable[tuple[int, datetime]]) -> datetime | None:
    """Return when a back-up was restored that does not reach to an anchor of before, or None."""
    return next((at for number, at in restores if anchor.number > number and anchor.at <= at), None)


def _fault(anchor: Anchor, good: int, *, is_there: bool) -> str:
    last = f" ({anchor.act} of {anchor.subject} by {anchor.actor})" if anchor.act else ""
    since = f"{anchor.at:%Y-%m-%d %H:%M} UTC ({anchor.place})"
    if not is_there:
        return (
            f"trail: number {anchor.number}{last} was there on {since} and was deleted; the last "
            f"act that is as it was is number {good}"
        )
    return (
        f"trail: number {anchor.number}{last} is not what it was on {since}: an act after number "
        f"{good} and up to {anchor.number} was changed, and the hashes were computed again"
    )
