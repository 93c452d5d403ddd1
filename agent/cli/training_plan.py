"""Build the training configuration from options and from what this PC can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.cli import console
from agent.errors import WrongUse

if TYPE_CHECKING:
    from agent.settings import Settings
    from agent.store import Store
    from model import TrainingConfig

PARTICULAR = {"arch", "subtype_arch", "size_arch", "framing", "frame_px", "weights", "epochs"}
"""Options that switch the quick configuration off."""


def grouping_config(column: str) -> dict[str, Any]:
    """Return the configuration for a grouping column; any but the specimen mixes subtypes."""
    return {"group_by": column, "mixed_groups": True} if column else {}


def grouping_column(option: str) -> str:
    """Return the grouping column; "" for the specimen, which is the default."""
    return "" if option == "specimen" else option


def drop_none(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that have a value."""
    return {name: value for name, value in options.items() if value is not None}


def make_plan(settings: Settings, store: Store, asked: dict[str, Any]) -> TrainingConfig:
    """Build the training configuration from the options, else from what this PC can do."""
    from model import TrainingConfig, quick_config

    weights = asked.get("weights")
    if weights is not None and not weights.is_file():
        raise WrongUse(f"--weights: no such file: {weights}.")
    scheme = asked.get("scheme", "two-stage")
    if scheme != "two-stage" and {"subtype_arch", "size_arch"} & asked.keys():
        raise WrongUse(
            f"--subtype-arch and --size-arch need two networks; {scheme} has one. Use --arch."
        )
    lab = read_lab_config(settings, store)
    lacks = "" if PARTICULAR & asked.keys() else _lacks(settings)
    if not lacks:
        plan = TrainingConfig(**lab, **asked)
        console.err.print(format_plan(plan), markup=False)
        return plan
    console.err.print(
        f"{lacks}: using the quick configuration (frozen EfficientNet-Lite0, fields at 0.25 µm per "
        "pixel). For the configuration of the paper: --arch resnet18 --framing mirror.",
        markup=False,
    )
    return quick_config(**lab, **asked)


def read_lab_config(settings: Settings, store: Store) -> dict[str, Any]:
    """Return the settings that every training of a lab shares."""
    from agent.lab_context import taxonomy_in_force

    return {
        "taxonomy": taxonomy_in_force(settings, store),
        "alpha": settings.strangeness.alpha,
        "device": settings.model.device,
        "bf16": settings.model.precision == "bf16",
    }


def _lacks(settings: Settings) -> str:
    """Return what this PC lacks to train ResNet-18 in hours, or ""."""
    from model import TrainingConfig, choose_engine, has_weights

    if not choose_engine(settings.model.device).on_gpu:
        return "This PC has no GPU"
    arch = TrainingConfig().arch
    if not has_weights(arch):
        return (
            f"This PC has no ImageNet weights of {arch} (agent models weights {arch} "
            "downloads them)"
        )
    return ""


def format_plan(plan: TrainingConfig) -> str:
    """Return the configuration in one line, printed before a long training."""
    archs = dict.fromkeys(plan.arch_of(head) for head in ("subtype", "size:"))
    return (
        f"{plan.scheme}, {' and '.join(archs)}, "
        f"{'heads alone' if plan.frozen else f'whole, at most {plan.epochs} epochs'}; "
        f"{plan.framing} at {plan.frame_px} px."
    )
