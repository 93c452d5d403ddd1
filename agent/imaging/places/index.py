"""Index of landmarks that finds the few micrographs that may show the place of another.

Every landmark has a word: the signs of 24 of its coordinates. Landmarks of a copy share some words
at one turn and one scale; other places share words at random ones. No two micrographs are compared
here; the index takes 8 bytes per landmark and 8 per word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.imaging.places.descriptors import COORDINATES, Codes, invert, mirror
from agent.imaging.places.landmarks import Landmarks

Words = NDArray[np.uint32]
Integers = NDArray[np.int64]

_UNSURE = (14, 23, 26, 32, 34, 35)
"""Coordinates whose sign a copy changes most often. MEASURED: in 11 to 15 of 100 landmarks."""

_SURE = tuple(at for at in range(COORDINATES) if at not in _UNSURE)
_WORD, _SIGNATURE = _SURE[:24], _SURE[24:] + _UNSURE
_FLIPS = 3
"""A word is looked up under all changes of its so many least certain signs. MEASURED: 42 of 100
landmarks of a copy (other magnification, JPEG, blur) are found so, 26 without."""

_FLIPS_INVERTED = 1  # inverted copies are rare, and the search costs time

_MOST_DIFFERENT = 4  # of the 16 signs of a signature; 4 of 100 other landmarks are as near
_COMMON = 1500  # landmarks of a segment with one word, which then identifies nothing
_LEAST_VOTES = 3
_TURNS = 32  # steps of orientation in a full turn
_SIZES = 64  # steps of size, quarters of a doubling
_VARIANTS = 4  # as it is, mirrored, and both inverted
_TURN_WINDOW, _SIZE_WINDOW = 3, 4  # steps over which votes are gathered: 34 degrees, a doubling
_SEGMENT = 25_000  # micrographs; larger segments would need more memory while they are merged
_GROWTH = 4  # a segment is merged into one up to so many times as large


class PlaceIndex:
    """Landmarks of many micrographs, by key; in memory, to be filled again after a start."""

    def __init__(self) -> None:
        self._segments: list[_Segment] = []
        self._slots: dict[int, int] = {}
        self._keys: list[int] = []
        self._alive = np.zeros(1024, bool)  # by slot

    def __len__(self) -> int:
        """Return the number of micrographs."""
        return len(self._slots)

    def __contains__(self, key: int) -> bool:
        """Return whether a micrograph is in the index."""
        return key in self._slots

    @property
    def size_bytes(self) -> int:
        """Memory that the landmarks take."""
        return sum(segment.size_bytes for segment in self._segments)

    def add(self, key: int, landmarks: Landmarks) -> None:
        """Add a micrograph.

        Raises:
            ValueError: The key is in the index already.
        """
        if key in self._slots:
            raise ValueError(f"Micrograph {key} is in the index already. Remove it first.")
        slot = len(self._keys)
        if slot == len(self._alive):
            self._alive = np.concatenate([self._alive, np.zeros_like(self._alive)])
        self._keys.append(key)
        self._slots[key] = slot
        self._alive[slot] = True
        if not len(landmarks):
            return
        owners = np.full(len(landmarks), slot, np.uint32)
        traits = _compute_traits(landmarks.sizes, landmarks.orientations, landmarks.codes)
        words = _compute_words(landmarks.codes)
        self._segments.append(_Segment.build(words, owners, traits, micrographs=1))
        while self._is_merge_due():
            last = self._segments.pop()
            self._segments[-1] = self._segments[-1].merge(last, self._alive)

    def remove(self, key: int) -> None:
        """Remove a micrograph; its memory is free after the next merge.

        Raises:
            KeyError: The key is not in the index.
        """
        self._alive[self._slots.pop(key)] = False

    def candidates(
        self, landmarks: Landmarks, limit: int = 8, *, inverted: bool = False
    ) -> list[int]:
        """Return the keys of micrographs that may show the same place, likeliest first.

        Args:
            landmarks: Of the micrograph in question; it need not be in the index.
            limit: Most keys that are returned. Each must be confirmed by `register`.
            inverted: Whether an exchange of black and white is looked for as well; takes twice the
                time.
        """
        votes = self._collect_votes(_Queries.build(landmarks, inverted=inverted))
        enough = np.bincount(votes.owners, minlength=1) >= _LEAST_VOTES
        enough &= self._alive[: len(enough)]
        kept = enough[votes.owners]
        slots, indices = np.unique(votes.owners[kept], return_inverse=True)
        if not len(slots):
            return []
        counts = _count_agreeing(votes.motions[kept], indices, len(slots))
        order = np.lexsort((slots, -counts))[:limit]
        return [self._keys[slots[indices]] for indices in order if counts[indices] >= _LEAST_VOTES]

    def _is_merge_due(self) -> bool:
        if len(self._segments) < 2:  # noqa: PLR2004 - two are merged
            return False
        last, previous = self._segments[-1].micrographs, self._segments[-2].micrographs
        return previous <= _GROWTH * last and previous + last <= _SEGMENT

    def _collect_votes(self, queries: _Queries) -> _Votes:
        """Return a vote for every entry that has a word and nearly the signature of a landmark."""
        owners, motions = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for segment in self._segments:
            query, entries = segment.find(queries.words)
            landmark = queries.landmarks[query]
            query_traits, entry_traits = queries.traits[landmark], segment.traits[entries]
            near = np.flatnonzero(_ONES[(query_traits ^ entry_traits) & 0xFFFF] <= _MOST_DIFFERENT)
            query_traits, entry_traits = (
                query_traits[near].astype(np.int64),
                entry_traits[near].astype(np.int64),
            )
            turn = ((entry_traits >> 16) - (query_traits >> 16)) % _TURNS
            growth = (entry_traits >> 21) - (query_traits >> 21) + _SIZES
            variant = landmark[near] // queries.count
            motions.append((variant * 2 * _SIZES + growth) * _TURNS + turn)
            owners.append(segment.owners[entries[near]].astype(np.int64))
        return _Votes(np.concatenate(owners), np.concatenate(motions))


class _Votes(NamedTuple):
    """For every vote, its micrograph's slot, and the turn and scale that it implies."""

    owners: Integers
    motions: Integers


@dataclass(frozen=True, slots=True)
class _Segment:
    """Landmarks of some micrographs, sorted by word.

    Args:
        words: (k,) each word once, ascending.
        starts: (k + 1,) where the entries of a word start.
        owners: (n,) slots of micrographs.
        traits: (n,) signature, orientation and size.
        micrographs: How many there are, removed ones included.
    """

    words: Words
    starts: NDArray[np.uint32]
    owners: NDArray[np.uint32]
    traits: NDArray[np.uint32]
    micrographs: int

    @classmethod
    def build(
        cls,
        words: Words,
        owners: NDArray[np.uint32],
        traits: NDArray[np.uint32],
        *,
        micrographs: int,
    ) -> _Segment:
        order = np.argsort(words, kind="stable")
        words = words[order]
        starts = np.flatnonzero(np.append(True, words[1:] != words[:-1])[: len(words)])
        bounds = np.append(starts, len(words)).astype(np.uint32)
        return cls(words[starts], bounds, owners[order], traits[order], micrographs)

    @property
    def size_bytes(self) -> int:
        arrays = (self.words, self.starts, self.owners, self.traits)
        return sum(array.nbytes for array in arrays)

    def merge(self, other: _Segment, alive: NDArray[np.bool_]) -> _Segment:
        """Return both in one, without what was removed."""
        both = (self, other)
        words = np.concatenate([np.repeat(part.words, np.diff(part.starts)) for part in both])
        owners = np.concatenate([part.owners for part in both])
        traits = np.concatenate([part.traits for part in both])
        kept = alive[owners]
        micrographs = self.micrographs + other.micrographs
        return self.build(words[kept], owners[kept], traits[kept], micrographs=micrographs)

    def find(self, words: Words) -> tuple[Integers, Integers]:
        """Return pairs of a place in `words` and an entry that has this word."""
        if not len(self.words):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        at = np.minimum(np.searchsorted(self.words, words), len(self.words) - 1)
        known = np.flatnonzero(self.words[at] == words)
        begin, end = (self.starts[at[known] + side].astype(np.int64) for side in (0, 1))
        rare = end - begin <= _COMMON
        known, begin, counts = known[rare], begin[rare], (end - begin)[rare]
        skipped = np.cumsum(counts) - counts
        entries = np.repeat(begin - skipped, counts) + np.arange(int(counts.sum()))
        return np.repeat(known, counts), entries


@dataclass(frozen=True, slots=True)
class _Queries:
    """Words to look up, ascending, and for each the landmark that it belongs to.

    Args:
        words: (k,) words.
        landmarks: (k,) a landmark; after the n of the picture come those of its mirror image and,
            if requested, those of both inverted.
        traits: (2 n or 4 n,) of the landmarks.
        count: n.
    """

    words: Words
    landmarks: Integers
    traits: NDArray[np.uint32]
    count: int

    @classmethod
    def build(cls, landmarks: Landmarks, *, inverted: bool) -> _Queries:
        turns = landmarks.orientations
        views = [(landmarks.codes, turns), (mirror(landmarks.codes), np.pi - turns)]
        flips = [_FLIPS] * len(views)
        if inverted:
            flips += [_FLIPS_INVERTED] * len(views)
            views += [(invert(codes), turns + np.pi) for codes, turns in views]
        probes = [
            _compute_probes(codes, changed)
            for (codes, _), changed in zip(views, flips, strict=True)
        ]
        words = np.concatenate([probe.ravel() for probe in probes])
        counts = np.repeat([probe.shape[1] for probe in probes], len(landmarks))
        landmark = np.repeat(np.arange(len(counts)), counts)
        traits = [_compute_traits(landmarks.sizes, turns, codes) for codes, turns in views]
        order = np.argsort(words, kind="stable")
        return cls(words[order], landmark[order], np.concatenate(traits), len(landmarks))


def _count_agreeing(motions: Integers, at: Integers, slots: int) -> Integers:
    """Return for every slot the most votes within one window of turn and scale.

    Args:
        motions: (k,) turns and scales.
        at: (k,) the place of the vote's slot among all slots.
        slots: How many there are.
    """
    turn, rest = motions % _TURNS, motions // _TURNS
    sizes = _VARIANTS * 2 * _SIZES + _SIZE_WINDOW
    windows = [
        ((at * sizes + rest + further) * _TURNS) + (turn + turned) % _TURNS
        for further in range(_SIZE_WINDOW)
        for turned in range(_TURN_WINDOW)
    ]
    window, votes = np.unique(np.concatenate(windows), return_counts=True)
    counts = np.zeros(slots, np.int64)
    np.maximum.at(counts, window // (sizes * _TURNS), votes)
    return counts


def _compute_words(codes: Codes) -> Words:
    words: Words = ((codes[:, _WORD] >= 0) * _PLACES).sum(axis=1).astype(np.uint32)
    return words


def _compute_probes(codes: Codes, flips: int) -> Words:
    """Return (n, 2 ** flips) words: the landmark's, and it with uncertain signs changed."""
    margins = np.abs(codes[:, _WORD] + 0.5)
    unsure = np.argsort(margins, axis=1, kind="stable")[:, :flips]
    subsets = (np.arange(1 << flips)[:, None] >> np.arange(flips)) & 1
    changes = (subsets[None] * _PLACES[unsure][:, None]).sum(axis=2)
    probes: Words = (_compute_words(codes)[:, None] ^ changes).astype(np.uint32)
    return probes


def _compute_traits(
    sizes: NDArray[np.float32], turns: NDArray[np.float32], codes: Codes
) -> NDArray[np.uint32]:
    """Return (n,): 16 bits of signature, 5 of orientation, 6 of size."""
    turn = np.floor(turns * (_TURNS / (2 * np.pi))).astype(np.int64) % _TURNS
    octaves = np.log2(np.maximum(sizes, 1))
    size = np.minimum(np.rint(4 * octaves), _SIZES - 1).astype(np.int64)
    signature = ((codes[:, _SIGNATURE] >= 0) * (1 << np.arange(len(_SIGNATURE)))).sum(axis=1)
    traits: NDArray[np.uint32] = (signature | turn << 16 | size << 21).astype(np.uint32)
    return traits


_PLACES = 1 << np.arange(len(_WORD))
_ONES = np.array([number.bit_count() for number in range(1 << 16)], np.uint8)
"""Ones in the binary form of a number; numpy counts them itself only from version 2 on."""
