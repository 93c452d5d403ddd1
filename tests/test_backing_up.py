"""Each night has a back-up that was tried, and a lab without one for two days is told in red."""

from __future__ import annotations

import os
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent import safekeeping, settings
from agent.errors import BadStore
from agent.service.backing_up import back_up_when_due, last_backup_at, overdue
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
    for file in Path(lab.backup.folder).glob(f"*{at:%Y%m%dT%H%M%S}Z.zip"):
        os.utime(file, (at.timestamp(), at.timestamp()))
    return [said] if said else []


def opened(lab: settings.Settings) -> Store:
    return Store.open(store_url(lab.store.folder), site="Plant 1", agent="PC")


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

    assert [file.name[12:20] for file in files(lab)] == ["20261126", "20261127", "20261128"]


def test_every_back_up_is_tried_and_a_damaged_one_is_found(lab) -> None:
    with opened(lab) as store:
        look(lab, store, NOON)
    (file,) = files(lab)
    safekeeping.examine(file)
    held = bytearray(file.read_bytes())
    held[len(held) // 3] ^= 0xFF
    file.write_bytes(held)

    with pytest.raises(BadStore):
        safekeeping.examine(file)


def test_a_folder_that_cannot_be_written_is_a_problem_and_no_crash(lab) -> None:
    Path(lab.backup.folder).write_text("not a folder", encoding="utf-8")
    with opened(lab) as store:
        (sentence,) = look(lab, store, NOON)

    assert sentence.startswith("back-up: ")


def test_two_days_without_a_back_up_are_said(lab) -> None:
    with opened(lab) as store:
        look(lab, store, NOON)

    assert list(overdue(lab, NOON + timedelta(hours=47))) == []
    (sentence,) = overdue(lab, NOON + timedelta(hours=49))
    assert "49 hours old" in sentence
    assert last_backup_at(Path(lab.backup.folder)) == NOON


def test_a_lab_that_wants_none_is_not_reminded(lab) -> None:
    none = lab.model_copy(update={"backup": lab.backup.model_copy(update={"folder": ""})})

    assert list(overdue(none, NOON)) == []
