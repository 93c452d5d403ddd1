"""What the frozen networks saw of each crop, kept next to the archive."""

from __future__ import annotations

from agent.features.embedding_map import (
    MOST_POINTS,
    EmbeddingMap,
    compute_map,
    load_map,
    save_map,
)
from agent.features.feature_buffer import FeatureBuffer
from agent.features.feature_folder import (
    FeatureFolder,
    FeatureStatus,
    Selected,
    ShardFault,
    compute_key,
)
from agent.features.feature_rows import (
    FeatureRow,
    FormOfRows,
    build_row,
    to_batch,
)
from agent.features.similar import Similar, SimilarIndex
from agent.features.tending import tend_folder

__all__ = [
    "MOST_POINTS",
    "EmbeddingMap",
    "FeatureBuffer",
    "FeatureFolder",
    "FeatureRow",
    "FeatureStatus",
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
