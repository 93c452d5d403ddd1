"""Whatever befalls the page, files are taken: it is a process of its own, and it comes back."""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import signal
import socket
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest
from labs.service import DEADLINE_S, Lab, picture, until

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX limits and signals")

FEW_FILES = 256


class RunningAgent:
    """`agent run` in a process of its own, which may open so many files."""

    def __init__(self, lab, files=FEW_FILES):
        self.log, self.logs = lab.folder / "stderr.txt", lab.folder / "data" / "logs"
        command = [sys.executable, "-m", "agent", "--config", str(lab.file), "run"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                stderr=log,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)),  # noqa: PLW1509
            )

    def __enter__(self):
        try:
            self._wait_for_its_page()
        except BaseException:
            self.__exit__()  # else it would run on when the test has failed
            raise
        return self

    def _wait_for_its_page(self):
        until(lambda: "review page: " in self.said() or self.process.poll() is not None)
        assert self.process.poll() is None, self.said()
        self.url = self.said().split("review page: ")[1].split()[0]
        self.address = urlsplit(self.url).hostname, urlsplit(self.url).port
        until(self.answers)

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=DEADLINE_S)

    def said(self):
        return self.log.read_text(encoding="utf-8")

    def logged(self):
        return "".join(file.read_text(encoding="utf-8") for file in self.logs.glob("*.log"))

    def answers(self):
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=10) as answer:  # noqa: S310 - ours
                return answer.status == 200
        except (URLError, OSError):
            return False

    def shown(self, path):
        with urllib.request.urlopen(f"{self.url}{path}", timeout=120) as answer:  # noqa: S310 - ours
            return answer.read().decode()

    def page(self):
        """The process that listens at the page's port, once it does: it may just be starting."""
        found = []
        until(lambda: found.extend(self._listening()) or found)
        return found[0]

    def _listening(self):
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.net_connections("tcp") and not process.children():
                    yield process


def has_ended(process):
    """Return whether a process ended; who did not start it may see its entry a moment longer."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A lab and the agents that ran in it, the one that may run as the last."""
    lab, agents = Lab(tmp_path_factory.mktemp("running")), []
    yield lab, agents
    for agent in agents:
        agent.__exit__()


@pytest.fixture
def running(started):
    """A lab and its agent, started again only where a test ended it: a start takes seconds."""
    lab, agents = started
    if not agents or agents[-1].process.poll() is not None:
        agents.append(RunningAgent(lab).__enter__())
    return lab, agents[-1]


def half_open(address, n):
    """Open connections that send the beginning of a request, and no more."""
    sockets = []
    for _ in range(n):
        with contextlib.suppress(OSError):
            opened = socket.create_connection(address, timeout=5)
            opened.sendall(b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            sockets.append(opened)
    return sockets


@pytest.mark.slow
def test_more_half_open_connections_than_files_keep_no_micrograph_from_being_stored(tmp_path):
    lab = Lab(tmp_path)
    with RunningAgent(lab) as agent:
        held = half_open(agent.address, FEW_FILES + 100)
        for index in range(5):
            lab.export(f"{index}.png", held=picture(index))

        until(lambda: list(lab.fates().values()) == ["done"] * 5)

        assert agent.answers()
        assert "crashed" not in agent.logged()
        until(lambda: 'martensight_fates_total{fate="stored"} 5.0' in agent.shown("/metrics"))
        for one in held:
            one.close()


def test_a_page_that_is_killed_comes_back_at_the_same_address_and_the_agent_goes_on(running):
    lab, agent = running
    first = agent.page()

    first.kill()
    until(lambda: has_ended(first))

    until(agent.answers)
    lab.export("a.png")
    until(lambda: lab.fates().get("a.png") == "done")
    assert agent.page().pid != first.pid
    assert '"page.ended"' in agent.logged()


def peak_mb(process):
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1000


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_large_files_sent_at_once_are_written_as_they_come_and_not_held(running):
    _lab, agent = running

    def send(number):
        connection = http.client.HTTPConnection(*agent.address, timeout=120)
        pieces = (bytes([number]) * 1_000_000 for _ in range(120))
        connection.request("POST", f"/api/v1/micrographs?name={number}.tif", pieces)
        return connection.getresponse().status

    before_mb = peak_mb(agent.page())
    with ThreadPoolExecutor(3) as programs:
        answers = list(programs.map(send, range(3)))

    assert answers == [202] * 3
    assert peak_mb(agent.page()) - before_mb < 60


def test_without_a_bundle_neither_page_nor_agent_needs_pytorch(running):
    lab, agent = running
    lab.export("taken.png")
    until(lambda: lab.fates().get("taken.png") == "done")

    for path in ("/review", "/orders", "/reports/index.html", "/api/v1/status", "/metrics"):
        with urllib.request.urlopen(f"{agent.url}{path}", timeout=120) as answer:  # noqa: S310 - ours
            assert answer.status == 200

    for process in (agent.page(), psutil.Process(agent.process.pid)):
        assert not any("libtorch" in memory_map.path for memory_map in process.memory_maps())


def test_a_restart_from_the_page_applies_what_it_wrote_and_keeps_process_address_and_files(running):
    lab, agent = running
    (lab.folder / "second").mkdir(exist_ok=True)
    with httpx2.Client(base_url=agent.url, headers={"origin": agent.url}, timeout=60) as browser:
        form = {"act": "source", "name": "second", "folder": "second"}
        written = browser.post("/setup", data=form, follow_redirects=True)
        lab.export("before.png", held=picture(71))
        asked = browser.post("/setup", data={"act": "restart"}, follow_redirects=True)
        lab.export("between.png", held=picture(72))
        (lab.folder / "second" / "after.png").write_bytes(picture(73))

        def shown():
            with contextlib.suppress(httpx2.TransportError):  # an idle connection that was just
                return browser.get(asked.url, follow_redirects=True).text  # closed: browsers resend
            return ""

        until(lambda: "The agent has restarted." in shown())
        again = browser.get("/setup").text

    assert 'value="restart"' in written.text
    assert asked.headers["refresh"] == "2"
    assert 'id="restart"' not in again
    expected = dict.fromkeys(("before.png", "between.png", "after.png"), "done")
    until(lambda: {**lab.fates(), **expected} == lab.fates())
    assert agent.process.poll() is None
    assert agent.said().count(f"review page: {agent.url} ") == 2
    assert '"service.restarting"' in agent.logged()
    assert "crashed" not in agent.logged()


# These two end the agent: at the end of the file, so that it is started once more and not twice.


def test_an_agent_that_is_asked_to_stop_takes_its_page_along(running):
    lab, agent = running
    page = agent.page()
    until(lambda: lab.status()["running"])

    agent.process.send_signal(signal.SIGTERM)

    assert agent.process.wait(timeout=DEADLINE_S) == 0
    until(lambda: has_ended(page))
    assert not lab.status()["running"]


def test_the_page_ends_with_its_agent_even_when_that_is_killed(running):
    _lab, agent = running
    page = agent.page()

    agent.process.kill()
    agent.process.wait(timeout=DEADLINE_S)

    until(lambda: has_ended(page))
    assert not agent.answers()
