"""Commands that run the agent: contracts of output, of the exit code, and of the end."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest
from labs.service import Lab, picture, until

from agent import settings
from agent.cli import main

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


@pytest.fixture
def agent(capsys):
    """Run a command here; return its exit code, and what it printed on either stream."""

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main([*map(str, words)])
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


def start(lab):
    command = [sys.executable, "-m", "agent", "--config", str(lab.file), "run"]
    log = (lab.folder / "stderr.txt").open("w")
    process = subprocess.Popen(command, stderr=log, stdout=subprocess.PIPE, text=True)
    log.close()
    until(lambda: "review page" in said(lab) or process.poll() is not None)
    assert process.poll() is None, said(lab)
    return process


def said(lab):
    return (lab.folder / "stderr.txt").read_text(encoding="utf-8")


def test_a_single_run_exits_with_1_if_a_file_could_not_be_used_else_with_0(lab, agent):
    lab.export("good.png")
    good = agent("--config", lab.file, "run", "--once")
    lab.export("cut.png", held=picture(1)[:900])

    code, printed, _ = agent("--config", lab.file, "run", "--once")

    assert good[:2] == (0, "1 stored\n")
    assert code == 1
    assert "1 set aside" in printed


@pytest.mark.parametrize("command", [("run",), ("run", "--once"), ("web",)])
def test_an_empty_folder_is_no_lab_and_the_next_step_is_named(
    tmp_path, monkeypatch, agent, command
):
    if settings.platform_folder().exists():
        pytest.skip("this PC has settings of its own")
    monkeypatch.chdir(tmp_path)

    code, _, errors = agent(*command)

    assert code == 2
    assert "agent init, then agent run" in " ".join(errors.split())
    assert list(tmp_path.iterdir()) == []


def test_an_agent_whose_port_is_taken_is_not_running(lab):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        lab.write(port=taken.getsockname()[1])
        command = [sys.executable, "-m", "agent", "--config", str(lab.file), "run"]

        ended = subprocess.run(command, capture_output=True, check=False, text=True)

    assert ended.returncode == 2
    assert "web.port" in ended.stderr
    assert lab.status()["running"] is False


def test_a_lab_without_a_source_is_told_where_to_set_one(tmp_path, monkeypatch, agent):
    (tmp_path / "agent.toml").write_text('[store]\nfolder = "data"\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    code, _, errors = agent("run", "--once")

    assert code == 0
    assert "No source is set" in errors


def test_status_is_one_json_document_and_nothing_else(lab, agent):
    code, printed, _ = agent("--config", lab.file, "status", "--json")

    assert code == 0
    assert json.loads(printed)["running"] is False


def test_status_without_any_settings_says_where_they_were_looked_for(tmp_path, monkeypatch, agent):
    if settings.platform_folder().exists():
        pytest.skip("this PC has settings of its own")
    monkeypatch.chdir(tmp_path)

    _, printed, _ = agent("status", "--json")

    first = json.loads(printed)["problems"][0]
    assert "No agent.toml in this folder" in first
    assert "agent --config FILE" in first


@pytest.mark.slow
@posix
def test_a_killed_agent_leaves_nothing_that_the_next_does_not_finish(lab, agent):
    for index in range(30):
        lab.export(f"{index:02}.png", held=picture(index))
    process = start(lab)
    until(lambda: "done" in lab.fates().values())
    process.kill()
    process.wait(60)

    code, _, errors = agent("--config", lab.file, "run", "--once")

    assert code == 0, errors
    assert set(lab.fates().values()) == {"done"}
    assert len(lab.fates()) == 30
    with lab.store() as store:
        assert len(list(store.results.iter_all())) == 30


DIES = """
import os, signal, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
from agent.cli import main
when, written = sys.argv.pop(1), []

@event.listens_for(Engine, "after_cursor_execute")
def note(_connection, _cursor, statement, *_):
    if statement.startswith("INSERT INTO result"):
        written.append(False)

@event.listens_for(Engine, "commit")
def commit(_connection):
    if written and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    written[:] = [True] * len(written)

@event.listens_for(Engine, "begin")
def begin(_connection):
    if any(written):
        os.kill(os.getpid(), signal.SIGKILL)

main()
"""
"""An agent that is killed when a result is written: just before it counts, or just after."""


@pytest.mark.slow
@posix
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize(("when", "left"), [("before", "processing"), ("after", "done")])
def test_a_kill_between_a_result_and_its_fate_leaves_both_or_neither(
    lab, request, database, when, left
):
    agent = request.getfixturevalue("agent")
    if database == "postgresql":
        address = request.getfixturevalue("postgres").empty("ours")
        text = lab.file.read_text(encoding="utf-8")
        lab.file.write_text(text.replace("[store]", f'[store]\nurl = "{address}"'), "utf-8")
    lab.export("a.png")
    command = [sys.executable, "-c", DIES, when, "--config", str(lab.file), "run", "--once"]

    died = subprocess.run(command, capture_output=True, timeout=120, check=False)
    with lab.store() as store:
        between = (
            [fate.state for fate in store.files.iter_status()],
            len(list(store.results.iter_all())),
        )
    code, _, errors = agent("--config", lab.file, "run", "--once")

    assert died.returncode == -signal.SIGKILL
    assert between == ([left], 1 if left == "done" else 0)
    assert code == 0, errors
    assert lab.fates() == {"a.png": "done"}
    with lab.store() as store:
        assert len(list(store.results.iter_all())) == 1


PC = """
import platform, sys
name = sys.argv.pop(1)
platform.node = lambda: name
from agent.cli import main
main()
"""
"""The agent of a PC of another name."""


@pytest.mark.slow
@posix
def test_two_agents_on_one_source_and_one_postgresql_take_each_file_once(lab, postgres):
    text = lab.file.read_text(encoding="utf-8")
    address = postgres.empty("ours")
    lab.file.write_text(text.replace("[store]", f'[store]\nurl = "{address}"'), encoding="utf-8")
    expected = {f"{index:02}.png" for index in range(40)}

    def begin(name):
        command = [sys.executable, "-c", PC, name, "--config", str(lab.file), "run"]
        with (lab.folder / f"{name}.txt").open("w") as log:
            return subprocess.Popen(command, stderr=log, stdout=log)

    agents = [begin("PC-1"), begin("PC-2")]
    for index in range(20):
        lab.export(f"{index:02}.png", held=picture(index))
    until(lambda: list(lab.fates().values()).count("done") >= 5)
    agents[0].kill()
    agents[0].wait(60)
    for index in range(20, 40):
        lab.export(f"{index:02}.png", held=picture(index))
    agents[0] = begin("PC-1")
    until(lambda: lab.fates() == dict.fromkeys(expected, "done"))
    for process in agents:
        process.terminate()
    codes = [process.wait(120) for process in agents]

    assert codes == [0, 0]
    with lab.store() as store:
        assert len(list(store.results.iter_all())) == 40
        assert {agent.name for agent in store.agents.list_all()} >= {"PC-1", "PC-2"}
    data = lab.settings.store.folder
    named = sorted(str(file.relative_to(data)) for file in data.rglob("*PC-?.*"))
    assert [name for name in named if "features" not in name] == [
        f"{name}-{pc}{ending}"
        for name, ending in (
            ("agent", ".lock"),
            ("logs/agent", ".log"),
            ("metrics", ".prom"),
            ("status", ".json"),
        )
        for pc in ("PC-1", "PC-2")
    ]
    assert not any((data / name).exists() for name in ("status.json", "metrics.prom", "agent.lock"))


def test_a_port_that_somebody_else_has_is_said_in_one_sentence(lab):
    import socket  # noqa: PLC0415

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        text = lab.file.read_text(encoding="utf-8")
        port = taken.getsockname()[1]
        lab.file.write_text(text.replace("port = 0", f"port = {port}"), encoding="utf-8")

        command = [sys.executable, "-m", "agent", "--config", str(lab.file), "run"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 2
    assert "web.port" in done.stderr
    assert "Traceback" not in done.stderr
