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
"""Whoever asks for one of these has a plan of their own."""


def grouping_config(column: str) -> dict[str, Any]:
    """Say what a plan is told of a column that groups; any but the specimen mixes subtypes."""
    return {"group_by": column, "mixed_groups": True} if column else {}


def grouping_column(asked: str) -> str:
    """Say which column groups: the specimen is what groups anyway, as one of its order."""
    return "" if asked == "specimen" else asked


def drop_none(asked: dict[str, Any]) -> dict[str, Any]:
    """Keep the options that somebody gave."""
    return {name: value for name, value in asked.items() if value is not None}


def make_plan(settings: Settings, store: Store, asked: dict[str, Any]) -> TrainingConfig:
    """Say how to teach: as asked, else as this PC can."""
    from model import TrainingConfig, quick_config

    weights = asked.get("weights")
    if weights is not None and not weights.is_file():
        raise WrongUse(f"--weights {weights}: there is no such file.")
    scheme = asked.get("scheme", "two-stage")
    if scheme != "two-stage" and {"subtype_arch", "size_arch"} & asked.keys():
        raise WrongUse(
            f"--subtype-arch and --size-arch are for two networks; {scheme} has one: --arch."
        )
    held = read_lab_config(settings, store)
    lacks = "" if PARTICULAR & asked.keys() else _lacks(settings)
    if not lacks:
        plan = TrainingConfig(**held, **asked)
        console.err.print(format_plan(plan), markup=False)
        return plan
    console.err.print(
        f"{lacks}: the quick plan is taken (EfficientNet-Lite0 as it comes, every field at "
        "0.2 µm per pixel). For the paper's: --arch resnet18 --framing mirror.",
        markup=False,
    )
    return quick_config(**held, **asked)


def read_lab_config(settings: Settings, store: Store) -> dict[str, Any]:
    """Give what every plan of a lab has in common."""
    from agent.lab_context import taxonomy_in_force

    return {
        "taxonomy": taxonomy_in_force(settings, store),
        "alpha": settings.strangeness.alpha,
        "device": settings.model.device,
    }


def _lacks(settings: Settings) -> str:
    """Say what this PC lacks to teach the paper's network well and in hours, or ""."""
    from model import TrainingConfig, choose_engine, has_weights

    if not choose_engine(settings.model.device).on_gpu:
        return "No GPU here"
    arch = TrainingConfig().arch
    if not has_weights(arch):
        return f"No ImageNet weights of {arch} here (agent weights {arch} fetches them)"
    return ""


def format_plan(plan: TrainingConfig) -> str:
    """Say in a line how will be taught, so that nobody waits a day for what was not meant."""
    archs = dict.fromkeys(plan.arch_of(head) for head in ("subtype", "size:"))
    return (
        f"{plan.scheme}, {' and '.join(archs)}, "
        f"{'heads alone' if plan.frozen else f'whole, at most {plan.epochs} epochs'}; "
        f"{plan.framing} at {plan.frame_px} px."
    )
