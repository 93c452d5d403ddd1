"""Ends of the audit log, kept outside the database.

Reports, back-ups, the log and a file on a share hold them: rewriting the whole audit log, with all
its hashes, does not rewrite those. What they hold and the log lacks is explained by the act of a
restore, or that of a lead who accepts the loss, where a note outside the database confirms it: one
in the log alone may be forged.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.errors import StoreError
from agent.store import ACCEPTED, BEGUN_ANEW, FOUND_OLDER, RESTORED, Store, TrailEntry, TrailHead

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
KEY = "trail"
"""Key of an anchor in a report's JSON, in a back-up's manifest and in a line of a file."""
NOTES = "restored"
"""Folder of the data folder with a note of each act that put another database in place."""


@dataclass(frozen=True, slots=True)
class Anchor(TrailHead):
    """An end of the audit log as something outside of the database states it.

    Args:
        at: When the anchor was written, aware UTC.
        place: Where it was found, such as a file's name.
        is_note: The command that put another database in place wrote it, and confirms that act.
        site: Name of the site, "" where it was not kept: several sites may write into one file.
        file: Path of the file of anchors or the log that it is a line of, "" for any other place.
            Such a file holds a note of each act that put another database in place, a log where a
            lead appended it; without that note the act explains nothing of the file: a note in the
            data folder is as easily forged as the act.
        line: Of that file, counted from 0. What stands after the note of an act was there after it.
    """

    at: datetime
    place: str = ""
    is_note: bool = False
    site: str = ""
    file: str = ""
    line: int = 0

    @classmethod
    def of(cls, head: TrailHead, *, at: datetime, site: str = "") -> Anchor:
        """Return where the audit log ends now."""
        last = head.actor, head.act, head.subject
        return cls(head.number, head.count, head.sha256, at, *last, site=site)

    def to_json(self) -> dict[str, Any]:
        """Return it as a manifest, a line of a file or the log holds it."""
        kept = {key: value for key, value in asdict(self).items() if key not in _OF_NOTES}
        note = {"is_note": True} if self.is_note else {}
        return kept | {"at": self.at.isoformat()} | note

    @classmethod
    def from_json(
        cls,
        document: Any,
        *,
        place: str,
        at: datetime | None = None,
        file: Path | None = None,
        line: int = 0,
    ) -> Anchor | None:
        """Return the anchor in a document, or None where it holds none.

        Args:
            document: As `to_json` wrote it; other keys do no harm.
            place: Where it was found.
            at: Its time where the document has none.
            file: The file of anchors or the log of which it is a line.
            line: Which line of it, counted from 0.
        """
        try:
            when = at or datetime.fromisoformat(document["at"])
            number, count = int(document["number"]), int(document["count"])
            if max(number, count) > LARGEST:
                return None
            return cls(
                number=number,
                count=count,
                sha256=str(document["sha256"]),
                at=when if when.tzinfo else when.replace(tzinfo=UTC),
                **{key: str(document.get(key) or "") for key in _WORDS},
                place=place,
                is_note=document.get("is_note") is True,
                file=str(file) if file else "",
                line=line,
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            return None


_OF_NOTES = ("place", "is_note", "file", "line")
LARGEST = 2**63 - 1
"""Number that a database can hold."""
_WORDS = ("actor", "act", "subject", "site")


def append(file: Path, anchor: Anchor) -> None:
    """Append an anchor to a file, one JSON line. Raises `OSError`.

    Its folder is made, never the one above it: where a share is not mounted, that is missing.
    """
    file.parent.mkdir(exist_ok=True)
    with file.open("a", encoding="utf-8") as opened:
        opened.write(json.dumps(anchor.to_json(), ensure_ascii=False) + "\n")


def iter_lines(file: Path) -> Iterator[Anchor]:
    """Yield the anchors of a file or a log; lines that hold none are passed over.

    Raises:
        StoreError: It cannot be read.
    """
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            for number, line in enumerate(opened):
                if anchor := parse_line(line, file, number):
                    yield anchor
    except OSError as error:
        raise StoreError(
            f"{file}: the anchors in it cannot be read ({error.strerror or error})."
        ) from error


def parse_line(line: str | bytes, file: Path, number: int) -> Anchor | None:
    """Return the anchor in a line of a file or a log, or None where it holds none."""
    with suppress(ValueError, RecursionError):
        return Anchor.from_json(json.loads(line), place=file.name, file=file, line=number)
    return None


def iter_reports(folder: Path, *, last: int = 0) -> Iterator[Anchor]:
    """Yield the anchors in the JSON of each night's report, or of so many last ones."""
    for file in sorted(folder.glob("????-??-??.json"))[-last:]:
        with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
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


# --- another database in place --------------------------------------------------------------------


def write_note(folder: Path, anchor: Anchor, *, more: Path | None = None) -> None:
    """Write a note that confirms an act, next to the archive and into a file of anchors.

    Args:
        folder: The data folder.
        anchor: The end of the audit log directly after the act.
        more: The file of [trail] anchor, None for none.

    Raises:
        StoreError: A note cannot be written, so that nothing would confirm the act.
    """
    note = replace(anchor, is_note=True)
    file = folder / NOTES / f"{anchor.sha256[:16]}.json"
    _refuse_link(file)
    for path in filter(None, (file, more)):
        try:
            append(path, note)
        except OSError as error:
            raise StoreError(
                f"{path}: the note of {anchor.act} cannot be written ({error.strerror or error}). "
                f"Append this line to it: {json.dumps(note.to_json(), ensure_ascii=False)}"
            ) from error


def iter_notes(folder: Path) -> Iterator[Anchor]:
    """Yield the notes in a data folder. Raises `StoreError` where one cannot be read."""
    for file in sorted((folder / NOTES).glob("*.json")):
        _refuse_link(file)
        yield from iter_lines(file)


def _refuse_link(note: Path) -> None:
    """Raise `StoreError` where a note or the folder of the notes is a link: it confirms nothing."""
    if linked := next((path for path in (note.parent, note) if path.is_symlink()), None):
        raise StoreError(
            f"{linked}: it is a link, and what it leads to confirms no restore. Remove it, or put "
            "what belongs there in its place."
        )


@dataclass(frozen=True, slots=True)
class LostActs:
    """Acts that the audit log lacks since another database was put in its place.

    Attributes:
        number: Of the act that put it there, or by which the agent found that it is older.
        act: Its name.
        at: When, aware UTC.
        kept: Number of the last act that the database held then.
        until: The highest number that is known to be lost, 0 where none is known.
        backup: Name of the back-up; of a database that was found to be older, what shows that.
        is_named: The database that was replaced told which orders they concern.
    """

    number: int
    act: str
    at: datetime
    kept: int
    until: int
    backup: str
    is_named: bool = True

    @property
    def is_unnamed(self) -> bool:
        """Whether acts are known to be lost, and not which orders they concern."""
        return not self.is_named and (self.act != RESTORED or self.until > self.kept)

    @property
    def sentence(self) -> str:
        """The loss with its numbers, and what ends the warning."""
        how = {
            RESTORED: f"when the back-up {self.backup} was restored on",
            FOUND_OLDER: f"with the database that was replaced by an older one ({self.backup}), as "
            "the agent found on",
        }.get(self.act, "when the lab began again on")
        last = f" to {self.until}" if self.until > self.kept else " on"
        unnamed = (
            ", and which orders they concern is not known: until it is signed no order conforms, "
            "and nothing is sent"
            if self.is_unnamed
            else ""
        )
        newer = "Restore a newer back-up, or a lead" if self.act == FOUND_OLDER else "A lead"
        return (
            f"Acts of the audit log from number {self.kept + 1}{last} were lost {how} "
            f"{self.at:%Y-%m-%d %H:%M} UTC{unnamed}. {newer} who knows what was lost signs: "
            f"agent restore --accept {self.number} --by NAME --reason TEXT"
        )


def list_losses(store: Store) -> list[LostActs]:
    """Return what was lost and no lead has accepted, oldest first."""
    losses: dict[int, LostActs] = {}
    entries = store.audit_log.list_replacements()
    accepted = _find_accepted(entries)
    for entry in entries:
        if entry.act == ACCEPTED or entry.id in accepted:
            continue
        losses[entry.id] = LostActs(
            entry.id,
            entry.act,
            entry.at,
            kept=_number(entry.facts.get("trail")),
            until=_number(entry.facts.get("until")),
            backup=entry.subject,
            is_named=entry.facts.get("is_named") is not False,
        )
    return list(losses.values())


def _find_accepted(entries: Iterable[TrailEntry]) -> dict[int, TrailEntry]:
    """Return number of an act that a lead accepted → that acceptance.

    What was found twice before, such as by two PCs that started together, is accepted with it.
    """
    accepted: dict[int, TrailEntry] = {}
    found: list[int] = []
    for entry in entries:
        if entry.act == FOUND_OLDER:
            found.append(entry.id)
        if entry.act == ACCEPTED:
            number = _number(entry.facts.get("act"))
            same = [other for other in found if number in found and other not in accepted]
            accepted |= dict.fromkeys((number, *same), entry)
    return accepted


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


@dataclass(frozen=True, slots=True)
class _Replacement:
    """An act that put another database in place and that a note outside confirms.

    Attributes:
        kept: Number of the last act that the database held then.
        at: Until when the database that was replaced was in use, aware UTC.
        ends: (number, hash) of what was known outside then, whatever its clock.
        noted: The files of anchors that hold its note → the first line of it.
        begun: The database is of another beginning, so that no earlier number is its own.
    """

    kept: int
    at: datetime
    ends: frozenset[tuple[int, str]]
    noted: Mapping[str, int]
    begun: bool = False

    def explains(self, anchor: Anchor) -> bool:
        """Return whether an anchor is of the database that was replaced."""
        if anchor.file and anchor.line >= self.noted.get(anchor.file, 0):
            return False  # not noted there, or noted before
        return self.covers(anchor)

    def covers(self, anchor: Anchor) -> bool:
        """Return whether an anchor may be of the database that was replaced, noted or not."""
        is_beyond = self.begun or anchor.number > self.kept
        is_known = anchor.at <= self.at or (anchor.number, anchor.sha256) in self.ends
        return is_beyond and is_known


def _find_replacements(
    store: Store, known: Collection[Anchor]
) -> tuple[list[_Replacement], list[str]]:
    """Return the acts that explain anchors, and a sentence per act that nothing confirms.

    A restore, and a lab's own beginning, are confirmed by the command that made them; what the
    agent found by itself, and a database of another lab, by the lead who accepted it.
    """
    confirmed: dict[tuple[int, str], dict[str, int]] = {}
    for anchor in known:
        if anchor.is_note:
            lines = confirmed.setdefault((anchor.number, anchor.sha256), {})
            lines[anchor.file] = min(anchor.line, lines.get(anchor.file, anchor.line))
    entries = store.audit_log.list_replacements()
    accepted = _find_accepted(entries)
    first = next(iter(store.audit_log.iter_acts()), None) if entries else None
    replacements, notes = [], []
    for entry in entries:
        is_first = first is not None and entry.id == first.id
        is_by_lead = entry.act == FOUND_OLDER or (entry.act == BEGUN_ANEW and not is_first)
        signed = accepted.get(entry.id) if is_by_lead else entry
        if entry.act == ACCEPTED or signed is None:
            continue
        if (signed.id, signed.sha256) not in confirmed:
            notes.append(
                f"trail: number {signed.id} ({signed.act} by {signed.actor}) explains nothing: no "
                "note outside the database confirms it"
            )
            continue
        kept = _number(entry.facts.get("trail"))
        if entry.act != BEGUN_ANEW and not _is_held(store, entry):
            continue
        ends = _read_ends(entry.facts.get("ends"))
        noted = confirmed[signed.id, signed.sha256]
        begun = entry.act == BEGUN_ANEW
        replacements.append(_Replacement(kept, entry.at, ends, noted, begun=begun))
    return replacements, notes


def _is_held(store: Store, entry: TrailEntry) -> bool:
    """Return whether the database holds the act with which it ended, as a replacement states."""
    number = _number(entry.facts.get("end", entry.facts.get("trail")))
    if entry.act == RESTORED and number != store.audit_log.get_end(before=entry.id)[0]:
        return False  # the command appends the act directly after what the back-up holds
    there = store.audit_log.get_hashes([number]).get(number)
    return number == 0 or there == str(entry.facts.get("sha256"))


def _read_ends(value: object) -> frozenset[tuple[int, str]]:
    """Return (number, hash) of the ends that a replacement names."""
    pairs = value if isinstance(value, list) else []
    return frozenset(
        (_number(pair[0]), str(pair[1]))
        for pair in pairs
        if isinstance(pair, list) and len(pair) == _PAIR
    )


_PAIR = 2


@dataclass(frozen=True, slots=True)
class AnchorChecks:
    """Comparison of the audit log with its anchors.

    Args:
        faults: One sentence per stretch that was rewritten or deleted.
        notes: What was lost by a back-up that was restored, a sentence each.
        unexplained: The anchors that the log does not hold and no act explains.
    """

    faults: tuple[str, ...]
    notes: tuple[str, ...]
    unexplained: tuple[Anchor, ...] = ()


def check(store: Store, anchors: Iterable[Anchor]) -> AnchorChecks:
    """Compare the audit log with what was written down outside."""
    every = {anchor for anchor in anchors if anchor.number}
    site = store.site if any(anchor.site for anchor in every) else ""
    own = (anchor for anchor in every if anchor.site in {"", site})
    known = sorted(own, key=lambda one: one.number)
    hashes = store.audit_log.get_hashes([anchor.number for anchor in known])
    replacements, notes = _find_replacements(store, known)
    unexplained: list[Anchor] = []
    faults: list[str] = []
    good = 0
    for anchor in known:
        if hashes.get(anchor.number) == anchor.sha256:
            good = max(good, anchor.number)
        elif by := next((entry for entry in replacements if entry.explains(anchor)), None):
            notes.append(_describe_explained(anchor, by))
        elif not anchor.is_note:  # one of a restore that a later restore has undone
            notes += [_describe_unnoted(anchor, by) for by in replacements if by.covers(anchor)]
            unexplained.append(anchor)
            faults.append(_fault(anchor, good, is_there=anchor.number in hashes))
    others = _list_others(every, store.site)
    return AnchorChecks((*faults[:1], *others), tuple(notes), tuple(unexplained))


def _list_others(every: Collection[Anchor], site: str) -> list[str]:
    """Return a sentence per file of anchors that holds ends of other sites alone."""
    sites: dict[str, set[str]] = {}
    for anchor in every:
        if anchor.file and not anchor.is_note:
            sites.setdefault(anchor.file, set()).add(anchor.site)
    return [
        f"{file}: it holds no end of the site {site}, only of {', '.join(sorted(names))}, so "
        "nothing was compared with it. If the site was renamed, give it that name again"
        for file, names in sorted(sites.items())
        if not names & {"", site}
    ]


def _describe_unnoted(anchor: Anchor, by: _Replacement) -> str:
    return (
        f"trail: number {anchor.number} of {anchor.place} is not explained by the database that "
        f"was put in place on {by.at:%Y-%m-%d %H:%M} UTC: {anchor.place} holds no note of it below "
        f"that. A lead who knows of it appends the line of its note in the folder {NOTES} to that "
        "file"
    )


def _describe_explained(anchor: Anchor, by: _Replacement) -> str:
    when = f"{by.at:%Y-%m-%d %H:%M} UTC"
    if by.begun:
        return (
            f"trail: number {anchor.number} of {anchor.place} is of the database that was lost "
            f"before the lab began again on {when}"
        )
    return (
        f"trail: number {anchor.number} of {anchor.place} was lost when a back-up was restored on "
        f"{when}"
    )


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
