"""A microscope that no training saw is measured without the specimens that were learned from."""

from __future__ import annotations

import numpy as np
import pytest

from model import Example, ModelError, taxonomy_from
from model.experiments.across_microscopes import OTHER_SPECIMENS, measure_across
from model.framing import Field

TAXONOMY = taxonomy_from({"subtype": [{"name": "bainite"}, {"name": "martensite"}]})
GAINS = {"M1": 1.0, "M2": 0.6, "M3": 0.8}


def draw(phase: str, seed: int, gain: float) -> Field:
    """Draw stripes or grains, as one microscope lights them."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 25, (96, 96))
    if phase == "martensite":
        noise += 45 * np.sin(np.arange(96) / 2.5 + rng.uniform(0, 6))[None]
    grey = np.clip((128 + noise) * gain, 0, 255).astype(np.uint8)
    return Field(np.repeat(grey[..., None], 3, axis=2), np.ones(grey.shape, bool), 0.1)


def make_examples(specimens: int = 10, microscopes=("M1", "M2")) -> list[Example]:
    examples = []
    for number in range(specimens):
        phase = ("bainite", "martensite")[number % 2]
        for microscope in microscopes:
            field = draw(phase, number, GAINS[microscope])
            examples.append(
                Example(
                    f"{number:02}-{microscope}",
                    phase,
                    f"S{number}",
                    lambda field=field: field,
                    slices={"microscope": microscope},
                )
            )
    return examples


def measure(examples):
    steps = measure_across(examples, TAXONOMY, repeats=2)
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            return ended.value


def test_each_microscope_and_other_specimens_are_measured_beside_logistic_regression():
    result = measure(make_examples())

    assert (result.images, result.specimens, result.microscopes) == (20, 10, ("M1", "M2"))
    assert [row.protocol for row in result.rows] == [OTHER_SPECIMENS, "M1", "M2"]
    whole, *unseen = result.rows
    assert whole.tested == sum(row.tested for row in unseen)
    assert all(len(row.ours) == len(row.peer) == 2 for row in result.rows)
    document = whole.as_json()
    assert document["ours"]["mean"] == pytest.approx(np.mean(whole.ours))
    assert document["ours"]["mean"] > 0.7
    assert "0.760" in document["stated_by_others"]


def test_a_specimen_that_is_tested_is_learned_from_by_no_microscope():
    """With labels that say nothing but whose specimen it is, a leak would be right always."""
    examples = [
        Example(e.key, ("bainite", "martensite")[(int(e.group[1:]) // 2) % 2], e.group, e.load,
                slices=e.slices)
        for e in make_examples(16)
    ]  # fmt: skip

    whole, *unseen = measure(examples).rows

    assert np.mean([*whole.ours, *unseen[0].ours, *unseen[1].ours]) < 0.85


def test_one_microscope_or_one_specimen_of_a_code_is_refused():
    with pytest.raises(ModelError, match="column `microscope`"):
        measure(make_examples(microscopes=("M1",)))
    with pytest.raises(ModelError, match="one specimen alone"):
        measure(make_examples(specimens=3, microscopes=tuple(GAINS)))
