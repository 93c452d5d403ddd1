"""Keep the record behind an automatic "conforms": how often the model would have been wrong.

In:  labelled micrographs of one material with what a bundle said of them. Out: a validation record,
the lead's permission that names it, and the scope a bundle is validated for. Next: `conformity`,
`triage`. The bound is exact and one-sided. The fields of one specimen are no independent trials, so
it rests on specimens; with none that breaks a limit there is no bound.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent.errors import WrongUse
from agent.orders.facts import Allowance
from agent.orders.limit import Direction, find_bound, limit_at
from agent.triage import WAYS
from model import at_most

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from agent.orders.limit import Bound, Limit
    from agent.store import Record, Store
    from model import Size, Subtype, Taxonomy

VALIDATION, AUTOMATIC = "validation", "automatic"
SCOPE = WAYS
"""What a validated scope tells apart, beside the material; the subtype is the true one."""


@dataclass(frozen=True, slots=True)
class Case:
    """One labelled micrograph and what the bundle said of it.

    Args:
        specimen: What must be counted once, such as order and specimen.
        true: The structure code people gave it.
        said: Everything the model could not exclude: prediction set and structure code.
        automatic: The model's answer would have stood without a person.
        process_data: Column → value.
    """

    specimen: str
    true: str
    said: tuple[str, ...]
    automatic: bool
    process_data: Mapping[str, str] = field(default_factory=dict)


def record_of(cases: Sequence[Case], taxonomy: Taxonomy) -> dict[str, Any]:
    """Count what a lead has to know before the model alone may say "conforms".

    Args:
        cases: Of one material, none of which the bundle learned from.
        taxonomy: Of the bundle.

    Returns:
        `images`, `specimens`, `alone` (images that name no specimen, each counted as one of its
        own), `automatic`, `scope` and per limit ("G 7 or finer") `subtype`, `limit`, `sizes` (of
        the subtype, coarse to fine: the scale that was compared), `n` (specimens of which a field
        truly breaks it), `wrong` (of those, with any such field called conforming), `value`,
        `upper95`, and `images` with `n` and `wrong` of those fields; the specimens of other
        subtypes of which a field was called conforming stand beside them as `other_subtype`.
    """
    return {
        "images": len(cases),
        "specimens": len({case.specimen for case in cases}),
        "alone": sum(not case.process_data.get("specimen") for case in cases),
        "automatic": sum(case.automatic for case in cases),
        "codes": _counted(case.true for case in cases),
        "scope": list(_scope(cases, taxonomy)),
        "limits": {
            f"{subtype.name} {limit}": _false_conform(cases, subtype, limit, taxonomy)
            for subtype in taxonomy.subtypes
            for limit in limits_of(subtype)
        },
    }


def limits_of(subtype: Subtype) -> Iterator[Limit]:
    """Say every limit that a specification can set inside a subtype."""
    for size in subtype.sizes[1:]:
        yield limit_at(subtype, size, Direction.FINER)
    for size in subtype.sizes[:-1]:
        yield limit_at(subtype, size, Direction.COARSER)


def _false_conform(
    cases: Sequence[Case], subtype: Subtype, limit: Limit, taxonomy: Taxonomy
) -> dict[str, Any]:
    sizes, bound = {size.name: size for size in subtype.sizes}, find_bound(limit, subtype)
    own = [case for case in cases if taxonomy.parse(case.true)[0] == subtype.name]
    breaking = [case for case in own if not _keeps(bound, sizes[taxonomy.parse(case.true)[1]])]
    others = [case for case in cases if taxonomy.parse(case.true)[0] != subtype.name]

    def conforms(case: Case) -> bool:
        found = [taxonomy.parse(code) for code in case.said]
        return case.automatic and all(
            name == subtype.name and _keeps(bound, sizes[size]) for name, size in found
        )

    wrong = [case for case in breaking if conforms(case)]
    return _share(wrong, breaking) | {
        "subtype": subtype.name,
        "limit": str(limit),
        "sizes": list(sizes),
        "images": {"n": len(breaking), "wrong": len(wrong)},
        "other_subtype": _share([case for case in others if conforms(case)], others),
    }


def _keeps(bound: Bound | None, size: Size) -> bool:
    return bound is not None and bound.keeps(size)


def _share(some: Sequence[Case], of: Sequence[Case]) -> dict[str, Any]:
    """Say how many specimens have a case among some, of those that have one at all."""
    wrong, n = (len({case.specimen for case in cases}) for cases in (some, of))
    return {"n": n, "wrong": wrong, "value": wrong / n if n else None, "upper95": at_most(wrong, n)}


def _counted(words: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for word in sorted(words):
        found[word] = found.get(word, 0) + 1
    return found


def _scope(cases: Sequence[Case], taxonomy: Taxonomy) -> Iterator[dict[str, Any]]:
    """Say each way in which the validated micrographs were taken, with its counts."""
    ways: dict[tuple[str, ...], list[Case]] = {}
    for case in cases:
        subtype = taxonomy.parse(case.true)[0]
        way = (subtype, *(case.process_data.get(column, "") for column in SCOPE[1:]))
        ways.setdefault(way, []).append(case)
    for way, some in sorted(ways.items()):
        yield dict(zip(SCOPE, way, strict=True)) | {
            "images": len(some),
            "specimens": len({case.specimen for case in some}),
        }


# --- records and permissions --------------------------------------------------------------------


def keep(
    store: Store, material: str, bundle: str, facts: Mapping[str, Any], *, by: str, at: datetime
) -> int:
    """Keep a validation record; its number comes back."""
    return store.records.add(VALIDATION, material, by=by, at=at, facts={"bundle": bundle, **facts})


def switch(
    store: Store, material: str, *, on: bool, bundle: str | None, by: str, reason: str, at: datetime
) -> Record | None:
    """Let the model alone say "conforms" for a material, or no longer; a lead's act.

    Args:
        store: Open.
        material: Which.
        on: Whether it may.
        bundle: The one at work; its newest validation record is the one that is named.
        by: The lead.
        reason: Why.
        at: Now.

    Returns:
        The validation record the permission stands on; None where it is switched off.

    Raises:
        WrongUse: There is no such record, or no reason is given.
    """
    if not reason.strip():
        raise WrongUse("say why with --reason TEXT: it is kept with the permission.")
    found = [
        one for one in store.records.all(VALIDATION, material) if one.facts.get("bundle") == bundle
    ]
    if on and not found:
        raise WrongUse(
            f"{material}: no validation record names the bundle at work ({bundle or 'none'}); "
            f"make one: agent validate {material} FOLDER"
        )
    record = found[-1] if on else None
    facts = {"on": on, "reason": reason, "validation": record.id if record else None}
    store.records.add(AUTOMATIC, material, by=by, at=at, facts=facts)
    return record


def allowances_of(store: Store) -> tuple[Allowance, ...]:
    """Say what is switched on now: one permission per material and limit of its record."""
    newest: dict[str, Record] = {one.subject: one for one in store.records.all(AUTOMATIC)}
    records = {one.id: one for one in store.records.all(VALIDATION)} if newest else {}
    return tuple(
        allowance
        for material, act in newest.items()
        if act.facts.get("on") and (record := records.get(act.facts.get("validation") or 0))
        for allowance in _allowances(material, act, record)
    )


def _allowances(material: str, act: Record, record: Record) -> Iterator[Allowance]:
    for name, counted in record.facts.get("limits", {}).items():
        subtype, _, limit = name.partition(" ")  # older records name both in the key alone
        yield Allowance(
            material=material,
            bundle=str(record.facts.get("bundle", "")),
            limit=str(counted.get("limit", limit)),
            subtype=str(counted.get("subtype", subtype)),
            n=int(counted["n"]),
            wrong=int(counted["wrong"]),
            bound=counted["upper95"],
            by=act.by,
            sizes=tuple(map(str, counted.get("sizes", ()))),
        )


def scopes_of(store: Store, bundle: str) -> list[dict[str, Any]]:
    """Say the ways, each with its material, for which validation records name a bundle."""
    return [
        {"material": record.subject, **way}
        for record in store.records.all(VALIDATION)
        if record.facts.get("bundle") == bundle
        for way in record.facts.get("scope", ())
    ]
