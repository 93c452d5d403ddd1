"""`agent models evaluate`: the accuracy of a bundle on labelled micrographs.

The micrographs are cropped as the service crops them.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import console
from agent.cli.app import SOME_FAILED, load_settings, open_store
from agent.cli.console import silence_log
from agent.cli.models.bundles import models
from agent.cli.models.evaluation_text import print_evaluation
from agent.cli.models.import_ import print_unusable
from agent.cli.options import FolderArgument, JsonOption, ManifestOption, complete_bundles
from agent.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.labelled_import import Labelled, UnusableFile
    from agent.settings import Settings
    from agent.store import Store
    from model import Evaluation, Example, Taxonomy


@models.command()
def evaluate(
    context: typer.Context,
    folder: FolderArgument,
    *,
    manifest: ManifestOption = None,
    bundle: Annotated[
        str | None,
        typer.Option(
            help="Name of the bundle. Default: the bundle in use.", autocompletion=complete_bundles
        ),
    ] = None,
    strange: Annotated[
        Path | None, typer.Option(help="Folder of unusual micrographs, one sub-folder per kind.")
    ] = None,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(
            help="Instead: fit the out-of-distribution check without this structure code, and "
            "report "
            'whether its micrographs are flagged. Repeatable; "every" tests each code in turn.'
        ),
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Folder for confusion matrices as SVG.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Evaluate a bundle on labelled micrographs; the bundle in use is not changed."""
    settings = load_settings(context)
    if leave_out:
        show_left_out(settings, folder, manifest, leave_out, json=json)
        return
    from agent.orders import read_specifications
    from agent.service.composition import list_limits
    from agent.service.data_folder import clock

    specifications = read_specifications(settings.orders.specifications)
    with open_store(settings) as store:
        evaluation, unusable = evaluate_folder(
            settings, store, folder, manifest=manifest, bundle=bundle, strange=strange
        )
    limits = list_limits(settings, specifications, evaluation.taxonomy, now=clock())
    document = evaluation.as_json(limits)
    if json:
        console.print_json(document)
    else:
        print_evaluation(document)
    if figures:
        from agent.retrain import write_figures

        title = f"{evaluation.bundle} on {folder.name}"
        for file in write_figures(figures, document, title):
            console.err.print(str(file), markup=False)
    print_unusable(unusable)
    if unusable:
        raise typer.Exit(SOME_FAILED)


def evaluate_folder(
    settings: Settings,
    store: Store,
    folder: Path,
    *,
    manifest: Path | None,
    bundle: str | None,
    strange: Path | None,
) -> tuple[Evaluation, list[UnusableFile]]:
    """Evaluate a bundle on labelled and on unusual micrographs, with progress bars."""
    from agent import labelled_import
    from agent.retrain.bundle_registry import get_bundle
    from agent.service.composition import load_bundle
    from model import evaluate as evaluate_bundle

    silence_log()
    name = bundle or store.promotions.find_current()
    if name is None:
        raise UsageError("There is no bundle yet. Train one: agent train FOLDER.")
    get_bundle(settings.store.folder, name)
    classifier = load_bundle(settings, name)
    listing = labelled_import.list_labelled(folder, classifier.taxonomy, manifest)
    kinds = labelled_import.list_unusual(strange) if strange else {}
    unusable = list(listing.unusable)
    with temporary_archive(settings, classifier.learned_from) as crops:
        examples = crops.of(listing.folder, listing.files, f"Cropping {folder.name}", unusable)
        unusual = {
            kind: crops.of(strange.absolute(), files, f"Cropping {kind}", unusable)
            for kind, files in kinds.items()
            if strange
        }
        learned = classifier.learned_from
        found = sum(map(len, unusual.values()))
        unusual = {
            kind: [image for image in images if image.key not in learned]
            for kind, images in unusual.items()
        }
        left_out = found - sum(map(len, unusual.values()))
        total = sum(e.key not in learned for e in examples)
        total += sum(map(len, unusual.values()))
        with console.progress(f"Evaluating {name}", total) as advance:
            evaluation = evaluate_bundle(
                classifier,
                examples,
                strange=unusual,
                progress=lambda done, _: advance(done),
            )
    seen = evaluation.seen_in_training + left_out
    return replace(evaluation, seen_in_training=seen), unusable


class Crops:
    """Crops files into an archive."""

    def __init__(
        self, settings: Settings, folder: Path, learned: frozenset[str], group_by: str = ""
    ) -> None:
        from agent.archive import Archive
        from agent.labelled_import.learned_copies import LearnedCopies
        from agent.service.composition import make_pool

        self._archive = Archive(folder, max_megapixels=settings.imaging.max_megapixels)
        self.pool = make_pool(settings, is_all=True, has_landmarks=False)
        self._copies = LearnedCopies(Archive.open(settings), learned)
        self._learned, self._group_by = learned, group_by

    def of(
        self, folder: Path, files: Sequence[Labelled], title: str, unusable: list[UnusableFile]
    ) -> list[Example]:
        """Crop files; append what cannot be used to `unusable`."""
        cropped = self.each(folder, files, title, unusable)
        return [example for _, examples in cropped for example in examples]

    def each(
        self, folder: Path, files: Sequence[Labelled], title: str, unusable: list[UnusableFile]
    ) -> Iterator[tuple[Labelled, Sequence[Example]]]:
        """Yield each file with its examples, cropped in order, with a progress bar."""
        from agent.labelled_import import iter_cropped

        with console.progress(title, len(files)) as advance:
            cropped = iter_cropped(
                folder,
                files,
                pool=self.pool,
                archive=self._archive,
                learned=self._learned,
                group_by=self._group_by,
                name_copy=self._name_copy,
            )
            for done, item in enumerate(cropped, 1):
                if item.unusable:
                    unusable.append(item.unusable)
                advance(done)
                yield item.file, item.examples

    def _name_copy(self, example: Example, sha256: str, page: int) -> Example:
        return self._copies.name(example, self._archive, sha256, page)


@contextmanager
def temporary_archive(settings: Settings, learned: frozenset[str]) -> Iterator[Crops]:
    """Yield an archive for crops that is deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="martensight-") as folder:
        crops = Crops(settings, Path(folder), learned)
        with crops.pool:
            yield crops


EVERY = "every"


def show_left_out(
    settings: Settings, folder: Path, manifest: Path | None, codes: Sequence[str], *, json: bool
) -> None:
    """Leave codes out in turn and print how many of their micrographs are flagged.

    Args:
        settings: Settings of the lab.
        folder: Labelled micrographs.
        manifest: CSV with labels, or None for a sub-folder per code.
        codes: Codes to leave out, or "every".
        json: Whether to print one JSON document.
    """
    from agent import labelled_import
    from agent.cli.console import silence_log
    from agent.cli.models.import_ import print_unusable
    from agent.orders.facts.order_policy import taxonomy_in_force

    silence_log()
    with open_store(settings) as store:
        taxonomy = taxonomy_in_force(settings, store)
    listing = labelled_import.list_labelled(folder, taxonomy, manifest)
    unusable = list(listing.unusable)
    with temporary_archive(settings, frozenset()) as crops:
        examples = crops.of(listing.folder, listing.files, f"Cropping {folder.name}", unusable)
        left_out = _parse_codes(codes, examples, taxonomy)
        results = dict(_leave_out(left_out, examples, taxonomy, settings.strangeness.alpha))
    if json:
        console.print_json({"left_out": results})
    else:
        console.table(
            ("left out", "n", "flagged", "AUROC"),
            [
                (code, row["n"], f"{row['tpr_at_alpha']:.2f}", f"{row['auroc']:.2f}")
                for code, row in results.items()
            ],
        )
    print_unusable(unusable)
    if unusable:
        raise typer.Exit(SOME_FAILED)


def _parse_codes(
    codes: Sequence[str], examples: Sequence[Example], taxonomy: Taxonomy
) -> list[str]:
    labelled = {example.code for example in examples}
    if EVERY in codes:
        return [code for code in taxonomy.codes if code in labelled]
    spelled = [taxonomy.code(*taxonomy.parse(code)) for code in codes]
    if lacking := [code for code in spelled if code not in labelled]:
        raise UsageError(f"--leave-out {lacking[0]}: the folder has no micrograph with this code.")
    return spelled


def _leave_out(
    codes: Sequence[str], examples: Sequence[Example], taxonomy: Taxonomy, alpha: float
) -> Iterator[tuple[str, dict[str, Any]]]:
    from agent.cli.console import show_progress
    from model import leave_out  # PyTorch takes seconds

    for code in codes:
        steps = leave_out(
            code, examples, subtype_of=lambda name: taxonomy.parse(name)[0], alpha=alpha
        )
        for step in show_progress(steps):
            if step.result is not None:
                yield code, step.result.as_json()
