"""Estimate heads on images that they were not fitted on, from their out-of-fold logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from model.calibration import prediction_set
from model.evaluation.cases import Case, compute_probability
from model.evaluation.evaluation import Evaluation
from model.networks.schemes import softmax
from model.statistics import wilson_in_clusters
from model.training.frozen_heads import FOLDS, assign_folds
from model.training.head_calibration import calibrate_heads

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from model.calibration import SetLevels
    from model.data.dataset import Example
    from model.networks.schemes import Head, Scheme
    from model.training.head_calibration import HeadLogits


def build_cross_validation(
    examples: Sequence[Example],
    scheme: Scheme,
    heads: Mapping[str, Head],
    logits: HeadLogits,
    *,
    seed: int,
) -> dict[str, Any]:
    """Estimate accuracy and calibration over everything that heads learned from.

    No image is counted with heads that learned from its group; temperatures and the level of its
    prediction set are from the other folds too. Only the penalty of the heads was chosen on all
    folds.

    Args:
        examples: What the heads learned from.
        scheme: Combines the heads.
        heads: Heads by name.
        logits: Out-of-fold logits of each head, in the order of the examples.
        seed: Of the folds, as the heads were fitted with.

    Returns:
        For the model card; {} if no image has logits.
    """
    cases = tuple(_iter_cases(examples, scheme, heads, logits, assign_folds(examples, seed)))
    if not cases:
        return {}
    evaluation = Evaluation("", scheme.taxonomy, cases, 0, 0.0, {})
    groups: dict[str, list[bool]] = {}
    for case in cases:
        groups.setdefault(case.group, []).append(case.right)
    accuracy = wilson_in_clusters(
        [sum(right) for right in groups.values()], [len(right) for right in groups.values()]
    )
    nll, ece = evaluation.nll, evaluation.ece
    return {
        "n": len(cases),
        "groups": len(groups),
        "folds": FOLDS,
        "left_out": len(examples) - len(cases),
        "accuracy": accuracy.as_json(),
        "macro_f1": evaluation.macro_f1.as_json(),
        "nll": nll.value,
        "nll_interval": [nll.low, nll.high],
        "ece": ece.value,
        "ece_interval": [ece.low, ece.high],
        "coverage": evaluation.coverage.as_json(),
        "per_code": evaluation.per_code(),
    }


def _iter_cases(
    examples: Sequence[Example],
    scheme: Scheme,
    heads: Mapping[str, Head],
    logits: HeadLogits,
    folds: NDArray[np.intp],
) -> Iterator[Case]:
    """Yield a case per image that has logits of every head."""
    complete = ~np.any([np.isnan(rows).any(axis=1) for rows in logits.values()], axis=0)
    for fold in np.unique(folds):
        others = np.flatnonzero(folds != fold)
        calibrated, levels = calibrate_heads(
            [examples[int(row)] for row in others],
            scheme,
            heads,
            {name: rows[others] for name, rows in logits.items()},
        )
        for row in np.flatnonzero((folds == fold) & complete):
            yield _build_case(
                examples[int(row)],
                scheme,
                {name: logits[name][row] / head.temperature for name, head in calibrated.items()},
                levels,
            )


def _build_case(
    example: Example,
    scheme: Scheme,
    logits: Mapping[str, NDArray[np.float64]],
    levels: SetLevels,
) -> Case:
    answer = scheme.combine({name: softmax(row) for name, row in logits.items()})
    code = scheme.taxonomy.code(*answer.best)
    return Case(
        key=example.key,
        group=example.group,
        true=example.code,
        predicted=code,
        probability=answer.codes[code],
        true_probability=compute_probability(
            example.code, answer.codes, answer.subtype, scheme.taxonomy
        ),
        prediction_set=prediction_set(answer, scheme.taxonomy, levels),
        p_value=1.0,
        flagged=False,
        slices={},
    )
