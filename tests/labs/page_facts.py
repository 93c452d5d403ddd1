"""Fixed facts for the pages: one night with everything in it, small enough to read."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

from agent.store import FileFate, LabelView
from reports import (
    Answer,
    Card,
    Cause,
    Choice,
    ControlTrend,
    Fact,
    Figure,
    Layer,
    Link,
    Night,
    OpenOrderLine,
    Picture,
    Ruler,
    Share,
    SubtypeChoice,
    Tone,
    VerdictLine,
)

DOT = "data:image/gif;base64,R0lGODlhAQABAAAAACw="
PICTURE = Picture(DOT, "a dot", 1, 1)

DECISION = LabelView(
    kind="code",
    by="Ann",
    code="G9-10",
    criterion="mean",
    comment="finer than it looks",
    id=3,
    at=datetime(2026, 11, 24, 7, 1, tzinfo=UTC),
)

ANSWER = Answer(
    code="G8",
    words="martensitic 100Cr6, fine acicular",
    probability="54 %",
    provisional="",
    possible="G8 or G9-10",
    subtypes=(Share("B", "", 4.0, "4 %"), Share("G", "", 96.0, "96 %", chosen=True)),
    sizes=(
        Share("8", "", 54.0, "54 %", chosen=True, possible=True),
        Share("9-10", "", 36.0, "36 %", possible=True),
        Share("7", "", 10.0, "10 %"),
    ),
    size_title="Size number in G",
    strangeness=("Unusual: unlike all 160 reference images; unusual texture. (p = 0.006)"),
    strange=True,
)

CARD = Card(
    id="0123456789abcdef",
    name="field_1.tif",
    path="4711/field_1.tif",
    source="LOM-07",
    at="24 Nov 02:10",
    causes=(
        Cause(
            "strange",
            "Unusual",
            "Unlike all 160 reference images; unusual texture.",
            "Look at the marked place.",
        ),
    ),
    answer=ANSWER,
    field=Figure("Whole field", "Inside the outline: what was kept.", PICTURE),
    crop=Figure("What the model saw", "The kept rectangle.", PICTURE),
    maps=(
        Figure("Why subtype G", "Orange speaks for G.", PICTURE),
        Figure("Why size 8", "Orange speaks for size 8.", PICTURE, "no positive evidence"),
        Figure("Unusual", "Bright is unlike the reference images.", None, "no map was kept"),
    ),
    nearest=(Figure("G8", "Known as G8.", PICTURE),),
    facts=(Fact("Scale", "0.12 µm per pixel, from the scale bar"), Fact("Order", "4711")),
    warnings=("Two witnesses of the scale disagree by more than 5 %.",),
    decision=DECISION,
    review=Link("Decide", "http://127.0.0.1:8787/review/0123456789abcdef"),
    order=Link("4711", "http://127.0.0.1:8787/order/4711"),
)


def file_fate(path: str, state: str, minute: int, **facts: Any) -> FileFate:
    """Return a file without a result, which came to its end at 02:xx local time."""
    at = datetime(2026, 11, 24, 1, minute, tzinfo=UTC)
    known = {"code": None, "reason": None, "duplicate_of": None} | facts
    return FileFate(
        path=path,
        sha256=None,
        size_bytes=1000,
        source="LOM-07",
        state=state,
        attempts=1,
        first_seen_at=at,
        done_at=at,
        next_try_at=None,
        id=1,
        **known,
    )


VIEW = {
    "id": CARD.id,
    "name": CARD.name,
    "process_data": {"field": "1", "order": "4711"},
    "source": "LOM-07",
    "label": DECISION,
    "result": {
        "id": 7,
        "structure_code": "G8",
        "probability": 0.54,
        "handling": "review",
        "reasons": ("strange", "uncertain"),
        "done_at": datetime(2026, 11, 24, 1, 10, tzinfo=UTC),
    },
}
"""As a template sees a micrograph with its result."""

NEXT = (
    VIEW
    | {"id": "fedcba9876543210", "name": "field_2.tif", "label": None}
    | {"process_data": {"field": "2"}}
)

AUTOMATIC = NEXT | {
    "result": VIEW["result"]
    | {
        "probability": 0.97,
        "handling": "automatic",
        "reasons": (),
        "done_at": datetime(2026, 11, 24, 1, 11, tzinfo=UTC),
    }
}

NIGHT = Night(
    site="Plant 1",
    zone="Europe/Berlin",
    date="2026-11-24",
    title="Tuesday 24 November 2026",
    period="23 Nov 23:30 to 24 Nov 23:30, Europe/Berlin",
    running=False,
    revision=1,
    tone=Tone.PROBLEM,
    headline="1 micrograph to review · 1 file failed",
    lines=(
        VerdictLine(Tone.PROBLEM, "1", "micrograph unusual", "#m-0123456789abcdef"),
        VerdictLine(Tone.ATTENTION, "1", "file that could not be used: 1 cut off", "#unusable"),
    ),
    expected="31 micrographs judged, 1 flagged as strange; about 0.6 would be by chance alone.",
    codes=(
        ("G8", 20, 1),
        ("G9-10", 10, 0),
    ),
    hours=(("23:30", 12, 0), ("00:30", 18, 1)),
    sources=(
        (
            {"name": "LOM-07", "folder": "/lab/export"},
            (31, 1, 1, 1),
            datetime(2026, 11, 24, 1, 10, tzinfo=UTC),
            "reachable",
            Tone.CALM,
        ),
    ),
    cards=(CARD,),
    more=(Link("Handled automatically, page 2 of 2", "2026-11-24/page-2.html"),),
    left_out="To keep this page small, 29 micrographs more stand on pages of their own.",
    rows=((AUTOMATIC, PICTURE),),
    unusable=(
        file_fate(
            "4711/cut.tif",
            "set_aside",
            12,
            code="truncated",
            reason="the data ends at row 300 of 480.",
        ),
    ),
    duplicates=(file_fate("4711/copy.tif", "duplicate", 13, duplicate_of="4711/field_2.tif"),),
    agreement=(Fact("Decided in the last 90 days", "33 of 37 the same code"),),
    p_values=(0.006, 0.4, 0.7),
    alpha=0.02,
    evidence_scale=PICTURE,
    alarm_scale=PICTURE,
    provenance=(Fact("Software", "Martensight 0.1.0"), Fact("Bundle", "20261101-0badcafe")),
    generated="24 Nov 2026 23:30:04",
    beside=(Link("CSV", "2026-11-24.csv"), Link("JSON", "2026-11-24.json")),
    older=Link("All nights", "index.html"),
    orders=(
        OpenOrderLine(
            number="4711",
            href="http://127.0.0.1:8787/order/4711",
            word="does not conform",
            tone=Tone.PROBLEM,
            said=("specimen 01: field 2 is G7, confirmed by Ann: 8 or finer is demanded",),
            more="and 2 more",
            age="3 days",
            waits="a field waits for less than a day",
            urgent=True,
        ),
    ),
    orders_left_out="1 more order is named in the JSON file beside this page.",
    instruments=(
        (
            "LOM-07",
            (
                ("good, 24 Nov 06:00", Tone.CALM),
                ("the control specimen of 24 Nov 06:10 is off: focus", Tone.PROBLEM),
                ("in doubt for 1 micrograph", Tone.ATTENTION),
            ),
        ),
    ),
    changes=("Another bundle is at work: 20261101-0badcafe, before 20261001-0badcafe.",),
    groups=(("By order", (("4711", "http://127.0.0.1:8787/order/4711", 30, 1),)),),
    inside={"micrographs": {"columns": ("id", "file"), "rows": (("0123456789abcdef", "odd.tif"),)}},
    control=(
        ControlTrend(
            "Focus of the control specimen, LOM-07",
            "As usual. Usual: 0.04, between 0.03 and 0.05.",
            Tone.CALM,
            (("23 Nov", 0.041), ("24 Nov", 0.052)),
            0.04,
            0.03,
            0.05,
        ),
    ),
    prints=((VIEW, PICTURE, "#m-0123456789abcdef"),),
    words={
        "G8": "martensitic 100Cr6, fine acicular",
        "G9-10": "martensitic 100Cr6, very fine acicular",
    },
    furnaces=(
        ControlTrend(
            "Size number per batch, 100Cr6, F1",
            "3 of 20 batches that set the limits.",
            Tone.CALM,
            (("B1", 8.0), ("B2", 7.5)),
            0.0,
            0.0,
            0.0,
        ),
    ),
    links=(Link("Review queue", "http://127.0.0.1:8787/review"),),
    agent="http://127.0.0.1:8787",
)

READER = {"site": "Plant 1", "zone": "Europe/Berlin", "reviewer": "Ann"}

QUEUE = READER | {
    "items": (VIEW,),
    "codes": {CARD.id: "G8"},
    "held": {},
    "query": "",
    "most": 200,
    "decided": 2,
    "waiting": 1,
    "filters": (("All", "/review", True), ("Scale unknown", "/review?r=1", False)),
    "notice": {
        "tone": Tone.CALM,
        "text": "G8 for",
        "undo_id": "fedcba9876543210",
        "about": "field_2.tif",
    },
    "control": None,
    "fields_to_confirm": 0,
    "orders_to_confirm": 0,
}

REVIEW = READER | {
    "may_decide": True,
    "micrograph": VIEW,
    "card": CARD,
    "blind": False,
    "blind_first": False,
    "is_always_blind": False,
    "was_shown": False,
    "needs_scale": False,
    "learning": "",
    "window": None,
    "window_width": "",
    "viewer": None,
    "layers": (
        Layer("subtype", "Why subtype G", "Orange speaks for G.", "", PICTURE, "Orange: for."),
    ),
    "ruler": Ruler("20 µm", 166.7, 800, 600),
    "subtypes": (
        SubtypeChoice(
            "G",
            "martensitic 100Cr6",
            "1",
            (
                Choice("code:G7", "7", "acicular", "1", taught=False),
                Choice("code:G8", "8", "fine acicular", "2", suggested=True),
            ),
        ),
    ),
    "strange_kinds": (Choice("strange:pearlite", "pearlite", key="1"),),
    "unusable_whys": (Choice("unusable:out_of_focus", "out of focus", key="1"),),
    "criterion": "Size criterion",
    "criteria": {"mean": "mean: overall impression", "unrecorded": "not recorded"},
    "suggested_criterion": "mean",
    "comment": "",
    "siblings": (
        {
            "view": VIEW,
            "code": "G8",
            "state": "waits",
            "is_scaled": True,
            "width": 100,
            "height": 80,
        },
        {
            "view": NEXT,
            "code": "",
            "state": "automatic",
            "is_scaled": False,
            "width": 100,
            "height": 80,
        },
    ),
    "together": 1,
    "history": (DECISION,),
    "strip": (VIEW,),
    "codes": {CARD.id: "G8"},
    "held": {},
    "decided": 2,
    "waiting": 1,
    "previous": None,
    "next": NEXT,
    "narrowed": {"reason": "strange"},
    "query": "?reason=strange",
    "notice": None,
    "theirs": None,
    "corrects": (),
    "reasons": (),
    "missing": "",
    "sent": {},
}


def with_text(thing: Any, text: str) -> Any:
    """Put a text wherever a person's text can stand; addresses and tones stay."""
    if isinstance(thing, dict):
        return {
            name: value if name in ADDRESSES else with_text(value, text)
            for name, value in thing.items()
        }
    if isinstance(thing, Tone) or not isinstance(thing, str | tuple) | dataclasses.is_dataclass(
        thing
    ):
        return thing
    if isinstance(thing, str):
        return text
    if isinstance(thing, tuple):
        return tuple(with_text(one, text) for one in thing)
    fields = {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing)}
    return dataclasses.replace(
        thing,
        **{name: with_text(value, text) for name, value in fields.items() if name not in ADDRESSES},
    )


ADDRESSES = ("src", "href", "zone", "id")
