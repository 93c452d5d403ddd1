"""What is archived is read again in the background, and a loss is said until it is made good."""

from datetime import UTC, datetime

import pytest
from labs.pipeline import Bench

from agent.service.health.problems import Problems
from agent.service.jobs.archive import Verifier

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    for number in range(3):
        made.export(f"{number}.png", seed=number)
    made.take()
    yield made
    made.store.close()


def verifier(bench, problems):
    return Verifier(bench.store, bench.archive, now=lambda: NOON, problems=problems)


def spoil(bench, number):
    view = bench.views()[number]
    path = bench.archive.crop_path(view.sha256, view.page)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"x")
    return path, whole


def test_a_changed_picture_is_said_and_written_into_the_trail_once(bench):
    problems = Problems()
    path, _ = spoil(bench, 1)

    verifier(bench, problems).look()
    verifier(bench, problems).look()

    (said,) = problems.all()
    assert str(path) in said
    assert [entry.act for entry in bench.store.audit_log.iter_acts("pixels")] == ["pixels.damaged"]


def test_each_part_goes_on_where_the_last_one_ended(bench):
    problems = Problems()
    spoil(bench, 2)

    said = []
    for _ in range(3):
        verifier(bench, problems).look(slice_s=0)  # one micrograph is enough
        said.append(len(problems.all()))

    assert said == [0, 0, 1]


def test_a_loss_is_said_until_a_whole_round_does_not_find_it(bench):
    problems = Problems()
    path, whole = spoil(bench, 0)
    verifier(bench, problems).look()
    path.write_bytes(whole)

    again = Problems()
    verifier(bench, again)._say_again()  # after a restart
    verifier(bench, problems).look()

    assert len(again.all()) == 1
    assert problems.all() == []
