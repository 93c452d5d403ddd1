"""Predictions as a bundle makes them, for tests without a network; light, as processes load it."""

from __future__ import annotations

import numpy as np

from model import OodResult, Prediction, default_taxonomy

TAXONOMY = default_taxonomy()


def prediction_of(code: str, *, p_value: float = 0.4, probability: float = 0.9) -> Prediction:
    """Make a prediction for a code, with maps that have a bright spot."""
    subtype, size = TAXONOMY.parse(code)
    low, high = TAXONOMY.size_bounds(size)
    spot = np.full((8, 10), -0.6, np.float16)
    spot[3, 4] = 5.0
    heat = np.full((8, 10), 0.2, np.float16)
    heat[2, 7] = 1.7 if p_value < 0.02 else 0.3
    rest = (1 - probability) / 2
    sizes = dict.fromkeys(("7", "8", "9-10"), rest) | {size: probability}
    return Prediction(
        subtype=subtype,
        subtype_probabilities={"B": 0.03, "G": 0.03, "M": 0.03} | {subtype: 0.94},
        size=size,
        size_min=low,
        size_max=high,
        size_probabilities=sizes,
        structure_code=code,
        probability=0.94 * probability,
        probabilities={subtype + s: share * 0.94 for s, share in sizes.items()},
        prediction_set=(code,),
        subtype_map=spot,
        size_map=spot,
        coarser_share={size: 0.1},
        strangeness=OodResult(
            p_value=p_value,
            flagged=p_value < 0.02,
            whole=1.0,
            local=1.2 if p_value < 0.02 else 0.4,
            where=(40, 20, 60, 40) if p_value < 0.02 else None,
            heat=heat,
            nearest={},
            references=160,
            look="fine",
        ),
        bundle="20261101-0badcafe",
        engine="pytorch",
        precision="fp32",
    )
