"""Build the whole document of a statement: what is stated of an order and all that it rests on.

The document is frozen, so it holds copies and no references to rows or files that may change: the
entry of the specification, the labels, the certificates, the hashes of the pixels. Sentences are in
English in `document`, and in every other language of the pages in `words`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from agent.orders.facts.needle_lengths import list_lines
from agent.orders.facts.scale_tracing import SCALE_CHECK
from agent.orders.facts.specimen_facts import LONG_AGO, Allowance, FieldFacts
from agent.orders.instruments.instrument_checks import CONTROL, list_checks_of_day
from agent.orders.judge.method_validation import VALIDATION
from agent.orders.specifications.specification import is_same_name
from agent.orders.specifications.specification_history import STATE
from agent.orders.statements.order_json import (
    field_to_json,
    find_field_limit,
    label_to_json,
    order_to_json,
)
from agent.orders.statements.statement import FORMAT
from agent.orders.statements.trace import iter_fields
from agent.store import find_given
from agent.store.orders.order_corrections import DISMISSED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from agent.orders.judge.assessed import Assessed, AssessedSpecimen, OrderPolicy
    from agent.store import LabelView, MicrographView, Promotion, Record, Store, TrailEntry

CHECK_KEYS = ("passed", "bundle", "software")


@dataclass(frozen=True, slots=True)
class Issuer:
    """The site and software that issue a statement.

    Attributes:
        site: Name of the site.
        zone: Its time zone.
        software: Name and version of the program.
        bundle: Returns facts of a bundle by its name, such as the hash of its manifest.
    """

    site: str
    zone: str
    software: str = field(default_factory=lambda: f"Martensight {version('martensight')}")
    bundle: Callable[[str], Mapping[str, Any]] = field(default=lambda _name: {})


@dataclass(frozen=True, slots=True)
class StatementPosition:
    """The position of a statement among those of its order.

    Attributes:
        number: From 1.
        previous: Hash of the one before it, "" for the first.
        at: When it is made, aware UTC.
        trail: Number and hash of the newest row of the audit log.
        changed: What it states differently from the one before it.
        cause: Acts since the one before it.
    """

    number: int
    previous: str
    at: datetime
    trail: tuple[int, str]
    changed: tuple[str, ...]
    cause: Sequence[TrailEntry]


class Evidence:
    """Records that statements name, each kind read once and only where one is needed.

    Args:
        store: Open.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @cached_property
    def checks(self) -> list[Record]:
        """Control checks with reference images, oldest first."""
        return self._store.records.all(CONTROL)

    @cached_property
    def scales(self) -> dict[int, Record]:
        """Measurements of stage micrometers, by number."""
        return {record.id: record for record in self._store.records.all(SCALE_CHECK)}

    @cached_property
    def entries(self) -> dict[str, Record]:
        """Hash of a specification's entry → the record that first lists it."""
        states = reversed(self._store.records.all(STATE))
        return {sha256: state for state in states for sha256 in state.facts["entries"]}

    @cached_property
    def promotions(self) -> list[Promotion]:
        """Promotions of bundles, oldest first."""
        return self._store.promotions.list_all()[::-1]

    @cached_property
    def validations(self) -> dict[int, Record]:
        """Validation records, by number."""
        return {record.id: record for record in self._store.records.all(VALIDATION)}


def build_basis(
    store: Store, assessed: Assessed, *, policy: OrderPolicy, evidence: Evidence
) -> dict[str, Any]:
    """Build what a statement states and rests on: another basis is another statement.

    Args:
        store: Open.
        assessed: The order, in English.
        policy: What is laid down.
        evidence: Records that are named.
    """
    wanted = assessed.specification
    fields = list(iter_fields(assessed))
    return {
        "conformity": str(assessed.statement.conformity),
        "document": order_to_json(assessed),
        "specification": wanted
        and {
            "name": wanted.name,
            "version": assessed.version or None,
            "sha256": wanted.sha256,
            "entry": wanted.entry,
        },
        "labels": {view.id: [_basis_of(label) for label in view.labels] for _, view, _ in fields},
        "crops": {view.id: [view.recipe, view.artefacts.get("crop")] for _, view, _ in fields},
        "permissions": list(_permissions(assessed, policy, evidence)),
        "set_aside": list(_set_aside(store, assessed)),
    }


def build_circumstances(
    assessed: Assessed, *, policy: OrderPolicy, evidence: Evidence, issuer: Issuer
) -> dict[str, Any]:
    """Build what a statement holds next to its basis: method, fields, checks, reviewers."""
    fields = list(iter_fields(assessed))
    bundles = sorted({view.result.bundle for _, view, _ in fields if view.result.bundle})
    return {
        "format": FORMAT,
        "order": assessed.view.number,
        "site": issuer.site,
        "zone": issuer.zone,
        "software": issuer.software,
        "released_at": _iso(assessed.view.first_seen_at),
        "method": _method(assessed, policy, evidence),
        "bundles": {
            name: {
                **issuer.bundle(name),
                "promoted": [
                    {"at": act.promoted_at.isoformat(), "by": act.by, "reason": act.reason}
                    for act in evidence.promotions
                    if act.bundle == name
                ],
            }
            for name in bundles
        },
        "fields": [
            _field(*member, evidence=evidence) | {"limit": find_field_limit(member[0], assessed)}
            for member in fields
        ],
        "control_checks": list(_checks([view for _, view, _ in fields], evidence, issuer.zone)),
        "people": list(_people(fields, policy)),
    }


def place_content(content: Mapping[str, Any], place: StatementPosition) -> dict[str, Any]:
    """Return the whole document: the content in its place among the statements of its order."""
    return {
        **content,
        "number": place.number,
        "previous": place.previous or None,
        "at": place.at.isoformat(),
        "trail": {"number": place.trail[0], "sha256": place.trail[1]},
        "changed": list(place.changed),
        "cause": [
            {
                "at": act.at.isoformat(),
                "by": act.actor,
                "act": act.act,
                "subject": act.subject,
                "reason": str(act.facts.get("reason") or act.facts.get("comment") or "") or None,
            }
            for act in place.cause
        ],
    }


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


def build_words(assessed: Assessed) -> dict[str, Any]:
    """Return the sentences of an order, within the language that it was assessed in."""
    rule = assessed.decision_rule
    return {
        "missing": list(assessed.statement.missing),
        "because": list(assessed.statement.because),
        "notes": list(assessed.notes),
        "demand": assessed.specification.demand if assessed.specification else None,
        "decision_rule": list(rule.lines) if rule else [],
        "needles": list(list_lines(assessed.needles)) if assessed.needles else [],
        "specimens": {
            specimen.view.name: {
                "missing": list(specimen.statement.missing),
                "because": list(specimen.statement.because),
                "notes": list(specimen.notes),
            }
            for specimen in assessed.specimens
        },
    }


def _method(assessed: Assessed, policy: OrderPolicy, evidence: Evidence) -> dict[str, Any]:
    wanted, rule = assessed.specification, assessed.decision_rule
    rules = assessed.rules(policy) if wanted else None
    recorded = evidence.entries.get(wanted.sha256) if wanted else None
    return {
        "recorded": recorded and {"at": recorded.at.isoformat(), "by": recorded.by},
        "max_false_conform": rules and rules.max_false_conform,
        "second_look_at_limit": rules and rules.second_look,
        "chart": wanted and (f"{wanted.chart} {wanted.chart_revision}".strip() or None),
        "standard": wanted and (wanted.standard or None),
        "criterion": wanted and wanted.criterion,
        "area_threshold": wanted and wanted.area_threshold,
        "specimen_rule": wanted and wanted.specimen_rule,
        "guard": rule and rule.guard,
        "taxonomy": assessed.taxonomy.without_texts().as_json(),
    }


# --- fields -------------------------------------------------------------------------------------


def _field(
    facts: FieldFacts, view: MicrographView, place: str, *, evidence: Evidence
) -> dict[str, Any]:
    result = view.result
    return field_to_json(facts, view) | {
        "place": place,
        "sha256": view.sha256,
        "page": view.page,
        "source": view.source,
        "taken_at": _iso(view.taken_at),
        "judged_at": result.done_at.isoformat(),
        "process_data": dict(view.process_data),
        "size_px": [view.width, view.height],
        "crop": list(view.crop) if view.crop else None,
        "recipe": view.recipe,
        "files": {
            name: digest for name, digest in view.artefacts.items() if isinstance(digest, str)
        },
        "warnings": list(view.warnings),
        "um_per_px_source": view.um_per_px_source,
        "scale_in_doubt": facts.scale_in_doubt,
        "scale_certificate": _certificate(facts, evidence),
        "held": facts.held or None,
        "outside": facts.outside.in_english() or None,
        "probability": result.probability,
        "coarser_share": dict(result.coarser_share),
        "p_value": result.strangeness.p_value,
        "engine": result.engine,
        "precision": result.precision,
        "thresholds": dict(result.thresholds),
        "decisions": [
            label_to_json(label)
            | {
                "unsure": label.unsure,
                "taken_back_by": label.undone_by or None,
                "taken_back_at": _iso(label.undone_at),
            }
            for label in view.labels
        ],
        **_scale_given(view),
        "same_place_as": [f"{shared.other} ({shared.share:.0%})" for shared in facts.elsewhere],
    }


def _scale_given(view: MicrographView) -> dict[str, Any]:
    """Return who gave the scale of a field; nothing where its file says it."""
    given = find_given(view.result.thresholds)
    return {"scale_given": dict(given)} if given else {}


def _basis_of(label: LabelView) -> list[Any]:
    """Return what of a label a statement rests on; its time is in the field's decisions."""
    answer = label.code or label.strange_kind or label.why
    return [label.kind, answer, label.by, label.criterion, label.unsure, label.undone]


def _certificate(facts: FieldFacts, evidence: Evidence) -> dict[str, Any] | None:
    """Return the measurement of a stage micrometer that proves the scale of a field."""
    traced = facts.scale_traced_to
    record = evidence.scales.get(traced["record"]) if traced else None
    if record is None:
        return None
    names = ("um_per_px", "uncertainty", "microscope", "source", "objective", "certificate")
    return {
        "record": record.id,
        "at": record.at.isoformat(),
        "by": record.by,
        **{name: record.facts.get(name) or None for name in names},
    }


def _checks(
    views: Iterable[MicrographView], evidence: Evidence, zone: str
) -> Iterator[dict[str, Any]]:
    """Yield the control checks of the days on which the fields were judged, each once."""
    named: dict[int, Record] = {}
    for view in views:
        for check in list_checks_of_day(evidence.checks, view, ZoneInfo(zone)):
            named[check.id] = check
    for check in (named[key] for key in sorted(named)):
        yield {
            "record": check.id,
            "on": check.subject,
            "at": check.at.isoformat(),
            "by": check.by,
            **{name: check.facts.get(name) for name in CHECK_KEYS},
            "sources": list(check.facts.get("sources", ())),
            "findings": [list(finding) for finding in check.facts.get("findings", ())],
        }


# --- who and by which right ---------------------------------------------------------------------


def _permissions(
    assessed: Assessed, policy: OrderPolicy, evidence: Evidence
) -> Iterator[dict[str, Any]]:
    """Yield the lead's permissions behind the fields that rest on the model alone."""
    if assessed.specification is None:
        return
    rules = assessed.rules(policy)
    alone = [
        member
        for specimen in assessed.specimens
        for member in specimen.facts.fields
        if not member.superseded and member.decided is None
    ]
    for allowance in policy.allowances:
        covered = [member.id for member in alone if _covers(allowance, member, rules.material)]
        of_limit = any(
            rules.is_validated_by(allowance, name) for name in assessed.specification.subtype
        )
        if not covered or not of_limit:
            continue
        record = evidence.validations.get(allowance.record)
        yield {
            "act": allowance.act,
            "by": allowance.by,
            "since": None if allowance.since == LONG_AGO else allowance.since.isoformat(),
            "material": allowance.material,
            "bundle": allowance.bundle,
            "limit": f"{allowance.subtype} {allowance.limit}".strip(),
            "specimens": allowance.n,
            "wrong": allowance.wrong,
            "false_conform_upper95": allowance.bound,
            "most": rules.max_false_conform,
            "um_per_px": list(allowance.um_per_px) if allowance.um_per_px else None,
            "fields": covered,
            "validation": record
            and {
                "record": record.id,
                "at": record.at.isoformat(),
                "by": record.by,
                "images": record.facts.get("images"),
                "specimens": record.facts.get("specimens"),
                "folder": record.facts.get("folder"),
            },
        }


def _covers(allowance: Allowance, facts: FieldFacts, material: str) -> bool:
    return (
        allowance.on
        and is_same_name(allowance.material, material)
        and allowance.bundle == facts.bundle
        and allowance.covers_time(facts.done_at)
    )


def _people(
    fields: Sequence[tuple[FieldFacts, MicrographView, str]], policy: OrderPolicy
) -> Iterator[dict[str, Any]]:
    """Yield who decided, by name, and how many labels each of them gave."""
    labels = [label for _, view, _ in fields for label in view.labels]
    for name in sorted({label.by for label in labels}):
        own = [label for label in labels if label.by == name]
        yield {
            "name": name,
            "lead": policy.is_lead(name),
            "labels": len(own),
            "taken_back": sum(label.undone for label in own),
        }


def _set_aside(store: Store, assessed: Assessed) -> Iterator[dict[str, Any]]:
    """Yield what does not count: by whom, why, and with which proof."""
    for specimen in assessed.specimens:
        yield from _set_aside_fields(specimen)
    for record in store.records.all(DISMISSED, assessed.view.number):
        yield {
            "what": "file",
            "name": record.facts["file"],
            "by": record.by,
            "reason": record.facts["reason"],
            "lead": True,
            "at": record.at.isoformat(),
        }
    for claim in assessed.view.claims:
        if claim.settled_by:
            yield {
                "what": "claim",
                "name": claim.id,
                "specimen": claim.specimen,
                "by": claim.settled_by,
                "reason": claim.settled_reason,
                "lead": True,
            }


def _set_aside_fields(specimen: AssessedSpecimen) -> Iterator[dict[str, Any]]:
    for member in (*specimen.facts.fields, *specimen.facts.earlier):
        gone, decided = member.superseded, member.decided
        if gone is None and (decided is None or decided.kind != "unusable"):
            continue
        yield {
            "what": "field",
            "name": member.id,
            "field": member.name,
            "specimen": specimen.view.name,
            "code": decided.said if decided and decided.kind == "code" else member.code,
            "by": gone.by if gone else decided.by if decided else "",
            "reason": gone.reason if gone else decided.said if decided else "",
            "defect": (gone.defect or None) if gone else None,
            "picture": (gone.picture or None) if gone else None,
            "lead": gone.lead if gone else None,
        }
