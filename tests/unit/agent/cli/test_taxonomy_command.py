"""The shell proposes classes from folders, and says what a taxonomy means before it counts."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from labs.lab import DAY
from labs.shell import Shell

from agent.cli.app import main
from agent.files.pictures import encode_png
from agent.settings import read
from agent.store import Decision
from model import load_taxonomy

NAMES = ("spheroidite fine", "spheroidite coarse", "network")


@pytest.fixture
def labelled(tmp_path):
    folder = tmp_path / "labelled"
    for name in NAMES:
        (folder / name).mkdir(parents=True)
        (folder / name / "a.png").write_bytes(encode_png(np.zeros((8, 8, 3), np.uint8)))
    return folder


@pytest.fixture
def run(capsys, monkeypatch):
    def run(*words, answer: str = "") -> tuple[int, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return run


def test_a_new_lab_gets_settings_that_name_the_proposed_classes(tmp_path, labelled, run):
    code, said = run("init", tmp_path / "lab", "--taxonomy", labelled, answer="y\n")

    assert code == 0, said
    assert "network/a.png" in said
    settings = read(tmp_path / "lab" / "agent.toml")
    own = load_taxonomy(tmp_path / "lab" / "taxonomy.toml")
    assert settings.model.taxonomy == str(tmp_path / "lab" / "taxonomy.toml")
    assert own.codes == ("network", "spheroidite coarse", "spheroidite fine")


def test_a_no_and_no_answer_at_all_write_nothing(tmp_path, labelled, run):
    assert run("init", tmp_path / "lab", "--taxonomy", labelled, answer="n\n")[0] == 0
    code, said = run("init", tmp_path / "lab", "--taxonomy", labelled)

    assert (code, "--yes" in said) == (2, True)
    assert not (tmp_path / "lab").exists()


def test_a_taxonomy_that_is_there_is_replaced_by_force_alone_and_kept(tmp_path, labelled, run):
    lab = tmp_path / "lab"
    assert run("init", lab, "--taxonomy", labelled, "--yes")[0] == 0
    before = (lab / "taxonomy.toml").read_bytes()
    settings = (lab / "agent.toml").read_bytes()
    (labelled / "pearlite").mkdir()
    (labelled / "pearlite" / "b.png").write_bytes((labelled / "network" / "a.png").read_bytes())

    refused, said = run("init", lab, "--taxonomy", labelled, "--yes")

    assert (refused, "--force" in said) == (2, True)
    assert (lab / "taxonomy.toml").read_bytes() == before
    assert run("init", lab, "--taxonomy", labelled, "--yes", "--force")[0] == 0
    assert "pearlite" in load_taxonomy(lab / "taxonomy.toml").codes
    assert [path.read_bytes() for path in lab.glob("taxonomy-*.toml")] == [before]
    assert (lab / "agent.toml").read_bytes() == settings


def test_what_a_replacement_would_change_is_shown_before_the_question(tmp_path, labelled, run):
    lab = tmp_path / "lab"
    assert run("init", lab, "--taxonomy", labelled, "--yes")[0] == 0
    for size in ("coarse", "fine"):
        other = labelled / f"spheroidite {size}"
        other.rename(labelled / f"spheroidite very {size}")

    code, said = run("init", lab, "--taxonomy", labelled, answer="n\n")

    assert code == 0
    assert "The sizes of spheroidite become very coarse, very fine" in said
    assert "coarse, fine" not in load_taxonomy(lab / "taxonomy.toml").codes


def test_a_manifest_serves_as_well_as_folders(tmp_path, run):
    manifest = tmp_path / "labels.csv"
    manifest.write_text("file;subtype;size\na.png;G;8\nb.png;G;7\nc.png;K;\n", encoding="utf-8")

    code, said = run("init", tmp_path / "lab", "--taxonomy", manifest, "--yes")

    assert code == 0, said
    assert load_taxonomy(tmp_path / "lab" / "taxonomy.toml").codes == ("G7", "G8", "K")


def test_a_manifest_whose_specimens_have_several_constituents_switches_them_on(tmp_path, run):
    manifest = tmp_path / "labels.csv"
    manifest.write_text(
        "file,code,specimen\na.png,ferrite,1\nb.png,pearlite,1\nc.png,ferrite,2\n",
        encoding="utf-8",
    )

    code, said = run("init", tmp_path / "lab", "--taxonomy", manifest, "--yes")

    assert code == 0, said
    assert load_taxonomy(tmp_path / "lab" / "taxonomy.toml").several_subtypes


def test_a_folder_without_labelled_images_is_refused(tmp_path, run):
    (tmp_path / "empty").mkdir()

    code, said = run("init", tmp_path / "lab", "--taxonomy", tmp_path / "empty", "--yes")

    assert (code, "no labelled image" in said) == (2, True)


OWN = """
[[size]]
name = "7"
[[size]]
name = "8"
[[subtype]]
name = "G"
sizes = ["7", "8"]
[[subtype]]
name = "K"
"""


@pytest.fixture
def shell(tmp_path, capsys):
    shell = Shell(tmp_path, capsys)
    for code in ("G8", "G8", "B7"):
        shell.lab.store.labels.decide(
            shell.lab.take(code), Decision("code", "Ann", code=code), at=DAY
        )
    yield shell
    shell.lab.store.close()


def test_show_counts_the_labels_of_every_code(shell):
    code, said = shell.agent("spec", "taxonomy", "--json")

    assert code == 0
    shown = json.loads(said)
    assert shown["subtypes_per_specimen"] == "one"
    rows = {row["code"]: row for row in shown["codes"]}
    assert (rows["G8"]["labelled"], rows["B7"]["labelled"], rows["M8"]["labelled"]) == (2, 1, 0)
    assert rows["G8"]["title"] == "martensitic 100Cr6, fine acicular"
    assert (rows["B5"]["trained"], rows["B7"]["trained"]) == (False, True)


def test_check_names_labels_that_would_be_left_out_and_lists_that_change(shell):
    file = shell.write("own.toml", OWN)

    code, said = shell.agent("spec", "taxonomy", file)

    assert code == 3
    assert "Training leaves out the labels of unknown codes: B7 (1)." in said
    assert "The sizes of G become 7, 8" in said


def test_check_accepts_what_changes_nothing(shell):
    for view in list(shell.lab.store.results.iter_all()):
        if view.result.structure_code == "B7":
            shell.lab.store.labels.undo(view.id, by="Ann", at=DAY)
    names = "".join(f'[[size]]\nname = "{size}"\n' for size in ("5", "6", "7", "8", "9-10"))
    sizes = 'sizes = ["5", "6", "7", "8", "9-10"]\n'
    file = shell.write("same.toml", f'{names}[[subtype]]\nname = "G"\n{sizes}')

    code, said = shell.agent("spec", "taxonomy", file)

    assert (code, "5 structure codes, 5 trained" in said) == (0, True)


def test_check_refuses_a_typo_and_names_the_nearest_key(shell):
    file = shell.write("typo.toml", OWN.replace("sizes =", "size ="))

    code, _ = shell.agent("spec", "taxonomy", file)

    assert code == 2


def test_the_columns_of_a_manifest_are_in_the_help(shell):
    _, said = shell.agent("import", "--help")

    for column in ("file", "code", "um_per_px", "specimen", "order", "criterion", "rater"):
        assert column in said
