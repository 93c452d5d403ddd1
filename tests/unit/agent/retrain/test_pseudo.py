"""Answers that nobody gave are learned from only where people found such answers right."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
from labs.lab import DAY

from agent.retrain.pseudo_labels import Audit, is_stable, list_candidates, select_within_quotas
from agent.store import Decision
from model import Example, Field

BUNDLE = "20261101-0badcafe"


def everything(lab, *, unsure=()):
    """Give what the lab has; the model is sure of all but some."""
    return [
        replace(view, result=replace(view.result, probability=0.9 if view.id in unsure else 0.97))
        for view in lab.store.results.iter_all()
    ]


def labelled(n: int, code: str = "G8") -> list[Example]:
    return [Example(f"k{i}", code, f"s{i}", lambda: None) for i in range(n)]  # type: ignore[arg-type, return-value]  # never loaded


def test_only_what_is_ordinary_and_sure_is_in_the_pool(lab):
    sure, unsure = lab.take("G8"), lab.take("G8")
    lab.take("G8", reasons=("strange",))

    pool, audit = list_candidates(everything(lab, unsure=(unsure,)), BUNDLE)

    assert [view.id for view in pool] == [sure]
    assert audit == Audit(0, 0)
    assert list_candidates(everything(lab), "another")[0] == []


def test_control_samples_that_were_decided_unseen_are_the_audit(lab):
    for code in ("G8", "G7"):
        control = lab.take("G8", reasons=("control_sample",))
        said = Decision(kind="code", by="E. Meier", code=code, blind=True)
        lab.store.labels.decide(control, said, at=DAY)
    seen = lab.take("G8", reasons=("control_sample",))
    lab.store.labels.decide(seen, Decision(kind="code", by="E. Meier", code="G8"), at=DAY)

    pool, audit = list_candidates(everything(lab), BUNDLE)

    assert audit == Audit(2, 1)
    assert pool == [], "what a person is asked about is never learned from unasked"


@pytest.mark.parametrize(
    ("n", "right", "passed"), [(0, 0, False), (98, 98, False), (99, 99, True), (150, 149, False)]
)
def test_the_audit_asks_for_97_percent_at_the_lower_limit(n, right, passed):
    assert Audit(n, right).passed is passed


def test_quotas_keep_people_in_the_majority(lab):
    for number in range(12):
        lab.take("G8", order="1", specimen=str(number % 4))
    pool, _ = list_candidates(everything(lab), BUNDLE)

    assert len(select_within_quotas(pool, labelled(100))) == 8, "two of each specimen"
    assert len(select_within_quotas(pool, labelled(10))) == 4, "30 % of all"
    assert select_within_quotas(pool, labelled(100, "G7")) == [], (
        "no more of a code than people labelled"
    )
    known = [*labelled(100), Example("k", "G8", "1/0", lambda: None)]  # type: ignore[arg-type, return-value]  # never loaded
    assert len(select_within_quotas(pool, known)) == 6, "none of a specimen that people labelled"


def test_no_group_that_people_labelled_is_taken_from_by_whatever_column_it_is_one(lab):
    for number in range(4):
        lab.take("G8", order=str(number % 2), specimen=str(number))
    pool, _ = list_candidates(everything(lab), BUNDLE)
    known = [*labelled(100), Example("k", "G8", "1", lambda: None)]  # type: ignore[arg-type, return-value]  # never loaded

    assert len(select_within_quotas(pool, known)) == 4
    taken = select_within_quotas(pool, known, group_by="order")

    assert [view.process_data["order"] for view in taken] == ["0", "0"]


@dataclass(frozen=True)
class Said:
    best: tuple[str, str]


def test_an_answer_that_changes_when_the_field_is_turned_is_no_answer():
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[0, 0] = 255
    shown = Field(pixels, np.ones((4, 6), bool), 0.2)

    def by_corner(fields):
        return [Said(("G", "8" if field.pixels[0, 0, 0] else "7")) for field in fields]

    def always(fields):
        return [Said(("G", "8"))] * len(fields)

    assert is_stable(shown, "G8", always, lambda subtype, size: subtype + size)
    assert not is_stable(shown, "G8", by_corner, lambda subtype, size: subtype + size)


def test_without_an_audit_nothing_is_taught_and_the_sentence_says_what_is_missing(own_lab, capsys):
    capsys.readouterr()

    code = own_lab.agent("retrain", "--pseudo-labels", "--json")

    said = json.loads(capsys.readouterr().out)
    assert code == 3
    assert said["gate"] == "not_enough_evidence"
    assert said["candidate"] == ""
    assert "0 of 0 control samples" in said["sentence"]
