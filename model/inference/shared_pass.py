"""Heads on the frozen network: the pass that serves them also serves the OOD check."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.inference.feature_extractor import DeviceFrame, FieldFeatures
from model.networks.architecture import STRIDES
from model.networks.schemes import HeadLayer

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from model.framing import Field, Frame
    from model.networks.schemes import Head
    from model.ood.features import OodFeatureExtractor
    from model.runtime.engines import Engine


class SharedPassExtractor:
    """Features of fields for heads, with the maps of the pass; always on the CPU.

    A GPU would gain nothing: the OOD check needs these maps on the CPU.

    Args:
        extractor: Has the network, and the embedding that the heads classify.
        encoder: Name of the encoder that the heads refer to.
        heads: Heads to evaluate per cell; none if only embeddings are needed.
    """

    fields_per_group = 1
    """The maps of a large field take about 40 MB, so they are used before the next field."""

    def __init__(
        self,
        extractor: OodFeatureExtractor,
        encoder: str,
        heads: Collection[Head] = (),
    ) -> None:
        self._pass, self._embedding = extractor.frozen_pass, extractor.embedding
        self._encoder = encoder
        channels = self._embedding.count_channels(self._pass.backbone.channels)
        self._layer = HeadLayer.from_heads(list(heads), channels)

    @property
    def engine(self) -> Engine:
        """The engine of the pass."""
        return self._pass.engine

    @property
    def encoders(self) -> tuple[str, ...]:
        """Name of the encoder."""
        return (self._encoder,)

    def frames(self, fields: Sequence[Field]) -> list[list[DeviceFrame]]:
        """Frame every field as the OOD check does."""
        return [[self.to_device(frame) for frame in self._frame(field)] for field in fields]

    def _frame(self, field: Field) -> list[Frame]:
        return self._pass.framing.frames(field)

    def to_device(self, frame: Frame) -> DeviceFrame:
        """Return the frame as it is."""
        return DeviceFrame(frame, None)

    def extract(self, encoder: str, frames: Sequence[Sequence[DeviceFrame]]) -> list[FieldFeatures]:
        """Run the network over every field.

        Args:
            encoder: Name of the encoder.
            frames: The frame of each field, from `frames`.

        Returns:
            Per field its features, with the maps.
        """
        if encoder != self._encoder:
            raise KeyError(encoder)
        return [self._extract(frame.frame) for (frame,) in frames]

    def _extract(self, frame: Frame) -> FieldFeatures:
        seen = self._pass.run_frame(frame)
        statistics = self._embedding.measure(seen.maps, seen.weights)
        by_cell = (
            self._layer.split_by_head(
                self._embedding.compute_logits_by_cell(seen.maps, statistics, self._layer)
            )
            if self._layer.heads
            else {}
        )
        return FieldFeatures(
            {head: [logits] for head, logits in by_cell.items()},
            [seen.weights[self._embedding.grid]],
            self._embedding.join(statistics),
            seen,
        )

    def stride(self, encoder: str) -> int:
        """Return the pixels of a frame per cell of the evidence."""
        if encoder != self._encoder:
            raise KeyError(encoder)
        return STRIDES[self._embedding.grid]
