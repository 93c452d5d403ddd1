"""Two copies of one lab's data, or a database that is too old, are named before work begins."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from labs.lab import DAY, Lab
from labs.plant import SETTINGS, Plant

from agent.evidence.anchors import Anchor, append
from agent.service.folder.copies import check_start, write_presence
from agent.service.folder.data_folder import agent_name
from agent.settings import read
from agent.store import Store

HOUR = timedelta(hours=1)


@pytest.fixture
def plant(tmp_path, capsys) -> Plant:
    made = Plant(tmp_path, capsys)
    made.say(made.take(), "G8")
    return made


def copied(plant: Plant) -> tuple[Path, Path]:
    """Copy the lab's data folder to another place, with the same outbox."""
    plant.lab.store.close()
    folder = plant.folder / "second"
    shutil.copytree(plant.folder / "data", folder / "data")
    shutil.copy(plant.folder / "specifications.toml", folder)
    told = SETTINGS.replace('"outbox"', '"../outbox"').replace('"lists"', '"../lists"')
    (folder / "agent.toml").write_text(told, encoding="utf-8")
    plant.lab = Lab(plant.folder / "data")
    return folder / "agent.toml", folder / "data"


def test_two_copies_that_run_at_once_are_refused_and_later_not(plant) -> None:
    config, data = copied(plant)
    write_presence(plant.settings, plant.lab.store, now=DAY)
    second = read(config)
    with Store.open(f"sqlite:///{data}/martensight.db", site="Plant 1", agent="x") as store:
        at_once = check_start(second, store, now=DAY + timedelta(minutes=5))
        running = write_presence(second, store, now=DAY + timedelta(minutes=5))
        later = check_start(second, store, now=DAY + timedelta(minutes=16))
        write_presence(plant.settings, plant.lab.store, now=DAY, is_stopped=True)
        stopped = check_start(second, store, now=DAY + timedelta(minutes=5))

    assert "Another copy of this lab's data runs on" in at_once.refusal
    assert str(plant.settings.store.folder) in at_once.refusal
    assert running == at_once.refusal
    assert (later.refusal, stopped.refusal) == ("", "")


def test_a_presence_of_the_future_refuses_no_moved_lab_and_is_named(plant) -> None:
    config, data = copied(plant)
    write_presence(plant.settings, plant.lab.store, now=DAY + timedelta(days=365))
    second = read(config)
    with Store.open(f"sqlite:///{data}/martensight.db", site="Plant 1", agent="x") as store:
        found = check_start(second, store, now=DAY)
        written = write_presence(second, store, now=DAY)
        after = check_start(second, store, now=DAY)

    assert found.refusal == ""
    assert "in the future, so it does not count" in found.warnings[0]
    assert (written, after.warnings) == ("", ())


def test_a_copy_that_runs_with_a_wrong_clock_is_found_while_both_run(plant) -> None:
    config, data = copied(plant)
    mine: dict[Path, str] = {}
    second = read(config)
    with Store.open(f"sqlite:///{data}/martensight.db", site="Plant 1", agent="x") as store:
        write_presence(plant.settings, plant.lab.store, now=DAY, written=mine)
        write_presence(second, store, now=DAY + timedelta(days=365), written={})
        found = write_presence(plant.settings, plant.lab.store, now=DAY + HOUR, written=mine)

    assert "Another copy of this lab's data runs on" in found


def test_without_an_outbox_a_second_copy_is_a_warning(plant) -> None:
    write_presence(plant.settings, plant.lab.store, now=DAY)
    (presence,) = (plant.outbox / ".martensight").glob("*.presence")
    plant.write("agent.toml", '[site]\nname = "Plant 1"\n[backup]\nfolder = "safe"\n')
    (plant.folder / "safe/.martensight").mkdir(parents=True)
    told = json.loads(presence.read_text("utf-8")) | {"pc": "PC-2", "inode": 1}
    (plant.folder / "safe/.martensight" / presence.name).write_text(json.dumps(told), "utf-8")

    found = check_start(read(plant.folder / "agent.toml"), plant.lab.store, now=DAY)

    assert found.refusal == ""
    assert "PC-2" in found.warnings[0]


def test_this_pc_that_crashed_is_no_other_copy(plant) -> None:
    write_presence(plant.settings, plant.lab.store, now=DAY)

    assert check_start(plant.settings, plant.lab.store, now=DAY) == check_start(
        plant.settings, plant.lab.store, now=DAY + HOUR
    )
    assert check_start(plant.settings, plant.lab.store, now=DAY).refusal == ""


def test_a_container_that_comes_back_with_another_name_is_no_other_copy(plant) -> None:
    write_presence(plant.settings, plant.lab.store, now=DAY)
    (file,) = (plant.outbox / ".martensight").glob("*.presence")
    told = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(told | {"pc": "3f2e1d"}), "utf-8")
    same = check_start(plant.settings, plant.lab.store, now=DAY)
    file.write_text(json.dumps(told | {"pc": "3f2e1d", "inode": 1}), "utf-8")

    other = check_start(plant.settings, plant.lab.store, now=DAY)

    assert same.refusal == ""
    assert "3f2e1d" in other.refusal


def test_a_clone_of_the_pc_with_its_name_is_found_while_both_run(plant) -> None:
    mine: dict[Path, str] = {}
    clones: dict[Path, str] = {}
    first = write_presence(plant.settings, plant.lab.store, now=DAY, written=mine)
    later = [DAY + timedelta(minutes=n) for n in (1, 5, 6)]
    started = write_presence(plant.settings, plant.lab.store, now=later[0], written=clones)

    found = write_presence(plant.settings, plant.lab.store, now=later[1], written=mine)
    by_clone = write_presence(plant.settings, plant.lab.store, now=later[2], written=clones)

    assert (first, started) == ("", "")
    assert "Another copy" in found
    assert "Another copy" in by_clone


def put_back_by_hand(plant: Plant, snapshot: Path) -> None:
    plant.lab.store.close()
    for end in ("", "-wal", "-shm"):
        (plant.folder / f"data/martensight.db{end}").unlink(missing_ok=True)
    shutil.copy(snapshot, plant.folder / "data/martensight.db")
    plant.lab = Lab(plant.folder / "data")


def snapshot_of(plant: Plant) -> Path:
    plant.lab.store.close()
    shutil.copy(plant.folder / "data/martensight.db", plant.folder / "snapshot.db")
    plant.lab = Lab(plant.folder / "data")
    return plant.folder / "snapshot.db"


@pytest.mark.parametrize("lost", [(), ("sent",)])
def test_a_disk_that_was_set_back_is_refused_where_it_would_send_again(plant, lost) -> None:
    snapshot = snapshot_of(plant)
    plant.send()
    write_presence(plant.settings, plant.lab.store, now=DAY)
    put_back_by_hand(plant, snapshot)
    for name in lost:
        shutil.rmtree(plant.folder / "data" / name)

    code, said = plant.agent("run", "--once")
    doctor = plant.agent("doctor", "--json")[1]
    taken = plant.agent("restore", "--accept", "database", "--reason", "the snapshot is meant")[0]
    again = plant.agent("run", "--once")

    assert code == 2
    assert "older than what was sent: order 4711: the LIMS holds revision 1" in said
    assert "agent restore --accept database" in said
    assert '"check": "copies", "level": "wrong"' in doctor
    assert taken == 0
    assert again[0] == 0, again[1]


def test_a_database_older_than_the_last_back_up_or_the_anchors_is_a_warning(plant) -> None:
    plant.write("agent.toml", SETTINGS + '[trail]\nanchor = "ends.jsonl"\n')
    settings = read(plant.folder / "agent.toml")
    snapshot = snapshot_of(plant)
    plant.lab.store.audit_log.add(at=DAY, actor="Ada", act="lab.cleaned")
    append(plant.folder / "ends.jsonl", Anchor.of(plant.lab.store.audit_log.get_head(), at=DAY))
    before = check_start(settings, plant.lab.store, now=DAY)
    put_back_by_hand(plant, snapshot)

    after = check_start(settings, plant.lab.store, now=DAY)

    assert before.warnings == ()
    assert after.refusal == ""
    assert "older than what is kept outside it" in after.warnings[0]
    assert "ends.jsonl" in after.warnings[0]


def test_a_restored_back_up_is_no_older_database(plant) -> None:
    plant.write("agent.toml", SETTINGS + '[trail]\nanchor = "ends.jsonl"\n')
    settings = read(plant.folder / "agent.toml")
    file = plant.folder / "safe.zip"
    plant.agent("backup", file)
    public_id = plant.take("4712")
    plant.say(public_id, "G8")
    plant.send()
    append(plant.folder / "ends.jsonl", Anchor.of(plant.lab.store.audit_log.get_head(), at=DAY))
    write_presence(settings, plant.lab.store, now=DAY)
    plant.restore(file)

    found = check_start(settings, plant.lab.store, now=DAY)

    assert (found.refusal, found.warnings) == ("", ())


def test_two_labs_of_one_name_and_one_outbox_do_not_stop_each_other(plant) -> None:
    plant.send()
    other = Lab(plant.folder / "other")
    other.take("G8", order="5000", specimen="1")
    other.store.audit_log.add(at=DAY, actor="Eve", act="lab.opened")
    told = SETTINGS + '[store]\nfolder = "other"\n'
    settings = read(plant.write("other.toml", told))

    found = check_start(settings, other.store, now=DAY)
    other.store.close()

    assert found.refusal == ""


def test_a_presence_names_this_pc_and_where_the_trail_ends(plant) -> None:
    write_presence(plant.settings, plant.lab.store, now=DAY)

    (file,) = (plant.outbox / ".martensight").glob("*.presence")
    told = json.loads(file.read_text("utf-8"))
    assert (told["pc"], told["number"]) == (
        agent_name(),
        plant.lab.store.audit_log.get_head().number,
    )
