"""What each table of evidence fixes, declared once: guards, filing, seals and checks read it.

A migration that adds a table of evidence adds one entry to `EVIDENCE`, no SQL and no comparison.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from agent.store.evidence.audit_log import (
    FACTS_SHA256,
    SIGNED,
    TrailEntry,
    sha256_of,
    sha256_of_text,
)

Source = str | Callable[[TrailEntry], Any]
"""Where an act has a value: a key of its facts, or what a function returns."""
Values = Mapping[str, Any]

ALL = ("*",)
ACTOR: Source = attrgetter("actor")
AT: Source = attrgetter("at")
SUBJECT: Source = attrgetter("subject")
ACT: Source = attrgetter("act")
NO_PLACE = "no order"
LIST_COLUMNS = ("customer", "product", "material")
LIST_FACTS = ("heat", "batch", "etchant", "subtype", "specification")
LATE = "late"
"""What an order list states: columns of an order, keys of its facts, and the key of those that it
named late."""
RELEASED_AFTER = "specification_record"
"""Key of an order's facts: number of the newest record when it was released."""
NOT_BEFORE = "not_before"
"""Key of an order's facts: time of an act before its release, by whose clock it was later."""
CHANGEABLE = ("order", "specimen", "preparation", "field", "heat", "batch", "material", "etchant")
"""Columns of a micrograph that an assignment changes."""


@dataclass(frozen=True, slots=True)
class Act:
    """Acts of the audit log that add rows of a table, or change columns of them.

    Attributes:
        names: Of the acts; "*.recorded" is each that ends so.
        row: Columns that find the row → where the act has their values; a list finds several rows.
        columns: Column → where the act has its value; a function returns the values by column,
            given the act and the values by earlier acts. None: what it explains is in other rows.
        before: Column → value before the first of these acts; None: each of them adds a row.
    """

    names: tuple[str, ...]
    row: Mapping[str, Source]
    columns: Mapping[str, Source] | Callable[[TrailEntry, Values], Values]
    before: Values | None = None


@dataclass(frozen=True, slots=True)
class EvidenceTable:
    """What is evidence in a table. Its rows are never deleted.

    Attributes:
        table: Name of the table, whose first column is its primary key.
        fixed: Columns that never change.
        once: Columns that are filled once and then never change.
        filed: Columns whose hash a result is filed with, in this sequence; `ALL`: all but the row's
            number and its result's. Of specimens and preparations their values.
        sealed: Columns whose hash is sealed into the audit log some time after a row was added.
        called: What a sentence calls a row, from its columns; "": table and number.
        acts: That explain its rows.
        derived: Name → value computed from the columns of a row, compared as a column is.
    """

    table: str
    fixed: tuple[str, ...] = ALL
    once: tuple[str, ...] = ()
    filed: tuple[str, ...] = ()
    sealed: tuple[str, ...] = ()
    called: str = ""
    acts: tuple[Act, ...] = ()
    derived: Mapping[str, Callable[[Values], Any]] = field(default_factory=dict)

    @property
    def is_explained(self) -> bool:
        """Whether acts state columns of its rows."""
        return any(act.columns for act in self.acts)

    def call(self, values: Values) -> str:
        """Return what a sentence calls a row; a value that is not known is "-"."""
        if not self.called:
            return f"{self.table} {next(iter(values.values()))}"
        return self.called.format_map(
            defaultdict(lambda: "-", {k: v for k, v in values.items() if v})
        )


KNOWN_AS = {
    "account": ("name",),
    "micrograph": ("public_id",),
    "order": ("number",),
    "preparation": ("name",),
    "specimen": ("order_id", "name"),
    "statement": ("sha256",),
}
"""Columns by which acts name a row that a row of evidence refers to."""


def _same(*names: str) -> dict[str, Source]:
    return {name: name for name in names}


def format_place(place: Iterable[str] | None) -> str:
    """Return order, specimen and preparation of a field as a sentence has them."""
    if not place:
        return NO_PLACE
    named = zip(("order", "specimen", "preparation"), place, strict=False)
    return ", ".join(f"{what} {name}" for what, name in named)


def _hash_facts(row: Mapping[str, Any]) -> str:
    facts = row["facts"]
    return sha256_of_text(facts) if isinstance(facts, str) else sha256_of(facts)


# --- what acts state ----------------------------------------------------------------------------


def _record(entry: TrailEntry, _: Values) -> dict[str, Any]:
    own = _take_facts("record")(entry)
    stated: dict[str, Any] = {"kind": entry.act.removesuffix(".recorded")}
    stated["subject"] = entry.subject
    stated |= {"by": entry.actor, "at": entry.at}
    if FACTS_SHA256 not in own:
        return stated | {"facts": own}
    stated["sha256 of facts"] = own.pop(FACTS_SHA256)
    return stated | {f"facts.{key}": value for key, value in own.items()}


def _take_facts(*but: str) -> Callable[[TrailEntry], dict[str, Any]]:
    left_out = {*but, SIGNED}
    return lambda entry: {key: v for key, v in entry.facts.items() if key not in left_out}


_take_replaced = _take_facts("preparation", "replaces")


def _assigned(entry: TrailEntry, _: Values) -> dict[str, Any]:
    after = entry.facts["after"]
    names = after.get("names") or {}
    stated = {"place": format_place(after.get("place")), "unassigned": ""}
    return stated | {name: names.get(name, "") for name in CHANGEABLE}


def _unassigned(entry: TrailEntry, _: Values) -> dict[str, Any]:
    names = _assigned(entry, _) if "after" in entry.facts else {}
    return names | {"place": NO_PLACE, "unassigned": entry.facts.get("reason")}


def _described(entry: TrailEntry, _: Values) -> dict[str, Any]:
    return {name: value for name, value in entry.facts["after"].items() if name in CHANGEABLE}


def _list_pruned(entry: TrailEntry) -> list[str]:
    return list(entry.facts["ids"]) if entry.facts.get("kind") == "crops" else []


def _find_pair(entry: TrailEntry) -> str:
    return _join_pair((entry.subject, entry.facts["other"]))


def _join_pair(pair: Iterable[str | None]) -> str:
    return " and ".join(sorted(name or "" for name in pair))


DEMANDS = {
    **dict.fromkeys(LIST_COLUMNS, ""),
    **dict.fromkeys(f"facts.{name}" for name in (*LIST_FACTS, "specimens", "count")),
}
"""Values of an order list that the assessment of an order uses → before any list."""


_LATE = f"facts.{LATE}"


def _get_path(name: str) -> str:
    return name if name in LIST_COLUMNS else f"facts.{name}"


def _listed(entry: TrailEntry, _: Values) -> dict[str, Any]:
    demands = {path: path.removeprefix("facts.") for path in (*DEMANDS, _LATE)}
    return {
        path: entry.facts[name][1] or DEMANDS.get(path)
        for path, name in demands.items()
        if name in entry.facts
    }


def _amended(entry: TrailEntry, before: Values) -> dict[str, Any]:
    if entry.facts.get("accepted"):
        changes = entry.facts.get("changes") or {}
        values = {name: change["to"] for name, change in changes.items() if "to" in change}
    else:
        values = dict.fromkeys(before.get(_LATE) or ())
    paths = {_get_path(name): value for name, value in values.items()}
    return {path: value or DEMANDS.get(path) for path, value in paths.items()} | {_LATE: None}


# --- the tables ---------------------------------------------------------------------------------

_MICROGRAPH = (
    *("public_id", "sha256", "page", "relative", "origin", "taken_at", "width", "height"),
    *("um_per_px", "um_per_px_source", "recipe", "crop_facts", "warnings", "area_mm2", "plant"),
    *("microscope", "objective", "magnification", "operator", "process_extra", "site_id"),
)
_RESULT = (
    *("micrograph_id", "site_id", "bundle", "recipe", "role", "origin", "done_at", "subtype"),
    *("subtype_probabilities", "size", "size_min", "size_max", "size_probabilities"),
    *("structure_code", "probability", "probabilities", "prediction_set", "coarser_share"),
    *("p_value", "strangeness", "thresholds", "expected", "engine", "precision", "after_record"),
)
_NEEDLE = ("start_x", "start_y", "end_x", "end_y", "um_per_px", "length_um")
_LABEL = (
    *("kind", "code", "strange_kind", "why", "criterion", "unsure", "comment", "supersedes"),
    *("origin", "viewing_s", "blind", "bulk", "after_record"),
)
_LABEL_ACTS = {"undo": "label.undone", "doubt": "label.doubted"}

EVIDENCE = {
    evidence.table: evidence
    for evidence in (
        EvidenceTable("trail"),
        EvidenceTable(
            "label",
            called="label {id} of {micrograph_id}",
            acts=(
                Act(
                    ("label.given", "label.undone", "label.doubted"),
                    {"id": "label"},
                    {"act": ACT, "by": ACTOR, "decided_at": AT, "micrograph_id": SUBJECT}
                    | {"result_id": "result"}
                    | _same(*_LABEL),
                ),
            ),
            derived={"act": lambda row: _LABEL_ACTS.get(row["kind"], "label.given")},
        ),
        EvidenceTable(
            "record",
            called="record {id} ({kind} of {subject})",
            acts=(Act(("*.recorded",), {"id": "record"}, _record),),
            derived={"sha256 of facts": _hash_facts},
        ),
        EvidenceTable(
            "promotion",
            called="promotion {id} of {bundle}",
            acts=(
                Act(
                    ("model.promoted",),
                    {"id": "promotion"},
                    {
                        "bundle": SUBJECT,
                        "by": ACTOR,
                        "promoted_at": AT,
                        **_same("reason", "metrics"),
                    },
                ),
            ),
        ),
        EvidenceTable(
            "specification",
            called="specification {name}, version {version}",
            acts=(
                Act(
                    ("specification.seen",),
                    {"sha256": "sha256"},
                    {"name": SUBJECT, "approved_by": ACTOR, "seen_at": AT}
                    | _same("version", "entry"),
                ),
            ),
        ),
        EvidenceTable(
            "night",
            called="night {day} (revision {revision})",
            acts=(
                Act(
                    ("night.reported",),
                    {"day": SUBJECT, "revision": "revision"},
                    {"sha256 of facts": "sha256", "frozen_at": AT},
                ),
            ),
            derived={"day": lambda row: row["date"].isoformat(), "sha256 of facts": _hash_facts},
        ),
        EvidenceTable("rating"),
        EvidenceTable("needle_field", filed=ALL),
        EvidenceTable(
            "needle_measurement",
            fixed=("site_id", "micrograph_id", *_NEEDLE, "by", "at"),
            once=("withdrawn_by", "withdrawn_at"),
            called="needle {id} of field {micrograph_id}",
            acts=(
                Act(
                    ("needle.measured",),
                    {"id": "needle"},
                    {"by": ACTOR, "at": AT, "micrograph_id": SUBJECT, **_same(*_NEEDLE)},
                ),
                Act(
                    ("needle.withdrawn",),
                    {"id": "needle"},
                    {"withdrawn_by": ACTOR, "withdrawn_at": AT, "micrograph_id": SUBJECT},
                    before={"withdrawn_by": "", "withdrawn_at": None},
                ),
            ),
        ),
        EvidenceTable(
            "statement",
            called="statement {number} of order {order_id}",
            acts=(
                Act(
                    ("statement.frozen",),
                    {"sha256": "sha256"},
                    {"order_id": SUBJECT, "at": AT, "previous_sha256": "previous"}
                    | {"sha256 of document": "sha256"}
                    | _same("number", "conformity", "state", "final"),
                ),
            ),
            derived={"sha256 of document": lambda row: sha256_of_text(row["document"])},
        ),
        EvidenceTable(
            "statement_file",
            called="{kind} of statement {statement_id}",
            acts=(
                Act(
                    ("statement.filed",),
                    {"statement_id": "statement", "kind": "kind"},
                    {"at": AT, **_same("sha256", "signed_by")},
                ),
            ),
        ),
        EvidenceTable(
            "order",
            fixed=("site_id", "number", "first_seen_at"),
            called="order {number}",
            acts=(
                Act(
                    ("order.seen",),
                    {"id": "order"},
                    {"number": SUBJECT, "first_seen_at": AT}
                    | {f"facts.{key}": key for key in (RELEASED_AFTER, NOT_BEFORE)},
                ),
                Act(
                    ("order.held", "order.released"),
                    {"number": SUBJECT},
                    {"legal_hold": lambda entry: entry.act == "order.held"},
                    before={"legal_hold": False},
                ),
                Act(("order.listed",), {"number": SUBJECT}, _listed, before=DEMANDS),
                Act(("order.amended",), {"number": SUBJECT}, _amended, before={_LATE: None}),
            ),
        ),
        EvidenceTable(
            "specimen",
            fixed=("site_id", "order_id", "name", "first_seen_at", "facts"),
            once=("bundle", "heat", "batch", "material"),
            filed=("first_seen_at", "facts"),
        ),
        EvidenceTable(
            "preparation",
            fixed=("specimen_id", "name", "first_seen_at", "replaces"),
            filed=("first_seen_at",),
            called="preparation {name} of specimen {specimen}",
            acts=(
                Act(
                    ("specimen.prepared_again",),
                    {"specimen": SUBJECT, "name": "replaces"},
                    {"facts": lambda entry: {"superseded": _take_replaced(entry)}},
                    before={"facts": {}},
                ),
            ),
            derived={"specimen": lambda row: "/".join(row["specimen_id"])},
        ),
        # Pruning and acts of people change what else a micrograph holds.
        EvidenceTable(
            "micrograph",
            fixed=(*_MICROGRAPH, "source_id"),
            filed=(*_MICROGRAPH, "artefacts"),
            called="field {public_id}",
            acts=(
                Act(("field.assigned",), {"public_id": SUBJECT}, _assigned, before={}),
                Act(
                    ("field.unassigned",),
                    {"public_id": SUBJECT},
                    _unassigned,
                    before={},
                ),
                Act(("micrograph.described",), {"public_id": SUBJECT}, _described, before={}),
                Act(
                    ("field.superseded",),
                    {"public_id": SUBJECT},
                    {"superseded": _take_facts()},
                    before={"superseded": {}},
                ),
                Act(
                    ("pixels.pruned",),
                    {"public_id": _list_pruned},
                    {"pruned": lambda _: True},
                    before={"pruned": False},
                ),
            ),
            derived={
                "place": lambda row: format_place(
                    row["specimen_id"] and (*row["specimen_id"], row["preparation_id"] or "")
                ),
                "pruned": lambda row: row["pruned_at"] is not None,
            },
        ),
        EvidenceTable(
            "result",
            fixed=_RESULT,
            once=("filed",),
            filed=_RESULT,
            sealed=("filed",),
            acts=(Act(("result.replaced",), _same("result", "before"), {}, before={}),),
        ),
        EvidenceTable(
            "place", fixed=("micrograph_id", "site_id", "landmarks"), once=("compared_at",)
        ),
        EvidenceTable("source", fixed=("site_id", "name")),
        EvidenceTable(
            "same_place",
            fixed=("site_id", "micrograph_id", "other_id", "share", "area_px", "facts", "found_at"),
            called="place of {pair}",
            acts=(
                Act(
                    ("place.found",),
                    {"pair": _find_pair},
                    {"sha256 of facts": "sha256", **_same("share", "area_px")},
                ),
                Act(
                    ("place.decided",),
                    {"pair": _find_pair},
                    {"by": ACTOR, "decided_at": AT}
                    | {"belongs_id": lambda entry: entry.facts["belongs"] or None}
                    | _same("verdict", "reason"),
                    before={"by": "", "decided_at": None, "belongs_id": None}
                    | {"verdict": "", "reason": ""},
                ),
            ),
            derived={
                "pair": lambda row: _join_pair((row["micrograph_id"], row["other_id"])),
                "sha256 of facts": _hash_facts,
            },
        ),
        EvidenceTable(
            "order_claim",
            fixed=("site_id", "micrograph_id", "order_id", "specimen", "origin", "file", "at"),
            once=("settled_by", "settled_reason", "settled_at"),
            called="claim {id} of field {micrograph_id} on order {order_id}",
            acts=(
                Act(
                    ("order.claimed",),
                    {"id": "claim"},
                    {"order_id": SUBJECT, "at": AT, "micrograph_id": "micrograph"}
                    | _same("specimen", "origin", "file"),
                ),
            ),
        ),
        EvidenceTable(
            "account",
            fixed=("name", "kind", "created_at"),
            called="account {name}",
            acts=(
                Act(
                    ("account.added",),
                    {"name": SUBJECT},
                    {"created_at": AT, "sha256 of hashed": "secret", **_same("kind", "role")},
                ),
                Act(("account.role_changed",), {"name": SUBJECT}, _same("role"), before={}),
                Act(
                    ("account.secret_changed",),
                    {"name": SUBJECT},
                    {"sha256 of hashed": "secret"},
                    before={},
                ),
                Act(
                    ("account.disabled", "account.enabled"),
                    {"name": SUBJECT},
                    {"disabled": lambda entry: entry.act == "account.disabled"},
                    before={"disabled": False},
                ),
            ),
            derived={
                "sha256 of hashed": lambda row: sha256_of_text(row["hashed"]),
                "disabled": lambda row: row["disabled_at"] is not None,
            },
        ),
        EvidenceTable(
            "login",
            fixed=("site_id", "sha256", "account_id", "began_at"),
            once=("ended_at",),
            called="log-in of {account_id} ({began_at})",
            acts=(
                Act(
                    ("login.began",),
                    {"cookie": "login"},
                    {"account_id": ACTOR, "began_at": AT},
                ),
            ),
            derived={"cookie": lambda row: sha256_of_text(row["sha256"])},
        ),
        EvidenceTable("campaign", fixed=("site_id", "name", "seed", "by", "created_at")),
        EvidenceTable(
            "campaign_image", fixed=("campaign_id", "number", "micrograph_id", "reference")
        ),
        EvidenceTable("campaign_rater", fixed=("campaign_id", "pseudonym", "name")),
    )
}
"""Name of each table of evidence → what it fixes."""
