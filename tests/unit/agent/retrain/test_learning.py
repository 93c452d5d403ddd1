"""The commands that learn say what they did, name what they could not use, and promote nothing."""

import contextlib
import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import cv2
import pytest
import torch
from labs.small import CODES, PIXELS, past, write_labelled

from agent import settings as settings_of
from agent.cli.console import format_stage
from agent.cli.models.evaluation_text import print_evaluation
from agent.cli.models.experiments import about
from agent.cli.models.train import format_plan, grouping_column, make_plan, print_notes
from agent.demo.micrograph import draw_micrograph
from agent.files import pictures
from agent.retrain import write_figures
from agent.retrain.bundle_registry import list_bundles
from agent.service.composition import open_store
from model import TrainingConfig, read_manifest
from model.experiments.tables import RowResult
from model.networks.pretrained import weights_path


def picture(path, code="G8", seed=0, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = draw_micrograph(code, seed=seed, size=PIXELS, border=False, **how)
    path.write_bytes(cv2.imencode(".png", drawn.pixels[..., ::-1])[1].tobytes())
    return path


@pytest.fixture
def empty_lab(tmp_path, taught_lab):
    """A lab that has nothing yet, with the taught one's manner of running commands."""
    (tmp_path / "agent.toml").write_text('[site]\ntime_zone = "UTC"\n[imaging]\nworkers = 1\n')
    return type(taught_lab)(tmp_path)


@pytest.fixture(scope="module")
def exams(taught_lab):
    """Held-out micrographs of other specimens, in a folder per code."""
    folder = taught_lab.folder / "exams"
    write_labelled(past(2, first_order=3000, seed=3), folder)
    return folder


@pytest.fixture(scope="module")
def evaluated(taught_lab, exams):
    """What `agent models evaluate` says of them and of strange ones, and what it left behind."""
    strange = taught_lab.folder / "strange"
    for seed in range(2):
        for kind in ("cast_iron", "pearlite"):
            picture(strange / kind / f"{seed}.png", seed=seed, strange=kind)
    before = said_by(taught_lab, "files", "--json")
    limits = taught_lab.folder / "specifications.toml"
    limits.write_text(
        '[[specification]]\nname = "soft"\nvalid_from = 2026-01-01\napproved_by = "R. Stahl"\n'
        'material = "100Cr6"\nsubtype = ["G"]\nlimit = "8 or coarser"\n'
        "fields = 5\n",
        encoding="utf-8",
    )
    try:
        code, out = ran(taught_lab, "models", "evaluate", exams, "--strange", strange, "--json")
    finally:
        limits.unlink()
    assert said_by(taught_lab, "files", "--json") == before, "evaluating wrote something down"
    return code, json.loads(out)


def ran(lab, *words):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = lab.agent(*words)
    return code, out.getvalue()


def said_by(lab, *words):
    return ran(lab, *words)[1]


def test_import_names_what_it_could_not_use_and_ends_with_1(empty_lab, tmp_path, capsys):
    picture(tmp_path / "lab/G8/a.png")
    (tmp_path / "lab/G8/b.png").write_bytes(b"")

    code = empty_lab.agent("import", tmp_path / "lab", "--json")

    said = json.loads(capsys.readouterr().out)
    assert code == 1
    assert said["labelled"] == 1
    assert said["codes"] == {"G8": 1}
    assert [one["file"] for one in said["unusable"]] == ["G8/b.png"]


IMPOSSIBLE = [
    (("import", "nowhere"), "nowhere"),
    (("train",), "no labelled micrographs yet"),
    (("models", "evaluate", "."), "no bundle yet"),
    (("retrain",), "no bundle yet"),
    (("models", "show", "20260101-00000000"), "no bundle is called"),
    (("models", "rollback", "--by", "E. Meier", "--reason", "r"), "no previous bundle"),
    (("train", "--weights", "nowhere.pth"), "nowhere.pth"),
    (("train", "--scheme", "global", "--size-arch", "resnet18"), "global has one. Use --arch"),
    (("models", "int8", "20260101-00000000"), "no bundle is called"),
    (("models", "experiments", ".", "--folds", "1"), "leaves no training images"),
]


def test_what_cannot_be_is_one_sentence_and_2(empty_lab, capsys):
    for words, complaint in IMPOSSIBLE:
        code = empty_lab.agent(*words)

        errors = capsys.readouterr().err.strip().splitlines()
        assert code == 2, words
        assert complaint in errors[-1], words
        assert errors[-1].startswith("agent: "), words
        assert "Traceback" not in "".join(errors), words


def test_a_misspelt_bundle_or_source_names_the_nearest_one(empty_lab, capsys):
    bundle = empty_lab.folder / "data" / "bundles" / "20260101-0a1b2c3d"
    bundle.mkdir(parents=True)
    (bundle / "bundle.json").write_text("{}")

    assert empty_lab.agent("models", "show", "20260101-0a1b2c3e") == 2
    assert "Did you mean 20260101-0a1b2c3d?" in capsys.readouterr().err

    source = '[[sources]]\nname = "axio"\nfolder = "in"\n'
    (empty_lab.folder / "agent.toml").write_text(source)
    picture(empty_lab.folder / "any.png")
    code = empty_lab.agent("scale", "check", "any.png", "--division", "10um", "--source", "axoi")
    assert code == 2
    assert "unknown source 'axoi'" in (error := capsys.readouterr().err)
    assert "Did you mean axio?" in error


def test_what_was_noted_while_teaching_is_said_below_the_bars(taught_lab, capsys):
    (bundle,) = list_bundles(taught_lab.folder / "data")

    print_notes(bundle)

    said = capsys.readouterr().err.splitlines()
    assert len(said) == len(read_manifest(bundle).facts["notes"])
    assert "note: No micrograph of B7, B8, B9-10, G8, M8; the bundle will not know them." in said


def test_the_first_bundle_is_put_to_work_and_that_is_recorded(taught_lab, capsys):
    taught_lab.agent("models", "list", "--json")

    said = json.loads(capsys.readouterr().out)
    first = said["bundles"][0]
    assert said["current"] == first["name"]
    assert first["learned_from"] > 30
    taught_lab.agent("models", "show", first["name"], "--json")
    shown = json.loads(capsys.readouterr().out)
    assert shown["promotions"][-1]["reason"] == "first bundle"
    assert shown["codes"] == list(CODES)


def test_a_bundle_is_shown_with_what_its_alarm_rate_means(taught_lab, capsys):
    taught_lab.agent("models", "list", "--json")
    name = json.loads(capsys.readouterr().out)["current"]

    taught_lab.agent("models", "show", name)

    said = " ".join(capsys.readouterr().out.split())
    assert "reference images" in said
    assert "of good fields are flagged on average" in said
    assert f"bundle {name} on 12 micrographs" in said


def test_evaluate_gives_the_contracts_document(evaluated):
    code, said = evaluated

    assert code == 0
    assert said["n"] == 12
    assert said["seen_in_training"] == 0
    assert said["accuracy"]["value"] >= 0.75
    assert said["accuracy"]["low"] <= said["accuracy"]["value"] <= said["accuracy"]["high"]
    assert {"within_one_size", "macro_f1", "kappa", "nll", "ece", "limits"} <= said.keys()
    assert said["per_stage"].keys() == {"subtype", "size"}
    assert len(said["confusion"]["rows_predicted"]) == len(said["confusion"]["codes"])
    assert {"value", "low", "high", "alpha"} <= said["false_alarm_rate"].keys()


def test_strange_folders_are_told_apart_by_kind(evaluated):
    _, said = evaluated

    assert said["strange"].keys() == {"cast_iron", "pearlite"}
    assert said["strange"]["cast_iron"]["n"] == 2
    assert said["strange"]["cast_iron"]["auroc"] > 0.9


@pytest.mark.parametrize(
    ("stage", "title"),
    [
        ("shared", "Training structure codes"),
        ("size:G", "Training sizes of G"),
        ("table 2, ResNet-18 2S: size:G", "table 2, ResNet-18 2S: Training sizes of G"),
        ("table 2, ResNet-18 2S: images", "table 2, ResNet-18 2S: Reading images"),
    ],
)
def test_a_bar_says_in_words_what_is_being_done(stage, title):
    assert format_stage(stage) == title


def test_an_answer_says_how_much_of_the_field_looks_coarser_per_size(taught_lab, tmp_path, capsys):
    field = picture(tmp_path / "field.png", code="G9-10")

    taught_lab.agent("classify", field, "--json")

    said = json.loads(capsys.readouterr().out)
    assert said["structure_code"] == "G9-10"
    assert list(said["coarser_share"]) == ["7", "9-10"]
    assert said["coarser_share"]["7"] == 0.0  # nothing is coarser than the coarsest
    assert 0.0 <= said["coarser_share"]["9-10"] < 0.5


def test_a_scale_that_the_command_gives_is_one_of_the_scales(taught_lab, tmp_path, capsys):
    field = picture(tmp_path / "field.png", code="G9-10")

    taught_lab.agent("classify", field, "--json", "--um-per-px", "0.21")

    said = json.loads(capsys.readouterr().out)
    assert {"source": "settings", "um_per_px": 0.21} in said["scales"]


def test_a_gpu_without_imagenet_weights_teaches_what_brings_its_own(
    empty_lab, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    settings = settings_of.read(empty_lab.folder / "agent.toml", {})

    with open_store(settings) as store:
        without = make_plan(settings, store, {})
        said = capsys.readouterr().err
        wanted = make_plan(settings, store, {"arch": "resnet50"})
        place = weights_path("resnet18")
        place.parent.mkdir(parents=True)
        place.write_bytes(b"")
        fetched = make_plan(settings, store, {})

    assert (without.arch, without.frozen) == ("efficientnet-lite0", True)
    assert (
        "This PC has no ImageNet weights of resnet18 (agent models weights resnet18 downloads them)"
        in said
    )
    assert (wanted.arch, wanted.frozen) == ("resnet50", False)
    assert (fetched.arch, fetched.frozen) == ("resnet18", False)


def test_how_will_be_taught_is_said_in_a_line():
    mixed = TrainingConfig(subtype_arch="resnet50", epochs=5)
    heads = TrainingConfig(scheme="global", arch="efficientnet-lite0", frozen=True, framing="scale")

    assert format_plan(mixed) == (
        "two-stage, resnet50 and resnet18, whole, at most 5 epochs; mirror at 1994 px."
    )
    assert format_plan(heads) == "global, efficientnet-lite0, heads alone; scale at 1994 px."


def test_people_read_an_evaluation_limits_first(evaluated, capsys):
    print_evaluation(evaluated[1])

    said = capsys.readouterr().out
    assert "G9-10 or finer" in said
    assert said.index("in use: G 8 or coarser") < said.index("G9-10 or finer")
    assert said.index("limit") < said.index("structure code right")
    assert re.search(r"\d+\.\d % \(\d+\.\d to \d+\.\d %", said)


def test_people_read_every_number_with_its_interval(evaluated, capsys):
    print_evaluation(evaluated[1])

    said = capsys.readouterr().out
    interval = r"-?\d+\.\d\d \(-?\d+\.\d\d to \d+\.\d\d\)"
    for measure in ("quadratic kappa", "NLL", "ECE"):
        assert re.search(rf"{measure}\)\s+\S\s+{interval}", said), measure
    share = r"100\.0 % \(34\.2 to 100\.0 %\)"  # 2 of 2
    assert re.search(rf"cast_iron\s+\S\s+2\s+\S\s+{share}\s+\S\s+{interval}", said)


def test_the_bar_of_an_evaluation_counts_the_strange_ones_too(evaluated, capfd, taught_lab, exams):
    code = taught_lab.agent("models", "evaluate", exams, "--strange", taught_lab.folder / "strange")

    steps = re.findall(r"Evaluating \S+ (\d+)/(\d+)", capfd.readouterr().err)
    assert code == 0
    assert {total for _, total in steps} == {"16"}  # 12 and 4
    assert steps[-1] == ("16", "16")


def test_people_read_each_stage_and_what_tells_images_apart(evaluated, capsys):
    document = evaluated[1]
    same = document["slices"]["criterion"]["unrecorded"]
    both = {"500x": same, "1000x": same}

    print_evaluation({**document, "slices": {"magnification": both}})

    said = capsys.readouterr().out
    assert "sizes of G" in said
    assert "magnification 1000x" in said


def test_an_evaluation_leaves_a_matrix_overall_and_per_stage(evaluated, tmp_path):
    files = write_figures(tmp_path, evaluated[1], "a <bundle> for $5 or $x_")

    names = ["confusion-size-G.svg", "confusion-subtype.svg", "confusion.svg"]
    assert sorted(file.name for file in files) == names
    for file in files:
        ET.parse(file)  # noqa: S314 - our own
    assert "true size" in (tmp_path / "confusion-size-G.svg").read_text("utf-8")


def test_a_taught_bundle_has_its_record_beside_it(taught_lab):
    name = json.loads(said_by(taught_lab, "models", "list", "--json"))["current"]

    record = taught_lab.folder / "data/bundles" / name / "record"

    assert (record / "confusion.svg").is_file()


def test_images_a_bundle_learned_from_are_left_out_and_counted(taught_lab, capsys):
    taught_lab.agent("models", "evaluate", taught_lab.folder / "labelled", "--json")

    said = json.loads(capsys.readouterr().out)
    assert said["seen_in_training"] > 30
    assert said["n"] + said["seen_in_training"] == len(taught_lab.labelled)


@pytest.mark.parametrize("command", [("models", "evaluate"), ("spec", "validate", "100Cr6")])
def test_an_image_it_learned_from_is_no_test_when_saved_again_in_another_format(
    taught_lab, tmp_path, capsys, command
):
    fresh = past(1, first_order=3000, seed=9)[:2]
    write_labelled(fresh, tmp_path)
    (tmp_path / "manifest.csv").unlink()
    for n, file in enumerate(sorted((taught_lab.folder / "labelled").glob("*/*.*"))[::10]):
        image = pictures.decode(file.read_bytes())
        folder = tmp_path / file.parent.name
        folder.mkdir(exist_ok=True)
        (folder / f"other name {n}.png").write_bytes(pictures.encode_png(image))
        (folder / f"other name {n}.jpg").write_bytes(pictures.encode_jpeg(image, quality=90))

    assert taught_lab.agent(*command, tmp_path, "--json") == 0

    said = json.loads(capsys.readouterr().out)
    assert said["seen_in_training"] == 12
    assert said["n" if command == ("models", "evaluate") else "images"] == len(fresh)


def test_an_image_it_learned_from_is_no_unusual_one_either_and_is_counted(
    taught_lab, tmp_path, capsys
):
    write_labelled(past(1, first_order=3000, seed=9)[:2], tmp_path / "new")
    (tmp_path / "new" / "manifest.csv").unlink()
    known = sorted((taught_lab.folder / "labelled" / "G7").iterdir())[:2]
    other = tmp_path / "unusual" / "other steel"
    other.mkdir(parents=True)
    for file in known:
        (other / file.name).write_bytes(file.read_bytes())

    words = ("models", "evaluate", tmp_path / "new", "--strange", tmp_path / "unusual", "--json")
    assert taught_lab.agent(*words) == 0

    assert json.loads(capsys.readouterr().out)["seen_in_training"] == 2


def test_a_bundle_goes_out_and_comes_in_unchanged_or_not_at_all(
    taught_lab, empty_lab, tmp_path, capsys
):
    taught_lab.agent("models", "list", "--json")
    name = json.loads(capsys.readouterr().out)["current"]

    assert taught_lab.agent("models", "export", name, tmp_path / "out") == 0
    assert empty_lab.agent("models", "add", tmp_path / "out" / name) == 0
    assert empty_lab.agent("models", "add", tmp_path / "out" / name) == 2
    assert "already exists here" in capsys.readouterr().err
    heads = next((tmp_path / "data/bundles" / name).glob("heads*"))
    heads.write_bytes(heads.read_bytes()[:-1] + b"x")
    assert empty_lab.agent("models", "promote", name, "--by", "E. M.", "--reason", "r") == 2
    assert "changed after it was written" in capsys.readouterr().err


@pytest.mark.slow
def test_experiments_leave_one_page_that_needs_nothing_beside_it(taught_lab, exams):
    code, out = ran(
        taught_lab, "models", "experiments", exams, "--quick", "--rows", "Lite0 2S", "--json"
    )

    document = json.loads(out)
    (row,) = document["rows"]
    assert code == 0
    assert document["about"][0].startswith("Quick run")
    assert "At most 5 epochs, frames of 160 px, seed 0." in document["about"]
    assert row["notes"][0] in document["about"]
    assert row["name"] == "EfficientNet-Lite0 2S (fw), scale"
    page = taught_lab.folder / "data/experiments/experiments.html"
    said = page.read_text("utf-8")
    assert "EfficientNet-Lite0 2S (fw), scale" in said
    assert "do not rank the schemes" in said
    assert not re.search(r'(src|href)="(?!#|data:)', said)
    assert "Quick run" in page.with_suffix(".md").read_text("utf-8")


def test_a_page_of_experiments_says_what_stayed_together_and_how_often_it_was_split():
    row = RowResult("table 2", "ResNet-18 2S", {"a": True, "b": False}, {}, notes=("a note",))
    base = TrainingConfig(group_by="order", mixed_groups=True, epochs=9)

    said = about(Path("lab"), [row, row], base, {"fold_count": 3, "quick": False})

    assert "A split keeps all images of one order together." in said
    assert "Each image was left out once, in 3 folds." in said
    assert said[-2:] == ("At most 9 epochs, frames of 1994 px, seed 0.", "a note")


def test_a_bundle_of_one_pass_is_not_converted_to_int8(taught_lab, capsys):
    name = json.loads(said_by(taught_lab, "models", "list", "--json"))["current"]

    code = taught_lab.agent("models", "int8", name)

    assert code == 2
    assert "in one pass of the frozen network" in capsys.readouterr().err
    assert not (taught_lab.folder / "data/bundles/.int8").exists()


def test_a_column_of_one_value_is_nothing_to_split_by(taught_lab, exams, capsys):
    code = taught_lab.agent("train", "--group-by", "magnification")

    assert code == 2
    assert "at least 3 are needed, one each" in capsys.readouterr().err


def test_a_column_that_no_micrograph_has_groups_nothing_and_is_refused(taught_lab, exams, capsys):
    manifest = exams / "manifest.csv"

    taught = taught_lab.agent("train", "--group-by", "ordr")
    first = capsys.readouterr().err.splitlines()[-1]
    tried = taught_lab.agent(
        "models", "experiments", exams, "--manifest", manifest, "--group-by", "ordr"
    )
    second = capsys.readouterr().err.splitlines()[-1]

    assert (taught, tried) == (2, 2)
    for said in (first, second):
        assert said.startswith("agent: --group-by ordr: no labelled micrograph has this column")
        assert "order" in said.partition("Columns: ")[2]


def test_specimens_group_as_they_do_anyway_and_not_across_orders():
    assert grouping_column("specimen") == grouping_column("") == ""
    assert grouping_column("order") == "order"


def test_rows_that_are_not_there_are_named(taught_lab, exams, capsys):
    code = taught_lab.agent("models", "experiments", exams, "--rows", "ResNet-99")

    assert code == 2
    assert "ResNet-18 2S" in capsys.readouterr().err
