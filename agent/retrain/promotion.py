"""What a lead is shown before signing for a bundle, and what prevents the signature.

The record is read as JSON: a page that shows it must not wait for PyTorch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from agent.errors import UnusableBundleError, UsageError
from agent.retrain.bundle_registry import get_record_folder
from reports import decimal, marked
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from agent.retrain.impact import Impact
    from model import Taxonomy


T = TypeVar("T")
GATE_FILE = "gate.json"
"""File of a bundle's verdict, in its record."""


def read_gate_record(bundle: Path, parse: Callable[[dict[str, Any]], T]) -> T | None:
    """Read the verdict of a bundle; None where it was never compared with another.

    Args:
        bundle: Its folder.
        parse: Builds what is returned; it may raise for facts that are missing or of another form.

    Raises:
        UnusableBundleError: The record is broken; the bundle's answers do not depend on it.
    """
    path = get_record_folder(bundle) / GATE_FILE
    try:
        return parse(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnusableBundleError(
            f"{path}: the result of the gate cannot be read ({error}). To compare two bundles "
            "again: agent models show --against."
        ) from error


TITLES: Mapping[str, str] = {
    "evidence": marked("Evidence"),
    "floors": marked("Accuracy floor"),
    "overall": marked("Accuracy against the bundle in use"),
    "limits": marked("False conforming at limits in use"),
    "calibration": marked("Calibration"),
    "false_alarms": marked("Ordinary micrographs flagged"),
    "strange": marked("Known unusual micrographs flagged"),
    "strangers": marked("Unusual new micrographs"),
    "corrected": marked("Corrected micrographs wrong again"),
    "latency": marked("Run time"),
    "codes": marked("Each structure code"),
    "slices": marked("Each plant, microscope and material"),
    "criteria": marked("Each criterion"),
}
REQUIRED: Mapping[str, str] = {
    "evidence": marked("enough new or differently graded specimens"),
    "floors": marked("structure codes right, and a recall of each code"),
    "overall": marked("largest loss at the far end of the 95 % interval"),
    "limits": marked("no more than the bundle in use"),
    "calibration": marked("no significant loss"),
    "false_alarms": marked("no more than the rate that is set"),
    "strange": marked("no significant loss"),
    "strangers": marked("at most half of a code, or fewer than five"),
    "corrected": marked("answers stay right"),
    "latency": marked("relative to the bundle in use"),
}
BEYOND_CHANCE = marked("no loss beyond chance (one-sided, Holm)")


@dataclass(frozen=True, slots=True)
class GateCheck:
    """One check of the gate.

    Args:
        title: Its name.
        required: What is required, in words.
        found: What was measured.
        limit: The limit, "" where it has none.
        passed: Whether the candidate meets it.
        sentence: The same as the gate states it.
    """

    title: str
    required: str
    found: str
    limit: str
    passed: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class GateFlip:
    """A reference image that both bundles answer differently.

    Args:
        key: Of the image.
        true: Its code.
        current: Answer of the bundle in use then.
        candidate: Answer of the candidate.
    """

    key: str
    true: str
    current: str
    candidate: str


@dataclass(frozen=True, slots=True)
class GateRecord:
    """The verdict of the gate as it was recorded.

    Args:
        gate: "recommended", "not_recommended" or "not_enough_evidence".
        sentence: The verdict in one sentence.
        current: Bundle that the candidate was compared with.
        n: Test images.
        checks: Every check.
        flips: Images with another answer.
    """

    gate: str
    sentence: str
    current: str
    n: int
    checks: tuple[GateCheck, ...]
    flips: tuple[GateFlip, ...]


def load_gate_record(bundle: Path) -> GateRecord | None:
    """Load the verdict in a bundle's record; None where it was never compared with another.

    Raises:
        UnusableBundleError: The record is broken.
    """
    return read_gate_record(bundle, _parse_record)


def _parse_record(facts: Mapping[str, Any]) -> GateRecord:
    numbers = facts["numbers"]
    return GateRecord(
        gate=str(facts["gate"]),
        sentence=str(facts["sentence"]),
        current=str(facts["current"]),
        n=int(numbers.get("n", 0)),
        checks=tuple(build_check(check) for check in numbers.get("checks", ())),
        flips=tuple(
            GateFlip(flip["key"], flip["true"], flip["current"], flip["candidate"])
            for flip in numbers.get("flips", ())
        ),
    )


def build_check(check: Mapping[str, Any]) -> GateCheck:
    """Build the row of one check; one without numbers of a known form shows its sentence."""
    name, sentence = str(check["name"]), str(check["sentence"])
    try:
        found, limit = _MEASURES.get(name, _measure_parts)(check["numbers"])
    except (KeyError, TypeError, ValueError):
        found, limit = sentence, ""
    title = _(TITLES[name]) if name in TITLES else name.replace("_", " ").capitalize()
    return GateCheck(
        title=title,
        required=_(REQUIRED.get(name, BEYOND_CHANCE)),
        found=found,
        limit=limit,
        passed=bool(check["passed"]),
        sentence=sentence,
    )


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{decimal(100 * share, '.1f')} %"


def _measure_evidence(numbers: Mapping[str, Any]) -> tuple[str, str]:
    differ = numbers["won_specimens"] + numbers["lost_specimens"]
    found = _("{new} new specimens, {differ} graded differently").format(
        new=numbers["new_specimens"], differ=differ
    )
    return found, _("{new} or {differ}").format(new=20, differ=6)


def _measure_floors(numbers: Mapping[str, Any]) -> tuple[str, str]:
    right = numbers["accuracy"]
    found = _("{value} (95 % interval {low} to {high})").format(
        **{key: _percent(right[key]) for key in ("value", "low", "high")}
    )
    return found, _percent(numbers["min_accuracy"])


def _measure_overall(numbers: Mapping[str, Any]) -> tuple[str, str]:
    lost, change = numbers["most_lost"], numbers["change"]["value"]
    found = _("{change} points; loses at most {lost}").format(
        change=decimal(100 * (change or 0.0), "+.1f"),
        lost="–" if lost is None else decimal(100 * lost, ".1f"),
    )
    return found, _("{n} points").format(n=decimal(100 * numbers["may_lose"], ".1f"))


def _measure_limits(numbers: Mapping[str, Any]) -> tuple[str, str]:
    if not numbers:
        return _("no limit is in use"), ""
    return _("limits compared: {n}").format(n=len(numbers)), _("that of the bundle in use")


def _measure_calibration(numbers: Mapping[str, Any]) -> tuple[str, str]:
    found = _("calibration error {ece} points, loss {nll}").format(
        ece=decimal(100 * (numbers["ece_change"]["value"] or 0.0), "+.1f"),
        nll=decimal(numbers["nll_change"]["value"] or 0.0, "+.3f"),
    )
    return found, _("{ece} points, {nll}").format(
        ece=decimal(1.0, "+.1f"), nll=decimal(0.02, "+.2f")
    )


def _measure_false_alarms(numbers: Mapping[str, Any]) -> tuple[str, str]:
    return _n_of_m(numbers["candidate"], numbers["n"]), _percent(numbers["alpha"])


def _measure_unusual(numbers: Mapping[str, Any]) -> tuple[str, str]:
    if not numbers["n"]:
        return _("none known"), ""
    return _n_of_m(numbers["candidate"], numbers["n"]), _n_of_m(numbers["current"], numbers["n"])


def _measure_strangers(numbers: Mapping[str, Any]) -> tuple[str, str]:
    counts = [f"{code}: {_n_of_m(part['strange'], part['n'])}" for code, part in numbers.items()]
    return "; ".join(counts) or _("no new micrograph"), _percent(0.5)


def _measure_corrected(numbers: Mapping[str, Any]) -> tuple[str, str]:
    return _n_of_m(numbers["back"], numbers["n"]), str(numbers["allowed"])


def _measure_latency(numbers: Mapping[str, Any]) -> tuple[str, str]:
    slowdown = numbers["slowdown"]
    found = _("not measured") if slowdown is None else f"{decimal(slowdown, '.2f')} ×"
    return found, f"{decimal(numbers['max_slowdown'], 'g')} ×"


def _measure_parts(numbers: Mapping[str, Any]) -> tuple[str, str]:
    """Return the parts of which fewer are right than before, for codes and slices."""
    lost = [
        f"{part}: {_n_of_m(counts['candidate'], counts['n'])}, {counts['current']}"
        for part, counts in numbers.items()
        if counts["candidate"] < counts["current"]
    ]
    found = "; ".join(lost[:4]) or _("no part has fewer right")
    return found, "p < 0.01"


def _n_of_m(n: int, m: int) -> str:
    return _("{n} of {m}").format(n=n, m=m)


_MEASURES: Mapping[str, Callable[[Mapping[str, Any]], tuple[str, str]]] = {
    "evidence": _measure_evidence,
    "floors": _measure_floors,
    "overall": _measure_overall,
    "limits": _measure_limits,
    "calibration": _measure_calibration,
    "false_alarms": _measure_false_alarms,
    "strange": _measure_unusual,
    "strangers": _measure_strangers,
    "corrected": _measure_corrected,
    "latency": _measure_latency,
}


DAYS = 90
"""Days of orders that are compared before a promotion."""
SHADOW: Final = "shadow"
"""Role of a candidate's answers, and name of the job that computes them."""


def has_evidence(bundle: Path, before: str | None) -> bool:
    """Return whether a gate recommends a bundle in place of the one in use.

    Args:
        bundle: Folder of the bundle.
        before: Name of the bundle in use; None: there is none to compare with.
    """
    if before is None:
        return True
    try:
        record = load_gate_record(bundle)
    except UnusableBundleError:
        return False
    return record is not None and record.gate == "recommended" and record.current == before


def describe_gate(bundle: Path, before: str | None) -> str:
    """Return the result of a bundle's gate, and whether it still applies.

    Args:
        bundle: Folder of the bundle.
        before: Name of the bundle in use, or None.
    """
    try:
        record = load_gate_record(bundle)
    except UnusableBundleError as broken:
        return str(broken)
    if record is None:
        again = (
            f" To compare it: agent models show --against {before} {bundle.name}" if before else ""
        )
        return f"No gate has compared {bundle.name} with another bundle.{again}"
    result = f"Result of the gate: {record.sentence}"
    if before in {None, record.current}:
        return result
    return (
        f"{result} The gate compared it with {record.current}; {before} is in use now. To compare "
        f"it with {before}: agent models show --against {before} {bundle.name}"
    )


def require_same_codes(name: str, taxonomy: Taxonomy, active: Taxonomy) -> None:
    """Refuse rings for a bundle with other structure codes: one taxonomy is active at all PCs.

    Args:
        name: Of the bundle.
        taxonomy: Of the bundle.
        active: The active taxonomy.

    Raises:
        UsageError: The structure codes differ.
    """
    if differing := sorted(set(taxonomy.codes) ^ set(active.codes)):
        raise UsageError(
            f"{name} has other structure codes than the active taxonomy ({', '.join(differing)}), "
            "and PCs with different codes cannot work on one order. Promote it on all PCs at once: "
            f"agent models promote {name}."
        )


def require_known_impact(impact: Impact) -> None:
    """Refuse a promotion whose effect on orders is not known.

    Raises:
        UsageError: The bundle has not answered every field that counts.
    """
    if impact.unasked:
        raise UsageError(
            f"{impact.bundle} has no answer for {impact.unasked} fields of the last {impact.days} "
            f"days, so its effect on orders is unknown. Run agent models reprocess --bundle "
            f"{impact.bundle} --shadow --days {impact.days}, or choose on its page “Classify the "
            "last 90 days with it”. Then sign; or choose fewer days with --days."
        )
