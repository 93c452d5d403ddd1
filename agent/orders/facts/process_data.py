"""Collect a field's process data from its path, the notes next to it and its sender.

Two that name different specimens are both stored and neither is believed: the field then belongs
to none, until a lead assigns it. Notes next to files that wait are read too, so that an order is
held before the file is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path, PurePath
from types import MappingProxyType

from agent.files.whole_file import NO_SUCH_FILE, decode_text, open_regular
from agent.orders.facts.scale_tracing import note_late_scales
from agent.settings import PROCESS_KEYS
from agent.store import ClaimedPlace, Store, WaitingFile, number_key
from agent.watch import Provenance
from agent.watch.listing import locate

PLACE = ("order", "specimen", "preparation", "field")
"""Columns that name where a field belongs; the other process data only describe it."""
SIDECARS = ("{stem}.json", "{name}.json", "{stem}.txt", "{name}.txt", "{stem}.ini")
NOTE_SUFFIXES = {PurePath(name).suffix for name in SIDECARS} | {".hdr", ".xml"}
"""Of files that may name an order or a scale."""
SIDECAR_BYTES = 64_000
LONGEST_VALUE = 200
GERMAN = {
    "auftrag": "order",
    "auftragsnummer": "order",
    "schmelze": "heat",
    "charge": "batch",
    "wärmebehandlungscharge": "batch",
    "ofen": "furnace",
    "schliff": "specimen",
    "probe": "specimen",
    "präparation": "preparation",
    "feld": "field",
    "gesichtsfeld": "field",
    "werkstoff": "material",
    "ätzmittel": "etchant",
    "vergrößerung": "magnification",
    "mikroskop": "microscope",
    "objektiv": "objective",
}
"""Words of German microscope notes → process data."""
NOTHING_ELSE: Mapping[str, str] = MappingProxyType({})
_LINE = re.compile(r"\s*\W*([\w -]+?)\W*\s*[:=]\s*(.*?)\s*")


@dataclass(frozen=True, slots=True)
class Keys:
    """Process data of a field before it is read.

    Args:
        process_data: Column → value.
        conflict: Why it can belong to no specimen, in one sentence, "" where it can.
        claims: Every order and specimen that its path, note or sender name.
    """

    process_data: dict[str, str]
    conflict: str = ""
    claims: tuple[ClaimedPlace, ...] = ()


def collect_keys(
    source: Provenance,
    relative: str,
    *,
    beside: Mapping[str, str],
    given: Mapping[str, str],
    exact_numbers: bool = False,
    notes: Sequence[Mapping[str, str]] = (),
    otherwise: Mapping[str, str] = NOTHING_ELSE,
) -> Keys:
    """Collect the process data of a file's micrographs.

    Args:
        source: What its source says: fixed values, and a pattern of its path.
        relative: Its path below the source.
        beside: Process data of the notes next to it.
        given: What was sent with it, by a program or a manifest.
        exact_numbers: Numbers that differ in case, spaces or leading zeros are two.
        notes: The notes that `beside` was made of, where one may contradict another.
        otherwise: What its name means or meant in another way, where that is another known order.
    """
    path = source.process_data(relative)
    merged = {**path, **beside, **given}
    matches = not source.pattern or re.search(source.pattern, relative) is not None
    by_path = {} if not matches else {k: v for k, v in path.items() if source.fixed.get(k) != v}
    by_name = _select_place(list(source.named_places(relative))[-1]) if matches else {}
    sources = {
        "its path": by_path,
        "its name": {} if by_name == _select_place(path) else by_name,
        "its name, read in another way,": _select_place(otherwise),
        "the note beside it": beside,
        "its sender": given,
        **{f"note {n} beside it": note for n, note in enumerate(notes[1:], 2)},
    }
    conflict = "; ".join(_iter_conflicts(sources, exact_numbers=exact_numbers))
    if not conflict and not matches and not (merged.get("order") and merged.get("specimen")):
        conflict = "the path pattern of its source does not match its name"
    claims = tuple(
        ClaimedPlace(
            order=named["order"],
            specimen=named.get("specimen") or merged.get("specimen", ""),
            origin=ORIGINS.get(origin, "note"),
            file=relative,
        )
        for origin, named in sources.items()
        if named.get("order")
    )
    return Keys(merged, conflict, claims)


ORIGINS = {
    "its path": "path",
    "its name": "path",
    "its name, read in another way,": "path",
    "the note beside it": "note",
    "its sender": "sender",
}
"""Names of origins in sentences → origin of a claim, as it is stored."""


def _select_place(keys: Mapping[str, str]) -> dict[str, str]:
    return {key: keys[key] for key in ("order", "specimen") if keys.get(key)}


def _iter_conflicts(
    claims: Mapping[str, Mapping[str, str]], *, exact_numbers: bool
) -> Iterator[str]:
    for column in PLACE:
        values = {origin: named[column] for origin, named in claims.items() if named.get(column)}
        if len({number_key(value, exact=exact_numbers) for value in values.values()}) > 1:
            words = ", ".join(f"{origin} says {value!r}" for origin, value in values.items())
            yield f"it claims two {column}s: {words}"


def find_notes(path: Path, *, root: Path | None = None) -> list[dict[str, str]]:
    """Read the process data in the notes next to a picture, JSON or `key = value`; [] without one.

    Every note counts: one without process data does not hide another one. A link is no note.

    Args:
        path: The picture.
        root: Folder of the source, see `open_regular`.

    Raises:
        OSError: The share did not give one for now; without it the specimen is not known.
    """
    notes: list[dict[str, str]] = []
    for name in dict.fromkeys(suffix.format(stem=path.stem, name=path.name) for suffix in SIDECARS):
        try:
            note = path.with_name(name)
            if note == path or not note.is_file():
                continue
            with open_regular(note, root=root) as file:
                content = file.read(SIDECAR_BYTES + 1)
            if len(content) <= SIDECAR_BYTES:
                notes += read_notes(content)
        except ValueError:
            continue
        except OSError as error:
            if error.errno not in NO_SUCH_FILE:
                raise
    return notes


def merge_notes(notes: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the process data of all notes; of two values the first one."""
    return {column: value for note in reversed(notes) for column, value in note.items()}


def read_notes(content: bytes) -> list[dict[str, str]]:
    """Read process data from a note's bytes; a second value of a column makes a second note."""
    notes: list[dict[str, str]] = []
    for name, text in _iter_pairs(decode_text(content)):
        column, value = GERMAN.get(name, name), text.strip().strip('"')
        if column not in PROCESS_KEYS or not value or len(value) > LONGEST_VALUE:
            continue
        if value.isprintable() and value not in (note.get(column) for note in notes):
            free = next((note for note in notes if column not in note), None)
            if free is None:
                notes.append(free := {})
            free[column] = value
    return notes


def _iter_pairs(text: str) -> Iterator[tuple[str, str]]:
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if isinstance(document, dict):
        for key, value in document.items():
            if isinstance(value, str | int) and not isinstance(value, bool):
                yield key.strip().casefold(), str(value)
        return
    for line in text.splitlines():
        if match := _LINE.fullmatch(line):
            yield match[1].strip().casefold(), match[2]


EVERY = timedelta(seconds=5)
AT_MOST = 200
"""Files in a round. On a slow share a round takes about a second; a backlog is read in turn, and
again from its beginning, as a note may be written after its picture.
"""


class WaitingNotes:
    """Reads the notes of waiting files, and those that come after their pictures, in rounds.

    Args:
        store: Where the names in them are stored.
        sources: Source → what it and its paths say of a file.
        read_scales: Returns the scales of the files next to a picture of some size, µm per pixel.
    """

    def __init__(
        self,
        store: Store,
        sources: Mapping[str, Provenance],
        read_scales: Callable[[Path, tuple[int, int], Path], Sequence[float]] = lambda *_: (),
    ) -> None:
        self._store, self._sources, self._read_scales = store, sources, read_scales
        self._after = self._after_note = 0
        self._read_at: datetime | None = None

    def read(self, *, now: datetime) -> None:
        """Read the notes of the next waiting files, where the last round is long enough ago."""
        if self._read_at and timedelta(0) <= now - self._read_at < EVERY:
            return
        self._read_at = now
        files = self._store.unread_names.list_waiting(after=self._after, limit=AT_MOST)
        self._after = files[-1].content if len(files) == AT_MOST else 0
        named = {file.content: self._find_orders(file) for file in files}
        news = {
            file.content: orders
            for file in files
            if (orders := named[file.content]).items() - file.noted.items()
        }
        if news:
            self._store.unread_names.note(news)
        self._read_late(now=now)

    def _read_late(self, *, now: datetime) -> None:
        """Record the orders and scales of files that came after their pictures were read.

        A picture that is being read may have been opened before: its notes wait for the next round,
        as do those that the share does not give for now.
        """
        names, since = self._store.unread_names, now - timedelta(days=1)
        for note in names.list_notes(after=self._after_note, since=since, limit=AT_MOST):
            is_note = PurePath(note.relative.lower()).suffix in NOTE_SUFFIXES
            for picture, sha256, is_being_read in names.list_read_before(note) if is_note else ():
                if is_being_read:
                    return
                try:
                    self._compare_scales(picture, sha256, note, now=now)
                    claims = [] if note.noted else self._find_claims(picture)
                except OSError:
                    return
                named = {claim.order: claim.specimen for claim in claims}
                if named:
                    self._store.order_naming.claim_again(
                        picture.content, claims, note.relative, at=now, only_new=True
                    )
                    names.note({note.content: named})
            self._after_note = note.content

    def _compare_scales(
        self, picture: WaitingFile, sha256: str, note: WaitingFile, *, now: datetime
    ) -> None:
        for view in self._store.results.search(sha256=sha256, limit=1000):
            path = locate(picture.folder, picture.relative)
            scales = self._read_scales(path, (view.width, view.height), picture.folder)
            note_late_scales(self._store, view, scales, PurePath(note.relative).name, at=now)

    def _find_orders(self, file: WaitingFile) -> dict[str, str]:
        """Return the orders that notes next to a file name, with the specimen."""
        try:
            return {claim.order: claim.specimen for claim in self._find_claims(file)}
        except OSError:  # the share does not give it for now; a later round reads it
            return {}

    def _find_claims(self, file: WaitingFile) -> list[ClaimedPlace]:
        notes = find_notes(locate(file.folder, file.relative), root=file.folder)
        if not any(note.get("order") for note in notes):
            return []
        keys = collect_keys(
            self._sources.get(file.source, Provenance()),
            file.relative,
            beside=merge_notes(notes),
            given={},
            exact_numbers=self._store.exact_numbers,
            notes=notes,
        )
        return [claim for claim in keys.claims if claim.origin == "note"]


def list_missing_notes(
    noted: Mapping[str, str], notes: Sequence[Mapping[str, str]]
) -> list[dict[str, str]]:
    """Return the notes that were read while a file waited and that its folder no longer shows.

    A share may show an empty folder for a moment, and a note that is rewritten or deleted must not
    take an order's claim to the file back.

    Args:
        noted: Order → specimen that notes named so far.
        notes: The notes that are there now.
    """
    there = {note.get("order", "") for note in notes}
    return [
        {"order": order} | ({"specimen": specimen} if specimen else {})
        for order, specimen in noted.items()
        if order not in there
    ]
