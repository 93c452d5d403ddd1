"""The paper's rows are trained on one split, kept once trained, and compared image by image."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from model import Example, Field, TrainingConfig, default_taxonomy
from model.experiments.run import list_rows, run
from model.experiments.tables import RowResult, as_json, as_markdown, build_tables, compare_results
from model.ood.fit import fit_detector

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def examples() -> list[Example]:
    def field(code: str, i: int) -> Field:
        rng = np.random.default_rng([i, len(code)])
        grey = rng.normal(90 if code == "B8" else 160, 20, (32, 32, 3))
        return Field(grey.clip(0, 255).astype(np.uint8), np.ones((32, 32), bool), 0.2)

    return [
        Example(f"{code}{i}", code, f"{code}{i}", lambda code=code, i=i: field(code, i))
        for code in ("G8", "B8")
        for i in range(8)
    ]


def result(name: str, right: str, table: str = "table 2") -> RowResult:
    numbers = {
        "n": len(right),
        "accuracy": {"value": 0.5, "low": 0.4, "high": 0.6},
        "macro_f1": {"value": 0.5, "low": 0.3, "high": 0.7},
        "within_one_size": {"value": 0.9, "low": 0.8, "high": 1.0},
        "per_stage": {
            "subtype": {"value": 0.9, "low": 0.8, "high": 1.0},
            "size": {"G": {"value": 0.9, "low": 0.8, "high": 1.0}},
        },
        "confusion": {"codes": ["G7", "G8"], "rows_predicted": [[3, 1], [0, 2]]},
    }
    return RowResult(table, name, {str(i): c == "+" for i, c in enumerate(right)}, numbers)


def test_the_papers_six_rows_come_first_under_its_names():
    names = [row.name for row in list_rows(TrainingConfig(taxonomy=default_taxonomy()))[:6]]

    assert names == [
        "ResNet-18 global (fw)",
        "ResNet-18 2S (fw)",
        "ResNet-18 global",
        "ResNet-18 2S",
        "ResNet-50 global",
        "ResNet-50 2S",
    ]


def test_two_rows_are_compared_image_by_image():
    found = compare_results(result("a", "++-+"), result("b", "+-++"))

    counts = {key: found[key] for key in ("n", "only_first", "only_second", "p", "gain")}
    assert counts == {"n": 4, "only_first": 1, "only_second": 1, "p": 1.0, "gain": 0.0}
    assert found["most_lost"] == pytest.approx(0.532, abs=0.001)


def test_the_page_has_the_tables_and_the_papers_orientation():
    page = as_markdown([result("ResNet-18 global", "++-+"), result("ResNet-18 2S", "+-++")])

    assert (
        "| ResNet-18 2S | 3 of 4 | 50.0 % (40.0 to 60.0 %) | 50.0 % (30.0 to 70.0 %) | "
        "90.0 % (80.0 to 100.0 %) | 90.5 % |" in page
    )
    assert "## Figure 4: ResNet-18 2S" in page
    assert "| G7 | 3 (100 %) | 1 (33 %) |" in page
    assert "| ResNet-18 global | ResNet-18 2S | 1 | 1 | 1.000 | +0.0 points | +53.2" in page


def test_a_comparison_shows_what_it_is_compared_with():
    page = as_markdown(
        [
            result("ResNet-18 2S", "+++++++++++-"),
            result("tile", "-----------+", "framing"),
            result("square root", "++++++++++++", "imbalance"),
        ]
    )

    framing = page.partition("## Framing")[2].partition("##")[0]
    assert "| mirror (ResNet-18 2S) | 11 of 12 |" in framing
    assert "paper" not in framing
    assert "| oversampling (ResNet-18 2S) | 11 of 12 |" in page.partition("## Imbalance")[2]
    assert "| ResNet-18 2S | tile | 11 | 1 | 0.006 |" in page
    small = as_markdown([result("ResNet-18 2S", "+" * 12), result("tile", "-" * 12, "framing")])
    assert "| ResNet-18 2S | tile | 12 | 0 | < 0.001 |" in small


def test_what_was_noted_while_a_row_was_taught_is_kept_with_it(small, tmp_path):
    first, again = small(tmp_path)[-1], small(tmp_path)[-1]

    assert "efficientnet-lite0: ImageNet weights from its package." in first.notes
    assert not [note for note in first.notes if "reference images" in note]
    assert again.notes == first.notes
    (kept,) = tmp_path.glob("*.json")
    kept.write_text(json.dumps(json.loads(kept.read_bytes())["cases"]))  # as it once was
    assert small(tmp_path)[-1] == replace(first, notes=())


@pytest.fixture
def small(monkeypatch):
    """Run one quick row on a few images; what is ordinary is learned once."""
    known = fit_detector(examples()[:4], subtype_of=lambda code: code[0])
    monkeypatch.setattr("model.ood.fit.fit_detector", lambda *_, **__: known)

    def steps(folder, device="pytorch", **how):
        plan = TrainingConfig(taxonomy=default_taxonomy(), views=1, device=device)
        return list(run(examples(), plan, folder, only=lite, recipe="1", now=NOW, **how))

    return steps


def lite(row):
    return row.name.startswith("EfficientNet-Lite0 2S")


def test_a_finished_row_is_not_trained_again(small, tmp_path):
    first, again = small(tmp_path), small(tmp_path)

    assert len(first) > 5
    assert len(again) == 1
    assert first[-1] == again[0]
    assert as_json([again[0]])["rows"][0]["n"] == len(again[0].right)


def test_of_a_finished_row_only_what_it_said_is_kept(small, tmp_path):
    small(tmp_path, device="cpu")

    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


def test_a_quick_run_and_a_whole_one_are_not_taken_for_each_other(small, tmp_path):
    small(tmp_path)

    assert len(small(tmp_path, quick=True)) > 5


def test_with_folds_every_image_is_tested_once(small, tmp_path):
    found = small(tmp_path, fold_count=4)[-1]

    assert found.right.keys() == {example.key for example in examples()}
    assert found.numbers["n"] == 16


def test_several_splits_say_how_much_is_the_luck_of_the_split(small, tmp_path):
    found = small(tmp_path, splits=2)[-1]

    assert len(found.again) == 2
    (told,) = [table for table in build_tables([found]) if "other splits" in table.title]
    assert told.rows[0][:2] == ("EfficientNet-Lite0 2S (fw), scale", "2")
