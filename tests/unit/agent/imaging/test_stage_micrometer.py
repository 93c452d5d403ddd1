"""A stage micrometer is measured to a part of a thousand, and steel is never taken for one."""

import cv2
import numpy as np
import pytest

from agent.imaging.stage_micrometer import measure


def ruled(um_per_px, *, axis="x", turned_deg=0.0, noise=4.0, height=600, width=900, bright=False):
    """Draw lines every 10 µm, 2 µm wide, every fifth longer; smooth to a part of a pixel."""
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    angle = np.deg2rad(turned_deg)
    across = (columns - width / 2) * np.cos(angle) - (rows - height / 2) * np.sin(angle)
    down = (columns - width / 2) * np.sin(angle) + (rows - height / 2) * np.cos(angle)
    if axis == "y":
        across, down = down, across
    um = across * um_per_px
    number = np.round(um / 10)
    reach = np.where(number % 5 == 0, 0.42, 0.3) * (height if axis == "x" else width)
    line = np.clip(1.0 / um_per_px + 0.5 - np.abs(um - 10 * number) / um_per_px, 0, 1)
    line[np.abs(down) > reach] = 0
    grey = 60 + 140 * line if bright else 200 - 140 * line
    grey = cv2.GaussianBlur(grey, (0, 0), 1.0)
    grey += np.random.default_rng(0).normal(0, noise, grey.shape)
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=-1)


def test_the_scale_is_right_to_a_thousandth_along_either_direction() -> None:
    for um_per_px in (0.13, 0.1723, 0.345, 0.5):
        for axis in ("x", "y"):
            measured = measure(ruled(um_per_px, axis=axis), division_um=10)

            assert list(measured.along) == [axis], (um_per_px, axis)
            assert measured.um_per_px == pytest.approx(um_per_px, rel=1e-3), (um_per_px, axis)
            assert abs(measured.um_per_px / um_per_px - 1) <= max(3 * measured.uncertainty, 3e-4), (
                um_per_px,
                axis,
            )


@pytest.mark.parametrize("turned_deg", [-3.0, 0.7, 5.0])
def test_a_turned_ruling_gives_the_same_scale(turned_deg) -> None:
    measured = measure(ruled(0.2, turned_deg=turned_deg), division_um=10)

    assert measured.um_per_px == pytest.approx(0.2, rel=2e-3)


def test_bright_lines_and_corners_are_measured_too() -> None:
    measured = measure(ruled(0.2, bright=True), division_um=10)

    assert measured.um_per_px == pytest.approx(0.2, rel=1e-3)
    assert set(measured.corners) == {"top left", "top right", "bottom left", "bottom right"}
    assert measured.distortion < 2e-3


def test_a_distorting_lens_shows_in_the_corners() -> None:
    straight = ruled(0.2)
    height, width = straight.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    pulled = columns + (columns - width / 2) * np.float32(0.01) * (columns / width - 0.5)
    bent = cv2.remap(straight, pulled, rows, cv2.INTER_LINEAR)

    measured = measure(bent, division_um=10)

    assert measured is None or measured.distortion > 2e-3


@pytest.mark.parametrize("seed", range(6))
def test_steel_is_no_ruling(seed) -> None:
    dice = np.random.default_rng(seed)
    steel = np.full((600, 800), 150, np.uint8)
    for _ in range(900):
        x, y, angle = dice.uniform(0, 800), dice.uniform(0, 600), dice.uniform(0, np.pi)
        length = dice.uniform(10, 60)
        end = (round(x + length * np.cos(angle)), round(y + length * np.sin(angle)))
        cv2.line(steel, (round(x), round(y)), end, int(dice.integers(40, 220)), 2, cv2.LINE_AA)

    assert measure(np.repeat(steel[..., None], 3, axis=-1), division_um=10) is None


def test_a_blank_picture_is_no_ruling() -> None:
    assert measure(np.full((100, 100, 3), 200, np.uint8), division_um=10) is None
