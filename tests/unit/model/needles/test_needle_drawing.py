"""Drawn needles stop where they should, and their axes are what is visible of them."""

import numpy as np
import pytest
from drawn.needles.canvas import NeedleCanvas
from drawn.needles.generations import cut_texture, draw_generations
from drawn.needles.plates import Population, clip_axis, fill_packets, scatter
from drawn.needles.truth import measure_truth

PLATES = {
    "length_um": 14, "spread": 0.3, "aspect": 9, "coverage": 1.2, "tone": 110, "tone_spread": 14,
    "edge": -45, "edges": 2, "halo": 0, "midrib": 0, "blunt": 0.8, "bend": 0.02, "kinked": 0,
    "branched": 0, "packets": 0.2, "variants": 6, "grain": 2, "longest_first": True,
}  # fmt: skip


def measure_axis(axis):
    """Return the length of an axis in µm."""
    return np.linalg.norm(np.diff(axis, axis=0), axis=1).sum() * 0.2


@pytest.mark.parametrize(("stopping", "least", "most"), [(1.0, 0.93, 1.0), (0.0, 0.0, 0.75)])
def test_needles_that_stop_at_earlier_ones_are_visible_over_their_whole_axis(stopping, least, most):
    canvas = NeedleCanvas.blank(384, 200)

    scatter(Population(**PLATES, stopping=stopping), np.random.default_rng(3), canvas)

    needles, _ = measure_truth(canvas.owner, canvas.axes, 0.2)
    drawn = [axis for axis in canvas.axes if measure_axis(axis) > 4 and axis.min() > 0]
    drawn = [axis for axis in drawn if axis.max() < 383]
    inside = [needle for needle in needles if not needle.is_cut and needle.length_um > 4]
    visible = sum(needle.length_um for needle in inside) / sum(map(measure_axis, drawn))
    assert len(drawn) > 60
    assert least <= round(visible, 2) <= most


def test_laths_fill_the_field_in_packets_of_several_directions():
    canvas = NeedleCanvas.blank(384, 200)
    laths = Population(**PLATES | {"blunt": 0.2, "grain": 1.5, "bend": 0.0})

    fill_packets(laths, np.random.default_rng(4), canvas)

    turns = [2 * np.arctan2(*(axis[-1] - axis[0])[::-1]) for axis in canvas.axes]
    assert (canvas.owner > 0).mean() > 0.85
    assert len(canvas.axes) > 100
    assert abs(np.exp(1j * np.array(turns)).mean()) < 0.6


def test_an_axis_is_cut_to_its_longest_free_part():
    label = np.zeros((20, 100), int)
    label[:, 30:34] = 1
    axis = np.stack([np.linspace(5, 95, 15), np.full(15, 10.0)], axis=1)

    clipped = clip_axis(axis, label, 0)

    assert clipped[[0, -1], 0] == pytest.approx([34, 95], abs=1)
    assert clip_axis(axis, np.ones_like(label), 0) is None


def test_plates_of_later_generations_stop_and_lengths_differ_widely():
    spreads, cut = [], 0
    for seed in range(8):
        canvas = draw_generations(np.random.default_rng(seed), 384)
        needles, _ = measure_truth(canvas.owner, canvas.axes, 0.2)
        lengths = np.sort([needle.length_um for needle in needles])
        spreads.append(np.quantile(lengths, 0.9) / np.median(lengths))
        owned = np.unique(canvas.owner[canvas.owner > 0])
        cut += sum(needle.is_cut for needle in needles)
        assert 0.2 < (canvas.owner > 0).mean() <= 1
        assert len(owned) <= len(canvas.axes)
        assert len(needles) > 10
    assert np.median(spreads) > 1.6
    assert cut > 0


def test_a_real_texture_is_the_ground_and_the_same_stream_draws_the_same():
    stripes = np.tile(np.repeat([0.0, 200.0], 8), (512, 32)).astype(np.float32)
    drawn = [draw_generations(np.random.default_rng(1), 256, (stripes,)) for _ in range(2)]
    plain = draw_generations(np.random.default_rng(1), 256)

    cut = cut_texture(np.random.default_rng(2), 256, (stripes,))

    assert np.array_equal(drawn[0].grey, drawn[1].grey)
    assert not np.array_equal(drawn[0].grey, plain.grey)
    assert cut.mean() == pytest.approx(0, abs=1e-3)
    assert cut.std() == pytest.approx(1, abs=1e-3)
