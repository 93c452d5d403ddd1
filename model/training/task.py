"""One network to train with its heads, and the results."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from model.data.dataset import Example
    from model.framing import Framing
    from model.networks.encoder import Encoder
    from model.networks.schemes import Head, Scheme
    from model.training.checkpoint import Epoch


@dataclass(slots=True)
class TrainingTask:
    """One network to train, and the results.

    Args:
        encoder: The network; it is changed in place.
        name: Its name in the bundle.
        heads: Names of its heads.
        scheme: Defines the classes of the heads.
        framing: How fields become frames.
        train: Training examples.
        validation: Examples that select the best epoch.
        fitted_heads: The heads, after the training.
        epochs: Results of all epochs, including those before an interruption.
        plain: Key → (c,) embedding by the shared frozen pass that another step has computed.
        views: Key → (views, c) embeddings by a frozen network, so that no image is embedded twice.
    """

    encoder: Encoder
    name: str
    heads: tuple[str, ...]
    scheme: Scheme
    framing: Framing
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    fitted_heads: dict[str, Head] = field(default_factory=dict)
    epochs: list[Epoch] = field(default_factory=list)
    plain: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    views: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def select_examples(self, examples: Sequence[Example]) -> list[Example]:
        """Return the examples that at least one of the heads has a class for."""
        return [
            example
            for example in examples
            if any(self.scheme.target(head, example.code) is not None for head in self.heads)
        ]
