"""A drawn micrograph is what its truth says: code, scale, bar, border, strange place."""

import numpy as np
import pytest

from agent.demo.anomalies import KINDS, LOCAL
from agent.demo.micrograph import TRAINED, draw_micrograph
from agent.demo.scale_bar import GLYPHS, STYLES
from agent.demo.steel import Canvas, draw_steel


def test_the_same_seed_draws_the_same_micrograph():
    once, again = draw_micrograph("G8", seed=3), draw_micrograph("G8", seed=3)

    assert np.array_equal(once.pixels, again.pixels)
    assert once.bar == again.bar


def test_another_seed_draws_another_micrograph():
    assert not np.array_equal(
        draw_micrograph("G8", seed=3).pixels, draw_micrograph("G8", seed=4).pixels
    )


def test_every_code_is_drawn_in_the_size_asked_for():
    for code in (*TRAINED, "G6", "B6", "M7", "G5"):
        drawn = draw_micrograph(code, seed=1, size=(320, 240))

        assert drawn.pixels.shape == (240, 320, 3), code
        assert drawn.pixels.dtype == np.uint8, code
        assert drawn.pixels.std() > 8, code


@pytest.mark.parametrize("style", STYLES)
def test_a_bar_is_as_long_as_its_label_says(style):
    for seed in range(6):
        drawn = draw_micrograph("M8", seed=seed, um_per_px=0.2, bar=style)

        assert drawn.bar is not None
        assert drawn.bar.line_px * 0.2 == pytest.approx(drawn.bar.um)
        assert drawn.bar.label.startswith(f"{drawn.bar.um:.0f} ")


@pytest.mark.parametrize("style", STYLES)
def test_everything_burned_in_lies_inside_the_bars_box(style):
    for seed in range(6):
        without = draw_micrograph("M8", seed=seed, bar=None, border=False).pixels
        drawn = draw_micrograph("M8", seed=seed, bar=style, border=False)

        x0, y0, x1, y1 = drawn.bar.box
        changed = (without != drawn.pixels).any(-1)
        assert 0 <= x0 < x1 <= 800
        assert 0 <= y0 < y1 <= 600
        changed[y0:y1, x0:x1] = False
        assert not changed.any()


def test_a_strange_kind_changes_what_it_says_it_changes():
    for kind in KINDS:
        plain = draw_micrograph("G8", seed=5, bar=None, border=False)
        strange = draw_micrograph("G8", seed=5, bar=None, border=False, strange=kind)

        assert not np.array_equal(plain.pixels, strange.pixels), kind
        assert strange.strange == kind, kind
        assert (strange.where is not None) == (kind in LOCAL), kind


def test_an_unknown_kind_is_refused_by_name():
    with pytest.raises(ValueError, match="ghost"):
        draw_micrograph("G8", seed=5, strange="ghost")


def test_beyond_the_border_there_is_no_steel():
    for seed in range(8):
        drawn = draw_micrograph("M8", seed=seed, bar=None, border=True)

        xs, ys = zip(*drawn.specimen, strict=True)
        assert min(xs) >= 0
        assert max(xs) <= 800
        area = 0.5 * abs(
            sum(
                xs[i] * ys[(i + 1) % len(xs)] - xs[(i + 1) % len(xs)] * ys[i]
                for i in range(len(xs))
            )
        )
        assert 0.5 < area / (800 * 600) < 0.99


def brightest_share(code):
    """Share of the relief that is brighter than any needle: austenite or carbides."""
    shares = []
    for seed in range(3):
        canvas = Canvas(np.zeros((450, 600), np.uint8), 0.2)
        draw_steel(code[0], code[1:], np.random.default_rng(seed), canvas)
        shares.append((canvas.grey > 205).mean())
    return float(np.mean(shares))


def test_only_the_one_phase_structure_has_nothing_bright_between_its_needles():
    assert brightest_share("G7") > 0.08
    assert 0.005 < brightest_share("G8") < 0.08
    assert brightest_share("B8") > 0.02
    assert brightest_share("M8") < 0.003


def test_the_label_font_knows_every_character_of_a_label():
    assert set("0123456789.,µum n") <= set(GLYPHS)
