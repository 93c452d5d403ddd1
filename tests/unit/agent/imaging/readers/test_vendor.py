"""Microscope makers' own files are read scene by scene, or the sentence says what to install."""

import struct
import sys

import numpy as np
import pytest
from folders import SHARED_DATA

from agent.errors import FileCode, FileError
from agent.imaging.readers.read import read


def grey(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)


# --------------------------------------------------------------------------------------- Leica


def lif(path, images):
    """Write a LIF: its XML, then one block of pixels per image. images: name → (pixels, µm)."""
    elements, blocks = "", b""
    for number, (name, (pixels, um)) in enumerate(images.items()):
        height, width = pixels.shape[-2:]
        size = pixels.dtype.itemsize
        sizes = [(1, width, size), (2, height, width * size)]
        if pixels.ndim == 3:
            sizes.append((3, len(pixels), height * width * size))
        axes = "".join(
            f'<DimensionDescription DimID="{axis}" NumberOfElements="{n}" Origin="0" Unit="m" '
            f'Length="{um * 1e-6 * (n - 1)}" BytesInc="{step}" BitInc="0"/>'
            for axis, n, step in sizes
        )
        elements += (
            f'<Element Name="{name}"><Data><Image><ImageDescription><Channels>'
            f'<ChannelDescription DataType="0" ChannelTag="0" Resolution="{4 + 4 * size}"'
            ' NameOfMeasuredQuantity="" Min="0" Max="255" Unit="" LUTName="Gray"'
            ' IsLUTInverted="0" BytesInc="0" BitInc="0"/></Channels><Dimensions>'
            f"{axes}</Dimensions></ImageDescription></Image></Data>"
            f'<Memory Size="{pixels.nbytes}" MemoryBlockID="MemBlock_{number}"/></Element>'
        )
        identity = f"MemBlock_{number}"
        head = struct.pack("<BQBI", 0x2A, pixels.nbytes, 0x2A, len(identity))
        head += identity.encode("utf-16-le")
        blocks += struct.pack("<II", 0x70, len(head)) + head + pixels.tobytes()
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="lab"><Children>'
        f"{elements}</Children></Element></LMSDataContainerHeader>"
    )
    text = xml.encode("utf-16-le")
    path.write_bytes(struct.pack("<IIBI", 0x70, len(text) + 5, 0x2A, len(xml)) + text + blocks)
    return path


def test_every_image_of_a_lif_is_a_micrograph_with_its_scale(tmp_path) -> None:
    pytest.importorskip("liffile")
    first, second = grey(40, 60, 1), grey(30, 50, 2).astype(np.uint16) << 4
    file = lif(tmp_path / "a.lif", {"field 1": (first, 0.25), "field 2": (second, 0.5)})

    one, two = read(file)

    assert (one.pixels[..., 0] == first).all()
    assert (two.pixels[..., 0] == second >> 4).all()
    assert one.scales[0].um_per_px == pytest.approx(0.25)
    assert two.scales[0].um_per_px == pytest.approx(0.5)
    assert (one.format, one.pages, two.page) == ("LIF", 2, 1)
    assert two.warnings == ()


def test_of_a_lif_stack_the_sharpest_plane_is_taken(tmp_path) -> None:
    pytest.importorskip("liffile")
    sharp = grey(40, 60)
    stack = np.stack([sharp // 8 + 100, sharp, sharp // 4 + 90])

    [micrograph] = read(lif(tmp_path / "a.lif", {"z": (stack, 0.25)}))

    assert (micrograph.pixels[..., 0] == sharp).all()
    assert micrograph.metadata["plane"] == "2 of 3"


# ---------------------------------------------------------------------------------------- Zeiss


def czi(path, pixels, um):
    library = pytest.importorskip("pylibCZIrw.czi")
    with library.create_czi(str(path)) as file:
        file.write(pixels, plane={"C": 0})
        file.write_metadata("field", scale_x=um * 1e-6, scale_y=um * 1e-6)
    return path


def test_a_czi_is_read_in_its_colours_at_its_scale(tmp_path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)
    file = czi(tmp_path / "Gefüge.czi", colours[..., ::-1].copy(), 0.2)

    [micrograph] = read(file)

    assert (micrograph.pixels == colours).all()
    assert micrograph.scales[0].um_per_px == pytest.approx(0.2)
    assert micrograph.format == "CZI"


def test_a_cut_czi_is_truncated(tmp_path) -> None:
    file = czi(tmp_path / "a.czi", grey(200, 200)[..., None], 0.2)
    whole = file.read_bytes()

    for content in (whole[: len(whole) // 2], whole[:2000] + bytes(len(whole) - 2000)):
        file.write_bytes(content)
        with pytest.raises(FileError) as caught:
            read(file)
        assert caught.value.code is FileCode.TRUNCATED


# ------------------------------------------------------------------------------ without the extra


# --------------------------------------------------------------------------------------- Nikon


def variant(name, value):
    """Write one value as NIS-Elements does: its kind, its name, itself."""
    head = bytes([0, len(name) + 1]) + name.encode("utf-16-le") + b"\0\0"
    if isinstance(value, dict):
        inside = b"".join(variant(*item) for item in value.items())
        length = len(head) + 12 + len(inside)
        body = struct.pack("<IQ", len(value), length) + inside + bytes(8 * len(value))
        return b"\x0b" + head[1:] + body
    if isinstance(value, bool):
        return b"\x01" + head[1:] + struct.pack("<?", value)
    if isinstance(value, int):
        return b"\x03" + head[1:] + struct.pack("<I", value)
    if isinstance(value, float):
        return b"\x06" + head[1:] + struct.pack("<d", value)
    return b"\x08" + head[1:] + value.encode("utf-16-le") + b"\0\0"


def nd2(path, pixels, *, um=0.25, bits=8, calibrated=True):
    """Write an ND2 of version 3 with one field: (h, w) grey or (h, w, 3) in blue, green, red."""
    height, width = pixels.shape[:2]
    comp = 1 if pixels.ndim == 2 else pixels.shape[2]
    attributes = {
        "uiWidth": width,
        "uiWidthBytes": width * comp * pixels.itemsize,
        "uiHeight": height,
        "uiComp": comp,
        "uiBpcInMemory": 8 * pixels.itemsize,
        "uiBpcSignificant": bits,
        "uiSequenceCount": 1,
        "eCompression": 2,
    }
    spectrum = {"m_ExcitationSpectrum": {"uiCount": 0}, "m_EmissionSpectrum": {"uiCount": 0}}
    plane = {
        "uiCompCount": comp,
        "uiSampleIndex": 0,
        "sDescription": "LOM",
        "pFluorescentProbe": spectrum,
    }
    picture = {
        "bCalibrated": calibrated,
        "dCalibration": um,
        "dObjectiveMag": 50.0,
        "wsObjectiveName": "TU Plan 50x",
        "sPicturePlanes": {"uiCount": 1, "sPlaneNew": {"a0": plane}},
    }
    chunks = {
        b"ImageAttributesLV!": variant("SLxImageAttributes", attributes),
        b"ImageMetadataSeqLV|0!": variant("SLxPictureMetadata", picture),
        b"ImageDataSeq|0!": bytes(8) + pixels.tobytes(),
    }
    content, places = b"", b""

    def add(name, data, named=4072):
        nonlocal content
        at = len(content)
        content += (
            struct.pack("<IIQ", 0x0ABECEDA, named, len(data)) + name.ljust(named, b"\0") + data
        )
        return at

    add(b"ND2 FILE SIGNATURE CHUNK NAME01!", b"Ver3.0".ljust(64, b"\0"), named=32)
    for name, data in chunks.items():
        places += name + struct.pack("<QQ", add(name, data), len(data))
    end = b"ND2 CHUNK MAP SIGNATURE 0000001!"
    at = add(b"ND2 FILEMAP SIGNATURE NAME 0001!", places + end)
    path.write_bytes(content + end + struct.pack("<Q", at))
    return path


def test_an_nd2_is_read_in_its_colours_at_its_scale(tmp_path) -> None:
    pytest.importorskip("nd2")
    colours = np.random.default_rng(3).integers(0, 256, (40, 60, 3)).astype(np.uint8)

    [field] = read(nd2(tmp_path / "a.nd2", colours[..., ::-1]))

    assert field.format == "ND2"
    assert (field.pixels == colours).all()
    assert [scale.um_per_px for scale in field.scales] == [pytest.approx(0.25)]
    assert field.metadata["objective"] == "TU Plan 50x"
    assert field.metadata["magnification"] == "50"


def test_a_deep_nd2_follows_the_rule_for_tones(tmp_path) -> None:
    pytest.importorskip("nd2")
    deep = np.random.default_rng(3).integers(0, 4096, (40, 60)).astype(np.uint16)

    [field] = read(nd2(tmp_path / "a.nd2", deep, bits=12))

    assert (field.pixels[..., 0] == deep >> 4).all()


def test_an_nd2_that_nobody_calibrated_has_no_scale(tmp_path) -> None:
    pytest.importorskip("nd2")

    [field] = read(nd2(tmp_path / "a.nd2", grey(40, 60), um=0.5, calibrated=False))

    assert field.scales == ()


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_cut_nd2_is_truncated(tmp_path, kept) -> None:
    pytest.importorskip("nd2")
    file = nd2(tmp_path / "a.nd2", grey(40, 60))
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))])

    with pytest.raises(FileError) as raised:
        read(file)

    assert raised.value.code == FileCode.TRUNCATED


@pytest.mark.parametrize(
    ("start", "library", "maker"),
    [
        (b"ZISRAWFILE", "pylibCZIrw", "Zeiss CZI"),
        (b"\x70\0\0\0", "liffile", "Leica LIF"),
        (b"\xda\xce\xbe\x0a", "nd2", "Nikon ND2"),
    ],
)
def test_without_the_extra_the_sentence_names_it(
    tmp_path, monkeypatch, start, library, maker
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    file = tmp_path / "a.bin"
    file.write_bytes(start + bytes(100))

    with pytest.raises(FileError, match=rf"{maker}.*martensight\[vendor\]") as caught:
        read(file)

    assert caught.value.code is FileCode.UNSUPPORTED


DATA = SHARED_DATA / "vendor_formats"


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared vendor files are not here")
def test_a_czi_gives_the_pixels_of_its_ome_twin() -> None:
    pytest.importorskip("pylibCZIrw")

    [zeiss] = read(DATA / "FOV7_HV110_P0500510000.czi")
    [twin] = read(DATA / "FOV7_HV110_P0500510000.ome.tiff")

    assert (zeiss.pixels == twin.pixels).all()
