"""A bad picture or preparation is named with its remedy, and a usual one is left alone."""

import cv2
import numpy as np
import pytest

from model.framing import Field, Framing
from model.image_quality import DEFECTS, DefectLimits, measure_frame


def pictured(seed, *, side=320, change=None, um_per_px=0.2):
    """A band-limited texture of its own light and contrast, as taught fields differ."""
    rng = np.random.default_rng([seed, 9])
    noise = cv2.GaussianBlur(rng.normal(size=(side, side)).astype(np.float32), (0, 0), 1.3)
    grey = 130 + rng.normal(0, 5) + rng.uniform(24, 32) * noise / noise.std()
    grey = grey[..., None] * np.array([1.02, 1.0, 0.95]) + rng.normal(0, 2, (side, side, 3))
    if change is not None:
        grey = change(grey)
    pixels = np.clip(grey, 0, 255).astype(np.uint8)
    return Field(pixels, np.ones(pixels.shape[:2], bool), um_per_px)


class Gates:
    """Limits that were fitted to usual fields."""

    def __init__(self):
        self._limits = DefectLimits.fit([self.measure(pictured(seed)) for seed in range(30)])

    def measure(self, field):
        frame = Framing("scale", 4096, 0.2, 0.2).frames(field)[0]
        return measure_frame(frame, 0.2)

    def find_defects(self, field):
        return self._limits.find_defects(self.measure(field))


@pytest.fixture(scope="module")
def gates():
    return Gates()


def names(gates, field):
    return [defect.name for defect in gates.find_defects(field)]


def blurred(grey):
    return cv2.GaussianBlur(grey, (0, 0), 3)


def flat_and_bright(grey):
    return (grey - 130) * 0.4 + 155


def flat_and_dark(grey):
    return (grey - 130) * 0.35 + 105


def harsh_and_dark(grey):
    return (grey - 130) * 1.5 + 95


def burnt(grey):
    return grey * 1.8


def scratched(grey):
    return cv2.line(grey.copy(), (0, 40), (319, 270), (60, 60, 60), 4, cv2.LINE_AA)


def stained(grey):
    y, x = np.mgrid[: grey.shape[0], : grey.shape[1]]
    spot = (np.hypot(x - 160, y - 120) < 60)[..., None]
    return np.where(spot, grey * (0.5, 0.65, 1.0), grey)


SHOWN = [
    (blurred, "out_of_focus"),
    (flat_and_bright, "under_etched"),
    (flat_and_dark, "low_contrast"),
    (harsh_and_dark, "over_etched"),
    (burnt, "saturated"),
    (scratched, "scratched"),
    (stained, "stained"),
]


def test_a_defect_is_named(gates):
    for change, expected in SHOWN:
        assert expected in names(gates, pictured(100, change=change)), change


def test_usual_fields_have_no_defect(gates):
    found = [names(gates, pictured(seed)) for seed in range(200, 240)]

    assert sum(bool(one) for one in found) <= 1


@pytest.mark.parametrize(
    "change",
    [
        lambda grey: grey * 1.05,
        lambda grey: grey * 0.95,
        lambda grey: grey * (1.04, 1.0, 0.96),
    ],
)
def test_a_slightly_different_lamp_is_no_defect(gates, change):
    assert names(gates, pictured(101, change=change)) == []


def test_a_field_with_little_steel_is_named(gates):
    field = pictured(102)
    valid = np.zeros_like(field.valid)
    valid[:60, :60] = True

    assert "too_little_steel" in names(gates, Field(field.pixels, valid, 0.2))


def test_what_is_no_steel_is_not_measured(gates):
    field = pictured(103)
    valid = field.valid.copy()
    valid[200:] = False
    bar, text = field.pixels.copy(), field.pixels.copy()
    bar[200:] = 255
    text[200:] = np.random.default_rng(1).integers(0, 255, text[200:].shape)

    assert gates.measure(Field(bar, valid, 0.2)) == gates.measure(Field(text, valid, 0.2))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (9, 200), (40, 17)])
def test_any_size_is_measured(gates, height, width):
    field = Field(np.full((height, width, 3), 90, np.uint8), np.zeros((height, width), bool), None)

    assert all(np.isfinite(value) for value in gates.measure(field).values())


def test_a_defect_says_what_to_do():
    assert {defect.name: str(defect) for defect in DEFECTS}["over_etched"] == (
        "over-etched: re-polish and re-etch"
    )
    assert all(defect.finding and defect.action for defect in DEFECTS)
