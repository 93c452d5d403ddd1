"""The benches' programs draw the same scale bars again, as long as their words state."""

import re
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from folders import TESTS

# Modules of a bench import each other so.
sys.path.append(str(TESTS / "bench"))

from drawn.graphics import fonts
from fresh_bars import burn_fresh
from fresh_lines import Type, draw_bar
from fresh_programs import FONTS, PROGRAMS
from fresh_strips import STRIPS

FOLDER = Path(mpl.get_data_path()) / "fonts" / "ttf"
LINES = sorted({line for program in PROGRAMS.values() for line in program.lines} - set(STRIPS))
UNITS_UM = {"nm": 1e-3, "mm": 1e3}


def burn(seed):
    texture = np.random.default_rng(7).integers(60, 120, (120, 160, 3)).astype(np.uint8)
    return burn_fresh(np.random.default_rng([4, seed]), texture, FOLDER)


def test_a_seed_burns_its_bar_again_and_another_seed_another_one():
    first, again, other = burn(1), burn(1), burn(2)

    assert np.array_equal(first[0], again[0])
    assert first[1:] == again[1:]
    assert first[1:] != other[1:]


@pytest.mark.parametrize("seeds", [range(10, 22), range(22, 34)])
def test_words_state_the_length_in_micrometres(seeds):
    for _, look, label, line_px, um in map(burn, seeds):
        number, unit = re.search(r"([\d.,]+) ?(\D+)$", label).groups()

        assert float(number.replace(",", ".")) * UNITS_UM.get(unit, 1.0) == pytest.approx(um), look
        assert line_px > 40


def test_a_line_is_as_long_as_is_returned():
    for edges in ("crisp", "smooth", "subpixel"):
        for kind in LINES:
            letters = Type(str(FOLDER / "DejaVuSerif-Bold.ttf"), 24, edges)
            rng = np.random.default_rng(3)

            bar = draw_bar(rng, kind, "above", label="50 µm", long=231.4, letters=letters)

            across = bar.line.max(axis=1 if kind == "upright" else 0)
            drawn = np.flatnonzero(across > 0)
            length = across[drawn[0]] + across[drawn[-1]] + (drawn[-1] - drawn[0] - 1)
            assert length == pytest.approx(bar.line_px, rel=0.02), (edges, kind)
            assert bar.line_px == pytest.approx(231.4, rel=0.02), (edges, kind)


def test_no_font_is_one_that_drawn_micrographs_have():
    own = [name for names in FONTS.values() for name in names]

    assert len(own) == len(set(own))
    assert not {Path(path).name for path in fonts()} & set(own)


def test_halves_of_skia_share_no_font_and_no_way_to_draw_and_draw_their_bars_again():
    bars = pytest.importorskip("skia_bars", reason="needs `pip install skia-python`")
    texture = np.random.default_rng(7).integers(60, 120, (120, 160, 3)).astype(np.uint8)
    looks, reported = (set(half.values()) for half in bars.LOOKS.values())

    def burn_again(seed):
        return bars.burn_skia("skia", np.random.default_rng([5, seed]), texture, FOLDER)

    first, again, other = burn_again(1), burn_again(1), burn_again(2)

    assert not looks & reported
    assert not set(bars.FAMILIES["skia"]) & set(bars.FAMILIES["report"])
    assert np.array_equal(first[0], again[0])
    assert first[1:] == again[1:] != other[1:]
