"""A copy in other clothes is found; another place of the same steel is not taken for one."""

from __future__ import annotations

import numpy as np

from model import Field
from model.leakage import Looked, near_duplicates, signature


def field(seed: int, light: float = 1.0, shift: float = 0.0) -> Field:
    rng = np.random.default_rng(seed)
    grey = np.kron(rng.normal(128, 40, (60, 80)), np.ones((4, 4)))
    noise = np.random.default_rng(seed + 999).normal(0, 4, grey.shape)
    grey = (grey * light + shift + noise).clip(0, 255)
    pixels = np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)
    return Field(pixels, np.ones(grey.shape, bool), 0.2)


def looked(key: str, side: str, shown: Field) -> Looked:
    return Looked(key, key, side, signature(shown))


def test_a_brightened_copy_on_the_other_side_is_found():
    pairs = near_duplicates(
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

    assert near_duplicates(same) == []


def test_an_even_picture_is_like_nothing():
    even = Field(np.full((50, 40, 3), 90, np.uint8), np.ones((50, 40), bool), None)

    assert near_duplicates([looked("a", "train", even), looked("b", "test", even)]) == []
