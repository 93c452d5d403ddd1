"""Whatever people do who are no leads, what is truly bad never conforms, and reasons are true."""

import pytest
from hidden_truth import COUNTS, HiddenTruth
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

HISTORIES, ACTS = 100, 50


@pytest.mark.parametrize("half", [1, 2])
def test_what_is_truly_bad_never_conforms_and_every_reason_is_true(half):
    before = COUNTS.copy()

    run_state_machine_as_test(
        seed(half)(HiddenTruth),
        settings=settings(
            max_examples=HISTORIES,
            stateful_step_count=ACTS,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )

    happened = COUNTS - before
    assert happened["histories"] >= HISTORIES
    assert (happened["false conforms"], happened["untrue reasons"]) == (0, 0)
    assert happened["bad orders"] > HISTORIES // 2  # else nothing was tried
    assert happened["honest orders"] > HISTORIES // 2
    assert happened["honest orders refused"] == 0
