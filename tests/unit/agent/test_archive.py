"""What is archived comes back bit for bit; a kill or a full disk leaves nothing half-written."""

import hashlib
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from labs.stored import SHA, crop_of

from agent.archive import KINDS, Archive
from agent.files.whole_file import write_whole

SHAPES = st.tuples(st.integers(1, 24), st.integers(1, 24))


@given(shape=SHAPES, data=st.data())
@settings(max_examples=20, deadline=None)
def test_a_crop_comes_back_bit_for_bit(tmp_path_factory, shape, data) -> None:
    archive = Archive(tmp_path_factory.mktemp("data"))
    pixels = data.draw(arrays.arrays(np.uint8, (*shape, 3)))
    valid = data.draw(arrays.arrays(np.bool_, shape))

    archive.keep(crop_of(pixels, valid))
    got_pixels, got_valid = archive.field(SHA, 0)

    assert np.array_equal(got_pixels, pixels)
    assert np.array_equal(got_valid, valid)


def test_names_are_by_content(tmp_path) -> None:
    archive = Archive(tmp_path)

    archive.keep(crop_of(np.zeros((4, 5, 3), np.uint8)))
    archive.keep_maps(SHA, 0, "20261124-00000000", {"size": np.zeros((2, 3), np.float32)})

    assert sorted(path.relative_to(tmp_path).as_posix() for path in archive.of(SHA, 0)) == [
        f"crops/ab/{SHA}-p0.20261124-00000000.maps.safetensors",
        f"crops/ab/{SHA}-p0.png",
        f"crops/ab/{SHA}-p0.preview.jpg",
        f"crops/ab/{SHA}-p0.thumb.jpg",
        f"crops/ab/{SHA}-p0.valid.png",
    ]


def test_keeping_again_changes_nothing(tmp_path) -> None:
    archive = Archive(tmp_path)
    crop = crop_of(np.arange(60, dtype=np.uint8).reshape(4, 5, 3))

    first = archive.keep(crop)
    before = {path: path.read_bytes() for path in archive.of(SHA, 0)}
    second = archive.keep(crop)

    assert first == second
    assert {path: path.read_bytes() for path in archive.of(SHA, 0)} == before


def test_files_that_an_earlier_version_compressed_keep_their_bytes(tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    valid = np.ones((40, 50), bool)
    valid[3:9, 5:] = False
    archive, crop = Archive(tmp_path), crop_of(pixels, valid)
    jpeg = [cv2.IMWRITE_JPEG_QUALITY, 88, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    earlier = {
        "crop": cv2.imencode(".png", pixels[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 3])[1],
        "valid": cv2.imencode(".png", valid.astype(np.uint8) * 255)[1],
        "preview": cv2.imencode(".jpg", pixels[..., ::-1], jpeg)[1],
        "thumb": cv2.imencode(".jpg", pixels[..., ::-1], jpeg)[1],
    }
    rows = {}
    for kind, content in earlier.items():
        path = tmp_path / "crops" / SHA[:2] / f"{SHA}-p0{KINDS[kind]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.tobytes())
        rows[kind] = hashlib.sha256(content.tobytes()).hexdigest()

    hashes = archive.keep(crop)

    assert hashes == rows
    assert archive.damage(SHA, 0, rows) == []


@pytest.mark.parametrize("damage", [lambda _: b"", lambda content: content[: len(content) // 2]])
def test_keeping_again_mends_a_damaged_crop(tmp_path, damage) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    archive, crop = Archive(tmp_path), crop_of(pixels)
    hashes = archive.keep(crop)
    path = archive.crop_path(SHA, 0)
    path.write_bytes(damage(path.read_bytes()))

    assert archive.keep(crop) == hashes

    assert archive.damage(SHA, 0, hashes) == []
    assert np.array_equal(archive.field(SHA, 0)[0], pixels)


def test_maps_come_back_as_float16(tmp_path) -> None:
    archive = Archive(tmp_path)

    archive.keep_maps(SHA, 0, "b", {"subtype": np.array([[0.5, -1.0]], np.float32)})

    assert archive.maps(SHA, 0, "b")["subtype"].tolist() == [[0.5, -1.0]]
    assert archive.maps(SHA, 0, "b")["subtype"].dtype == np.float16
    assert archive.maps(SHA, 0, "another") == {}


def test_an_original_is_kept_byte_for_byte_under_its_hash(tmp_path) -> None:
    original = tmp_path / "Probe 7 ü.TIF"
    original.write_bytes(b"II*\0 pixels")
    sha256 = hashlib.sha256(original.read_bytes()).hexdigest()
    archive = Archive(tmp_path / "data")

    assert archive.keep_original(original, sha256)

    kept = archive.original_path(sha256)
    assert kept is not None
    assert kept.name == f"{sha256}.tif"
    assert kept.read_bytes() == original.read_bytes()
    assert archive.damage_of_original(sha256) == []


def test_an_original_that_changed_meanwhile_is_not_kept(tmp_path) -> None:
    original = tmp_path / "a.tif"
    original.write_bytes(b"another content by now")
    archive = Archive(tmp_path / "data")

    assert not archive.keep_original(original, SHA)

    assert archive.original_path(SHA) is None
    assert list(archive.leftovers()) == []


def test_a_write_that_fails_leaves_the_old_file_and_no_half_one(tmp_path) -> None:
    good = tmp_path / "crops" / "ab" / "x.png"
    write_whole({good: b"old"})

    with pytest.raises(TypeError):
        write_whole({good: b"new", good.with_name("y.png"): "not bytes"})  # type: ignore[dict-item]

    assert good.read_bytes() == b"old"
    assert [path.name for path in good.parent.iterdir()] == ["x.png"]


def test_what_a_killed_agent_left_half_written_is_found(tmp_path) -> None:
    archive = Archive(tmp_path)
    archive.keep(crop_of(np.zeros((4, 5, 3), np.uint8)))
    left = archive.crop_path(SHA, 0).with_name(f".{SHA}-p0.png.77-00ff.part")
    left.write_bytes(b"half")

    assert list(archive.leftovers()) == [left]
    assert left not in list(archive.of(SHA, 0))


def test_a_changed_or_missing_pixel_file_is_named(tmp_path) -> None:
    archive = Archive(tmp_path)
    hashes = archive.keep(crop_of(np.zeros((4, 5, 3), np.uint8)))
    archive.crop_path(SHA, 0).write_bytes(b"tampered")
    archive.valid_path(SHA, 0).unlink()

    said = archive.damage(SHA, 0, hashes)

    assert said == [
        f"{archive.crop_path(SHA, 0)}: not what was archived (its hash differs)",
        f"{archive.valid_path(SHA, 0)}: missing",
    ]


def test_a_data_folder_that_is_a_file_is_an_error_of_the_system(tmp_path) -> None:
    (tmp_path / "data").write_text("in the way")

    with pytest.raises(OSError, match=r"data"):
        Archive(Path(tmp_path / "data")).keep(crop_of(np.zeros((4, 5, 3), np.uint8)))


@pytest.mark.parametrize("kind", ["crop", "valid"])
def test_a_replaced_picture_of_gigabytes_is_not_decoded(tmp_path, monkeypatch, kind) -> None:
    archive, crop = Archive(tmp_path), crop_of(np.ones((40, 50, 3), np.uint8))
    archive.keep(crop)
    path = tmp_path / "crops" / SHA[:2] / f"{SHA}-p0{KINDS[kind]}"
    bomb = bytearray(path.read_bytes())
    bomb[16:24] = struct.pack(">II", 30_000, 30_000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    path.write_bytes(bomb)
    decoded: list[int] = []
    monkeypatch.setattr(cv2, "imdecode", lambda *_: decoded.append(1))

    with pytest.raises(ValueError, match=r"not what was archived, it has (30000|another size)"):
        archive.field(SHA, 0)
    assert decoded == []

    monkeypatch.undo()
    archive.keep(crop)  # the file comes again: it is mended, and the bomb is not decoded either
    assert archive.field(SHA, 0)[0].shape == (40, 50, 3)
