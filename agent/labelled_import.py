"""Import a labelled folder: micrographs cropped by the pipeline, and a label for each.

Labelled micrographs go through the pipeline like every other (`origin = import`: in no night, in
no queue), so training images have the crop recipe of classified ones. An unusable file is named and
never stops the rest.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from agent.csv_export import plain
from agent.errors import BadStore, FileError, WrongUse
from agent.store import Decision, State
from agent.watch import Kind, ListedFile, Provenance, classify_name, find_facts, locate
from agent.watch.listing import list_folder
from model import Example, TaxonomyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import date, datetime
    from pathlib import Path

    from agent.archive import Archive
    from agent.imaging import Crop
    from agent.imaging.pool import CropPool
    from agent.pipeline import Pipeline
    from agent.store import FileFate, LabelView, MicrographView, Store
    from agent.watch import Facts
    from model import Field, Taxonomy

CRITERIA = ("mean", "max", "unrecorded")
OWN_COLUMNS = frozenset({"file", "code", "subtype", "size", "um_per_px", "criterion", "rater"})
"""Columns that this module reads; the others become process data of the micrograph."""
SCALE = "um_per_px"
SLICES = ("plant", "microscope", "magnification", "material")
FILES_AT_ONCE = 16


class Unusable(NamedTuple):
    """A file, or a row, that could not be used, and the reason."""

    file: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Labelled:
    """One file and its label.

    Args:
        relative: Path below the folder, with forward slashes.
        code: The structure code.
        facts: Size and times, as listed.
        criterion: "mean", "max" or "unrecorded".
        rater: Who gave the label, "" where the manifest does not name anyone.
        process_data: Every other column of the manifest that is not empty.
    """

    relative: str
    code: str
    facts: Facts
    criterion: str = "unrecorded"
    rater: str = ""
    process_data: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listing:
    """Contents of a labelled folder.

    Args:
        folder: The folder, absolute.
        files: What can be imported.
        unusable: What cannot, and why.
    """

    folder: Path
    files: tuple[Labelled, ...]
    unusable: tuple[Unusable, ...]

    @property
    def source(self) -> str:
        """The name under which its files are stored."""
        return f"import {self.folder}"


class Step(NamedTuple):
    """Progress of an import."""

    done: int
    total: int
    note: str


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """Result of an import.

    Args:
        labelled: Micrographs that were given a label now.
        unchanged: Micrographs that had this very label already.
        codes: Structure code → how many micrographs of this folder carry it.
        unusable: Files that could not be used, and why.
        changed: Files whose micrographs were described differently before, and how.
    """

    labelled: int
    unchanged: int
    codes: Mapping[str, int]
    unusable: tuple[Unusable, ...]
    changed: tuple[Unusable, ...] = ()


class ManifestProvenance(Provenance):
    """A source whose scale, where given, is in the manifest, per file."""

    def um_per_px(
        self,
        process_data: Mapping[str, str],
        *,
        on: date,
        size: tuple[int, int] | None = None,
    ) -> float | None:
        """Return the scale in the manifest, µm per pixel, or None."""
        del on, size
        scale = process_data.get(SCALE)
        return float(scale) if scale else None


def get_key(sha256: str, page: int) -> str:
    """Return a micrograph's key among examples: its content hash, and the page from the second on.

    Bundles identify their training images by it, so it never changes.
    """
    return sha256 if page == 0 else f"{sha256}-p{page + 1}"


def get_group(sha256: str, process_data: Mapping[str, str], by: str = "") -> str:
    """Return what must stay on one side of a split: order and specimen if known, else the content.

    Args:
        sha256: The content.
        process_data: Of the micrograph.
        by: A column that decides instead, where the micrograph has it; "" for none.
    """
    if by and process_data.get(by):
        return process_data[by]
    order, specimen = process_data.get("order", ""), process_data.get("specimen", "")
    return f"{order}/{specimen}" if specimen else sha256


def get_slices(process_data: Mapping[str, str]) -> dict[str, str]:
    """Return the columns by which an evaluation is split, where they are known."""
    return {name: process_data[name] for name in SLICES if process_data.get(name)}


# --- what is in the folder ----------------------------------------------------------------------


def list_labelled(folder: Path, taxonomy: Taxonomy, manifest: Path | None = None) -> Listing:
    """Return the labelled files of a folder, without opening one.

    Args:
        folder: The labelled folder.
        taxonomy: The valid codes.
        manifest: A CSV with `file` and `code` (or `subtype` and `size`), else a folder per code.

    Raises:
        WrongUse: No such folder, a manifest that cannot be used, or nothing labelled in it.
    """
    folder = folder.absolute()
    if not folder.is_dir():
        raise WrongUse(f"{folder}: there is no such folder.")
    entries = _by_manifest(folder, manifest, taxonomy) if manifest else _by_folder(folder, taxonomy)
    files = [entry for entry in entries if isinstance(entry, Labelled)]
    unusable = [entry for entry in entries if isinstance(entry, Unusable)]
    if not files and not unusable:
        raise WrongUse(
            f"{folder}: no labelled micrograph in it; make a folder per structure code (agent "
            "taxonomy show lists them), or name a CSV with --manifest."
        )
    return Listing(folder, tuple(files), tuple(unusable))


def _by_folder(folder: Path, taxonomy: Taxonomy) -> list[Labelled | Unusable]:
    try:
        listed = list_folder(folder)
    except OSError as error:
        raise WrongUse(f"{folder}: cannot be listed ({error.strerror or error}).") from error
    entries: list[Labelled | Unusable] = []
    unknown: dict[str, list[str]] = {}
    for relative, facts in sorted(listed.pictures.items()):
        first = relative.split("/")[0] if "/" in relative else ""
        try:
            entries.append(Labelled(relative, _code(taxonomy, first), facts))
        except TaxonomyError as error:
            unknown.setdefault(first, []).append(str(error))
    for name, sentences in unknown.items():
        entries.append(_report_unknown_folder(name, sentences))
    entries += [Unusable(name, sentence) for name, sentence in listed.troubles.items()]
    return entries


def _report_unknown_folder(name: str, sentences: Sequence[str]) -> Unusable:
    count = f"{len(sentences)} picture{'s' if len(sentences) > 1 else ''}"
    if not name:
        return Unusable(".", f"{count} in no folder of a structure code: not labelled.")
    return Unusable(f"{name}/", f"{sentences[0].rstrip('.')}; {count} left out.")


def _code(taxonomy: Taxonomy, written: str) -> str:
    return taxonomy.code(*taxonomy.parse(written))


def _by_manifest(folder: Path, manifest: Path, taxonomy: Taxonomy) -> list[Labelled | Unusable]:
    entries: dict[str, Labelled | Unusable] = {}
    for number, row in iter_rows(manifest, require_columns):
        entry = _row(folder, row, f"line {number}", taxonomy)
        if isinstance(entry, Unusable):
            entries[f"{number} {entry.file}"] = entry
            continue
        before = entries.get(entry.relative)
        if isinstance(before, Labelled) and before.code != entry.code:
            sentence = f"is {before.code} in one line and {entry.code} in line {number}."
            entries[entry.relative] = Unusable(entry.relative, sentence)
        else:
            entries.setdefault(entry.relative, entry)
    return list(entries.values())


def iter_rows(
    manifest: Path, refuse: Callable[[Path, Sequence[str]], None]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a CSV from any spreadsheet: comma, semicolon or tab; UTF-8 or Windows-1252.

    Args:
        manifest: The file.
        refuse: Raises where its columns are not usable.

    Yields:
        The line's number, and column → cell, both stripped, columns in small letters.

    Raises:
        WrongUse: It cannot be read, or is no CSV.
    """
    text = _text(manifest)
    lines = text.splitlines()
    if not lines:
        raise WrongUse(f"{manifest}: the manifest is empty.")
    delimiter = max(",;\t", key=lines[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        columns = [name.strip().casefold() for name in next(reader)]
        refuse(manifest, columns)
        for row in reader:
            if any(cell.strip() for cell in row):
                cells = dict(zip(columns, (plain(cell.strip()) for cell in row), strict=False))
                yield reader.line_num, cells
    except csv.Error as error:
        raise WrongUse(f"{manifest}: line {reader.line_num} is no CSV ({error}).") from error


def _text(manifest: Path) -> str:
    try:
        content = manifest.read_bytes()
    except OSError as error:
        raise WrongUse(f"{manifest}: cannot be read ({error.strerror or error}).") from error
    if b"\0" in content:
        raise WrongUse(f"{manifest}: is no CSV text; save the table as CSV (UTF-8).")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def require_columns(manifest: Path, columns: Sequence[str]) -> None:
    """Check that a manifest names files and codes.

    Raises:
        WrongUse: A column is missing, or is there twice.
    """
    twice = {name for name in columns if name and columns.count(name) > 1}
    if twice:
        raise WrongUse(f"{manifest}: the column {min(twice)!r} is there twice.")
    coded = "code" in columns or {"subtype", "size"} <= set(columns)
    if "file" not in columns or not coded:
        named = ", ".join(name for name in columns if name) or "none"
        raise WrongUse(
            f"{manifest}: the first line has to name the columns 'file' and 'code' (or 'subtype' "
            f"and 'size'); found {named}."
        )


class _LeftOutError(Exception):
    """A row of the manifest that cannot be used; the message states why."""


def _row(
    folder: Path, row: Mapping[str, str], where: str, taxonomy: Taxonomy
) -> Labelled | Unusable:
    relative = _relative(row.get("file", ""))
    if relative is None:
        return Unusable(where, f"{row.get('file', '')!r} is no path below the folder.")
    try:
        facts = _get_facts(folder, relative)
        code = _code(taxonomy, row.get("code") or row.get("subtype", "") + row.get("size", ""))
        return Labelled(relative, code, facts, *_parse_columns(row))
    except (TaxonomyError, _LeftOutError) as error:
        return Unusable(relative, f"{where}: {error}")


def _get_facts(folder: Path, relative: str) -> Facts:
    try:
        facts = find_facts(folder, relative)
    except OSError as error:
        raise _LeftOutError(f"cannot be looked at ({error.strerror or error}).") from error
    if facts is None:
        raise _LeftOutError("the manifest names it, but there is no such file.")
    if classify_name(relative) is not Kind.PICTURE:
        raise _LeftOutError("its name is no picture's.")
    return facts


def _parse_columns(row: Mapping[str, str]) -> tuple[str, str, dict[str, str]]:
    criterion = row.get("criterion", "").casefold() or "unrecorded"
    if criterion not in CRITERIA:
        raise _LeftOutError(f"criterion is mean or max, found {criterion!r}.")
    scale = _scale(row.get(SCALE, ""))
    if scale is None:
        raise _LeftOutError(f"um_per_px is a number above 0, found {row[SCALE]!r}.")
    others = {name: cell for name, cell in row.items() if name not in OWN_COLUMNS and name and cell}
    return criterion, row.get("rater", ""), {**others, **({SCALE: scale} if scale else {})}


def _relative(written: str) -> str | None:
    path = PurePosixPath(written.replace("\\", "/"))
    inside = written and not path.is_absolute() and ":" not in path.parts[0]
    return path.as_posix() if inside and ".." not in path.parts else None


def _scale(written: str) -> str | None:
    """Return a scale as text of a positive number, "" for none given, None for nonsense."""
    if not written:
        return ""
    try:
        value = float(written.replace(",", "."))
    except ValueError:
        return None
    return str(value) if 0 < value < float("inf") else None


# --- importing ----------------------------------------------------------------------------------


def import_folder(
    listing: Listing,
    *,
    store: Store,
    pipeline: Pipeline,
    now: Callable[[], datetime],
    by: str,
    update: bool = False,
) -> Iterator[Step | ImportOutcome]:
    """Import a labelled folder: crop its files by the pipeline, then store the labels.

    Args:
        listing: From `list_labelled`.
        store: Open.
        pipeline: Its `sources` have a `ManifestProvenance` under `listing.source`.
        now: Returns the time, aware UTC.
        by: Who is named where the manifest names no rater.
        update: Whether process data of known micrographs are replaced by those of the manifest.

    Yields:
        A `Step` after each round; last an `ImportOutcome`.

    Raises:
        Stalled: Disk or database is at fault; call it again, it goes on where it stopped.
    """
    files = {file.relative: file for file in listing.files}
    store.files.add(
        [
            ListedFile(listing.source, listing.folder, file.relative, *file.facts)
            for file in listing.files
        ],
        at=now(),
        lane="backlog",
        origin="import",
        process_data={file.relative: file.process_data for file in listing.files},
    )
    done = 0
    while count := pipeline.take(FILES_AT_ONCE, only=[listing.source]).files:
        done = min(done + count, len(files))
        yield Step(done, len(files), "read and cropped")
    yield from _label(listing, store, now, by, update=update)


def _label(
    listing: Listing, store: Store, now: Callable[[], datetime], by: str, *, update: bool
) -> Iterator[Step | ImportOutcome]:
    fates = _fates(listing, store)
    unusable, changed = [*listing.unusable], []
    codes: dict[str, int] = {}
    labelled = unchanged = 0
    conflicts = _conflicts(listing, fates)
    for number, file in enumerate(listing.files, 1):
        fate = fates.get(file.relative)
        sentence = _why_not(fate) or conflicts.get(file.relative, "")
        if sentence or fate is None or fate.sha256 is None:
            unusable.append(Unusable(file.relative, sentence))
            continue
        for view in _micrographs(store, fate.sha256):
            codes[file.code] = codes.get(file.code, 0) + 1
            if differs := _find_differences(view, file):
                changed.append(Unusable(file.relative, _describe_differences(view, differs)))
                if update:
                    store.results.describe(view.id, differs, by=by, at=now())
            if _has_same_label(view.label, file):
                unchanged += 1
                continue
            store.labels.decide(view.id, _decision(file, by), at=now())
            labelled += 1
        if number % FILES_AT_ONCE == 0:
            yield Step(number, len(listing.files), "labelled")
    yield Step(len(listing.files), len(listing.files), "labelled")
    yield ImportOutcome(labelled, unchanged, codes, tuple(unusable), tuple(changed))


def _find_differences(view: MicrographView, file: Labelled) -> dict[str, str]:
    """Return what a manifest says differently of a micrograph than is known: column → new value."""
    known = {**view.process_extra, **view.process_data}
    return {
        name: text
        for name, text in file.process_data.items()
        if name != SCALE and str(known.get(name, "")) != text
    }


def _describe_differences(view: MicrographView, differs: Mapping[str, str]) -> str:
    known = {**view.process_extra, **view.process_data}
    return ", ".join(
        f"{name} {known.get(name, '') or 'unknown'!s} becomes {text}"
        for name, text in differs.items()
    )


def _fates(listing: Listing, store: Store) -> dict[str, FileFate]:
    prefix = f"{listing.folder}{os.sep}"
    wanted = {file.relative for file in listing.files}

    def gathered(fates: Iterator[FileFate]) -> dict[str, FileFate]:
        fates_by_path: dict[str, FileFate] = {}
        for fate in fates:
            for path in fate.paths:
                relative = path.removeprefix(prefix).replace(os.sep, "/")
                if relative in wanted:
                    fates_by_path[relative] = fate
        return fates_by_path

    own = gathered(store.files.iter_status(source=listing.source))
    # A file that was moved here from a watched folder is kept under that folder's name.
    return own if wanted <= own.keys() else {**gathered(store.files.iter_status()), **own}


def _why_not(fate: FileFate | None) -> str:
    if fate is None:
        return "was not taken in; import the folder again."
    if fate.state in {State.DONE, State.DUPLICATE}:
        return ""
    return fate.said or f"is {fate.state}; import the folder again."


def _conflicts(listing: Listing, fates: Mapping[str, FileFate]) -> dict[str, str]:
    """Return the files whose content has two codes: neither label can be trusted."""
    by_content: dict[str, list[Labelled]] = {}
    for file in listing.files:
        fate = fates.get(file.relative)
        if fate and fate.sha256:
            by_content.setdefault(fate.sha256, []).append(file)
    return {
        file.relative: f"is labelled {file.code}, but the same picture is {other.code} in "
        f"{other.relative}; neither label was taken."
        for same in by_content.values()
        for file in same
        for other in [next((o for o in same if o.code != file.code), None)]
        if other
    }


def _micrographs(store: Store, sha256: str) -> Iterator[MicrographView]:
    view = store.results.find(sha256[:16])
    if view is None:
        return
    yield view
    for page in range(2, int(view.crop_facts.get("pages") or 1) + 1):
        further = store.results.find(f"{sha256[:16]}-p{page}")
        if further:
            yield further


def _has_same_label(label: LabelView | None, file: Labelled) -> bool:
    return (
        label is not None
        and label.kind == "code"
        and label.code == file.code
        and label.criterion == file.criterion
        and file.rater in ("", label.by)
    )


def _decision(file: Labelled, by: str) -> Decision:
    return Decision(
        kind="code",
        by=file.rater or by,
        code=file.code,
        criterion=file.criterion,
        bulk=True,
        origin="import",
    )


# --- cropping without storing a result -----------------------------------------------------------


def list_unusual(folder: Path) -> dict[str, tuple[Labelled, ...]]:
    """Return the pictures of a folder of unusual ones: kind → files, a sub-folder per kind.

    Raises:
        WrongUse: No such folder, or no picture in a sub-folder of it.
    """
    folder = folder.absolute()
    try:
        listed = list_folder(folder)
    except OSError as error:
        raise WrongUse(f"{folder}: cannot be listed ({error.strerror or error}).") from error
    kinds: dict[str, list[Labelled]] = {}
    for relative, facts in sorted(listed.pictures.items()):
        kind, slash, _ = relative.partition("/")
        if slash:
            kinds.setdefault(kind, []).append(Labelled(relative, "", facts))
    if not kinds:
        raise WrongUse(f"{folder}: make a sub-folder per strange kind, such as inclusion, in it.")
    return {kind: tuple(files) for kind, files in kinds.items()}


class Cropped(NamedTuple):
    """One file after reading and cropping, stored in a temporary archive."""

    file: Labelled
    examples: tuple[Example, ...]
    unusable: Unusable | None


def iter_cropped(
    folder: Path,
    files: Sequence[Labelled],
    *,
    pool: CropPool,
    archive: Archive,
    learned: frozenset[str] = frozenset(),
    group_by: str = "",
) -> Iterator[Cropped]:
    """Read and crop labelled files as the pipeline does, without storing any result.

    Args:
        folder: The labelled folder.
        files: Which of its files.
        pool: Worker processes.
        archive: Where the crops are stored until they are evaluated.
        learned: Keys of the bundle's training images; those files are counted, not cropped.
        group_by: As in `get_group`.

    Yields:
        One per file, in order of completion.
    """
    by_path: dict[Path, Labelled] = {}
    for file in files:
        path = locate(folder, file.relative)
        key = _hash(path) if learned else ""
        if key in learned:
            yield Cropped(file, (Example(key, file.code, key, _never_loaded),), None)
        else:
            by_path[path] = file
    jobs = [(path, _settings_scale(file)) for path, file in by_path.items()]
    for path, outcome in pool.crop_all(jobs):
        file = by_path[path]
        if isinstance(outcome, Exception):
            sentence = (
                f"{outcome.code}: {outcome}" if isinstance(outcome, FileError) else f"{outcome}"
            )
            yield Cropped(file, (), Unusable(file.relative, sentence))
        else:
            yield Cropped(
                file, tuple(_example(file, crop, archive, group_by) for crop in outcome), None
            )


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""  # the pool reports what is wrong with it


def _never_loaded() -> Field:
    raise LookupError("what a bundle learned from is left out of its evaluation")


def _settings_scale(file: Labelled) -> float | None:
    scale = file.process_data.get(SCALE)
    return float(scale) if scale else None


def _example(file: Labelled, crop: Crop, archive: Archive, group_by: str) -> Example:
    archive.keep(crop)
    key = get_key(crop.sha256, crop.page)
    return Example(
        key=key,
        code=file.code,
        group=get_group(crop.sha256, file.process_data, group_by),
        load=make_loader(
            archive,
            crop.sha256,
            crop.page,
            crop.um_per_px,
            file.process_data.get("microscope", ""),
        ),
        criterion=file.criterion,
        slices=get_slices(file.process_data),
    )


def make_loader(
    archive: Archive, sha256: str, page: int, um_per_px: float | None, microscope: str = ""
) -> Callable[[], Field]:
    """Return a function that loads an archived crop as a field, and may raise `BadStore`."""

    def load() -> Field:
        from model import Field  # noqa: PLC0415 - PyTorch takes seconds

        try:
            pixels, valid = archive.field(sha256, page)
        except (OSError, ValueError) as error:
            raise BadStore(
                f"the archived crop of micrograph {sha256[:16]} cannot be read ({error}); "
                "agent verify names what is damaged, agent import of the file mends it."
            ) from error
        return Field(pixels, valid, um_per_px, microscope)

    return load
