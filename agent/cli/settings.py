"""`agent settings`: every setting in effect and its origin; versions that all PCs share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.app import app, find_settings_file, load_settings, open_store
from agent.cli.console import out, print_json, table
from agent.cli.options import JsonOption
from agent.cli.signing import require_lead, signed_store
from agent.errors import WrongUse

if TYPE_CHECKING:
    from collections.abc import Collection

    from agent.settings import Settings
    from agent.store import Store

settings_app = typer.Typer()
app.add_typer(settings_app, name="settings")


@settings_app.callback(invoke_without_command=True)
def settings_(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """List every setting in effect and its origin: environment, file, default or a version.

    A version holds the settings that all PCs of a site share. It reaches them in rings.
    """
    if context.invoked_subcommand is not None:
        return
    from agent.cli.settings_reference import list_settings

    settings, file = load_settings(context), find_settings_file(context)
    rows = list_settings(settings, file)
    if as_json:
        print_json([{"setting": n, "value": v, "from": f} for n, v, f in rows])
        return
    table(("setting", "value", "from"), rows, title=str(file or "no agent.toml: defaults"))


@settings_app.command()
def publish(
    context: typer.Context,
    by: Annotated[str, typer.Option("--by", help="Name of the lead who publishes.")],
    reason: Annotated[str, typer.Option("--reason", help="Reason; it is recorded.")],
    file: Annotated[
        Path | None, typer.Argument(help="An agent.toml; its local settings are left out.")
    ] = None,
    from_this_pc: Annotated[
        bool, typer.Option("--from-this-pc", help="The agent.toml and environment of this PC.")
    ] = False,
) -> None:
    """Publish a version of the shared settings, with taxonomy and specification limits.

    It holds no path, host name, port or credential. No PC applies it before its rollout: agent
    rollout start --settings VERSION.
    """
    from agent.service.data_folder import clock
    from agent.settings import collect_shared, read_own
    from agent.store import Signature, list_changes

    if (file is None) != from_this_pc:
        raise WrongUse("Name a FILE or write --from-this-pc, one of both.")
    if file is not None and not file.is_file():
        raise WrongUse(f"No such file: {file}.")
    settings = load_settings(context)
    given = read_own(file.absolute(), {}) if file else settings.own
    content = collect_shared(given)
    _check_files(given, content["files"])
    Signature(by, reason, clock())  # refuses an empty name and an empty reason
    with signed_store(context, settings, by) as (store, signer):
        require_lead(settings, store, signer)
        before = _find_current_content(store)
        published = store.settings_versions.publish(content, Signature(signer, reason, clock()))
    changes = list_changes(before, published.content)
    if before is not None:
        table(
            ("setting", "in use", "published"),
            [(name, str(was), str(now)) for name, (was, now) in changes.items()],
        )
    texts = [f"the text of {name}" for name in content["files"]]
    out.print(f"Published {', with '.join([published.version, *texts])}.", markup=False)
    out.print(
        f"To bring it to the PCs: agent rollout start --settings {published.version}", markup=False
    )


@settings_app.command()
def versions(context: typer.Context, json: JsonOption = False) -> None:
    """List the published versions, newest first, and the one in use."""
    settings = load_settings(context)
    with open_store(settings) as store:
        current = store.settings_versions.find_current()
        known = store.settings_versions.list_all()
    if json:
        print_json(
            {
                "in_use": current,
                "applied_here": settings.version or None,
                "versions": [
                    {
                        "version": version.version,
                        "by": version.by,
                        "reason": version.reason,
                        "published_at": version.published_at.isoformat(),
                        "content": version.content,
                    }
                    for version in known
                ],
            }
        )
        return
    if not known:
        out.print("No settings version yet. Publish one: agent settings publish --from-this-pc")
        return
    table(
        ("version", "state", "published (UTC)", "by", "reason"),
        [
            (
                version.version,
                "in use" if version.version == current else "",
                f"{version.published_at:%Y-%m-%d %H:%M}",
                version.by,
                version.reason,
            )
            for version in known
        ],
    )


def _check_files(settings: Settings, texts: Collection[str]) -> None:
    """Check the files of a version before it is published: what one PC refuses stops all."""
    from agent.orders import read_specifications
    from model import load_taxonomy

    if "model.taxonomy" in texts:
        load_taxonomy(Path(settings.model.taxonomy))
    if "orders.specifications" in texts:
        read_specifications(settings.orders.specifications)


def _find_current_content(store: Store) -> dict[str, object] | None:
    name = store.settings_versions.find_current()
    version = store.settings_versions.find(name) if name else None
    return version.content if version else None
