"""A site that was renamed by accident writes over nothing and sends nothing again."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from lab import DAY, Lab
from test_resumption import HOUR, SETTINGS, Plant

from agent.orders.outbox import OUTBOX
from agent.service.data_folder import agent_name
from agent.service.jobs import outbound
from agent.service.status import build_status_from_store
from agent.settings import read
from agent.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from agent.settings import Settings


@pytest.fixture
def plant(tmp_path, capsys) -> Plant:
    made = Plant(tmp_path, capsys)
    made.say(made.take(), "G8")
    made.send()
    return made


def rename(plant: Plant, name: str = "Works 1") -> Settings:
    """Edit `[site] name`, and open the lab's database by the new name."""
    plant.write("agent.toml", SETTINGS.replace("Plant 1", name))
    settings = read(plant.folder / "agent.toml")
    plant.lab.store.close()
    plant.lab.store = Store.open(
        f"sqlite:///{plant.folder / 'data/martensight.db'}", site=name, agent=agent_name()
    )
    return settings


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


@pytest.mark.parametrize("change", ["the name put back", "a new outbox"])
def test_either_way_out_sends_again(plant, change) -> None:
    rename(plant)
    if change == "a new outbox":
        plant.write("agent.toml", SETTINGS.replace("Plant 1", "Works 1").replace("outbox", "out2"))
        (plant.folder / "out2").mkdir()
        text = (plant.folder / "agent.toml").read_text("utf-8")
        plant.write("agent.toml", text.replace("out2 =", "outbox =").replace("out2_f", "outbox_f"))
        settings = read(plant.folder / "agent.toml")
    else:
        settings = rename(plant, "Plant 1")
    plant.say(plant.take("4712"), "G8", at=DAY + HOUR)

    assert outbound.fill_outbox(settings, plant.lab.store, now=DAY + HOUR) == ""
    folder = plant.folder / ("out2" if change == "a new outbox" else "outbox")
    assert len(list(folder.glob("4712-r1-*.json"))) == 1


def test_two_sites_of_one_outbox_both_send(plant) -> None:
    other = Lab(plant.folder / "second/data")
    other.store.close()
    shutil.copy(plant.folder / "specifications.toml", plant.folder / "second")
    told = SETTINGS.replace('"outbox"', '"../outbox"').replace("Plant 1", "Plant 2")
    (plant.folder / "second/agent.toml").write_text(told, encoding="utf-8")
    settings = read(plant.folder / "second/agent.toml")
    url = f"sqlite:///{other.folder / 'martensight.db'}"
    other.store = Store.open(url, site="Plant 2", agent=agent_name())
    told = {"order": "4713", "specimen": "1", "field": "1", "material": "100Cr6"}
    public_id = other.take("G8", **told)
    plant.lab, first = other, plant.lab
    plant.say(public_id, "G8")

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
