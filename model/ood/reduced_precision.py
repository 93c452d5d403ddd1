"""Statistics of the out-of-distribution check for a frozen pass in bf16, in addition to fp32.

Rounding moves features, and whitening magnifies that, so each precision has the statistics of its
own reference features. A PC that is set to bf16 uses them only if it computes the pass to the bits
that they were fitted on; else it uses those of fp32, which every bundle has. MEASURED, third
drawing, 96 reference fields, 60 other ones and 144 unusual ones of eleven kinds: AUROC within 0.003
of fp32, the same 204 flags, p-values within 0.062. Heads are fitted in fp32: on 55 drawn fields
probabilities move by up to 0.032, more than two PCs of a rollout may differ by, so that bf16 is
never chosen by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from model.ood.detector import OodDetector
from model.ood.features import OodFeatureExtractor, rebuild_ood_extractor
from model.runtime.engines import has_bf16_convolutions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from model.data.dataset import Example
    from model.data.feature_cache import FeatureCache
    from model.ood.frozen_pass import FrozenBackbone
    from model.progress import Progress

BF16: Final = "bf16"
"""Key of the statistics among the facts, and start of the names of their tensors."""

_SHARED = ("keys", "codes")
"""Facts that do not depend on the precision."""


def iter_fit_reduced(
    examples: Sequence[Example],
    extractor: OodFeatureExtractor,
    *,
    subtype_of: Callable[[str], str],
    cache: FeatureCache | None = None,
) -> Iterator[Progress[OodDetector]]:
    """Fit a detector on the pass in bf16; nothing is yielded where this PC lacks it.

    Args:
        examples: Labelled fields, in any order.
        extractor: That of the detector in fp32.
        subtype_of: Structure code → subtype.
        cache: Keeps the features of every field for the next fit, or None.

    Yields:
        As `iter_fit_detector`.
    """
    # PyTorch; loading needs none
    from model.ood.fit import ReferenceFeatures, iter_fit_detector  # noqa: PLC0415

    if not has_bf16_convolutions():
        return
    features = ReferenceFeatures(examples, rebuild_ood_extractor(extractor, BF16), cache)
    yield from iter_fit_detector(examples, subtype_of=subtype_of, features=features)


def list_tensors(detector: OodDetector, reduced: OodDetector | None) -> dict[str, NDArray[Any]]:
    """Return the tensors of both detectors."""
    if reduced is None:
        return detector.tensors()
    own = {f"{BF16}/{name}": tensor for name, tensor in reduced.tensors().items()}
    return detector.tensors() | own


def collect_facts(detector: OodDetector, reduced: OodDetector | None) -> dict[str, Any]:
    """Return the facts of both detectors."""
    if reduced is None:
        return detector.facts()
    own = {name: value for name, value in reduced.facts().items() if name not in _SHARED}
    fingerprint = reduced.extractor.frozen_pass.fingerprint()
    return detector.facts() | {BF16: own | {"fingerprint": fingerprint}}


def load_detector(
    tensors: Mapping[str, NDArray[Any]],
    facts: Mapping[str, Any],
    backbone: FrozenBackbone | None = None,
    *,
    precision: str,
) -> OodDetector:
    """Load the detector in bf16 if the bundle has one and this PC computes its bits, else in fp32.

    Args:
        tensors: From `list_tensors`.
        facts: From `collect_facts`.
        backbone: The frozen network; None loads EfficientNet-Lite0.
        precision: "bf16"; anything else loads the one in fp32.

    Raises:
        ModelError: As `OodDetector.from_tensors`.
    """
    own = facts.get(BF16)
    exact = {name: value for name, value in facts.items() if name != BF16}
    if own is not None and precision == BF16 and has_bf16_convolutions():
        start = f"{BF16}/"
        kept = {
            name.removeprefix(start): tensor
            for name, tensor in tensors.items()
            if name.startswith(start)
        }
        reduced = OodDetector.from_tensors(kept, exact | own, backbone)
        if reduced.extractor.frozen_pass.fingerprint() == own["fingerprint"]:
            return reduced
    return OodDetector.from_tensors(tensors, exact, backbone)
