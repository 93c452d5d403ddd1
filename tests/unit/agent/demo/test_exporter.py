"""Micrographs drawn ahead are the same ones; the simulated microscope reports why it stopped."""

import csv
from dataclasses import replace

import pytest

from agent.cli.start.demo import _Microscope
from agent.demo.demo import AgentProcess, DemoFolders, DemoSize
from agent.demo.exporter import Drawings, encode, export, plan_night, plan_ordinary, write_manifest
from agent.errors import UsageError
from agent.store import Store, StoreFaultError
from agent.store.work.files import Files


@pytest.fixture
def microscope(tmp_path):
    places, size = DemoFolders(tmp_path), replace(DemoSize(), pixels=(160, 120))
    places.export.mkdir()
    night = plan_night(seed=1, specimens=1, strange_each=0)[:1]
    agent = AgentProcess(places.settings, tmp_path / "agent-run.txt")
    with (
        Drawings([], night, size.pixels) as drawings,
        Store.open("sqlite://", site="Plant 1", agent="PC") as store,
    ):
        yield _Microscope(night, places, size, drawings, store=store, agent=agent)


def test_a_database_that_is_away_is_reported_with_its_own_sentence(microscope, monkeypatch):
    def away(*_args, **_kwargs):
        raise StoreFaultError("the database is locked")

    monkeypatch.setattr(Files, "iter_status", away)
    microscope.run()

    with pytest.raises(StoreFaultError, match="locked"):
        microscope.raise_if_failed()


def test_a_folder_that_cannot_be_written_is_named(microscope):
    microscope._places.export.rmdir()
    microscope.run()

    with pytest.raises(UsageError, match="cannot be written"):
        microscope.raise_if_failed()


PIXELS = (160, 120)


@pytest.fixture
def pictures():
    return plan_ordinary(("G7", "M8"), 1, first_order=41_000, seed=1, fields=2)


def test_a_folder_is_filled_and_what_exists_stays(tmp_path, pictures):
    kept = tmp_path / pictures[0].code / pictures[0].name
    kept.parent.mkdir()
    kept.write_bytes(b"drawn earlier")
    write_manifest(pictures, tmp_path)

    with Drawings([(tmp_path, pictures)], [], PIXELS) as drawings:
        done = list(drawings.wait(tmp_path))

    with (tmp_path / "manifest.csv").open(encoding="utf-8") as file:
        listed = {row["file"] for row in csv.DictReader(file)}
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*")}
    assert done == [1, 2, 3, 4] == list(range(1, drawings.count(tmp_path) + 1))
    assert found == listed
    assert kept.read_bytes() == b"drawn earlier"


def export_at_once(pictures, folder, **given):
    return list(export(pictures, folder, size=PIXELS, pause_s=0, sleep=lambda _: None, **given))


def test_the_night_exports_the_files_that_were_drawn_ahead(tmp_path, pictures):
    with Drawings([], pictures, PIXELS) as drawings:
        exported = export_at_once(pictures, tmp_path, read=drawings.read)

    for picture in pictures:
        content = encode(picture.drawn(PIXELS), picture.name.rpartition(".")[2])
        assert (tmp_path / picture.name).read_bytes() == content
    assert [file.fault for file in exported[: len(pictures)]] == [""] * len(pictures)


def test_what_is_not_begun_at_the_end_is_not_drawn(tmp_path):
    many = plan_ordinary(("G7",), 20, first_order=41_000, seed=1, fields=2)

    with Drawings([(tmp_path, many)], [], PIXELS) as drawings:
        next(drawings.wait(tmp_path))

    drawn = len(list(tmp_path.glob("*/*")))
    assert 1 <= drawn < len(many)


def test_a_file_is_copied_when_it_has_its_result_so_the_copy_is_the_duplicate(tmp_path, pictures):
    there = []

    def await_result(name):
        there.append((name, sorted(path.name for path in tmp_path.iterdir())))

    exported = export_at_once(pictures, tmp_path, await_result=await_result)

    ((name, names),) = there
    assert name == pictures[0].name
    assert names == sorted(picture.name for picture in pictures)
    assert "the same content twice" in {file.fault for file in exported}
