"""A site reaches no other: every method, route and command, called with the other's keys.

The walk is made from the code. Whoever adds a method, a route, a command or an argument teaches it
here what that is called with, or the walk fails.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from labs.lab import DAY
from labs.two_sites import (
    HERE,
    HIDDEN,
    NIGHT,
    NUMBER,
    Known,
    World,
    later,
    nowhere,
    sqlite_world,
    world,
)
from servers.databases import migrated

from agent.errors import AgentError
from agent.store import (
    ClaimedPlace,
    Decision,
    Entry,
    Heads,
    HistoryQuery,
    NamedOrder,
    NewImage,
    NewNeedle,
    NewRater,
    NewRecord,
    NewStatement,
    Opinion,
    Origin,
    PlaceMatch,
    RingRules,
    RolloutTicket,
    SearchQuery,
    Signature,
    SourceHealth,
    StatementFile,
    Store,
    WaitingFile,
)
from agent.triage import Reason
from agent.watch import ListedFile
from reports import Message

__all__ = ["sqlite_world", "world"]  # fixtures

REPOSITORIES = (
    "accounts",
    "agents",
    "audit_log",
    "backup",
    "campaigns",
    "checks",
    "files",
    "history",
    "jobs",
    "labelled_micrographs",
    "labels",
    "live_figures",
    "needle_fields",
    "needle_measurements",
    "nightly_reports",
    "order_changes",
    "order_corrections",
    "order_naming",
    "orders",
    "places",
    "promotions",
    "records",
    "results",
    "retention",
    "review_queue",
    "rollouts",
    "saved_views",
    "search",
    "settings_history",
    "sources",
    "specifications",
    "statements",
    "unread_names",
    "work_queue",
)
VALUES = {"place", "exact_numbers", "kind", "site_id", "site"}
"""Properties of a store that are no repositories."""
LEFT_OUT = {
    "close": "ends the connection",
    "backup.write": "a back-up of a shared database holds all of it, see fleet.md",
    "copy_to": "a copy of a shared database holds all of it, as a back-up does",
    "as_of": "the same store on another engine, with tests of its own in test_as_of",
    "over_all_sites": "the named way past the site, with tests of its own",
    "after_each_act": "keeps a listener",
    "take_as_own": "marks a data folder and names no row",
    "order_naming.claim_copy": "a part of `work_queue.identify`, in its transaction",
    "order_naming.expect_import": "a part of `work_queue.identify`, in its transaction",
    "order_naming.settle_copies": "a part of `work_queue.finish`, in its transaction",
    "results.add_all": "`results.add` of several micrographs",
    "results.add": "needs a finding of the model; `labels.micrograph_of` finds its micrograph",
}


def list_methods() -> list[str]:
    """Return every public method of the store and its repositories."""
    found = [name for name, _ in inspect.getmembers(Store, inspect.isfunction)]
    with Store.open("sqlite://", site="Plant 1", agent="PC") as store:
        kinds = {name: type(getattr(store, name)) for name in REPOSITORIES}
    for repository, kind in kinds.items():
        found += [f"{repository}.{n}" for n, _ in inspect.getmembers(kind, inspect.isfunction)]
    return [name for name in found if not name.rpartition(".")[2].startswith("_")]


OF_ALL_ACTS = {"audit_log.iter_acts", "audit_log.find_problems", "audit_log.get_hashes"}
"""Answer with the acts of the whole site, which go on between two calls."""
OF_ALL_SITES = {"places.iter_after", "places.load"}
"""Answer with landmarks of every site, to find a place that two sites show; see the test below."""
METHODS = [name for name in list_methods() if name not in LEFT_OUT]


def test_every_repository_of_the_store_is_walked() -> None:
    names = {name for name, _ in inspect.getmembers(Store, lambda one: isinstance(one, property))}

    assert {name for name in names if not name.startswith("_")} == {*REPOSITORIES, *VALUES}


def arguments(known: Known) -> dict[str, Any]:
    """Return what each argument is called with: `repository.method.name`, else `name`."""
    first, second = known.fields
    place = ClaimedPlace(known.order, known.specimen, "path", "x.tif")
    signature = Signature("Eve", "because", DAY)
    arrival = ListedFile(known.source, Path("/nowhere"), "new.tif", 1, 1)
    numbers = {f"{name}_id": number for name, number in known.ints.items()}
    statement = NewStatement(known.order, 2, known.statement, "open", "t", False, {"n": 1})  # noqa: FBT003
    return {
        **numbers,
        "account": known.account,
        "accept": True,
        "act": known.act,
        "actor": "Eve",
        "acts": [],
        "after": 0,
        "results.list_between.after": DAY - timedelta(days=1),
        "after_id": 0,
        "apart": timedelta(hours=1),
        "arrivals": [arrival],
        "at": later(1),
        "at_most": 9,
        "before": later(9999),
        "belongs": first,
        "browser": known.cookie,
        "bundle": known.bundle,
        "breaks": (),
        "by": "Eve",
        "now": lambda: DAY,
        "near": [DAY],
        "results.list_views.numbers": [known.ints["micrograph"]],
        "work_queue.shift_clock.by": timedelta(hours=1),
        "claim": known.claim,
        "claims": [place],
        "code": None,
        "column": "heat",
        "content": known.ints["content"],
        "content_ids": [known.ints["content"]],
        "cookie": known.cookie,
        "date": NIGHT,
        "done_after": None,
        "decision": Decision("code", "Eve", code="G8", comment="x"),
        "between": None,
        "decisions": [(first, Decision("code", "Eve", code="G8", comment="x"), "any")],
        "defect": "",
        "disabled": True,
        "due_at": None,
        "end": later(9),
        "entries": [Entry(known.order, customer="Eve")],
        "specifications.note.entries": [("C-spec", NIGHT, "Eve", "5" * 64, {"n": 1})],
        "expected": "any",
        "facts": {"n": 1},
        "facts_json": '{"n": 1}',
        "files": [
            StatementFile(
                statement_id=1, kind="html", language="en", sha256="x", size_bytes=1, at=DAY
            )
        ],
        "finding": None,
        "fixed": {"order": known.order},
        "findings": [],
        "first": known.order,
        "folder": "/x",
        "follows": 0,
        "hashed": known.program,
        "heads": Heads(0, 0),
        "health": [SourceHealth(known.source, "/x")],
        "held": [known.claim],
        "hold": True,
        "needle": NewNeedle((10.0, 10.0), (90.0, 90.0), 0.12),
        "measurement_id": known.ints["needle"],
        "must_change": False,
        "images": [NewImage(first)],
        "instead_of": None,
        "is_there": lambda _: True,
        "keys": {"order": "A-1", "specimen": "1"},
        "key": "order",
        "kind": "pdf",
        "statements_since": later(0),
        "retention.plan.kind": "crops",
        "retention.mark_pruned.kind": "crops",
        "retention.find_deleted.kind": "crops",
        "hashes": [known.sha256],
        "records.add.kind": known.record,
        "records.all.kind": known.record,
        "records.latest.kind": known.record,
        "records.newest.kind": known.record,
        "accounts.add.kind": "person",
        "has_others": False,
        "kinds": ("code",),
        "known": [],
        "lane": "fresh",
        "lead": True,
        "lease_s": 60.0,
        "limit": 99,
        "matches": [PlaceMatch(known.ints["micrograph"], known.ints["micrograph"], 0.5, 10.0)],
        "may_go_back": False,
        "merged": None,
        "metrics": {},
        "micrograph_ids": [known.ints["micrograph"]],
        "n": 99,
        "name": known.campaign,
        "accounts.name": known.account,
        "jobs.name": known.job,
        "promotions.name": known.bundle,
        "orders.name": "list.csv",
        "sources.name": known.source,
        "named": {known.ints["content"]: {"A-1": "1"}},
        "names": [place],
        "new": statement,
        "records.add_together.new": [NewRecord(known.record, known.source, {})],
        "newest": 0,
        "naming": known.order,
        "files.iter_status.naming": NamedOrder(
            known.order, frozenset({known.source}), frozenset({known.ints["content"]})
        ),
        "number": known.order,
        "campaigns.rate.number": 2,
        "records.list_after.number": 0,
        "statements.acts_after.number": 0,
        "numbers": [known.order],
        "audit_log.get_hashes.numbers": list(range(1, 200)),
        "on_torn": lambda _: None,
        "of": "Eve",
        "begin": known.order,
        "one": first,
        "only": None,
        "order": known.order,
        "origin": None,
        "files.add.origin": "watch",
        "acting_as.origin": Origin("shell"),
        "other": second,
        "outcome": "done",
        "path": f"{HIDDEN}1.tif",
        "pattern": "",
        "picture": "",
        "process_data": {},
        "promoters": 1,
        "pseudonym": known.pseudonym,
        "public_id": first,
        "public_ids": [first],
        "or_skip": (),
        "rater": NewRater("R9", "Eve"),
        "raters": [NewRater("R9", "Eve")],
        "reason": "because",
        "review_queue.list_micrographs.reason": None,
        "review_queue.add.reason": Reason.DISAGREEMENT,
        "relatives": [f"{HIDDEN}1.tif"],
        "result_ids": [known.ints["result"]],
        "retry_at": later(2),
        "revision": 2,
        "ring_at": None,
        "rings": RingRules(("PC",)),
        "role": "viewer",
        "rollout_id": known.ints["rollout"],
        "rollouts.ticket": RolloutTicket(known.ints["rollout"], 1),
        "rollouts.answers": {"g8": {"image": "g8.tif", "code": "G7", "probability": 0.2}},
        "fault": None,
        "message": Message("because"),
        "is_missing": False,
        "rollouts.seen": {"PC": later(1)},
        "said": Opinion("G", "8"),
        "seat": known.seat,
        "seed": 1,
        "sentence": "because",
        "settings": {"site": {"name": "x"}},
        "zone": "UTC",
        "sha256": known.sha256,
        "statements.sha256": known.statement,
        "shares": (),
        "signature": signature,
        "since": None,
        "most": 9,
        "labelled_micrographs.list_blind_since.since": later(-9999),
        "recent_after": later(0),
        "source": known.source,
        "specimen": known.specimen,
        "start": None,
        "state": None,
        "statement": known.frozen,
        "subject": known.source,
        "subjects": [known.order, first, known.account],
        "taxonomy": {},
        "assigned_at": later(0),
        "thorough": True,
        "until": later(9),
        "urgent": True,
        "only_first": False,
        "owner": "Eve",
        "saved_views.name": "a view",
        "saved_views.query": "q=x",
        "search.query": SearchQuery(known.order, {"source": [known.source]}),
        "history.query": HistoryQuery(subject=first),
        "history.before": None,
        "search.before": None,
        "left": {first: [known.order]},
        "note": WaitingFile(
            known.ints["content"], known.source, Path("/nowhere"), f"{HIDDEN}1.tif.json", {}
        ),
        "only_new": True,
        "value": known.heat,
        "within": timedelta(hours=1),
        "which": [known.sha256, str(known.ints["content"]), f"{HIDDEN}1.tif"],
        "without": (),
    }


def call(store: Store, name: str, known: Known) -> str:
    """Call a method and return what came of it, all of it, as text."""
    repository, _, method = name.rpartition(".")
    bound = getattr(getattr(store, repository) if repository else store, method)
    values, given = arguments(known), {}
    for parameter in inspect.signature(bound).parameters.values():
        keys = (f"{name}.{parameter.name}", f"{repository}.{parameter.name}", parameter.name)
        key = next((one for one in keys if one in values), None)
        assert key, f"{name} has an argument {parameter.name!r} that the walk does not know yet"
        given[parameter.name] = values[key]
    positional = [
        given.pop(one.name)
        for one in inspect.signature(bound).parameters.values()
        if one.kind is one.POSITIONAL_OR_KEYWORD
    ]
    try:
        return repr(_whole(bound(*positional, **given)))
    except (AgentError, KeyError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001 - a database's refusal is compared like any answer
        return f"{type(error).__name__}: {getattr(error, 'orig', error)}"


def _whole(found: Any) -> Any:
    if isinstance(found, Store):
        return "a store"
    return list(found) if isinstance(found, Iterator) else found


def plain(answer: str, *keys: Known) -> str:
    """Return an answer without the keys that were asked for, and without addresses of objects."""
    for known in keys:
        if answer == str(known.claim.content_id):
            return "the number that was asked for"
        for n, text in sorted(enumerate(known.strings()), key=lambda one: -len(one[1])):
            answer = answer.replace(text, f"<{n}>")
    return re.sub(rf"\b{NUMBER}\b| at 0x[0-9a-f]+", "", answer)


def test_a_method_answers_to_another_sites_key_as_to_one_of_nothing(sqlite_world, tmp_path) -> None:
    unknown, known = nowhere(sqlite_world.known), sqlite_world.known
    asked, other = tmp_path / "asked.db", tmp_path / "other.db"
    before = (sqlite_world.folder / "martensight.db").read_bytes()
    for name in METHODS:  # each on a lab that no other method has changed
        for copied in (asked, other):
            copied.write_bytes(before)
        with Store.open(f"sqlite:///{other}", site=HERE, agent="PC") as store:
            expected = call(store, name, unknown)

        with Store.open(f"sqlite:///{asked}", site=HERE, agent="PC") as store:
            answer = call(store, name, known)

        assert HIDDEN not in answer.replace(f"{HIDDEN}1.tif", ""), name
        assert "ForeignSiteError" not in answer, name
        if name not in OF_ALL_ACTS | OF_ALL_SITES and "newest" not in name and "head" not in name:
            assert plain(answer, known) == plain(expected, unknown), name
        if asked.read_bytes() != before or asked.with_name("asked.db-wal").exists():
            sqlite_world.must_be_as_before(name, f"sqlite:///{asked}")


def test_landmarks_of_another_site_name_their_micrograph_and_never_its_order(world) -> None:
    number, known = world.known.ints["micrograph"], world.known
    with Store.open(world.address, site=HERE, agent="PC") as store:
        (loaded,) = store.places.load([number])
        every = {one.micrograph_id: one for one in store.places.iter_after(0, ())}

    assert (loaded.public_id, loaded.order) == (known.fields[0], "")
    assert every[number] == loaded
    assert known.order not in {one.order for one in every.values()}
    assert any(one.order for one in every.values())  # its own site's


@pytest.fixture(scope="module")
def postgres_world(request, tmp_path_factory) -> World:
    folder = tmp_path_factory.mktemp("two-pg") / "data"
    folder.mkdir()
    return World(folder, migrated("postgresql", request, folder))


@pytest.mark.slow
def test_no_method_answers_or_changes_anything_on_postgresql(postgres_world: World) -> None:
    with Store.open(postgres_world.address, site=HERE, agent="PC") as store:
        for name in METHODS:
            answer = call(store, name, postgres_world.known)

            assert HIDDEN not in answer.replace(f"{HIDDEN}1.tif", ""), name
            assert "ForeignSiteError" not in answer, name
            postgres_world.must_be_as_before(name)
