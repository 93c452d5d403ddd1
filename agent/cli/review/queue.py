"""`agent review`: the review queue and reviewers' decisions on the shell."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.app import app, load_settings, open_store
from agent.cli.console import out, print_json, progress, table
from agent.cli.models.evaluation_text import format_share
from agent.cli.options import complete_codes, signed_store
from agent.errors import UsageError
from agent.files.csv_export import write_csv
from agent.terminal import format_count

if TYPE_CHECKING:
    from agent.archive import Archive
    from agent.retrain import Suggestion
    from agent.settings import Settings
    from agent.store import Decision, LabelledMicrograph, Store

review = typer.Typer(
    name="review", help="The review queue and reviewers' decisions.", no_args_is_help=True
)
app.add_typer(review)

Id = Annotated[str, typer.Argument(metavar="ID", help="Micrograph id, as in the report.")]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Name of the reviewer.")]


@review.command("list")
def list_waiting(  # noqa: PLR0917 - each is an option of the command
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One object per micrograph.")] = False,
    reason: Annotated[str | None, typer.Option(help="Only micrographs with this reason.")] = None,
    source: Annotated[str | None, typer.Option(help="Only micrographs of this source.")] = None,
    suggest: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Suggest N micrographs to label next, and estimate how many labels a gain needs; "
            "--json is then one document.",
        ),
    ] = None,
    gain: Annotated[
        float,
        typer.Option(min=0.1, help="With --suggest the wanted gain of accuracy, in points."),
    ] = 2.0,
) -> None:
    """List the micrographs that await review, most important first."""
    if suggest:
        _suggest(load_settings(context), suggest, gain, as_json=as_json)
        return
    from agent.orders.judge.permissions import is_hidden
    from agent.web.api import as_json as document  # imports FastAPI

    with open_store(load_settings(context)) as store:
        views = store.review_queue.list_micrographs(reason=reason, source=source)
    if as_json:
        for view in views:
            print_json(document(view))
        return
    if not views:
        out.print("No micrograph awaits review.")
        return
    for view in views:
        code, probability = view.result.structure_code or "-", view.result.probability
        if is_hidden(view):
            code, probability = "?", None
        share = f"{probability:.2f}" if probability is not None else "-"
        out.print(
            f"{view.id:16}  {code:6} {share:4}  "
            f"{', '.join(view.result.reasons)}  {Path(view.path).name} ({view.source})",
            markup=False,
        )


def _suggest(settings: Settings, n: int, gain: float, *, as_json: bool) -> None:
    """Print micrographs to label next."""
    from agent.archive import Archive
    from agent.cli.console import run_to_end, silence_log
    from agent.retrain import Suggestion
    from agent.retrain import suggest as suggest_labels
    from agent.service.composition import load_bundle
    from agent.service.jobs.retrain import find_training_job

    silence_log()
    with open_store(settings) as store:
        lesson, waiting = find_training_job(settings, store), store.review_queue.list_micrographs()
    classifier = load_bundle(settings, lesson.manifest.name)
    archive = Archive.open(settings)
    steps = suggest_labels(waiting, lesson.collected, classifier, archive, n=n)
    _print_suggestion(run_to_end(steps, Suggestion), gain / 100, as_json=as_json)


def _print_suggestion(suggestion: Suggestion, gain: float, *, as_json: bool) -> None:
    more, low, high = suggestion.curve.until(gain) if suggestion.curve else (None, None, None)
    if as_json:
        print_json(
            {
                "micrographs": [{"id": view.id, "path": view.path} for view in suggestion.views],
                "labelled": dict(suggestion.labelled),
                "recall": {code: recall.as_json() for code, recall in suggestion.recalls.items()},
                "gain": gain,
                "more_labels": {"value": more, "low": low, "high": high},
                "curve": suggestion.curve.as_json() if suggestion.curve else None,
            }
        )
        return
    table(
        ("label next", "file"),
        [(view.id, f"{Path(view.path).name} ({view.source})") for view in suggestion.views],
    )
    table(
        ("structure code", "labelled", "recall on held-out specimens"),
        [
            (
                code,
                n,
                format_share(suggestion.recalls[code].as_json())
                if code in suggestion.recalls
                else "",
            )
            for code, n in suggestion.labelled.items()
        ],
    )
    out.print(_format_label_need(suggestion, gain, more, low, high), markup=False)


def _format_label_need(
    suggestion: Suggestion, gain: float, more: int | None, low: int | None, high: int | None
) -> str:
    """Return a sentence on the number of labels that the gain needs."""
    if suggestion.curve is None:
        return "Too few labelled specimens to estimate how many labels are needed."
    points = f"{100 * gain:g} points more accuracy"
    if more is None:
        return f"{points}: not reachable with more labels of the present kinds."
    least = "" if low is None else f"at least {low}, "
    most = "no upper bound" if high is None else f"at most about {high}"
    return (
        f"{points}: about {format_count(more, 'more label')} of the present kinds "
        f"({least}{most}, 95 %), extrapolated from {suggestion.curve.n}."
    )


@review.command()
def label(  # noqa: PLR0917 - each is an option of the command
    context: typer.Context,
    public_id: Id,
    code: Annotated[
        str | None,
        typer.Argument(
            metavar="[CODE]",
            help="Structure code, such as G9-10.",
            autocompletion=complete_codes,
        ),
    ] = None,
    by: By = "",
    criterion: Annotated[
        str, typer.Option(metavar="mean|max", help="Criterion of the size: mean or max.")
    ] = "unrecorded",
    comment: Annotated[str, typer.Option(help="Comment; required if it corrects a decision.")] = "",
    strange: Annotated[
        str | None, typer.Option(metavar="KIND", help="Decide that it is unusual, of this kind.")
    ] = None,
    unusable: Annotated[
        str | None, typer.Option(metavar="WHY", help="Decide that it is unusable, with the reason.")
    ] = None,
    cannot_tell: Annotated[bool, typer.Option(help="Record that you cannot tell.")] = False,
    unsure: Annotated[bool, typer.Option("--unsure", help="Record that you are unsure.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Withdraw the decision.")] = False,
) -> None:
    """Decide one micrograph. Earlier decisions stay in the audit log."""
    options = [
        f"code:{code}" if code else "",
        f"strange:{strange}" if strange else "",
        f"unusable:{unusable}" if unusable else "",
        "cannot_tell" if cannot_tell else "",
    ]
    chosen = [option for option in options if option]
    if len(chosen) + undo != 1:
        raise UsageError(
            "Choose one: CODE, --strange KIND, --unusable WHY, --cannot-tell or --undo."
        )
    if undo:
        _undo(context, public_id, by)
        return
    settings = load_settings(context)
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
    out.print(
        f"{public_id}: {chosen[0].replace(':', ' ')}, by {decision.by}; {waiting} await review.",
        markup=False,
    )
    if learning:
        out.print(learning, markup=False)


def _describe_use(settings: Settings, store: Store, public_id: str) -> str:
    """Return whether the valid decision on a micrograph is used for training, "" without one."""
    from agent.archive import Archive
    from agent.orders.facts.order_policy import read_taxonomy
    from agent.retrain.label_use import decide_use
    from agent.web.models.learning_page import describe

    label = store.labelled_micrographs.find(public_id)
    if label is None:
        return ""
    return describe(
        decide_use(
            label,
            has_crop=Archive.open(settings).has_crop(label.sha256, label.page),
            taxonomy=read_taxonomy(settings, store, now=datetime.now(UTC)),
            learns_from=settings.retrain.learns_from,
        )
    )


def _decision(
    settings: Settings,
    store: Store,
    choice: str,
    *,
    by: str,
    criterion: str,
    unsure: bool,
    comment: str,
) -> Decision:
    from agent.orders.facts.order_policy import read_taxonomy
    from agent.web.review.decisions import read_decision

    return read_decision(
        choice,
        taxonomy=lambda: read_taxonomy(settings, store, now=datetime.now(UTC)),
        by=by,
        criterion=criterion,
        unsure=unsure,
        comment=comment,
    )


def _undo(context: typer.Context, public_id: str, by: str) -> None:
    """Withdraw the decision on one micrograph. The audit log keeps both."""
    from agent.orders.facts.order_policy import is_lead

    settings = load_settings(context)
    with signed_store(context, settings, by, "--undo") as (store, signer):
        view = store.results.find(public_id)
        others = view.label.by if view and view.label and view.label.by != signer else ""
        account = signer.removesuffix(" (program)")
        if others and store.accounts.are_there() and not is_lead(settings, store, account):
            raise UsageError(f"{others} decided that; only a lead may withdraw it.")
        store.labels.undo(public_id, by=signer, at=datetime.now(UTC))
    out.print(f"{public_id}: decision withdrawn by {signer}.", markup=False)


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


def export_labelled(settings: Settings, folder: Path) -> None:
    """Write the crop of every labelled micrograph and a manifest for `agent import`.

    Args:
        settings: Of the lab.
        folder: New or empty.
    """
    from agent.archive import Archive

    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty. Name a new or empty folder.")
    with open_store(settings) as store:
        labelled = store.labelled_micrographs.list_all(kinds=("code", "strange", "unusable"))
    folder.mkdir(parents=True, exist_ok=True)
    archive, missing, rows = Archive.open(settings), [], []
    with progress("exported", len(labelled)) as advance:
        for number, micrograph in enumerate(labelled, start=1):
            row = _export_crop(micrograph, archive, folder)
            if row:
                rows.append(row)
            else:
                missing.append(micrograph.id)
            advance(number)
    _write_manifest(folder, rows)
    out.print(f"{format_count(len(rows), 'micrograph')} in {folder}")
    for public_id in missing:
        out.print(f"{public_id}: its pixels are no longer in the archive")
    if missing:
        raise typer.Exit(1)


def _export_crop(
    micrograph: LabelledMicrograph, archive: Archive, folder: Path
) -> dict[str, Any] | None:
    subfolder = micrograph.label.code or micrograph.label.kind
    name = f"{subfolder}/{micrograph.id}.png"
    try:
        content = archive.read(archive.crop_path(micrograph.sha256, micrograph.page))
    except FileNotFoundError:
        return None
    (folder / subfolder).mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return {
        **micrograph.process_data,
        "file": name,
        "code": micrograph.label.code or "",
        "um_per_px": micrograph.um_per_px if micrograph.um_per_px is not None else "",
        "criterion": micrograph.label.criterion,
        "rater": micrograph.label.by,
        "kind": micrograph.label.kind,
        "strange": micrograph.label.strange_kind or "",
        "id": micrograph.id,
        "sha256": micrograph.sha256,
        "page": micrograph.page,
        "labelled_at": micrograph.label.at.isoformat(),
        "model_code": micrograph.model_code or "",
    }


def _write_manifest(folder: Path, rows: list[dict[str, Any]]) -> None:
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        write_csv(file, MANIFEST_COLUMNS, (row for row in rows if row["kind"] == "code"))
    document = json.dumps(rows, ensure_ascii=False, indent=1)
    (folder / "manifest.json").write_text(document, encoding="utf-8")
