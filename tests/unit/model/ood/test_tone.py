"""How dark, bright and coloured a cell is counts against its own field: no lamp is seen."""

import numpy as np
import pytest

from model.framing import Field, Framing
from model.ood.features import intensity_features


def framed(pixels):
    valid = np.ones(pixels.shape[:2], bool)
    (frame,) = Framing("scale", 512, 0.2, 0.2).frames(Field(pixels, valid, 0.2))
    return frame


def steel(gain=(1.0, 1.0, 1.0)):
    rng = np.random.default_rng(3)
    grey = rng.uniform(60, 160, (96, 96, 1)).repeat(8, 0)[:96].repeat(3, 2)
    return np.clip(np.rint(grey * gain), 0, 255).astype(np.uint8)


def describe(pixels):
    return intensity_features(framed(pixels))


@pytest.mark.parametrize("gain", [(1.1, 1.1, 1.1), (0.9, 0.9, 0.9), (1.06, 1.0, 0.94)])
def test_another_lamp_or_white_balance_is_not_seen(gain):
    before, after = describe(steel()), describe(steel(gain))

    assert np.abs(after - before).max() < 0.03


def test_a_dark_spot_is_dark_in_its_cell_alone():
    spotted = steel()
    spotted[35:38, 51:54] = 5

    change = np.abs(describe(spotted) - describe(steel()))[1]

    assert np.unravel_index(change.argmax(), change.shape) == (4, 6)
    assert change[4, 6] > 1.0
    assert change[:3].max() < 0.02


def test_every_second_pixel_leaves_no_dark_pixel_out():
    spotted = steel()
    spotted[35, 51] = spotted[60, 12] = spotted[61, 41] = 5

    change = (describe(spotted) - describe(steel()))[0]

    assert {(4, 6), (7, 1), (7, 5)} <= set(zip(*np.nonzero(change), strict=True))
