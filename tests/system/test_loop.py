"""The whole loop: watching, judging, reporting, reviewed, learning, promoted; not pretended.

The agent runs in a process of its own, as a lab runs it; what it did is asked of its commands.
"""

import json
import re
import socket
from pathlib import Path

import pytest

from agent.cli.app import main
from agent.cli.start.demo import play
from agent.demo.bundle import read_card
from agent.demo.demo import MARK, DemoSize, plan_history, plan_test_set, renew_port
from agent.demo.exporter import plan_ordinary
from agent.store import Store, store_url

SMALL = DemoSize(
    codes=("G7", "G9-10", "M9-10"),
    specimens=11,
    exams=2,
    fields=2,
    pixels=(320, 240),
    night_specimens=1,
    strange_each=1,
)


def agent(folder, *words):
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(folder / "agent.toml"), *map(str, words)])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """A demonstration that was played to its end, small."""
    folder = tmp_path_factory.mktemp("played") / "demo"
    play(folder, SMALL, serve=False)
    return folder


@pytest.fixture
def fates(played, capsys):
    agent(played, "files", "--json")
    lines = capsys.readouterr().out.splitlines()
    rows = [row for line in lines for row in _rows(json.loads(line))]
    return {row["path"].rpartition("/")[2]: row for row in rows}


def _rows(document):
    return document if isinstance(document, list) else [document]


def test_every_exported_file_has_met_its_fate(played, fates):
    exported = {path.name for path in (played / "export").iterdir()}

    assert exported
    assert {name: fates[name]["state"] for name in exported if name in fates}.keys() == exported
    assert {fates[name]["state"] for name in exported} == {"done", "duplicate", "set_aside"}


def test_the_accidents_of_the_night_are_told_apart(fates):
    reasons = {name: row["reason"] or "" for name, row in fates.items()}
    copies = [row for name, row in fates.items() if " - copy" in name]

    assert any("empty" in reason for name, reason in reasons.items() if "_92_" in name)
    assert any("not_an_image" in reason for name, reason in reasons.items() if "_91_" in name)
    assert any("truncated" in reason for name, reason in reasons.items() if "_90_" in name)
    assert [row["state"] for row in copies] == ["duplicate"]


def test_the_report_names_what_came_and_what_could_not_be_used(played):
    pages = list((played / "data/reports").glob("20*.html"))

    (page,) = pages
    text = page.read_text("utf-8")
    assert (played / "data/reports/index.html").is_file()
    assert re.search(r"_91_01_500x\.tif", text)
    assert "http://" not in re.sub(r"http://(127\.0\.0\.1|www\.w3\.org)", "", text)


def test_what_two_people_say_is_new_to_the_next_retraining(played, capsys):
    agent(played, "review", "list", "--json")
    out = capsys.readouterr().out
    queue = [row for line in out.splitlines() for row in _rows(json.loads(line))]
    name = queue[0]["id"]

    said = []
    for who in ("E. Meier", "R. Stahl"):
        assert agent(played, "review", "label", name, "G8", "--by", who) == 0
        capsys.readouterr()
        agent(played, "retrain", "--dry-run", "--json")
        said.append(json.loads(capsys.readouterr().out))

    assert [one["new_labels"] for one in said] == [0, 1]
    assert said[0]["left_out"], "one person said it, with the answer in view"
    assert said[1]["codes"]["G8"] == 1


def test_process_data_comes_from_the_names(played):
    with Store.open(store_url(played / "data"), site="Demonstration", agent="test") as store:
        views = [view for view in store.results.iter_all() if view.result.origin == "watch"]

        assert views
        assert all(view.process_data["microscope"] == "LOM-07" for view in views)
        assert all(re.fullmatch(r"\d+", view.process_data["order"]) for view in views)
        assert all(view.result.bundle for view in views)


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.docx").write_bytes(b"x")

    with pytest.raises(SystemExit) as ended:
        main(["demo", str(tmp_path), "--no-serve"])

    assert ended.value.code == 2
    assert "holds other things (thesis.docx)" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]


def test_held_out_specimens_are_not_among_the_labelled_ones():
    def specimens(pictures):
        return {(picture.order, picture.specimen) for picture in pictures}

    labelled, held_out = specimens(plan_history(SMALL)), specimens(plan_test_set(SMALL))

    assert labelled
    assert held_out
    assert not labelled & held_out


def test_the_first_night_is_classified_by_the_bundle_of_the_package(played):
    name = read_card()["name"]
    with Store.open(store_url(played / "data"), site="Demonstration", agent="test") as store:
        (promotion,) = store.promotions.list_all()
        bundles = {view.result.bundle for view in store.results.iter_all()}

    assert (promotion.bundle, promotion.by) == (name, "agent demo")
    assert promotion.reason == "drawn, for the demo only"
    assert bundles == {name}


def test_the_full_demonstration_has_at_least_80_exams_of_every_trained_code():
    pictures = plan_ordinary(DemoSize().codes, DemoSize().exams, first_order=46_000, seed=2)

    assert len(pictures) >= 80
    assert len({picture.code for picture in pictures}) == 8
    assert len({picture.name for picture in pictures}) == len(pictures)


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--train",)])
def test_the_whole_demonstration_reaches_what_it_promises(tmp_path, capfd, options):
    with pytest.raises(SystemExit) as ended:
        main(["demo", str(tmp_path / "demo"), "--no-serve", *options])

    out, errors = capfd.readouterr()
    report, page = out.strip().splitlines()[-2:]
    words = " ".join(errors.split())
    right = re.search(r"Structure code right on [a-z -]+: (\d+\.\d) % \([^)]* n = (\d+)\)", words)
    night = re.search(r"micrographs of the night: (\d+) of (\d+)", words)
    noticed = re.search(r"Unusual micrographs detected: (\d+) of (\d+)", words)
    assert not ended.value.code
    assert report.startswith("report ")
    assert page.startswith("page http://127.0.0.1:")
    assert MARK in (tmp_path / "demo/agent.toml").read_text("utf-8")
    assert int(night[1]) >= 0.85 * int(night[2]) >= 20
    assert (right is not None) == ("--train" in options)
    if right:
        assert float(right[1]) >= 85
        assert int(right[2]) >= 80
    assert int(noticed[1]) / int(noticed[2]) >= 0.75
    if "--train" in options:  # reference images are in the archive
        text = Path(report.removeprefix("report ")).read_text("utf-8")
        assert "not checked yet: new source" not in text


def test_a_port_that_another_program_took_meanwhile_is_renewed(tmp_path):
    settings = tmp_path / "agent.toml"
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        settings.write_text(f'{MARK}\n[web]\nport = {port}\nhost = "µ"\n', encoding="utf-8")

        renew_port(settings)

        renewed = int(re.search(r"^port = (\d+)$", settings.read_text("utf-8"), re.MULTILINE)[1])
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", renewed))
    assert renewed != port
    assert settings.read_text("utf-8") == f'{MARK}\n[web]\nport = {renewed}\nhost = "µ"\n'

    before = settings.read_bytes()
    renew_port(settings)
    assert settings.read_bytes() == before
