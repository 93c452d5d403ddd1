"""Hold the whole classify step on a GPU against the bare pass of the same networks.

    python tests/bench/gpu.py [--arch resnet18] [--px 1994] [--n 96] [--device cuda]

The bare pass is PyTorch's own: bf16, channels last, pictures that lie on the GPU already, at the
batch size that is fastest for it. Ours begins with fields in the memory of the PC and ends with
predictions and their maps; the network of strangeness is not counted. Both in images per second,
one after the other in the same run, several times. With `--device cpu` the same lines run on a
CPU, where they only show that they run. Weights are random: speed does not depend on them.
"""

from __future__ import annotations

import argparse
import sys
import time
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import torch
from networks import CODES

from model import Classifier, Field, Strangeness, default_taxonomy
from model.frame import Framing
from model.network import Eye, bare_backbone
from model.runtime import choose_engine
from model.scheme import Head, Scheme

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROUNDS = 5
BATCHES = (1, 2, 4, 8, 16, 32)


class NotCounted:
    """In place of what is known as ordinary: strangeness has a network of its own."""

    def judge(self, fields: Sequence[Field], _: float) -> list[Strangeness]:
        nothing = np.zeros((1, 1), np.float16)
        one = Strangeness(
            p_value=1.0, flagged=False, whole=0.0, local=0.0, where=None, heat=nothing,
            sentence="", nearest={},
        )  # fmt: skip
        return [one] * len(fields)

    def defects(self, _: Field) -> tuple[()]:
        return ()


def per_second(work: Callable[[], object], count: int, device: str) -> float:
    """Give images per second of one call that handles so many."""
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    wait()
    started = time.perf_counter()
    work()
    wait()
    return count / (time.perf_counter() - started)


def classifier(kind: str, arch: str, px: int, device: str) -> Classifier:
    scheme = Scheme(kind, default_taxonomy().restricted_to(CODES))
    rng = np.random.default_rng(0)
    eyes, heads = {}, {}
    for eye, names in scheme.eyes().items():
        eyes[eye] = Eye(bare_backbone(arch)).eval().requires_grad_(requires_grad=False)
        c = eyes[eye].channels
        for name in names:
            classes = scheme.heads()[name]
            # Large weights: sure answers, so that none is asked again in fp32 on the CPU.
            weight = rng.normal(0, 50, (len(classes), c)).astype(np.float32)
            zeros = np.zeros(c, np.float32)
            heads[name] = Head(name, eye, classes, weight, zeros[: len(classes)], zeros)
    return Classifier(
        name="drawn",
        scheme=scheme,
        framing=Framing("mirror", px),
        conformal_level=0.9,
        eyes=eyes,
        heads=heads,
        known=NotCounted(),
        engine=choose_engine(device, "bf16"),
    )


def bare(judge: Classifier, px: int, device: str) -> tuple[float, int]:
    """Give the bare pass's best images per second, and at which batch size.

    Every image is seen by as many networks as one image of the scheme is.
    """
    eyes = list(judge._eyes.values())[: 2 if judge._scheme.kind == "two-stage" else 1]
    ready = [eye.to(device, memory_format=torch.channels_last) for eye in eyes]
    side = -(-px // 32) * 32
    best = (0.0, 0)
    for batch in BATCHES:
        given = torch.randint(0, 255, (batch, side, side, 3), dtype=torch.uint8, device=device)

        @torch.inference_mode()
        def work(given: torch.Tensor = given) -> None:
            with torch.autocast(torch.device(device).type, torch.bfloat16):
                for eye in ready:
                    eye(given)

        try:
            work()
            rate = median(per_second(work, batch, device) for _ in range(ROUNDS))
        except torch.OutOfMemoryError:
            break
        best = max(best, (rate, batch))
    return best


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--arch", default="resnet18")
    ask.add_argument("--px", type=int, default=1994)
    ask.add_argument("--n", type=int, default=96)
    ask.add_argument("--device", default="cuda")
    given = ask.parse_args()
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        print("There is no GPU here, so nothing was measured.")
        sys.exit(2)
    card = torch.cuda.get_device_name() if given.device.startswith("cuda") else "CPU"
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (given.px * 3 // 4, given.px, 3)).astype(np.uint8)
    fields = [
        Field(np.roll(pixels, at, axis=1), np.ones(pixels.shape[:2], bool), 0.1)
        for at in range(given.n)
    ]
    for kind in ("two-stage", "multi-head"):
        judge = classifier(kind, given.arch, given.px, given.device)
        judge.classify(fields[:32])  # warm
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(per_second(lambda j=judge: j.classify(fields), given.n, given.device))
            theirs.append(bare(judge, given.px, given.device))
        (rate, batch), mine = max(theirs), median(ours)
        print(
            f"{card}, {given.arch} {kind}, {given.px} px, {given.n} fields: bare pass "
            f"{rate:.1f} images per second (batches of {batch}), whole step {mine:.1f}: "
            f"{100 * mine / rate:.0f} %"
        )


if __name__ == "__main__":
    main()
