"""Find earlier micrographs that show the place of a new one, before its field counts.

The micrographs of its own order are compared one by one, all others through an index. The index
is a copy in memory; its content and the results are in the database.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import datetime

from agent.imaging.places import Landmarks, Overlap, PlaceIndex, register
from agent.store import Landmarked, PlaceMatch, Store

CANDIDATES = 8
"""Micrographs of other orders that are compared closely, the likeliest first."""
CLOSELY = 200
"""Of a larger order the newest ones are compared one by one, the others through the index."""
BATCH = 64


def compare_places(landmarks: Landmarks, other: Landmarks) -> Overlap | None:
    """Return what two micrographs show together, also where one has black and white exchanged."""
    return register(landmarks, other, inverted=True)


class PlaceCheck:
    """Compares the places of new micrographs with those of all others of the database.

    Args:
        store: Open.
        control: Numbers of control orders. Their specimens are taken at one place again and again,
            so they are not compared; an order that shows their place is found.
        compare: Returns what two micrographs show together, None for nothing; `compare_places`, or
            one that remembers its answers.
    """

    def __init__(
        self,
        store: Store,
        control: Collection[str] = (),
        *,
        compare: Callable[[Landmarks, Landmarks], Overlap | None] = compare_places,
    ) -> None:
        self._store, self._control = store, frozenset(control)
        self._compare = compare
        self._index = PlaceIndex()
        self._known: set[int] = set()
        self._newest = 0

    def compare_pending(self, *, at: datetime) -> int:
        """Compare every micrograph that was not compared yet; return how many there were."""
        n = 0
        while pending := self._store.places.list_pending(BATCH):
            self._read_new()
            for micrograph in pending:
                matches = list(self._find_matches(micrograph))
                self._store.places.settle(micrograph.micrograph_id, matches, at=at)
                n += 1
        return n

    def _read_new(self) -> None:
        for micrograph in self._store.places.iter_after(self._newest, self._known):
            self._known.add(micrograph.micrograph_id)
            self._newest = max(self._newest, micrograph.micrograph_id)
            if micrograph.landmarks is not None:
                landmarks = Landmarks.from_bytes(micrograph.landmarks)
                self._index.add(micrograph.micrograph_id, landmarks)

    def _find_matches(self, micrograph: Landmarked) -> Iterator[PlaceMatch]:
        if micrograph.landmarks is None or micrograph.order in self._control:
            return
        own = Landmarks.from_bytes(micrograph.landmarks)
        if not own.is_distinct:
            return
        number = micrograph.micrograph_id
        others = {*self._store.places.list_same_order(number, CLOSELY)}
        others |= set(self._index.candidates(own, CANDIDATES + 1, inverted=True))
        for other in self._store.places.load(sorted(others - {number})):
            if other.landmarks is None:
                continue
            theirs = Landmarks.from_bytes(other.landmarks)
            # Always from the same one, so that the share does not depend on which came first.
            is_first = micrograph.public_id < other.public_id
            pair = (own, theirs) if is_first else (theirs, own)
            if overlap := self._compare(*pair):
                yield PlaceMatch(
                    other_id=other.micrograph_id,
                    measured_id=number if is_first else other.micrograph_id,
                    share=overlap.share_of_smaller,
                    area_px=overlap.area_px,
                    facts={
                        "transform": [[float(x) for x in row] for row in overlap.transform],
                        "mirrored": bool(overlap.mirrored),
                        "scale": float(overlap.scale),
                        "inliers": int(overlap.inliers),
                    },
                )
