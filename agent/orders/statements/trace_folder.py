"""Write a trace into a folder: pixels, a page to print, one JSON, and a hash of every file.

The folder is written whole or not at all. Originals are copied and never written to; a copy of
other bytes than were judged is left out.

    trace.html  trace.json  SHA256SUMS
    pixels/<id>/original.tif crop.png valid.png preview.jpg
    specifications/<name>-<version>.json  statements/<order>-<number>.json  bundles/<name>.json
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.errors import WrongUse
from agent.orders.statements.order_json import trace_to_json
from agent.orders.statements.statement import plain
from agent.orders.statements.trace_page import render_trace
from agent.store import to_canonical
from reports import speaking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from agent.archive import Archive
    from agent.orders.statements.trace import Trace
    from agent.store import MicrographView
    from reports import Language

PAGE, DOCUMENT, SUMS = "trace.html", "trace.json", "SHA256SUMS"
PIXELS, SPECIFICATIONS, STATEMENTS, BUNDLES = "pixels", "specifications", "statements", "bundles"


@dataclass(frozen=True, slots=True)
class TraceSignature:
    """Author, site, software and time of a trace; language of its page."""

    by: str
    site: str
    zone: str
    software: str
    at: datetime
    language: Language = "en"


def require_new_folder(folder: Path) -> Path:
    """Return a folder that does not exist yet. Raises `WrongUse`: nothing is overwritten."""
    if folder.exists():
        raise WrongUse(f"{folder}: already there, and is left as it is; name another folder.")
    return folder


def write_trace(
    trace: Trace, folder: Path, *, archive: Archive, bundles: Path, signature: TraceSignature
) -> None:
    """Write a trace into a folder that does not exist yet.

    Args:
        trace: The trace.
        folder: From `require_new_folder`; it is made, its parent too.
        archive: The pixels.
        bundles: Folder of the bundles; their manifests are copied.
        signature: Author, site, software and time.

    Raises:
        WrongUse: The folder cannot be written.
    """
    part = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        _fill(part, trace, archive=archive, bundles=bundles, signature=signature)
        part.rename(folder)
    except OSError as error:
        raise WrongUse(f"{folder}: cannot be written ({error.strerror or error}).") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _fill(
    folder: Path, trace: Trace, *, archive: Archive, bundles: Path, signature: TraceSignature
) -> None:
    kept = {field.view.id: _keep(folder, field.view, archive) for field in trace.fields}
    for name, document in _iter_documents(trace, bundles):
        _write_json(folder / name, document)
    for order in trace.orders:
        for made in order.statements:
            path = folder / STATEMENTS / made.file
            path.parent.mkdir(exist_ok=True)
            path.write_text(to_canonical(made.whole), encoding="utf-8", newline="")
    files = {public_id: names for public_id, (names, _origin) in kept.items()}
    head = {
        "site": signature.site,
        "written_at": signature.at.isoformat(),
        "written_by": signature.by,
        "software": signature.software,
    }
    _write_json(folder / DOCUMENT, head | trace_to_json(trace, files))
    with speaking(signature.language):
        page = render_trace(
            trace,
            archive=archive,
            pixels={public_id: origin for public_id, (_names, origin) in kept.items()},
            site=signature.site,
            zone=signature.zone,
            by=signature.by,
            software=signature.software,
            at=signature.at,
        )
    (folder / PAGE).write_text(page, encoding="utf-8")
    sums = "".join(f"{sum_}  {name}\n" for sum_, name in _iter_sums(folder))
    (folder / SUMS).write_text(sums, encoding="utf-8")


def _iter_documents(trace: Trace, bundles: Path) -> Iterator[tuple[str, Any]]:
    """Yield the documents that a trace refers to, each with the name of its file."""
    for order in trace.orders:
        wanted, version = order.assessed.specification, order.assessed.version
        if wanted:
            yield f"{SPECIFICATIONS}/{plain(wanted.name)}-{version}.json", wanted.entry
    for name in sorted(
        {field.view.result.bundle for field in trace.fields if field.view.result.bundle}
    ):
        try:
            manifest = json.loads((bundles / name / "bundle.json").read_text("utf-8"))
        except (OSError, ValueError):
            continue  # the page says of each of its fields that the bundle is not here
        yield f"{BUNDLES}/{plain(name)}.json", manifest


def _write_json(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, ensure_ascii=False, indent=1, default=str)
    path.write_text(text + "\n", encoding="utf-8")


# --- pixels -------------------------------------------------------------------------------------


def _keep(folder: Path, view: MicrographView, archive: Archive) -> tuple[list[str], str]:
    """Copy one field's pixels: what was archived, and the original where it can be had.

    Returns:
        Names of the copies below the folder, and where they come from, in words.
    """
    target = folder / PIXELS / view.id
    target.mkdir(parents=True)
    archived = {
        "crop.png": archive.crop_path(view.sha256, view.page),
        "valid.png": archive.valid_path(view.sha256, view.page),
        "preview.jpg": archive.preview_path(view.sha256, view.page),
    }
    files = {name: path for name, path in archived.items() if archive.has(path)}
    for name, path in files.items():
        shutil.copyfile(archive.make_local(path), target / name)
    original, origin = _copy_original(target, view, archive)
    if not original:
        origin = f"{'the archived crop' if 'crop.png' in files else 'none'}; {origin}"
    names = (*([original] if original else ()), *files)
    below = f"{PIXELS}/{view.id}"
    return [f"{below}/{name}" for name in names], origin


def _copy_original(target: Path, view: MicrographView, archive: Archive) -> tuple[str, str]:
    kept = archive.original_path(view.sha256)
    path = kept or Path(view.path)
    copy = target / f"original{path.suffix.lower()}"
    try:
        shutil.copyfile(archive.make_local(path) if kept else path, copy)
    except OSError as error:
        return "", f"the original cannot be read ({error.strerror or error})"
    if _compute_sha256(copy) != view.sha256:
        copy.unlink()
        return "", f"{path} holds other bytes than those that were judged"
    where = "from the archive" if kept else f"from {path}"
    return copy.name, f"the original bytes, {where}"


def _iter_sums(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield _compute_sha256(path), path.relative_to(folder).as_posix()


def _compute_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
