"""What training lacks is said before it starts, and a label's use when it is given."""

from __future__ import annotations

import json

import numpy as np
import pytest
from labs.lab import DAY
from labs.shell import Shell

from agent.cli.console import show_progress
from agent.files.pictures import encode_png
from agent.retrain import collect, list_gaps
from agent.store import Decision
from model import Progress, default_taxonomy


@pytest.fixture
def shell(tmp_path, capsys):
    shell = Shell(tmp_path, capsys)
    yield shell
    shell.lab.store.close()


def decide(shell, code: str | None, decision: Decision | None = None, **facts) -> str:
    taken = shell.lab.take(code, **facts)
    said = decision or Decision("code", "Ann", code=code, blind=True)
    shell.lab.store.labels.decide(taken, said, at=DAY)
    return taken


def test_few_images_and_few_groups_of_a_code_are_named_before_training(shell):
    for number in range(12):
        decide(shell, "G8", order="1", specimen=str(number))
    for _ in range(2):
        decide(shell, "B7", order="2", specimen="1")
    lab = shell.lab

    gaps = list_gaps(collect(lab.store, lab.archive, default_taxonomy()))

    assert "Fewer than 10 micrographs: B7 (2)." in gaps
    assert any(gap.startswith("From fewer than 3 groups (specimens): B7 (1);") for gap in gaps)
    assert not any("G8" in gap for gap in gaps)


def test_groups_are_named_by_the_column_that_a_split_keeps_together(shell):
    for number in range(4):
        decide(shell, "G8", order="1", specimen=str(number), heat="A" if number else "B")
    lab = shell.lab

    gaps = list_gaps(collect(lab.store, lab.archive, default_taxonomy(), group_by="heat"))

    assert any(gap.startswith("From fewer than 3 groups (heat): G8 (2);") for gap in gaps)


def test_fields_far_smaller_or_larger_than_the_median_are_counted_before_training(shell):
    for area_mm2 in (0.02, 0.02, 0.03, 0.04, 0.006, 0.4, None):
        decide(shell, "G8", area_mm2=area_mm2)
    lab = shell.lab

    gaps = list_gaps(collect(lab.store, lab.archive, default_taxonomy()))

    sizes = next(gap for gap in gaps if gap.startswith("Field size differs"))
    assert "1 of 6 micrographs show less than a quarter of the median area of 0.025 mm²" in sizes
    assert "1 more than four times as much" in sizes


def test_missing_scale_is_said_first_and_before_a_training_that_is_refused(shell, tmp_path):
    rng = np.random.default_rng(1)
    (tmp_path / "labelled" / "G8").mkdir(parents=True)
    for number in range(2):
        grey = rng.integers(60, 200, (200, 260, 1), dtype=np.uint8)
        picture = encode_png(np.repeat(grey, 3, axis=2))
        (tmp_path / "labelled" / "G8" / f"{number}.png").write_bytes(picture)

    code, said = shell.agent("train", tmp_path / "labelled")

    assert code == 2
    assert "2 of 2 micrographs have no scale." in said
    assert said.index("have no scale") < said.index("Fewer than 10 micrographs: G8 (2)")


def test_every_sentence_on_the_split_is_a_line(capsys):
    notes = ("B8: 6 micrographs (heat: 1), 6 to train, 0 to validate, 0 to test.", "7 to test.")

    list(
        show_progress(
            [*(Progress("labels", 9, 9, note) for note in notes), Progress("labels", 9, 9)]
        )
    )

    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line in notes] == list(notes)


def test_review_label_states_whether_it_is_trained_on(shell):
    taken = shell.lab.take(None, reasons=("untrained",))

    code, said = shell.agent("review", "label", taken, "G8", "--by", "Ann")

    assert code == 0
    assert "used for training" in said


def test_retrain_why_explains_the_last_verdict_and_starts_nothing(shell):
    code, said = shell.agent("retrain", "--why")
    assert (code, "no retraining has ended yet" in said) == (2, True)

    store = shell.lab.store
    job = store.jobs.begin("retrain", at=DAY, facts={"by": "Ann"})
    store.jobs.end(job, "too_few", at=DAY, facts={"sentence": "3 new labels; 20 are wanted."})
    code, said = shell.agent("retrain", "--why")

    assert (code, "2026-11-24 09:00 UTC: 3 new labels; 20 are wanted." in said) == (0, True)
    assert json.loads(shell.agent("retrain", "--why", "--json")[1])["gate"] == "too_few"
    assert len(store.jobs.list_ended("retrain")) == 1


def test_a_table_without_a_row_is_not_printed(shell):
    code, said = shell.agent("models", "list")

    assert (code, said.strip()) == (0, "No bundles yet: agent train makes the first one.")
