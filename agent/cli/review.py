"""`agent review`: what the review page offers, from the shell."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.app import app, settings_of, store_of
from agent.cli.console import console, print_json, progress, table
from agent.cli.evaluation_text import share
from agent.cli.signing import signed_store
from agent.csv_export import write_csv
from agent.errors import WrongUse

if TYPE_CHECKING:
    from agent.archive import Archive
    from agent.retrain import Suggestion
    from agent.settings import Settings
    from agent.store import Decision, LabelledMicrograph, Store

review = typer.Typer(
    name="review", help="What waits for a person, and what a person decides.", no_args_is_help=True
)
app.add_typer(review)

Id = Annotated[str, typer.Argument(metavar="ID", help="The micrograph's id, as in the report.")]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who decides.")]


@review.command("list")
def list_waiting(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One object per micrograph.")] = False,
    reason: Annotated[str | None, typer.Option(help="Only those here for this reason.")] = None,
    source: Annotated[str | None, typer.Option(help="Only those of this source.")] = None,
) -> None:
    """List what waits for a person, the weightiest first."""
    from agent.web.api import as_json as document  # noqa: PLC0415 - brings FastAPI

    with store_of(settings_of(context)) as store:
        views = store.review_queue.list_micrographs(reason=reason, source=source)
    if as_json:
        for view in views:
            print_json(document(view))
        return
    if not views:
        console.print("Nothing waits.")
        return
    for view in views:
        sure = f"{view.probability:.2f}" if view.probability is not None else "-"
        console.print(
            f"{view.id:16}  {view.structure_code or '-':6} {sure:4}  {', '.join(view.reasons)}  "
            f"{Path(view.path).name} ({view.source})",
            markup=False,
        )


@review.command()
def suggest(
    context: typer.Context,
    n: Annotated[int, typer.Option("--n", min=1, help="How many to suggest.")] = 20,
    gain: Annotated[
        float, typer.Option(min=0.1, help="Points of accuracy that would make it pay.")
    ] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Say what to label next so that the next model learns most, and how many until it pays."""
    from agent.archive import Archive  # noqa: PLC0415
    from agent.cli.train import end_of, quiet  # noqa: PLC0415
    from agent.retrain import Suggestion  # noqa: PLC0415
    from agent.retrain import suggest as suggesting  # noqa: PLC0415
    from agent.service.composition import load_bundle  # noqa: PLC0415
    from agent.service.jobs.retrain import find_training_job  # noqa: PLC0415

    quiet()
    settings = settings_of(context)
    with store_of(settings) as store:
        lesson, waiting = find_training_job(settings, store), store.review_queue.list_micrographs()
    classifier = load_bundle(settings, lesson.manifest.name)
    archive = Archive(settings.store.folder)
    steps = suggesting(waiting, lesson.collected, classifier, archive, n=n)
    _say_suggestion(end_of(steps, Suggestion), gain / 100, as_json=as_json)


def _say_suggestion(found: Suggestion, gain: float, *, as_json: bool) -> None:
    more, low, high = found.curve.until(gain) if found.curve else (None, None, None)
    if as_json:
        print_json(
            {
                "micrographs": [{"id": view.id, "path": view.path} for view in found.views],
                "labelled": dict(found.labelled),
                "recall": {code: one.as_json() for code, one in found.recalls.items()},
                "gain": gain,
                "more_labels": {"value": more, "low": low, "high": high},
                "curve": found.curve.as_json() if found.curve else None,
            }
        )
        return
    table(
        ("label next", "file"),
        [(view.id, f"{Path(view.path).name} ({view.source})") for view in found.views],
    )
    table(
        ("structure code", "labelled", "right, by heads that had not seen its specimen"),
        [
            (code, n, share(found.recalls[code].as_json()) if code in found.recalls else "")
            for code, n in found.labelled.items()
        ],
    )
    console.print(_worth(found, gain, more, low, high), markup=False)


def _worth(
    found: Suggestion, gain: float, more: int | None, low: int | None, high: int | None
) -> str:
    """Say how many more labels until the accuracy has gained so much."""
    if found.curve is None:
        return "Too few specimens are labelled to say how many more labels pay."
    points = f"{100 * gain:g} points more accuracy"
    if more is None:
        return f"{points}: more labels of the kind there are do not give that, if any do."
    least = "" if low is None else f"at least {low}, "
    most = "nobody can say how many at most" if high is None else f"at most about {high}"
    return (
        f"{points} by about {more} more labels of the kind there are ({least}{most}, 95 %), "
        f"carried on from {found.curve.n}."
    )


@review.command()
def label(  # noqa: PLR0917 - each is an option of the command
    context: typer.Context,
    public_id: Id,
    code: Annotated[
        str | None, typer.Argument(metavar="[CODE]", help="Structure code, such as G9-10.")
    ] = None,
    by: By = "",
    criterion: Annotated[
        str, typer.Option(metavar="mean|max", help="Criterion of the size that was used.")
    ] = "unrecorded",
    comment: Annotated[
        str, typer.Option(help="Free text; where it corrects a decision: why, and needed.")
    ] = "",
    strange: Annotated[
        str | None, typer.Option(metavar="KIND", help="It is strange, of this kind.")
    ] = None,
    unusable: Annotated[
        str | None, typer.Option(metavar="WHY", help="It cannot be judged, and why.")
    ] = None,
    cannot_tell: Annotated[bool, typer.Option(help="You cannot tell.")] = False,
    unsure: Annotated[bool, typer.Option("--unsure", help="You are not sure of it.")] = False,
) -> None:
    """Decide one micrograph; an earlier decision stays in the trail."""
    said = [
        f"code:{code}" if code else "",
        f"strange:{strange}" if strange else "",
        f"unusable:{unusable}" if unusable else "",
        "cannot_tell" if cannot_tell else "",
    ]
    chosen = [one for one in said if one]
    if len(chosen) != 1:
        raise WrongUse("say one thing: CODE, --strange KIND, --unusable WHY or --cannot-tell.")
    settings = settings_of(context)
    with signed_store(context, settings, by) as (store, signer):
        decision = _decision(
            settings,
            store,
            chosen[0],
            by=signer,
            criterion=criterion,
            unsure=unsure,
            comment=comment,
        )
        store.labels.decide(public_id, decision, at=datetime.now(UTC))
        waiting, learning = store.review_queue.count(), _describe_use(settings, store, public_id)
    console.print(
        f"{public_id}: {chosen[0].replace(':', ' ')}, by {decision.by}; {waiting} wait.",
        markup=False,
    )
    if learning:
        console.print(learning, markup=False)


def _describe_use(settings: Settings, store: Store, public_id: str) -> str:
    """Return whether the decision on a micrograph is learned from, "" where none holds yet."""
    from agent.archive import Archive  # noqa: PLC0415
    from agent.lab_context import read_taxonomy  # noqa: PLC0415
    from agent.retrain.label_use import decide_use  # noqa: PLC0415
    from agent.web.label_uses import describe  # noqa: PLC0415

    label = store.find_labelled(public_id)
    if label is None:
        return ""
    crop = Archive(settings.store.folder).crop_path(label.sha256, label.page)
    return describe(
        decide_use(
            label,
            has_crop=crop.is_file(),
            taxonomy=read_taxonomy(settings, store, now=datetime.now(UTC)),
            learns_from=settings.retrain.learns_from,
        )
    )


def _decision(
    settings: Settings,
    store: Store,
    said: str,
    *,
    by: str,
    criterion: str,
    unsure: bool,
    comment: str,
) -> Decision:
    from agent.lab_context import read_taxonomy  # noqa: PLC0415
    from agent.web.decisions import read_decision  # noqa: PLC0415

    return read_decision(
        said,
        taxonomy=lambda: read_taxonomy(settings, store, now=datetime.now(UTC)),
        by=by,
        criterion=criterion,
        unsure=unsure,
        comment=comment,
    )


@review.command()
def undo(context: typer.Context, public_id: Id, by: By = "") -> None:
    """Take the decision on one micrograph back; both stay in the trail."""
    with signed_store(context, settings_of(context), by) as (store, signer):
        store.labels.undo(public_id, by=signer, at=datetime.now(UTC))
    console.print(f"{public_id}: the decision was taken back, by {signer}.", markup=False)


MANIFEST_COLUMNS = (
    "file",
    "code",
    "specimen",
    "order",
    "plant",
    "microscope",
    "material",
    "etchant",
    "magnification",
    "um_per_px",
    "criterion",
    "rater",
    "kind",
    "strange",
    "id",
    "sha256",
    "page",
    "labelled_at",
    "model_code",
)


@review.command()
def export(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
) -> None:
    """Write every labelled micrograph's crop and a manifest that `agent import` reads."""
    from agent.archive import Archive  # noqa: PLC0415

    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise WrongUse(f"{folder}: export into a new or empty folder; nothing is written over.")
    settings = settings_of(context)
    with store_of(settings) as store:
        labelled = store.labelled_micrographs.list_all(kinds=("code", "strange", "unusable"))
    folder.mkdir(parents=True, exist_ok=True)
    archive, missing, rows = Archive(settings.store.folder), [], []
    with progress("exported", len(labelled)) as advance:
        for number, one in enumerate(labelled, start=1):
            row = _export(one, archive, folder)
            if row:
                rows.append(row)
            else:
                missing.append(one.id)
            advance(number)
    _write_manifest(folder, rows)
    console.print(f"{len(rows)} micrographs in {folder}")
    for public_id in missing:
        console.print(f"{public_id}: its pixels are not in the archive any more")
    if missing:
        raise typer.Exit(1)


def _export(one: LabelledMicrograph, archive: Archive, folder: Path) -> dict[str, Any] | None:
    place = one.code or one.kind
    name = f"{place}/{one.id}.png"
    try:
        held = archive.crop_path(one.sha256, one.page).read_bytes()
    except FileNotFoundError:
        return None
    (folder / place).mkdir(exist_ok=True)
    (folder / name).write_bytes(held)
    return {
        **one.process_data,
        "file": name,
        "code": one.code or "",
        "um_per_px": one.um_per_px if one.um_per_px is not None else "",
        "criterion": one.criterion,
        "rater": one.rater,
        "kind": one.kind,
        "strange": one.strange_kind or "",
        "id": one.id,
        "sha256": one.sha256,
        "page": one.page,
        "labelled_at": one.labelled_at.isoformat(),
        "model_code": one.model_code or "",
    }


def _write_manifest(folder: Path, rows: list[dict[str, Any]]) -> None:
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        write_csv(file, MANIFEST_COLUMNS, (row for row in rows if row["kind"] == "code"))
    document = json.dumps(rows, ensure_ascii=False, indent=1)
    (folder / "manifest.json").write_text(document, encoding="utf-8")
