"""What one PC of a site prunes is gone on all of them, except what has become evidence since.

Two data folders, one database, one object storage: a real S3 server on this PC.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest
from labs.lab import DAY, Lab
from labs.stored import SHA, finding
from servers.object_storage import (
    connect,
    make_older,
    open_pc,
    serve_through,
)

from agent.archive import Archive
from agent.backup import maintenance
from agent.objects import PruneRecords
from agent.objects.mirror import parse_picture
from agent.store import Decision, MicrographView

LATER = DAY + timedelta(days=40)


class Plant:
    """A lab of two PCs; the other has fetched the crops of both micrographs."""

    def __init__(self, folder, bucket) -> None:
        self.lab = Lab(folder / "one")
        self.store, self.bucket = self.lab.store, bucket
        self.lab.compares_places = False
        self.other_folder = folder / "two"
        self.lab.archive = self.first = open_pc(self.lab.folder, bucket)
        self.other = open_pc(self.other_folder, bucket)
        ids = [self.lab.take("G8", name=f"{number}.tif") for number in (1, 2)]
        self.old, self.labelled = (self.store.results.find(public_id) for public_id in ids)
        self.store.labels.decide(self.labelled.id, Decision("code", "Ada", code="G8"), at=DAY)
        self.run(self.first)
        for view in (self.old, self.labelled):
            self.other.field(view.sha256, view.page)
            self.other.read(self.other.thumbnail_path(view.sha256, view.page))

    def run(self, archive: Archive, **choice):
        """Do one round of a PC."""
        make_older(archive.folder)
        return archive.mirror.run_round(records=PruneRecords(self.store.retention), **choice)

    def prune(self, kind: str = "crops") -> None:
        """Prune on the first PC."""
        plans = maintenance.plan(self.store, self.first, befores={kind: LATER})
        assert plans[0].ids == (self.old.id,)
        maintenance.prune(self.store, self.first, plans, at=LATER, progress=lambda *_: None)

    def list_remote(self, view: MicrographView) -> list[str]:
        """Return ends of the names of a micrograph's objects."""
        start = f"crops/{view.sha256[:2]}/{view.sha256}-p0."
        return [name.removeprefix(start) for name in self.bucket.list_names(start)]

    def list_local(self, view: MicrographView) -> list[str]:
        """Return ends of the names of a micrograph's files on the other PC."""
        folder = self.other_folder / "crops" / view.sha256[:2]
        start = f"{view.sha256}-p0."
        return sorted(path.name.removeprefix(start) for path in folder.glob(f"{start}*"))


@pytest.fixture
def plant(tmp_path, bucket):
    made = Plant(tmp_path, bucket)
    yield made
    made.store.close()


SHOWN = ["preview.jpg", "thumb.jpg"]
PIXELS = ["png", "valid.png"]


def test_what_one_pc_prunes_leaves_the_other_and_is_not_sent_again(plant) -> None:
    plant.prune()
    assert plant.list_remote(plant.old) == SHOWN
    assert plant.list_local(plant.old) == [*PIXELS[:1], "thumb.jpg", *PIXELS[1:]]

    done = plant.run(plant.other)

    assert plant.list_local(plant.old) == ["thumb.jpg"]
    assert plant.list_local(plant.labelled) == [*PIXELS[:1], "thumb.jpg", *PIXELS[1:]]
    assert done.pruned == 2
    assert not plant.other.has_crop(plant.old.sha256, 0)
    for _ in range(2):
        plant.run(plant.other, cache_bytes=1)
    assert plant.list_remote(plant.old) == SHOWN
    assert len(plant.list_remote(plant.labelled)) == 5
    assert plant.run(plant.other).pruned == 0


def test_a_pc_that_lost_its_index_does_not_send_what_was_pruned(plant) -> None:
    plant.prune()
    plant.other.mirror.index.path.unlink()

    plant.run(plant.other)

    assert plant.list_remote(plant.old) == SHOWN
    assert plant.list_local(plant.old) == ["thumb.jpg"]


def test_what_became_evidence_after_it_was_pruned_stays_and_is_sent_again(plant) -> None:
    plant.prune()
    plant.store.labels.decide(plant.old.id, Decision("code", "Ada", code="G8"), at=LATER)

    for _ in range(3):
        plant.run(plant.other, cache_bytes=1)

    assert plant.list_remote(plant.old) == ["png", *SHOWN, "valid.png"]
    assert plant.other.has_crop(plant.old.sha256, 0)


def test_a_copy_that_was_fetched_before_the_storage_deleted_it_is_not_sent_again(plant) -> None:
    access = plant.bucket
    away = connect("http://127.0.0.1:9", access.url, access.credentials)
    files = tuple(map(plant.first.crop_path, [plant.old.sha256], [0]))
    maintenance.prune(
        plant.store,
        open_pc(plant.lab.folder, away),
        [maintenance.Pruning("crops", (plant.old.id,), files, 0)],
        at=LATER,
        progress=lambda *_: None,
    )
    third = open_pc(plant.lab.folder.parent / "three", plant.bucket)
    plant.run(third)  # it has read the deletion, and has nothing of the crop
    third.field(plant.old.sha256, 0)
    plant.run(plant.first)  # now the storage deletes it

    for _ in range(3):
        plant.run(third, cache_bytes=1)

    assert "png" not in plant.list_remote(plant.old)
    assert not third.crop_path(plant.old.sha256, 0).exists()


def test_what_is_pruned_while_a_slow_storage_sends_it_is_deleted_with_the_next_round(
    plant, endpoint, bucket
) -> None:
    crop = plant.other.crop_path(plant.old.sha256, 0)
    content = crop.read_bytes()
    crop.unlink()
    plant.other.mirror.index.record_removed(crop.relative_to(plant.other_folder).as_posix())

    def prune_meanwhile(method: str, path: str) -> tuple[int, bytes] | None:
        if method != "GET" or not path.endswith(f"{plant.old.sha256}-p0.png"):
            return None
        plant.prune()
        plant.run(plant.other)  # it reads the deletion, and the file is not there yet
        return 200, content

    with serve_through(endpoint, prune_meanwhile) as behind:
        page = open_pc(plant.other_folder, connect(behind, bucket.url, bucket.credentials))
        page.make_local(crop)
    plant.run(plant.other)

    assert plant.list_local(plant.old) == ["thumb.jpg"]
    assert plant.list_remote(plant.old) == SHOWN
    assert len(plant.list_local(plant.labelled)) == 3


def test_an_original_that_is_pruned_leaves_the_other_pc(plant, tmp_path) -> None:
    picture = tmp_path / "a.tif"
    picture.write_bytes(b"II*\0 original")
    sha256 = hashlib.sha256(picture.read_bytes()).hexdigest()
    claim = plant.lab.arrive("a.tif", at=DAY)
    found = replace(finding(sha256, reasons=()), artefacts={"original": True})
    plant.store.work_queue.finish(claim, [found], at=DAY)
    plant.first.keep_original(picture, sha256)
    plant.run(plant.first)
    kept = plant.other.make_local(plant.other.original_path(sha256))

    (plan,) = maintenance.plan(plant.store, plant.first, befores={"originals": LATER})
    maintenance.prune(plant.store, plant.first, [plan], at=LATER, progress=lambda *_: None)
    plant.run(plant.other)

    assert not kept.exists()
    assert plant.other.original_path(sha256) is None
    assert len(plant.list_local(plant.labelled)) == 3


def test_a_database_that_was_restored_is_read_from_its_beginning(plant) -> None:
    plant.prune()
    plant.other.mirror.index.record_compared("pruned", 10**6)  # of a later state of the database

    plant.run(plant.other)

    assert plant.list_local(plant.old) == ["thumb.jpg"]


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        (f"crops/ab/{SHA}-p12.png", ("crops", SHA, 12)),
        (f"crops/ab/{SHA}-p0.20261101-0badcafe.maps.safetensors", ("crops", SHA, 0)),
        (f"originals/ab/{SHA}.tif", ("originals", SHA, 0)),
        (f"originals/ab/{SHA}", ("originals", SHA, 0)),
        (f"crops/ab/{SHA}-p0.thumb.jpg", None),
        (f"crops/ab/{SHA}.png", None),
        (f"statements/ab/{SHA}.pdf", None),
        ("bundles/20261101-0badcafe/bundle.json", None),
    ],
)
def test_only_files_that_pruning_deletes_are_named_by_it(name, picture) -> None:
    assert parse_picture(name) == picture
