"""Read the notes next to files that wait, so that an order is held before the file is read."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from agent.orders.facts.process_data import collect_keys, find_notes, merge_notes
from agent.watch import Provenance
from agent.watch.listing import locate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from agent.store import Store, WaitingFile

EVERY = timedelta(seconds=5)
AT_MOST = 200
"""Files in a round. On a slow share a round takes about a second; a backlog is read in turn, and
again from its beginning, as a note may be written after its picture.
"""


class WaitingNotes:
    """Reads the notes of waiting files, a few in each round.

    Args:
        store: Where the names in them are stored.
        sources: Source → what it and its paths say of a file.
    """

    def __init__(self, store: Store, sources: Mapping[str, Provenance]) -> None:
        self._store, self._sources = store, sources
        self._after = 0
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

    def _find_orders(self, file: WaitingFile) -> dict[str, str]:
        """Return the orders that notes next to a file name, with the specimen."""
        try:
            notes = find_notes(locate(file.folder, file.relative), root=file.folder)
        except OSError:  # the share does not give it for now; a later round reads it
            return {}
        if not any(note.get("order") for note in notes):
            return {}
        keys = collect_keys(
            self._sources.get(file.source, Provenance()),
            file.relative,
            beside=merge_notes(notes),
            given={},
            exact_numbers=self._store.exact_numbers,
            notes=notes,
        )
        return {claim.order: claim.specimen for claim in keys.claims if claim.origin == "note"}


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
