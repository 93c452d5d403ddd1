"""What has to be true at the end of every history, whatever happened in it.

Nothing is lost, nothing is there twice, nothing was half read, nothing is stated without its
evidence, and every fault is said and over when it is over. Rows are read beside the program.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from agent.errors import FileError
from agent.nightly.facts.snapshot import from_text
from agent.orders.statements.statement import hash_state
from agent.site_time import compute_night_end, night_of
from agent.store.work.file_states import RETRY_AFTER
from simulated.lab import DATA, OUTBOX, QUIET_S, SHARE, read_picture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulated.world import World

PAUSES_S = (1.0, 60.0, 60.0, 700.0, 700.0, 3700.0, 3700.0, 22000.0, 22000.0, 22000.0, 90000.0)
UNNOTICED_S = 70.0
"""A clock may be set by a minute without being noticed, and late rounds add some seconds."""
UNSETTLED = (
    "SELECT c.state, p.relative FROM content c LEFT JOIN path p ON p.content_id = c.id "
    "WHERE c.due_at IS NOT NULL OR c.state IN ('settling', 'queued', 'processing', 'failed')"
)
KEPT = {"crop": ".png", "valid": ".valid.png", "preview": ".preview.jpg", "thumb": ".thumb.jpg"}


def come_to_rest(world: World) -> None:
    """Let bad luck end, everybody finish, and time pass until nothing is left to do."""
    schedule = world.schedule
    world.be_calm()

    def is_quiet() -> bool:
        return (
            all(machine.is_up for machine in world.machines)
            and all(actor.is_idle for actor in schedule.actors)
            and not any(
                actor.name.startswith(("boot", "start", "micro")) for actor in schedule.actors
            )
        )

    schedule.run(is_quiet, world.on_death)
    schedule.end()
    for pause_s in PAUSES_S:
        schedule.now_s += pause_s
        work_off(world)
        for sentence in _put_off_too_long(world):
            world.broken(sentence)
        if not any(_lost(world)):
            break
    for n in range(2):
        schedule.now_s += 90  # longer than between two listings: what is over is no more said
        for machine in world.machines:
            machine.watch.run_round()
            machine.worker.run_round()
            if world.has_outbox and (n == 0 or len(world.machines) == 1):
                schedule.now_s += 150
                machine.outbox.run_round()
            if world.has_nights:
                machine.nights.catch_up()
        if world.has_outbox:
            world.people.lims()


def _put_off_too_long(world: World) -> Iterator[str]:
    """Yield what a clock that was set back puts off for longer than was meant."""
    asked = "SELECT id, due_at FROM content WHERE due_at IS NOT NULL AND state != 'processing'"
    latest_s = world.schedule.now_s + RETRY_AFTER[-1].total_seconds()
    for number, text in world.ask(asked) if world.beats else ():
        due_at = datetime.fromisoformat(text).replace(tzinfo=UTC)
        due_s = world.schedule.now_s + (due_at - world.wall()).total_seconds()
        # What a restart cannot know of the clock it bounds by the longest pause.
        meant_s = latest_s if world.ledger.restarted else world.waits.get(number, latest_s)
        if due_s > min(meant_s, latest_s) + UNNOTICED_S:
            yield f"content {number} waits {due_s - meant_s:.0f} s longer than was meant"


def work_off(world: World) -> None:
    """Do what is due: list twice, and work until nothing is left."""
    for machine in world.machines:
        if world.beats:
            machine.beat()
        for _ in range(2):
            machine.watch.run_round()
            world.schedule.now_s += QUIET_S + 1
        while not machine.worker.run_round():
            world.schedule.now_s += 0.1


def list_broken(world: World) -> Iterator[str]:
    """Yield a sentence for each promise that does not hold."""
    yield from _lost(world)
    yield from _twice(world)
    yield from _half_read(world)
    yield from _without_evidence(world)
    yield from _outbox(world)
    yield from _unsaid(world)
    if world.has_nights:
        yield from _nights(world)


def _lost(world: World) -> Iterator[str]:
    yield from (f"{path} is still {state}" for state, path in world.ask(UNSETTLED))
    rows = world.ask(
        "SELECT p.relative, c.sha256, c.state, c.code FROM path p JOIN content c ON "
        "c.id = p.content_id WHERE p.replaced_at IS NULL AND p.gone_at IS NULL"
    )
    fates = {relative: fate for relative, *fate in rows}
    for name, held in world.disk.files(SHARE).items():
        if name.endswith(".tmp") or name == "Thumbs.db":
            continue
        if name not in fates:
            yield f"{name} lies on the share and nobody knows of it"
            continue
        sha256, state, code = fates[name]
        yield from _wrong_fate(name, held, sha256, state, code)
    kept = {sha256 for (sha256,) in world.ask("SELECT sha256 FROM micrograph")}
    for sha256 in {
        sha256 for sha256, _ in world.ask("SELECT sha256, 1 FROM content WHERE state = 'done'")
    }:
        if sha256 not in kept:
            yield f"content {sha256[:8]} is done and has no micrograph"
    labels = {row for (row,) in world.ask("SELECT id FROM label")}
    for public_id, label, code in world.ledger.decided:
        if label not in labels:
            yield f"the decision {code} on {public_id} is gone"


def _wrong_fate(name: str, held: bytes, sha256: str, state: str, code: str) -> Iterator[str]:
    if not name.endswith(".tif"):
        if state != "ignored":
            yield f"{name} is no picture and {state}"
        return
    try:
        read_picture(held)
    except FileError as error:
        if (state, code) != ("set_aside", str(error.code)):
            yield f"{name} is of no use ({error.code}) and {state} ({code})"
        return
    if state not in ("done", "duplicate"):
        yield f"{name} is whole and {state} ({code})"
    elif sha256 != hashlib.sha256(held).hexdigest():
        yield f"{name} holds another content than its row says"


def _twice(world: World) -> Iterator[str]:
    done = world.ask("SELECT sha256 FROM content WHERE state = 'done'")
    yield from (f"{sha[:8]} was done twice" for (sha,), n in Counter(done).items() if n > 1)
    pages = world.ask("SELECT sha256, page FROM micrograph")
    yield from (
        f"micrograph {sha[:8]} is there twice" for (sha, _), n in Counter(pages).items() if n > 1
    )
    results = world.ask(
        "SELECT m.sha256, (SELECT count(*) FROM result r WHERE r.micrograph_id = m.id) "
        "FROM micrograph m"
    )
    yield from (f"micrograph {sha[:8]} has {n} results" for sha, n in results if n != 1)
    split = world.ask(
        "SELECT m.specimen_id, count(DISTINCT r.bundle) FROM micrograph m JOIN result r ON "
        "r.micrograph_id = m.id WHERE m.specimen_id IS NOT NULL GROUP BY m.specimen_id"
    )
    yield from (f"specimen {one} was judged by {n} bundles" for one, n in split if n > 1)


def _half_read(world: World) -> Iterator[str]:
    for (sha256,) in world.ask("SELECT sha256 FROM micrograph"):
        if sha256 not in world.ledger.whole:
            yield f"micrograph {sha256[:8]} is no whole picture"


def _without_evidence(world: World) -> Iterator[str]:
    pixels = world.disk.files(f"{DATA}/crops")
    originals = {
        name.rpartition("/")[2][:64]: held
        for name, held in world.disk.files(f"{DATA}/originals").items()
        if not name.rpartition("/")[2].startswith(".")
    }
    asked = (
        "SELECT m.sha256, m.page, m.artefacts, r.handling, m.relative FROM micrograph m "
        "JOIN result r ON r.micrograph_id = m.id WHERE r.current"
    )
    for sha256, page, artefacts, handling, name in world.ask(asked):
        expected = json.loads(artefacts)
        is_due = handling == "review" and name not in world.ledger.meddled
        if is_due and not expected["original"]:
            yield f"the original of {name} was not kept"
        for kind, end in KEPT.items():
            held = pixels.get(f"{sha256[:2]}/{sha256}-p{page}{end}")
            if held is None or hashlib.sha256(held).hexdigest() != expected[kind]:
                yield f"the {kind} of {sha256[:8]} is {'lost' if held is None else 'damaged'}"
        if (
            expected["original"]
            and hashlib.sha256(originals.get(sha256, b"")).hexdigest() != sha256
        ):
            yield f"the original of {sha256[:8]} is lost or damaged"
    for sha256, unassigned in world.ask("SELECT sha256, unassigned FROM micrograph"):
        if sha256 in world.ledger.noted and not unassigned:
            yield f"{world.ledger.noted[sha256]} was taken without the note beside it"
    yield from (
        f"trail: {problem}" for problem in world.machines[0].store.audit_log.find_problems()
    )


def _outbox(world: World) -> Iterator[str]:
    files = {n: held for n, held in world.disk.files(OUTBOX).items() if not n.startswith(".")}
    for name in world.ledger.seen.keys() - files.keys():
        yield f"the file {name} of the outbox is gone"
    known = {row for (row,) in world.ask("SELECT public_id FROM micrograph")}
    labels = {
        (p, c)
        for p, c in world.ask(
            "SELECT m.public_id, l.code FROM label l JOIN micrograph m ON m.id = l.micrograph_id"
        )
    }
    orders: dict[str, dict[int, dict[str, Any]]] = {}
    for name, held in files.items():
        if not name.endswith(".json"):
            continue
        try:
            document = json.loads(held)
        except ValueError:
            yield f"the file {name} of the outbox is damaged"
            continue
        if document["revision"] in orders.setdefault(document["order"], {}):
            yield f"order {document['order']} has revision {document['revision']} twice"
        orders[document["order"]][document["revision"]] = document
        if f"{name[:-5]}.csv" not in files:
            yield f"{name} has no CSV beside it"
        yield from _cited(document, known, labels)
    recorded = Counter(
        subject for (subject,) in world.ask("SELECT subject FROM record WHERE kind = 'outbox'")
    )
    for number in recorded.keys() | orders.keys():
        revisions = sorted(orders.get(number, {}))
        if revisions != list(range(1, recorded[number] + 1)):
            yield f"order {number} has revisions {revisions} of {recorded[number]}"
            continue
        states = [hash_state(orders[number][n]) for n in revisions]
        if any(a == b for a, b in pairwise(states)):
            yield f"order {number} has the same revision twice"


def _cited(
    document: dict[str, Any], known: set[str], labels: set[tuple[str, str]]
) -> Iterator[str]:
    for specimen in document["specimens"]:
        for one in specimen["fields"]:
            if one["id"] not in known:
                yield f"order {document['order']} cites {one['id']}, which is not there"
            decided = one["decided"]
            if decided and (one["id"], decided["said"]) not in labels:
                yield f"order {document['order']} cites a decision on {one['id']} that nobody made"


def _unsaid(world: World) -> Iterator[str]:
    for machine in world.machines:
        for sentence in machine.problems.all():
            yield f"it is over and still said: {sentence}"
    for path, state in world.ask(
        "SELECT p.relative, c.state FROM content c JOIN path p ON p.content_id = c.id WHERE "
        "c.state IN ('set_aside', 'failed', 'ignored') AND (c.code IS NULL OR c.reason IS NULL)"
    ):
        yield f"{path} is {state} without a reason"
    if left := [n for n in world.disk.files(DATA) if n.endswith(".part")]:
        world.ledger.count("leftovers")
        del left


def _nights(world: World) -> Iterator[str]:
    night = world.settings.night
    zone = world.settings.site.time_zone
    over = compute_night_end(night_of(world.wall(), night.at, zone), night.at, zone)
    world.schedule.now_s += (over - world.wall() + timedelta(minutes=5)).total_seconds()
    for machine in world.machines:
        machine.nights.catch_up()
    reported: Counter[str] = Counter()
    dates: Counter[str] = Counter()
    begins = []
    for date, text in world.ask("SELECT date, facts FROM night"):
        facts = from_text(text)
        dates[date] += 1
        begins.append(facts.after)
        reported.update(micrograph.id for micrograph in facts.micrographs)
        if not world.disk.find(f"{DATA}/reports/{date}.html"):
            yield f"the night {date} has no page"
    yield from (f"the night {date} has {n} revisions" for date, n in dates.items() if n > 1)
    asked = (
        "SELECT m.public_id, r.done_at FROM micrograph m JOIN result r ON r.micrograph_id = m.id"
    )
    for public_id, done_at in world.ask(asked):
        at = datetime.fromisoformat(done_at).replace(tzinfo=UTC)
        # Reports begin with the night in which the agent was first started.
        is_before_all = not begins or at <= min(begins)
        if reported[public_id] != 1 and not is_before_all:
            yield f"micrograph {public_id} is in {reported[public_id]} reports of nights"
