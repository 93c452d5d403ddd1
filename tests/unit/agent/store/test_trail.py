"""Whatever is changed in the database behind the agent's back, `agent verify` names the row."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
import zlib
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from labs.stored import OTHER, SHA
from labs.stored_trail import AT, chain_again, faults, fill, signed_by
from servers.databases import tamper
from structlog.testing import capture_logs

from agent.backup import maintenance
from agent.backup.verification import Outside, verify_trail
from agent.errors import StoreError
from agent.evidence.anchors import NOTES, Anchor, append, list_losses, write_note
from agent.service.jobs.backup import Anchoring
from agent.settings import read
from agent.store import ACCEPTED, RESTORED, Decision, NewStatement, Store, engine

DELETE_LAST = "DELETE FROM trail WHERE id = (SELECT max(id) FROM trail)"


@pytest.fixture
def store(store):
    fill(store)
    return store


def keep_outside(store: Store, outside: Outside) -> None:
    append(outside.files[0], Anchor.of(store.audit_log.get_head(), at=AT))


@pytest.mark.both_databases
def test_a_database_that_nobody_changed_is_whole(store, outside) -> None:
    keep_outside(store, outside)

    assert verify_trail(store, outside) == ([], [])


def test_a_sources_folder_that_no_settings_named_is_found(store, outside, address) -> None:
    for folder in ("/mnt/old", "/mnt/export"):
        settings = {"sources": [{"name": "LOM-07", "folder": folder}]}
        store.settings_history.record(settings, at=AT)
    moved = "UPDATE source SET folder = '/mnt/{}' WHERE name = 'LOM-07'"
    tamper(address, moved.format("old"))
    before = faults(store, outside)

    tamper(address, moved.format("elsewhere"))

    assert before == ""
    assert "source LOM-07: its folder was '/mnt/export', is '/mnt/elsewhere'" in faults(
        store, outside
    )


ALTERED = [
    (
        "UPDATE label SET code = 'G7' WHERE id = 2",
        f"label 2 of {SHA[:16]}: code was 'G8' (trail number 9), is 'G7'",
    ),
    (
        "UPDATE label SET \"by\" = 'Eve' WHERE id = 2",
        f"label 2 of {SHA[:16]}: by was 'Leo' (trail number 9), is 'Eve'",
    ),
    (
        "DELETE FROM label WHERE id = 1",
        f"label 1 of {OTHER[:16]} (label.given by Bob, trail number 8) was deleted",
    ),
    (
        "UPDATE \"order\" SET first_seen_at = '2026-11-20 08:00:00' WHERE number = '4711'",
        "first_seen_at was 2026-11-24T21:00:00+00:00 (trail number 1), is 2026-11-20T08:00:00+",
    ),
    ("UPDATE label SET unsure = false WHERE id = 1", "unsure was True"),
    ("UPDATE label SET blind = true WHERE id = 1", "blind was False"),
    ("UPDATE promotion SET bundle = 'other'", "bundle was '20261101-0badcafe'"),
    (
        "DELETE FROM promotion",
        "promotion 1 of 20261101-0badcafe (model.promoted by Ada, trail number 4) was deleted",
    ),
    (
        'UPDATE record SET facts = \'{"reason": "x", "n": 1.5, "off": true}\'',
        "facts.reason was '' (trail number 5), is 'x'",
    ),
    (
        'UPDATE record SET facts = \'{"reason": "x", "n": 1.5, "off": true}\'',
        "facts.off was None (trail number 5), is True",
    ),
    (
        "DELETE FROM record",
        "record 1 (statement of 4711) (statement.recorded by Ada, trail number 5) was deleted",
    ),
    ("UPDATE night SET facts = '{}'", "night 2026-11-24 (revision 1): sha256 of facts was"),
    (
        "UPDATE account SET role = 'admin'",
        "account Ada: role was 'lead' (trail number 3), is 'admin'",
    ),
    ("UPDATE micrograph SET superseded = '{}'", "superseded was {'at':"),
]
"""Statements, of which those that delete run by themselves, and what is named after each."""


@pytest.mark.both_databases
@pytest.mark.parametrize("kind", ["UPDATE", "DELETE"])
def test_rows_that_were_changed_are_named_with_what_they_were(
    address, store, outside, kind
) -> None:
    altered = [one for one in ALTERED if one[0].startswith(kind)]
    tamper(address, *(statement for statement, _ in altered))

    found = faults(store, outside)
    assert [sentence for _, sentence in altered if sentence not in found] == []


def test_the_last_act_deleted_with_its_label_is_named(address, store, outside) -> None:
    keep_outside(store, outside)
    tamper(address, DELETE_LAST, "DELETE FROM label WHERE id = 2")

    assert (
        f"trail: number 9 (label.given of {SHA[:16]} by Leo) was there on 2026-11-24 21:00 UTC "
        "(anchor.jsonl) and was deleted"
    ) in faults(store, outside)


def test_sqlite_itself_knows_that_the_last_act_was_deleted(tmp_path, outside) -> None:
    address = f"sqlite:///{tmp_path}/martensight.db"
    with Store.open(address, site="Plant 1", agent="PC") as store:
        fill(store)
        tamper(address, DELETE_LAST, "DELETE FROM label WHERE id = 2")

        assert "it ended with number 9, and ends with number 8 now" in faults(store, outside)


@pytest.mark.both_databases
def test_a_trail_that_was_deleted_whole_is_named_row_by_row(address, store, outside) -> None:
    keep_outside(store, outside)
    tamper(address, "DELETE FROM trail")

    said = faults(store, outside)

    assert "trail: number 9" in said
    assert f"label 2 of {SHA[:16]}: by Leo is not in the trail" in said
    assert "order 4711: is not in the trail" in said
    assert "promotion 1 of 20261101-0badcafe: by Ada is not in the trail" in said


def test_an_actor_changed_and_the_chain_computed_again_is_named(address, store, outside) -> None:
    append(outside.files[0], Anchor(3, 3, store.audit_log.get_hashes([3])[3], AT))
    keep_outside(store, outside)
    tamper(
        address,
        "UPDATE trail SET actor = 'Eve' WHERE id = 9",
        "UPDATE label SET \"by\" = 'Eve' WHERE id = 2",
    )
    chain_again(address)

    said = faults(store, outside)

    assert (
        f"trail: number 9 (label.given of {SHA[:16]} by Leo) is not what it was on 2026-11-24 "
        "21:00 UTC (anchor.jsonl): an act after number 3 and up to 9 was changed"
    ) in said


def test_an_act_without_a_row_of_its_own_is_named_by_the_newest_back_up(
    address, store, outside, tmp_path
) -> None:
    store.audit_log.add(at=AT, actor="Ada", act="bundle.deleted", subject="b\tc\\d", facts={"n": 1})
    maintenance.back_up(
        store,
        tmp_path,
        outside.backups / "martensight-20261124T210000Z.zip",
        settings_files=(),
        pixels=False,
        at=AT,
        progress=lambda *_: None,
    )
    tamper(address, "UPDATE trail SET actor = 'Eve' WHERE act = 'bundle.deleted'")
    chain_again(address)
    maintenance.back_up(
        store,
        tmp_path,
        outside.backups / "martensight-20261125T210000Z.zip",
        settings_files=(),
        pixels=False,
        at=AT,
        progress=lambda *_: None,
    )

    said = faults(store, outside)

    assert "trail: number 10: actor was Ada (martensight-20261124T210000Z.zip), is Eve" in said
    assert said.count("\n") == 1


def test_each_nights_report_holds_where_the_trail_ended(tmp_path, outside) -> None:
    from labs.lab import DAY, SETTINGS, Lab  # noqa: PLC0415 - only here

    from agent.nightly import write_report  # noqa: PLC0415

    lab = Lab(tmp_path / "data")
    public_id = lab.take("G8")
    lab.store.labels.decide(public_id, Decision("code", "Leo", code="G8"), at=DAY)
    address = f"sqlite:///{lab.folder / 'martensight.db'}"
    later = DAY + timedelta(days=2)
    written = write_report(lab.store, lab.archive, lab.reports, DAY.date(), SETTINGS, now=later)
    where = Outside(lab.reports)
    assert verify_trail(lab.store, where) == ([], [])

    tamper(address, "UPDATE result SET structure_code = 'G7'")
    assert f"result of {public_id}: was ('20261101-0badcafe', 'G8', 0.8" in faults(lab.store, where)
    tamper(address, "UPDATE result SET structure_code = 'G8'")

    tamper(address, "UPDATE trail SET actor = 'Eve' WHERE id = 1")
    chain_again(address)

    sha256 = json.loads((lab.reports / "2026-11-24.json").read_text())["trail"]["sha256"]
    assert sha256 in written.path.read_text(encoding="utf-8")
    assert "(2026-11-24.json)" in faults(lab.store, where)


def restore(store: Store, outside: Outside, *, until: int, backup: str = "safe.zip") -> Anchor:
    """Append the act of a restore as the command does; return what its note says."""
    head = store.audit_log.get_head()
    facts = {"trail": head.number, "sha256": head.sha256, "until": until}
    store.audit_log.add(
        at=AT + timedelta(hours=1), actor="agent", act=RESTORED, subject=backup, facts=facts
    )
    return Anchor.of(store.audit_log.get_head(), at=AT + timedelta(hours=1))


def test_what_a_restored_back_up_lost_is_a_note_and_no_fault(store, outside, tmp_path) -> None:
    end = store.audit_log.get_head().number
    append(outside.files[0], Anchor(end + 2, end + 2, "f" * 64, AT))
    note_of_it = restore(store, outside, until=end + 2)
    write_note(tmp_path, note_of_it)
    without = verify_trail(store, replace(outside, data=tmp_path))
    write_note(tmp_path, note_of_it, more=outside.files[0])

    found, notes = verify_trail(store, replace(outside, data=tmp_path))

    assert f"number {end + 2} was there" in without[0][0]
    assert "anchor.jsonl holds no note of it" in without[1][-1]
    assert found == []
    warning, note = notes
    assert f"from number {end + 1} to {end + 2} were lost when the back-up safe.zip" in warning
    assert f"number {end + 2} of anchor.jsonl was lost when a back-up was restored" in note


def test_a_loss_is_a_warning_until_a_lead_accepts_it(store, outside) -> None:
    number = restore(store, outside, until=99).number
    store.audit_log.add(at=AT, actor="Ada", act=ACCEPTED, facts={"act": number - 1})
    assert [loss.number for loss in list_losses(store)] == [number]

    store.audit_log.add(at=AT, actor="Ada", act=ACCEPTED, facts={"act": number})

    assert list_losses(store) == []


@pytest.mark.parametrize("trail", [0, 1, 8, 10**9, "x", None])
def test_a_forged_restore_explains_nothing(address, store, outside, trail) -> None:
    keep_outside(store, outside)
    tamper(address, "UPDATE trail SET actor = 'Eve' WHERE act = 'label.given'")
    chain_again(address)
    head = store.audit_log.get_hashes([8])[8]
    store.audit_log.add(
        at=AT + timedelta(hours=1),
        actor="agent",
        act=RESTORED,
        facts={"trail": trail, "sha256": head, "until": 0},
    )

    found, notes = verify_trail(store, outside)

    assert "the hashes were computed again" in found[0]
    assert "explains nothing: no note outside the database confirms it" in " ".join(notes)
    assert len(list_losses(store)) == 1


@pytest.mark.parametrize("linked", ["folder", "note"])
def test_a_note_of_a_restore_that_is_a_link_is_refused(store, outside, tmp_path, linked) -> None:
    elsewhere, notes = tmp_path / "elsewhere", tmp_path / "data" / NOTES
    end = restore(store, outside, until=99)
    elsewhere.mkdir()
    write_note(elsewhere, end)
    notes.mkdir(parents=True)
    if linked == "folder":
        notes.rmdir()
        notes.symlink_to(elsewhere / NOTES)
    else:
        (note,) = (elsewhere / NOTES).iterdir()
        (notes / note.name).symlink_to(note)

    with pytest.raises(StoreError, match="it is a link, and what it leads to confirms no restore"):
        verify_trail(store, replace(outside, data=tmp_path / "data"))
    with pytest.raises(StoreError, match="it is a link"):
        write_note(tmp_path / "data", end)


def test_a_restore_whose_end_was_changed_explains_nothing(
    address, store, outside, tmp_path
) -> None:
    end = store.audit_log.get_head().number
    append(outside.files[0], Anchor(end + 2, end + 2, "f" * 64, AT))
    write_note(tmp_path, restore(store, outside, until=end + 2))
    tamper(address, "UPDATE trail SET actor = 'Eve' WHERE act = 'label.given'")
    chain_again(address)

    found, _ = verify_trail(store, replace(outside, data=tmp_path))

    assert any(f"number {end + 2} was there" in sentence for sentence in found)


def test_a_file_of_anchors_that_was_written_over_is_a_note(store, outside) -> None:
    outside.files[0].write_bytes(b"\xff nothing of ours\n")

    assert "holds no end of the trail" in verify_trail(store, outside)[1][0]


def test_a_missing_guard_is_a_fault(address, store, outside) -> None:
    on = " ON label" if address.startswith("postgresql") else ""
    with engine.make_engine(address).begin() as connection:
        connection.exec_driver_sql(f"DROP TRIGGER guard_label_delete{on}")

    assert "database: the guard guard_label_delete is missing" in faults(store, outside)


@pytest.mark.both_databases
def test_a_long_life_of_labels_and_decisions_is_whole(store, outside) -> None:
    store.labels.undo(SHA[:16], by="Leo", at=AT)
    with signed_by("Leo"):
        number = store.labels.decide(
            SHA[:16], Decision("strange", "Leo", strange_kind="crack", viewing_s=2.25), at=AT
        )
    store.labels.mark_suspect(SHA[:16], label_id=number, sentence="look again", by="agent", at=AT)
    store.order_corrections.set_urgent("4711", urgent=True, by="Ada", at=AT)
    store.retention.set_legal_hold("4713", hold=True, by="Ada", at=AT)
    store.accounts.set_role("Ada", "reviewer", by="Ada", at=AT)
    store.accounts.disable("Ada", disabled=True, by="Ada", at=AT)
    store.specifications.note(
        [("ring-a", AT.date(), "R. Stahl", "ab" * 32, {"fields": 3, "limit": "8 or finer"})],
        zone="UTC",
        at=AT,
    )

    assert verify_trail(store, outside) == ([], [])


def test_the_file_of_anchors_is_a_setting(tmp_path: Path) -> None:
    toml = tmp_path / "agent.toml"
    toml.write_text('[trail]\nanchor = "share/trail.jsonl"\n', encoding="utf-8")

    assert read(toml, {}).trail.anchor == str(tmp_path / "share" / "trail.jsonl")


def test_a_statement_is_compared_with_the_rows_it_rests_on(address, store, outside) -> None:
    with signed_by("Leo"):
        number = store.labels.decide(
            SHA[:16], Decision("code", "Leo", code="G7", comment="again"), at=AT
        )
    field = {
        "id": SHA[:16],
        "structure_code": "G8",
        "bundle": store.results.find(SHA[:16]).result.bundle,
        "um_per_px": store.results.find(SHA[:16]).um_per_px,
        "decided": {"kind": "code", "said": "G7", "by": "Leo"},
    }
    document = {"specimens": [{"fields": [field], "superseded": []}]}
    named = {"order": "4711", "number": 1, "conformity": "conforms", "at": AT.isoformat()}
    new = NewStatement(
        "4711", 1, "", "conforms", "a.b", final=True, document=named | {"document": document}
    )
    store.statements.add(new, at=AT)
    store.labels.undo(SHA[:16], by="Leo", at=AT)
    assert number == 3
    assert verify_trail(store, outside) == ([], [])

    tamper(
        address,
        "UPDATE result SET structure_code = 'G6' WHERE id = 1",
        "UPDATE micrograph SET um_per_px = 0.5 WHERE id = 1",
        "UPDATE label SET code = 'G5' WHERE id = 3",
    )

    said = faults(store, outside)
    assert "statement 1 of order 4711: field abababababababab: the result was G8 by" in said
    assert "the label was G7 by Leo, the rows hold G8 by Leo, G5 by Leo" in said
    assert "µm per pixel was" in said


def test_the_end_of_the_trail_is_written_to_log_and_file_when_it_is_new(store, tmp_path) -> None:
    file = tmp_path / "share" / "trail.jsonl"
    anchoring = Anchoring(store, str(file))

    with capture_logs() as logged:
        assert anchoring.write(at=AT) == ""
        assert anchoring.write(at=AT) == ""  # that the file was begun is an act itself
        assert anchoring.write(at=AT) == ""
        store.audit_log.add(at=AT, actor="Ada", act="bundle.deleted", subject="x")
        assert anchoring.write(at=AT) == ""

    numbers = [json.loads(line)["number"] for line in file.read_text("utf-8").splitlines()]
    assert numbers == [10, 11, 12]  # what was filed is sealed first
    assert [one["number"] for one in logged if one["event"] == "trail.anchored"] == numbers


def test_a_file_of_anchors_that_is_gone_is_named_and_not_begun_on_the_system_disk(
    store, tmp_path
) -> None:
    share = tmp_path / "share"  # the mount point itself
    file = share / "trail.jsonl"
    assert Anchoring(store, str(file)).write(at=AT) == ""
    file.rename(tmp_path / "on the share")

    named = Anchoring(store, str(file)).write(at=AT)
    is_begun = file.exists()
    (tmp_path / "on the share").rename(file)
    back = Anchoring(store, str(file)).write(at=AT)

    assert f"[trail] anchor: {file} cannot be written (it is gone. Mount its share" in named
    assert (is_begun, back, len(file.read_text("utf-8").splitlines())) == (False, "", 2)


def test_a_share_that_is_away_gets_the_end_of_the_trail_later(store, tmp_path) -> None:
    away = tmp_path / "away"
    away.write_text("no folder")
    anchoring = Anchoring(store, str(away / "trail.jsonl"))

    assert "[trail] anchor" in anchoring.write(at=AT)

    away.unlink()
    assert anchoring.write(at=AT) == ""
    assert (away / "trail.jsonl").read_text("utf-8").count("\n") == 1


def test_the_command_reads_the_file_that_is_set_and_those_that_are_named(tmp_path, capsys) -> None:
    from labs.shell import Shell  # noqa: PLC0415 - only here

    shell = Shell(tmp_path, capsys)
    shell.write("agent.toml", '[trail]\nanchor = "trail.jsonl"\n[backup]\nfolder = "backups"\n')
    fill(shell.lab.store)
    Anchoring(shell.lab.store, str(tmp_path / "trail.jsonl")).write(at=AT)
    (tmp_path / "backups").mkdir()
    assert shell.agent("backup", tmp_path / "backups" / "martensight-20261124T210000Z.zip")[0] == 0
    assert "the audit log is complete" in shell.agent("verify")[1]
    shutil.copy(tmp_path / "trail.jsonl", tmp_path / "old.log")
    address = f"sqlite:///{shell.lab.folder / 'martensight.db'}"

    tamper(address, "UPDATE trail SET actor = 'Eve' WHERE id = 3")
    chain_again(address)
    code, said = shell.agent("verify", "--json")
    (tmp_path / "trail.jsonl").unlink()
    shutil.rmtree(tmp_path / "backups")
    named = shell.agent("verify", "--anchor", tmp_path / "old.log")

    document = json.loads(said.splitlines()[-1])
    assert (code, document["sound"]) == (3, False)
    (lost, again) = document["notes"]
    assert "were lost with the database that was replaced by an older one" in lost
    assert again.startswith("no statement was assessed again")  # its bundle is not there
    assert any("number 3: actor was Ada" in fault for fault in document["faults"])
    assert named[0] == 3
    assert "(old.log)" in named[1]
    assert shell.agent("verify", "--anchor", tmp_path / "none")[0] == 2


def test_the_doctor_says_whether_the_database_refuses(tmp_path, capsys) -> None:
    from labs.shell import Shell  # noqa: PLC0415 - only here

    shell = Shell(tmp_path, capsys)

    assert "guarded by triggers." in shell.agent("doctor")[1]


def _cut(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def _flipped(whole: bytes) -> bytes:
    """Change one bit in the middle of the copied database, one that means something."""
    with zipfile.ZipFile(io.BytesIO(whole)) as packed:
        member = packed.getinfo("martensight.db")
    place = member.header_offset + len(member.filename) + 200 + member.compress_size // 2
    while True:
        spoilt = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        with suppress(zlib.error), zipfile.ZipFile(io.BytesIO(spoilt)) as packed:
            if not packed.testzip():  # deflate pads its blocks with bits that mean nothing
                place += 1
                continue
        return spoilt


@pytest.mark.parametrize("spoil", [_cut, _flipped, lambda _: b""], ids=["cut", "flipped", "empty"])
def test_a_back_up_that_cannot_be_read_is_named(tmp_path, capsys, spoil) -> None:
    from labs.shell import Shell  # noqa: PLC0415 - only here

    shell = Shell(tmp_path, capsys)
    shell.write("agent.toml", '[backup]\nfolder = "backups"\n')
    fill(shell.lab.store)
    (tmp_path / "backups").mkdir()
    good, bad = (tmp_path / "backups" / f"martensight-2026112{n}T210000Z.zip" for n in (4, 5))
    for each in (good, bad):
        assert shell.agent("backup", each)[0] == 0
    assert shell.agent("verify")[0] == 0

    bad.write_bytes(spoil(bad.read_bytes()))
    code, said = shell.agent("verify")

    assert code == 3
    assert f"back-up {bad.name}: it is damaged" in said
    assert good.name not in said
    if spoil is not _flipped:  # the doctor does not read every byte
        assert f"back-up {bad.name}: it cannot be read" in " ".join(
            shell.agent("doctor")[1].split()
        )
