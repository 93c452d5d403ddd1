"""`agent models evaluate --leave-out CODE`: is an untrained structure code flagged as unusual?"""

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
    """Leave codes out in turn and print how many of their micrographs are flagged.

    Args:
        settings: Settings of the lab.
        folder: Labelled micrographs.
        manifest: CSV with labels, or None for a sub-folder per code.
        codes: Codes to leave out, or "every".
        json: Whether to print one JSON document.
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
        left_out = _parse_codes(codes, examples, taxonomy)
        results = dict(_leave_out(left_out, examples, taxonomy, settings.strangeness.alpha))
    if json:
        console.print_json({"left_out": results})
    else:
        console.table(
            ("left out", "n", "flagged", "AUROC"),
            [
                (code, row["n"], f"{row['tpr_at_alpha']:.2f}", f"{row['auroc']:.2f}")
                for code, row in results.items()
            ],
        )
    print_unusable(unusable)
    if unusable:
        raise typer.Exit(SOME_FAILED)


def _parse_codes(
    codes: Sequence[str], examples: Sequence[Example], taxonomy: Taxonomy
) -> list[str]:
    labelled = {example.code for example in examples}
    if EVERY in codes:
        return [code for code in taxonomy.codes if code in labelled]
    spelled = [taxonomy.code(*taxonomy.parse(code)) for code in codes]
    if lacking := [code for code in spelled if code not in labelled]:
        raise WrongUse(f"--leave-out {lacking[0]}: the folder has no micrograph with this code.")
    return spelled


def _leave_out(
    codes: Sequence[str], examples: Sequence[Example], taxonomy: Taxonomy, alpha: float
) -> Iterator[tuple[str, dict[str, Any]]]:
    from agent.cli.job_progress import show_progress
    from model import leave_out  # PyTorch takes seconds

    for code in codes:
        steps = leave_out(
            code, examples, subtype_of=lambda name: taxonomy.parse(name)[0], alpha=alpha
        )
        for step in show_progress(steps):
            if step.result is not None:
                yield code, step.result.as_json()
