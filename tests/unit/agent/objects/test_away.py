"""A storage that does not answer is a reason to wait: nothing counts as lost, damaged or absent."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from labs.lab import Lab
from labs.pipeline import Bench
from servers.object_storage import connect, open_pc, write_credentials

from agent.archive import Archive
from agent.backup import maintenance
from agent.errors import AgentError
from agent.labelled_import import make_loader
from agent.objects import ObjectsUnavailableError, Uploaded
from agent.retrain.reprocessing import build_judge
from agent.retrain.training_set import collect
from agent.service.health.problems import Problems
from agent.service.jobs.archive import Verifier
from agent.store import Decision
from agent.triage import Policy
from model import default_taxonomy

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
AWAY = "http://127.0.0.1:9"


@pytest.fixture
def lab(tmp_path):
    """Make a lab of two micrographs; the crop of the first is only in a storage that is away."""
    made = Lab(tmp_path / "data")
    ids = [made.take("G8", order="4711", field=str(n), reasons=("uncertain",)) for n in (1, 2)]
    made.archive = open_pc(
        made.archive.folder, connect(AWAY, "s3://lab/one", write_credentials(tmp_path))
    )
    view = made.store.results.find(ids[0])
    for path in sorted(made.archive.folder.glob(f"crops/??/{view.sha256}-p0.*")):
        name = path.relative_to(made.archive.folder).as_posix()
        made.archive.mirror.index.record(Uploaded(name, 1, 0, "", is_local=False))
        path.unlink()
    yield SimpleNamespace(lab=made, store=made.store, archive=made.archive, view=view)
    made.store.close()


@pytest.fixture
def bench(tmp_path):
    """Make an archive of three files; the crop of the second is only in a storage that is away."""
    made = Bench(tmp_path)
    for number in range(3):
        made.export(f"{number}.png", seed=number)
    made.take()
    bucket = connect(AWAY, "s3://lab/one", write_credentials(tmp_path))
    made.archive = open_pc(made.archive.folder, bucket)
    view = made.views()[1]
    made.archive.crop_path(view.sha256, view.page).unlink()
    yield made
    made.store.close()


def test_what_cannot_be_looked_up_is_neither_absent_nor_damaged(bench) -> None:
    view = bench.views()[1]

    with pytest.raises(ObjectsUnavailableError):
        bench.archive.has_crop(view.sha256, view.page)
    with pytest.raises(ObjectsUnavailableError):
        list(maintenance.verify(bench.store, bench.archive, progress=lambda *_: None))
    with pytest.raises(ObjectsUnavailableError):
        list(maintenance.check(bench.store, bench.archive))


def test_a_command_says_it_in_a_sentence(lab) -> None:
    with pytest.raises(AgentError, match=r"s3://lab/one does not answer"):
        lab.archive.field(lab.view.sha256, 0)


def test_the_background_check_writes_no_damage_into_the_trail_and_goes_on_later(bench) -> None:
    problems = Problems()
    verifier = Verifier(bench.store, bench.archive, now=lambda: NOON, problems=problems)

    verifier.look()
    verifier.look()

    assert list(bench.store.audit_log.iter_acts("pixels")) == []
    assert problems.all() == []
    assert bench.store.jobs.list_running(at=NOON) == []

    on_disk = Archive(bench.archive.folder)
    Verifier(bench.store, on_disk, now=lambda: NOON, problems=problems).look()
    assert len(problems.all()) == 1  # in a lab without a storage the same crop is lost


def test_no_label_is_left_out_of_a_training(lab) -> None:
    name = f"crops/{lab.view.sha256[:2]}/{lab.view.sha256}-p0.png"
    lab.store.labels.decide(lab.view.id, Decision("code", "Ada", code="G8"), at=NOON)
    lab.archive.mirror.index.forget(name)

    with pytest.raises(ObjectsUnavailableError):
        collect(lab.store, lab.archive, default_taxonomy(), learns_from=("seen",))
    with pytest.raises(ObjectsUnavailableError):
        make_loader(lab.archive, lab.view.sha256, 0, 0.1)()


def test_a_micrograph_is_not_judged_again_as_one_without_a_crop(lab) -> None:
    lab.archive.mirror.index.forget(f"crops/{lab.view.sha256[:2]}/{lab.view.sha256}-p0.png")
    judge = build_judge(lab.archive, None, policy=Policy(control_share=0.0), thresholds={})

    with pytest.raises(ObjectsUnavailableError):
        judge([lab.view])


def test_a_page_of_a_micrograph_without_maps_is_shown(lab) -> None:
    other = next(view for view in lab.store.results.iter_all() if view.id != lab.view.id)

    assert lab.archive.maps(other.sha256, 0, "20260101-00000000") == {}


def test_a_new_statement_is_written(lab) -> None:
    lab.archive.keep_statement_aside("ab" * 32, "pdf", b"new")
