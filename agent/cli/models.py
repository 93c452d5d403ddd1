"""`agent models`: which bundles there are, which is at work, and a person's say in it."""

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
    help="The bundles: list, show, diff, why, promote, rollback, add, export, int8.",
    no_args_is_help=True,
)
app.add_typer(models, name="models")

NameArgument = Annotated[str, typer.Argument(help="Name of a bundle, as `agent models list` says.")]


@models.command("list")
def list_(context: typer.Context, json: JsonOption = False) -> None:
    """List the bundles, and say which one is at work."""
    from agent.bundle_registry import list_bundles

    settings = load_settings(context)
    with open_store(settings) as store:
        current, folders = store.current_bundle(), list_bundles(settings.store.folder)
        rows = [
            _summary(path, current)
            | {"proposed_by": [one.by for one in store.proposals(path.name)]}
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
        console.err.print(f"The bundle at work, {current}, is missing; add it back.", markup=False)


def _state(row: dict[str, Any]) -> str:
    if row["current"]:
        return "at work"
    return f"proposed by {', '.join(row['proposed_by'])}" if row["proposed_by"] else ""


def _summary(path: Path, current: str | None) -> dict[str, Any]:
    from agent.cli.evaluation_text import format_share
    from model import read_manifest

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
        "said": format_share(manifest.metrics["accuracy"], n) if n else "not tested",
    }


@models.command()
def show(context: typer.Context, name: NameArgument, json: JsonOption = False) -> None:
    """Say what a bundle is: what it was taught, how good it is, who put it to work."""
    from agent.cli.evaluation_text import print_evaluation

    settings = load_settings(context)
    manifest = load_verified(settings, name)
    with open_store(settings) as store:
        acts = [one for one in store.promotions() if one.bundle == name]
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
            *_list_ood_rows(manifest, settings.strangeness.alpha),
            *((f"micrographs to {side}", len(keys)) for side, keys in manifest.split.items()),
            *(
                (f"promoted {one.promoted_at:%Y-%m-%d}", f"{_signed_by(one)}: {one.reason}")
                for one in acts
            ),
        ],
    )
    if manifest.metrics.get("n"):
        print_evaluation({**manifest.metrics, "bundle": name})


def _signed_by(act: Promotion) -> str:
    return " and ".join(one["by"] for one in act.signatures) or act.by


def _list_ood_rows(manifest: Manifest, alpha: float) -> list[tuple[str, str]]:
    """Say what the lab's alarm rate means with this bundle, for fields and for specimens."""
    from model import alarm_rate_in_words, alarm_rate_warnings

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
    from agent.bundle_registry import get_bundle
    from agent.cli.job_progress import run_to_end, silence_log
    from agent.retrain import evaluate_candidate, get_training_config
    from agent.service.composition import cases_of, demands_of
    from agent.service.data_folder import clock
    from model import Comparison

    silence_log()
    settings = load_settings(context)
    first, second = (get_bundle(settings.store.folder, name) for name in (one, other))
    manifest = load_verified(settings, other)
    with open_store(settings) as store:
        group_by = get_training_config(manifest).group_by
        collected = cases_of(settings, store, manifest.taxonomy, group_by=group_by)
    demands = demands_of(settings, manifest.taxonomy, now=clock())
    comparison = run_to_end(evaluate_candidate(first, second, collected, demands), Comparison)
    console.out.print(comparison.sentence, markup=False)
    flips = comparison.numbers.get("flips", [])
    console.table(
        ("micrograph", "true", one, other),
        [(flip["key"][:16], flip["true"], flip["current"], flip["candidate"]) for flip in flips],
        title="judged differently",
    )


@models.command()
def why(context: typer.Context, name: NameArgument, json: JsonOption = False) -> None:
    """Say what every check of the gate found when a bundle was held against the one at work."""
    from agent.bundle_registry import get_bundle
    from agent.cli.retrain import outcome_to_json, print_checks
    from agent.retrain import load_outcome

    settings = load_settings(context)
    outcome = load_outcome(get_bundle(settings.store.folder, name))
    if outcome is None:
        raise WrongUse(f"{name} was never held against another bundle (agent retrain does it).")
    if json:
        console.print_json(outcome_to_json(outcome))
        return
    console.out.print(outcome.sentence, markup=False)
    print_checks(outcome)


def load_verified(settings: Settings, name: str) -> Manifest:
    """Return the manifest of a bundle after checking each of its files."""
    from agent.bundle_registry import get_bundle
    from model import verify_bundle

    return verify_bundle(get_bundle(settings.store.folder, name))
