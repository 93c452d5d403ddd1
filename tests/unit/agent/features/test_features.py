"""Kept features are whole or absent; damage is found; of one micrograph the newest row counts."""

from __future__ import annotations

import dataclasses
import errno
import json
import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from labs.feature_shards import FORM, OF, list_kept, row, sha

from agent.features import (
    FeatureFolder,
    FeatureRow,
    FormOfRows,
    SimilarIndex,
    build_row,
    tend_folder,
    to_batch,
)
from agent.features.feature_folder import MOST_SMALL
from agent.features.feature_rows import encode_shard, read_buffer, read_rows
from model.ood.feature_arrays import FeatureForm, FrozenFeatures


def fill(folder: FeatureFolder, numbers: range) -> Path:
    for n in numbers:
        folder.buffer.append(OF, row(n))
    folder.compact()
    return folder.list_shards(OF.id)[-1]


def test_rows_are_read_as_they_were_written_and_the_newest_of_a_micrograph_counts(folder):
    folder.buffer.append(OF, row(1))
    folder.buffer.append(OF, row(2))
    folder.compact()
    folder.buffer.append(OF, row(1, um_per_px=0.4))
    folder.compact()

    kept = folder.select_keys(OF.id)
    ((of, first), *_rest) = folder.iter_tables(OF.id)
    batch = to_batch(first)

    assert list_kept(folder) == {sha(1): 0.4, sha(2): 0.2}
    assert kept.has(sha(1), 0, 0.4)
    assert not kept.has(sha(1), 0, 0.2)
    assert not kept.has(sha(3), 0, 0.2)
    assert of == OF
    assert batch.embeddings[0].tobytes() == row(1).heads
    assert batch.has_scale.all()


def test_a_whole_field_is_kept_as_what_it_is_compared_by(folder):
    rng = np.random.default_rng(1)
    whole = tuple(rng.uniform(size=n).astype(np.float32) for n in (8, 12, 20, 32))
    descriptor = rng.uniform(size=26).astype(np.float32)
    descriptor /= np.linalg.norm(descriptor)
    features = FrozenFeatures("pass 2", np.ones(16, np.float32), whole, descriptor, 1e6)
    of, kept = build_row(features, sha256=sha(1), page=0, recipe="1", crop=sha(0), um_per_px=0.2)
    folder.buffer.append(of, kept)
    folder.compact()

    ((_of, table),) = folder.iter_tables(of.id)

    assert to_batch(table).descriptors[0] == pytest.approx(descriptor, abs=2e-4)


def test_a_long_embedding_is_not_kept_twice_and_a_row_stays_within_five_kilobytes(folder):
    rng = np.random.default_rng(1)
    whole = tuple(rng.normal(size=n).astype(np.float32) for n in (48, 80, 224, 640))
    parts = [np.split(layer, 2) for layer in whole[2:]]
    look = np.concatenate([parts[0][0], parts[1][0], parts[0][1], parts[1][1]])
    for n in range(300):
        features = FrozenFeatures("pass 2 long", look * (1 + n), whole, look[:432], 1e6)
        of, kept = build_row(
            features, sha256=sha(n), page=0, recipe="1", crop=sha(0), um_per_px=0.2
        )
        folder.buffer.append(of, kept)
    folder.compact()

    ((_of, table),) = folder.iter_tables(of.id)
    found = SimilarIndex(folder).find(sha(1), 0, n=3)

    assert of.form.is_long
    assert folder.measure().size_bytes <= 5000 * 300
    assert "embedding" not in table.column_names
    assert to_batch(table).embeddings.shape == (300, 864)
    assert found[0].cosine == pytest.approx(1.0, abs=1e-4)
    assert read_rows(table)[0].embedding == b""


def test_another_crop_recipe_or_network_has_rows_of_its_own(folder):
    other_recipe = FormOfRows(FORM, "2")
    other_network = FormOfRows(dataclasses.replace(FORM, made_by="pass 2 tiny cccc"), "1")
    for of in (OF, other_recipe, other_network):
        folder.buffer.append(of, row(1))
    folder.compact()

    assert len({of.id for of in (OF, other_recipe, other_network)}) == 3
    assert sorted(folder.list_forms()) == sorted(of.id for of in (OF, other_recipe, other_network))
    assert folder.measure().rows == 3


@pytest.mark.parametrize("cut", [1, 20, 300])
def test_a_kill_in_the_middle_of_a_row_costs_that_row_alone(folder, cut):
    for n in range(3):
        folder.buffer.append(OF, row(n))
    (path,) = (folder.folder / "buffers").iterdir()
    os.truncate(path, path.stat().st_size - cut)
    folder.buffer.append(OF, row(7))  # the next process of this name goes on behind the torn row

    ((_of, rows),) = read_buffer(path)
    folder.compact()

    assert [kept.sha256 for kept in rows] == [sha(0), sha(1), sha(7)]
    assert set(list_kept(folder)) == {sha(0), sha(1), sha(7)}
    assert not list((folder.folder / "buffers").iterdir())


@pytest.mark.parametrize("harm", ["cut", "changed", "swapped", "empty"])
def test_a_damaged_shard_is_named_never_read_and_made_again(folder, harm):
    shard = fill(folder, range(3))
    content = shard.read_bytes()
    other = encode_shard(OF, [row(8)])
    shard.write_bytes(
        {
            "cut": content[:-50],
            "changed": content[:500] + b"\x00\x01" + content[502:],
            "swapped": other,
            "empty": b"",
        }[harm]
    )
    fresh = FeatureFolder(folder.folder, "PC-1")

    (fault,) = fresh.iter_faults()

    assert fault.shard == shard.stem
    assert fault.rows == 3
    assert "its hash differs" in fault.sentence
    assert list_kept(fresh) == {}
    assert not shard.exists()
    assert not list(fresh.iter_faults())
    assert set(list_kept_after_filling(fresh)) == {sha(n) for n in range(3)}


@pytest.mark.parametrize(
    "other",
    [FormOfRows(FORM, "2"), FormOfRows(FeatureForm("pass 2 b", 16, (8, 12, 20, 24), 26), "1")],
)
def test_a_shard_moved_from_another_recipe_or_network_is_never_read(folder, other):
    fill(folder, range(3))
    folder.buffer.append(other, _of_form(row(9), other))
    folder.compact()
    (moved,) = folder.list_shards(other.id)
    shutil.copy2(moved, folder.folder / OF.id / moved.name)
    fresh = FeatureFolder(folder.folder, "PC-1")

    (fault,) = fresh.iter_faults()

    assert (fault.form, fault.shard) == (OF.id, moved.stem)
    assert "of another form" in fault.sentence
    assert SimilarIndex(folder).find(sha(9), 0, n=3) in (None, [])
    assert list_kept(fresh) == {sha(n): 0.2 for n in range(3)}
    assert not list(fresh.iter_faults())


def _of_form(kept: FeatureRow, of: FormOfRows) -> FeatureRow:
    return dataclasses.replace(kept, embedding=kept.embedding[: 2 * of.form.moments[-1]])


def test_an_odd_thing_among_shards_and_buffers_stops_nothing(folder):
    shard = fill(folder, range(3))
    (folder.folder / OF.id / f"{'e' * 64}.parquet").mkdir()
    (folder.folder / OF.id / f"{'f' * 64}.parquet").symlink_to("/dev/zero")
    (folder.folder / "buffers" / "x.buffer").mkdir()
    other = FeatureFolder(folder.folder, "PC-2")
    of = FormOfRows(FeatureForm("pass 2 b", 16, (8, 12, 20, 24), 26), "1")
    folder.buffer.append(OF, row(5))
    other.buffer.append(of, _of_form(row(6), of))
    one, two = sorted(p for p in (folder.folder / "buffers").iterdir() if p.is_file())
    joined = two.read_bytes() + one.read_bytes()
    one.write_bytes(joined)
    two.unlink()

    assert folder.compact() == 2
    assert set(list_kept(folder)) == {*map(sha, range(3)), sha(5)}
    assert folder.select_keys(of.id).has(sha(6), 0, 0.2)
    assert shard.exists()
    assert {fault.shard[0] for fault in folder.iter_faults()} <= {"e", "f"}


@pytest.mark.parametrize(
    "note", ['{"rows": "many"}', '{"rows": null}', '{"rows": 1e999}', "[1]", '{"size_bytes": {}}']
)
def test_a_damaged_note_makes_nothing_unreadable(folder, note):
    fill(folder, range(MOST_SMALL)).with_suffix(".json").write_text(note)
    shutil.move(folder.folder, folder.folder.with_name("restored"))
    moved = FeatureFolder(folder.folder.with_name("restored"), "PC-1")

    assert moved.measure().forms[OF.id]["shards"] == 1
    assert moved.compact() == 0
    assert not list(moved.iter_faults())
    assert len(list_kept(moved)) == MOST_SMALL


def list_kept_after_filling(folder: FeatureFolder) -> dict[str, float]:
    fill(folder, range(3))
    return list_kept(folder)


def test_a_lost_shard_is_named_until_it_is_forgotten(folder):
    shard = fill(folder, range(3))
    shard.unlink()

    (fault,) = folder.iter_faults()
    folder.discard(fault)

    assert "missing" in fault.sentence
    assert fault.rows == 3
    assert not list(folder.iter_faults())
    assert list_kept(folder) == {}


def test_a_folder_that_disappears_holds_nothing_and_is_made_again(folder):
    fill(folder, range(3))
    index = SimilarIndex(folder)
    assert index.count() == 3

    shutil.rmtree(folder.folder)

    assert index.find(sha(1), 0, n=3) is None
    assert folder.measure().size_bytes == 0
    assert folder.compact() == 0
    assert set(list_kept_after_filling(folder)) == {sha(n) for n in range(3)}


def test_a_full_disk_costs_neither_the_buffer_nor_a_shard(folder, monkeypatch):
    fill(folder, range(2))
    folder.buffer.append(OF, row(5))
    with monkeypatch.context() as full:
        full.setattr("agent.files.whole_file.os.fsync", _refuse)
        with pytest.raises(OSError, match="No space"):
            folder.compact()

    assert set(list_kept(folder)) == {sha(0), sha(1)}
    assert not list(folder.folder.rglob("*.part"))
    folder.compact()
    assert set(list_kept(folder)) == {sha(0), sha(1), sha(5)}


def _refuse(_descriptor: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def _work(folder: str, writer: str, numbers: list[int]) -> None:
    own = FeatureFolder(Path(folder), writer)
    for n in numbers:
        own.buffer.append(OF, row(n))
        if n % 5 == 0:
            own.compact()


def test_two_agents_of_a_site_write_at_once_and_no_row_is_lost(folder):
    context = multiprocessing.get_context("spawn")
    agents = [
        context.Process(target=_work, args=(str(folder.folder), f"PC-{n}", list(numbers)))
        for n, numbers in enumerate((range(30), range(20, 50)))
    ]
    for agent in agents:
        agent.start()
    for agent in agents:
        agent.join(60)

    folder.compact()

    assert [agent.exitcode for agent in agents] == [0, 0]
    assert set(list_kept(folder)) == {sha(n) for n in range(50)}
    assert not list(folder.iter_faults())


def test_small_shards_are_joined_by_the_agent_that_wrote_them(folder):
    other = FeatureFolder(folder.folder, "PC-2")
    fill(other, range(100, 101))
    for n in range(MOST_SMALL):
        fill(folder, range(n, n + 1))

    notes = [json.loads(note.read_bytes()) for note in folder.folder.glob("*/*.json")]

    assert sorted(note["rows"] for note in notes) == [1, MOST_SMALL]
    assert len(folder.list_shards(OF.id)) == 2
    assert len(list_kept(folder)) == MOST_SMALL + 1


def test_similar_ones_of_the_same_scale_come_first_and_a_copy_before_all(folder):
    for n in range(40):
        folder.buffer.append(OF, row(n, um_per_px=0.2 if n % 2 else 0.8))
    folder.buffer.append(OF, row(50, um_per_px=0.8, seed=1))  # looks like 1, at another scale
    folder.buffer.append(OF, row(51, um_per_px=0.205, seed=1))
    folder.compact()

    found = SimilarIndex(folder).find(sha(1), 0, n=30)

    assert found is not None
    assert found[0].sha256 == sha(51)
    assert found[0].cosine == pytest.approx(1.0, abs=1e-4)
    scales = [hit.is_same_scale for hit in found]
    assert scales == sorted(scales, reverse=True)
    others = [hit for hit in found if not hit.is_same_scale]
    assert others[0].sha256 == sha(50)
    assert sha(1) not in {hit.sha256 for hit in found}
    vectors = {n: np.frombuffer(row(n).embedding, np.float16).astype(float) for n in range(40)}
    exact = sorted(
        (n for n in range(3, 40, 2)),
        key=lambda n: -vectors[n] @ vectors[1] / np.linalg.norm(vectors[n]),
    )
    assert [hit.sha256 for hit in found[1:6]] == [sha(n) for n in exact[:5]]
    assert SimilarIndex(folder).find(sha(99), 0, n=3) is None


def test_a_folder_needs_tending_until_its_rows_are_in_shards_that_were_compared(folder):
    before = folder.needs_tending()
    folder.buffer.append(OF, row(1))
    with_buffer = folder.needs_tending()
    given = {"folder": folder.folder, "writer": "PC-1", "check_s": 60.0}
    (compared,) = tend_folder(None, compared=folder.compared, **given)
    with_shard = folder.needs_tending()
    folder.skip_compared(compared)

    assert (before, with_buffer, with_shard) == (False, True, True)
    assert not folder.needs_tending()
    assert list(compared) == folder.list_shards(OF.id)


def test_a_damaged_shard_is_deleted_and_reported_by_what_tends_the_folder(folder):
    shard = fill(folder, range(3))
    shard.write_bytes(b"not what was written")

    given = {"folder": folder.folder, "writer": "PC-1", "compared": {}, "check_s": 60.0}
    fault, compared = tend_folder(None, **given)

    assert (fault.shard, compared) == (shard.stem, {})
    assert not shard.exists()


def test_a_folder_that_cannot_be_written_is_reported_by_what_tends_it(folder, monkeypatch):
    folder.buffer.append(OF, row(1))
    monkeypatch.setattr("os.fsync", _refuse)

    given = {"folder": folder.folder, "writer": "PC-1", "compared": {}, "check_s": 60.0}

    assert list(tend_folder(None, **given)) == ["No space left on device"]


def test_values_of_wrong_length_are_refused_and_shift_no_other() -> None:
    longer = dataclasses.replace(row(1), heads=row(1).heads + b"x")
    shorter = dataclasses.replace(row(2), heads=row(2).heads[:-1])

    with pytest.raises(ValueError, match="bytes long"):
        encode_shard(OF, [longer, shorter])
