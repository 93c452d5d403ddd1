"""The shell signs as no one else: each act keeps the system's user, and an account is proved."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from labs.lab import DAY
from labs.shell import Shell
from typer.main import get_command

from agent.cli.app import app
from agent.cli.options import SIGNED, os_user
from agent.store import Decision
from agent.store.people import auth

AT = datetime(2026, 11, 24, 21, 0, tzinfo=UTC)
PASSWORD = "correct horse battery"  # noqa: S105 - of a test
SIGNER = ("--by", "Leo", "--reason", "why")
WORDS: dict[str, tuple[str, ...]] = {
    "orders hold": ("4711", "--reason", "complaint"),
    "orders hold --off": ("4711", "--reason", "settled"),
    "fleet": ("--retire", "PC-2", *SIGNER),
    "import": ("FOLDER",),
    "models promote": ("20261101-0badcafe", *SIGNER),
    "models rollback": SIGNER,
    "msa plan": (
        "m", "--specimens", "CSV", "--operators", "A,B", "--microscopes", "A,B", "--by", "Leo",
    ),
    "needles calibrate": ("--subtype", "G", "--microscope", "LOM-07", *SIGNER),
    "orders amend": ("4711", *SIGNER),
    "orders assign": ("ID", "4711", "1", *SIGNER),
    "orders dismiss-file": ("4711", "a.tif", *SIGNER),
    "orders release-hold": ("LOM-07", *SIGNER),
    "orders reopen": ("4711", *SIGNER),
    "orders resume": ("4711", *SIGNER),
    "orders same-place": ("ID", "ID", "--different", *SIGNER),
    "orders supersede": ("ID", *SIGNER),
    "orders urgent": ("4711", "--by", "Leo"),
    "report --acknowledge": ("unusual", *SIGNER),
    "restore": ("--accept", "1", *SIGNER),
    "review label": ("ID", "G8", "--by", "Leo"),
    "review label --undo": ("ID", "--by", "Leo"),
    "models rollout --continue": SIGNER,
    "roundrobin close": ("m", "--by", "Leo"),
    "roundrobin new": ("m", "--stratified", "2", "--by", "Leo"),
    "roundrobin open": ("m", "--by", "Leo"),
    "scale check": (
        "a.tif", "--division", "10um", "--by", "Leo", "--microscope", "L", "--objective", "50x",
    ),
    "spec automatic": ("100Cr6", *SIGNER),
    "train": ("FOLDER", "--by", "Leo"),
    "users add": ("Eve", "--role", "admin", "--password-stdin", "--by", "Leo"),
    "users change --enable": ("Leo", "--by", "Leo"),
    "users change --role": ("viewer", "Leo", "--by", "Leo"),
    "spec validate": ("100Cr6", "FOLDER", "--by", "Leo"),
}  # fmt: skip
"""What is typed behind each command that signs."""
NOT_SIGNED = {
    "roundrobin report": "it reports what was rated",
    "msa report": "it reports what was rated",
    "orders import": "what a list changes waits for a lead",
    "orders trace": "it states what the rows say",
}
"""Commands that name somebody and do not sign, and why; each keeps the system's user."""


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield every command with its options."""

    def walk(command: object, names: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
        below = getattr(command, "commands", None)
        if below is None:
            yield " ".join(names), [opt for param in command.params for opt in param.opts]
            return
        for name, one in below.items():
            yield from walk(one, (*names, name))

    yield from walk(get_command(app), ())


@pytest.fixture
def shell(tmp_path, capsys) -> Shell:
    made = Shell(tmp_path, capsys)
    (tmp_path / "labelled").mkdir()
    return made


def typed(shell: Shell, command: str, public_id: str) -> list[str]:
    places = {"ID": public_id, "FOLDER": str(shell.folder / "labelled")}
    return [*command.split(), *(places.get(word, word) for word in WORDS[command])]


def let_in(shell: Shell, name: str = "Leo", role: str = "lead") -> None:
    hashed = auth.hash_password(PASSWORD)
    shell.lab.store.accounts.add(name, kind="person", role=role, hashed=hashed, by="x", at=AT)


def token_of(shell: Shell, name: str, role: str) -> str:
    token = auth.make_token()
    hashed = auth.hash_token(token)
    shell.lab.store.accounts.add(name, kind="program", role=role, hashed=hashed, by="x", at=AT)
    return token


def test_every_command_that_names_somebody_signs_or_says_why_not(shell) -> None:
    shell.agent("--help")
    acting = {name for name, options in commands() if "--by" in options}

    signing = {command.partition(" --")[0] for command in SIGNED}
    assert acting - signing == set(NOT_SIGNED)
    assert set(SIGNED) == set(WORDS)
    assert signing <= {name for name, _ in commands()}


def test_a_lab_with_accounts_refuses_each_act_that_nobody_signed(shell) -> None:
    public_id = shell.lab.take("G8", order="4711", specimen="1")
    let_in(shell, role="admin")
    before = shell.lab.store.audit_log.get_head()

    for command in WORDS:
        code, said = shell.agent(*typed(shell, command, public_id))

        assert code == 2, command
        assert "requires a signature" in said, command
        assert "AGENT_TOKEN" in said, command
        assert shell.lab.store.audit_log.get_head() == before, command


def test_a_token_of_too_low_a_role_signs_none(shell, monkeypatch) -> None:
    public_id = shell.lab.take("G8", order="4711", specimen="1")
    let_in(shell, "Boss", "admin")
    monkeypatch.setenv("AGENT_TOKEN", token_of(shell, "lims", "viewer"))

    for command in WORDS:
        words = ["lims" if word == "Leo" else word for word in typed(shell, command, public_id)]
        code, said = shell.agent(*words)

        assert code == 2, command
        assert "lims has role viewer" in said, command


def test_without_accounts_a_name_is_enough_and_the_systems_user_is_kept(shell) -> None:
    public_id = shell.lab.take("G8", order="4711", specimen="1")

    assert shell.agent("review", "label", public_id, "G8", "--by", "Leo")[0] == 0

    (act,) = shell.lab.store.audit_log.iter_acts("label.given")
    assert act.actor == "Leo"
    assert act.facts["signed"] == {
        "kind": "shell",
        "os_user": os_user(),
        "meaning": "reviewed",
    }


@pytest.mark.parametrize("name", ["agent", " A-gent", "Leo\nBea"])
def test_no_person_signs_as_the_program_or_in_two_lines(shell, name) -> None:
    public_id = shell.lab.take("G8", order="4711", specimen="1")

    assert shell.agent("review", "label", public_id, "G8", "--by", name)[0] == 2
    assert shell.lab.store.results.find(public_id).label is None


def test_every_act_of_the_shell_keeps_the_systems_user(shell) -> None:
    shell.lab.take("G8", order="4711", specimen="1")

    assert shell.agent("orders", "urgent", "4711", "--by", "Leo")[0] == 0

    (act,) = shell.lab.store.audit_log.iter_acts("order.urgent")
    assert act.facts["signed"] == {
        "kind": "shell",
        "os_user": os_user(),
        "meaning": "put first",
    }


def test_accounts_are_changed_by_whoever_runs_the_command_until_an_admin_may_log_in(shell) -> None:
    let_in(shell, "Leo", "lead")

    assert shell.agent("users", "change", "Leo", "--role", "admin")[0] == 0
    assert shell.agent("users", "change", "Leo", "--role", "viewer")[0] == 2
    shell.lab.store.accounts.disable("Leo", disabled=True, by="x", at=AT)
    assert shell.agent("users", "change", "Leo", "--role", "viewer")[0] == 0

    acts = shell.lab.store.audit_log.iter_acts("account.role_changed")
    assert [act.facts["role"] for act in acts] == ["admin", "viewer"]


def test_a_token_signs_as_its_program_and_as_nobody_else(shell, monkeypatch) -> None:
    public_id = shell.lab.take("G8", order="4711", specimen="1")
    let_in(shell)
    token = token_of(shell, "lims", "lead")
    supersede = ("orders", "supersede", public_id, "--reason", "scratched")

    assert (
        "belongs to lims, not to Leo" in shell.agent("--token", token, *supersede, *SIGNER[:2])[1]
    )
    assert "is unknown or disabled" in shell.agent("--token", f"{token}x", *supersede)[1]
    monkeypatch.setenv("AGENT_TOKEN", token)
    assert shell.agent(*supersede)[0] == 0

    (act,) = shell.lab.store.audit_log.iter_acts("field.superseded")
    assert act.actor == "lims"
    assert act.facts["signed"] | {"os_user": ""} == {
        "kind": "shell",
        "os_user": "",
        "meaning": "superseded",
        "account": "lims",
        "proof": "token",
    }


def test_a_program_has_one_vote_in_the_shell_and_in_the_api(shell, monkeypatch) -> None:
    from agent.store import voter_of  # noqa: PLC0415 - only here

    public_id = shell.lab.take("G8", order="4711", specimen="1")
    monkeypatch.setenv("AGENT_TOKEN", token_of(shell, "lims", "reviewer"))

    assert shell.agent("review", "label", public_id, "G8")[0] == 0

    (act,) = shell.lab.store.audit_log.iter_acts("label.given")
    assert act.actor == "lims (program)"
    assert voter_of(act.actor) == voter_of("Leo (by lims)") == voter_of("lims (by lims)")


def test_a_disabled_token_signs_nothing(shell, monkeypatch) -> None:
    public_id = shell.lab.take("G8", order="4711", specimen="1")
    monkeypatch.setenv("AGENT_TOKEN", token_of(shell, "lims", "lead"))
    shell.lab.store.accounts.disable("lims", disabled=True, by="x", at=AT)

    assert shell.agent("review", "label", public_id, "G8")[0] == 2


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal of our own is POSIX's")
@pytest.mark.parametrize(("password", "code"), [(PASSWORD, 0), ("correct horse", 2)])
def test_a_terminal_asks_for_the_password(shell, password, code) -> None:
    public_id = shell.lab.take("G8", order="4711", specimen="1", at=DAY)
    let_in(shell)
    words = ["review", "label", public_id, "G8", "--by", "Leo"]
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "agent", "--config", str(shell.folder / "agent.toml"), *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        said = b""
        while b"Password of Leo: " not in said:
            said += os.read(ours, 1024)
        os.write(ours, f"{password}\n".encode())
        try:
            while piece := os.read(ours, 1024):
                said += piece
        except OSError:
            pass  # the terminal is closed: the command has ended
        ended = process.wait(60)
    os.close(ours)

    assert ended == code
    assert password.encode() not in said
    acts = [
        act
        for act in shell.lab.store.audit_log.iter_acts()
        if act.act in {"label.given", "login.failed"}
    ]
    assert [act.act for act in acts] == ["label.given" if code == 0 else "login.failed"]
    if code == 0:
        assert acts[0].actor == "Leo"
        assert acts[0].facts["signed"]["proof"] == "password"
        assert acts[0].facts["signed"]["account"] == "Leo"


def test_the_export_of_the_trail_holds_the_signature(shell) -> None:
    public_id = shell.lab.take("G8", order="4711", specimen="1")
    shell.agent("review", "label", public_id, "G8", "--by", "Leo")

    said = shell.agent("export", "trail", "--format", "json")[1]

    acts = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    (label,) = [act for act in acts if act["act"] == "label.given"]
    assert label["facts"]["signed"]["meaning"] == "reviewed"


def test_the_systems_user_is_not_read_from_the_environment(shell, monkeypatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "leo")
    shell.lab.take("G8", order="4711", specimen="1")

    assert shell.agent("orders", "urgent", "4711")[0] == 0

    (act,) = shell.lab.store.audit_log.iter_acts("order.urgent")
    assert "leo" not in {act.actor, act.facts["signed"]["os_user"]}


@pytest.mark.parametrize(("role", "code"), [("reviewer", 2), ("lead", 0)])
def test_only_a_lead_withdraws_anothers_decision_as_at_the_page(shell, monkeypatch, role, code):
    public_id = shell.lab.take("G8")
    shell.lab.store.labels.decide(public_id, Decision("code", "Anna", code="G8"), at=AT)
    let_in(shell, "Anna", "reviewer")
    monkeypatch.setenv("AGENT_TOKEN", token_of(shell, "lims", role))

    refused, said = shell.agent("review", "label", public_id, "--undo")

    assert refused == code
    assert ("Anna decided that" in said) == bool(code)
    assert (shell.lab.store.results.find(public_id).label is None) == (not code)


def test_a_reviewer_withdraws_their_own_decision(shell, monkeypatch):
    public_id = shell.lab.take("G8")
    monkeypatch.setenv("AGENT_TOKEN", token_of(shell, "lims", "reviewer"))
    assert shell.agent("review", "label", public_id, "G8")[0] == 0

    assert shell.agent("review", "label", public_id, "--undo")[0] == 0
