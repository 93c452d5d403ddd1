"""`agent needles compare`: the program's needles against those that reviewers measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from agent.cli import console
from agent.cli.app import load_settings, now_utc, open_store
from agent.cli.needles import needles
from agent.cli.options import JsonOption
from agent.cli.signing import os_user

if TYPE_CHECKING:
    from agent.needle_truth import TruthGroup


@needles.command("compare")
def compare(context: typer.Context, json: JsonOption = False) -> None:
    """Compare the needles that reviewers measured with the program's, and keep the result.

    Measures every micrograph with measured needles again. The page /needles shows the plot.
    """
    from agent.archive import Archive
    from agent.needle_truth import CompareProgress, compare_needles, load_groups
    from model.needles.needle_map import NeedleMapper

    settings = load_settings(context)
    with open_store(settings) as store:
        archive, record = Archive.open(settings.store), 0
        steps = compare_needles(store, archive, NeedleMapper(), by=os_user(), at=now_utc())
        with console.progress("Micrographs", None) as advance:
            for step in steps:
                if isinstance(step, CompareProgress):
                    advance(step.done, f"of {step.total}")
                else:
                    record = step
        groups = load_groups(store)
    if json:
        console.print_json({"record": record, "groups": [to_json(group) for group in groups]})
        return
    if not record:
        console.out.print(
            "No measured needles. Reviewers measure them in the viewer: Shift and L, two clicks.",
            markup=False,
        )
        return
    console.table(
        ("subtype", "microscope", "needles", "fields", "people", "found", "ratio", "limits"),
        [format_row(group) for group in groups],
    )


def format_row(group: TruthGroup) -> tuple[object, ...]:
    """Return the cells that describe a group in a table."""
    from agent.needle_truth import Place

    agreement, found = group.agreement, group.counts[Place.MATCHED]
    ratio = limits = ""
    if agreement is not None:
        bias = agreement.bias
        ratio = f"{bias.value:.2f} ({bias.low:.2f} to {bias.high:.2f})"
        limits = f"{agreement.lower.value:.2f} to {agreement.upper.value:.2f}"
    return (
        group.subtype,
        group.microscope,
        group.needles,
        group.fields,
        len(group.people),
        found,
        ratio,
        limits,
    )


def to_json(group: TruthGroup) -> dict[str, Any]:
    """Return a group as JSON."""
    from agent.needle_truth import find_refusal

    agreement = group.agreement
    return {
        "subtype": group.subtype,
        "microscope": group.microscope,
        "needles": group.needles,
        "fields": group.fields,
        "full_fields": group.full_fields,
        "missing_fields": group.missing_fields,
        "people": list(group.people),
        "new": group.new,
        "counts": {place.value: n for place, n in group.counts.items()},
        "tips_agree": agreement.tips_agree if agreement else None,
        "ratio": agreement.bias.to_json() if agreement else None,
        "lower": agreement.lower.to_json() if agreement else None,
        "upper": agreement.upper.to_json() if agreement else None,
        "network": group.network,
        "refused": find_refusal(group) or None,
    }
