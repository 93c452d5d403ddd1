"""The archive in an object storage: nothing is lost, and nothing else than what was stored is read.

Against a real S3 server on this PC.
"""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from object_server import connect, make_bucket, make_older, open_pc, serve, write_credentials

from agent.archive import Archive
from agent.errors import SetupError
from agent.objects import DamagedObject, ObjectsUnavailable
from agent.objects.mirror import is_own_name
from tests.unit.agent.test_archive import SHA, crop_of

OTHER = "cd" * 32


@pytest.fixture(scope="module")
def endpoint():
    with serve() as address:
        yield address


@pytest.fixture
def bucket(endpoint, tmp_path, request):
    name = hashlib.sha256(request.node.name.encode()).hexdigest()[:20]
    make_bucket(endpoint, name)
    return connect(endpoint, f"s3://{name}/lab-3", write_credentials(tmp_path))


def fill(archive: Archive, sha256: str = SHA, seed: int = 0) -> dict[str, str]:
    noise = np.random.default_rng(seed).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    return archive.keep(crop_of(noise, sha256=sha256))


def send(archive: Archive, **choice) -> object:
    make_older(archive.folder)
    return archive.mirror.run_round(**choice)


def test_what_is_sent_is_read_on_another_pc(bucket, tmp_path) -> None:
    one, two = open_pc(tmp_path / "one", bucket), open_pc(tmp_path / "two", bucket)
    hashes = fill(one)
    one.keep_maps(SHA, 0, "20261101-0badcafe", {"size": np.ones((2, 3))})
    original = tmp_path / "a.tif"
    original.write_bytes(b"II*\0 original bytes")
    of_original = hashlib.sha256(original.read_bytes()).hexdigest()
    one.keep_original(original, of_original)

    assert len(list(one.mirror.iter_unsent())) == 6  # who counts them sends none
    sent = send(one)

    assert sent.sent == 6
    assert list(one.mirror.iter_unsent()) == []
    assert two.has_crop(SHA, 0)
    assert not two.has_crop(OTHER, 0)
    pixels, valid = two.field(SHA, 0)
    assert np.array_equal(pixels, one.field(SHA, 0)[0])
    assert valid.all()
    assert two.maps(SHA, 0, "20261101-0badcafe")["size"].shape == (2, 3)
    assert two.original_path(of_original).name == f"{of_original}.tif"
    assert two.read(two.original_path(of_original)) == original.read_bytes()
    assert two.damage(SHA, 0, hashes) == []
    assert two.damage_of_original(of_original) == []
    assert send(two).sent == 0  # what was fetched is not sent again


def test_only_what_the_storage_has_leaves_the_disk(bucket, tmp_path) -> None:
    archive = open_pc(tmp_path / "data", bucket)
    hashes = fill(archive)
    send(archive)
    fill(archive, OTHER, seed=1)  # not sent yet

    archive.mirror.run_round(cache_bytes=1, is_enough=lambda: True)
    left = {path.name[:64] for path in (tmp_path / "data" / "crops").rglob("*.*")}

    assert left == {OTHER}
    assert archive.has_crop(SHA, 0)
    assert archive.damage(SHA, 0, hashes) == []  # read through in the storage
    assert not archive.crop_path(SHA, 0).exists()
    assert archive.field(SHA, 0)[0].shape == (40, 60, 3)
    assert archive.crop_path(SHA, 0).exists()


def test_an_object_that_is_gone_is_sent_again_before_its_file_may_leave(bucket, tmp_path) -> None:
    archive = open_pc(tmp_path / "data", bucket)
    fill(archive)
    send(archive)
    for name in bucket.list_names("crops/"):
        bucket.delete(name)  # by somebody else

    archive.mirror.run_round(cache_bytes=1)

    assert archive.crop_path(SHA, 0).exists()
    assert send(archive).sent == 4
    assert len(bucket.list_names("crops/")) == 4


def test_other_bytes_in_the_storage_are_not_taken(bucket, tmp_path) -> None:
    archive = open_pc(tmp_path / "data", bucket)
    hashes = fill(archive)
    send(archive)
    archive.mirror.run_round(cache_bytes=1)
    crop = f"crops/ab/{SHA}-p0.png"
    (tmp_path / "other").write_bytes(b"other")
    bucket.store(crop, tmp_path / "other")

    with pytest.raises(DamagedObject, match="other bytes than were sent"):
        archive.field(SHA, 0)
    (fault,) = archive.damage(SHA, 0, {"crop": hashes["crop"]})
    assert "not what was archived" in fault
    assert not archive.crop_path(SHA, 0).exists()


def test_a_deleted_file_is_nowhere_also_if_the_storage_was_away(bucket, endpoint, tmp_path) -> None:
    data = tmp_path / "data"
    archive = open_pc(data, bucket)
    fill(archive)
    send(archive)
    away = open_pc(
        data, connect("http://127.0.0.1:9", bucket.access.url, bucket.access.credentials)
    )

    away.delete(archive.crop_path(SHA, 0))
    assert not away.has_crop(SHA, 0)
    assert f"crops/ab/{SHA}-p0.png" in bucket.list_names("crops/")

    assert send(archive).sent == 0
    assert f"crops/ab/{SHA}-p0.png" not in bucket.list_names("crops/")
    assert not archive.has_crop(SHA, 0)


def test_a_lab_works_on_while_the_storage_is_away(bucket, tmp_path) -> None:
    away = open_pc(
        tmp_path / "data",
        connect("http://127.0.0.1:9", bucket.access.url, bucket.access.credentials),
    )

    fill(away)

    assert away.field(SHA, 0)[0].shape == (40, 60, 3)
    assert away.has_crop(SHA, 0)
    assert not away.has_crop(OTHER, 0)
    with pytest.raises(ObjectsUnavailable, match="does not answer"):
        away.read(away.crop_path(OTHER, 0))
    with pytest.raises(ObjectsUnavailable, match="does not answer"):
        away.mirror.run_round()
    assert send(open_pc(tmp_path / "data", bucket)).sent == 4


def test_a_bundle_is_taken_when_it_is_complete(bucket, tmp_path) -> None:
    one, two = open_pc(tmp_path / "one", bucket), open_pc(tmp_path / "two", bucket)
    bundle = tmp_path / "one" / "bundles" / "20261101-0badcafe"
    (bundle / "record").mkdir(parents=True)
    (bundle / "weights.safetensors").write_bytes(b"w" * 1000)
    (bundle / "record" / "card.json").write_text("{}")
    make_older(tmp_path / "one")
    send(one)
    assert send(two).fetched == 0  # bundle.json is not there yet

    (bundle / "bundle.json").write_text(json.dumps({"name": "x"}))
    send(one)

    assert send(two).fetched == 3
    got = tmp_path / "two" / "bundles" / "20261101-0badcafe"
    assert (got / "weights.safetensors").read_bytes() == b"w" * 1000
    assert (got / "record" / "card.json").exists()


def test_shards_go_both_ways_and_joined_ones_leave(bucket, tmp_path) -> None:
    one, two = open_pc(tmp_path / "one", bucket), open_pc(tmp_path / "two", bucket)
    form = tmp_path / "one" / "kept-features" / ("0" * 16)
    form.mkdir(parents=True)
    for name in ("a", "b"):
        (form / f"{name * 64}.parquet").write_bytes(name.encode())
    send(one)
    send(two)
    far = tmp_path / "two" / "kept-features" / ("0" * 16)
    assert len(list(far.iterdir())) == 2

    (form / f"{'c' * 64}.parquet").write_bytes(b"ab")
    for name in ("a", "b"):
        (form / f"{name * 64}.parquet").unlink()
    send(one)
    send(two)

    assert [path.name[0] for path in far.iterdir()] == ["c"]

    shutil.rmtree(far)  # kept features may be deleted at any time
    send(two)
    send(two)
    assert [path.name[0] for path in far.iterdir()] == ["c"]
    assert len(bucket.list_names("kept-features/")) == 1


def test_a_lost_index_costs_time_and_nothing_else(bucket, tmp_path) -> None:
    archive = open_pc(tmp_path / "data", bucket)
    fill(archive)
    send(archive)
    archive.mirror.run_round(cache_bytes=1)
    archive.mirror.index.path.unlink()

    assert archive.has_crop(SHA, 0)
    assert archive.field(SHA, 0)[0].shape == (40, 60, 3)
    assert archive.mirror.fetch_all(progress=lambda _done, _of: None) == 2
    assert Archive(tmp_path / "data").damage(SHA, 0, {}) == []
    assert len(list((tmp_path / "data" / "crops" / "ab").iterdir())) == 4


def test_pruned_files_are_found_wherever_they_lie(bucket, tmp_path) -> None:
    archive = open_pc(tmp_path / "data", bucket)
    fill(archive)
    send(archive)
    archive.mirror.run_round(cache_bytes=1)

    files = list(archive.of(SHA, 0))
    assert len(files) == 4
    assert all(archive.measure(file) > 0 for file in files)
    for file in files:
        archive.delete(file)
    assert bucket.list_names("crops/") == []
    assert list(archive.of(SHA, 0)) == []


@given(name=st.text(alphabet="ab./\\~: \x00cropsé-", max_size=40))
def test_no_object_writes_outside_its_folders(name: str) -> None:
    for candidate in (name, f"crops/{name}", f"bundles/{name}/bundle.json"):
        if is_own_name(candidate):
            path = Path("/data", candidate)
            assert path.resolve().is_relative_to("/data")
            assert "\\" not in candidate
            assert ":" not in candidate


def test_hostile_objects_are_left_where_they_are(bucket, tmp_path) -> None:
    (tmp_path / "evil").write_bytes(b"evil")
    for name in (
        "bundles/../../evil/bundle.json",
        "bundles/.hidden/bundle.json",
        "crops/..\\..\\evil",
        "kept-features/0/../../../evil.parquet",
        "agent.toml",
    ):
        bucket.store(name, tmp_path / "evil")
    archive = open_pc(tmp_path / "data", bucket)

    send(archive)
    archive.mirror.fetch_all(progress=lambda _done, _of: None)

    left = {path.name for path in (tmp_path / "data").rglob("*") if path.is_file()}
    assert left <= {"objects.sqlite"}


def test_credentials_that_cannot_be_used_are_named(endpoint, tmp_path) -> None:
    (tmp_path / "keys").write_text("[profile]\nkey = 1\n")
    with pytest.raises(SetupError, match=r"objects_credentials: .*keys cannot be used.*default"):
        connect(endpoint, "s3://b", str(tmp_path / "keys")).find("crops/a")


def test_a_bucket_that_is_missing_is_no_empty_one(endpoint, tmp_path) -> None:
    archive = open_pc(
        tmp_path / "data", connect(endpoint, "s3://nowhere/lab", write_credentials(tmp_path))
    )
    fill(archive)
    with pytest.raises(OSError, match="bucket"):
        archive.mirror.run_round()
    assert archive.crop_path(SHA, 0).exists()
