"""`agent spec taxonomy`: the lab's subtypes and sizes, and the effects of a change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import console
from agent.cli.app import SAYS_NO, load_settings, open_store
from agent.cli.options import JsonOption
from agent.cli.spec import spec
from agent.errors import WrongUse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.orders.taxonomy_effects import TaxonomyUse
    from agent.settings import Settings
    from agent.store import Store
    from model import Taxonomy


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
    from agent.lab_context import taxonomy_in_force

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
    from agent.lab_context import taxonomy_in_force
    from agent.orders.taxonomy_effects import find_effects
    from model import load_taxonomy

    path = file or (Path(settings.model.taxonomy) if settings.model.taxonomy else None)
    if path is None:
        raise WrongUse("Name a taxonomy.toml: agent spec taxonomy FILE, or set [model] taxonomy.")
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
    from agent.orders.class_texts import describe_codes
    from agent.orders.taxonomy_effects import is_trained

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
    from agent.orders.taxonomy_effects import load_taxonomy_use

    return load_taxonomy_use(
        store, data=settings.store.folder, specifications=settings.orders.specifications
    )
