"""Write what a study found: one page, what was measured as CSV, the figures as JSON; all or none.

In:  a `reports.StudyReport` and what it was made of. Out: three files side by side. Next: a person.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import reports
from agent.archive import write_whole
from agent.csv_export import csv_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from reports import StudyReport


def write_study(
    path: Path,
    page: StudyReport,
    *,
    columns: Sequence[str],
    rows: Iterable[Mapping[str, object]],
    document: Mapping[str, Any],
) -> None:
    """Write a study's files.

    Args:
        path: Of the page; `.csv` and `.json` lie beside it.
        page: What it says.
        columns: Of the CSV.
        rows: Of the CSV.
        document: What was found, as JSON has it.
    """
    write_whole(
        {
            path: reports.render_study(page).encode(),
            path.with_suffix(".csv"): csv_text(columns, rows).encode("utf-8-sig"),
            path.with_suffix(".json"): json.dumps(document, indent=1, ensure_ascii=False).encode(),
        }
    )
