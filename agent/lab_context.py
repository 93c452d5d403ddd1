"""Collect what reports and review pages need to know of a lab, from its settings and its bundle.

Service, commands and web pages share it, so that a code has one meaning everywhere.
"""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import BadBundle, BadSettings, WrongUse
from agent.orders import read_specifications
from agent.orders.class_texts import fill_texts
from agent.orders.order_policy import BUNDLES, has_version_in_use, with_version_in_use
from agent.orders.taxonomy_history import UNREADABLE, note_taxonomy, read_bundle_taxonomy
from agent.settings import compute_version, get_files_folder, overlay, write_files
from agent.store import RingRules

if TYPE_CHECKING:
    from datetime import datetime

    from agent.settings import Settings
    from agent.store import SettingsVersion, Store
    from model import Taxonomy


def software() -> str:
    """Return this program's name and version, as printed on reports."""
    return f"Martensight {version('martensight')}"


def review_url(settings: Settings) -> str:
    """Return the address of the review page, "" if any free port is used."""
    host = settings.web.host
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host  # noqa: S104 - compared, not bound
    return f"http://{shown}:{settings.web.port}" if settings.web.port else ""


def read_taxonomy(settings: Settings, store: Store, *, now: datetime) -> Taxonomy:
    """Return the active taxonomy, and record since when it is active, before it is used.

    An order keeps the taxonomy of its release, and a label that of its decision.

    Args:
        settings: Of the lab.
        store: Open.
        now: Aware UTC.

    Raises:
        BadBundle: The current bundle's manifest cannot be read.
        model.TaxonomyError: A taxonomy is inconsistent.
    """
    taxonomy = taxonomy_in_force(settings, store)
    if has_version_in_use(with_version_in_use(settings, store), store):
        note_taxonomy(store, taxonomy, now=now)
    return taxonomy


def taxonomy_in_force(settings: Settings, store: Store) -> Taxonomy:
    """Return the active taxonomy: the lab's own, or else the bundle's, or else the default.

    The lab's own is that of the settings version in use, also on a PC that tries another one.

    Raises:
        BadBundle: The current bundle's manifest cannot be read.
        model.TaxonomyError: A taxonomy is inconsistent.
    """
    return _find_taxonomy(with_version_in_use(settings, store), store)


def _find_taxonomy(settings: Settings, store: Store) -> Taxonomy:
    from model import default_taxonomy, load_taxonomy  # noqa: PLC0415 - brings torch

    if settings.model.taxonomy:
        return load_taxonomy(Path(settings.model.taxonomy))
    name = store.promotions.find_current()
    if name is None:
        return default_taxonomy()
    bundles = settings.store.folder / BUNDLES
    try:
        return fill_texts(read_bundle_taxonomy(bundles, name))
    except UNREADABLE as error:
        for earlier in dict.fromkeys(promotion.bundle for promotion in store.promotions.list_all()):
            with suppress(*UNREADABLE):  # the one that serves instead knows what its codes mean
                return fill_texts(read_bundle_taxonomy(bundles, earlier))
        raise BadBundle(
            f"bundle {name}: its taxonomy cannot be read ({error}); "
            "put the bundle back or promote another one: agent models list."
        ) from error


def apply_version(settings: Settings, version: SettingsVersion) -> Settings:
    """Return a PC's settings with those of a version over them, all of them checked.

    The texts of the version's files are written below the data folder.

    Args:
        settings: Of the PC, with or without a version.
        version: The version.

    Raises:
        AgentError: A value or the specification limits are not valid here, or the content is not
            what the name says.
        model.TaxonomyError: The taxonomy is not valid.
        OSError: The data folder cannot be written.
    """
    from model import load_taxonomy  # noqa: PLC0415 - brings torch

    own, data, name = settings.own, settings.store.folder, version.version
    if compute_version(version.content) != name:
        raise BadSettings("its content is not what its name says. See agent check")
    applied = own.with_version(name, overlay(own, version.content, get_files_folder(data, name)))
    write_files(data, version.content)
    if applied.model.taxonomy:
        load_taxonomy(Path(applied.model.taxonomy))
    if "orders.specifications" in version.content["files"]:
        read_specifications(applied.orders.specifications)
    return applied


def require_same_classes(settings: Settings, store: Store, version: SettingsVersion) -> None:
    """Refuse rings for a version with other structure codes than the active taxonomy.

    Raises:
        WrongUse: The structure codes differ.
        AgentError: The version is not valid here.
    """
    active = taxonomy_in_force(settings, store)
    codes = _find_taxonomy(apply_version(settings, version), store).codes
    if differing := sorted(set(codes) ^ set(active.codes)):
        raise WrongUse(
            f"{version.version} has other structure codes than the active taxonomy "
            f"({', '.join(differing)}), and PCs with different codes cannot work on one order. "
            "Change the taxonomy on all PCs at once: stop the agents, write the file on each PC, "
            "start them, then publish this version."
        )


def get_ring_rules(settings: Settings) -> RingRules:
    """Return the rings in which the PCs of a site take a bundle."""
    rollout = settings.rollout
    return RingRules(
        first=rollout.first,
        share=rollout.share,
        wait_minutes=rollout.wait_minutes,
        absent_minutes=rollout.absent_minutes,
        tolerance=rollout.tolerance,
    )
