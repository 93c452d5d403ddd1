"""Choose the specification and the taxonomy that were valid when an order was released.

Each file is recorded whenever the agent reads it; a change is a new state. An order is judged by
the first state, from its release on, in which a specification without a fault applies to it, and by
the first taxonomy by which that specification can be judged. An edit therefore never changes an
order that was released before, nor do sizes which are listed in another order, renamed or removed,
unless a lead reopens it; nor does another time zone of the site. The sequence is that of the record
numbers, as a clock may be set back. The answers of a bundle are given in its own taxonomy, and
labels in the one valid at that time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import tomlkit
from tomlkit.exceptions import TOMLKitError

from agent.errors import UsageError
from agent.orders.specifications.specification import (
    Specification,
    SpecificationChoice,
    SpecificationError,
    Specifications,
    read_specifications,
)
from agent.settings.writing import append_entry
from agent.store import NewRecord, Record, Signature, Store
from model import Taxonomy, TaxonomyError, taxonomy_from
from model.durable_file import write_durably
from reports import gettext as _

if TYPE_CHECKING:  # a short command reads no tables of micrographs
    from agent.store import LabelView, MicrographView

STATE, REOPENED, DEMANDS = "specifications", "reopened", "order_demands"
"""Kinds of records: the file as it was read, a lead's act that judges an order again, and what the
settings demand of orders."""


@dataclass(frozen=True, slots=True)
class SpecificationState:
    """The specifications of the file from a moment on.

    Attributes:
        id: Number of its record; a later state has a larger one.
        at: When the agent first read it so, aware UTC.
        specifications: As read.
        zone: Time zone of the site then, by which the days of its entries begin; "" is today's.
    """

    id: int
    at: datetime
    specifications: Specifications
    zone: str = ""


@dataclass(frozen=True, slots=True)
class SpecificationHistory:
    """Every state of the file, oldest first."""

    states: tuple[SpecificationState, ...] = ()

    def choose(
        self,
        keys: Mapping[str, str],
        *,
        at: datetime,
        zone: str,
        since: datetime | None,
        current: Specifications,
        last: int | None = None,
        can_judge: Callable[[Specification], bool] = lambda _wanted: True,
    ) -> SpecificationChoice:
        """Return the specification that applies to an order.

        Args:
            keys: Its material, product, customer and named specification.
            at: When it was released or reopened, or now; its day is that of the zone of a state.
            zone: Time zone of the site as it is now.
            since: When it was released or reopened, None where that is not known.
            current: The file as it is now.
            last: Number of the newest record of its release or reopening, None where none was
                kept: then `since` decides.
            can_judge: Returns whether a specification can be judged; a version with a fault, or two
                that clash, apply to no order once they are mended.
        """
        today = current.for_order(keys, on=at.astimezone(ZoneInfo(zone)).date())
        if since is None or not self.states:
            return today
        before = [
            n
            for n, state in enumerate(self.states)
            if (state.at <= since if last is None else state.id <= last)
        ]
        for state in self.states[before[-1] if before else 0 :]:
            day = at.astimezone(ZoneInfo(state.zone or zone)).date()
            choice = state.specifications.for_order(keys, on=day)
            if choice.specification and can_judge(choice.specification):
                return choice
        return today


def load_history(store: Store) -> SpecificationHistory:
    """Load every state of the file that the agent noted."""
    states = store.records.all(STATE)
    if not states:
        return SpecificationHistory()
    known = {
        sha256: Specification.model_validate(entry)
        for sha256, entry in store.specifications.entries().items()
    }
    return SpecificationHistory(
        tuple(
            SpecificationState(
                state.id,
                state.at,
                Specifications(tuple(known[sha] for sha in state.facts["entries"] if sha in known)),
                state.facts.get("zone", ""),
            )
            for state in states
        )
    )


def note_state(
    store: Store,
    specifications: Specifications,
    *,
    zone: str,
    at: datetime,
    by: str = "agent",
    reason: str = "",
) -> None:
    """Record from when on specifications are valid, unless this PC recorded them last.

    Args:
        store: Open.
        specifications: As the file has them.
        zone: Time zone of the site.
        at: Aware UTC.
        by: Who changed them; the agent where it only read the file.
        reason: Why, where somebody signed it; the audit log keeps it.
    """
    entries = [
        (entry.name, entry.valid_from, entry.approved_by, entry.sha256, entry.entry)
        for entry in specifications.entries
    ]
    store.specifications.note(entries, zone=zone, at=at, by=by, reason=reason)


def write_specifications(file: Path, wanted: Specifications) -> Specifications:
    """Change the file so that it holds these and no others, and return what it then holds.

    Comments and entries that stay are kept as they are; the file is replaced whole or not at all.

    Raises:
        SpecificationError: It cannot be read or written; nothing was changed.
    """
    fresh, lines = file.with_name(f".{file.name}.new"), ""
    try:
        there = file.exists()
        document = tomlkit.parse(file.read_text(encoding="utf-8-sig") if there else "")
        lines = _change(document, wanted)
        write_durably(fresh, tomlkit.dumps(document).encode())
        if there:
            fresh.chmod(file.stat().st_mode & 0o777)
        written = read_specifications(fresh)
        fresh.replace(file)
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise SpecificationError(f"{file}: not valid TOML: {error}.") from error
    except OSError as error:
        text = _(
            "{file}: cannot be written ({error}). Give the agent's account the right to write "
            "there, or write it yourself: {lines}"
        ).format(file=file, error=error.strerror or error, lines=lines)
        raise SpecificationError(text) from error
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
    return written


def _change(document: tomlkit.TOMLDocument, wanted: Specifications) -> str:
    """Change a parsed file, and return the new entries as TOML."""
    new = {entry.sha256: entry for entry in wanted.entries}
    there = document.get("specification", [])
    for index in reversed(range(len(there))):
        if new.pop(Specification(**there[index].unwrap()).sha256, None) is None:
            del there[index]
    if not there:
        document.pop("specification", None)
    added = tomlkit.document()
    for entry in new.values():
        values = entry.model_dump(exclude_defaults=True)
        keys: dict[str, object] = {
            k: list(v) if isinstance(v, tuple) else v for k, v in values.items()
        }
        if entry.limits:
            limits = tomlkit.inline_table()
            limits.update(entry.limits)
            keys["limits"] = limits
        append_entry(document, "specification", keys)
        append_entry(added, "specification", keys)
    return " ".join(tomlkit.dumps(added).split("\n")).strip()


def sign_specifications(
    store: Store, file: Path, wanted: Specifications, *, zone: str, signature: Signature
) -> None:
    """Write specifications into their file, and record who signed the change and why.

    Args:
        store: Open.
        file: The file; its comments stay.
        wanted: All that it has to hold.
        zone: Time zone of the site.
        signature: Of a lead.

    Raises:
        SpecificationError: The file cannot be read or written; nothing was changed.
    """
    written = write_specifications(file, wanted)
    note_state(
        store,
        written,
        zone=zone,
        at=signature.at,
        by=signature.by,
        reason=signature.reason,
    )


def find_taken_back(store: Store) -> tuple[Record, Specifications] | None:
    """Return the last change with what was valid before, None unless a lead signed it on a page."""
    states = store.records.all(STATE)
    before = [state for state in states if state.facts["entries"] != states[-1].facts["entries"]]
    if not before or states[-1].by == "agent":
        return None
    known = store.specifications.entries()
    entries = (Specification.model_validate(known[sha]) for sha in before[-1].facts["entries"])
    return states[-1], Specifications(tuple(entries))


def describe_lost_file(store: Store, file: Path) -> str:
    """Return that the lab once had specifications and their file is not there, "" if it is.

    Args:
        store: Open.
        file: Where the specifications are.
    """
    if file.exists() or not any(state.facts["entries"] for state in store.records.all(STATE)):
        return ""
    return (
        f"{file} is not there, and held the specifications of this lab: orders that arrive now "
        "have no limit. Put it back; for a lab that needs none any more, leave an empty file there."
    )


def reopen(
    store: Store,
    number: str,
    *,
    by: str,
    reason: str,
    at: datetime,
    breaks: Sequence[str] = (),
    despite: str = "",
) -> None:
    """Judge an order by the specifications that are valid now; a lead's act.

    Args:
        store: Open.
        number: Of the order.
        by: The lead.
        reason: Why.
        at: Now, aware UTC.
        breaks: Fields that the lead labelled as breaking the limit and that keep it now.
        despite: Time of a later act, where the lead confirms that this PC's clock is right.

    Raises:
        UsageError: The order is unknown, no reason is given, or this PC's clock is set back.
    """
    if not reason.strip():
        raise UsageError("Give a reason with --reason TEXT: the statement shows it.")
    if not despite:
        store.audit_log.require_clock(at=at)
    view = store.orders.order(number)
    if view is None:
        raise UsageError(f"Unknown order {number!r}. Run `agent orders list`.")
    facts = {"reason": reason, "breaks": [*breaks], "despite": despite}
    facts = {key: value for key, value in facts.items() if value}
    store.records.add(REOPENED, view.number, by=by, at=at, facts=facts)


TAXONOMY, OF_BUNDLE = "taxonomy", "bundle_taxonomy"
"""Kinds of records: the current taxonomy as it was read, and that of a bundle, by its name."""
UNREADABLE = (OSError, ValueError, KeyError, TypeError, TaxonomyError)
"""Errors of reading a bundle's taxonomy that is missing or inconsistent."""

Scale = tuple[tuple[str, tuple[object, object] | None], ...]
"""The sizes of a subtype, coarse to fine, each with the numbers that it stands for."""


@dataclass(frozen=True, slots=True)
class TaxonomyState:
    """The taxonomy from a moment on.

    Attributes:
        id: Number of its record; a later state has a larger one.
        at: When the agent first read it so, aware UTC.
        taxonomy: As read.
    """

    id: int
    at: datetime
    taxonomy: Taxonomy


@dataclass(frozen=True, slots=True)
class TaxonomyHistory:
    """Every state of the taxonomy, oldest first, and what is known of those of the bundles.

    Attributes:
        states: Oldest first.
        bundles: Returns the taxonomy of a bundle by its name, None where it is not known.
    """

    states: tuple[TaxonomyState, ...] = ()
    bundles: Callable[[str], Taxonomy | None] = field(default=lambda _name: None)

    def choose(
        self,
        *,
        since: datetime | None,
        last: int | None,
        current: Taxonomy,
        can_judge: Callable[[Taxonomy], bool],
    ) -> Taxonomy:
        """Return the taxonomy that applies to an order.

        Args:
            since: When it was released or reopened, None where that is not known.
            last: Number of the newest record of its release or reopening, None where none was
                kept: then `since` decides.
            current: The one valid now.
            can_judge: Returns whether the order's specification can be judged by a taxonomy.
        """
        if since is None or not self.states:
            return current
        begin = self._find(since, last)
        usable = (state.taxonomy for state in self.states[begin:] if can_judge(state.taxonomy))
        return next(usable, current)

    def at(self, when: datetime, after: int | None) -> Taxonomy | None:
        """Return the taxonomy that was valid at a time, None where none is known.

        Args:
            when: Aware UTC.
            after: Number of the newest record at that time, None where none was kept.
        """
        return self.states[self._find(when, after)].taxonomy if self.states else None

    def _find(self, when: datetime, after: int | None) -> int:
        """Return the index of the valid state; the first one holds for what came before it."""
        before = [
            n
            for n, state in enumerate(self.states)
            if (state.at <= when if after is None else state.id <= after)
        ]
        return before[-1] if before else 0


@dataclass(frozen=True, slots=True)
class OrderTaxonomy:
    """The taxonomy of one order, compared with those of its labels and of the model's answers.

    Attributes:
        taxonomy: That applies.
        history: Earlier ones.
        reopened: A lead's act, or None; labels given before it count by their names.
    """

    taxonomy: Taxonomy
    history: TaxonomyHistory
    reopened: Record | None = None

    def find_label_fault(self, label: LabelView) -> str:
        """Return why a code was not given in this taxonomy, in words; "" where it was."""
        if label.kind != "code" or not label.code or self._is_covered(label):
            return ""
        theirs = self.history.at(label.at, label.after_record)
        if theirs is None:
            return ""
        for subtype in _subtypes_of([label.code], theirs):
            if find_scale(theirs, subtype) != find_scale(self.taxonomy, subtype):
                return _(
                    "{who}'s label {code} was given when the sizes of {subtype} were listed as "
                    "{theirs}; the order is judged by {own}: a lead reopens it"
                ).format(
                    who=label.by,
                    code=label.code,
                    subtype=subtype,
                    theirs=list_sizes(theirs, subtype),
                    own=list_sizes(self.taxonomy, subtype),
                )
        return ""

    def find_answer_fault(self, view: MicrographView) -> str:
        """Return why the model did not answer in this taxonomy, in words; "" where it did."""
        result = view.result
        theirs = self.history.bundles(result.bundle) if result.bundle else None
        if theirs is None:
            return ""
        codes = [
            *result.prediction_set,
            *([result.structure_code] if result.structure_code else []),
        ]
        for subtype in _subtypes_of(codes, theirs):
            if find_scale(theirs, subtype) != find_scale(self.taxonomy, subtype):
                return _(
                    "{bundle} answered by a taxonomy that lists the sizes of {subtype} as "
                    "{theirs}; the order is judged by {own}: a reviewer decides"
                ).format(
                    bundle=result.bundle,
                    subtype=subtype,
                    theirs=list_sizes(theirs, subtype),
                    own=list_sizes(self.taxonomy, subtype),
                )
        return ""

    def _is_covered(self, label: LabelView) -> bool:
        """Return whether a lead reopened the order after a label was given."""
        reopened = self.reopened
        if reopened is None:
            return False
        if label.after_record is None:
            return label.at <= reopened.at
        return label.after_record < reopened.id


def find_scale(taxonomy: Taxonomy, subtype: str) -> Scale | None:
    """Return the sizes of a subtype with their numbers, None where there is no such subtype.

    Titles and which sizes are trained change nothing that an order is judged by.
    """
    own = next((listed for listed in taxonomy.subtypes if listed.name == subtype), None)
    if own is None:
        return None
    return tuple(
        (size.name, (size.numbers.lower, size.numbers.upper) if size.numbers else None)
        for size in own.sizes
    )


def list_sizes(taxonomy: Taxonomy, subtype: str) -> str:
    """Return the sizes of a subtype in words, coarse to fine."""
    scale = find_scale(taxonomy, subtype)
    if scale is None:
        return _("none")
    own = next(listed for listed in taxonomy.subtypes if listed.name == subtype)
    return ", ".join(
        f"{size.name} ({size.numbers.lower:g}-{size.numbers.upper:g})"
        if size.stated and size.numbers
        else size.name
        for size in own.sizes
    )


def describe_taxonomy(
    own: OrderTaxonomy, *, released: Taxonomy, current: Taxonomy, subtypes: Sequence[str]
) -> Iterator[str]:
    """Yield which list of sizes applies, where another is valid now or a lead reopened it.

    Args:
        own: That of the order.
        released: The one that applied before a lead reopened it.
        current: The one valid now.
        subtypes: Those that are demanded.
    """
    for subtype in subtypes:
        sizes = list_sizes(own.taxonomy, subtype)
        if own.reopened and find_scale(released, subtype) != find_scale(own.taxonomy, subtype):
            yield _(
                "the sizes of {subtype} apply as {sizes}, since {who} reopened the order; it was "
                "released by {before}; labels given before count by their names"
            ).format(
                subtype=subtype,
                sizes=sizes,
                who=own.reopened.by,
                before=list_sizes(released, subtype),
            )
        if find_scale(current, subtype) != find_scale(own.taxonomy, subtype):
            sentence = (
                _(
                    "the sizes of {subtype} apply as {sizes}, as they were when the order was "
                    "reopened; now valid: {current}"
                )
                if own.reopened
                else _(
                    "the sizes of {subtype} apply as {sizes}, as they were when the order was "
                    "released; now valid: {current}"
                )
            )
            yield sentence.format(
                subtype=subtype, sizes=sizes, current=list_sizes(current, subtype)
            )


def _subtypes_of(codes: Sequence[str], taxonomy: Taxonomy) -> Iterator[str]:
    """Yield the subtypes of codes, each once; a code that the taxonomy does not know has none."""
    known: dict[str, None] = {}
    for code in codes:
        try:
            known[taxonomy.parse(code)[0]] = None
        except TaxonomyError:
            continue
    yield from known


# --- what is kept --------------------------------------------------------------------------------


def note_taxonomy(store: Store, taxonomy: Taxonomy, *, now: datetime, by: str = "agent") -> None:
    """Record from when on a taxonomy is valid, unless this PC recorded it last.

    Args:
        store: Open.
        taxonomy: The one that is valid.
        now: Aware UTC.
        by: Who changed it; the agent where it only read the file.
    """
    entry = taxonomy.without_texts().as_json()  # what pages say of a class decides nothing
    store.records.add_state(TAXONOMY, by=by, at=now, facts={"taxonomy": entry})


def note_bundles(store: Store, bundles: Path, *, now: datetime) -> None:
    """Record the taxonomy of every bundle that was ever in use and can be read."""
    known = store.records.newest(OF_BUNDLE)
    for name in dict.fromkeys(promotion.bundle for promotion in store.promotions.list_all()):
        if name in known:
            continue
        try:
            taxonomy = read_bundle_taxonomy(bundles, name)
        except UNREADABLE:
            continue
        new = NewRecord(OF_BUNDLE, name, {"taxonomy": taxonomy.without_texts().as_json()})
        store.records.add_together([new], by="agent", at=now, follows=0)


def load_taxonomies(store: Store, bundles: Path) -> TaxonomyHistory:
    """Load every state of the taxonomy that was noted, and what is known of the bundles.

    Args:
        store: Open.
        bundles: Folder of the bundles; one that was noted needs no folder any more.
    """
    noted = store.records.newest(OF_BUNDLE)
    known: dict[str, Taxonomy | None] = {}

    def find(name: str) -> Taxonomy | None:
        if name not in known:
            try:
                known[name] = (
                    taxonomy_from(noted[name].facts["taxonomy"])
                    if name in noted
                    else read_bundle_taxonomy(bundles, name)
                )
            except UNREADABLE:
                known[name] = None
        return known[name]

    return TaxonomyHistory(tuple(_load_states(store.records.all(TAXONOMY))), find)


def _load_states(records: Sequence[Record]) -> Iterator[TaxonomyState]:
    for record in records:
        try:
            yield TaxonomyState(record.id, record.at, taxonomy_from(record.facts["taxonomy"]))
        except TaxonomyError:
            continue  # a later version of the program refuses what an earlier one accepted


def read_bundle_taxonomy(bundles: Path, name: str) -> Taxonomy:
    """Read the taxonomy of a bundle.

    Raises:
        OSError, ValueError, KeyError, TypeError, TaxonomyError: It cannot be read (`UNREADABLE`).
    """
    manifest: Mapping[str, Any] = json.loads((bundles / name / "bundle.json").read_text("utf-8"))
    return taxonomy_from(manifest["taxonomy"])
