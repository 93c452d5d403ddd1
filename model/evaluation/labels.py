"""Labels: suspect ones found before training, and how many more would help.

Four signs of a wrong label: two images of one place have different codes; a specimen has two
subtypes; heads fitted without an image assign another code to it; half of the new images of a code
are unlike all reference images. A reviewer decides on each.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from model.calibration import fit_temperature
from model.data.dataset import Example, folds
from model.data.near_duplicates import compute_signature
from model.evaluation.comparison import MAX_UNUSUAL_SHARE, MIN_UNUSUAL
from model.evaluation.evaluation import load_field
from model.networks.linear_probe import ProbeData, fit_head
from model.networks.schemes import CODE, Scheme, softmax
from model.progress import Progress
from model.statistics import Estimate

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from model.inference.classifier import Classifier
    from model.taxonomy import Taxonomy


_FOLDS = 5
_MIN_IMAGES = 3
"""A code with fewer images may have none left when a fold is left out."""
_MOST_OF_NEW_CODE = 0.1
"""Largest share of suspects among the labels of a code of which too few were trained on."""
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class LabelIssue:
    """A suspect label and the reason.

    Args:
        key: Key of the image.
        kind: "twin", "specimen", "label" or "stranger".
        code: Code of the label.
        likely: Code that it may be instead, or "".
        other: Key of the other image of the same place, or "".
        right, of: How many images of its code the heads that suspect it assign rightly without
            their specimen, of how many; 0 of 0 where no head suspects it.
    """

    key: str
    kind: str
    code: str
    likely: str = ""
    other: str = ""
    right: int = 0
    of: int = 0


def find_label_issues(
    inspected: Sequence[InspectedImage],
    taxonomy: Taxonomy,
    *,
    same_place: Iterable[tuple[int, int]],
    new: Collection[str],
    vouched: Collection[str],
) -> list[LabelIssue]:
    """Return the suspect labels, each once, with the most certain reason.

    Args:
        inspected: All labelled images, old and new.
        taxonomy: Subtypes and sizes.
        same_place: Pairs of indices of images that show the same place.
        new: Keys of images that no bundle was trained on; only they are suspected for their
            appearance.
        vouched: Keys of labels that are confirmed.
    """
    issues: dict[str, LabelIssue] = {}
    for issue in (
        *find_conflicting_copies(inspected, same_place),
        *find_unusual_images(inspected, new, vouched),
        *find_unlikely_labels(inspected, taxonomy, new),
    ):
        if issue.key not in vouched:
            issues.setdefault(issue.key, issue)
    return list(issues.values())


def find_conflicting_copies(
    inspected: Sequence[InspectedImage], same_place: Iterable[tuple[int, int]]
) -> Iterator[LabelIssue]:
    """Find images of one place with two codes; both labels are suspect."""
    for first, second in same_place:
        a, b = inspected[first], inspected[second]
        if a.code != b.code:
            yield LabelIssue(a.key, "twin", a.code, b.code, b.key)
            yield LabelIssue(b.key, "twin", b.code, a.code, a.key)


def find_unusual_images(
    inspected: Sequence[InspectedImage], new: Collection[str], vouched: Collection[str]
) -> Iterator[LabelIssue]:
    """Find new images that the bundle in use flags, where it flags most of their code's images."""
    by_code: dict[str, list[InspectedImage]] = defaultdict(list)
    for image in inspected:
        if image.key in new and image.key not in vouched:
            by_code[image.code].append(image)
    for code, images in sorted(by_code.items()):
        unusual = [image for image in images if image.flagged]
        if len(unusual) >= MIN_UNUSUAL and len(unusual) > MAX_UNUSUAL_SHARE * len(images):
            yield from (LabelIssue(image.key, "stranger", code) for image in unusual)


def find_mixed_specimens(
    examples: Sequence[Example],
    taxonomy: Taxonomy,
    *,
    new: Collection[str],
    vouched: Collection[str],
) -> Iterator[LabelIssue]:
    """Find new images whose subtype differs from that of their specimen.

    Confirmed labels and labels that were trained on determine the specimen's subtype, else the
    majority of its images; without a majority all new labels are suspect.
    """
    specimens: dict[str, list[tuple[Example, str]]] = defaultdict(list)
    for example in examples:
        specimens[example.group].append((example, taxonomy.parse(example.code)[0]))
    for labelled in specimens.values():
        if len({subtype for _, subtype in labelled}) < 2:  # noqa: PLR2004 - only one
            continue
        confirmed = {
            subtype
            for example, subtype in labelled
            if example.key not in new or example.key in vouched
        }
        counts = Counter(subtype for _, subtype in labelled).most_common(2)
        majority = counts[0][0] if counts[0][1] > counts[1][1] else ""
        expected = next(iter(confirmed)) if len(confirmed) == 1 else majority
        for example, subtype in labelled:
            if subtype != expected and example.key in new:
                yield LabelIssue(example.key, "specimen", example.code)


def find_unlikely_labels(
    inspected: Sequence[InspectedImage], taxonomy: Taxonomy, new: Collection[str]
) -> Iterator[LabelIssue]:
    """Find new images that heads fitted without their specimen assign to another code.

    Within each code the least likely first, and only as many as the heads suspect beyond the rate
    at which they suspect its trained images: else the codes that they know worst had most suspects.

    MEASURED on drawn micrographs (8 codes, 144 images, a fifth of 63 new labels wrong, five random
    draws of the new specimens and the wrong labels): 53 of 60 wrong labels found (88 %, 78 to 94),
    0 of 255 others (at most 1.5 %); the same without the limit for each code.
    """
    trained = [image for image in inspected if image.code in taxonomy.trained_codes]
    counts = {code: sum(image.code == code for image in trained) for code in taxonomy.trained_codes}
    usable = [image for image in trained if counts[image.code] >= _MIN_IMAGES]
    codes = frozenset(image.code for image in usable)
    if len(codes) < 2:  # noqa: PLR2004 - a classifier needs two
        return
    shares, names = predict_out_of_sample(usable, taxonomy.restricted_to(codes))
    labels = np.array([names.index(image.code) for image in usable], np.intp)
    likely = find_confident_errors(shares, labels)
    margins = _compute_margins(shares, labels)
    is_new = np.array([image.key in new for image in usable])
    for label in np.unique(labels):
        of_code = (labels == label) & ~np.isnan(margins)
        trained_on = of_code & ~is_new
        found = np.flatnonzero(of_code & is_new & (likely >= 0))
        n = int((of_code & is_new).sum())
        most = _limit_suspects(likely[trained_on], suspects=len(found), n=n)
        for index in found[np.argsort(-margins[found])][:most]:
            yield LabelIssue(
                usable[index].key,
                "label",
                names[label],
                names[likely[index]],
                right=int(np.count_nonzero(margins[trained_on] < 0)),
                of=int(trained_on.sum()),
            )


def _limit_suspects(likely: NDArray[np.intp], *, suspects: int, n: int) -> int:
    """Return how many suspects of n new labels of a code the errors of the heads do not explain.

    Args:
        likely: Of the images of the code that were trained on: another code, or -1. Where they are
            few, their rate is not known, and a tenth of the new labels is the limit.
        suspects: Number of suspects.
        n: New labels of the code.
    """
    if len(likely) < _MIN_IMAGES:
        return math.ceil(_MOST_OF_NEW_CODE * n)
    return max(suspects - math.ceil(float(np.mean(likely >= 0)) * n - ROUNDING), 0)


def _compute_margins(shares: NDArray[np.float64], labels: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return by how much the most probable other class exceeds the label, (n,) in [-1, 1]."""
    rows = np.arange(len(labels))
    others = shares.copy()
    others[rows, labels] = -1.0
    margins: NDArray[np.float64] = others.max(axis=1) - shares[rows, labels]
    return margins


def predict_out_of_sample(
    inspected: Sequence[InspectedImage], taxonomy: Taxonomy
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return calibrated probabilities of each image from heads fitted without its specimen.

    Args:
        inspected: Images of trained codes.
        taxonomy: Its trained codes are exactly theirs.

    Returns:
        (n, k) float64, NaN where no head could be fitted, and the k codes.
    """
    examples = [image.example for image in inspected]
    data = ProbeData(
        embeddings=np.stack([image.embedding for image in inspected]),
        images=np.arange(len(inspected)),
        codes=[image.code for image in inspected],
        counts=np.ones(len(inspected)),
        folds=_assign_folds(examples),
    )
    scheme = Scheme("global", taxonomy)
    _, logits = fit_head(scheme, CODE, "frozen", data, imbalance="sqrt", ordinal=False)
    names = scheme.heads()[CODE]
    labels = np.array([names.index(image.code) for image in inspected], np.intp)
    has_logits = ~np.isnan(logits).any(axis=1)
    if not has_logits.any():
        return logits, names
    return softmax(logits / fit_temperature(logits[has_logits], labels[has_logits])), names


def _assign_folds(examples: Sequence[Example]) -> NDArray[np.intp]:
    fold_of = {
        example.key: fold
        for fold, (_, left_out) in enumerate(folds(examples, _FOLDS))
        for example in left_out
    }
    return np.array([fold_of[example.key] for example in examples], np.intp)


def find_confident_errors(
    shares: NDArray[np.float64], labels: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Find images for which another class is more probable than their label.

    Args:
        shares: (n, k) out-of-sample probabilities; rows with NaN are never suspect.
        labels: (n,) the given classes.

    Returns:
        (n,) the likely class where it differs from the label, else -1.

    Source:
        Northcutt, Jiang and Chuang 2021, JAIR 70:1373, arXiv:1911.00068 (confident learning): an
        image counts as a class if its probability reaches the mean over the images with this label,
        as the most probable class if there are several; the off-diagonal cells of the joint are
        suspect.
    """
    valid = ~np.isnan(shares).any(axis=1)
    k = shares.shape[1]
    thresholds = np.full(k, np.inf)
    for label in np.unique(labels[valid]):
        thresholds[label] = shares[valid & (labels == label), label].mean()
    confident = np.where(shares >= thresholds, shares, -1.0)
    likely = confident.argmax(axis=1)
    is_suspect = valid & (confident.max(axis=1) > 0) & (likely != labels)
    return np.where(is_suspect, likely, -1).astype(np.intp)


@dataclass(frozen=True, slots=True)
class InspectedImage:
    """Features of one labelled image.

    Args:
        example: The image.
        signature: (4096,) float32, its fine texture, for the comparison of places.
        embedding: (d,) float32 of unit length, the whole field through the frozen network.
        flagged: Whether the bundle in use flags it; False for images that it was trained on.
    """

    example: Example
    signature: NDArray[np.float32]
    embedding: NDArray[np.float32]
    flagged: bool

    @property
    def key(self) -> str:
        """Content hash of the image."""
        return self.example.key

    @property
    def code(self) -> str:
        """Structure code of the label."""
        return self.example.code


def inspect_labels(
    classifier: Classifier, examples: Sequence[Example]
) -> Iterator[Progress[tuple[InspectedImage, ...]]]:
    """Extract what the search for suspect labels needs from every example.

    Args:
        classifier: The bundle in use.
        examples: Labelled images, old and new.

    Yields:
        Progress per example, the last with all images.
    """
    embeddings = classifier.reference_embeddings()
    inspected: list[InspectedImage] = []
    for example in examples:
        field = load_field(example)
        if example.key in embeddings:
            embedding, flagged = embeddings[example.key], False
        else:
            embedding, result = classifier.score_ood(field)
            flagged = result.flagged
        inspected.append(InspectedImage(example, compute_signature(field), embedding, flagged))
        yield Progress("hygiene", len(inspected), len(examples))
    yield Progress("hygiene", len(inspected), len(examples), result=tuple(inspected))


# --- estimate from a learning curve how many more labelled images raise the accuracy by how much
# Heads on the frozen network are fitted to some of the specimens and tested on others, repeatedly;
# the error is extrapolated by a power law.


_SHARES = (0.3, 0.45, 0.65, 1.0)
"""Shares of the training specimens."""
_TEST_SHARE = 0.25
_REPEATS = 8
_BOOTSTRAP_DRAWS = 500
_MAX_FACTOR = 4.0
"""Extrapolate at most to four times the images: the power law is not validated beyond."""
_MIN_GROUPS = 12


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """Error rate as a function of the number of training images.

    Args:
        n: Number of labelled images.
        points: Per repeat, pairs of training images and error rate.
    """

    n: int
    points: tuple[tuple[tuple[int, float], ...], ...]

    def error(self, n: int) -> Estimate:
        """Extrapolate the error rate to n images, with a 95 % bootstrap interval over repeats."""
        lines = [_fit_power_law(repeats) for repeats in self._resample()]
        errors = [math.exp(offset + slope * math.log(n)) for offset, slope in lines]
        low, high = np.quantile(errors, [0.025, 0.975])
        offset, slope = _fit_power_law(self.points)
        return Estimate(
            min(1.0, math.exp(offset + slope * math.log(n))),
            min(1.0, float(low)),
            min(1.0, float(high)),
        )

    def until(self, gain: float) -> tuple[int | None, int | None, int | None]:
        """Estimate how many more images raise the accuracy by a gain.

        Args:
            gain: Share of the images, such as 0.02 for two points.

        Returns:
            Number of images and its 95 % interval over repeats; None: more than three times the
            current number, or never.
        """
        more = sorted(
            _solve_for_images(_fit_power_law(repeats), self.n, gain) for repeats in self._resample()
        )
        low, high = more[round(0.025 * len(more))], more[round(0.975 * len(more)) - 1]
        return (
            _round_up(_solve_for_images(_fit_power_law(self.points), self.n, gain)),
            _round_up(low),
            _round_up(high),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the curve as JSON."""
        return {
            "n": self.n,
            "points": [[list(point) for point in repeat] for repeat in self.points],
        }

    def _resample(self) -> Iterator[Sequence[Sequence[tuple[int, float]]]]:
        rng = np.random.default_rng(0)
        for _ in range(_BOOTSTRAP_DRAWS):
            yield [self.points[i] for i in rng.integers(0, len(self.points), len(self.points))]


def _fit_power_law(repeats: Sequence[Sequence[tuple[int, float]]]) -> tuple[float, float]:
    """Fit log error against log images; an error of zero counts as half an image.

    Returns:
        Offset and slope; the slope is at most 0.

    Source:
        Viering and Loog 2021, arXiv:2103.10948: a power law fits most learning curves.
    """
    sizes: dict[int, list[float]] = {}
    for repeat in repeats:
        for index, (_, error) in enumerate(repeat):
            sizes.setdefault(index, []).append(error)
    n = [float(np.mean([repeat[index][0] for repeat in repeats])) for index in sizes]
    errors = [max(float(np.mean(error)), 0.5 / n[-1]) for error in sizes.values()]
    slope, offset = np.polyfit(np.log(n), np.log(errors), 1)
    return float(offset), float(min(slope, 0.0))


def _solve_for_images(line: tuple[float, float], n: int, gain: float) -> float:
    """Return the number of more images until the error has fallen by the gain, or infinity."""
    offset, slope = line
    target = math.exp(offset + slope * math.log(n)) - gain
    if target <= 0 or slope >= 0:
        return math.inf
    more = math.exp(min((math.log(target) - offset) / slope, 50.0)) - n
    return max(0.0, more) if more <= (_MAX_FACTOR - 1) * n else math.inf


def _round_up(images: float) -> int | None:
    return None if not math.isfinite(images) else math.ceil(images)


def fit_learning_curve(
    embeddings: NDArray[np.floating],
    codes: Sequence[str],
    groups: Sequence[str],
    taxonomy: Taxonomy,
) -> LearningCurve | None:
    """Fit a learning curve to embeddings.

    Args:
        embeddings: (n, d) of labelled images.
        codes: Their codes, all of them trained codes of the taxonomy.
        groups: Their specimens; one is never both trained and tested on.
        taxonomy: Subtypes and sizes.

    Returns:
        The curve, or None if there are too few specimens.
    """
    names = np.array(sorted(set(groups)))
    if len(names) < _MIN_GROUPS:
        return None
    points, group_of = [], np.array(groups)
    for repeat in range(_REPEATS):
        shuffled = np.random.default_rng(repeat).permutation(names)
        n_test = max(2, round(_TEST_SHARE * len(names)))
        test, rest = np.isin(group_of, shuffled[:n_test]), shuffled[n_test:]
        points_of_repeat = []
        for share in _SHARES:
            train = np.isin(group_of, rest[: max(2, round(share * len(rest)))])
            points_of_repeat.append(
                (int(train.sum()), _compute_error(embeddings, codes, train, test, taxonomy))
            )
        points.append(tuple(points_of_repeat))
    return LearningCurve(len(codes), tuple(points))


def _compute_error(
    embeddings: NDArray[np.floating],
    codes: Sequence[str],
    train: NDArray[np.bool_],
    test: NDArray[np.bool_],
    taxonomy: Taxonomy,
) -> float:
    """Fit a head to some images, and return its error rate on others."""
    trained_codes = sorted(
        {code for code, is_trained in zip(codes, train, strict=True) if is_trained}
    )
    if len(trained_codes) < 2:  # noqa: PLR2004 - one code is always correct
        return 1.0
    scheme = Scheme("global", taxonomy.restricted_to(frozenset(trained_codes)))
    rows = np.flatnonzero(train)
    data = ProbeData(
        embeddings=np.asarray(embeddings[rows], np.float32),
        images=np.arange(len(rows)),
        codes=[codes[row] for row in rows.tolist()],
        counts=np.ones(len(rows)),
    )
    head, _ = fit_head(scheme, CODE, "frozen", data, imbalance="sqrt", ordinal=False)
    predicted = head.logits(np.asarray(embeddings[test], np.float32)).argmax(axis=1)
    true = [codes[row] for row in np.flatnonzero(test).tolist()]
    return float(
        np.mean([head.classes[index] != code for index, code in zip(predicted, true, strict=True)])
    )
