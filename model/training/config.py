"""Training configuration, and one network to train with its heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data.dataset import Example
from model.errors import TrainingError
from model.framing import FRAMINGS, Framing
from model.networks.backbones import ARCHITECTURES, Encoder
from model.networks.schemes import SCHEMES, Head, Scheme, size_head
from model.taxonomy import Taxonomy, default_taxonomy
from model.training.checkpoint import Epoch

IMBALANCES = ("oversample", "weighted", "sqrt", "none", "auto")
LOSSES = ("ce", "ordinal")
SCHEDULES = ("cosine", "step")
"""Learning rate: cosine decay to zero, or divided by ten after each third of the steps."""

STARTS = ("probe", "random")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How a bundle is trained.

    Args:
        taxonomy: Subtypes and sizes to distinguish.
        scheme: "two-stage", "global" or "multi-head".
        arch: One of `ARCHITECTURES`.
        subtype_arch: Architecture of the subtype network of "two-stage", or None for `arch`.
        size_arch: Architecture of the size networks of "two-stage", or None for `arch`.
        taps: Indices of the backbone stages (0 to 3) that are used; None: the last, or for a frozen
            EfficientNet-Lite0 the third, which separates textures better.
        frozen: Whether the backbone is frozen and only the heads are fitted.
        framing: "mirror", "resize", "tile", "scale" or "native"; "scale" becomes "native" where the
            training images are of many scales and no code has several sizes.
        frame_px: Side of a frame, px; for "scale" the largest side.
        um_per_px: Pixel size that "scale" resamples every field to, µm.
        epochs: Largest number of passes over the training images.
        patience: Stop after this many epochs without a lower validation loss.
        batch: Images per step.
        learning_rate: Of the backbone; the heads use ten times as much.
        schedule: Learning-rate schedule, "cosine" or "step".
        start: "probe": a pretrained network's heads are first fitted to its frozen features, so
            that the first steps do not distort them; "random": as in the paper.
        imbalance: "oversample", "weighted", "sqrt" or "none"; "auto": for a frozen backbone what
            has the lowest cross-validated loss, for fine-tuning "oversample".
        loss: "ce" or "ordinal" (label smoothing, for sizes between neighbours).
        views: With a frozen backbone, augmented views per training image.
        rotate: Whether augmentation includes rotation by any angle.
        seed: Of every random draw.
        weights: File with the backbone's weights, or None.
        shares: Shares of training, validation and test images.
        group_by: What the groups of the examples are, "" for specimens; only recorded.
        without: Structure codes that are not trained this time, though the taxonomy has them.
        mixed_groups: Whether a group may hold several subtypes, as a plant or a microscope does.
        device: "auto", "cpu", "cuda".
        precision: "auto", "fp32" or "bf16", for fine-tuning.
        bf16: Whether the unusual check is also fitted in bf16, for PCs that are to run it so; only
            where heads share its pass, and on a PC that has bf16.
        alpha: Alarm rate for the evaluation: share of good fields that may be flagged.
    """

    taxonomy: Taxonomy = field(default_factory=default_taxonomy)
    scheme: str = "two-stage"
    arch: str = "resnet18"
    subtype_arch: str | None = None
    size_arch: str | None = None
    taps: tuple[int, ...] | None = None
    frozen: bool = False
    framing: str = "mirror"
    frame_px: int = 1994
    um_per_px: float = 0.2
    epochs: int = 40
    patience: int = 10
    batch: int = 8
    learning_rate: float = 1e-4
    schedule: str = "cosine"
    start: str = "probe"
    imbalance: str = "oversample"
    loss: str = "ce"
    views: int = 8
    rotate: bool = True
    seed: int = 0
    weights: Path | None = None
    shares: tuple[float, float, float] = (0.64, 0.16, 0.20)
    group_by: str = ""
    mixed_groups: bool = False
    without: tuple[str, ...] = ()
    device: str = "auto"
    precision: str = "auto"
    bf16: bool = False
    alpha: float = 0.02

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("scheme", self.scheme, SCHEMES),
            ("framing", self.framing, FRAMINGS),
            ("imbalance", self.imbalance, IMBALANCES),
            ("loss", self.loss, LOSSES),
            ("schedule", self.schedule, SCHEDULES),
            ("start", self.start, STARTS),
            *(("arch", self.arch_of(head), ARCHITECTURES) for head in ("subtype", size_head("?"))),
        ):
            if value not in allowed:
                raise TrainingError(
                    f"There is no {name} {value!r}; known are {', '.join(allowed)}."
                )

    def arch_of(self, head: str) -> str:
        """Return the architecture of the network that a head uses."""
        if self.scheme != "two-stage":
            return self.arch
        chosen = self.subtype_arch if head == "subtype" else self.size_arch
        return chosen or self.arch

    @property
    def sampling(self) -> str:
        """The imbalance that fine-tuning draws and weights images by."""
        return "oversample" if self.imbalance == "auto" else self.imbalance

    def weights_of(self, arch: str) -> Path | None:
        """Return the weights file for an architecture, or None if it is named for another one."""
        if self.weights is None:
            return None
        named_archs = [name for name in ARCHITECTURES if name in self.weights.name]
        return self.weights if not named_archs or arch in named_archs else None

    def taps_of(self, arch: str) -> tuple[int, ...]:
        """Return the indices of the stages of an architecture that are used."""
        if self.taps is not None:
            return self.taps
        return (2,) if arch == "efficientnet-lite0" and self.frozen else (3,)

    def as_json(self) -> dict[str, Any]:
        """Return the options for the training record, without taxonomy and folder of `weights`."""
        document = {key: value for key, value in asdict(self).items() if key != "taxonomy"}
        document["weights"] = self.weights.name if self.weights else None
        return document


def quick_config(**changes: Any) -> TrainingConfig:
    """Return the configuration for a PC without a GPU and for few images: minutes instead of hours.

    A frozen EfficientNet-Lite0, whose weights are installed; two stages of heads on one network.
    Every field is resampled to 0.25 µm per pixel, so that one pass of the network serves heads and
    out-of-distribution check. MEASURED on two drawing programs: 159 and 156 of 160 correct, as many
    as with a pass of their own at 0.2 µm.
    """
    config = TrainingConfig(
        arch="efficientnet-lite0",
        frozen=True,
        framing="scale",
        um_per_px=0.25,
        views=2,
        imbalance="auto",
    )
    return replace(config, **changes)


# --- one network to train with its heads, and the results -----------------------------------------


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
