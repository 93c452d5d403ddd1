"""Whatever people do who are no leads, what is truly bad never conforms, and reasons are true."""

import pytest
from hidden.histories import BATCH, COUNTS, play


@pytest.mark.parametrize(
    ("first", "histories"),
    [(1000, 2), *(pytest.param(n * 1000, 125, marks=pytest.mark.slow) for n in (2, 3))],
)
def test_what_is_truly_bad_never_conforms_and_every_reason_is_true(first, histories):
    before = COUNTS.copy()

    for batch in range(-(-histories // BATCH)):
        play(first + batch, histories=histories)

    happened = COUNTS - before
    assert happened["histories"] >= histories
    assert (happened["false conforms"], happened["untrue reasons"]) == (0, 0)
    assert happened["bad orders"] > histories // 2  # else nothing was tried
    assert happened["honest orders"] > histories // 2
    assert happened["honest orders refused"] == 0
