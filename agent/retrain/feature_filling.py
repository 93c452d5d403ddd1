"""Make the features of archived micrographs that are not kept yet, newest first; then the map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.errors import BadStore
from agent.features import build_row, compute_map, save_map
from agent.labelled_import import make_loader
from agent.retrain.progress import Step
from model.data.feature_cache import hash_field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from agent.archive import Archive
    from agent.features import FeatureFolder, Selected
    from agent.store import CurrentAnswer, Store
    from model import Classifier, Field

TOGETHER = 8
SHARD_EVERY = 2048
"""Rows after which the buffer becomes a shard, so that little is in memory and in the buffer."""


@dataclass(frozen=True, slots=True)
class Filled:
    """Result of filling up.

    Args:
        made: Micrographs whose features were made.
        known: Micrographs that had theirs.
        lost: Micrographs whose crop is not in the archive any more.
        unreadable: Micrographs whose crop is damaged.
        rest: Micrographs that are left for the next time.
    """

    made: int
    known: int
    lost: int
    unreadable: int
    rest: int


def fill_features(
    store: Store,
    archive: Archive,
    features: FeatureFolder,
    classifier: Classifier,
    *,
    limit: int | None = None,
    is_enough: Callable[[], bool] = lambda: False,
) -> Iterator[Step | Filled]:
    """Make the features that are missing for a bundle, the newest micrograph first.

    Args:
        store: Names the micrographs.
        archive: Holds their crops.
        features: Where they are kept.
        classifier: The bundle in use; its networks see the crops.
        limit: How many micrographs at most, None: all.
        is_enough: Called between groups of micrographs; True ends the work.

    Yields:
        `Step`s, last a `Filled`.

    Raises:
        OSError: The folder of the features cannot be written.
    """
    features.compact()
    form = classifier.feature_form
    selected: dict[str, Selected] = {}
    missing: list[CurrentAnswer] = []
    known = lost = 0
    for answer in store.results.iter_newest_answers():
        if answer.recipe not in selected:
            selected[answer.recipe] = features.select_keys(form.compute_id(answer.recipe))
        if selected[answer.recipe].has(answer.sha256, answer.page, answer.um_per_px):
            known += 1
        elif archive.has_crop(answer.sha256, answer.page):
            missing.append(answer)
        else:
            lost += 1
    wanted = missing if limit is None else missing[:limit]
    made = unreadable = done = 0
    for start in range(0, len(wanted), TOGETHER):
        if is_enough():
            break
        group = wanted[start : start + TOGETHER]
        loaded = list(_load(archive, group))
        done += len(group)
        unreadable += len(group) - len(loaded)
        kept = classifier.extract_features([field for _answer, field in loaded])
        for (answer, field), found in zip(loaded, kept, strict=True):
            of, row = build_row(
                found,
                sha256=answer.sha256,
                page=answer.page,
                recipe=answer.recipe,
                crop=hash_field(field),
                um_per_px=answer.um_per_px,
            )
            features.buffer.append(of, row)
            made += 1
        if made // SHARD_EVERY > (made - len(group)) // SHARD_EVERY:
            features.compact()
        yield Step("features", done, len(wanted))
    features.compact()
    if (places := compute_map(features)) is not None:
        save_map(features.folder, places)
    yield Filled(made=made, known=known, lost=lost, unreadable=unreadable, rest=len(missing) - done)


def _load(
    archive: Archive, answers: Sequence[CurrentAnswer]
) -> Iterator[tuple[CurrentAnswer, Field]]:
    for answer in answers:
        try:
            yield answer, make_loader(archive, answer.sha256, answer.page, answer.um_per_px)()
        except BadStore:
            continue  # agent verify names it
