"""Measure the model: speed as ratios within one run, agreement of engines, determinism.

    OMP_NUM_THREADS=1 python tests/bench/networks.py [--px 1994] [--arch resnet18] [--repeats 1]

Times are processor time of one thread, so that a busy machine changes little. Weights are random:
speed does not depend on them, and agreement of engines is measured on heads fitted to them.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from model import Field, default_taxonomy
from model.framing import Framing
from model.inference.feature_extractor import FeatureExtractor
from model.inference.saliency import compute_evidence
from model.networks.backbones import Encoder, build_backbone
from model.networks.schemes import Head, Scheme, logits_by_cell
from model.runtime.engines import Engine, choose_engine, has_bf16
from model.runtime.quantization import ActivationRanges, observe_ranges, quantize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CODES = frozenset(default_taxonomy().trained_codes)


def spent_s(work: Callable[[], object], repeats: int) -> float:
    """Measure the processor seconds of one call, after one call to warm up."""
    work()
    start = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - start) / repeats


def last(steps: Iterable[ActivationRanges]) -> ActivationRanges:
    """Return the last of some ranges."""
    *_, found = steps
    return found


def head_of(name: str, classes: tuple[str, ...], channels: int) -> Head:
    rng = np.random.default_rng(len(name))
    weight = rng.normal(0, channels**-0.5, (len(classes), channels)).astype(np.float32)
    zeros = np.zeros(max(len(classes), channels), np.float32)
    return Head(name, name, classes, weight, zeros[: len(classes)], zeros[:channels])


def two_stages(heads: Iterable[Head], gaze: FeatureExtractor, field: Field) -> None:
    """Run one head after the other, with maps and embeddings; each network runs once."""
    framed, seen = gaze.frames([field]), {}
    for head in heads:
        if head.encoder not in seen:
            (seen[head.encoder],) = gaze.extract(head.encoder, framed)
        sight = seen[head.encoder]
        best = int(head.probabilities(sight.embedding[None])[0].argmax())
        compute_evidence(sight.by_cell[head.name][0], head, best)


def package(eyes: dict[str, Encoder], heads: dict[str, Head], images: torch.Tensor) -> None:
    """The same by eager PyTorch in fp32 and the `grad-cam` package."""
    from pytorch_grad_cam import GradCAM  # noqa: PLC0415 - only measured against

    for name in list(eyes)[:2]:
        eye, head = eyes[name], heads[name]
        layer = nn.Linear(eye.channels, len(head.classes))
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(head.weight))
        whole = nn.Sequential(eye.backbone, nn.AdaptiveAvgPool2d(1), nn.Flatten(), layer).eval()
        with torch.inference_mode():
            whole(images)
        with GradCAM(model=whole, target_layers=[eye.backbone.layer4[-1]]) as cam:
            cam(images, None)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--px", type=int, default=1994)
    ask.add_argument("--arch", default="resnet18")
    ask.add_argument("--repeats", type=int, default=1)
    given = ask.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    scheme = Scheme("two-stage", default_taxonomy().restricted_to(CODES))
    eyes = {name: Encoder(build_backbone(given.arch)).eval() for name in list(scheme.heads())[:2]}
    heads = {n: head_of(n, scheme.heads()[n], eyes[n].channels) for n in eyes}
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (given.px, given.px, 3)).astype(np.uint8)
    field = Field(pixels, np.ones(pixels.shape[:2], bool), 0.1)
    framing = Framing("mirror", given.px)
    (frame,) = framing.frames(field)
    images = (torch.from_numpy(frame.pixels[None]).permute(0, 3, 1, 2).float() / 255 - 0.45) / 0.225
    print(f"{given.arch}, {given.px} px, bf16 in hardware: {has_bf16()}")

    package_s = spent_s(lambda: package(eyes, heads, images), given.repeats)
    print(f"eager fp32 two-stage + grad-cam package   {package_s:8.3f} s   1.0 x")
    for eye in eyes.values():
        eye.requires_grad_(requires_grad=False)
    engines = [choose_engine("pytorch", "fp32"), choose_engine("cpu", "fp32")]
    engines += [choose_engine("cpu", "bf16")] if has_bf16() else []
    engines += [choose_engine("cpu", "int8")]
    seen = {}
    first = next(iter(eyes))  # one network sees everything, both heads are asked
    shared = [replace(head, encoder=first) for head in heads.values()]
    eights = {
        n: quantize(eye, last(observe_ranges(eye, framing, [field]))) for n, eye in eyes.items()
    }
    for engine in engines:
        given_eyes = eights if engine.precision == "int8" else eyes
        gaze = FeatureExtractor(framing, given_eyes, engine, heads=heads.values())
        ours_s = spent_s(lambda g=gaze: two_stages(heads.values(), g, field), given.repeats)
        name = f"{engine.label} {engine.precision}, with maps"
        print(f"{name:<41} {ours_s:8.3f} s {package_s / ours_s:5.1f} x")
        once = FeatureExtractor(framing, {first: given_eyes[first]}, engine, heads=shared)
        once_s = spent_s(lambda g=once: two_stages(shared, g, field), given.repeats)
        print(f"  multi-head against two-stage           {ours_s / once_s:6.2f} x throughput")
        seen[engine] = extra(gaze, heads, field, given.repeats)
    agreement(seen, heads)


def extra(gaze: FeatureExtractor, heads: dict[str, Head], field: Field, repeats: int) -> np.ndarray:
    """Print what saliency and embedding cost on top of the bare pass, and that it repeats."""
    name = next(iter(heads))
    framed = gaze.frames([field])
    run = gaze._runners[name]
    picture = framed[0][0].frame.pixels[None]
    (sight,) = gaze.extract(name, framed)
    (features,), weight = run.network.features(picture), sight.weights[0]
    bare_s = spent_s(lambda: run.network.features(picture), 2 * repeats)

    def on_top() -> None:
        np.einsum("chw,hw->c", features, weight, dtype=np.float64)
        compute_evidence(logits_by_cell(features, run._layer), heads[name], 0)

    top_s = spent_s(on_top, 5)
    (again,) = gaze.extract(name, framed)
    same = np.array_equal(sight.embedding, again.embedding)
    print(
        f"  saliency and embedding on top of a pass  {100 * top_s / bare_s:6.1f} %;"
        f" bit-identical again: {same}"
    )
    return sight.embedding


def agreement(seen: dict[Engine, np.ndarray], heads: dict[str, Head]) -> None:
    """Print how far apart the engines' probabilities are."""
    head = next(iter(heads.values()))
    first = next(iter(seen.values()))
    for engine, embedding in seen.items():
        apart = np.abs(head.probabilities(embedding[None]) - head.probabilities(first[None])).max()
        print(f"{engine.label} {engine.precision}: probabilities within {apart:.4f} of the first")


if __name__ == "__main__":
    main()
