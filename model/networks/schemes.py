"""Classification schemes: which heads and encoders exist and how their outputs are combined.

`two-stage` predicts the subtype first and then runs only that subtype's size network; `global`
predicts the structure code directly; `multi-head` has one shared network for all heads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.taxonomy import Taxonomy

SCHEMES = ("two-stage", "global", "multi-head")

SUBTYPE, CODE = "subtype", "code"
"""Names of the subtype head and the code head; `size_head` names the others."""


def size_head(subtype: str) -> str:
    """Return the name of the head that classifies the sizes of a subtype."""
    return f"size:{subtype}"


@dataclass(frozen=True, slots=True)
class Head:
    """A linear classifier on the mean of a feature map.

    Args:
        name: "subtype", "code" or, for a size head, such as "size:G".
        encoder: Name of the encoder whose features it classifies.
        classes: Names of its k classes, in the order of the logits.
        weight: (k, c) float32.
        bias: (k,) float32; the logits of a field whose mean features are `centre`.
        centre: (c,) float32, mean features of the training images; evidence maps are relative to
            it.
        temperature: Divisor of the logits before softmax; > 1 means less confident.
    """

    name: str
    encoder: str
    classes: tuple[str, ...]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    centre: NDArray[np.float32]
    temperature: float = 1.0

    def logits(self, embedding: NDArray[np.float32]) -> NDArray[np.float64]:
        """Compute the logits of (n, c) embeddings as (n, k) float64."""
        centred = embedding.astype(np.float64) - self.centre
        return centred @ self.weight.astype(np.float64).T + self.bias

    def probabilities(self, embedding: NDArray[np.float32]) -> NDArray[np.float64]:
        """Compute calibrated probabilities of (n, c) embeddings as (n, k) float64."""
        return softmax(self.logits(embedding) / self.temperature)

    def with_temperature(self, temperature: float) -> Head:
        """Return a copy of the head with another temperature."""
        return replace(self, temperature=temperature)


@dataclass(frozen=True, slots=True)
class FieldPrediction:
    """The class probabilities of one field, and the heads that determined them.

    Args:
        subtype: Subtype → probability; sums to 1.
        sizes: Size → probability given the most probable subtype; sums to 1.
        codes: Structure code → probability; of the predicted subtype in "two-stage", else of all.
        subtype_head: Head name and class index of the evidence for the subtype.
        size_evidence: The same for the size, or None if the subtype has one size.
    """

    subtype: dict[str, float]
    sizes: dict[str, float]
    codes: dict[str, float]
    subtype_head: tuple[str, int]
    size_evidence: tuple[str, int] | None

    @property
    def best(self) -> tuple[str, str]:
        """The most probable subtype, and its most probable size."""
        return max(self.subtype, key=self.subtype.__getitem__), max(
            self.sizes, key=self.sizes.__getitem__
        )

    @property
    def margin(self) -> float:
        """Smaller of the two gaps between best and second best, for subtype and size."""
        return min(_top2_gap(self.subtype), _top2_gap(self.sizes))


@dataclass(frozen=True, slots=True)
class Scheme:
    """Set of heads for a taxonomy, and the rule that combines their probabilities.

    Args:
        kind: One of `SCHEMES`.
        taxonomy: The classes; only its trained sizes get heads.
    """

    kind: str
    taxonomy: Taxonomy

    def heads(self) -> dict[str, tuple[str, ...]]:
        """Return the classes of every head by its name, the first stage first."""
        trained = [s for s in self.taxonomy.subtypes if s.trained_sizes]
        if self.kind == "global":
            return {CODE: self.taxonomy.trained_codes}
        heads = {SUBTYPE: tuple(s.name for s in trained)}
        for subtype in trained:
            if len(subtype.trained_sizes) > 1:
                heads[size_head(subtype.name)] = tuple(size.name for size in subtype.trained_sizes)
        return heads

    def encoders(self) -> dict[str, tuple[str, ...]]:
        """Return the heads of each encoder: one encoder per head, or one "shared" for all."""
        names = tuple(self.heads())
        return {name: (name,) for name in names} if self.kind == "two-stage" else {"shared": names}

    def target(self, head: str, code: str) -> int | None:
        """Return the class index of a code in a head, or None if the head has no class for it."""
        subtype, size = self.taxonomy.parse(code)
        classes = self.heads()[head]
        if head == CODE:
            return classes.index(code) if code in classes else None
        if head == SUBTYPE:
            return classes.index(subtype)
        return classes.index(size) if head == size_head(subtype) and size in classes else None

    def first_stage(self) -> tuple[str, ...]:
        """Return the names of the heads that are evaluated for every field."""
        return tuple(self.heads()) if self.kind != "two-stage" else tuple(self.heads())[:1]

    def second_stage(self, subtype: str) -> str | None:
        """Return the name of the size head of a subtype, or None if it has one size."""
        name = size_head(subtype)
        return name if name in self.heads() else None

    def combine(self, probabilities: Mapping[str, NDArray[np.float64]]) -> FieldPrediction:
        """Combine the probabilities of the heads for one field.

        Args:
            probabilities: (k,) float64 per head: of the first stage and, in "two-stage", of the
                size head of the most probable subtype.
        """
        if self.kind == "global":
            return self._from_codes(probabilities[CODE])
        names = self.heads()[SUBTYPE]
        subtype = dict(zip(names, map(float, probabilities[SUBTYPE]), strict=True))
        best = max(subtype, key=subtype.__getitem__)
        evaluated = names if self.kind == "multi-head" else (best,)
        codes = {
            self.taxonomy.code(name, size): subtype[name] * probability
            for name in evaluated
            for size, probability in self._sizes(name, probabilities).items()
        }
        sizes = self._sizes(best, probabilities)
        head = self.second_stage(best)
        evidence = None
        if head is not None:
            evidence = (head, int(np.argmax(probabilities[head])))
        return FieldPrediction(subtype, sizes, codes, (SUBTYPE, names.index(best)), evidence)

    def _sizes(
        self, subtype: str, probabilities: Mapping[str, NDArray[np.float64]]
    ) -> dict[str, float]:
        head = self.second_stage(subtype)
        if head is None:
            return {self.taxonomy.subtype(subtype).trained_sizes[0].name: 1.0}
        return dict(zip(self.heads()[head], map(float, probabilities[head]), strict=True))

    def _from_codes(self, probabilities: NDArray[np.float64]) -> FieldPrediction:
        names = self.heads()[CODE]
        codes = dict(zip(names, map(float, probabilities), strict=True))
        subtype: dict[str, float] = {}
        for code, probability in codes.items():
            name, _ = self.taxonomy.parse(code)
            subtype[name] = subtype.get(name, 0.0) + probability
        best_code = max(codes, key=codes.__getitem__)
        best, _ = self.taxonomy.parse(best_code)
        # Summed over its sizes another subtype can win; the subtype decides, as in "two-stage".
        if max(subtype, key=subtype.__getitem__) != best:
            best = max(subtype, key=subtype.__getitem__)
            best_code = max(
                (c for c in codes if self.taxonomy.parse(c)[0] == best), key=codes.__getitem__
            )
        joint = {
            self.taxonomy.parse(c)[1]: p
            for c, p in codes.items()
            if self.taxonomy.parse(c)[0] == best
        }
        total = sum(joint.values()) or 1.0
        head = (CODE, names.index(best_code))
        sizes = {size: probability / total for size, probability in joint.items()}
        return FieldPrediction(subtype, sizes, codes, head, head if len(joint) > 1 else None)


def _top2_gap(probabilities: Mapping[str, float]) -> float:
    descending = sorted(probabilities.values(), reverse=True)
    return descending[0] - descending[1] if len(descending) > 1 else 1.0


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the softmax along the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), dtype=np.float64)


def soft_targets(
    indices: Sequence[int], classes: int, *, neighbour: float, smoothing: float = 0.0
) -> NDArray[np.float32]:
    """Compute soft targets by ordinal and uniform label smoothing.

    Args:
        indices: The true classes.
        classes: Number of classes.
        neighbour: Probability mass moved from the true class to its neighbours, half to each, or
            all to the only neighbour at an end. For sizes, which raters confuse with neighbours.
        smoothing: Probability mass spread uniformly over all classes.

    Returns:
        (n, classes) float32; rows sum to 1.
    """
    targets = np.zeros((len(indices), classes), np.float32)
    for row, index in enumerate(indices):
        neighbours = [i for i in (index - 1, index + 1) if 0 <= i < classes]
        targets[row, index] = 1.0 - (neighbour if neighbours else 0.0)
        for other in neighbours:
            targets[row, other] = neighbour / len(neighbours)
    return targets * (1.0 - smoothing) + smoothing / classes


@dataclass(frozen=True, slots=True)
class HeadLayer:
    """The heads of one encoder, stacked to a single linear layer.

    Args:
        heads: The heads, in the order of their rows.
        weight: (k, c) float64; k is the number of classes of all heads.
        offset: (k,) float64; logits are `weight @ features + offset`.
    """

    heads: tuple[Head, ...]
    weight: NDArray[np.float64]
    offset: NDArray[np.float64]

    @classmethod
    def from_heads(cls, heads: Sequence[Head], channels: int) -> HeadLayer:
        """Stack heads, possibly none, that classify features of `channels` channels."""
        weights = [head.weight.astype(np.float64) for head in heads]
        offsets = [head.bias - w @ head.centre for head, w in zip(heads, weights, strict=True)]
        return cls(
            tuple(heads),
            np.concatenate([np.zeros((0, channels)), *weights]),
            np.concatenate([np.zeros(0), *offsets]),
        )

    def split_by_head(self, by_cell: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Split (k, rows, columns) logits by head name."""
        ends = np.cumsum([len(head.classes) for head in self.heads])[:-1]
        parts = np.split(by_cell, ends) if self.heads else []
        return {head.name: part for head, part in zip(self.heads, parts, strict=True)}


def logits_by_cell(features: NDArray[np.float32], layer: HeadLayer) -> NDArray[np.float32]:
    """Apply the heads to every cell of a feature map.

    Args:
        features: (c, rows, columns) float32, feature map of one field.
        layer: The heads of the encoder.

    Returns:
        (k, rows, columns) float32; the weighted mean over cells is the field's logits.
    """
    import torch  # noqa: PLC0415 - whoever only reads the heads' shapes does without

    cells = torch.from_numpy(features).flatten(1).double()  # (c, cells)
    logits = torch.from_numpy(layer.weight) @ cells + torch.from_numpy(layer.offset)[:, None]
    return logits.float().numpy().reshape(-1, *features.shape[1:])
