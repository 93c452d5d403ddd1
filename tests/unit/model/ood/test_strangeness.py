"""A field unlike everything taught is flagged, and a known one no more often than was agreed."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from model.data.dataset import Example
from model.errors import ModelError, TrainingError
from model.evaluation.leave_one_class_out import leave_out
from model.framing import Field
from model.networks.backbones import build_backbone
from model.ood import conformal
from model.ood.detector import OodDetector
from model.ood.feature_arrays import PLACES, CellFeatures
from model.ood.features import patch_statistics
from model.ood.fit import fit_detector, iter_fit_detector
from model.ood.mahalanobis import Moments, Textures, whitening_matrix
from model.ood.score_normalization import combine_scores

ALPHA = 0.05
CODES = ("G7", "G8", "M8")
WAVES = {"G7": 12.0, "G8": 7.0, "M8": 4.0}
LIGHT = {"G7": 150.0, "G8": 140.0, "M8": 175.0}


def drawn(code, seed, *, side=128, blot=None, um_per_px=0.2):
    """A stripy texture; every code has its own width and light, a blot is a black disc."""
    rng = np.random.default_rng([seed, 5])
    y, x = np.mgrid[:side, :side]
    angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 6)
    wave = WAVES[code] * rng.uniform(0.9, 1.1)
    grey = LIGHT[code] + 30 * np.sin(
        2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / wave + phase
    )
    grey = grey + rng.normal(0, 12, grey.shape)
    if blot is not None:
        grey[np.hypot(x - blot[0], y - blot[1]) < blot[2]] = 8
    pixels = np.clip(grey, 0, 255).astype(np.uint8)
    return Field(np.stack([pixels] * 3, axis=-1), np.ones((side, side), bool), um_per_px)


def examples(count, first=0):
    return [
        Example(
            f"key{i:03d}", CODES[i % 3], f"specimen{i // 2}", lambda i=i: drawn(CODES[i % 3], i)
        )
        for i in range(first, first + count)
    ]


@pytest.fixture(scope="module")
def backbone():
    import torch  # noqa: PLC0415 - slow to import

    torch.manual_seed(3)
    return build_backbone("tiny")


@pytest.fixture(scope="module")
def known(backbone):
    return fit_detector(examples(90), backbone, subtype_of=lambda code: code[0])


@pytest.fixture(scope="module")
def ordinary(known):
    return known.score([drawn(CODES[i % 3], 1000 + i) for i in range(60)], ALPHA)


def test_known_fields_have_uniform_p_values(ordinary):
    found = np.sort([one.p_value for one in ordinary])

    steps = np.arange(1, len(found) + 1) / len(found)
    assert np.abs(found - steps).max() < 1.63 / np.sqrt(len(found)) + 1 / 60  # KS at 1 %


def test_known_fields_are_flagged_no_more_than_chance_allows(known, ordinary):
    share = np.mean([one.flagged for one in ordinary])

    assert share <= conformal.compute_alarm_limit(ALPHA, len(known), len(ordinary))


@pytest.mark.parametrize(
    ("side", "count"),
    [(64, 40), (256, 18), (512, 9)]
    + [pytest.param(side, 40, marks=pytest.mark.slow) for side in (256, 512)],
)
def test_known_fields_of_another_size_are_flagged_no_more_than_chance_allows(known, side, count):
    fields = [drawn(CODES[i % 3], 2000 + i, side=side) for i in range(count)]

    results = known.score(fields, ALPHA)

    flagged = sum(result.flagged for result in results)
    assert flagged / count <= conformal.compute_alarm_limit(ALPHA, len(known), count)
    assert np.median([result.p_value for result in results]) > 0.15  # nor nearly so


@pytest.fixture(scope="module")
def large(backbone):
    fields = [
        Example(
            f"key{i:03d}",
            code,
            f"specimen{i // 2}",
            lambda i=i, code=code: drawn(code, i, side=400),
        )
        for i, code in enumerate(CODES * 14)
    ]
    return fit_detector(fields, backbone, subtype_of=lambda code: code[0])


@pytest.mark.parametrize(("side", "count"), [(200, 18), (400, 18), (800, 9)])
def test_of_fields_with_many_windows_no_more_are_flagged_than_chance_allows(large, side, count):
    fields = [drawn(CODES[i % 3], 3000 + i, side=side) for i in range(count)]

    flagged = sum(result.flagged for result in large.score(fields, ALPHA))

    assert flagged / count <= conformal.compute_alarm_limit(ALPHA, len(large), count)


def test_a_place_of_another_code_is_flagged_and_found_where_it_is(large):
    field, other = drawn("G7", 3100, side=400), drawn("M8", 3101, side=400)
    pixels = field.pixels.copy()
    pixels[40:200, 200:360] = other.pixels[40:200, 200:360]

    (found,) = large.score([replace(field, pixels=pixels)], ALPHA)

    x0, y0, x1, y1 = found.where
    assert found.flagged
    assert max(0, min(x1, 360) - max(x0, 200)) * max(0, min(y1, 200) - max(y0, 40)) > 0


@pytest.mark.parametrize("side", [64, 256, 512])
def test_a_black_spot_is_found_in_a_field_of_any_size(known, side):
    (result,) = known.score([drawn("M8", 500, side=side, blot=(40, 30, 14))], ALPHA)

    x0, y0, x1, y1 = result.where
    assert result.flagged
    assert x0 < 40 < x1
    assert y0 < 30 < y1


def test_a_field_of_a_size_never_taught_says_so(known):
    ratios = {
        side: known.score([drawn("G8", 42, side=side)], ALPHA)[0].size_ratio
        for side in (32, 128, 512)
    }

    assert ratios[32] == pytest.approx(0.065, abs=0.005)
    assert ratios[128] is None
    assert ratios[512] == pytest.approx(16, abs=0.5)


def test_a_foreign_field_is_stranger_than_all_known_ones(known):
    noise = np.random.default_rng(1).integers(0, 255, (128, 128, 3)).astype(np.uint8)

    (found,) = known.score([Field(noise, np.ones((128, 128), bool), 0.2)], ALPHA)

    assert found.flagged
    assert found.p_value == pytest.approx(1 / 91)
    assert (found.references, found.is_resolvable) == (90, True)


def test_a_black_spot_is_flagged_and_found_where_it_is(known):
    (found,) = known.score([drawn("M8", 500, blot=(80, 48, 14))], ALPHA)

    x0, y0, x1, y1 = found.where
    row, column = np.unravel_index(np.argmax(found.heat), found.heat.shape)
    assert found.flagged
    assert found.local > 1
    assert np.hypot(column * 8 + 4 - 80, row * 8 + 4 - 48) < 20
    assert x0 < 80 < x1
    assert y0 < 48 < y1
    assert found.area_um2 < 128 * 128 * 0.04


def test_without_a_scale_a_place_has_no_area(known):
    (found,) = known.score([drawn("M8", 500, blot=(80, 48, 14), um_per_px=None)], ALPHA)

    assert found.where is not None
    assert found.area_um2 is None


def test_what_is_no_steel_changes_nothing(known):
    field = drawn("G7", 700)
    valid = field.valid.copy()
    valid[100:, 60:] = False
    bar, text = field.pixels.copy(), field.pixels.copy()
    bar[100:, 60:] = 255
    text[100:, 60:] = np.random.default_rng(0).integers(0, 255, (28, 68, 3))

    one, other = known.score([Field(bar, valid, 0.2), Field(text, valid, 0.2)], ALPHA)

    assert one.score == other.score
    assert np.array_equal(one.heat, other.heat)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 300), (33, 40), (64, 200)])
def test_a_field_of_any_size_gets_an_answer(known, height, width):
    pixels = np.full((height, width, 3), 120, np.uint8)

    (found,) = known.score([Field(pixels, np.zeros((height, width), bool), 0.3)], ALPHA)

    assert 0 < found.p_value <= 1
    assert np.isfinite(found.heat).all()


def test_a_batch_equals_its_items_one_by_one(known):
    fields = [drawn("G7", 900), drawn("G8", 901, side=96), drawn("M8", 902, blot=(40, 40, 12))]

    together = known.score(fields, ALPHA)
    alone = [known.score([field], ALPHA)[0] for field in fields]

    assert [one.score for one in together] == [one.score for one in alone]
    assert all(
        np.array_equal(one.heat, other.heat) for one, other in zip(together, alone, strict=True)
    )


def test_saved_and_loaded_it_gives_the_same_answers(known, backbone):
    kept = save({name: np.ascontiguousarray(array) for name, array in known.tensors().items()})
    facts = json.loads(json.dumps(known.facts()))
    fields = [drawn("G7", 900), drawn("M8", 902, blot=(40, 40, 12))]

    again = OodDetector.from_tensors(load(kept), facts, backbone)

    before, after = known.score(fields, ALPHA), again.score(fields, ALPHA)
    assert [one.p_value for one in before] == [one.p_value for one in after]
    assert [one.score for one in before] == [one.score for one in after]
    assert [one.nearest for one in before] == [one.nearest for one in after]
    assert again.defects(fields[0]) == known.defects(fields[0])


def test_another_network_than_it_was_learned_with_is_refused(known):
    with pytest.raises(ModelError, match="other weights"):
        OodDetector.from_tensors(known.tensors(), known.facts(), build_backbone("tiny"))


def test_the_order_of_the_examples_changes_nothing(backbone):
    some = examples(24)

    one = fit_detector(some, backbone, subtype_of=lambda code: code[0])
    other = fit_detector(some[::-1], backbone, subtype_of=lambda code: code[0])

    field = drawn("G8", 77)
    assert one.score([field], 0.2)[0].score == other.score([field], 0.2)[0].score


def test_nearest_known_examples_are_named_per_code(known):
    (found,) = known.score([drawn("G7", 3)], ALPHA)

    assert set(found.nearest) == set(CODES)
    assert next(iter(found.nearest)) == "G7"
    assert found.nearest["G7"][0] == "key003"
    assert [len(keys) for keys in found.nearest.values()] == [3, 3, 3]


def test_an_alarm_rate_too_fine_for_the_known_images_is_refused(known):
    with pytest.raises(
        ModelError, match=r"at least 199 reference images.*this bundle has 90.*0.011"
    ):
        known.require(0.005)
    assert known.require(0.02) != ""
    assert known.require(0.06) == ""


def test_too_few_known_images_flag_nothing_and_say_so(backbone):
    few = fit_detector(examples(9), backbone, subtype_of=lambda code: code[0])
    noise = np.random.default_rng(1).integers(0, 255, (128, 128, 3)).astype(np.uint8)

    (found,) = few.score([Field(noise, np.ones((128, 128), bool), 0.2)], 0.02)

    assert not found.flagged
    assert (found.references, found.is_resolvable) == (9, False)


def test_every_field_looked_at_and_measured_is_a_step(backbone):
    steps = list(iter_fit_detector(examples(12), backbone, subtype_of=lambda code: code[0]))

    assert [step.done for step in steps[:-1]] == list(range(1, 25))
    assert {step.total for step in steps} == {24}
    assert [step.result is not None for step in steps] == [False] * 24 + [True]


def test_another_lamp_or_white_balance_changes_no_verdict(known):
    fields = [drawn(CODES[i % 3], 1000 + i) for i in range(20)]
    before = known.score(fields, ALPHA)

    for gain in (0.9, 1.1, np.array([1.06, 1.0, 0.94])):
        lit = [
            Field(np.clip(np.rint(f.pixels * gain), 0, 255).astype(np.uint8), f.valid, f.um_per_px)
            for f in fields
        ]
        after = known.score(lit, ALPHA)
        assert sum(one.flagged for one in after) <= sum(one.flagged for one in before) + 1


def test_what_other_methods_say_is_logged(known):
    (found,) = known.score([drawn("G7", 900)], ALPHA)

    assert set(found.companions) == {"knn", "vim_residual"}
    assert all(np.isfinite(value) for value in found.companions.values())


def test_a_microscope_with_enough_known_images_has_an_alarm_rate_of_its_own(backbone, monkeypatch):
    monkeypatch.setattr("model.ood.conformal.OWN_SCORES_FROM", 30)
    taken_by = ["LOM-07"] * 40 + ["LOM-09"] * 20
    some = [
        replace(one, slices={"microscope": name})
        for one, name in zip(examples(60), taken_by, strict=True)
    ]

    known = fit_detector(some, backbone, subtype_of=lambda code: code[0])
    kept = {name: np.ascontiguousarray(array) for name, array in known.tensors().items()}
    again = OodDetector.from_tensors(
        load(save(kept)), json.loads(json.dumps(known.facts())), backbone
    )

    strange = drawn("M8", 500, blot=(80, 48, 14))
    seen = [replace(strange, microscope=name) for name in ("LOM-07", "LOM-09", "")]
    for one in (known, again):
        assert [round(1 / found.p_value) for found in one.score(seen, ALPHA)] == [41, 61, 61]
    assert "LOM-09 (20)" in known.require(ALPHA)
    assert "LOM-07" not in known.require(ALPHA)


def test_a_code_left_out_is_judged_by_what_was_learned_without_it(backbone):
    steps = list(
        leave_out("M8", examples(60), backbone, subtype_of=lambda code: code[0], alpha=ALPHA)
    )

    found = steps[-1].result
    assert (found.code, found.n, found.known) == ("M8", 20, 40)
    assert found.auroc > 0.9
    assert found.as_json()["tpr_interval"][0] <= found.flagged / 20


def test_one_example_is_no_comparison(backbone):
    with pytest.raises(TrainingError, match="two"):
        fit_detector(examples(1), backbone, subtype_of=lambda code: code[0])


# ------------------------------------------------------------------ scores


looks = st.lists(st.floats(-5, 50), min_size=len(PLACES), max_size=len(PLACES)).map(np.array)


@given(looks, st.integers(0, len(PLACES) - 1), st.floats(0, 20))
@settings(max_examples=100, deadline=None)
def test_a_look_that_grows_stranger_never_lowers_the_score(surprise, which, more):
    stranger = surprise.copy()
    stranger[which] += more

    assert combine_scores(stranger) >= combine_scores(surprise)


def test_a_collapsed_direction_keeps_a_finite_distance():
    flat = np.random.default_rng(0).normal(size=(50, 3)) * (1.0, 1.0, 0.0)

    assert np.isfinite(whitening_matrix(np.cov(flat.T))).all()


def test_cells_summed_in_parts_give_the_same_gaussian():
    rng = np.random.default_rng(0)
    cells = rng.normal(size=(500, 4)).astype(np.float32)
    parts = Moments.from_vectors(cells[:200]) + Moments.from_vectors(cells[200:])

    one = Textures.from_moments({"G": Moments.from_vectors(cells)})
    other = Textures.from_moments({"G": parts})

    assert one.compute_distances(cells) == pytest.approx(other.compute_distances(cells), rel=1e-4)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_a_patch_is_the_mean_of_its_steel_cells_alone(rows, columns, seed):
    steel = np.random.default_rng(seed).random((rows, columns)) < 0.8
    steel[rows // 2, columns // 2] = True
    features = np.where(steel, 2.0, 900.0)[..., None].astype(np.float16)

    found = patch_statistics(CellFeatures(features, steel, 10.0, 4.0), 3)

    assert found.steel.any()
    assert (found.features[found.steel] == 2.0).all()
    assert found.steel.shape == found.features.shape[:2]


def test_a_patch_of_another_grey_is_strange_though_no_cell_is_dark(known):
    field = drawn("M8", 500, side=192)
    pixels = field.pixels.copy()
    pixels[70:130, 60:120] = np.rint(pixels[70:130, 60:120] * 0.75)

    (found,) = known.score([replace(field, pixels=pixels)], ALPHA)

    assert found.flagged
    x0, y0, x1, y1 = found.where
    assert x0 < 120
    assert x1 > 60
    assert y0 < 130
    assert y1 > 70


# ------------------------------------------------------------------ p-values and folds


def test_a_p_value_is_the_share_of_known_scores_as_high():
    known_scores = np.array([1.0, 2.0, 3.0, 4.0])

    assert conformal.compute_p_values(
        np.array([0.0, 2.0, 3.5, 9.0]), known_scores
    ) == pytest.approx([1.0, 0.8, 0.4, 0.2])


@pytest.mark.parametrize(("alpha", "needed"), [(0.02, 49), (0.05, 19), (0.01, 99), (0.5, 1)])
def test_an_alarm_rate_says_how_many_known_images_it_needs(alpha, needed):
    assert conformal.min_reference_images(alpha) == needed


def test_an_alarm_rate_is_said_for_fields_and_for_specimens():
    assert conformal.compute_specimen_alarm_rate(0.02, 5) == pytest.approx(0.0961, abs=1e-4)
    assert conformal.alarm_rate_in_words(0.02, 5) == (
        "2.0% of good fields are flagged on average; of good specimens with 5 fields 9.6% have a "
        "flagged one."
    )
    assert conformal.alarm_rate_in_words(0.02, 1) == ("2.0% of good fields are flagged on average.")


def test_the_limit_of_false_alarms_shrinks_with_more_known_images():
    limit = conformal.compute_alarm_limit(0.02, 263)
    assert limit == pytest.approx(0.035, abs=0.004)  # SCIENCE.md 1.6
    assert conformal.compute_alarm_limit(0.02, 2000) < 0.027


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("GM")), min_size=4, max_size=60))
@settings(max_examples=50, deadline=None)
def test_a_specimen_of_a_class_with_others_is_in_one_fold(dealt):
    groups = [f"{name}{number}" for number, name in dealt]
    classes = [name for _, name in dealt]
    keys = [str(index) for index in range(len(dealt))]

    folds = conformal.assign_folds(groups, classes, keys)

    for name in set(classes):
        own = {group for group, other in zip(groups, classes, strict=True) if other == name}
        for group in own if len(own) > 1 else ():
            assert len({folds[i] for i, other in enumerate(groups) if other == group}) == 1
