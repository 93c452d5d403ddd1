"""A site that was renamed by accident writes over nothing and sends nothing again."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path

import pytest
from labs.lab import DAY, Lab
from labs.plant import HOUR, SETTINGS, Plant
from labs.shell import Shell

from agent.orders.facts.place_check import PlaceCheck
from agent.orders.lims.outbox import OUTBOX
from agent.service.data_folder import agent_name
from agent.service.health.status import build_status_from_store
from agent.service.jobs import exchange
from agent.settings import Settings, read
from agent.store import Store, store_url


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

    said = exchange.fill_outbox(settings, plant.lab.store, now=DAY + HOUR)
    status = build_status_from_store(settings, plant.lab.store, now=DAY, running=False)
    _, doctor = plant.agent("doctor", "--json")

    assert list_content(plant.outbox) == before
    assert "holds results of site 'Plant 1'" in said
    assert 'Put back name = "Plant 1"' in said
    assert said in status["problems"]
    assert "holds results of site 'Plant 1'" in doctor


def test_a_renamed_site_without_an_outbox_is_named(tmp_path, capsys) -> None:
    lab = Shell(tmp_path, capsys)
    begin(lab, DAY)
    assert problems_of(lab, "Plant 1") == []

    found = problems_of(lab, "Works 1")
    _, once = lab.agent("run", "--once")
    begin(lab, DAY + HOUR)
    running = problems_of(lab, "Works 1")
    back = problems_of(lab, "Plant 1")

    assert [len(found), len(running), back] == [1, 1, []]
    assert "ran for site 'Plant 1' before" in found[0]
    assert 'Put back name = "Plant 1"' in found[0]
    assert "ran for site 'Plant 1' before" in " ".join(once.split())


def test_a_new_site_in_the_folder_of_one_that_another_pc_runs_is_no_renamed_one(
    tmp_path, capsys
) -> None:
    lab = Shell(tmp_path, capsys)
    begin(lab, DAY)
    begin(lab, DAY + HOUR, agent="Other PC")

    assert problems_of(lab, "Works 1") == []


def begin(shell: Shell, at: datetime, agent: str = "") -> None:
    """Start an agent for the site of the settings, as `agent run` does."""
    settings = read(shell.folder / "agent.toml")
    folder = settings.store.folder
    name = agent or agent_name()
    with Store.open(store_url(folder), site=settings.site.name, agent=name, folder=folder) as store:
        store.agents.record_start(at=at)
        store.settings_history.record(settings.model_dump(mode="json"), at=at)
    with Store.open(store_url(folder), site=settings.site.name, agent=name, folder=folder):
        pass


def problems_of(shell: Shell, name: str) -> list[str]:
    """Return what `agent status` and `agent doctor` report of the site's name."""
    shell.write("agent.toml", f'[site]\nname = "{name}"\n')
    _, status = shell.agent("status", "--json")
    _, doctor = shell.agent("doctor", "--json")
    found = [line for line in json.loads(status)["problems"] if line.startswith("[site] name")]
    checks = [check for check in json.loads(doctor) if check["check"] == "site name"]
    assert [check["sentence"] for check in checks] == found
    return found


@pytest.mark.parametrize(("name", "outbox"), [("Plant 1", "outbox"), ("Works 1", "new")])
def test_either_way_out_sends_again(plant, name, outbox) -> None:
    rename(plant)
    (plant.folder / "new").mkdir()
    settings = rename(plant, name, outbox)
    plant.say(plant.take("4712"), "G8", at=DAY + HOUR)

    assert exchange.fill_outbox(settings, plant.lab.store, now=DAY + HOUR) == ""
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

    assert exchange.fill_outbox(settings, other.store, now=DAY) == ""
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
