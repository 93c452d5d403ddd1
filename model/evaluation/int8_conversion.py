"""Convert a bundle to eight-bit integers, unless that would cost too much.

In:  a bundle, and labelled `Example`s of its own split. Out: steps, the last with an `Eight`, which
then lies beside the bundle. Next: `classify` with the precision "int8".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.bundle import load_bundle
from model.errors import ModelError
from model.inference.classifier import Classifier
from model.progress import Step
from model.runtime.quantization import (
    MAY_LOSE,
    Int8Calibration,
    measure_int8,
    observe_ranges,
    save_int8_calibration,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from model.data.dataset import Example
    from model.networks.schemes import Answer
    from model.runtime.quantization import ActivationRanges

_CALIBRATED_ON = 48
"""Validation images whose activations give the ranges; more change them by less than a level."""

_ENOUGH = 30
"""Fewer test images say nothing of a loss."""

_TOGETHER = 8


def convert(
    bundle: Path, examples: Sequence[Example], *, may_lose: float = MAY_LOSE
) -> Iterator[Step[Int8Calibration]]:
    """Convert a bundle, and keep how beside it; it says first what that costs.

    Args:
        bundle: Its folder.
        examples: Labelled micrographs; those it was validated and tested on are taken.
        may_lose: Share of the test images that may be lost on balance.

    Raises:
        BundleError: The bundle is not what it was.
        ModelError: Too few of its images are there, it would lose too much, or nothing here counts
            in eight bits. What was kept before is left as it is.
    """
    loaded = load_bundle(bundle)
    taxonomy, sides = loaded.manifest.taxonomy, loaded.manifest.split
    held = [e for e in examples if e.key in set(sides["validation"])][:_CALIBRATED_ON]
    test = [e for e in examples if e.key in set(sides["test"])]
    if not held or len(test) < _ENOUGH:
        raise ModelError(
            f"{bundle.name} cannot be converted: {len(test)} of the micrographs it was tested on "
            f"and {len(held)} of those it was validated on are still labelled and archived; at "
            f"least {_ENOUGH} and one are needed to say what it would lose."
        )
    ranges: dict[str, ActivationRanges] = {}
    total = len(held) * len(loaded.encoders)
    for at, (name, eye) in enumerate(loaded.encoders.items()):
        shown = (example.load() for example in held)
        for done, found in enumerate(observe_ranges(eye, loaded.manifest.framing, shown), 1):
            ranges[name] = found
            yield Step("Calibrating int8", at * len(held) + done, total)
    eight = Int8Calibration(bundle.name, ranges)
    low = Classifier.load(bundle, device="cpu", precision="int8", int8=eight)
    exact = Classifier.load(bundle, device="cpu", precision="fp32")
    said: tuple[list[Answer], list[Answer]] = ([], [])
    for start in range(0, len(test), _TOGETHER):
        fields = [example.load() for example in test[start : start + _TOGETHER]]
        said[0].extend(exact.predict_codes(fields))
        said[1].extend(low.predict_codes(fields))
        yield Step("Measuring int8", len(said[0]), len(test))
    codes = [taxonomy.code(*taxonomy.parse(example.code)) for example in test]
    eight = measure_int8(eight, *said, codes, [example.group for example in test])
    if eight.lost > may_lose:
        raise ModelError(
            f"{bundle.name} is not converted, it would lose more than {100 * may_lose:.1f} points: "
            f"{eight.sentence()}."
        )
    save_int8_calibration(eight, bundle)
    yield Step("Measuring int8", len(test), len(test), found=eight)
