"""Gather what people said: labelled crops of the archive, as a network learns from them.

In:  label rows, archived crops. Out: `Collected`. Next: `teaching`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.imaging.crop import RECIPE
from agent.labelled_folder import key_of, loader, slices_of
from model import Example, TaxonomyError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from agent.archive import Archive
    from agent.store import Store
    from model import Manifest, Taxonomy


@dataclass(frozen=True, slots=True)
class Collected:
    """What there is to learn from.

    Args:
        examples: Labelled micrographs whose crops are in the archive.
        codes: Structure code → how many.
        left_out: Why → how many labelled micrographs are not among them.
        corrected: Keys of those where a person said another code than the model before.
        vouched: Keys of those where two people said the same.
        strange: Kind → micrographs that people called strange.
    """

    examples: tuple[Example, ...]
    codes: Mapping[str, int]
    left_out: Mapping[str, int]
    corrected: frozenset[str] = frozenset()
    vouched: frozenset[str] = frozenset()
    strange: Mapping[str, tuple[Example, ...]] = field(default_factory=dict)

    def new_since(self, manifest: Manifest) -> tuple[Example, ...]:
        """Say which of them the bundle has never seen, not even in its test."""
        seen = {key for keys in manifest.split.values() for key in keys}
        return tuple(example for example in self.examples if example.key not in seen)


def collect(store: Store, archive: Archive, taxonomy: Taxonomy, *, group_by: str = "") -> Collected:
    """Gather every micrograph that somebody gave a structure code, with its archived crop.

    Args:
        store: Who said what.
        archive: The pixels.
        taxonomy: Codes outside it are counted, not learned.
        group_by: A column of the process data that must not be on two sides of a split, instead of
            the specimen.
    """
    examples = []
    codes: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    for one in store.labelled():
        reason = _why_not(one.code, one.recipe, archive.crop_path(one.sha256, one.page), taxonomy)
        if reason or one.code is None:
            left_out[reason] += 1
            continue
        codes[one.code] += 1
        examples.append(
            Example(
                key=key_of(one.sha256, one.page),
                code=one.code,
                group=str({**one.process_extra, **one.process_data}.get(group_by) or one.group),
                load=loader(
                    archive,
                    one.sha256,
                    one.page,
                    one.um_per_px,
                    one.process_data.get("microscope", ""),
                ),
                criterion=one.criterion,
                slices=slices_of(one.process_data),
            )
        )
    return Collected(tuple(examples), dict(codes), dict(left_out))


def _why_not(code: str | None, recipe: str, crop: Path, taxonomy: Taxonomy) -> str:
    try:
        taxonomy.parse(code or "")
    except TaxonomyError:
        return f"{code} is not in the taxonomy"
    if recipe != RECIPE:
        return f"cut by recipe {recipe}, not {RECIPE}: import it again"
    return "" if crop.is_file() else "its crop is no longer in the archive"
