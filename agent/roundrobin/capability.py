"""Compute how reliable a measuring system is at a limit, and the sources of its scatter.

A new preparation destroys the surface before it, so preparations are blocks, one after another;
within one everything is shuffled. The runs of one specimen are no independent trials: a claim rests
on the number of non-conforming specimens.

Variance components are written out because REML, which statsmodels has, hides where a small plan
has nothing to separate two sources by; the tests compare the two.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

import numpy as np
from numpy.typing import NDArray

from agent.orders.judge.limit import Bound, Limit, find_bound
from model import Size, Taxonomy, upper_bound
from reports import Message, marked


@dataclass(frozen=True, slots=True)
class StudyRun:
    """One image to be taken.

    Args:
        number: From 1, in the order of the runs.
        preparation: From 1.
        specimen, operator, microscope: Their names.
        image: From 1.
    """

    number: int
    preparation: int
    specimen: str
    operator: str
    microscope: str
    image: int

    def as_json(self) -> dict[str, int | str]:
        """Return the JSON values for the record."""
        return {
            "number": self.number,
            "preparation": self.preparation,
            "specimen": self.specimen,
            "operator": self.operator,
            "microscope": self.microscope,
            "image": self.image,
        }


def plan_runs(
    specimens: Sequence[str],
    operators: Sequence[str],
    microscopes: Sequence[str],
    *,
    images: int,
    preparations: int,
    seed: int,
) -> list[StudyRun]:
    """Cross everything with everything, in a random order within each preparation.

    Args:
        specimens: Names.
        operators: Who takes the images.
        microscopes: On which.
        images: How often each of those is imaged, each time from the start.
        preparations: How often each specimen is ground, polished and etched.
        seed: Of the order; the same seed, the same plan.
    """
    rng, runs = random.Random(seed), []
    for preparation in range(1, preparations + 1):
        block = list(product(specimens, operators, microscopes, range(1, images + 1)))
        rng.shuffle(block)
        runs += [(preparation, *combination) for combination in block]
    return [StudyRun(number, *run) for number, run in enumerate(runs, start=1)]


def run_from_json(kept: Mapping[str, int | str]) -> StudyRun:
    """Parse a run; the inverse of `Run.as_json`."""
    return StudyRun(
        number=int(kept["number"]),
        preparation=int(kept["preparation"]),
        specimen=str(kept["specimen"]),
        operator=str(kept["operator"]),
        microscope=str(kept["microscope"]),
        image=int(kept["image"]),
    )


REST = "rest"
"""Name of the variance that no source explains."""


@dataclass(frozen=True, slots=True)
class Components:
    """Variances by source.

    Args:
        variance: Source → variance, in squared units of the numbers; `REST` comes last. A negative
            estimate is 0.
        inseparable: Sources left out, each with the reason.
    """

    variance: Mapping[str, float]
    inseparable: Mapping[str, Message]


def components(numbers: Sequence[float], sources: Mapping[str, Sequence[object]]) -> Components:
    """Split the variance of numbers by their sources.

    Args:
        numbers: (n,).
        sources: Source → the level of each number; a nested or crossed one has pairs as levels.

    Source:
        Rao 1971, MINQUE with identity weights: quadratic forms of the sources set equal to their
        expectations. In a balanced plan these are the estimators of the analysis of variance
        (Searle, Casella and McCulloch 1992, chapter 11); where runs are missing they stay unbiased.
        Below zero is cut to 0, as the AIAG manual does.
    """
    y = np.asarray(numbers, float)
    kept, left_out = _separable(sources, len(y))
    designs = [_centred(levels) for levels in kept.values()]  # (n, k) each
    centred = y - y.mean()
    forms = [((design.T @ centred) ** 2).sum() for design in designs] + [(centred**2).sum()]
    # Trace of each pair of forms; that of the rest is the identity, centred, and needs no matrix.
    with_rest = [(design**2).sum() for design in designs]
    expected = np.array(
        [
            [((design.T @ second) ** 2).sum() for second in designs] + [rest]
            for design, rest in zip(designs, with_rest, strict=True)
        ]
        + [[*with_rest, len(y) - 1.0]]
    )
    solved, *_ = np.linalg.lstsq(expected, np.array(forms), rcond=None)
    variance = {
        name: max(0.0, float(value)) for name, value in zip([*kept, REST], solved, strict=True)
    }
    return Components(variance, left_out)


def _separable(
    sources: Mapping[str, Sequence[object]], n: int
) -> tuple[dict[str, Sequence[object]], dict[str, Message]]:
    kept: dict[str, Sequence[object]] = {}
    left_out: dict[str, Message] = {}
    groupings: dict[tuple[int, ...], str] = {tuple(range(n)): REST}
    for name, levels in sources.items():
        grouping = _grouping(levels)
        if len(set(grouping)) == 1:
            left_out[name] = Message(marked("there is only one"))
        elif grouping in groupings:
            left_out[name] = Message(
                marked("cannot be separated from {source} in this plan"),
                {"source": groupings[grouping]},
            )
        else:
            kept[name], groupings[grouping] = levels, name
    return kept, left_out


def _grouping(levels: Sequence[object]) -> tuple[int, ...]:
    """Number levels in the order in which they come, so that equal groupings have equal numbers."""
    numbers: dict[object, int] = {}
    return tuple(numbers.setdefault(level, len(numbers)) for level in levels)


def _centred(levels: Sequence[object]) -> NDArray[np.float64]:
    """Return the indicator matrix (n, k) of the levels, each column less its mean."""
    grouping = np.array(_grouping(levels))
    design = np.equal.outer(grouping, np.arange(grouping.max() + 1)).astype(float)
    return np.asarray(design - design.mean(axis=0))


SPECIMEN, SHARE = "specimen", "share of the measuring system"
RESAMPLES = 300  # of the bootstrap over specimens
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Measured:
    """Result of one run.

    Args:
        run: The run.
        true: The code of its specimen.
        said: The code that was given, or None.
    """

    run: StudyRun
    true: str
    said: str | None


@dataclass(frozen=True, slots=True)
class Rate:
    """A count of runs or specimens, with the exact one-sided 95 % bound on the bad side.

    Args:
        count, n: Of runs or of specimens.
        bound: One-sided, at 95 %; it counts specimens.
        specimens: Those that the bound counts.
    """

    count: int
    n: int
    bound: float | None
    specimens: int = 0

    @property
    def value(self) -> float | None:
        """The share, or None for none."""
        return self.count / self.n if self.n else None


@dataclass(frozen=True, slots=True)
class AtLimit:
    """How well one limit of one subtype was decided.

    Args:
        subtype, limit: Their names.
        effectiveness: Specimens that every run judged right; bound: at least so many.
        miss: Runs of non-conforming specimens that were called conforming; bound: at most, over
            specimens.
        false_alarm: Runs of conforming specimens that were not; bound: at most, over specimens.
        missed: Non-conforming specimens that were missed at least once; bound: at most. The claim
            about misses rests on its `n`.
        alarmed: Conforming specimens that had a false alarm at least once; bound: at most.
    """

    subtype: str
    limit: Limit
    effectiveness: Rate
    miss: Rate
    false_alarm: Rate
    missed: Rate
    alarmed: Rate


def at_limit(
    measured: Sequence[Measured], subtype: str, limit: Limit, taxonomy: Taxonomy
) -> AtLimit:
    """Compute how well a limit was decided on the specimens of a subtype.

    Another subtype, or no answer, is not "conforms"; no specimen conforms where the limit names no
    size.
    """
    bound = find_bound(limit, taxonomy.subtype(subtype))
    own = [run for run in measured if taxonomy.parse(run.true)[0] == subtype]
    conforms = {run.run.number: _conforms(run.true, bound, taxonomy) for run in own}
    answers = {run.run.number: _conforms(run.said, bound, taxonomy) for run in own}
    bad = [run for run in own if not conforms[run.run.number]]
    good = [run for run in own if conforms[run.run.number]]
    misses = [run for run in bad if answers[run.run.number]]
    alarms = [run for run in good if not answers[run.run.number]]
    specimens = {run.run.specimen for run in own}
    wrong = {run.run.specimen for run in (*misses, *alarms)}
    return AtLimit(
        subtype=subtype,
        limit=limit,
        effectiveness=_at_least(len(specimens - wrong), len(specimens)),
        miss=_of_runs(misses, bad),
        false_alarm=_of_runs(alarms, good),
        missed=_at_most(_specimens(misses), _specimens(bad)),
        alarmed=_at_most(_specimens(alarms), _specimens(good)),
    )


def still_needed(most: float) -> int:
    """Return how many specimens, all recognised, prove that at most this share is missed.

    Args:
        most: The share, in (0, 1).

    Source:
        Clopper and Pearson 1934: the bound of none of n is 1 - 0.05 ** (1 / n).
    """
    return math.ceil(math.log(1 - CONFIDENCE) / math.log(1 - most))


def _specimens(measured: Sequence[Measured]) -> int:
    return len({run.run.specimen for run in measured})


def _conforms(code: str | None, bound: Bound | None, taxonomy: Taxonomy) -> bool:
    if code is None or bound is None or taxonomy.parse(code)[0] != bound.subtype.name:
        return False
    return bound.keeps(_size(code, taxonomy))


def _size(code: str, taxonomy: Taxonomy) -> Size:
    subtype, name = taxonomy.parse(code)
    return next(size for size in taxonomy.subtype(subtype).sizes if size.name == name)


def _of_runs(wrong: Sequence[Measured], counted: Sequence[Measured]) -> Rate:
    """Count wrong runs, and bound their rate by their sum in whole specimens.

    Source:
        Clopper and Pearson 1934 at the specimens' shares of wrong runs, added up and rounded up. A
        specimen wrong in half of its runs is half a wrong one: where every run of a specimen ends
        alike, specimens are what was tried. MEASURED (`tests/bench/msa.py`): holds in
        at least 95 % of the draws, however alike the runs of a specimen are.
    """
    runs = Counter(run.run.specimen for run in counted)
    bad = Counter(run.run.specimen for run in wrong)
    whole = math.ceil(sum(Fraction(bad[name], n) for name, n in runs.items()))
    return Rate(len(wrong), len(counted), upper_bound(whole, len(runs)), len(runs))


def _at_most(count: int, n: int) -> Rate:
    return Rate(count, n, upper_bound(count, n), n)


def _at_least(count: int, n: int) -> Rate:
    worst = upper_bound(n - count, n)
    return Rate(count, n, None if worst is None else 1 - worst, n)


# --- scatter ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VarianceShare:
    """One source of scatter on the size scale.

    Args:
        name: Of it.
        variance: In squared steps of `Scatter.by_rank`.
        low, high: Its 95 % interval, or None.
    """

    name: str
    variance: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Scatter:
    """The scatter of the sizes, by source.

    Args:
        n: Runs that count.
        left_out: Runs without a size, or with another subtype.
        sources: The specimens first, the rest last.
        inseparable: Sources that could not be separated, each with the reason.
        share_low, share_high: 95 % interval of `study_share`, or None.
        by_rank: A step is a place in the listed order, as some size has no number; else a number.
    """

    n: int
    left_out: int
    sources: tuple[VarianceShare, ...]
    inseparable: Mapping[str, Message]
    share_low: float | None = None
    share_high: float | None = None
    by_rank: bool = False

    @property
    def total(self) -> float:
        """Variance of everything together."""
        return sum(source.variance for source in self.sources)

    @property
    def measuring(self) -> float:
        """Variance of the measuring system: everything but the specimens."""
        return sum(source.variance for source in self.sources if source.name != SPECIMEN)

    @property
    def study_share(self) -> float | None:
        """Standard deviation of the measuring system as a share of that of everything (%GRR)."""
        return float(np.sqrt(self.measuring / self.total)) if self.total else None

    @property
    def categories(self) -> int | None:
        """Number of specimen groups that it can distinguish (ndc); None for infinitely many."""
        own = self.total - self.measuring
        # 1.41 as in the AIAG manual: the number of 97 % intervals that fit into the scatter.
        return int(1.41 * np.sqrt(own / self.measuring)) if self.measuring else None


def scatter(measured: Sequence[Measured], taxonomy: Taxonomy) -> Scatter:
    """Split the scatter of the size numbers by its sources.

    The number of a size for two numbers is their mean. Where a size has no number, all count
    by their place in the listed order. Intervals: bootstrap over specimens.
    """
    usable = [run for run in measured if _same_subtype(run, taxonomy)]
    by_rank = not _have_numbers(usable, taxonomy)
    split = _split(usable, taxonomy, by_rank=by_rank)
    low, high = _interval(usable, taxonomy, list(split.variance), by_rank=by_rank)
    return Scatter(
        n=len(usable),
        left_out=len(measured) - len(usable),
        sources=tuple(
            VarianceShare(name, value, low.get(name), high.get(name))
            for name, value in split.variance.items()
        ),
        inseparable=split.inseparable,
        share_low=low.get(SHARE),
        share_high=high.get(SHARE),
        by_rank=by_rank,
    )


def _same_subtype(measured: Measured, taxonomy: Taxonomy) -> bool:
    return (
        measured.said is not None
        and taxonomy.parse(measured.said)[0] == taxonomy.parse(measured.true)[0]
    )


def _split(
    measured: Sequence[Measured],
    taxonomy: Taxonomy,
    names: Sequence[object] | None = None,
    *,
    by_rank: bool,
) -> Components:
    """Split the variance; `names` replace the specimens where one was drawn twice."""
    specimens = [result.run.specimen for result in measured] if names is None else names
    runs = list(zip(specimens, (result.run for result in measured), strict=True))
    numbers = _numbers(measured, taxonomy, by_rank=by_rank)
    if not numbers:
        return components([0.0], {})
    return components(
        numbers,
        {
            SPECIMEN: [specimen for specimen, _ in runs],
            "preparation": [(specimen, run.preparation) for specimen, run in runs],
            "operator": [run.operator for _, run in runs],
            "microscope": [run.microscope for _, run in runs],
            "specimen × operator": [(specimen, run.operator) for specimen, run in runs],
            "specimen × microscope": [(specimen, run.microscope) for specimen, run in runs],
        },
    )


def _numbers(measured: Sequence[Measured], taxonomy: Taxonomy, *, by_rank: bool) -> list[float]:
    """Return a number per run: the place of its size in the order, or its size number."""
    sizes = [_size(result.said or "", taxonomy) for result in measured]
    if by_rank:
        order = taxonomy.sizes
        return [float(order.index(size)) for size in sizes]
    return [(size.numbers.lower + size.numbers.upper) / 2 for size in sizes if size.numbers]


def _have_numbers(measured: Sequence[Measured], taxonomy: Taxonomy) -> bool:
    """Return whether each size of the subtypes that were measured has a number."""
    names = {taxonomy.parse(result.true)[0] for result in measured}
    return all(size.numbers for name in names for size in taxonomy.subtype(name).sizes)


def _interval(
    measured: Sequence[Measured], taxonomy: Taxonomy, sources: Sequence[str], *, by_rank: bool
) -> tuple[dict[str, float], dict[str, float]]:
    specimens = sorted({result.run.specimen for result in measured})
    if len(specimens) < 2:  # noqa: PLR2004 - one alone cannot be drawn otherwise
        return {}, {}
    own = {
        name: [result for result in measured if result.run.specimen == name] for name in specimens
    }
    rng, variances, shares = np.random.default_rng(0), [], []
    for _ in range(RESAMPLES):
        drawn = rng.choice(specimens, len(specimens))
        sample = [(at, result) for at, name in enumerate(drawn) for result in own[name]]
        names = [at for at, _ in sample]
        split = _split([result for _, result in sample], taxonomy, names, by_rank=by_rank)
        variances.append([split.variance.get(name, 0.0) for name in sources])
        if total := sum(split.variance.values()):
            shares.append(math.sqrt(1 - split.variance.get(SPECIMEN, 0.0) / total))
    ends = [0.025, 0.975]
    low, high = (
        dict(zip(sources, map(float, end), strict=True))
        for end in np.quantile(variances, ends, axis=0)
    )
    if shares:
        low[SHARE], high[SHARE] = map(float, np.quantile(shares, ends))
    return low, high


def format_source(name: str) -> str:
    """Return a source's name on the page."""
    return "re-imaging, and the rest" if name == REST else name
