"""`agent verify`: compare the archive with its hashes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.app import SAYS_NO, app, load_settings, open_store
from agent.cli.console import err, out, print_json, progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agent.cli.console import Advance
    from agent.settings import Settings
    from agent.store import Store
    from agent.verification import Outside

LINES_EVERY = 1000

NOTHING_ELSE = "nothing else was compared: rows cannot be, before these values are put right"

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]


@app.command()
def verify(
    context: typer.Context,
    anchor: Annotated[
        list[Path] | None,
        typer.Option(help="A file that holds ends of the trail, such as a log; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare pixels with their hashes, and rows and trail with each other. 3 if one was changed.

    The trail is also compared with reports, back-ups and the file of [trail] anchor.
    """
    from agent import maintenance
    from agent.archive import Archive
    from agent.verification import verify_trail

    settings = load_settings(context)
    with open_store(settings) as store, progress("verify", None) as advance:
        archive = Archive(settings.store.folder)
        faults, notes = store.unreadable_values(), [NOTHING_ELSE]
        if not faults:
            faults, notes = verify_trail(store, _outside(settings, store, anchor or ()))
            faults += maintenance.verify(store, archive, progress=_print_thousands(advance))
    if not as_json:
        for note in notes:
            out.print(f"note: {note}", markup=False)
    good = "everything is as it was archived, and the trail is whole"
    print_faults(faults, good, as_json=as_json, more={"notes": notes})


def _outside(settings: Settings, store: Store, more: Iterable[Path]) -> Outside:
    """Return what is kept outside the database and says where the trail ended."""
    from agent.lab_context import reports_folder
    from agent.timestamps import FOLDER
    from agent.verification import Outside

    certificates = settings.trail.timestamp_certificates
    own = Path(settings.trail.anchor)
    files = [own] if settings.trail.anchor and own.exists() else []
    return Outside(
        reports=reports_folder(settings.store.folder, store),
        backups=Path(settings.backup.folder) if settings.backup.folder else None,
        files=(*files, *more),
        timestamps=settings.store.folder / FOLDER,
        certificates=Path(certificates) if certificates else None,
        site=settings.site.name,
    )


def _print_thousands(advance: Advance) -> Advance:
    """Move a bar with every micrograph, but write a line only with every thousandth."""

    def step(done: int, note: str = "") -> None:
        if err.is_terminal or done % LINES_EVERY == 0:
            advance(done, note)

    return step


def print_faults(
    faults: list[str], good: str, *, as_json: bool, more: Mapping[str, object] | None = None
) -> None:
    """Print faults, or `good` if there are none; exit with code 3 if there is one."""
    if as_json:
        print_json({"sound": not faults, "faults": faults, **(more or {})})
    else:
        for fault in faults:
            out.print(fault, markup=False)
        out.print(f"{len(faults)} faults" if faults else good)
    if faults:
        raise typer.Exit(SAYS_NO)
