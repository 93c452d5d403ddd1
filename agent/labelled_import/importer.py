"""Import the listed files by the pipeline with their labels, or only crop them for training."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from agent.errors import FileError, StoreError
from agent.files.whole_file import compute_hash
from agent.labelled_import.manifest import SCALE, Labelled, LabelledFolder, UnusableFile
from agent.objects import ObjectsUnavailableError
from agent.store import CHANGEABLE, FOR_ORDERS, IMPORTED, Decision, State
from agent.watch import ListedFile, Provenance, locate
from model import Example, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import date, datetime
    from pathlib import Path

    from agent.archive import Archive
    from agent.imaging import Crop
    from agent.imaging.pool import CropPool
    from agent.pipeline import Pipeline
    from agent.store import FileFate, LabelView, MicrographView, Store
    from model import Field


FILES_AT_ONCE = 32
"""Files of one round. Between two rounds the workers wait, so that short ones cost time."""
LABELS_AT_ONCE = 16


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
    unusable: tuple[UnusableFile, ...]
    changed: tuple[UnusableFile, ...] = ()


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


def import_folder(
    listing: LabelledFolder,
    *,
    store: Store,
    pipeline: Pipeline,
    now: Callable[[], datetime],
    by: str,
    for_orders: bool = False,
    update: bool = False,
) -> Iterator[Progress[None] | ImportOutcome]:
    """Import a labelled folder: crop its files by the pipeline, then store the labels.

    Args:
        listing: From `list_labelled`.
        store: Open.
        pipeline: Its `sources` have a `ManifestProvenance` under `listing.source`.
        now: Returns the time, aware UTC.
        by: Who imports, and so signs each label; a rater that the manifest names is a remark.
        for_orders: A lead's word that the labels count for fields of orders.
        update: Whether process data of known micrographs are replaced by those of the manifest.

    Yields:
        A `Progress` after each round; last an `ImportOutcome`.

    Raises:
        StalledError: Disk or database is at fault; call it again, it goes on where it stopped.
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
    while count := pipeline.process_batch(FILES_AT_ONCE, only=[listing.source]).files:
        done = min(done + count, len(files))
        yield Progress("import", done, len(files), "read and cropped")
    origin = FOR_ORDERS if for_orders else IMPORTED
    yield from _label(listing, store, now, partial(_build_decision, by=by, origin=origin), update)


def _label(
    listing: LabelledFolder,
    store: Store,
    now: Callable[[], datetime],
    decide: Callable[[Labelled], Decision],
    update: bool,
) -> Iterator[Progress[None] | ImportOutcome]:
    fates = _fates(listing, store)
    unusable, changed = [*listing.unusable], []
    codes: dict[str, int] = {}
    labelled = unchanged = 0
    conflicts = _conflicts(listing, fates)
    decisions: list[tuple[str, Decision]] = []
    for number, file in enumerate(listing.files, 1):
        fate = fates.get(file.relative)
        sentence = _why_not(fate) or conflicts.get(file.relative, "")
        if sentence or fate is None or fate.sha256 is None:
            unusable.append(UnusableFile(file.relative, sentence))
            continue
        if any(name.startswith(fate.sha256[:16]) for name, _ in decisions):
            _store_labels(decisions, store, now)  # of another file with the same content
        decision = decide(file)
        for view in _micrographs(store, fate.sha256):
            if differs := _find_differences(view, file):
                changed.append(UnusableFile(file.relative, _describe_differences(view, differs)))
                changeable = {name: differs[name] for name in CHANGEABLE if name in differs}
                if update and changeable:
                    store.results.describe(view.id, changeable, by=decision.by, at=now())
            if not (is_same := _has_same_label(view.label, decision)) and (
                sentence := store.labels.refuse_imported(view.id, decision)
            ):
                unusable.append(UnusableFile(file.relative, sentence))
                continue
            codes[file.code] = codes.get(file.code, 0) + 1
            if is_same:
                unchanged += 1
                continue
            decisions.append((view.id, decision))
            labelled += 1
        if number % LABELS_AT_ONCE == 0:
            _store_labels(decisions, store, now)
            yield Progress("import", number, len(listing.files), "labelled")
    _store_labels(decisions, store, now)
    yield Progress("import", len(listing.files), len(listing.files), "labelled")
    yield ImportOutcome(labelled, unchanged, codes, tuple(unusable), tuple(changed))


def _store_labels(
    decisions: list[tuple[str, Decision]], store: Store, now: Callable[[], datetime]
) -> None:
    """Store labels in one transaction, and empty the list."""
    if decisions:
        store.labels.decide_all([(entry, label, "any") for entry, label in decisions], at=now())
    decisions.clear()


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
    was = {name: known.get(name, "") or "unknown" for name in differs}
    return ", ".join(
        f"{name} {was[name]} becomes {text}"
        if name in CHANGEABLE
        else f"{name} stays {was[name]}, as an image is filed with it, and is not {text}"
        for name, text in differs.items()
    )


def _fates(listing: LabelledFolder, store: Store) -> dict[str, FileFate]:
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


def _conflicts(listing: LabelledFolder, fates: Mapping[str, FileFate]) -> dict[str, str]:
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
    for page in range(2, view.crop_facts.pages + 1):
        further = store.results.find(f"{sha256[:16]}-p{page}")
        if further:
            yield further


def _has_same_label(label: LabelView | None, decision: Decision) -> bool:
    return (
        label is not None
        and label.kind == "code"
        and label.code == decision.code
        and label.criterion == decision.criterion
        and (label.origin != IMPORTED or decision.origin == IMPORTED)
    )


def _build_decision(file: Labelled, *, by: str, origin: str) -> Decision:
    return Decision(
        kind="code",
        by=by,
        code=file.code,
        criterion=file.criterion,
        comment=f"rater in the manifest: {file.rater}" if file.rater else "",
        bulk=True,
        origin=origin,
    )


# --- crop labelled files without storing a result, for training and evaluation --------------------


SLICES = ("plant", "microscope", "magnification", "material")


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


class Cropped(NamedTuple):
    """One file after reading and cropping, stored in a temporary archive."""

    file: Labelled
    examples: tuple[Example, ...]
    unusable: UnusableFile | None


def iter_cropped(
    folder: Path,
    files: Sequence[Labelled],
    *,
    pool: CropPool,
    archive: Archive,
    learned: frozenset[str] = frozenset(),
    group_by: str = "",
    name_copy: Callable[[Example, str, int], Example] = lambda example, _sha256, _page: example,
) -> Iterator[Cropped]:
    """Read and crop labelled files as the pipeline does, without storing any result.

    Args:
        folder: The labelled folder.
        files: Which of its files.
        pool: Worker processes.
        archive: Where the crops are stored until they are evaluated.
        learned: Keys of the bundle's training images; those files are counted, not cropped.
        group_by: As in `get_group`.
        name_copy: Returns an example with the key of the image that its file is a copy of.

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
            yield Cropped(file, (), UnusableFile(file.relative, sentence))
        else:
            examples = (
                name_copy(_example(file, crop, archive, group_by), crop.sha256, crop.page)
                for crop in outcome
            )
            yield Cropped(file, tuple(examples), None)


def _hash(path: Path) -> str:
    try:
        return compute_hash(path)
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
        file=file.relative,
    )


def make_loader(
    archive: Archive, sha256: str, page: int, um_per_px: float | None, microscope: str = ""
) -> Callable[[], Field]:
    """Return a function that loads an archived crop as a field.

    It raises `StoreError` if the crop cannot be read, and `ObjectsUnavailableError` if the object
    storage does not answer.
    """

    def load() -> Field:
        from model import Field  # noqa: PLC0415 - PyTorch takes seconds

        try:
            pixels, valid = archive.field(sha256, page)
        except ObjectsUnavailableError:  # the crop is not lost: the caller tries again
            raise
        except (OSError, ValueError) as error:
            raise StoreError(
                f"the archived crop of micrograph {sha256[:16]} cannot be read ({error}); "
                "agent verify names what is damaged, agent import of the file mends it."
            ) from error
        return Field(pixels, valid, um_per_px, microscope)

    return load
