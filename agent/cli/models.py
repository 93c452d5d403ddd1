"""`agent models`: list, show and compare model bundles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import console
from agent.cli.app import app, load_settings, open_store
from agent.cli.options import JsonOption
from agent.errors import WrongUse
from model import ModelError

if TYPE_CHECKING:
    from agent.settings import Settings
    from agent.store import Promotion
    from model import Manifest

models = typer.Typer(
    help="Model bundles: list, evaluate, promote, roll out, reprocess, export.",
    no_args_is_help=True,
)
app.add_typer(models, name="models")

NameArgument = Annotated[str, typer.Argument(help="Bundle name, as in `agent models list`.")]


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
    from agent.cli.evaluation_text import format_lacking, format_share
    from model import read_manifest

    try:
        manifest = read_manifest(path)
    except ModelError as error:
        broken = dict.fromkeys(("created_at", "scheme", "arch", "learned_from", "n"), "")
        return {"name": path.name, "current": path.name == current, "said": str(error), **broken}
    n = manifest.metrics.get("n") or 0
    said = format_share(manifest.metrics["accuracy"], n) if n else "not tested"
    if n and (lacking := format_lacking(manifest.metrics)):
        said += f"; not tested: {lacking}"
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
        "said": f"{said}; drawn, for the demo only" if manifest.is_for_demo else said,
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
        raise WrongUse("Use either --why or --against.")
    if why:
        _show_gate(settings, name, json=json)
    elif against:
        _compare(settings, against, name)
    else:
        _show(settings, name, json=json)


def _show(settings: Settings, name: str, *, json: bool) -> None:
    from agent.cli.evaluation_text import print_evaluation

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
    from agent.cli.job_progress import run_to_end, silence_log
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
    from agent.cli.retrain_verdict import outcome_to_json, print_checks
    from agent.retrain import load_outcome
    from agent.retrain.bundle_registry import get_bundle

    outcome = load_outcome(get_bundle(settings.store.folder, name))
    if outcome is None:
        raise WrongUse(
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
