"""Break one rule of conformity after another and count the histories until the world notices.

    python tests/bench/hidden_truth_mutants.py [--histories 300] [--acts 50] [--seed 0] [NAME …]

A mutant is a rule that is left out or weakened while the histories of
`tests/hidden/histories.py` are played. It prints after how many histories each one made a statement
that is not true. Exit code 3 if one was never noticed: then the world is too kind.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1]))

from agent.orders.facts import field_facts, places, process_data, specimen_facts
from agent.orders.instruments import instrument_failures, instrument_holds
from agent.orders.judge import (
    assessment,
    automatic_conformity,
    confirmed_breaks,
    conformity,
    evidence,
    field_questions,
    permissions,
)
from agent.orders.specifications import applicable_specification, specification_history
from agent.store.orders import order_claims, order_lists, orders, specimens

if TYPE_CHECKING:
    from collections import Counter

Target = tuple[object, str, Any]


def nothing(*_: object, **__: object) -> tuple[()]:
    """Return no reason."""
    return ()


def blank(*_: object, **__: object) -> str:
    """Return that nothing speaks against it."""
    return ""


def true(*_: object, **__: object) -> bool:
    """Return that it holds."""
    return True


def without_unusable(facts_: Any, counted: Any, rules: Any) -> Any:
    """Forget what was called unusable, and keep what was replaced."""
    fields = tuple(field for field in facts_.fields if field.superseded)
    return OF_THE_REPLACED(replace(facts_, fields=fields), counted, rules)


def without_earlier(facts_: Any, counted: Any, rules: Any) -> Any:
    """Forget earlier preparations."""
    return OF_THE_REPLACED(replace(facts_, earlier=()), counted, rules)


def by_one_other(field: Any, rules: Any) -> str:
    """Fault: one other reviewer outweighs a label that breaks the limit."""
    against = list(evidence.iter_breaking_labels(field, rules))
    others = [x for x in field.labels if x.by not in {y.by for y in against}]
    keeps = [x for x in others if x.kind == "code" and not x.unsure and rules.keeps(x.said)]
    return "" if keeps else CONTRADICTED(field, rules)


def only_standing(view: Any, is_lead: Any) -> Any:
    """Forget labels that were taken back."""
    return (label for label in LABELS(view, is_lead) if not label.withdrawn)


def drop_at_once(facts_: Any, entry: Any, waiting: Any, name: str, *, key: Any) -> None:
    """Fault: a list drops specimens."""
    del waiting, name, key
    if entry.facts.get("specimens"):
        facts_["specimens"] = list(entry.facts["specimens"])


def count_at_once(facts_: Any, entry: Any, waiting: Any, name: str) -> None:
    """Fault: a list requests fewer specimens."""
    del waiting, name
    if entry.facts.get("count"):
        facts_["count"] = entry.facts["count"]


def by_now(self: Any, keys_: Any, *, on: Any, since: Any, current: Any, last: Any = None) -> Any:
    """Judge by the file as it is now."""
    del self, since, last
    return current.for_order(keys_, on=on)


def since_the_check(self: Any, at: Any) -> bool:
    """Hold nothing that came before the failed check."""
    return self.first_at <= at and (self.until is None or at < self.until)


def until_a_good_check(self: Any, at: Any) -> bool:
    """Hold nothing any more once a check is good again."""
    return self.until is None and SPANS(self, at)


def by_the_newest(session: Any, whose: Any, number: str, specimen: str, bundle: str, *, at: Any):
    """Fault: a specimen is judged by the newest bundle."""
    order = specimens.order_row(session, whose, number, at=at)
    specimens.specimen_row(session, whose, order, specimen, at=at).bundle = bundle
    return bundle


def without_conflict(*given: Any, **told: Any) -> Any:
    """Believe the path."""
    found = KEYS_OF(*given, **{**told, "beside": {}})
    return replace(found, conflict="")


def no_waiting(view: Any, waiting: Any, key: Any) -> Any:
    """Forget files that are not read yet."""
    del waiting
    return WITH_WAITING(view, (), key)


def not_awaiting(row: Any, context: Any, *, gone: Any = None) -> Any:
    """Fault: the model's answer counts although the picture is unlike its reference images."""
    field = BUILD_FIELD(row, context, gone=gone)
    return replace(field, awaits=False, reasons=())


def sum_of_all(session: Any, row: Any, claim: Any, *_: Any, **__: Any) -> None:
    """Fault: a copy stays where it was first."""


OF_THE_REPLACED = conformity._describe_replaced
CONTRADICTED, LABELS = evidence.find_contradiction, field_facts._labels
SPANS, KEYS_OF = instrument_failures.Failure.spans, process_data.collect_keys
WITH_WAITING = assessment._with_waiting
BUILD_FIELD = field_facts.build_field_facts


def mutants() -> dict[str, list[Target]]:
    """Return name → what is replaced, where and by what."""
    from hidden import world as hidden_world  # noqa: PLC0415 - the world looks a few of them up by its own name

    same = "_one_place"
    return {
        "a label that is not sure proves a field": [
            (evidence, "is_confirmed", true), (field_questions, "is_confirmed", true),
            (confirmed_breaks, "is_confirmed", true),
        ],
        "one place counts as often as it is shown": [
            (places, same, nothing),
        ],
        "places of other orders count": [(places, "describe_elsewhere", nothing),
                                         (field_questions, "describe_elsewhere", nothing)],
        "a place that is not compared counts": [(
            field_facts, "build_field_facts",
            lambda row, context, *, gone=None: replace(
                BUILD_FIELD(row, context, gone=gone), is_compared=True
            ),
        )],
        "field numbers 1, 01 and 001 are three": [(places, "number_key", str),
                                                  (conformity, "number_key", str)],
        "anybody may set a field aside": [(evidence, "_is_led", true),
                                          (evidence, "_is_shown", true)],
        "what was replaced is forgotten": [(conformity, "_describe_replaced", nothing)],
        "what was called unusable is forgotten": [
            (conformity, "_describe_replaced", without_unusable)
        ],
        "earlier preparations are forgotten": [(conformity, "_describe_replaced", without_earlier)],
        "a confirmed break needs no second person": [
            (evidence, "_is_shown", true), (permissions, "iter_breaking_labels", nothing),
        ],
        "no label is ever contradicted": [(evidence, "find_contradiction", blank),
                                          (field_questions, "find_contradiction", blank)],
        "one other reviewer outweighs a break": [
            (evidence, "find_contradiction", by_one_other),
            (field_questions, "find_contradiction", by_one_other),
        ],
        "a label that was taken back is forgotten": [(field_facts, "_labels", only_standing)],
        "a list drops specimens at once": [(order_lists, "_merge_specimens", drop_at_once)],
        "a list asks for fewer at once": [(order_lists, "_merge_count", count_at_once)],
        "a list counts no specimens": [(order_lists, "_merge_count", nothing)],
        "a late list changes the specification": [
            (applicable_specification, "_late", nothing),
        ],
        "an edited specification acts backwards": [
            (specification_history.SpecificationHistory, "choose", by_now)
        ],
        "a failed check holds nothing": [(instrument_holds.Holds, "__call__", blank)],
        "a failed check holds nothing before it": [
            (instrument_failures.Failure, "spans", since_the_check)
        ],
        "a good check releases everything": [
            (instrument_failures.Failure, "spans", until_a_good_check)
        ],
        "keys that contradict each other are no doubt": [
            (process_data, "collect_keys", without_conflict),
            (hidden_world, "collect_keys", without_conflict),
        ],
        "a copy under another name is no doubt": [(orders.Orders, "_tear", sum_of_all),
                                                  (order_claims, "add", nothing)],
        "claims of orders are forgotten": [(assessment, "describe_claims", nothing),
                                           (assessment, "_describe_strays", nothing)],
        "anybody may move a field": [(orders.Orders, "claimed_elsewhere", nothing),
                                     (assessment, "describe_claims", nothing)],
        "what is unlike the reference images counts": [
            (field_facts, "build_field_facts", not_awaiting)
        ],
        "automatic conformity covers old results": [
            (specimen_facts.Allowance, "covers_time", true)
        ],
        "automatic conformity covers every bundle": [
            (automatic_conformity, "refuse_field", blank), (conformity, "refuse_field", blank),
        ],
        "a lost file is forgotten": [(assessment, "describe_lost", nothing)],
        "a file that is not read yet is forgotten": [(assessment, "_with_waiting", no_waiting)],
        "a promotion judges specimens again": [(specimens, "reserve", by_the_newest)],
        "any number of preparations is fine": [(
            conformity, "_describe_missing",
            lambda facts_, counted, wanted: WHAT_IS_THERE(
                replace(facts_, preparations=1), counted, wanted
            ),
        )],
    }  # fmt: skip


WHAT_IS_THERE = conformity._describe_missing


def main() -> int:
    """Run what was asked for."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--histories", type=int, default=300)
    asked.add_argument("--acts", type=int, default=50)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("names", nargs="*")
    given = asked.parse_args()
    never = []
    known = mutants()
    for name in given.names or known:
        targets = known[name]
        with ExitStack() as stack:
            for owner, attribute, new in targets:
                stack.enter_context(patch.object(owner, attribute, new))
            n, what = play_until_noticed(given.histories, given.acts, given.seed)
        print(f"{name:48} {n if what else f'not in {n}':>10}  {what}", flush=True)
        never += [] if what else [name]
    return 3 if never else 0


def play_until_noticed(histories: int, acts: int, number: int) -> tuple[int, str]:
    """Play histories until one fails; return how many there were, and what was noticed."""
    from hidden.histories import COUNTS, play  # noqa: PLC0415

    before: Counter[str] = COUNTS.copy()
    batch = 0
    while (n := (COUNTS - before)["histories"]) < histories:
        try:
            play(1000 * number + batch, acts=acts)
        except Exception as error:  # noqa: BLE001 - whatever fails was noticed
            return (COUNTS - before)["histories"], str(error).splitlines()[0][:160]
        batch += 1
    return n, ""


if __name__ == "__main__":
    sys.exit(main())
