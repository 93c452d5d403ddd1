"""Find what a taxonomy would change for labels, specification limits and the bundle in use."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.orders.facts.order_policy import BUNDLES
from agent.orders.specifications.specification import find_size_fault, read_specifications
from agent.orders.specifications.taxonomy_history import (
    UNREADABLE,
    find_scale,
    list_sizes,
    read_bundle_taxonomy,
)
from model import TaxonomyError
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from agent.orders.specifications.specification import Specification
    from agent.store import Store
    from model import Taxonomy


@dataclass(frozen=True, slots=True)
class TaxonomyUse:
    """What depends on the classes of a lab.

    Attributes:
        labelled: Structure code → number of micrographs with that label.
        bundle: Taxonomy of the bundle in use, None where there is none or it cannot be read.
        specifications: Those of the lab.
    """

    labelled: Mapping[str, int]
    bundle: Taxonomy | None
    specifications: tuple[Specification, ...]


def load_taxonomy_use(store: Store, *, data: Path, specifications: Path) -> TaxonomyUse:
    """Load what depends on the classes.

    Args:
        store: Open.
        data: The data folder, with the bundles.
        specifications: The file of specification limits; it need not exist.

    Raises:
        BadSpecification: The file of limits cannot be used.
    """
    name = store.promotions.find_current()
    bundle = None
    if name is not None:
        with suppress(*UNREADABLE):
            bundle = read_bundle_taxonomy(data / BUNDLES, name)
    limits = read_specifications(specifications).entries
    return TaxonomyUse(store.labels.count_codes(), bundle, tuple(limits))


def find_effects(new: Taxonomy, current: Taxonomy | None, use: TaxonomyUse) -> Iterator[str]:
    """Yield what a taxonomy would change, a sentence each, in the current language.

    Args:
        new: New taxonomy.
        current: Taxonomy in use, or None to compare with labels, limits and bundle only.
        use: What depends on it.
    """
    if lost := {code: n for code, n in use.labelled.items() if not _has(new, code)}:
        shown = ", ".join(f"{code} ({n})" for code, n in sorted(lost.items()))
        yield _("Training leaves out the labels of unknown codes: {codes}.").format(codes=shown)
    bundle = use.bundle
    if bundle and (gone := [code for code in bundle.trained_codes if not _has(new, code)]):
        yield _(
            "The bundle in use answers {codes}, which the taxonomy lacks. Train a new bundle: "
            "agent train."
        ).format(codes=", ".join(gone))
    if bundle and (fresh := [code for code in new.trained_codes if not is_trained(bundle, code)]):
        yield _("The bundle in use lacks {codes}. Train a new one: agent train.").format(
            codes=", ".join(fresh)
        )
    for subtype in new.subtypes if current else ():
        before, now = find_scale(current, subtype.name), find_scale(new, subtype.name)  # type: ignore[arg-type]
        if before is not None and before != now:
            yield _(
                "The sizes of {subtype} become {sizes}. Released orders keep the previous sizes "
                "until a lead reopens them."
            ).format(subtype=subtype.name, sizes=list_sizes(new, subtype.name))
    yield from _find_limits(new, use)


def _find_limits(new: Taxonomy, use: TaxonomyUse) -> Iterator[str]:
    known = {subtype.name for subtype in new.subtypes}
    for wanted in use.specifications:
        if missing := [name for name in wanted.subtype if name not in known]:
            yield _("Specification {name} requires {subtypes}, which the taxonomy lacks.").format(
                name=wanted.name, subtypes=", ".join(missing)
            )
        elif fault := find_size_fault(wanted, new):
            yield _("Specification {name}: {fault}.").format(name=wanted.name, fault=fault)


def is_trained(bundle: Taxonomy, code: str) -> bool:
    """Return whether a bundle with this taxonomy answers a code."""
    return _has(bundle, code) and bundle.code(*bundle.parse(code)) in bundle.trained_codes


def _has(own: Taxonomy, code: str) -> bool:
    try:
        own.parse(code)
    except TaxonomyError:
        return False
    return True
