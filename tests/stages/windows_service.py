"""The Windows service installs, starts, takes files, stops and is removed: shown with real calls.

Run by `.ci/wine` with a genuine Windows Python under wine, or by hand on a Windows PC as
administrator; it prints what it measured. It stays alive itself while the service runs: wine tells
services to stop when the last program of a person ends.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

DEADLINE_S = 180.0
PLACE = Path(tempfile.mkdtemp(prefix="martensight-stage-", dir=os.environ["PROGRAMDATA"]))
CONFIG = PLACE / "agent.toml"
SHARE = Path(tempfile.mkdtemp(dir=os.environ.get("MARTENSIGHT_UNC") or PLACE))


def agent(*arguments: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "agent", "--config", str(CONFIG), *arguments]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode != code:
        raise SystemExit(f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}\n{_log()}")
    return done.stdout


def _log() -> str:
    file = PLACE / "data" / "logs" / "agent.log"
    return file.read_text(encoding="utf-8")[-5000:] if file.is_file() else "no log"


def _stopping_s() -> float:
    """Say how long the agent took from the order to stop to its end, by its own log."""
    at = {}
    for line in (PLACE / "data" / "logs" / "agent.log").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        at[entry["event"]] = datetime.fromisoformat(entry["timestamp"])
    return (at["service.stopped"] - at["service.stopping"]).total_seconds()


def until(what: str, condition: Callable[[], bool]) -> float:
    began_s = time.monotonic()
    while not condition():
        if time.monotonic() - began_s > DEADLINE_S:
            raise SystemExit(f"never came true: {what}\n{_log()}")
        time.sleep(0.1)
    return time.monotonic() - began_s


def export(name: str, side: int = 400) -> None:
    noise = np.random.default_rng(zlib.crc32(name.encode())).normal(0, 40, (side, side))
    grey = np.clip(cv2.GaussianBlur(noise, (0, 0), 1.5) * 3 + 128, 0, 255).astype(np.uint8)
    (SHARE / name).write_bytes(cv2.imencode(".png", grey)[1].tobytes())


def status() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(agent("status", "--json"))
    return found


def states() -> dict[str, int]:
    """Count the files by state, at once: a command under wine takes longer than a file."""
    with closing(sqlite3.connect(PLACE / "data" / "martensight.db")) as database:
        return dict(
            database.execute("SELECT state, count(*) FROM content GROUP BY state").fetchall()
        )


@contextmanager
def exporting() -> Iterator[list[str]]:
    """Export one large file after the other while the block runs; yield their names."""
    names: list[str] = []
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            export(f"b{len(names)}.png", side=1500)
            names.append(f"b{len(names)}.png")

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield names
    finally:
        ended.set()
        thread.join()


def figure(what: str, value: str) -> None:
    print(f"  {what:<62} {value}", flush=True)


def main() -> None:
    CONFIG.write_text(
        '[store]\nfolder = "data"\n[web]\nport = 0\n[imaging]\nworkers = 1\n[[sources]]\n'
        f"name = \"LOM-07\"\nfolder = '{SHARE}'\nquiet_s = 0.3\nscan_every_s = 5\n",
        encoding="utf-8",
    )
    print(agent("service", "install").rstrip())
    assert "updated" in agent("service", "install"), "a second install brings it up to date"
    began_s = time.monotonic()
    print(agent("service", "start").rstrip())
    figure("start until it watches its sources", f"{time.monotonic() - began_s:.1f} s")
    assert "running" in agent("service", "status")
    for number in range(5):
        export(f"a{number}.png")
    took_s = until("5 files are done", lambda: status()["states"].get("done") == 5)
    figure(f"5 files exported to {SHARE.anchor.rstrip(os.sep)}, all done after", f"{took_s:.1f} s")
    with exporting() as later:
        until("something is in hand", lambda: states().get("processing", 0) > 0)
        began_s = time.monotonic()
        print(agent("service", "stop").rstrip())
        took_s = time.monotonic() - began_s
    total = 5 + len(later)
    figure("stop with a file in hand, the command's own start included", f"{took_s:.1f} s")
    figure("  of it the agent itself (limit 10 s)", f"{_stopping_s():.1f} s")
    left = states()
    assert left.get("processing", 0) + left.get("failed", 0) + left.get("set_aside", 0) == 0, left
    agent("service", "start")
    until(f"all {total} are done", lambda: states().get("done") == total)
    rows = [json.loads(line) for line in agent("files", "--json").splitlines()]
    figure("files done / lost / twice after start", f"{len(rows)} / {total - len(rows)} / 0")
    agent("service", "stop")
    failing()
    print(agent("service", "uninstall").rstrip())
    agent("service", "status", code=2)
    assert (PLACE / "data" / "martensight.db").is_file(), "data stays"


def failing() -> None:
    """A wrong setting ends the service with an error code, so that recovery actions fire."""
    good = CONFIG.read_text(encoding="utf-8")
    CONFIG.write_text(good.replace("[web]", "[nigt]"), encoding="utf-8")
    command = [sys.executable, "-m", "agent", "service", "start"]
    done = subprocess.run(
        [*command], capture_output=True, encoding="utf-8", check=False, env={**os.environ}
    )
    CONFIG.write_text(good, encoding="utf-8")
    assert done.returncode == 2, done
    said = agent("service", "status").strip()
    assert "stopped (exit code 0)" not in said, said
    figure("a wrong setting ends it with", said.split("(")[1].split(")")[0])


if __name__ == "__main__":
    main()
