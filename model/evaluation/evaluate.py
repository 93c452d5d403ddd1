"""Evaluate a bundle on labelled images, with an interval for every number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from model.evaluation.metrics import (
    auroc,
    auroc_interval,
    calibration_error,
    confusion_matrix,
    error_rate_json,
    fpr95,
    macro_f1,
    size_kappa,
    size_order,
    stage_confusion,
)
from model.networks.schemes import SUBTYPE, size_head
from model.statistics import (
    Estimate,
    bootstrap,
    wilson,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from model.data.dataset import Example
    from model.framing import Field
    from model.inference.classifier import Classifier, Prediction
    from model.taxonomy import Taxonomy

NOT_TAUGHT = "not taught: "
"""Before a code, the kind of its images: known to the lab, not to the bundle; to be flagged."""

_TOGETHER = 8
_SURE = 1e-12


@dataclass(frozen=True, slots=True)
class OodFlag:
    """What was said of one image's strangeness.

    Args:
        p_value: Share of known images that look as strange. flagged: whether it was called strange.
        score: Larger is stranger; tells images of one p-value apart, such as the many that are
            stranger than all known ones.
    """

    p_value: float
    flagged: bool
    score: float = 0.0

    @property
    def order(self) -> float:
        """Smaller is stranger: by p-value, and by score among equal ones."""
        return self.p_value - 1e-6 * self.score / (1.0 + abs(self.score))


@dataclass(frozen=True, slots=True)
class Case:
    """One image that was looked at, the truth about it and what was said.

    Args:
        key: Its content hash.
        group: Its specimen.
        true: The code it has. predicted: the code it was given.
        probability: Of the predicted code. true_probability: of the true one.
        prediction_set: The codes that were named.
        p_value: Of its strangeness. flagged: whether it was called strange.
        slices: Where known: microscope, magnification, material, criterion.
        score: Of its strangeness; tells images of one p-value apart.
        nearest: Keys of the known images of those codes that look most like it.
    """

    key: str
    group: str
    true: str
    predicted: str
    probability: float
    true_probability: float
    prediction_set: tuple[str, ...]
    p_value: float
    flagged: bool
    slices: Mapping[str, str]
    score: float = 0.0
    nearest: tuple[str, ...] = ()

    @property
    def alarm(self) -> OodFlag:
        """What was said of its strangeness."""
        return OodFlag(self.p_value, self.flagged, self.score)

    @property
    def right(self) -> bool:
        """Whether the code is the true one."""
        return self.true == self.predicted


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a bundle did on images it had not learned from.

    Args:
        bundle: Its name.
        taxonomy: What there is to tell apart.
        cases: One per image.
        seen_in_training: Images left out because the bundle learned from them.
        alpha: The false-alarm rate that was set.
        strange: Per kind of strange image, what was said of each. Kinds that start with
            `NOT_TAUGHT` are labelled images of codes that the bundle knows of and was not taught.
    """

    bundle: str
    taxonomy: Taxonomy
    cases: tuple[Case, ...]
    seen_in_training: int
    alpha: float
    strange: Mapping[str, tuple[OodFlag, ...]]

    @property
    def n(self) -> int:
        """Images that count."""
        return len(self.cases)

    @property
    def correct(self) -> int:
        """Images with the right code."""
        return sum(case.right for case in self.cases)

    @property
    def accuracy(self) -> Estimate:
        """Share of images with the right code."""
        return wilson(self.correct, self.n)

    @property
    def within_one_size(self) -> Estimate:
        """Share of images with the right subtype and at most a neighbouring size."""
        return wilson(sum(self._near(case) for case in self.cases), self.n)

    @property
    def macro_f1(self) -> Estimate:
        """F1 averaged over the codes that occur; where all are right, as sure as the accuracy."""
        true, predicted, codes = self._indices()
        if self.n and self.correct == self.n:
            return self.accuracy  # resampling would find nothing but 1
        return bootstrap(self.n, lambda i: macro_f1(true[i], predicted[i], len(codes)))

    @property
    def kappa(self) -> Estimate:
        """Quadratically weighted kappa of the sizes, coarse to fine, whatever the subtype."""
        return size_kappa([(case.true, case.predicted) for case in self.cases], self.taxonomy)

    @property
    def nll(self) -> Estimate:
        """Mean of minus the logarithm of the probability given to the true code (`_given`)."""
        lost = negative_log_likelihoods(self.cases)
        return bootstrap(self.n, lambda i: float(lost[i].mean()))

    @property
    def ece(self) -> Estimate:
        """Expected calibration error in 15 bins: how far probability and share of right differ."""
        told = confidence_and_correctness(self.cases)
        return bootstrap(self.n, lambda i: calibration_error(told[i]))

    @property
    def coverage(self) -> Estimate:
        """Share of images whose true code was in the prediction set."""
        return wilson(sum(c.true in c.prediction_set for c in self.cases), self.n)

    def limits(
        self, in_use: Mapping[str, Callable[[str], bool]] | None = None
    ) -> dict[str, dict[str, Any]]:
        """Say per limit ("G8 or finer") how often a field would have been judged wrongly.

        Args:
            in_use: The lab's own limits, each with what says whether a code keeps it; said first.
                Fields of other subtypes break them.

        Returns:
            Limit → "false_conform" (called conforming and truly is not) and "false_nonconform",
            each with "n", "wrong", "value" and "upper95", the exact one-sided bound.
        """
        own = {f"in use: {name}": self._judged_by(keeps) for name, keeps in (in_use or {}).items()}
        return own | self._boundaries()

    def _judged_by(self, keeps: Callable[[str], bool]) -> dict[str, Any]:
        sides = [(keeps(case.true), keeps(case.predicted)) for case in self.cases]
        breaking = [said for true, said in sides if not true]
        keeping = [said for true, said in sides if true]
        return {
            "false_conform": error_rate_json(sum(breaking), len(breaking)),
            "false_nonconform": error_rate_json(keeping.count(False), len(keeping)),
        }

    def _boundaries(self) -> dict[str, dict[str, Any]]:
        """Take every boundary between two sizes of a subtype as a limit, of its own fields."""
        order = size_order(self.taxonomy)
        found = {}
        for subtype in self.taxonomy.subtypes:
            for size in subtype.sizes[1:]:
                limit = order[size.name]
                cases = [c for c in self.cases if self.taxonomy.parse(c.true)[0] == subtype.name]
                fine = [c for c in cases if order[self.taxonomy.parse(c.true)[1]] >= limit]
                coarse = [c for c in cases if order[self.taxonomy.parse(c.true)[1]] < limit]
                if not coarse or not fine:
                    continue
                said_fine = {
                    c.key: order[self.taxonomy.parse(c.predicted)[1]] >= limit for c in cases
                }
                found[f"{subtype.code(size.name)} or finer"] = {
                    "false_conform": error_rate_json(
                        sum(said_fine[c.key] for c in coarse), len(coarse)
                    ),
                    "false_nonconform": error_rate_json(
                        sum(not said_fine[c.key] for c in fine), len(fine)
                    ),
                }
        return found

    def per_stage(self) -> dict[str, Any]:
        """Say how often the subtype was right, and per true subtype the size, as in Table 3.

        The sizes of a subtype are counted over all its images, also where the subtype was missed.
        """
        parse = self.taxonomy.parse
        subtypes = [(parse(c.true), parse(c.predicted)) for c in self.cases]
        sizes = {}
        for subtype in self.taxonomy.subtypes:
            own = [(t[1], p[1]) for t, p in subtypes if t[0] == subtype.name]
            if own and subtype.has_sizes:
                sizes[subtype.name] = {
                    **wilson(sum(t == p for t, p in own), len(own)).as_json(),
                    "n": len(own),
                }
        right = sum(t[0] == p[0] for t, p in subtypes)
        return {"subtype": {**wilson(right, self.n).as_json(), "n": self.n}, "size": sizes}

    def confusion(self) -> tuple[tuple[str, ...], NDArray[np.intp]]:
        """Give the codes and the (k, k) counts, rows predicted, columns true, as in the paper."""
        true, predicted, codes = self._indices()
        return codes, confusion_matrix(true, predicted, len(codes))

    def stage_confusions(self) -> dict[str, dict[str, Any]]:
        """Give the same per stage: "subtype", and "size:G" where G was both true and answered.

        Returns:
            Stage → "classes" and "rows_predicted"; only stages that have something to tell apart.
        """
        parse = self.taxonomy.parse
        pairs = [(parse(c.true), parse(c.predicted)) for c in self.cases]
        subtypes = tuple(s.name for s in self.taxonomy.subtypes if s.trained_sizes)
        found = {SUBTYPE: stage_confusion(subtypes, [(t[0], p[0]) for t, p in pairs])}
        for subtype in self.taxonomy.subtypes:
            sizes = tuple(z.name for z in subtype.trained_sizes)
            own = [(t[1], p[1]) for t, p in pairs if t[0] == p[0] == subtype.name]
            found[size_head(subtype.name)] = stage_confusion(sizes, own)
        return {name: stage for name, stage in found.items() if len(stage["classes"]) > 1}

    def false_alarms(self) -> Estimate:
        """Share of these ordinary images that were called strange."""
        return wilson(sum(c.flagged for c in self.cases), self.n)

    def by_slice(self) -> dict[str, dict[str, Any]]:
        """Give the numbers per microscope, magnification, material, criterion, where known.

        Returns:
            What → value → the accuracy as "value", "low" and "high", "n", and the other numbers.
        """
        found: dict[str, dict[str, Any]] = {}
        for key in sorted({key for case in self.cases for key in case.slices}):
            for value in sorted({c.slices[key] for c in self.cases if c.slices.get(key)}):
                cases = tuple(c for c in self.cases if c.slices.get(key) == value)
                own = replace(self, cases=cases, strange={})
                found.setdefault(key, {})[value] = {
                    **own.accuracy.as_json(),
                    "n": own.n,
                    **{name: number.as_json() for name, number in own.numbers().items()},
                }
        return found

    def numbers(self) -> dict[str, Estimate]:
        """Give what there is beside the accuracy, by name."""
        return {
            "within_one_size": self.within_one_size,
            "macro_f1": self.macro_f1,
            "kappa": self.kappa,
            "nll": self.nll,
            "ece": self.ece,
        }

    def as_json(
        self, limits_in_use: Mapping[str, Callable[[str], bool]] | None = None
    ) -> dict[str, Any]:
        """Give everything as `agent evaluate --json` prints it."""
        codes, counts = self.confusion()
        numbers = self.numbers()
        nll, ece = numbers["nll"], numbers["ece"]
        return {
            "bundle": self.bundle,
            "n": self.n,
            "seen_in_training": self.seen_in_training,
            "limits": self.limits(limits_in_use),
            "accuracy": self.accuracy.as_json(),
            "within_one_size": numbers["within_one_size"].as_json(),
            "macro_f1": numbers["macro_f1"].as_json(),
            "kappa": numbers["kappa"].as_json(),
            "nll": nll.value,
            "nll_interval": [nll.low, nll.high],
            "ece": ece.value,
            "ece_interval": [ece.low, ece.high],
            "coverage": self.coverage.as_json(),
            "per_stage": self.per_stage(),
            "confusion": {"codes": list(codes), "rows_predicted": counts.tolist()},
            "stage_confusions": self.stage_confusions(),
            "false_alarm_rate": {**self.false_alarms().as_json(), "alpha": self.alpha},
            "strange": {kind: self._told_apart(found) for kind, found in self.strange.items()},
            "slices": self.by_slice(),
        }

    def _told_apart(self, found: Sequence[OodFlag]) -> dict[str, Any]:
        ordinary = np.array([case.alarm.order for case in self.cases])
        strange = [alarm.order for alarm in found]
        flagged = wilson(sum(alarm.flagged for alarm in found), len(found))
        apart = auroc(strange, ordinary)
        return {
            "n": len(found),
            "auroc": apart,
            "auroc_interval": auroc_interval(apart, len(strange), len(ordinary)),
            "fpr95": fpr95(strange, ordinary),
            "tpr_at_alpha": flagged.value,
            "tpr_interval": [flagged.low, flagged.high],
        }

    def _indices(self) -> tuple[NDArray[np.intp], NDArray[np.intp], tuple[str, ...]]:
        occur = {c.true for c in self.cases} | {c.predicted for c in self.cases}
        wanted = occur | set(self.taxonomy.trained_codes)
        codes = tuple(code for code in self.taxonomy.codes if code in wanted)
        true = np.array([codes.index(c.true) for c in self.cases], np.intp)
        return true, np.array([codes.index(c.predicted) for c in self.cases], np.intp), codes

    def _near(self, case: Case) -> bool:
        subtype, size = self.taxonomy.parse(case.true)
        said_subtype, said_size = self.taxonomy.parse(case.predicted)
        names = [z.name for z in self.taxonomy.subtype(subtype).sizes]
        return subtype == said_subtype and abs(names.index(size) - names.index(said_size)) <= 1


def evaluate(
    classifier: Classifier,
    examples: Sequence[Example],
    *,
    strange: Mapping[str, Sequence[Example]] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Look at examples the bundle has not learned from, and compare.

    Args:
        classifier: The bundle at work.
        examples: Images with their true codes; those it learned from are left out and counted.
        strange: Kind → images that ought to be called strange; their codes are not looked at.
        progress: Told how many images are done, and of how many.
    """
    learned = classifier.learned_from
    fresh = [e for e in examples if e.key not in learned]
    total = len(fresh) + sum(len(some) for some in (strange or {}).values())
    done = 0
    cases = []
    for some, predictions in _iter_predictions(classifier, fresh):
        cases += [
            build_case(e, p, classifier.taxonomy) for e, p in zip(some, predictions, strict=True)
        ]
        done += len(some)
        if progress is not None:
            progress(done, total)
    found: dict[str, tuple[OodFlag, ...]] = {}
    for kind, images in (strange or {}).items():
        judged: list[OodFlag] = []
        for alarm in iter_flags(classifier, images):
            judged.append(alarm)
            done += 1
            if progress is not None:
                progress(done, total)
        found[kind] = tuple(judged)
    return Evaluation(
        bundle=classifier.name,
        taxonomy=classifier.taxonomy,
        cases=tuple(cases),
        seen_in_training=len(examples) - len(fresh),
        alpha=classifier.alpha,
        strange=found,
    )


def iter_cases(classifier: Classifier, examples: Sequence[Example]) -> Iterator[Case]:
    """Look at examples, a few at a time, and give what was said of each."""
    for some, predictions in _iter_predictions(classifier, examples):
        for example, prediction in zip(some, predictions, strict=True):
            yield build_case(example, prediction, classifier.taxonomy)


def iter_flags(classifier: Classifier, examples: Sequence[Example]) -> Iterator[OodFlag]:
    """Say of each image how strange it is; its code is not looked at."""
    for _, predictions in _iter_predictions(classifier, examples):
        yield from map(flag_from, predictions)


def flag_from(prediction: Prediction) -> OodFlag:
    """Give what was said of an image's strangeness."""
    found = prediction.strangeness
    return OodFlag(found.p_value, found.flagged, found.score)


def not_taught(examples: Sequence[Example], taxonomy: Taxonomy) -> dict[str, list[Example]]:
    """Gather the images of codes that the taxonomy names and does not teach, per kind.

    They are the lab's own must-be-flagged images: a coarser size than any taught one, above all.
    """
    found: dict[str, list[Example]] = {}
    for example in examples:
        code = taxonomy.code(*taxonomy.parse(example.code))
        if code not in taxonomy.trained_codes:
            found.setdefault(f"{NOT_TAUGHT}{code}", []).append(example)
    return found


def _iter_predictions(
    classifier: Classifier, examples: Sequence[Example]
) -> Iterable[tuple[Sequence[Example], list[Prediction]]]:
    for start in range(0, len(examples), _TOGETHER):
        some = examples[start : start + _TOGETHER]
        yield some, classifier.classify([taken(example) for example in some])


def taken(example: Example) -> Field:
    """Load a field, with the microscope that the lab knows it to be from."""
    return replace(example.load(), microscope=example.slices.get("microscope", ""))


def _given(true: str, prediction: Prediction, taxonomy: Taxonomy) -> float:
    """Give the probability of a code.

    Where sizes were told apart inside the predicted subtype alone, another one's probability is
    shared evenly by its sizes: nobody asked which, and none was ruled out.
    """
    subtype, size = taxonomy.parse(true)
    if any(taxonomy.parse(code)[0] == subtype for code in prediction.probabilities):
        return prediction.probabilities.get(true, 0.0)
    sizes = [one.name for one in taxonomy.subtype(subtype).trained_sizes]
    share = prediction.subtype_probabilities.get(subtype, 0.0)
    return share / len(sizes) if size in sizes else 0.0


def build_case(example: Example, prediction: Prediction, taxonomy: Taxonomy) -> Case:
    """Set what was said of an image beside what is true of it."""
    true = taxonomy.code(*taxonomy.parse(example.code))
    slices = {**example.slices, "criterion": example.criterion}
    near = prediction.strangeness.nearest
    return Case(
        key=example.key,
        group=example.group,
        true=true,
        predicted=prediction.structure_code,
        probability=prediction.probability,
        true_probability=_given(true, prediction, taxonomy),
        prediction_set=prediction.prediction_set,
        p_value=prediction.strangeness.p_value,
        flagged=prediction.strangeness.flagged,
        slices=slices,
        score=prediction.strangeness.score,
        nearest=tuple(
            key
            for code in dict.fromkeys((true, prediction.structure_code))
            for key in near.get(code, ())
        ),
    )


def negative_log_likelihoods(cases: Sequence[Case]) -> NDArray[np.float64]:
    """Give minus the logarithm of the probability given to the true code, (n,)."""
    return -np.log(np.maximum([case.true_probability for case in cases], _SURE))


def confidence_and_correctness(cases: Sequence[Case]) -> NDArray[np.float64]:
    """Give (n, 2): the probability of what was answered, and whether it was right."""
    return np.array([(case.probability, case.right) for case in cases], float).reshape(-1, 2)
