"""Orders with their fields, as the judgement is given them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from agent.orders.facts.specimen_facts import (
    Allowance,
    FieldDecision,
    FieldFacts,
    SpecimenFacts,
    Superseded,
)
from agent.orders.judge import conformity
from agent.orders.judge.judgement_rules import Rules
from labs.lab import RING_A
from model import default_taxonomy, taxonomy_from

TAXONOMY = default_taxonomy()

BUNDLE = "20261101-0badcafe"

WANTED = RING_A.model_copy(update={"fields": 3, "area_mm2": 0.2})

MADE = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)

ON = Allowance(
    material="100Cr6",
    bundle=BUNDLE,
    limit="8 or finer",
    subtype="G",
    n=298,
    wrong=0,
    bound=0.0199,
    by="R. Stahl",
    um_per_px=(0.08, 0.12),
    since=MADE - timedelta(days=1),
)

RULES = Rules(WANTED, TAXONOMY, material="100Cr6", allowances=(ON,))


def field(number=1, **given):
    usual = {
        "id": f"{number:016x}",
        "name": str(number),
        "code": "G8",
        "codes": ("G8",),
        "um_per_px": 0.1,
        "area_mm2": 0.08,
        "bundle": BUNDLE,
        "coarser_share": {"7": 0.0, "8": 0.05, "9-10": 0.6},
        "material": "100Cr6",
        "done_at": MADE,
    }
    return FieldFacts(**(usual | given))


def three(**last):
    return [field(1), field(2), field(3, **last)]


def of(fields, **given):
    return SpecimenFacts("01", "1", tuple(fields), **given)


def judge(fields, rules=RULES, **given):
    return conformity.judge_specimen(of(fields, **given), rules)


def said_by(code, criterion="unrecorded", kind="code"):
    return FieldDecision(kind, code, "R. Stahl", criterion)


def demanding(**given):
    return replace(RULES, specification=WANTED.model_copy(update=given))


CODES = ("G5", "G6", "G7", "G8", "G9-10", "B8", "M9-10")

DECISIONS = (
    st.none()
    | st.builds(
        FieldDecision,
        st.just("code"),
        st.sampled_from(CODES),
        st.just("R. Stahl"),
        st.sampled_from(("mean", "max", "unrecorded")),
    )
    | st.builds(
        FieldDecision,
        st.sampled_from(("strange", "unusable", "cannot_tell")),
        st.sampled_from(("over_etched", "other")),
        st.just("R. Stahl"),
    )
)

FIELDS = st.builds(
    FieldFacts,
    id=st.uuids().map(str),
    name=st.sampled_from(("1", "2", "3", "4", "")),
    code=st.sampled_from((*CODES, None)),
    codes=st.lists(st.sampled_from(CODES), max_size=3).map(tuple),
    decided=DECISIONS,
    awaits=st.sampled_from((False, False, True)),
    um_per_px=st.sampled_from((0.1, 0.2, None)),
    scale_in_doubt=st.sampled_from((False, False, True)),
    area_mm2=st.sampled_from((0.05, 0.1, None)),
    bundle=st.sampled_from((BUNDLE, BUNDLE, "other", "")),
    coarser_share=st.sampled_from(({}, {"7": 0.0, "8": 0.1, "9-10": 0.5})),
    material=st.sampled_from(("100Cr6", "", "C56E2")),
    superseded=st.none() | st.builds(Superseded, st.just("why"), st.just("B. Eile")),
    held=st.sampled_from(("", "", "held")),
)

DEMANDS = st.builds(
    lambda given: demanding(**given),
    st.fixed_dictionaries(
        {
            "limit": st.sampled_from(("7 or finer", "8 or finer", "8 or finer", "8 or coarser")),
            "fields": st.integers(1, 3),
            "area_mm2": st.sampled_from((0.0, 0.1)),
            "specimen_rule": st.sampled_from(("worst_field", "mean_of_fields")),
        }
    ),
)

DENTS = (
    {"codes": ("G7", "G8")},
    {"code": "G7"},
    {"code": "B8", "codes": ("B8",)},
    {"awaits": True},
    {"um_per_px": None},
    {"scale_in_doubt": True},
    {"area_mm2": 0.01},
    {"bundle": "other"},
    {"held": "held"},
    {"decided": said_by("G8")},
    {"decided": said_by("G6")},
    {"decided": said_by("over_etched", kind="unusable")},
    {"superseded": Superseded("why", "B. Eile")},
)

NEARLY = st.builds(
    lambda number, dent: replace(field(number), **dent),
    st.integers(1, 4),
    st.sampled_from(({},) * 24 + DENTS),
)
"""Fields of which most prove all that is asked: so that the laws meet specimens that conform."""

SPECIMENS = st.builds(
    SpecimenFacts,
    name=st.just("01"),
    preparation=st.just("1"),
    fields=(st.lists(NEARLY, max_size=5) | st.lists(FIELDS | NEARLY, max_size=5)).map(tuple),
    waiting=st.sampled_from((0,) * 9 + (1,)),
)


def steels(*sizes, untrained=()):
    """Make a taxonomy of one subtype G from names, coarse to fine, or whole [[size]] entries."""
    entries = [{"name": size} if isinstance(size, str) else size for size in sizes]
    names = [entry["name"] for entry in entries]
    subtype = {"name": "G", "sizes": names, "untrained": list(untrained)}
    return taxonomy_from({"size": entries, "subtype": [subtype]})
