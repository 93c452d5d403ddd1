"""Two pictures of one place are known for it however they were exported; two places are not."""

from __future__ import annotations

import csv
import struct
from functools import cache

import cv2
import numpy as np
import pytest
from drawn.copies import CHANGES, EXTRA, cut_pair, rgb
from folders import SHARED_DATA
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.demo.micrograph import draw_micrograph
from agent.imaging.places import SAME_PLACE, Landmarks, PlaceIndex, extract_landmarks, register

UHCS = SHARED_DATA / "uhcs"
SIZE = (600, 450)
NEIGHBOURS = 8


@cache
def field(seed: int, size: tuple[int, int] = (1100, 825)) -> np.ndarray:
    """Draw a field of one specimen."""
    drawn = draw_micrograph("G8", seed=seed, specimen=1, size=size, bar=None, border=False)
    return np.ascontiguousarray(drawn.pixels[..., 1])


def landmarks_of(grey: np.ndarray, valid: np.ndarray | None = None) -> Landmarks:
    mask = np.ones(grey.shape, bool) if valid is None else valid
    return extract_landmarks(rgb(grey), mask, 0.2)


@cache
def neighbours() -> tuple[Landmarks, ...]:
    return tuple(landmarks_of(field(seed, (600, 450))) for seed in range(20, 20 + NEIGHBOURS))


@pytest.mark.parametrize("change", [*CHANGES, *EXTRA])
def test_a_changed_copy_is_one_place(change):
    pair = cut_pair(field(1), change, np.random.default_rng(3), size=SIZE, shares=(0.3, 0.6))
    assert pair is not None

    overlap = register(
        landmarks_of(pair.one), landmarks_of(pair.other), inverted=change == "inverted"
    )

    assert overlap is not None
    assert overlap.share_of_smaller >= SAME_PLACE
    if change != "corners filled":  # where the filled corners count as shown
        assert overlap.share_of_smaller == pytest.approx(pair.share, abs=0.02)
        assert overlap.mirrored == (np.linalg.det(pair.transform[:, :2]) < 0)


@pytest.mark.parametrize(
    ("wider", "higher"), [(1.15, 1), (1, 1.15), (0.85, 1), (1.2, 1), (0.5, 0.5), (0.5, 0.6)]
)
def test_a_copy_that_is_stretched_or_reduced_is_one_place_whatever_scale_it_states(wider, higher):
    grey = field(1)
    copy = cv2.resize(grey, None, fx=wider, fy=higher, interpolation=cv2.INTER_AREA)

    overlap = register(landmarks_of(grey), landmarks_of(copy))

    assert overlap is not None
    assert overlap.share_of_smaller == pytest.approx(1, abs=0.02)
    assert overlap.transform[0, 0] == pytest.approx(wider, rel=0.02)
    assert overlap.transform[1, 1] == pytest.approx(higher, rel=0.02)
    assert overlap.area_px == pytest.approx(grey.size, rel=0.05)


def test_an_index_proposes_a_stretched_copy():
    index = PlaceIndex()
    for key, landmarks in enumerate(neighbours(), start=1):
        index.add(key, landmarks)
    index.add(99, landmarks_of(field(1)))
    copy = cv2.resize(field(1), None, fx=1.15, fy=1)

    assert 99 in index.candidates(landmarks_of(copy), 8)


def test_an_overlap_is_measured_in_the_pixels_of_both():
    grey = field(1)
    wide, part = grey[:800, :1000], cv2.resize(grey[200:600, 300:800], (1000, 800))

    overlap = register(landmarks_of(wide), landmarks_of(part))

    assert overlap is not None
    assert overlap.scale == pytest.approx(2, rel=0.01)
    assert overlap.area_px == pytest.approx(400 * 500, rel=0.03)
    assert overlap.other_area_px == pytest.approx(1000 * 800, rel=0.03)
    corner = overlap.transform @ [300, 200, 1]
    assert corner == pytest.approx([0, 0], abs=8)


@pytest.mark.parametrize("at", range(NEIGHBOURS))
def test_fields_of_one_specimen_are_different_places(at):
    others = [other for other in neighbours() if other is not neighbours()[at]]

    assert [register(neighbours()[at], other) for other in others] == [None] * len(others)


def test_fields_that_share_a_strip_overlap_too_little_to_be_one_place():
    grey = field(1)

    overlap = register(landmarks_of(grey[:, :580]), landmarks_of(grey[:, 520:]))

    assert overlap is None or overlap.share_of_smaller < 0.15


def test_a_scale_bar_left_in_both_does_not_make_two_fields_one_place():
    fields = [field(seed, (600, 450)).copy() for seed in (20, 21)]
    for grey in fields:
        cv2.rectangle(grey, (400, 405), (590, 445), 255, -1)
        cv2.rectangle(grey, (410, 432), (580, 438), 0, -1)
        cv2.putText(grey, "50 um  x500  HV 20 kV", (408, 424), 0, 0.45, 0, 1)

    assert register(*map(landmarks_of, fields)) is None


def test_dirt_on_the_camera_does_not_make_two_fields_one_place():
    rng = np.random.default_rng(5)
    fields = [field(seed, (600, 450)).copy() for seed in (20, 21)]
    for x, y, radius in zip(
        rng.integers(20, 580, 12), rng.integers(20, 430, 12), rng.integers(3, 9, 12), strict=True
    ):
        for grey in fields:
            cv2.circle(grey, (int(x), int(y)), int(radius), 30, -1)

    assert register(*map(landmarks_of, fields)) is None


def test_a_periodic_pattern_proves_nothing():
    x, y = np.meshgrid(np.arange(600), np.arange(450))
    stripes = [
        128
        + 60 * np.sin((x + y * 0.3 + shift) / 3)
        + np.random.default_rng(shift).normal(0, 3, x.shape)
        for shift in (0, 5)
    ]

    assert register(*(landmarks_of(stripe.astype(np.uint8)) for stripe in stripes)) is None


def test_a_featureless_crop_has_no_landmarks_and_is_one_place_with_nothing():
    even = np.full((300, 400), 90, np.uint8) + np.random.default_rng(1).integers(
        0, 2, (300, 400), np.uint8
    )
    blank = landmarks_of(even)

    assert not blank.is_distinct
    assert register(blank, landmarks_of(field(20, (600, 450)))) is None


def test_small_crops_are_recognised():
    grey = field(1)
    small, brighter = grey[300:405, 300:440], np.clip(grey[300:405, 330:470] * 1.1, 0, 255)

    overlap = register(landmarks_of(small), landmarks_of(np.rot90(brighter.astype(np.uint8))))

    assert overlap is not None
    assert overlap.share_of_smaller == pytest.approx(110 / 140, abs=0.03)


@pytest.mark.parametrize("shape", [(1, 1), (3, 400), (31, 90), (33, 90), (16, 60_000)])
def test_a_crop_of_any_shape_has_landmarks_or_none(shape):
    grey = np.random.default_rng(1).integers(0, 255, shape, np.uint8)

    landmarks = landmarks_of(grey)

    assert landmarks.is_distinct == (shape == (33, 90))


def test_no_landmark_touches_what_is_not_valid():
    grey = field(1)[:450, :600]
    valid = np.ones(grey.shape, bool)
    valid[:, 400:] = False

    landmarks = landmarks_of(grey, valid)

    assert len(landmarks) > 50
    assert (landmarks.positions[:, 0] + landmarks.sizes / 2 < 400).all()
    assert len(landmarks_of(grey, np.zeros(grey.shape, bool))) == 0


def test_the_same_pixels_give_the_same_bytes_and_bytes_the_same_landmarks():
    one, again = landmarks_of(field(20, (600, 450))), landmarks_of(field(20, (600, 450)))

    kept = one.to_bytes()

    assert kept == again.to_bytes()
    assert len(kept) <= 10_421
    read = Landmarks.from_bytes(kept)
    assert read.to_bytes() == kept
    assert np.array_equal(read.positions, one.positions)
    assert np.array_equal(read.codes, one.codes)
    assert (read.height, read.width, read.um_per_px) == (450, 600, 0.2)


NO_LANDMARKS = [
    (b"", "0 bytes are not landmarks"),
    (b"PL0" + bytes(60), "not landmarks of version PL1"),
    (struct.pack("<3sHIId", b"PL1", 3, 10, 10, 0.2) + bytes(77), "3 landmarks take 99 bytes"),
    (struct.pack("<3sHIId", b"PL1", 0, 0, 10, 0.2), "10 x 0 px"),
    (struct.pack("<3sHIId", b"PL1", 0, 9, 10, -1.0), "-1.0 µm per pixel"),
    (struct.pack("<3sHIId", b"PL1", 1, 1, 90, 0.2) + b"\xff" * 26, "outside of their crop"),
]


def test_bytes_that_are_no_landmarks_are_refused():
    for kept, fault in NO_LANDMARKS:
        with pytest.raises(ValueError, match=fault):
            Landmarks.from_bytes(kept)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400))
def test_hostile_bytes_are_landmarks_or_a_value_error(noise, at):
    kept = bytearray(neighbours()[0].to_bytes())
    kept[at : at + len(noise)] = noise
    try:
        landmarks = Landmarks.from_bytes(bytes(kept))
    except ValueError:
        return
    index = PlaceIndex()
    index.add(1, landmarks)

    register(landmarks, neighbours()[1])

    assert len(index.candidates(landmarks)) <= 1


def test_an_index_proposes_the_place_and_forgets_what_is_removed():
    pair = cut_pair(field(1), "all together", np.random.default_rng(3), size=SIZE)
    index = PlaceIndex()
    for key, landmarks in enumerate(neighbours()):
        index.add(key, landmarks)
    other = landmarks_of(pair.other)

    index.add(100, landmarks_of(pair.one))

    assert index.candidates(other)[0] == 100
    assert 100 in index
    index.remove(100)
    assert 100 not in index.candidates(other)
    assert len(index) == len(neighbours())
    index.add(100, landmarks_of(pair.one))
    assert index.candidates(other, limit=1) == [100]


def test_same_places_are_returned_from_the_largest_overlap_on():
    grey = field(1)
    stored = {
        1: landmarks_of(grey[:450, :600]),
        2: landmarks_of(np.rot90(grey[:450, 300:900])),
        3: landmarks_of(grey[:450, 500:1100]),
        **dict(enumerate(neighbours(), 10)),
    }
    index = PlaceIndex()
    for key, landmarks in stored.items():
        index.add(key, landmarks)

    own = landmarks_of(grey[:450, 60:660])
    overlaps = {key: register(stored[key], own) for key in index.candidates(own)}
    found = {key: overlap.share_of_smaller for key, overlap in overlaps.items() if overlap}
    places = sorted(found, key=found.__getitem__, reverse=True)

    assert places == [1, 2, 3]
    shares = [found[key] for key in places]
    assert shares == pytest.approx([540 / 600, 360 / 600, 160 / 600], abs=0.02)


def test_an_index_proposes_an_inverted_picture_if_asked():
    grey = field(1)[:450, :600]
    index = PlaceIndex()
    index.add(1, landmarks_of(grey))
    negative = landmarks_of(255 - grey[:, ::-1])

    assert index.candidates(negative) == []
    assert index.candidates(negative, inverted=True) == [1]


def test_an_index_takes_a_key_once_and_what_has_no_landmarks():
    index = PlaceIndex()
    index.add(5, landmarks_of(np.full((90, 90), 7, np.uint8)))

    with pytest.raises(ValueError, match="Micrograph 5 is in the index already"):
        index.add(5, neighbours()[0])

    assert index.candidates(neighbours()[0]) == []
    assert PlaceIndex().candidates(neighbours()[0]) == []


def test_an_index_of_many_still_proposes_the_place():
    rng = np.random.default_rng(2)
    codes = np.concatenate([landmarks.codes for landmarks in neighbours()])
    index = PlaceIndex()
    for key in range(400):
        chosen = rng.integers(len(codes), size=300)
        noise = rng.normal(0, 2, (300, codes.shape[1]))
        made = Landmarks(
            (rng.random((300, 2)) * 400).astype(np.float32),
            (4 * rng.random(300) + 4).astype(np.float32),
            (6 * rng.random(300)).astype(np.float32),
            np.clip(np.rint(codes[chosen] + noise), -8, 7).astype(np.int8),
            450,
            600,
            None,
        )
        index.add(key, made)
        if key % 3:
            index.remove(key)
    pair = cut_pair(field(1), "turned", np.random.default_rng(7), size=SIZE)
    index.add(1000, landmarks_of(pair.one))

    assert index.candidates(landmarks_of(pair.other), limit=3)[0] == 1000
    assert len(index) == 135
    assert index.size_bytes < 300 * 401 * 24


@pytest.mark.skipif(not UHCS.exists(), reason="no real micrographs here")
def test_real_micrographs_are_found_in_all_changes_and_not_taken_for_their_neighbours():
    with (UHCS / "MANIFEST.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["specimen"] == "970C-24H-Q"][:3]
    greys = [
        cv2.imdecode(np.fromfile(UHCS / row["file"], np.uint8), cv2.IMREAD_GRAYSCALE)
        for row in rows
    ]
    kept = []
    for grey in greys:
        for at, change in enumerate(CHANGES):
            pair = cut_pair(grey, change, np.random.default_rng(at), size=(400, 300))
            if pair is None:
                continue
            one, other = landmarks_of(pair.one), landmarks_of(pair.other)
            assert register(one, other) is not None, change
        kept.append(one)

    assert all(register(one, other) is None for one in kept for other in kept if one is not other)
