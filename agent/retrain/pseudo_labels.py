"""Select the model's own answers as training labels: an experiment that is off by default.

They are trained on and never tested on. Only ordinary, certain answers with a known scale are
selected, and only if control samples, decided without the answer in view, prove such answers right.

Source:
    Oliver et al. 2018, arXiv:1804.09170: unlabelled images of other classes make it worse, so the
    pool is filtered by OOD score. Sohn et al. 2020 (FixMatch), arXiv:2001.07685: only answers
    above a high probability that survive other views of the image.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.labelled_import import get_group, get_key, get_slices, make_loader
from agent.triage import Reason
from model import Example, Progress, upper_bound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from agent.archive import Archive
    from agent.store import MicrographView
    from model import Classifier, Field
    from model.networks.schemes import FieldPrediction

LEAST_P = 0.2
"""Least p-value of an answer in the pool: it comes from the middle of the reference images."""
LEAST_PROBABILITY = 0.95
LEAST_PRECISION = 0.97
"""Least lower 95 % limit of the audited answers: 99 of 99 right reach it."""
MOST_OF_ALL = 0.3
"""Largest share of the training images that may be answers of the model."""
PER_SPECIMEN = 2
WEIGHT = 1 / 3
"""A reviewer's label counts three times as much."""


@dataclass(frozen=True, slots=True)
class Audit:
    """How often such answers are right, by control samples.

    Args:
        n: Control samples of the pool that were decided without the answer in view.
        right: Of those, with the model's code.
    """

    n: int
    right: int

    @property
    def least(self) -> float:
        """Exact lower 95 % limit, one-sided, of the share that is right; 0.0 without samples."""
        most_wrong = upper_bound(self.n - self.right, self.n)
        return 0.0 if most_wrong is None else 1.0 - most_wrong

    @property
    def passed(self) -> bool:
        """Whether such answers may be trained on."""
        return self.least >= LEAST_PRECISION

    def sentence(self) -> str:
        """Return the audit in one sentence."""
        return (
            f"{self.right} of {self.n} control samples agree with the model, so at least "
            f"{100 * self.least:.1f} % of such answers are right (95 %); required: "
            f"{100 * LEAST_PRECISION:.0f} %."
        )


@dataclass(frozen=True, slots=True)
class PseudoLabelled:
    """Answers that are trained on.

    Args:
        examples: With the model's codes, at a third of the weight.
        audit: How often such answers are right.
        pool: How many candidates there were, before quotas and other views.
    """

    examples: tuple[Example, ...]
    audit: Audit
    pool: int

    def as_json(self) -> dict[str, Any]:
        """Return the JSON values for the record."""
        return {
            "used": len(self.examples),
            "codes": dict(Counter(example.code for example in self.examples)),
            "pool": self.pool,
            "audit": {**asdict(self.audit), "least": self.audit.least},
            "keys": sorted(example.key for example in self.examples),
        }


def list_candidates(
    views: Sequence[MicrographView], bundle: str
) -> tuple[list[MicrographView], Audit]:
    """Return the unchecked answers that could be trained on, and the audit of answers like them.

    Args:
        views: Everything the lab has.
        bundle: The active bundle; answers of another one are left out.
    """
    sure = [view for view in views if _is_sure(view, bundle)]
    is_right = [
        view.label.code == view.result.structure_code
        for view in sure
        if Reason.CONTROL_SAMPLE in view.result.reasons
        and view.label is not None
        and view.label.blind
    ]
    pool = [view for view in sure if not view.result.reasons and view.label is None]
    return pool, Audit(len(is_right), sum(is_right))


def _is_sure(view: MicrographView, bundle: str) -> bool:
    result = view.result
    return (
        result.bundle == bundle
        and view.um_per_px is not None
        and set(result.reasons) <= {Reason.CONTROL_SAMPLE}
        and (result.probability or 0.0) >= LEAST_PROBABILITY
        and result.prediction_set == (result.structure_code,)
        and (result.strangeness.p_value or 0.0) > LEAST_P
        and (result.strangeness.local or 0.0) < 1.0
    )


def select_within_quotas(
    pool: Sequence[MicrographView], labelled: Sequence[Example], *, group_by: str = ""
) -> list[MicrographView]:
    """Select at most as many of a code as are labelled, 30 % of all, and two of a specimen.

    Specimens, or other groups, with any reviewer's label are left out: they may be tested on. The
    order is that of the contents' hashes, so that the selection is random.

    Args:
        pool: From `list_candidates`.
        labelled: Reviewers' labels.
        group_by: As in `collect`.
    """
    counts = Counter(example.code for example in labelled)
    known = {example.group for example in labelled}
    most = int(len(labelled) * MOST_OF_ALL / (1 - MOST_OF_ALL))
    taken: list[MicrographView] = []
    per_code: Counter[str] = Counter()
    per_specimen: Counter[str] = Counter()
    for view in sorted(pool, key=lambda view: (view.sha256, view.page)):
        code, specimen = view.result.structure_code or "", get_group(view.sha256, view.process_data)
        full = per_code[code] >= counts[code] or per_specimen[specimen] >= PER_SPECIMEN
        if full or _get_group(view, group_by) in known or len(taken) >= most:
            continue
        taken.append(view)
        per_code[code] += 1
        per_specimen[specimen] += 1
    return taken


def select_pseudo_labels(
    views: Sequence[MicrographView],
    labelled: Sequence[Example],
    classifier: Classifier,
    archive: Archive,
    *,
    group_by: str,
) -> Iterator[Progress[None] | PseudoLabelled]:
    """Select answers to train on; none where the audit fails.

    Args:
        views: Everything the lab has.
        labelled: Reviewers' labels.
        classifier: The active bundle.
        archive: The pixels.
        group_by: As in `collect`.

    Yields:
        `Progress`, last a `PseudoLabelled`.
    """
    pool, audit = list_candidates(views, classifier.name)
    chosen = select_within_quotas(pool, labelled, group_by=group_by) if audit.passed else []
    chosen = [view for view in chosen if archive.has_crop(view.sha256, view.page)]
    examples = []
    for done, view in enumerate(chosen, 1):
        example = _example(view, archive, group_by)
        if is_stable(
            example.load(), example.code, classifier.predict_codes, classifier.taxonomy.code
        ):
            examples.append(example)
        yield Progress("pseudo", done, len(chosen))
    yield PseudoLabelled(tuple(examples), audit, len(pool))


def is_stable(
    field: Field,
    code: str,
    answers: Callable[[Sequence[Field]], Sequence[FieldPrediction]],
    code_of: Callable[[str, str], str],
) -> bool:
    """Return whether an answer is the same in all eight rotations and reflections of the field."""
    views = [
        replace(
            field,
            pixels=np.ascontiguousarray(_rotate(field.pixels, quarter, mirrored=mirrored)),
            valid=np.ascontiguousarray(_rotate(field.valid, quarter, mirrored=mirrored)),
        )
        for quarter in range(4)
        for mirrored in (False, True)
    ]
    return all(code_of(*answer.best) == code for answer in answers(views))


def _rotate(array: np.ndarray[Any, Any], quarter: int, *, mirrored: bool) -> np.ndarray[Any, Any]:
    turned = np.rot90(array, quarter)
    return turned[:, ::-1] if mirrored else turned


def _get_group(view: MicrographView, group_by: str) -> str:
    process_data = {**view.process_extra, **view.process_data}
    return str(process_data.get(group_by) or get_group(view.sha256, view.process_data))


def _example(view: MicrographView, archive: Archive, group_by: str) -> Example:
    process_data: Mapping[str, str] = view.process_data
    return Example(
        key=get_key(view.sha256, view.page),
        code=view.result.structure_code or "",
        group=_get_group(view, group_by),
        load=make_loader(
            archive, view.sha256, view.page, view.um_per_px, process_data.get("microscope", "")
        ),
        weight=WEIGHT,
        slices=get_slices(process_data),
        file=Path(view.path).name,
    )
