"""The archive in an object storage: nothing is lost, and nothing else than what was stored is read.

Against a real S3 server on this PC.
"""

import hashlib
import json
import os
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from labs.stored import SHA, crop_of
from servers.object_storage import (
    connect,
    make_bucket,
    make_older,
    open_client,
    open_pc,
    serve_through,
    write_credentials,
)

from agent.archive import Archive
from agent.errors import SetupError
from agent.objects import DamagedObjectError, ObjectsUnavailableError
from agent.objects.mirrored_files import is_own_name

OTHER = "cd" * 32


def fill(archive: Archive, sha256: str = SHA, seed: int = 0) -> dict[str, str]:
    noise = np.random.default_rng(seed).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    return archive.keep(crop_of(noise, sha256=sha256))


def send(archive: Archive, **choice) -> object:
    make_older(archive.folder)
    return archive.mirror.run_round(**choice)


def fill_away(bucket, folder: Path) -> Archive:
    """Keep one micrograph whose files are in the storage alone."""
    archive = open_pc(folder / "data", bucket)
    fill(archive)
    send(archive)
    archive.mirror.run_round(cache_bytes=1)
    return archive


def send_two_shards(bucket, folder: Path) -> tuple[Archive, Archive, Path, Path]:
    """Send two shards from one PC to another; return both and the folders of their shards."""
    one, two = open_pc(folder / "one", bucket), open_pc(folder / "two", bucket)
    near, far = (folder / pc / "kept-features" / ("0" * 16) for pc in ("one", "two"))
    near.mkdir(parents=True)
    for name in ("a", "b"):
        (near / f"{name * 64}.parquet").write_bytes(name.encode())
    send(one)
    send(two)
    return one, two, near, far


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

    with pytest.raises(DamagedObjectError, match="other bytes than were sent"):
        archive.field(SHA, 0)
    (fault,) = archive.damage(SHA, 0, {"crop": hashes["crop"]})
    assert "not what was archived" in fault
    assert not archive.crop_path(SHA, 0).exists()


def test_a_deleted_file_is_nowhere_also_if_the_storage_was_away(bucket, endpoint, tmp_path) -> None:
    data = tmp_path / "data"
    archive = open_pc(data, bucket)
    fill(archive)
    send(archive)
    away = open_pc(data, connect("http://127.0.0.1:9", bucket.url, bucket.credentials))

    away.delete(archive.crop_path(SHA, 0))
    assert not away.has_crop(SHA, 0)
    assert f"crops/ab/{SHA}-p0.png" in bucket.list_names("crops/")

    assert send(archive).sent == 0
    assert f"crops/ab/{SHA}-p0.png" not in bucket.list_names("crops/")
    assert not archive.has_crop(SHA, 0)


def test_a_lab_works_on_while_the_storage_is_away(bucket, tmp_path) -> None:
    away = open_pc(
        tmp_path / "data",
        connect("http://127.0.0.1:9", bucket.url, bucket.credentials),
    )

    fill(away)

    assert away.field(SHA, 0)[0].shape == (40, 60, 3)
    assert away.has_crop(SHA, 0)
    with pytest.raises(ObjectsUnavailableError, match="does not answer"):
        away.has_crop(OTHER, 0)  # nobody knows
    with pytest.raises(ObjectsUnavailableError, match="does not answer"):
        away.read(away.crop_path(OTHER, 0))
    with pytest.raises(ObjectsUnavailableError, match="does not answer"):
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
    one, two, form, far = send_two_shards(bucket, tmp_path)
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


def test_a_shard_that_is_lost_on_one_pc_is_lost_nowhere_else(bucket, tmp_path) -> None:
    one, two, form, far = send_two_shards(bucket, tmp_path)

    (far / f"{'a' * 64}.parquet").unlink()  # it was damaged
    send(two)
    send(two)
    bucket.delete(f"kept-features/{'0' * 16}/{'b' * 64}.parquet")  # by somebody else
    send(one)
    send(one)

    assert sorted(path.name[0] for path in far.iterdir()) == ["a", "b"]
    assert sorted(path.name[0] for path in form.iterdir()) == ["a", "b"]
    assert len(bucket.list_names("kept-features/")) == 2


def test_a_lost_index_costs_time_and_nothing_else(bucket, tmp_path) -> None:
    archive = fill_away(bucket, tmp_path)
    archive.mirror.index.path.unlink()

    assert archive.has_crop(SHA, 0)
    assert archive.field(SHA, 0)[0].shape == (40, 60, 3)
    assert archive.mirror.fetch_all(progress=lambda _done, _of: None) == 2
    assert Archive(tmp_path / "data").damage(SHA, 0, {}) == []
    assert len(list((tmp_path / "data" / "crops" / "ab").iterdir())) == 4


def test_pruned_files_are_found_wherever_they_lie(bucket, tmp_path) -> None:
    archive = fill_away(bucket, tmp_path)

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


def test_an_object_that_is_named_as_a_folder_holds_up_nothing_else(bucket, tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"bytes")
    for name in (
        *("bundles/B/bundle.json", "bundles/B/part", "bundles/B/part/one"),
        *("crops/ab", f"crops/ab/{SHA}-p0.png", "kept-features/0/a", "kept-features/0/a/b"),
    ):
        bucket.store(name, tmp_path / "file")
    archive = open_pc(tmp_path / "data", bucket)

    send(archive)
    archive.mirror.fetch_all(progress=lambda _done, _of: None)

    data = tmp_path / "data"
    assert (data / "bundles" / "B" / "part" / "one").read_bytes() == b"bytes"
    assert (data / "crops" / "ab" / f"{SHA}-p0.png").read_bytes() == b"bytes"


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


def split_name(bucket, name: str) -> tuple[str, str]:
    """Return bucket and key of an object."""
    return bucket.name, bucket.prefix + name


def put(bucket, name: str, content: bytes, sha256: str = "") -> None:
    """Store an object as another program would."""
    of_bucket, key = split_name(bucket, name)
    told = {"sha256": sha256} if sha256 else {}
    open_client(bucket).put_object(Bucket=of_bucket, Key=key, Body=content, Metadata=told)


def put_in_parts(bucket, name: str, content: bytes, sha256: str) -> None:
    """Put an object as programs send large ones: the storage then knows no MD5 of all of it."""
    client, (folder, key) = open_client(bucket), split_name(bucket, name)
    begun = client.create_multipart_upload(Bucket=folder, Key=key, Metadata={"sha256": sha256})
    place = {"Bucket": folder, "Key": key, "UploadId": begun["UploadId"]}
    part = client.upload_part(**place, PartNumber=1, Body=content)
    parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
    client.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})


def open_through(data: Path, bucket, endpoint: str) -> Archive:
    """Open the archive of a PC whose storage is behind another server."""
    return open_pc(data, connect(endpoint, bucket.url, bucket.credentials))


def make_bundle(folder: Path, name: str = "20261101-0badcafe", *, files: int = 1) -> Path:
    bundle = folder / "bundles" / name
    bundle.mkdir(parents=True)
    (bundle / "bundle.json").write_text("{}")
    for number in range(files):
        (bundle / f"weights-{number}.safetensors").write_bytes(os.urandom(200_000))
    return bundle


def test_what_waited_for_a_missing_bucket_is_sent_when_it_is_there(endpoint, tmp_path) -> None:
    bucket = connect(endpoint, "s3://made-later/lab", write_credentials(tmp_path))
    archive = open_pc(tmp_path / "data", bucket)
    fill(archive)
    with pytest.raises(ObjectsUnavailableError, match="no bucket 'made-later'"):
        send(archive)

    make_bucket(endpoint, "made-later")

    assert len(list(archive.mirror.iter_unsent())) == 4
    assert archive.mirror.run_round().sent == 4


def test_a_pruned_file_does_not_come_back_before_the_storage_has_deleted_it(
    bucket, tmp_path
) -> None:
    archive = open_pc(tmp_path / "data", bucket)
    fill(archive)
    send(archive)
    crop = archive.crop_path(SHA, 0)
    open_through(tmp_path / "data", bucket, "http://127.0.0.1:9").delete(crop)

    assert not archive.has_crop(SHA, 0)
    assert crop not in archive.of(SHA, 0)
    with pytest.raises(FileNotFoundError, match="deleted"):
        archive.read(crop)
    assert archive.mirror.fetch_all(progress=lambda _done, _of: None) == 0
    assert not crop.exists()


def test_a_file_that_is_pruned_while_it_is_sent_is_nowhere(bucket, endpoint, tmp_path) -> None:
    archive = open_pc(tmp_path / "data", bucket)
    fill(archive)
    crop = archive.crop_path(SHA, 0)

    def prune(method: str, path: str) -> None:
        if method == "PUT" and path.endswith("-p0.png"):
            archive.delete(crop)

    with serve_through(endpoint, prune) as slow:
        send(open_through(tmp_path / "data", bucket, slow))

    assert not crop.exists()
    assert f"crops/ab/{SHA}-p0.png" not in bucket.list_names("crops/")
    assert not archive.has_crop(SHA, 0)


def test_a_file_that_came_without_an_index_leaves_the_disk_only_by_its_own_hash(
    bucket, tmp_path
) -> None:
    archive = fill_away(bucket, tmp_path)
    archive.mirror.index.path.unlink()
    crop = archive.crop_path(SHA, 0)
    good = archive.read(crop)
    foreign = b"x" * len(good)
    put(bucket, f"crops/ab/{SHA}-p0.png", foreign, hashlib.sha256(foreign).hexdigest())

    archive.mirror.run_round(cache_bytes=1)

    assert crop.read_bytes() == good


@pytest.mark.parametrize("kept", [0, 100, 5000], ids=["garbage", "short", "a later page"])
def test_a_damaged_index_is_put_aside_and_counts_as_lost(bucket, tmp_path, kept) -> None:
    archive = fill_away(bucket, tmp_path)
    index = archive.mirror.index.path
    index.write_bytes(index.read_bytes()[:kept] + b"garbage!" * 3000)

    fill(archive, OTHER, seed=1)  # the lab works on

    assert send(archive).sent == 4
    assert index.with_name("objects.sqlite.damaged").exists()
    assert archive.field(SHA, 0)[0].shape == (40, 60, 3)
    assert len(bucket.list_names("crops/")) == 8


def test_a_bundle_is_complete_also_where_the_fetching_of_all_is_killed(bucket, tmp_path) -> None:
    one, two = open_pc(tmp_path / "one", bucket), open_pc(tmp_path / "two", bucket)
    make_bundle(tmp_path / "one")
    fill(one)
    send(one)

    def kill(_done: int, _of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        two.mirror.fetch_all(progress=kill)

    names = [path.name for path in (tmp_path / "two" / "bundles").iterdir()]
    assert names == ["20261101-0badcafe"]
    assert len(list((tmp_path / "two" / "bundles" / names[0]).iterdir())) == 2


def test_processes_that_fetch_one_bundle_at_once_do_not_spoil_it(bucket, endpoint, tmp_path):
    make_bundle(tmp_path / "one", files=3)
    send(open_pc(tmp_path / "one", bucket))
    gate = threading.Barrier(2)

    def meet(method: str, path: str) -> None:
        if method == "GET" and path.endswith("weights-1.safetensors"):
            gate.wait(120)  # both have begun, and neither is done

    with serve_through(endpoint, meet) as slow:
        both = [
            threading.Thread(target=open_through(tmp_path / "two", bucket, slow).mirror.run_round)
            for _ in range(2)
        ]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()

    (bundle,) = (tmp_path / "two" / "bundles").iterdir()
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == {
        path.name: path.read_bytes()
        for path in (tmp_path / "one" / "bundles" / bundle.name).iterdir()
    }


def test_a_damaged_bundle_holds_up_nothing_else(bucket, tmp_path) -> None:
    one, two = open_pc(tmp_path / "one", bucket), open_pc(tmp_path / "two", bucket)
    damaged, good = (make_bundle(tmp_path / "one", name) for name in ("20261101-a", "20261102-b"))
    send(one)
    put(bucket, f"bundles/{damaged.name}/weights-0.safetensors", b"v" * 9, "00" * 32)
    fill(two)

    make_older(two.folder)
    with pytest.raises(DamagedObjectError, match="20261101-a/weights-0"):
        two.mirror.run_round(cache_bytes=1)

    assert [path.name for path in (tmp_path / "two" / "bundles").iterdir()] == [good.name]
    assert not two.crop_path(SHA, 0).exists()


def test_kept_features_stay_on_the_disk_of_a_lab_whose_storage_was_emptied(
    bucket, tmp_path
) -> None:
    archive = open_pc(tmp_path / "data", bucket)
    shard = tmp_path / "data" / "kept-features" / ("0" * 16) / f"{'a' * 64}.parquet"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"a")
    send(archive)
    for name in bucket.list_names(""):
        bucket.delete(name)  # by somebody else

    archive.mirror.run_round()

    assert shard.exists()
    assert send(archive).sent == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>Log in to this network.</html>",
        b"<ListBucketResult><Name>b</Name><IsTruncated>true</IsTruncated></ListBucketResult>",
        (
            b"<ListBucketResult><Name>b</Name><IsTruncated>true</IsTruncated>"
            b"<NextContinuationToken>t</NextContinuationToken></ListBucketResult>"
        ),
    ],
    ids=["empty", "html", "broken off", "endless"],
)
def test_what_is_no_whole_list_is_no_empty_storage(bucket, endpoint, tmp_path, content) -> None:
    archive = open_pc(tmp_path / "data", bucket)
    fill(archive)
    send(archive)

    with serve_through(endpoint, lambda _method, _path: (200, content)) as wrong:
        other = open_through(tmp_path / "data", bucket, wrong)
        with pytest.raises(ObjectsUnavailableError, match="no whole list"):
            list(other.of(SHA, 0))
        with pytest.raises(ObjectsUnavailableError, match="no whole list"):
            other.mirror.run_round()


def test_a_deletion_waits_for_a_bucket_that_is_missing(endpoint, tmp_path) -> None:
    bucket = connect(endpoint, "s3://gone/lab", write_credentials(tmp_path))
    archive = open_pc(tmp_path / "data", bucket)
    fill(archive)

    archive.delete(archive.crop_path(SHA, 0))

    assert not archive.crop_path(SHA, 0).exists()
    assert archive.mirror.index.list_doomed() == [f"crops/ab/{SHA}-p0.png"]


def test_a_folder_that_is_a_link_to_another_disk_is_sent(bucket, tmp_path) -> None:
    archive = open_pc(tmp_path / "data", bucket)
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "crops").symlink_to(tmp_path / "disk", target_is_directory=True)
    (tmp_path / "disk" / "loop").symlink_to(tmp_path / "disk", target_is_directory=True)
    fill(archive)
    make_older(tmp_path / "disk")

    assert archive.mirror.run_round(cache_bytes=1).removed == 4
    assert archive.field(SHA, 0)[0].shape == (40, 60, 3)


def test_a_file_that_is_deleted_while_it_is_compared_ends_no_round(bucket, endpoint, tmp_path):
    archive = open_pc(tmp_path / "data", bucket)
    hashes = fill(archive)
    send(archive)
    crop, name = archive.crop_path(SHA, 0), f"crops/ab/{SHA}-p0.png"
    put_in_parts(bucket, name, crop.read_bytes(), hashes["crop"])  # its ETag is no MD5

    def delete(method: str, path: str) -> None:
        if method == "GET" and path.endswith(name):
            crop.unlink(missing_ok=True)

    with serve_through(endpoint, delete) as behind:
        other = open_through(tmp_path / "data", bucket, behind)
        assert other.mirror.run_round(cache_bytes=1).removed == 3

    assert not crop.exists()
    assert archive.field(SHA, 0)[0].shape == (40, 60, 3)


def test_a_file_stays_where_the_storage_has_other_bytes_with_the_same_note(bucket, tmp_path):
    archive = open_pc(tmp_path / "data", bucket)
    hashes = fill(archive)
    send(archive)
    crop, name = archive.crop_path(SHA, 0), f"crops/ab/{SHA}-p0.png"
    rotten = crop.read_bytes()[:-9] + b"\0" * 9
    put(bucket, name, rotten, hashes["crop"])  # of the same size

    archive.mirror.run_round(cache_bytes=1)

    assert crop.exists()
    send(archive, cache_bytes=1)  # mended, and then removed
    assert bucket.compute_hash(name) == hashes["crop"]
    assert not crop.exists()


def test_a_storage_that_makes_no_md5_is_read_through_before_a_file_leaves(bucket, tmp_path):
    archive = open_pc(tmp_path / "data", bucket)
    hashes = fill(archive)
    send(archive)
    content = archive.crop_path(SHA, 0).read_bytes()
    put_in_parts(bucket, f"crops/ab/{SHA}-p0.png", content, hashes["crop"])

    assert archive.mirror.run_round(cache_bytes=1).removed == 4
    assert not archive.crop_path(SHA, 0).exists()
    assert archive.damage(SHA, 0, hashes) == []


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_cannot_be_read_holds_up_no_other(bucket, tmp_path) -> None:
    archive = open_pc(tmp_path / "data", bucket)
    fill(archive)
    fill(archive, OTHER, seed=1)
    crop = archive.crop_path(SHA, 0)  # the first to be sent
    crop.chmod(0)

    for _ in range(2):
        with pytest.raises(PermissionError, match=crop.name):
            send(archive)

    assert len(bucket.list_names("crops/")) == 7
    crop.chmod(0o600)
    assert send(archive).sent == 1
