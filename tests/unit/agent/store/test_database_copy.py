"""A database that is copied to the other kind and back holds the same, and stays the lab's own."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from labs.lab import DAY
from labs.shell import Shell
from servers.databases import KINDS, empty
from sqlalchemy import Engine, text

from agent.store import Decision, Store
from agent.store import engine as engines


@pytest.fixture
def shell(tmp_path, capsys) -> Shell:
    """A lab of two sites with micrographs, labels and an account."""
    made = Shell(tmp_path, capsys)
    store = made.lab.store
    for order in ("4711", "4712 ä"):
        public_id = made.lab.take("G8", order=order, specimen="1")
        store.labels.decide(public_id, Decision("code", "Ada", code="G7", comment="ß"), at=DAY)
        store.labels.decide(public_id, Decision("code", "Ada", code="G8", comment="x"), at=DAY)
    store.accounts.add("Ada", kind="person", role="lead", hashed="x", by="Ada", at=DAY)
    made.agent("files")
    url = f"sqlite:///{made.lab.folder / 'martensight.db'}"
    with Store.open(url, site="Plant 2", agent="PC") as other:
        other.audit_log.add(at=DAY, actor="Eve", act="lab.cleaned")
    return made


def copy(shell: Shell, url: str) -> dict:
    code, said = shell.agent("backup", "--copy-to", url, "--json")
    assert code == 0, said
    return json.JSONDecoder().raw_decode(said[said.index("{") :])[0]["tables"]


def use(shell: Shell, url: str) -> None:
    shell.write("agent.toml", f'[site]\nname = "Plant 1"\n[store]\nurl = "{url}"\n')


def scalar(engine: Engine, query: str) -> object:
    with engine.connect() as connection:
        found = connection.execute(text(query)).scalar()
    engine.dispose()
    return found


def test_there_and_back_every_table_is_the_same_and_the_lab_goes_on(
    shell, request, tmp_path
) -> None:
    there = empty("postgresql", request, tmp_path)
    back = f"sqlite:///{tmp_path / 'back' / 'martensight.db'}"
    order = shell.agent("orders", "show", "4712 ä", "--json")

    out = copy(shell, there)
    use(shell, there)
    moved = shell.agent("orders", "show", "4712 ä", "--json")
    verified = shell.agent("verify")
    home = copy(shell, back)
    use(shell, back)

    assert out["label"]["rows"] == 4
    assert out["site"]["rows"] == 2
    assert moved == order
    assert verified[0] == 0, verified[1]
    assert home["trail"]["rows"] == out["trail"]["rows"] + 1  # that it was copied
    assert {k: v for k, v in home.items() if k != "trail"} == {
        k: v for k, v in out.items() if k != "trail"
    }
    assert shell.agent("orders", "show", "4712 ä", "--json") == order
    assert shell.agent("verify")[0] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_copy_evidence_is_guarded_and_numbers_go_on(shell, request, tmp_path, kind) -> None:
    source = f"sqlite:///{shell.lab.folder / 'martensight.db'}"
    shell.lab.store.close()
    with engines.make_engine(source).begin() as connection:
        connection.execute(text("UPDATE sqlite_sequence SET seq = 70 WHERE name = 'content'"))
    url = empty(kind, request, tmp_path / "copy")

    copy(shell, url)

    engine = engines.make_engine(url)
    with Store.open(url, site="Plant 1", agent="PC") as store:
        assert store.checks.find_missing_guards() == []
        assert store.checks.find_unscoped_tables() == []
        assert store.audit_log.find_problems() == []
        assert store.accounts.are_there()
    sequence = (
        "SELECT seq FROM sqlite_sequence WHERE name = 'content'"
        if kind == "sqlite"
        else "SELECT last_value FROM content_id_seq"
    )
    assert scalar(engine, sequence) == 70


def test_a_database_that_is_there_is_not_written_over(shell, tmp_path) -> None:
    target = f"sqlite:///{tmp_path / 'other.db'}"
    Store.open(target, site="Plant 9", agent="PC").close()

    code, said = shell.agent("backup", "--copy-to", target)

    assert code == 2
    assert "holds a lab's database already" in said


def test_a_value_that_the_other_kind_does_not_take_leaves_it_empty(
    shell, request, tmp_path
) -> None:
    url = empty("postgresql", request, tmp_path)
    shell.lab.store.close()
    with engines.make_engine(f"sqlite:///{shell.lab.folder / 'martensight.db'}").begin() as file:
        file.execute(text("UPDATE path SET relative = relative || char(0)"))

    code, said = shell.agent("backup", "--copy-to", url)

    assert code == 2
    assert "does not take a row of table path" in " ".join(said.split())
    assert (
        scalar(
            engines.make_engine(url), "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        )
        == 0
    )


def test_a_lab_whose_agent_runs_is_not_copied(shell, tmp_path) -> None:
    shell.lab.store.agents.record_heartbeat({}, at=datetime.now(UTC))

    code, said = shell.agent("backup", "--copy-to", f"sqlite:///{tmp_path / 'x.db'}")

    assert code == 2
    assert "then copy" in " ".join(said.split())
