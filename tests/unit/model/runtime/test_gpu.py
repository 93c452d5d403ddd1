"""A GPU's way of looking gives a CPU's answers; most of it runs on any device."""

from __future__ import annotations

import weakref
from threading import Barrier, Event

import numpy as np
import pytest
import torch

from model import Classifier, ModelError, default_taxonomy
from model.calibration import SetLevels
from model.errors import GpuError
from model.framing import Field, Framing
from model.inference.feature_extractor import FeatureExtractor, prefetch
from model.inference.predictor import ENGINE_DIFFERENCE
from model.networks.backbones import Encoder, build_backbone
from model.networks.schemes import Head, HeadLayer, Scheme
from model.runtime.engines import Engine, choose_engine
from model.runtime.torch_runner import (
    MAX_BATCH,
    GpuRunner,
    SequentialRunner,
    build_runner,
    build_uploader,
)

CPU = Engine("pytorch", "cpu", "fp32")
WAIT_S = 30

with_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


@pytest.fixture(scope="module")
def eye() -> Encoder:
    torch.manual_seed(0)
    return Encoder(build_backbone("tiny"), (1, 3)).eval().requires_grad_(requires_grad=False)


def heads(channels: int) -> list[Head]:
    rng = np.random.default_rng(3)
    return [
        Head(
            name,
            "shared",
            classes,
            rng.normal(0, 1, (len(classes), channels)).astype(np.float32),
            rng.normal(0, 1, len(classes)).astype(np.float32),
            rng.normal(0, 1, channels).astype(np.float32),
        )
        for name, classes in (("subtype", ("B", "G", "M")), ("size:G", ("7", "8")))
    ]


@pytest.fixture(scope="module")
def layer(eye: Encoder) -> HeadLayer:
    return HeadLayer.from_heads(heads(eye.channels), eye.channels)


def pictures(n: int) -> list[torch.Tensor]:
    pixels = np.random.default_rng(n).integers(0, 255, (n, 64, 96, 3)).astype(np.uint8)
    return list(torch.from_numpy(pixels))


def weights(n: int) -> list[np.ndarray]:
    return list(np.random.default_rng(n).random((n, 2, 3)).astype(np.float32))


def close(ours, theirs, tolerance: float = 1e-4) -> bool:
    return all(
        np.allclose(a.total, b.total, atol=tolerance * np.abs(b.total).max())
        and np.allclose(a.by_cell, b.by_cell, atol=tolerance * np.abs(b.by_cell).max())
        for a, b in zip(ours, theirs, strict=True)
    )


def test_batches_see_what_a_cpu_sees_one_by_one(eye, layer):
    n = MAX_BATCH + 3

    together = GpuRunner(eye, CPU, layer).extract(pictures(n), weights(n))

    assert close(
        together, SequentialRunner(build_runner(eye, CPU), layer).extract(pictures(n), weights(n))
    )


def test_company_changes_not_a_bit(eye, layer):
    run = GpuRunner(eye, CPU, layer)

    together = run.extract(pictures(5), weights(5))
    alone = [run.extract([p], [w])[0] for p, w in zip(pictures(5), weights(5), strict=True)]

    for one, other in zip(together, alone, strict=True):
        assert np.array_equal(one.total, other.total)
        assert np.array_equal(one.by_cell, other.by_cell)


def test_out_of_memory_halves_the_batch_and_loses_no_picture(eye, layer):
    tried, before = [], [lambda: None]

    def small(given):
        """Look, on a card that holds three pictures."""
        assert before[-1]() is None, "what did not fit is still there"
        tried.append(len(given))
        if len(given) > 3:
            made = given.float()
            before.append(weakref.ref(made))
            raise torch.OutOfMemoryError
        return eye(given)

    run = GpuRunner(eye, CPU, layer)
    run._encoder = small

    found = run.extract(pictures(5), weights(5))

    assert tried == [8, 4, 2, 2, 2]
    assert close(
        found, SequentialRunner(build_runner(eye, CPU), layer).extract(pictures(5), weights(5))
    )


def test_large_pictures_are_looked_at_by_few(eye, layer):
    seen = []

    def watched(given):
        seen.append(len(given))
        return eye(given)

    run = GpuRunner(eye, CPU, layer)
    run._encoder = watched
    large = [torch.zeros(2016, 2016, 3, dtype=torch.uint8)] * 5
    run.extract(large, [np.ones((63, 63), np.float32)] * 5)

    assert seen == [4, 4]


def test_a_gpu_that_is_gone_is_named(eye, layer):
    def gone(_):
        raise RuntimeError("device-side assert triggered")

    run = GpuRunner(eye, CPU, layer)
    run._encoder = gone

    with pytest.raises(ModelError, match=r"does not answer any more.*device-side assert"):
        run.extract(pictures(2), weights(2))


def test_a_gpu_without_room_for_one_picture_is_named(eye, layer):
    def full(_):
        raise torch.OutOfMemoryError

    run = GpuRunner(eye, CPU, layer)
    run._encoder = full

    with pytest.raises(ModelError, match="no room for one picture of 96 × 64 px"):
        run.extract(pictures(2), weights(2))


def test_work_goes_ahead_by_one_and_keeps_its_order():
    begun = [Event() for _ in range(4)]

    def work(item: int) -> int:
        begun[item].set()
        return 10 * item

    seen = []
    for made in prefetch(work, range(4)):
        at = made // 10
        assert all(event.wait(WAIT_S) for event in begun[: at + 2])
        assert not any(event.is_set() for event in begun[at + 2 :])
        seen.append(made)

    assert seen == [0, 10, 20, 30]
    assert list(prefetch(work, [])) == []


def test_several_hands_work_at_once():
    both = Barrier(2)

    def work(item: int) -> int:
        both.wait(WAIT_S)  # alone, a hand would wait for the other in vain
        return 10 * item

    assert list(prefetch(work, range(4), 2)) == [0, 10, 20, 30]


def test_what_goes_wrong_ahead_is_heard_where_it_is_used():
    def work(item: int) -> float:
        return 1 / item

    made = prefetch(work, [1, 0, 2])

    assert next(made) == 1
    with pytest.raises(ZeroDivisionError):
        next(made)


class AsOnAGpu(Engine):
    """The processor, asked as a GPU is: in batches, several groups of fields under way."""

    on_gpu = True


def fields_of_three_looks(n: int) -> list[Field]:
    """Give fields of two sizes that a network sees in three ways, in turn."""
    rng, found = np.random.default_rng(5), []
    for at in range(n):
        shape = (64 + 32 * (at % 2), 96)
        pixels = rng.integers(0, 85, (*shape, 3)) + 85 * (at % 3)
        found.append(Field(pixels.astype(np.uint8), np.ones(shape, bool), 0.2))
    return found


@pytest.fixture(scope="module")
def tells_looks_apart(eye):
    """Give what makes a two-stage classifier whose subtypes are the three looks."""
    scheme = Scheme("two-stage", default_taxonomy())
    framing = Framing("scale", 1994, 0.2, 0.2)
    gaze = FeatureExtractor(framing, {"subtype": eye}, CPU)
    looks = [
        one.embedding for one in gaze.extract("subtype", gaze.frames(fields_of_three_looks(3)))
    ]
    centre = np.mean(looks, axis=0)
    rng, found = np.random.default_rng(0), {}
    for name, classes in scheme.heads().items():
        towards = np.stack(looks) - centre
        if name != "subtype":
            towards = rng.normal(0, 1, (len(classes), eye.channels))
        weight = (40 * towards / np.linalg.norm(towards, axis=1, keepdims=True)).astype(np.float32)
        zeros = np.zeros(len(classes), np.float32)
        found[name] = Head(name, name, classes, weight, zeros, centre.astype(np.float32))

    def make(engine: Engine) -> Classifier:
        return Classifier(
            name="three looks", scheme=scheme, framing=framing, set_levels=SetLevels(0.1, 0.9),
            encoders=dict.fromkeys(scheme.encoders(), eye), heads=found, detector=None,
            engine=engine,
        )  # fmt: skip

    return make


def test_a_classifier_answers_on_a_gpu_as_on_a_cpu(tells_looks_apart):
    fields = fields_of_three_looks(75)

    found = tells_looks_apart(AsOnAGpu("pytorch", "cpu", "fp32")).predict_codes(fields)
    exact = tells_looks_apart(CPU).predict_codes(fields)

    assert {answer.best[0] for answer in exact} == {"B", "G", "M"}
    for one, other in zip(found, exact, strict=True):
        assert one.best == other.best
        assert one.codes == pytest.approx(other.codes, abs=1e-4)


def test_company_changes_no_answer_of_a_gpu(tells_looks_apart):
    fields, judge = fields_of_three_looks(75), tells_looks_apart(AsOnAGpu("pytorch", "cpu", "fp32"))

    together = judge.predict_codes(fields)

    assert judge.predict_codes(fields[::-1])[::-1] == together
    assert [judge.predict_codes([field])[0] for field in fields[:9]] == together[:9]


def test_what_a_gpu_finds_close_is_decided_by_the_cpu_in_fp32(tells_looks_apart):
    fields = fields_of_three_looks(75)

    low = tells_looks_apart(AsOnAGpu("pytorch", "cpu", "bf16")).predict_codes(fields)
    exact = tells_looks_apart(CPU).predict_codes(fields)

    assert [one.best for one in low] == [one.best for one in exact]
    close_ones = [at for at, one in enumerate(exact) if one.margin < ENGINE_DIFFERENCE]
    assert close_ones
    for at in close_ones:
        assert low[at].codes == pytest.approx(exact[at].codes, abs=1e-6)


def gone(_):
    raise RuntimeError("CUDA error: unknown error")


def test_where_a_gpu_is_gone_the_cpu_answers_and_it_is_said(tells_looks_apart):
    fields = fields_of_three_looks(30)
    judge = tells_looks_apart(AsOnAGpu("pytorch", "cpu", "fp32"))
    before = judge.predict_codes(fields)
    runners = list(judge._predictor._extractor._runners.values())
    eyes = [run._encoder for run in runners]
    for run in runners:
        run._encoder = gone

    shift = judge.predict_codes(fields)

    assert [one.best for one in shift] == [one.best for one in before]
    assert "does not answer any more (CUDA error" in judge.degraded_reason
    assert judge.degraded_reason.endswith("Until then the CPU answers, more slowly.")
    for run, eye in zip(runners, eyes, strict=True):
        run._encoder = eye
    assert judge.predict_codes(fields) == before
    assert not judge.degraded_reason


def test_a_gpu_that_fails_between_two_stages_costs_no_field(tells_looks_apart):
    fields = fields_of_three_looks(30)
    judge = tells_looks_apart(AsOnAGpu("pytorch", "cpu", "fp32"))
    for name, run in judge._predictor._extractor._runners.items():
        run._encoder = run._encoder if name == "subtype" else gone

    assert [prediction.best for prediction in judge.predict_codes(fields)] == [
        prediction.best for prediction in tells_looks_apart(CPU).predict_codes(fields)
    ]


def test_where_nothing_can_be_brought_to_a_gpu_the_cpu_answers(tells_looks_apart):
    fields = fields_of_three_looks(30)
    judge = tells_looks_apart(AsOnAGpu("pytorch", "cpu", "fp32"))
    judge._predictor._extractor._upload = refused
    cpu = tells_looks_apart(CPU)

    assert [a.best for a in judge.predict_codes(fields)] == [
        a.best for a in cpu.predict_codes(fields)
    ]
    assert "no room" in judge.degraded_reason
    for one, other in zip(
        judge.size_probabilities_for(fields, "G"),
        cpu.size_probabilities_for(fields, "G"),
        strict=True,
    ):
        assert one == pytest.approx(other, abs=1e-4)


def refused(_):
    raise GpuError("The GPU cuda has no room for one picture.")


def test_a_gpu_that_takes_no_network_is_not_waited_for(tells_looks_apart):
    judge = tells_looks_apart(AsOnAGpu("pytorch", "mps", "fp32"))

    assert "does not answer" in judge.degraded_reason
    assert not judge.engine.on_gpu


@with_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_and_the_cpu_agree(eye, layer, precision):
    upload, n = build_uploader("cuda"), 20

    found = GpuRunner(eye, choose_engine("cuda", precision), layer).extract(
        [upload(picture.numpy()) for picture in pictures(n)], weights(n)
    )

    exact = SequentialRunner(build_runner(eye, CPU), layer).extract(pictures(n), weights(n))
    assert close(found, exact, 1e-3 if precision == "fp32" else 0.03)


@with_gpu
def test_a_gpu_sees_fields_of_many_shapes_as_the_cpu_does(eye):
    rng = np.random.default_rng(0)
    fields = []
    for at in range(2 * MAX_BATCH):
        valid = np.ones((64 + 7 * (at % 3), 96), bool)
        valid[:8, : 4 * at] = False
        pixels = rng.integers(0, 255, (*valid.shape, 3)).astype(np.uint8)
        fields.append(Field(pixels, valid, 0.2))
    framing, eyes = Framing("scale", 1994, 0.2, 0.2), {"shared": eye}

    gpu, cpu = (
        FeatureExtractor(framing, eyes, engine, heads=heads(eye.channels))
        for engine in (choose_engine("cuda", "fp32"), CPU)
    )
    found, exact = (gaze.extract("shared", gaze.frames(fields)) for gaze in (gpu, cpu))

    for one, other in zip(found, exact, strict=True):
        assert np.allclose(one.embedding, other.embedding, atol=1e-3)
