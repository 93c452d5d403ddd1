"""A copy in other clothes is found; another place of the same steel is not taken for one."""

from __future__ import annotations

import numpy as np
import pytest

from model import Example, Field
from model.data.near_duplicates import (
    SAME_PLACE,
    ComparedImage,
    compute_overlap_similarity,
    compute_signature,
    compute_texture,
    find_leaks,
    iter_overlaps,
)
from model.evaluation.evaluation import Case


def field(seed: int, light: float = 1.0, shift: float = 0.0) -> Field:
    rng = np.random.default_rng(seed)
    grey = np.kron(rng.normal(128, 40, (60, 80)), np.ones((4, 4)))
    noise = np.random.default_rng(seed + 999).normal(0, 4, grey.shape)
    grey = (grey * light + shift + noise).clip(0, 255)
    pixels = np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)
    return Field(pixels, np.ones(grey.shape, bool), 0.2)


def looked(key: str, side: str, shown: Field) -> ComparedImage:
    return ComparedImage(key, key, side, compute_signature(shown))


def test_a_brightened_copy_on_the_other_side_is_found():
    pairs = find_leaks(
        [
            looked("original", "train", field(1)),
            looked("other", "train", field(2)),
            looked("copy", "test", field(1, light=0.8, shift=30)),
            looked("fresh", "test", field(3)),
        ]
    )

    assert pairs == [("original", "copy")]


def test_two_copies_on_one_side_are_no_leak():
    same = [looked("a", "train", field(1)), looked("b", "train", field(1))]

    assert find_leaks(same) == []


def test_an_even_picture_is_like_nothing():
    even = Field(np.full((50, 40, 3), 90, np.uint8), np.ones((50, 40), bool), None)

    assert find_leaks([looked("a", "train", even), looked("b", "test", even)]) == []


def steel(seed: int, side: int = 480) -> Field:
    """Blobs of some µm, unlike anywhere else."""
    rng = np.random.default_rng(seed)
    grey = np.kron(rng.normal(128, 40, (side // 8, side // 8)), np.ones((8, 8)))
    return of(grey + rng.normal(0, 6, grey.shape))


def of(grey: np.ndarray, um_per_px: float = 0.2) -> Field:
    pixels = np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    return Field(pixels, np.ones(grey.shape, bool), um_per_px)


CLOTHES = {
    "turned": np.rot90,
    "turned and mirrored": lambda x: np.rot90(x[:, ::-1], 3),
    "cropped": lambda x: x[35:420, 61:],
    "cropped to a corner": lambda x: x[:300, 180:],
    "brightened unevenly": lambda x: x * np.linspace(0.6, 1.2, x.shape[1]) + 20,
}


@pytest.mark.parametrize("clothes", CLOTHES)
def test_the_same_place_in_other_clothes_lies_upon_itself(clothes):
    grey = steel(1).pixels[..., 0].astype(float)

    assert (
        compute_overlap_similarity(
            compute_texture(steel(1)), compute_texture(of(CLOTHES[clothes](grey)))
        )
        > SAME_PLACE
    )


def test_the_same_place_in_pixels_twice_as_large_lies_upon_itself():
    grey = steel(1).pixels[..., 0].astype(float)
    coarse = of(grey.reshape(240, 2, 240, 2).mean(axis=(1, 3)), um_per_px=0.4)

    assert (
        compute_overlap_similarity(compute_texture(steel(1)), compute_texture(coarse)) > SAME_PLACE
    )


def test_other_places_do_not_lie_upon_each_other():
    textures = [compute_texture(steel(seed)) for seed in range(6)]

    for at, one in enumerate(textures):
        assert (
            max(compute_overlap_similarity(one, other) for other in textures[:at] or [one * 0])
            < 0.7 * SAME_PLACE
        )


def test_too_little_to_be_sure_says_nothing():
    assert (
        compute_overlap_similarity(compute_texture(steel(1, 96)), compute_texture(steel(1, 96)))
        == 0
    )
    assert (
        compute_overlap_similarity(
            compute_texture(of(np.full((480, 480), 90))), compute_texture(steel(1))
        )
        == 0
    )


def test_a_turned_crop_of_what_was_learned_from_is_found_among_the_nearest():
    def example(key: str, shown: Field) -> Example:
        return Example(key, "G8", key, lambda: shown)

    crop = of(np.rot90(steel(2).pixels[40:440, 100:, 0]).astype(float))
    learned = {f"l{i}": example(f"l{i}", steel(i)) for i in range(4)}
    tested = {"copy": example("copy", crop), "fresh": example("fresh", steel(9))}
    cases = [
        Case(key, key, "G8", "G8", 0.9, 0.9, ("G8",), 0.5, flagged=False, slices={}, nearest=near)
        for key, near in (("copy", ("l0", "l2")), ("fresh", ("l1", "not learned from", "l2")))
    ]

    assert list(iter_overlaps(cases, tested, learned)) == [[("l2", "copy")], []]
