"""A frame is computed in strips and tiles, and no map shows where they meet."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from model.framing import Field
from model.networks.backbones import IMAGENET_MEAN, IMAGENET_STD, Lite0, frozen_lite0
from model.ood.features import describe_windows
from model.ood.frozen_pass import TILE_CELLS, FrozenPass

LARGE = (1440, 1504)  # 2.2 million pixels


def draw(shape):
    rng = np.random.default_rng(3)
    coarse = rng.integers(40, 200, (shape[0] // 16, shape[1] // 16, 3))
    pixels = coarse.repeat(16, axis=0).repeat(16, axis=1) + rng.integers(0, 40, (*shape, 3))
    return Field(pixels.astype(np.uint8), np.ones(shape, np.bool_), 0.25)


def compute_whole(pixels):
    """Return the first three maps as the network gives them for the whole picture."""
    contrast = torch.tensor(IMAGENET_MEAN) / torch.tensor(IMAGENET_STD)
    light = torch.from_numpy(pixels).float()
    normalized = light / light.mean(dim=(0, 1)) * contrast - contrast
    with torch.inference_mode():
        return frozen_lite0().stages(normalized.permute(2, 0, 1)[None], 2)


def test_a_large_frame_has_the_maps_of_the_whole_picture():
    field = draw(LARGE)

    seen = FrozenPass(frozen_lite0()).run(field)

    for own, (whole,) in zip(seen.maps, compute_whole(field.pixels), strict=False):
        assert np.abs(own - whole.numpy()).max() < 1e-3 * np.abs(whole.numpy()).max()


class UndividedLite0(Lite0):
    """The network with every part in a single strip."""

    def early_parts(self):
        return tuple(replace(part, strip_px=100_000_000) for part in super().early_parts())


class NarrowLite0(Lite0):
    """The network in strips of which each keeps one row of cells, or hardly more."""

    def early_parts(self):
        return tuple(replace(part, strip_px=1) for part in super().early_parts())


def test_strips_have_the_maps_of_one_strip_bit_for_bit():
    undivided = UndividedLite0()
    undivided.load_state_dict(frozen_lite0().state_dict())
    field = draw(LARGE)

    strips = FrozenPass(frozen_lite0()).run(field)
    one = FrozenPass(undivided.eval()).run(field)

    for own, whole in zip(strips.maps, one.maps, strict=True):
        assert np.array_equal(own, whole)


def test_a_frame_that_leaves_a_strip_no_room_of_its_own_has_the_same_maps():
    narrow = NarrowLite0()
    narrow.load_state_dict(frozen_lite0().state_dict())
    field = draw((352, 320))

    strips = FrozenPass(narrow.eval()).run(field)
    one = FrozenPass(frozen_lite0()).run(field)

    for own, whole in zip(strips.maps, one.maps, strict=True):
        assert np.array_equal(own, whole)


@pytest.fixture(scope="module")
def large():
    frozen_pass = FrozenPass(frozen_lite0())
    return frozen_pass, frozen_pass.run(draw(LARGE)).maps


def join_whole(maps):
    """Return the second and third map on the grid of the second, smoothed over neighbours."""
    finer, coarser = (torch.from_numpy(maps[layer])[None] for layer in (1, 2))
    upsampled = functional.interpolate(coarser, size=finer.shape[2:], mode="bilinear")
    both = torch.cat([finer, upsampled], dim=1)
    return functional.avg_pool2d(both, 3, stride=1, padding=1, count_include_pad=False)


def test_cells_of_the_joined_map_are_the_mean_of_four_away_from_its_edge(large):
    frozen_pass, maps = large

    joined = frozen_pass.joiner.join(maps)

    expected = functional.avg_pool2d(join_whole(maps), 2)[0].permute(1, 2, 0).numpy()
    assert joined.dtype == np.float16
    assert joined.shape == expected.shape
    inner = np.s_[1:-1, 1:-1]
    assert np.abs(joined[inner] - expected[inner]).max() < 1e-3 * np.abs(expected).max()
    assert np.abs(joined - expected).max() < 0.5 * np.abs(expected).max()  # repeated at the edge


def test_strips_of_the_joined_map_have_the_bits_of_one_strip(large):
    frozen_pass, maps = large
    upper = [own[:, : len(own[0]) // 2] for own in maps]
    joiner = frozen_pass.joiner

    whole, part = joiner.join(maps), joiner.join(upper)

    rows = len(part) - 2  # those at the lower edge of the part see what is below it
    assert np.array_equal(whole[:rows], part[:rows])


def test_the_smallest_frame_has_a_joined_map():
    frozen_pass = FrozenPass(frozen_lite0())
    maps = frozen_pass.run(draw((32, 32))).maps

    joined = frozen_pass.joiner.join(maps)

    assert joined.shape == (2, 2, maps[1].shape[0] + maps[2].shape[0])
    assert np.isfinite(joined).all()


def test_tiles_that_are_computed_together_do_not_see_one_another():
    seen = FrozenPass(frozen_lite0()).run(draw((1024, 1280)))

    for top, left in ((0, 0), (24, 32)):  # the first and the last tile
        rows, columns = slice(top, top + TILE_CELLS), slice(left, left + TILE_CELLS)
        own = seen.maps[2][:, 2 * top : 2 * rows.stop, 2 * left : 2 * columns.stop]
        with torch.inference_mode():
            (alone,) = frozen_lite0().last_stage(torch.from_numpy(np.ascontiguousarray(own))[None])
        assert np.abs(seen.maps[3][:, rows, columns] - alone.numpy()).max() < 1e-3


def test_a_window_is_the_mean_of_its_cells_of_two_stages_each_at_unit_length():
    seen = FrozenPass(frozen_lite0()).run(draw((736, 896)))

    windows = describe_windows(seen, 0.25)

    assert windows.features.shape == (11, 13, 112 + 320)
    assert windows.steel[:10, :13].all()
    assert (windows.side_px, windows.um2) == (64, 256.0)
    third = seen.maps[2][:, 4 * 3 : 4 * 3 + 8, 4 * 5 : 4 * 5 + 8].mean(axis=(1, 2))
    fourth = seen.maps[3][:, 2 * 3 : 2 * 3 + 4, 2 * 5 : 2 * 5 + 4].mean(axis=(1, 2))
    expected = np.concatenate([own / np.linalg.norm(own) for own in (third, fourth)])
    assert windows.features[3, 5] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("shape", [(32, 32), (96, 480)])
def test_a_field_smaller_than_a_window_has_one(shape):
    seen = FrozenPass(frozen_lite0()).run(draw(shape))

    windows = describe_windows(seen)

    assert windows.steel.any()
    assert np.isfinite(windows.features).all()


def test_a_window_without_steel_is_none():
    field = draw((256, 384))
    field.valid[:, 192:] = False
    seen = FrozenPass(frozen_lite0()).run(field)

    assert describe_windows(seen).steel.tolist() == [[True, True, False, False, False]] * 3
