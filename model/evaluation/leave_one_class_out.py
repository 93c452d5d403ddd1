"""Leave a structure code out of what is taught, and see whether its images are called strange.

In:  labelled `Example`s and a code. Out: steps, the last with a `LeftOut`. Next: `agent evaluate
--leave-out`. The classical test of near strangeness: no image need be drawn or found for it. Only
what is ordinary is learned again; no network is trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from model.evaluation.metrics import auroc, auroc_interval, fpr95
from model.ood.fit import iter_fit_detector
from model.progress import Step
from model.statistics import wilson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from model.data.dataset import Example
    from model.networks.backbones import Backbone


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How the images of a code that was not taught fared.

    Args:
        code: The code. n: how many images of it.
        auroc: Against the other codes' images, each measured by models that had not seen it.
        fpr95: Share of those that look as strange as all but 5 % of the left-out ones.
        flagged: How many were flagged. alpha: at this alarm rate.
        known: Images of the other codes.
    """

    code: str
    n: int
    auroc: float | None
    fpr95: float | None
    flagged: int
    alpha: float
    known: int

    def as_json(self) -> dict[str, Any]:
        """Give it with intervals."""
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
) -> Iterator[Step[LeftOut]]:
    """Learn what is ordinary without a code, and judge the code's images.

    Args:
        code: The code.
        examples: Labelled images of it and of others.
        backbone: The frozen network; None takes EfficientNet-Lite0 with its ImageNet weights.
        subtype_of: Structure code → subtype.
        alpha: The alarm rate.

    Raises:
        TrainingError: Too few images of other codes.
        ModelError: Too few for the alarm rate.
    """
    left = [example for example in examples if example.code == code]
    rest = [example for example in examples if example.code != code]
    total = 2 * len(rest) + len(left)
    stage = f"Leaving out {code}"
    known = None
    for step in iter_fit_detector(rest, backbone, subtype_of=subtype_of):
        known = step.known
        yield Step(stage, step.done, total)
    if known is None:
        return
    known.require(alpha)
    found = []
    for example in left:
        found += known.score([example.load()], alpha)
        yield Step(stage, 2 * len(rest) + len(found), total)
    strange, ordinary = [-one.score for one in found], -known.scores()
    yield Step(
        stage,
        total,
        total,
        found=LeftOut(
            code=code,
            n=len(left),
            auroc=auroc(strange, ordinary),
            fpr95=fpr95(strange, np.sort(ordinary)),
            flagged=sum(one.flagged for one in found),
            alpha=alpha,
            known=len(rest),
        ),
    )
