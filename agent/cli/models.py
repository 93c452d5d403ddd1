"""`agent models`: which bundles there are, which is at work, and a person's say in it."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import console
from agent.cli.app import app, settings_of, store_of
from agent.cli.signing import signed_store
from agent.errors import BadBundle, WrongUse
from model import ModelError

if TYPE_CHECKING:
    from agent.retrain import Impact, Outcome
    from agent.settings import Settings
    from agent.store import Promotion, Store
    from model import Manifest

models = typer.Typer(
    help="The bundles: list, show, diff, why, promote, rollback, add, export, int8.",
    no_args_is_help=True,
)
app.add_typer(models, name="models")

NameArgument = Annotated[str, typer.Argument(help="Name of a bundle, as `agent models list` says.")]
ByOption = Annotated[str, typer.Option("--by", help="Who decides; a promotion is a person's act.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


@models.command("list")
def list_(context: typer.Context, json: JsonOption = False) -> None:
    """List the bundles, and say which one is at work."""
    from agent.bundle_registry import list_bundles  # noqa: PLC0415

    settings = settings_of(context)
    with store_of(settings) as store:
        current, folders = store.promotions.find_current(), list_bundles(settings.store.folder)
        rows = [
            _summary(path, current)
            | {"proposed_by": [one.by for one in store.promotions.list_signatures(path.name)]}
            for path in folders
        ]
    if json:
        console.print_json({"current": current, "bundles": rows})
        return
    console.table(
        ("bundle", "", "taught", "scheme", "network", "learned from", "codes right (its own test)"),
        [
            (
                row["name"],
                _state(row),
                str(row["created_at"])[:16].replace("T", " "),
                row["scheme"],
                row["arch"],
                row["learned_from"],
                row["said"],
            )
            for row in rows
        ],
    )
    if current and current not in {row["name"] for row in rows}:
        console.aside.print(
            f"The bundle at work, {current}, is missing; add it back.", markup=False
        )


def _state(row: dict[str, Any]) -> str:
    if row["current"]:
        return "at work"
    return f"proposed by {', '.join(row['proposed_by'])}" if row["proposed_by"] else ""


def _summary(path: Path, current: str | None) -> dict[str, Any]:
    from agent.cli.evaluation_text import share  # noqa: PLC0415
    from model import read_manifest  # noqa: PLC0415

    try:
        manifest = read_manifest(path)
    except ModelError as error:
        broken = dict.fromkeys(("created_at", "scheme", "arch", "learned_from", "n"), "")
        return {"name": path.name, "current": path.name == current, "said": str(error), **broken}
    n = manifest.metrics.get("n") or 0
    return {
        "name": manifest.name,
        "current": manifest.name == current,
        "created_at": manifest.created_at.isoformat(timespec="seconds"),
        "scheme": manifest.scheme,
        "arch": manifest.network,
        "learned_from": len(manifest.learned_from),
        "n": n,
        "accuracy": manifest.metrics.get("accuracy"),
        "recipe": manifest.recipe,
        "said": share(manifest.metrics["accuracy"], n) if n else "not tested",
    }


@models.command()
def show(context: typer.Context, name: NameArgument, json: JsonOption = False) -> None:
    """Say what a bundle is: what it was taught, how good it is, who put it to work."""
    from agent.cli.evaluation_text import say_evaluation  # noqa: PLC0415

    settings = settings_of(context)
    manifest = _verified(settings, name)
    with store_of(settings) as store:
        acts = [one for one in store.promotions.list_all() if one.bundle == name]
    if json:
        console.print_json(_as_json(manifest, acts))
        return
    console.table(
        ("bundle", name),
        [
            ("taught", manifest.created_at.isoformat(timespec="minutes")),
            ("scheme", manifest.scheme),
            ("recipe of its crops", manifest.recipe),
            ("codes", ", ".join(manifest.taxonomy.trained_codes)),
            *_of_strangeness(manifest, settings.strangeness.alpha),
            *((f"micrographs to {side}", len(keys)) for side, keys in manifest.split.items()),
            *(
                (f"promoted {one.promoted_at:%Y-%m-%d}", f"{_signed_by(one)}: {one.reason}")
                for one in acts
            ),
        ],
    )
    if manifest.metrics.get("n"):
        say_evaluation({**manifest.metrics, "bundle": name})


def _signed_by(act: Promotion) -> str:
    return " and ".join(one["by"] for one in act.signatures) or act.by


def _of_strangeness(manifest: Manifest, alpha: float) -> list[tuple[str, str]]:
    """Say what the lab's alarm rate means with this bundle, for fields and for specimens."""
    from model import alarm_rate_in_words, alarm_rate_warnings  # noqa: PLC0415

    known = manifest.facts.get("strangeness")
    if not known:
        return []
    told = [
        ("known images to compare with", str(known["known"])),
        ("alarm rate", alarm_rate_in_words(alpha, known["fields_per_specimen"])),
    ]
    own = [f"{name} ({known['microscopes'][name]})" for name in known["own_scores"]]
    if own:
        told.append(("microscopes with a rate of their own", ", ".join(own)))
    return told + [("", sentence) for sentence in alarm_rate_warnings(alpha, known)]


def _as_json(manifest: Manifest, acts: list[Any]) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "created_at": manifest.created_at.isoformat(),
        "scheme": manifest.scheme,
        "recipe": manifest.recipe,
        "codes": list(manifest.taxonomy.trained_codes),
        "split": {side: len(keys) for side, keys in manifest.split.items()},
        "validated": manifest.validated,
        "metrics": manifest.metrics,
        "facts": manifest.facts,
        "files": manifest.files,
        "promotions": [
            {
                "by": one.by,
                "reason": one.reason,
                "at": one.promoted_at.isoformat(),
                "signatures": one.signatures,
            }
            for one in acts
        ],
    }


@models.command()
def diff(context: typer.Context, one: NameArgument, other: NameArgument) -> None:
    """Hold two bundles against each other on test images that neither learned from."""
    from agent.bundle_registry import get_bundle  # noqa: PLC0415
    from agent.cli.train import end_of, quiet  # noqa: PLC0415
    from agent.retrain import evaluate_candidate, get_training_config  # noqa: PLC0415
    from agent.service.composition import collect_labels, build_demands  # noqa: PLC0415
    from agent.service.data_folder import clock  # noqa: PLC0415
    from model import Comparison  # noqa: PLC0415

    quiet()
    settings = settings_of(context)
    first, second = (get_bundle(settings.store.folder, name) for name in (one, other))
    manifest = _verified(settings, other)
    with store_of(settings) as store:
        group_by = get_training_config(manifest).group_by
        collected = collect_labels(settings, store, manifest.taxonomy, group_by=group_by)
    demands = build_demands(settings, manifest.taxonomy, now=clock())
    comparison = end_of(evaluate_candidate(first, second, collected, demands), Comparison)
    console.console.print(comparison.sentence, markup=False)
    flips = comparison.numbers.get("flips", [])
    console.table(
        ("micrograph", "true", one, other),
        [(flip["key"][:16], flip["true"], flip["current"], flip["candidate"]) for flip in flips],
        title="judged differently",
    )


@models.command()
def why(context: typer.Context, name: NameArgument, json: JsonOption = False) -> None:
    """Say what every check of the gate found when a bundle was held against the one at work."""
    from agent.bundle_registry import get_bundle  # noqa: PLC0415
    from agent.cli.train import outcome_json, say_checks  # noqa: PLC0415
    from agent.retrain import load_outcome  # noqa: PLC0415

    settings = settings_of(context)
    outcome = load_outcome(get_bundle(settings.store.folder, name))
    if outcome is None:
        raise WrongUse(f"{name} was never held against another bundle (agent retrain does it).")
    if json:
        console.print_json(outcome_json(outcome))
        return
    console.console.print(outcome.sentence, markup=False)
    say_checks(outcome)


DAYS = 90
"""How far back orders are looked at before somebody signs."""

DaysOption = Annotated[
    int,
    typer.Option(
        min=0, help="How far back orders are looked at; 0 looks at none, and is on record."
    ),
]


@models.command("impact")
def impact_(
    context: typer.Context, name: NameArgument, days: DaysOption = DAYS, json: JsonOption = False
) -> None:
    """Say which orders' conformity would change under a bundle, with pictures; writes no result.

    The bundle's answers are those of agent reprocess --shadow.
    """
    settings = settings_of(context)
    _verified(settings, name)
    with store_of(settings) as store:
        found, page = _impact(settings, store, name, days)
    if json:
        console.print_json({**found.document(), "sha256": found.sha256(), "page": str(page)})
        return
    _say_impact(found, page)


@models.command()
def promote(
    context: typer.Context,
    name: NameArgument,
    by: ByOption,
    reason: ReasonOption,
    days: DaysOption = DAYS,
) -> None:
    """Sign for a bundle; it is put to work, from the next specimen on, once enough have signed.

    Shown first: what the gate said, and the orders whose conformity would change. What was shown is
    kept with the signature. Of how many people it takes: retrain.promoters.
    """
    from agent.service.data_folder import clock  # noqa: PLC0415
    from agent.store import Signature  # noqa: PLC0415

    settings = settings_of(context)
    Signature(by, reason, clock())  # refuses nobody, and no reason
    with signed_store(context, settings, by) as (store, signer):
        signature, manifest = Signature(signer, reason, clock()), _verified(settings, name)
        _refuse_stranger(settings, store, signer)
        before = store.promotions.find_current()
        if before == name:
            raise WrongUse(f"{name} is at work already.")
        gate = _say_gate(settings, name, before)
        found, page = _impact(settings, store, name, days)
        _say_impact(found, page)
        if found.unasked:
            raise WrongUse(
                f"{name} has not answered {found.unasked} fields of the orders of the last {days} "
                f"days, so nobody can say what it would change: agent reprocess --bundle {name} "
                f"--shadow --days {days}, then sign; or look less far back with --days."
            )
        signed = replace(signature, shown=found.in_short() | {"gate": gate})
        promoters = settings.retrain.promoters
        if not store.promotions.sign(
            name, signed, metrics=manifest.metrics, promoters=promoters, instead_of=before
        ):
            console.console.print(
                f"{name} is proposed by {signer}; it is put to work when a second person signs: "
                f"agent models promote {name} --by NAME --reason TEXT",
                markup=False,
            )
            return
        said = f", in place of {before}" if before else ""
        console.console.print(f"{name} is at work{said}; a running agent takes it up by itself.")
        _say_recipe(manifest)
        _write_cards(settings, store, name, before)


def _say_gate(settings: Settings, name: str, before: str | None) -> str:
    """Say what the gate found when the bundle was taught, and whether that still holds."""
    from agent.bundle_registry import get_bundle  # noqa: PLC0415
    from agent.retrain import load_outcome  # noqa: PLC0415

    try:
        outcome = load_outcome(get_bundle(settings.store.folder, name))
    except BadBundle as broken:
        said = str(broken)
    else:
        said = _gate_in_words(outcome, name, before)
    console.console.print(said, markup=False)
    return said


def _gate_in_words(outcome: Outcome | None, name: str, before: str | None) -> str:
    if outcome is None:
        again = f"; agent models diff {before} {name} holds it against {before}" if before else ""
        return f"No gate has held {name} against another bundle{again}."
    said = f"What the gate said: {outcome.sentence}"
    if before in {None, outcome.current}:
        return said
    return (
        f"{said} That was against {outcome.current}; {before} is at work now: agent models diff "
        f"{before} {name} holds it against that one."
    )


def _refuse_stranger(settings: Settings, store: Store, by: str) -> None:
    """Where the lab has accounts or names leads, only a lead signs."""
    from agent.orders.order_policy import is_lead  # noqa: PLC0415

    if (settings.orders.leads or store.accounts.every()) and not is_lead(settings, store, by):
        raise WrongUse(
            f"{by} may not put a bundle to work: that is a lead's or an admin's act (agent users "
            "list)."
        )


def _impact(settings: Settings, store: Store, name: str, days: int) -> tuple[Impact, Path]:
    """Say what would change, and leave a page of it in the bundle's record."""
    from agent.archive import Archive  # noqa: PLC0415
    from agent.bundle_registry import get_bundle, get_record_folder  # noqa: PLC0415
    from agent.cli.orders import lab_in  # noqa: PLC0415
    from agent.lab_context import software  # noqa: PLC0415
    from agent.retrain import compute_impact, save_impact  # noqa: PLC0415
    from agent.service.data_folder import clock  # noqa: PLC0415

    archive, now = Archive(settings.store.folder), clock()
    found = compute_impact(
        store,
        lab_in(settings, store),
        name,
        since=now - timedelta(days=days),
        has_crop=lambda view: archive.crop_path(view.sha256, view.page).is_file(),
        days=days,
    )
    record = get_record_folder(get_bundle(settings.store.folder, name))
    at = f"{now:%Y-%m-%d %H:%M} UTC with {software()}"
    return found, save_impact(found, record, archive, site=settings.site.name, at=at)


def _say_impact(found: Impact, page: Path) -> None:
    from agent.retrain import format_headline, list_sentences  # noqa: PLC0415

    console.console.print(f"{format_headline(found)}.", markup=False)
    for sentence in list_sentences(found):
        console.console.print(sentence, markup=False)
    if found.changed:
        console.table(
            ("order", "conformity", "would be", "micrograph", "answer", "would be"),
            [
                (one.number, one.before, one.after, flip.id, flip.before, flip.after)
                for one in found.changed
                for flip in one.flips
            ],
        )
    console.console.print(f"with pictures: {page}", markup=False)


@models.command()
def rollback(context: typer.Context, by: ByOption, reason: ReasonOption) -> None:
    """Put the bundle before the present one back to work; one signature is enough for that.

    Done twice it goes back twice, never to a bundle that somebody went back from.
    """
    from agent.bundle_registry import list_previous_bundles  # noqa: PLC0415

    settings = settings_of(context)
    with signed_store(context, settings, by) as (store, signer):
        promotions = store.promotions.list_all()
        before = next(iter(list_previous_bundles(promotions)), None)
        if before is None:
            raise WrongUse(
                "there is no bundle before the present one to go back to (agent models list; agent "
                "models promote puts any of them to work)."
            )
        _refuse_stranger(settings, store, signer)
        current = promotions[0].bundle
        _back_to_work(store, _verified(settings, before), signer, reason, current)
        console.console.print(f"{before} is at work again, in place of {current}.")
        _write_cards(settings, store, before, current)


def _back_to_work(store: Store, manifest: Manifest, by: str, reason: str, current: str) -> None:
    from agent.bundle_registry import BACK_FROM  # noqa: PLC0415
    from agent.service.data_folder import clock  # noqa: PLC0415
    from agent.store import Signature  # noqa: PLC0415

    Signature(by, reason, clock())  # refuses nobody, and no reason
    store.promotions.promote(
        manifest.name,
        by=by,
        reason=f"back from {current}: {reason}",
        at=clock(),
        metrics={**manifest.metrics, BACK_FROM: current},
    )
    _say_recipe(manifest)


def _write_cards(settings: Settings, store: Store, *names: str | None) -> None:
    """Write the cards of bundles anew: who is at work stands in them."""
    from agent.service.jobs.retrain import write_card  # noqa: PLC0415

    for name in filter(None, names):
        with suppress(BadBundle, OSError, ModelError):  # one that is broken or gone needs none
            write_card(settings, store, name)


def _say_recipe(manifest: Manifest) -> None:
    from agent.imaging.crop import RECIPE  # noqa: PLC0415

    if manifest.recipe != RECIPE:
        console.aside.print(
            f"{manifest.name} learned from crops of recipe {manifest.recipe}, this agent cuts by "
            f"recipe {RECIPE}: teach it again as soon as you can (agent train).",
            markup=False,
        )


@models.command()
def add(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="Folder of a bundle, exported elsewhere.")],
) -> None:
    """Take in a bundle from elsewhere, checked file by file; it is not put to work.

    One that is here and was damaged is made whole by it.
    """
    from agent.bundle_registry import get_bundles_folder  # noqa: PLC0415
    from model import verify_bundle  # noqa: PLC0415

    settings = settings_of(context)
    path = path.absolute()
    if not path.is_dir():
        raise WrongUse(f"{path}: there is no such folder.")
    _refuse_links(path)
    manifest = verify_bundle(path)
    target = get_bundles_folder(settings.store.folder) / manifest.name
    was_here = target.exists()
    if was_here and _is_whole(target):
        raise WrongUse(f"{manifest.name} is here already.")
    _copy(path, target, with_record=False)
    _remember(
        settings, "model.added", manifest.name, {"from": str(path), "was_damaged_here": was_here}
    )
    if was_here:
        console.console.print(f"{manifest.name} was damaged here; it is whole again.")
        return
    console.console.print(f"{manifest.name} was added; promote it to put it to work.")


def _refuse_links(bundle: Path) -> None:
    """Refuse a bundle from elsewhere whose files are links: another file would be copied."""
    links = sorted(path.name for path in bundle.iterdir() if path.is_symlink())
    if links or bundle.is_symlink():
        what = f"{links[0]} in it is a link" if links else "it is a link"
        raise WrongUse(f"{bundle}: {what}; add the folder that `agent models export` wrote.")


def _is_whole(bundle: Path) -> bool:
    from model import verify_bundle  # noqa: PLC0415

    try:
        verify_bundle(bundle)
    except (ModelError, OSError):
        return False
    return True


@models.command()
def export(
    context: typer.Context,
    name: NameArgument,
    folder: Annotated[Path, typer.Argument(help="Where its folder is written.")],
) -> None:
    """Copy a bundle out, checked file by file."""
    from agent.bundle_registry import get_bundle  # noqa: PLC0415

    settings = settings_of(context)
    _verified(settings, name)
    target = folder.absolute() / name
    if target.exists():
        raise WrongUse(f"{target} is there already.")
    _copy(get_bundle(settings.store.folder, name), target, with_record=True)
    _remember(settings, "model.exported", name, {"to": str(target)})
    console.console.print(f"{name} was written to {target}.")


def _copy(source: Path, target: Path, *, with_record: bool) -> None:
    """Copy a bundle, and check the copy before it takes its place or that of a damaged one.

    Args:
        source: Its folder. Only the files that its manifest names are taken, and no link.
        target: Where it goes.
        with_record: What was written about it goes along: only out of this lab, never in.
    """
    from agent.bundle_registry import get_record_folder  # noqa: PLC0415
    from model import verify_bundle  # noqa: PLC0415

    aside = target.with_name(f".{target.name}.part")
    whole = aside / target.name
    try:
        shutil.rmtree(aside, ignore_errors=True)
        _copy_files(source, whole)
        verify_bundle(whole)
        if with_record and get_record_folder(source).is_dir():
            shutil.copytree(get_record_folder(source), get_record_folder(whole))
        if get_record_folder(target).is_dir():  # what was written about it here is this lab's own
            shutil.rmtree(get_record_folder(whole), ignore_errors=True)
            shutil.copytree(get_record_folder(target), get_record_folder(whole))
        _put_in_place(whole, target)
    except (OSError, ModelError) as error:
        raise BadBundle(
            f"{target}: cannot be written ({_reason(error)}); nothing of it was left there. See "
            "that there is room and that it may be written to, and try again."
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _copy_files(source: Path, target: Path) -> None:
    from agent.regular_file import open_regular  # noqa: PLC0415
    from model import BundleError, read_manifest  # noqa: PLC0415

    target.mkdir(parents=True)
    for name in ("bundle.json", *read_manifest(source).files):
        if Path(name).name != name:
            raise BundleError(f"{source}: its manifest names a file outside of it: {name!r}.")
        with open_regular(source / name) as held, (target / name).open("xb") as copied:
            shutil.copyfileobj(held, copied)


def _put_in_place(whole: Path, target: Path) -> None:
    """Put a whole bundle in its place; a damaged one goes only if that can be done."""
    if not target.exists():
        whole.rename(target)
        return
    damaged = target.rename(whole.with_name("damaged"))
    try:
        whole.rename(target)
    except OSError:
        damaged.rename(target)
        raise


def _reason(error: OSError | ModelError) -> str:
    """Say the first thing that went wrong; copying a folder collects them with both paths."""
    if isinstance(error, ModelError):
        return "what was written is not what was read"
    if isinstance(error, shutil.Error) and error.args and error.args[0]:
        first = str(error.args[0][0][-1])
        return re.sub(r"^\[\w+ -?\d+\] ", "", first).partition(": ")[0]
    return error.strerror or str(error)


def _remember(settings: Settings, act: str, name: str, facts: dict[str, object]) -> None:
    from agent.cli.signing import os_user  # noqa: PLC0415
    from agent.service.data_folder import clock  # noqa: PLC0415

    with store_of(settings) as store:
        store.audit_log.add(at=clock(), actor=os_user(), act=act, subject=name, facts=facts)


def _verified(settings: Settings, name: str) -> Manifest:
    from agent.bundle_registry import get_bundle  # noqa: PLC0415
    from model import verify_bundle  # noqa: PLC0415

    return verify_bundle(get_bundle(settings.store.folder, name))
