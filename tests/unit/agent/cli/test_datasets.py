"""An open set that was downloaded becomes a manifest with groups and scale, file by file."""

from __future__ import annotations

import csv
import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED

from agent.cli.app import main
from agent.cli.models.datasets import DATASETS
from agent.files.pictures import encode_png
from agent.labelled_import import list_labelled
from model import load_taxonomy

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
        "microscope": "",
        "etching": "",
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


SHEET = """<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>
{}</sheetData></worksheet>"""
HEADER = (
    *("FileNameHarm", "ID", "SampleIDHarm", "Magnification", "MicroscopeID", "EtchingID"),
    *("Phase", "PatchID"),
)


def write_book(path: Path, rows: list[tuple[str, ...]]) -> None:
    """Write a workbook as spreadsheets save it: repeated texts once, numbers as numbers."""
    texts = sorted({cell for row in rows for cell in row if not cell.isdigit()})
    lines = []
    for number, row in enumerate(rows, 1):
        cells = [
            f'<c r="{"ABCDEFGH"[at]}{number}"'
            + (
                f"><v>{cell}</v></c>"
                if cell.isdigit()
                else f' t="s"><v>{texts.index(cell)}</v></c>'
            )
            for at, cell in enumerate(row)
            if cell
        ]
        lines.append(f'<row r="{number}">{"".join(cells)}</row>')
    shared = "".join(f"<si><t>{text}</t></si>" for text in texts)
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("xl/worksheets/sheet1.xml", SHEET.format("".join(lines)))
        book.writestr(
            "xl/sharedStrings.xml",
            f'<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">{shared}</sst>',
        )


def test_patches_of_several_microscopes_are_grouped_by_specimen_not_by_acquisition(tmp_path, run):
    rows = [HEADER]
    for specimen, phase in (("S01", "bainite"), ("S02", "martensite")):
        for microscope in ("M1", "M2"):
            name = f"{specimen}_{microscope}_20_1"
            draw(tmp_path / "Dataset" / f"{specimen}_{phase}_1" / f"{name}.png", len(rows))
            acquisition = str(len(rows))
            rows.append((name, acquisition, specimen, "20", microscope, "E1", phase, "7"))
    listed_otherwise = rows[2][0].replace("_", " ").upper()
    rows[2] = (listed_otherwise, *rows[2][1:])
    rows.append(("S02_M3_20_1", "9", "S02", "20", "M3", "E1", "martensite", "7"))  # has no file
    write_book(tmp_path / "Dataset_Patches_Microscope_Metadata.xlsx", rows)

    code, said = run("models", "datasets", "three-microscopes", tmp_path, "--json")

    told = json.loads(said)
    assert (code, told["images"], told["groups"], told["missing"]) == (1, 4, 2, ["S02_M3_20_1"])
    manifest = rows_of(tmp_path / "labels.csv")
    assert [row["specimen"] for row in manifest] == ["S01", "S01", "S02", "S02"]
    assert [row["microscope"] for row in manifest] == ["M1", "M2", "M1", "M2"]
    assert manifest[1]["file"] == "Dataset/S01_bainite_1/S01_M2_20_1.png"
    assert manifest[0]["magnification"] == "20"


@pytest.mark.parametrize(
    ("content", "named"), [(b"no workbook", "cannot be read"), (None, "MicroscopeID")]
)
def test_a_table_of_microscopes_that_cannot_be_used_is_named(tmp_path, run, content, named):
    file = tmp_path / "Dataset_Patches_Microscope_Metadata.xlsx"
    if content is None:
        write_book(file, [("FileNameHarm", "SampleIDHarm", "Magnification")])
    else:
        file.write_bytes(content)

    code, said = run("models", "datasets", "three-microscopes", tmp_path)

    assert code == 2
    assert file.name in said.replace("\n", "")
    assert named in said


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


def draw_patch(path: Path, phase: str, seed: int, gain: float) -> None:
    """Draw stripes or grains, as one microscope lights them."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 25, (200, 200))
    if phase == "martensite":
        noise += 45 * np.sin(np.arange(200) / 2.5 + rng.uniform(0, 6))[None]
    grey = np.clip((128 + noise) * gain, 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(np.repeat(grey[..., None], 3, axis=2)))


@pytest.mark.slow
def test_the_set_of_three_microscopes_is_measured_with_each_microscope_held_out(tmp_path, run):
    folder, rows = tmp_path / "set", [HEADER]
    for number in range(6):
        phase = ("bainite", "martensite")[number % 2]
        for microscope, gain in (("M1", 1.0), ("M2", 0.7)):
            name = f"S{number:02}_{microscope}"
            place = folder / "Dataset" / f"S{number:02}_{phase}_1" / f"{name}.png"
            draw_patch(place, phase, number, gain)
            acquisition = str(len(rows))
            rows.append((name, acquisition, f"S{number:02}", "50", microscope, "E1", phase, "1"))
    write_book(folder / "Dataset_Patches_Microscope_Metadata.xlsx", rows)
    assert run("models", "datasets", "three-microscopes", folder)[0] == 0
    lab = tmp_path / "lab"
    assert run("init", lab, "--taxonomy", folder / "labels.csv", "--yes")[0] == 0

    code, said = run(
        *("--config", lab / "agent.toml", "models", "experiments", folder),
        *("--manifest", folder / "labels.csv", "--cross-microscope", "--json"),
    )

    told = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    assert (code, told["images"], told["specimens"]) == (0, 12, 6)
    assert [row["protocol"] for row in told["rows"]] == ["other specimens", "M1", "M2"]
    assert all(len(row["ours"]["each"]) == len(row["peer"]["each"]) == 5 for row in told["rows"])
