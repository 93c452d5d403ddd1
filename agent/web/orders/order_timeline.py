"""What happened to an order, in words: files, decisions, acts, statements and the LIMS, by time.

Everything is read from the results, the audit log, the statements and the records of the outbox.
What a reviewer may not see yet of a field is left out, as on the page of the order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, TypeAlias

import reports
from agent.orders.facts.specimen_facts import Conformity
from agent.orders.judge.assessed import Assessed
from agent.orders.judge.permissions import is_hidden
from agent.orders.lims.outbox import OUTBOX, WRITTEN
from agent.orders.statements.statement import PROGRAM, describe_after, list_after
from agent.orders.statements.trace import iter_fields
from agent.site_time import local_full
from agent.store import MicrographView, Store, TrailEntry
from reports import gettext as _
from reports import marked

Event: TypeAlias = "tuple[datetime, str, tuple[str, ...]]"
"""When, what happened as a sentence, and what else belongs to it."""
IDS = re.compile(r"\b[0-9a-f]{16}(?:-p[0-9]+)?\b")
"""Public ids within a sentence."""
BY_THEMSELVES = ("statement.", "results.", "outbox", "label.doubted")
"""Beginnings of acts that are told by the rows they are of, or change nothing of the order."""


def list_events(store: Store, assessed: Assessed, zone: str) -> list[tuple[str, str, Any]]:
    """Return what happened to an order, oldest first: local time, sentence, further sentences.

    Args:
        store: Open.
        assessed: The order.
        zone: Time zone of the site.
    """
    events = [
        *_iter_arrivals(store, assessed),
        *_iter_acts(store, assessed),
        *_iter_statements(store, assessed.view.number),
        *_iter_revisions(store, assessed.view.number),
    ]
    events.sort(key=lambda event: event[0])
    return [(local_full(at, zone), text, more) for at, text, more in events]


def _list_names(assessed: Assessed) -> dict[str, tuple[str, MicrographView]]:
    """Return public id → what a field is called, with its specimen, and the field."""
    names = {}
    specimens = {
        field.view.id: specimen.view.name
        for specimen in assessed.specimens
        for prepared in specimen.view.preparations
        for field in prepared.fields
    }
    for facts, view, _place in iter_fields(assessed):
        specimen = specimens.get(view.id, "")
        text = _("{field} of specimen {specimen}") if specimen else _("{field} of no specimen")
        names[view.id] = text.format(field=facts.called, specimen=specimen), view
    return names


def _iter_arrivals(store: Store, assessed: Assessed) -> Iterator[Event]:
    for public_id, (name, view) in _list_names(assessed).items():
        first, *later = sorted(store.orders.answers(public_id), key=lambda answer: answer.id)
        came = _("{field} came in as {file}.").format(field=name, file=view.name)
        code = first.structure_code or ""
        if is_hidden(view):
            answer = _("The model's answer is hidden until it is decided.")
        elif code:
            answer = _("The model's answer: {code}.").format(code=code)
        else:
            answer = _("No model has answered.")
        why = [reports.reason(word)[0] for word in first.reasons] if not is_hidden(view) else []
        flagged = (_("sent to review: {why}").format(why=", ".join(why)),) if why else ()
        yield first.done_at, f"{came[:1].upper()}{came[1:]} {answer}", flagged
        for answer_ in later:
            if answer_.role == "live" and not is_hidden(view) and answer_.structure_code:
                text = _("{field} was evaluated again: {code}.")
                code = answer_.structure_code
                text = text.format(field=f"{name[:1].upper()}{name[1:]}", code=code)
                yield answer_.done_at, text, ()


def _iter_acts(store: Store, assessed: Assessed) -> Iterator[Event]:
    number, names = assessed.view.number, _list_names(assessed)
    subjects = {number, *names}
    subjects |= {f"{number}/{specimen.view.name}" for specimen in assessed.specimens}
    begun = [view.result.done_at for _name, view in names.values()]
    since = min(filter(None, (assessed.view.first_seen_at, *begun)), default=None)
    for act in store.orders.acts(subjects, since=since):
        if act.act.startswith(BY_THEMSELVES):
            continue
        name, view = names.get(act.subject, (act.subject, None))
        if view is not None and act.act.startswith("label."):
            yield _describe_label(act, name, view)
        else:
            yield _describe_act(act, "" if act.subject == number else name)


def _describe_label(act: TrailEntry, name: str, view: MicrographView) -> Event:
    if act.act == "label.undone":
        text = _("{who} took a decision on {field} back.").format(who=act.actor, field=name)
        return act.at, text, ()
    if is_hidden(view):
        return act.at, _("{who} decided on {field}.").format(who=act.actor, field=name), ()
    facts, answer = act.facts, view.result.structure_code
    code = facts.get("code") or ""
    if facts.get("kind") == "strange":
        text = _("{who}: {field} is unusual ({what}).")
        code = reports.strange_kind(facts.get("strange_kind") or "")
    elif facts.get("kind") == "unusable":
        text = _("{who}: {field} cannot be used ({what}).")
        code = reports.unusable_why(facts.get("why") or "")
    elif facts.get("kind") == "cannot_tell":
        text = _("{who} cannot tell the code of {field}.")
    elif facts.get("supersedes"):
        text = _("{who} relabelled {field} {what}.")
    elif code == answer:
        text = _("{who} confirmed {what} for {field}.")
    else:
        text = _("{who} labelled {field} {what}.")
    comment = (f"“{facts['comment']}”",) if facts.get("comment") else ()
    return act.at, text.format(who=act.actor, field=name, what=code), comment


ACTS: Mapping[tuple[str, bool | None], str] = {
    ("order.held", None): marked("{who} protected the order from pruning."),
    ("order.released", None): marked("{who} ended the protection of the order."),
    ("order.urgent", True): marked("{who} marked the order as urgent."),
    ("order.urgent", False): marked("{who} returned the order to normal priority."),
    ("order.amended", True): marked("{who} accepted the change of the order list."),
    ("order.amended", False): marked("{who} dismissed the change of the order list."),
    ("reopened.recorded", None): marked("{who} reopened the order."),
    ("file_dismissed.recorded", None): marked("{who} dismissed a file that could not be used."),
}
"""Act, and what its facts state of it → in words."""
DECIDING = {"order.urgent": "urgent", "order.amended": "accepted"}


def _describe_act(act: TrailEntry, about: str) -> Event:
    fact = DECIDING.get(act.act)
    key = (act.act, bool(act.facts.get(fact)) if fact else None)
    who = _("The agent") if act.actor == PROGRAM else act.actor
    if key in ACTS:
        text = _(ACTS[key]).format(who=who)
    else:
        what = reports.act_title(act.act)
        text = f"{who}: {what}, {about}." if about else f"{who}: {what}."
    reason = act.facts.get("reason")
    return act.at, text, (f"“{reason}”",) if isinstance(reason, str) and reason else ()


def _iter_statements(store: Store, number: str) -> Iterator[Event]:
    for frozen in store.statements.all(number):
        document = store.statements.document(frozen.sha256)
        word = Conformity(frozen.conformity).words
        text = _("Statement {n}: {word}.").format(n=frozen.number, word=word)
        words = document.get("words") or {}
        spoken = words.get(reports.language()) or words.get("en") or {}
        changed = spoken.get("changed") or document["changed"]
        named = store.search.list_micrographs(IDS.findall(" ".join(changed)))  # moved ones too
        hidden = [view.id for view in named if is_hidden(view)]
        changed = [line for line in changed if not any(name in line for name in hidden)]
        yield frozen.at, text, (*describe_after(list_after(document["cause"])), *changed)


def _iter_revisions(store: Store, number: str) -> Iterator[Event]:
    made = {
        record.facts["revision"]: record.facts.get("statement_number")
        for record in store.records.all(OUTBOX, number)
    }
    for record in store.records.all(WRITTEN, number):
        revision = record.facts["revision"]
        text = _("Statement {n} was sent to the LIMS as revision {revision}.")
        if record.facts.get("overtaken"):
            text = _("Revision {revision} (statement {n}) was not sent: the LIMS has a later one.")
        yield record.at, text.format(n=made.get(revision) or "–", revision=revision), ()
