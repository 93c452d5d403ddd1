"""A newcomer is answered at once, and every command shows what to type."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from folders import ROOT
from labs.lab import Lab
from labs.shell import Shell

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


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Path:
    """The settings of a lab with three orders and a bundle."""
    folder = tmp_path_factory.mktemp("filled")
    lab = Lab(folder / "data")
    for number in ("4711", "4712", "5000"):
        lab.take("G8", order=number, specimen="1")
    lab.store.close()
    bundle = folder / "data" / "bundles" / "20261101-0badcafe"
    bundle.mkdir(parents=True)
    (bundle / "bundle.json").write_text("{}", encoding="utf-8")
    file = folder / "agent.toml"
    file.write_text('[site]\nname = "Plant 1"\n', encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("orders show 47", {"4711", "4712"}),
        ("models promote 2026", {"20261101-0badcafe"}),
        ("models evaluate --bundle 2026", {"20261101-0badcafe"}),
        ("review label 0123456789abcdef G", {"G5", "G6", "G7", "G8", "G9-10"}),
    ],
)
def test_a_shell_completes_orders_bundles_and_codes_of_the_lab(filled, typed, offered) -> None:
    script = "import sys; sys.argv = ['agent']; from agent.cli import main; main()"
    is_named = typed.startswith("orders")
    line = f"agent --config {filled} {typed}" if is_named else f"agent {typed}"
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    config = "" if is_named else str(filled)

    said = python(script, _AGENT_COMPLETE="complete_bash", AGENT_CONFIG=config, **words)

    assert (set(said.stdout.split()), said.stderr) == (offered, "")


@pytest.mark.parametrize(
    ("shell", "typed", "offered"),
    [
        ("zsh", "orders show 47", {"4711", "4712"}),
        ("fish", "models evaluate --bundle 2026", {"20261101-0badcafe"}),
        ("pwsh", "review label 0123456789abcdef M9", {"M9-10"}),
    ],
)
def test_each_shell_completes_words_of_the_lab(filled, shell, typed, offered) -> None:
    script = "import sys; sys.argv = ['agent']; from agent.cli import main; main()"
    words = {"_TYPER_COMPLETE_ARGS": f"agent {typed}", "AGENT_CONFIG": str(filled)}
    words |= {"_TYPER_COMPLETE_FISH_ACTION": "get-args"} if shell == "fish" else {}
    words["_TYPER_COMPLETE_WORD_TO_COMPLETE"] = typed.split()[-1]

    said = python(script, _AGENT_COMPLETE=f"complete_{shell}", **words)

    known = re.findall(r"\b(?:4711|4712|5000|20261101-0badcafe|G8|M9-10)\b", said.stdout)
    assert (set(known), said.stderr) == (offered, "")


def test_completion_offers_nothing_and_says_nothing_where_there_is_no_lab(tmp_path) -> None:
    script = "import sys; sys.argv = ['agent']; from agent.cli import main; main()"
    for text in ('[site]\nname = "Plant 1"\n', "[site\n"):
        (tmp_path / "agent.toml").write_text(text, encoding="utf-8")
        words = {"COMP_WORDS": "agent orders show 4", "COMP_CWORD": "3"}
        config = str(tmp_path / "agent.toml")
        said = python(script, _AGENT_COMPLETE="complete_bash", AGENT_CONFIG=config, **words)

        assert (said.stdout.strip(), said.stderr) == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["agent.toml"]


ACTS = frozenset(
    {
        *("demo", "init", "run", "web", "restore", "export"),
        *(f"service {word}" for word in ("install", "uninstall", "start", "stop", "status")),
        *(f"orders {word}" for word in ("urgent", "assign", "same-place", "reopen", "amend")),
        *(f"orders {word}" for word in ("dismiss-file", "hold", "release-hold", "supersede")),
        *("orders resume", "review label", "spec automatic", "users add", "users change"),
        *(f"models {word}" for word in ("add", "export", "promote", "rollback", "weights")),
        *("roundrobin new", "roundrobin close", "msa plan", "support bundle", "support wheels"),
    }
)
"""Commands that do something and confirm it in a sentence, write files, or run until stopped."""


def test_every_command_that_prints_facts_prints_them_as_json_too() -> None:
    names = {
        path
        for path, command in COMMANDS.items()
        if "--json" not in {option for part in command.params for option in part.opts}
    }

    assert names == ACTS


def test_what_commands_did_is_one_json_document(tmp_path, capsys) -> None:
    shell = Shell(tmp_path, capsys)
    shell.lab.take("G8", order="4711", specimen="1")
    shell.lab.set_aside("broken.tif", "truncated", "it ends in the middle")
    listed = shell.write("list.csv", "order,material\n4711,100Cr6\n4712,100Cr6\n")

    documents = {}
    for words in (
        ("orders", "import", listed, "--by", "Ada"),
        ("files", "retry", "--all"),
        ("files", "prune", "--dry-run"),
        ("report", "--date", "2026-11-24"),
    ):
        code, said = shell.agent(*words, "--json")
        assert code == 0, said
        documents[words[1]] = json.loads(
            next(line for line in said.splitlines() if line.startswith("{"))
        )
    shell.lab.store.close()

    assert documents["import"]["changed"] == ["4711", "4712"]
    assert documents["retry"] == {"queued": 1}
    assert (documents["prune"]["dry_run"], documents["prune"]["plans"]) == (True, [])
    assert Path(documents["--date"]["path"]).is_file()


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
