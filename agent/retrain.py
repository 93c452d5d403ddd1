"""Learn from what people said: labelled crops become a candidate, and a gate says why or why not.

In:  label rows, archived crops, the current bundle. Out: an `Outcome` with its numbers. Next: a
person, who promotes or does not. Nothing here promotes: training and judging a candidate change
nothing that is at work.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import structlog

from agent.errors import BadBundle
from agent.imaging.crop import RECIPE
from agent.labelled_folder import key_of, loader, slices_of
from agent.pipeline import maps_of
from agent.store import Finding
from agent.triage import triage
from model import (
    NOT_TAUGHT,
    Classifier,
    Example,
    Plan,
    TaxonomyError,
    compare,
    evaluate,
    not_taught,
    read_manifest,
    taxonomy_from,
    train,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from agent.archive import Archive
    from agent.store import MicrographView, Store
    from agent.triage import Policy
    from model import Comparison, Manifest, Prediction, Progress, Taxonomy

log = structlog.get_logger()

FOLDER = "bundles"
TOGETHER = 8


class Gate(StrEnum):
    """What the numbers say; a person decides."""

    RECOMMENDED = "recommended"
    NOT_RECOMMENDED = "not_recommended"
    NOT_ENOUGH_EVIDENCE = "not_enough_evidence"


@dataclass(frozen=True, slots=True)
class Collected:
    """What there is to learn from.

    Args:
        examples: Labelled micrographs whose crops are in the archive.
        codes: Structure code → how many.
        left_out: Why → how many labelled micrographs are not among them.
    """

    examples: tuple[Example, ...]
    codes: Mapping[str, int]
    left_out: Mapping[str, int]

    def new_since(self, manifest: Manifest) -> tuple[Example, ...]:
        """Say which of them the bundle has never seen, not even in its test."""
        seen = {key for keys in manifest.split.values() for key in keys}
        return tuple(example for example in self.examples if example.key not in seen)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a retraining ended.

    Args:
        gate: What the numbers say. sentence: why, for a person.
        candidate: The candidate's name, or "" where none was trained.
        current: The bundle at work, or "".
        numbers: Everything the sentence rests on.
    """

    gate: Gate
    sentence: str
    candidate: str
    current: str
    numbers: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """How far it is: what is being done, and how much of it."""

    stage: str
    done: int
    total: int
    note: str = ""


def bundles_in(store_folder: Path) -> Path:
    """Say where the bundles lie."""
    return store_folder / FOLDER


def bundle_named(store_folder: Path, name: str) -> Path:
    """Find a bundle by its name.

    Raises:
        BadBundle: There is none; the message names those there are.
    """
    folder = bundles_in(store_folder)
    if name and "/" not in name and "\\" not in name and (folder / name / "bundle.json").is_file():
        return folder / name
    there = ", ".join(path.name for path in every_bundle(store_folder)) or "none"
    raise BadBundle(f"no bundle is called {name!r}; in {folder} there are: {there}.")


def every_bundle(store_folder: Path) -> list[Path]:
    """List the bundles, oldest name first."""
    folder = bundles_in(store_folder)
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and (path / "bundle.json").is_file()
    )


# --- what there is to learn from ----------------------------------------------------------------


def collect(store: Store, archive: Archive, taxonomy: Taxonomy, *, group_by: str = "") -> Collected:
    """Gather every micrograph that somebody gave a structure code, with its archived crop.

    Args:
        store: Who said what.
        archive: The pixels.
        taxonomy: Codes outside it are counted, not learned.
        group_by: A column of the process data that must not be on two sides of a split, instead of
            the specimen.
    """
    examples = []
    codes: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    for one in store.labelled():
        reason = _why_not(one.code, one.recipe, archive.crop_path(one.sha256, one.page), taxonomy)
        if reason or one.code is None:
            left_out[reason] += 1
            continue
        codes[one.code] += 1
        examples.append(
            Example(
                key=key_of(one.sha256, one.page),
                code=one.code,
                group=str({**one.process_extra, **one.process_data}.get(group_by) or one.group),
                load=loader(
                    archive,
                    one.sha256,
                    one.page,
                    one.um_per_px,
                    one.process_data.get("microscope", ""),
                ),
                criterion=one.criterion,
                slices=slices_of(one.process_data),
            )
        )
    return Collected(tuple(examples), dict(codes), dict(left_out))


def _why_not(code: str | None, recipe: str, crop: Path, taxonomy: Taxonomy) -> str:
    try:
        taxonomy.parse(code or "")
    except TaxonomyError:
        return f"{code} is not in the taxonomy"
    if recipe != RECIPE:
        return f"cut by recipe {recipe}, not {RECIPE}: import it again"
    return "" if crop.is_file() else "its crop is no longer in the archive"


# --- teaching and judging -----------------------------------------------------------------------


def plan_of(manifest: Manifest, *, epochs: int = 0) -> Plan:
    """Say how a bundle was taught, to teach the next one the same way.

    Args:
        manifest: Of the bundle.
        epochs: Another number of epochs, 0 for the bundle's own.
    """
    known = set(Plan.__dataclass_fields__) - {"taxonomy", "weights"}
    said = {name: value for name, value in manifest.facts["plan"].items() if name in known}
    lists = {name: tuple(value) for name, value in said.items() if isinstance(value, list)}
    asked = {"epochs": epochs} if epochs else {}
    wanted = manifest.facts.get("taxonomy")  # with the codes that had no image then
    taxonomy = taxonomy_from(wanted) if wanted else manifest.taxonomy
    return Plan(taxonomy=taxonomy, **{**said, **lists, **asked})


def retrain(
    collected: Collected,
    *,
    current: Path,
    plan: Plan,
    bundles: Path,
    min_new: int,
    now: datetime,
    may_lose: float = 0.01,
) -> Iterator[Step | Outcome]:
    """Teach a candidate and hold it against the bundle at work, on images neither learned from.

    Args:
        collected: What there is to learn from.
        current: The folder of the bundle at work.
        plan: How to teach.
        bundles: Where the candidate is put.
        min_new: With fewer new labels than this nothing is taught.
        now: Aware UTC.
        may_lose: Share of the test images that a recommended candidate may lose on balance.

    Yields:
        `Step`s, last an `Outcome`.
    """
    manifest = read_manifest(current)
    new = collected.new_since(manifest)
    if len(new) < min_new:
        yield _too_few(len(new), min_new, manifest)
        return
    candidate: Path | None = None
    for progress in train(
        collected.examples, plan, bundles, kept=manifest.split, recipe=RECIPE, now=now
    ):
        candidate = progress.bundle or candidate
        yield _step(progress)
    if candidate is None:
        raise RuntimeError("training ended without a bundle")
    steps: list[Step] = []
    comparison = held_against(current, candidate, collected.examples, steps, may_lose=may_lose)
    yield from steps
    outcome = _outcome(comparison, candidate.name, manifest.name, len(new))
    log.info("model.trained", bundle=candidate.name, current=manifest.name, gate=str(outcome.gate))
    yield outcome


def _step(progress: Progress) -> Step:
    return Step(progress.stage, progress.done, progress.total, progress.note)


def _too_few(new: int, min_new: int, manifest: Manifest) -> Outcome:
    sentence = (
        f"Not enough evidence: {new} new label{'s' if new != 1 else ''} since {manifest.name}, "
        f"at least {min_new} are wanted (retrain.min_new_labels)."
    )
    return Outcome(Gate.NOT_ENOUGH_EVIDENCE, sentence, "", manifest.name, {"new_labels": new})


def held_against(
    current: Path,
    candidate: Path,
    examples: Sequence[Example],
    steps: list[Step],
    *,
    may_lose: float = 0.01,
) -> Comparison:
    """Judge two bundles on the candidate's test images that neither learned from.

    Images of codes that neither was taught are looked at too: both must flag them.

    Args:
        current: Folder of the bundle at work.
        candidate: Folder of the other one.
        examples: Where the images are.
        steps: What was done is appended here.
        may_lose: Share of the test images that a recommended candidate may lose on balance.
    """
    manifest = read_manifest(candidate)
    tested = set(manifest.split["test"])
    unseen = [example for example in examples if example.key in tested]
    taught = set(read_manifest(current).taxonomy.trained_codes)
    untaught = {
        kind: some
        for kind, some in not_taught(examples, manifest.taxonomy).items()
        if kind.removeprefix(NOT_TAUGHT) not in taught
    }
    found = []
    for name in (current, candidate):
        classifier = Classifier.load(name)
        found.append(evaluate(classifier, unseen, strange=untaught))
        steps.append(Step("comparison", len(found), 2, name.name))
    return compare(found[0], found[1], may_lose=may_lose)


def _outcome(comparison: Comparison, candidate: str, current: str, new: int) -> Outcome:
    gate = Gate.RECOMMENDED if comparison.recommend else Gate.NOT_RECOMMENDED
    if comparison.sentence.startswith("Not enough evidence"):
        gate = Gate.NOT_ENOUGH_EVIDENCE
    numbers = {**comparison.numbers, "new_labels": new}
    return Outcome(gate, comparison.sentence, candidate, current, numbers)


# --- judging again ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Again:
    """How judging again with another bundle went.

    Args:
        judged: Micrographs that have a new answer beside the old ones.
        known: Micrographs this bundle had answered before.
        lost: Micrographs whose crop is no longer in the archive.
        flips: Old code → new code → how many.
        flagged: How many are strange to this bundle.
    """

    judged: int
    known: int
    lost: int
    flips: Mapping[tuple[str, str], int]
    flagged: int


def reprocess(
    store: Store,
    archive: Archive,
    classifier: Classifier,
    *,
    policy: Policy,
    thresholds: Mapping[str, float],
    now: Callable[[], datetime],
) -> Iterator[Step | Again]:
    """Judge every archived micrograph with another bundle; its answers stand beside the old ones.

    Args:
        store: The books.
        archive: The pixels.
        classifier: The bundle that is asked.
        policy: The lab's triage policy.
        thresholds: Written beside each result.
        now: Says the time, aware UTC.

    Yields:
        `Step`s, last an `Again`.
    """
    views = [view for view in store.micrographs() if view.bundle != classifier.name]
    found = [view for view in views if archive.crop_path(view.sha256, view.page).is_file()]
    flips: Counter[tuple[str, str]] = Counter()
    judged = flagged = 0
    for start in range(0, len(found), TOGETHER):
        some = found[start : start + TOGETHER]
        fields = [
            loader(archive, v.sha256, v.page, v.um_per_px, v.process_data.get("microscope", ""))()
            for v in some
        ]
        for view, prediction in zip(some, classifier.classify(fields), strict=True):
            archive.keep_maps(view.sha256, view.page, prediction.bundle, maps_of(prediction))
            finding = _finding(view, prediction, policy, thresholds)
            if store.add_result(view.id, finding, role="reprocess", at=now()):
                judged += 1
                flagged += prediction.strangeness.flagged
                if view.structure_code and view.structure_code != prediction.structure_code:
                    flips[view.structure_code, prediction.structure_code] += 1
        yield Step("reprocess", min(start + TOGETHER, len(found)), len(found))
    yield Again(judged, len(found) - judged, len(views) - len(found), dict(flips), flagged)


def _finding(
    view: MicrographView, prediction: Prediction, policy: Policy, thresholds: Mapping[str, float]
) -> Finding:
    verdict = triage(
        prediction,
        sha256=view.sha256,
        um_per_px=view.um_per_px,
        warnings=view.warnings,
        material=view.process_data.get("material", ""),
        policy=policy,
    )
    return Finding(
        crop_facts={},
        process_data={},
        process_extra={},
        prediction=prediction,
        verdict=verdict,
        thresholds={**thresholds, **prediction.evidence_limits},
        origin=view.origin,
    )
