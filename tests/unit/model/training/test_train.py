"""Training ends with a whole bundle or with one clear sentence, and nothing half-written."""

from __future__ import annotations

import json
import weakref
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from labs.training import (
    NOW,
    PLAN,
    TAXONOMY,
    batch_of,
    examples,
    field,
    lesson_of,
    ordinary,
    train_state_of,
    trained,
)

from model import (
    BundleError,
    Classifier,
    Example,
    Field,
    ModelError,
    TrainingError,
    WeightsError,
    evaluate,
    quick_config,
    read_manifest,
    train,
    verify_bundle,
)
from model.framing import Framing
from model.networks.backbones import Encoder, build_backbone
from model.networks.schemes import Scheme
from model.ood.fit import fit_detector
from model.training.batches import Sampler, Targets
from model.training.checkpoint import Checkpoint, Epoch
from model.training.config import TrainingTask
from model.training.fine_tuning import fine_tune
from model.training.gradients import (
    FIXED_BYTES,
    USED_SHARE,
    accumulate_gradients,
    bytes_per_pixel,
    free_bytes,
    micro_batches,
)

FINE = replace(PLAN, alpha=0.02)


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """The steps of a training whose alarm rate is finer than its reference images allow."""
    return trained(tmp_path_factory.mktemp("bundles"), FINE)


@pytest.fixture(scope="module")
def bundle(steps):
    return steps[-1].result


def test_the_last_step_names_a_whole_bundle(bundle):
    manifest = verify_bundle(bundle)

    assert bundle.name.startswith("20261124-")
    assert manifest.recipe == "1"
    assert manifest.taxonomy.trained_codes == ("G7", "G8", "B8")
    assert len(manifest.split["train"]) == 18
    assert manifest.metrics["n"] == 6
    assert manifest.facts["plan"]["arch"] == "tiny"
    assert manifest.validated["microscope"] == {"LOM-00": 9, "LOM-01": 9}
    assert [p.name for p in bundle.parent.iterdir() if not p.name.startswith(".")] == [bundle.name]


def test_an_alarm_rate_too_fine_for_what_was_taught_is_said_while_training(steps):
    (said,) = [step.note for step in steps if "reference images, and" in step.note]
    assert said.startswith("A false-alarm rate of 0.02 needs at least 49 reference images")
    assert said in read_manifest(steps[-1].result).facts["notes"]
    with pytest.raises(ModelError, match="at least 49 reference images"):
        Classifier.load(steps[-1].result, device="pytorch", alpha=0.02).require_alarm_rate()


def test_a_taught_bundle_tells_the_codes_apart(bundle):
    classifier = Classifier.load(bundle, device="pytorch")

    evaluation = evaluate(classifier, examples(20))

    assert evaluation.seen_in_training == 30
    assert evaluation.n == 30
    assert evaluation.correct >= 25


def test_the_same_examples_and_plan_give_the_same_bundle(bundle, tmp_path):
    assert trained(tmp_path, FINE)[-1].result.name == bundle.name


def test_the_classifiers_own_network_gives_a_second_opinion_on_strangeness(bundle):
    noise = np.random.default_rng(5).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    foreign = Field(noise, np.ones((64, 64), bool), 0.2)

    known, strange = Classifier.load(bundle, device="pytorch").classify([field("G7", 90), foreign])

    for name in ("classifier_knn", "classifier_vim_residual"):
        assert strange.strangeness.companions[name] > known.strangeness.companions[name]


def test_a_subtype_with_one_size_needs_no_second_stage(bundle):
    (prediction,) = Classifier.load(bundle, device="pytorch").classify([field("B8", 99)])

    assert prediction.structure_code == "B8"
    assert prediction.size_probabilities == {"8": 1.0}
    assert prediction.size_map is None
    assert prediction.coarser_share == {}


def test_a_test_image_that_is_a_turned_crop_of_a_taught_one_is_named(tmp_path):
    rng = np.random.default_rng(1)
    grey = np.kron(rng.normal(128, 40, (60, 60)), np.ones((8, 8))).clip(0, 255).astype(np.uint8)
    pixels = np.repeat(grey[..., None], 3, axis=2)
    shown = {"G7-00": pixels, "G7-copy": np.ascontiguousarray(np.rot90(pixels[40:, :400]))}
    given = [
        replace(e, load=lambda p=shown[e.key]: Field(p, np.ones(p.shape[:2], bool), 0.2))
        if e.key in shown
        else e
        for e in [
            *examples(),
            Example("G7-copy", "G7", "another specimen", lambda: None, file="copy.png"),
        ]
    ]

    steps = trained(
        tmp_path,
        given=given,
        fit_detector=lambda learned: fit_detector(learned, subtype_of=lambda code: code[0]),
        test_keys=["G7-copy", "G7-05", "G8-05", "B8-05"],
    )

    (said,) = [step.note for step in steps if step.stage == "leakage" and step.note]
    assert said.startswith("1 test micrographs show the same place")
    assert "(copy.png (G7-copy) and G7-00 first)" in said
    assert said in read_manifest(steps[-1].result).facts["notes"]


@pytest.mark.parametrize("scheme", ["multi-head", pytest.param("global", marks=pytest.mark.slow)])
def test_every_scheme_answers_in_the_same_words(tmp_path, scheme):
    bundle = trained(tmp_path, replace(PLAN, scheme=scheme))[-1].result

    (prediction,) = Classifier.load(bundle, device="pytorch").classify([field("G7", 99)])

    assert prediction.structure_code == "G7"
    assert sum(prediction.probabilities.values()) == pytest.approx(1.0)
    assert set(prediction.probabilities) == {"G7", "G8", "B8"}
    assert sum(prediction.subtype_probabilities.values()) == pytest.approx(1.0)
    assert sum(prediction.size_probabilities.values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "framing",
    ["tile", *(pytest.param(each, marks=pytest.mark.slow) for each in ("mirror", "resize"))],
)
def test_every_framing_trains_and_answers(tmp_path, framing):
    bundle = trained(tmp_path, replace(PLAN, framing=framing, frame_px=32))[-1].result

    (prediction,) = Classifier.load(bundle, device="pytorch").classify([field("G7", 99)])

    assert prediction.subtype == "G"


def test_whole_networks_learn_and_stop_when_they_no_longer_improve(tmp_path):
    plan = replace(PLAN, frozen=False, epochs=12, batch=6, learning_rate=3e-3, loss="ordinal")

    steps = trained(tmp_path, plan)

    manifest = read_manifest(steps[-1].result)
    assert 2 <= [step.stage for step in steps].count("subtype") <= 12
    assert manifest.facts["history"][0]["eye"] == "subtype"
    assert manifest.metrics["accuracy"]["value"] > 0.6
    assert len(set(manifest.facts["notes"])) == len(manifest.facts["notes"])
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".training")]


def test_an_interrupted_training_ends_like_an_uninterrupted_one(tmp_path):
    plan = replace(PLAN, frozen=False, epochs=3, scheme="multi-head", patience=9)
    whole = trained(tmp_path / "whole", plan)[-1].result

    cut = train(examples(), plan, tmp_path / "cut", fit_detector=ordinary, recipe="1", now=NOW)
    for step in cut:
        if step.stage == "shared" and step.done == 2:
            break  # the power fails
    rest = trained(tmp_path / "cut", plan)

    assert [s.done for s in rest if s.stage == "shared"] == [3]
    history = read_manifest(rest[-1].result).facts["history"]
    assert history == read_manifest(whole).facts["history"]
    first, second = (
        json.loads((b / "bundle.json").read_bytes())["files"] for b in (whole, rest[-1].result)
    )
    assert first["eye-0.safetensors"] == second["eye-0.safetensors"]


def test_a_test_set_stays_the_test_set(bundle, tmp_path):
    before = read_manifest(bundle).split["test"]

    more = trained(tmp_path, given=examples(14), test_keys=frozenset(before))[-1].result

    assert set(before) <= set(read_manifest(more).split["test"])


def test_orders_that_were_tested_on_before_leave_nothing_to_learn_from_and_that_is_said(tmp_path):
    given = [replace(e, group=f"order {i % 3}") for i, e in enumerate(examples(9))]
    plan = replace(PLAN, group_by="order", mixed_groups=True)

    with pytest.raises(
        TrainingError, match="groups by order with images that were tested on"
    ) as no:
        trained(tmp_path, plan, given, test_keys=frozenset({"G7-00", "G7-01", "G7-02"}))

    assert "too few" not in str(no.value)
    with pytest.raises(TrainingError, match="of one group by order only; at least 3 are needed"):
        trained(tmp_path, plan, [replace(e, group=f"order {e.code}") for e in given])


def test_a_code_of_one_specimen_is_named_with_what_it_needs_and_the_way_out(tmp_path):
    """Its specimen is a control sample's, say, so that it is tested on and not learned from."""
    rare = [Example(f"B8-{i}", "B8", "s1", lambda: field("B8", 0)) for i in range(3)]
    given = [*examples(6, ("G7", "G8")), *rare, replace(rare[0], key="G8-x", code="G8")]
    plan = replace(PLAN, mixed_groups=True)

    with pytest.raises(TrainingError) as no:
        trained(tmp_path, plan, given, test_keys=frozenset({"G8-x"}))
    left = trained(tmp_path, replace(plan, without=("b8",)), given)[-1].result

    assert "tested on before" in str(no.value), "there it is true"
    assert read_manifest(left).taxonomy.trained_codes == ("G7", "G8")
    assert any("B8 are left out" in note for note in read_manifest(left).facts["notes"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (examples(10, ("G7",)), "at least two are needed"),
        (examples(2), "a code needs at least 3"),
        ([*examples(4), Example("x", "Q1", "x", lambda: field("G7", 0))], "no structure code"),
    ],
)
def test_what_cannot_be_trained_on_leaves_nothing_behind(tmp_path, given, message):
    with pytest.raises(TrainingError, match=message):
        trained(tmp_path / "bundles", given=given)

    assert not (tmp_path / "bundles").exists()


def test_weights_that_do_not_fit_are_refused(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"nothing")

    with pytest.raises(WeightsError, match="no plain state dict"):
        trained(tmp_path / "bundles", replace(PLAN, weights=tmp_path / "w.pth"))


@pytest.mark.parametrize(
    "change", [{"scheme": "x"}, {"arch": "vgg"}, {"framing": "x"}, {"loss": "x"}]
)
def test_a_plan_names_what_it_does_not_know(change):
    with pytest.raises(TrainingError, match="known are"):
        quick_config(**change)


def test_a_disk_that_refuses_is_said(tmp_path):
    (tmp_path / "bundles").write_text("a file, not a folder", encoding="utf-8")

    with pytest.raises(BundleError, match="nothing was left behind"):
        trained(tmp_path / "bundles")


@contextmanager
def disk_that_takes(size_bytes):
    """Let the system refuse every write beyond so many bytes of a file, as a full disk does."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_while_training_leaves_no_bundle_and_training_goes_on(tmp_path):
    plan = replace(PLAN, frozen=False, epochs=2, scheme="multi-head")

    with (
        disk_that_takes(20_000),
        pytest.raises(TrainingError, match="make room and start again, it goes on"),
    ):
        trained(tmp_path, plan)
    left = [p for p in tmp_path.iterdir() if not p.name.startswith(".training-")]
    bundle = trained(tmp_path, plan)[-1].result

    assert left == []
    assert verify_bundle(bundle)
    assert list(tmp_path.iterdir()) == [bundle]


def state_of(folder, seed):
    """A tiny network whose state is kept in a folder."""
    torch.manual_seed(seed)
    eye, layers = Encoder(build_backbone("tiny")), torch.nn.ModuleDict()
    weights = torch.nn.utils.parameters_to_vector(eye.parameters()).detach()
    return (
        Checkpoint(folder, "size:G", eye, layers, torch.optim.SGD(eye.parameters())),
        eye,
        weights,
    )


def test_an_epoch_that_the_disk_does_not_take_leaves_the_one_before_and_no_crumbs(tmp_path):
    def gone(number, best):
        return Epoch(number, 1.0, 1.0, 0.5, best=best)

    folder = tmp_path / ".training-1"
    place, eye, first = state_of(folder, 1)
    place.save([gone(1, best=True)], 1.0, 0)
    with torch.no_grad():
        for weight in eye.parameters():
            weight.add_(1.0)
    sizes = {file.name: file.stat().st_size for file in folder.iterdir()}

    with disk_that_takes(20_000), pytest.raises(TrainingError, match=r"\.training-1: File too"):
        place.save([gone(1, best=True), gone(2, best=True)], 0.5, 0)

    assert {file.name: file.stat().st_size for file in folder.iterdir()} == sizes
    (folder / "size_G.2.last.safetensors").write_bytes(b"the power failed here")
    again, other, _ = state_of(folder, 2)
    assert again.restore([]) == (1, 1.0, 0)
    assert torch.equal(torch.nn.utils.parameters_to_vector(other.parameters()), first)


def test_a_device_that_does_not_answer_while_training_is_said(tmp_path):
    nowhere = replace(PLAN, device="meta")  # it takes tensors and computes nothing
    lesson = lesson_of(Encoder(build_backbone("tiny")))

    with pytest.raises(TrainingError, match=r"does not answer any more .* goes on from the last"):
        next(fine_tune(lesson, nowhere, tmp_path))


def test_out_of_memory_halves_a_batch_and_learns_the_same(tmp_path):
    """The gradients of two halves add up to those of the whole."""

    class Small(torch.nn.Module):
        """A network on a card that holds two pictures."""

        def __init__(self, eye, holds):
            super().__init__()
            self.eye, self.holds, self.stride = eye, holds, eye.stride
            self.before = lambda: None

        def forward(self, given):
            assert self.before() is None, "what did not fit is still there"
            if len(given) > self.holds:
                made = given.float()
                self.before = weakref.ref(made)
                raise torch.OutOfMemoryError
            return self.eye(given)

    torch.manual_seed(0)
    eye = Encoder(build_backbone("tiny")).eval()
    layers = torch.nn.ModuleDict({"subtype": torch.nn.Linear(eye.channels, 2)})
    lesson = lesson_of(eye)
    batch = batch_of(examples(2))

    def learned(holds):
        eye.zero_grad()
        state = train_state_of(Small(eye, holds), layers, lesson)
        return accumulate_gradients(state, batch, 1), eye.backbone.layers[0][0].weight.grad.clone()

    (whole_loss, parts), whole = learned(6)
    (halves_loss, halves), found = learned(2)

    assert (parts, halves) == (1, 4)
    assert halves_loss == pytest.approx(whole_loss, rel=1e-4)
    assert torch.allclose(found, whole, atol=1e-5)
    with pytest.raises(TrainingError, match="smaller --frame"):
        learned(0)


def test_heads_that_share_a_network_are_shown_as_much_as_networks_of_their_own_would_be():
    given = tuple(examples(10))

    def shown(*heads):
        lesson = TrainingTask(
            None, "s", heads, Scheme("multi-head", TAXONOMY), Framing(), given, ()
        )
        asked = lesson.select_examples(given)
        picked = Sampler(asked, Targets(lesson, PLAN), PLAN).sample(1)
        return Counter(asked[at].code for at in picked)

    subtypes, sizes, both = shown("subtype"), shown("size:G"), shown("subtype", "size:G")
    assert (subtypes.total(), sizes.total(), both.total()) == (30, 20, 50)
    assert subtypes["B8"] == pytest.approx(15, abs=1)
    assert sizes["G7"] == pytest.approx(10, abs=1)
    assert both["B8"] == pytest.approx(15, abs=1)


@pytest.mark.slow
def test_without_room_on_a_cpu_batches_are_split_before_the_system_ends_the_program(
    tmp_path, monkeypatch
):
    """A computer without a GPU raises nothing that could be caught: what is free is asked first."""
    plan = replace(PLAN, frozen=False, epochs=1, batch=8)

    def taught(free, folder):
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
        torch.manual_seed(0)
        lesson = lesson_of(Encoder(build_backbone("tiny")))
        list(fine_tune(lesson, plan, tmp_path / folder))
        return lesson.epochs[0]

    each = bytes_per_pixel(Encoder(build_backbone("tiny")), 64, 64) * 64 * 64
    whole, split = taught(10**12, "much"), taught(int(10 * each), "little")

    assert whole.micro_batches == 1
    assert split.micro_batches > 1
    assert "memory is short" in split.sentence()
    assert "memory" not in whole.sentence()
    assert split.loss == pytest.approx(whole.loss, rel=0.1)  # batch norm sees smaller batches


@pytest.mark.parametrize(
    ("free", "parts"), [(0, 32), (10, 16), (30, 6), (100, 2), (1000, 1), (10**9, 1)]
)
def test_a_batch_goes_into_as_many_parts_as_the_memory_asks_for(free, parts):
    assert micro_batches(32, 2.0, free + 1 + FIXED_BYTES / USED_SHARE) == parts


def test_a_container_has_what_its_group_allows(tmp_path):
    (tmp_path / "memory.max").write_text("8000000\n", encoding="ascii")
    (tmp_path / "memory.current").write_text("5000000\n", encoding="ascii")
    (tmp_path / "memory.stat").write_text("anon 3000000\ninactive_file 2000000\n", encoding="ascii")

    assert free_bytes(tmp_path) == 5_000_000
    (tmp_path / "memory.max").write_text("max\n", encoding="ascii")
    assert free_bytes(tmp_path) > 5_000_000
