"""Write a bundle's model card, and the record of how it was trained and tested.

The card is written after training, and again after each signature. Every value comes from the
bundle and its promotions, so it can always be written again. The record is no part of the bundle:
nothing in it changes an answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import reports
from agent.files.csv_export import format_csv
from agent.files.whole_file import write_whole
from agent.orders.specifications.class_texts import name_scale
from agent.retrain.bundle_registry import get_record_folder
from agent.retrain.gate import Outcome, load_outcome
from agent.store import Promotion
from model import Manifest, read_manifest
from reports import DocumentSection, Fact, Language, Table, marked, ngettext
from reports import gettext as _

SHARE, NUMBER = ".1%", ".2f"
MEASURES = (
    (marked("structure code right"), "accuracy", SHARE),
    (marked("within one size"), "within_one_size", SHARE),
    (marked("macro-F1"), "macro_f1", NUMBER),
    (marked("agreement beyond chance (kappa)"), "kappa", NUMBER),
    (marked("negative log-likelihood of the true code (NLL)"), "nll", NUMBER),
    (marked("calibration error (ECE)"), "ece", NUMBER),
    (marked("prediction sets that contain the true code"), "coverage", SHARE),
    (marked("normal test images flagged as unusual"), "false_alarm_rate", SHARE),
)


def build_metrics_section(manifest: Manifest) -> DocumentSection:
    """Build the section on how good a bundle is, and how that was estimated."""
    metrics = manifest.metrics
    n = metrics.get("n") or 0
    if not n:
        untested = _("It was not tested: no micrograph was left to test.")
        return DocumentSection(
            _("How good it is"),
            (untested, *_describe_estimates(manifest)),
            tables=tuple(_list_cross_validation(manifest)),
        )
    rows = tuple(
        (_(title), _value(estimated, form), _interval(estimated, form), str(n))
        for title, key, form in MEASURES
        for estimated in [estimate(metrics, key)]
    )
    columns = (_("measure"), _("value"), _("95 % interval"), "n")
    table = Table(_("On its own test images"), columns, rows)
    only = _(
        "On {n} test micrographs of specimens outside the training set; valid for the materials "
        "and microscopes above only."
    ).format(n=n)
    lacking = [code for code, row in metrics["per_code"].items() if not row["n"]]
    untested = _("Not tested, as no test micrograph shows it: {codes}.")
    notes = (only, *([untested.format(codes=", ".join(lacking))] if lacking else ()))
    tables = (
        table,
        *_list_cross_validation(manifest),
        _limit_table(metrics),
        _recalls(metrics),
        *_slices(metrics),
    )
    return DocumentSection(
        _("How good it is"), (*notes, *_describe_estimates(manifest)), tables=tables
    )


def _describe_estimates(manifest: Manifest) -> Iterator[str]:
    """Yield how the figures were made if the heads in service learned from the test images too."""
    n = len(manifest.refitted_on)
    if not n:
        return
    yield ngettext(
        "After the test the heads in use were fitted again with {n} test micrograph. The test "
        "figures are of the heads before that.",
        "After the test the heads in use were fitted again with {n} test micrographs. The test "
        "figures are of the heads before that.",
        n,
    ).format(n=n)
    if estimate_ := manifest.facts.get("cross_validation"):
        yield _(
            "The cross-validated figures count {n} micrographs of {groups} groups. Each was "
            "predicted by heads fitted without its group, in {folds} folds. The "
            "penalty of the heads was chosen on the same folds."
        ).format(n=estimate_["n"], groups=estimate_["groups"], folds=estimate_["folds"])


def _list_cross_validation(manifest: Manifest) -> Iterator[Table]:
    metrics = manifest.facts.get("cross_validation")
    if not metrics:
        return
    rows = tuple(
        (_(title), _value(estimated, form), _interval(estimated, form), str(metrics["n"]))
        for title, key, form in MEASURES
        if key in metrics
        for estimated in [estimate(metrics, key)]
    )
    columns = (_("measure"), _("value"), _("95 % interval"), "n")
    yield Table(_("Cross-validated over all labels"), columns, rows)


def estimate(metrics: Mapping[str, Any], key: str) -> Mapping[str, float | None]:
    """Return a number with its interval, also where both are separate keys, as for NLL and ECE."""
    value = metrics[key]
    if isinstance(value, dict):
        return value
    low, high = metrics.get(f"{key}_interval") or (None, None)
    return {"value": value, "low": low, "high": high}


def _value(estimated: Mapping[str, float | None], form: str = SHARE) -> str:
    value = estimated.get("value")
    return "–" if value is None else _format(value, form)


def _interval(estimated: Mapping[str, float | None], form: str = SHARE) -> str:
    low, high = estimated.get("low"), estimated.get("high")
    if low is None or high is None:
        return "–"
    return _("{low} to {high}").format(low=_format(low, form), high=_format(high, form))


def _format(value: float, form: str) -> str:
    """Format a share or a number as the language writes it."""
    if form == SHARE:
        return f"{reports.decimal(100 * value, '.1f')} %"
    return reports.decimal(value, form)


def format_number(value: float) -> str:
    """Format a number with three digits as the language writes it."""
    return reports.decimal(value, ".3g")


def _limit_table(metrics: Mapping[str, Any]) -> Table:
    rows = tuple(
        (name, _wrong(both["false_conform"]), _wrong(both["false_nonconform"]))
        for name, both in metrics.get("limits", {}).items()
    )
    columns = (_("limit"), _("called conforming, is coarser"), _("called coarser, conforms"))
    return Table(_("At each limit, with the one-sided 95 % bound"), columns, rows)


def _wrong(counts: Mapping[str, Any]) -> str:
    bound = counts.get("upper95")
    share = _("{wrong} of {n}").format(wrong=counts["wrong"], n=counts["n"])
    if bound is None:
        return share
    return _("{share}, at most {bound}").format(share=share, bound=_format(bound, SHARE))


def _recalls(metrics: Mapping[str, Any]) -> Table:
    codes, predicted = metrics["confusion"]["codes"], metrics["confusion"]["rows_predicted"]
    share = _("{right} of {n}")
    rows = tuple(
        (
            code,
            share.format(right=row["right"], n=row["n"]),
            share.format(right=row["covered"], n=row["n"]),
        )
        for code, row in metrics["per_code"].items()
        if row["n"]
    )
    drawn = reports.confusion_svg(codes, predicted, _("predicted and true structure codes"))
    columns = (_("code"), _("right"), _("in the prediction set"))
    return Table(_("Right per true code"), columns, rows, drawn)


def _slices(metrics: Mapping[str, Any]) -> Iterator[Table]:
    rows = tuple(
        (f"{key} {value}", _value(estimated), _interval(estimated), str(estimated["n"]))
        for key, values in metrics.get("slices", {}).items()
        if len(values) > 1
        for value, estimated in values.items()
    )
    if rows:
        columns = (_("only"), _("code right"), _("95 % interval"), "n")
        yield Table(_("By process data"), columns, rows)


def save_record(bundle: Path) -> Path:
    """Write how a bundle was trained and tested, into its folder `record`.

    Returns:
        The folder: `epochs.csv` and `curves-NETWORK.svg` where whole networks were trained,
        `confusion.svg`, and one per stage, where there were test images.
    """
    manifest = read_manifest(bundle)
    folder = get_record_folder(bundle)
    epochs = manifest.facts.get("history", [])
    write_figures(folder, manifest.metrics, f"bundle {bundle.name}", epochs)
    return folder


def write_figures(
    folder: Path,
    metrics: Mapping[str, Any],
    title: str,
    epochs: Sequence[Mapping[str, Any]] = (),
) -> list[Path]:
    """Write an evaluation's confusion matrices, and the losses of training per epoch.

    Args:
        folder: Created if missing.
        metrics: `Evaluation.as_json()`; nothing is drawn where nothing was tested.
        title: Above each matrix.
        epochs: Of every network, each naming it as "eye".

    Returns:
        The files.
    """
    from reports import confusion_svg, curves_svg  # noqa: PLC0415 - matplotlib takes seconds

    files: dict[Path, bytes] = {}
    if metrics.get("n"):
        confusion = metrics["confusion"]
        drawn = confusion_svg(confusion["codes"], confusion["rows_predicted"], title)
        files[folder / "confusion.svg"] = drawn.encode()
        for stage, stage_confusion in metrics.get("stage_confusions", {}).items():
            what = "subtype" if stage == "subtype" else "size"
            heading = f"{title}: {stage.replace('size:', 'sizes of ')}"
            drawn = confusion_svg(
                stage_confusion["classes"], stage_confusion["rows_predicted"], heading, what
            )
            files[folder / f"confusion-{stage.replace(':', '-')}.svg"] = drawn.encode()
    if epochs:
        files[folder / "epochs.csv"] = format_csv(list(epochs[0]), epochs).encode()
    for eye in dict.fromkeys(epoch["eye"] for epoch in epochs):
        own = [epoch for epoch in epochs if epoch["eye"] == eye]
        name = f"curves-{eye.replace(':', '-')}.svg"
        files[folder / name] = curves_svg(own, f"network {eye}").encode()
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(files)
    return list(files)


APART = marked("No specimen is in both training and test set.")
FEW = 20
"""With fewer test images a code's figures are too uncertain."""
NO_VERDICT = marked(
    "It returns a structure code. Whether an order conforms follows from the specification limits; "
    "a reviewer confirms it, unless the lab permits automatic conformity."
)
NO_INCLUSIONS = marked(
    "It rates no inclusions (ISO 4967); a dark particle is a possible one at most."
)
NOT_FOR = (NO_VERDICT, NO_INCLUSIONS)


@dataclass(frozen=True, slots=True)
class _Facts:
    """Sources of a card."""

    manifest: Manifest
    outcome: Outcome | None
    promotions: tuple[Promotion, ...]
    current: str | None


def save_card(
    bundle: Path,
    promotions: Sequence[Promotion],
    *,
    site: str,
    at: str,
    language: Language = "en",
) -> tuple[Path, Path]:
    """Write a bundle's card into its record.

    Args:
        bundle: Its folder.
        promotions: Of every bundle, the newest first.
        site: Name of the site.
        at: When, and by which program, in words.
        language: Of the page; the JSON is in English.

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
    with reports.speaking("en"):
        content = json.dumps(card_to_json(facts), ensure_ascii=False, indent=1, default=str)
    with reports.speaking(language):
        html = reports.render(
            "card",
            site=site,
            name=manifest.name,
            state=_state(facts),
            is_current=current == manifest.name,
            sections=list(_sections(facts)),
            generated=at,
        )
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
        "cross_validation": manifest.facts.get("cross_validation", {}),
        "learned_after_test": len(manifest.refitted_on),
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


def _state(facts: _Facts) -> str:
    if not facts.promotions:
        return _("A candidate: not promoted.")
    last = facts.promotions[0]
    sentence = (
        _("In use since {when}, signed by {names}: {reason}")
        if facts.current == facts.manifest.name
        else _("Retired; last promoted on {when}, signed by {names}: {reason}")
    )
    return sentence.format(
        when=f"{last.promoted_at:%Y-%m-%d}",
        names=", ".join(signature["by"] for signature in _list_signatures(last)),
        reason=last.reason,
    )


def _not_for(manifest: Manifest) -> tuple[str, ...]:
    scale = name_scale(manifest.taxonomy)
    return (*map(_, NOT_FOR), *([scale] if scale else ()))


def _sections(facts: _Facts) -> Iterator[DocumentSection]:
    manifest = facts.manifest
    yield DocumentSection(_("What it is"), facts=tuple(_what(manifest)))
    data = tuple(_data(manifest))
    yield DocumentSection(_("Training and test data"), (_(APART),), data, _images(manifest))
    yield build_metrics_section(manifest)
    if facts.outcome:
        comparison = _("Compared with {current}: {sentence}").format(
            current=facts.outcome.current, sentence=facts.outcome.sentence
        )
        yield DocumentSection(_("Result of the gate"), (comparison,))
    notes = tuple(manifest.facts.get("notes", ()))
    yield DocumentSection(
        _("What it is not for"), (*_not_for(manifest), *_limits(manifest), *notes)
    )
    yield _signatures(facts)
    yield DocumentSection(_("What it is made of"), tables=tuple(_made_of(manifest)))


def _what(manifest: Manifest) -> Iterator[Fact]:
    plan = manifest.facts.get("plan", {})
    untaught = [code for code in _codes(manifest) if code not in manifest.taxonomy.trained_codes]
    values = {
        _("Trained"): f"{manifest.created_at:%Y-%m-%d %H:%M} UTC",
        _("Scheme"): manifest.scheme,
        _("Network"): manifest.network,
        _("Trained parts"): _("heads only") if plan.get("frozen") else _("whole networks"),
        _("Framing"): _format_framing(manifest),
        _("Crop recipe"): manifest.recipe,
        _("Seed"): str(plan.get("seed", "")),
        _("Trained codes"): ", ".join(manifest.taxonomy.trained_codes),
        _("Untrained codes"): ", ".join(untaught),
    }
    yield from (Fact(name, value) for name, value in values.items() if value)


def _format_framing(manifest: Manifest) -> str:
    """Return the framing of the training; in words where the pixels are kept."""
    planned = str(manifest.facts.get("plan", {}).get("framing", ""))
    if manifest.framing.kind == "native" != planned:
        return _("own pixels, because the images are of many scales")
    return planned


def _codes(manifest: Manifest) -> list[str]:
    """Return every code of its taxonomy, also those that had too few images."""
    wanted = manifest.facts.get("taxonomy", {}).get("subtype", ())
    return [f"{subtype['name']}{size}" for subtype in wanted for size in subtype.get("sizes", ())]


def _data(manifest: Manifest) -> Iterator[Fact]:
    validated = manifest.validated
    for side, title in (
        ("train", _("To train")),
        ("validation", _("To validate")),
        ("test", _("To test")),
    ):
        n = len(manifest.split.get(side, ()))
        yield Fact(title, ngettext("{n} micrograph", "{n} micrographs", n).format(n=n))
    if scope := validated.get("um_per_px"):
        sizes = _("{low} to {high} µm").format(
            low=format_number(scope[0]), high=format_number(scope[1])
        )
        yield Fact(_("Pixel size"), sizes)
    titles = {
        "material": _("Materials"),
        "microscope": _("Microscopes"),
        "magnification": _("Magnifications"),
        "criteria": _("Criteria"),
    }
    for key, title in titles.items():
        yield Fact(title, _tally(validated.get(key) or {}) or _("not recorded"))
    yield Fact(_("Fingerprint"), str(manifest.facts.get("data", "")))


def _tally(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({n})" for name, n in counts.items())


def _images(manifest: Manifest) -> tuple[Table, ...]:
    images = manifest.validated.get("images") or {}
    rows = tuple((code, str(n)) for code, n in images.items())
    title = _("Micrographs per code, without test images")
    return (Table(title, (_("code"), "n"), rows),) if rows else ()


# --- limits, signatures, what it is made of -----------------------------------------------------


def _limits(manifest: Manifest) -> Iterator[str]:
    untaught = [code for code in _codes(manifest) if code not in manifest.taxonomy.trained_codes]
    if untaught:
        yield _("It was not trained on {codes}; they should be flagged as unusual.").format(
            codes=", ".join(untaught)
        )
    if scope := manifest.validated.get("um_per_px"):
        yield _(
            "Fields outside {low} to {high} µm per pixel, or of unknown scale, go to review."
        ).format(low=format_number(scope[0]), high=format_number(scope[1]))
    confusion = manifest.metrics.get("confusion")
    if confusion:
        rows = confusion["rows_predicted"]
        few = [
            code for at, code in enumerate(confusion["codes"]) if sum(row[at] for row in rows) < FEW
        ]
        if few:
            yield _("Fewer than {few} test images of {codes}: their figures are uncertain.").format(
                few=FEW, codes=", ".join(few)
            )


def _signatures(facts: _Facts) -> DocumentSection:
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
        return DocumentSection(_("Promotions"), (_("Not promoted."),))
    columns = (_("who"), _("when (UTC)"), _("why"), _("shown: orders that would change"))
    return DocumentSection(_("Promotions"), tables=(Table(_("Signatures"), columns, rows),))


def _format_shown(shown: Mapping[str, Any] | None) -> str:
    if not shown:
        return "–"
    mark = str(shown["sha256"])[:12]
    return _("{n} of {orders} (impact-{mark})").format(
        n=len(shown["changed"]), orders=shown["orders"], mark=mark
    )


def _made_of(manifest: Manifest) -> Iterator[Table]:
    yield Table(_("Files"), (_("file"), "SHA-256"), tuple(manifest.files.items()))
    versions = manifest.facts.get("versions", {})
    rows = ((_("engine"), str(manifest.facts.get("engine", ""))), *versions.items())
    yield Table(_("Environment"), (_("what"), _("version")), tuple(rows))
