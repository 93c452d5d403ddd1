"""Evaluate a bundle on labelled images: cases, and results with an interval for every number."""

from __future__ import annotations

from collections import Counter
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
from model.statistics import Estimate, bootstrap, wilson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from model.data.dataset import Example
    from model.framing import Field
    from model.inference.classifier import Classifier
    from model.inference.prediction import Prediction
    from model.taxonomy import Taxonomy


# --- one evaluated image: its label, its prediction, and whether the OOD check flags it -----------


_MIN_PROBABILITY = 1e-12


@dataclass(frozen=True, slots=True)
class OodFlag:
    """OOD result of one image.

    Args:
        p_value: Share of reference images that score at least as high, in (0, 1].
        flagged: Whether the image was flagged.
        score: Larger is more unusual; orders images with the same p-value, such as those that score
            higher than every reference image.
    """

    p_value: float
    flagged: bool
    score: float = 0.0

    @property
    def order(self) -> float:
        """Sort key: smaller is more unusual, by p-value, then by score."""
        return self.p_value - 1e-6 * self.score / (1.0 + abs(self.score))


@dataclass(frozen=True, slots=True)
class Case:
    """True and predicted code of one image, and its OOD result.

    Args:
        key: Content hash of the image.
        group: Its specimen.
        true: The true code.
        predicted: The predicted code.
        probability: Probability of the predicted code.
        true_probability: Probability of the true code.
        prediction_set: Codes in the prediction set.
        p_value: OOD p-value.
        flagged: Whether the image was flagged as unusual.
        slices: Microscope, magnification, material and criterion, where known.
        score: OOD score; orders images with the same p-value.
        nearest: Keys of the most similar reference images of the true and the predicted code.
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
        """The OOD result."""
        return OodFlag(self.p_value, self.flagged, self.score)

    @property
    def right(self) -> bool:
        """Whether the predicted code is the true one."""
        return self.true == self.predicted


def flag_from(prediction: Prediction) -> OodFlag:
    """Return the OOD result of a prediction."""
    result = prediction.strangeness
    return OodFlag(result.p_value, result.flagged, result.score)


def compute_probability(
    true: str, codes: Mapping[str, float], subtypes: Mapping[str, float], taxonomy: Taxonomy
) -> float:
    """Return the probability of a code.

    Where the sizes were classified for the predicted subtype only, another subtype's probability is
    divided evenly among its sizes.
    """
    subtype, size = taxonomy.parse(true)
    if any(taxonomy.parse(code)[0] == subtype for code in codes):
        return codes.get(true, 0.0)
    sizes = [size_.name for size_ in taxonomy.subtype(subtype).trained_sizes]
    subtype_probability = subtypes.get(subtype, 0.0)
    return subtype_probability / len(sizes) if size in sizes else 0.0


def build_case(example: Example, prediction: Prediction, taxonomy: Taxonomy) -> Case:
    """Combine the prediction of an image with its true code."""
    true = taxonomy.code(*taxonomy.parse(example.code))
    slices = {**example.slices, "criterion": example.criterion}
    nearest = prediction.strangeness.nearest
    return Case(
        key=example.key,
        group=example.group,
        true=true,
        predicted=prediction.structure_code,
        probability=prediction.probability,
        true_probability=compute_probability(
            true, prediction.probabilities, prediction.subtype_probabilities, taxonomy
        ),
        prediction_set=prediction.prediction_set,
        p_value=prediction.strangeness.p_value,
        flagged=prediction.strangeness.flagged,
        slices=slices,
        score=prediction.strangeness.score,
        nearest=tuple(
            key
            for code in dict.fromkeys((true, prediction.structure_code))
            for key in nearest.get(code, ())
        ),
    )


def negative_log_likelihoods(cases: Sequence[Case]) -> NDArray[np.float64]:
    """Return the negative log-likelihood of the true code per case, (n,)."""
    return -np.log(np.maximum([case.true_probability for case in cases], _MIN_PROBABILITY))


def confidence_and_correctness(cases: Sequence[Case]) -> NDArray[np.float64]:
    """Return the probability of the predicted code and whether it is correct, (n, 2)."""
    return np.array([(case.probability, case.right) for case in cases], float).reshape(-1, 2)


# --- results of a bundle on labelled images, with an interval for every number --------------------


UNTRAINED_PREFIX = "not taught: "
"""Prefix of the kind of images whose code the bundle is not trained for: they must be flagged."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Results of a bundle on images that it was not trained on.

    Args:
        bundle: Name of the bundle.
        taxonomy: Subtypes and sizes.
        cases: One per image.
        seen_in_training: Number of images left out because the bundle was trained on them.
        alpha: Alarm rate that was set.
        strange: OOD results per kind of unusual image. Kinds that start with `UNTRAINED_PREFIX` are
            labelled images of codes in the taxonomy that the bundle is not trained for.
    """

    bundle: str
    taxonomy: Taxonomy
    cases: tuple[Case, ...]
    seen_in_training: int
    alpha: float
    strange: Mapping[str, tuple[OodFlag, ...]]

    @property
    def n(self) -> int:
        """Number of evaluated images."""
        return len(self.cases)

    @property
    def correct(self) -> int:
        """Number of images with the correct code."""
        return sum(case.right for case in self.cases)

    @property
    def accuracy(self) -> Estimate:
        """Share of images with the correct code."""
        return wilson(self.correct, self.n)

    @property
    def within_one_size(self) -> Estimate:
        """Share of images with the correct subtype and at most a neighbouring size."""
        return wilson(sum(self._is_within_one_size(case) for case in self.cases), self.n)

    @property
    def macro_f1(self) -> Estimate:
        """Macro-averaged F1 over the codes that occur; the accuracy where all are correct."""
        true, predicted, codes = self._encode_codes()
        if self.n and self.correct == self.n:
            return self.accuracy  # resampling would only return 1
        return bootstrap(self.n, lambda i: macro_f1(true[i], predicted[i], len(codes)))

    @property
    def kappa(self) -> Estimate:
        """Quadratically weighted kappa of the sizes, coarse to fine, whatever the subtype."""
        return size_kappa([(case.true, case.predicted) for case in self.cases], self.taxonomy)

    @property
    def nll(self) -> Estimate:
        """Mean negative log-likelihood of the true code (see `compute_probability`)."""
        losses = negative_log_likelihoods(self.cases)
        return bootstrap(self.n, lambda i: float(losses[i].mean()))

    @property
    def ece(self) -> Estimate:
        """Expected calibration error in 15 bins, in [0, 1]."""
        confidence_and_correct = confidence_and_correctness(self.cases)
        return bootstrap(self.n, lambda i: calibration_error(confidence_and_correct[i]))

    @property
    def coverage(self) -> Estimate:
        """Share of images whose true code is in the prediction set."""
        return wilson(sum(case.true in case.prediction_set for case in self.cases), self.n)

    def per_code(self) -> dict[str, dict[str, int]]:
        """Count the images of each trained code, also of those without any.

        Returns:
            Structure code → "n" images, how many were "right", for how many the prediction set was
            "covered" by the true code, and the "members" of these sets in all.
        """
        counts = {code: Counter[str]() for code in self.taxonomy.trained_codes}
        for case in self.cases:
            counts.setdefault(case.true, Counter()).update(
                n=1,
                right=case.right,
                covered=case.true in case.prediction_set,
                members=len(case.prediction_set),
            )
        keys = ("n", "right", "covered", "members")
        return {code: {key: count[key] for key in keys} for code, count in counts.items()}

    def limits(
        self, in_use: Mapping[str, Callable[[str], bool]] | None = None
    ) -> dict[str, dict[str, Any]]:
        """Compute the error rates of conformity at each limit ("G8 or finer").

        Args:
            in_use: Limits of the lab → whether a structure code meets it; listed first. Fields of
                other subtypes do not meet it.

        Returns:
            Limit → "false_conform" (predicted to conform, truly does not) and "false_nonconform",
            each with "n", "wrong", "value" and "upper95", the exact one-sided bound.
        """
        named = {
            f"in use: {name}": self._error_rates(keeps) for name, keeps in (in_use or {}).items()
        }
        return named | self._size_limits()

    def _error_rates(self, meets: Callable[[str], bool]) -> dict[str, Any]:
        conforms = [(meets(case.true), meets(case.predicted)) for case in self.cases]
        of_nonconforming = [predicted for true, predicted in conforms if not true]
        of_conforming = [predicted for true, predicted in conforms if true]
        return {
            "false_conform": error_rate_json(sum(of_nonconforming), len(of_nonconforming)),
            "false_nonconform": error_rate_json(of_conforming.count(False), len(of_conforming)),
        }

    def _size_limits(self) -> dict[str, dict[str, Any]]:
        """Return the error rates at every boundary between two sizes of a subtype."""
        order = size_order(self.taxonomy)
        rates = {}
        for subtype in self.taxonomy.subtypes:
            for size in subtype.sizes[1:]:
                limit = order[size.name]
                cases = [
                    case for case in self.cases if self.taxonomy.parse(case.true)[0] == subtype.name
                ]
                fine = [case for case in cases if order[self.taxonomy.parse(case.true)[1]] >= limit]
                coarse = [
                    case for case in cases if order[self.taxonomy.parse(case.true)[1]] < limit
                ]
                if not coarse or not fine:
                    continue
                predicted_fine = {
                    case.key: order[self.taxonomy.parse(case.predicted)[1]] >= limit
                    for case in cases
                }
                rates[f"{subtype.code(size.name)} or finer"] = {
                    "false_conform": error_rate_json(
                        sum(predicted_fine[case.key] for case in coarse), len(coarse)
                    ),
                    "false_nonconform": error_rate_json(
                        sum(not predicted_fine[case.key] for case in fine), len(fine)
                    ),
                }
        return rates

    def per_stage(self) -> dict[str, Any]:
        """Return the accuracy of the subtype, and per true subtype that of the size, as in Table 3.

        Sizes are counted over all images of a subtype, also where the subtype is wrong.
        """
        parse = self.taxonomy.parse
        subtypes = [(parse(case.true), parse(case.predicted)) for case in self.cases]
        sizes = {}
        for subtype in self.taxonomy.subtypes:
            of_subtype = [
                (true[1], predicted[1]) for true, predicted in subtypes if true[0] == subtype.name
            ]
            if of_subtype and subtype.has_sizes:
                sizes[subtype.name] = {
                    **wilson(
                        sum(true == predicted for true, predicted in of_subtype), len(of_subtype)
                    ).as_json(),
                    "n": len(of_subtype),
                }
        right = sum(true[0] == predicted[0] for true, predicted in subtypes)
        return {"subtype": {**wilson(right, self.n).as_json(), "n": self.n}, "size": sizes}

    def confusion(self) -> tuple[tuple[str, ...], NDArray[np.intp]]:
        """Return the codes and the (k, k) counts, rows predicted, columns true, as in the paper."""
        true, predicted, codes = self._encode_codes()
        return codes, confusion_matrix(true, predicted, len(codes))

    def stage_confusions(self) -> dict[str, dict[str, Any]]:
        """Return a confusion matrix per stage: subtypes, and sizes where the subtype is correct.

        Returns:
            Stage → "classes" and "rows_predicted"; only stages with more than one class.
        """
        parse = self.taxonomy.parse
        pairs = [(parse(case.true), parse(case.predicted)) for case in self.cases]
        subtypes = tuple(
            subtype.name for subtype in self.taxonomy.subtypes if subtype.trained_sizes
        )
        confusions = {
            SUBTYPE: stage_confusion(
                subtypes, [(true[0], predicted[0]) for true, predicted in pairs]
            )
        }
        for subtype in self.taxonomy.subtypes:
            sizes = tuple(size.name for size in subtype.trained_sizes)
            of_subtype = [
                (true[1], predicted[1])
                for true, predicted in pairs
                if true[0] == predicted[0] == subtype.name
            ]
            confusions[size_head(subtype.name)] = stage_confusion(sizes, of_subtype)
        return {name: stage for name, stage in confusions.items() if len(stage["classes"]) > 1}

    def false_alarms(self) -> Estimate:
        """Share of these images that were flagged as unusual."""
        return wilson(sum(case.flagged for case in self.cases), self.n)

    def by_slice(self) -> dict[str, dict[str, Any]]:
        """Return the numbers per microscope, magnification, material and criterion, where known.

        Returns:
            Attribute → value → the accuracy as "value", "low" and "high", "n", and the other
            numbers.
        """
        slices: dict[str, dict[str, Any]] = {}
        for key in sorted({key for case in self.cases for key in case.slices}):
            for value in sorted({case.slices[key] for case in self.cases if case.slices.get(key)}):
                cases = tuple(case for case in self.cases if case.slices.get(key) == value)
                part = replace(self, cases=cases, strange={})
                slices.setdefault(key, {})[value] = {
                    **part.accuracy.as_json(),
                    "n": part.n,
                    **{name: number.as_json() for name, number in part.numbers().items()},
                }
        return slices

    def numbers(self) -> dict[str, Estimate]:
        """Return the estimates other than the accuracy, by name."""
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
        """Return everything in the form of `agent models evaluate --json`."""
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
            "per_code": self.per_code(),
            "per_stage": self.per_stage(),
            "confusion": {"codes": list(codes), "rows_predicted": counts.tolist()},
            "stage_confusions": self.stage_confusions(),
            "false_alarm_rate": {**self.false_alarms().as_json(), "alpha": self.alpha},
            "strange": {kind: self._ood_metrics(flags) for kind, flags in self.strange.items()},
            "slices": self.by_slice(),
        }

    def _ood_metrics(self, flags: Sequence[OodFlag]) -> dict[str, Any]:
        ordinary = np.array([case.alarm.order for case in self.cases])
        unusual = [flag.order for flag in flags]
        flagged = wilson(sum(flag.flagged for flag in flags), len(flags))
        value = auroc(unusual, ordinary)
        return {
            "n": len(flags),
            "auroc": value,
            "auroc_interval": auroc_interval(value, len(unusual), len(ordinary)),
            "fpr95": fpr95(unusual, ordinary),
            "tpr_at_alpha": flagged.value,
            "tpr_interval": [flagged.low, flagged.high],
        }

    def _encode_codes(self) -> tuple[NDArray[np.intp], NDArray[np.intp], tuple[str, ...]]:
        """Return true and predicted code of each case as indices, and the codes."""
        occurring = {case.true for case in self.cases} | {case.predicted for case in self.cases}
        wanted = occurring | set(self.taxonomy.trained_codes)
        codes = tuple(code for code in self.taxonomy.codes if code in wanted)
        true = np.array([codes.index(case.true) for case in self.cases], np.intp)
        return true, np.array([codes.index(case.predicted) for case in self.cases], np.intp), codes

    def _is_within_one_size(self, case: Case) -> bool:
        subtype, size = self.taxonomy.parse(case.true)
        predicted_subtype, predicted_size = self.taxonomy.parse(case.predicted)
        names = [size_.name for size_ in self.taxonomy.subtype(subtype).sizes]
        return (
            subtype == predicted_subtype
            and abs(names.index(size) - names.index(predicted_size)) <= 1
        )


# --- evaluate a bundle on labelled images ---------------------------------------------------------


_BATCH = 8


def evaluate(
    classifier: Classifier,
    examples: Sequence[Example],
    *,
    strange: Mapping[str, Sequence[Example]] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Evaluate a bundle on examples that it was not trained on.

    Args:
        classifier: The bundle.
        examples: Images with their true codes; those it was trained on are left out and counted.
        strange: Kind → images that should be flagged; their codes are not used.
        progress: Called with the number of evaluated images and the total.
    """
    trained_on = classifier.learned_from
    unseen = [example for example in examples if example.key not in trained_on]
    total = len(unseen) + sum(len(batch) for batch in (strange or {}).values())
    done = 0
    cases = []
    for batch, predictions in iter_predictions(classifier, unseen):
        cases += [
            build_case(example, prediction, classifier.taxonomy)
            for example, prediction in zip(batch, predictions, strict=True)
        ]
        done += len(batch)
        if progress is not None:
            progress(done, total)
    unusual: dict[str, tuple[OodFlag, ...]] = {}
    for kind, images in (strange or {}).items():
        flags: list[OodFlag] = []
        for flag in iter_flags(classifier, images):
            flags.append(flag)
            done += 1
            if progress is not None:
                progress(done, total)
        unusual[kind] = tuple(flags)
    return Evaluation(
        bundle=classifier.name,
        taxonomy=classifier.taxonomy,
        cases=tuple(cases),
        seen_in_training=len(examples) - len(unseen),
        alpha=classifier.alpha,
        strange=unusual,
    )


def iter_flags(classifier: Classifier, examples: Sequence[Example]) -> Iterator[OodFlag]:
    """Yield the OOD result of each image; its code is not used."""
    for _, predictions in iter_predictions(classifier, examples):
        yield from map(flag_from, predictions)


def group_untrained(examples: Sequence[Example], taxonomy: Taxonomy) -> dict[str, list[Example]]:
    """Group the images of codes that the taxonomy lists as untrained, per kind.

    They are the lab's own images that must be flagged, above all sizes coarser than any trained
    one.
    """
    untrained: dict[str, list[Example]] = {}
    for example in examples:
        code = taxonomy.code(*taxonomy.parse(example.code))
        if code not in taxonomy.trained_codes:
            untrained.setdefault(f"{UNTRAINED_PREFIX}{code}", []).append(example)
    return untrained


def iter_predictions(
    classifier: Classifier, examples: Sequence[Example]
) -> Iterable[tuple[Sequence[Example], list[Prediction]]]:
    """Yield a few examples at a time with their predictions."""
    for start in range(0, len(examples), _BATCH):
        batch = examples[start : start + _BATCH]
        yield batch, classifier.classify([load_field(example) for example in batch])


def load_field(example: Example) -> Field:
    """Load a field, with its microscope from the example."""
    return replace(example.load(), microscope=example.slices.get("microscope", ""))
