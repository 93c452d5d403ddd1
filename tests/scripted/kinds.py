"""The kinds of orders of a scripted shift: what is done, and what has to be said of it.

Every row of what was tricked has a kind, and so has every honest thing that looks like a trick.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.errors import UsageError
from agent.orders.facts.possible_fields import dismiss_file
from agent.orders.instruments.instrument_checks import CONTROL
from agent.orders.judge.assessment import assess
from agent.orders.judge.permissions import require_may_assign, require_may_replace
from agent.orders.lims.lost_conformity import acknowledge
from agent.orders.lims.resumption import Beyond, SentRevision, adopt
from agent.orders.specifications.specification_history import reopen
from agent.store import Decision, Entry

if TYPE_CHECKING:
    from scripted.shift import Shift

FIELDS = 3
LETTERS = str.maketrans("012", "OIZ")
"""Letters for digits; each number of a shift ends in 0."""
LEAD, SECOND_LEAD = "R. Stahl", "M. Erz"
PICTURE = "ab" * 32
"""Stands for a picture of a defect."""
PARTNER = "9"
"""In front of an order's number: another order that a trick needs."""


@dataclass(frozen=True)
class Shot:
    """One file.

    Args:
        name: Below the export folder. code: what is drawn. codes: the model's prediction set.
        defect: That the model sees. copy_of: name of a file whose bytes it has.
        place: Name of the shot whose place it shows, "" for a place of its own.
        variant: What became of that picture, a key of `scripted.shift.COPIES`.
        tile: Which tile of a mosaic of that place whose neighbours overlap by 10 %, or None.
        note: What the note next to it says. strange: unlike the reference images.
        is_cut: The file ends early. changed_h: When it was changed last, hours after the start.
    """

    name: str
    code: str = "G8"
    codes: tuple[str, ...] = ("G8",)
    um_per_px: float = 0.2
    defect: str = ""
    copy_of: str = ""
    place: str = ""
    variant: str = "as shot"
    tile: int | None = None
    note: dict[str, str] = field(default_factory=dict)
    strange: bool = False
    is_cut: bool = False
    changed_h: float | None = None


Plan = Callable[[str], tuple[list[Shot], list[Shot]]]
Act = Callable[["Shift", str], None]


@dataclass(frozen=True)
class Kind:
    """A kind of order.

    Args:
        plan: Order → the files of both halves. word, reason: what is said at the end.
        before, after: What people do at the end of each half. listed: before the first file.
        halfway: What is said before the second half: "conforms", a reason, "" for anything else
            than "conforms", or None for anything.
        partner: What has to be said of the order with `PARTNER` in front, "" where there is none.
    """

    plan: Plan
    word: str = "conforms"
    reason: str = ""
    before: Act | None = None
    after: Act | None = None
    listed: Act | None = None
    halfway: str | None = ""
    partner: str = ""


def usual(order: str, **third: object) -> list[Shot]:
    """Return the three fields of an order; the third one may be special."""
    shots = [Shot(f"{order}_01_{n}.tif") for n in range(1, FIELDS + 1)]
    return [*shots[:-1], replace(shots[-1], **third)] if third else shots  # type: ignore[arg-type]


def first(**third: object) -> Plan:
    """Plan three fields in the first half."""
    return lambda order: (usual(order, **third), [])


def and_later(*more: Callable[[str], Shot], **third: object) -> Plan:
    """Plan three fields in the first half and others in the second one."""
    return lambda order: (usual(order, **third), [make(order) for make in more])


COARSE: dict[str, object] = {"code": "G7", "codes": ("G7",)}
EITHER: dict[str, object] = {"codes": ("G7", "G8")}


def again(order: str) -> Shot:
    """Return another shot of field 3, of a fine place."""
    return Shot(f"again/{order}_01_3.tif")


# --- what people do -------------------------------------------------------------------------------


def decide(by: str, kind: str, said: str, *, number: str = "3", unsure: bool = False) -> Act:
    """Return the act of deciding a field."""

    def act(shift: Shift, order: str) -> None:
        word = {"code": "code", "unusable": "why", "strange": "strange_kind"}.get(kind)
        told = {word: said} if word else {}
        decision = Decision(kind, by, unsure=unsure, comment="again", **told)  # type: ignore[arg-type]
        shift.store.labels.decide(shift.ids(order, number)[0], decision, at=shift.at)

    return act


def supersede(by: str, defect: str = "", picture: str = "", *, lead: bool = False) -> Act:
    """Return the act of replacing the first shot of field 3; who may not is refused and does it."""

    def act(shift: Shift, order: str) -> None:
        public_id = shift.ids(order, "3")[0]
        try:
            require_may_replace(
                shift.store, shift.lab(), order, [public_id],
                by=by, defect=defect, picture=picture,
            )  # fmt: skip
        except UsageError:
            shift.refused += 1
        shift.store.order_corrections.supersede(
            public_id, by=by, reason="again", defect=defect, picture=picture, lead=lead, at=shift.at
        )

    return act


def deliver(name: str, **facts: object) -> Act:
    """Return the delivery of an order list."""

    def act(shift: Shift, order: str) -> None:
        known = {key: facts[key] for key in ("customer", "product") if key in facts}
        rest = {key: value for key, value in facts.items() if key not in known}
        entry = Entry(order, facts=rest, **known)  # type: ignore[arg-type]
        shift.store.orders.take_list([entry], name, by="order list", at=shift.at)

    return act


def amend(shift: Shift, order: str) -> None:
    """Accept what a list changes."""
    shift.store.order_corrections.amend(
        order, accept=True, by=LEAD, reason="it was scrapped", at=shift.at
    )


def assign(by: str, target: str = "", *, lead: bool = False) -> Act:
    """Return the act of assigning field 3, where the command allows it."""

    def act(shift: Shift, order: str) -> None:
        keys = {"order": f"{target}{order}", "specimen": "01", "field": "3"}
        public_id = shift.ids(order, "3")[0]
        try:
            require_may_assign(shift.store, shift.lab(), public_id, keys, by=by)
        except UsageError:
            shift.refused += 1
            return
        shift.store.order_corrections.assign(
            public_id, keys, by=by, reason="mine", lead=lead, at=shift.at
        )

    return act


def imported(*raters: str, by: str, for_orders: bool = False) -> Act:
    """Return the act of importing G8 for field 3, under one name after the other."""

    def act(shift: Shift, order: str) -> None:
        folder = shift.folder / "labelled" / order
        folder.mkdir(parents=True)
        (folder / "3.tif").write_bytes((shift.export / f"{order}_01_3.tif").read_bytes())
        for rater in raters:
            manifest = folder.parent / f"{order} {rater}.csv"
            manifest.write_text(f"file,code,rater\n3.tif,G8,{rater}\n", encoding="utf-8")
            shift.import_labels(folder, manifest, by=by, for_orders=for_orders)

    return act


def suspect(shift: Shift, order: str) -> None:
    """Let a retraining suspect the label of field 3."""
    view = shift.store.results.find(shift.ids(order, "3")[0])
    assert view is not None
    assert view.label is not None
    assert shift.store.labels.mark_suspect(
        view.id, label_id=view.label.id, sentence="label", by="agent retrain", at=shift.at
    )


def lose(shift: Shift, order: str) -> None:
    """Restore a back-up that lost a revision which does not conform; the notes know it."""
    sent = SentRevision(order, 2, "ab12", "cd34", "does_not_conform", lab="")
    adopt(shift.store, [Beyond(sent, revision=1, statement_number=1)], at=shift.at)


def acknowledged(shift: Shift, order: str) -> None:
    """Acknowledge what was lost; a lead's act."""
    acknowledge(shift.store, order, by=LEAD, reason="checked on paper", at=shift.at)


def undo(shift: Shift, order: str) -> None:
    """Take the label of field 3 back, two hours later, and give the other one."""
    shift.store.labels.undo(shift.ids(order, "3")[0], by="Ada", at=shift.at)
    decide("Ada", "code", "G8")(shift, order)


def are_different(shift: Shift, order: str) -> None:
    """Decide that two fields show different places; a lead's act."""
    one, other = shift.ids(order, "1")[0], shift.ids(order, "3")[0]
    shift.store.places.decide(one, other, belongs="", by=LEAD, reason="looked at both", at=shift.at)


def reopened(shift: Shift, order: str) -> None:
    """Judge the order by what is in force now; a lead's act."""
    reopen(shift.store, order, by=LEAD, reason="the customer agreed", at=shift.at)


def dismissed(shift: Shift, order: str) -> None:
    """Decide that a file which ends early shows nothing; a lead's act."""
    assessed = assess(shift.store, order, shift.lab())
    lost, name = assessed.lost if assessed else (), f"{order}_01_4.tif"
    dismiss_file(shift.store, order, name, lost, by=LEAD, reason="a test shot", at=shift.at)


def fail(shift: Shift, _order: str) -> None:
    """Let the control check of the second microscope fail."""
    facts = {"passed": False, "sources": ["SEM"], "software": "1", "findings": []}
    if not shift.store.records.all(CONTROL, "PC of SEM")[-1].facts["passed"]:
        return
    shift.store.records.add(CONTROL, "PC of SEM", by="agent", at=shift.at, facts=facts)


def prepare_again(by: str, *, lead: bool) -> Act:
    """Return the act of beginning the next preparation."""

    def act(shift: Shift, order: str) -> None:
        shift.store.order_corrections.prepare_again(
            order, "01", by=by, reason="over-etched", defect="over_etched", lead=lead, at=shift.at
        )

    return act


def both(*acts: Act) -> Act:
    """Return several acts as one."""

    def act(shift: Shift, order: str) -> None:
        for one in acts:
            one(shift, order)

    return act


def later(act: Act) -> Act:
    """Return an act that happens an hour later."""

    def one(shift: Shift, order: str) -> None:
        shift.at += timedelta(hours=1)
        act(shift, order)
        shift.at -= timedelta(hours=1)

    one.is_later = True  # type: ignore[attr-defined] - it comes last, as no clock goes back
    return one


# --- the kinds ------------------------------------------------------------------------------------


def same_place(variant: str) -> Kind:
    """Return the kind whose third field shows the place of the first one."""

    def plan(order: str) -> tuple[list[Shot], list[Shot]]:
        return usual(order, place=f"{order}_01_1.tif", variant=variant), []

    once = "2 of 3 fields; field 1 and field 3 show one place"
    return Kind(plan, "undecided", once, halfway=once)


def partners(order: str, n: int = FIELDS) -> list[Shot]:
    """Return fields of the partner."""
    return [Shot(f"{PARTNER}{order}_01_{k}.tif") for k in range(1, n + 1)]


def lent(variant: str) -> Kind:
    """Return the kind whose third field is another order's second one, changed."""

    def plan(order: str) -> tuple[list[Shot], list[Shot]]:
        shown = f"{PARTNER}{order}_01_2.tif"
        return [*partners(order), *usual(order, place=shown, variant=variant)], []

    why = "field 3 shows the place of field 2 of order 9"
    partner = "field 2 shows the place of field 3 of order"
    return Kind(plan, "undecided", why, partner=partner)


def lent_from_nowhere(order: str) -> tuple[list[Shot], list[Shot]]:
    """Plan as `lent` says, from a picture that two others claim and that belongs to none."""
    torn = Shot(f"{PARTNER}{order}_01_1.tif", note={"order": f"8{order}"})
    return [torn, *usual(order, place=torn.name, variant="brighter")], []


def noted(order: str) -> tuple[list[Shot], list[Shot]]:
    """Plan a coarse field whose note names another order than its path."""
    fourth = Shot(f"{order}_01_4.tif", "G7", ("G7",), note={"order": f"{PARTNER}{order}"})
    return [*usual(order), *partners(order), fourth], []


def copied(order: str) -> tuple[list[Shot], list[Shot]]:
    """Plan a coarse field that is copied under another order's name later."""
    name = f"{order}_01_4.tif"
    coarse = Shot(name, "G7", ("G7",))
    copy = Shot(f"{PARTNER}{order}_01_4.tif", copy_of=name)
    return [*usual(order), *partners(order), coarse], [copy]


def numbered(order: str) -> tuple[list[Shot], list[Shot]]:
    """Plan three places that are all field 1."""
    return [Shot(f"{order}_01_{name}.tif") for name in ("1", "01", "001")], []


def prepared(order: str, *more: int, **third: object) -> tuple[list[Shot], list[Shot]]:
    """Plan a specimen whose file names name later preparations."""
    shots = [Shot(f"{order}_01_{n}_P{p}.tif") for p in more for n in range(1, FIELDS + 1)]
    return usual(order, **third), shots


def mosaic(order: str) -> tuple[list[Shot], list[Shot]]:
    """Plan three tiles that overlap by 10 %."""
    shots = usual(order)
    return [replace(s, place=f"{order} mosaic", tile=n) for n, s in enumerate(shots)], []


def second_source(order: str) -> tuple[list[Shot], list[Shot]]:
    """Plan three fields of the second microscope."""
    return [replace(s, name=f"sem/{s.name}") for s in usual(order)], []


def diluted(order: str) -> tuple[list[Shot], list[Shot]]:
    """Plan a coarse field and three shots of one fine place."""
    shown = f"{order}_01_2.tif"
    more = [Shot(f"{order}_01_{n}.tif", place=shown, variant=v)
            for n, v in ((3, "turned"), (4, "mirrored"))]  # fmt: skip
    return [Shot(f"{order}_01_1.tif", "G7", ("G7",)), Shot(shown), *more], []


def of_second_specimen(order: str) -> list[Shot]:
    """Return three fields of specimen 02."""
    return [replace(shot, name=shot.name.replace("_01_", "_02_")) for shot in usual(order)]


def misread(order: str) -> tuple[list[Shot], list[Shot]]:
    """Plan a fourth, coarse field whose name has letters that look like digits of the order."""
    return [*usual(order), Shot(f"{order.translate(LETTERS)}_01_4.tif", "G7", ("G7",))], []


def added(order: str) -> tuple[list[Shot], list[Shot]]:
    """Plan a coarse and a fine field, and fine ones until their mean keeps the limit."""
    finest = {"code": "G9-10", "codes": ("G9-10",)}
    later_on = [Shot(f"{order}_01_{n}.tif", **finest) for n in (3, 4)]  # type: ignore[arg-type]
    return [Shot(f"{order}_01_1.tif", "G7", ("G7",)), Shot(f"{order}_01_2.tif")], later_on


def one_number_mean(order: str) -> tuple[list[Shot], list[Shot]]:
    """Plan a coarse place under the number of a fine one, and another fine one."""
    coarse = Shot(f"{order}_01_01.tif", "G7", ("G7",))
    return [Shot(f"{order}_01_1.tif"), coarse, Shot(f"{order}_01_2.tif")], []


def old_places(order: str) -> tuple[list[Shot], list[Shot]]:
    """Plan places of the first preparation that are shot again for the second one."""
    again = [Shot(f"new/{shot.name}", place=shot.name, variant="turned") for shot in usual(order)]
    return usual(order, **EITHER), again


def cut(order: str) -> tuple[list[Shot], list[Shot]]:
    """Plan a fourth file that ends early."""
    return [*usual(order), Shot(f"{order}_01_4.tif", is_cut=True)], []


def beside(form: str, **shown: object) -> Plan:
    """Plan three fields and a coarse file whose name has a form, in which {o} is the order."""
    more = COARSE | shown
    return lambda order: (
        [*usual(order), Shot(form.format(o=order, slip=f"7{order[1:]}"), **more)],  # type: ignore[arg-type]
        [],
    )


def beside_later(form: str) -> Plan:
    """Plan as `beside`, with the coarse file two hours later."""

    def plan(order: str) -> tuple[list[Shot], list[Shot]]:
        shots, _ = beside(form)(order)
        return shots[:-1], shots[-1:]

    return plan


def shown(*codes: str, names: tuple[str, ...] = ()) -> Plan:
    """Plan fields of given codes, numbered unless they are named."""
    numbers = names or tuple(map(str, range(1, len(codes) + 1)))
    return lambda order: (
        [
            Shot(f"{order}_01_{name}.tif", code, (code,))
            for name, code in zip(numbers, codes, strict=True)
        ],
        [],
    )


def left_over(order: str) -> tuple[list[Shot], list[Shot]]:
    """Plan other places of the first preparation, whose files come when the second has begun."""
    shots = usual(order)
    return usual(order, **EITHER), [
        replace(shot, name=f"late/{shot.name}", changed_h=-0.1) for shot in shots
    ]


def again_and(**third: object) -> Plan:
    """Plan a third field and another shot of it."""
    return and_later(again, **third)


ALONE = "conforms"
HONEST: dict[str, Kind] = {
    "plain": Kind(first(), halfway=ALONE),
    "over_etched": Kind(
        again_and(defect="over-etched"),
        before=decide(LEAD, "unusable", "over_etched"),
        halfway="2 of 3 fields; field 3 is unusable (over etched): prepare the specimen again",
    ),
    "out_of_focus": Kind(
        again_and(defect="out of focus"),
        before=decide("Ada", "unusable", "out_of_focus"),
        halfway="field 3 is unusable (out of focus): shoot it again",
    ),
    "prepared_by_lead": Kind(
        lambda order: (usual(order, **EITHER), [Shot(f"again/{s.name}") for s in usual(order)]),
        before=prepare_again(LEAD, lead=True),
    ),
    "promoted": Kind(lambda order: (usual(order)[:1], usual(order)[1:])),
    "offline": Kind(lambda order: (usual(order)[:2], usual(order)[2:]), halfway="2 of 3 fields"),
    "duplicate": Kind(
        and_later(lambda order: Shot(f"copy/{order}_01_2.tif", copy_of=f"{order}_01_2.tif")),
        halfway=ALONE,
    ),
    "both_specimens": Kind(
        lambda order: (usual(order), of_second_specimen(order)),
        listed=deliver("first.csv", specimens=["01", "02"]),
        halfway="specimen 02: no images received",
    ),
    "late_list": Kind(
        first(), after=deliver("late.csv", customer="Adler", specimens=["01"]), halfway=ALONE
    ),
    "list_first": Kind(
        lambda order: ([], usual(order)), listed=deliver("first.csv", specimens=["01"])
    ),
    "spelled": Kind(
        lambda order: ([*usual(order)[:2], Shot(f"00{order}_1_03.tif")], []), halfway=ALONE
    ),
    "mosaic": Kind(mosaic, halfway=ALONE),
    "unsure_then_sure": Kind(
        first(**EITHER),
        before=decide("Ada", "code", "G8", unsure=True),
        after=decide("Ben", "code", "G8"),
        halfway="field 3: Ada was not sure of G8",
    ),
    "lead_superseded": Kind(again_and(**EITHER), after=supersede(LEAD, lead=True)),
    "lead_set_aside": Kind(
        again_and(**COARSE),
        before=decide("Ada", "code", "G7"),
        after=supersede(LEAD, "stained", PICTURE, lead=True),
    ),
    "lead_different": Kind(
        lambda order: (usual(order, place=f"{order}_01_1.tif", variant="turned"), []),
        after=are_different,
        halfway="field 1 and field 3 show one place",
    ),
    "lead_amended": Kind(
        first(), listed=deliver("first.csv", specimens=["01", "02"]),
        after=both(deliver("again.csv", specimens=["01"]), amend),
        halfway="specimen 02: no images received",
    ),
    "lead_dismissed": Kind(cut, after=dismissed, halfway="_4.tif could not be used"),
    "lead_reopened": Kind(first(**COARSE), before=decide("Ada", "code", "G7"), after=reopened),
    "suspected": Kind(
        first(**EITHER), before=decide("Ada", "code", "G8"), after=suspect, halfway=ALONE
    ),
    "lead_resumed": Kind(
        first(), before=lose, after=acknowledged,
        halfway="a restored back-up lost revision 2, which the LIMS holds (does not conform)",
    ),
    "lead_imported": Kind(
        first(**EITHER),
        after=imported("", by=LEAD, for_orders=True),
        halfway="field 3: model says 8",
    ),
    "lead_assigned": Kind(
        lambda order: (usual(order, note={"order": f"{PARTNER}{order}"}), []),
        after=assign(LEAD, lead=True),
    ),
}  # fmt: skip
ALIKE = "its number is alike"
TRICKS: dict[str, Kind] = {
    "coarse": Kind(
        first(**COARSE), "does_not_conform",
        f"field 3 is G7, confirmed by {LEAD}: 8 or finer is demanded",
        after=decide(LEAD, "code", "G7"), halfway="field 3: model says 7",
    ),
    "wrong_objective": Kind(
        first(um_per_px=0.4), "undecided", "field 3 was shot at 0.4 µm per pixel, 0.15 to 0.25 are"
    ),
    "mixed_in": Kind(
        first(code="B8", codes=("B8",)), "undecided",
        "field 3 awaits review: ordered G, looks like B: mix-up or heat",
    ),
    "missing": Kind(lambda order: (usual(order)[:2], []), "undecided", "2 of 3 fields"),
    "two_specimens": Kind(
        and_later(lambda order: Shot(f"{order}_02_2.tif", copy_of=f"{order}_01_2.tif")),
        "undecided", "names the order and belongs to no specimen: it claims two", halfway=ALONE,
    ),
    "turned": same_place("turned"),
    "mirrored": same_place("mirrored"),
    "brighter": same_place("brighter"),
    "saved_again": same_place("saved again"),
    "cropped": same_place("cropped"),
    "magnified": same_place("magnified"),
    "stretched": same_place("stretched"),
    "half": same_place("half"),
    "lent": lent("brighter"),
    "lent_stretched": lent("stretched"),
    "lent_half": lent("half"),
    "lent_mirrored": lent("mirrored"),
    "lent_saved_again": lent("saved again"),
    "lent_from_nowhere": Kind(
        lent_from_nowhere, "undecided", "field 3 shows the place of the micrograph"
    ),
    "loosened": Kind(
        first(**COARSE), "does_not_conform", "field 3 is G7, confirmed by Ada",
        before=decide("Ada", "code", "G7"),
    ),
    "noted": Kind(noted, "undecided", "is named for specimen 01 by its path",
                  partner="names the order and belongs to no specimen: it claims two orders"),
    "superseded_unusual": Kind(
        again_and(strange=True), "undecided",
        "a replaced shot: field 3 was unlike the reference images: a lead decides",
        after=supersede("Ada"),
    ),
    "superseded_cannot_tell": Kind(
        again_and(**COARSE), "undecided",
        "a replaced shot: field 3 was labelled cannot tell by Ada: a lead decides",
        before=decide("Ada", "cannot_tell", ""), after=supersede("Ben"),
    ),
    "superseded_coarse": Kind(
        again_and(**COARSE), "undecided", "a replaced shot: field 3 could be 7: a lead decides",
        after=supersede("Ada", "stained"),
    ),
    "dissolved": Kind(
        again_and(**COARSE), "undecided",
        f"field 3 was G7, labelled by {LEAD}: a second person, a lead, names the defect",
        before=decide(LEAD, "code", "G7"), after=supersede(LEAD, "stained", lead=True),
    ),
    "dissolved_by_label": Kind(
        again_and(**COARSE), "undecided",
        "field 3 was G7, labelled by Ada: a second person, a lead, names the defect",
        before=decide("Ada", "code", "G7"), after=decide(LEAD, "unusable", "stained"),
    ),
    "unusable_coarse": Kind(
        again_and(**COARSE), "undecided", "a replaced shot: field 3 could be 7: a lead decides",
        before=decide("Ada", "unusable", "stained"),
    ),
    "diluted": Kind(diluted, "undecided", "the mean of 2 fields could be 7.5, 8 or finer is",
                    listed=deliver("first.csv", specification="mean-a")),
    "unsure": Kind(
        first(**EITHER), "undecided", "field 3: Ada was not sure of G8",
        before=decide("Ada", "code", "G8", unsure=True),
    ),
    "copied": Kind(copied, "undecided", "names the order and belongs to no specimen: it claims two",
                   partner="is named for specimen 01 by a copy of it"),
    "moved": Kind(first(**COARSE), "undecided", "field 3: model says 7",
                  after=assign("Ada", PARTNER)),
    "held": Kind(second_source, "undecided", "the control check of", after=fail, halfway=ALONE),
    "fewer_specimens": Kind(
        first(), "undecided", "list again.csv changes specimens from 01, 02 to 01: a lead decides",
        listed=deliver("first.csv", specimens=["01", "02"]),
        after=deliver("again.csv", specimens=["01"]),
    ),
    "fewer": Kind(
        first(), "undecided", "list again.csv changes number of specimens from 2 to 1",
        listed=deliver("first.csv", count=2), after=deliver("again.csv", count=1),
    ),
    "late_limit": Kind(
        first(**COARSE), "undecided", "makes loose-a of ring-a the specification: a lead decides",
        after=deliver("late.csv", specification="loose-a"),
    ),
    "spelled_coarse": Kind(
        lambda order: ([*usual(order), Shot(f"0{order}_01_4.tif", "G7", ("G7",))], []),
        "undecided", "field 4: model says 7",
    ),
    "one_number": Kind(numbered, "undecided", "1 of 3 fields"),
    "later_preparation": Kind(
        lambda order: prepared(order, 2, **COARSE), "undecided",
        "an earlier preparation: field 3 could be 7: a lead decides",
    ),
    "prepared_by_nobody": Kind(
        lambda order: (usual(order, **EITHER), [Shot(f"again/{s.name}") for s in usual(order)]),
        "undecided", "an earlier preparation: field 3 could be 7 or 8: a lead decides",
        before=prepare_again("Ada", lead=False),
    ),
    "too_many": Kind(lambda order: prepared(order, 2, 3), "undecided",
                     "3 preparations, at most 2 are allowed", halfway=ALONE),
    "cut": Kind(cut, "undecided", "_4.tif could not be used: export it again"),
    "lost_revision": Kind(
        first(), "undecided",
        "a restored back-up lost revision 2, which the LIMS holds (does not conform)",
        after=lose, halfway=ALONE,
    ),
    "suspected_break": Kind(
        first(**COARSE), "does_not_conform", "field 3 is G7, confirmed by Ada",
        before=decide("Ada", "code", "G7"), after=suspect,
    ),
    "borrowed_names": Kind(
        first(**COARSE), "does_not_conform", "field 3 is G7, confirmed by Ada",
        before=decide("Ada", "code", "G7"),
        after=imported(LEAD, SECOND_LEAD, by="Ben"), halfway="field 3 is G7, confirmed by Ada",
    ),
    "borrowed_by_lead": Kind(
        first(**COARSE), "does_not_conform", "field 3 is G7, confirmed by Ada",
        before=decide("Ada", "code", "G7"),
        after=imported("Ben", "Eve", by=LEAD, for_orders=True),
    ),
    "borrowed_alone": Kind(
        first(**EITHER), "undecided", "field 3: model says 8",
        after=imported(LEAD, SECOND_LEAD, by="Ben"),
    ),
    "taken_back": Kind(
        first(**COARSE), "undecided", "field 3 was G7, labelled by Ada: a lead or two other",
        before=decide("Ada", "code", "G7"), after=undo,
    ),
    "misread": Kind(misread, "undecided", "its number is alike", halfway="its number is alike"),
    "added": Kind(added, "undecided", "the mean of the first 2 fields could be 7.5, 8 or finer",
                  listed=deliver("first.csv", specification="mean-a"),
                  halfway="the mean of 2 fields could be 7.5"),
    "one_number_mean": Kind(
        one_number_mean, "undecided", "the mean of 2 fields could be 7.5, 8 or finer is",
        listed=deliver("first.csv", specification="mean-a"),
    ),
    "old_places": Kind(old_places, "undecided", "shows the place of",
                       before=prepare_again(LEAD, lead=True)),
    "overwritten": Kind(
        lambda order: (usual(order, **COARSE), [Shot(f"{order}_01_3.tif", place=f"{order} new")]),
        "undecided", "field 3: model says 7",
    ),
}  # fmt: skip
FURTHER: dict[str, Kind] = {
    # names that no one can read, and numbers that a slip made
    "stray_hyphens": Kind(beside("{o}-01-4.tif"), "undecided", ALIKE, halfway=ALIKE),
    "stray_blanks": Kind(beside("{o} 01 4.tif"), "undecided", ALIKE, halfway=ALIKE),
    "stray_folder": Kind(beside("{o}/Image 4.tif"), "undecided", ALIKE, halfway=ALIKE),
    "stray_later": Kind(beside_later("{o}-01-4.tif"), "undecided", ALIKE, halfway=ALONE),
    "slip": Kind(beside("{slip}_01_4.tif"), "undecided", ALIKE, halfway=ALIKE),
    "slip_repeats": Kind(beside("{slip}_01_1.tif"), "undecided", ALIKE, halfway=ALIKE),
    "slip_repeats_first": Kind(
        lambda order: ([Shot(f"7{order[1:]}_01_1.tif", **COARSE), *usual(order)], []),  # type: ignore[arg-type]
        "undecided", ALIKE, halfway=ALIKE,
    ),
    "slip_specimen": Kind(beside("{slip}_02_1.tif"), "undecided", ALIKE, halfway=ALIKE),
    # preparations
    "left_over": Kind(left_over, "undecided", "0 of 3 fields",
                      before=prepare_again(LEAD, lead=True)),
    "earlier_break": Kind(
        lambda order: prepared(order, 2, **COARSE), "undecided",
        "an earlier preparation: field 3 was G7, labelled by Ada",
        before=decide("Ada", "code", "G7"),
    ),
    # the mean
    "one_number_coarse": Kind(
        shown("G7", "G7", "G7", "G9-10", "G8", names=("1", "01", "001", "2", "3")), "undecided",
        "the mean of 3 fields could be 7.6", listed=deliver("first.csv", specification="mean-a"),
        halfway="the mean of 3 fields could be 7.6",
    ),
    "mean_coarse": Kind(
        shown("G7", "G7", "G9-10"), "undecided", "the mean of 3 fields could be 7.7",
        listed=deliver("first.csv", specification="mean-a"),
    ),
    "mean_either": Kind(first(codes=("G7", "G8")), "undecided",
                        "the mean of 3 fields could be 7.7",
                        listed=deliver("first.csv", specification="mean-a")),
    # fields
    "fourth_coarse": Kind(
        shown("G8", "G8", "G8", "G7"), "does_not_conform", "field 4 is G7, confirmed by Ada",
        before=decide("Ada", "code", "G7", number="4"),
    ),
    "coarse_alone": Kind(first(**COARSE), "undecided", "field 3: model says 7"),
    "all_coarse": Kind(shown("G7", "G7", "G7"), "undecided", "field 1: model says 7"),
    "too_fine_a_scale": Kind(
        first(um_per_px=0.1), "undecided", "field 3 was shot at 0.1 µm per pixel, 0.15 to 0.25 are"
    ),
    "unusual": Kind(first(strange=True), "undecided", "field 3"),
    "wide_set": Kind(first(codes=("G6", "G7", "G8")), "undecided", "field 3: model says 8"),
    "reshot_coarse": Kind(
        and_later(lambda order: Shot(f"again/{order}_01_3.tif", "G7", ("G7",))), "undecided",
        "field 3: model says 7", halfway=ALONE,
    ),
    "overwritten_by_coarse": Kind(
        lambda order: (usual(order), [
            Shot(f"{order}_01_3.tif", "G7", ("G7",), place=f"{order} new")
        ]),
        "undecided", "field 3: model says 7", halfway=ALONE,
    ),
    "cut_field": Kind(first(is_cut=True), "undecided", "_3.tif could not be used"),
    "unusable_alone": Kind(
        first(), "undecided", "field 3 is unusable (stained): prepare the specimen again",
        before=decide("Ada", "unusable", "stained"),
    ),
    # specimens and lists
    "second_specimen_coarse": Kind(
        lambda order: ([*usual(order), *of_second_specimen(order)[:2],
                        Shot(f"{order}_02_3.tif", "G7", ("G7",))], []),
        "undecided", "specimen 02: field 3: model says 7",
    ),
    "second_specimen_short": Kind(
        lambda order: ([*usual(order), *of_second_specimen(order)[:2]], []), "undecided",
        "specimen 02: 2 of 3 fields",
    ),
    "listed_second": Kind(
        first(), "undecided", "specimen 02: no images received",
        listed=deliver("first.csv", specimens=["01", "02"]),
    ),
    "listed_later": Kind(
        first(), "undecided", "specimen 02: no images received",
        listed=deliver("first.csv", specimens=["01"]),
        after=deliver("again.csv", specimens=["01", "02"]), halfway=ALONE,
    ),
    "counted": Kind(first(), "undecided", "1 of 3 specimens",
                    listed=deliver("first.csv", count=3)),
    # people
    "cannot_tell": Kind(
        first(**EITHER), "undecided", "field 3", before=decide("Ada", "cannot_tell", ""),
    ),
    "unsure_break": Kind(
        first(**COARSE), "undecided", "field 3: Ada was not sure of G7",
        before=decide("Ada", "code", "G7", unsure=True),
    ),
    "two_breaks": Kind(
        first(**COARSE), "does_not_conform", "field 3 is G7, confirmed by",
        before=decide("Ada", "code", "G7"), after=decide("Ben", "code", "G7"),
    ),
    "other_label_second": Kind(
        first(**COARSE), "undecided", "field 3 was G7, labelled by Ada",
        before=decide("Ada", "code", "G7"), after=decide("Ben", "code", "G8"),
    ),
    "superseded_by_reviewer": Kind(
        again_and(**EITHER), "undecided", "a replaced shot: field 3 could be 7",
        after=supersede("Ada"),
    ),
    "assigned_by_reviewer": Kind(
        lambda order: (usual(order, note={"order": f"{PARTNER}{order}"}), []), "undecided",
        "is named for", after=assign("Ada"),
    ),
}  # fmt: skip
ALL = HONEST | TRICKS
"""What each run of the tests plays; `FURTHER` and the honest oddities take as long again."""
