"""Acts on bundles from a page: a lead has the impact computed, signs, and rolls back.

These acts are rare. What they need of the model is loaded when the first of them comes.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from fastapi.responses import RedirectResponse

from agent.errors import AgentError, UnusableBundleError, UsageError
from agent.orders.facts.order_policy import software
from agent.orders.judge.permissions import require_lead
from agent.retrain.bundle_registry import (
    BACK_FROM,
    get_bundle,
    get_record_folder,
    list_previous_bundles,
    require_allowed,
)
from agent.retrain.promotion import (
    DAYS,
    describe_gate,
    has_evidence,
    require_known_impact,
    require_same_codes,
)
from agent.store import Signature, acting_through
from agent.web import cookies
from agent.web.authentication import origin_of, who_is
from agent.web.context import WebContext, order_rules, read_database_time
from agent.web.review.decisions import LONGEST_COMMENT
from model import ModelError
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from fastapi import Request, Response

    from agent.retrain import Impact
    from agent.store import RingRules
    from agent.store.people import auth

PROMOTED = "promoted"
"""Meaning of the signature, as the audit log keeps it."""


def answer_signed(
    web: WebContext,
    check: auth.PasswordCheck,
    request: Request,
    form: Mapping[str, str],
    *,
    act: Callable[[Signature], str],
    page: str,
    refuse: Callable[[str], Response],
) -> Response:
    """Do what a form signs, and answer with its page.

    Args:
        web: Behind the pages.
        check: Of passwords.
        request: With the form.
        form: What it sent.
        act: Does it and returns what was done, for the page.
        page: Address of the page.
        refuse: Renders the page with why nothing was done.
    """
    try:
        with signed(web, request, form, check) as signature:
            done = act(signature)
    except (AgentError, ModelError, OSError) as error:
        return refuse(str(error))
    answer = RedirectResponse(f"{page}?{urlencode({'done': done})}", 303)
    cookies.keep(answer, cookies.NAME, signature.by)
    return answer


@contextmanager
def signed(
    web: WebContext,
    request: Request,
    form: Mapping[str, str],
    check: auth.PasswordCheck,
    *,
    meaning: str = PROMOTED,
) -> Iterator[Signature]:
    """Check that a lead signs with a reason and, where there are accounts, the password.

    Args:
        web: Behind the pages.
        request: With the form.
        form: What it sent.
        check: Of passwords.
        meaning: Of the signature.

    Yields:
        The signature; acts within the context are recorded with its meaning.

    Raises:
        UsageError: The name, the reason or the password is missing or wrong, or no lead signs.
    """
    who, by = who_is(request), cookies.decides(request, form)
    reason = form.get("reason", "").strip()
    if wrong := cookies.wrong_name(by):
        raise UsageError(wrong)
    if not reason or len(reason) > LONGEST_COMMENT or not reason.isprintable():
        raise UsageError(_("A signature needs a reason; it is recorded."))
    if who is not None:
        if not (who.may("lead") or order_rules(web).is_lead(who.name)):
            raise UsageError(_("Only a lead may sign this."))
        require_password(web, who.name, form.get("password", ""), check)
    elif web.learning.names_leads:
        require_lead(order_rules(web), by.strip())
    with acting_through(replace(origin_of(request, who), meaning=meaning)):
        yield Signature(by.strip(), reason, web.now())


def require_password(web: WebContext, name: str, password: str, check: auth.PasswordCheck) -> None:
    """Raise `UsageError` unless a password is an account's; wrong ones are counted."""
    at = web.now()
    tried = web.store.accounts.begin_try(name, browser="", at=at)
    if tried.locked_until:
        raise UsageError(_("Too many wrong passwords. Wait some minutes, then sign again."))
    account = tried.account
    usable = account is not None and account.kind == "person" and account.disabled_at is None
    if account is None or not check.is_password(account.hashed if usable else None, password):
        web.store.accounts.failed(name, at=at)
        raise UsageError(_("Wrong password. Nothing was changed."))
    web.store.accounts.succeeded(name)


def compute_and_save_impact(web: WebContext, name: str) -> Impact:
    """Compute which orders a bundle would change, and write the page of it into its record."""
    from agent.retrain import compute_impact, save_impact  # noqa: PLC0415 - brings PyTorch

    now = web.now()
    impact = compute_impact(
        web.store,
        order_rules(web),
        name,
        since=now - timedelta(days=DAYS),
        has_crop=lambda view: web.archive.has_crop(view.sha256, view.page),
        days=DAYS,
    )
    record = get_record_folder(get_bundle(web.archive.folder, name))
    at = f"{now:%Y-%m-%d %H:%M} UTC with {software()}"
    save_impact(impact, record, web.archive, site=web.site, at=at)
    return impact


def promote(
    web: WebContext,
    name: str,
    signature: Signature,
    *,
    rings: RingRules | None = None,
    is_sure: bool = True,
) -> str:
    """Sign for a bundle and return what follows, in a sentence.

    Args:
        web: Of the pages.
        name: Of the bundle.
        signature: Of a lead.
        rings: The PCs take it in these rings; None: all at once.
        is_sure: The lead signs although no gate recommends it.

    Raises:
        UsageError: It is in use already, no gate recommends it and the lead is not sure, its
            effect on orders is not known, or a rollout is running.
        model.ModelError: A file of it is not what its manifest names.
    """
    from model import verify_bundle  # noqa: PLC0415 - brings PyTorch

    folder = get_bundle(web.archive.folder, name)
    before = web.store.promotions.find_current()
    if before == name:
        raise UsageError(_("{name} is already in use.").format(name=name))
    manifest = verify_bundle(folder)
    require_allowed(web.archive.folder, manifest)
    if not is_sure and not has_evidence(folder, before):
        raise UsageError(
            _("No gate recommends {name}. To sign all the same, tick the box.").format(name=name)
        )
    impact = compute_and_save_impact(web, name)
    require_known_impact(impact)
    shown = impact.in_short() | {"gate": describe_gate(folder, before)}
    if rings is not None:
        if not web.learning.names_taxonomy:
            require_same_codes(name, manifest.taxonomy, web.taxonomy())
        shown |= {"rings": rings.to_json()}
    is_promoted = web.store.promotions.sign(
        name,
        replace(signature, shown=shown),
        metrics=manifest.metrics,
        promoters=web.learning.promoters,
        instead_of=before,
        rings=rings,
        ring_at=read_database_time(web),
    )
    if not is_promoted:
        text = _("{name} is proposed by {who} and needs the signature of a second lead.")
        return text.format(name=name, who=signature.by)
    if rings is not None:
        return _("The PCs of ring 1 take {name}.").format(name=name)
    _write_cards(web, name, before)
    return _("{name} is in use from the next specimen on.").format(name=name)


def roll_back(web: WebContext, signature: Signature) -> str:
    """Put the previous bundle into use again and return what follows, in a sentence.

    Raises:
        UsageError: There is no previous bundle.
        model.ModelError: A file of it is not what its manifest names.
    """
    from model import verify_bundle  # noqa: PLC0415 - brings PyTorch

    promotions = web.store.promotions.list_all()
    before = next(iter(list_previous_bundles(promotions)), None)
    if before is None:
        raise UsageError(_("There is no previous bundle."))
    current = promotions[0].bundle
    manifest = verify_bundle(get_bundle(web.archive.folder, before))
    require_allowed(web.archive.folder, manifest)
    web.store.promotions.promote(
        before,
        by=signature.by,
        reason=f"back from {current}: {signature.reason}",
        at=signature.at,
        metrics={**manifest.metrics, BACK_FROM: current},
    )
    _write_cards(web, before, current)
    text = _("{name} is in use again and replaces {current}.")
    return text.format(name=before, current=current)


def write_card(web: WebContext, name: str) -> None:
    """Write a bundle's model card with its current facts.

    Raises:
        UnusableBundleError: There is no such bundle.
        model.ModelError: Its manifest cannot be read.
    """
    from agent.retrain import save_card  # noqa: PLC0415 - brings PyTorch

    save_card(
        get_bundle(web.archive.folder, name),
        web.store.promotions.list_all(),
        site=web.site,
        at=f"{web.now():%Y-%m-%d %H:%M} UTC with {software()}",
        language=web.learning.language,
    )


def _write_cards(web: WebContext, *names: str | None) -> None:
    for name in filter(None, names):
        with suppress(
            UnusableBundleError, OSError, ModelError
        ):  # a broken or missing bundle needs no card
            write_card(web, name)
