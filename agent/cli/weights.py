"""`agent models weights`: download ImageNet weights on a PC with internet."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.cli import console
from agent.cli.models import models


@models.command()
def weights(
    arch: Annotated[str, typer.Argument(help="Architecture: resnet18 or resnet50.")],
) -> None:
    """Download the ImageNet weights of a network from the PyTorch server.

    No other command downloads weights. Later trainings use them. EfficientNet-Lite0, the network
    for PCs without a GPU, is installed with its weights.
    """
    from model import fetch_weights  # PyTorch takes seconds

    console.err.print(f"downloading the weights of {arch} …", markup=False)
    path = fetch_weights(arch, progress=console.err.is_terminal)
    megabytes = path.stat().st_size / 1e6
    console.out.print(f"{arch}: ImageNet weights, {megabytes:.0f} MB, in {path}", markup=False)
