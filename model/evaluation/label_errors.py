"""Doubt labels before anything is learned from them.

In:  what was seen of labelled images. Out: `Doubt`s. Next: the agent sends them back to review.
Four ways in which a label gives itself away: two images of one place carry two codes; a specimen is
of two subtypes; an image looks like those of another code to heads that were taught without it;
half of the new images of a code look like none that is known.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model.calibration import fit_temperature
from model.data.near_duplicates import compute_signature
from model.data.splits import folds
from model.evaluation.evaluate import taken
from model.evaluation.promotion_checks import FEWEST_STRANGERS, MOST_STRANGERS
from model.networks.linear_probe import ProbeData, fit_head
from model.networks.schemes import CODE, Scheme, softmax
from model.progress import Step

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from model.data.dataset import Example
    from model.inference.classifier import Classifier
    from model.taxonomy import Taxonomy

_FOLDS = 5
_FEWEST = 3
"""A code with fewer images has none to be told by when some are left out."""


@dataclass(frozen=True, slots=True)
class LabelIssue:
    """Why a label is doubted.

    Args:
        key: Of the image. kind: "twin", "specimen", "label" or "stranger".
        code: What it was given. likely: what it may be instead, or "".
        other: Key of the twin, or "".
    """

    key: str
    kind: str
    code: str
    likely: str = ""
    other: str = ""


def find_label_issues(
    inspected: Sequence[InspectedImage],
    taxonomy: Taxonomy,
    *,
    same_place: Iterable[tuple[int, int]],
    new: Collection[str],
    vouched: Collection[str],
) -> list[LabelIssue]:
    """Say which labels are in doubt, each once, the plainest reason first.

    Args:
        inspected: What was seen of every labelled image, old and new.
        taxonomy: What they can be called.
        same_place: Places of every two that show the same place, from `twins`.
        new: Keys of those that no bundle has learned from; only they are doubted for their looks.
        vouched: Keys of labels that are not doubted any more.
    """
    found: dict[str, LabelIssue] = {}
    for one in (
        *two_codes(inspected, same_place),
        *strangers(inspected, new, vouched),
        *unlikely(inspected, taxonomy, new),
    ):
        if one.key not in vouched:
            found.setdefault(one.key, one)
    return list(found.values())


def two_codes(
    inspected: Sequence[InspectedImage], same_place: Iterable[tuple[int, int]]
) -> Iterator[LabelIssue]:
    """Find images of one place with two codes; both are in doubt."""
    for one, other in same_place:
        a, b = inspected[one], inspected[other]
        if a.code != b.code:
            yield LabelIssue(a.key, "twin", a.code, b.code, b.key)
            yield LabelIssue(b.key, "twin", b.code, a.code, a.key)


def strangers(
    inspected: Sequence[InspectedImage], new: Collection[str], vouched: Collection[str]
) -> Iterator[LabelIssue]:
    """Find new images that the bundle at work calls strange, where most of their code's are."""
    told: dict[str, list[InspectedImage]] = defaultdict(list)
    for one in inspected:
        if one.key in new and one.key not in vouched:
            told[one.code].append(one)
    for code, some in sorted(told.items()):
        strange = [one for one in some if one.flagged]
        if len(strange) >= FEWEST_STRANGERS and len(strange) > MOST_STRANGERS * len(some):
            yield from (LabelIssue(one.key, "stranger", code) for one in strange)


def two_subtypes(
    examples: Sequence[Example],
    taxonomy: Taxonomy,
    *,
    new: Collection[str],
    vouched: Collection[str],
) -> Iterator[LabelIssue]:
    """Find new images whose subtype is not their specimen's; nothing can be taught from both.

    What was learned from or is vouched for says which it is, else most of its images; where they
    are torn, all new ones are in doubt.
    """
    specimens: dict[str, list[tuple[Example, str]]] = defaultdict(list)
    for example in examples:
        specimens[example.group].append((example, taxonomy.parse(example.code)[0]))
    for some in specimens.values():
        if len({subtype for _, subtype in some}) < 2:  # noqa: PLR2004 - of one
            continue
        sure = {s for e, s in some if e.key not in new or e.key in vouched}
        counts = Counter(subtype for _, subtype in some).most_common(2)
        most = counts[0][0] if counts[0][1] > counts[1][1] else ""
        right = next(iter(sure)) if len(sure) == 1 else most
        for example, subtype in some:
            if subtype != right and example.key in new:
                yield LabelIssue(example.key, "specimen", example.code)


def unlikely(
    inspected: Sequence[InspectedImage], taxonomy: Taxonomy, new: Collection[str]
) -> Iterator[LabelIssue]:
    """Find new images that look like another code than theirs, by heads taught without them.

    MEASURED on drawn micrographs (8 codes, 342 images, a fifth of 150 new labels wrong, three
    drawings of the wrong ones): 61 to 85 % of the wrong ones found, at most 2 % of the others.
    """
    known = [one for one in inspected if one.code in taxonomy.trained_codes]
    counts = {code: sum(one.code == code for one in known) for code in taxonomy.trained_codes}
    told = [one for one in known if counts[one.code] >= _FEWEST]
    codes = frozenset(one.code for one in told)
    if len(codes) < 2:  # noqa: PLR2004 - nothing to tell apart
        return
    shares, names = predict_out_of_sample(told, taxonomy.restricted_to(codes))
    labels = np.array([names.index(one.code) for one in told], np.intp)
    for one, likely in zip(told, find_confident_errors(shares, labels), strict=True):
        if likely >= 0 and one.key in new:
            yield LabelIssue(one.key, "label", one.code, names[likely])


def predict_out_of_sample(
    inspected: Sequence[InspectedImage], taxonomy: Taxonomy
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Give each image's calibrated probabilities from heads taught without its specimen.

    Args:
        inspected: Images of taught codes.
        taxonomy: With no other taught codes than theirs.

    Returns:
        (n, k), NaN where no head could say, and the k codes.
    """
    examples = [one.example for one in inspected]
    seen = ProbeData(
        embeddings=np.stack([one.embedding for one in inspected]),
        images=np.arange(len(inspected)),
        codes=[one.code for one in inspected],
        counts=np.ones(len(inspected)),
        folds=_folds_of(examples),
    )
    scheme = Scheme("global", taxonomy)
    blind = fit_head(
        scheme, CODE, "frozen", seen, imbalance="sqrt", ordinal=False
    ).out_of_fold_logits
    names = scheme.heads()[CODE]
    labels = np.array([names.index(one.code) for one in inspected], np.intp)
    told = ~np.isnan(blind).any(axis=1)
    if not told.any():
        return blind, names
    return softmax(blind / fit_temperature(blind[told], labels[told])), names


def _folds_of(examples: Sequence[Example]) -> NDArray[np.intp]:
    fold_of = {
        example.key: fold
        for fold, (_, held) in enumerate(folds(examples, _FOLDS))
        for example in held
    }
    return np.array([fold_of[example.key] for example in examples], np.intp)


def find_confident_errors(
    shares: NDArray[np.float64], labels: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Say for which images another class is more likely than the given one.

    Args:
        shares: (n, k) out-of-sample probabilities; rows with NaN are not doubted.
        labels: (n,) the given classes.

    Returns:
        (n,) the likely class where it is not the given one, else -1.

    Source:
        Northcutt, Jiang and Chuang 2021, JAIR 70:1373, arXiv:1911.00068: an image counts as a
        class whose probability reaches the mean that images of this label have of it, the most
        probable such class if several do; the off-diagonal cells of the joint are the doubts.
    """
    told = ~np.isnan(shares).any(axis=1)
    k = shares.shape[1]
    usual = np.full(k, np.inf)
    for one in np.unique(labels[told]):
        usual[one] = shares[told & (labels == one), one].mean()
    reached = np.where(shares >= usual, shares, -1.0)
    likely = reached.argmax(axis=1)
    is_doubted = told & (reached.max(axis=1) > 0) & (likely != labels)
    return np.where(is_doubted, likely, -1).astype(np.intp)


@dataclass(frozen=True, slots=True)
class InspectedImage:
    """What was seen of one labelled image.

    Args:
        example: The image.
        signature: (4096,) float32, its fine texture, from `leakage`.
        embedding: (d,) float32 of length one, the whole field through the frozen network.
        flagged: Whether it is strange to the bundle at work; False for what that learned from.
    """

    example: Example
    signature: NDArray[np.float32]
    embedding: NDArray[np.float32]
    flagged: bool

    @property
    def key(self) -> str:
        """Its content."""
        return self.example.key

    @property
    def code(self) -> str:
        """The structure code it was given."""
        return self.example.code


def inspect_labels(
    classifier: Classifier, examples: Sequence[Example]
) -> Iterator[Step[tuple[InspectedImage, ...]]]:
    """Look at every example.

    Args:
        classifier: The bundle at work.
        examples: Labelled images, old and new.
    """
    known = classifier.reference_embeddings()
    seen: list[InspectedImage] = []
    for example in examples:
        field = taken(example)
        if example.key in known:
            embedding, flagged = known[example.key], False
        else:
            embedding, strangeness = classifier.score_ood(field)
            flagged = strangeness.flagged
        seen.append(InspectedImage(example, compute_signature(field), embedding, flagged))
        yield Step("hygiene", len(seen), len(examples))
    yield Step("hygiene", len(seen), len(examples), found=tuple(seen))
