"""Learn from answers that nobody gave: an experiment with guard-rails, off unless asked for.

In:  micrographs of the bundle at work that nobody labelled. Out: `PseudoLabelled`, or why not.
Next: `teaching`, which learns from them and never tests on them; the gate decides as always.
Only what is ordinary, sure and of a known scale is taken, and only if control samples, which people
decided without the answer in view, say that such answers are right.

Source:
    Oliver et al. 2018, arXiv:1804.09170: unlabelled images of other classes make it worse, so the
    pool is filtered by strangeness. Sohn et al. 2020 (FixMatch), arXiv:2001.07685: only answers
    above a high probability that survive other views of the image.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.labelled_folder import group_of, key_of, loader, slices_of
from agent.retrain.progress import Step
from agent.triage import Reason
from model import Example, upper_bound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from agent.archive import Archive
    from agent.store import MicrographView
    from model import Classifier, Field
    from model.networks.schemes import Answer

LEAST_P = 0.2
"""Share of known images that must look as strange: the pool is from the middle of what is known."""
LEAST_PROBABILITY = 0.95
LEAST_PRECISION = 0.97
"""What the lower 95 % limit of the audited answers must reach: 99 of 99 do."""
MOST_OF_ALL = 0.3
"""No more of what is learned from may be answers of the model."""
PER_SPECIMEN = 2
WEIGHT = 1 / 3
"""What a person said counts three times as much."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What control samples say of such answers.

    Args:
        n: Control samples of the pool that people decided without the answer in view.
        right: Of those, with the code that the model had said.
    """

    n: int
    right: int

    @property
    def least(self) -> float:
        """The exact lower 95 % limit, one-sided, of the share that is right."""
        most_wrong = upper_bound(self.n - self.right, self.n)
        return 0.0 if most_wrong is None else 1.0 - most_wrong

    @property
    def passed(self) -> bool:
        """Whether such answers may be learned from."""
        return self.least >= LEAST_PRECISION

    def sentence(self) -> str:
        """Say it to a person."""
        return (
            f"{self.right} of {self.n} control samples were as the model had said, so at least "
            f"{100 * self.least:.1f} % of such answers are right (95 %); "
            f"{100 * LEAST_PRECISION:.0f} % are asked."
        )


@dataclass(frozen=True, slots=True)
class PseudoLabelled:
    """Answers that are learned from.

    Args:
        examples: With the model's codes, at a third of the weight.
        audit: What control samples say of such answers.
        pool: How many could have been taken, before quotas and other views.
    """

    examples: tuple[Example, ...]
    audit: Audit
    pool: int

    def as_json(self) -> dict[str, Any]:
        """Give it for the record."""
        return {
            "used": len(self.examples),
            "codes": dict(Counter(one.code for one in self.examples)),
            "pool": self.pool,
            "audit": {**asdict(self.audit), "least": self.audit.least},
            "keys": sorted(one.key for one in self.examples),
        }


def pool_of(views: Sequence[MicrographView], bundle: str) -> tuple[list[MicrographView], Audit]:
    """Say which answers nobody checked could be learned from, and how right their like are.

    Args:
        views: Everything the lab has.
        bundle: The bundle at work; answers of another one are not asked.
    """
    sure = [view for view in views if _is_sure(view, bundle)]
    is_right = [
        view.label.code == view.structure_code
        for view in sure
        if Reason.CONTROL_SAMPLE in view.reasons and view.label is not None and view.label.blind
    ]
    pool = [view for view in sure if not view.reasons and view.label is None]
    return pool, Audit(len(is_right), sum(is_right))


def _is_sure(view: MicrographView, bundle: str) -> bool:
    return (
        view.bundle == bundle
        and view.um_per_px is not None
        and set(view.reasons) <= {Reason.CONTROL_SAMPLE}
        and (view.probability or 0.0) >= LEAST_PROBABILITY
        and view.prediction_set == (view.structure_code,)
        and (view.strangeness.get("p_value") or 0.0) > LEAST_P
        and float(view.strangeness.get("local") or 0.0) < 1.0
    )


def within_quotas(
    pool: Sequence[MicrographView], labelled: Sequence[Example], *, group_by: str = ""
) -> list[MicrographView]:
    """Take no more of a code than people labelled, no more than 30 % of all, two of a specimen.

    Specimens, or whatever else groups, of which a person labelled anything are left alone: they may
    be tested on. The order is that of the contents' hashes, so that nothing but chance chooses.

    Args:
        pool: From `pool_of`.
        labelled: What people labelled.
        group_by: As in `collect`.
    """
    counts = Counter(one.code for one in labelled)
    known = {one.group for one in labelled}
    most = int(len(labelled) * MOST_OF_ALL / (1 - MOST_OF_ALL))
    taken: list[MicrographView] = []
    per_code: Counter[str] = Counter()
    per_specimen: Counter[str] = Counter()
    for view in sorted(pool, key=lambda one: (one.sha256, one.page)):
        code, specimen = view.structure_code or "", group_of(view.sha256, view.process_data)
        full = per_code[code] >= counts[code] or per_specimen[specimen] >= PER_SPECIMEN
        if full or _group_of(view, group_by) in known or len(taken) >= most:
            continue
        taken.append(view)
        per_code[code] += 1
        per_specimen[specimen] += 1
    return taken


def pseudo_labelled(
    views: Sequence[MicrographView],
    labelled: Sequence[Example],
    classifier: Classifier,
    archive: Archive,
    *,
    group_by: str = "",
) -> Iterator[Step | PseudoLabelled]:
    """Take answers to learn from; none where the audit fails.

    Args:
        views: Everything the lab has.
        labelled: What people labelled.
        classifier: The bundle at work.
        archive: The pixels.
        group_by: As in `collect`.

    Yields:
        `Step`s, last a `PseudoLabelled`.
    """
    pool, audit = pool_of(views, classifier.name)
    chosen = within_quotas(pool, labelled, group_by=group_by) if audit.passed else []
    chosen = [one for one in chosen if archive.crop_path(one.sha256, one.page).is_file()]
    examples = []
    for done, view in enumerate(chosen, 1):
        example = _example(view, archive, group_by)
        if stays(example.load(), example.code, classifier.predict_codes, classifier.taxonomy.code):
            examples.append(example)
        yield Step("pseudo", done, len(chosen))
    yield PseudoLabelled(tuple(examples), audit, len(pool))


def stays(
    shown: Field,
    code: str,
    answers: Callable[[Sequence[Field]], Sequence[Answer]],
    code_of: Callable[[str, str], str],
) -> bool:
    """Say whether an answer stays the same however the field is turned and mirrored."""
    views = [
        replace(
            shown,
            pixels=np.ascontiguousarray(_turned(shown.pixels, quarter, mirrored=mirrored)),
            valid=np.ascontiguousarray(_turned(shown.valid, quarter, mirrored=mirrored)),
        )
        for quarter in range(4)
        for mirrored in (False, True)
    ]
    return all(code_of(*one.best) == code for one in answers(views))


def _turned(array: np.ndarray[Any, Any], quarter: int, *, mirrored: bool) -> np.ndarray[Any, Any]:
    turned = np.rot90(array, quarter)
    return turned[:, ::-1] if mirrored else turned


def _group_of(view: MicrographView, group_by: str) -> str:
    told = {**view.process_extra, **view.process_data}
    return str(told.get(group_by) or group_of(view.sha256, view.process_data))


def _example(view: MicrographView, archive: Archive, group_by: str) -> Example:
    told: Mapping[str, str] = view.process_data
    return Example(
        key=key_of(view.sha256, view.page),
        code=view.structure_code or "",
        group=_group_of(view, group_by),
        load=loader(archive, view.sha256, view.page, view.um_per_px, told.get("microscope", "")),
        weight=WEIGHT,
        slices=slices_of(told),
    )
