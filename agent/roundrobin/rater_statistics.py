"""Compute how well raters, and the model on the same images, recognise the structure.

There are three levels: the subtype, the code, and the merged code, where codes that are too alike
count as one and images whose reference was not trained on are left out, as in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from agent.roundrobin import agreement_coefficients
from agent.roundrobin.agreement_coefficients import (
    PAIR,
    Weights,
    cohen,
    cohen_chance,
    count_classes,
    fleiss_chance,
    gwet_chance,
    no_chance,
    over_images,
    quadratic,
)
from agent.roundrobin.panel import (
    MODEL,
    ImageResult,
    Level,
    Panel,
    RatedShare,
    image_results,
    list_raters,
    list_sizes,
)
from agent.store import Opinion
from model import Estimate, agreement_interval, wilson

# --- against the reference ----------------------------------------------------------------------


def accuracy(panel: Panel, level: Level) -> RatedShare:
    """Compute the share of ratings with the reference's class; "cannot tell" counts as not right.

    The interval counts images: the ratings of one image are no independent trials.
    """
    hits = [
        [panel.said(r, image, level) == panel.true(image, level) for r in list_raters(panel, image)]
        for image in panel.images_at(level)
        if panel.true(image, level) is not None
    ]
    return _compute_share(hits)


def majority_accuracy(panel: Panel, level: Level) -> RatedShare:
    """Compute how often the majority has the reference's class; a tie counts as not right."""
    asked = [image for image in panel.images_at(level) if panel.true(image, level) is not None]
    hits = sum(panel.majority(image, level) == panel.true(image, level) for image in asked)
    return RatedShare(hits, len(asked), wilson(hits, len(asked)))


def sizes_right(panel: Panel) -> RatedShare:
    """Compute the share with the right size among the ratings with the right subtype."""
    hits = [
        [
            panel.said(r, image, Level.CODE) == panel.reference[image]
            for r in list_raters(panel, image)
            if panel.said(r, image, Level.SUBTYPE) == panel.true(image, Level.SUBTYPE)
        ]
        for image in panel.images
        if image in panel.reference
    ]
    return _compute_share(hits)


def _compute_share(hits: Sequence[Sequence[bool]]) -> RatedShare:
    right = np.array([sum(ratings) for ratings in hits], float)
    n = np.array([len(ratings) for ratings in hits], float)
    if not n.sum():
        return RatedShare(0, 0, Estimate(None, None, None))

    def share(at: NDArray[np.intp]) -> float:
        return float(right[at].sum() / n[at].sum()) if n[at].sum() else float("nan")

    right, n = right[n > 0], n[n > 0]
    estimate = agreement_interval(len(n), share, 0.0)
    if estimate.value in {0.0, 1.0}:
        images = len(n)
        estimate = wilson(images if estimate.value else 0, images)
    return RatedShare(int(right.sum()), int(n.sum()), estimate)


# --- among raters -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RaterAgreement:
    """How far raters agree at one level.

    Args:
        raters: How many.
        images: How many were rated by two or more.
        raw: Share of pairs of ratings that are the same.
        kappa: Fleiss'.
        ac: Gwet's AC1, or AC2 where the classes are ordered.
    """

    raters: int
    images: int
    raw: Estimate
    kappa: Estimate
    ac: Estimate


def agreement(panel: Panel, level: Level) -> RaterAgreement:
    """Compute how far the raters of a panel agree at a level."""
    classes, table = panel.table(level)
    return _agreement(count_classes(table, len(classes)), len(panel.raters), None)


def size_agreement(panel: Panel) -> RaterAgreement:
    """Compute how far raters agree on the size alone, a neighbouring one counting in part.

    Weighted kappa and AC2, both with quadratic weights over the sizes from coarse to fine.
    """
    sizes, table = panel.sizes()
    return _agreement(count_classes(table, len(sizes)), len(panel.raters), quadratic(len(sizes)))


def _agreement(counts: NDArray[np.intp], raters: int, weights: Weights | None) -> RaterAgreement:
    several = counts[counts.sum(axis=1) >= PAIR] if counts.size else counts[:0]
    if weights is None:  # classes of reference or model alone do not count
        several = several[:, several.any(axis=0)]
    return RaterAgreement(
        raters=raters,
        images=len(several),
        raw=over_images(several, no_chance),
        kappa=over_images(several, fleiss_chance, weights),
        ac=over_images(several, gwet_chance, weights),
    )


def rater_confusion(panel: Panel, level: Level) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    """Count pairs of raters of one image: (k, k), symmetric; on the diagonal, pairs that agree."""
    classes, table = panel.table(level)
    counts = np.zeros((len(classes), len(classes)), np.intp)
    for first, second in combinations(range(table.shape[1]), PAIR):
        both = (table[:, first] >= 0) & (table[:, second] >= 0)
        np.add.at(counts, (table[both, first], table[both, second]), 1)
    return classes, counts + counts.T - np.diag(np.diag(counts))


def reference_confusion(panel: Panel, level: Level) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    """Count ratings per reference class: (k, k), rows rated, columns true."""
    classes = panel.classes(level)
    counts = np.zeros((len(classes), len(classes)), np.intp)
    for image in panel.images_at(level):
        true = panel.true(image, level)
        for rater in panel.raters:
            given = panel.said(rater, image, level)
            if given is not None and true is not None:
                counts[classes.index(given), classes.index(true)] += 1
    return classes, counts


# --- one by one ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Individual:
    """Results of one rater, or of the model.

    Args:
        name: Pseudonym, or `MODEL`.
        team: "" for none.
        n: Images they rated.
        untold: Of those, where they could not tell the code.
        right: Against the reference, per level.
        near: The right subtype and at most a neighbouring size.
        consensus: How often their code is the majority's of the others.
        kappa: Cohen's with the reference, over the subtype.
        size_kappa: Cohen's with the reference, over the size, quadratic weights.
        fellows: Mean of Cohen's kappa with each rater, over the code. The intervals of all three
            count images.
    """

    name: str
    team: str
    n: int
    untold: int
    right: Mapping[Level, RatedShare]
    near: RatedShare
    consensus: RatedShare
    kappa: Estimate
    size_kappa: Estimate
    fellows: Estimate


def individuals(panel: Panel) -> list[Individual]:
    """Compute the results of each rater, in the order of their pseudonyms."""
    return [_individual(panel, rater, panel) for rater in panel.raters]


def model_alone(panel: Panel) -> Individual | None:
    """Compute the model's results on the same images, as of one more rater; None if it has none."""
    if not panel.model:
        return None
    return _individual(with_model(panel), MODEL, panel)


def with_model(panel: Panel) -> Panel:
    """Return the panel with the model as one more rater."""
    answers = {
        (MODEL, image): Opinion(*panel.taxonomy.parse(code)) for image, code in panel.model.items()
    }
    return replace(panel, raters=(*panel.raters, MODEL), answers={**panel.answers, **answers})


def _individual(panel: Panel, name: str, others: Panel) -> Individual:
    own = [image for image in panel.images if (name, image) in panel.answers]
    rest = others.of([rater for rater in others.raters if rater != name])
    kept = {level: [i for i in own if i in panel.images_at(level)] for level in Level}

    def right(level: Level) -> RatedShare:
        asked = [image for image in kept[level] if panel.true(image, level) is not None]
        hits = sum(panel.said(name, i, level) == panel.true(i, level) for i in asked)
        return RatedShare(hits, len(asked), wilson(hits, len(asked)))

    majorities = {image: rest.majority(image, Level.CODE) for image in own}
    asked = [image for image in own if majorities[image] is not None]
    same = sum(panel.said(name, i, Level.CODE) == majorities[i] for i in asked)
    near = [i for i in own if i in panel.reference]
    hits = sum(_is_near(panel, name, i) for i in near)
    return Individual(
        name=name,
        team=panel.teams.get(name, ""),
        n=len(own),
        untold=sum(panel.said(name, image, Level.CODE) is None for image in own),
        right={level: right(level) for level in Level},
        near=RatedShare(hits, len(near), wilson(hits, len(near))),
        consensus=RatedShare(same, len(asked), wilson(same, len(asked))),
        kappa=_reference_kappa(panel, name),
        size_kappa=_reference_size_kappa(panel, name),
        fellows=_fellows_kappa(panel, name, rest.raters),
    )


def _is_near(panel: Panel, name: str, image: int) -> bool:
    answer, true = panel.answers[name, image], panel.taxonomy.parse(panel.reference[image])
    if not answer.has_code or answer.subtype != true[0]:
        return False
    names = [size.name for size in panel.taxonomy.subtype(true[0]).sizes]
    return abs(names.index(answer.size or "") - names.index(true[1])) <= 1


def _fellows_kappa(panel: Panel, name: str, others: Sequence[str]) -> Estimate:
    classes = panel.classes(Level.CODE)
    own, *rest = (
        agreement_coefficients.indices(
            classes, [panel.said(who, i, Level.CODE) for i in panel.images]
        )
        for who in (name, *others)
    )

    def mean(at: NDArray[np.intp]) -> float:
        kappas = [cohen(own[at], fellow[at], len(classes)) for fellow in rest]
        known = [kappa for kappa in kappas if not np.isnan(kappa)]
        return float(np.mean(known)) if known else float("nan")

    chances = [cohen_chance(own, fellow, len(classes)) for fellow in rest]
    known = [chance for chance in chances if not np.isnan(chance)]
    return agreement_interval(len(panel.images), mean, float(np.mean(known)) if known else 0.0)


def _reference_kappa(panel: Panel, name: str) -> Estimate:
    classes = panel.classes(Level.SUBTYPE)
    given = [panel.said(name, image, Level.SUBTYPE) for image in panel.images]
    true = [panel.true(image, Level.SUBTYPE) for image in panel.images]
    return _kappa(classes, given, true)


def _reference_size_kappa(panel: Panel, name: str) -> Estimate:
    order = list_sizes(panel.taxonomy)
    answers = [panel.answers.get((name, image)) for image in panel.images]
    given = [None if answer is None or not answer.has_code else answer.size for answer in answers]
    true = [
        panel.taxonomy.parse(panel.reference[image])[1] if image in panel.reference else None
        for image in panel.images
    ]
    used = [order.index(size) for size in (*given, *true) if size is not None]
    between = order[min(used, default=0) : max(used, default=0) + 1]
    return _kappa(between, given, true, quadratic(len(between)))


def _kappa(
    classes: Sequence[str],
    given: Sequence[str | None],
    true: Sequence[str | None],
    weights: Weights | None = None,
) -> Estimate:
    first, second = (agreement_coefficients.indices(classes, names) for names in (given, true))
    both = np.flatnonzero((first >= 0) & (second >= 0))
    first, second = first[both], second[both]
    return agreement_interval(
        len(both),
        lambda at: cohen(first[at], second[at], len(classes), weights),
        cohen_chance(first, second, len(classes), weights),
    )


# --- everything ---------------------------------------------------------------------------------

SIZE = "size"
"""Key of the agreement on sizes, next to those of the levels."""
EVERYBODY, AND_MODEL = "all raters", "all raters and the model"


@dataclass(frozen=True, slots=True)
class Study:
    """Every figure of a panel, computed once.

    Args:
        panel: The ratings.
        accuracy: Of all ratings against the reference.
        majority: Of the majority's votes against the reference.
        sizes_right: Of the ratings with the right subtype.
        agreement: Who → what → how far. Who: `EVERYBODY`, "team …", `AND_MODEL`; what: the levels,
            and `SIZE` with neighbouring sizes counting in part.
        raters: One by one.
        model: On the same images, or None.
        images: One by one.
    """

    panel: Panel
    accuracy: Mapping[Level, RatedShare]
    majority: Mapping[Level, RatedShare]
    sizes_right: RatedShare
    agreement: Mapping[str, Mapping[str, RaterAgreement]]
    raters: tuple[Individual, ...]
    model: Individual | None
    images: tuple[ImageResult, ...]


def study(panel: Panel) -> Study:
    """Compute every figure of a panel."""
    groups = {EVERYBODY: panel}
    groups |= {f"team {team}": panel.of(members) for team, members in list_teams(panel).items()}
    if panel.model:
        groups[AND_MODEL] = with_model(panel)
    return Study(
        panel=panel,
        accuracy={level: accuracy(panel, level) for level in Level},
        majority={level: majority_accuracy(panel, level) for level in Level},
        sizes_right=sizes_right(panel),
        agreement={who: _agreements(group) for who, group in groups.items()},
        raters=tuple(individuals(panel)),
        model=model_alone(panel),
        images=tuple(image_results(panel)),
    )


def _agreements(panel: Panel) -> dict[str, RaterAgreement]:
    agreements = {str(level): agreement(panel, level) for level in Level}
    return {**agreements, SIZE: size_agreement(panel)}


def list_teams(panel: Panel) -> dict[str, tuple[str, ...]]:
    """Return team → its raters, where a team has two or more."""
    teams: dict[str, tuple[str, ...]] = {}
    for rater in panel.raters:
        if team := panel.teams.get(rater):
            teams[team] = (*teams.get(team, ()), rater)
    return {team: members for team, members in sorted(teams.items()) if len(members) >= PAIR}
