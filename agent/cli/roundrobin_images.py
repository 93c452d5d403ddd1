"""Choose the micrographs of a round-robin campaign."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.console import err
from agent.cli.csv_rows import parse_code, read_rows
from agent.errors import WrongUse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agent.orders.limit import Limit
    from agent.settings import Settings
    from agent.store import NewImage, Store
    from model import Taxonomy


def read_images(store: Store, file: Path, taxonomy: Taxonomy) -> list[NewImage]:
    """Read the micrographs of a campaign from a CSV."""
    from agent.store import GIVEN_REFERENCE, NewImage

    images = []
    for number, row in read_rows(file, "id"):
        view = store.results.find(row["id"])
        if view is None:
            raise WrongUse(f"{file}: line {number}: unknown micrograph id {row['id']!r}.")
        label = view.label.code if view.label else None
        text = row.get("code") or ""
        code = parse_code(text, file, number, taxonomy) if text else label
        images.append(NewImage(view.id, code, GIVEN_REFERENCE if text else ""))
    return images


def choose_images(
    settings: Settings,
    store: Store,
    n: int,
    limits: Sequence[tuple[str, Limit]],
    *,
    taxonomy: Taxonomy,
    learned: frozenset[str],
    seed: int,
) -> list[NewImage]:
    """Draw labelled micrographs, stratified by code and by distance to the limits."""
    from agent.roundrobin.campaign import candidates
    from agent.roundrobin.sampling import choose, count_strata
    from agent.store import NewImage

    pool = candidates(
        store,
        taxonomy=taxonomy,
        limits=limits,
        least_sure=settings.triage.min_probability,
        learned=learned,
    )
    chosen = choose(pool, n, seed=seed)
    if not chosen:
        raise WrongUse(
            "There is no labelled micrograph outside the training set of the model. Label some "
            "(agent review), or use --include-taught."
        )
    for stratum, count in count_strata(chosen).items():
        err.print(f"{count:4}  {stratum}", markup=False)
    near = sum(image.near for image in chosen)
    if len(chosen) < n or 3 * near < n:
        err.print(
            f"{len(chosen)} of {n} micrographs chosen, {near} near a limit; no more are available.",
            markup=False,
        )
    return [NewImage(image.id, image.code, image.stratum) for image in chosen]


def read_limits(
    settings: Settings, options: Sequence[str], taxonomy: Taxonomy
) -> list[tuple[str, Limit]]:
    """Return the limits by subtype: those given, else those of specifications.toml."""
    from agent.orders.specification import find_limit, read_specifications

    if options:
        return parse_limits(options, taxonomy)
    entries = read_specifications(settings.orders.specifications).entries
    return [
        (name, limit)
        for entry in entries
        for name in entry.subtype
        if (limit := find_limit(entry, name, taxonomy))
    ]


def parse_limits(options: Sequence[str], taxonomy: Taxonomy) -> list[tuple[str, Limit]]:
    """Parse limits such as "8 or finer" for every subtype that has the size.

    Raises:
        WrongUse: A text is no limit, or no subtype has its sizes.
    """
    from agent.orders.limit import find_limit_fault, read_limit

    limits = []
    for text in options:
        try:
            limit = read_limit(text)
        except ValueError as error:
            raise WrongUse(f"--limit: {error}.") from error
        faults = {
            subtype.name: find_limit_fault(limit, [subtype.name], taxonomy)
            for subtype in taxonomy.subtypes
        }
        if all(faults.values()):
            raise WrongUse(f"--limit {text}: {next(iter(faults.values()))}.")
        limits += [(name, limit) for name, fault in faults.items() if not fault]
    return limits


def learned_by_current(settings: Settings, store: Store) -> frozenset[str]:
    """Return the keys of the images that trained the bundle in use."""
    name = store.promotions.find_current()
    return list_training_keys(settings, [name]).get(name, frozenset()) if name else frozenset()


def list_training_keys(settings: Settings, bundles: Iterable[str]) -> dict[str, frozenset[str]]:
    """Return the training-image keys of each bundle; missing bundles are left out."""
    from agent.retrain.bundle_registry import list_bundles
    from model import read_manifest

    folders = {path.name: path for path in list_bundles(settings.store.folder)}
    return {name: read_manifest(folders[name]).learned_from for name in bundles if name in folders}
