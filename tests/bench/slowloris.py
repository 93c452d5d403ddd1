"""Hold thousands of half-sent requests to the page open, and measure how soon files are stored.

Run: `python tests/bench/slowloris.py [CONNECTIONS] [FILES] [SECONDS]`. The same files come twice,
without and with the connections. Each connection sends a piece of a header every five seconds; one
that is ended comes back after a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import UTC, datetime
from multiprocessing import Process
from pathlib import Path
from urllib.parse import urlsplit

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from labs.service import Lab, picture, until  # noqa: E402 - found by the lines above

DRIP_EVERY_S = 5.0
BACK_AFTER_S = 1.0
QUIET_S = 0.3


async def _hold(host: str, port: int) -> None:
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            number = 0
            while not reader.at_eof():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1), DRIP_EVERY_S)
                writer.write(f"X-{number}: y\r\n".encode())
                number += 1
            writer.close()
        await asyncio.sleep(BACK_AFTER_S)


def attack(host: str, port: int, connections: int) -> None:
    """Hold so many connections open until killed; as another PC would, it takes no time here."""
    os.nice(19)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))

    async def all_of_them() -> None:
        await asyncio.gather(*(_hold(host, port) for _ in range(connections)))

    asyncio.run(all_of_them())


def delays(lab: Lab, name: str, files: int, seconds: float) -> list[float]:
    """Export files evenly over a time; how long (s) each took from its last byte to its result."""
    written: dict[str, datetime] = {}
    began_s = time.monotonic()
    for number in range(files):
        due_s = began_s + number * seconds / files
        time.sleep(max(due_s - time.monotonic(), 0))
        path = lab.export(f"{name}-{number:03}.png", held=picture(len(name) * 1000 + number))
        written[path.name] = datetime.now(UTC)

    def fates() -> dict[str, datetime | None]:
        with lab.store() as store:
            return {
                Path(f.path).name: f.done_at for f in store.files.iter_status() if f.state == "done"
            }

    until(lambda: written.keys() <= fates().keys(), 300)
    done = fates()
    return sorted((done[name] - at).total_seconds() for name, at in written.items())


def _answers(url: str) -> float | None:
    began_s = time.monotonic()
    try:
        urllib.request.urlopen(f"{url}/review", timeout=10).read()  # noqa: S310 - ours
    except OSError:
        return None
    return time.monotonic() - began_s


def main(connections: int = 5000, files: int = 100, seconds: float = 60.0) -> None:
    """Measure without and with connections; one line of JSON."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        log = (lab.folder / "stderr.txt").open("w")
        command = [sys.executable, "-m", "agent", "--config", str(lab.file), "run"]
        agent = subprocess.Popen(command, stderr=log)
        until(lambda: "review page: " in (lab.folder / "stderr.txt").read_text())
        url = (lab.folder / "stderr.txt").read_text().split("review page: ")[1].split()[0]
        until(lambda: _answers(url) is not None)
        delays(lab, "warming up", 3, 1)
        calm = delays(lab, "calm", files, seconds)
        where = urlsplit(url)
        attacker = Process(target=attack, args=(where.hostname, where.port, connections))
        attacker.start()
        time.sleep(5)
        pages: list[float | None] = []
        attacked = delays(lab, "attacked", files, seconds)
        pages = [_answers(url) for _ in range(10)]
        attacker.kill()
        attacker.join()
        log_bytes = sum(path.stat().st_size for path in (lab.folder / "data" / "logs").iterdir())
        agent.send_signal(signal.SIGTERM)
        code = agent.wait(60)
        found = {
            "connections": connections,
            "stored": [len(calm), len(attacked)],
            "median_s": [round(statistics.median(one), 2) for one in (calm, attacked)],
            "largest_s": [round(one[-1], 2) for one in (calm, attacked)],
            "ratio": round(statistics.median(attacked) / statistics.median(calm), 2),
            "page_s": [None if page is None else round(page, 2) for page in pages],
            "log_bytes": log_bytes,
            "exit_code": code,
        }
        print(json.dumps(found))


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
