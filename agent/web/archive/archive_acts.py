"""Acts on several micrographs of the archive: request reviews, plan a round robin, export."""

from __future__ import annotations

import hashlib
import re
import secrets
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from fastapi import Response
from fastapi.responses import StreamingResponse

from agent.errors import UsageError
from agent.files.csv_export import format_csv, iter_csv
from agent.nightly import add_needles
from agent.nightly.page.micrograph_rows import COLUMNS, NEEDLE_COLUMNS, build_record
from agent.objects import ObjectsUnavailableError
from agent.roundrobin.campaign import set_up
from agent.site_time import local_full
from agent.store import LEADS_DOUBT, MicrographView, NewImage, NewRater, SearchQuery
from agent.triage import Reason
from agent.web.context import WebContext
from agent.web.orders.order_fields import is_blind, remember_read
from agent.web.review.decisions import LONGEST_COMMENT
from reports import gettext as _
from reports import ngettext

MOST_AT_ONCE = 500
"""Micrographs that one act changes."""
MOST_DECIDED = 200
"""Micrographs that one act labels or assigns: each is drawn before."""
MOST_ROWS, MOST_IMAGES = 10_000, 200
MOST_IMAGE_BYTES = 2_000_000_000
REQUESTED = "archive.review_requested"
JOINT = (GIVEN, ASSIGNED) = ("label.given", "field.assigned")
"""Acts that one form gives for several micrographs."""
UNDOABLE_FOR, MOST_LISTED = timedelta(days=14), 5
"""How old such an act may be, and how many the archive lists for its undo."""
ANSWER = (
    *("structure_code", "subtype", "size_min", "size_max", "probability", "prediction_set"),
    *("p_value", "strange", "reasons", "decision", "decided_by", "decided_at"),
    *NEEDLE_COLUMNS,
)
"""Columns that are left empty while reviewers may not see the answer yet."""
FILE_COLUMNS = ("exported_file", "exported_sha256")
MANIFEST = (*(name for name in COLUMNS if name != "size"), "comment", "origin", "recipe")
PIECE_BYTES = 1 << 20
UNLABELLED = "unlabelled"
"""Folder of images without a code by a reviewer."""


def find_chosen(web: WebContext, public_ids: Sequence[str], *, most: int) -> list[MicrographView]:
    """Return micrographs that a reader chose.

    Raises:
        UsageError: None, or more than `most` were chosen.
    """
    return web.store.search.list_micrographs(_choose(public_ids, most=most))


def _choose(public_ids: Sequence[str], *, most: int) -> list[str]:
    chosen = list(dict.fromkeys(public_ids))
    if not chosen:
        raise UsageError(_("No micrograph is selected. Select some first."))
    if len(chosen) > most:
        raise UsageError(_("Select at most {n} micrographs at once.").format(n=most))
    return chosen


def list_undoable(
    web: WebContext, *, who: str, is_lead: bool
) -> Iterator[tuple[str, str, tuple[tuple[str, str], ...]]]:
    """Yield the last acts on several micrographs that can be undone: time, text, form.

    Args:
        web: What the pages work on.
        who: Who asks; without a lead's rights only the own acts are listed.
        is_lead: They have a lead's rights.
    """
    since = web.now() - UNDOABLE_FOR
    for act, by, at in web.store.history.list_joint(JOINT, since=since, limit=MOST_LISTED):
        if not is_lead and by != who:
            continue
        if act == GIVEN:
            what, n = "labelled", web.store.labels.count_newest_given(by=by, at=at)
            text = ngettext("{n} micrograph labelled.", "{n} micrographs labelled.", n)
        else:
            what, n = "assigned", len(web.store.order_corrections.list_assigned(by=by, at=at))
            text = ngettext("{n} micrograph assigned.", "{n} micrographs assigned.", n)
        if n:
            form = (("what", what), ("of", by), ("act", at.isoformat()))
            yield local_full(at, web.zone), f"{text.format(n=n)} {by}", form


def request_reviews(web: WebContext, public_ids: Sequence[str], reason: str, *, by: str) -> int:
    """Send micrographs back to review; those that wait already are left alone.

    Returns:
        How many.

    Raises:
        UsageError: None is chosen, or the reason is missing, too long or not printable.
    """
    reason = reason.strip()
    if not reason or len(reason) > LONGEST_COMMENT or not reason.isprintable():
        raise UsageError(_("Give a reason; the audit log keeps it."))
    done, now = [], web.now()
    for view in find_chosen(web, public_ids, most=MOST_AT_ONCE):
        if view.awaits:
            continue
        if view.label is None:
            web.store.review_queue.add([view.id], Reason.REQUESTED, by=by, at=now)
        elif not web.store.labels.mark_suspect(
            view.id, label_id=view.label.id, sentence=LEADS_DOUBT, by=by, at=now
        ):
            continue
        done.append(view.id)
    if done:
        facts = {"reason": reason, "micrographs": done}
        web.store.audit_log.add(at=now, actor=by, act=REQUESTED, facts=facts)
    return len(done)


def plan_campaign(
    web: WebContext, public_ids: Sequence[str], name: str, raters: str, *, by: str
) -> int:
    """Plan a round robin of chosen micrographs; it is opened in the shell.

    Args:
        web: What the pages work on.
        public_ids: The micrographs.
        name: Of the round robin.
        raters: Names with commas or line ends between; one of an account logs in with it.
        by: Who plans it.

    Returns:
        How many micrographs it has.

    Raises:
        UsageError: A name or the choice is not valid.
    """
    views = find_chosen(web, public_ids, most=MOST_AT_ONCE)
    names = list(dict.fromkeys(part.strip() for part in re.split(r"[,;\n]", raters)))
    accounts = {account.name for account in web.store.accounts.every() if account.kind == "person"}
    invited = [
        NewRater("", rater, account=rater if rater in accounts else "") for rater in names if rater
    ]
    if len(invited) < 2:  # noqa: PLR2004 - agreement is between two
        raise UsageError(_("A round robin needs at least two raters."))
    images = [
        NewImage(view.id, view.label.code if view.label and view.label.kind == "code" else None)
        for view in views
    ]
    taxonomy = web.taxonomy()
    seed = secrets.randbelow(2**31)
    set_up(
        web.store, name.strip(), images, invited,
        taxonomy=taxonomy, seed=seed, by=by, at=web.now(),
    )  # fmt: skip
    return len(images)


# --- export ---------------------------------------------------------------------------------------


def export(
    web: WebContext, public_ids: Sequence[str], query: SearchQuery, form: str, *, who: str
) -> Response:
    """Return chosen micrographs, or all hits of a search, as a file.

    Args:
        web: What the pages work on.
        public_ids: The chosen micrographs; none: the hits.
        query: The search.
        form: "csv" for the manifest alone, "zip" for the images too, "folders" for a ZIP with one
            folder per structure code, as training programs read it.
        who: Reads it, "" where that is not known.

    Raises:
        UsageError: Too many are chosen, or the form is unknown.
    """
    if form not in ("csv", "zip", "folders"):
        raise UsageError(_("Export as csv, zip or folders."))
    most = MOST_ROWS if form == "csv" else MOST_IMAGES
    chosen = (
        _choose(public_ids, most=most)
        if public_ids
        else web.store.search.list_hits(query, most=most)
    )
    if chosen is None:
        raise UsageError(
            _("More than {n} micrographs match. Narrow the search, or select some.").format(n=most)
        )
    name = f"archive-{web.now():%Y%m%d-%H%M%S}"
    if form == "csv":
        pieces = iter_csv(MANIFEST, _iter_pages(web, chosen, who))
        return _attach(pieces, f"{name}.csv", "text/csv; charset=utf-8")
    views = web.store.search.list_micrographs(chosen)
    remember_read(web, (view for view in views if not is_blind(view)), who)
    packed = _iter_zip(web, views, by_code=form == "folders")
    return _attach(packed, f"{name}.zip", "application/zip")


def _iter_pages(
    web: WebContext, public_ids: Sequence[str], who: str
) -> Iterator[Iterator[dict[str, object]]]:
    for views in web.store.search.iter_tables(public_ids):
        remember_read(web, (view for view in views if view.awaits and not is_blind(view)), who)
        yield (build_row(web, view) for view in add_needles(web.store, views))


def build_row(web: WebContext, view: MicrographView) -> dict[str, object]:
    """Return a line of the manifest; what reviewers may not see yet is empty."""
    row = build_record(view, web.zone) | {
        "comment": view.label.comment if view.label else None,
        "origin": view.result.origin,
        "recipe": view.recipe,
    }
    if is_blind(view):
        row |= dict.fromkeys((*ANSWER, "comment"))
    return row


def _name_folder(view: MicrographView, *, by_code: bool) -> str:
    """Return the folder of a micrograph's image: of the code that reviewers gave, if wanted."""
    if not by_code:
        return "images"
    label = None if is_blind(view) else view.label
    return label.code if label and label.kind == "code" and label.code else UNLABELLED


def _iter_zip(
    web: WebContext, views: Sequence[MicrographView], *, by_code: bool
) -> Iterator[bytes]:
    """Yield a ZIP of the images (the original if kept, else the crop) and a manifest.

    By code, the images are the crops, which a model is trained on.
    """
    with tempfile.TemporaryFile() as file:
        rows, left = [], MOST_IMAGE_BYTES
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as packed:
            for view in add_needles(web.store, views):
                row = build_row(web, view) | dict.fromkeys(FILE_COLUMNS)
                path = (
                    web.archive.crop_path(view.sha256, view.page)
                    if by_code
                    else _find_image(web, view)
                )
                if path is not None and (content := _read(web, path)) and len(content) <= left:
                    left -= len(content)
                    folder = _name_folder(view, by_code=by_code)
                    name = f"{folder}/{view.id}{''.join(path.suffixes[-1:])}"
                    packed.writestr(name, content)
                    row |= {
                        "exported_file": name,
                        "exported_sha256": hashlib.sha256(content).hexdigest(),
                    }
                rows.append(row)
            manifest = format_csv((*MANIFEST, *FILE_COLUMNS), rows)
            packed.writestr("manifest.csv", manifest.encode("utf-8-sig"))
        file.seek(0)
        while piece := file.read(PIECE_BYTES):
            yield piece


def _find_image(web: WebContext, view: MicrographView) -> Path | None:
    original = web.archive.original_path(view.sha256)
    return original or web.archive.crop_path(view.sha256, view.page)


def _read(web: WebContext, path: Path) -> bytes:
    try:
        return web.archive.read(path)
    except ObjectsUnavailableError:  # an export that lacks images must not look complete
        raise
    except OSError:  # its pixels were deleted; the manifest's line has no file
        return b""


def _attach(pieces: Iterator[bytes], name: str, kind: str) -> Response:
    headers: dict[str, Any] = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(pieces, media_type=kind, headers=headers)
