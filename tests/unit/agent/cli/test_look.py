"""`agent look` shows what a folder is like, names what it cannot use, and writes nothing there."""

import hashlib
import html
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import tifffile
from drawn.steel import steel
from labs.lab import crop_here
from servers.failing_share import FailingShare

from agent import settings
from agent.cli import main
from agent.cli.examples import EXAMPLES
from agent.cli.start.folder_overview import FolderOverview, choose_evenly, propose_source
from agent.files import shares
from agent.imaging.pool import encode_landmarks
from agent.store import Store, store_url
from agent.watch import Provenance
from agent.watch.listing import Listing
from agent.watch.path_metadata import propose_pattern
from reports import render

KEYS = {
    "file", "id", "sha256", "page", "pages", "width", "height", "format", "um_per_px",
    "um_per_px_source", "scales", "micron_bar", "band", "specimen_area", "crop", "recipe",
    "warnings",
}  # fmt: skip


class Said(NamedTuple):
    """What a command said and how it ended."""

    stdout: str
    stderr: str
    returncode: int


@pytest.fixture
def agent(capsys):
    """Run one command in this process; its workers are processes of their own."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        return Said(*capsys.readouterr(), ended.value.code)

    return run


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(1).normal(0, 40, (480, 640))
    grey = np.clip(cv2.GaussianBlur(noise, (0, 0), 1.5) * 3 + 128, 0, 255).astype(np.uint8)
    (tmp_path / "Gefüge 50x.png").write_bytes(cv2.imencode(".png", grey)[1])
    (tmp_path / "cut.jpg").write_bytes(cv2.imencode(".jpg", grey)[1][:3000])
    (tmp_path / "notes.txt").write_text("no image, and not asked for")
    return tmp_path


def test_json_has_one_object_per_micrograph_in_the_order_of_the_names(agent, folder) -> None:
    came = agent("look", folder, "--json")

    good, bad = (json.loads(line) for line in came.stdout.splitlines())
    assert set(good) == KEYS
    assert (good["width"], good["height"], good["format"]) == (640, 480, "PNG")
    assert good["um_per_px"] is None
    assert good["id"] == good["sha256"][:16]
    assert bad["error"]["code"] == "truncated"
    assert bad["file"].endswith("cut.jpg")
    assert came.returncode == 1


def test_the_page_and_the_overlay_are_for_people(agent, folder) -> None:
    file = folder / "Gefüge 50x.png"

    came = agent("look", file, "--overlay", folder / "pictures")

    assert came.returncode == 0
    assert "1 micrograph in 1 file" in came.stdout
    assert "1 of 1 files can be used" in (folder / "look-Gefüge 50x.png.html").read_text("utf-8")
    [picture] = (folder / "pictures").iterdir()
    drawn = cv2.imdecode(np.frombuffer(picture.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert drawn.shape[1] == 900

    again = agent("look", folder, "--overlay", folder / "pictures", "--json")
    assert len(again.stdout.splitlines()) == 2  # its own pictures are no micrographs
    above = agent("look", folder / "pictures", "--overlay", folder, "--json")
    assert len(above.stdout.splitlines()) == 1


def test_an_overlay_that_cannot_be_written_is_one_sentence(agent, folder) -> None:
    taken = agent("look", folder / "cut.jpg", "--overlay", folder / "notes.txt")

    assert taken.returncode == 2
    assert "--overlay" in taken.stderr
    assert "Name a folder that you may write to" in taken.stderr
    assert taken.stdout == ""


def test_the_longest_name_a_file_can_have_gets_its_overlay(agent, folder) -> None:
    file = (folder / "Gefüge 50x.png").rename(folder / f"{'ü' * 120}.png")

    came = agent("look", file, "--overlay", folder / "pictures")

    assert came.returncode == 0
    assert len(list((folder / "pictures").iterdir())) == 1


def test_a_folder_without_pictures_is_said(agent, folder) -> None:
    (folder / "Gefüge").mkdir()

    came = agent("look", folder / "Gefüge", "--json")

    assert (came.returncode, came.stdout) == (2, "")
    assert "no image file found" in came.stderr


def test_a_file_that_is_not_there_is_named(agent, folder) -> None:
    came = agent("look", folder / "none.tif", folder / "Gefüge 50x.png", "--json")

    first, second = (json.loads(line) for line in came.stdout.splitlines())
    assert first["error"]["code"] == "unreadable"
    assert second["width"] == 640
    assert came.returncode == 1


# ------------------------------------------------------------------------------------- a folder

HOSTILE = "4712_02_05_<img src=x onerror=alert(1)>.png"


def write_picture(file, grey):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(cv2.imencode(file.suffix, grey)[1])


def draw(seed, kind):
    return steel(np.random.default_rng(seed), 360, 480, {}, kind=kind)


def list_all(folder):
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A folder with two classes, a copy, a turned copy, deep, paged, broken and hostile files."""
    top = tmp_path_factory.mktemp("lab") / "own"
    for n in range(1, 6):
        write_picture(top / "needles" / f"4711_01_{n:02}.png", draw(n, "needles"))
        write_picture(top / "grains" / f"4712_02_{n:02}.png", draw(n, "grains"))
    (top / "grains" / "4712_03_01.png").write_bytes((top / "grains/4712_02_01.png").read_bytes())
    write_picture(
        top / "needles" / "4711_02_01.png", cv2.rotate(draw(1, "needles"), cv2.ROTATE_180)
    )
    (top / "grains" / HOSTILE).write_bytes((top / "grains/4712_02_05.png").read_bytes()[:900])
    deep = draw(21, "grains").astype(np.uint16) * 200
    tifffile.imwrite(top / "grains" / "4712_02_06.tif", np.stack([deep, deep.T[:360]][:1]))
    with tifffile.TiffWriter(top / "needles" / "4711_01_06.tif") as pages:
        for seed in (31, 32):
            pages.write(draw(seed, "needles"))
    colour = cv2.cvtColor(draw(41, "grains"), cv2.COLOR_GRAY2BGR) // np.array([1, 2, 3], np.uint8)
    write_picture(top / "grains" / "4712_02_07.jpg", colour.astype(np.uint8))
    (top / "grains" / "notes.txt").write_text("no image")
    return top


@pytest.fixture(scope="module")
def looked(own):
    """The page of that folder, what was there before and after, and how the command ended."""
    page, before = own.parent / "page.html", list_all(own)
    with pytest.raises(SystemExit) as ended:
        main(["look", str(own), "--out", str(page)])
    return page.read_text("utf-8"), before, list_all(own), ended.value.code


def test_the_page_counts_what_can_be_used_and_says_why_the_rest_cannot(looked) -> None:
    page, before, after, code = looked

    assert code == 1
    assert after == before
    assert "15 of 16 files can be used" in page
    assert "16 micrographs" in page  # one file has two pages
    assert "Cut off: 1" in page
    assert "1 <bdi>.txt</bdi>" in page
    assert "scale known for 0" in page
    assert 'http-equiv="refresh"' not in page


def test_a_hostile_name_is_text(looked) -> None:
    page = looked[0]

    assert "<img src=x" not in page
    assert html.escape(HOSTILE) in page


def test_copies_and_turned_copies_are_named(looked) -> None:
    text = re.sub(r"<[^>]+>", "", looked[0])

    assert "1 micrograph is there more than once" in text
    assert "grains/4712_02_01.png = grains/4712_03_01.png" in text
    pair = text[
        text.index("These pairs show the same place") : text.index("Groups need")
        if "Groups need" in text
        else text.index("look alike to a network")
    ]
    assert "needles/4711_01_01.png" in pair
    assert "needles/4711_02_01.png" in pair


def test_two_structures_are_two_groups(looked) -> None:
    notes = re.findall(r"Subfolders: (.*?)</p>", looked[0])

    assert len(notes) >= 2
    assert all(("needles" in note) != ("grains" in note) for note in notes)


def test_the_proposed_settings_load_and_read_the_names(looked, own, tmp_path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(html.unescape(re.search(r"<code>(.*?)</code></pre>", looked[0], re.DOTALL)[1]))

    read = settings.read(file)

    [source] = read.sources
    assert source.folder == own
    given = Provenance(pattern=source.pattern).process_data("grains/4712_02_05.png")
    assert given == {"order": "4712", "specimen": "02", "field": "05"}
    assert read.model.taxonomy == str(tmp_path / "taxonomy.toml")
    assert re.search(
        r"<bdi>needles</bdi></td><td class=\"code\"><bdi>needles</bdi></td>", looked[0]
    )


def test_a_page_in_the_folder_is_refused_and_none_is_put_there_by_itself(
    agent, own, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(own)

    inside = agent("look", own, "--out", own / "grains" / "page.html")
    image = agent("look", own, "--out", tmp_path / "page.png")
    default = agent("look", ".", "--most", "1")

    assert (inside.returncode, image.returncode) == (2, 2)
    assert "Name a page outside it" in inside.stderr
    assert "name an HTML page" in image.stderr
    page = (tmp_path / "look-own.html").read_text("utf-8")
    assert "A sample: 1 of 16 files" in page
    assert default.returncode in (0, 1)  # the one may be the broken one
    assert not list(own.rglob("*.html"))


def test_a_name_that_is_nowhere_is_one_sentence(agent, tmp_path) -> None:
    came = agent("look", tmp_path / "none", "--out", tmp_path / "page.html")

    assert came.returncode == 2
    assert "no such file or folder" in came.stderr
    assert not (tmp_path / "page.html").exists()


def test_a_share_that_hangs_is_one_sentence(agent, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(shares, "LIMIT_S", 0.5)

    with FailingShare(tmp_path / "share", None) as failing:
        came = agent("look", tmp_path / "share", "--out", tmp_path / "page.html")
        is_over = failing.is_over.is_set()

    assert (came.returncode, is_over) == (2, False)
    assert "does not answer" in came.stderr


def test_while_files_are_read_the_page_shows_those_so_far_and_loads_itself_again(own) -> None:
    listing = Listing(pictures=dict.fromkeys(("a.png", "b.png"), (0, 0, 0)))
    overview = FolderOverview(listing, 2)
    [crop] = crop_here(own / "needles" / "4711_01_01.png")
    overview.add("a.png", [replace(crop, landmarks=encode_landmarks(crop))])
    words = {"site": "own", "folder": "own", "every_s": 5, "generated": "now", "proposal": None}

    page = render("look", **overview.build_page(), **words, state="reading")

    assert "Reading: 1 of 2 files so far" in page
    assert 'http-equiv="refresh" content="5"' in page
    assert "Whole field of a.png" in page


def test_objectives_are_proposed_where_a_magnification_has_one_scale(own, tmp_path) -> None:
    [crop] = crop_here(own / "needles" / "4711_01_01.png")
    folder = tmp_path / 'a "lab"\x7f'
    scales = {"50x": (0.2, 0.201, 0.2), "100x": (0.1, 0.1, 0.1), "20x": (0.5, 0.4, 0.5)}
    crops = [
        (f"4711_0{n}_{name}.tif", replace(crop, um_per_px=um_per_px))
        for name, values in scales.items()
        for n, um_per_px in enumerate(values)
    ]
    file = tmp_path / "agent.toml"

    proposal = propose_source(folder, [path for path, _crop in crops], crops)
    file.write_text(proposal["toml"], "utf-8")

    [source] = settings.read(file).sources
    assert source.name == 'a "lab"'
    assert source.folder == folder
    assert {entry.name: entry.um_per_px for entry in source.objectives} == {"50x": 0.2, "100x": 0.1}


def test_a_sample_is_the_same_each_time_and_every_beginning_is_spread() -> None:
    paths = [Path(f"{n:03}.png") for n in range(100)]

    chosen = choose_evenly(paths, 20)

    assert chosen == choose_evenly(paths, 20)
    assert len(set(chosen)) == 20
    assert chosen != sorted(chosen)
    assert sorted(choose_evenly(paths, 200)) == paths


BUILT_ALIKE = [
    (
        ("4711_01_02_500x.tif", "4711_02_01_500x.tif", "4712_01_01_200x.tif"),
        {"order": "4711", "specimen": "01", "field": "02", "magnification": "500x"},
    ),
    (
        ("4711_01_01_500x.tif", "4711_01_02_500x.tif", "4711_01_03_500x.tif"),
        {"order": "4711", "specimen": "01", "field": "01", "magnification": "500x"},
    ),
    (
        ("4711_01_01.tif", "4711_01_02.tif", "4711_02_01.tif"),
        {"order": "4711", "specimen": "01", "field": "01"},
    ),
    (
        ("4711_01_1.tif", "4712_01_2.tif", "4713_01_3.tif"),
        {"order": "4711", "specimen": "01", "field": "1"},
    ),
    (("2026_01_1.tif", "2026_01_2.tif", "2026_02_1.tif"), {"specimen": "01", "field": "1"}),
    (("20261201_1.tif", "20261201_2.tif", "20261201_3.tif"), {"field": "1"}),
    (("uhcs_1035.png", "uhcs_1.png", "uhcs_77.png"), {"field": "1035"}),
    (
        ("Q1 500 1.tif", "Q1 500 2.tif", "Q2 1000 1.tif", "Q2 500 1.tif"),
        {"specimen": "Q1", "magnification": "500", "field": "1"},
    ),
    (
        ("20260101_4711_01.tif", "20260102_4711_02.tif", "20260103_4712_02.tif"),
        {"order": "4711", "field": "01"},
    ),
    (("4711/a-01.tif", "4711/a-02.tif", "4712/a-03.tif"), {"order": "4711", "field": "01"}),
    (("(a+b)_1.tif", "(a+b)_2.tif", "(a+b)_3.tif"), {"field": "1"}),
    (("ferrite.tif", "pearlite.tif", "bainite.tif"), {}),
    (("1.tif", "2.tif"), {}),
    ((), {}),
]


def test_a_pattern_is_guessed_from_names_that_are_built_alike() -> None:
    for names, given in BUILT_ALIKE:
        pattern = propose_pattern(names)

        assert Provenance(pattern=pattern).process_data(names[0] if names else "1.tif") == given, (
            names
        )


def test_a_number_that_all_names_share_so_far_does_not_keep_later_files_out() -> None:
    pattern = propose_pattern(("20261201_1.tif", "20261201_2.tif", "20261201_3.tif"))

    assert Provenance(pattern=pattern).process_data("20261202_7.tif") == {"field": "7"}


def test_classify_without_a_bundle_says_what_to_do_and_makes_no_database(agent, folder) -> None:
    config = folder / "agent.toml"
    config.write_text("[store]\nfolder = 'books'\n", encoding="utf-8")

    came = agent("--config", config, "classify", folder / "Gefüge 50x.png")

    assert came.returncode == 2
    assert "No bundle is in use yet" in came.stderr
    assert not (folder / "books").exists()


def test_classify_refuses_a_scale_that_no_micrograph_can_have(agent, folder) -> None:
    came = agent("classify", folder / "Gefüge 50x.png", "--um-per-px", "50")

    assert came.returncode == 2
    assert "um_per_px_range" in came.stderr


def ruled(folder: Path) -> Path:
    """Draw a stage micrometer with lines every 10 µm at 0.2 µm per pixel."""
    columns = np.arange(1200) * 0.2
    line = np.abs(columns - 10 * np.round(columns / 10)) < 1
    ruling = cv2.GaussianBlur(
        np.tile(np.where(line, 60, 200).astype(np.uint8), (800, 1)), (5, 5), 0
    )
    image = folder / "micrometer.png"
    image.write_bytes(cv2.imencode(".png", ruling)[1])
    return image


def test_a_stage_micrometer_is_measured_compared_and_remembered(agent, folder) -> None:
    image = ruled(folder)
    config = folder / "agent.toml"
    config.write_text("[store]\nfolder = 'books'\n", encoding="utf-8")
    [division] = re.findall(r"--division (\S+)", EXAMPLES["scale check"])
    check = ("--config", config, "scale", "check", image, "--division", division, "--by", "A. Cole")

    right = agent(*check, "--expected", "0.2", "--json")
    wrong = agent(*check, "--expected", "0.1")
    no_ruling = agent("--config", config, "scale", "check", folder / "Gefüge 50x.png",
                      "--division", "10um")  # fmt: skip
    senseless = [agent(*check, "--expected", said).returncode for said in ("0", "nan", "-1")]

    assert json.loads(right.stdout)["um_per_px"] == pytest.approx(0.2, rel=1e-3)
    assert (right.returncode, wrong.returncode, no_ruling.returncode) == (0, 3, 3)
    assert senseless == [2, 2, 2]
    assert "+100" in wrong.stdout
    with Store.open(store_url(folder / "books"), site="Plant 1", agent="a") as store:
        acts = [
            (entry.actor, entry.subject) for entry in store.audit_log.iter_acts("scale.checked")
        ]
    assert acts == [("A. Cole", "micrometer.png")] * 2


def test_a_measurement_that_names_its_objective_is_a_record(agent, folder) -> None:
    image = ruled(folder)
    config = folder / "agent.toml"
    config.write_text("[store]\nfolder = 'books'\n", encoding="utf-8")
    check = ("--config", config, "scale", "check", image, "--division", "10um")

    known = agent(*check, "--microscope", "LOM-07", "--objective", "50x", "--by", "A. Cole",
                  "--certificate", "DKD 4711", "--json")  # fmt: skip
    nobody = agent(*check, "--microscope", "LOM-07", "--objective", "50x")
    nowhere = agent(*check, "--objective", "50x", "--by", "A. Cole")
    unknown = agent(*check, "--source", "LOM-08", "--objective", "50x", "--by", "A. Cole")

    assert [one.returncode for one in (known, nobody, nowhere, unknown)] == [0, 2, 2, 2]
    with Store.open(store_url(folder / "books"), site="Plant 1", agent="a") as store:
        (record,) = store.records.all("scale_check")
    assert record.id == json.loads(known.stdout)["record"]
    assert (record.subject, record.by) == ("LOM-07", "A. Cole")
    assert record.facts["um_per_px"] == pytest.approx(0.2, rel=1e-3)
    wanted = {"microscope": "LOM-07", "objective": "50x", "certificate": "DKD 4711"}
    assert wanted.items() <= record.facts.items()
    assert record.facts["sha256"] == hashlib.sha256(image.read_bytes()).hexdigest()
