"""The outside is found by what it is; a field of steel only stays whole."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from drawn.micrographs import draw
from drawn.steel import steel as grey_steel
from folders import SHARED_DATA
from labs.small import past

from agent.demo.exporter import encode
from agent.imaging.specimen.area import find_border
from agent.imaging.specimen.grid import grid_shape

SIZE = (450, 600)


def steel(seed, **wanted):
    return draw(seed, size=SIZE, bar=False, band=False, distractors=False, **wanted)


def on_grid(mask):
    """Say which cells of the grid hold a pixel of the mask."""
    rows, columns = grid_shape(*mask.shape)
    ys = np.arange(mask.shape[0]) * rows // mask.shape[0]
    xs = np.arange(mask.shape[1]) * columns // mask.shape[1]
    found = np.zeros((rows, columns), bool)
    where = np.nonzero(mask)
    found[ys[where[0]], xs[where[1]]] = True
    return found


@pytest.mark.parametrize("seed", range(12))
def test_steel_alone_is_kept_whole(seed):
    border = find_border(steel(seed, border=False).pixels)

    assert border.steel.all()


@pytest.mark.parametrize("seed", [1, 5, 11, 16, 25])
def test_a_mount_is_left_out_to_a_few_cells(seed):
    drawn = steel(seed, border="straight")

    border = find_border(drawn.pixels)

    beyond = on_grid(drawn.outside)
    assert (border.steel & beyond).sum() <= 0.03 * beyond.sum()
    assert border.steel.sum() >= 0.8 * (~on_grid(drawn.dirty)).sum()


@pytest.mark.parametrize(("row", "radius", "grey"), [(200, 30, 15), (5, 40, 40)])
def test_an_inclusion_or_a_dark_phase_at_the_frame_stays_in(row, radius, grey):
    pixels = steel(4, border=False).pixels
    y, x = np.mgrid[:450, :600]
    pixels[np.hypot(y - row, x - 300) < radius] = grey

    assert find_border(pixels).steel.all()


@pytest.mark.parametrize(("seed", "start"), [(0, 330), (1, 370), (3, 330)])
def test_steel_beyond_a_coarse_carbide_is_the_same_steel_and_stays_in(seed, start):
    field = looks_of("pale", seed) + noise(2, seed)
    y, x = np.mgrid[:450, :600]
    beyond = x - 0.8 * y + 30 * np.sin(y / 70) - start
    band = (beyond > 0) & (beyond < 30)
    field[band] = (field.mean() - 60 + noise(2, seed))[band]

    assert find_border(as_rgb(field)).steel.all()


def mounted_by_hand(layer=None):
    """Put drawn steel beside 120 pixels of smooth dark resin, with a layer of 36 between them."""
    pixels = steel(4, border=False).pixels
    noise = np.random.default_rng(1).normal(0, 2, (450, 156, 1))
    pixels[:, :120] = np.clip(40 + noise[:, :120], 0, 255)
    if layer is not None:
        pixels[:, 120:156] = np.clip(layer + noise[:, 120:], 0, 255)
    return pixels


@pytest.mark.parametrize("tone", [30, 235])
def test_a_coating_beside_the_steel_is_left_out(tone):
    border = find_border(mounted_by_hand(layer=tone))

    columns = border.steel.shape[1]
    assert not border.steel[:, : 156 * columns // 600].any()
    assert border.steel[:, 190 * columns // 600 :].mean() > 0.99


def test_a_bright_coating_is_a_warning_and_resin_alone_is_none():
    assert "second_material" in find_border(mounted_by_hand(layer=235)).warnings
    assert find_border(mounted_by_hand()).warnings == ()


def test_a_coating_is_a_surface_layer_that_the_lab_may_keep():
    cut = find_border(mounted_by_hand(layer=235))
    kept = find_border(mounted_by_hand(layer=235), keep_surface=True)

    assert "surface_layer" in cut.warnings
    assert "bleeding" not in cut.warnings
    assert (in_zone(cut.steel, 135, 150), in_zone(kept.steel, 135, 150)) == (0, 1)


def test_a_lighter_rim_along_the_whole_edge_is_decarburised_and_no_bleeding():
    field = beside_resin(looks_of("spheres", 1))
    field[:, 150:230] += np.linspace(60, 0, 80, dtype=np.float32)

    border = find_border(as_rgb(field))
    kept = find_border(as_rgb(field), keep_surface=True)

    assert border.warnings == ("surface_layer",)
    assert in_zone(border.steel, 150, 190) == 0
    assert in_zone(kept.steel, 165, 190) > 0.9


def noise(spread, seed=1):
    return np.random.default_rng(seed).normal(0, spread, (450, 600)).astype(np.float32)


def as_rgb(grey):
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def looks_of(kind, seed=3):
    return grey_steel(np.random.default_rng(seed), 450, 600, {}, kind=kind).astype(np.float32)


def is_cut_at(border, column):
    """Whether the steel ends within 3 % of the width of this column, and is all right of it."""
    columns = border.steel.shape[1]
    at, by = column * columns // 600, round(0.03 * columns)
    return not border.steel[:, :at].any() and bool(border.steel[:, at + 2 * by :].all())


def test_resin_that_fills_most_of_the_field_is_left_out_for_all_its_scratches():
    resin = 90 + noise(1.5)
    for x in range(-300, 700, 45):
        cv2.line(resin, (x, 0), (x + 160, 450), 112 if x % 2 else 70, 2, cv2.LINE_AA)
    field = looks_of("needles") + noise(2, seed=2)
    field[:, :380] = resin[:, :380]

    assert is_cut_at(find_border(as_rgb(field)), 380)


def test_a_bright_side_wall_as_rough_as_the_steel_is_left_out():
    rough = cv2.GaussianBlur(noise(1), (0, 0), 3, sigmaY=7)
    field = looks_of("needles") + noise(2, seed=2)
    field[:, :200] = (200 + 28 * rough / rough.std())[:, :200]

    assert is_cut_at(find_border(as_rgb(field)), 200)


@pytest.mark.parametrize("seed", [0, 3, 4, 5, 7, 9])
def test_a_grainy_mount_beside_hardly_etched_steel_is_left_out(seed):
    field = looks_of("pale", seed) + noise(2, seed=2)
    field[:, :200] = (90 + 28 * cv2.GaussianBlur(noise(1, seed), (0, 0), 1.2))[:, :200]

    assert is_cut_at(find_border(as_rgb(field)), 200)


@pytest.mark.parametrize(("length", "seed"), [(14, 0), (14, 2), (25, 0), (25, 2)])
def test_a_mount_filled_with_flakes_is_left_out(length, seed):
    field = looks_of("needles", seed) + noise(2, seed=2)
    field[:, :200] = draw_flakes(field.shape, length, seed)[:, :200]

    assert is_cut_at(find_border(as_rgb(field)), 200)


def draw_flakes(shape, length, seed):
    """Draw dark flakes of a length in pixels on a bright resin, (h, w) float64."""
    rng = np.random.default_rng(seed)
    filled = np.full(shape, 190.0)
    height, width = shape
    for _ in range(height * width // (6 * length * length)):
        x, y, turn = rng.integers(width), rng.integers(height), rng.uniform(0, np.pi)
        end = int(x + length * np.cos(turn)), int(y + length * np.sin(turn))
        cv2.line(filled, (int(x), int(y)), end, 130.0, 2)
    return filled + 3 * rng.standard_normal(shape)


@pytest.mark.parametrize(("radius", "seed"), [(3, 0), (6, 0), (6, 2), (6, 3)])
def test_a_mount_filled_with_beads_is_left_out(radius, seed):
    steel = looks_of("needles", seed)
    share = cv2.GaussianBlur((np.arange(600) < 200).astype(np.float32)[None], (0, 0), 1.2)
    field = steel * (1 - share) + draw_beads(steel.shape, radius, seed) * share

    assert is_cut_at(find_border(as_rgb(field + noise(2, seed + 9))), 200)


def draw_beads(shape, radius, seed):
    """Draw dark beads of about a radius in pixels on a bright resin, (h, w) float64."""
    rng = np.random.default_rng(seed)
    filled = np.full(shape, 190.0)
    height, width = shape
    for _ in range(height * width // (12 * radius * radius)):
        centre = int(rng.integers(width)), int(rng.integers(height))
        size = max(1, round(rng.normal(radius, radius / 3)))
        cv2.circle(filled, centre, size, 130.0, -1, cv2.LINE_AA)
    return filled + noise(3, seed)


def draw_wavy_mount(tone, seed):
    """Return specks on a smooth ground below a smooth mount of almost its tone, and the mount."""
    y, x = np.mgrid[:450, :600]
    edge = 130 + 45 * np.sin(x / 95) + 7 * np.sin(x / 17)
    rng = np.random.default_rng(seed)
    field = np.full((450, 600), 120, np.float32)
    for column, row in zip(rng.integers(0, 600, 300), rng.integers(0, 450, 300), strict=True):
        cv2.circle(field, (int(column), int(row)), int(rng.integers(1, 4)), 70, -1, cv2.LINE_AA)
    mount = y < edge
    field = np.where(mount, tone + 22 * np.sin(y / 60 + x / 400), field)
    field[(y >= edge) & (y < edge + 6)] = 190
    return cv2.GaussianBlur(field.astype(np.float32), (0, 0), 1) + noise(3, seed), mount


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("turns", range(4))
def test_a_smooth_shaded_mount_with_a_wavy_edge_is_left_out_where_no_tone_tells(turns, seed):
    grey, mount = draw_wavy_mount(105, seed)
    grey, mount = (np.ascontiguousarray(np.rot90(plane, turns)) for plane in (grey, mount))

    border = find_border(as_rgb(grey))

    kept = cv2.resize(border.steel.astype(np.uint8), mount.shape[::-1]) > 0
    assert (kept & mount).sum() < 0.005 * mount.sum()
    assert (kept & ~mount).sum() > 0.92 * (~mount).sum()


def test_a_smooth_grain_along_a_side_is_steel_where_another_grain_is_as_smooth():
    y, x = np.mgrid[:450, :600]
    wave = 12 * np.sin(x / 60)
    field = cv2.GaussianBlur(looks_of("needles"), (0, 0), 1)
    smooth = y < 290 + wave
    field[smooth] = field[~smooth].mean()
    for row in (120, 290):
        field[np.abs(y - row - wave) < 4] = 60

    assert find_border(as_rgb(field + noise(3))).steel.all()


@pytest.mark.parametrize(
    ("name", "mount", "steel"),
    [
        # Boxes (x0, y0, x1, y1) that lie wholly in the mount, and wholly in the specimen.
        ("micrographs/nasa_ebc_032919_10_100cyc0017.png", (0, 0, 400, 280), (0, 650, 1024, 1024)),
        ("micrographs/nasa_ebc_040617_3_S0410018.png", (0, 860, 1024, 1024), (0, 0, 1024, 690)),
        (
            "other_labs/gmarxcc+image-process-decarb/1a4str.png",
            (200, 150, 2400, 370),
            (0, 560, 2562, 1000),
        ),
    ],
)
def test_a_real_mount_is_left_out_and_the_specimen_kept(name, mount, steel):
    path = SHARED_DATA / name
    if not path.is_file():
        pytest.skip("the picture is not here")
    pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    pixels = np.ascontiguousarray(pixels)

    kept = find_border(pixels).steel

    size = pixels.shape[1::-1]
    kept = cv2.resize(kept.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    assert get_part(kept, mount).mean() == 0
    assert get_part(kept, steel).mean() > 0.98


def get_part(mask, box):
    x0, y0, x1, y1 = box
    return mask[y0:y1, x0:x1]


def test_a_layer_that_a_straight_edge_parts_from_the_steel_is_left_out_and_is_a_warning():
    field = looks_of("needles") + noise(2, seed=2)
    layer = 200 + noise(2)
    rng = np.random.default_rng(5)
    for x, y in zip(rng.integers(0, 300, 120), rng.integers(0, 450, 120), strict=True):
        cv2.circle(layer, (int(x), int(y)), int(rng.integers(2, 7)), 40, -1, cv2.LINE_AA)
    field[:, :300] = layer[:, :300]

    border = find_border(as_rgb(field))

    half = border.steel.shape[1] // 2
    sides = {border.steel[:, : half - 2].mean(), border.steel[:, half + 2 :].mean()}
    assert sides == {0, 1}
    assert "second_material" in border.warnings


@pytest.mark.parametrize("seed", range(4))
def test_a_filler_strewn_evenly_is_no_structure_of_steel(seed):
    rng = np.random.default_rng(seed)
    resin = np.full((450, 600), 120, np.float32)
    for x, y in zip(rng.integers(0, 600, 700), rng.integers(0, 450, 700), strict=True):
        cv2.circle(resin, (int(x), int(y)), int(rng.integers(2, 5)), 160, -1, cv2.LINE_AA)
    field = looks_of("needles", seed)
    field[:, :300] = cv2.GaussianBlur(resin, (0, 0), 1.5)[:, :300]

    outside = find_border(as_rgb(field + noise(2, seed))).outside

    half = outside.shape[1] // 2
    assert outside[:, : half - 2].mean() > 0.97
    assert outside[:, half + 2 :].mean() < 0.03


@pytest.mark.parametrize("seed", range(4))
def test_a_cross_hair_over_pale_steel_parts_no_field_in_two(seed):
    y, x = np.mgrid[-1:1:450j, -1:1:600j]
    field = looks_of("pale", seed) * (1 - 0.1 * (x**2 + y**2) / 2 + 0.05 * x) + noise(2, seed)
    field[225:227], field[:, 300:302] = 235, 235

    assert find_border(as_rgb(field)).steel.all()


def test_a_mount_against_an_info_band_is_seen_where_the_band_leaves_a_sliver_beyond_it():
    drawn = steel(1, border="straight")
    pixels = np.rot90(drawn.pixels, 2) if drawn.outside[-1].any() else drawn.pixels
    covered = np.zeros(grid_shape(*SIZE), bool)
    covered[3:25] = True

    border = find_border(np.ascontiguousarray(pixels), covered)

    assert border.outside.any()
    assert not border.outside[:25].any()
    assert not border.steel[:3].any()


def beside_resin(grey):
    """Put steel beside 150 columns of smooth dark resin."""
    field = grey + noise(2, seed=2)
    field[:, :150] = (60 + noise(2))[:, :150]
    return field


def in_zone(cells, start, end):
    """Say which share of the cells between two columns of the picture is set."""
    columns = cells.shape[1]
    return float(cells[:, start * columns // 600 : end * columns // 600].mean())


@pytest.mark.parametrize("seed", [1, 2, 4])
def test_bleeding_between_coarse_carbides_is_left_out_and_a_warning(seed):
    field = beside_resin(looks_of("spheres", seed))
    y, x = np.mgrid[:450, :450]
    reach = 70 + 60 * np.sin(y / 30)  # patchy, as what seeps from a gap is
    field[:, 150:] *= np.clip(0.5 + 0.5 * x / reach, 0.5, 1).astype(np.float32)

    border = find_border(as_rgb(field))

    assert in_zone(border.steel, 150, 170) < 0.03
    assert {"bleeding", "surface_layer"} & set(border.warnings)


def test_a_rim_along_a_part_of_the_edge_that_is_lighter_is_no_bleeding_either():
    field = beside_resin(looks_of("spheres", 1))
    field[:150, 150:230] += np.linspace(70, 0, 80, dtype=np.float32)

    border = find_border(as_rgb(field))

    assert "surface_layer" in border.warnings
    assert "bleeding" not in border.warnings


@pytest.mark.parametrize("side", range(4))
@pytest.mark.parametrize("share", [0.01, 0.02, 0.1])
def test_a_strip_of_a_mount_at_a_side_is_left_out_from_one_percent_of_the_height_on(side, share):
    deep = round(share * 900)
    field = cv2.resize(looks_of("needles"), (1200, 900))
    field[:deep] = 30 + np.random.default_rng(1).normal(0, 2, (deep, 1200))
    grey = np.rot90(field + np.random.default_rng(2).normal(0, 2, field.shape), side)

    border = find_border(np.ascontiguousarray(as_rgb(grey)))

    from_side = np.rot90(border.steel, -side)
    assert not from_side[: int(deep * from_side.shape[0] / 900)].any()
    assert from_side[round((deep + 18) * from_side.shape[0] / 900) :].mean() > 0.99


@pytest.mark.parametrize("tone", [20, 235])
def test_two_specimens_in_one_field_are_a_warning_and_the_larger_is_kept(tone):
    field = looks_of("needles")
    field[:, 200:250] = tone + noise(1)[:, 200:250]

    border = find_border(as_rgb(field + noise(2, seed=2)))

    assert "several_specimens" in border.warnings
    assert in_zone(border.steel, 0, 250) == 0
    assert in_zone(border.steel, 260, 600) > 0.98


def test_a_plate_of_carbide_across_the_field_with_a_wavy_edge_parts_no_specimens():
    y, x = np.mgrid[:450, :600]
    edge = 14 * np.sin(y / 17) + 9 * np.sin(y / 41)
    field = looks_of("needles")
    plate = np.abs(x - 300 - edge) < 25
    field[plate] = (150 + noise(3))[plate]

    border = find_border(as_rgb(field + noise(2, seed=2)))

    assert "several_specimens" not in border.warnings
    assert border.steel.all()


@pytest.mark.parametrize("fall", [-0.3, 0.3])
def test_a_lamp_that_falls_off_towards_the_mount_is_neither_bleeding_nor_a_rim(fall):
    field = looks_of("needles") * (1 + fall * np.linspace(1, 0, 600, dtype=np.float32) ** 2)
    field[:, :100] = (40 + noise(2))[:, :100]

    border = find_border(as_rgb(field + noise(2, seed=2)))

    assert border.warnings == ()
    assert border.evidence is None
    assert in_zone(border.steel, 110, 600) > 0.99


@pytest.mark.parametrize("seed", [1, 2, 4])
def test_an_evenly_deep_dark_rim_that_fades_is_a_surface_layer_and_no_bleeding(seed):
    field = beside_resin(looks_of("spheres", seed))
    field[:, 150:230] *= np.linspace(0.5, 1, 80, dtype=np.float32)

    border = find_border(as_rgb(field))
    kept = find_border(as_rgb(field), keep_surface=True)

    assert "surface_layer" in border.warnings
    assert "bleeding" not in border.warnings
    assert in_zone(border.steel, 150, 190) == 0
    assert kept.steel.sum() > border.steel.sum()
    depth, spreads = border.evidence
    assert 40 < depth * 600 / 192 < 90
    assert spreads > 2


def test_what_hugs_the_edge_and_looks_unlike_the_steel_is_left_out_and_its_like_inside_is_kept():
    field = beside_resin(looks_of("spheres"))
    y, x = np.mgrid[:450, :600]
    against, inside = np.hypot(y - 200, x - 150) < 28, np.hypot(y - 200, x - 420) < 28
    field[against | inside] *= 0.55

    border = find_border(as_rgb(field))

    patch = on_grid(against & (x > 150))
    assert (border.steel & patch).sum() < 0.1 * patch.sum()
    assert border.steel[on_grid(inside)].all()


@pytest.mark.parametrize("tint", [(1.0, 0.8, 0.55), (0.6, 0.8, 1.0)])
def test_a_stain_away_from_the_edge_is_kept_and_reported(tint):
    pixels = steel(4, border=False).pixels
    y, x = np.mgrid[:450, :600]
    spot = np.hypot(y - 200, x - 300) < 50
    pixels[spot] = (pixels[spot] * np.array(tint)).astype(np.uint8)

    border = find_border(pixels)

    assert border.warnings == ("stain",)
    assert border.steel.all()
    assert (border.stain & on_grid(spot)).sum() > 0.7 * on_grid(spot).sum()


@pytest.mark.parametrize("tone", [0, 128, 255])
@pytest.mark.parametrize("noise", [0, 4])
def test_a_field_of_one_tone_shows_nothing(tone, noise):
    drawn = np.random.default_rng(1).normal(tone, noise, (450, 600, 1))
    pixels = np.repeat(np.clip(drawn, 0, 255).astype(np.uint8), 3, axis=2)

    assert find_border(pixels).blank


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_image_has_its_border_turned(turns):
    pixels = steel(1, border="straight").pixels

    straight = find_border(pixels)
    turned = find_border(np.ascontiguousarray(np.rot90(pixels, turns)))

    differ = np.rot90(straight.outside, turns) ^ turned.outside
    assert straight.outside.any()
    assert differ.mean() < 0.01


def test_covered_cells_are_neither_steel_nor_outside():
    pixels = steel(2, border=False).pixels
    covered = np.zeros(grid_shape(*SIZE), bool)
    covered[-20:] = True

    border = find_border(pixels, covered)

    assert (border.steel == ~covered).all()
    assert not border.outside.any()


def test_what_paper_is_left_around_a_micron_bar_is_never_the_specimen():
    (picture,) = (p for p in past(2, first_order=3000, seed=9) if p.name.startswith("3001_02_02"))
    held = encode(picture.drawn((280, 210), border=False), "jpg")
    pixels = cv2.cvtColor(cv2.imdecode(np.frombuffer(held, np.uint8), 1), cv2.COLOR_BGR2RGB)
    covered = np.zeros(grid_shape(210, 280), bool)
    covered[107:136, 143:182] = True

    border = find_border(pixels, covered)

    assert border.steel.mean() > 0.85
