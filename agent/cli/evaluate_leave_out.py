"""`agent evaluate --leave-out CODE`: is a structure code that nobody taught called strange?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from agent.cli import console
from agent.cli.app import SOME_FAILED, open_store
from agent.errors import WrongUse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from agent.settings import Settings
    from model import Example, Taxonomy

EVERY = "every"


def show_left_out(
    settings: Settings, folder: Path, manifest: Path | None, codes: Sequence[str], *, json: bool
) -> None:
    """Leave codes out in turn, and say how their micrographs fared; no bundle is asked.

    Args:
        settings: Of the lab.
        folder: Labelled micrographs.
        manifest: CSV that says what they are, or None for a folder per code.
        codes: To be left out, or "every".
        json: Whether one JSON document is printed.
    """
    from agent import labelled_import
    from agent.cli.evaluate import temporary_archive
    from agent.cli.import_ import print_unusable
    from agent.cli.job_progress import silence_log
    from agent.lab_context import taxonomy_in_force

    silence_log()
    with open_store(settings) as store:
        taxonomy = taxonomy_in_force(settings, store)
    listing = labelled_import.list_labelled(folder, taxonomy, manifest)
    unusable = list(listing.unusable)
    with temporary_archive(settings, frozenset()) as crops:
        examples = crops.of(listing.folder, listing.files, f"Cropping {folder.name}", unusable)
        wanted = _wanted(codes, examples, taxonomy)
        found = dict(_left_out(wanted, examples, taxonomy, settings.strangeness.alpha))
    if json:
        console.print_json({"left_out": found})
    else:
        console.table(
            ("left out", "n", "flagged", "AUROC"),
            [
                (code, one["n"], f"{one['tpr_at_alpha']:.2f}", f"{one['auroc']:.2f}")
                for code, one in found.items()
            ],
        )
    print_unusable(unusable)
    if unusable:
        raise typer.Exit(SOME_FAILED)


def _wanted(codes: Sequence[str], examples: Sequence[Example], taxonomy: Taxonomy) -> list[str]:
    there = {example.code for example in examples}
    if EVERY in codes:
        return [code for code in taxonomy.codes if code in there]
    spelled = [taxonomy.code(*taxonomy.parse(code)) for code in codes]
    if lacking := [code for code in spelled if code not in there]:
        raise WrongUse(f"--leave-out {lacking[0]}: the folder has no micrograph of it.")
    return spelled


def _left_out(
    codes: Sequence[str], examples: Sequence[Example], taxonomy: Taxonomy, alpha: float
) -> Iterator[tuple[str, dict[str, Any]]]:
    from agent.cli.job_progress import show_progress
    from model import leave_out  # PyTorch takes seconds

    for code in codes:
        steps = leave_out(
            code, examples, subtype_of=lambda one: taxonomy.parse(one)[0], alpha=alpha
        )
        for step in show_progress(steps):
            if step.result is not None:
                yield code, step.result.as_json()
