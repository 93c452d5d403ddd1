"""A round robin to play in tests: drawn micrographs, raters with links, and what each will say."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.demo.exporter import plan_ordinary
from agent.files import pictures
from agent.roundrobin import report as reporting
from agent.roundrobin.campaign import get_order
from agent.store import NewImage, NewRater, Opinion
from agent.store.people import auth
from agent.web.review.images import CROP_PX
from labs.lab import Lab, minutes
from model import default_taxonomy

NAME = "spring"
AT = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
CODES = ("G7", "G8", "G9-10", "B7", "B8", "M8", "M9-10")
TAXONOMY = default_taxonomy()


@cache
def pictures_of(images: int, pixels: tuple[int, int]) -> list[tuple[str, NDArray[np.uint8]]]:
    """Draw micrographs of all codes in turn; drawn once, since drawing takes longest."""
    each = -(-images // len(CODES))
    by_code = [plan_ordinary((code,), each, first_order=100, seed=4, fields=1) for code in CODES]
    drawn = [one for some in zip(*by_code, strict=True) for one in some][:images]
    return [(one.code, one.drawn(pixels, border=False).pixels) for one in drawn]


@dataclass
class Round:
    """A campaign in a lab of its own.

    Args:
        lab: Where. raters, images: how many. tokens: pseudonym → last part of the link.
    """

    lab: Lab
    raters: int
    images: int
    pixels: tuple[int, int] = (280, 210)
    may_go_back: bool = False
    tokens: dict[str, str] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        drawn = pictures_of(self.images, self.pixels)
        self.codes = [code for code, _ in drawn]
        self.ids = []
        for number, (code, pixels) in enumerate(drawn, start=1):
            model = CODES[number % len(CODES)] if number % 4 == 0 else code
            public_id = self.lab.take(model, pixels=pixels, at=minutes(number))
            self.ids.append(public_id)
            self.seen[self.shown(public_id)] = number
        store, told = self.lab.store.campaigns, {"by": "Lea", "at": AT}
        store.add(
            NAME,
            [NewImage(*pair) for pair in zip(self.ids, self.codes, strict=True)],
            [NewRater(f"R{n:02d}", f"Person {n}") for n in range(1, self.raters + 1)],
            taxonomy=TAXONOMY.as_json(),
            seed=11,
            may_go_back=self.may_go_back,
            **told,
        )
        for n in range(1, self.raters + 1):
            token = auth.make_token()
            store.give_link(NAME, f"R{n:02d}", auth.hash_token(token), **told)
            self.tokens[f"R{n:02d}"] = token
        store.open(NAME, **told)

    def shown(self, public_id: str) -> str:
        """Hash of the picture that a rater is shown of a micrograph."""
        view = self.lab.store.results.find(public_id)
        held = self.lab.archive.crop_path(view.sha256, view.page).read_bytes()
        fitted = pictures.fit_within(pictures.decode(held), CROP_PX)
        return hashlib.sha256(pictures.encode_jpeg(fitted, quality=90)).hexdigest()

    def opinion(self, rater: str, number: int) -> tuple[str | None, str | None, str]:
        """What a rater will say of an image: right more often than not, each in their own way."""
        subtype, size = TAXONOMY.parse(self.codes[number - 1])
        draw = int(hashlib.sha256(f"{rater} {number}".encode()).hexdigest()[:8], 16) % 100
        sizes = [one.name for one in TAXONOMY.subtype(subtype).sizes]
        criterion = "max" if draw % 3 == 0 else "mean"
        if draw < 6:
            return None, None, "unrecorded"
        if draw < 30:
            other = {"G": "B", "B": "M", "M": "G"}[subtype]
            return other, sizes[draw % len(sizes)], criterion
        if draw < 55:
            return subtype, sizes[max(0, sizes.index(size) - 1)], criterion
        return subtype, size, criterion

    def everything(self) -> dict[tuple[str, int], tuple[str | None, str | None, str, str]]:
        """What all raters say of all images, with the comment that names both."""
        return {
            (rater, number): (*self.opinion(rater, number), comment(rater, number))
            for rater in self.tokens
            for number in range(1, self.images + 1)
        }

    def kept(self) -> dict[tuple[str, int], tuple[str | None, str | None, str, str]]:
        """What the store kept."""
        found = {}
        for rating in self.lab.store.campaigns.ratings(NAME):
            said = rating.said
            assert (rating.rater, rating.image) not in found
            found[rating.rater, rating.image] = (
                said.subtype,
                said.size,
                said.criterion,
                said.comment,
            )
        return found


def comment(rater: str, number: int) -> str:
    """What a rater writes, so that a mix-up would show."""
    return f"{rater} saw {number}"


def lab_in(folder: Path) -> Lab:
    """Make an empty lab."""
    return Lab(folder / "data")


def play(round_) -> None:
    """Let everybody rate everything, and close."""
    campaigns = round_.lab.store.campaigns
    for rater, token in round_.tokens.items():
        del token
        seat = seat_of(round_, rater)
        for number in get_order(seat.campaign, rater):
            subtype, size, criterion, comment = round_.everything()[rater, number]
            said = Opinion(subtype, size, criterion, comment, 2.5)
            campaigns.rate(seat, number, said, at=AT)
    campaigns.close(NAME, by="Lea", at=AT)


def seat_of(round_, rater):
    from agent.store.people import auth  # noqa: PLC0415

    return round_.lab.store.campaigns.seat(hashed=auth.hash_token(round_.tokens[rater]))


def independent(round_, everything):
    """Compute the figures anew, from what was said, without any of our statistics."""
    from statsmodels.stats.inter_rater import (  # noqa: PLC0415 - seconds
        aggregate_raters,
        fleiss_kappa,
    )

    raters, images = list(round_.tokens), range(1, round_.images + 1)
    codes = dict(enumerate(round_.codes, start=1))

    def share(hits):
        return sum(hits) / len(hits)

    said = {key: (one[0] + one[1] if one[0] else None) for key, one in everything.items()}
    whole = [i for i in images if all(said[r, i] for r in raters)]
    table = np.array([[said[r, i] for r in raters] for i in whole])
    return {
        "subtype": share([everything[r, i][0] == codes[i][0] for r in raters for i in images]),
        "code": share([said[r, i] == codes[i] for r in raters for i in images]),
        "untold": sum(code is None for code in said.values()),
        "whole": whole,
        "kappa of whole": fleiss_kappa(aggregate_raters(table)[0]) if len(whole) > 1 else None,
        "right per rater": {r: sum(said[r, i] == codes[i] for i in images) for r in raters},
    }


def written(round_, path, **more):
    wanted = reporting.Wanted("Plant 1", "24 Nov 2026", **more)
    return reporting.write(
        round_.lab.store, round_.lab.archive, NAME, path, wanted,
        learned=lambda bundles: dict.fromkeys(bundles, frozenset()), by="Lea", at=AT,
    )  # fmt: skip
