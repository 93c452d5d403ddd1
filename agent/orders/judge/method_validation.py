"""Decide where the model's answer may prove "conforms", and validate how often it is wrong.

A permission covers a field where all of this holds: material and bundle are the validated ones, the
result was made while the permission was valid, the scale is within the validated range, and the
upper 95 % bound of a false "conforms" is at most `[orders] max_false_conform`.

The bound is exact and one-sided. The fields of one specimen are no independent trials, so it counts
specimens. Two kinds of specimens must not be called conforming: those that break the limit and
those of another subtype. How often each will occur is not known, so the bound is the larger of the
two: it holds for any mixture, where a pooled rate would let many easy specimens hide few hard ones.
With no specimen of either kind there is no bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import zip_longest
from typing import Any

from agent.errors import UsageError
from agent.orders.facts.specimen_facts import Allowance, FieldFacts
from agent.orders.judge.judgement_rules import Rules
from agent.orders.judge.limit import Direction, Limit, find_bound, limit_at
from agent.orders.specifications.specification import is_same_name
from agent.store import Record, Store
from agent.triage import WAYS
from model import Subtype, Taxonomy, upper_bound
from reports import decimal
from reports import gettext as _

SCALE_TOLERANCE = 0.02
"""A scale may be outside the validated range by so much: what two calibrations may differ by."""
MOST_SPECIMENS = 1_000_000


def count_needed(most: float, wrong: int = 0) -> int:
    """Return how many specimens a validation needs for its bound.

    Args:
        most: Largest upper 95 % bound that is allowed.
        wrong: Specimens that were called conforming falsely.

    Returns:
        The smallest n for which `at_most(wrong, n) <= most`: 149 for 2 % and none wrong.
    """
    low, high = wrong, MOST_SPECIMENS
    while high - low > 1:
        middle = (low + high) // 2
        if (upper_bound(wrong, middle) or 1.0) <= most:
            high = middle
        else:
            low = middle
    return high


def refuse_field(field: FieldFacts, rules: Rules) -> str:
    """Return why the model alone does not prove a field, "" where it does."""
    material = rules.material
    if not material:
        return _("the order's material is not known")
    on = [
        allowance
        for allowance in rules.allowances
        if allowance.on and is_same_name(allowance.material, material)
    ]
    if not on:
        return _("automatic conformity is off for {material}").format(material=material)
    mine = [permission for permission in on if permission.bundle == field.bundle]
    if not mine:
        sentence = _("no validation record of {material} names its bundle {bundle}")
        return sentence.format(material=material, bundle=field.bundle)
    in_force = [permission for permission in mine if permission.covers_time(field.done_at)]
    if not in_force:
        return _(
            "its result was not made after automatic conformity was switched on ({at} UTC)"
        ).format(at=f"{max(permission.since for permission in mine):%Y-%m-%d %H:%M}")
    refusals = (
        _refuse_subtype(field, rules, subtype, in_force) for subtype in rules.specification.subtype
    )
    return next((refusal for refusal in refusals if refusal), "")


def _refuse_subtype(
    field: FieldFacts, rules: Rules, subtype: str, allowances: Sequence[Allowance]
) -> str:
    mine = [permission for permission in allowances if rules.is_validated_by(permission, subtype)]
    words = {
        "material": rules.material,
        "subtype": subtype,
        "limit": limit.words if (limit := rules.limit_in(subtype)) else "",
    }
    bound = mine[-1].bound if mine else None
    if bound is None:
        return (
            _("no validation record of {material} speaks of {subtype} {limit}")
            .format(**words)
            .rstrip()
        )
    allowance = mine[-1]
    if allowance.um_per_px is None:
        return _(
            "the validation record of {material} holds no range of scales: validate again "
            "(agent spec validate)"
        ).format(**words)
    low, high = allowance.um_per_px
    if field.um_per_px is None or not (
        low * (1 - SCALE_TOLERANCE) <= field.um_per_px <= high * (1 + SCALE_TOLERANCE)
    ):
        return _(
            "its scale is outside the validated {low} to {high} µm per pixel of {subtype} {limit}"
        ).format(low=decimal(low, ".3g"), high=decimal(high, ".3g"), **words)
    if bound > rules.max_false_conform:
        return _(
            "up to {bound} of {subtype} {limit} could be called conforming falsely (n = {n}), at "
            "most {most} is allowed"
        ).format(
            bound=decimal(bound, ".2%"),
            n=allowance.n,
            most=decimal(rules.max_false_conform, ".2%"),
            **words,
        )
    return ""


VALIDATION, AUTOMATIC = "validation", "automatic"
SCOPE = WAYS
"""Columns of a validated scope, in addition to the material; the subtype is the true one."""


@dataclass(frozen=True, slots=True)
class ValidationCase:
    """One labelled micrograph and the bundle's answer on it.

    Args:
        specimen: What is counted once, such as order and specimen; "" where none is named.
        true: The reviewers' structure code.
        said: Everything the model could not exclude: prediction set and structure code.
        automatic: The model's answer would have counted without a reviewer.
        process_data: Column → value.
        um_per_px: Its scale, µm per pixel, or None.
    """

    specimen: str
    true: str
    said: tuple[str, ...]
    automatic: bool
    process_data: Mapping[str, str] = field(default_factory=dict)
    um_per_px: float | None = None


def build_record(cases: Sequence[ValidationCase], taxonomy: Taxonomy) -> dict[str, Any]:
    """Count what a lead has to know before the model alone may say "conforms".

    Args:
        cases: Of one material; none is in the training set of the bundle.
        taxonomy: Of the bundle.

    Returns:
        `images`, `specimens`, `alone` (images that name no specimen; they may be fields of one, so
        together they count as one), `automatic`, `scope` and per limit
        ("G 7 or finer") `subtype`, `limit`, `sizes` (of
        the subtype, coarse to fine: the scale that was compared), `n` (specimens of which a field
        truly breaks it), `wrong` (of those, with any such field called conforming), `value`,
        `upper95`, and `images` with `n` and `wrong` of those fields; the specimens of other
        subtypes of which a field was called conforming are given as `other_subtype`.
        `bound95` is the larger `upper95` of the two, `um_per_px` the scales that both kinds of
        specimens cover, µm per pixel; null where one kind is missing. A limit "G" alone is that
        of a specification which demands the subtype and no size.
    """
    return {
        "images": len(cases),
        "specimens": len({case.specimen for case in cases}),
        "alone": sum(not case.specimen for case in cases),
        "automatic": sum(case.automatic for case in cases),
        "codes": _count(case.true for case in cases),
        "scope": list(_iter_scope(cases, taxonomy)),
        "um_per_px": _find_scale_range(cases),
        "limits": {
            f"{subtype.name} {limit or ''}".rstrip(): _bound_false_conform(
                cases, subtype, limit, taxonomy
            )
            for subtype in taxonomy.subtypes
            for limit in (None, *iter_limits(subtype))
        },
    }


def iter_limits(subtype: Subtype) -> Iterator[Limit]:
    """Yield every limit that a specification can set inside a subtype."""
    for size in subtype.sizes[1:]:
        yield limit_at(subtype, size, Direction.FINER)
    for size in subtype.sizes[:-1]:
        yield limit_at(subtype, size, Direction.COARSER)


def _bound_false_conform(
    cases: Sequence[ValidationCase], subtype: Subtype, limit: Limit | None, taxonomy: Taxonomy
) -> dict[str, Any]:
    """Count the false "conforms" of one limit; None demands the subtype and no size."""
    sizes = {size.name: size for size in subtype.sizes}
    bound = find_bound(limit, subtype) if limit else None

    def keeps(name: str) -> bool:
        return limit is None or (bound is not None and bound.keeps(sizes[name]))

    own = [case for case in cases if taxonomy.parse(case.true)[0] == subtype.name]
    breaking = [case for case in own if not keeps(taxonomy.parse(case.true)[1])]
    others = [case for case in cases if taxonomy.parse(case.true)[0] != subtype.name]

    def conforms(case: ValidationCase) -> bool:
        parsed = [taxonomy.parse(code) for code in case.said]
        return case.automatic and all(name == subtype.name and keeps(size) for name, size in parsed)

    wrong = [case for case in breaking if conforms(case)]
    kinds = [(wrong, breaking)] if limit else []
    if len(taxonomy.subtypes) > 1:
        kinds.append(([case for case in others if conforms(case)], others))
    bounds = [_compute_share(*kind)["upper95"] for kind in kinds]
    ranges = [_find_scale_range(members) for _wrong, members in kinds]
    return _compute_share(wrong, breaking) | {
        "subtype": subtype.name,
        "limit": str(limit or ""),
        "sizes": list(sizes),
        "images": {"n": len(breaking), "wrong": len(wrong)},
        "other_subtype": _compute_share([case for case in others if conforms(case)], others),
        "bound95": max(bounds) if bounds and None not in bounds else None,
        "um_per_px": _common(ranges),
    }


def _find_scale_range(cases: Sequence[ValidationCase]) -> list[float] | None:
    scales = [case.um_per_px for case in cases if case.um_per_px is not None]
    return [min(scales), max(scales)] if scales else None


def _common(ranges: Sequence[list[float] | None]) -> list[float] | None:
    """Return what all ranges have in common, None for nothing."""
    known = [scale for scale in ranges if scale]
    if not known or len(known) < len(ranges):
        return None
    low, high = max(case[0] for case in known), min(case[1] for case in known)
    return [low, high] if low <= high else None


def _compute_share(bad: Sequence[ValidationCase], of: Sequence[ValidationCase]) -> dict[str, Any]:
    """Return how many specimens have a case in the first list, of those that have one at all."""
    wrong, n = (len({case.specimen for case in cases}) for cases in (bad, of))
    return {
        "n": n,
        "wrong": wrong,
        "value": wrong / n if n else None,
        "upper95": upper_bound(wrong, n),
    }


def _count(words: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in sorted(words):
        counts[word] = counts.get(word, 0) + 1
    return counts


def _iter_scope(cases: Sequence[ValidationCase], taxonomy: Taxonomy) -> Iterator[dict[str, Any]]:
    """Yield each way in which the validated micrographs were taken, with its counts."""
    ways: dict[tuple[str, ...], list[ValidationCase]] = {}
    for case in cases:
        subtype = taxonomy.parse(case.true)[0]
        way = (subtype, *(case.process_data.get(column, "") for column in SCOPE[1:]))
        ways.setdefault(way, []).append(case)
    for way, members in sorted(ways.items()):
        yield dict(zip(SCOPE, way, strict=True)) | {
            "images": len(members),
            "specimens": len({case.specimen for case in members}),
        }


# --- records and permissions --------------------------------------------------------------------


def save_record(
    store: Store, material: str, bundle: str, facts: Mapping[str, Any], *, by: str, at: datetime
) -> int:
    """Store a validation record and return its number."""
    return store.records.add(VALIDATION, material, by=by, at=at, facts={"bundle": bundle, **facts})


def set_permission(
    store: Store,
    material: str,
    *,
    on: bool,
    bundle: str | None,
    most: float,
    by: str,
    reason: str,
    at: datetime,
) -> Record | None:
    """Permit, or no longer permit, the model alone to say "conforms" for a material; a lead's act.

    Args:
        store: Open.
        material: Name of the material.
        on: Whether it may, for results made from now on.
        bundle: The one in use; its newest validation record is the basis.
        most: Largest bound of a false "conforms" that is allowed.
        by: The lead.
        reason: Given by the lead.
        at: Now, aware UTC.

    Returns:
        The validation record that supports the permission; None where it is switched off.

    Raises:
        UsageError: There is no such record, none of its limits reaches the bound, or no reason is
            given; or this PC's clock is set back.
    """
    if not reason.strip():
        raise UsageError("say why with --reason TEXT: it is kept with the permission.")
    if on:
        store.audit_log.require_clock(at=at)
    record = _record_for(store, material, bundle, most=most) if on else None
    facts = {"on": on, "reason": reason, "validation": record.id if record else None}
    store.records.add(AUTOMATIC, material, by=by, at=at, facts=facts)
    return record


def _record_for(store: Store, material: str, bundle: str | None, *, most: float) -> Record:
    candidates = [
        entry
        for entry in store.records.all(VALIDATION, material)
        if entry.facts.get("bundle") == bundle
    ]
    if not candidates:
        raise UsageError(
            f"{material}: no validation record for the bundle in use ({bundle or 'none'}). "
            f"Make one: agent spec validate {material} FOLDER"
        )
    record = candidates[-1]
    states = limit_states(record.facts, most=most)
    if not any(state.reaches for state in states):
        sentences = "; ".join(state.sentence for state in states) or "it holds no limit"
        raise UsageError(
            f"{material}: validation record {record.id} supports no automatic conformity, at most "
            f'{most:.1%} false "conforms" per specimen is allowed ([orders] max_false_conform): '
            f"{sentences}. Validate more specimens: agent spec validate {material} FOLDER"
        )
    return record


@dataclass(frozen=True, slots=True)
class LimitState:
    """Whether one limit of a validation record supports automatic conformity.

    Args:
        limit: "G 8 or finer".
        reaches: Whether it does.
        sentence: The figures, and what is missing.
    """

    limit: str
    reaches: bool
    sentence: str


def limit_states(facts: Mapping[str, Any], *, most: float) -> list[LimitState]:
    """Return the limits of a validation record of which anything is known.

    Args:
        facts: Of the record.
        most: Largest bound of a false "conforms" that is allowed.
    """
    return [
        _limit_state(limit, counted, most)
        for limit, counted in facts.get("limits", {}).items()
        if counted["n"] or counted.get("bound95") is not None
    ]


def _limit_state(limit: str, counted: Mapping[str, Any], most: float) -> LimitState:
    if not counted.get("um_per_px"):
        without = "a range of scales that every kind of specimen covers"
        return LimitState(limit, reaches=False, sentence=f"{limit}: no {without}; validate again")
    other = counted["other_subtype"]
    counts = [
        f"{kind['wrong']} wrong of {kind['n']} {name} "
        f"(needed: {_count_needed(kind['wrong'], most)})"
        for name, kind in (("that break it", counted), ("of other subtypes", other))
        if kind["n"] or name != "that break it" or " " in limit
    ]
    bound = counted["bound95"]
    known = f"at most {bound:.2%}" if bound is not None else "no bound"
    reaches = bound is not None and bound <= most
    return LimitState(limit, reaches, f"{limit}: {known}, {', '.join(counts)}")


def _count_needed(wrong: int, most: float) -> str:
    return f"{wrong} of {count_needed(most, wrong)}"


def load_allowances(store: Store) -> tuple[Allowance, ...]:
    """Return what is switched on, one permission per act, material and limit of its record.

    An act covers the results that were made after it and before the next one; switching off
    withdraws every act before it.
    """
    acts: dict[str, list[Record]] = {}
    for act in store.records.all(AUTOMATIC):
        acts[act.subject] = [*acts.get(act.subject, []), act] if act.facts.get("on") else []
    records = {entry.id: entry for entry in store.records.all(VALIDATION)} if acts else {}
    return tuple(
        allowance
        for material, members in acts.items()
        for act, following in zip_longest(members, members[1:])
        if (record := records.get(act.facts.get("validation") or 0))
        for allowance in _allowances(material, act, record, following.at if following else None)
    )


def _allowances(
    material: str, act: Record, record: Record, until: datetime | None
) -> Iterator[Allowance]:
    for name, counted in record.facts.get("limits", {}).items():
        subtype, _, limit = name.partition(" ")
        scales = counted.get("um_per_px")
        other = counted.get("other_subtype", {})
        yield Allowance(
            material=material,
            bundle=str(record.facts.get("bundle", "")),
            limit=str(counted.get("limit", limit)),
            subtype=str(counted.get("subtype", subtype)),
            n=int(counted["n"]) + int(other.get("n", 0)),
            wrong=int(counted["wrong"]) + int(other.get("wrong", 0)),
            bound=counted["bound95"],
            by=act.by,
            um_per_px=(float(scales[0]), float(scales[1])) if scales else None,
            since=act.at,
            until=until,
            sizes=tuple(map(str, counted.get("sizes", ()))),
            record=record.id,
            act=act.id,
        )


def load_scopes(store: Store, bundle: str) -> list[dict[str, Any]]:
    """Return the ways, each with its material, for which validation records name a bundle."""
    return [
        {"material": record.subject, **way}
        for record in store.records.all(VALIDATION)
        if record.facts.get("bundle") == bundle
        for way in record.facts.get("scope", ())
    ]
