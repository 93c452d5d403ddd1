"""`agent weights`: fetch what networks learned elsewhere, on a PC with internet."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.cli import console
from agent.cli.app import app


@app.command("weights")
def weights(
    arch: Annotated[str, typer.Argument(help="resnet18 or resnet50.")],
) -> None:
    """Fetch ImageNet weights of a network from PyTorch's server; nothing else ever fetches any.

    Training takes them from then on. EfficientNet-Lite0, the network of a PC without a GPU, has
    its own and needs none.
    """
    from model import fetch_weights  # PyTorch takes seconds

    console.err.print(f"fetching the weights of {arch} …", markup=False)
    place = fetch_weights(arch, progress=console.err.is_terminal)
    megabytes = place.stat().st_size / 1e6
    console.out.print(f"{arch}: ImageNet weights, {megabytes:.0f} MB, in {place}", markup=False)
