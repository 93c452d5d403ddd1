"""`agent spec`: specification limits, taxonomy, validation, automatic conformity."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import console
from agent.cli.app import DONE, SAYS_NO, SOME_FAILED, app, load_settings, now_utc, open_store
from agent.cli.console import silence_log
from agent.cli.models.evaluate import temporary_archive
from agent.cli.models.import_ import print_unusable
from agent.cli.options import (
    By,
    FolderArgument,
    JsonOption,
    ManifestOption,
    Reason,
    os_user,
    read_order_policy,
    signed_store,
)
from agent.errors import UsageError
from agent.files.shares import is_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.labelled_import import Labelled, LabelledFolder, UnusableFile
    from agent.orders.facts.specimen_facts import Allowance
    from agent.orders.judge.method_validation import ValidationCase
    from agent.orders.specifications.specification import Specification
    from agent.orders.specifications.taxonomy_changes import TaxonomyUse
    from agent.settings import Settings
    from agent.store import Store
    from agent.triage import Policy
    from model import Classifier, Example, Taxonomy

spec = typer.Typer(
    name="spec", help="Specification limits in specifications.toml.", no_args_is_help=True
)


app.add_typer(spec)


@spec.command("list")
def list_specifications(
    context: typer.Context,
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Only check the file: every fault, exit code 2.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the specifications with their limits and scope."""
    settings = load_settings(context)
    if check:
        _check_specifications(settings)
        return
    with open_store(settings) as store:
        lab = read_order_policy(settings, store)
        versions = store.specifications.versions()
    entries = lab.specifications.entries
    if as_json:
        console.print_json([entry.entry | {"version": versions[entry.sha256]} for entry in entries])
        return
    if not entries:
        console.out.print(f"{settings.orders.specifications}: no specifications yet.")
        return
    console.table(
        ("name", "version", "valid from", "for", "required", "fields", "mm²", "approved by"),
        [
            (
                entry.name,
                versions[entry.sha256],
                entry.valid_from,
                ", ".join(x for x in (entry.material, entry.product, entry.customer) if x),
                entry.demand,
                entry.fields,
                entry.area_mm2 or "",
                entry.approved_by,
            )
            for entry in entries
        ],
    )
    for permission in lab.allowances:
        applies = any(_applies_to(permission, entry, lab.taxonomy) for entry in entries)
        if permission.bound is not None and applies:
            console.out.print(
                f"automatic for {permission.material}, {permission.subtype} {permission.limit}: "
                f"{permission.wrong} of {permission.n} specimens outside the limit or of another "
                f"subtype called conforming, upper bound {permission.bound:.1%} (bundle "
                f"{permission.bundle}, by {permission.by}, since "
                f"{permission.since:%Y-%m-%d %H:%M} UTC)",
                markup=False,
            )


def _applies_to(permission: Allowance, entry: Specification, taxonomy: Taxonomy) -> bool:
    """Return whether a permission covers the limit of a specification."""
    from agent.orders.judge.judgement_rules import Rules
    from agent.orders.specifications.specification import is_same_name

    rules = Rules(entry, taxonomy)
    if rules.fault or permission.subtype not in entry.subtype:
        return False
    is_material = not entry.material or is_same_name(entry.material, permission.material)
    return is_material and rules.is_validated_by(permission, permission.subtype)


def _check_specifications(settings: Settings) -> None:
    """Print every fault of specifications.toml."""
    from agent.orders import SpecificationError, iter_faults, read_specifications

    file = settings.orders.specifications
    known = read_specifications(file)  # a share that hangs or refuses is named there
    if not (known.entries or is_file(file)):
        raise UsageError(f"No such file: {file}. It is set in [orders] specifications.")
    with open_store(settings, acts=False) as store:  # a check states nothing of an order
        lab = read_order_policy(settings, store)  # what is in force is noted
    problems = list(iter_faults(known, lab.taxonomy))
    for sentence in problems[1:]:
        console.err.print(f"{file}: {sentence}", markup=False)
    if problems:
        raise SpecificationError(f"{file}: {problems[0]}")
    if not settings.needles.enabled:
        for name in dict.fromkeys(entry.name for entry in known.entries if entry.demands_needles):
            console.err.print(
                f"{file}: [[specification]] {name}: it limits needle lengths, and [needles] "
                "enabled is false: its orders stay undecided.",
                markup=False,
            )
    n = len(known.entries)
    what = "1 specification" if n == 1 else f"{n} specifications"
    console.out.print(f"{file}: {what}, no fault.", markup=False)


@spec.command()
def automatic(
    context: typer.Context,
    material: Annotated[str, typer.Argument(metavar="MATERIAL", help="Material.")],
    off: Annotated[bool, typer.Option("--off", help="Switch automatic conformity off.")] = False,
    by: By = "",
    reason: Reason = "",
) -> None:
    """Switch automatic conformity for a material on or off. Only a lead may.

    It needs a validation record; see agent spec validate.
    """
    from agent.orders.facts.order_policy import is_lead
    from agent.orders.judge.method_validation import limit_states, set_permission

    settings = load_settings(context)
    with signed_store(context, settings, by) as (store, signer):
        if not is_lead(settings, store, signer):
            raise UsageError(
                f"--by {signer or 'NAME'}: only a lead may do this. Add an account (agent users "
                "add NAME --role lead), or name leads under [orders] leads in agent.toml."
            )
        record = set_permission(
            store,
            material,
            on=not off,
            bundle=store.promotions.find_current(),
            most=settings.orders.max_false_conform,
            by=signer,
            reason=reason,
            at=now_utc(),
        )
    if record is None:
        console.out.print(f"{material}: automatic conformity is off, by {signer}.", markup=False)
        return
    console.out.print(
        f"{material}: automatic conformity is on for new results, by {signer}, with validation "
        f"record {record.id} (bundle {record.facts['bundle']}, {record.facts['images']} images)",
        markup=False,
    )
    for state in limit_states(record.facts, most=settings.orders.max_false_conform):
        word = "on" if state.reaches else "off"
        console.out.print(f"  {word}: {state.sentence}", markup=False)


@spec.command()
def taxonomy(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(help="A taxonomy.toml to check; see --check.")
    ] = None,
    *,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Check FILE, or the file in [model] taxonomy, for faults (exit code 2) and list "
            "what it would change (3).",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show each structure code of the lab: trained, labelled, in the bundle in use, ordered."""
    settings = load_settings(context)
    if file or check:
        _check(settings, file, json=json)
    else:
        _show(settings, json=json)


def _show(settings: Settings, *, json: bool) -> None:
    from agent.orders.facts.order_policy import taxonomy_in_force

    with open_store(settings) as store:
        own = taxonomy_in_force(settings, store)
        rows = list(_rows(own, settings, store))
    if json:
        several = own.several_subtypes
        subtypes = "several" if several else "one"
        whole = {"name": own.name, "source": _source(settings), "subtypes_per_specimen": subtypes}
        console.print_json({**whole, "codes": rows})
        return
    kinds = "several subtypes" if own.several_subtypes else "one subtype"
    console.out.print(
        f"{own.name}, from {_source(settings)}; a specimen has {kinds}.", markup=False
    )
    console.table(
        ("structure code", "title", "trained", "labelled", "in the bundle", "ordered by"),
        [
            (
                row["code"],
                row["title"],
                "yes" if row["trained"] else "no",
                row["labelled"],
                "yes" if row["in_bundle"] else "no",
                ", ".join(row["ordered_by"]) or "–",
            )
            for row in rows
        ],
    )


def _check(settings: Settings, file: Path | None, *, json: bool) -> None:
    """Check a taxonomy for faults and print what it would change."""
    from agent.orders.facts.order_policy import taxonomy_in_force
    from agent.orders.specifications.taxonomy_changes import find_effects
    from model import load_taxonomy

    path = file or (Path(settings.model.taxonomy) if settings.model.taxonomy else None)
    if path is None:
        raise UsageError("Name a taxonomy.toml: agent spec taxonomy FILE, or set [model] taxonomy.")
    new = load_taxonomy(path)
    with open_store(settings) as store:
        current = taxonomy_in_force(settings, store) if file else None
        effects = list(find_effects(new, current, _load_use(settings, store)))
    if json:
        console.print_json({"file": str(path), "codes": list(new.codes), "effects": effects})
    else:
        summary = f"{path}: {len(new.codes)} structure codes, {len(new.trained_codes)} trained."
        console.out.print(summary, markup=False)
        for sentence in effects:
            console.out.print(sentence, markup=False)
    if effects:
        raise typer.Exit(SAYS_NO)


def _rows(own: Taxonomy, settings: Settings, store: Store) -> Iterator[dict[str, Any]]:
    from agent.orders.specifications.class_texts import describe_codes
    from agent.orders.specifications.taxonomy_changes import is_trained

    use = _load_use(settings, store)
    for code, title in describe_codes(own).items():
        subtype, _size = own.parse(code)
        yield {
            "code": code,
            "title": title,
            "trained": code in own.trained_codes,
            "labelled": use.labelled.get(code, 0),
            "in_bundle": use.bundle is not None and is_trained(use.bundle, code),
            "ordered_by": [limit.name for limit in use.specifications if subtype in limit.subtype],
        }


def _source(settings: Settings) -> str:
    return str(settings.model.taxonomy) if settings.model.taxonomy else "the bundle in use"


def _load_use(settings: Settings, store: Store) -> TaxonomyUse:
    from agent.orders.specifications.taxonomy_changes import load_taxonomy_use

    return load_taxonomy_use(
        store, data=settings.store.folder, specifications=settings.orders.specifications
    )


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
    from agent.orders.judge import method_validation
    from agent.service.composition import build_policy, load_bundle

    silence_log()
    settings = load_settings(context)
    with signed_store(context, settings, by) as (store, signer):
        name = store.promotions.find_current()
        if name is None:
            raise UsageError("There is no bundle yet. Train one: agent train FOLDER.")
        classifier = load_bundle(settings, name)
        listing = labelled_import.list_labelled(folder, classifier.taxonomy, manifest)
        cases, unusable, training_n = _cases(
            settings, classifier, listing, build_policy(settings, classifier), folder.name
        )
        if not cases:
            raise UsageError(f"{folder}: all its micrographs are in the training set of {name}.")
        facts = method_validation.build_record(cases, classifier.taxonomy)
        facts |= {"folder": str(folder.absolute()), "seen_in_training": training_n}
        number = method_validation.save_record(
            store, material, name, facts, by=signer or os_user(), at=datetime.now(UTC)
        )
    if as_json:
        console.print_json({"record": number, "material": material, "bundle": name, **facts})
    else:
        _show_record(material, name, number, facts, most=settings.orders.max_false_conform)
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

    from agent.orders.judge.method_validation import ValidationCase
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


def _show_record(
    material: str, bundle: str, number: int, facts: dict[str, Any], *, most: float
) -> None:
    from agent.orders.judge.method_validation import limit_states

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
    from agent.orders.judge.method_validation import count_needed

    if not row["um_per_px"]:
        return "no common range of scales"
    wrong = max(row["wrong"], row["other_subtype"]["wrong"])
    return f"needs {wrong} wrong of {count_needed(most, wrong)}"


def _format_percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _format_others(row: dict[str, Any]) -> str:
    other = row["other_subtype"]
    return f"{other['wrong']} of {other['n']}" if other["n"] else ""
