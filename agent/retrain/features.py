"""Fill up the kept features of archived micrographs, and score all history from them.

No picture is read and nothing is stored when history is scored. Codes, prediction sets and the
whole field's distance are those of the other bundle. Local strangeness needs the cells of the
picture: the earlier result's value stays, named as such.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.errors import StoreError
from agent.features import build_row, compute_key, compute_map, save_map, to_batch
from agent.imaging.crop import public_id
from agent.labelled_import import make_loader
from model import Progress
from model.data.feature_cache import hash_field

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from agent.archive import Archive
    from agent.features import FeatureFolder, Selected
    from agent.store import CurrentAnswer, Store
    from model import Classifier, Field
    from model.inference.predictor import FeatureScorer, ScoredFeatures


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
    limit: int | None,
    is_enough: Callable[[], bool],
) -> Iterator[Progress[None] | Filled]:
    """Make the features that are missing for a bundle, the newest micrograph first.

    Args:
        store: Names the micrographs.
        archive: Holds their crops.
        features: Where they are kept.
        classifier: The bundle in use; its networks see the crops.
        limit: How many micrographs at most, None: all.
        is_enough: Called between groups of micrographs; True ends the work.

    Yields:
        `Progress`, last a `Filled`.

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
        for (answer, image), found in zip(loaded, kept, strict=True):
            of, row = build_row(
                found,
                sha256=answer.sha256,
                page=answer.page,
                recipe=answer.recipe,
                crop=hash_field(image),
                um_per_px=answer.um_per_px,
            )
            features.buffer.append(of, row)
            made += 1
        if made // SHARD_EVERY > (made - len(group)) // SHARD_EVERY:
            features.compact()
        yield Progress("features", done, len(wanted))
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
        except StoreError:
            continue  # agent verify names it


@dataclass(frozen=True, slots=True)
class Rescored:
    """What another bundle makes of one micrograph, from its kept features.

    Args:
        code: Structure code; None where it needs the picture.
        is_close: Its margin is within the engine's tolerance, so that the picture decides.
        probability: Of the code; None likewise.
        prediction_set: Codes of the set.
        p_whole: Share of reference fields at least as far as the whole field; None without one.
        flagged_whole: The whole field is unusual to this bundle.
        local_bundle: Bundle of the result whose local strangeness stays.
    """

    code: str | None
    is_close: bool
    probability: float | None
    prediction_set: tuple[str, ...]
    p_whole: float | None
    flagged_whole: bool
    local_bundle: str


@dataclass(slots=True)
class Rescoring:
    """Result of scoring all history from kept features.

    Args:
        bundle: The other bundle.
        scored: Micrographs with a code of that bundle.
        close: Of these, how many need the picture since their margin is within the tolerance.
        without: Micrographs whose features are not kept in the bundle's form.
        flips: Code before → code now → how many.
        flagged_whole: Whole fields that are unusual to this bundle.
        flagged_local_before: Micrographs whose earlier result was flagged; not scored again.
        scores_codes: Whether the bundle's codes can be scored from features at all.
        flipped: Public ids of micrographs with another code, at most 1000, code before and now.
    """

    bundle: str
    scored: int = 0
    close: int = 0
    without: int = 0
    flips: Counter[tuple[str, str]] = field(default_factory=Counter)
    flagged_whole: int = 0
    flagged_local_before: int = 0
    scores_codes: bool = True
    flipped: list[tuple[str, str, str]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "bundle": self.bundle,
            "from_features": True,
            "judged": self.scored,
            "close": self.close,
            "without_features": self.without,
            "flagged_whole": self.flagged_whole,
            "flagged_before": self.flagged_local_before,
            "scores_codes": self.scores_codes,
            "not_scored_again": ["local strangeness", "image and preparation defects"],
            "flips": [
                {"before": before, "now": now, "n": n}
                for (before, now), n in sorted(self.flips.items())
            ],
            "flipped": [
                {"id": public_id, "before": before, "now": now}
                for public_id, before, now in self.flipped
            ],
        }


MOST_FLIPPED = 1000


def rescore(
    store: Store, features: FeatureFolder, classifier: Classifier
) -> Iterator[Progress[None] | Rescoring]:
    """Compare all history with what another bundle makes of it, from kept features.

    Args:
        store: Names the micrographs and their results.
        features: What is kept of them.
        classifier: The other bundle.

    Yields:
        `Progress`, last a `Rescoring`.
    """
    scorer = classifier.build_feature_scorer()
    outcome = Rescoring(classifier.name, scores_codes=scorer.scores_codes)
    recipes: set[str] = set()
    total = 0
    for answer in store.results.iter_newest_answers():
        recipes.add(answer.recipe)
        total += 1
    done = 0
    for answer, rescored in iter_rescored(store, features, scorer, recipes):
        done += 1
        if rescored.code is not None:
            outcome.scored += 1
            outcome.close += rescored.is_close
            if answer.structure_code and answer.structure_code != rescored.code:
                outcome.flips[answer.structure_code, rescored.code] += 1
                if len(outcome.flipped) < MOST_FLIPPED:
                    outcome.flipped.append((answer.id, answer.structure_code, rescored.code))
        outcome.flagged_whole += rescored.flagged_whole
        outcome.flagged_local_before += answer.strangeness.is_flagged
        if done % 1024 == 0:
            yield Progress("features", done, total)
    outcome.without = total - done
    yield Progress("features", total, total)
    yield outcome


def iter_rescored(
    store: Store, features: FeatureFolder, scorer: FeatureScorer, recipes: Collection[str]
) -> Iterator[tuple[CurrentAnswer, Rescored]]:
    """Yield what a bundle makes of micrographs, each once, where their features are kept.

    One row group of features and its micrographs are in memory at a time.

    Args:
        store: Names the micrographs.
        features: What is kept.
        scorer: Of the bundle.
        recipes: Crop recipes of the micrographs.
    """
    for recipe in sorted(recipes):
        seen: set[np.uint64] = set()
        for _of, table in features.iter_tables(scorer.form.compute_id(recipe)):
            hashes = [value.hex() for value in table.column("sha256").to_pylist()]
            keys = list(zip(hashes, table.column("page").to_pylist(), strict=True))
            answers = {
                (answer.sha256, answer.page): answer
                for answer in store.results.list_answers([public_id(*key) for key in keys])
            }
            scales = np.asarray(table.column("um_per_px"))
            scored = scorer.score(to_batch(table))
            for row, key in enumerate(keys):
                answer, short = answers.get(key), compute_key(*key)
                if answer is None or short in seen or answer.recipe != recipe:
                    continue
                scale = float(scales[row])
                if abs(scale - (answer.um_per_px or 0.0)) > 1e-6 * max(scale, 1.0):
                    continue  # judged again at another scale since
                seen.add(short)
                yield answer, _build(answer, scored, row, scorer.alpha)


def _build(answer: CurrentAnswer, scored: ScoredFeatures, row: int, alpha: float) -> Rescored:
    p_whole = float(scored.p_whole[row])
    is_scored = bool(scored.code[row] >= 0)
    return Rescored(
        code=scored.find_code(row),
        is_close=bool(scored.is_close[row]),
        probability=float(scored.probability[row]) if is_scored else None,
        prediction_set=scored.list_set(row),
        p_whole=None if np.isnan(p_whole) else p_whole,
        flagged_whole=bool(p_whole <= alpha + 1e-12),
        local_bundle=answer.bundle,
    )
