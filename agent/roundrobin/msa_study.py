"""Run a measurement-system analysis: print its plan, collect the results, write its report.

The name of a plan is the order number of its images, and a run's number is their field, so that
they come in through the microscopes' folders like any others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import reports
from agent.errors import UsageError
from agent.files.csv_export import format_csv
from agent.files.whole_file import write_whole
from agent.orders.judge.limit import Direction, Limit, limit_at
from agent.orders.specifications.class_texts import name_scale
from agent.roundrobin.capability import (
    Measured,
    StudyRun,
    at_limit,
    plan_runs,
    run_from_json,
    scatter,
)
from agent.roundrobin.msa_page import Gathered, Thresholds, analysis_to_json, build_report
from agent.roundrobin.study_files import write_study

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from agent.store import MicrographView, Store
    from model import Taxonomy
    from reports import Language

PLAN, REPORT = "msa_plan", "msa"
"""Kinds of the records that plan and report leave."""
MOST_IMAGES = 100_000
PLAN_COLUMNS = (
    "run", "preparation", "specimen", "operator", "microscope", "image", "code", "remark",
)  # fmt: skip
COLUMNS = (
    "run", "preparation", "specimen", "operator", "microscope", "image", "true", "said",
)  # fmt: skip


# --- the plan -----------------------------------------------------------------------------------


def write_plan(  # noqa: PLR0917 - a plan is what it crosses
    store: Store,
    name: str,
    codes: Mapping[str, str],
    operators: Sequence[str],
    microscopes: Sequence[str],
    path: Path,
    *,
    images: int,
    preparations: int,
    seed: int,
    site: str,
    generated: str,
    by: str,
    at: datetime,
) -> int:
    """Plan the runs, and write their sheet and CSV.

    Args:
        store: Open; stores the plan and the true code of each specimen.
        name: Of the plan, and order number of its images.
        codes: Specimen → its true code. It is neither on the sheet nor in the CSV.
        operators: Who takes the images.
        microscopes: On which.
        path: Of the sheet; the CSV is next to it.
        images: How often each is imaged again.
        preparations: How often each specimen is prepared.
        seed: Of the order of the runs.
        site: The lab's name.
        generated: When it is written, in words.
        by: Who plans it.
        at: Now.

    Returns:
        The number of runs.

    Raises:
        UsageError: There is a plan of that name.
    """
    if store.records.latest(PLAN, name) is not None:
        raise UsageError(f"there is a plan {name!r} already; take another name.")
    runs = plan_runs(
        list(codes), operators, microscopes, images=images, preparations=preparations, seed=seed
    )
    page = reports.render("plan", site=site, name=name, runs=runs, generated=generated)
    rows = [{"run": run.number, **run.as_json()} for run in runs]
    write_whole(
        {
            path: page.encode(),
            path.with_suffix(".csv"): format_csv(PLAN_COLUMNS, rows).encode("utf-8-sig"),
        }
    )
    facts = {"seed": seed, "codes": dict(codes), "runs": [run.as_json() for run in runs]}
    store.records.add(PLAN, name, by=by, at=at, facts=facts)
    return len(runs)


# --- gathering ----------------------------------------------------------------------------------


def get_plan(store: Store, name: str) -> tuple[list[StudyRun], dict[str, str]]:
    """Return a plan's runs and the true code of each specimen.

    Raises:
        UsageError: There is no plan of that name.
    """
    record = store.records.latest(PLAN, name)
    if record is None:
        raise UsageError(f"there is no plan {name!r}; agent msa plan makes one.")
    return [run_from_json(run) for run in record.facts["runs"]], record.facts["codes"]


def gather_results(store: Store, name: str) -> Gathered:
    """Collect the model's live results of a plan's images.

    Raises:
        UsageError: There is no plan of that name.
    """
    runs, codes = get_plan(store, name)
    known = {run.number: run for run in runs}
    by_run: dict[int, list[MicrographView]] = {}
    faults = []
    for view in store.results.search(order=name, limit=MOST_IMAGES)[::-1]:
        if fault := _fault(view, known):
            faults.append(f"{view.path}: {fault}; it was left out.")
        else:
            by_run.setdefault(int(view.process_data["field"]), []).append(view)
    for number, views in sorted(by_run.items()):
        if len(views) > 1:
            faults.append(
                f"Run {number} has {len(views)} images; {views[-1].path}, the newest, counts."
            )
    newest = {number: views[-1] for number, views in by_run.items()}
    return Gathered(
        measured=tuple(
            Measured(run, codes[run.specimen], newest[run.number].result.structure_code)
            for run in runs
            if run.number in newest
        ),
        missing=tuple(run.number for run in runs if run.number not in newest),
        faults=tuple(faults),
        bundles=tuple(
            sorted({view.result.bundle for view in newest.values() if view.result.bundle})
        ),
    )


def _fault(view: MicrographView, runs: Mapping[int, StudyRun]) -> str:
    field, specimen = (view.process_data.get(key, "") for key in ("field", "specimen"))
    if not field.isdecimal() or int(field) not in runs:
        return f"its field {field!r} is no run of the plan"
    run = runs[int(field)]
    if specimen != run.specimen:
        return f"run {field} is of specimen {run.specimen}, the file says {specimen or 'none'}"
    planned = {"microscope": run.microscope, "operator": run.operator}
    for column, wanted in planned.items():  # a name the plan does not know may be another spelling
        value = view.process_data.get(column, "")
        if value != wanted and value in {getattr(other_run, column) for other_run in runs.values()}:
            return f"run {field} is planned with {column} {wanted}, the file says {value}"
    return ""


def gather_codes(store: Store, name: str, said: Mapping[str, str | None]) -> Gathered:
    """Collect codes that raters filled in.

    Args:
        store: Open.
        name: Of the plan.
        said: Number of a run → its code, None for one that could not be told.

    Raises:
        UsageError: There is no such plan or run.
    """
    runs, codes = get_plan(store, name)
    known = {str(run.number): run for run in runs}
    if strangers := [number for number in said if number not in known]:
        raise UsageError(f"there is no run {strangers[0]!r} in plan {name!r}; it has {len(runs)}.")
    return Gathered(
        measured=tuple(
            Measured(run, codes[run.specimen], said[number])
            for number, run in known.items()
            if number in said
        ),
        missing=tuple(run.number for number, run in known.items() if number not in said),
        faults=(),
        bundles=(),
    )


# --- the report ---------------------------------------------------------------------------------


def limits_in(measured: Sequence[Measured], taxonomy: Taxonomy) -> list[tuple[str, Limit]]:
    """Return every limit with true codes on both sides of it, "or finer", per subtype."""
    limits = []
    for subtype in taxonomy.subtypes:
        own = {
            taxonomy.parse(run.true)[1]
            for run in measured
            if taxonomy.parse(run.true)[0] == subtype.name
        }
        sizes = [size for size in subtype.sizes if size.name in own]
        limits += [(subtype.name, limit_at(subtype, size, Direction.FINER)) for size in sizes[1:]]
    return limits


def write_report(
    store: Store,
    name: str,
    gathered: Gathered,
    limits: Sequence[tuple[str, Limit]],
    path: Path,
    *,
    taxonomy: Taxonomy,
    thresholds: Thresholds,
    site: str,
    generated: str,
    by: str,
    at: datetime,
    language: Language = "en",
) -> dict[str, Any]:
    """Write the results of a plan as page, CSV and JSON.

    Args:
        store: Open; stores a record.
        name: Of the plan.
        gathered: The runs' codes.
        limits: Each with its subtype.
        path: Of the page; `.csv` and `.json` are next to it.
        taxonomy: The codes and their order.
        thresholds: What the lab requires.
        site: The lab's name.
        generated: When it is written, in words.
        by: Who requests it.
        at: Now.
        language: Of the page; CSV and JSON are in English.

    Returns:
        The values of the JSON file.

    Raises:
        UsageError: There is no result yet.
    """
    if not gathered.measured:
        raise UsageError(
            f"Plan {name!r} has no results: no image has it as its order number. Check the "
            "pattern of the source, or give the codes that raters filled in with --codes CSV."
        )
    subtypes = {taxonomy.parse(result.true)[0] for result in gathered.measured}
    kept = [
        at_limit(gathered.measured, subtype, limit, taxonomy)
        for subtype, limit in limits
        if subtype in subtypes
    ]
    split = scatter(gathered.measured, taxonomy)
    with reports.speaking("en"):
        document = analysis_to_json(name, gathered, kept, split, thresholds)
    rows = [
        {
            "run": result.run.number,
            **result.run.as_json(),
            "true": result.true,
            "said": result.said or "",
        }
        for result in gathered.measured
    ]
    with reports.speaking(language):
        page = build_report(
            name,
            gathered,
            kept,
            split,
            thresholds,
            site=site,
            generated=generated,
            scale_name=name_scale(taxonomy),
        )
        write_study(path, page, columns=COLUMNS, rows=rows, document=document)
    store.records.add(REPORT, name, by=by, at=at, facts=document)
    return document
