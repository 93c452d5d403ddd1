"""A bundle's heads learn from every label, and no image they learned from counts as their test."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from labs.training import PLAN, examples, trained

from agent.retrain.label_suggestions import clean_labels
from agent.retrain.training_set import Collected
from model import Classifier, evaluate, read_manifest
from model.bundle import load_bundle, read_training_labels
from model.networks.linear_probe import ProbeData, fit_head, prepare_logistic
from model.networks.schemes import Scheme, softmax

CONTROL = ("G7-03", "B8-04")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    return trained(folder, kept={"test": CONTROL}, tested_only=frozenset(CONTROL))[-1].result


def test_the_heads_in_service_learn_from_every_label_but_control_samples(bundle):
    manifest = read_manifest(bundle)

    learned, test = manifest.learned_from, set(manifest.split["test"])

    assert learned == {example.key for example in examples()} - set(CONTROL)
    assert set(CONTROL) <= test
    assert read_training_labels(bundle).keys() >= test - set(CONTROL)


def test_an_evaluation_leaves_out_what_the_heads_in_service_learned_from(bundle):
    evaluation = evaluate(Classifier.load(bundle, device="pytorch"), examples())

    assert {case.key for case in evaluation.cases} == set(CONTROL)
    assert evaluation.seen_in_training == len(examples()) - len(CONTROL)


def test_a_bundle_as_tested_learned_from_no_test_image_and_repeats_its_figures(bundle):
    manifest = read_manifest(bundle)

    tested = Classifier.load(bundle, device="pytorch", as_tested=True)
    evaluation = evaluate(tested, examples())

    assert not tested.learned_from & set(manifest.split["test"])
    assert {case.key for case in evaluation.cases} == set(manifest.split["test"])
    assert evaluation.as_json()["nll"] == pytest.approx(manifest.metrics["nll"], abs=1e-4)


def test_the_heads_of_both_kinds_differ_and_are_verified(bundle):
    final, tested = load_bundle(bundle), load_bundle(bundle, as_tested=True)

    assert not np.array_equal(final.heads["subtype"].weight, tested.heads["subtype"].weight)
    assert "tested-heads.safetensors" in final.manifest.files


def test_the_estimate_over_all_labels_is_kept_with_how_many_it_counts(bundle):
    estimate = read_manifest(bundle).facts["cross_validation"]

    assert estimate["n"] == len(examples()) - len(CONTROL)
    assert estimate["groups"] == estimate["n"]
    assert estimate["folds"] == 5
    assert 0.9 <= estimate["accuracy"]["value"] <= 1.0
    assert 0.0 <= estimate["ece"] <= 0.2


def test_a_code_that_cannot_be_told_is_estimated_at_chance_though_its_heads_saw_every_label(
    tmp_path,
):
    mixed = [
        replace(example, code="G8" if number % 2 else "G7", group=example.key)
        for number, example in enumerate(examples(20, ("G7",)))
    ]
    plain = examples(10, ("B8",))

    bundle = trained(tmp_path, PLAN, given=mixed + plain)[-1].result

    estimate = read_manifest(bundle).facts["cross_validation"]
    assert estimate["n"] == 30
    assert estimate["accuracy"]["value"] <= 0.8


def test_a_copy_of_a_control_sample_in_another_file_is_never_learned_from_either(bundle):
    given = examples()
    control = next(example for example in given if example.key == CONTROL[0])
    copy = replace(control, key="imported as TIFF", group="of another order")
    collected = Collected((*given, copy), {}, {}, control=frozenset(CONTROL[:1]))

    *_, cleaned = clean_labels(collected, bundle)

    assert cleaned.collected.control == {control.key, copy.key}


def test_without_test_images_to_learn_from_there_is_one_set_of_heads(tmp_path):
    given = examples()
    everything = frozenset(example.key for example in given)

    bundle = trained(tmp_path, given=given, tested_only=everything)[-1].result

    manifest = read_manifest(bundle)
    assert manifest.refitted_on == {}
    assert manifest.learned_from == manifest.learned_before_test
    assert "tested-heads.safetensors" not in manifest.files
    assert json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))["format"] == 1


def test_class_weights_are_chosen_by_what_images_of_other_groups_lose():
    rng = np.random.default_rng(0)
    common, rare = rng.normal(0.0, 1.0, (90, 6)), rng.normal(0.9, 1.0, (10, 6))
    labels = ["G7"] * 90 + ["B8"] * 10
    data = ProbeData(
        embeddings=np.concatenate([common, rare]).astype(np.float32),
        images=np.arange(100),
        codes=labels,
        counts=np.ones(100),
        folds=np.arange(100) % 5,
    )
    scheme = Scheme("two-stage", PLAN.taxonomy)

    def loss(imbalance):
        _, logits = fit_head(scheme, "subtype", "e", data, imbalance=imbalance, ordinal=False)
        true = np.array([scheme.target("subtype", code) for code in labels])
        shares = np.log(softmax(logits))
        return -shares[np.arange(100), true].mean()

    losses = {kind: loss(kind) for kind in ("sqrt", "none", "oversample", "auto")}

    assert losses["auto"] <= min(losses["sqrt"], losses["none"], losses["oversample"]) + 0.02
    assert losses["auto"] < losses["oversample"]


@pytest.mark.parametrize("penalty", [1e-2, 3e-6])
@pytest.mark.parametrize(("rows", "columns"), [(12, 40), (200, 3)])
def test_no_change_of_a_fitted_head_lowers_its_loss(rows, columns, penalty):
    rng = np.random.default_rng(0)
    x = rng.normal(0.0, [0.01, *[1.0] * (columns - 1)], (rows, columns))
    targets = rng.dirichlet(np.ones(3), rows)
    weights = rng.uniform(0.1, 1.0, rows) / rows

    weight, bias = prepare_logistic(x, targets)(weights, penalty)

    shares = softmax(x @ weight.T + bias)
    slopes = (shares - targets) * weights[:, None]
    assert np.abs(slopes.T @ x + 2 * penalty * weight).max() < 1e-5
    assert np.abs(slopes.sum(axis=0)).max() < 1e-5


def test_features_that_are_all_alike_give_the_shares_of_the_classes():
    targets = np.eye(2)[[0, 0, 0, 1]]

    weight, bias = prepare_logistic(np.zeros((4, 5)), targets)(np.full(4, 0.25), 1e-4)

    assert np.array_equal(weight, np.zeros((2, 5)))
    assert softmax(bias[None])[0] == pytest.approx([0.75, 0.25], abs=1e-4)
