"""Evaluate OOD detection on a structure code that is left out of the reference images.

The standard test of near-OOD detection: it needs no unusual images. Only the OOD detector is
fitted again; no network is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.data.dataset import Example
from model.evaluation.metrics import auroc, auroc_interval, fpr95
from model.networks.backbones import Backbone
from model.ood.fit import iter_fit_detector
from model.progress import Progress
from model.statistics import wilson


@dataclass(frozen=True, slots=True)
class LeaveOutResult:
    """OOD results on the images of a code that was left out.

    Args:
        code: The code.
        n: Number of its images.
        auroc: Against images of the other codes, each scored by models not fitted on it.
        fpr95: Share of those that score as high as 95 % of the left-out images.
        flagged: Number of images of the code that were flagged.
        alpha: Alarm rate.
        known: Number of images of the other codes.
    """

    code: str
    n: int
    auroc: float | None
    fpr95: float | None
    flagged: int
    alpha: float
    known: int

    def as_json(self) -> dict[str, Any]:
        """Return the numbers with their intervals."""
        share = wilson(self.flagged, self.n)
        return {
            "n": self.n,
            "known": self.known,
            "auroc": self.auroc,
            "auroc_interval": auroc_interval(self.auroc, self.n, self.known),
            "fpr95": self.fpr95,
            "tpr_at_alpha": share.value,
            "tpr_interval": [share.low, share.high],
            "alpha": self.alpha,
        }


def leave_out(
    code: str,
    examples: Sequence[Example],
    backbone: Backbone | None = None,
    *,
    subtype_of: Callable[[str], str],
    alpha: float,
) -> Iterator[Progress[LeaveOutResult]]:
    """Fit an OOD detector without a code, and score the code's images.

    Args:
        code: The code.
        examples: Labelled images of it and of others.
        backbone: Frozen network; None loads EfficientNet-Lite0 with its ImageNet weights.
        subtype_of: Structure code → subtype.
        alpha: The alarm rate.

    Yields:
        Progress, the last item with the result.

    Raises:
        TrainingError: Too few images of other codes.
        ModelError: Too few for the alarm rate.
    """
    left_out = [example for example in examples if example.code == code]
    reference = [example for example in examples if example.code != code]
    total = 2 * len(reference) + len(left_out)
    stage = f"Leaving out {code}"
    detector = None
    for progress in iter_fit_detector(reference, backbone, subtype_of=subtype_of):
        detector = progress.result
        yield Progress(stage, progress.done, total)
    if detector is None:
        return
    detector.require(alpha)
    results = []
    for example in left_out:
        results += detector.score([example.load()], alpha)
        yield Progress(stage, 2 * len(reference) + len(results), total)
    unusual, ordinary = [-result.score for result in results], -detector.scores()
    yield Progress(
        stage,
        total,
        total,
        result=LeaveOutResult(
            code=code,
            n=len(left_out),
            auroc=auroc(unusual, ordinary),
            fpr95=fpr95(unusual, np.sort(ordinary)),
            flagged=sum(result.flagged for result in results),
            alpha=alpha,
            known=len(reference),
        ),
    )
