"""Check every sentence of a statement against what is true in the world.

A sentence that no entry of `SENTENCES` knows is untrue, so that a new one needs its own proof here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hidden.ledger import BUNDLES, STRICT, Ledger, Name, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.orders.judge.assessed import Assessed, AssessedSpecimen
    from hidden.ledger import Micrograph

    Proof = Callable[["Scene", re.Match[str]], bool]


class Scene:
    """A world, an order of it and one of its specimens, or None for the order itself."""

    def __init__(
        self, world: Ledger, assessed: Assessed, specimen: AssessedSpecimen | None = None
    ) -> None:
        self.world, self.assessed, self.specimen = world, assessed, specimen
        self.number = plain(assessed.view.number)
        self.known = world.orders[self.number]
        facts = specimen.facts if specimen else None
        self.fields = (*facts.fields, *facts.earlier) if facts else ()
        self.counted = [
            one
            for one in (facts.fields if facts else ())
            if not one.superseded and not (one.decided and one.decided.kind == "unusable")
        ]

    def named(self, called: str) -> list[Micrograph]:
        """Return the micrographs of a field, by what a sentence calls it."""
        return [self.world.shown[one.id] for one in self.fields if one.called == called]

    def any_of(self, called: str, is_so: Callable[[Micrograph], bool]) -> bool:
        """Return whether something is true of a micrograph of a field."""
        return any(is_so(one) for one in self.named(called))

    def distinct(self) -> int:
        """Return how many places the counted fields truly show; one number is one field."""
        group: list[set[str]] = []
        for one in self.counted:
            keys = {str(self.world.shown[one.id].picture.place)}
            if one.name:
                keys.add(f"field {plain(one.name)}")
            touched = [some for some in group if some & keys]
            group = [some for some in group if not some & keys]
            group.append(keys.union(*touched))
        return len(group)

    def area(self) -> float:
        """Return an upper bound of the area that the counted fields show."""
        return sum(self.world.shown[one.id].picture.area_mm2 for one in self.counted)


def _last(one: Micrograph, kind: str, by: str = "") -> bool:
    return bool(one.standing) and one.standing[-1].kind == kind and by in {"", one.standing[-1].by}


def _labelled(one: Micrograph, said: str, by: str) -> bool:
    words = {"cannot tell": "cannot_tell"}
    return any(
        label.by == by and said in {label.said.replace("_", " "), label.said, label.kind}
        for label in one.given
    ) or any(label.kind == words.get(said) and label.by == by for label in one.given)


def _could(one: Micrograph, sizes: str) -> bool:
    """Return whether a picture's prediction set holds each of some sizes or codes."""
    return all(any(code in {size, f"G{size}"} for code in one.picture.codes)
               for size in sizes.split(" or "))  # fmt: skip


def _shows(scene: Scene, called: str, other: str, number: str, specimen: str) -> bool:
    """Return whether a field shows the place of a field of another specimen."""
    theirs = [
        one.picture.place
        for one in scene.world.shown.values()
        if Name(plain(number), specimen) in one.names
    ]
    return scene.any_of(called, lambda one: one.picture.place in theirs) and bool(other)


def _is_refused(scene: Scene, one: Micrograph, why: str) -> bool:
    """Return whether the reason why the model alone proves nothing is true."""
    since = scene.world.switched_on
    if why.startswith("automatic conformity is off"):
        return since is None
    if "names its bundle" in why:
        return one.bundle in why and one.bundle != BUNDLES[0]
    if "was not made after" in why:
        return since is not None and (one.made <= since[0] or scene.world.was_set_back)
    return "speaks of" in why and scene.known.law.limit != STRICT.limit


def _says_of_field(scene: Scene, called: str, why: str) -> bool:
    """Return whether the reason why a field could break the limit is true."""
    for pattern, is_so in FIELD_REASONS:
        if found := re.fullmatch(pattern, why):
            return scene.any_of(called, lambda one: is_so(one, found))  # noqa: B023 - used at once
    return False


FIELD_REASONS: list[tuple[str, Callable[[Micrograph, re.Match[str]], bool]]] = [
    (r"was (.+), labelled by ([\w. ]+)", lambda one, m: _labelled(one, m[1], m[2])),
    (r"was labelled (.+) by (\w+)", lambda one, m: _labelled(one, m[1], m[2])),
    (
        r"(\w+) was not sure of (.+)",
        lambda one, m: any(x.by == m[1] and x.said == m[2] and x.unsure for x in one.standing),
    ),
    (r"could be (.+)", lambda one, m: _could(one, m[1])),
    (r"is held \((.+)\)", lambda _one, m: "control check" in m[1]),
    (r"was unlike the reference images", lambda one, _m: one.picture.strange),
    (
        r"was not reviewed",
        lambda one, _m: not any(x.kind == "code" for x in one.standing),
    ),
]
FIELD = r"(field [0-9a-f]+)"
CODED = rf"{FIELD}(?: \(\S+\))?"
SENTENCES: list[tuple[str, Proof]] = [
    (
        r"(\d+) of (\d+) fields",
        lambda s, m: int(m[1]) == s.distinct() < int(m[2]) == s.known.law.fields,
    ),
    (
        rf"{CODED} and {CODED} show one place \(\d+% of the smaller one\): counted once",
        lambda s, m: s.any_of(
            m[1], lambda one: one.picture.place in {x.picture.place for x in s.named(m[2])}
        ),
    ),
    (
        r"(\d+) micrographs carry the field number (\S+): counted once",
        lambda s, m: int(m[1]) == len([one for one in s.counted if plain(one.name) == plain(m[2])]),
    ),
    (r"([\d.]+) of ([\d.]+) mm²", lambda s, m: float(m[1]) - 0.0005 <= s.area()),
    (
        r"(\d+) preparations, at most (\d+) are allowed by the specification",
        lambda s, m: int(m[2]) < int(m[1]) == len(s.known.preparations[s.specimen.view.name]),
    ),
    (
        r"its fields were judged by (\d+) bundles .*",
        lambda s, m: int(m[1]) == len({s.world.shown[one.id].bundle for one in s.counted}),
    ),
    (
        r"((?:field \w+, )*field \w+): the control check of .*",
        lambda s, m: (
            any(s.any_of(called, s.world.is_broken) for called in m[1].split(", "))
            or any(not ok for _, ok, _ in s.world.checks)
        ),
    ),
    (
        r"((?:field \w+, )*field \w+): no control check of LOM in the 26 h before it .*",
        lambda s, m: any(
            s.any_of(called, lambda one: not s.world.is_fresh(one)) for called in m[1].split(", ")
        ),
    ),
    (
        rf"{FIELD} shows the place of (field \w+) of order (\w+), specimen (\w+) .* a lead .*",
        lambda s, m: _shows(s, m[1], m[2], m[3], m[4]),
    ),
    (
        rf"{FIELD} shows the place of the micrograph (\w+), .* a lead decides .*",
        lambda s, m: s.any_of(
            m[1], lambda one: one.picture.place == s.world.shown[m[2]].picture.place
        ),
    ),
    (
        rf"{FIELD} awaits review.*",
        lambda s, m: s.any_of(m[1], lambda one: not one.standing),
    ),
    (
        rf"{FIELD} was called unusual \(.*\) by (\w+)",
        lambda s, m: s.any_of(m[1], lambda one: _last(one, "strange", m[2])),
    ),
    (
        rf"{FIELD}: (\w+) could not tell",
        lambda s, m: s.any_of(m[1], lambda one: _last(one, "cannot_tell", m[2])),
    ),
    (
        rf"{FIELD} is (\S+), (?:decided|confirmed) by ([\w. ]+): .* demanded",
        lambda s, m: s.any_of(m[1], lambda one: _labelled(one, m[2], m[3])),
    ),
    (
        rf"{FIELD}: model says (\S+) \(.+ %\)(?:, (.+) is possible;|,) limit is .+: confirm",
        lambda s, m: s.any_of(
            m[1], lambda one: _could(one, " or ".join(filter(None, (m[2], m[3]))))
        ),
    ),
    (
        rf"{FIELD} (was .+): a lead or two other reviewers decide",
        lambda s, m: _says_of_field(s, m[1], m[2]),
    ),
    (rf"{FIELD}: (\w+ was not sure of .+)", lambda s, m: _says_of_field(s, m[1], m[2])),
    (
        rf"(?:an earlier preparation|a replaced shot): {FIELD} (.+): a (?:lead decides|second) .*",
        lambda s, m: _says_of_field(s, m[1], m[2]),
    ),
    (
        rf"{FIELD} rests on the model alone, and (.*)",
        lambda s, m: s.any_of(m[1], lambda one: not one.standing and _is_refused(s, one, m[2])),
    ),
    (
        r"(\d+) fields rest on the model alone, and (.*)",
        lambda s, m: (
            int(m[1])
            <= len(
                [
                    one
                    for field in s.counted
                    if not (one := s.world.shown[field.id]).standing and _is_refused(s, one, m[2])
                ]
            )
        ),
    ),
    (
        rf"{FIELD} is unusable \(.*\): .*",
        lambda s, m: s.any_of(m[1], lambda one: _last(one, "unusable")),
    ),
    (
        r"(\d+) files? still to be read",
        lambda s, m: int(m[1]) <= len([one for one in s.world.unread if one.order == s.number]),
    ),
    (
        rf"{FIELD} is not yet compared with the other micrographs",
        lambda s, _m: s.world.is_uncompared,
    ),
    # Of the order itself.
    (
        r"specimen (\w+): no images received",
        lambda s, m: (
            m[1] in s.known.specimens
            and m[1] not in {one.view.name for one in s.assessed.specimens}
        ),
    ),
    (r"(\d+) of (\d+) specimens", lambda s, m: int(m[1]) < int(m[2]) == s.known.count),
    (
        r"(\w+) names the order and belongs to no specimen: .*",
        lambda s, m: len(s.world.shown[m[1]].names) > 1,
    ),
    (
        r"(\S+) was assigned to order (\w+), might be of this order and breaks its limit, .*",
        lambda s, m: (
            m[2] != s.number
            and any(name.order == m[2] for one in s.world.shown.values() for name in one.names)
        ),
    ),
    (
        r"micrograph (\w+) is named for specimen (\w+) by .*: a lead decides .*",
        lambda s, m: (
            Name(s.number, m[2]) in s.world.shown[m[1]].names and len(s.world.shown[m[1]].names) > 1
        ),
    ),
    (
        r"list (\S+) changes .* from .* to .*: a lead decides .*",
        lambda s, m: m[1] in s.known.changes,
    ),
    (
        r"a later list makes .* a lead decides .*",
        lambda s, _m: bool(s.known.changes),
    ),
    (
        r"no material, product or customer is known of it, so no specification limit applies",
        lambda s, _m: not s.assessed.view.specimens,
    ),
    (
        r"(\S+) could not be used: .*",
        lambda s, m: m[1] in s.world.lost.get(s.number, ()) or m[1] in s.world.replaced,
    ),
    (
        r"the order arrived at .*, after the time of a field or label .*: a lead reopens it .*",
        lambda s, _m: s.world.was_set_back,
    ),
    (
        r"the clock was behind when the order arrived, .*: a lead reopens it .*",
        lambda s, _m: s.world.was_set_back,
    ),
    (r"no images received", lambda s, _m: not s.assessed.specimens),
]


def untrue_reasons(world: Ledger, assessed: Assessed) -> Iterator[str]:
    """Yield what is given as a reason and is not true, and an order without any reason."""
    statement = assessed.statement
    joined = set()
    for specimen in assessed.specimens:
        scene = Scene(world, assessed, specimen)
        joined.add(f"specimen {specimen.view.name}: {'; '.join(specimen.statement.missing)}")
        for sentence in (*specimen.statement.missing, *specimen.statement.because):
            if not _is_true(scene, sentence):
                yield f"specimen {specimen.view.name}: {sentence}"
    scene = Scene(world, assessed)
    for sentence in statement.missing:
        if sentence not in joined and not _is_true(scene, sentence):
            yield sentence
    word = str(statement.conformity)
    if word == "undecided" and not statement.missing:
        yield "undecided without a reason"
    if word == "does_not_conform" and not any(
        picture.breaks for picture in scene.known.pictures.values()
    ):
        yield f"a fine order does not conform: {statement.because}"


def _is_true(scene: Scene, sentence: str) -> bool:
    for pattern, is_so in SENTENCES:
        if found := re.fullmatch(pattern, sentence):
            return is_so(scene, found)
    return False
