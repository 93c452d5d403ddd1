"""Run a round robin: sample its micrographs, set it up, create links, collect the ratings.

A random sample is mostly easy and far from every limit, and would flatter raters and model alike:
at least a third is near a limit, and hard ones are as frequent as easy ones. Raters are numbered in
a shuffled order, so that a pseudonym does not identify anyone; only a reader of the database knows
who is who.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import cycle

from agent.errors import UsageError
from agent.labelled_import import get_key
from agent.orders.judge.limit import Limit, find_bound
from agent.roundrobin.panel import Panel, image_results
from agent.store import (
    RATERS_DOUBT,
    Campaign,
    CampaignRater,
    MicrographView,
    NewImage,
    NewRater,
    Rating,
    Seat,
    Store,
)
from agent.store.people import auth
from model import Taxonomy, TaxonomyError, taxonomy_from

NEAR_SHARE = 1 / 3
"""Least share of the chosen ones that is next to a limit, where there are so many."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A micrograph that could be rated.

    Args:
        id: Public id.
        code: Its label.
        near: Its size is next to a limit, on either side.
        hard: The model gives another code, or is unsure of it.
    """

    id: str
    code: str
    near: bool
    hard: bool

    @property
    def stratum(self) -> str:
        """Why it was chosen, in words."""
        beside = ["near a limit"] * self.near
        return ", ".join([self.code, *beside, "hard" if self.hard else "easy"])


def choose(candidates: Sequence[Candidate], n: int, *, seed: int) -> list[Candidate]:
    """Choose n micrographs: all codes alike, a third near a limit, hard and easy in turn.

    Args:
        candidates: All that could be rated.
        n: How many are wanted; fewer come back where there are fewer.
        seed: Of the sample; the same seed, the same choice.
    """
    drawn = random.Random(seed).sample(list(candidates), len(candidates))
    chosen: list[Candidate] = []
    for pool, wanted in (
        ([candidate for candidate in drawn if candidate.near], math.ceil(n * NEAR_SHARE)),
        (drawn, n),
    ):
        left = [candidate for candidate in pool if candidate not in chosen]
        for candidate in _code_by_code(left, chosen):
            if len(chosen) >= wanted:
                break
            chosen.append(candidate)
    return chosen


def _code_by_code(left: Sequence[Candidate], chosen: Sequence[Candidate]) -> Iterator[Candidate]:
    """Yield candidates, always of the code that was chosen least so far."""
    queues = {
        code: _in_turn([candidate for candidate in left if candidate.code == code])
        for code in {candidate.code for candidate in left}
    }
    counts = {code: sum(candidate.code == code for candidate in chosen) for code in queues}
    while queues:
        code = min(queues, key=lambda name: (counts[name], name))
        yield queues[code].pop(0)
        counts[code] += 1
        if not queues[code]:
            del queues[code]


def _in_turn(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Order hard and easy ones in turn, a hard one first."""
    halves = [
        [candidate for candidate in candidates if candidate.hard is hard] for hard in (True, False)
    ]
    ordered: list[Candidate] = []
    for half in cycle(halves):
        if not any(halves):
            return ordered
        if half:
            ordered.append(half.pop(0))
    return ordered


def is_near(code: str, limits: Sequence[tuple[str, Limit]], taxonomy: Taxonomy) -> bool:
    """Return whether a code's size is next to a limit: the last that keeps it, or the first not.

    Args:
        code: Of the taxonomy.
        limits: Each with its subtype.
        taxonomy: The codes and their order.
    """
    name, size = taxonomy.parse(code)
    subtype = taxonomy.subtype(name)
    sizes, at = subtype.sizes, subtype.rank(size)
    beside = [sizes[place] for place in (at - 1, at + 1) if 0 <= place < len(sizes)]
    bounds = [find_bound(limit, subtype) for own, limit in limits if own == name]
    return any(
        bound.keeps(sizes[at]) != bound.keeps(other)
        for bound in bounds
        if bound is not None
        for other in beside
    )


def count_strata(chosen: Sequence[Candidate]) -> Mapping[str, int]:
    """Count the chosen micrographs per stratum."""
    return Counter(sorted(candidate.stratum for candidate in chosen))


NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
"""A campaign's name: it is part of an address and of file names."""
"""Why a label is suspect: a key of the sentences in `reports`."""


def require_name(name: str) -> str:
    """Return a campaign's name if it is valid.

    Raises:
        UsageError: It is not.
    """
    if not NAME.fullmatch(name):
        raise UsageError(
            f"a name here has up to 40 letters, digits, dots and dashes; found {name!r}."
        )
    return name


def set_up(
    store: Store,
    name: str,
    images: Sequence[NewImage],
    raters: Sequence[NewRater],
    *,
    taxonomy: Taxonomy,
    seed: int,
    by: str,
    at: datetime,
    merged: Mapping[str, str] | None = None,
    may_go_back: bool = False,
) -> None:
    """Set a campaign up.

    Raises:
        UsageError: A name, a micrograph, a code or a rater is not valid; nothing was written.
    """
    if not images:
        raise UsageError("a campaign needs at least one micrograph.")
    if twice := _find_duplicate([image.micrograph for image in images]):
        raise UsageError(f"micrograph {twice} is named twice.")
    if twice := _find_duplicate([rater.account for rater in raters if rater.account]):
        raise UsageError(f"account {twice} is invited twice.")
    _refuse_unknown_accounts(store, raters)
    known = taxonomy.code
    checked = [
        NewImage(
            image.micrograph,
            known(*taxonomy.parse(image.reference)) if image.reference else None,
            image.stratum,
        )
        for image in images
    ]
    store.campaigns.add(
        require_name(name),
        checked,
        _assign_pseudonyms(raters, seed),
        taxonomy=taxonomy.as_json(),
        merged={
            known(*taxonomy.parse(code)): known(*taxonomy.parse(counts_as))
            for code, counts_as in (merged or {}).items()
        },
        seed=seed,
        may_go_back=may_go_back,
        by=by,
        at=at,
    )


def get_campaign(store: Store, name: str) -> Campaign:
    """Return a campaign.

    Raises:
        UsageError: There is none of that name.
    """
    campaign = store.campaigns.find(name)
    if campaign is None:
        raise UsageError(f"there is no campaign {name!r}; agent roundrobin list shows all.")
    return campaign


def invite(store: Store, campaign: Campaign, invited: NewRater, *, by: str, at: datetime) -> str:
    """Invite one more rater.

    Returns:
        The pseudonym.

    Raises:
        UsageError: The account is unknown, or invited already.
    """
    if invited.account and any(other.account == invited.account for other in campaign.raters):
        raise UsageError(f"account {invited.account} is invited already.")
    _refuse_unknown_accounts(store, [invited])
    number = max((int(other.pseudonym[1:]) for other in campaign.raters), default=0) + 1
    rater = replace(invited, pseudonym=f"R{number:02d}")
    store.campaigns.invite(campaign.row.name, rater, by=by, at=at)
    return rater.pseudonym


def close(store: Store, name: str, *, by: str, at: datetime) -> list[str]:
    """Close a campaign, and send the micrographs on which raters disagree back to review.

    The label of such a micrograph is suspect from then on: it is not trained on before a reviewer
    has decided again.

    Returns:
        Public ids of those; they are in the review queue now.

    Raises:
        UsageError: No such campaign, or it is not open.
    """
    store.campaigns.close(name, by=by, at=at)
    campaign = get_campaign(store, name)
    results = image_results(build_panel(campaign, store.campaigns.ratings(name)))
    ids = {image.number: image.micrograph for image in campaign.images}
    disputed = [ids[result.number] for result in results if result.is_disputed]
    if disputed:
        store.campaigns.ask_again(name, disputed, by=by, at=at)
    for public_id in disputed:
        view = store.results.find(public_id)
        if view is not None and view.label is not None:
            store.labels.mark_suspect(
                public_id, label_id=view.label.id, sentence=RATERS_DOUBT, by=by, at=at
            )
    return disputed


def links(
    store: Store, campaign: Campaign, raters: Iterable[CampaignRater], *, by: str, at: datetime
) -> dict[str, str]:
    """Create a link for each rater; an earlier one ends.

    Returns:
        Pseudonym → the last part of the link.
    """
    made = {}
    for rater in raters:
        token = auth.make_token()
        hashed = auth.hash_token(token)
        store.campaigns.give_link(campaign.row.name, rater.pseudonym, hashed, by=by, at=at)
        made[rater.pseudonym] = token
    return made


def _refuse_unknown_accounts(store: Store, raters: Sequence[NewRater]) -> None:
    known = {account.name for account in store.accounts.every() if account.kind == "person"}
    if missing := [
        rater.account for rater in raters if rater.account and rater.account not in known
    ]:
        raise UsageError(f"there is no account {missing[0]!r}; agent users list shows all.")


def _assign_pseudonyms(raters: Sequence[NewRater], seed: int) -> list[NewRater]:
    shuffled = random.Random(seed).sample(list(raters), len(raters))
    return [
        replace(rater, pseudonym=f"R{number:02d}") for number, rater in enumerate(shuffled, start=1)
    ]


def _find_duplicate(words: Sequence[str]) -> str:
    return next((word for at, word in enumerate(words) if word in words[:at]), "")


# --- choosing -----------------------------------------------------------------------------------


def candidates(
    store: Store,
    *,
    taxonomy: Taxonomy,
    limits: Sequence[tuple[str, Limit]],
    least_sure: float,
    learned: frozenset[str],
) -> list[Candidate]:
    """Return the labelled micrographs that could be rated.

    Args:
        store: Open.
        taxonomy: A code outside it cannot be rated.
        limits: Each with its subtype.
        least_sure: Below this probability the model is unsure, and the micrograph hard.
        learned: Keys of the current bundle's training images, which are left out: the model would
            only remember them.
    """
    rateable = []
    for labelled in store.labelled_micrographs.list_all():
        view = store.results.find(labelled.id)
        if view is None or view.pruned_at is not None or labelled.label.code is None:
            continue
        if get_key(view.sha256, view.page) in learned:
            continue
        try:
            code = taxonomy.code(*taxonomy.parse(labelled.label.code))
        except TaxonomyError:
            continue
        sure = view.result.structure_code == code and (view.result.probability or 0.0) >= least_sure
        hard = bool(view.result.structure_code) and not sure
        rateable.append(Candidate(labelled.id, code, is_near(code, limits, taxonomy), hard))
    return rateable


# --- rating -------------------------------------------------------------------------------------


def get_order(campaign: Campaign, pseudonym: str) -> list[int]:
    """Return the numbers of a campaign's images in the order in which a rater sees them."""
    numbers = [image.number for image in campaign.images]
    random.Random(f"{campaign.row.seed} {pseudonym}").shuffle(numbers)
    return numbers


def image_at(seat: Seat, place: int) -> int | None:
    """Return the number of the image at a rater's place, from 1; None where there is none."""
    order = get_order(seat.campaign, seat.rater.pseudonym)
    return order[place - 1] if 1 <= place <= len(order) else None


def next_place(seat: Seat) -> int | None:
    """Return a rater's first place, from 1, that has no rating; None where all are rated."""
    order = get_order(seat.campaign, seat.rater.pseudonym)
    return next(
        (at for at, number in enumerate(order, start=1) if number not in seat.ratings), None
    )


def may_show(seat: Seat, place: int) -> bool:
    """Return whether a place may be shown: the next one, and earlier ones where that is allowed."""
    image = image_at(seat, place)
    if not seat.campaign.row.is_open or image is None:
        return False
    return seat.campaign.row.may_go_back if image in seat.ratings else place == next_place(seat)


# --- gathering ----------------------------------------------------------------------------------


def build_panel(
    campaign: Campaign, ratings: Iterable[Rating], model: Mapping[int, str] | None = None
) -> Panel:
    """Build the panel of a campaign; of two ratings of one image by one rater the newer counts."""
    taxonomy = taxonomy_from(campaign.row.taxonomy)
    return Panel(
        taxonomy=taxonomy,
        raters=tuple(rater.pseudonym for rater in campaign.raters),
        images=tuple(image.number for image in campaign.images),
        answers={(rating.rater, rating.image): rating.said for rating in ratings},
        reference={image.number: image.reference for image in campaign.images if image.reference},
        model=model or {},
        merged=campaign.row.merged,
        teams={rater.pseudonym: rater.team for rater in campaign.raters if rater.team},
    )


@dataclass(frozen=True, slots=True)
class ModelAnswers:
    """The model's stored answers on a campaign's images.

    Args:
        codes: Image → code.
        bundles: Whose answers they are.
        learned: Images that the bundle was trained on; they are left out of `codes`.
        unknown: Bundles whose training images are not known.
    """

    codes: Mapping[int, str]
    bundles: tuple[str, ...]
    learned: tuple[int, ...]
    unknown: tuple[str, ...] = ()


def model_answers(
    campaign: Campaign, views: Mapping[int, MicrographView], learned: Mapping[str, frozenset[str]]
) -> ModelAnswers:
    """Return the model's live answers on the images it was not trained on.

    Args:
        campaign: Of the images.
        views: Image → the micrograph with its current result.
        learned: Bundle → keys of its training images.
    """
    taxonomy = taxonomy_from(campaign.row.taxonomy)
    codes, remembered = {}, []
    for number, view in views.items():
        if not view.result.structure_code or view.result.structure_code not in taxonomy.codes:
            continue
        if get_key(view.sha256, view.page) in learned.get(view.result.bundle, frozenset()):
            remembered.append(number)
        else:
            codes[number] = view.result.structure_code
    bundles = sorted({views[number].result.bundle for number in codes})
    unknown = tuple(bundle for bundle in bundles if bundle not in learned)
    return ModelAnswers(codes, tuple(bundles), tuple(remembered), unknown)
