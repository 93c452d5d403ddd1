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
    from agent.store import NewImage

    found = []
    for number, row in read_rows(file, "id"):
        view = store.micrograph(row["id"])
        if view is None:
            raise WrongUse(f"{file}: line {number}: no micrograph has the id {row['id']!r}.")
        held = view.label.code if view.label else None
        said = row.get("code") or ""
        found.append(NewImage(view.id, parse_code(said, file, number, taxonomy) if said else held))
    return found


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

    some = candidates(
        store,
        taxonomy=taxonomy,
        limits=limits,
        least_sure=settings.triage.min_probability,
        learned=learned,
    )
    chosen = choose(some, n, seed=seed)
    if not chosen:
        raise WrongUse(
            "no labelled micrograph can be rated: there is none, or the model learned from all of "
            "them; label some (agent review), or say --include-taught."
        )
    for stratum, count in count_strata(chosen).items():
        err.print(f"{count:4}  {stratum}", markup=False)
    near = sum(one.near for one in chosen)
    if len(chosen) < n or 3 * near < n:
        err.print(
            f"{len(chosen)} of {n} chosen, {near} near a limit: there were no more.", markup=False
        )
    return [NewImage(one.id, one.code, one.stratum) for one in chosen]


def read_limits(
    settings: Settings, said: Sequence[str], taxonomy: Taxonomy
) -> list[tuple[str, Limit]]:
    """Return the limits by subtype: those given, else those of specifications.toml."""
    from agent.orders.specification import read_specifications

    if said:
        return parse_limits(said, taxonomy)
    entries = read_specifications(settings.orders.specifications).entries
    return [(name, one.bound) for one in entries for name in one.subtype if one.bound]


def parse_limits(said: Sequence[str], taxonomy: Taxonomy) -> list[tuple[str, Limit]]:
    """Read limits such as "8 or finer", of every subtype that has the size.

    Raises:
        WrongUse: It is none, or no subtype can be judged by it.
    """
    from agent.orders.limit import fault_of, read_limit

    found = []
    for text in said:
        try:
            limit = read_limit(text)
        except ValueError as error:
            raise WrongUse(f"--limit: {error}.") from error
        faults = {one.name: fault_of(limit, [one.name], taxonomy) for one in taxonomy.subtypes}
        if all(faults.values()):
            raise WrongUse(f"--limit {text}: {next(iter(faults.values()))}.")
        found += [(name, limit) for name, fault in faults.items() if not fault]
    return found


def learned_by_current(settings: Settings, store: Store) -> frozenset[str]:
    """Return the keys of the images that trained the bundle in use."""
    name = store.current_bundle()
    return list_training_keys(settings, [name]).get(name, frozenset()) if name else frozenset()


def list_training_keys(settings: Settings, bundles: Iterable[str]) -> dict[str, frozenset[str]]:
    """Say what each bundle learned from, by its keys; one that is not there is left out."""
    from agent.bundle_registry import list_bundles
    from model import read_manifest

    there = {path.name: path for path in list_bundles(settings.store.folder)}
    return {name: read_manifest(there[name]).learned_from for name in bundles if name in there}
