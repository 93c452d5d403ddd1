"""`agent models int8`: quantise a bundle after measuring the accuracy loss."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from agent.cli import console
from agent.cli.app import load_settings, open_store
from agent.cli.job_progress import show_progress, silence_log
from agent.cli.models import NameArgument, models
from agent.cli.options import JsonOption
from agent.cli.train import print_left_out


@models.command("int8")
def int8(
    context: typer.Context,
    name: NameArgument,
    *,
    may_lose: Annotated[
        float,
        typer.Option(
            min=0.0, max=100.0, help="Largest accepted accuracy loss, in percentage points."
        ),
    ] = 1.0,
    json: JsonOption = False,
) -> None:
    """Convert a bundle to int8, which is two to three times faster on a CPU.

    The conversion is refused if the accuracy loss exceeds --may-lose. The measurement is stored
    next to the bundle, which is not changed. To use int8, set model.precision to "int8".
    """
    from agent.retrain.bundle_registry import get_bundle
    from agent.service.composition import collect_labels
    from model import convert, read_manifest  # PyTorch takes seconds

    silence_log()
    settings = load_settings(context)
    bundle = get_bundle(settings.store.folder, name)
    with open_store(settings) as store:
        collected = collect_labels(settings, store, read_manifest(bundle).taxonomy)
    print_left_out(collected)
    for step in show_progress(convert(bundle, collected.examples, may_lose=may_lose / 100)):
        if step.result is None:
            continue
        if json:
            facts = {key: value for key, value in asdict(step.result).items() if key != "ranges"}
            console.print_json(facts)
        else:
            console.out.print(f"{name}: {step.result.sentence()}.", markup=False)
