"""A measured needle is compared with the program's needle at its place, whatever its length."""

import numpy as np
import pytest

from agent.needle_truth.comparison import do_tips_agree, find_counterpart

MEASURED = np.array([[10.0, 10.0], [30.0, 10.0]])
"""20 µm long, along x."""


def needle(x0, y0, x1, y1):
    return [[x0, y0], [x1, y1]]


@pytest.mark.parametrize(
    "program",
    [
        needle(10, 10, 30, 10),
        needle(30.4, 10.2, 9.6, 9.9),  # the other way round
        needle(10, 10, 17, 10),  # a part of it
        needle(5, 10, 55, 10),  # two merged
        needle(10, 11.5, 30, 10.5),
    ],
)
def test_a_needle_on_the_same_axis_is_its_counterpart(program):
    far = needle(80, 80, 95, 95)

    assert find_counterpart(MEASURED, np.array([far, program], float)) == 1


@pytest.mark.parametrize(
    "program",
    [
        needle(20, 0, 20, 20),  # crosses it
        needle(10, 14, 30, 14),  # parallel, 4 µm away
        needle(31, 10, 50, 10),  # the next one in its line
        needle(10, 10, 28, 20),  # turned by 29°
        needle(18, 10, 21, 10),  # a splinter on it
    ],
)
def test_a_neighbour_is_not_its_counterpart(program):
    assert find_counterpart(MEASURED, np.array([program], float)) is None
    assert find_counterpart(MEASURED, np.zeros((0, 2, 2))) is None


def test_of_two_on_one_axis_it_is_the_one_with_more_in_common():
    short, whole = needle(11, 10, 17, 10), needle(10, 10.5, 29, 10.5)

    assert find_counterpart(MEASURED, np.array([short, whole], float)) == 1


def test_tips_agree_within_15_percent_whichever_comes_first():
    assert do_tips_agree(MEASURED, np.array(needle(32, 10, 9, 10), float))
    assert not do_tips_agree(MEASURED, np.array(needle(10, 10, 36, 10), float))
