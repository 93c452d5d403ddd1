"""Each new micrograph is measured once, in the worker that judges it, where the lab wants it."""

from dataclasses import replace

import cv2
import pytest
from drawn.needle_samples import measured, not_measured
from labs.pipeline import Bench, Parrot

from agent.demo.micrograph import draw_micrograph
from agent.needles import LengthCorrection, NeedleStatus, SizeRule
from agent.needles.measuring import NeedleMeasurer
from agent.pipeline import NeedleMeasuring
from agent.triage import Handling
from model import default_taxonomy


class Named(Parrot):
    """A classifier that knows its taxonomy, as a bundle does."""

    taxonomy = default_taxonomy()


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.store.close()


def measuring(field):
    return NeedleMeasuring(lambda _crop: field, SizeRule(14.0, 2.0))


def draw(bench, name, code, seed):
    drawn = draw_micrograph(code, seed=seed, size=(700, 550), bar=None, border=False)
    pixels = cv2.cvtColor(drawn.pixels, cv2.COLOR_RGB2BGR)
    (bench.source / name).write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def find_needles(bench):
    views = bench.views()
    return views, bench.store.needle_fields.list_of([view.result.id for view in views])


def test_a_drawn_micrograph_is_stored_with_its_needles(bench):
    draw(bench, "a.png", "G8", 902)
    bench.pipeline = bench.made(
        classifier=Named(), needles=NeedleMeasuring(NeedleMeasurer().measure)
    )

    bench.take()

    (view,), needles = find_needles(bench)
    field = needles[view.result.id]
    assert (field.status, field.calibration) == (NeedleStatus.MEASURED, None)
    assert field.l50_um < field.l90_um < field.l99_um <= field.maximum_um + 1
    lengths = [needle.length_um for needle in field.longest]
    assert 1 <= len(lengths) <= 5
    assert field.maximum_um >= lengths[0] == max(lengths)
    assert field.area_um2 == pytest.approx(700 * 550 * 0.2**2)
    assert all(0 <= x <= 700 and 0 <= y <= 550 for x, y in field.longest[0].line_px)
    assert sum(field.histogram.by_number) >= field.needles
    assert view.result.handling == Handling.AUTOMATIC


def test_where_it_is_switched_off_nothing_is_measured(bench):
    bench.export("a.png")

    bench.take()

    views, needles = find_needles(bench)
    assert (len(views), needles) == (1, {})


def test_a_size_that_the_lengths_contradict_goes_to_review_with_both_numbers(bench):
    bench.export("a.png")
    coarse = replace(measured(), l90_um=31.0)
    bench.pipeline = bench.made(classifier=Named(), needles=measuring(coarse))

    bench.take()

    (view,), needles = find_needles(bench)
    assert (view.result.handling, view.result.reasons) == (Handling.REVIEW, ("needles_disagree",))
    assert view.result.needles_conflict.in_english() == (
        "size 8, but L90 = 31 µm, not calibrated here (expected 7 to 28 µm)"
    )
    assert needles[view.result.id] == coarse


def test_lengths_that_agree_with_the_size_bring_no_review(bench):
    bench.export("a.png")
    bench.pipeline = bench.made(
        classifier=Named(), needles=measuring(replace(measured(), l90_um=15.0))
    )

    bench.take()

    (view,) = bench.views()
    assert (view.result.handling, str(view.result.needles_conflict)) == (Handling.AUTOMATIC, "")


@pytest.mark.parametrize(
    ("reason", "title", "stored"),
    [
        ("no_needles", "martensitic 100Cr6", "lath_martensite"),
        ("no_needles", "bainitic 100Cr6", "no_needles"),
        ("too_few", "martensitic 100Cr6", "too_few"),
    ],
)
def test_martensite_in_which_no_needles_are_found_is_named_as_laths(bench, reason, title, stored):
    class Titled(Named):
        taxonomy = replace(
            default_taxonomy(),
            subtypes=tuple(
                replace(s, title=title, title_de="") for s in default_taxonomy().subtypes
            ),
        )

    bench.export("a.png")
    bench.pipeline = bench.made(classifier=Titled(), needles=measuring(not_measured(reason)))

    bench.take()

    (view,), needles = find_needles(bench)
    assert needles[view.result.id].reason == stored


def test_without_a_bundle_the_lengths_are_stored_and_contradict_nothing(bench):
    bench.export("a.png")
    bench.pipeline = bench.made(classifier=None, needles=measuring(measured()))

    bench.take()

    (view,), needles = find_needles(bench)
    assert (view.result.reasons, needles[view.result.id]) == (("untrained",), measured())


def test_lengths_are_corrected_by_the_calibration_of_subtype_and_microscope(bench):
    bench.export("a.png")
    known = {("G", "LOM"): LengthCorrection("G/LOM 2", 1.25)}
    needles = NeedleMeasuring(
        lambda _crop: replace(measured(), l90_um=20.0),
        SizeRule(14.0, 2.0),
        lambda *key: known.get(key),
    )
    bench.pipeline = bench.made(classifier=Named(), needles=needles)

    bench.take()

    (view,), stored = find_needles(bench)
    field = stored[view.result.id]
    assert (field.calibration, field.l90_um) == ("G/LOM 2", 16.0)
    assert field.maximum_um == pytest.approx(measured().maximum_um / 1.25, abs=0.01)
