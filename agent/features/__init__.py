"""What the frozen networks saw of each crop, kept next to the archive."""

from __future__ import annotations

from agent.features.embeddings import (
    MOST_POINTS,
    EmbeddingMap,
    Similar,
    SimilarIndex,
    compute_map,
    load_map,
    save_map,
)
from agent.features.feature_folder import (
    FeatureFolder,
    Selected,
    ShardFault,
    compute_key,
    tend_folder,
)
from agent.features.feature_rows import FeatureBuffer, FeatureRow, FormOfRows, build_row, to_batch

__all__ = [
    "MOST_POINTS",
    "EmbeddingMap",
    "FeatureBuffer",
    "FeatureFolder",
    "FeatureRow",
    "FormOfRows",
    "Selected",
    "ShardFault",
    "Similar",
    "SimilarIndex",
    "build_row",
    "compute_key",
    "compute_map",
    "load_map",
    "save_map",
    "tend_folder",
    "to_batch",
]
