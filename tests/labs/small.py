"""A small laboratory that has taught its first bundle; whoever asks for it shares one per run."""

import csv
import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from filelock import FileLock

from agent.cli.app import main
from agent.demo.exporter import DemoPicture, encode, plan_ordinary

CODES = ("G7", "G9-10", "M9-10")
PIXELS = (280, 210)


@dataclass
class Lab:
    """A folder with `agent.toml`, and its command.

    Args:
        folder: Where everything is.
        labelled: What it was taught from.
    """

    folder: Path
    labelled: list[DemoPicture] = field(default_factory=list)

    def agent(self, *words: str) -> int:
        """Run a command of the agent here, in this process; its exit code comes back."""
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(self.folder / "agent.toml"), *map(str, words)])
        return int(ended.value.code or 0)


def write_labelled(pictures: list[DemoPicture], folder: Path) -> Path:
    """Draw labelled micrographs into a folder per code; the manifest beside them comes back."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("file", "code", "order", "specimen", "magnification"))
        for picture in pictures:
            path = folder / picture.code / picture.name
            path.parent.mkdir(exist_ok=True)
            drawn = picture.drawn(PIXELS, border=False)
            path.write_bytes(encode(drawn, picture.name.rpartition(".")[2]))
            rows.writerow(
                (
                    f"{picture.code}/{picture.name}",
                    picture.code,
                    picture.order,
                    picture.specimen,
                    picture.magnification,
                )
            )
    return manifest


def past(specimens: int, *, first_order: int, seed: int, codes=CODES) -> list[DemoPicture]:
    """Plan labelled micrographs, two fields of each specimen."""
    return plan_ordinary(codes, specimens, first_order=first_order, seed=seed, fields=2)


@pytest.fixture(scope="session")
def taught_lab(tmp_path_factory, worker_id) -> Lab:
    """A lab with a first bundle in use, trained on drawn micrographs of three codes.

    It is trained once, by whichever worker asks first; each has a copy.
    """
    if worker_id == "master":
        return _train(tmp_path_factory.mktemp("lab"))
    shared = tmp_path_factory.getbasetemp().parent / "taught_lab"
    with FileLock(shared.with_suffix(".lock")):
        if not shared.exists():
            unfinished = shared.with_suffix(".unfinished")
            _train(unfinished)
            unfinished.rename(shared)
    return copy_of(Lab(shared, _history()), tmp_path_factory.mktemp("lab") / "lab")


def _history() -> list[DemoPicture]:
    return past(10, first_order=1000, seed=1)


def _train(folder: Path) -> Lab:
    (folder / "export").mkdir(parents=True)
    (folder / "agent.toml").write_text(
        '[site]\nname = "Small lab"\ntime_zone = "UTC"\n\n'
        '[[sources]]\nname = "LOM-1"\nfolder = "export"\nquiet_s = 0.2\n'
        'pattern = "(?P<order>\\\\d+)_(?P<specimen>\\\\d+)_(?P<field>\\\\d+)_.*"\n\n'
        "[imaging]\nworkers = 1\n\n[web]\nport = 0\n\n[strangeness]\nalpha = 0.1\n",
        encoding="utf-8",
    )
    lab = Lab(folder)
    lab.labelled = _history()
    manifest = write_labelled(lab.labelled, folder / "labelled")
    assert lab.agent("train", folder / "labelled", "--manifest", manifest) == 0
    return lab


def copy_of(lab: Lab, folder: Path) -> Lab:
    """Copy a lab as it lies on the disk; nothing in it knows where it lay."""
    shutil.copytree(lab.folder, folder)
    return Lab(folder, lab.labelled)


@pytest.fixture
def own_lab(taught_lab, tmp_path) -> Lab:
    """A copy of the taught lab, free to be changed."""
    return copy_of(taught_lab, tmp_path / "lab")


def twin_of(bundle: Path, note: str = "a twin", framing: str = "") -> Path:
    """Write a second whole bundle beside one: the same answers under another name."""
    document = json.loads((bundle / "bundle.json").read_bytes())
    document.pop("name")
    document["facts"]["notes"].append(note)
    document["framing"]["kind"] = framing or document["framing"]["kind"]
    digest = hashlib.sha256(_written(document)).hexdigest()
    name = f"{bundle.name[:8]}-{digest[:8]}"
    shutil.copytree(bundle, bundle.with_name(name))
    (bundle.with_name(name) / "bundle.json").write_bytes(_written({"name": name, **document}))
    return bundle.with_name(name)


def _written(document: object) -> bytes:
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True).encode()


def import_more(lab, specimens=3):
    more = past(specimens, first_order=2000, seed=5)
    manifest = write_labelled(more, lab.folder / "more")
    lab.agent("import", lab.folder / "more", "--manifest", manifest)
    return more
