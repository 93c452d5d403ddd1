"""Say how a bundle is to be taught: one place for every choice, and the defaults.

In:  what a person asked for. Out: a `Plan`. Next: `training`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from model.errors import TrainingError
from model.framing import FRAMINGS
from model.networks.backbones import ARCHITECTURES
from model.networks.schemes import SCHEMES, size_head
from model.taxonomy import Taxonomy, default_taxonomy

if TYPE_CHECKING:
    from pathlib import Path

IMBALANCES = ("oversample", "weighted", "sqrt", "none")
LOSSES = ("ce", "ordinal")
SCHEDULES = ("cosine", "step")
"""Whether a learning rate falls smoothly to zero, or to a tenth at two and at three thirds."""

STARTS = ("probe", "random")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How a bundle is taught.

    Args:
        taxonomy: What there is to tell apart.
        scheme: "two-stage", "global" or "multi-head".
        arch: One of `network.ARCHITECTURES`.
        subtype_arch: Another one for the subtype network of "two-stage", or None.
        size_arch: Another one for the size networks of "two-stage", or None.
        taps: Which of the backbone's four maps are used; None: the last, or for a frozen
            EfficientNet-Lite0 the third, which tells textures better.
        frozen: Leave the backbone as it is and learn only the heads.
        framing: "mirror", "resize", "tile" or "scale".
        frame_px: Side of a frame; for "scale" the largest side.
        um_per_px: Pixel size that "scale" brings every field to, in µm.
        epochs: At most this many passes over the training images.
        patience: Stop after this many epochs without a better validation loss.
        batch: Images per step.
        learning_rate: Of the backbone; heads learn ten times faster.
        schedule: "cosine" or "step".
        start: "probe": heads are first fitted on the untouched network, so that the first steps
            do not spoil what it knows, if it knows anything; "random": as in the paper.
        imbalance: "oversample", "weighted", "sqrt" or "none".
        loss: "ce" or "ordinal" (for sizes: some doubt between neighbours).
        views: With a frozen backbone, how many ways each training image is shown.
        rotate: Whether training images are also turned by any angle.
        seed: Of everything that is drawn by chance.
        weights: A file with the backbone's weights, or None.
        shares: Of training, validation and test images.
        group_by: What the examples' groups are, "" for specimens; only recorded here.
        without: Structure codes that are not taught this time, though the taxonomy knows them.
        mixed_groups: Whether a group may hold several subtypes, as a plant or microscope does.
        device: "auto", "cpu", "cuda".
        precision: "auto", "fp32" or "bf16", for training the whole network.
        alpha: Share of ordinary fields that may be flagged as strange, for the evaluation.
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
    alpha: float = 0.02

    def __post_init__(self) -> None:
        for name, value, known in (
            ("scheme", self.scheme, SCHEMES),
            ("framing", self.framing, FRAMINGS),
            ("imbalance", self.imbalance, IMBALANCES),
            ("loss", self.loss, LOSSES),
            ("schedule", self.schedule, SCHEDULES),
            ("start", self.start, STARTS),
            *(("arch", self.arch_of(head), ARCHITECTURES) for head in ("subtype", size_head("?"))),
        ):
            if value not in known:
                raise TrainingError(f"There is no {name} {value!r}; known are {', '.join(known)}.")

    def arch_of(self, head: str) -> str:
        """Say through which architecture a head looks."""
        if self.scheme != "two-stage":
            return self.arch
        chosen = self.subtype_arch if head == "subtype" else self.size_arch
        return chosen or self.arch

    def weights_of(self, arch: str) -> Path | None:
        """Say which weights an architecture gets: a file named for another one is not for it."""
        if self.weights is None:
            return None
        named = [known for known in ARCHITECTURES if known in self.weights.name]
        return self.weights if not named or arch in named else None

    def taps_of(self, arch: str) -> tuple[int, ...]:
        """Say which of an architecture's maps are used."""
        if self.taps is not None:
            return self.taps
        return (2,) if arch == "efficientnet-lite0" and self.frozen else (3,)

    def as_json(self) -> dict[str, Any]:
        """Give it for the record: without the taxonomy, and of the weights only the file's name."""
        document = {k: v for k, v in asdict(self).items() if k != "taxonomy"}
        document["weights"] = self.weights.name if self.weights else None
        return document


def quick_config(**changes: Any) -> TrainingConfig:
    """Give the plan for a PC without a GPU and for few images: minutes instead of hours.

    A frozen EfficientNet-Lite0, whose weights come with the installation; every field brought to
    0.2 µm per pixel, beyond which light shows nothing finer; two stages of heads through the one
    network. On a look drawn by another program 0.2 µm had 116 of 120 right, 0.25 µm 112 and 0.4 µm
    110; the demo's look and a third one were told apart as well at 0.4 as at 0.25 µm.
    """
    plan = TrainingConfig(
        arch="efficientnet-lite0", frozen=True, framing="scale", um_per_px=0.2, views=2
    )
    return replace(plan, **changes)
