"""A site that was renamed by accident writes over nothing and sends nothing again."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from lab import DAY, Lab

from agent.orders.outbox import OUTBOX
from agent.orders.place_check import PlaceCheck
from agent.service.data_folder import agent_name
from agent.service.jobs import outbound
from agent.service.status import build_status_from_store
from agent.settings import read
from agent.store import Store
from tests.unit.agent.orders.test_resumption import HOUR, SETTINGS, Plant

if TYPE_CHECKING:
    from pathlib import Path

    from agent.settings import Settings


@pytest.fixture
def plant(tmp_path, capsys) -> Plant:
    made = Plant(tmp_path, capsys)
    made.say(made.take(), "G8")
    made.send()
    return made


def open_as(lab: Lab, name: str) -> None:
    """Open the lab's database for a site of this name."""
    lab.store.close()
    url = f"sqlite:///{lab.folder / 'martensight.db'}"
    lab.store = Store.open(url, site=name, agent=agent_name())
    lab.places = PlaceCheck(lab.store)


def rename(plant: Plant, name: str = "Works 1", outbox: str = "outbox") -> Settings:
    """Edit `[site] name`, and open the lab's database by the new name."""
    text = SETTINGS.replace("Plant 1", name).replace('outbox = "outbox"', f'outbox = "{outbox}"')
    plant.write("agent.toml", text)
    open_as(plant.lab, name)
    return read(plant.folder / "agent.toml")


def list_content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.json")}


def test_a_renamed_site_sends_nothing_and_is_named(plant) -> None:
    before = list_content(plant.outbox)
    settings = rename(plant)
    plant.say(plant.take(), "G7", at=DAY + HOUR)

    said = outbound.fill_outbox(settings, plant.lab.store, now=DAY + HOUR)
    status = build_status_from_store(settings, plant.lab.store, now=DAY, running=False)
    _, doctor = plant.agent("doctor")

    assert list_content(plant.outbox) == before
    assert "holds results of site 'Plant 1'" in said
    assert 'Put back name = "Plant 1"' in said
    assert said in status["problems"]
    assert "holds results of site 'Plant 1'" in " ".join(doctor.split())


@pytest.mark.parametrize(("name", "outbox"), [("Plant 1", "outbox"), ("Works 1", "new")])
def test_either_way_out_sends_again(plant, name, outbox) -> None:
    rename(plant)
    (plant.folder / "new").mkdir()
    settings = rename(plant, name, outbox)
    plant.say(plant.take("4712"), "G8", at=DAY + HOUR)

    assert outbound.fill_outbox(settings, plant.lab.store, now=DAY + HOUR) == ""
    assert len(list((plant.folder / outbox).glob("4712-r1-*.json"))) == 1


def test_two_sites_of_one_outbox_both_send(plant) -> None:
    other = Lab(plant.folder / "second/data")
    shutil.copy(plant.folder / "specifications.toml", plant.folder / "second")
    told = SETTINGS.replace('"outbox"', '"../outbox"').replace("Plant 1", "Plant 2")
    (plant.folder / "second/agent.toml").write_text(told, encoding="utf-8")
    settings = read(plant.folder / "second/agent.toml")
    open_as(other, "Plant 2")
    first, plant.lab = plant.lab, other
    plant.say(plant.take("4713"), "G8")

    assert outbound.fill_outbox(settings, other.store, now=DAY) == ""
    assert len(list(plant.outbox.glob("4713-r1-*.json"))) == 1
    first.store.close()


def test_a_delivered_file_is_never_written_over(plant) -> None:
    plant.outbox.rename(plant.folder / "away")
    plant.say(plant.take("4712"), "G8")
    plant.send()
    (plant.folder / "away").rename(plant.outbox)
    revision = plant.lab.store.records.latest(OUTBOX, "4712")
    delivered = plant.outbox / f"4712-r1-{revision.facts['id']}.json"
    delivered.write_text("of another site", encoding="utf-8")

    said = plant.send()

    assert delivered.read_text("utf-8") == "of another site"
    assert "'Plant 1'" in said
    assert delivered.name in said
