"""Look once at labelled images before any network learns from them.

In:  the bundle at work, `Example`s. Out: steps, the last with what was seen of each. Next: `doubt`.
What the bundle learned from it has an embedding of; only what it has not is looked at, through the
frozen network of its strangeness.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from model.data.near_duplicates import signature
from model.evaluation.metrics import taken
from model.progress import Step

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from model.data.dataset import Example
    from model.inference.classifier import Classifier


@dataclass(frozen=True, slots=True)
class Inspected:
    """What was seen of one labelled image.

    Args:
        example: The image.
        signature: (4096,) float32, its fine texture, from `leakage`.
        embedding: (d,) float32 of length one, the whole field through the frozen network.
        flagged: Whether it is strange to the bundle at work; False for what that learned from.
    """

    example: Example
    signature: NDArray[np.float32]
    embedding: NDArray[np.float32]
    flagged: bool

    @property
    def key(self) -> str:
        """Its content."""
        return self.example.key

    @property
    def code(self) -> str:
        """The structure code it was given."""
        return self.example.code


def inspecting(
    classifier: Classifier, examples: Sequence[Example]
) -> Iterator[Step[tuple[Inspected, ...]]]:
    """Look at every example.

    Args:
        classifier: The bundle at work.
        examples: Labelled images, old and new.
    """
    known = classifier.known_embeddings()
    seen: list[Inspected] = []
    for example in examples:
        field = taken(example)
        if example.key in known:
            embedding, flagged = known[example.key], False
        else:
            embedding, strangeness = classifier.glance(field)
            flagged = strangeness.flagged
        seen.append(Inspected(example, signature(field), embedding, flagged))
        yield Step("hygiene", len(seen), len(examples))
    yield Step("hygiene", len(seen), len(examples), found=tuple(seen))
