"""The shell says what a taxonomy means for labels, limits and bundles, before it counts."""

from __future__ import annotations

import json

import pytest
from labs.lab import DAY
from labs.shell import Shell

from agent.store import Decision

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
