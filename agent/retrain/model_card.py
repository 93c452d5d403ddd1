"""Write a bundle's model card: what it was trained on, how good it is, what it is not for.

It is written after training, and again after each signature. Every value comes from the bundle and
its promotions, so it can always be written again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import reports
from agent.archive import write_whole
from agent.bundle_registry import get_record_folder
from agent.orders.class_texts import name_scale
from agent.retrain.gate import load_outcome
from model import read_manifest
from reports import CardSection, Fact, ModelCard, Table, Tone

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from agent.retrain.gate import Outcome
    from agent.store import Promotion
    from model import Manifest

APART = "No specimen is in both training and test set."
FEW = 20
"""With fewer test images a code's figures are too uncertain."""
SHARE, NUMBER = ".1%", ".2f"
MEASURES = (
    ("structure code right", "accuracy", SHARE),
    ("within one size", "within_one_size", SHARE),
    ("macro-F1", "macro_f1", NUMBER),
    ("agreement beyond chance (kappa)", "kappa", NUMBER),
    ("negative log-likelihood of the true code (NLL)", "nll", NUMBER),
    ("calibration error (ECE)", "ece", NUMBER),
    ("prediction sets that contain the true code", "coverage", SHARE),
    ("normal test images flagged as unusual", "false_alarm_rate", SHARE),
)
NO_VERDICT = (
    "It returns a structure code. Whether an order conforms follows from the specification limits; "
    "a reviewer confirms it, unless the lab permits automatic conformity."
)
NO_INCLUSIONS = "It rates no inclusions (ISO 4967); a dark particle is a possible one at most."
NOT_FOR = (NO_VERDICT, NO_INCLUSIONS)


@dataclass(frozen=True, slots=True)
class _Facts:
    """Sources of a card."""

    manifest: Manifest
    outcome: Outcome | None
    promotions: tuple[Promotion, ...]
    current: str | None


def save_card(
    bundle: Path, promotions: Sequence[Promotion], *, site: str, at: str
) -> tuple[Path, Path]:
    """Write a bundle's card into its record.

    Args:
        bundle: Its folder.
        promotions: Of every bundle, the newest first.
        site: Name of the site.
        at: When, and by which program, in words.

    Returns:
        The paths of the page and of the JSON.
    """
    manifest = read_manifest(bundle)
    own = tuple(promotion for promotion in promotions if promotion.bundle == manifest.name)
    current = promotions[0].bundle if promotions else None
    facts = _Facts(manifest, load_outcome(bundle), own, current)
    page, document = (
        get_record_folder(bundle) / "card.html",
        get_record_folder(bundle) / "card.json",
    )
    content = json.dumps(card_to_json(facts), ensure_ascii=False, indent=1, default=str)
    html = reports.render_card(_page(facts, site=site, at=at))
    write_whole({page: html.encode(), document: content.encode()})
    return page, document


def card_to_json(facts: _Facts) -> dict[str, Any]:
    """Return a card as JSON values."""
    manifest, gate = facts.manifest, facts.outcome
    facts_ = manifest.facts
    return {
        "name": manifest.name,
        "at_work": facts.current == manifest.name,
        "created_at": manifest.created_at.isoformat(),
        "scheme": manifest.scheme,
        "plan": facts_.get("plan", {}),
        "recipe": manifest.recipe,
        "data": {
            "fingerprint": facts_.get("data", ""),
            "micrographs": {side: len(keys) for side, keys in manifest.split.items()},
            "validated": manifest.validated,
        },
        "metrics": manifest.metrics,
        "gate": {"gate": str(gate.gate), "sentence": gate.sentence, "current": gate.current}
        if gate
        else None,
        "not_for": [*_not_for(manifest), *_limits(manifest)],
        "notes": list(facts_.get("notes", ())),
        "signatures": [
            {
                "by": signature["by"],
                "reason": signature["reason"],
                "at": signature["at"],
                "shown": signature.get("shown"),
            }
            for act in facts.promotions
            for signature in _list_signatures(act)
        ],
        "files": manifest.files,
        "environment": {"engine": facts_.get("engine", ""), **facts_.get("versions", {})},
    }


def _list_signatures(act: Promotion) -> list[dict[str, Any]]:
    alone = {"by": act.by, "reason": act.reason, "at": act.promoted_at.isoformat()}
    return act.signatures or [alone]


def _page(facts: _Facts, *, site: str, at: str) -> ModelCard:
    manifest = facts.manifest
    return ModelCard(
        site=site,
        title=f"Bundle {manifest.name}",
        state=_state(facts),
        tone=Tone.CALM if facts.current == manifest.name else Tone.ATTENTION,
        sections=tuple(_sections(facts)),
        generated=at,
    )


def _state(facts: _Facts) -> str:
    if not facts.promotions:
        return "A candidate: not promoted."
    last = facts.promotions[0]
    names = " and ".join(signature["by"] for signature in _list_signatures(last))
    when = f"{last.promoted_at:%Y-%m-%d}"
    if facts.current == facts.manifest.name:
        return f"In use since {when}, signed by {names}: {last.reason}"
    return f"Retired; last promoted on {when}, signed by {names}: {last.reason}"


def _not_for(manifest: Manifest) -> tuple[str, ...]:
    scale = name_scale(manifest.taxonomy)
    return (*NOT_FOR, *([scale] if scale else ()))


def _sections(facts: _Facts) -> Iterator[CardSection]:
    manifest = facts.manifest
    yield CardSection("What it is", facts=tuple(_what(manifest)))
    data = tuple(_data(manifest))
    yield CardSection("Training and test data", (APART,), data, _images(manifest))
    yield _how_good(manifest)
    if facts.outcome:
        comparison = f"Compared with {facts.outcome.current}: {facts.outcome.sentence}"
        yield CardSection("Result of the gate", (comparison,))
    notes = tuple(manifest.facts.get("notes", ()))
    yield CardSection("What it is not for", (*_not_for(manifest), *_limits(manifest), *notes))
    yield _signatures(facts)
    yield CardSection("What it is made of", tables=tuple(_made_of(manifest)))


def _what(manifest: Manifest) -> Iterator[Fact]:
    plan = manifest.facts.get("plan", {})
    untaught = [code for code in _codes(manifest) if code not in manifest.taxonomy.trained_codes]
    values = {
        "Trained": f"{manifest.created_at:%Y-%m-%d %H:%M} UTC",
        "Scheme": manifest.scheme,
        "Network": manifest.network,
        "Trained parts": "heads only" if plan.get("frozen") else "whole networks",
        "Framing": str(plan.get("framing", "")),
        "Crop recipe": manifest.recipe,
        "Seed": str(plan.get("seed", "")),
        "Trained codes": ", ".join(manifest.taxonomy.trained_codes),
        "Untrained codes": ", ".join(untaught),
    }
    yield from (Fact(name, value) for name, value in values.items() if value)


def _codes(manifest: Manifest) -> list[str]:
    """Return every code of its taxonomy, also those that had too few images."""
    wanted = manifest.facts.get("taxonomy", {}).get("subtype", ())
    return [f"{subtype['name']}{size}" for subtype in wanted for size in subtype.get("sizes", ())]


def _data(manifest: Manifest) -> Iterator[Fact]:
    validated = manifest.validated
    for side, title in (("train", "To train"), ("validation", "To choose"), ("test", "To test")):
        n = len(manifest.split.get(side, ()))
        yield Fact(title, f"{n} micrographs")
    if scope := validated.get("um_per_px"):
        yield Fact("Pixel size", f"{scope[0]:.3g} to {scope[1]:.3g} µm")
    titles = {
        "material": "Materials",
        "microscope": "Microscopes",
        "magnification": "Magnifications",
        "criteria": "Criteria",
    }
    for key, title in titles.items():
        yield Fact(title, _tally(validated.get(key) or {}) or "not recorded")
    yield Fact("Fingerprint", str(manifest.facts.get("data", "")))


def _tally(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({n})" for name, n in counts.items())


def _images(manifest: Manifest) -> tuple[Table, ...]:
    images = manifest.validated.get("images") or {}
    rows = tuple((code, str(n)) for code, n in images.items())
    return (Table("Micrographs per code, test images apart", ("code", "n"), rows),) if rows else ()


# --- how good -----------------------------------------------------------------------------------


def _how_good(manifest: Manifest) -> CardSection:
    metrics = manifest.metrics
    n = metrics.get("n") or 0
    if not n:
        return CardSection(
            "How good it is", ("It was not tested: no micrograph was left to test.",)
        )
    rows = tuple(
        (title, _value(estimated, form), _interval(estimated, form), str(n))
        for title, key, form in MEASURES
        for estimated in [estimate(metrics, key)]
    )
    table = Table("On its own test images", ("measure", "value", "95 % interval", "n"), rows)
    only = (
        f"On {n} test micrographs of specimens outside the training set; valid for the materials "
        "and microscopes above only."
    )
    tables = (table, _limit_table(metrics), _recalls(metrics), *_slices(metrics))
    return CardSection("How good it is", (only,), tables=tables)


def estimate(metrics: Mapping[str, Any], key: str) -> Mapping[str, float | None]:
    """Return a number with its interval, also where both are separate keys, as for NLL and ECE."""
    value = metrics[key]
    if isinstance(value, dict):
        return value
    low, high = metrics.get(f"{key}_interval") or (None, None)
    return {"value": value, "low": low, "high": high}


def _value(estimated: Mapping[str, float | None], form: str = SHARE) -> str:
    value = estimated.get("value")
    return "–" if value is None else format(value, form)


def _interval(estimated: Mapping[str, float | None], form: str = SHARE) -> str:
    low, high = estimated.get("low"), estimated.get("high")
    return "–" if low is None or high is None else f"{low:{form}} to {high:{form}}"


def _limit_table(metrics: Mapping[str, Any]) -> Table:
    rows = tuple(
        (name, _wrong(both["false_conform"]), _wrong(both["false_nonconform"]))
        for name, both in metrics.get("limits", {}).items()
    )
    columns = ("limit", "called conforming, is coarser", "called coarser, conforms")
    return Table("At each limit, with the one-sided 95 % bound", columns, rows)


def _wrong(counts: Mapping[str, Any]) -> str:
    bound = counts.get("upper95")
    at_most = f", at most {100 * bound:.1f} %" if bound is not None else ""
    return f"{counts['wrong']} of {counts['n']}{at_most}"


def _recalls(metrics: Mapping[str, Any]) -> Table:
    codes, predicted = metrics["confusion"]["codes"], metrics["confusion"]["rows_predicted"]
    totals = {code: sum(row[at] for row in predicted) for at, code in enumerate(codes)}
    rows = tuple((code, f"{predicted[at][at]} of {totals[code]}") for at, code in enumerate(codes))
    drawn = reports.confusion_svg(codes, predicted, "predicted and true structure codes")
    return Table("Right per true code", ("code", "right"), rows, drawn)


def _slices(metrics: Mapping[str, Any]) -> Iterator[Table]:
    rows = tuple(
        (f"{key} {value}", _value(estimated), _interval(estimated), str(estimated["n"]))
        for key, values in metrics.get("slices", {}).items()
        if len(values) > 1
        for value, estimated in values.items()
    )
    if rows:
        yield Table("By process data", ("only", "code right", "95 % interval", "n"), rows)


# --- limits, signatures, what it is made of -----------------------------------------------------


def _limits(manifest: Manifest) -> Iterator[str]:
    untaught = [code for code in _codes(manifest) if code not in manifest.taxonomy.trained_codes]
    if untaught:
        yield f"It was not trained on {', '.join(untaught)}; they should be flagged as unusual."
    if scope := manifest.validated.get("um_per_px"):
        yield (
            f"Fields outside {scope[0]:.3g} to {scope[1]:.3g} µm per pixel, or of unknown scale, "
            "go to review."
        )
    confusion = manifest.metrics.get("confusion")
    if confusion:
        rows = confusion["rows_predicted"]
        few = [
            code for at, code in enumerate(confusion["codes"]) if sum(row[at] for row in rows) < FEW
        ]
        if few:
            yield f"Fewer than {FEW} test images speak for {', '.join(few)}: read those with care."


def _signatures(facts: _Facts) -> CardSection:
    rows = tuple(
        (
            signature["by"],
            str(signature["at"])[:16].replace("T", " "),
            signature["reason"],
            _format_shown(signature.get("shown")),
        )
        for act in facts.promotions
        for signature in _list_signatures(act)
    )
    if not rows:
        return CardSection("Promotions", ("Not promoted.",))
    columns = ("who", "when (UTC)", "why", "shown: orders that would change")
    return CardSection("Promotions", tables=(Table("Signatures", columns, rows),))


def _format_shown(shown: Mapping[str, Any] | None) -> str:
    if not shown:
        return "–"
    mark = str(shown["sha256"])[:12]
    return f"{len(shown['changed'])} of {shown['orders']} (impact-{mark})"


def _made_of(manifest: Manifest) -> Iterator[Table]:
    yield Table("Files", ("file", "SHA-256"), tuple(manifest.files.items()))
    versions = manifest.facts.get("versions", {})
    rows = (("engine", str(manifest.facts.get("engine", ""))), *versions.items())
    yield Table("Environment", ("what", "version"), tuple(rows))
