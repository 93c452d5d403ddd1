"""Say what a round robin found, as a page and as a document: every figure with n and interval.

In:  a `Panel`. Out: `reports.StudyReport`, and the same as JSON has it. Next: `report`.
Raters stand under their pseudonyms unless names are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.roundrobin import panel as panels
from agent.roundrobin.panel import Level
from reports import Fact, Picture, RatedImage, StudyReport, Table, confusion_svg

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from agent.roundrobin.panel import Agreement, ImageResult, Individual, Panel, Share
    from model import Estimate

LEVELS = {
    Level.SUBTYPE: "subtype",
    Level.CODE: "structure code",
    Level.MERGED: "merged code",
}
FEW = 2
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
        "Intervals at 95 %. Of accuracies over all raters and of agreements: the micrographs are "
        "drawn again 1000 times (percentile bootstrap), the raters stay who they are. Of one "
        "rater, the majority and the model: Wilson."
    ),
    (
        "The majority's code is the most frequent one; a tie is none. A micrograph is disputed "
        "where no code has more than half of the votes, or the majority is not the reference."
    ),
    (
        "Size numbers are those of the in-house needle-length chart, whose numbering alludes to "
        "ISO 643; they are no ISO 643 ratings."
    ),
)


# --- the document -------------------------------------------------------------------------------


def document_of(panel: Panel) -> dict[str, Any]:
    """Say everything that was found as JSON has it."""
    model = panels.model_alone(panel)
    return {
        "raters": list(panel.raters),
        "images": len(panel.images),
        "ratings": len(panel.answers),
        "accuracy": {
            **{str(level): _share_json(panels.accuracy(panel, level)) for level in Level},
            "size_where_subtype_right": _share_json(panels.sizes_right(panel)),
        },
        "agreement": _agreement_json(panel),
        "teams": {
            team: _agreement_json(panel.of(members)) for team, members in teams_of(panel).items()
        },
        "per_rater": {one.name: _individual_json(one) for one in panels.individuals(panel)},
        "model": _individual_json(model) if model else None,
        "majority": {str(level): _share_json(majority_share(panel, level)) for level in Level},
        "per_image": [
            {
                "image": one.number,
                "reference": one.reference,
                "majority": one.majority,
                "model": one.model,
                "votes": dict(one.votes),
                "untold": one.untold,
                "disputed": one.is_disputed,
            }
            for one in panels.image_results(panel)
        ],
    }


def _agreement_json(panel: Panel) -> dict[str, Any]:
    found = {str(level): panels.agreement(panel, level) for level in Level}
    found["size"] = panels.size_agreement(panel)
    return {
        name: {
            "raters": one.raters,
            "images": one.images,
            "raw": one.raw.as_json(),
            "kappa": one.kappa.as_json(),
            "ac": one.ac.as_json(),
        }
        for name, one in found.items()
    }


def _individual_json(one: Individual) -> dict[str, Any]:
    return {
        "n": one.n,
        "untold": one.untold,
        "subtype": _share_json(one.subtype),
        "code": _share_json(one.code),
        "merged": _share_json(one.merged),
        "within_one_size": _share_json(one.near),
        "as_majority_of_others": _share_json(one.consensus),
        "subtype_kappa_with_reference": one.kappa,
        "size_kappa_with_reference": one.size_kappa,
        "mean_kappa_with_raters": one.fellows,
    }


def _share_json(share: Share) -> dict[str, Any]:
    return {"right": share.right, "n": share.n, **share.estimate.as_json()}


def teams_of(panel: Panel) -> dict[str, tuple[str, ...]]:
    """Say team → its raters, where a team has two or more."""
    found: dict[str, tuple[str, ...]] = {}
    for rater in panel.raters:
        if team := panel.teams.get(rater):
            found[team] = (*found.get(team, ()), rater)
    return {team: members for team, members in sorted(found.items()) if len(members) >= FEW}


def majority_share(panel: Panel, level: Level) -> Share:
    """Say how often the majority has the reference's class; a tie counts as not right."""
    from model import wilson  # noqa: PLC0415 - beside its one use

    asked = [i for i in panel.images_at(level) if panel.true(i, level) is not None]
    hits = sum(panel.majority(i, level) == panel.true(i, level) for i in asked)
    return panels.Share(hits, len(asked), wilson(hits, len(asked)))


# --- the page -----------------------------------------------------------------------------------


def report_of(
    panel: Panel,
    *,
    site: str,
    title: str,
    sentences: Sequence[str],
    names: Mapping[int, tuple[str, str]],
    thumbnails: Mapping[int, Picture],
    called: Mapping[str, str],
    generated: str,
) -> StudyReport:
    """Write the page of a round robin.

    Args:
        panel: What was said.
        site: The lab's name.
        title: Of the page.
        sentences: What has to be known first.
        names: Image → public id and stratum.
        thumbnails: Image → its picture, where its pixels are kept.
        called: Pseudonym → how the rater is called on the page.
        generated: When, as it is read.
    """
    ordered = sorted(panels.image_results(panel), key=lambda one: _place(panel, one))
    images = tuple(
        _image(panel, one, names[one.number], thumbnails.get(one.number), called) for one in ordered
    )
    return StudyReport(
        site=site,
        title=title,
        sentences=tuple(sentences),
        headline=tuple(_headline(panel)),
        images=images,
        codes=panel.classes(Level.CODE),
        raters=len(panel.raters),
        tables=tuple(_tables(panel, called)),
        method=METHOD,
        generated=generated,
    )


def _place(panel: Panel, one: ImageResult) -> tuple[int, int]:
    order = panel.taxonomy.codes
    known = one.reference in order
    return (order.index(one.reference) if known and one.reference else len(order), one.number)


def _headline(panel: Panel) -> Iterator[Fact]:
    said = {
        "Right subtype": panels.accuracy(panel, Level.SUBTYPE),
        "Right size among those": panels.sizes_right(panel),
        "Right structure code": panels.accuracy(panel, Level.CODE),
        "Right merged code": panels.accuracy(panel, Level.MERGED),
    }
    yield from (Fact(name, in_words(share)) for name, share in said.items())
    for level in Level:
        kappa = panels.agreement(panel, level).kappa
        yield Fact(f"Kappa, {LEVELS[level]}", number_in_words(kappa))
    size = panels.size_agreement(panel)
    yield Fact("Weighted kappa, size", number_in_words(size.kappa))
    if model := panels.model_alone(panel):
        yield Fact("Model, subtype", in_words(model.subtype))
        yield Fact("Model, structure code", in_words(model.code))
        yield Fact("Model, merged code", in_words(model.merged))
    disputed = sum(one.is_disputed for one in panels.image_results(panel))
    yield Fact("Disputed micrographs", f"{disputed} of {len(panel.images)}")


def _tables(panel: Panel, called: Mapping[str, str]) -> Iterator[Table]:
    yield _accuracies(panel)
    yield _agreements(panel)
    yield _raters(panel, called)
    if model := panels.model_alone(panel):
        yield _model(panel, model)
    if differing := [one for one in panels.image_results(panel) if one.majority_differs]:
        yield _differing(differing)
    yield from _confusions(panel)


def _accuracies(panel: Panel) -> Table:
    rows = []
    model = panels.model_alone(panel)
    for level in Level:
        alone = {"subtype": "subtype", "code": "code", "merged": "merged"}[level]
        of_model = in_words(getattr(model, alone)) if model else "–"
        majority = in_words(majority_share(panel, level))
        rows.append((LEVELS[level], in_words(panels.accuracy(panel, level)), majority, of_model))
    rows.append(("size, where the subtype is right", in_words(panels.sizes_right(panel)), "–", "–"))
    columns = ("against the reference", "all ratings", "majority vote", "model")
    return Table("Accuracy", columns, tuple(rows))


def _agreements(panel: Panel) -> Table:
    rows = [*_agreement_rows("all raters", panel)]
    for team, members in teams_of(panel).items():
        rows += _agreement_rows(f"team {team}", panel.of(members))
    if panel.model:
        rows += _agreement_rows("all raters and the model", panels.with_model(panel))
    columns = ("who", "raters", "of what", "images", "equal pairs", "kappa", "AC1, AC2 of sizes")
    return Table("Agreement among raters", columns, tuple(rows))


def _agreement_rows(who: str, panel: Panel) -> Iterator[tuple[str, ...]]:
    for level in Level:
        yield _agreement_row(who, LEVELS[level], panels.agreement(panel, level))
    yield _agreement_row(who, "size, weighted", panels.size_agreement(panel))


def _agreement_row(who: str, what: str, found: Agreement) -> tuple[str, ...]:
    raw = percent_in_words(found.raw)
    counted = (str(found.raters), what, str(found.images))
    return (who, *counted, raw, number_in_words(found.kappa), number_in_words(found.ac))


def _raters(panel: Panel, called: Mapping[str, str]) -> Table:
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
            called.get(one.name, one.name),
            one.team,
            str(one.n),
            str(one.untold),
            _counted(one.subtype),
            _counted(one.code),
            _counted(one.near),
            _counted(one.consensus),
            _bare(one.kappa),
            _bare(one.size_kappa),
            _bare(one.fellows),
        )
        for one in panels.individuals(panel)
    ]
    return Table(
        "Rater by rater (κ: with the reference; with raters: mean of pairs)", columns, tuple(rows)
    )


def _model(panel: Panel, model: Individual) -> Table:
    raters = panels.individuals(panel)
    better = sum(one.code.right < model.code.right for one in raters if one.n == len(panel.images))
    rows = (
        ("against the reference, subtype", in_words(model.subtype)),
        ("against the reference, code", in_words(model.code)),
        ("against the reference, merged code", in_words(model.merged)),
        ("against the reference, within one size", in_words(model.near)),
        ("against the raters' majority, code", in_words(model.consensus)),
        ("kappa with the reference, subtype", _bare(model.kappa)),
        ("weighted kappa with the reference, size", _bare(model.size_kappa)),
        ("mean kappa with each rater, code", _bare(model.fellows)),
        (
            "mean kappa of the raters with each other, code",
            _bare(_mean([one.fellows for one in raters if one.fellows is not None])),
        ),
        ("raters with fewer right codes", f"{better} of {len(raters)}"),
    )
    return Table("The model on the same micrographs", ("", "model"), rows)


def _mean(numbers: Sequence[float]) -> float | None:
    return sum(numbers) / len(numbers) if numbers else None


def _differing(images: Sequence[ImageResult]) -> Table:
    columns = ("micrograph", "reference", "majority", "votes for it", "model")
    rows = [
        (
            str(one.number),
            one.reference or "–",
            one.majority or "–",
            f"{one.votes.get(one.majority or '', 0)} of {sum(one.votes.values())}",
            one.model or "–",
        )
        for one in images
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


def _image(
    panel: Panel,
    one: ImageResult,
    name: tuple[str, str],
    thumbnail: Picture | None,
    called: Mapping[str, str],
) -> RatedImage:
    notes = [
        "The majority is not the reference." if one.majority_differs else "",
        "No code has more than half of the votes."
        if one.is_disputed and not one.majority_differs
        else "",
    ]
    comments = [
        (called.get(rater, rater), answer.comment)
        for rater in panel.raters
        if (answer := panel.answers.get((rater, one.number))) and answer.comment
    ]
    return RatedImage(
        label=str(one.number),
        name=name[0],
        stratum=name[1],
        reference=one.reference or "",
        model=one.model or "",
        majority=one.majority or "",
        votes=tuple(one.votes.items()),
        untold=f"{one.untold} cannot tell" if one.untold else "",
        criteria=", ".join(f"{word} {n}" for word, n in sorted(one.criteria.items())),
        note=" ".join(note for note in notes if note),
        comments=tuple(comments),
        thumbnail=thumbnail,
    )


# --- numbers in words ---------------------------------------------------------------------------


def in_words(share: Share) -> str:
    """Say "63.9 % (179 of 280; 52.1 to 75.0)"."""
    if share.estimate.value is None:
        return "–"
    return (
        f"{100 * share.estimate.value:.1f} % ({share.right} of {share.n}; "
        f"{100 * (share.estimate.low or 0):.1f} to {100 * (share.estimate.high or 0):.1f})"
    )


def number_in_words(found: Estimate) -> str:
    """Say "0.330 (0.198 to 0.452)"."""
    if found.value is None or found.low is None or found.high is None:
        return "–"
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def percent_in_words(found: Estimate) -> str:
    """Say "45.2 % (38.0 to 53.1)"."""
    if found.value is None or found.low is None or found.high is None:
        return "–"
    return f"{100 * found.value:.1f} % ({100 * found.low:.1f} to {100 * found.high:.1f})"


def _counted(share: Share) -> str:
    return f"{share.right} of {share.n}" if share.n else "–"


def _bare(found: float | None) -> str:
    return "–" if found is None else f"{found:.3f}"
