"""A newcomer is answered at once, and every command shows what to type."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys

import pytest
import typer
from folders import ROOT

from agent.cli.examples import MOVED

app_module = importlib.import_module("agent.cli.app")
for group in app_module.GROUPS:
    importlib.import_module(f"agent.cli.{group}")

HEAVY = ("torch", "cv2", "numpy", "sqlalchemy", "pydantic", "fastapi", "matplotlib", "structlog")


def commands():
    from agent.cli.examples import add_examples  # noqa: PLC0415

    add_examples(app_module.app)
    root = typer.main.get_command(app_module.app)
    stack = [("", root)]
    while stack:
        path, command = stack.pop()
        inner = getattr(command, "commands", None)
        if inner:
            if command.invoke_without_command:
                yield path, command
            stack += [(f"{path} {name}".strip(), one) for name, one in inner.items()]
        else:
            yield path, command


COMMANDS = dict(sorted(commands()))


def python(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


def test_the_first_page_comes_within_half_a_second_of_cpu_and_loads_nothing_heavy() -> None:
    script = (
        "import sys, time; began = time.process_time()\n"
        "from agent.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        f"heavy = [name for name in {HEAVY} if name in sys.modules]\n"
        "print('TOOK', time.process_time() - began, heavy)"
    )

    said = python(script).stdout

    took_s, heavy = re.search(r"TOOK ([\d.]+) (.*)", said).groups()
    assert float(took_s) < 0.5
    assert heavy == "[]"
    assert "Start:" in said


def test_every_command_has_an_example_that_it_understands() -> None:
    for path, command in COMMANDS.items():
        words = shlex.split((command.epilog or "").partition("\b\n")[2])

        assert "agent" in words, f"{path}: add its example to agent/cli/examples.py"
        given = words[words.index("agent") + 1 :]
        if given[:1] == ["--config"]:
            given = given[2:]
        assert given[: len(path.split())] == path.split(), path
        command.make_context(path, given[len(path.split()) :])  # a usage error says what is wrong


def test_every_command_says_what_it_does_in_a_sentence() -> None:
    for path, command in COMMANDS.items():
        assert re.search(r"\w{3}.*[.)]", command.help or ""), path


def run_help(capsys, *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        app_module.main([*words, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_an_example_stands_in_the_help_on_a_line_of_its_own(capsys) -> None:
    text = run_help(capsys, "files", "retry")

    assert re.search(r"Example:\n\s+agent files retry --all\n", text)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "pwsh"])
def test_a_shell_can_complete_commands(shell) -> None:
    script = "import sys; sys.argv = ['agent']; from agent.cli import main; main()"
    words = {"COMP_WORDS": "agent st", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "agent st"}
    if shell == "fish":
        words["_TYPER_COMPLETE_FISH_ACTION"] = "get-args"

    words["_TYPER_COMPLETE_WORD_TO_COMPLETE"] = "st"

    said = python(script, _AGENT_COMPLETE=f"complete_{shell}", **words)

    assert "status" in said.stdout, said.stderr


def test_help_lists_every_command_once_under_a_heading_in_80_columns(monkeypatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = run_help(capsys)

    listed = text.partition("\nStart:")[2]
    names = re.findall(r"^  ([a-z][a-z-]*)  ", listed, re.MULTILINE)
    assert sorted(names) == sorted({path.split()[0] for path in COMMANDS})
    assert re.findall(r"^(\S.*):$", text, re.MULTILINE)[1:] == list(app_module.SECTIONS)
    assert max(map(len, text.splitlines())) <= 80
    assert "..." not in listed


def test_a_command_that_moved_answers_with_its_new_name_alone(capsys) -> None:
    for old in MOVED:
        with pytest.raises(SystemExit) as ended:
            app_module.main([*old.split(), "4711", "--json"])

        said = capsys.readouterr()
        assert ended.value.code == 2, old
        assert said.err == f"agent: 'agent {old}' is now 'agent {MOVED[old]}'.\n", old
        assert said.out == "", old


def test_the_new_name_of_a_command_that_moved_exists() -> None:
    for old in MOVED:
        words = MOVED[old].split()
        names = [name for name in (" ".join(words[:2]), words[0]) if name in COMMANDS]
        options = {word for word in words if word.startswith("--")}

        assert names, MOVED[old]
        assert options <= {
            option for param in COMMANDS[names[0]].params for option in param.opts
        }, old
        assert old not in COMMANDS, old


def test_no_text_names_a_command_by_its_former_name() -> None:
    names = "|".join(sorted(map(re.escape, MOVED), key=len, reverse=True))
    former = re.compile(rf"\bagent(?:\.exe)?(?: --config \S+)? (?:{names})(?![\w-])")
    texts = [
        path
        for folder in ("agent", "model", "reports", "deploy")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".md", ".po", ".html", ".js", ".toml", ".sh", ".ps1", ".yaml"}
    ]

    assert len(texts) > 500
    assert [
        (path.name, match[0])
        for path in (*texts, ROOT / "README.md", ROOT / "CHANGELOG.md")
        for match in former.finditer(
            " ".join(re.sub(r'"\s+f?"', "", path.read_text("utf-8")).split())
        )
    ] == []
