"""`agent taxonomy`: the lab's subtypes and sizes, and the effects of a change."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import console
from agent.cli.app import SAYS_NO, app, load_settings, open_store
from agent.errors import WrongUse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.orders.specification import Specification
    from agent.settings import Settings
    from agent.store import Store
    from model import Taxonomy

taxonomy = typer.Typer(name="taxonomy", help="Subtypes and sizes of the lab.", no_args_is_help=True)
app.add_typer(taxonomy)

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


@taxonomy.command("show")
def show_taxonomy(context: typer.Context, json: JsonOption = False) -> None:
    """Show each structure code: trained, labelled, in the bundle in use, ordered."""
    from agent.lab_context import taxonomy_in_force

    settings = load_settings(context)
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


@taxonomy.command("check")
def check_taxonomy(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(help="A taxonomy.toml. Default: the file in [model] taxonomy."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check a taxonomy.toml for faults (exit code 2) and list what it would change (3)."""
    from agent.lab_context import taxonomy_in_force
    from model import load_taxonomy

    settings = load_settings(context)
    path = file or (Path(settings.model.taxonomy) if settings.model.taxonomy else None)
    if path is None:
        raise WrongUse("Name a taxonomy.toml: agent taxonomy check FILE, or set [model] taxonomy.")
    new = load_taxonomy(path)
    with open_store(settings) as store:
        current = taxonomy_in_force(settings, store) if file else None
        effects = list(find_effects(new, current, settings, store))
    if json:
        console.print_json({"file": str(path), "codes": list(new.codes), "effects": effects})
    else:
        summary = f"{path}: {len(new.codes)} structure codes, {len(new.trained_codes)} trained."
        console.out.print(summary, markup=False)
        for sentence in effects:
            console.out.print(sentence, markup=False)
    if effects:
        raise typer.Exit(SAYS_NO)


def find_effects(
    new: Taxonomy, current: Taxonomy | None, settings: Settings, store: Store
) -> Iterator[str]:
    """Yield what a taxonomy would change for labels, limits and the bundle in use.

    Args:
        new: New taxonomy.
        current: Taxonomy in use, or None to compare with labels and bundle only.
        settings: Settings of the lab.
        store: Open store.
    """
    from agent.orders.limit import find_limit_fault
    from agent.orders.taxonomy_history import find_scale, list_sizes

    labelled = _count_labels(store)
    if lost := {code: n for code, n in labelled.items() if not _has(new, code)}:
        shown = ", ".join(f"{code} ({n})" for code, n in sorted(lost.items()))
        yield f"Training leaves out the labels of unknown codes: {shown}."
    bundle = _bundle_taxonomy(settings, store)
    if bundle and (gone := [code for code in bundle.trained_codes if not _has(new, code)]):
        yield (
            f"The bundle in use answers {', '.join(gone)}, which the taxonomy lacks. Train a new "
            "bundle: agent train."
        )
    if bundle and (fresh := [code for code in new.trained_codes if not _knows(bundle, code)]):
        yield f"The bundle in use lacks {', '.join(fresh)}. Train a new one: agent train."
    for subtype in new.subtypes if current else ():
        before, now = find_scale(current, subtype.name), find_scale(new, subtype.name)  # type: ignore[arg-type]
        if before is not None and before != now:
            yield (
                f"The sizes of {subtype.name} become {list_sizes(new, subtype.name)}. Released "
                "orders keep the previous sizes until a lead reopens them."
            )
    for wanted in _specifications(settings):
        known = {subtype.name for subtype in new.subtypes}
        if missing := [name for name in wanted.subtype if name not in known]:
            names = ", ".join(missing)
            yield f"Specification {wanted.name} requires {names}, which the taxonomy lacks."
        elif wanted.bound and (fault := find_limit_fault(wanted.bound, wanted.subtype, new)):
            yield f"Specification {wanted.name}: {fault}."


def _rows(own: Taxonomy, settings: Settings, store: Store) -> Iterator[dict[str, Any]]:
    from agent.orders.class_texts import describe_codes

    labelled, bundle = _count_labels(store), _bundle_taxonomy(settings, store)
    limits = list(_specifications(settings))
    for code, title in describe_codes(own).items():
        subtype, _size = own.parse(code)
        yield {
            "code": code,
            "title": title,
            "trained": code in own.trained_codes,
            "labelled": labelled.get(code, 0),
            "in_bundle": bundle is not None and _knows(bundle, code),
            "ordered_by": [limit.name for limit in limits if subtype in limit.subtype],
        }


def _source(settings: Settings) -> str:
    return str(settings.model.taxonomy) if settings.model.taxonomy else "the bundle in use"


def _count_labels(store: Store) -> Mapping[str, int]:
    return Counter(label.code for label in store.labelled_micrographs.list_all() if label.code)


def _has(own: Taxonomy, code: str) -> bool:
    from model import TaxonomyError

    try:
        own.parse(code)
    except TaxonomyError:
        return False
    return True


def _knows(bundle: Taxonomy, code: str) -> bool:
    return _has(bundle, code) and bundle.code(*bundle.parse(code)) in bundle.trained_codes


def _bundle_taxonomy(settings: Settings, store: Store) -> Taxonomy | None:
    from agent.orders.order_policy import BUNDLES
    from agent.orders.taxonomy_history import UNREADABLE, read_bundle_taxonomy

    name = store.promotions.find_current()
    if name is None:
        return None
    with suppress(*UNREADABLE):
        return read_bundle_taxonomy(settings.store.folder / BUNDLES, name)
    return None


def _specifications(settings: Settings) -> tuple[Specification, ...]:
    from agent.orders import read_specifications

    file = settings.orders.specifications
    return tuple(read_specifications(file).entries) if file.exists() else ()
