"""Whatever people do who are no leads, what is truly bad never conforms, and reasons are true."""

import pytest
from hidden_truth import BATCH, COUNTS, play

HISTORIES = 100


@pytest.mark.parametrize("half", [1, 2])
def test_what_is_truly_bad_never_conforms_and_every_reason_is_true(half):
    before = COUNTS.copy()

    for batch in range(HISTORIES // BATCH):
        play(1000 * half + batch)

    happened = COUNTS - before
    assert happened["histories"] >= HISTORIES
    assert (happened["false conforms"], happened["untrue reasons"]) == (0, 0)
    assert happened["bad orders"] > HISTORIES // 2  # else nothing was tried
    assert happened["honest orders"] > HISTORIES // 2
    assert happened["honest orders refused"] == 0
