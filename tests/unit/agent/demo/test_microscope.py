"""The microscope of the demonstration reports why it could not export to the end."""

from dataclasses import replace

import pytest

from agent.cli.start.demo import _Microscope
from agent.demo.demo import AgentProcess, DemoFolders, DemoSize
from agent.demo.exporter import Drawings, plan_night
from agent.errors import WrongUse
from agent.store import Store, StoreFault
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
        raise StoreFault("the database is locked")

    monkeypatch.setattr(Files, "iter_status", away)
    microscope.run()

    with pytest.raises(StoreFault, match="locked"):
        microscope.raise_if_failed()


def test_a_folder_that_cannot_be_written_is_named(microscope):
    microscope._places.export.rmdir()
    microscope.run()

    with pytest.raises(WrongUse, match="cannot be written"):
        microscope.raise_if_failed()
