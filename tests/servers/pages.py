"""The real pages: in a thread of the test, or as `agent web` in a process."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import uvicorn
from labs.lab import HOME

from agent.web import create_app

START_S = 240


class Server:
    """A real `agent web` of its own process, on one address as often as it is started."""

    def __init__(self, folder) -> None:
        self.folder, self.url = folder, ""
        self._settings(port=0)
        self.start()
        self._settings(port=int(self.url.rpartition(":")[2]))

    def _settings(self, port: int) -> None:
        text = f'[site]\nname = "Plant 1"\n\n[web]\nport = {port}\n'
        (self.folder / "agent.toml").write_text(text, encoding="utf-8")

    def agent(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "agent", "--config", str(self.folder / "agent.toml"), *words]

    def start(self) -> None:
        log = self.folder / "stderr.txt"
        with log.open("w") as file:
            self._process = subprocess.Popen(self.agent("web"), stderr=file)
        until = time.monotonic() + START_S
        while "review page: " not in log.read_text("utf-8"):
            assert self._process.poll() is None, log.read_text("utf-8")
            assert time.monotonic() < until
            time.sleep(0.05)
        self.url = log.read_text("utf-8").split("review page: ")[1].split()[0]

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(120)


@contextmanager
def served(web):
    """The page on a free port of this PC, in a thread of its own."""
    server = uvicorn.Server(
        uvicorn.Config(create_app(web), host="127.0.0.1", port=0, log_level="warning")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive()
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)


def decided(lab, public_id):
    """What holds for a micrograph, as soon as it does."""
    until_s = time.monotonic() + 60
    while (label := lab.store.results.find(public_id).label) is None:
        assert time.monotonic() < until_s
    return label


PROMISED = {"origin": HOME}


def form_of(lab, public_id, decision, **more):
    view = lab.store.results.find(public_id)
    label = str(view.label.id) if view.label else ""
    return {"decision": decision, "result_id": str(view.result.id), "label_id": label, **more}
