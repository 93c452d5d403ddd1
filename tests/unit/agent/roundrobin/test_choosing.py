"""What is put before raters holds all codes, and at least a third of it lies beside a limit."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.orders.judge.limit import read_limit
from agent.roundrobin.campaign import Candidate, choose, is_near
from model import default_taxonomy

TAXONOMY = default_taxonomy()

many = st.lists(
    st.builds(
        Candidate,
        st.uuids().map(str),
        st.sampled_from(["G7", "G8", "B8", "M9-10"]),
        st.booleans(),
        st.booleans(),
    ),
    max_size=40,
    unique_by=lambda one: one.id,
)


@given(many, st.integers(1, 30), st.integers(0, 9))
def test_a_third_lies_near_a_limit_where_there_are_so_many(candidates, n, seed):
    chosen = choose(candidates, n, seed=seed)

    near = sum(candidate.near for candidate in candidates)
    assert sum(one.near for one in chosen) >= min(near, math.ceil(n / 3), len(chosen))
    assert len(chosen) == min(n, len(candidates))
    assert len({one.id for one in chosen}) == len(chosen)


@given(many, st.integers(1, 30), st.integers(0, 9))
def test_the_same_seed_is_the_same_choice(candidates, n, seed):
    assert choose(candidates, n, seed=seed) == choose(candidates, n, seed=seed)


def test_a_rare_code_is_not_lost_among_a_frequent_one():
    candidates = [Candidate(f"G{n}", "G8", near=False, hard=False) for n in range(90)]
    candidates += [Candidate(f"M{n}", "M8", near=False, hard=False) for n in range(3)]

    chosen = choose(candidates, 10, seed=1)

    assert sum(one.code == "M8" for one in chosen) == 3


def test_hard_and_easy_ones_come_in_turn():
    candidates = [Candidate(str(n), "G8", near=False, hard=n < 10) for n in range(100)]

    chosen = choose(candidates, 10, seed=1)

    assert sum(one.hard for one in chosen) == 5


@pytest.mark.parametrize(
    ("code", "near"), [("G6", False), ("G7", True), ("G8", True), ("G9-10", False), ("B8", False)]
)
def test_both_sides_of_a_limit_are_near_it(code, near):
    assert is_near(code, [("G", read_limit("8 or finer"))], TAXONOMY) is near


def test_a_limit_from_the_other_side():
    limits = [("G", read_limit("7 or coarser"))]

    assert [c for c in ("G5", "G6", "G7", "G8", "G9-10") if is_near(c, limits, TAXONOMY)] == [
        "G7",
        "G8",
    ]
