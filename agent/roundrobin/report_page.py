"""Build the report of a round robin, as a page and as JSON: every figure with n and interval.

Raters have their pseudonyms unless names are requested.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from agent.orders.specifications.class_texts import name_scale
from agent.roundrobin import rater_statistics as panels
from agent.roundrobin.panel import ImageResult, Level, Panel, RatedShare
from agent.roundrobin.rater_statistics import Individual, RaterAgreement, Study
from model import Estimate
from reports import Fact, Picture, Table, confusion_svg

LEVELS = {
    Level.SUBTYPE: "subtype",
    Level.CODE: "structure code",
    Level.MERGED: "merged code",
}
WHATS = {**{str(level): name for level, name in LEVELS.items()}, panels.SIZE: "size, weighted"}
TOO_FEW = "too few images for an interval: 1; at least 2"
METHOD = (
    (
        "A rating counts as right where it has the reference's class; “cannot tell” counts as not "
        "right in an accuracy, and as a gap in an agreement. Merged code: codes that were merged "
        "count as one, and micrographs whose reference is not taught are left out."
    ),
    (
        "Kappa is Fleiss' (1971), with gaps as in Gwet (2014); size: quadratic weights (Fleiss and "
        "Cohen 1973), and Gwet's AC2. Kappa falls where one class prevails, however well people "
        "agree, and AC2 says too much where they agree poorly (Tran et al. 2018); so the share of "
        "equal pairs stands beside both."
    ),
    (
        "Intervals at 95 %. Of accuracies over all raters, of agreements and of each kappa: the "
        "micrographs are the sample, the raters stay who they are; Clopper and Pearson's interval "
        "of the disagreement at the effective number of micrographs (Korn and Graubard 1998), so "
        "that unanimous ones are so many successes and no certainty. Of a share of one rater, the "
        "majority or the model: Wilson; also of all ratings where all or none are right, over the "
        "micrographs, which are fewer."
    ),
    (
        "The majority's code is the most frequent one; a tie is none. A micrograph is disputed "
        "where no code has more than half of the votes, or the majority is not the reference."
    ),
)


# --- the document -------------------------------------------------------------------------------


def study_to_json(study: Study) -> dict[str, Any]:
    """Return every result as JSON values."""
    panel = study.panel
    return {
        "raters": list(panel.raters),
        "images": len(panel.images),
        "ratings": sum(rater in panel.raters for rater, _ in panel.answers),
        "accuracy": {
            **{str(level): _share_json(share) for level, share in study.accuracy.items()},
            "size_where_subtype_right": _share_json(study.sizes_right),
        },
        "majority": {str(level): _share_json(share) for level, share in study.majority.items()},
        "agreement": _agreement_json(study.agreement[panels.EVERYBODY]),
        "agreement_of": {
            who: _agreement_json(agreements)
            for who, agreements in study.agreement.items()
            if who != panels.EVERYBODY
        },
        "per_rater": {rater.name: _individual_json(rater) for rater in study.raters},
        "model": _individual_json(study.model) if study.model else None,
        "per_image": [
            {
                "image": image.number,
                "reference": image.reference,
                "majority": image.majority,
                "model": image.model,
                "votes": dict(image.votes),
                "untold": image.untold,
                "disputed": image.is_disputed,
            }
            for image in study.images
        ],
    }


def _agreement_json(agreements: Mapping[str, RaterAgreement]) -> dict[str, Any]:
    return {
        name: {
            "raters": agreement.raters,
            "images": agreement.images,
            "raw": agreement.raw.as_json(),
            "kappa": agreement.kappa.as_json(),
            "ac": agreement.ac.as_json(),
        }
        for name, agreement in agreements.items()
    }


def _individual_json(individual: Individual) -> dict[str, Any]:
    return {
        "n": individual.n,
        "untold": individual.untold,
        **{str(level): _share_json(share) for level, share in individual.right.items()},
        "within_one_size": _share_json(individual.near),
        "as_majority_of_others": _share_json(individual.consensus),
        "subtype_kappa_with_reference": individual.kappa.as_json(),
        "size_kappa_with_reference": individual.size_kappa.as_json(),
        "mean_kappa_with_raters": individual.fellows.as_json(),
    }


def _share_json(share: RatedShare) -> dict[str, Any]:
    return {"right": share.right, "n": share.n, **share.estimate.as_json()}


# --- the page -----------------------------------------------------------------------------------


def build_report(
    study: Study,
    *,
    site: str,
    title: str,
    sentences: Sequence[str],
    names: Mapping[int, tuple[str, str]],
    thumbnails: Mapping[int, Picture],
    called: Mapping[str, str],
    generated: str,
) -> dict[str, Any]:
    """Return what the page of a round robin shows.

    Args:
        study: The results.
        site: The lab's name.
        title: Of the page.
        sentences: At the top of the page.
        names: Image → public id and stratum.
        thumbnails: Image → its picture, where its pixels are stored.
        called: Pseudonym → the rater's name on the page.
        generated: When it is written, in words.
    """
    panel = study.panel
    ordered = sorted(study.images, key=lambda result: _place(panel, result))
    images = [
        {
            "result": result,
            "name": names[result.number][0],
            "stratum": names[result.number][1],
            "thumbnail": thumbnails.get(result.number),
            "comments": [
                (called.get(rater, rater), answer.comment)
                for rater in panel.raters
                if (answer := panel.answers.get((rater, result.number))) and answer.comment
            ],
        }
        for result in ordered
    ]
    return {
        "site": site,
        "title": title,
        "sentences": sentences,
        "headline": list(_headline(study)),
        "images": images,
        "codes": panel.classes(Level.CODE),
        "raters": len(panel.raters),
        "figures": list(_tables(study, called)),
        "method": (*METHOD, *([scale] if (scale := name_scale(panel.taxonomy)) else ())),
        "generated": generated,
    }


def _place(panel: Panel, result: ImageResult) -> tuple[int, int]:
    order = panel.taxonomy.codes
    known = result.reference in order
    return (
        order.index(result.reference) if known and result.reference else len(order),
        result.number,
    )


def _headline(study: Study) -> Iterator[Fact]:
    yield Fact("Right subtype", _in_words(study.accuracy[Level.SUBTYPE]))
    yield Fact("Right size among those", _in_words(study.sizes_right))
    yield Fact("Right structure code", _in_words(study.accuracy[Level.CODE]))
    yield Fact("Right merged code", _in_words(study.accuracy[Level.MERGED]))
    everybody = study.agreement[panels.EVERYBODY]
    for what, name in WHATS.items():
        yield Fact(f"Kappa, {name}", _number_in_words(everybody[what].kappa))
    if study.model:
        for level, name in LEVELS.items():
            yield Fact(f"Model, {name}", _in_words(study.model.right[level]))
    disputed = sum(image.is_disputed for image in study.images)
    yield Fact("Disputed micrographs", f"{disputed} of {len(study.images)}")


def _tables(study: Study, called: Mapping[str, str]) -> Iterator[Table]:
    yield _accuracies(study)
    yield _agreements(study)
    yield _raters(study, called)
    if study.model:
        yield _model(study.model, study.raters)
    if differing := [image for image in study.images if image.majority_differs]:
        yield _differing(differing)
    yield from _confusions(study.panel)


def _accuracies(study: Study) -> Table:
    rows = [
        (
            name,
            _in_words(study.accuracy[level]),
            _in_words(study.majority[level]),
            _in_words(study.model.right[level]) if study.model else "–",
        )
        for level, name in LEVELS.items()
    ]
    rows.append(("size, where the subtype is right", _in_words(study.sizes_right), "–", "–"))
    columns = ("against the reference", "all ratings", "majority vote", "model")
    return Table("Accuracy", columns, tuple(rows))


def _agreements(study: Study) -> Table:
    rows = [
        (
            who,
            str(agreement.raters),
            WHATS[what],
            str(agreement.images),
            _percent_in_words(agreement.raw),
            _number_in_words(agreement.kappa),
            _number_in_words(agreement.ac),
        )
        for who, agreements in study.agreement.items()
        for what, agreement in agreements.items()
    ]
    columns = ("who", "raters", "of what", "images", "equal pairs", "kappa", "AC1, AC2 of sizes")
    return Table("Agreement among raters", columns, tuple(rows))


def _raters(study: Study, called: Mapping[str, str]) -> Table:
    columns = (
        "rater",
        "team",
        "rated",
        "cannot tell",
        "subtype",
        "code",
        "± 1 size",
        "as most others",
        "κ subtype",
        "weighted κ size",
        "κ with raters",
    )
    rows = [
        (
            called.get(rater.name, rater.name),
            rater.team,
            str(rater.n),
            str(rater.untold),
            _format_counted(rater.right[Level.SUBTYPE]),
            _format_counted(rater.right[Level.CODE]),
            _format_counted(rater.near),
            _format_counted(rater.consensus),
            _short(rater.kappa),
            _short(rater.size_kappa),
            _short(rater.fellows),
        )
        for rater in study.raters
    ]
    title = "Rater by rater (κ: with the reference; with raters: mean of pairs)"
    return Table(title, columns, tuple(rows))


def _model(model: Individual, raters: Sequence[Individual]) -> Table:
    fellows = [rater.fellows.value for rater in raters if rater.fellows.value is not None]
    own = _code_share(model)
    below = sum(_code_share(rater) < own for rater in raters)
    rows = (
        *(
            (f"against the reference, {name}", _in_words(model.right[level]))
            for level, name in LEVELS.items()
        ),
        ("against the reference, within one size", _in_words(model.near)),
        ("against the raters' majority, code", _in_words(model.consensus)),
        ("kappa with the reference, subtype", _number_in_words(model.kappa)),
        ("weighted kappa with the reference, size", _number_in_words(model.size_kappa)),
        ("mean kappa with each rater, code", _number_in_words(model.fellows)),
        (
            "mean kappa of the raters with each other, code",
            _bare(sum(fellows) / len(fellows) if fellows else None),
        ),
        ("raters with a smaller share of right codes", f"{below} of {len(raters)}"),
    )
    return Table("The model on the same micrographs", ("", "model"), rows)


def _code_share(individual: Individual) -> float:
    return individual.right[Level.CODE].estimate.value or 0.0


def _differing(images: Sequence[ImageResult]) -> Table:
    columns = ("micrograph", "reference", "majority", "votes for it", "model")
    rows = [
        (
            str(image.number),
            image.reference or "–",
            image.majority or "–",
            f"{image.votes.get(image.majority or '', 0)} of {sum(image.votes.values())}",
            image.model or "–",
        )
        for image in images
    ]
    return Table("Where majority and reference differ", columns, tuple(rows))


def _confusions(panel: Panel) -> Iterator[Table]:
    for level in (Level.SUBTYPE, Level.CODE):
        what = LEVELS[level]
        classes, counts = panels.reference_confusion(panel, level)
        if counts.sum():
            title = f"Ratings and reference, {what}"
            drawn = confusion_svg(classes, counts.tolist(), title, what)
            yield _matrix(title, "rated ↓ · reference →", classes, counts, drawn)
        classes, counts = panels.rater_confusion(panel, level)
        if counts.sum():
            yield _matrix(f"Pairs of raters, {what}", "one ↓ · other →", classes, counts)


def _matrix(
    title: str, corner: str, classes: Sequence[str], counts: NDArray[Any], chart: str = ""
) -> Table:
    rows = [
        (name, *(str(n) if n else "·" for n in row))
        for name, row in zip(classes, counts.tolist(), strict=True)
    ]
    return Table(title, (corner, *classes), tuple(rows), chart)


# --- numbers in words ---------------------------------------------------------------------------


def _in_words(share: RatedShare) -> str:
    """Format a share, such as "63.9 % (179 of 280; 52.1 to 75.0)"."""
    if share.estimate.value is None:
        return "–"
    if share.estimate.low is None:
        return f"{100 * share.estimate.value:.1f} % ({share.right} of {share.n})"
    return (
        f"{100 * share.estimate.value:.1f} % ({share.right} of {share.n}; "
        f"{100 * (share.estimate.low or 0):.1f} to {100 * (share.estimate.high or 0):.1f})"
    )


def _number_in_words(estimate: Estimate, digits: int = 3) -> str:
    """Format an estimate, such as "0.330 (0.198 to 0.452)"."""
    if estimate.value is None:
        return "–"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.{digits}f} ({TOO_FEW})"
    return f"{estimate.value:.{digits}f} ({estimate.low:.{digits}f} to {estimate.high:.{digits}f})"


def _percent_in_words(estimate: Estimate) -> str:
    """Format an estimate in percent, such as "45.2 % (38.0 to 53.1)"."""
    if estimate.value is None:
        return "–"
    if estimate.low is None or estimate.high is None:
        return f"{100 * estimate.value:.1f} % ({TOO_FEW})"
    return f"{100 * estimate.value:.1f} % ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


def _format_counted(share: RatedShare) -> str:
    """Format a share, such as "12 of 20 (39 to 78 %)"."""
    low, high = share.estimate.low, share.estimate.high
    if low is None or high is None:
        return "–"
    return f"{share.right} of {share.n} ({100 * low:.0f} to {100 * high:.0f} %)"


def _short(estimate: Estimate) -> str:
    """Format an estimate, such as "0.33 (0.20 to 0.45)"."""
    return _number_in_words(estimate, digits=2)


def _bare(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
