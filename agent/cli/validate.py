"""`agent spec validate`: the method validation of a bundle for one material."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import console
from agent.cli.app import DONE, SOME_FAILED, load_settings
from agent.cli.evaluate import temporary_archive
from agent.cli.import_ import print_unusable
from agent.cli.job_progress import silence_log
from agent.cli.options import FolderArgument, ManifestOption
from agent.cli.signing import os_user, signed_store
from agent.cli.spec import spec
from agent.errors import WrongUse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.labelled_import import Labelled, LabelledFolder, UnusableFile
    from agent.orders.method_validation import ValidationCase
    from agent.settings import Settings
    from agent.triage import Policy
    from model import Classifier, Example

TOGETHER = 8


@spec.command()
def validate(  # noqa: PLR0917 - Typer's parameters are the command's words
    context: typer.Context,
    material: Annotated[
        str, typer.Argument(metavar="MATERIAL", help="Material of the labelled images.")
    ],
    folder: FolderArgument,
    manifest: ManifestOption = None,
    by: Annotated[
        str, typer.Option("--by", metavar="NAME", help="Name of the lead who validates.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Validate the bundle in use on labelled micrographs of one material and keep the record.

    The record states for each limit how often a part was wrongly called conforming. A lead needs it
    to switch automatic conformity on.
    """
    from agent import labelled_import
    from agent.orders import method_validation
    from agent.service.composition import build_policy, load_bundle

    silence_log()
    settings = load_settings(context)
    with signed_store(context, settings, by) as (store, signer):
        name = store.promotions.find_current()
        if name is None:
            raise WrongUse("There is no bundle yet. Train one: agent train FOLDER.")
        classifier = load_bundle(settings, name)
        listing = labelled_import.list_labelled(folder, classifier.taxonomy, manifest)
        cases, unusable, training_n = _cases(
            settings, classifier, listing, build_policy(settings, classifier), folder.name
        )
        if not cases:
            raise WrongUse(f"{folder}: all its micrographs are in the training set of {name}.")
        facts = method_validation.build_record(cases, classifier.taxonomy)
        facts |= {"folder": str(folder.absolute()), "seen_in_training": training_n}
        number = method_validation.save_record(
            store, material, name, facts, by=signer or os_user(), at=datetime.now(UTC)
        )
    if as_json:
        console.print_json({"record": number, "material": material, "bundle": name, **facts})
    else:
        _show(material, name, number, facts, most=settings.orders.max_false_conform)
    print_unusable(unusable)
    raise typer.Exit(SOME_FAILED if unusable else DONE)


def _cases(
    settings: Settings, classifier: Classifier, listing: LabelledFolder, policy: Policy, title: str
) -> tuple[list[ValidationCase], list[UnusableFile], int]:
    cases: list[ValidationCase] = []
    unusable = list(listing.unusable)
    waiting: list[tuple[Labelled, Example]] = []
    training_n = 0
    with temporary_archive(settings, classifier.learned_from) as crops:
        titled = f"Validating {title}"
        for file, examples in crops.each(listing.folder, listing.files, titled, unusable):
            known = [e for e in examples if e.key in classifier.learned_from]
            training_n += len(known)
            waiting += [(file, e) for e in examples if e not in known]
            if len(waiting) >= TOGETHER:
                cases += _classify(classifier, waiting, policy)
                waiting = []
        cases += _classify(classifier, waiting, policy)
    return cases, unusable, training_n


def _classify(
    classifier: Classifier, batch: Sequence[tuple[Labelled, Example]], policy: Policy
) -> list[ValidationCase]:
    from dataclasses import replace

    from agent.orders.method_validation import ValidationCase
    from agent.triage import Handling, Scope, triage

    # Scope and control share are switched off: the validation measures the model alone.
    validated = replace(policy, control_share=0.0, scope=Scope(), um_per_px_range=None)
    fields = [example.load() for _, example in batch]
    cases = []
    for (file, example), field, prediction in zip(
        batch, fields, classifier.classify(fields), strict=True
    ):
        verdict = triage(
            prediction,
            sha256=example.key[:64],
            um_per_px=field.um_per_px,
            warnings=(),
            material="",
            policy=validated,
        )
        cases.append(
            ValidationCase(
                specimen=example.group if file.process_data.get("specimen") else "",
                true=example.code,
                said=(*prediction.prediction_set, prediction.structure_code),
                automatic=verdict.handling is Handling.AUTOMATIC,
                process_data=file.process_data,
                um_per_px=field.um_per_px,
            )
        )
    return cases


def _show(material: str, bundle: str, number: int, facts: dict[str, Any], *, most: float) -> None:
    from agent.orders.method_validation import limit_states

    console.out.print(
        f"Validation record {number}: {material}, bundle {bundle}, {facts['images']} images of "
        f"{facts['specimens']} specimens; {facts['automatic']} would be handled automatically; "
        f"{facts['seen_in_training']} training images were left out.",
        markup=False,
    )
    if facts["alone"]:
        console.out.print(
            f"{facts['alone']} images name no specimen and count as one specimen together, since "
            "they may show the same one. Name order and specimen with --manifest CSV.",
            markup=False,
        )
    states = {state.limit: state for state in limit_states(facts, most=most)}
    console.table(
        (
            "limit",
            "specimens outside the limit",
            "wrongly called conforming",
            "images",
            "other subtypes",
            "95 % upper bound",
            f"allowed: at most {most:.1%}",
        ),
        [
            (
                limit,
                row["n"],
                row["wrong"],
                f"{row['images']['wrong']} of {row['images']['n']}",
                _format_others(row),
                _format_percent(row["bound95"]),
                "reached" if states[limit].reaches else _format_need(row, most),
            )
            for limit, row in facts["limits"].items()
            if limit in states
        ],
    )
    if facts["um_per_px"]:
        low, high = facts["um_per_px"]
        console.out.print(f"scales: {low:.3g} to {high:.3g} µm per pixel", markup=False)
    console.out.print(
        f"to switch it on, as a lead: agent spec automatic {material} --by NAME --reason TEXT",
        markup=False,
    )


def _format_need(row: dict[str, Any], most: float) -> str:
    """Return how many specimens of each kind a limit needs."""
    from agent.orders.automatic_conformity import count_needed

    if not row["um_per_px"]:
        return "no common range of scales"
    wrong = max(row["wrong"], row["other_subtype"]["wrong"])
    return f"needs {wrong} wrong of {count_needed(most, wrong)}"


def _format_percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _format_others(row: dict[str, Any]) -> str:
    other = row["other_subtype"]
    return f"{other['wrong']} of {other['n']}" if other["n"] else ""
