"""Raise an alarm when micrographs or answers changed, however often somebody looks at it.

Each specimen of a night is ranked among the earlier ones of its group: its p-value is uniform and
independent of those before it as long as nothing changed, whatever the finite reference images are.
Bets against that are collected over all nights at which a change may have begun. Their sum is a
test martingale, so by Ville's inequality it reaches 1 / level at any time with a chance of at most
`level`. The level of `FALSE_ALARM` is shared by both measures and by every group that ever begins:
of a hundred labs, at most one ever sees a false alarm, however many nights somebody looks.

Source:
    Vovk, Gammerman and Shafer 2005, Algorithmic Learning in a Random World, ch. 7 (rank p-values
    with ties drawn by lot); Shin, Ramdas and Rinaldo 2024, E-detectors (sums over the begin of a
    change), here with weights that sum to 1, since a sum without them alarms sooner or later.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from hashlib import sha256
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.store import LabelledMicrograph, MicrographView

Floats = NDArray[np.float64]

FALSE_ALARM = 0.01  # share of labs without a change that ever see an alarm
MEASURES = ("unusual", "agreement")
BINS = {"unusual": 32, "agreement": 2}
BINS_PER_DECADE = 8
POWER = 0.2
"""Bet on p-values: the density c p^(c - 1) with this c."""
MARGIN = 2.0
"""Nights may have so many times as many unusual specimens as usual, and it is no change."""
SHIFT = 0.05
"""Bet on answers: reviewer and model disagree so much more often than before, as a share."""
LEAST_COUNTED = 50
"""Specimens of a group before a bet on its answers."""


def compute_threshold(number: int) -> float:
    """Return the evidence at which a group alarms.

    Args:
        number: Of the group among all of its measure that ever began, from 1; their levels sum to
            half of `FALSE_ALARM`.
    """
    return len(MEASURES) * number * (number + 1) / FALSE_ALARM


def compute_prior(start: int) -> float:
    """Return the weight of the n-th night of a group as the begin of a change, n from 1.

    All weights together are 1, and they fall about as slowly as such weights can.
    """
    return compute_tail(start) - compute_tail(start + 1)


def compute_tail(start: int) -> float:
    """Return the weight of the n-th night and all later ones as the begin of a change.

    Together with the evidence it is the test martingale.
    """
    return float(1 / (1 + np.log(start)))


def find_bins(p_values: Floats) -> NDArray[np.int64]:
    """Return the bins of p-values in (0, 1], 0 the most unusual: ranks are counted in bins."""
    steps = (-np.log10(p_values) * BINS_PER_DECADE).astype(np.int64)
    bins: NDArray[np.int64] = np.maximum(0, BINS["unusual"] - 1 - steps)
    return bins


def draw_lot(key: str) -> float:
    """Return the number in (0, 1) that decides a tie, the same for the same key at any time."""
    return (int.from_bytes(sha256(key.encode()).digest()[:8]) + 0.5) / 2**64


def rank(counts: NDArray[np.int64], bins: NDArray[np.int64], lots: Floats) -> Floats:
    """Return the p-values of specimens among the earlier ones of their groups.

    Args:
        counts: (groups, bins) earlier specimens, the worst bin first.
        bins: (groups,) bin of the specimen.
        lots: (groups,) number in (0, 1) that decides ties.
    """
    row = np.arange(len(bins))
    upto = np.cumsum(counts, axis=1)  # (groups, bins)
    tied = counts[row, bins]
    p_values: Floats = (upto[row, bins] - tied + lots * (tied + 1)) / (upto[:, -1] + 1)
    return p_values


def weigh(
    measure: str,
    counts: NDArray[np.int64],
    evidence: Floats,
    bins: NDArray[np.int64],
    lots: Floats,
) -> Floats:
    """Return the evidence of groups after one more specimen of each.

    Args:
        measure: "unusual" or "agreement".
        counts: (groups, bins) earlier specimens, the worst bin first.
        evidence: (groups,) before it, the weight of a begin tonight included.
        bins: (groups,) bin of the specimen.
        lots: (groups,) number in (0, 1) that decides ties.
    """
    total = counts.sum(axis=1)
    p_values = rank(counts, bins, lots)
    if measure == "unusual":
        return evidence * POWER * np.minimum(1.0, MARGIN * p_values) ** (POWER - 1)
    usual = (counts[:, 0] + 0.5) / (total + 1)
    more = np.minimum(usual + SHIFT, (1 + usual) / 2)
    factor = np.where(p_values <= usual, more / usual, (1 - more) / (1 - usual))
    grown: Floats = evidence * np.where(total < LEAST_COUNTED, 1.0, factor)
    return grown


class Begin(NamedTuple):
    """The most likely begin of a change.

    Args:
        weight: Its part of the evidence.
        since: Its night.
        micrographs: Since then.
    """

    weight: float
    since: date
    micrographs: int


@dataclass(frozen=True, slots=True)
class Group:
    """What is known of one source, furnace, class, or of the whole lab, by one measure.

    Args:
        measure: "unusual" or "agreement".
        kind: "lab", "source", "furnace" or "class".
        name: Of the source, furnace or class; "" of the lab.
        bundle: Whose answers they are; another one in use starts from nothing.
        number: See `compute_threshold`.
        nights: With specimens, so far.
        counts: Specimens per bin, the worst bin first.
        evidence: With the weight of later begins it is the test martingale.
        begin: The most likely begin of a change, None before the first night.
        alarm: The night that raised it, or None. It stays until a lead acknowledges it.
    """

    measure: str
    kind: str
    name: str
    bundle: str
    number: int
    nights: int
    counts: tuple[int, ...]
    evidence: float
    begin: Begin | None = None
    alarm: date | None = None


class Specimen(NamedTuple):
    """A specimen in one night, as the groups that it belongs to count it.

    Args:
        measure: As of `Group`.
        key: Decides ties.
        groups: Kind → name, of those that are known.
        bin: Of its worth, 0 the worst.
        micrographs: How many it is made of.
    """

    measure: str
    key: str
    groups: Mapping[str, str]
    bin: int
    micrographs: int


def list_reported(micrographs: Iterable[MicrographView], bundle: str) -> Iterator[Specimen]:
    """Yield a night's specimens with the median of their p-values, of one bundle."""
    fields: dict[tuple[str, str], list[MicrographView]] = defaultdict(list)
    for view in micrographs:
        if view.result.bundle == bundle and view.result.strangeness.p_value is not None:
            data = view.process_data
            key = f"{data.get('order', '')}\n{data['specimen']}" if "specimen" in data else view.id
            fields[view.source, key].append(view)
    for (source, _key), views in fields.items():
        p_values = sorted(view.result.strangeness.p_value or 1.0 for view in views)
        codes = Counter(view.result.structure_code or "" for view in views)
        yield Specimen(
            "unusual",
            views[0].id,
            _name_groups(source, views[0].process_extra, codes.most_common(1)[0][0]),
            int(find_bins(np.array(p_values[(len(views) - 1) // 2]))),
            len(views),
        )


def list_reviewed(
    labelled: Iterable[LabelledMicrograph], after: datetime, until: datetime
) -> Iterator[Specimen]:
    """Yield the specimens of the blind decisions in (after, until]: disagreed in any field or not.

    A decision taken with the answer in view leans to it, so only blind ones count.
    """
    fields: dict[str, list[LabelledMicrograph]] = defaultdict(list)
    for entry in sorted(labelled, key=lambda entry: entry.label.at):
        is_of_night = after < entry.label.at <= until
        is_answered = entry.label.kind == "code" and entry.model_code is not None
        if entry.origin == "watch" and entry.label.blind and is_of_night and is_answered:
            fields[entry.group].append(entry)
    for entries in fields.values():
        first = entries[0]
        agrees = all(entry.label.code == entry.model_code for entry in entries)
        names = _name_groups(first.source, first.process_extra, first.model_code or "")
        yield Specimen("agreement", first.id, names, int(agrees), len(entries))


def _name_groups(source: str, extra: Mapping[str, object], code: str) -> dict[str, str]:
    known = {"source": source, "furnace": str(extra.get("furnace", "")), "class": code}
    return {"lab": "", **{kind: name for kind, name in known.items() if name}}


def watch_night(
    groups: Sequence[Group],
    specimens: Iterable[Specimen],
    night: date,
    *,
    bundle: str,
    acknowledged: Mapping[str, date],
) -> tuple[Group, ...]:
    """Return the groups after one more night.

    Args:
        groups: After the night before.
        specimens: Of the night, in order.
        night: Its date.
        bundle: In use.
        acknowledged: Measure → the newest night whose alarms a lead acknowledged: their groups
            start from nothing.
    """
    begun = {m: max((g.number for g in groups if g.measure == m), default=0) for m in MEASURES}
    known: dict[tuple[str, str, str], Group] = {}
    for group in groups:
        key = group.measure, group.kind, group.name
        known[key] = group
        if _is_settled(group, acknowledged):
            begun[group.measure] += 1
            known[key] = _begin(*key, bundle=bundle, number=begun[group.measure])
    met: set[tuple[str, str, str]] = set()
    for specimen in specimens:
        for kind, name in specimen.groups.items():
            key = specimen.measure, kind, name
            own = known.get(key)
            if own is None or (own.bundle != bundle and own.alarm is None):
                begun[specimen.measure] += 1
                own = _begin(*key, bundle=bundle, number=begun[specimen.measure])
            if own.alarm is None and key not in met:
                own = _begin_night(own, night)
            met.add(key)
            known[key] = _count(own, specimen, night)
    return tuple(known.values())


def list_open_alarms(groups: Iterable[Group], acknowledged: Mapping[str, date]) -> list[Group]:
    """Return the groups whose alarm no lead has acknowledged, the widest group first."""
    return [g for g in groups if g.alarm is not None and not _is_settled(g, acknowledged)]


def _is_settled(group: Group, acknowledged: Mapping[str, date]) -> bool:
    settled = acknowledged.get(group.measure)
    return group.alarm is not None and settled is not None and group.alarm <= settled


def _begin(measure: str, kind: str, name: str, *, bundle: str, number: int) -> Group:
    return Group(measure, kind, name, bundle, number, 0, (0,) * BINS[measure], 0.0)


def _begin_night(group: Group, night: date) -> Group:
    """Return a group to which this night is one more that a change may have begun with."""
    nights = group.nights + 1
    weight = compute_prior(nights)
    begin = group.begin
    if begin is None or weight > begin.weight:
        begin = Begin(weight, night, 0)
    return replace(group, nights=nights, evidence=group.evidence + weight, begin=begin)


def _count(group: Group, specimen: Specimen, night: date) -> Group:
    weight, since, micrographs = group.begin or Begin(0.0, night, 0)
    micrographs += specimen.micrographs
    if group.alarm is not None:
        return replace(group, begin=Begin(weight, since, micrographs))
    lot = draw_lot(f"{group.measure}\n{group.kind}\n{specimen.key}")
    counts, bins = np.array([group.counts]), np.array([specimen.bin])
    factor = float(weigh(group.measure, counts, np.ones(1), bins, np.array([lot]))[0])
    evidence = group.evidence * factor
    counts[0, specimen.bin] += 1
    martingale = evidence + compute_tail(group.nights + 1)
    return replace(
        group,
        counts=tuple(counts[0].tolist()),
        evidence=evidence,
        begin=Begin(weight * factor, since, micrographs),
        alarm=night if martingale >= compute_threshold(group.number) else None,
    )
