"""`agent models add`, `export`: bundles from and for other labs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli import console
from agent.cli.app import load_settings, open_store
from agent.cli.models import NameArgument, load_verified, models
from agent.errors import BadBundle, WrongUse
from model import ModelError

if TYPE_CHECKING:
    from agent.settings import Settings


@models.command()
def add(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="Folder of a bundle, exported elsewhere.")],
) -> None:
    """Take in a bundle from elsewhere, checked file by file; it is not put to work.

    One that is here and was damaged is made whole by it.
    """
    from agent.bundle_registry import get_bundles_folder
    from model import verify_bundle

    settings = load_settings(context)
    path = path.absolute()
    if not path.is_dir():
        raise WrongUse(f"{path}: there is no such folder.")
    _refuse_links(path)
    manifest = verify_bundle(path)
    target = get_bundles_folder(settings.store.folder) / manifest.name
    was_here = target.exists()
    if was_here and _is_whole(target):
        raise WrongUse(f"{manifest.name} is here already.")
    _copy(path, target, with_record=False)
    _remember(
        settings, "model.added", manifest.name, {"from": str(path), "was_damaged_here": was_here}
    )
    if was_here:
        console.out.print(f"{manifest.name} was damaged here; it is whole again.")
        return
    console.out.print(f"{manifest.name} was added; promote it to put it to work.")


def _refuse_links(bundle: Path) -> None:
    """Refuse a bundle from elsewhere whose files are links: another file would be copied."""
    links = sorted(path.name for path in bundle.iterdir() if path.is_symlink())
    if links or bundle.is_symlink():
        what = f"{links[0]} in it is a link" if links else "it is a link"
        raise WrongUse(f"{bundle}: {what}; add the folder that `agent models export` wrote.")


def _is_whole(bundle: Path) -> bool:
    from model import verify_bundle

    try:
        verify_bundle(bundle)
    except (ModelError, OSError):
        return False
    return True


@models.command()
def export(
    context: typer.Context,
    name: NameArgument,
    folder: Annotated[Path, typer.Argument(help="Where its folder is written.")],
) -> None:
    """Copy a bundle out, checked file by file."""
    from agent.bundle_registry import get_bundle

    settings = load_settings(context)
    load_verified(settings, name)
    target = folder.absolute() / name
    if target.exists():
        raise WrongUse(f"{target} is there already.")
    _copy(get_bundle(settings.store.folder, name), target, with_record=True)
    _remember(settings, "model.exported", name, {"to": str(target)})
    console.out.print(f"{name} was written to {target}.")


def _copy(source: Path, target: Path, *, with_record: bool) -> None:
    """Copy a bundle, and check the copy before it takes its place or that of a damaged one.

    Args:
        source: Its folder. Only the files that its manifest names are taken, and no link.
        target: Where it goes.
        with_record: What was written about it goes along: only out of this lab, never in.
    """
    from agent.bundle_registry import get_record_folder
    from model import verify_bundle

    staging = target.with_name(f".{target.name}.part")
    whole = staging / target.name
    try:
        shutil.rmtree(staging, ignore_errors=True)
        _copy_files(source, whole)
        verify_bundle(whole)
        if with_record and get_record_folder(source).is_dir():
            shutil.copytree(get_record_folder(source), get_record_folder(whole))
        if get_record_folder(target).is_dir():  # what was written about it here is this lab's own
            shutil.rmtree(get_record_folder(whole), ignore_errors=True)
            shutil.copytree(get_record_folder(target), get_record_folder(whole))
        _put_in_place(whole, target)
    except (OSError, ModelError) as error:
        raise BadBundle(
            f"{target}: cannot be written ({_reason(error)}); nothing of it was left there. See "
            "that there is room and that it may be written to, and try again."
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _copy_files(source: Path, target: Path) -> None:
    from agent.regular_file import open_regular
    from model import BundleError, read_manifest

    target.mkdir(parents=True)
    for name in ("bundle.json", *read_manifest(source).files):
        if Path(name).name != name:
            raise BundleError(f"{source}: its manifest names a file outside of it: {name!r}.")
        with open_regular(source / name) as held, (target / name).open("xb") as copied:
            shutil.copyfileobj(held, copied)


def _put_in_place(whole: Path, target: Path) -> None:
    """Put a whole bundle in its place; a damaged one goes only if that can be done."""
    if not target.exists():
        whole.rename(target)
        return
    damaged = target.rename(whole.with_name("damaged"))
    try:
        whole.rename(target)
    except OSError:
        damaged.rename(target)
        raise


def _reason(error: OSError | ModelError) -> str:
    """Say the first thing that went wrong; copying a folder collects them with both paths."""
    if isinstance(error, ModelError):
        return "what was written is not what was read"
    if isinstance(error, shutil.Error) and error.args and error.args[0]:
        first = str(error.args[0][0][-1])
        return re.sub(r"^\[\w+ -?\d+\] ", "", first).partition(": ")[0]
    return error.strerror or str(error)


def _remember(settings: Settings, act: str, name: str, facts: dict[str, object]) -> None:
    from agent.cli.signing import os_user
    from agent.service.data_folder import clock

    with open_store(settings) as store:
        store.remember(at=clock(), actor=os_user(), act=act, subject=name, facts=facts)
