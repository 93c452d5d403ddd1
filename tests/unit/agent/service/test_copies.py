"""Two copies of one lab's data, or a database that is too old, are named before work begins."""

from __future__ import annotations

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from labs.lab import DAY, Lab
from labs.plant import SETTINGS, Plant

from agent.evidence.anchors import Anchor, append, list_losses
from agent.orders.lims.resumption import read_floors
from agent.service.copies import check_start, write_presence
from agent.service.data_folder import agent_name
from agent.service.jobs.backup import Anchoring
from agent.settings import read
from agent.store import FOUND_OLDER, Store

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


@pytest.mark.parametrize("lost", [(), ("sent",)])
def test_a_disk_that_was_set_back_goes_on_above_what_was_sent(plant, lost) -> None:
    snapshot = plant.keep_copy()
    plant.send()
    write_presence(plant.settings, plant.lab.store, now=DAY)
    plant.copy_back(snapshot)
    for name in lost:
        shutil.rmtree(plant.folder / "data" / name)

    code, said = plant.agent("run", "--once")
    doctor = plant.agent("doctor", "--json")[1]

    said = " ".join(said.split())
    assert code == 0
    assert "were lost with the database that was replaced by an older one" in said
    assert re.search(r"signs: agent restore --accept \d+ --by NAME --reason TEXT", said)
    assert '"check": "copies", "level": "doubtful"' in doctor
    assert find_floor(plant) == 1


def find_floor(plant: Plant) -> int:
    """Return the revision of order 4711 above which the next one is numbered."""
    return read_floors(plant.lab.store)["4711"].revision


def test_a_database_older_than_the_anchors_is_named_and_recorded_once(plant) -> None:
    plant.write("agent.toml", SETTINGS + '[trail]\nanchor = "ends.jsonl"\n')
    settings = read(plant.folder / "agent.toml")
    snapshot = plant.keep_copy()
    plant.lab.store.audit_log.add(at=DAY, actor="Ada", act="lab.cleaned")
    append(plant.folder / "ends.jsonl", Anchor.of(plant.lab.store.audit_log.get_head(), at=DAY))
    before = check_start(settings, plant.lab.store, now=DAY)
    plant.copy_back(snapshot)

    after = [check_start(settings, plant.lab.store, now=DAY + n * HOUR) for n in (0, 1)]

    assert before.warnings == ()
    assert [check.refusal for check in after] == ["", ""]
    assert "replaced by an older one (ends.jsonl)" in after[0].warnings[0]
    assert after[0] == after[1]
    assert [loss.act for loss in list_losses(plant.lab.store)] == [FOUND_OLDER]


def read_end(plant: Plant) -> int:
    """Return the number in the presence of the outbox."""
    (file,) = (plant.outbox / ".martensight").glob("*.presence")
    return int(json.loads(file.read_text("utf-8"))["number"])


def test_a_presence_never_goes_down(plant) -> None:
    snapshot = plant.keep_copy()
    plant.lab.store.audit_log.add(at=DAY, actor="Ada", act="lab.cleaned")
    write_presence(plant.settings, plant.lab.store, now=DAY)
    highest = read_end(plant)
    plant.copy_back(snapshot)
    said = [
        write_presence(plant.settings, plant.lab.store, now=DAY + HOUR, is_stopped=ended)
        for ended in (False, True)
    ]

    assert read_end(plant) == highest
    assert all("replaced by an older one" in sentence for sentence in said)


def test_whoever_writes_last_writes_the_newest_end(plant) -> None:
    url = f"sqlite:///{plant.folder}/data/martensight.db"

    def work(name: str) -> None:
        with Store.open(url, site="Plant 1", agent=name) as store:
            for _ in range(20):
                store.audit_log.add(at=DAY, actor=name, act="lab.cleaned")
                write_presence(plant.settings, store, now=DAY, is_stopped=True)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, ("PC 1", "PC 2", "PC 3")))

    assert read_end(plant) == plant.lab.store.audit_log.get_head().number
    assert list_losses(plant.lab.store) == []


def test_a_presence_that_a_power_cut_left_behind_is_no_proof(plant) -> None:
    write_presence(plant.settings, plant.lab.store, now=DAY)
    plant.lab.store.audit_log.add(at=DAY, actor="Ada", act="lab.cleaned")

    assert check_start(plant.settings, plant.lab.store, now=DAY).warnings == ()


def test_a_new_database_next_to_old_presences_is_no_older_one(plant) -> None:
    write_presence(plant.settings, plant.lab.store, now=DAY)
    new = Lab(plant.folder / "new")
    new.store.audit_log.add(at=DAY, actor="Eve", act="lab.opened")
    settings = read(plant.write("new.toml", SETTINGS + '[store]\nfolder = "new"\n'))
    for name in (".martensight", "statements"):
        (plant.folder / "data" / name).mkdir(exist_ok=True)
        shutil.copytree(plant.folder / "data" / name, plant.folder / "new" / name)

    found = check_start(settings, new.store, now=DAY)
    new.store.close()

    assert found.warnings == ()


def test_sites_with_one_data_folder_and_one_file_of_anchors_do_not_hold_each_other(
    plant,
) -> None:
    plant.write("agent.toml", SETTINGS + '[trail]\nanchor = "ends.jsonl"\n')
    url = f"sqlite:///{plant.folder}/data/martensight.db"
    other = plant.write(
        "b.toml", SETTINGS.replace("Plant 1", "B") + '[trail]\nanchor = "ends.jsonl"\n'
    )
    with Store.open(url, site="B", agent="x") as store:
        for _ in range(9):
            store.audit_log.add(at=DAY, actor="Eve", act="lab.opened")
        Anchoring(store, str(plant.folder / "ends.jsonl")).write(at=DAY)
        Anchoring(plant.lab.store, str(plant.folder / "ends.jsonl")).write(at=DAY)
        found = [
            check_start(read(file), own, now=DAY)
            for file, own in ((plant.folder / "agent.toml", plant.lab.store), (other, store))
        ]

    assert [check.warnings for check in found] == [(), ()]


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(minutes=3), timedelta(days=365)])
def test_a_restored_back_up_is_accepted_once_whatever_the_clocks_were(plant, ahead) -> None:
    file = plant.folder / "safe.zip"
    plant.agent("backup", file)
    plant.lab.store.audit_log.add(at=DAY, actor="Ada", act="lab.cleaned")
    write_presence(plant.settings, plant.lab.store, now=datetime.now(UTC) + ahead, is_stopped=True)
    plant.restore(file)

    found = check_start(plant.settings, plant.lab.store, now=DAY)
    write_presence(plant.settings, plant.lab.store, now=DAY, is_stopped=True)

    assert found.warnings == ()
    assert [loss.is_unnamed for loss in list_losses(plant.lab.store)] == [False]
    assert read_end(plant) == plant.lab.store.audit_log.get_head().number


def test_a_moved_lab_is_no_older_database(plant, tmp_path) -> None:
    write_presence(plant.settings, plant.lab.store, now=DAY, is_stopped=True)
    file = plant.folder / "safe.zip"
    assert plant.agent("backup", "--pixels", file)[0] == 0
    moved = tmp_path / "moved"
    code, said = plant.agent("restore", file, "--to", moved)
    told = SETTINGS.replace('"outbox"', f'"{plant.outbox}"').replace(
        '"lists"', f'"{plant.folder}/lists"'
    )
    (moved / "agent.toml").write_text(told, "utf-8")
    with Store.open(f"sqlite:///{moved}/data/martensight.db", site="Plant 1", agent="x") as store:
        found = check_start(read(moved / "agent.toml"), store, now=DAY)
        losses = list_losses(store)

    assert code in {0, 3}, said  # doctor names what a bare PC lacks
    assert found.warnings == ()
    assert losses == []


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
