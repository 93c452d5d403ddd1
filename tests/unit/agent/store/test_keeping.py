"""What became of each file can be asked, and a lab's data survives the PC it lies on."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import sqlite3
import sys
import zipfile
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psycopg
import pytest
from labs.stored import OTHER, SHA, crop_of, finding
from sqlalchemy import text

from agent.archive import Archive
from agent.backup import maintenance
from agent.cli import console, main
from agent.errors import StoreError
from agent.service.data_folder import RunLock, agent_name
from agent.store import Decision, Store, examine_copy
from agent.store.backup import _swap, copy, put_back
from agent.store.engine import make_engine
from agent.triage import Reason
from agent.watch import ListedFile

AT = datetime(2026, 11, 24, 21, 0, tzinfo=UTC)
DAY = timedelta(days=1)


class Lab:
    """A folder with settings, a store and an archive in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.toml = folder / "agent.toml"
        self.toml.write_text("[site]\nname = 'Plant 1'\n", encoding="utf-8")
        self.archive = Archive(self.data)
        self.url = f"sqlite:///{self.data}/martensight.db"

    def store(self) -> Store:
        return Store.open(self.url, site="Plant 1", agent="PC")

    def agent(self, *arguments: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(self.toml), *arguments])
        return ended.value.code

    def arrive(self, store: Store, *names: str) -> None:
        export = self.folder / "export"
        store.files.add([ListedFile("LOM-07", export, name, 10, 1, 1) for name in names], at=AT)

    def take(self, name: str, sha256: str, *, at: datetime = AT, **found) -> None:
        with self.store() as store:
            self.arrive(store, name)
            (claim,) = store.work_queue.claim(1, at=at, lease_s=60)
            hashes = self.archive.keep(crop_of(np.full((4, 5, 3), 7, np.uint8), sha256=sha256))
            self.archive.keep_maps(sha256, 0, "b", {"size": np.zeros((2, 2), np.float32)})
            one = replace(finding(sha256, **found), artefacts=dict(hashes))
            assert store.work_queue.finish(claim, [one], at=at)


@pytest.fixture
def lab(tmp_path) -> Lab:
    return Lab(tmp_path)


def lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


# --- files and retry ----------------------------------------------------------------------------


def spoiled(lab: Lab) -> None:
    with lab.store() as store:
        lab.arrive(store, "bad.tif", "[red]odd.tif")
        bad, _ = store.work_queue.claim(2, at=AT, lease_s=60)
        store.work_queue.set_aside(bad, "truncated", "the file ends early", at=AT)


def test_files_json_is_one_object_per_line_and_nothing_else(lab, capsys) -> None:
    spoiled(lab)

    assert lab.agent("files", "--json") == 0

    assert [(Path(line["path"]).name, line["state"]) for line in lines(capsys)] == [
        ("bad.tif", "set_aside"),
        ("[red]odd.tif", "processing"),
    ]


def test_failed_names_only_what_needs_somebody(lab, capsys) -> None:
    spoiled(lab)

    lab.agent("files", "--failed", "--json")

    assert [line["reason"] for line in lines(capsys)] == ["truncated: the file ends early"]


def test_a_name_is_shown_as_it_is(lab, capsys, monkeypatch) -> None:
    monkeypatch.setattr(console.out, "width", 1000)  # a longer name than a line is wrapped
    spoiled(lab)

    lab.agent("files")

    shown = capsys.readouterr().out
    assert "the file ends early" in shown
    assert "[red]odd.tif" in shown


def test_no_files_is_said(lab, capsys) -> None:
    assert lab.agent("files") == 0
    assert capsys.readouterr().out == "no files\n"


def test_an_unknown_state_is_one_sentence(lab, capsys) -> None:
    assert lab.agent("files", "--state", "lost") == 2
    assert "one of settling, queued" in capsys.readouterr().err


def test_retry_queues_what_is_named(lab, capsys) -> None:
    spoiled(lab)

    assert lab.agent("files", "retry", "bad.tif") == 0

    lab.agent("files", "--state", "queued", "--json")
    assert "1 queued again" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["a.tif", "--all"], ["unknown.tif"]])
def test_retry_of_nothing_is_wrong_use(lab, capsys, arguments) -> None:
    spoiled(lab)

    assert lab.agent("files", "retry", *arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


# --- export -------------------------------------------------------------------------------------


def test_a_csv_has_sizes_as_integers_and_no_text_that_a_spreadsheet_would_run(lab, capsys) -> None:
    lab.take("a.tif", SHA, process={"order": "=1+1", "specimen": "9-10"})

    assert lab.agent("export") == 0

    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["structure_code"], row["size_min"], row["size_max"]) == ("G8", "8", "8")
    assert "size" not in row
    assert row["order"] == "'=1+1"


def test_every_decision_is_exported_also_the_one_taken_back(lab, tmp_path) -> None:
    lab.take("a.tif", SHA)
    with lab.store() as store:
        store.labels.decide(SHA[:16], Decision("code", "Ada", code="G9-10"), at=AT)
        store.labels.undo(SHA[:16], by="Ada", at=AT)
        store.labels.decide(SHA[:16], Decision("cannot_tell", "Bob"), at=AT)

    assert lab.agent("export", "labels", "--format", "json", "--out", str(tmp_path / "l.json")) == 0

    held = (tmp_path / "l.json").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in held]
    assert [(row["by"], row["code"], row["undone"]) for row in rows] == [
        ("Ada", "G9-10", True),
        ("Bob", None, False),
    ]


def test_the_trail_is_exported_with_its_hashes(lab, capsys) -> None:
    lab.take("a.tif", SHA)
    with lab.store() as store:
        store.labels.decide(SHA[:16], Decision("code", "Ada", code="G8"), at=AT)

    lab.agent("export", "trail", "--format", "json")

    (entry,) = lines(capsys)
    assert (entry["actor"], entry["act"], len(entry["sha256"])) == ("Ada", "label.given", 64)


def test_a_name_can_neither_break_nor_steer_the_list(lab, capsys) -> None:
    with lab.store() as store:
        lab.arrive(
            store, "back\\[/x].tif", "[red]a[/red].tif", "esc\x1b[2J.tif", "turn\u202egpj.tif"
        )

    assert lab.agent("files") == 0

    said = capsys.readouterr().out
    for name in ("back\\[/x].tif", "[red]a[/red].tif", r"esc\x1b[2J.tif", r"turn\u202egpj.tif"):
        assert name in said


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_a_name_that_is_no_text_can_be_queued_again_by_that_name(lab, capsys) -> None:
    export = lab.folder / "export"
    export.mkdir()
    odd = os.fsdecode(b"\xff\xfe.png")
    (export / odd).write_bytes(b"no picture")
    lab.toml.write_text(
        "[site]\nname = 'Plant 1'\n[[sources]]\nname = 'LOM-07'\nfolder = 'export'\nquiet_s = 0\n",
        encoding="utf-8",
    )
    assert lab.agent("run", "--once") == 1
    capsys.readouterr()

    assert lab.agent("files", "retry", str(export / odd)) == 0

    assert "1 queued again" in capsys.readouterr().out


# --- backup and restore -------------------------------------------------------------------------


def test_a_backup_brings_database_bundles_and_settings_back(lab, capsys) -> None:
    lab.take("a.tif", SHA)
    bundle = lab.data / "bundles" / "20261101-0badcafe" / "bundle.json"
    bundle.parent.mkdir(parents=True)
    bundle.write_text("{}")

    assert lab.agent("backup", str(lab.folder / "safe.zip")) == 0
    bundle.unlink()
    (lab.data / "martensight.db").unlink()
    assert lab.agent("restore", str(lab.folder / "safe.zip")) == 0

    assert bundle.read_text() == "{}"
    with lab.store() as store:
        assert [view.id for view in store.results.iter_all()] == [SHA[:16]]
        acts = [
            entry.act for entry in store.audit_log.iter_acts()
        ]  # what was filed is sealed before a back-up
        assert "backup.restored" in acts
        assert "results.sealed" in acts
    (settings,) = lab.data.glob("settings-of-backup-*/agent.toml")
    assert "Plant 1" in settings.read_text()


def test_a_back_up_of_another_site_is_refused_and_told_what_to_set(lab, capsys) -> None:
    lab.take("a.tif", SHA)
    lab.agent("backup", str(lab.folder / "safe.zip"))
    lab.toml.write_text("[site]\nname = 'Plant 2'\n", encoding="utf-8")

    assert lab.agent("restore", str(lab.folder / "safe.zip")) == 2

    said = capsys.readouterr().err
    assert "holds the site 'Plant 1', and [site] name is 'Plant 2'" in said
    assert 'Set [site] name = "Plant 1"' in said
    assert list(lab.data.glob("*before*")) == []


def test_a_restore_keeps_what_was_there_beside(lab) -> None:
    lab.take("a.tif", SHA)
    lab.agent("backup", str(lab.folder / "safe.zip"))
    lab.take("b.tif", OTHER)

    lab.agent("restore", str(lab.folder / "safe.zip"))

    with lab.store() as store:
        assert [view.id for view in store.results.iter_all()] == [SHA[:16]]
    (before,) = lab.data.glob("martensight.db.before-restore-*")
    with Store.open(f"sqlite:///{before}", site="Plant 1", agent="PC") as store:
        assert len(list(store.results.iter_all())) == 2


def test_a_backup_is_whole_while_others_write(lab) -> None:
    with lab.store() as store:
        lab.arrive(store, *(f"{n}.tif" for n in range(500)))
        total = 0

        def meanwhile(_done: int, _of: int) -> None:
            nonlocal total
            lab.arrive(store, f"late {total}.tif")
            total += 1

        target = lab.folder / "copy.db"
        store.backup.write(target, progress=meanwhile)

    with Store.open(f"sqlite:///{target}", site="Plant 1", agent="PC") as copied:
        assert copied.checks.find_problems(thorough=True) == []
        assert len(list(copied.files.iter_status())) >= 500


def test_networks_that_are_made_again_are_in_no_backup(lab) -> None:
    for name in (".compiled", ".converted"):
        (lab.data / "bundles" / name).mkdir(parents=True)
        (lab.data / "bundles" / name / "network.bin").write_bytes(b"weights")
    (lab.data / "bundles" / "kept.json").write_bytes(b"{}")

    lab.agent("backup", str(lab.folder / "safe.zip"))

    with zipfile.ZipFile(lab.folder / "safe.zip") as packed:
        assert [n for n in packed.namelist() if n.startswith("bundles/")] == ["bundles/kept.json"]


def test_pixels_are_in_a_backup_when_asked_for(lab) -> None:
    lab.take("a.tif", SHA)

    lab.agent("backup", str(lab.folder / "all.zip"), "--pixels")

    with zipfile.ZipFile(lab.folder / "all.zip") as packed:
        assert f"crops/ab/{SHA}-p0.png" in packed.namelist()


def damaged(file: Path) -> None:
    with zipfile.ZipFile(file) as packed:
        held = {name: packed.read(name) for name in packed.namelist()}
    held["martensight.db"] = held["martensight.db"][:-100] + b"x" * 100
    with zipfile.ZipFile(file, "w") as packed:
        for name, content in held.items():
            packed.writestr(name, content)


def escaping(file: Path) -> None:
    with zipfile.ZipFile(file) as packed:
        manifest = json.loads(packed.read("manifest.json"))
    manifest["sha256"]["../../outside"] = "0" * 64
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("martensight.db", b"")
        packed.writestr("../../outside", b"")
        manifest["sha256"] = {"../../outside": "0" * 64}
        packed.writestr("manifest.json", json.dumps(manifest))


def without_a_table(file: Path) -> None:
    with zipfile.ZipFile(file) as packed:
        held = {name: packed.read(name) for name in packed.namelist()}
    database = file.with_suffix(".db")
    database.write_bytes(held["martensight.db"])
    with closing(sqlite3.connect(database)) as opened, opened:
        opened.execute("PRAGMA foreign_keys = OFF")
        opened.execute("DROP TABLE saved_view")
    held["martensight.db"] = database.read_bytes()
    manifest = json.loads(held["manifest.json"])
    manifest["sha256"]["martensight.db"] = hashlib.sha256(held["martensight.db"]).hexdigest()
    held["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(file, "w") as packed:
        for name, content in held.items():
            packed.writestr(name, content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (damaged, "is damaged"),
        (cut, "not a whole backup"),
        (escaping, "may lead out"),
        (without_a_table, "lacks the table saved_view"),
    ],
)
def test_a_broken_backup_changes_nothing(lab, capsys, spoil, sentence) -> None:
    lab.take("a.tif", SHA)
    lab.agent("backup", str(lab.folder / "safe.zip"))
    lab.take("b.tif", OTHER)
    spoil(lab.folder / "safe.zip")

    assert lab.agent("restore", str(lab.folder / "safe.zip")) == 2

    assert sentence in capsys.readouterr().err
    with lab.store() as store:
        assert len(list(store.results.iter_all())) == 2
    assert sorted(path.name for path in lab.data.glob("*before*")) == []


def test_a_broken_database_can_be_restored_over(lab) -> None:
    lab.take("a.tif", SHA)
    lab.agent("backup", str(lab.folder / "safe.zip"))
    for end in ("-wal", "-shm"):
        (lab.data / f"martensight.db{end}").unlink(missing_ok=True)
    (lab.data / "martensight.db").write_bytes(b"lightning" * 1000)

    assert lab.agent("files") == 2
    assert lab.agent("restore", str(lab.folder / "safe.zip")) == 0
    assert lab.agent("verify", "--installation") == 0


@pytest.mark.parametrize("ahead_s", [0, -1200, 1200])
def test_a_running_agents_database_is_not_restored_over_whatever_its_clock(
    lab, capsys, ahead_s
) -> None:
    lab.take("a.tif", SHA)
    lab.agent("backup", str(lab.folder / "safe.zip"))
    with lab.store() as store:
        at = datetime.now(UTC) + timedelta(seconds=ahead_s)
        store.agents.record_heartbeat({"fleet": {"clock_ahead_s": ahead_s}}, at=at)

    assert lab.agent("restore", str(lab.folder / "safe.zip")) == 2

    assert "An agent is running (PC)" in capsys.readouterr().err


def test_a_heartbeat_of_the_future_is_of_no_running_agent(lab) -> None:
    lab.take("a.tif", SHA)
    lab.agent("backup", str(lab.folder / "safe.zip"))
    with lab.store() as store:
        store.agents.record_heartbeat({}, at=datetime.now(UTC) + timedelta(days=365))

    assert lab.agent("restore", str(lab.folder / "safe.zip")) == 0


def test_a_postgresql_is_backed_up_and_restored_with_its_own_programs(postgres, tmp_path) -> None:
    if not has_database_programs():
        pytest.skip("no pg_dump on the path")
    url = postgres.empty("ours")
    with Store.open(url, site="Plant 1", agent="PC") as store:
        store.files.add([ListedFile("LOM-07", tmp_path, "a.tif", 10, 1)], at=AT)
        maintenance.back_up(store, tmp_path, tmp_path / "safe.zip", settings_files=[],
                            pixels=False, at=AT, progress=lambda *_: None)  # fmt: skip
        store.files.add([ListedFile("LOM-07", tmp_path, "b.tif", 10, 1)], at=AT)

    maintenance.restore(tmp_path / "safe.zip", url=url, folder=tmp_path / "data", at=AT,
                        progress=lambda *_: None)  # fmt: skip

    with Store.open(url, site="Plant 1", agent="PC") as store:
        assert [Path(fate.path).name for fate in store.files.iter_status()] == ["a.tif"]
    with pytest.raises(StoreError, match="holds a postgresql database"):
        maintenance.restore(tmp_path / "safe.zip", url="sqlite:///x.db", folder=tmp_path / "data",
                            at=AT, progress=lambda *_: None)  # fmt: skip


def test_a_dump_without_a_table_is_refused_before_anything_is_replaced(postgres, tmp_path) -> None:
    if not has_database_programs():
        pytest.skip("no pg_dump on the path")
    url = postgres.empty("ours")
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute("DROP TABLE saved_view")
    dump, lacking = tmp_path / "martensight.pgdump", make_engine(url)
    copy(lacking, dump, progress=lambda *_: None)
    lacking.dispose()
    other = postgres.empty("ours")
    with psycopg.connect(other.replace("+psycopg", "")) as connection:
        connection.execute("UPDATE site SET name = 'kept'")

    with pytest.raises(StoreError, match="lacks the table saved_view; nothing was restored"):
        put_back(other, dump, aside=tmp_path / "aside.pgdump")
    with pytest.raises(StoreError, match="lacks the table saved_view"):
        examine_copy(dump)

    with psycopg.connect(other.replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT name FROM site").fetchall() == [("kept",)]
    assert not (tmp_path / "aside.pgdump").exists()


def test_a_postgresql_of_a_newer_schema_is_restored_over_and_kept_as_a_dump(
    postgres, tmp_path, install_next_version
) -> None:
    if not has_database_programs():
        pytest.skip("no pg_dump on the path")
    older, dump = make_engine(postgres.empty("ours")), tmp_path / "martensight.pgdump"
    with older.execution_options(writes=True).begin() as connection:
        connection.execute(text("UPDATE site SET name = 'of then'"))
    copy(older, dump, progress=lambda *_: None)
    older.dispose()
    manifest = {
        "kind": "postgresql",
        "sha256": {dump.name: hashlib.sha256(dump.read_bytes()).hexdigest()},
    }
    with zipfile.ZipFile(tmp_path / "safe.zip", "w") as packed:
        packed.write(dump, dump.name)
        packed.writestr("manifest.json", json.dumps(manifest))
    url = postgres.empty("ours")
    install_next_version()
    Store.open(url, site="Plant 1", agent="PC").close()
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute("CREATE TABLE of_tomorrow (site_id integer REFERENCES site (id))")
        connection.execute("CREATE TABLE of_others (id integer)")

    with pytest.raises(StoreError, match="holds the site 'of then', and"):
        maintenance.restore(tmp_path / "safe.zip", url=url, folder=tmp_path / "data", at=AT,
                            progress=lambda *_: None, site="Plant 1")  # fmt: skip
    restored = maintenance.restore(tmp_path / "safe.zip", url=url, folder=tmp_path / "data", at=AT,
                                   progress=lambda *_: None, site="of then")  # fmt: skip

    assert restored.before is not None
    examine_copy(restored.before.rename(tmp_path / "data" / "martensight.pgdump"))
    with Store.open(url, site="of then", agent="PC") as store:
        assert store.files.count_by_state()["done"] == 0
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        names = {name for (name,) in connection.execute("SELECT tablename FROM pg_tables")}
        sites = connection.execute("SELECT name FROM site").fetchall()
    assert sites == [("of then",)]
    assert "of_others" in names
    assert "of_tomorrow" not in names


def test_a_restore_that_the_disk_has_no_room_for_leaves_the_database_where_it_is(tmp_path) -> None:
    file = tmp_path / "martensight.db"
    Store.open(f"sqlite:///{file}", site="Plant 1", agent="PC").close()

    with pytest.raises(StoreError, match="cannot be replaced"):
        _swap(file, tmp_path / "a copy that could not be read", "before-restore-x")

    with Store.open(f"sqlite:///{file}", site="Plant 1", agent="PC") as store:
        assert store.checks.find_problems(thorough=True) == []
    assert [path.name for path in tmp_path.glob("*before*")] == []


def test_nothing_is_restored_under_a_run_that_has_no_heartbeat(lab, capsys) -> None:
    lab.take("a.tif", SHA)
    lab.agent("backup", str(lab.folder / "safe.zip"))

    with RunLock(lab.data, agent_name()):
        assert lab.agent("restore", str(lab.folder / "safe.zip")) == 2

    assert "an agent is already running here" in capsys.readouterr().err


def test_a_folder_for_a_back_up_need_not_be_there_yet(lab) -> None:
    lab.take("a.tif", SHA)

    assert lab.agent("backup", str(lab.folder / "stick")) == 0

    assert len(list((lab.folder / "stick").glob("martensight-*Z.zip"))) == 1


def has_database_programs() -> bool:
    import shutil  # noqa: PLC0415 - only here

    return shutil.which("pg_dump") is not None


# --- verify, check, prune -----------------------------------------------------------------------


def test_verify_says_three_when_pixels_or_the_trail_were_changed(lab, capsys) -> None:
    lab.take("a.tif", SHA)
    assert lab.agent("verify") == 0
    lab.archive.crop_path(SHA, 0).write_bytes(b"retouched")
    capsys.readouterr()

    assert lab.agent("verify", "--json") == 3

    (answer,) = lines(capsys)
    assert answer["sound"] is False
    assert "its hash differs" in answer["faults"][0]


def test_check_names_pixels_that_are_gone(lab, capsys) -> None:
    lab.take("a.tif", SHA)
    assert lab.agent("verify", "--installation") == 0
    lab.archive.crop_path(SHA, 0).unlink()

    assert lab.agent("verify", "--installation") == 3
    assert f"micrograph {SHA[:16]} names it" in capsys.readouterr().out


def full_lab(lab: Lab) -> None:
    old, automatic = AT - 100 * DAY, {"reasons": ()}
    lab.take("old.tif", "1" * 64, at=old, **automatic)
    lab.take("new.tif", "2" * 64, at=AT, **automatic)
    lab.take("flagged.tif", "3" * 64, at=old, reasons=(Reason.STRANGE,))
    lab.take("labelled.tif", "4" * 64, at=old, **automatic)
    lab.take("imported.tif", "5" * 64, at=old, origin="import", **automatic)
    lab.take("held.tif", "6" * 64, at=old, process={"order": "4711"}, **automatic)
    with lab.store() as store:
        store.labels.decide("4" * 16, Decision("code", "Ada", code="G8"), at=old)
        store.retention.set_legal_hold("4711", hold=True, by="Ada", at=old)


def test_only_what_nothing_refers_to_is_pruned(lab) -> None:
    full_lab(lab)

    with lab.store() as store:
        (plan,) = maintenance.plan(store, lab.archive, befores={"crops": AT - 30 * DAY})
        assert plan.ids == ("1" * 16,)
        assert len(plan.files) == 3
        maintenance.prune(store, lab.archive, [plan], at=AT, progress=lambda *_: None)

        assert maintenance.plan(store, lab.archive, befores={"crops": AT})[0].ids == ()
        assert [entry.act for entry in store.audit_log.iter_acts("pixels")] == ["pixels.pruned"]
    assert not lab.archive.crop_path("1" * 64, 0).exists()
    assert lab.archive.preview_path("1" * 64, 0).exists()
    assert lab.agent("verify") == 0


def test_originals_stay_while_any_page_is_needed(lab) -> None:
    old = AT - 100 * DAY
    with lab.store() as store:
        lab.arrive(store, "a.tif", "b.tif")
        one, two = store.work_queue.claim(2, at=old, lease_s=60)
        kept = {"original": True}
        quiet = replace(finding(SHA, reasons=()), artefacts=kept)
        loud = replace(finding(SHA, page=1), artefacts=kept)
        alone = replace(finding(OTHER, reasons=()), artefacts=kept)
        store.work_queue.finish(one, [quiet, loud], at=old)
        store.work_queue.finish(two, [alone], at=old)

        found = store.retention.plan("originals", before=AT, statements_since=old)
        assert [kept.sha256 for kept in found.prunable] == [OTHER]


def test_a_dry_run_deletes_nothing(lab, capsys) -> None:
    full_lab(lab)
    lab.toml.write_text("[retention]\ncrops_days = 30\n[site]\nname = 'Plant 1'\n")
    before = sorted(lab.data.rglob("*.png"))

    assert lab.agent("files", "prune", "--dry-run") == 0

    assert "would delete 3 files of 1 micrograph (" in capsys.readouterr().out
    assert sorted(lab.data.rglob("*.png")) == before


def test_by_default_nothing_is_ever_pruned(lab, capsys) -> None:
    full_lab(lab)
    before = sorted(lab.data.rglob("*.png"))

    assert lab.agent("files", "prune") == 0

    assert "keeps everything forever" in capsys.readouterr().out
    assert sorted(lab.data.rglob("*.png")) == before
