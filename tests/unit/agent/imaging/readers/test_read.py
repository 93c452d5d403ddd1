"""Whatever a microscope exports, its pixels are read right, or it is refused with a reason."""

import json
import struct
import zlib

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from drawn.gradients import HEIGHT, WIDTH, colours
from folders import SHARED_DATA
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from agent.errors import FileCode, FileError
from agent.files.pictures import encode_png
from agent.imaging.readers.page import apply_orientation, find_tear, to_rgb
from agent.imaging.readers.read import Limits, read


def grey(height=HEIGHT, width=WIDTH, seed=0):
    return np.ascontiguousarray(colours(height, width, seed)[..., 0])


def as_rgb(plane):
    return np.stack([plane] * 3, axis=-1)


def tiff(path, pixels, **how):
    tifffile.imwrite(path, pixels, **how)
    return path


def encoded(path, pixels, *how):
    path.write_bytes(cv2.imencode(path.suffix, pixels, list(how))[1])
    return path


def refused(path, **limits):
    with pytest.raises(FileError) as caught:
        read(path, limits=Limits(**limits))
    return caught.value.code


# -------------------------------------------------------------------------------------- TIFF


def test_lossless_tiffs_give_the_stored_pixels(tmp_path) -> None:
    for compression in (None, "zlib", "lzw", "zstd", "packbits", "jpegxl"):
        for layout in ({}, {"tile": (32, 48)}, {"rowsperstrip": 7}):
            file = tiff(
                tmp_path / "a.tif", colours(), compression=compression, photometric="rgb", **layout
            )

            [micrograph] = read(file)

            assert (micrograph.pixels == colours()).all(), (compression, layout)
            assert micrograph.format == "TIFF", (compression, layout)


def test_byte_order_and_predictor_change_nothing(tmp_path) -> None:
    for predictor in (False, True):
        for byteorder in ("<", ">"):
            for bigtiff in (False, True):
                deep = grey().astype(np.uint16) * 257
                how = {"compression": "zlib", "predictor": predictor} if predictor else {}
                file = tiff(tmp_path / "a.tif", deep, byteorder=byteorder, bigtiff=bigtiff, **how)

                [micrograph] = read(file)

                assert (micrograph.pixels == as_rgb(grey())).all(), (predictor, byteorder, bigtiff)


def test_a_jpeg_in_a_tiff_comes_back_in_its_colours(tmp_path) -> None:
    pixels = cv2.GaussianBlur(colours(), (0, 0), 4)
    file = tiff(tmp_path / "a.tif", pixels, compression="jpeg", photometric="rgb", tile=(64, 64))

    [micrograph] = read(file)

    assert np.abs(micrograph.pixels.astype(int) - pixels).mean() < 3


@pytest.mark.parametrize(("bits", "shift"), [(8, 0), (12, 4), (14, 6), (16, 8)])
def test_sixteen_bits_become_eight_by_leaving_out_the_lowest(tmp_path, bits, shift) -> None:
    deep = (grey().astype(np.uint16) << shift) | ((1 << shift) - 1)
    deep[0, 0] = (1 << bits) - 1
    expected = grey()
    expected[0, 0] = 255

    [micrograph] = read(tiff(tmp_path / "a.tif", deep))

    assert (micrograph.pixels == as_rgb(expected)).all()


def test_the_depth_that_the_file_names_counts_more_than_its_brightest_pixel(tmp_path) -> None:
    dim = np.full((HEIGHT, WIDTH), 1000, np.uint16)
    tagged = tiff(tmp_path / "a.tif", dim, extratags=[(281, 3, 1, 16383, True)])

    [micrograph] = read(tagged)

    assert micrograph.pixels.max() == 1000 >> 6
    assert "bit_depth_inferred" not in micrograph.warnings


def test_a_palette_is_looked_up(tmp_path) -> None:
    palette = np.random.default_rng(3).integers(0, 256, (3, 256)).astype(np.uint16) * 257
    file = tiff(tmp_path / "a.tif", grey(), photometric="palette", colormap=palette)

    [micrograph] = read(file)

    assert (micrograph.pixels == np.moveaxis(palette >> 8, 0, -1)[grey()]).all()


def test_white_is_zero_and_black_and_white_are_read(tmp_path) -> None:
    negative = tiff(tmp_path / "n.tif", 255 - grey(), photometric="miniswhite")
    bilevel = tiff(tmp_path / "b.tif", grey() > 128, photometric="minisblack")

    assert (read(negative)[0].pixels == as_rgb(grey())).all()
    assert (read(bilevel)[0].pixels == as_rgb((grey() > 128) * np.uint8(255))).all()


def test_transparency_is_left_out_and_said(tmp_path) -> None:
    alpha = np.dstack([colours(), grey()])
    opaque = np.dstack([colours(), np.full((HEIGHT, WIDTH), 255, np.uint8)])
    how = {"photometric": "rgb", "extrasamples": ["unassalpha"]}

    [seen_through] = read(tiff(tmp_path / "a.tif", alpha, **how))
    [solid] = read(tiff(tmp_path / "b.tif", opaque, **how))

    assert (seen_through.pixels == colours()).all()
    assert seen_through.warnings == ("transparency_ignored",)
    assert solid.warnings == ()


@pytest.mark.parametrize("more", [1, 4])
def test_channels_beside_grey_are_left_out_and_said(tmp_path, more) -> None:
    pixels = np.stack([grey(seed=n) for n in range(1 + more)], axis=-1)
    file = tiff(tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig="contig")

    [micrograph] = read(file)

    assert (micrograph.pixels == as_rgb(grey())).all()
    assert micrograph.warnings == ("first_channel_only",)


def test_planes_of_colours_stored_apart_are_one_picture(tmp_path) -> None:
    planar = np.moveaxis(colours(), -1, 0)
    file = tiff(tmp_path / "a.tif", planar, photometric="rgb", planarconfig="separate")

    assert (read(file)[0].pixels == colours()).all()


@pytest.mark.parametrize(
    ("pixels", "how", "code"),
    [
        (np.dstack([colours(), grey()]), {"photometric": "separated"}, FileCode.UNSUPPORTED),
        (grey().astype(np.float32), {}, FileCode.UNSUPPORTED),
        (grey().astype(np.int32), {}, FileCode.UNSUPPORTED),
        (grey().astype(np.int16), {}, FileCode.UNSUPPORTED),
        (colours(), {"photometric": "cielab"}, FileCode.UNSUPPORTED),
    ],
)
def test_what_is_no_picture_is_refused_with_a_reason(tmp_path, pixels, how, code) -> None:
    assert refused(tiff(tmp_path / "a.tif", pixels, **how)) is code


def test_ycbcr_without_jpeg_comes_back_in_its_colours(tmp_path) -> None:
    ycbcr = cv2.cvtColor(colours(), cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]]
    file = tiff(
        tmp_path / "a.tif", ycbcr, photometric="ycbcr", compression="zlib", subsampling=(1, 1)
    )

    [micrograph] = read(file)

    assert np.abs(micrograph.pixels.astype(int) - colours()).max() <= 2


def test_a_tiff_is_upright(tmp_path) -> None:
    file = tiff(tmp_path / "a.tif", colours(), photometric="rgb", extratags=[(274, 3, 1, 6, True)])

    [micrograph] = read(file)

    assert (micrograph.pixels == np.rot90(colours(), -1)).all()


# ------------------------------------------------------------------------------- pages and stacks


def test_plain_pages_are_micrographs_each(tmp_path) -> None:
    file = tmp_path / "a.tif"
    with tifffile.TiffWriter(file) as tif:
        for seed in range(3):
            tif.write(colours(seed=seed), photometric="rgb", contiguous=False, metadata=None)

    came = read(file)

    assert [(one.page, one.pages) for one in came] == [(0, 3), (1, 3), (2, 3)]
    assert all((one.pixels == colours(seed=n)).all() for n, one in enumerate(came))
    assert len({one.sha256 for one in came}) == 1


def test_pages_alike_in_size_keep_their_own_scale_palette_and_orientation(tmp_path) -> None:
    scales, palettes, turned = (tmp_path / name for name in ("s.tif", "p.tif", "t.tif"))
    with tifffile.TiffWriter(scales) as tif:
        for dots in (20_000, 40_000):
            tif.write(grey(), resolution=(dots, dots), resolutionunit=3, metadata=None)
    tables = [np.full((3, 256), level * 257, np.uint16) for level in (40, 200)]
    with tifffile.TiffWriter(palettes) as tif:
        for table in tables:
            tif.write(grey(), photometric="palette", colormap=table, metadata=None)
    with tifffile.TiffWriter(turned) as tif:
        for way in (1, 3):
            tif.write(grey(), extratags=[(274, 3, 1, way, True)], metadata=None)

    assert [one.scales[0].um_per_px for one in read(scales)] == [0.5, 0.25]
    assert [int(one.pixels.max()) for one in read(palettes)] == [40, 200]
    assert (read(turned)[1].pixels == as_rgb(grey()[::-1, ::-1])).all()


def test_pyramid_levels_and_thumbnails_are_no_micrographs(tmp_path) -> None:
    large = cv2.GaussianBlur(colours(256, 320), (0, 0), 3)
    half = cv2.resize(large, (160, 128), interpolation=cv2.INTER_AREA)
    marked, subs, unmarked = (tmp_path / name for name in ("m.tif", "s.tif", "u.tif"))
    for file, tag in ((marked, 1), (unmarked, 0)):
        with tifffile.TiffWriter(file) as tif:
            tif.write(large, photometric="rgb", metadata=None)
            tif.write(half, photometric="rgb", subfiletype=tag, metadata=None)
    with tifffile.TiffWriter(subs) as tif:
        tif.write(large, photometric="rgb", subifds=1)
        tif.write(half, photometric="rgb", subfiletype=1)

    before = tmp_path / "b.tif"
    with tifffile.TiffWriter(before) as tif:
        tif.write(half, photometric="rgb", metadata=None)
        tif.write(large, photometric="rgb", metadata=None)

    for file in (marked, subs, unmarked, before):
        [micrograph] = read(file)
        assert (micrograph.pixels == large).all()
    assert read(unmarked)[0].warnings == ("copies_left_out",)


def test_two_fields_of_different_size_are_two_micrographs(tmp_path) -> None:
    file = tmp_path / "a.tif"
    with tifffile.TiffWriter(file) as tif:
        tif.write(grey(256, 320, seed=1), metadata=None)
        tif.write(grey(128, 160, seed=2), metadata=None)

    assert [one.pixels.shape[:2] for one in read(file)] == [(256, 320), (128, 160)]


def test_of_z_planes_the_sharpest_is_taken_and_said(tmp_path) -> None:
    sharp = grey()
    planes = np.stack([cv2.GaussianBlur(sharp, (0, 0), s) if s else sharp for s in (4, 2, 0, 3)])
    file = tiff(tmp_path / "a.ome.tif", planes, metadata={"axes": "ZYX"})

    [micrograph] = read(file)

    assert (micrograph.pixels == as_rgb(sharp)).all()
    assert micrograph.warnings == ("sharpest_plane",)
    assert micrograph.metadata["plane"] == "3 of 4"


def test_times_are_micrographs_and_channels_are_colours(tmp_path) -> None:
    times = [np.stack([grey(seed=seed) // n for n in (1, 2, 3)]) for seed in (1, 2)]
    stack = np.stack(times)
    file = tiff(tmp_path / "a.ome.tif", stack, metadata={"axes": "TCYX"}, photometric="minisblack")

    came = read(file)

    assert (came[0].pixels == np.moveaxis(times[0], 0, -1)).all()
    assert (came[1].pixels == np.moveaxis(times[1], 0, -1)).all()
    assert came[0].warnings == ("channels_as_rgb",)


def test_planes_and_channels_of_another_place_are_named(tmp_path) -> None:
    soft = [cv2.GaussianBlur(grey(seed=seed), (0, 0), 2) for seed in (1, 2)]
    planes = np.stack([grey(seed=1), *soft])
    channels = np.stack([grey(seed=seed) for seed in (1, 2, 3)])

    [stacked] = read(tiff(tmp_path / "z.ome.tif", planes, metadata={"axes": "ZYX"}))
    [coloured] = read(tiff(tmp_path / "c.ome.tif", channels, metadata={"axes": "CYX"}))

    assert stacked.warnings == ("sharpest_plane", "planes_differ")
    assert stacked.metadata["other_places"] == "plane 3"
    assert "planes_differ" in coloured.warnings
    assert coloured.metadata["other_places"] == "channel 2, channel 3"


def test_an_imagej_stack_is_read_slice_by_slice(tmp_path) -> None:
    frames = np.stack([grey(seed=seed) for seed in range(4)])
    file = tiff(tmp_path / "a.tif", frames, imagej=True, metadata={"axes": "TYX"})

    came = read(file)

    assert [int((one.pixels[..., 0] == frames[n]).all()) for n, one in enumerate(came)] == [1] * 4


def test_a_recording_is_refused(tmp_path) -> None:
    file = tiff(tmp_path / "a.tif", np.zeros((80, 16, 16), np.uint8) + grey(16, 16))

    assert refused(file) is FileCode.TOO_LARGE


# ------------------------------------------------------------------------------ PNG, JPEG, BMP


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
@pytest.mark.parametrize("pixels", [colours(), grey()], ids=["colour", "grey"])
def test_png_and_bmp_give_the_stored_pixels(tmp_path, suffix, pixels) -> None:
    stored = pixels[..., ::-1] if pixels.ndim == 3 else pixels

    [micrograph] = read(encoded(tmp_path / f"a{suffix}", stored))

    assert (micrograph.pixels == (pixels if pixels.ndim == 3 else as_rgb(pixels))).all()


def test_a_deep_png_follows_the_same_rule_as_a_deep_tiff(tmp_path) -> None:
    deep = grey().astype(np.uint16) * 257

    [from_png] = read(encoded(tmp_path / "a.png", deep))
    [from_tiff] = read(tiff(tmp_path / "a.tif", deep))

    assert (from_png.pixels == from_tiff.pixels).all()
    assert from_png.warnings == from_tiff.warnings


def exif(orientation):
    tags = struct.pack("<2sHIH", b"II", 42, 8, 1) + struct.pack("<HHIHH", 274, 3, 1, orientation, 0)
    return b"Exif\0\0" + tags + bytes(4)


def with_exif(jpeg, block):
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]


TURNED = [
    (1, lambda p: p),
    (2, lambda p: p[:, ::-1]),
    (3, lambda p: p[::-1, ::-1]),
    (4, lambda p: p[::-1]),
    (5, lambda p: np.swapaxes(p, 0, 1)),
    (6, lambda p: np.rot90(p, -1)),
    (7, lambda p: np.rot90(np.swapaxes(p, 0, 1), 2)),
    (8, np.rot90),
]


def test_a_jpeg_is_turned_as_its_exif_says(tmp_path) -> None:
    for orientation, turned in TURNED:
        plain = encoded(tmp_path / "plain.jpg", colours())
        file = tmp_path / "a.jpg"
        file.write_bytes(with_exif(plain.read_bytes(), exif(orientation)))

        [micrograph] = read(file)

        assert (micrograph.pixels == turned(read(plain)[0].pixels)).all(), orientation
        assert (micrograph.pixels == apply_orientation(read(plain)[0].pixels, orientation)).all(), (
            orientation
        )


def test_the_bytes_decide_and_not_the_name(tmp_path) -> None:
    file = tmp_path / "Probe 7 µ ß.tif"
    file.write_bytes(encoded(tmp_path / "a.jpg", colours()).read_bytes())

    assert read(file)[0].format == "JPEG"


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.uint8,
        st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)),
        elements=st.integers(0, 255),
    )
)
def test_what_the_archive_keeps_comes_back_bit_for_bit(tmp_path_factory, pixels) -> None:
    file = tmp_path_factory.mktemp("kept") / "crop.png"
    file.write_bytes(encode_png(pixels))

    [micrograph] = read(file)

    assert (micrograph.pixels == pixels).all()


# ------------------------------------------------------------------ what is cut, empty or strange


def forms(folder):
    """Whole files of every form, for cutting and spoiling."""
    pixels = colours(200, 300)
    yield tiff(folder / "plain.tif", pixels, photometric="rgb")
    yield tiff(folder / "strips.tif", pixels, photometric="rgb", rowsperstrip=16)
    yield tiff(folder / "zlib.tif", pixels, photometric="rgb", compression="zlib")
    yield tiff(folder / "lzw.tif", pixels, photometric="rgb", compression="lzw", predictor=True)
    yield tiff(folder / "tiled.tif", pixels, photometric="rgb", tile=(64, 64), compression="zstd")
    yield tiff(folder / "jpeg.tif", pixels, photometric="rgb", compression="jpeg")
    for name in ("a.png", "a.jpg", "a.bmp"):
        yield encoded(folder / name, pixels)


@pytest.mark.parametrize("kept", [0.03, 0.5, 0.9, 0.999])
def test_a_cut_file_is_refused_whatever_its_form(tmp_path, kept) -> None:
    for file in forms(tmp_path):
        whole = file.read_bytes()
        file.write_bytes(whole[: int(len(whole) * kept)])

        assert refused(file) in {FileCode.TRUNCATED, FileCode.UNREADABLE}, file.name


@pytest.mark.parametrize("filled", [0.3, 0.51, 0.77])
def test_a_file_announced_at_full_length_but_not_filled_is_refused(tmp_path, filled) -> None:
    for file in forms(tmp_path):
        whole = file.read_bytes()
        until = int(len(whole) * filled) | 1
        file.write_bytes(whole[:until] + bytes(len(whole) - until))

        assert refused(file) in {FileCode.TRUNCATED, FileCode.UNREADABLE}, file.name


@pytest.mark.parametrize("filled", [0.3, 0.51, 0.77])
def test_raw_tiles_that_were_announced_but_not_filled_are_refused(tmp_path, filled) -> None:
    file = tiff(tmp_path / "tiles.tif", grey(256, 256), tile=(64, 64))
    whole = file.read_bytes()
    until = int(len(whole) * filled) | 1

    file.write_bytes(whole[:until] + bytes(len(whole) - until))

    assert refused(file) is FileCode.TRUNCATED


def test_black_ends_and_padded_tiles_are_no_damage(tmp_path) -> None:
    banded = grey(200, 300)
    banded[170:] = 0
    corner = grey(200, 300)
    rows, columns = np.mgrid[:200, :300]
    corner[rows + columns > 380] = 0
    padded = grey(130, 130)

    for name, pixels in (("band", banded), ("corner", corner)):
        assert (read(encoded(tmp_path / f"{name}.bmp", pixels))[0].pixels[..., 0] == pixels).all()
        assert len(read(tiff(tmp_path / f"{name}.tif", pixels))) == 1
    assert len(read(tiff(tmp_path / "tiles.tif", padded, tile=(64, 64)))) == 1


def test_bytes_after_the_end_marker_do_no_harm(tmp_path) -> None:
    file = encoded(tmp_path / "a.jpg", colours())
    file.write_bytes(file.read_bytes() + bytes(500))

    assert len(read(file)) == 1


def test_a_jpeg_with_a_hole_is_refused_though_its_decoder_goes_on(tmp_path, capfd) -> None:
    file = encoded(tmp_path / "a.jpg", colours(200, 300))
    whole = bytearray(file.read_bytes())
    whole[len(whole) // 2 : len(whole) // 2 + 400] = bytes(400)
    file.write_bytes(whole)

    assert refused(file) is FileCode.UNREADABLE
    assert capfd.readouterr().err == ""


NO_IMAGES = [
    (b"", FileCode.EMPTY),
    (bytes(5000), FileCode.EMPTY),
    (b"Dear Sir or Madam", FileCode.NOT_AN_IMAGE),
    (b"GIF89a" + bytes(20), FileCode.UNSUPPORTED),
    (b"RIFF\0\0\0\0WEBPVP8 ", FileCode.UNSUPPORTED),
    (b"II*\0", FileCode.TRUNCATED),
    (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(90), FileCode.UNSUPPORTED),
    (b"II*\0\x08\0\0\0", FileCode.TRUNCATED),
    (b"\x89PNG\r\n\x1a\n", FileCode.TRUNCATED),
    (b"\xff\xd8\xff\xe0", FileCode.TRUNCATED),
    (b"BM", FileCode.TRUNCATED),
    (b"BMW service manual, " + b"x" * 60, FileCode.NOT_AN_IMAGE),
]


def test_what_is_no_image_says_what_it_is(tmp_path) -> None:
    for content, code in NO_IMAGES:
        file = tmp_path / "a.tif"
        file.write_bytes(content)

        assert refused(file) is code, content


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path) -> None:
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    png = tmp_path / "bomb.png"
    png.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b""))
    tif = tmp_path / "bomb.tif"
    strips = (bytes(10) for _ in range(100))
    tifffile.imwrite(
        tif, strips, shape=(30_000, 30_000), dtype=np.uint8, rowsperstrip=300, compression="zlib"
    )

    assert refused(png) is FileCode.TOO_LARGE
    assert refused(tif) is FileCode.TOO_LARGE


def test_a_tile_far_larger_than_its_picture_is_refused_by_the_header(tmp_path) -> None:
    file = tmp_path / "tile.tif"
    tifffile.imwrite(file, np.zeros((64, 64), np.uint8), tile=(64, 64), compression="zlib")
    with tifffile.TiffFile(file, mode="r+") as opened:
        opened.pages[0].tags["TileWidth"].overwrite(60_000)
        opened.pages[0].tags["TileLength"].overwrite(60_000)

    assert refused(file) is FileCode.TOO_LARGE


def test_what_cannot_be_shown_is_left_out_of_what_a_file_says_of_itself(tmp_path) -> None:
    file = tmp_path / "said.tif"
    tags = [(315, "s", 0, "Ada\x01\x7f Miller", True)]
    tifffile.imwrite(file, np.full((64, 64), 128, np.uint8), extratags=tags)

    (image,) = read(file)

    assert image.metadata["operator"].startswith("Ada Miller")
    assert image.metadata["operator"].isprintable()


def test_a_film_of_gigabytes_is_refused_before_it_is_read(tmp_path) -> None:
    file = tmp_path / "film.tif"
    with file.open("wb") as film:
        film.truncate(3_000_000_000)

    assert refused(file) is FileCode.TOO_LARGE


def divide(jpeg, scans):
    """Return a progressive JPEG whose last scan is there many times."""
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:last] + jpeg[last:-2] * scans + jpeg[-2:]


PROGRESSIVE = cv2.imencode(".jpg", colours(), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()


def test_a_progressive_jpeg_is_read_and_one_of_20_000_scans_is_refused_undecoded(tmp_path) -> None:
    usual, endless = tmp_path / "usual.jpg", tmp_path / "endless.jpg"
    usual.write_bytes(PROGRESSIVE)
    endless.write_bytes(divide(PROGRESSIVE, 20_000))

    assert read(usual)[0].pixels.shape == (HEIGHT, WIDTH, 3)
    assert refused(endless) is FileCode.TOO_LARGE


def test_a_jpeg_of_20_000_scans_in_a_tiff_is_refused_undecoded(tmp_path) -> None:
    file = tmp_path / "endless.tif"
    tiff(file, colours(), compression="jpeg", photometric="ycbcr", rowsperstrip=HEIGHT)
    endless = divide(PROGRESSIVE, 20_000)
    with tifffile.TiffFile(file, mode="r+") as opened:
        end = file.stat().st_size
        opened.pages[0].tags["StripOffsets"].overwrite(end)
        opened.pages[0].tags["StripByteCounts"].overwrite(len(endless))
    with file.open("ab") as added:
        added.write(endless)

    assert refused(file) is FileCode.TOO_LARGE


def test_cmyk_jpegs_are_refused(tmp_path) -> None:
    file = tmp_path / "a.jpg"
    cmyk = np.dstack([colours(), grey()])
    file.write_bytes(imagecodecs.jpeg8_encode(cmyk, colorspace="CMYK", outcolorspace="CMYK"))

    assert refused(file) is FileCode.UNSUPPORTED


def test_a_missing_file_is_the_shares_fault_and_not_the_files(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "gone.tif")


# --------------------------------------------------------------------------------- small rules


def test_a_row_that_breaks_off_is_seen_and_a_dark_edge_is_not() -> None:
    rows = grey(50, 80)
    torn = rows.copy()
    torn[30, 41:] = 0
    torn[31:] = 0
    wandering = rows.copy()
    for y in range(20, 50):
        wandering[y, max(0, 80 - 4 * (y - 19)) :] = 0

    assert find_tear(rows) is None
    assert find_tear(torn) == 30
    assert find_tear(wandering) is None
    assert find_tear(np.zeros((5, 5), np.uint8)) is None


def test_the_rule_for_tones_never_looks_at_the_images_own_range() -> None:
    dim = np.full((4, 4), 70, np.uint16)

    pixels, _ = to_rgb(dim, bits=12)

    assert (pixels == 70 >> 4).all()


# ------------------------------------------------------------------------ real files, where present

DATA = SHARED_DATA


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared images are not here")
def test_every_shared_micrograph_is_read_at_its_size() -> None:
    folder = DATA / "micrographs"
    entries = json.loads((folder / "MANIFEST.json").read_text(encoding="utf-8"))["images"]

    sizes = {e["file"]: read(folder / e["file"])[0].pixels.shape[1::-1] for e in entries}

    assert sizes == {e["file"]: tuple(e["size_px"]) for e in entries}
