"""`agent support licences`: parts of the program and their licences."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.app import load_settings
from agent.cli.console import err, print_json, table
from agent.cli.support_bundle import support
from agent.counts import format_count


@support.command()
def licences(
    context: typer.Context,
    sbom: Annotated[
        Path | None, typer.Option(help="File for a CycloneDX 1.6 bill of materials.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """List all parts of the program with their licences, including network weights."""
    from agent.host.licences import build_bill, list_parts

    bundles = load_settings(context).store.folder / "bundles"
    names = sorted(file.parent.name for file in bundles.glob("*/bundle.json"))
    listed = list_parts(names)
    if sbom:
        document = build_bill(listed, at=datetime.now(UTC), serial=uuid.uuid4())
        sbom.write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")
        err.print(f"{format_count(len(listed), 'part')} written to {sbom}", markup=False)
    if as_json:
        print_json([{"name": p.name, "version": p.version, "licence": p.licence} for p in listed])
    elif not sbom:
        table(("part", "version", "licence"), [(p.name, p.version, p.licence) for p in listed])
