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
    from collections.abc import Iterable

    from agent.settings import Settings


@models.command()
def add(
    context: typer.Context,
    path: Annotated[
        Path, typer.Argument(help="Folder of a bundle that another lab or PC exported.")
    ],
) -> None:
    """Add a bundle from another lab or PC after checking each file. It is not promoted.

    A damaged bundle of the same name is repaired.
    """
    from agent.retrain.bundle_registry import get_bundles_folder, require_allowed
    from model import read_manifest, verify_bundle

    settings = load_settings(context)
    path = path.absolute()
    if not path.is_dir():
        raise WrongUse(f"No such folder: {path}.")
    _refuse_links(path)
    _refuse_pipes(path, ("bundle.json", "split.json"))
    _refuse_pipes(path, read_manifest(path).files)
    manifest = verify_bundle(path)
    require_allowed(settings.store.folder, manifest)
    target = get_bundles_folder(settings.store.folder) / manifest.name
    exists = target.exists()
    if exists and _is_whole(target):
        raise WrongUse(f"{manifest.name} already exists here.")
    _copy(path, target, with_record=False)
    _remember(
        settings, "model.added", manifest.name, {"from": str(path), "was_damaged_here": exists}
    )
    if exists:
        console.out.print(f"{manifest.name} was damaged here and is repaired.")
        return
    console.out.print(f"{manifest.name} was added. To use it: agent models promote {manifest.name}")


def _refuse_links(bundle: Path) -> None:
    """Raise `WrongUse` if a file of an external bundle is a link to another file."""
    links = sorted(path.name for path in bundle.iterdir() if path.is_symlink())
    if links or bundle.is_symlink():
        what = f"contains a link, {links[0]}" if links else "is a link"
        raise WrongUse(f"{bundle} {what}. Add the folder that `agent models export` wrote.")


def _refuse_pipes(bundle: Path, names: Iterable[str]) -> None:
    """Raise `WrongUse` if a file that is to be read is a pipe, which would be waited for."""
    for name in names:
        if (bundle / name).exists() and not (bundle / name).is_file():
            raise WrongUse(f"{bundle} contains {name}, which is no file. Copy the bundle again.")


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
    folder: Annotated[Path, typer.Argument(help="Target folder; the bundle becomes a sub-folder.")],
) -> None:
    """Copy a bundle to a folder after checking each file."""
    from agent.retrain.bundle_registry import get_bundle

    settings = load_settings(context)
    load_verified(settings, name)
    target = folder.absolute() / name
    if target.exists():
        raise WrongUse(f"{target} already exists.")
    _copy(get_bundle(settings.store.folder, name), target, with_record=True)
    _remember(settings, "model.exported", name, {"to": str(target)})
    console.out.print(f"{name} was written to {target}.")


def _copy(source: Path, target: Path, *, with_record: bool) -> None:
    """Copy a bundle and verify the copy before it replaces anything.

    Args:
        source: Folder of the bundle. Only files named in its manifest are copied, and no links.
        target: Folder of the copy.
        with_record: Whether to copy the training record; only out of this lab, never in.
    """
    from agent.retrain.bundle_registry import get_record_folder
    from model import verify_bundle

    staging = target.with_name(f".{target.name}.part")
    whole = staging / target.name
    try:
        shutil.rmtree(staging, ignore_errors=True)
        _copy_files(source, whole)
        verify_bundle(whole)
        if with_record and get_record_folder(source).is_dir():
            shutil.copytree(get_record_folder(source), get_record_folder(whole))
        if get_record_folder(target).is_dir():  # the record written here belongs to this lab
            shutil.rmtree(get_record_folder(whole), ignore_errors=True)
            shutil.copytree(get_record_folder(target), get_record_folder(whole))
        _put_in_place(whole, target)
    except (OSError, ModelError) as error:
        raise BadBundle(
            f"{target}: cannot be written ({_reason(error)}). Nothing was left there. Check free "
            "space and write permission, then try again."
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _copy_files(source: Path, target: Path) -> None:
    from agent.regular_file import open_regular
    from model import BundleError, read_manifest

    target.mkdir(parents=True)
    for name in ("bundle.json", *read_manifest(source).files):
        if Path(name).name != name:
            raise BundleError(f"{source}: its manifest names a file outside the bundle: {name!r}.")
        with open_regular(source / name) as original, (target / name).open("xb") as copied:
            shutil.copyfileobj(original, copied)


def _put_in_place(whole: Path, target: Path) -> None:
    """Move a complete bundle to its target; a damaged one is removed only after that."""
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
    """Return the first fault of a copy; `shutil.Error` collects all with both paths."""
    if isinstance(error, ModelError):
        return "the copy differs from the original"
    if isinstance(error, shutil.Error) and error.args and error.args[0]:
        first = str(error.args[0][0][-1])
        return re.sub(r"^\[\w+ -?\d+\] ", "", first).partition(": ")[0]
    return error.strerror or str(error)


def _remember(settings: Settings, act: str, name: str, facts: dict[str, object]) -> None:
    from agent.cli.signing import os_user
    from agent.service.data_folder import clock

    with open_store(settings) as store:
        store.audit_log.add(at=clock(), actor=os_user(), act=act, subject=name, facts=facts)
