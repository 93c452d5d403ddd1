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
from labs.feature_shards import FORM, OF, list_kept, row, sha, unit_rows

from agent.features import (
    FeatureFolder,
    FeatureRow,
    FormOfRows,
    SimilarIndex,
    build_row,
    tend_folder,
    to_batch,
)
from agent.features.feature_buffer import read_buffer
from agent.features.feature_folder import MOST_SMALL
from agent.features.feature_rows import encode_shard, read_rows
from model.ood.frozen_features import (
    FeatureForm,
    FrozenFeatures,
    count_blocks,
    iter_nearest,
    iter_unpacked,
    pack_blocks,
)


def fill(folder: FeatureFolder, numbers: range) -> Path:
    for n in numbers:
        folder.buffer.append(OF, row(n))
    folder.compact()
    return folder.list_shards(OF.id)[-1]


@pytest.mark.parametrize("count", [1, 3, 8, 9, 16])
def test_blocks_come_back_nearly_as_they_were_and_never_take_more_than_allowed(count):
    rng = np.random.default_rng(count)
    mean = rng.normal(size=320)
    blocks = (mean + 0.1 * rng.normal(size=(count, 320))).astype(np.float32)
    blocks /= np.linalg.norm(blocks, axis=1, keepdims=True)

    packed = pack_blocks(blocks)
    ((rows, unpacked),) = iter_unpacked([packed, packed], 320)

    kept, total = count_blocks(packed)
    assert (kept, total) == (count, count)
    assert len(packed) <= 3300
    assert rows.tolist() == [0, 1]
    cosines = (unpacked[0] * blocks).sum(axis=1)
    assert cosines.min() > (0.99999 if count <= 8 else 0.9995)


@pytest.mark.parametrize("count", [10, 17, 24, 70, 300])
def test_a_large_field_is_nearly_as_far_from_others_as_by_all_its_blocks(count):
    """Its parts differ in a few ways, as layers and bands of steel do, and by noise."""
    rng = np.random.default_rng(count)
    mean, ways = rng.normal(size=320), rng.normal(size=(6, 320))

    def make(n):
        made = mean + 0.4 * rng.normal(size=(n, 6)) @ ways + 0.1 * rng.normal(size=(n, 320))
        return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)

    def measure(blocks):
        return np.log(np.maximum(1 - (blocks @ others.T).max(axis=1), 1e-6)).mean()

    others = make(97)
    fields = [make(count) for _ in range(40)]
    packed = [pack_blocks(blocks, (4, 9)) for blocks in fields]
    ((rows, unpacked),) = iter_unpacked(packed, 320)

    assert rows.tolist() == list(range(40))
    assert {len(field) for field in packed} <= set(range(2120))
    assert count_blocks(packed[0]) == (min(count, 64), min(count, 255))
    exact = np.array([measure(blocks) for blocks in fields])
    off = np.abs([measure(back) for back in unpacked] - exact)
    ((_rows, nearest),) = iter_nearest(packed, others)
    assert np.allclose(nearest, (unpacked @ others.T).max(axis=2), atol=1e-5)
    assert off.max() < 0.15
    nine = [blocks[np.linspace(0, count - 1, 9).round().astype(int)] for blocks in fields]
    if count == 24:
        by_nine = np.abs([measure(blocks) for blocks in nine] - exact)
        assert np.quantile(off, 0.9) < 0.8 * np.quantile(by_nine, 0.9)


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
    assert batch.blocks[0] == row(1).blocks


def test_a_long_embedding_is_not_kept_twice_and_a_row_stays_within_six_kilobytes(folder):
    rng = np.random.default_rng(1)
    whole = tuple(rng.normal(size=n).astype(np.float32) for n in (48, 80, 224, 640))
    look = np.concatenate([whole[2], whole[3]])
    for n in range(300):
        features = FrozenFeatures(
            "pass 2 long", look * (1 + n), whole, unit_rows(rng, 40, 320), 1e6
        )
        of, kept = build_row(
            features, sha256=sha(n), page=0, recipe="1", crop=sha(0), um_per_px=0.2
        )
        folder.buffer.append(of, kept)
    folder.compact()

    ((_of, table),) = folder.iter_tables(of.id)
    found = SimilarIndex(folder).find(sha(1), 0, n=3)

    assert of.form.is_long
    assert folder.measure().size_bytes <= 6000 * 300
    assert "embedding" not in table.column_names
    assert to_batch(table).embeddings.shape == (300, 864)
    assert count_blocks(to_batch(table).blocks[0]) == (40, 40)
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
    [FormOfRows(FORM, "2"), FormOfRows(FeatureForm("pass 2 b", 16, (8, 12, 20, 24), 16), "1")],
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
    of = FormOfRows(FeatureForm("pass 2 b", 16, (8, 12, 20, 24), 16), "1")
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
