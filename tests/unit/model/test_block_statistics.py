"""Box sums, histograms and means are exactly those of a plain computation, masks and edges too."""

import numpy as np
import pytest

from model.block_statistics import (
    GreySums,
    are_all,
    box_sums,
    compute_lightness,
    compute_std,
    count_values,
    count_within,
    map_values,
    mean_colour,
    share_of_blocks,
    sum_neighbours,
)

RNG = np.random.default_rng(3)
PIXELS = RNG.integers(0, 256, (37, 53, 3), dtype=np.uint8)
VALID = RNG.random((37, 53)) < 0.7


def test_a_box_sum_is_the_plain_sum_with_repeated_edges() -> None:
    for shape in ((37, 53), (1, 1), (2, 40)):
        for side in (3, 9, 17):
            plane = compute_lightness(PIXELS)[: shape[0], : shape[1]]
            padded = np.pad(plane, side // 2, mode="edge").astype(np.int64)
            plain = [
                [padded[y : y + side, x : x + side].sum() for x in range(shape[1])]
                for y in range(shape[0])
            ]

            assert (box_sums(plane, side) == np.array(plain)).all(), (shape, side)


def test_sums_of_a_frame_whose_padding_mirrors_it_are_those_of_the_frame_without() -> None:
    padded = np.pad(PIXELS, ((0, 27), (0, 11), (0, 0)), mode="symmetric")

    cropped, own = GreySums.of(padded).crop((37, 53)), GreySums.of(PIXELS)

    assert np.array_equal(cropped.lightness, own.lightness)
    assert np.array_equal(cropped.around, own.around)
    assert np.array_equal(own.around, box_sums(compute_lightness(PIXELS), 3))


@pytest.mark.parametrize("valid", [VALID, np.ones_like(VALID)])
def test_counts_and_means_are_of_the_valid_pixels_only(valid: np.ndarray) -> None:
    lightness = compute_lightness(PIXELS)
    on_steel = PIXELS[valid]
    dark = (on_steel <= 90).all(axis=1).sum()

    assert (count_values(lightness, valid) == np.bincount(lightness[valid], minlength=766)).all()
    assert dark > 0
    assert count_within(PIXELS, 0, 90, valid) == dark
    assert mean_colour(PIXELS, valid) == pytest.approx(on_steel.mean(axis=0), rel=1e-12)
    assert compute_std(lightness.astype(np.float32), valid) == pytest.approx(lightness[valid].std())


def test_a_block_is_all_valid_only_if_every_pixel_is_and_its_share_is_that_of_its_pixels() -> None:
    valid = np.ones((9, 8), bool)
    valid[5, 1] = False

    assert are_all(valid, 4).tolist() == [[True, True], [False, True]]
    assert share_of_blocks(valid, 4).tolist() == [[1, 1], [15 / 16, 1]]


def test_each_channel_is_mapped_by_its_own_table() -> None:
    tables = RNG.normal(size=(3, 256)).astype(np.float32)

    mapped = map_values(PIXELS, tables)

    assert mapped.dtype == np.float32
    assert all((mapped[c] == tables[c][PIXELS[..., c]]).all() for c in range(3))


def test_a_cell_and_its_neighbours_are_summed_and_outside_there_is_nothing() -> None:
    plane = np.array([[1, 2, 3], [10, 20, 30]], np.float32)

    assert sum_neighbours(plane).tolist() == [[33, 66, 55], [33, 66, 55]]
    assert sum_neighbours(np.stack([plane, 2 * plane], axis=2))[1, 0].tolist() == [33, 66]
