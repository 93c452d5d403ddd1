"""Make the pictures of the guide page "Your own classes" from drawn micrographs.

    python tests/bench/guide_pictures.py [--keep FOLDER]

A lab with drawn classes that are of no particular steel goes from labelled folders to a statement;
Chromium takes the pictures of our own pages. They are written to `reports/guide/*.webp`.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from drawn.steel import steel  # noqa: E402 - the tests' drawings

from agent.files.pictures import decode, encode_png  # noqa: E402

GUIDE = ROOT / "reports" / "guide"
HEIGHT, WIDTH = 480, 640
CLASSES = {
    "globular coarse": ("spheres", 2),
    "globular fine": ("spheres", 1),
    "lamellar": ("lamellae", 1),
    "network": ("grains", 1),
}
EACH = 12
WIDE_PX, QUALITY = 860, 62
SETTINGS = """[site]
name = "Own lab"
time_zone = "UTC"

[[sources]]
name = "LOM-1"
folder = "export"
quiet_s = 0.2
material = "C100"
pattern = "(?P<order>\\\\d+)_(?P<specimen>\\\\d+)_(?P<field>\\\\d+)_(?P<objective>\\\\d+x)"
objectives = [{ name = "50x", um_per_px = 0.2 }]

[imaging]
workers = 1

[model]
taxonomy = "taxonomy.toml"

[orders]
leads = ["Ada"]

[strangeness]
alpha = 0.05

[web]
port = PORT
"""
SPECIFICATIONS = """[[specification]]
name = "soft-annealed"
valid_from = 2026-01-01
approved_by = "Ada"
material = "C100"
subtype = ["globular"]
limit = "fine or finer"
fields = 2
"""
TITLES = """
[[size]]
name = "coarse"
title = "coarse"
title_de = "grob"

[[size]]
name = "fine"
title = "fine"
title_de = "fein"

[[subtype]]
name = "globular"
title = "globular particles"
title_de = "kugelige Teilchen"
sizes = ["coarse", "fine"]

[[subtype]]
name = "lamellar"
title = "lamellae"
title_de = "Lamellen"

[[subtype]]
name = "network"
title = "closed network"
title_de = "geschlossenes Netz"
"""


def draw(code: str, seed: int) -> np.ndarray:
    """Return a drawn micrograph of a class, (480, 640) uint8."""
    look, scale = CLASSES[code]
    rng = np.random.default_rng(seed)
    words: dict[str, str] = {}
    grey = steel(rng, HEIGHT // scale, WIDTH // scale, words, kind=look)
    return cv2.resize(grey, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def write_picture(path: Path, grey: np.ndarray) -> None:
    """Write a grey micrograph as PNG."""
    path.write_bytes(encode_png(np.repeat(grey[..., None], 3, axis=2)))


def write_labelled(folder: Path) -> Path:
    """Write the labelled images, a folder per class; the manifest comes back."""
    rows = [("file", "code", "specimen", "um_per_px")]
    for at, code in enumerate(CLASSES):
        (folder / code).mkdir(parents=True)
        for n in range(EACH):
            name = f"{code}/{n:02d}.png"
            write_picture(folder / name, draw(code, 100 * at + n))
            rows.append((name, code, f"S{at}-{n // 2}", "0.2"))
    manifest = folder.parent / "labels.csv"
    with manifest.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return manifest


def agent(lab: Path, *words: object) -> str:
    """Run a command in the lab; what it printed comes back."""
    call = [sys.executable, "-m", "agent", "--config", str(lab / "agent.toml"), *map(str, words)]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1, 3):
        raise SystemExit(f"{words}: {done.stdout}{done.stderr}")
    return done.stdout


def label_order(lab: Path) -> None:
    """Decide the fields of order 4711 as a reviewer would."""
    fields = json.loads(agent(lab, "orders", "show", "4711", "--json"))["specimens"][0]["fields"]
    for field in fields:
        agent(lab, "review", "label", field["id"], "globular fine", "--by", "Ada")


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def take_picture(address: str, name: str, *, height: int, top: int = 0) -> None:
    """Write a picture of a page to the guide.

    Args:
        address: Of the page.
        name: Of the picture, without its ending.
        height: In pixels of the screen.
        top: Pixels that are cut off above.
    """
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        call = [
            shutil.which("chromium") or "chromium", "--headless=new", "--no-sandbox",
            "--hide-scrollbars", "--virtual-time-budget=4000",
            f"--window-size=1100,{height + top}", f"--screenshot={shot}", address,
        ]  # fmt: skip
        subprocess.run(call, check=True, capture_output=True)
        pixels = decode(shot.read_bytes())[top:]
    small = cv2.resize(
        pixels, (WIDE_PX, round(pixels.shape[0] * WIDE_PX / pixels.shape[1])),
        interpolation=cv2.INTER_AREA,
    )  # fmt: skip
    path = GUIDE / f"{name}.webp"
    bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    path.write_bytes(encoded.tobytes())
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def make_lab(lab: Path, port: int) -> None:
    """Follow the steps of the guide page."""
    manifest = write_labelled(lab / "labelled")
    (lab / "export").mkdir()
    print(agent(lab, "init", lab, "--taxonomy", lab / "labelled", "--yes"))
    (lab / "agent.toml").write_text(SETTINGS.replace("PORT", str(port)), encoding="utf-8")
    (lab / "taxonomy.toml").write_text('name = "own classes"\n' + TITLES, encoding="utf-8")
    (lab / "specifications.toml").write_text(SPECIFICATIONS, encoding="utf-8")
    print(agent(
        lab, "train", lab / "labelled", "--manifest", manifest, "--frozen",
        "--arch", "efficientnet-lite0", "--framing", "resize", "--frame", 128,
    ))  # fmt: skip
    for field in (1, 2):
        name = f"4711_01_{field}_50x.png"
        write_picture(lab / "export" / name, draw("globular fine", 900 + field))
    write_picture(lab / "export" / "4712_01_1_50x.png", draw("network", 990))
    agent(lab, "run", "--once")


def list_waiting(lab: Path) -> list[str]:
    """Return the public ids of the micrographs that wait for review."""
    lines = agent(lab, "review", "list", "--json").splitlines()
    return [str(json.loads(line)["id"]) for line in lines]


def main() -> None:
    """Make the lab, serve its pages and take their pictures."""
    ask = argparse.ArgumentParser()
    ask.add_argument("--keep", type=Path)
    told = ask.parse_args()
    port = free_port()
    lab = told.keep or Path(tempfile.mkdtemp())
    lab.mkdir(parents=True, exist_ok=True)
    settings = lab / "agent.toml"
    if settings.exists():  # made by an earlier call
        port = int(settings.read_text("utf-8").partition("port = ")[2].split()[0])
    else:
        make_lab(lab, port)
    ids = list_waiting(lab)
    web = subprocess.Popen(
        [sys.executable, "-m", "agent", "--config", str(lab / "agent.toml"), "web"], cwd=ROOT
    )
    home = f"http://127.0.0.1:{port}"
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"{home}/healthz")  # noqa: S310 - our own page
                break
            except OSError:
                time.sleep(0.3)
        take_picture(f"{home}/setup/taxonomy", "own-classes-setup", height=590, top=405)
        if ids:
            take_picture(f"{home}/review/{ids[0]}", "own-classes-review", height=760)
            label_order(lab)
        take_picture(f"{home}/order/4711", "own-classes-order", height=620)
    finally:
        web.terminate()
        web.wait()


if __name__ == "__main__":
    main()
