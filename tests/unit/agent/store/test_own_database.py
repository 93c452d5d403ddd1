"""An emptied database, or another lab's, is refused next to what a lab has archived."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from labs.lab import DAY, NEXT_DAY
from labs.shell import Shell
from labs.stored_trail import chain_again
from servers.databases import tamper

from agent.evidence.anchors import Anchor, append
from agent.settings import read
from agent.store import Decision, Store


@pytest.fixture
def shell(tmp_path, capsys) -> Shell:
    """A lab with a micrograph, a label and an account, that was opened once by its command."""
    made = Shell(tmp_path, capsys)
    public_id = made.lab.take("G8", order="4711", specimen="1")
    made.lab.store.labels.decide(public_id, Decision("code", "Ada", code="G8"), at=DAY)
    store = made.lab.store
    store.accounts.add("Ada", kind="person", role="lead", hashed="x", by="Ada", at=DAY)
    made.agent("files")
    return made


def database(shell: Shell) -> Path:
    shell.lab.store.close()
    return shell.lab.folder / "martensight.db"


def without(file: Path) -> None:
    for end in ("", "-wal", "-shm"):
        file.with_name(file.name + end).unlink(missing_ok=True)


def empty(file: Path) -> None:
    without(file)
    file.touch()


def another(file: Path) -> None:
    without(file)
    with Store.open(f"sqlite:///{file}", site="Plant 1", agent="PC") as store:
        store.audit_log.add(at=DAY, actor="Eve", act="lab.opened")


def cleared(file: Path) -> None:
    tables = ("label", "trail", "result", "place", "path", "login", "account")
    tamper(f"sqlite:///{file}", *(f"DELETE FROM {name}" for name in tables))  # noqa: S608


@pytest.mark.parametrize("spoil", [empty, without, another, cleared])
def test_another_database_is_refused_with_what_to_do(shell, spoil) -> None:
    spoil(database(shell))

    code, said = shell.agent("files")

    assert code == 2
    assert "agent restore FILE" in said
    assert "agent restore --accept database --reason TEXT" in said
    assert "Traceback" not in said


def test_another_labs_is_refused_where_the_mark_was_removed(shell, tmp_path) -> None:
    file = database(shell)
    shutil.copy(file, tmp_path / "own.db")
    tamper(f"sqlite:///{file}", f"UPDATE micrograph SET sha256 = '{'0' * 64}'")  # noqa: S608
    (shell.lab.folder / "database.json").unlink()

    code, said = shell.agent("files")
    without(file)
    shutil.copy(tmp_path / "own.db", file)

    assert code == 2
    assert "the database of another lab: it does not know the images in" in said
    assert shell.agent("files")[0] == 0


def test_the_service_refuses_it_too(shell) -> None:
    from agent.errors import StoreError  # noqa: PLC0415 - only here
    from agent.service.composition import open_store  # noqa: PLC0415

    empty(database(shell))

    with pytest.raises(StoreError, match="the database is empty, but"):
        open_store(read(shell.folder / "agent.toml", {}))


def test_an_empty_database_is_refused_where_an_earlier_version_left_only_crops(shell) -> None:
    empty(database(shell))
    (shell.lab.folder / "database.json").unlink()

    assert shell.agent("files")[0] == 2


def test_nothing_is_made_where_it_is_refused(shell) -> None:
    without(file := database(shell))

    shell.agent("files")

    assert not file.exists()


def test_whoever_means_it_begins_anew_and_that_is_kept(shell) -> None:
    empty(database(shell))

    assert shell.agent("restore", "--accept", "database")[0] == 2
    assert shell.agent("restore", "--accept", "database", "--reason", "the disk broke")[0] == 0

    assert shell.agent("files")[0] == 0
    with Store.open(f"sqlite:///{database(shell)}", site="Plant 1", agent="PC") as store:
        (act,) = store.audit_log.iter_acts("lab.begun_anew")
        assert act.facts["reason"] == "the disk broke"
        assert len(act.facts["first_act_before"]) == 64
    empty(database(shell))
    assert shell.agent("files")[0] == 2


def test_a_back_up_brings_the_labs_own_database_back(shell) -> None:
    assert shell.agent("backup", shell.folder / "safe.zip")[0] == 0
    empty(database(shell))

    assert shell.agent("restore", shell.folder / "safe.zip")[0] == 0

    assert shell.agent("files")[0] == 0


def test_a_new_lab_opens_and_is_known_again(tmp_path, capsys) -> None:
    shell = Shell(tmp_path, capsys)
    shell.lab.store.close()
    shutil.rmtree(shell.lab.folder)

    assert shell.agent("files")[0] == 0
    assert shell.agent("files")[0] == 0


@pytest.mark.parametrize("mark", ['{"first_act": ""}', '{"first_act": "none"}', "{}", "[", ""])
@pytest.mark.parametrize("spoil", [empty, without, cleared])
def test_an_edited_mark_does_not_count_as_beginning_anew(shell, spoil, mark) -> None:
    spoil(database(shell))
    (shell.lab.folder / "database.json").write_text(mark, encoding="utf-8")

    code, said = shell.agent("files")

    assert code == 2
    assert "agent restore --accept database --reason TEXT" in said


def test_a_folder_that_cannot_be_written_does_not_hide_the_labs_database(shell) -> None:
    mark = shell.lab.folder / "database.json"
    before = mark.read_text(encoding="utf-8")
    mark.unlink()
    in_the_way = shell.lab.folder / ".database.json.part"
    in_the_way.mkdir()

    code, said = shell.agent("status")

    assert code == 0
    assert "cannot be written" not in said
    in_the_way.rmdir()
    assert shell.agent("files")[0] == 0
    assert mark.read_text(encoding="utf-8") == before


def test_an_edited_mark_is_written_again_for_the_labs_own_database(shell) -> None:
    mark = shell.lab.folder / "database.json"
    before = mark.read_text(encoding="utf-8")
    mark.write_text('{"first_act": ""}', encoding="utf-8")

    assert shell.agent("files")[0] == 0

    assert mark.read_text(encoding="utf-8") == before


def test_a_sound_lab_has_nothing_to_begin_anew(shell) -> None:
    mark = shell.lab.folder / "database.json"
    before, head = mark.read_bytes(), shell.lab.store.audit_log.get_head()

    code, said = shell.agent("restore", "--accept", "database", "--reason", "why not")

    assert code == 2
    assert "is already the database of" in said
    assert shell.lab.store.audit_log.get_head() == head
    assert mark.read_bytes() == before


def test_a_restore_writes_the_mark_of_what_it_restored(shell) -> None:
    mark = shell.lab.folder / "database.json"
    before = mark.read_bytes()
    assert shell.agent("backup", shell.folder / "safe.zip")[0] == 0
    another(database(shell))
    mark.unlink()

    assert shell.agent("restore", shell.folder / "safe.zip")[0] == 0

    assert mark.read_bytes() == before


@pytest.mark.parametrize("spoil", ["DROP TABLE alembic_version", "DELETE FROM alembic_version"])
def test_a_database_without_its_schema_number_is_refused_with_what_to_do(shell, spoil) -> None:
    assert shell.agent("backup", shell.folder / "safe.zip")[0] == 0
    tamper(f"sqlite:///{database(shell)}", spoil)

    code, said = shell.agent("files")

    assert code == 2
    assert "alembic_version" in said
    assert "agent restore FILE" in said
    assert shell.agent("restore", shell.folder / "safe.zip")[0] == 0
    assert shell.agent("files")[0] == 0


def test_what_was_lost_before_a_lab_was_begun_anew_is_a_note(shell) -> None:
    shell.write("agent.toml", '[site]\nname = "Plant 1"\n[trail]\nanchor = "trail.jsonl"\n')
    with Store.open(f"sqlite:///{database(shell)}", site="Plant 1", agent="PC") as store:
        append(shell.folder / "trail.jsonl", Anchor.of(store.audit_log.get_head(), at=DAY))
    empty(database(shell))
    shutil.rmtree(shell.lab.folder / "crops")
    assert shell.agent("restore", "--accept", "database", "--reason", "the disk broke")[0] == 0

    code, said = shell.agent("verify")

    assert code == 0
    assert "is of the database that was lost before the lab began again" in " ".join(said.split())


def test_a_restore_names_what_it_lost_everywhere_until_a_lead_accepts_it(tmp_path, capsys) -> None:
    shell = Shell(tmp_path, capsys)
    shell.lab.take("G8", order="4711", specimen="1")
    shell.write(
        "agent.toml",
        '[site]\nname = "Plant 1"\n[trail]\nanchor = "trail.jsonl"\n[orders]\nleads = ["Ada"]\n',
    )
    assert shell.agent("backup", shell.folder / "safe.zip")[0] == 0
    with Store.open(f"sqlite:///{database(shell)}", site="Plant 1", agent="PC") as store:
        store.audit_log.add(at=NEXT_DAY, actor="Eve", act="lab.opened")
        append(shell.folder / "trail.jsonl", Anchor.of(store.audit_log.get_head(), at=NEXT_DAY))
        end = store.audit_log.get_head().number

    code, said = shell.agent("restore", shell.folder / "safe.zip")

    warning = f"to {end} were lost when the back-up safe.zip was restored"
    assert (code, warning in " ".join(said.split())) == (0, True)
    assert shell.agent("verify")[0] == 0
    for command in ("verify", "status", "doctor"):
        assert warning in " ".join(shell.agent(command)[1].split()), command
    (number,) = re.findall(r"--accept (\d+)", shell.agent("status")[1])
    asked = ("restore", "--accept", number, "--reason", "the disk broke", "--by")
    assert shell.agent(*asked, "Bob")[0] == 2
    assert shell.agent("restore", "--accept", number, "--by", "Ada")[0] == 2
    asked = (*asked, "Ada")
    assert shell.agent(*asked)[0] == 0
    for command in ("verify", "status", "doctor"):
        assert "were lost when the back-up" not in " ".join(shell.agent(command)[1].split())
    assert shell.agent(*asked)[0] == 2


def test_a_forged_beginning_explains_nothing(shell) -> None:
    shell.write("agent.toml", '[site]\nname = "Plant 1"\n[trail]\nanchor = "trail.jsonl"\n')
    with Store.open(f"sqlite:///{database(shell)}", site="Plant 1", agent="PC") as store:
        append(shell.folder / "trail.jsonl", Anchor.of(store.audit_log.get_head(), at=DAY))
        store.audit_log.add(at=NEXT_DAY, actor="Eve", act="lab.begun_anew", facts={"reason": "x"})
    tamper(f"sqlite:///{database(shell)}", "UPDATE trail SET actor = 'Eve' WHERE id = 2")
    chain_again(f"sqlite:///{database(shell)}")

    assert shell.agent("verify")[0] == 3
