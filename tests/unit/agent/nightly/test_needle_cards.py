"""A report's card shows the needles of a micrograph, the longest in pictures, marked as a trial."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, date, datetime

import numpy as np
import pytest
from drawn.needle_samples import measured, not_measured
from labs.lab import RING_A, SETTINGS, TAXONOMY, crop_of

from agent.demo.micrograph import draw_micrograph
from agent.needles.measuring import NeedleMeasurer
from agent.nightly import write_report
from agent.nightly.facts.collect import gather
from agent.nightly.facts.snapshot import from_text, to_text
from agent.nightly.page.embedded_images import NEEDLE_RGB, SIDE_PX, draw_needle
from agent.nightly.page.micrograph_rows import KEPT_BINS
from agent.orders import Specifications
from agent.orders.judge.assessed import OrderPolicy

NIGHT = date(2026, 11, 24)
AFTERWARDS = datetime(2026, 11, 25, 6, 0, tzinfo=UTC)
LIMITED = RING_A.model_copy(update={"needle_limit": "L90 <= 18 µm"})
WITH_ORDERS = dataclasses.replace(SETTINGS, lab=OrderPolicy(Specifications((LIMITED,)), TAXONOMY))


def write(lab, settings=WITH_ORDERS):
    written = write_report(lab.store, lab.archive, lab.reports, NIGHT, settings, now=AFTERWARDS)
    return written.path.read_text("utf-8")


def card_of(page: str) -> str:
    (found,) = re.findall(r'<details class="card".*?</details>', page, re.DOTALL)
    return found


@pytest.mark.slow  # the network
def test_a_card_shows_distribution_limit_and_the_five_longest(lab):
    drawn = draw_micrograph("G8", seed=902, size=(700, 550), bar=None, border=False)
    crop = dataclasses.replace(crop_of("ab" * 32, drawn.pixels), um_per_px=0.2)
    field = NeedleMeasurer().measure(crop)
    told = {"order": "4711", "specimen": "01", "field": "1", "material": "100Cr6"}
    lab.take(
        "G8", needles=field, pixels=drawn.pixels, um_per_px=0.2, reasons=("uncertain",), **told
    )

    card = card_of(write(lab))

    assert "trial, not calibrated here" in card
    assert f"L90 {field.l90_um:.1f} µm" in card
    assert 'stroke-dasharray="4 3"' in card
    assert card.count(" µm, its axis drawn") == 5
    assert f"Needle of {field.longest[0].length_um:.1f} µm" in card


@pytest.mark.parametrize(
    ("reason", "sentence", "unsaid"),
    [
        (
            "too_few",
            "Needles not measured: fewer than 30 complete needles",
            "its axis drawn",
        ),
        ("lath_martensite", "Lath martensite: not measured.", "no separate needles"),
    ],
)
def test_a_field_that_was_not_measured_has_its_own_reason(lab, reason, sentence, unsaid):
    lab.take("G8", needles=not_measured(reason), reasons=("uncertain",))

    card = card_of(write(lab, SETTINGS))

    assert sentence in card
    assert unsaid not in card


def test_a_size_that_the_needles_contradict_is_the_reason_of_the_card(lab):
    lab.take("G8", needles=measured(), reasons=("needles_disagree",))

    card = card_of(write(lab, SETTINGS))

    assert "Size number and needle lengths disagree" in card


def test_a_control_sample_hides_its_needles(lab):
    lab.take("G8", needles=measured(), reasons=("control_sample",))

    assert "trial, not calibrated here" not in card_of(write(lab, SETTINGS))


def test_the_facts_of_a_night_keep_the_needles(lab):
    told = {"order": "4711", "specimen": "01", "field": "1", "material": "100Cr6"}
    lab.take("G8", needles=measured(2), **told)
    lab.take("G8", needles=not_measured("evidence_disagrees"))
    lab.take("G8")

    facts = gather(lab.store, NIGHT, WITH_ORDERS, now=AFTERWARDS)

    first, second, third = (micrograph.needles for micrograph in facts.micrographs)
    assert (first.l90_um, facts.needle_limits) == (
        measured(2).l90_um,
        {facts.micrographs[0].id: 18},
    )
    assert first.histogram.bins <= KEPT_BINS
    assert sum(first.histogram.by_area) == pytest.approx(sum(measured(2).histogram.by_area))
    assert (second.l90_um, second.longest) == (None, ())
    assert "intercept of 2 µm" in second.reason_message.in_english()
    assert third is None
    assert to_text(from_text(to_text(facts))) == to_text(facts)


def test_the_line_of_a_needle_that_is_not_reliable_is_dashed() -> None:
    crop, line = np.full((200, 300, 3), 120, np.uint8), [(30.0, 100.0), (270.0, 100.0)]

    solid, dashed = (draw_needle(crop, line, is_dashed=way) for way in (False, True))

    middle = slice(SIDE_PX // 2 - 1, SIDE_PX // 2 + 1)
    drawn = [(each[middle] == NEEDLE_RGB).all(axis=2).any(axis=0) for each in (solid, dashed)]
    gaps = [int((np.diff(row[30:120].astype(int)) < 0).sum()) for row in drawn]
    assert gaps[0] == 0
    assert gaps[1] >= 4


def test_the_cut_out_shows_the_axis_also_where_the_needle_reaches_the_border() -> None:
    crop = np.full((200, 300, 3), 120, np.uint8)

    picture = draw_needle(crop, [(2.0, 5.0), (40.0, 60.0), (90.0, 110.0)])

    assert picture.shape == (SIDE_PX, SIDE_PX, 3)
    assert (picture == NEEDLE_RGB).all(axis=2).sum() > SIDE_PX / 2
    assert (picture[:5, :5] < 40).all()
