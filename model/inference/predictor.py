"""Ask networks about fields, head after head: a GPU where it answers, the CPU where it is surer.

In:  `Field`s. Out: a `Judged` each. Next: `classify`.
On a GPU the next fields are framed, and the last ones used, while it looks. What it cannot answer
for the moment, and what it finds too close to call, is answered by the CPU in fp32.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from model.errors import GpuError
from model.inference.feature_extractor import DeviceFrame, FeatureExtractor, FieldFeatures, prefetch
from model.runtime.engines import Engine, choose_engine
from model.runtime.quantization import quantize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from model.framing import Field, Frame, Framing
    from model.networks.encoder import Encoder
    from model.networks.schemes import Answer, Head, Scheme
    from model.runtime.quantization import Int8Calibration

ENGINE_DIFFERENCE = 0.02
"""How far probabilities of two engines may lie apart; a closer decision is made again in fp32."""

_AT_FIRST, _TOGETHER = 8, 16
"""Fields that are framed and judged at once."""

_MOST_ON_GPU, _MOST_PX_ON_GPU = 256, 1 << 27
"""On a GPU more, as the last batch of each subtype is filled up; 32 of 1994 px, so that it has room
for them."""

_JUDGING = 2
"""Threads that judge what a GPU saw: while one thinks, the GPU looks for the other."""

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class RawPrediction:
    """What was answered about one field, and what was seen for it.

    Args:
        answer: With its doubt.
        frames: What was shown.
        sights: What each network saw, by its name.
        engine: What ran them.
    """

    answer: Answer
    frames: list[Frame]
    sights: dict[str, FieldFeatures]
    engine: Engine


class Predictor:
    """Networks and heads at work; which fields come together changes no answer.

    Args:
        scheme: How the heads are joined.
        framing: How fields are shown.
        eyes: Networks by name.
        heads: Heads by name.
        engine: What runs them.
        cache: Folder for compiled forms, or None.
        eight: How the networks count in eight bits, for an engine that does.

    `engine` is what runs them; `trouble` a sentence while a GPU does not answer, or "".
    """

    def __init__(
        self,
        scheme: Scheme,
        framing: Framing,
        eyes: Mapping[str, Encoder],
        heads: Mapping[str, Head],
        engine: Engine,
        *,
        cache: Path | None = None,
        eight: Int8Calibration | None = None,
    ) -> None:
        self.engine = engine
        self.degraded_reason = ""
        self._scheme, self._framing, self._eyes, self._heads = scheme, framing, eyes, heads
        self._difference = eight.difference if eight else ENGINE_DIFFERENCE
        ready = {n: quantize(eye, eight.ranges[n]) for n, eye in eyes.items()} if eight else eyes
        self._exact: FeatureExtractor | None = None
        self._making = Lock()
        try:
            self._gaze = FeatureExtractor(framing, ready, engine, cache, heads.values())
        except GpuError as error:
            self._note(error)
            self._gaze = self._exactly()
            self.engine = self._gaze.engine

    def by_group(
        self, fields: Sequence[Field]
    ) -> Iterator[tuple[Sequence[Field], list[RawPrediction]]]:
        """Judge fields group by group; a GPU has the next ones framed, and the last one used."""
        if self.engine.on_gpu:
            framed = prefetch(self._framed, self._groups(fields))
            judged = prefetch(self._judged, framed, _JUDGING)
        else:
            judged = map(self._judged, map(self._framed, self._groups(fields)))
        return zip(self._groups(fields), judged, strict=True)

    def shares(self, head: Head, fields: Sequence[Field]) -> list[NDArray[np.float64]]:
        """Give what one head says of every field, (k,) each: its classes' probabilities."""

        def ask(framed: _Framed) -> list[NDArray[np.float64]]:
            asked = _Asked(framed)
            asked.ask(head, range(len(fields)))
            return [shares[head.name] for shares in asked.shares]

        return self._by_either(self._framed(fields), ask)

    def stride(self, eye: str) -> int:
        """Pixels of a frame per cell of a network's map."""
        return self._gaze.stride(eye)

    def _groups(self, fields: Sequence[Field]) -> Iterator[Sequence[Field]]:
        """Take fields together: few at first, so that a GPU does not wait for many to be framed."""
        start, size, largest = 0, _AT_FIRST, _TOGETHER
        while start < len(fields):
            if self.engine.on_gpu:
                largest = min(_MOST_ON_GPU, _MOST_PX_ON_GPU // fields[start].valid.size)
            size = max(_AT_FIRST, min(size, largest))
            yield fields[start : start + size]
            start, size = start + size, 2 * size

    def _framed(self, fields: Sequence[Field]) -> _Framed:
        try:
            return _Framed(self._gaze.frames(fields), self._gaze)
        except GpuError as error:
            self._note(error)
        return _Framed(self._exactly().frames(fields), self._exactly())

    def _judged(self, framed: _Framed) -> list[RawPrediction]:
        judged = self._by_either(framed, self._answers)
        close = [
            at
            for at, one in enumerate(judged)
            if one.engine.precision != "fp32" and one.answer.margin < 2 * self._difference
        ]
        if close:
            again = self._answers(self._framed_again([framed.shown[at] for at in close]))
            for at, one in zip(close, again, strict=True):
                judged[at] = one
        return judged

    def _by_either(self, framed: _Framed, ask: Callable[[_Framed], Found]) -> Found:
        """Ask a GPU, and where it does not answer, the CPU."""
        try:
            found = ask(framed)
        except GpuError as error:
            self._note(error)
        else:
            if framed.gaze.engine.on_gpu:
                self.degraded_reason = ""
            return found
        return ask(self._framed_again(framed.shown))

    def _note(self, error: GpuError) -> None:
        self.degraded_reason = f"{error} Until then the CPU answers, more slowly."

    def _framed_again(self, shown: Sequence[Sequence[DeviceFrame]]) -> _Framed:
        """Show the same frames to the CPU."""
        exact = self._exactly()
        return _Framed([[exact.shown(one.frame) for one in frames] for frames in shown], exact)

    def _exactly(self) -> FeatureExtractor:
        with self._making:
            if self._exact is None:
                engine = choose_engine("cpu", "fp32")
                self._exact = FeatureExtractor(
                    self._framing, self._eyes, engine, heads=self._heads.values()
                )
        return self._exact

    def _answers(self, framed: _Framed) -> list[RawPrediction]:
        asked, (shown, gaze) = _Asked(framed), framed
        for head in self._scheme.first_stage():
            asked.ask(self._heads[head], range(len(shown)))
        if self._scheme.kind == "two-stage":
            for head, places in self._second_stage(asked).items():
                asked.ask(self._heads[head], places)
        return [
            RawPrediction(
                self._scheme.answer(shares), [one.frame for one in frames], sights, gaze.engine
            )
            for shares, frames, sights in zip(asked.shares, shown, asked.sights, strict=True)
        ]

    def _second_stage(self, asked: _Asked) -> dict[str, list[int]]:
        """Say which fields each size head is asked about: those of its subtype."""
        (first,) = self._scheme.first_stage()
        names = self._heads[first].classes
        chosen: dict[str, list[int]] = defaultdict(list)
        for at, shares in enumerate(asked.shares):
            head = self._scheme.second_stage(names[int(np.argmax(shares[first]))])
            if head is not None:
                chosen[head].append(at)
        return chosen


class _Framed(NamedTuple):
    """Frames of fields, and who is to look at them."""

    shown: Sequence[Sequence[DeviceFrame]]
    gaze: FeatureExtractor


class _Asked:
    """Fields being asked one head after another; each network sees each field once."""

    def __init__(self, framed: _Framed) -> None:
        self._framed, self._gaze = framed
        self.sights: list[dict[str, FieldFeatures]] = [{} for _ in self._framed]
        self.shares: list[dict[str, NDArray[np.float64]]] = [{} for _ in self._framed]

    def ask(self, head: Head, places: Sequence[int]) -> None:
        unseen = [at for at in places if head.eye not in self.sights[at]]
        seen = self._gaze.look(head.eye, [self._framed[at] for at in unseen])
        for at, sight in zip(unseen, seen, strict=True):
            self.sights[at][head.eye] = sight
        for at in places:
            embedding = self.sights[at][head.eye].embedding[None]
            self.shares[at][head.name] = head.probabilities(embedding)[0]
