"""An open set that was downloaded becomes a manifest with groups and scale, file by file."""

from __future__ import annotations

import csv
import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from conftest import SHARED

from agent.cli.app import main
from agent.cli.datasets import DATASETS
from agent.labelled_import import list_labelled
from agent.pictures import encode_png
from model import load_taxonomy

if TYPE_CHECKING:
    from pathlib import Path

UHCS = SHARED / "uhcs"
METADATA = """,label,magnification,micron_bar,micron_bar_px,micron_bar_units,path,{kind}
0,HT 800 3H,4910x,5.0,125,um,micrograph1.png,spheroidite
1,HT 800 3H,98X,200.0,100,um,micrograph2.png,network
2,,,500.0,100,nm,micrograph3.png,pearlite
3,HT 970,982x,,,,micrograph4.png,network
4,HT 970,982x,20.0,103,um,micrograph5.png,quality
5,HT 970,982x,20.0,100,um,micrograph6.png,network
"""

TABLE = METADATA.format(kind="primary_microconstituent")


@pytest.fixture
def run(capsys):
    def run(*words) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return run


def draw(path: Path, value: int) -> str:
    """Write a grey picture; the hash of its pixels comes back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = np.full((6, 8), value, np.uint8)
    path.write_bytes(encode_png(np.repeat(grey[..., None], 3, axis=2)))
    return hashlib.sha256(grey.tobytes()).hexdigest()


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_set_states_citation_source_and_use(run):
    code, said = run("models", "datasets", "--json")

    assert code == 0
    for entry in json.loads(said):
        assert all(entry[key] for key in ("name", "title", "citation", "source", "good_for"))
    assert run("models", "datasets")[1].count("licence") == len(DATASETS) == len(json.loads(said))


def test_the_set_s_own_table_gives_group_and_scale_and_a_missing_picture_is_named(tmp_path, run):
    for number in (1, 2, 3, 4, 5):
        draw(tmp_path / "pictures" / f"micrograph{number}.png", number)
    (tmp_path / "uhcs-metadata.csv").write_text(TABLE, encoding="utf-8")

    code, said = run("models", "datasets", "uhcsdb", tmp_path, "--json")

    told = json.loads(said)
    assert (code, told["images"], told["missing"]) == (1, 4, ["micrograph6.png"])
    assert (told["groups"], told["without_scale"]) == (2, 1)
    rows = rows_of(tmp_path / "labels.csv")
    assert [row["um_per_px"] for row in rows] == ["0.04", "2", "0.005", ""]
    assert rows[0] == {
        "file": "pictures/micrograph1.png",
        "code": "spheroidite",
        "specimen": "HT 800 3H",
        "um_per_px": "0.04",
        "magnification": "4910",
        "material": "UHCS",
    }


def test_a_picture_with_other_pixels_than_published_is_left_out(tmp_path, run):
    good, bad = draw(tmp_path / "a.png", 10), draw(tmp_path / "b.png", 20)
    draw(tmp_path / "b.png", 21)
    lines = ["file,microconstituent,specimen,um_per_px,sha256_pixels"]
    lines += [f"a.png,network,S1,0.5,{good}", f"b.png,network,S1,0.5,{bad}"]
    (tmp_path / "MANIFEST.csv").write_text("\n".join(lines), encoding="utf-8")

    code, said = run("models", "datasets", "uhcsdb", tmp_path, "--json")

    told = json.loads(said)
    assert (code, told["changed"], told["hashed"], told["images"]) == (1, ["b.png"], 1, 1)


def test_a_manifest_is_replaced_by_force_alone(tmp_path, run):
    draw(tmp_path / "fibres" / "a.png", 1)
    (tmp_path / "labels.csv").write_text("mine", encoding="utf-8")

    assert run("models", "datasets", "nffa", tmp_path)[0] == 2
    assert (tmp_path / "labels.csv").read_text("utf-8") == "mine"
    assert run("models", "datasets", "nffa", tmp_path, "--force")[0] == 0
    assert [row["code"] for row in rows_of(tmp_path / "labels.csv")] == ["fibres"]


def test_a_set_without_a_class_per_image_and_an_unknown_one_are_refused(tmp_path, run):
    code, said = run("models", "datasets", "metaldam", tmp_path)
    assert (code, "per pixel, not whole images" in said) == (2, True)

    code, said = run("models", "datasets", "imagenet", tmp_path)
    assert (code, "known are uhcsdb" in said) == (2, True)


def test_the_real_set_becomes_a_manifest_that_its_own_taxonomy_reads(tmp_path, run):
    if not UHCS.is_dir():
        pytest.skip("no folder of ultrahigh-carbon steel beside the project")
    manifest = tmp_path / "uhcs.csv"

    code, said = run("models", "datasets", "uhcsdb", UHCS, "--out", manifest, "--json")

    told = json.loads(said)
    assert (code, told["images"], told["hashed"], told["groups"]) == (0, 324, 324, 11)
    assert told["without_scale"] == 20
    assert told["codes"]["spheroidite"] == 203
    assert run("init", tmp_path / "lab", "--taxonomy", manifest, "--yes")[0] == 0
    taxonomy = load_taxonomy(tmp_path / "lab" / "taxonomy.toml")
    listing = list_labelled(UHCS, taxonomy, manifest)
    assert (len(listing.files), listing.unusable) == (324, ())
