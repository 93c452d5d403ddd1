"""An alarm is raised when something changed, and hardly ever in all its nights when nothing did."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labs.lab import DAY, SETTINGS

from agent.nightly import write_report
from agent.nightly.facts.change_alarm import (
    BINS,
    Specimen,
    compute_prior,
    compute_tail,
    compute_threshold,
    draw_lot,
    find_bins,
    rank,
    watch_night,
    weigh,
)
from agent.nightly.facts.collect import gather
from agent.nightly.facts.snapshot import from_text, to_text
from agent.nightly.page.night_charts import ACKNOWLEDGED, find_open_alarms
from agent.nightly.page.verdict import build_digest
from agent.store import Decision

FIRST = date(2026, 9, 1)
WHERE = {"lab": "", "source": "LOM-07", "furnace": "F1", "class": "G8"}


def specimens(worths, *, measure="unusual", start=0, where=WHERE):
    """Make specimens of one field each from p-values, or from 0 (disagreed) and 1 (agreed)."""
    return [
        Specimen(
            measure,
            f"{start + n}",
            where,
            int(find_bins(np.array(worth))) if measure == "unusual" else int(worth),
            1,
        )
        for n, worth in enumerate(worths)
    ]


def watch(nights, groups=(), *, measure="unusual", bundle="b", acknowledged=None, first=FIRST):
    """Watch some nights of worths; return the groups after each."""
    after = []
    for number, worths in enumerate(nights):
        night = first + timedelta(days=number)
        start = 1000 * night.toordinal()
        groups = watch_night(
            groups,
            specimens(worths, measure=measure, start=start),
            night,
            bundle=bundle,
            acknowledged=acknowledged or {},
        )
        after.append(groups)
    return after


def quiet_nights(nights, *, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(1, 301, (nights, 10)) / 300


# --- the level ----------------------------------------------------------------------------------


def test_a_lab_without_a_change_hardly_ever_sees_an_alarm_however_many_nights():
    """Of 4000 groups of the largest level, each 0.25 %, watched for 300 specimens."""
    rng, labs = np.random.default_rng(1), 4000
    alarms = dict.fromkeys(BINS, 0)
    for measure, bins in BINS.items():
        share = rng.dirichlet(np.ones(bins), labs).cumsum(axis=1)  # each lab as it is
        counts, evidence = np.zeros((labs, bins), np.int64), np.zeros(labs)
        is_alarm = np.zeros(labs, bool)
        for number in range(300):
            if number % 10 == 0:
                evidence = evidence + compute_prior(number // 10 + 1)
            worth = (share < rng.random((labs, 1))).sum(axis=1).clip(max=bins - 1)
            evidence = weigh(measure, counts, evidence, worth, rng.random(labs))
            counts[np.arange(labs), worth] += 1
            martingale = evidence + compute_tail(number // 10 + 2)
            is_alarm |= martingale >= compute_threshold(1)
        alarms[measure] = int(is_alarm.sum())

    assert all(n <= 20 for n in alarms.values()), alarms  # 10 are expected at most


@given(st.lists(st.integers(0, 60), min_size=32, max_size=32), st.sampled_from(sorted(BINS)))
@settings(max_examples=40)
def test_no_bet_is_expected_to_win_where_nothing_changed(earlier, measure):
    counts = np.array([earlier[: BINS[measure]]])
    total = counts.sum() + 1
    steps = (np.arange(2000) + 0.5) / 2000

    expected = 0.0  # an exchangeable specimen is in a bin as often as one of all there are
    upto = 0
    for number, n in enumerate(counts[0].tolist()):
        low, high = upto / total, (upto + n + 1) / total
        lots = low + (high - low) * steps
        factors = weigh(
            measure,
            np.repeat(counts, len(steps), axis=0),
            np.ones(len(steps)),
            np.full(len(steps), number),
            steps,
        )
        inside = lots <= (upto + n + (number == BINS[measure] - 1)) / total
        expected += float((factors * inside).mean() * (high - low))
        upto += n

    assert expected <= 1.02  # sums over a grid


def test_the_levels_of_all_groups_that_ever_begin_are_one_in_a_hundred():
    both = sum(2 / compute_threshold(number) for number in range(1, 100_000))

    assert both == pytest.approx(0.01, rel=1e-3)
    assert sum(map(compute_prior, range(1, 1000))) + compute_tail(1000) == pytest.approx(1.0)


def test_the_evidence_is_the_sum_over_all_nights_a_change_may_have_begun_with():
    nights = quiet_nights(5)
    group = watch(nights)[-1][0]

    counts, factors = np.zeros((1, BINS["unusual"]), np.int64), []
    for number, worths in enumerate(nights):
        product = 1.0
        start = 1000 * (FIRST + timedelta(days=number)).toordinal()
        for n, worth in enumerate(worths):
            bins = find_bins(np.array([worth]))
            lot = np.array([draw_lot(f"unusual\nlab\n{start + n}")])
            product *= float(weigh("unusual", counts, np.ones(1), bins, lot)[0])
            counts[0, bins[0]] += 1
        factors.append(product)
    expected = sum(compute_prior(s + 1) * float(np.prod(factors[s:])) for s in range(5))

    assert group.evidence == pytest.approx(expected)


def test_ranks_are_those_of_mapie_and_its_martingale_sees_the_same_change():
    mapie = pytest.importorskip("mapie.exchangeability_testing")
    witness = mapie.OnlineMartingaleTest(
        task="regression", test_level=0.01, random_state=0, warn=False
    )
    rng = np.random.default_rng(2)
    worths = np.concatenate([rng.permutation(10_000)[:150] / 10_000, rng.random(40) / 1e4])
    order = np.argsort(np.argsort(worths))  # no ties: each its own bin
    counts, found = np.zeros((1, len(worths)), np.int64), []
    for number, place in enumerate(order):
        lot = rng.random(1)
        ours = float(rank(counts, np.array([place]), lot)[0])
        counts[0, place] += 1
        theirs = witness.compute_p_value(1 - worths[number], 1 - worths[:number])
        assert abs(ours - theirs) <= 1.001 / (number + 1)
        found.append(witness.update_simple_jumper_martingale(ours))

    assert max(found[:150]) < 100 <= max(found)


# --- what is found ------------------------------------------------------------------------------


def test_a_new_etch_is_found_within_thirty_micrographs_with_the_night_it_began():
    groups = watch(quiet_nights(100))[-1]
    etched = [[0.004] * 10] * 3

    *_, after = watch(etched, groups, first=date(2026, 12, 10))

    alarmed = {group.kind: group for group in after if group.alarm}
    assert "lab" in alarmed
    assert alarmed["lab"].begin.since == date(2026, 12, 10)
    assert alarmed["lab"].begin.micrographs == 30
    assert alarmed["lab"].alarm <= date(2026, 12, 12)
    assert not any(group.alarm for group in groups)


def test_only_the_source_that_changed_alarms():
    groups, rng = (), np.random.default_rng(3)
    for number in range(80):
        of_night = [
            *specimens(rng.random(5) + 1e-3, start=1000 * number, where={"source": "A"}),
            *specimens(
                rng.random(5) * (1e-3 if number >= 75 else 1) + 1e-4,
                start=1000 * number + 500,
                where={"source": "B"},
            ),
        ]
        night = FIRST + timedelta(days=number)
        groups = watch_night(groups, of_night, night, bundle="b", acknowledged={})

    assert [group.name for group in groups if group.alarm] == ["B"]


def test_answers_that_are_wrong_more_often_alarm_and_rarer_errors_do_not():
    rng = np.random.default_rng(4)
    usual = watch((rng.random((60, 20)) >= 0.03), measure="agreement")[-1]

    worse = watch((rng.random((40, 20)) >= 0.15), usual, measure="agreement",
                  first=date(2026, 11, 1))[-1]  # fmt: skip
    better = watch((rng.random((40, 20)) >= 0.0), usual, measure="agreement",
                   first=date(2026, 11, 1))[-1]  # fmt: skip

    assert worse[0].alarm
    assert worse[0].begin.since >= date(2026, 10, 15)
    assert not any(group.alarm for group in better)


def test_an_alarm_stays_until_it_is_acknowledged_and_begins_anew_from_there():
    groups = watch([*quiet_nights(60), [0.004] * 30])[-1]
    alarm = groups[0].alarm

    still = watch([[0.5] * 10], groups, first=alarm + timedelta(days=1))[-1]
    anew = watch(
        [[0.004] * 10], still, first=alarm + timedelta(days=2), acknowledged={"unusual": alarm}
    )[-1]

    assert (still[0].alarm, still[0].begin.micrographs) == (alarm, 40)
    assert (anew[0].alarm, anew[0].nights, sum(anew[0].counts)) == (None, 1, 10)
    assert anew[0].number > max(group.number for group in groups)


def test_another_bundle_begins_anew():
    groups = watch(quiet_nights(20))[-1]

    other = watch([[0.004] * 10], groups, bundle="other", first=date(2026, 12, 1))[-1]

    assert (other[0].bundle, sum(other[0].counts)) == ("other", 10)
    assert other[0].number > groups[0].number


# --- in the report ------------------------------------------------------------------------------


@pytest.fixture
def alarmed(lab):
    """A lab after a hundred quiet nights whose next night is unusual in all its micrographs."""
    evening = DAY - timedelta(days=1)
    bundle = "20261101-0badcafe"
    lab.store.promotions.promote(bundle, by="Ann", reason="first", at=evening, metrics={})
    lab.take(at=evening, material="100Cr6")
    facts = gather(lab.store, evening.date(), SETTINGS, now=DAY)
    where = {"lab": "", "source": lab.source}
    groups = ()
    for number, worths in enumerate(quiet_nights(60)):
        night = FIRST + timedelta(days=number)
        of_night = specimens(worths, start=1000 * number, where=where)
        groups = watch_night(groups, of_night, night, bundle=bundle, acknowledged={})
    facts = replace(facts, charts=replace(facts.charts, groups=groups))
    lab.store.nightly_reports.freeze(evening.date(), to_text(facts), at=evening)
    for number in range(15):
        lab.take(at=DAY + timedelta(minutes=number), reasons=("strange",), order="1",
                 specimen=str(number), field="1")  # fmt: skip
    return lab


def write(lab, day):
    now = day + timedelta(hours=20)
    written = write_report(lab.store, lab.archive, lab.reports, day.date(), SETTINGS, now=now)
    return written, from_text(lab.store.nightly_reports.find(day.date()).facts)


def test_an_alarm_is_in_verdict_notice_and_mail_until_a_lead_acknowledges_it(alarmed):
    written, facts = write(alarmed, DAY)
    night, alarms = find_open_alarms(alarmed.store)

    line = next(line for line in written.lines if "more unusual than those before" in line)
    assert line.startswith("15 micrographs since 24 Nov are more unusual than those before (the")
    assert "the whole lab, source LOM-07" in line
    assert any(line.startswith("Alarm: 15 ") for line in build_digest(facts, "here"))
    assert (night, {group.kind for group in alarms}) == (DAY.date(), {"lab", "source"})

    alarmed.store.records.add(
        ACKNOWLEDGED, "unusual", by="Ann", at=DAY + timedelta(days=1),
        facts={"night": DAY.date().isoformat(), "reason": "new etchant"},
    )  # fmt: skip

    assert find_open_alarms(alarmed.store)[1] == []
    later, _facts = write(alarmed, DAY + timedelta(days=2))
    assert not any("more unusual than" in line for line in later.lines)


def test_blind_decisions_of_the_night_are_counted_by_source(lab):
    first, second = lab.take("G8", order="1", specimen="1"), lab.take("G8")
    lab.take("G8")
    lab.store.labels.decide(first, Decision("code", "Ann", code="G8", blind=True), at=DAY)
    lab.store.labels.decide(second, Decision("code", "Ann", code="G7", blind=True), at=DAY)

    facts = gather(lab.store, DAY.date(), SETTINGS, now=datetime(2026, 11, 25, 6, tzinfo=UTC))

    counted = {g.kind: g.counts for g in facts.charts.groups if g.measure == "agreement"}
    assert counted == {"lab": (1, 1), "source": (1, 1), "class": (1, 1)}
