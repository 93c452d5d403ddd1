"""`agent init`: agent.toml, data folder, taxonomy from a manifest; `agent settings` in effect."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.app import app, find_settings_file, load_settings, open_store
from agent.cli.console import out, print_json, table
from agent.cli.options import JsonOption
from agent.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from model import Taxonomy


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder for agent.toml.")] = Path(),
    taxonomy: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Labelled images, a folder per class, or a CSV with file and code: proposes "
            "subtypes and sizes from the names, and writes taxonomy.toml next to agent.toml.",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Write taxonomy.toml without a question.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="With --yes: replace a taxonomy.toml, keeping a copy."),
    ] = False,
) -> None:
    """Write a commented agent.toml and the data folder; with --taxonomy the lab's classes too."""
    from agent import settings
    from agent.cli.reference import render_toml

    settings.refuse_unfinished_move(folder)
    file = folder / settings.FILE_NAME
    if file.exists() and taxonomy is None:
        raise UsageError(
            f"{file} already exists and was not changed. Edit it, or name another folder."
        )
    if taxonomy is not None:
        write_proposal(folder, taxonomy, yes=yes, force=force)
        if file.exists():
            if sentence := describe_missing_setting(file):
                out.print(sentence, markup=False)
            return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir(mode=0o750, exist_ok=True)
    file.touch(mode=0o640)  # it may hold a database password later
    file.write_text(name_taxonomy(render_toml()) if taxonomy else render_toml(), encoding="utf-8")
    out.print(f"wrote {file}", markup=False)
    out.print(
        "next: agent run, then First steps on its page; or enter the export folders of your "
        "microscopes under [[sources]], then: agent doctor",
        markup=False,
    )


NO_TAXONOMY = '# taxonomy = ""'
"""The line of the commented `agent.toml` that names no taxonomy."""


@dataclass(frozen=True, slots=True)
class LabelledClass:
    """A class of a labelled folder: its name, how many images it has, and one of them."""

    name: str
    images: int
    example: str


def list_classes(source: Path) -> tuple[LabelledClass, ...]:
    """Return the classes of a folder per class, or of a manifest, in order of their names.

    Args:
        source: The folder, or a CSV with the columns file and code (or subtype and size).

    Raises:
        UsageError: It cannot be read, or has no labelled image.
    """
    files = _from_manifest(source) if source.is_file() else _from_folder(source)
    if not files:
        raise UsageError(
            f"{source}: no labelled image in it; make a folder per class in it, or name a CSV with "
            "the columns file and code."
        )
    return tuple(
        LabelledClass(name, len(files[name]), min(files[name]))
        for name in sorted(files, key=str.casefold)
    )


def propose_taxonomy(source: Path) -> tuple[Taxonomy, tuple[LabelledClass, ...]]:
    """Return the taxonomy that the names of labelled images suggest, and these classes.

    Raises:
        UsageError: The source cannot be used.
        model.TaxonomyError: Two names are written alike.
    """
    from model import has_several_subtypes, propose_draft

    classes = list_classes(source)
    draft = propose_draft(
        [label_class.name for label_class in classes], name=source.stem or "own classes"
    )
    if source.is_file() and has_several_subtypes(draft.build(), _list_specimens(source)):
        draft = replace(draft, several_subtypes=True)
    return draft.build(), classes


def write_proposal(folder: Path, source: Path, *, yes: bool, force: bool) -> None:
    """Print the proposed classes and, once confirmed, write `taxonomy.toml` next to `agent.toml`.

    Args:
        folder: Where both files are.
        source: The labelled folder or manifest.
        yes: Write without a question.
        force: Replace a `taxonomy.toml` that is there, also without a question.

    Raises:
        UsageError: A file is there and its replacement was not confirmed, or no answer was given.
    """
    from agent.orders.specifications.taxonomy_changes import TAXONOMY_FILE, write_taxonomy
    from agent.service.data_folder import clock

    proposed, classes = propose_taxonomy(source)
    file = folder / TAXONOMY_FILE
    _show(proposed, classes)
    if file.exists():
        for sentence in _effects(folder, proposed):
            out.print(sentence, markup=False)
        if yes and not force:
            raise UsageError(
                f"{file}: already there; add --force to replace it, a copy is kept next to it."
            )
        question = f"Replace {file}? A copy of it is kept."
    else:
        question = f"Write {file}?"
    if not yes and not _confirm(question):
        out.print("nothing was written", markup=False)
        raise typer.Exit
    folder.mkdir(parents=True, exist_ok=True)
    copy = write_taxonomy(file, proposed, now=clock())
    out.print(f"wrote {file}" + (f", the old one is {copy.name}" if copy else ""), markup=False)


def name_taxonomy(page: str) -> str:
    """Return the commented `agent.toml` with the setting that names `taxonomy.toml`."""
    from agent.orders.specifications.taxonomy_changes import TAXONOMY_FILE

    return page.replace(NO_TAXONOMY, f'taxonomy = "{TAXONOMY_FILE}"', 1)


def describe_missing_setting(file: Path) -> str:
    """Return what is left to do where an `agent.toml` does not name the taxonomy; "" if it does."""
    from agent import settings
    from agent.orders.specifications.taxonomy_changes import TAXONOMY_FILE

    if settings.read(file).model.taxonomy:
        return ""
    return f'next: write taxonomy = "{TAXONOMY_FILE}" under [model] in {file}'


def _from_folder(folder: Path) -> dict[str, list[str]]:
    from agent.watch.listing import list_folder

    try:
        listed = list_folder(folder.absolute())
    except OSError as error:
        raise UsageError(f"{folder}: cannot be listed ({error.strerror or error}).") from error
    files: dict[str, list[str]] = {}
    for relative in listed.pictures:
        name, slash, _ = relative.partition("/")
        if slash:
            files.setdefault(name, []).append(relative)
    return files


def _from_manifest(manifest: Path) -> dict[str, list[str]]:
    from agent.labelled_import import iter_rows, require_columns

    files: dict[str, list[str]] = {}
    for _number, row in iter_rows(manifest, require_columns):
        if name := _read_class(row):
            files.setdefault(name, []).append(row.get("file", ""))
    return files


def _read_class(row: Mapping[str, str]) -> str:
    return row.get("code") or f"{row.get('subtype', '')} {row.get('size', '')}".strip()


def _list_specimens(manifest: Path) -> list[set[str]]:
    """Return the names of classes of each specimen that a manifest names."""
    from agent.labelled_import import iter_rows, require_columns

    specimens: dict[tuple[str, str], set[str]] = {}
    for _number, row in iter_rows(manifest, require_columns):
        if row.get("specimen") and (name := _read_class(row)):
            specimens.setdefault((row.get("order", ""), row["specimen"]), set()).add(name)
    return list(specimens.values())


def _show(proposed: Taxonomy, classes: Sequence[LabelledClass]) -> None:
    by_code: dict[str, LabelledClass] = {
        proposed.code(*proposed.parse(label_class.name)): label_class for label_class in classes
    }
    rows = []
    for subtype in proposed.subtypes:
        for size in subtype.sizes:
            known = by_code[subtype.code(size.name)]
            rows.append((subtype.name, size.name or "–", known.images, known.example))
    out.print("Proposed classes; the sizes of a subtype are listed coarse to fine.")
    table(("subtype", "size", "images", "example"), rows)


def _effects(folder: Path, proposed: Taxonomy) -> list[str]:
    """Return what the taxonomy would change in a lab that is set up here."""
    from agent import settings
    from agent.orders.facts.order_policy import taxonomy_in_force
    from agent.orders.specifications.taxonomy_changes import find_effects, load_taxonomy_use

    file = folder / settings.FILE_NAME
    if not file.exists():
        return []
    own = settings.read(file)
    with open_store(own) as store:
        use = load_taxonomy_use(
            store, data=own.store.folder, specifications=own.orders.specifications
        )
        return list(find_effects(proposed, taxonomy_in_force(own, store), use))


def _confirm(question: str) -> bool:
    try:
        return typer.confirm(question)
    except typer.Abort as error:
        raise UsageError("nothing was written; answer y, or add --yes.") from error


@app.command("settings")
def settings_(context: typer.Context, json: JsonOption = False) -> None:
    """List every setting in effect and its origin: environment, file or default."""
    from agent.cli.reference import list_settings

    settings, file = load_settings(context), find_settings_file(context)
    rows = list_settings(settings, file)
    if json:
        print_json([{"setting": n, "value": v, "from": f} for n, v, f in rows])
        return
    table(("setting", "value", "from"), rows, title=str(file or "no agent.toml: defaults"))
