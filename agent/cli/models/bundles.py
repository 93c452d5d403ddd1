"""`agent models`: list, show, compare, convert, add and export model bundles."""

from __future__ import annotations

import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import console
from agent.cli.app import app, load_settings, open_store
from agent.cli.console import show_progress, silence_log
from agent.cli.models.train import print_left_out
from agent.cli.options import JsonOption, complete_bundles
from agent.errors import UnusableBundleError, UsageError
from model import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.settings import Settings
    from agent.store import Promotion
    from model import Manifest

models = typer.Typer(
    help="Model bundles: list, evaluate, promote, roll out, reprocess, export.",
    no_args_is_help=True,
)


app.add_typer(models, name="models")


NameArgument = Annotated[
    str,
    typer.Argument(help="Bundle name, as in `agent models list`.", autocompletion=complete_bundles),
]


@models.command("list")
def list_(context: typer.Context, json: JsonOption = False) -> None:
    """List the bundles and mark the one in use."""
    from agent.retrain.bundle_registry import list_bundles

    settings = load_settings(context)
    with open_store(settings) as store:
        current, folders = store.promotions.find_current(), list_bundles(settings.store.folder)
        rows = [
            _summary(path, current)
            | {
                "proposed_by": [
                    proposal.by for proposal in store.promotions.list_signatures(path.name)
                ]
            }
            for path in folders
        ]
    if json:
        console.print_json({"current": current, "bundles": rows})
        return
    if not rows:
        console.out.print("No bundles yet: agent train makes the first one.")
    console.table(
        ("bundle", "", "trained", "scheme", "network", "images", "codes right (own test set)"),
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
        console.err.print(
            f"The bundle in use, {current}, is missing. Add it again: agent models add FOLDER.",
            markup=False,
        )


def _state(row: dict[str, Any]) -> str:
    if row["current"]:
        return "in use"
    return f"proposed by {', '.join(row['proposed_by'])}" if row["proposed_by"] else ""


def _summary(path: Path, current: str | None) -> dict[str, Any]:
    from agent.cli.models.evaluation_text import format_lacking, format_share
    from model import read_manifest

    try:
        manifest = read_manifest(path)
    except ModelError as error:
        broken = dict.fromkeys(("created_at", "scheme", "arch", "learned_from", "n"), "")
        return {"name": path.name, "current": path.name == current, "said": str(error), **broken}
    n = manifest.metrics.get("n") or 0
    figure = format_share(manifest.metrics["accuracy"], n) if n else "not tested"
    if n and (lacking := format_lacking(manifest.metrics)):
        figure += f"; not tested: {lacking}"
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
        "said": f"{figure}; drawn, for the demo only" if manifest.is_for_demo else figure,
    }


@models.command()
def show(
    context: typer.Context,
    name: NameArgument,
    *,
    why: Annotated[
        bool,
        typer.Option(
            "--why", help="Show each check of the gate that compared it with the bundle in use."
        ),
    ] = False,
    against: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Compare with this bundle on test images that neither was trained on.",
        ),
    ] = "",
    json: JsonOption = False,
) -> None:
    """Show a bundle: training set, accuracy and promotions."""
    settings = load_settings(context)
    if why and against:
        raise UsageError("Use either --why or --against.")
    if why:
        _show_gate(settings, name, json=json)
    elif against:
        _compare(settings, against, name)
    else:
        _show(settings, name, json=json)


def _show(settings: Settings, name: str, *, json: bool) -> None:
    from agent.cli.models.evaluation_text import print_evaluation

    manifest = load_verified(settings, name)
    with open_store(settings) as store:
        acts = [act for act in store.promotions.list_all() if act.bundle == name]
    if json:
        console.print_json(_to_json(manifest, acts))
        return
    console.table(
        ("bundle", name),
        [
            ("trained", manifest.created_at.isoformat(timespec="minutes")),
            ("scheme", manifest.scheme),
            ("crop recipe", manifest.recipe),
            ("codes", ", ".join(manifest.taxonomy.trained_codes)),
            *_list_ood_rows(manifest, settings.strangeness.alpha),
            *((f"micrographs ({side})", len(keys)) for side, keys in manifest.split.items()),
            *(
                (f"promoted {act.promoted_at:%Y-%m-%d}", f"{_format_signers(act)}: {act.reason}")
                for act in acts
            ),
        ],
    )
    if manifest.metrics.get("n"):
        print_evaluation({**manifest.metrics, "bundle": name})


def _format_signers(act: Promotion) -> str:
    return " and ".join(signature["by"] for signature in act.signatures) or act.by


def _list_ood_rows(manifest: Manifest, alpha: float) -> list[tuple[str, str]]:
    """Return the rows about the false-alarm rate, for fields and for specimens."""
    from model import alarm_rate_in_words, alarm_rate_warnings

    facts = manifest.facts.get("strangeness")
    if not facts:
        return []
    rows = [
        ("reference images", str(facts["known"])),
        ("false-alarm rate", alarm_rate_in_words(alpha, facts["fields_per_specimen"])),
    ]
    own = [f"{name} ({facts['microscopes'][name]})" for name in facts["own_scores"]]
    if own:
        rows.append(("microscopes with a separate rate", ", ".join(own)))
    return rows + [("", sentence) for sentence in alarm_rate_warnings(alpha, facts)]


def _to_json(manifest: Manifest, acts: list[Any]) -> dict[str, Any]:
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
                "by": act.by,
                "reason": act.reason,
                "at": act.promoted_at.isoformat(),
                "signatures": act.signatures,
            }
            for act in acts
        ],
    }


def _compare(settings: Settings, one: str, other: str) -> None:
    """Print the answers of two bundles that differ."""
    from agent.cli.console import run_to_end, silence_log
    from agent.retrain import evaluate_candidate, get_training_config
    from agent.retrain.bundle_registry import get_bundle
    from agent.service.composition import build_demands, collect_labels
    from agent.service.data_folder import clock
    from model import Comparison

    silence_log()
    first, second = (get_bundle(settings.store.folder, name) for name in (one, other))
    manifest = load_verified(settings, other)
    with open_store(settings) as store:
        group_by = get_training_config(manifest).group_by
        collected = collect_labels(settings, store, manifest.taxonomy, group_by=group_by)
    demands = build_demands(settings, manifest.taxonomy, now=clock())
    comparison = run_to_end(evaluate_candidate(first, second, collected, demands), Comparison)
    console.out.print(comparison.sentence, markup=False)
    flips = comparison.numbers.get("flips", [])
    label_of = {example.key: example.label for example in collected.examples}
    console.table(
        ("micrograph", "true", one, other),
        [
            (label_of[flip["key"]], flip["true"], flip["current"], flip["candidate"])
            for flip in flips
        ],
        title="different answers",
    )


def _show_gate(settings: Settings, name: str, *, json: bool) -> None:
    """Print each check of the gate that compared a bundle with the bundle in use."""
    from agent.cli.models.evaluation_text import outcome_to_json, print_checks
    from agent.retrain import load_outcome
    from agent.retrain.bundle_registry import get_bundle

    outcome = load_outcome(get_bundle(settings.store.folder, name))
    if outcome is None:
        raise UsageError(
            f"{name} was never compared with another bundle. `agent retrain` compares a candidate."
        )
    if json:
        console.print_json(outcome_to_json(outcome))
        return
    console.out.print(outcome.sentence, markup=False)
    print_checks(outcome)


def load_verified(settings: Settings, name: str) -> Manifest:
    """Return the manifest of a bundle after checking each of its files."""
    from agent.retrain.bundle_registry import get_bundle
    from model import verify_bundle

    return verify_bundle(get_bundle(settings.store.folder, name))


@models.command("int8")
def int8(
    context: typer.Context,
    name: NameArgument,
    *,
    may_lose: Annotated[
        float,
        typer.Option(
            min=0.0, max=100.0, help="Largest accepted accuracy loss, in percentage points."
        ),
    ] = 1.0,
    json: JsonOption = False,
) -> None:
    """Convert a bundle to int8, which is two to three times faster on a CPU.

    The conversion is refused if the accuracy loss exceeds --may-lose. The measurement is stored
    next to the bundle, which is not changed. To use int8, set model.precision to "int8".
    """
    from agent.retrain.bundle_registry import get_bundle
    from agent.service.composition import collect_labels
    from model import convert, read_manifest  # PyTorch takes seconds

    silence_log()
    settings = load_settings(context)
    bundle = get_bundle(settings.store.folder, name)
    with open_store(settings) as store:
        collected = collect_labels(settings, store, read_manifest(bundle).taxonomy)
    print_left_out(collected)
    for step in show_progress(convert(bundle, collected.examples, may_lose=may_lose / 100)):
        if step.result is None:
            continue
        if json:
            facts = {key: value for key, value in asdict(step.result).items() if key != "ranges"}
            console.print_json(facts)
        else:
            console.out.print(f"{name}: {step.result.sentence()}.", markup=False)


@models.command()
def add(
    context: typer.Context,
    path: Annotated[
        Path, typer.Argument(help="Folder of a bundle that another lab or PC exported.")
    ],
) -> None:
    """Add a bundle from another lab or PC after checking each file. It is not promoted.

    A damaged bundle of the same name is repaired.
    """
    from agent.retrain.bundle_registry import get_bundles_folder, require_allowed
    from model import read_manifest, verify_bundle

    settings = load_settings(context)
    path = path.absolute()
    if not path.is_dir():
        raise UsageError(f"No such folder: {path}.")
    _refuse_links(path)
    _refuse_pipes(path, ("bundle.json", "split.json"))
    _refuse_pipes(path, read_manifest(path).files)
    manifest = verify_bundle(path)
    require_allowed(settings.store.folder, manifest)
    target = get_bundles_folder(settings.store.folder) / manifest.name
    exists = target.exists()
    if exists and _is_whole(target):
        raise UsageError(f"{manifest.name} already exists here.")
    _copy(path, target, with_record=False)
    _remember(
        settings, "model.added", manifest.name, {"from": str(path), "was_damaged_here": exists}
    )
    if exists:
        console.out.print(f"{manifest.name} was damaged here and is repaired.")
        return
    console.out.print(f"{manifest.name} was added. To use it: agent models promote {manifest.name}")


def _refuse_links(bundle: Path) -> None:
    """Raise `UsageError` if a file of an external bundle is a link to another file."""
    links = sorted(path.name for path in bundle.iterdir() if path.is_symlink())
    if links or bundle.is_symlink():
        what = f"contains a link, {links[0]}" if links else "is a link"
        raise UsageError(f"{bundle} {what}. Add the folder that `agent models export` wrote.")


def _refuse_pipes(bundle: Path, names: Iterable[str]) -> None:
    """Raise `UsageError` if a file that is to be read is a pipe, which would be waited for."""
    for name in names:
        if (bundle / name).exists() and not (bundle / name).is_file():
            raise UsageError(f"{bundle} contains {name}, which is no file. Copy the bundle again.")


def _is_whole(bundle: Path) -> bool:
    from model import verify_bundle

    try:
        verify_bundle(bundle)
    except (ModelError, OSError):
        return False
    return True


@models.command()
def export(
    context: typer.Context,
    name: NameArgument,
    folder: Annotated[Path, typer.Argument(help="Target folder; the bundle becomes a sub-folder.")],
) -> None:
    """Copy a bundle to a folder after checking each file."""
    from agent.retrain.bundle_registry import get_bundle

    settings = load_settings(context)
    load_verified(settings, name)
    target = folder.absolute() / name
    if target.exists():
        raise UsageError(f"{target} already exists.")
    _copy(get_bundle(settings.store.folder, name), target, with_record=True)
    _remember(settings, "model.exported", name, {"to": str(target)})
    console.out.print(f"{name} was written to {target}.")


def _copy(source: Path, target: Path, *, with_record: bool) -> None:
    """Copy a bundle and verify the copy before it replaces anything.

    Args:
        source: Folder of the bundle. Only files named in its manifest are copied, and no links.
        target: Folder of the copy.
        with_record: Whether to copy the training record; only out of this lab, never in.
    """
    from agent.retrain.bundle_registry import get_record_folder
    from model import verify_bundle

    staging = target.with_name(f".{target.name}.part")
    whole = staging / target.name
    try:
        shutil.rmtree(staging, ignore_errors=True)
        _copy_files(source, whole)
        verify_bundle(whole)
        if with_record and get_record_folder(source).is_dir():
            shutil.copytree(get_record_folder(source), get_record_folder(whole))
        if get_record_folder(target).is_dir():  # the record written here belongs to this lab
            shutil.rmtree(get_record_folder(whole), ignore_errors=True)
            shutil.copytree(get_record_folder(target), get_record_folder(whole))
        _put_in_place(whole, target)
    except (OSError, ModelError) as error:
        raise UnusableBundleError(
            f"{target}: cannot be written ({_reason(error)}). Nothing was left there. Check free "
            "space and write permission, then try again."
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _copy_files(source: Path, target: Path) -> None:
    from agent.files.whole_file import open_regular
    from model import BundleError, read_manifest

    target.mkdir(parents=True)
    for name in ("bundle.json", *read_manifest(source).files):
        if Path(name).name != name:
            raise BundleError(f"{source}: its manifest names a file outside the bundle: {name!r}.")
        with open_regular(source / name) as original, (target / name).open("xb") as copied:
            shutil.copyfileobj(original, copied)


def _put_in_place(whole: Path, target: Path) -> None:
    """Move a complete bundle to its target; a damaged one is removed only after that."""
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
    """Return the first fault of a copy; `shutil.Error` collects all with both paths."""
    if isinstance(error, ModelError):
        return "the copy differs from the original"
    if isinstance(error, shutil.Error) and error.args and error.args[0]:
        first = str(error.args[0][0][-1])
        return re.sub(r"^\[\w+ -?\d+\] ", "", first).partition(": ")[0]
    return error.strerror or str(error)


def _remember(settings: Settings, act: str, name: str, facts: dict[str, object]) -> None:
    from agent.cli.options import os_user
    from agent.service.data_folder import clock

    with open_store(settings) as store:
        store.audit_log.add(at=clock(), actor=os_user(), act=act, subject=name, facts=facts)
