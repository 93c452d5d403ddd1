"""A value that cannot be read is named with its row, and ends no comparison."""

from __future__ import annotations

import pytest
from labs.lab import DAY
from labs.shell import Shell
from servers.databases import tamper

from agent.store import Decision

ODD = {
    "lone byte": "x'676fff64'",
    "behind a NUL": "x'676f0000ff'",
    "half a letter": "x'c3'",
    "an encoded surrogate": "x'eda080'",
}


@pytest.fixture
def shell(tmp_path, capsys) -> Shell:
    made = Shell(tmp_path, capsys)
    public_id = made.lab.take("G8", order="4711", specimen="1")
    made.lab.store.labels.decide(
        public_id, Decision("code", "Jörg", code="G8", comment="gut ✓"), at=DAY
    )
    return made


@pytest.mark.parametrize("raw", ODD.values(), ids=ODD)
def test_a_comment_that_is_no_text_is_named_with_its_row(shell, raw) -> None:
    tamper(
        f"sqlite:///{shell.lab.folder / 'martensight.db'}",
        f"UPDATE label SET comment = CAST({raw} AS TEXT)",  # noqa: S608
    )

    code, said = shell.agent("verify")

    assert code == 3
    assert "label 1: comment holds" in said
    assert "cannot be read: it was changed" in said


@pytest.mark.parametrize("table", ["trail", "record"])
def test_facts_that_are_no_text_are_named_with_their_row(shell, table) -> None:
    shell.lab.store.records.add("statement", "4711", by="Ada", at=DAY, facts={"n": 1})
    tamper(
        f"sqlite:///{shell.lab.folder / 'martensight.db'}",
        f"UPDATE {table} SET facts = CAST(x'7b22ff223a317d' AS TEXT) WHERE id = 1",  # noqa: S608
    )

    code, said = shell.agent("verify")

    assert code == 3
    assert f"{table} 1: facts holds" in said


def test_letters_beyond_ascii_are_read(shell) -> None:
    assert shell.agent("verify")[0] == 0
