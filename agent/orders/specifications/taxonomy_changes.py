"""Changes of a taxonomy: proposed by reviewers, previewed with their effects, written with a copy.

A proposal decides nothing: the micrograph is still decided with the classes that there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from agent.errors import BadSettingsError, UsageError
from agent.orders.facts.order_policy import BUNDLES
from agent.orders.specifications.specification import (
    Specification,
    find_size_fault,
    read_specifications,
)
from agent.orders.specifications.specification_history import (
    UNREADABLE,
    find_scale,
    list_sizes,
    read_bundle_taxonomy,
)
from agent.store import Record, Store
from model import Taxonomy, TaxonomyError, format_taxonomy, load_taxonomy
from model.class_names import compose_name
from model.durable_file import write_durably
from reports import gettext as _

PROPOSED, CLOSED = "class_proposal", "class_proposal_closed"
"""Kinds of records; their subject is the proposed name."""
LONGEST_NAME, LONGEST_TEXT = 40, 500


def propose_class(
    store: Store, public_id: str, *, name: str, text: str, by: str, at: datetime
) -> int:
    """Record a proposal; return the number of its record, the first one's where it is repeated.

    Args:
        store: Open.
        public_id: Of the micrograph that shows it.
        name: Of the class.
        text: What it looks like.
        by: Who proposes it.
        at: Now, aware UTC.

    Raises:
        UsageError: The name or the author is missing, or something is too long.
    """
    name, text = compose_name(" ".join(name.split())), " ".join(text.split())
    if not by.strip():
        raise UsageError(_("A proposal needs the name of its author."))
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise UsageError(_("A class needs a name of at most {n} letters.").format(n=LONGEST_NAME))
    if len(text) > LONGEST_TEXT or not text.isprintable():
        raise UsageError(_("Describe it in at most {n} printable letters.").format(n=LONGEST_TEXT))
    facts = {"micrograph": public_id, "text": text}
    return store.records.add_once(PROPOSED, name, by=by.strip(), at=at, facts=facts, after=CLOSED)


def close_proposal(store: Store, name: str, *, reason: str, by: str, at: datetime) -> None:
    """Record the administrator's answer to all proposals of a name.

    Raises:
        UsageError: There is no open proposal of this name, or the reason is missing.
    """
    if name not in list_open(store):
        raise UsageError(_("There is no open proposal “{name}”.").format(name=name))
    if not (reason := " ".join(reason.split())[:LONGEST_TEXT]):
        raise UsageError(_("Give a reason; the audit log keeps it."))
    store.records.add(CLOSED, name, by=by, at=at, facts={"reason": reason})


def list_open(store: Store) -> dict[str, list[Record]]:
    """Return the proposed classes that no administrator has answered: name → proposals, by age."""
    closed = {name: record.id for name, record in store.records.newest(CLOSED).items()}
    found: dict[str, list[Record]] = {}
    for record in store.records.all(PROPOSED):
        if record.id > closed.get(record.subject, 0):
            found.setdefault(record.subject, []).append(record)
    return found


@dataclass(frozen=True, slots=True)
class TaxonomyUse:
    """What depends on the classes of a lab.

    Attributes:
        labelled: Structure code → number of micrographs with that label.
        bundle: Taxonomy of the bundle in use, None where there is none or it cannot be read.
        specifications: Those of the lab.
    """

    labelled: Mapping[str, int]
    bundle: Taxonomy | None
    specifications: tuple[Specification, ...]


def load_taxonomy_use(store: Store, *, data: Path, specifications: Path) -> TaxonomyUse:
    """Load what depends on the classes.

    Args:
        store: Open.
        data: The data folder, with the bundles.
        specifications: The file of specification limits; it need not exist.

    Raises:
        SpecificationError: The file of limits cannot be used.
    """
    name = store.promotions.find_current()
    bundle = None
    if name is not None:
        with suppress(*UNREADABLE):
            bundle = read_bundle_taxonomy(data / BUNDLES, name)
    limits = read_specifications(specifications).entries
    return TaxonomyUse(store.labels.count_codes(), bundle, tuple(limits))


def find_effects(new: Taxonomy, current: Taxonomy | None, use: TaxonomyUse) -> Iterator[str]:
    """Yield what a taxonomy would change, a sentence each, in the current language.

    Args:
        new: New taxonomy.
        current: Taxonomy in use, or None to compare with labels, limits and bundle only.
        use: What depends on it.
    """
    if lost := {code: n for code, n in use.labelled.items() if not _has(new, code)}:
        shown = ", ".join(f"{code} ({n})" for code, n in sorted(lost.items()))
        yield _("Training leaves out the labels of unknown codes: {codes}.").format(codes=shown)
    bundle = use.bundle
    if bundle and (gone := [code for code in bundle.trained_codes if not _has(new, code)]):
        yield _(
            "The bundle in use answers {codes}, which the taxonomy lacks. Train a new bundle: "
            "agent train."
        ).format(codes=", ".join(gone))
    if bundle and (fresh := [code for code in new.trained_codes if not is_trained(bundle, code)]):
        yield _("The bundle in use lacks {codes}. Train a new one: agent train.").format(
            codes=", ".join(fresh)
        )
    for subtype in new.subtypes if current else ():
        before, now = find_scale(current, subtype.name), find_scale(new, subtype.name)  # type: ignore[arg-type]
        if before is not None and before != now:
            yield _(
                "The sizes of {subtype} become {sizes}. Released orders keep the previous sizes "
                "until a lead reopens them."
            ).format(subtype=subtype.name, sizes=list_sizes(new, subtype.name))
    yield from _find_limits(new, use)


def _find_limits(new: Taxonomy, use: TaxonomyUse) -> Iterator[str]:
    known = {subtype.name for subtype in new.subtypes}
    for wanted in use.specifications:
        if missing := [name for name in wanted.subtype if name not in known]:
            yield _("Specification {name} requires {subtypes}, which the taxonomy lacks.").format(
                name=wanted.name, subtypes=", ".join(missing)
            )
        elif fault := find_size_fault(wanted, new):
            yield _("Specification {name}: {fault}.").format(name=wanted.name, fault=fault)


def is_trained(bundle: Taxonomy, code: str) -> bool:
    """Return whether a bundle with this taxonomy answers a code."""
    return _has(bundle, code) and bundle.code(*bundle.parse(code)) in bundle.trained_codes


def _has(own: Taxonomy, code: str) -> bool:
    try:
        own.parse(code)
    except TaxonomyError:
        return False
    return True


TAXONOMY_FILE = "taxonomy.toml"


def write_taxonomy(path: Path, taxonomy: Taxonomy, *, now: datetime) -> Path | None:
    """Write a taxonomy; the file appears whole or not at all.

    Args:
        path: The `taxonomy.toml`.
        taxonomy: The new classes.
        now: Aware UTC, for the name of the copy.

    Returns:
        The copy of the file that was there, or None where there was none.

    Raises:
        BadSettingsError: The folder cannot be written to.
        model.TaxonomyError: The text does not read back; nothing was replaced.
    """
    fresh = path.with_name(f".{path.name}.new")
    try:
        copy = _copy(path, now)
        write_durably(fresh, format_taxonomy(taxonomy).encode())
        load_taxonomy(fresh)
        fresh.replace(path)
    except OSError as error:
        raise BadSettingsError(
            f"{path}: cannot be written ({error.strerror or error}); give the agent's account the "
            "right to write in this folder."
        ) from error
    finally:
        fresh.unlink(missing_ok=True)
    return copy


def _copy(path: Path, now: datetime) -> Path | None:
    if not path.exists():
        return None
    stem = f"{path.stem}-{now:%Y%m%dT%H%M%SZ}"
    copy = path.with_name(f"{stem}{path.suffix}")
    number = 1
    while copy.exists():
        number += 1
        copy = path.with_name(f"{stem}-{number}{path.suffix}")
    write_durably(copy, path.read_bytes())
    return copy
