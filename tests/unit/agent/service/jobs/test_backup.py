"""Each night has a back-up that was tried, and a lab without one for two days is told in red."""

from __future__ import annotations

import errno
import json
import os
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from servers.failing_share import FailingShare
from structlog.testing import capture_logs

from agent import settings
from agent.backup import maintenance
from agent.backup.drill import rehearse_restore
from agent.backup.facts import name_backup
from agent.cli import main
from agent.errors import StoreError
from agent.service.data_folder import RunLock
from agent.service.health.share_facts import describe_overdue, find_newest
from agent.service.jobs.backup import (
    back_up_when_due,
    describe_drill,
    find_last_drill,
    rehearse_when_due,
)
from agent.store import Store, store_url

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def lab(tmp_path) -> settings.Settings:
    file = tmp_path / "lab.toml"
    file.write_text(
        '[site]\ntime_zone = "UTC"\n[backup]\nfolder = "backups"\nkeep = 3\n', encoding="utf-8"
    )
    return settings.read(file, {})


def look(lab: settings.Settings, store: Store, at: datetime) -> list[str]:
    said = back_up_when_due(lab, store, at=at)
    return [said] if said else []


def opened(lab: settings.Settings) -> Store:
    folder = lab.store.folder
    return Store.open(store_url(folder), site=lab.site.name, agent="PC", folder=folder)


def newest_at(lab: settings.Settings, now: datetime) -> datetime | None:
    newest = find_newest(lab, now=now)
    return newest.facts.made_at if newest else None


def another(lab: settings.Settings, name: str = "Plant 1") -> settings.Settings:
    """Make a second lab that backs up into the same folder."""
    file = Path(lab.backup.folder).parent / "other" / "agent.toml"
    file.parent.mkdir()
    file.write_text(
        f'[site]\nname = "{name}"\ntime_zone = "UTC"\n[backup]\nfolder = "../backups"\nkeep = 1\n',
        encoding="utf-8",
    )
    return settings.read(file, {})


def files(lab: settings.Settings) -> list[Path]:
    return sorted(Path(lab.backup.folder).glob("*.zip"))


def test_a_night_is_backed_up_once_with_its_settings(lab) -> None:
    with opened(lab) as store:
        assert look(lab, store, NOON) == []
        assert look(lab, store, NOON + timedelta(hours=1)) == []
        assert look(lab, store, NOON + timedelta(hours=12)) == []

    assert len(files(lab)) == 2
    with zipfile.ZipFile(files(lab)[0]) as packed:
        assert {"martensight.db", "settings/lab.toml"} <= set(packed.namelist())


@pytest.mark.skipif(os.name == "nt", reason="Windows has rights of folders instead")
def test_a_back_up_is_not_for_every_user_of_the_pc(lab) -> None:
    with opened(lab) as store:
        look(lab, store, NOON)

    (file,) = files(lab)
    assert not file.stat().st_mode & 0o007


def test_only_as_many_are_kept_as_the_lab_asked_for(lab) -> None:
    with opened(lab) as store:
        for day in range(5):
            look(lab, store, NOON + timedelta(days=day))

    assert [file.name[35:43] for file in files(lab)] == ["20261126", "20261127", "20261128"]


def test_every_back_up_is_tried_and_a_damaged_one_is_found(lab) -> None:
    with opened(lab) as store:
        look(lab, store, NOON)
    (file,) = files(lab)
    maintenance.examine(file)
    held = bytearray(file.read_bytes())
    held[len(held) // 3] ^= 0xFF
    file.write_bytes(held)

    with pytest.raises(StoreError):
        maintenance.examine(file)


def test_a_folder_that_cannot_be_written_is_a_problem_and_no_crash(lab) -> None:
    Path(lab.backup.folder).write_text("not a folder", encoding="utf-8")
    with opened(lab) as store:
        (sentence,) = look(lab, store, NOON)

    assert sentence.startswith("back-up: ")


@pytest.mark.skipif(os.name == "nt", reason="a limit on files is POSIX")
def test_a_disk_that_is_full_is_a_problem_and_no_crash(lab) -> None:
    import resource  # noqa: PLC0415 - POSIX alone
    import signal  # noqa: PLC0415 - only here

    with opened(lab) as store:
        look(lab, store, NOON)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
        try:
            with capture_logs():  # else the log itself could not be written
                (sentence,) = look(lab, store, NOON + timedelta(days=1))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)

    assert sentence.startswith("back-up: ")
    assert "cannot be copied there" in sentence
    assert len(files(lab)) == 1


def test_what_a_killed_back_up_left_is_removed_and_what_is_being_written_stays(lab) -> None:
    folder = Path(lab.backup.folder)
    old, young = (NOON - timedelta(hours=hours) for hours in (13, 1))
    left = {".backup-x1": old, ".examine-x2": old, ".backup-x3": young}
    for name, at in left.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "martensight.db").write_bytes(b"accounts")
        os.utime(folder / name, (at.timestamp(), at.timestamp()))
    part = folder / ".martensight-plant-1-nightly-20261123T220000Z.zip.part"
    part.write_bytes(b"PK")
    os.utime(part, (old.timestamp(), old.timestamp()))

    with opened(lab) as store:
        look(lab, store, NOON)

    assert sorted(path.name for path in folder.glob(".*")) == [".backup-x3"]


def test_specifications_that_cannot_be_read_are_named_where_no_back_up_was_written(
    lab, tmp_path
) -> None:
    share = tmp_path / "share"
    orders = lab.orders.model_copy(update={"specifications": share / "specifications.toml"})
    with opened(lab) as store, FailingShare(share, errno.EACCES):
        (sentence,) = look(lab.model_copy(update={"orders": orders}), store, NOON)

    assert str(share) in sentence
    assert "backups" not in sentence


def test_without_a_folder_a_backup_by_hand_is_refused(tmp_path, capsys) -> None:
    (tmp_path / "agent.toml").write_text("", encoding="utf-8")

    with pytest.raises(SystemExit) as ended:
        main(["--config", str(tmp_path / "agent.toml"), "backup"])

    assert ended.value.code == 2
    assert "agent backup FOLDER" in capsys.readouterr().err


def test_two_days_without_a_back_up_are_said(lab) -> None:
    with opened(lab) as store:
        look(lab, store, NOON)

    assert list(describe_overdue(lab, NOON + timedelta(hours=47))) == []
    (sentence,) = describe_overdue(lab, NOON + timedelta(hours=49))
    assert "49 hours old" in sentence
    assert newest_at(lab, NOON) == NOON


def test_a_lab_without_a_back_up_that_restarts_each_day_is_named(lab) -> None:
    with opened(lab) as store:
        store.audit_log.add(at=NOON, actor="agent", act="lab.begun")
    opened(lab).close()  # which marks the folder
    os.utime(lab.store.folder / "database.json", (NOON.timestamp(),) * 2)
    named = []
    for day in range(4):
        now = NOON + timedelta(days=day)
        with RunLock.of(lab):
            pass
        os.utime(lab.store.folder / "agent.lock", (now.timestamp(),) * 2)
        named.append(list(describe_overdue(lab, now)))

    assert named[:2] == [[], []]
    assert ["no backup of this lab yet" in sentence for (sentence,) in named[2:]] == [True, True]
    assert "72 hours old" in named[3][0]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
def test_a_settings_file_that_fails_while_it_is_read_is_named_and_not_the_back_up(lab) -> None:
    limits = Path(lab.orders.specifications)
    limits.symlink_to("/proc/self/mem")  # opens, and answers EIO when it is read
    with opened(lab) as store:
        (sentence,) = look(lab, store, NOON)

    assert sentence.startswith(f"back-up: {limits}: cannot be read (Input/output error)")
    assert files(lab) == []


def test_an_evening_with_a_wrong_clock_stops_no_back_up_and_is_named(lab) -> None:
    wrong = NOON + timedelta(days=365)
    with opened(lab) as store:
        look(lab, store, NOON)
        look(lab, store, wrong)
        for day in range(1, 6):
            look(lab, store, NOON + timedelta(days=day))
    now = NOON + timedelta(days=5)

    (ahead, *late) = describe_overdue(lab, now)
    days = sorted(facts_of(file)["made_at"][:10] for file in files(lab))

    assert days == ["2026-11-27", "2026-11-28", "2026-11-29", "2027-11-24"]
    assert "dated 2027-11-24 12:00 UTC, in the future" in ahead
    assert late == []
    assert newest_at(lab, now) == now
    assert "120 hours old" in list(describe_overdue(lab, now + timedelta(days=5)))[1]


def test_a_trial_of_the_future_delays_none(lab) -> None:
    with opened(lab) as store:
        look(lab, store, NOON)
        wrong = NOON + timedelta(days=365)
        store.records.add("restore_drill", "x.zip", by="agent", at=wrong, facts={"sound": True})

        assert rehearse_when_due(lab, store, at=NOON + timedelta(hours=1)) is not None


def test_a_lab_that_wants_none_is_not_reminded(lab) -> None:
    none = lab.model_copy(update={"backup": lab.backup.model_copy(update={"folder": ""})})

    assert list(describe_overdue(none, NOON)) == []


# --- several labs, one folder -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Plant 2", "Plant 1"])
def test_a_second_lab_in_the_folder_makes_its_own_and_thins_out_no_other(lab, name) -> None:
    other = another(lab, name)
    with opened(lab) as first, opened(other) as second:
        for day in range(4):
            assert look(lab, first, NOON + timedelta(days=day)) == []
            assert look(other, second, NOON + timedelta(days=day, minutes=1)) == []

    own = [file for file in files(lab) if facts_of(file)["lab"] == first_act(lab)]
    others = [file for file in files(lab) if facts_of(file)["lab"] == first_act(other)]
    assert (len(own), len(others)) == (3, 1)
    assert newest_at(lab, NOON + timedelta(days=3)) == NOON + timedelta(days=3)
    later = NOON + timedelta(days=3, minutes=1)
    assert newest_at(other, later) == later


def test_a_second_site_of_a_database_knows_its_own_back_ups(lab, capsys) -> None:
    other = another(lab, "Plant 2")
    url = store_url(lab.store.folder)
    other.file.write_text(f'{other.file.read_text("utf-8")}[store]\nurl = "{url}"\n', "utf-8")
    other = settings.read(other.file, {})
    with opened(lab) as first:
        look(lab, first, datetime.now(UTC))
    agent(other, "files")  # the site's first opening
    with Store.open(url, site="Plant 2", agent="PC", folder=other.store.folder) as second:
        look(other, second, datetime.now(UTC))
    agent(other, "files")
    capsys.readouterr()

    agent(other, "doctor", "--json")
    found = [f for f in json.loads(capsys.readouterr().out) if f["check"] == "back-up"]
    agent(lab, "doctor", "--json")
    first_found = [f for f in json.loads(capsys.readouterr().out) if f["check"] == "back-up"]

    for findings, others in ((found, "Plant 1"), (first_found, "Plant 2")):
        assert "last backup" in findings[0]["sentence"]
        assert [f["level"] for f in findings] == ["right", "right"]
        assert f"also contains backups of {others}" in findings[1]["sentence"]
    assert list(describe_overdue(other, datetime.now(UTC))) == []


def facts_of(file: Path) -> dict:
    with zipfile.ZipFile(file) as packed:
        return json.loads(packed.read("manifest.json"))


def first_act(lab: settings.Settings) -> str:
    with opened(lab) as store:
        return store.audit_log.get_first_hash()


def test_neither_a_manual_one_nor_another_file_is_thinned_out(lab) -> None:
    folder = Path(lab.backup.folder)
    folder.mkdir()
    old = folder / "martensight-20261120T120000Z.zip"
    old.write_bytes(b"no back-up")
    with opened(lab) as store:
        look(lab, store, NOON)
        agent(lab, "backup", str(folder))
        later = datetime.now(UTC)  # the manual one is of today, whenever that is
        for day in range(1, 6):
            look(lab, store, later + timedelta(days=day))

    names = [file.name for file in files(lab)]
    assert len([name for name in names if "-nightly-" in name]) == 3
    assert len([name for name in names if "-nightly-" not in name]) == 2
    assert old.exists()


def agent(lab: settings.Settings, *arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(lab.file), *arguments])
    return int(ended.value.code or 0)


def test_doctor_names_each_lab_of_the_folder(lab, capsys) -> None:
    with opened(lab) as first, opened(another(lab)) as second:
        look(lab, first, datetime.now(UTC))
        look(another_settings(lab), second, datetime.now(UTC))

    agent(lab, "doctor", "--json")

    said = capsys.readouterr().out
    assert "last backup " in said
    assert "also contains backups of Plant 1" in said
    assert "another lab with the same name" in said


@pytest.mark.parametrize(
    ("name", "level", "code"),
    [
        ("martensight-20200101T000000Z.zip", "doubtful", 3),  # it may be evidence that was spoilt
        ("martensight-plant-2-abcdef-nightly-20200101T000000Z.zip", "doubtful", 0),
        ("{own}", "wrong", 3),
    ],
)
def test_only_a_damaged_back_up_of_the_lab_itself_is_wrong(lab, capsys, name, level, code) -> None:
    with opened(lab) as store:
        look(lab, store, datetime.now(UTC))
        own = name_backup(lab.site.name, store.audit_log.get_first_hash(), NOON, is_automatic=True)
    (Path(lab.backup.folder) / name.format(own=own)).write_bytes(b"")
    capsys.readouterr()

    agent(lab, "doctor", "--json")
    found = [check for check in json.loads(capsys.readouterr().out) if check["check"] == "back-up"]
    verified = agent(lab, "verify")

    named = [one for one in found if name.format(own=own) in one["sentence"]]
    assert [one["level"] for one in named] == [level]
    assert ("Put a copy of it back" in named[0]["sentence"]) is (level == "wrong")
    assert any("last backup" in one["sentence"] for one in found) is (level != "wrong")
    assert verified == code


def test_verify_passes_over_the_back_ups_of_another_site(lab, capsys) -> None:
    with opened(lab) as first, opened(another(lab, "Plant 2")) as second:
        look(lab, first, NOON)
        look(another_settings(lab), second, NOON)
        for n in range(3):
            first.audit_log.add(at=NOON, actor="Ada", act=f"lab.cleaned.{n}")
            second.audit_log.add(at=NOON, actor="Eve", act=f"lab.cleaned.{n}")
        look(lab, first, NOON + timedelta(days=1))
        look(another_settings(lab), second, NOON + timedelta(days=1))

    assert agent(lab, "verify") == 0, capsys.readouterr().out


def another_settings(lab: settings.Settings) -> settings.Settings:
    return settings.read(Path(lab.backup.folder).parent / "other" / "agent.toml", {})


# --- one content --------------------------------------------------------------------------------


def test_manual_and_nightly_hold_the_same_settings_references_and_inbox(lab) -> None:
    folder = lab.file.parent
    (folder / "steel").mkdir()
    (folder / "steel" / "taxonomy.toml").write_text("", encoding="utf-8")
    (folder / "limits.toml").write_text("", encoding="utf-8")
    for name in ("reference/G8.png", "inbox/sent.png"):
        path = lab.store.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"pixels")
    told = lab.file.read_text("utf-8") + '[model]\ntaxonomy = "steel/taxonomy.toml"\n'
    lab.file.write_text(told, encoding="utf-8")
    here = settings.read(lab.file, {})
    with opened(here) as store:
        look(here, store, NOON)
    agent(here, "backup", str(Path(here.backup.folder)))

    nightly, manual = (set(facts_of(file)["sha256"]) for file in sorted(files(here), reverse=True))
    assert nightly == manual
    assert {
        "settings/lab.toml",
        "settings/limits.toml",
        "settings/taxonomy.toml",
        "reference/G8.png",
        "inbox/sent.png",
        "martensight.db",
    } == nightly


def test_a_sent_file_that_is_archived_is_not_in_the_back_up_twice(lab) -> None:
    sent = "0123456789abcdef"
    with opened(lab) as store:
        for name in (f"inbox/01/{sent}-a", f"originals/01/{sent}{'0' * 48}.tif", "inbox/02/x.tif"):
            path = lab.store.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"pixels")
        look(lab, store, NOON)

    (file,) = files(lab)
    assert "inbox/02/x.tif" in facts_of(file)["sha256"]
    assert not any(sent in name for name in facts_of(file)["sha256"])


# --- on trial -----------------------------------------------------------------------------------


def test_a_back_up_is_restored_on_trial_each_month(lab) -> None:
    with opened(lab) as store:
        look(lab, store, NOON)
        first = rehearse_when_due(lab, store, at=NOON)
        second = rehearse_when_due(lab, store, at=NOON + timedelta(days=29))
        look(lab, store, NOON + timedelta(days=31))
        third = rehearse_when_due(lab, store, at=NOON + timedelta(days=31))

        assert first is not None
        assert first.faults == ()
        assert second is None
        assert third is not None
        assert third.file.name.endswith("20261225T120000Z.zip")
        assert describe_drill(store) == ""
    assert not list(lab.store.folder.glob(".drill-*"))


def test_a_trial_that_fails_is_said_until_a_better_one(lab) -> None:
    with opened(lab) as store:
        look(lab, store, NOON)
        (file,) = files(lab)
        good = file.read_bytes()
        spoil(file)
        found = rehearse_when_due(lab, store, at=NOON)
        said = describe_drill(store)
        file.write_bytes(good)
        rehearse_when_due(lab, store, at=NOON + timedelta(days=31))

        assert found is not None
        assert found.faults
        assert "was restored on trial on 2026-11-24" in said
        assert describe_drill(store) == ""
        assert find_last_drill(store).facts["sound"] is True


def spoil(file: Path) -> None:
    """Leave rows out of the copy, with hashes that are right."""
    with zipfile.ZipFile(file) as packed:
        held = {name: packed.read(name) for name in packed.namelist()}
    manifest = json.loads(held["manifest.json"])
    manifest["counts"]["trail"] += 5
    held["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(file, "w") as packed:
        for name, content in held.items():
            packed.writestr(name, content)


def test_the_command_says_what_a_trial_found_and_three_where_it_is_not_sound(lab, capsys) -> None:
    with opened(lab) as store:
        look(lab, store, NOON)
    good = agent(lab, "backup", "--verify", "--json")
    sound = json.loads(capsys.readouterr().out.splitlines()[-1])
    spoil(files(lab)[0])

    bad = agent(lab, "backup", "--verify", str(files(lab)[0]))

    assert (good, bad) == (0, 3)
    assert sound["sound"] is True
    assert sound["counts"]["trail"] == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "table trail: 1 rows, the back-up was made with 6" in said


def test_a_trial_without_room_is_not_begun(lab, monkeypatch) -> None:
    with opened(lab) as store:
        look(lab, store, NOON)
        monkeypatch.setattr("shutil.disk_usage", lambda _: type("U", (), {"free": 10})())

        found = rehearse_when_due(lab, store, at=NOON)

    assert found is not None
    assert "needs" in found.faults[0]


@pytest.mark.parametrize("may_make_databases", [True, False])
def test_a_postgresql_is_restored_on_trial_in_a_database_made_for_it(
    postgres, tmp_path, may_make_databases
) -> None:
    url = postgres.empty("ours")
    with Store.open(url, site="Plant 1", agent="PC") as store:
        store.audit_log.add(at=NOON, actor="Ada", act="lab.opened")
        maintenance.back_up(store, tmp_path, tmp_path / "safe.zip", settings_files=[], pixels=False,
                            at=NOON, progress=lambda *_: None)  # fmt: skip
        store.audit_log.add(at=NOON, actor="Ada", act="lab.closed")
    if not may_make_databases:
        postgres.run("DROP ROLE IF EXISTS plain; CREATE ROLE plain LOGIN")
        url = url.replace("postgres@", "plain@")

    found = rehearse_restore(tmp_path / "safe.zip", scratch=tmp_path, url=url, at=NOON)

    assert found.faults == ()
    assert found.counts["trail"] == 1
    assert ("GRANT CREATEDB" in "".join(found.notes)) is not may_make_databases
    address = f"host=127.0.0.1 port={postgres.port} user=postgres dbname=postgres"
    with psycopg.connect(address) as connection:
        names = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
    assert not [name for name in names if "drill" in name]


# --- folders that are not there -----------------------------------------------------------------


@pytest.mark.parametrize("target", ["x.zip", ""])
def test_a_backup_makes_no_folder_of_a_share_that_is_not_mounted(lab, tmp_path, capsys, target):
    folder = tmp_path / "nowhere" / "share" if not target else tmp_path / "nowhere"

    assert agent(lab, "backup", str(folder / target)) == 2

    assert "no such folder, so no backup was written" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "nowhere").exists()


def test_a_nightly_backup_makes_no_folder_of_a_share_that_is_not_mounted(lab, tmp_path) -> None:
    share = str(tmp_path / "nas" / "martensight")
    away = lab.model_copy(update={"backup": lab.backup.model_copy(update={"folder": share})})
    with opened(away) as store:
        (sentence,) = look(away, store, NOON)
        assert "no such folder, so no backup was written" in sentence
        assert not (tmp_path / "nas").exists()

        (tmp_path / "nas").mkdir()
        assert look(away, store, NOON) == []
    assert len(files(away)) == 1


def test_a_restore_of_a_folder_states_what_is_expected(lab, tmp_path, capsys) -> None:
    (tmp_path / "z").mkdir()

    assert agent(lab, "restore", str(tmp_path / "z")) == 2

    said = " ".join(capsys.readouterr().err.split())
    assert "is a folder. Name the zip file that agent backup wrote." in said


def test_a_bundle_that_is_being_fetched_is_in_no_back_up(lab, tmp_path) -> None:
    bundles = lab.store.folder / "bundles"
    with opened(lab) as store:
        for name in ("20261101-a", ".20261102-b.4711-0a1b2c3d.part"):
            (bundles / name).mkdir(parents=True)
            (bundles / name / "weights.safetensors").write_bytes(b"w")
        maintenance.back_up(
            store,
            lab.store.folder,
            tmp_path / "safe.zip",
            settings_files=[],
            pixels=False,
            at=NOON,
            progress=lambda *_: None,
        )

    with zipfile.ZipFile(tmp_path / "safe.zip") as packed:
        names = [name for name in packed.namelist() if "bundles" in name]
    assert names == ["bundles/20261101-a/weights.safetensors"]
