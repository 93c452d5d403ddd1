"""Write the files of a study: one page, the ratings as CSV, the figures as JSON; all or none."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import reports
from agent.files.csv_export import format_csv
from agent.files.whole_file import write_whole


def write_study(
    path: Path,
    page: Mapping[str, Any],
    *,
    columns: Sequence[str],
    rows: Iterable[Mapping[str, object]],
    document: Mapping[str, Any],
) -> None:
    """Write a study's files.

    Args:
        path: Of the page; `.csv` and `.json` are next to it.
        page: What its template shows.
        columns: Of the CSV.
        rows: Of the CSV.
        document: Values of the JSON.
    """
    write_whole(
        {
            path: reports.render("study", **page).encode(),
            path.with_suffix(".csv"): format_csv(columns, rows).encode("utf-8-sig"),
            path.with_suffix(".json"): json.dumps(document, indent=1, ensure_ascii=False).encode(),
        }
    )
