"""Commands about the lab's classes: what is trained and ordered, and what a change would do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import console
from agent.cli.app import SAYS_NO, app, settings_of, store_of
from agent.errors import WrongUse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.orders.taxonomy_effects import TaxonomyUse
    from agent.settings import Settings
    from agent.store import Store
    from model import Taxonomy

taxonomy = typer.Typer(
    name="taxonomy", help="The subtypes and sizes that the lab tells apart.", no_args_is_help=True
)
app.add_typer(taxonomy)

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


@taxonomy.command("show")
def show_taxonomy(context: typer.Context, json: JsonOption = False) -> None:
    """Show each structure code: whether it is trained, labelled, in the bundle and ordered."""
    from agent.lab_context import taxonomy_in_force  # noqa: PLC0415

    settings = settings_of(context)
    with store_of(settings) as store:
        own = taxonomy_in_force(settings, store)
        rows = list(_rows(own, settings, store))
    if json:
        several = own.several_subtypes
        subtypes = "several" if several else "one"
        whole = {"name": own.name, "source": _source(settings), "subtypes_per_specimen": subtypes}
        console.print_json({**whole, "codes": rows})
        return
    kinds = "several subtypes" if own.several_subtypes else "one subtype"
    console.console.print(
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


@taxonomy.command("check")
def check_taxonomy(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(help="A taxonomy.toml; without it the one that [model] taxonomy names."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check a taxonomy.toml: faults by name (exit code 2), and what it would change (3)."""
    from agent.lab_context import taxonomy_in_force  # noqa: PLC0415
    from agent.orders.taxonomy_effects import find_effects  # noqa: PLC0415
    from model import load_taxonomy  # noqa: PLC0415

    settings = settings_of(context)
    path = file or (Path(settings.model.taxonomy) if settings.model.taxonomy else None)
    if path is None:
        raise WrongUse("name a taxonomy.toml: agent taxonomy check FILE, or set [model] taxonomy.")
    new = load_taxonomy(path)
    with store_of(settings) as store:
        current = taxonomy_in_force(settings, store) if file else None
        effects = list(find_effects(new, current, _use(settings, store)))
    if json:
        console.print_json({"file": str(path), "codes": list(new.codes), "effects": effects})
    else:
        holds = f"{path}: {len(new.codes)} structure codes, {len(new.trained_codes)} trained."
        console.console.print(holds, markup=False)
        for sentence in effects:
            console.console.print(sentence, markup=False)
    if effects:
        raise typer.Exit(SAYS_NO)


def _rows(own: Taxonomy, settings: Settings, store: Store) -> Iterator[dict[str, Any]]:
    from agent.orders.class_texts import describe_codes  # noqa: PLC0415
    from agent.orders.taxonomy_effects import is_trained  # noqa: PLC0415

    use = _use(settings, store)
    for code, title in describe_codes(own).items():
        subtype, _size = own.parse(code)
        yield {
            "code": code,
            "title": title,
            "trained": code in own.trained_codes,
            "labelled": use.labelled.get(code, 0),
            "in_bundle": use.bundle is not None and is_trained(use.bundle, code),
            "ordered_by": [one.name for one in use.specifications if subtype in one.subtype],
        }


def _source(settings: Settings) -> str:
    return str(settings.model.taxonomy) if settings.model.taxonomy else "the bundle in use"


def _use(settings: Settings, store: Store) -> TaxonomyUse:
    from agent.orders.taxonomy_effects import load_taxonomy_use  # noqa: PLC0415

    return load_taxonomy_use(
        store, data=settings.store.folder, specifications=settings.orders.specifications
    )
