"""A crop holds steel and nothing else, and a scale only when its witnesses agree."""

from __future__ import annotations

from dataclasses import fields, replace
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
from drawn.micrographs import draw
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.errors import FileCode, FileError
from agent.imaging import Scale, crop
from agent.imaging.crop import _find_largest_rectangle, locate_specimens
from agent.imaging.readers.read import MicrographImage
from agent.settings.root import RECIPE

SIZE = (360, 480)
RANGE = (0.01, 5.0)


def taken(pixels, scales=(), warnings=()):
    return MicrographImage(
        sha256="ab" * 32,
        size_bytes=1,
        page=0,
        pages=1,
        format="PNG",
        pixels=pixels,
        scales=tuple(scales),
        metadata={"objective": "50x"},
        warnings=tuple(warnings),
    )


def plain(seed=2, size=SIZE):
    return draw(seed, size=size, bar=False, border=False, band=False, distractors=False).pixels


def barred(um_label="20 µm"):
    """Draw steel with a boxed bar of 100 pixels."""
    from drawn.graphics import font, fonts  # noqa: PLC0415
    from PIL import Image, ImageDraw  # noqa: PLC0415 - only here

    image = Image.fromarray(plain())
    pen = ImageDraw.Draw(image)
    pen.rectangle((340, 300, 470, 350), fill="white")
    pen.rectangle((355, 308, 454, 313), fill="black")
    pen.text((375, 320), um_label, fill="black", font=font(fonts()[0], 20))
    return np.array(image)


def assert_same(crop_, other) -> None:
    for field in fields(crop_):
        ours, theirs = getattr(crop_, field.name), getattr(other, field.name)
        assert np.array_equal(ours, theirs) if isinstance(ours, np.ndarray) else ours == theirs


def test_a_crop_comes_from_a_worker_as_it_was_and_its_pixels_only_once() -> None:
    whole = crop(taken(barred()), um_per_px_range=RANGE)
    valid = whole.valid.copy()
    valid[3:40, 5:] = False
    whole = replace(whole, valid=valid)
    assert whole.box != (0, 0, whole.width, whole.height)

    sent = ForkingPickler.dumps(whole)

    assert_same(ForkingPickler.loads(sent), whole)
    assert len(sent) < 1.2 * whole.preview.nbytes


@pytest.mark.parametrize("preview", [(36, 48, 3), (360, 480, 3)])
def test_a_crop_whose_preview_shows_something_else_comes_as_it_was_too(preview) -> None:
    whole = replace(
        crop(taken(plain()), um_per_px_range=RANGE), preview=np.zeros(preview, np.uint8)
    )

    assert_same(ForkingPickler.loads(ForkingPickler.dumps(whole)), whole)


def test_steel_alone_is_kept_whole_and_bit_for_bit():
    pixels = plain()

    cut = crop(taken(pixels, warnings=["sharpest_plane"]), um_per_px_range=RANGE)

    assert cut.box == (0, 0, 480, 360)
    assert (cut.pixels == pixels).all()
    assert cut.valid.all()
    assert cut.specimen_area.whole_frame
    assert cut.specimen_area.polygon == ((0, 0), (480, 0), (480, 360), (0, 360))
    assert (cut.um_per_px, cut.um_per_px_source, cut.micron_bar, cut.band) == (None,) * 4
    assert (cut.warnings, cut.recipe, cut.id) == (("sharpest_plane",), RECIPE, "ab" * 8)


def test_the_bar_gives_the_scale_and_is_left_out():
    cut = crop(taken(barred()), um_per_px_range=RANGE)

    assert cut.micron_bar is not None
    assert (cut.micron_bar.label, cut.micron_bar.um, cut.micron_bar.line_px) == ("20 µm", 20, 100)
    assert (cut.um_per_px, cut.um_per_px_source) == (0.2, "micron_bar")
    assert cut.box[3] <= 308


def test_witnesses_that_agree_are_believed_the_first_named():
    cut = crop(taken(barred(), [Scale("metadata", 0.203)]), um_per_px_range=RANGE)

    assert (cut.um_per_px, cut.um_per_px_source, cut.warnings) == (0.203, "metadata", ())
    assert [scale.source for scale in cut.scales] == ["metadata", "micron_bar"]


def test_witnesses_that_disagree_are_a_conflict_and_no_scale():
    cut = crop(taken(barred(), [Scale("metadata", 0.25)]), um_per_px_range=RANGE)

    assert (cut.um_per_px, cut.um_per_px_source) == (None, None)
    assert cut.warnings == ("scale_conflict",)


def test_two_bars_that_contradict_each_other_are_a_conflict_and_no_scale():
    from drawn.graphics import font, fonts  # noqa: PLC0415
    from PIL import Image, ImageDraw  # noqa: PLC0415

    pixels = plain(3, (480, 640))
    pixels[420:] = 0
    for left, ink in ((60, (255, 255, 255)), (400, (255, 0, 0))):
        pixels[440:443, left : left + 100] = ink
        pixels[434:449, [left, left + 1, left + 98, left + 99]] = ink
    image = Image.fromarray(pixels)
    pen, letters = ImageDraw.Draw(image), font(fonts()[0], 20)
    pen.text((110, 462), "30 µm", fill=(255, 255, 255), font=letters, anchor="mm")
    pen.text((450, 462), "3 µm", fill=(255, 0, 0), font=letters, anchor="mm")

    cut = crop(taken(np.array(image)), um_per_px_range=RANGE)

    assert len(cut.scales) == 2
    assert (cut.um_per_px, cut.warnings) == (None, ("scale_conflict",))


def test_the_table_of_objectives_is_a_witness():
    cut = crop(taken(barred()), um_per_px_range=RANGE, settings_scale=0.4)

    assert cut.um_per_px is None
    assert "scale_conflict" in cut.warnings


def test_a_scale_out_of_range_is_not_believed():
    cut = crop(taken(barred("20 nm")), um_per_px_range=RANGE)

    assert cut.um_per_px is None
    assert "scale_out_of_range" in cut.warnings


def test_where_nothing_is_steel_the_file_is_set_aside():
    pixels = np.full((360, 480, 3), 255, np.uint8)
    pixels[100:130] = plain()[100:130]

    with pytest.raises(FileError) as raised:
        crop(taken(pixels), um_per_px_range=RANGE)

    assert raised.value.code == FileCode.NO_STEEL


def test_the_preview_shows_the_whole_field_small():
    pixels = np.repeat(np.repeat(plain(size=(150, 500)), 5, axis=0), 5, axis=1)

    cut = crop(taken(pixels), um_per_px_range=RANGE)

    assert cut.preview.shape == (600, 2000, 3)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000))
@example(248)  # a border next to a micron bar
@example(5060)  # a profile along the edge that measured nothing next to its end
def test_a_crop_lies_inside_and_touches_neither_bar_nor_band_nor_outside(seed):
    drawn = draw(seed, size=SIZE)
    try:
        cut = crop(taken(drawn.pixels), um_per_px_range=RANGE)
    except FileError:
        return
    x0, y0, x1, y1 = cut.box

    assert 0 <= x0 < x1 <= cut.width == 480
    assert 0 <= y0 < y1 <= cut.height == 360
    assert (cut.pixels == drawn.pixels[y0:y1, x0:x1]).all()
    assert cut.valid.shape == cut.pixels.shape[:2]
    assert cut.valid.all()
    for found in (cut.band, cut.micron_bar and cut.micron_bar.bbox):
        if found:
            a0, b0, a1, b1 = found
            assert a1 <= x0 or x1 <= a0 or b1 <= y0 or y1 <= b0


def test_turned_images_are_cut_alike():
    """One of ten may differ: blocks count from the corner, so a turn moves them a little."""
    fields = [
        draw(seed, size=SIZE, bar=False, band=False, distractors=False, border="straight")
        for seed in range(30, 40)
    ]

    alike = [cut_alike(field.pixels) for field in fields]

    assert sum(alike) >= len(alike) - 1  # lines are tried at every second row


def cut_alike(pixels):
    """Whether both crops, laid over each other, share nine tenths; or both find no steel."""
    straight, turned = box_of(pixels), box_of(np.rot90(pixels).copy())
    if straight is None or turned is None:
        return straight is turned
    x0, y0, x1, y1 = straight
    width = pixels.shape[1]
    across = min(y1, turned[2]) - max(y0, turned[0])
    down = min(width - x0, turned[3]) - max(width - x1, turned[1])
    return across > 0 and down > 0 and across * down >= 0.9 * (x1 - x0) * (y1 - y0)


def box_of(pixels):
    try:
        return crop(taken(pixels), um_per_px_range=RANGE).box
    except FileError:
        return None


@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=5))
def test_the_largest_clean_rectangle_is_the_largest(rows):
    clean = np.array(rows)
    best = max(
        (
            (x1 - x0) * (y1 - y0)
            for y0 in range(len(rows))
            for y1 in range(y0 + 1, len(rows) + 1)
            for x0 in range(5)
            for x1 in range(x0 + 1, 6)
            if clean[y0:y1, x0:x1].all()
        ),
        default=0,
    )

    found = _find_largest_rectangle(clean)

    if found is None:
        assert best == 0
    else:
        x0, y0, x1, y1 = found
        assert clean[y0:y1, x0:x1].all()
        assert (x1 - x0) * (y1 - y0) == best


@pytest.mark.parametrize(
    ("turns", "graded"), [(0, "right"), (1, "top"), (2, "left"), (3, "bottom")]
)
def test_of_two_specimens_in_a_field_each_is_located(turns, graded):
    pixels = plain(size=(360, 480)).copy()
    noise = np.random.default_rng(1).normal(20, 2, (360, 40, 1))
    pixels[:, 150:190] = np.clip(noise, 0, 255)

    found = crop(taken(np.ascontiguousarray(np.rot90(pixels, turns))), um_per_px_range=RANGE)

    area = found.specimen_area
    places = locate_specimens((area.polygon, *area.others), found.width, found.height)
    assert [side for side, _ in places] == [graded, OPPOSITE[graded]]
    assert [share for _, share in places] == pytest.approx([290 / 480, 150 / 480], abs=0.03)


OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
