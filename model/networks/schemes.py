"""Turn what networks see into subtype, size and code, in one of three schemes.

In:  logits of each head. Out: probabilities of subtype, size and code. Next: `classify`.
`two-stage` asks for the subtype and then only the size network of that subtype; `global` asks for
the code at once; `multi-head` asks one network everything. All three answer in the same words.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from model.taxonomy import Taxonomy

SCHEMES = ("two-stage", "global", "multi-head")

SUBTYPE, CODE = "subtype", "code"
"""Names of heads; that of a size head is "size:" and its subtype."""


def size_head(subtype: str) -> str:
    """Give the name of the head that tells the sizes of a subtype apart."""
    return f"size:{subtype}"


@dataclass(frozen=True, slots=True)
class Head:
    """A linear layer over the mean of a feature map.

    Args:
        name: "subtype", "code" or "size:G".
        eye: Name of the network it looks through.
        classes: What its logits stand for.
        weight: (k, c) float32.
        bias: (k,) float32; the logits of a field whose mean features are `centre`.
        centre: (c,) float32, mean features of the training images, so that evidence is relative
            to the ordinary.
        temperature: Logits are divided by it to make probabilities; > 1 means less sure.
    """

    name: str
    eye: str
    classes: tuple[str, ...]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    centre: NDArray[np.float32]
    temperature: float = 1.0

    def logits(self, embedding: NDArray[np.float32]) -> NDArray[np.float64]:
        """Give the logits of (n, c) embeddings as (n, k) float64."""
        offset = embedding.astype(np.float64) - self.centre
        return offset @ self.weight.astype(np.float64).T + self.bias

    def probabilities(self, embedding: NDArray[np.float32]) -> NDArray[np.float64]:
        """Give calibrated probabilities of (n, c) embeddings as (n, k) float64."""
        return softmax(self.logits(embedding) / self.temperature)

    def cooled(self, temperature: float) -> Head:
        """Give the same head with another temperature."""
        return replace(self, temperature=temperature)


@dataclass(frozen=True, slots=True)
class Answer:
    """The probabilities of one field, and which heads gave them.

    Args:
        subtype: Name → probability. sizes: size → probability inside the most probable subtype.
        codes: Structure code → probability; of the predicted subtype in "two-stage", else of all.
        subtype_head: Head and class whose evidence speaks for the subtype.
        size_evidence: The same for the size, or None where the subtype has one size.
    """

    subtype: dict[str, float]
    sizes: dict[str, float]
    codes: dict[str, float]
    subtype_head: tuple[str, int]
    size_evidence: tuple[str, int] | None

    @property
    def best(self) -> tuple[str, str]:
        """The most probable subtype and the most probable size inside it."""
        return max(self.subtype, key=self.subtype.__getitem__), max(
            self.sizes, key=self.sizes.__getitem__
        )

    @property
    def margin(self) -> float:
        """How far the second best lies behind the best, in the closer one of both stages."""
        return min(_behind(self.subtype), _behind(self.sizes))


@dataclass(frozen=True, slots=True)
class Scheme:
    """Which heads there are, and how their answers are joined.

    Args:
        kind: One of `SCHEMES`.
        taxonomy: What is taught.
    """

    kind: str
    taxonomy: Taxonomy

    def heads(self) -> dict[str, tuple[str, ...]]:
        """Give every head's classes by its name, the first stage first."""
        trained = [s for s in self.taxonomy.subtypes if s.trained_sizes]
        if self.kind == "global":
            return {CODE: self.taxonomy.trained_codes}
        heads = {SUBTYPE: tuple(s.name for s in trained)}
        for subtype in trained:
            if len(subtype.trained_sizes) > 1:
                heads[size_head(subtype.name)] = tuple(z.name for z in subtype.trained_sizes)
        return heads

    def encoders(self) -> dict[str, tuple[str, ...]]:
        """Say which heads look through which network: one each, or all through one."""
        names = tuple(self.heads())
        return {name: (name,) for name in names} if self.kind == "two-stage" else {"shared": names}

    def target(self, head: str, code: str) -> int | None:
        """Give the class index a code stands for in a head, or None where the head is not asked."""
        subtype, size = self.taxonomy.parse(code)
        classes = self.heads()[head]
        if head == CODE:
            return classes.index(code) if code in classes else None
        if head == SUBTYPE:
            return classes.index(subtype)
        return classes.index(size) if head == size_head(subtype) and size in classes else None

    def first_stage(self) -> tuple[str, ...]:
        """The heads that every field is asked."""
        return tuple(self.heads()) if self.kind != "two-stage" else tuple(self.heads())[:1]

    def second_stage(self, subtype: str) -> str | None:
        """The size head of a subtype, where it has one."""
        name = size_head(subtype)
        return name if name in self.heads() else None

    def answer(self, probabilities: Mapping[str, NDArray[np.float64]]) -> Answer:
        """Join the heads' probabilities of one field.

        Args:
            probabilities: (k,) float64 per head: of the first stage and, in "two-stage", of the
                size head of the most probable subtype.
        """
        if self.kind == "global":
            return self._from_codes(probabilities[CODE])
        names = self.heads()[SUBTYPE]
        subtype = dict(zip(names, map(float, probabilities[SUBTYPE]), strict=True))
        best = max(subtype, key=subtype.__getitem__)
        asked = names if self.kind == "multi-head" else (best,)
        codes = {
            self.taxonomy.code(name, size): subtype[name] * share
            for name in asked
            for size, share in self._sizes(name, probabilities).items()
        }
        sizes = self._sizes(best, probabilities)
        head = self.second_stage(best)
        evidence = None
        if head is not None:
            evidence = (head, int(np.argmax(probabilities[head])))
        return Answer(subtype, sizes, codes, (SUBTYPE, names.index(best)), evidence)

    def _sizes(
        self, subtype: str, probabilities: Mapping[str, NDArray[np.float64]]
    ) -> dict[str, float]:
        head = self.second_stage(subtype)
        if head is None:
            return {self.taxonomy.subtype(subtype).trained_sizes[0].name: 1.0}
        return dict(zip(self.heads()[head], map(float, probabilities[head]), strict=True))

    def _from_codes(self, probabilities: NDArray[np.float64]) -> Answer:
        names = self.heads()[CODE]
        codes = dict(zip(names, map(float, probabilities), strict=True))
        subtype: dict[str, float] = {}
        for code, share in codes.items():
            name, _ = self.taxonomy.parse(code)
            subtype[name] = subtype.get(name, 0.0) + share
        best_code = max(codes, key=codes.__getitem__)
        best, _ = self.taxonomy.parse(best_code)
        if max(subtype, key=subtype.__getitem__) != best:  # the code's subtype is what is answered
            best = max(subtype, key=subtype.__getitem__)
            best_code = max(
                (c for c in codes if self.taxonomy.parse(c)[0] == best), key=codes.__getitem__
            )
        inside = {
            self.taxonomy.parse(c)[1]: p
            for c, p in codes.items()
            if self.taxonomy.parse(c)[0] == best
        }
        total = sum(inside.values()) or 1.0
        head = (CODE, names.index(best_code))
        sizes = {size: share / total for size, share in inside.items()}
        return Answer(subtype, sizes, codes, head, head if len(inside) > 1 else None)


def _behind(shares: Mapping[str, float]) -> float:
    ordered = sorted(shares.values(), reverse=True)
    return ordered[0] - ordered[1] if len(ordered) > 1 else 1.0


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn logits into probabilities along the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), dtype=np.float64)


def soft_targets(
    indices: Sequence[int], classes: int, *, neighbour: float = 0.0, smoothing: float = 0.0
) -> NDArray[np.float32]:
    """Give (n, classes) float32 targets that leave some doubt.

    Args:
        indices: The true classes.
        classes: How many there are.
        neighbour: Share given away to the neighbouring classes, half to each; the whole share to
            the only one at an end. For sizes, which raters mistake for their neighbours.
        smoothing: Share given to all classes alike.
    """
    targets = np.zeros((len(indices), classes), np.float32)
    for row, index in enumerate(indices):
        near = [i for i in (index - 1, index + 1) if 0 <= i < classes]
        targets[row, index] = 1.0 - (neighbour if near else 0.0)
        for other in near:
            targets[row, other] = neighbour / len(near)
    return targets * (1.0 - smoothing) + smoothing / classes


@dataclass(frozen=True, slots=True)
class HeadLayer:
    """The linear layers of all heads that look through one network, one below the other.

    Args:
        heads: Whose.
        weight: (k, c) float64, k classes in all.
        offset: (k,) float64; logits are `weight @ features + offset`.
    """

    heads: tuple[Head, ...]
    weight: NDArray[np.float64]
    offset: NDArray[np.float64]

    @classmethod
    def of(cls, heads: Sequence[Head], channels: int) -> HeadLayer:
        """Join heads, or none, that look at a map of so many channels."""
        weights = [head.weight.astype(np.float64) for head in heads]
        offsets = [head.bias - w @ head.centre for head, w in zip(heads, weights, strict=True)]
        return cls(
            tuple(heads),
            np.concatenate([np.zeros((0, channels)), *weights]),
            np.concatenate([np.zeros(0), *offsets]),
        )

    def of_each(self, by_cell: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Give each head its own of (k, rows, columns) logits."""
        ends = np.cumsum([len(head.classes) for head in self.heads])[:-1]
        parts = np.split(by_cell, ends) if self.heads else []
        return {head.name: part for head, part in zip(self.heads, parts, strict=True)}


def logits_by_cell(features: NDArray[np.float32], layer: HeadLayer) -> NDArray[np.float32]:
    """Give the logits that every cell would have as a field of its own.

    Args:
        features: (c, rows, columns) float32, one field's feature map.
        layer: Of the heads that judge it.

    Returns:
        (k, rows, columns) float32; the mean over valid cells is the field's logits.
    """
    found = np.tensordot(layer.weight, features, axes=1) + layer.offset[:, None, None]
    return found.astype(np.float32)
