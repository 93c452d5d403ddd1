"""Honest oddities: what looks odd in a lab and is right, so that it must not hold an order.

Each kind is one order of a scripted shift. They conform, most of them without anybody's act.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scripted.kinds import (
    EITHER,
    FIELDS,
    FURTHER,
    HONEST,
    LEAD,
    TRICKS,
    Kind,
    Shot,
    again,
    and_later,
    both,
    decide,
    deliver,
    first,
    later,
    of_second_specimen,
    supersede,
    usual,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripted.kinds import Plan


def named(form: str) -> Plan:
    """Plan three fields with names of a form, in which {o} is the order and {n} the field."""
    return lambda order: ([Shot(form.format(o=order, n=n)) for n in range(1, FIELDS + 1)], [])


def more(n: int) -> Plan:
    """Plan more fields than are demanded."""
    return lambda order: ([Shot(f"{order}_01_{k}.tif") for k in range(1, n + 1)], [])


def late(n: int) -> Plan:
    """Plan the last n of three fields two hours later."""
    return lambda order: (usual(order)[: FIELDS - n], usual(order)[FIELDS - n :])


def of_microscopes(*fields: int) -> Plan:
    """Plan some of the fields on the second microscope."""

    def plan(order: str) -> tuple[list[Shot], list[Shot]]:
        shots = usual(order)
        return [
            replace(s, name=f"sem/{s.name}") if n in fields else s for n, s in enumerate(shots, 1)
        ], []

    return plan


def twice(make: Callable[[str], Shot]) -> Plan:
    """Plan three fields and a copy of one, all in the first half."""
    return lambda order: ([*usual(order), make(order)], [])


def confirm_all(by: str, code: str = "G8"):
    """Return the act of labelling all three fields."""
    return both(*(decide(by, "code", code, number=str(n)) for n in range(1, FIELDS + 1)))


def mean(*codes: str) -> Plan:
    """Plan fields of given codes."""
    return lambda order: (
        [Shot(f"{order}_01_{n}.tif", code, (code,)) for n, code in enumerate(codes, 1)],
        [],
    )


LISTED = {"specimens": ["01"]}
ODDITIES: dict[str, Kind] = {
    # names
    "subfolder": Kind(named("{o}/{o}_01_{n}.tif")),
    "deep_folder": Kind(named("2026/11/24/{o}_01_{n}.tif")),
    "folder_with_spaces": Kind(named("early shift/{o}_01_{n}.tif")),
    "umlaut_nfc": Kind(named("H\u00e4rterei/{o}_01_{n}.tif")),
    "umlaut_nfd": Kind(named("Ha\u0308rterei/{o}_01_{n}.tif")),
    "kanji": Kind(named("\u9244/{o}_01_{n}.tif")),
    "prefix": Kind(named("Probe {o}_01_{n}.tif")),
    "suffix": Kind(named("{o}_01_{n} 500x.tif")),
    "suffix_comma": Kind(named("{o}_01_{n} 0,2um.tif")),
    "suffix_date": Kind(named("{o}_01_{n} 2026-11-24.tif")),
    "letter_o_in_words": Kind(named("OO/{o}_01_{n} IO.tif")),
    "upper_extension": Kind(named("{o}_01_{n}.TIF")),
    "long_extension": Kind(named("{o}_01_{n}.tiff")),
    "zeros_in_field": Kind(named("{o}_01_00{n}.tif")),
    "zeros_in_specimen": Kind(named("{o}_001_{n}.tif")),
    "zeros_in_order": Kind(named("000{o}_01_{n}.tif")),
    "spelled_two_ways": Kind(lambda order: ([*usual(order)[:2], Shot(f"0{order}_1_3.tif")], [])),
    "brackets": Kind(named("{o}_01_{n} (final).tif")),
    "hash": Kind(named("{o}_01_{n} #1.tif")),
    "operator_folder": Kind(named("Ada/{o}_01_{n}.tif")),
    # notes
    "note_of_operator": Kind(first(note={"operator": "Ada"})),
    "note_that_agrees": Kind(lambda order: (usual(order, note={"order": order}), [])),
    "note_spelled": Kind(lambda order: (usual(order, note={"order": f" 0{order}."}), [])),
    "note_of_material": Kind(first(note={"material": "100Cr6"})),
    "note_of_field": Kind(first(note={"comment": "edge"})),
    # copies
    "copy_at_once": Kind(
        twice(lambda order: Shot(f"copy/{order}_01_2.tif", copy_of=f"{order}_01_2.tif"))
    ),
    "copy_spelled": Kind(
        twice(lambda order: Shot(f"0{order}_01_02.tif", copy_of=f"{order}_01_2.tif"))
    ),
    "copy_later": Kind(
        and_later(lambda order: Shot(f"usb/{order}_01_1.tif", copy_of=f"{order}_01_1.tif"))
    ),
    "two_copies": Kind(
        and_later(
            lambda order: Shot(f"a/{order}_01_1.tif", copy_of=f"{order}_01_1.tif"),
            lambda order: Shot(f"b/{order}_01_1.tif", copy_of=f"{order}_01_1.tif"),
        )
    ),
    # fields
    "four_fields": Kind(more(4)),
    "six_fields": Kind(more(6)),
    "reshot_same_number": Kind(and_later(again)),
    "reshot_same_place": Kind(
        and_later(
            lambda order: Shot(
                f"again/{order}_01_3.tif", place=f"{order}_01_3.tif", variant="brighter"
            )
        )
    ),
    "last_two_late": Kind(late(2)),
    "all_late": Kind(late(3)),
    "gap_in_numbers": Kind(lambda order: ([Shot(f"{order}_01_{n}.tif") for n in (1, 3, 7)], [])),
    "large_numbers": Kind(
        lambda order: ([Shot(f"{order}_01_{n}.tif") for n in (101, 102, 103)], [])
    ),
    "finer_than_demanded": Kind(mean("G9-10", "G9-10", "G9-10")),
    "fine_and_finer": Kind(mean("G8", "G9-10", "G8")),
    "smaller_scale": Kind(first(um_per_px=0.16)),
    "coarser_scale": Kind(first(um_per_px=0.24)),
    "either_confirmed": Kind(first(codes=("G8", "G9-10"))),
    "mean_fine": Kind(
        mean("G8", "G9-10", "G8"), listed=deliver("first.csv", specification="mean-a")
    ),
    "mean_balanced": Kind(
        mean("G7", "G9-10", "G8"),
        listed=deliver("first.csv", specification="mean-a"),
        before=decide("Ada", "code", "G9-10", number="2"),
    ),
    # microscopes
    "two_microscopes": Kind(of_microscopes(3)),
    "second_microscope": Kind(of_microscopes(1, 2, 3)),
    # lists
    "list_twice": Kind(
        first(), listed=both(deliver("a.csv", **LISTED), deliver("b.csv", **LISTED))
    ),
    "list_again_later": Kind(
        first(), listed=deliver("a.csv", **LISTED), after=deliver("b.csv", **LISTED)
    ),
    "list_spelled": Kind(first(), listed=deliver("a.csv", specimens=["1"])),
    "list_with_customer": Kind(first(), listed=deliver("a.csv", customer="Adler", **LISTED)),
    "list_of_count": Kind(first(), listed=deliver("a.csv", count=1)),
    "late_customer": Kind(first(), after=deliver("b.csv", customer="Adler")),
    "two_specimens_listed": Kind(
        lambda order: ([*usual(order), *of_second_specimen(order)], []),
        listed=deliver("a.csv", specimens=["01", "02"]),
    ),
    "two_specimens_unlisted": Kind(lambda order: ([*usual(order), *of_second_specimen(order)], [])),
    "specimen_added": Kind(
        lambda order: (usual(order), of_second_specimen(order)),
        listed=deliver("a.csv", **LISTED),
        after=deliver("b.csv", specimens=["01", "02"]),
    ),
    # people
    "all_confirmed": Kind(first(), before=confirm_all("Ada")),
    "confirmed_by_two": Kind(first(), before=both(confirm_all("Ada"), confirm_all("Ben"))),
    "confirmed_late": Kind(first(**EITHER), after=decide("Ada", "code", "G8")),
    "confirmed_by_lead": Kind(first(**EITHER), before=decide(LEAD, "code", "G8")),
    "finer_label": Kind(first(), before=decide("Ada", "code", "G9-10")),
    "label_next_hour": Kind(first(**EITHER), before=later(decide("Ada", "code", "G8"))),
    "unusual_and_decided": Kind(first(strange=True), after=decide(LEAD, "code", "G8")),
    "reshot_with_lead": Kind(
        and_later(again, **EITHER), after=supersede(LEAD, "stained", lead=True)
    ),
}
ODD = HONEST | {name: replace(kind, halfway=None) for name, kind in ODDITIES.items()}
"""How soon an odd order conforms is open; at the end it does."""
OF_SEM = ("two_microscopes", "second_microscope")
"""Kinds that the failed control check of a trick holds, as it has to."""
EVERY = {name: kind for name, kind in (ODD | TRICKS | FURTHER).items() if name not in OF_SEM}
"""All kinds of one shift."""
