"""List the labelled files of a folder: by a manifest (CSV), or a sub-folder per structure code."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from agent.errors import UsageError
from agent.files.csv_export import plain
from agent.watch import Facts, Kind, classify_name, find_facts
from agent.watch.listing import list_folder
from model import Taxonomy, TaxonomyError

CRITERIA = ("mean", "max", "unrecorded")

OWN_COLUMNS = frozenset({"file", "code", "subtype", "size", "um_per_px", "criterion", "rater"})
"""Columns that this module reads; the others become process data of the micrograph."""

SCALE = "um_per_px"


class UnusableFile(NamedTuple):
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
        rater: Who gave the label by the manifest, "" where it names no one. A remark: who imports
            signs.
        process_data: Every other column of the manifest that is not empty.
    """

    relative: str
    code: str
    facts: Facts
    criterion: str = "unrecorded"
    rater: str = ""
    process_data: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LabelledFolder:
    """Contents of a labelled folder.

    Args:
        folder: The folder, absolute.
        files: What can be imported.
        unusable: What cannot, and why.
    """

    folder: Path
    files: tuple[Labelled, ...]
    unusable: tuple[UnusableFile, ...]

    @property
    def source(self) -> str:
        """The name under which its files are stored."""
        return f"import {self.folder}"


MANIFEST = "manifest.csv"
"""A CSV in a labelled folder, which then gives the labels."""


def list_labelled_folder(folder: Path, taxonomy: Taxonomy) -> LabelledFolder:
    """Return the labelled files of a folder by the `MANIFEST` in it, or by its folders.

    Raises:
        UsageError: As `list_labelled`.
    """
    manifest = folder / MANIFEST
    return list_labelled(folder, taxonomy, manifest if manifest.is_file() else None)


def list_labelled(folder: Path, taxonomy: Taxonomy, manifest: Path | None = None) -> LabelledFolder:
    """Return the labelled files of a folder, without opening one.

    Args:
        folder: The labelled folder.
        taxonomy: The valid codes.
        manifest: A CSV with `file` and `code` (or `subtype` and `size`), else a folder per code.

    Raises:
        UsageError: No such folder, a manifest that cannot be used, or nothing labelled in it.
    """
    folder = folder.absolute()
    if folder.is_file():
        raise UsageError(
            f"{folder}: a folder is needed, and this is a file. A CSV with the labels belongs to "
            "--manifest, together with the folder of its images."
        )
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder.")
    entries = _by_manifest(folder, manifest, taxonomy) if manifest else _by_folder(folder, taxonomy)
    files = [entry for entry in entries if isinstance(entry, Labelled)]
    unusable = [entry for entry in entries if isinstance(entry, UnusableFile)]
    if not files and not unusable:
        raise UsageError(
            f"{folder}: no labelled micrograph in it; make a folder per structure code (agent "
            "spec taxonomy lists them), or name a CSV with --manifest."
        )
    return LabelledFolder(folder, tuple(files), tuple(unusable))


def _by_folder(folder: Path, taxonomy: Taxonomy) -> list[Labelled | UnusableFile]:
    try:
        listed = list_folder(folder)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be listed ({error.strerror or error}).") from error
    entries: list[Labelled | UnusableFile] = []
    unknown: dict[str, list[str]] = {}
    for relative, facts in sorted(listed.pictures.items()):
        first = relative.split("/")[0] if "/" in relative else ""
        try:
            entries.append(Labelled(relative, _code(taxonomy, first), facts))
        except TaxonomyError as error:
            unknown.setdefault(first, []).append(str(error))
    for name, sentences in unknown.items():
        entries.append(_report_unknown_folder(name, sentences))
    entries += [UnusableFile(name, sentence) for name, sentence in listed.troubles.items()]
    return entries


def _report_unknown_folder(name: str, sentences: Sequence[str]) -> UnusableFile:
    count = f"{len(sentences)} picture{'s' if len(sentences) > 1 else ''}"
    if not name:
        return UnusableFile(".", f"{count} in no folder of a structure code: not labelled.")
    return UnusableFile(f"{name}/", f"{sentences[0].rstrip('.')}; {count} left out.")


def _code(taxonomy: Taxonomy, written: str) -> str:
    return taxonomy.code(*taxonomy.parse(written))


def _by_manifest(folder: Path, manifest: Path, taxonomy: Taxonomy) -> list[Labelled | UnusableFile]:
    entries: dict[str, Labelled | UnusableFile] = {}
    for number, row in iter_rows(manifest, require_columns):
        entry = _row(folder, row, f"line {number}", taxonomy)
        if isinstance(entry, UnusableFile):
            entries[f"{number} {entry.file}"] = entry
            continue
        before = entries.get(entry.relative)
        if isinstance(before, Labelled) and before.code != entry.code:
            sentence = f"is {before.code} in one line and {entry.code} in line {number}."
            entries[entry.relative] = UnusableFile(entry.relative, sentence)
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
        UsageError: It cannot be read, or is no CSV.
    """
    text = _text(manifest)
    lines = text.splitlines()
    if not lines:
        raise UsageError(f"{manifest}: the manifest is empty.")
    delimiter = max(",;\t", key=lines[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    begins = 1
    try:
        columns = [name.strip().casefold() for name in next(reader)]
        refuse(manifest, columns)
        begins = reader.line_num + 1
        for row in reader:
            if any(cell.strip() for cell in row):
                cells = dict(zip(columns, (plain(cell.strip()) for cell in row), strict=False))
                yield begins, cells
            begins = reader.line_num + 1
    except csv.Error as error:
        raise UsageError(f"{manifest}: line {begins} is no CSV ({error}).") from error


def _text(manifest: Path) -> str:
    try:
        content = manifest.read_bytes()
    except OSError as error:
        raise UsageError(f"{manifest}: cannot be read ({error.strerror or error}).") from error
    if b"\0" in content:
        raise UsageError(f"{manifest}: is no CSV text; save the table as CSV (UTF-8).")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def require_columns(manifest: Path, columns: Sequence[str]) -> None:
    """Check that a manifest names files and codes.

    Raises:
        UsageError: A column is missing, or appears twice.
    """
    twice = {name for name in columns if name and columns.count(name) > 1}
    if twice:
        raise UsageError(f"{manifest}: the column {min(twice)!r} is there twice.")
    coded = "code" in columns or {"subtype", "size"} <= set(columns)
    if "file" not in columns or not coded:
        named = ", ".join(name for name in columns if name) or "none"
        raise UsageError(
            f"{manifest}: the first line has to name the columns 'file' and 'code' (or 'subtype' "
            f"and 'size'); found {named}."
        )


class _LeftOutError(Exception):
    """A row of the manifest that cannot be used; the message states why."""


def _row(
    folder: Path, row: Mapping[str, str], where: str, taxonomy: Taxonomy
) -> Labelled | UnusableFile:
    relative = _relative(row.get("file", ""))
    if relative is None:
        return UnusableFile(where, f"{row.get('file', '')!r} is no path below the folder.")
    try:
        facts = _get_facts(folder, relative)
        code = _code(taxonomy, row.get("code") or row.get("subtype", "") + row.get("size", ""))
        return Labelled(relative, code, facts, *_parse_columns(row))
    except (TaxonomyError, _LeftOutError) as error:
        return UnusableFile(relative, f"{where}: {error}")


def _get_facts(folder: Path, relative: str) -> Facts:
    try:
        facts = find_facts(folder, relative)
    except OSError as error:
        raise _LeftOutError(f"cannot be read ({error.strerror or error}).") from error
    if facts is None:
        raise _LeftOutError("the manifest names it, but there is no such file.")
    if classify_name(relative) is not Kind.PICTURE:
        raise _LeftOutError("its name is not that of an image file.")
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


def list_unusual(folder: Path) -> dict[str, tuple[Labelled, ...]]:
    """Return the pictures of a folder of unusual ones: kind → files, a sub-folder per kind.

    Raises:
        UsageError: No such folder, or no picture in a sub-folder of it.
    """
    folder = folder.absolute()
    try:
        listed = list_folder(folder)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be listed ({error.strerror or error}).") from error
    kinds: dict[str, list[Labelled]] = {}
    for relative, facts in sorted(listed.pictures.items()):
        kind, slash, _ = relative.partition("/")
        if slash:
            kinds.setdefault(kind, []).append(Labelled(relative, "", facts))
    if not kinds:
        raise UsageError(f"{folder}: add a sub-folder per unusual kind, such as inclusion.")
    return {kind: tuple(files) for kind, files in kinds.items()}
