"""Quantise a bundle to int8 after measuring the accuracy loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from model.bundle import load_bundle
from model.data.dataset import Example
from model.errors import ModelError
from model.inference.classifier import Classifier
from model.networks.schemes import FieldPrediction
from model.progress import Progress
from model.runtime.quantization import (
    MAY_LOSE,
    ActivationRanges,
    Int8Calibration,
    measure_int8,
    observe_ranges,
    save_int8_calibration,
)

_MAX_CALIBRATION = 48
"""Validation images used for the ranges; more change them by less than one int8 level."""

_MIN_TEST = 30
"""Fewer test images do not measure a loss."""

_BATCH = 8


def convert(
    bundle: Path, examples: Sequence[Example], *, may_lose: float = MAY_LOSE
) -> Iterator[Progress[Int8Calibration]]:
    """Quantise a bundle, measure the loss on its test images, and save the calibration.

    Args:
        bundle: Folder of the bundle.
        examples: Labelled micrographs; its validation images calibrate, its test images measure.
        may_lose: Largest net share of the test images that may be lost.

    Yields:
        Progress, the last item with the calibration.

    Raises:
        BundleError: The bundle was modified.
        ModelError: Too few of its images are available, the loss is too large, or this computer has
            no int8 engine. An earlier calibration is unchanged.
    """
    loaded = load_bundle(bundle)
    if loaded.manifest.field_embedding:
        raise ModelError(
            f"{bundle.name} computes code and unusual check in one pass of the frozen network, "
            "which stays in fp32; there is nothing to convert."
        )
    taxonomy, sides = loaded.manifest.taxonomy, loaded.manifest.split
    calibration = [example for example in examples if example.key in set(sides["validation"])][
        :_MAX_CALIBRATION
    ]
    test = [example for example in examples if example.key in set(sides["test"])]
    if not calibration or len(test) < _MIN_TEST:
        raise ModelError(
            f"{bundle.name} cannot be converted: {len(test)} of the micrographs it was tested on "
            f"and {len(calibration)} of those it was validated on are still labelled and archived; "
            f"at least {_MIN_TEST} and one are needed to say what it would lose."
        )
    ranges: dict[str, ActivationRanges] = {}
    total = len(calibration) * len(loaded.encoders)
    for index, (name, encoder) in enumerate(loaded.encoders.items()):
        to_observe = (example.load() for example in calibration)
        for done, observed in enumerate(
            observe_ranges(encoder, loaded.manifest.framing, to_observe), 1
        ):
            ranges[name] = observed
            yield Progress("Calibrating int8", index * len(calibration) + done, total)
    int8 = Int8Calibration(bundle.name, ranges)
    quantized = Classifier.load(bundle, device="cpu", precision="int8", int8=int8, as_tested=True)
    reference = Classifier.load(bundle, device="cpu", precision="fp32", as_tested=True)
    answers: tuple[list[FieldPrediction], list[FieldPrediction]] = ([], [])
    for start in range(0, len(test), _BATCH):
        fields = [example.load() for example in test[start : start + _BATCH]]
        answers[0].extend(reference.predict_codes(fields))
        answers[1].extend(quantized.predict_codes(fields))
        yield Progress("Measuring int8", len(answers[0]), len(test))
    codes = [taxonomy.code(*taxonomy.parse(example.code)) for example in test]
    int8 = measure_int8(int8, *answers, codes, [example.group for example in test])
    if int8.lost > may_lose:
        raise ModelError(
            f"{bundle.name} is not converted, it would lose more than {100 * may_lose:.1f} points: "
            f"{int8.sentence()}."
        )
    save_int8_calibration(int8, bundle)
    yield Progress("Measuring int8", len(test), len(test), result=int8)
