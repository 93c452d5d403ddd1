"""A physical scale is right or absent: never that of a printer, a screen or a placeholder."""

import json

import numpy as np
import pytest
import tifffile
from folders import SHARED_DATA

from agent.errors import FileError
from agent.imaging.readers.metadata import dots_to_um_per_px, get_square_scale
from agent.imaging.readers.read import Limits, read, read_sidecar_scales

STEEL = np.random.default_rng(0).integers(1, 255, (60, 80)).astype(np.uint8)


def scales(path, **limits):
    return [
        (scale.source, round(scale.um_per_px, 6))
        for scale in read(path, limits=Limits(**limits))[0].scales
    ]


def tiff(folder, **how):
    file = folder / "a.tif"
    tifffile.imwrite(file, STEEL, **how)
    return file


def test_the_resolution_of_paper_and_screens_is_no_scale(tmp_path) -> None:
    for dpi in (72, 96, 100, 150, 254, 300, 600, 1200, 2400, 4800, 9600):
        assert scales(tiff(tmp_path, resolution=(dpi, dpi), resolutionunit="inch")) == [], dpi


@pytest.mark.parametrize(
    ("per", "unit", "um"),
    [(20_000, "centimeter", 0.5), (101_600, "inch", 0.25), (38_760, "centimeter", 0.257998)],
)
def test_a_microscopes_resolution_is_its_scale(tmp_path, per, unit, um) -> None:
    assert scales(tiff(tmp_path, resolution=(per, per), resolutionunit=unit)) == [("metadata", um)]


def test_pixels_that_are_not_square_have_no_scale(tmp_path) -> None:
    assert scales(tiff(tmp_path, resolution=(20_000, 10_000), resolutionunit="centimeter")) == []


@pytest.mark.parametrize(
    ("axes", "um"),
    [
        ({"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}, [("metadata", 0.25)]),
        ({"PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm"}, [("metadata", 0.25)]),
        ({"PhysicalSizeX": 1.0, "PhysicalSizeY": 1.0}, []),
        ({"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}, []),
        ({}, []),
    ],
)
def test_ome_xml_is_read_with_its_unit_and_never_its_placeholder(tmp_path, axes, um) -> None:
    file = tmp_path / "a.ome.tif"
    tifffile.imwrite(file, STEEL, metadata={"axes": "YX"} | axes)

    assert scales(file) == um


@pytest.mark.parametrize(
    ("unit", "um"), [("micron", [("metadata", 0.2)]), ("nm", [("metadata", 0.0002)]), ("pixel", [])]
)
def test_imagej_names_its_unit(tmp_path, unit, um) -> None:
    file = tmp_path / "a.tif"
    tifffile.imwrite(file, STEEL, imagej=True, resolution=(5, 5), metadata={"unit": unit})

    assert scales(file) == um


@pytest.mark.parametrize(
    ("description", "um"),
    [
        (
            (
                '<MetaData><prop id="spatial-calibration-x" type="float" value="0.5"/>'
                '<prop id="spatial-calibration-y" type="float" value="0.5"/>'
                '<prop id="spatial-calibration-units" type="string" value="um"/></MetaData>'
            ),
            [("metadata", 0.5)],
        ),
        ("um_per_px = 0.172", [("metadata", 0.172)]),
        ("Camera: 5 MP, pixel size 3.45 µm", []),
        ("um_per_px = 1.250,5", []),
    ],
)
def test_a_description_is_believed_where_it_speaks_of_the_image(tmp_path, description, um) -> None:
    assert scales(tiff(tmp_path, description=description.encode())) == um


def test_metadata_that_disagree_are_both_heard(tmp_path) -> None:
    file = tmp_path / "a.ome.tif"
    tifffile.imwrite(
        file,
        STEEL,
        metadata={"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5},
        resolution=(40_000, 40_000),
        resolutionunit="centimeter",
    )

    assert scales(file) == [("metadata", 0.5), ("metadata", 0.25)]


SIDECARS = [
    ("a.txt", "[SemImageFile]\nDataSize=160x120\nPixelSize=99.2\n", 0.1984),
    ("a.txt", "$$SM_MICRON_BAR 100\n$$SM_MICRON_MARKER 10um\n", 0.1),
    ("a.txt", "Objective: 50x\nImage Pixel Size = 0,345 µm\n", 0.345),
    ("a.txt", "um_per_px = 0.123", 0.123),
    ("a-tif.hdr", "[MAIN]\nPixelSizeX=1.2e-7\nPixelSizeY=1.2e-7\n", 0.12),
    (
        "a.tif_meta.xml",
        ("<T><V3>0.645</V3><I3>769</I3><V4>76</V4><I4>770</I4><V5>0.645</V5><I5>772</I5></T>"),
        0.645,
    ),
    (
        "a_metadata.xml",
        (
            "<M><Distance Id='X'><Value>3e-7</Value></Distance>"
            "<Distance Id='Y'><Value>3e-7</Value></Distance></M>"
        ),
        0.3,
    ),
    (
        "a.cal.xml",
        (
            "<C><XMetresPerPixel>4.4e-7</XMetresPerPixel>"
            "<YMetresPerPixel>4.4e-7</YMetresPerPixel></C>"
        ),
        0.44,
    ),
    (
        "a.xml",
        ("<OME><Image><Pixels SizeX='80' PhysicalSizeX='0.2' PhysicalSizeY='0.2'/></Image></OME>"),
        0.2,
    ),
]


def test_sidecar_files_are_asked_by_setting(tmp_path) -> None:
    for name, text, um in SIDECARS:
        file = tiff(tmp_path)
        (tmp_path / name).write_text(text, encoding="utf-8")

        assert scales(file) == [("sidecar", um)], name
        assert scales(file, sidecars=False) == [], name
        (tmp_path / name).unlink()


def test_a_part_cut_out_of_a_field_has_no_scale_by_the_fields_width(tmp_path) -> None:
    for size, um in (
        ((80, 60), 0.1),
        ((80, 41), 0.1),
        ((40, 30), 0.2),
        ((40, 33), 0.2),
        ((160, 120), 0.05),
        ((50, 60), None),
        ((50, 50), None),
        ((60, 30), None),
        ((60, 80), None),
    ):
        field = (
            "[Image]\nResolutionX=80\nResolutionY=60\n"
            "[Scan]\nPixelWidth=1e-7\nPixelHeight=1e-7\n[Beam]\nScan=Scan\n"
        )
        file = tmp_path / "a.tif"
        pixels = np.zeros(size[::-1], np.uint8)
        tifffile.imwrite(file, pixels, metadata=None, extratags=[(34682, "s", 0, field, True)])
        (tmp_path / "b.txt").write_text("[SemImageFile]\nDataSize=80x60\nPixelSize=100\n")
        expected = pytest.approx(() if um is None else (um,))

        [micrograph] = read(file)

        assert tuple(scale.um_per_px for scale in micrograph.scales) == expected, size
        assert ("scale_unclear" in micrograph.warnings) == (um is None), size
        assert read_sidecar_scales(tmp_path / "b.tif", size) == expected, size


def test_notes_that_disagree_are_both_heard(tmp_path) -> None:
    file = tiff(tmp_path)
    (tmp_path / "a.txt").write_text("um_per_px = 0.25")
    (tmp_path / "a.tif.txt").write_text("Image pixel size: 250 nm")
    assert read_sidecar_scales(file, (80, 60)) == (0.25,)

    (tmp_path / "a.tif.txt").write_text("a.tif: um/px 0.25\nb.tif: um/px 0.5\n")
    assert read_sidecar_scales(file, (80, 60)) == (0.25, 0.5)


ELSE = [
    "",
    "Camera pixel size: 3.45 µm",
    "PixelSize=",
    "Pixel size: many",
    "<OME",
    "<!DOCTYPE x><OME/>",
    "\0\1\2",
    "72 dpi",
]


def test_a_sidecar_about_something_else_says_nothing(tmp_path) -> None:
    for text in ELSE:
        file = tiff(tmp_path)
        for name in ("a.txt", "a.xml"):
            (tmp_path / name).write_text(text, encoding="utf-8")

        assert read_sidecar_scales(file, (80, 60)) == (), text


def test_a_scale_is_positive_finite_and_square() -> None:
    assert get_square_scale(0.5, 0.502) == (0.5,)
    assert get_square_scale(0.5, None) == (0.5,)
    assert (
        get_square_scale(float("nan"), 0.5)
        == get_square_scale(0.0, 0.0)
        == get_square_scale(-1.0, -1.0)
        == ()
    )
    assert dots_to_um_per_px(float("inf"), 1.0) == dots_to_um_per_px(0.0, 0.0) == ()


# ------------------------------------------------------------------------ real files, where present

DATA = SHARED_DATA / "vendor_formats"


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared vendor files are not here")
def test_every_vendor_file_has_its_manifests_scale_or_none() -> None:
    pytest.importorskip("pylibCZIrw")
    entries = json.loads((DATA / "MANIFEST.json").read_text(encoding="utf-8"))["files"]
    expected, found = {}, {}

    for entry in entries:
        truth = entry.get("pixel_size_um") or float(entry.get("czi_ScalingX_m_raw") or 0) * 1e6
        try:
            came = read(DATA / entry["file"])
        except FileError:
            continue
        if truth:
            expected[entry["file"]] = pytest.approx(truth, rel=0.002)
            found[entry["file"]] = came[0].scales[0].um_per_px

    assert found == expected
    assert len(found) == 10


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared vendor files are not here")
def test_a_rescaled_export_of_smartsem_is_measured_by_its_field() -> None:
    # Its "pixel size" of 5.825 nm is that of the frame store of 1024 px; the export has 512.
    assert scales(DATA / "zeiss_sem_512.tif") == [("metadata", 0.01165)]


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared vendor files are not here")
def test_a_microscope_says_its_name() -> None:
    zeiss = read(DATA / "zeiss_sem_1k.tif")[0].metadata
    fei = read(DATA / "fei_helios_8bit.tif")[0].metadata

    assert (zeiss["microscope"], zeiss["operator"]) == ("Merlin-61-08", "LIM")
    assert fei["microscope"] == 'Helios NanoLab" 660'
