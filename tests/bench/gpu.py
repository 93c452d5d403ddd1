"""Hold the whole classify step on a GPU against the bare pass of the same networks.

    python tests/bench/gpu.py [--arch resnet18] [--px 1994] [--n 384] [--device cuda]
    python tests/bench/gpu.py --pretend MS [--px 1994] [--n 384]

The bare pass is PyTorch's own: bf16 by autocast, channels last, pictures that lie on the GPU
already, at the batch size that is fastest for it; and the same once more of networks that were made
ready as ours are (norms folded, weights in bf16), which is the stricter measure. Ours begins with
fields in the memory of the PC and ends with predictions and their maps; the fields are of three
subtypes in turn, so that stage two is asked for all of them. The network of strangeness is not
counted. All in images per second, one after the other in the same run, several times. Weights are
random: speed does not depend on them.

Without a GPU, `--device cpu` runs the same lines on a CPU, which only shows that they run; and
`--pretend` puts a card in their place that does nothing for so many milliseconds a picture, one
batch after the other, and says how much of its time everything around it keeps it busy.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch

from model import Classifier, Field, OodResult, default_taxonomy
from model.calibration import SetLevels
from model.framing import Framing
from model.inference.feature_extractor import FeatureExtractor
from model.networks.backbones import Encoder, build_backbone
from model.networks.schemes import Head, Scheme
from model.runtime.engines import Engine, FrameFeatures, choose_engine
from model.runtime.torch_runner import MAX_BATCH_PX, _batch_size, fold_batch_norm

ROUNDS = 5
BATCHES = (1, 2, 4, 8, 16, 32)
WANTED = 0.9
CODES = frozenset(default_taxonomy().trained_codes)


class NotCounted:
    """In place of what is known as ordinary: strangeness has a network of its own."""

    def inspect(self, _: Field, __: float, ___: object = None) -> tuple[OodResult, None]:
        nothing = np.zeros((1, 1), np.float16)
        one = OodResult(
            p_value=1.0, flagged=False, whole=0.0, local=0.0, where=None, heat=nothing,
            nearest={},
        )  # fmt: skip
        return one, None

    def defects(self, _: Field, __: object = None) -> tuple[()]:
        return ()


class AsOnAGpu(Engine):
    """The processor, asked as a GPU is."""

    on_gpu = True


def engine_of(device: str) -> Engine:
    if device == "cpu":
        return AsOnAGpu("pytorch", "cpu", "bf16")
    return choose_engine(device, "bf16")


def per_second(work: Callable[[], object], count: int, device: str) -> float:
    """Measure the images per second of one call that handles so many."""
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    wait()
    started = time.perf_counter()
    work()
    wait()
    return count / (time.perf_counter() - started)


def drawn(n: int, px: int) -> list[Field]:
    """Yield fields of three looks, dark to bright, in turn; noise is enough to measure speed."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 85, (px * 3 // 4, px, 3)).astype(np.uint8)
    valid = np.ones(noise.shape[:2], bool)
    return [Field(np.roll(noise, at, axis=1) + 85 * (at % 3), valid, 0.1) for at in range(n)]


def classifier(kind: str, arch: str, px: int, engine: Engine) -> Classifier:
    """Build a classifier whose three subtypes are the three looks."""
    scheme = Scheme(kind, default_taxonomy().restricted_to(CODES))
    framing = Framing("mirror", px)
    eyes = {
        name: Encoder(build_backbone(arch)).eval().requires_grad_(requires_grad=False)
        for name in scheme.encoders()
    }
    first = scheme.first_stage()[0]
    rng, heads = np.random.default_rng(0), {}
    for eye, names in scheme.encoders().items():
        gaze = FeatureExtractor(framing, {eye: eyes[eye]}, engine)
        looks = np.stack([s.embedding for s in gaze.extract(eye, gaze.frames(drawn(3, px)))])
        centre = looks.mean(axis=0)
        for name in names:
            classes = scheme.heads()[name]
            away = looks - centre
            far = np.linalg.norm(away, axis=1).mean()
            if name != first:
                away = rng.normal(0, 1, (len(classes), centre.size))
            # Large weights: sure answers, so that none is asked again in fp32 on the CPU.
            weight = 500 / far * away / np.linalg.norm(away, axis=1, keepdims=True)
            zeros = np.zeros(len(classes), np.float32)
            heads[name] = Head(name, eye, classes, weight.astype(np.float32), zeros, centre)
    return classifier_of(scheme, px, eyes, heads, engine)


def classifier_of(
    scheme: Scheme, px: int, eyes: dict[str, Encoder], heads: dict[str, Head], engine: Engine
) -> Classifier:
    return Classifier(
        name="drawn",
        scheme=scheme,
        framing=Framing("mirror", px),
        set_levels=SetLevels(0.1, 0.9),
        encoders=eyes,
        heads=heads,
        detector=NotCounted(),
        engine=engine,
    )


class Pretended:
    """A network on a card that takes so long for a picture, in batches, one after the other."""

    def __init__(self, card: ThreadPoolExecutor, ms: float, channels: int, classes: int) -> None:
        self._card, self._ms = card, ms
        self._channels, self._classes = channels, classes

    def extract(
        self, pictures: Sequence[torch.Tensor], weights: Sequence[Any]
    ) -> list[FrameFeatures]:
        batch = _batch_size(pictures[0], MAX_BATCH_PX)
        takes_s = -(-len(pictures) // batch) * batch * self._ms / 1000
        self._card.submit(time.sleep, takes_s).result()
        return [self._seen(*one) for one in zip(pictures, weights, strict=True)]

    def _seen(self, picture: torch.Tensor, weight: Any) -> FrameFeatures:
        look = int(picture[0, 0, 0]) // 85  # as it was drawn
        total = np.zeros(self._channels)
        total[look] = weight.sum()
        return FrameFeatures(total, np.zeros((self._classes, *weight.shape), np.float32))


def keeps_busy(ms: float, px: int, fields: Sequence[Field]) -> None:
    """Return the share of its time that a card is busy."""
    with ThreadPoolExecutor(1) as card:
        for kind in ("two-stage", "multi-head"):
            scheme = Scheme(kind, default_taxonomy().restricted_to(CODES))
            eyes = {name: Encoder(build_backbone("tiny")).eval() for name in scheme.encoders()}
            rng, heads = np.random.default_rng(0), {}
            for eye, names in scheme.encoders().items():
                for name in names:
                    classes = scheme.heads()[name]
                    weight = rng.normal(0, 50, (len(classes), eyes[eye].channels))
                    if name == scheme.first_stage()[0]:
                        weight = 50 * np.eye(len(classes), eyes[eye].channels)
                    zeros = np.zeros(eyes[eye].channels, np.float32)
                    heads[name] = Head(
                        name, eye, classes, weight.astype(np.float32), zeros[: len(classes)], zeros
                    )
            judge = classifier_of(scheme, px, eyes, heads, engine_of("cpu"))
            for name, eye in eyes.items():
                count = sum(len(heads[head].classes) for head in scheme.encoders()[name])
                judge._predictor._extractor._runners[name] = Pretended(
                    card, ms, eye.channels, count
                )
            judge._predictor._extractor._upload = lambda pixels: torch.from_numpy(pixels).clone()
            judge.classify(fields)
            looks = 2 if kind == "two-stage" else 1
            rates = [
                per_second(partial(judge.classify, fields), len(fields), "cpu")
                for _ in range(ROUNDS)
            ]
            busy = [looks * ms / 10 * rate for rate in rates]
            print(
                f"{kind}, {px} px, {len(fields)} fields: a card that takes {ms:g} ms a look works "
                f"{median(busy):.0f} % of the time ({min(busy):.0f} to {max(busy):.0f})"
            )


def bare(eyes: Sequence[Encoder], px: int, device: str) -> tuple[float, int]:
    """Return the best images per second of networks one after the other, and the batch size."""
    side = -(-px // 32) * 32
    best = (0.0, 0)
    for batch in BATCHES if device.startswith("cuda") else BATCHES[:2]:
        given = torch.randint(0, 255, (batch, side, side, 3), dtype=torch.uint8, device=device)

        @torch.inference_mode()
        def work(given: torch.Tensor = given) -> None:
            with torch.autocast(torch.device(device).type, torch.bfloat16):
                for eye in eyes:
                    eye(given)

        try:
            work()
            rate = median(per_second(work, batch, device) for _ in range(ROUNDS))
        except torch.OutOfMemoryError:
            break
        best = max(best, (rate, batch))
    return best


def ready(eye: Encoder, device: str) -> Encoder:
    """Make a network ready as ours are."""
    found = fold_batch_norm(eye)
    found.backbone.to(torch.bfloat16)
    return found.to(device, memory_format=torch.channels_last)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--arch", default="resnet18")
    ask.add_argument("--px", type=int, default=1994)
    ask.add_argument("--n", type=int, default=384)
    ask.add_argument("--device", default="cuda")
    ask.add_argument("--pretend", type=float, metavar="MS")
    given = ask.parse_args()
    if given.pretend is not None:
        keeps_busy(given.pretend, given.px, drawn(given.n, given.px))
        return
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        print("There is no GPU here, so nothing was measured.")
        sys.exit(2)
    card = torch.cuda.get_device_name() if given.device.startswith("cuda") else "CPU"
    fields, good = drawn(given.n, given.px), True
    for kind in ("two-stage", "multi-head"):
        judge = classifier(kind, given.arch, given.px, engine_of(given.device))
        found = Counter(said.subtype for said in judge.classify(fields))  # warm, too
        # Every image is seen by as many networks as one image of the scheme is.
        eyes = list(judge._predictor._encoders.values())[: 2 if kind == "two-stage" else 1]
        plain = [eye.to(given.device, memory_format=torch.channels_last) for eye in eyes]
        made_ready = [ready(eye, given.device) for eye in eyes]
        ours, theirs, strict = [], [], []
        for _ in range(ROUNDS):
            ours.append(per_second(lambda j=judge: j.classify(fields), given.n, given.device))
            theirs.append(bare(plain, given.px, given.device))
            strict.append(bare(made_ready, given.px, given.device))
        mine = median(ours)
        print(
            f"{card}, {given.arch} {kind}, {given.px} px, {given.n} fields ({dict(found)}): "
            f"whole step {mine:.1f} images per second ({min(ours):.1f} to {max(ours):.1f})"
        )
        for what, rates in (("bare pass", theirs), ("bare pass made ready as ours", strict)):
            rate, batch = max(rates)
            print(f"  {what} {rate:.1f} (batches of {batch}): whole step {100 * mine / rate:.0f} %")
        good &= mine >= WANTED * max(theirs)[0]
    sys.exit(0 if good else 3)


if __name__ == "__main__":
    main()
