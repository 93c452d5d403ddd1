"""Write a round robin's report: one page, its ratings as CSV, its figures as JSON; all or none."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.errors import UsageError
from agent.roundrobin.campaign import build_panel, get_campaign, model_answers
from agent.roundrobin.rater_statistics import study
from agent.roundrobin.report_page import build_report, study_to_json
from agent.roundrobin.study_files import write_study
from agent.store import ROUND_ROBIN
from model import taxonomy_from
from reports import Picture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from agent.archive import Archive
    from agent.roundrobin.campaign import ModelAnswers
    from agent.roundrobin.panel import Panel
    from agent.roundrobin.rater_statistics import Study
    from agent.store import Campaign, MicrographView, Rating, Store

FOLDER = "roundrobin"
"""Inside the folder of the reports."""
COLUMNS = (
    "campaign",
    "rater",
    "team",
    "image",
    "micrograph",
    "reference",
    "subtype",
    "size_min",
    "size_max",
    "code",
    "right",
    "criterion",
    "comment",
    "viewing_s",
    "given_at",
    "revision",
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Options of a report.

    Args:
        site: The lab's name.
        generated: When it is written, in words.
        raters: Only these pseudonyms; () for all.
        names: Raters by name.
    """

    site: str
    generated: str
    raters: tuple[str, ...] = ()
    names: bool = False


def write(
    store: Store,
    archive: Archive,
    name: str,
    path: Path,
    wanted: Wanted,
    *,
    learned: Callable[[Sequence[str]], Mapping[str, frozenset[str]]],
    by: str,
    at: datetime,
) -> dict[str, Any]:
    """Write a closed campaign's report.

    Args:
        store: Open.
        archive: The pixels.
        name: Of the campaign.
        path: Of the page; `.csv` and `.json` are written next to it.
        wanted: Options.
        learned: Returns the training keys of each of some bundles; a bundle that does not exist any
            more is left out.
        by: Who requests it.
        at: Now.

    Returns:
        The values of the JSON file.

    Raises:
        UsageError: No such campaign or rater, or it is not closed: raters must not see the answers
            of others.
    """
    campaign = get_campaign(store, name)
    if campaign.row.closed_at is None:
        raise UsageError(f"campaign {name!r} is not closed yet: agent roundrobin close {name}.")
    ratings = store.campaigns.ratings(name)
    views = _views(store, campaign)
    bundles = sorted({view.result.bundle for view in views.values() if view.result.bundle})
    model = model_answers(campaign, views, learned(bundles))
    panel = build_panel(campaign, ratings, model.codes)
    if wanted.raters:
        if unknown := [rater for rater in wanted.raters if rater not in panel.raters]:
            known = ", ".join(panel.raters)
            raise UsageError(f"campaign {name!r} has no rater {unknown[0]!r}; there are {known}.")
        panel = panel.of(wanted.raters)
    called = {rater.pseudonym: rater.name for rater in campaign.raters} if wanted.names else {}
    results = study(panel)
    document = _document(campaign, results, model)
    page = build_report(
        results,
        site=wanted.site,
        title=f"Round robin {name}",
        sentences=tuple(_sentences(campaign, panel, model)),
        names={image.number: (image.micrograph, image.stratum) for image in campaign.images},
        thumbnails=dict(_thumbnails(archive, views)),
        called=called,
        generated=wanted.generated,
    )
    rows = _rows(campaign, panel, ratings, called)
    write_study(path, page, columns=COLUMNS, rows=rows, document=document)
    if not wanted.raters:
        store.records.add(ROUND_ROBIN, name, by=by, at=at, facts=document)
    return document


def _views(store: Store, campaign: Campaign) -> dict[int, MicrographView]:
    views = {image.number: store.results.find(image.micrograph) for image in campaign.images}
    return {number: view for number, view in views.items() if view is not None}


def _document(campaign: Campaign, results: Study, model: ModelAnswers) -> dict[str, Any]:
    return {
        "campaign": campaign.row.name,
        "opened_at": campaign.row.opened_at and campaign.row.opened_at.isoformat(),
        "closed_at": campaign.row.closed_at and campaign.row.closed_at.isoformat(),
        "seed": campaign.row.seed,
        "bundles": list(model.bundles),
        "images_learned_from": list(model.learned),
        **study_to_json(results),
    }


def _sentences(campaign: Campaign, panel: Panel, model: ModelAnswers) -> Iterator[str]:
    opened, closed = campaign.row.opened_at, campaign.row.closed_at
    whole = len(panel.raters) * len(panel.images)
    given = sum(rater in panel.raters for rater, _ in panel.answers)
    yield (
        f"{len(panel.raters)} raters, {len(panel.images)} micrographs, {given} of {whole} ratings; "
        f"open from {opened:%Y-%m-%d} to {closed:%Y-%m-%d}. Each rater saw the micrographs in an "
        "order of their own, without the answers of others or of the model."
    )
    if len(panel.raters) < len(campaign.raters):
        yield f"Only {', '.join(panel.raters)} of {len(campaign.raters)} raters are counted here."
    if model.codes:
        yield (
            f"The model's answers are the stored live results of bundle {', '.join(model.bundles)} "
            f"on {len(model.codes)} of the micrographs."
        )
    else:
        yield "There is no answer of the model that could be counted."
    if model.learned:
        yield (
            f"Micrographs {', '.join(map(str, model.learned))} are in its training set; its "
            "answers to them are left out."
        )
    if model.unknown:
        yield (
            f"The training set of bundle {', '.join(model.unknown)} is not known any more: it may "
            "contain some of them."
        )
    if missing := len(panel.images) - len(panel.reference):
        yield f"{missing} micrographs have no reference and count in the agreement alone."
    if campaign.row.merged:
        pairs = ", ".join(
            f"{code} as {counts_as}" for code, counts_as in campaign.row.merged.items()
        )
        yield f"Merged: {pairs}."


def _thumbnails(
    archive: Archive, views: Mapping[int, MicrographView]
) -> Iterator[tuple[int, Picture]]:
    for number, view in views.items():
        try:
            encoded = archive.read(archive.thumbnail_path(view.sha256, view.page))
        except FileNotFoundError:
            continue
        src = f"data:image/jpeg;base64,{base64.b64encode(encoded).decode()}"
        yield number, Picture(src, f"Thumbnail of micrograph {number}", 112, 84)


def _rows(
    campaign: Campaign, panel: Panel, ratings: Sequence[Rating], called: Mapping[str, str]
) -> Iterator[dict[str, object]]:
    taxonomy = taxonomy_from(campaign.row.taxonomy)
    images = {image.number: image for image in campaign.images}
    for rating in ratings:
        if rating.rater not in panel.raters:
            continue
        answer, image = rating.said, images[rating.image]
        code = panel.code(answer) or ""
        low, high = taxonomy.size_bounds(answer.size) if code and answer.size else ("", "")
        yield {
            "campaign": campaign.row.name,
            "rater": called.get(rating.rater, rating.rater),
            "team": panel.teams.get(rating.rater, ""),
            "image": rating.image,
            "micrograph": image.micrograph,
            "reference": image.reference or "",
            "subtype": answer.subtype or "",
            "size_min": low,
            "size_max": high,
            "code": code,
            "right": "" if image.reference is None else int(code == image.reference),
            "criterion": answer.criterion,
            "comment": answer.comment,
            "viewing_s": "" if answer.viewing_s is None else answer.viewing_s,
            "given_at": rating.given_at.isoformat(),
            "revision": rating.revision,
        }
