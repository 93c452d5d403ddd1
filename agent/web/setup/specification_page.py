"""The page on which a lead writes, signs and takes back a specification.

It is signed only as its preview showed it: the form carries the hash of what was shown and of the
file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from agent.errors import AgentError, UsageError
from agent.orders.judge.assessed import OrderPolicy
from agent.orders.judge.assessment import find_material
from agent.orders.judge.limit import Direction, find_bound, has_sizes, limit_at
from agent.orders.lead_acts import list_judged_by
from agent.orders.specifications.class_texts import choose_title, label_of, name_subtype
from agent.orders.specifications.specification import (
    KEYS,
    LABELS,
    RULES,
    Specification,
    iter_changes,
    iter_faults,
)
from agent.orders.specifications.specification_history import find_taken_back, sign_specifications
from agent.store.people import auth
from agent.web import cookies
from agent.web.authentication import who_is
from agent.web.context import UNKNOWN_ORDER, UnknownMicrographError, WebContext, order_rules
from agent.web.forms import read_stripped_form
from agent.web.models.model_acts import signed
from agent.web.orders.order_acts import is_sent_by_lead
from agent.web.pages import render_page
from agent.web.setup.first_steps import describe_unwritable
from agent.web.setup.taxonomy_page import find_examples
from model import Subtype, Taxonomy
from reports import gettext as _
from reports import marked

SPECIFICATIONS = "/specifications"
SPECIFIED = "specified"
"""Meaning of the signature, as the audit log keeps it."""
MOST_JUDGED = 20
"""Newest orders by which a lead sees what a specification would do."""
NAMES_FROM = timedelta(days=90)
"""How old an order may be whose material, product and customer are offered."""
LISTS = ("magnification", "etchant")
MORE = (
    "product", "valid_until", "specimens", "area_mm2", "area_threshold", "max_preparations",
    "um_per_px", "magnification", "etchant", "needle_limit", "longest_in_mm2", "standard", "chart",
    "chart_revision",
)  # fmt: skip
"""Keys that few specifications need; the page folds them away."""
WANTED = {
    "missing": marked("is missing"),
    "string_too_short": marked("is missing"),
    "too_short": marked("choose at least one"),
    "date_": marked("write a day as 2026-01-31"),
    "int_": marked("must be a whole number"),
    "float_": marked("must be a number"),
    "greater_than": marked("is too small"),
    "less_than": marked("is too large"),
}
"""Beginning of the parser's name of a fault → what is wrong."""


def router(web: WebContext) -> APIRouter:
    """Build the routes of the page on which a lead writes a specification."""
    routes = APIRouter(include_in_schema=False)
    check = auth.PasswordCheck()

    @routes.get(SPECIFICATIONS)
    def show(
        request: Request, name: str = "", order: str = "", new: str = "", done: str = ""
    ) -> Response:
        policy = order_rules(web)
        draft = _draft(policy, name)
        today = web.now().astimezone(ZoneInfo(web.zone)).date().isoformat()
        draft["valid_from"] = max(draft.get("valid_from", ""), today)  # as a new version begins
        if new:
            draft |= dict.fromkeys(("name", *KEYS), "")
        if order and not done:
            draft |= _name_order(web, order)
        nothing_known = bool(order) and not done and not any(draft[key] for key in KEYS)
        return _answer(
            web, request, policy, draft, order=order, done=done[:500], nothing_known=nothing_known
        )

    @routes.post(SPECIFICATIONS)
    async def change(request: Request) -> Response:
        form = await read_stripped_form(request)
        return await run_in_threadpool(_change, web, check, request, form)

    return routes


def _require_file(web: WebContext) -> Path:
    if web.specifications is None:
        raise UnknownMicrographError(_("This page needs the settings of a lab."))
    return web.specifications


def _change(
    web: WebContext, check: auth.PasswordCheck, request: Request, form: Mapping[str, str]
) -> Response:
    policy, order = order_rules(web), form.get("order", "")
    file, act = _require_file(web), form.get("act", "check")
    preview: dict[str, Any] = {}
    if act == "take_back":
        draft = _draft(policy, "")
        taken_back = find_taken_back(web.store)
        wanted = taken_back[1] if taken_back else None
        done = _("The last change was taken back.")
        is_seen = form.get("seen") == _hash(file)
    else:
        draft = dict(form)
        entry, preview = _preview(web, policy, form, cookies.decides(request, form).strip())
        wanted = policy.specifications.put(entry) if entry and not preview["faults"] else None
        done = _("Version {n} of {name} is signed.").format(
            n=preview.get("version"), name=form.get("name")
        )
        is_seen = form.get("seen") == preview.get("seen")
        if act != "sign":
            return _answer(web, request, policy, draft, order=order, preview=preview)
    try:
        if wanted is None or not is_seen:
            text = _("Nothing was signed: read what it would change below, then sign.")
            raise UsageError(text)
        with signed(web, request, form, check, meaning=SPECIFIED) as signature:
            sign_specifications(web.store, file, wanted, zone=web.zone, signature=signature)
    except (AgentError, OSError) as error:
        return _answer(
            web, request, policy, draft, 422, order=order, preview=preview, wrong=str(error)
        )
    shown = {"done": done, **({"order": order} if order else {})}
    answer = RedirectResponse(f"{SPECIFICATIONS}?{urlencode(shown)}", 303)
    cookies.keep(answer, cookies.NAME, signature.by)
    return answer


def _hash(file: Path, *parts: str) -> str:
    """Return the hash of the file as it is and of what was shown."""
    content = file.read_bytes() if file.is_file() else b""
    return hashlib.sha256(content + "\0".join(("", *parts)).encode()).hexdigest()


def _answer(
    web: WebContext,
    request: Request,
    policy: OrderPolicy,
    form: Mapping[str, str],
    code: int = 200,
    /,
    **shown: object,
) -> Response:
    file, who = _require_file(web), who_is(request)
    name = cookies.name_of(request)
    may_sign = is_sent_by_lead(request, policy) if who else not name or policy.may_lead(name)
    versions = web.store.specifications.versions()
    recent = web.store.orders.all(since=web.now() - NAMES_FROM)
    newest = [policy.specifications.find_newest(name) for name in _list_names(policy)]
    facts: dict[str, object] = {
        "file": file,
        "form": form,
        "preview": {},
        "wrong": "",
        "done": "",
        "order": "",
        "nothing_known": False,
        "may_sign": may_sign,
        "has_accounts": who is not None,
        "unwritable": describe_unwritable(file) if may_sign else "",
        "entries": [(entry, versions.get(entry.sha256, 0)) for entry in newest if entry],
        "offered": {
            key: sorted({value for line in recent if (value := getattr(line, key))}) for key in KEYS
        },
        "labels": LABELS,
        "rules": RULES,
        "more": MORE,
        "is_more_set": any(form.get(key) for key in MORE if key != "max_preparations")
        or form.get("max_preparations", "2") != "2",
        "subtypes": _describe_subtypes(web, policy.taxonomy),
        "taken_back": _describe_taken_back(web, policy) if may_sign else None,
    }
    return render_page(web, request, "specification", code, **facts | shown)


def _list_names(policy: OrderPolicy) -> list[str]:
    """Return the names of the specifications, the one that begins last first."""
    entries = sorted(policy.specifications.entries, key=lambda entry: entry.valid_from)
    return list(dict.fromkeys(entry.name for entry in reversed(entries)))


def _describe_subtypes(web: WebContext, taxonomy: Taxonomy) -> list[dict[str, Any]]:
    """Return what the page shows of each subtype: its scale, coarse to fine, with examples."""
    examples = find_examples(web)
    return [
        {
            "name": subtype.name,
            "shown": name_subtype(subtype.name, taxonomy),
            "title": choose_title(subtype),
            "has_sizes": has_sizes(subtype),
            "sizes": [
                {
                    "name": size.name,
                    "label": label_of(size),
                    "numbers": f"{size.numbers.lower:g}–{size.numbers.upper:g}"
                    if size.stated and size.numbers
                    else "",
                    "code": subtype.code(size.name),
                    "example": examples.get(subtype.code(size.name), ""),
                }
                for size in subtype.sizes
            ],
        }
        for subtype in taxonomy.subtypes
    ]


def _describe_taken_back(web: WebContext, policy: OrderPolicy) -> dict[str, Any] | None:
    """Return the last signed change and what taking it back would change, None without one."""
    found = find_taken_back(web.store)
    current = {entry.sha256 for entry in policy.specifications.entries}
    if found is None or set(found[0].facts["entries"]) != current:
        return None
    record, before = found
    changes = []
    for name in _list_names(policy):
        now, then = policy.specifications.find_newest(name), before.find_newest(name)
        if then is None:
            changes.append(_("{name}: no version is left").format(name=name))
        elif now != then:
            changes += [f"{name}: {change}" for change in iter_changes(now, then)]
    return {
        "by": record.by,
        "at": record.at,
        "changes": changes,
        "seen": _hash(_require_file(web)),
    }


# --- its form and its preview


def _draft(policy: OrderPolicy, name: str) -> dict[str, str]:
    """Return the form of the newest version of a name, "" for the one that begins last."""
    names = _list_names(policy)
    entry = policy.specifications.find_newest(name or next(iter(names), ""))
    form = {"fields": "3", "max_preparations": "2", "specimen_rule": "worst_field"}
    if entry is None:
        return form
    values = entry.model_dump(mode="json", include=set(LABELS))
    for key, value in values.items():
        if isinstance(value, (str, int, float)):
            form[key] = f"{value:g}" if isinstance(value, float) else str(value)
    form |= {key: ", ".join(values[key]) for key in LISTS if values[key]}
    if not entry.area_mm2:
        del form["area_mm2"]
    if entry.area_threshold is not None:
        form["area_threshold"] = f"{entry.area_threshold * 100:g}"
    if entry.um_per_px:
        form["um_min"], form["um_max"] = (f"{value:g}" for value in entry.um_per_px)
    for number, subtype in enumerate(policy.taxonomy.subtypes):
        if subtype.name in entry.subtype:
            form[f"allow-{number}"] = "1"
            limit = entry.bound_of(subtype.name)
            bound = find_bound(limit, subtype) if limit else None
            if bound and not bound.is_cut:
                form[f"limit-{number}"] = subtype.sizes[bound.rank].name
                form[f"side-{number}"] = bound.direction.value
    return form


def _name_order(web: WebContext, number: str) -> dict[str, str]:
    """Return what an order fills in: by what it is recognised, and the day of its release."""
    view = web.store.orders.order(number)
    if view is None:
        raise HTTPException(404, UNKNOWN_ORDER)
    keys = {"material": find_material(view)[0], "product": view.product, "customer": view.customer}
    at = (view.first_seen_at or web.now()).astimezone(ZoneInfo(web.zone))
    name = " ".join(value for value in keys.values() if value)
    return {**keys, "name": name, "valid_from": at.date().isoformat(), "valid_until": ""}


def _parse(form: Mapping[str, str], taxonomy: Taxonomy) -> dict[str, Any]:
    """Return the entry that a form describes, as the file would have it."""
    entry: dict[str, Any] = {key: value for key in LABELS if (value := form.get(key, ""))}
    for key in LISTS:
        if key in entry:
            entry[key] = [part.strip() for part in entry[key].split(",") if part.strip()]
    if "area_mm2" in entry:
        entry["area_mm2"] = entry["area_mm2"].replace(",", ".")
    if share := entry.get("area_threshold", "").replace(",", ".").rstrip(" %"):
        entry["criterion"] = "max"
        entry["area_threshold"] = _to_share(share)
    scale = [form.get(key, "").replace(",", ".") for key in ("um_min", "um_max")]
    if any(scale):
        entry["um_per_px"] = scale
    allowed = [
        (subtype, _read_limit(form, number, subtype))
        for number, subtype in enumerate(taxonomy.subtypes)
        if form.get(f"allow-{number}")
    ]
    entry["subtype"] = [subtype.name for subtype, _limit in allowed]
    limits = {subtype.name: limit for subtype, limit in allowed if has_sizes(subtype)}
    if len(set(limits.values())) > 1:
        entry["limits"] = {name: limit for name, limit in limits.items() if limit}
    else:
        entry["limit"] = next(iter(limits.values()), "")
    return entry


def _to_share(percent: str) -> float | str:
    try:
        return float(percent) / 100
    except ValueError:
        return percent


def _read_limit(form: Mapping[str, str], number: int, subtype: Subtype) -> str:
    size = next((own for own in subtype.sizes if own.name == form.get(f"limit-{number}")), None)
    if size is None or not size.name:
        return ""
    side = Direction.COARSER if form.get(f"side-{number}") == "coarser" else Direction.FINER
    return str(limit_at(subtype, size, side))


def _preview(
    web: WebContext, policy: OrderPolicy, form: Mapping[str, str], who: str
) -> tuple[Specification | None, dict[str, Any]]:
    """Return the entry of a form, None where it is none, and what it would change, in words."""
    try:
        entry = Specification.model_validate(
            {**_parse(form, policy.taxonomy), "approved_by": who or "-"}
        )
    except ValidationError as error:
        return None, {"faults": list(dict.fromkeys(_iter_faults(error)))}
    current = policy.specifications
    known = set(iter_faults(current, policy.taxonomy))
    faults = [
        fault.removeprefix("[[specification]] ")
        for fault in iter_faults(current.put(entry), policy.taxonomy)
        if fault not in known
    ]
    if faults:
        return entry, {"faults": faults}
    before = current.find_newest(entry.name)
    changes = list(iter_changes(before, entry))
    judged = list_judged_by(web.store, policy, entry, most=MOST_JUDGED)
    shown = json.dumps(entry.entry | {"approved_by": ""}, sort_keys=True)
    return entry, {
        "faults": [],
        "entry": entry,
        "version": _count_versions(web, entry.name) + 1,
        "is_new": before is None,
        "changes": changes,
        "judged": judged,
        "words": {
            word.words: sum(then is word for _number, _now, then in judged)
            for word in dict.fromkeys(then for _number, _now, then in judged)
        },
        "seen": _hash(_require_file(web), shown) if changes else "",
    }


def _count_versions(web: WebContext, name: str) -> int:
    versions, entries = web.store.specifications.versions(), web.store.specifications.entries()
    return max((versions[sha] for sha, own in entries.items() if own["name"] == name), default=0)


def _iter_faults(error: ValidationError) -> Iterator[str]:
    """Yield what is wrong with a form, a sentence each."""
    for fault in error.errors():
        key = str(fault["loc"][0]) if fault["loc"] else ""
        wanted = next((text for kind, text in WANTED.items() if fault["type"].startswith(kind)), "")
        text = _(wanted) if wanted else fault["msg"].removeprefix("Value error, ")
        yield f"{_(LABELS[key])}: {text}." if key in LABELS else f"{text[:1].upper()}{text[1:]}."
