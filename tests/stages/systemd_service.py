"""The installed service comes back from every death and loses no file: shown under a real systemd.

Run by `.ci/systemd` as root inside namespaces of its own; it prints what it measured.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

UNIT = "martensight.service"
CONFIG = Path("/etc/martensight/agent.toml")
DATA = Path("/var/lib/martensight")
SHARE = Path("/mnt/lom07")
SECRET = Path("/mnt/payroll")
LIMS = Path("/mnt/lims")
OUTBOX, LISTS = LIMS / "in", Path("/srv/lists")
WATCHDOG_S = 10
DEADLINE_S = 120.0
JOURNAL = ("journalctl", "-u", UNIT, "--no-pager", "-o", "cat")


def call(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode:
        said = subprocess.run(JOURNAL, capture_output=True, text=True, check=False).stdout
        raise SystemExit(
            f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}\n{said[-6000:]}"
        )
    return done.stdout + done.stderr


def agent(*arguments: str, check: bool = True) -> str:
    return call(sys.executable, "-m", "agent", "--config", str(CONFIG), *arguments, check=check)


def shown(name: str) -> str:
    return call("systemctl", "show", "--value", "-p", name, UNIT).strip()


def until(what: str, condition: Callable[[], bool]) -> float:
    """Wait for a condition; say how long it took."""
    began_s = time.monotonic()
    while not condition():
        if time.monotonic() - began_s > DEADLINE_S:
            print(call(*JOURNAL, check=False)[-4000:])
            raise SystemExit(f"never came true: {what}")
        time.sleep(0.05)
    return time.monotonic() - began_s


def export(name: str, side: int = 400) -> None:
    noise = np.random.default_rng(zlib.crc32(name.encode())).normal(0, 40, (side, side))
    grey = np.clip(cv2.GaussianBlur(noise, (0, 0), 1.5) * 3 + 128, 0, 255).astype(np.uint8)
    SHARE.joinpath("export", name).write_bytes(cv2.imencode(".png", grey)[1].tobytes())


def states() -> dict[str, int]:
    found: dict[str, int] = json.loads(agent("status", "--json"))["states"]
    return found


def taken(count: int) -> Callable[[], bool]:
    return lambda: states().get("done", 0) == count


def mount_share() -> None:
    call("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(SHARE))
    (SHARE / "export").mkdir()


def is_up(pid: str = "") -> bool:
    return shown("ActiveState") == "active" and shown("MainPID") not in {"0", pid}


def seen_by_the_service(script: str) -> str:
    """Run a line of shell where the service is, as the service's account."""
    return call(
        "nsenter", "-t", shown("MainPID"), "-m", "setpriv", "--reuid=martensight",
        "--regid=martensight", "--clear-groups", "sh", "-c", script, check=False,
    )  # fmt: skip


def figure(what: str, value: str) -> None:
    print(f"  {what:<62} {value}", flush=True)


def main() -> None:
    for folder in (CONFIG.parent, SHARE, SECRET, LISTS):
        folder.mkdir(parents=True, exist_ok=True)
    SECRET.joinpath("list.txt").write_text("secret", encoding="utf-8")
    mount_share()
    CONFIG.write_text(
        f'[store]\nfolder = "{DATA}"\n[imaging]\nworkers = 1\n[[sources]]\nname = "LOM-07"\n'
        f'folder = "{SHARE}/export"\nquiet_s = 0.3\nscan_every_s = 5\n'
        f'[orders]\nlists = "{LISTS}"\noutbox = "{OUTBOX}"\n'
        '[backup]\nfolder = "/mnt/nas-that-is-off/martensight"\n',
        encoding="utf-8",
    )
    install()
    start()
    look_around()
    kill()
    ask_for_help()
    hang()
    come_back()
    stop()
    uninstall()


def install() -> None:
    print(agent("service", "install").rstrip())
    call("systemd-analyze", "verify", f"/etc/systemd/system/{UNIT}")
    text = call("systemd-analyze", "security", "--offline=true", "--threshold=20",
                f"/etc/systemd/system/{UNIT}")  # fmt: skip
    figure(
        "exposure, systemd-analyze security (0 best, 10 worst)",
        text.split("level for")[1].split(":")[1].split()[0],
    )
    again = agent("service", "install")
    assert "wrote" in again, again
    looked = agent(
        "doctor", check=False
    )  # as the page on operations says: before the first start, as root
    assert "cannot be" not in looked, looked
    assert "nas-that-is-off/martensight: no such folder" in looked, looked
    drop_in = Path(f"/etc/systemd/system/{UNIT}.d/stage.conf")
    drop_in.parent.mkdir()
    drop_in.write_text(f"[Service]\nWatchdogSec={WATCHDOG_S}\nRestartSec=1\n", encoding="utf-8")
    call("systemctl", "daemon-reload")


def start() -> None:
    began_s = time.monotonic()
    agent("service", "start")
    figure("start until READY=1", f"{time.monotonic() - began_s:.1f} s")
    assert shown("ActiveState") == "active"
    assert shown("StatusText"), "it says nothing of itself"
    for number in range(5):
        export(f"a{number}.png")
    took_s = until("5 files are done", taken(5))
    figure("5 files exported, all done after", f"{took_s:.1f} s")


def look_around() -> None:
    names = seen_by_the_service(
        "ls -A /root /home /mnt /media /srv 2>&1; cat /mnt/payroll/list.txt 2>&1"
    )
    assert "secret" not in names, names
    LIMS.mkdir()
    call("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(LIMS))
    OUTBOX.mkdir()
    shutil.chown(OUTBOX, "martensight")
    shared = seen_by_the_service(
        f"for f in {OUTBOX} {LISTS}; do touch $f/x && rm $f/x && echo $f; done"
    )
    assert shared.split() == [str(OUTBOX), str(LISTS)], shared
    figure("order lists, and a share for results mounted after the start", "is writable")
    wrote = seen_by_the_service(
        f"for f in {SHARE}/export /etc /usr/local /opt /var/log /mnt /root;"
        " do touch $f/x 2>/dev/null && echo $f; done;"
        f" touch {DATA}/.probe && rm {DATA}/.probe && echo data"
    )
    assert wrote.split() == ["data"], wrote
    figure("folders it can write, of 8 tried", wrote.strip())
    figure("another share beside the source", "hidden")
    loud = seen_by_the_service("id -u")
    assert loud.strip() not in {"", "0"}, loud


def kill() -> None:
    pid = shown("MainPID")
    for number in range(20):
        export(f"b{number}.png", side=900)
    until("something is in hand", lambda: states().get("processing", 0) > 0)
    os.kill(int(pid), signal.SIGKILL)
    took_s = until("it is back", lambda: is_up(pid))
    figure("kill -9 with files in hand: up again after", f"{took_s:.1f} s")
    until("all 25 are done", taken(25))
    figure("files done / lost / twice after it", _tally(25))


def ask_for_help() -> None:
    """What is packed for a helper holds the service's log, which the journal keeps."""
    agent("support", "bundle", "/tmp/help.zip")  # noqa: S108 - of these namespaces alone
    with zipfile.ZipFile("/tmp/help.zip") as packed:  # noqa: S108 - as above
        log = packed.read("logs/journal.log").decode()
    assert "service.started" in log, log[-2000:]
    figure("lines of the journal in a support bundle", str(len(log.splitlines())))


def hang() -> None:
    pid = shown("MainPID")
    os.kill(int(pid), signal.SIGSTOP)
    took_s = until("the watchdog saw it", lambda: is_up(pid))
    figure(
        f"hang (SIGSTOP, watchdog {WATCHDOG_S} s in this test): up again after", f"{took_s:.1f} s"
    )
    said = call(*JOURNAL)
    assert "Watchdog timeout" in said, said[-2000:]


def come_back() -> None:
    call("umount", "--lazy", str(SHARE))
    until(
        "the source is offline",
        lambda: not json.loads(agent("status", "--json"))["sources"][0]["online"],
    )
    mount_share()
    export("c0.png")
    took_s = until("the file of the share that came back is done", taken(26))
    figure("share unmounted and mounted again: next file done after", f"{took_s:.1f} s")


def stop() -> None:
    for number in range(20):
        export(f"d{number}.png", side=1500)
    until("something is in hand", lambda: states().get("processing", 0) > 0)
    began_s = time.monotonic()
    print(agent("service", "stop").rstrip())
    took_s = time.monotonic() - began_s
    figure("stop with a file in hand (limit 10 s)", f"{took_s:.1f} s")
    assert took_s < 10, (took_s, call(*JOURNAL, "--lines=40", "--output=short-precise"))
    assert (shown("Result"), shown("ExecMainStatus")) == ("success", "0"), shown("Result")
    left = states()
    assert left.get("processing", 0) == 0, left
    assert left.get("failed", 0) + left.get("set_aside", 0) == 0, left
    agent("service", "start")
    until("all 46 are done", taken(46))
    figure("files done / lost / twice after start", _tally(46))
    restarts = call(*JOURNAL, "-p", "err")
    figure("lines of priority err or worse in the journal", str(len(restarts.splitlines())))


def _tally(expected: int) -> str:
    rows = [json.loads(line) for line in agent("files", "--json").splitlines()]
    done = [row for row in rows if row["state"] == "done"]
    twice = len(done) - len({row["sha256"] for row in done})
    assert (len(done), twice) == (expected, 0), (len(done), twice)
    return f"{len(done)} / {expected - len(done)} / {twice}"


def uninstall() -> None:
    print(agent("service", "uninstall").rstrip())
    assert not Path(f"/etc/systemd/system/{UNIT}").exists()
    assert "could not be found" in call("systemctl", "status", UNIT, check=False)
    assert (DATA / "martensight.db").exists(), "data stays"
    shutil.rmtree(f"/etc/systemd/system/{UNIT}.d")


if __name__ == "__main__":
    main()
