"""Read and check `specifications.toml`, and choose the specification of an order.

Two that apply, or a limit that cannot be judged, are reported and never chosen between.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from agent.errors import SetupError
from agent.files import shares
from agent.orders.judge.limit import (
    Limit,
    LongestLimit,
    NeedleLimit,
    find_bound,
    find_limit_fault,
    find_mean_fault,
    has_sizes,
    read_limit,
    read_longest_limit,
    read_needle_limit,
)
from agent.settings.section import Section, Shown, describe_toml_fault
from agent.store.numbers import fold_letters
from model import Taxonomy, find_nearest, suggest_nearest
from reports import decimal, marked
from reports import gettext as _

FAR_AWAY = date.max
KEYS = ("material", "product", "customer")
"""By what an order is recognised."""


class SpecificationError(SetupError):
    """`specifications.toml` cannot be used; the message names file, entry and fault."""


CRITERIA = (marked("mean"), marked("max"))
"""What decides a size, as a specification names it."""
Words = Annotated[tuple[str, ...], Field(default=())]
LABELS = {
    "name": marked("Name"),
    "material": marked("Material"),
    "product": marked("Product"),
    "customer": marked("Customer"),
    "valid_from": marked("Valid from"),
    "valid_until": marked("Valid until"),
    "subtype": marked("Allowed subtypes"),
    "fields": marked("Fields of a specimen"),
    "specimen_rule": marked("Rule"),
    "area_threshold": marked("Share of a field that may look coarser than the limit"),
    "specimens": marked("Specimens of an order"),
    "area_mm2": marked("Area of a specimen (mm²)"),
    "max_preparations": marked("Preparations of a specimen, at most"),
    "um_per_px": marked("Scale (µm per pixel)"),
    "magnification": marked("Magnifications"),
    "etchant": marked("Etchants"),
    "needle_limit": marked("Limit of the needle lengths"),
    "longest_in_mm2": marked("Limit of the longest needle"),
    "standard": marked("Standard"),
    "chart": marked("Chart"),
    "chart_revision": marked("Revision of the chart"),
}
"""Key of an entry → its name on pages."""
RULES = {
    "worst_field": marked("Every field keeps the limit"),
    "mean_of_fields": marked("The mean of all fields keeps the limit"),
}
"""What a specimen has to keep, as `specimen_rule` names it."""


class Specification(Section):
    """One entry: what has to be there, and what every field of it has to keep.

    `limit` names a size of the taxonomy, or a number inside one, and the allowed side of it. With
    `criterion = "max"` at most `area_threshold` of a field may look coarser than the limit.
    `decision_rule = "guarded"`: what cannot be told apart from a size that breaks the limit does
    not keep it. `specimen_rule = "mean_of_fields"` holds the mean of the fields' size numbers
    against the limit's number, so each size has to have one; of lengths in µm a mean of at most
    the limit is "or finer". A specimen that was prepared more often than `max_preparations` proves
    nothing. `limits` gives a subtype a limit of its own; `limit` is for the others that have sizes,
    and a subtype without sizes needs none. `needle_limit` and `longest_in_mm2` make an order
    undecided where the measured needles do not show that they are kept; they never make one
    conform.
    """

    model_config = ConfigDict(str_strip_whitespace=True)

    name: Shown = Field(min_length=1)
    valid_from: date
    valid_until: date | None = None
    approved_by: Shown = Field(min_length=1)
    chart: Shown = ""
    chart_revision: Shown = ""
    standard: Shown = ""
    material: Shown = ""
    product: Shown = ""
    customer: Shown = ""
    subtype: tuple[str, ...] = Field(min_length=1)
    limit: str = ""
    limits: dict[str, str] = Field(default_factory=dict)
    needle_limit: str = ""
    longest_in_mm2: str = ""
    criterion: Literal["mean", "max"] = "mean"
    area_threshold: float | None = Field(None, gt=0, lt=1)
    fields: int = Field(ge=1)
    area_mm2: float = Field(0.0, ge=0)
    specimens: int | None = Field(None, ge=1)
    max_preparations: int = Field(2, ge=1)
    um_per_px: tuple[float, float] | None = None
    magnification: Words
    etchant: Words
    decision_rule: Literal["guarded"] = "guarded"
    specimen_rule: Literal["worst_field", "mean_of_fields"] = "worst_field"

    @field_validator("subtype", "magnification", "etchant", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("subtype")
    @classmethod
    def _composed(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(unicodedata.normalize("NFC", name) for name in value)  # as in the taxonomy

    @field_validator("limit")
    @classmethod
    def _readable(cls, value: str) -> str:
        if value:
            read_limit(value)
        return value

    @field_validator("limits")
    @classmethod
    def _readable_limits(cls, value: dict[str, str]) -> dict[str, str]:
        for limit in value.values():
            read_limit(limit)
        return {unicodedata.normalize("NFC", name): limit for name, limit in value.items()}

    @field_validator("needle_limit")
    @classmethod
    def _readable_needles(cls, value: str) -> str:
        if value:
            read_needle_limit(value)
        return value

    @field_validator("longest_in_mm2")
    @classmethod
    def _readable_longest(cls, value: str) -> str:
        if value:
            read_longest_limit(value)
        return value

    @field_validator("um_per_px")
    @classmethod
    def _ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value and not 0 < value[0] < value[1]:
            raise ValueError(_("write it as [smallest, largest], both above 0"))
        return value

    @model_validator(mode="after")
    def _holds_together(self) -> Specification:
        if not any(getattr(self, key) for key in KEYS):
            raise ValueError(
                _("it names no material, product or customer, so it would apply to all")
            )
        if (self.criterion == "max") != (self.area_threshold is not None):
            raise ValueError(
                _(
                    'a share that may look coarser needs criterion "max", and criterion "max" '
                    "such a share (area_threshold)"
                )
            )
        if strangers := [name for name in self.limits if name not in self.subtype]:
            text = _("limits names {name}, which subtype does not allow")
            raise ValueError(text.format(name=repr(strangers[0])))
        if self.limits and self.specimen_rule == "mean_of_fields":
            raise ValueError(_("the mean of all fields needs one limit for every subtype"))
        needs_limit = self.criterion == "max" or self.specimen_rule == "mean_of_fields"
        if needs_limit and not (self.limit or self.limits):
            raise ValueError(
                _(
                    "the mean of all fields (mean_of_fields) and a share that may look coarser "
                    '(criterion "max") need a limit'
                )
            )
        if self.valid_until and self.valid_until < self.valid_from:
            raise ValueError(_("its last day (valid_until) is before its first (valid_from)"))
        return self

    @property
    def bound(self) -> Limit | None:
        """The limit of the subtypes that have none of their own, or None."""
        return read_limit(self.limit) if self.limit else None

    def bound_of(self, subtype: str) -> Limit | None:
        """Return the limit of a subtype that has sizes, or None."""
        text = self.limits.get(subtype, self.limit)
        return read_limit(text) if text else None

    @property
    def needle_bound(self) -> NeedleLimit | None:
        """The limit of a quantile of the needle lengths, or None."""
        return read_needle_limit(self.needle_limit) if self.needle_limit else None

    @property
    def longest_bound(self) -> LongestLimit | None:
        """The limit of the longest needle in an area, or None."""
        return read_longest_limit(self.longest_in_mm2) if self.longest_in_mm2 else None

    @property
    def demands_needles(self) -> bool:
        """Whether needle lengths are limited."""
        return bool(self.needle_limit or self.longest_in_mm2)

    @property
    def demand_of_sizes(self) -> str:
        """Subtypes and limits as the file has them: "G 7 or finer"."""
        names = [f"{name} {self.limits.get(name, '')}".rstrip() for name in self.subtype]
        return f"{' or '.join(names)} {self.limit}".rstrip()

    @property
    def demand(self) -> str:
        """The demand in a few words: "G, 7 or finer (mean)"."""
        size = f", {self.bound.words}" if self.bound else ""
        size += f" ({_(self.criterion)})" if self.bound or self.limits else ""
        needles = (bound.words for bound in (self.needle_bound, self.longest_bound) if bound)
        own = {name: read_limit(limit).words for name, limit in self.limits.items()}
        names = [f"{name} {own[name]}" if name in own else name for name in self.subtype]
        return ", ".join((_(" or ").join(names) + size, *needles))

    @property
    def sha256(self) -> str:
        """Hash that distinguishes the versions of an entry."""
        text = json.dumps(self.entry, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def entry(self) -> dict[str, Any]:
        """The entry as JSON has it, what is left at its default left out."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def describe(self) -> dict[str, str]:
        """Return what it demands and of which orders, in words: name on pages → value."""
        values = {key: _format_value(getattr(self, key)) for key in LABELS}
        values["specimen_rule"] = _(RULES[self.specimen_rule])
        if self.area_threshold is not None:
            values["area_threshold"] = f"{decimal(self.area_threshold * 100, 'g')} %"
        words = {_(LABELS[key]): value for key, value in values.items()}
        for name in self.subtype:
            bound = self.bound_of(name)
            what = _("Limit of {name}").format(name=name)
            words[what] = bound.words if bound else _("none")
        return words

    def is_valid(self, on: date) -> bool:
        """Return whether it is valid on a day."""
        return self.valid_from <= on <= (self.valid_until or FAR_AWAY)

    def is_for(self, order: Mapping[str, str]) -> bool:
        """Return whether it applies to an order, on any day."""
        wanted = {key: getattr(self, key) for key in KEYS}
        return all(
            is_same_name(value, order.get(key, "")) for key, value in wanted.items() if value
        )


def _format_value(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(_format_value(part) for part in value)
    if isinstance(value, float):
        return decimal(value, "g") if value else ""
    return "" if value is None else str(value)


def iter_changes(before: Specification | None, after: Specification) -> Iterator[str]:
    """Yield what differs between two versions, a phrase each; all of it where there was none."""
    old, new = before.describe() if before else {}, after.describe()
    for what in {**old, **new}:
        was, now = old.get(what, ""), new.get(what, "")
        if was == now:
            continue
        text = _("{what}: {now}, before {was}") if before else _("{what}: {now}")
        yield text.format(what=what, now=now or _("none"), was=was or _("none"))


def is_same_name(name: str, other: str) -> bool:
    """Return whether two names of a material, product or customer are the same to the eye."""
    return " ".join(fold_letters(name).split()) == " ".join(fold_letters(other).split())


@dataclass(frozen=True, slots=True)
class SpecificationChoice:
    """The specification that applies to one order.

    Args:
        specification: The one that applies, or None.
        sentence: Why none does, "" where one does.
        is_torn: Several apply: nothing is chosen, and the lead has to mend the file.
    """

    specification: Specification | None
    sentence: str = ""
    is_torn: bool = False


@dataclass(frozen=True, slots=True)
class Specifications:
    """Everything that is demanded of anybody, with every version still on file."""

    entries: tuple[Specification, ...] = ()

    def put(self, entry: Specification) -> Specifications:
        """Return them with one more; it replaces the one of its name and first day."""
        key = (entry.name, entry.valid_from)
        others = (own for own in self.entries if (own.name, own.valid_from) != key)
        return Specifications((*others, entry))

    def find_newest(self, name: str) -> Specification | None:
        """Return the entry of a name that begins last, None for an unknown name."""
        own = [entry for entry in self.entries if entry.name == name]
        return max(own, key=lambda entry: entry.valid_from, default=None)

    def for_order(self, order: Mapping[str, str], *, on: date) -> SpecificationChoice:
        """Return which specification applies to an order.

        Args:
            order: Its material, product and customer; `specification` names one outright.
            on: The day of the order: what is demanded later does not change it.
        """
        named = order.get("specification", "")
        known = [
            entry
            for entry in self.entries
            if entry.name == named or (not named and entry.is_for(order))
        ]
        if not known:
            return SpecificationChoice(None, _explain_no_choice(named, order))
        in_force = _select_newest([entry for entry in self.entries if entry.is_valid(on)])
        valid = [days for days in in_force if days in known]
        if not valid:
            first = min(known, key=lambda entry: entry.valid_from)
            sentence = _("{name} is not valid on {day}").format(name=first.name, day=on)
            if newer := [days for days in in_force if days.name == first.name]:
                sentence = _("{name} speaks of other orders since {day}")
                sentence = sentence.format(name=first.name, day=newer[0].valid_from)
            return SpecificationChoice(None, sentence)
        if len(valid) > 1:
            names = _(" and ").join(sorted(entry.name for entry in valid))
            sentence = _("{names} both apply; make one of them narrower (agent spec list --check)")
            return SpecificationChoice(None, sentence.format(names=names), is_torn=True)
        return SpecificationChoice(valid[0])


def list_valid_limits(
    specifications: Specifications, taxonomy: Taxonomy, *, on: date
) -> dict[str, Callable[[str], bool]]:
    """Return the limits that are valid on a day, each with a function: whether a code keeps it.

    A limit that names no size of the taxonomy is left out: no order can conform to it.

    Args:
        specifications: As read.
        taxonomy: What a micrograph can be called.
        on: The day.
    """
    in_force = _select_newest([entry for entry in specifications.entries if entry.is_valid(on)])
    return {
        days.demand_of_sizes: partial(_is_kept, days, taxonomy)
        for days in in_force
        if (days.limit or days.limits) and not find_size_fault(days, taxonomy)
    }


def _is_kept(specification: Specification, taxonomy: Taxonomy, code: str) -> bool:
    name, size = taxonomy.parse(code)
    if name not in specification.subtype:
        return False
    limit, subtype = find_limit(specification, name, taxonomy), taxonomy.subtype(name)
    bound = find_bound(limit, subtype) if limit else None
    return limit is None or (bound is not None and bound.keeps(subtype.sizes[subtype.rank(size)]))


def find_limit(wanted: Specification, subtype: str, taxonomy: Taxonomy) -> Limit | None:
    """Return the limit that a subtype's codes are held against, None where it has none."""
    is_sized = bool(wanted.limits.get(subtype)) or has_sizes(taxonomy.subtype(subtype))
    return wanted.bound_of(subtype) if is_sized else None


def find_size_fault(wanted: Specification, taxonomy: Taxonomy) -> str:
    """Return why the limits of a specification cannot be judged, in one sentence; "" if they can.

    Of several subtypes those without sizes need no limit; one alone cannot have any. Where `limits`
    names one that has sizes, the others with sizes have a limit too: one was else forgotten.
    """
    for name, text in wanted.limits.items():
        if fault := find_limit_fault(read_limit(text), (name,), taxonomy):
            return fault
    rest = [name for name in wanted.subtype if name not in wanted.limits]
    if wanted.bound and rest:
        return find_limit_fault(wanted.bound, rest, taxonomy)
    without = [name for name in rest if wanted.limits and _has_sizes(taxonomy, name)]
    return (
        _(
            "subtype {name} has sizes and no limit, while others have one: give it one as well "
            '(its coarsest size "or finer" allows every size)'
        ).format(name=without[0])
        if without
        else ""
    )


def _has_sizes(taxonomy: Taxonomy, name: str) -> bool:
    """Return whether a subtype is known and has sizes."""
    return any(subtype.name == name and has_sizes(subtype) for subtype in taxonomy.subtypes)


def _select_newest(valid: Sequence[Specification]) -> list[Specification]:
    """Return the newest of each name; of two from the same day, both."""
    since: dict[str, date] = {}
    for entry in valid:
        since[entry.name] = max(entry.valid_from, since.get(entry.name, entry.valid_from))
    return [entry for entry in valid if entry.valid_from == since[entry.name]]


def _explain_no_choice(named: str, order: Mapping[str, str]) -> str:
    if named:
        sentence = _("the order names the specification {name}, which is not in the file")
        return sentence.format(name=repr(named))
    called = {"material": _("material"), "product": _("product"), "customer": _("customer")}
    keys_named = [f"{called[key]} {order[key]}" for key in KEYS if order.get(key)]
    if not keys_named:
        return _(
            "no material, product or customer is known of it, so no specification limit applies"
        )
    return _("no specification limit is set for {what}").format(what=", ".join(keys_named))


# --- the file -----------------------------------------------------------------------------------


def read_specifications(file: Path) -> Specifications:
    """Read the file; a lab without one has no specifications.

    Raises:
        SpecificationError: Names the file, the entry and the fault.
    """
    text = ""
    try:
        text = shares.inspect(file, lambda: file.read_text(encoding="utf-8-sig"))
        document = tomllib.loads(text)
    except FileNotFoundError:
        return Specifications()
    except OSError as error:
        raise SpecificationError(f"{file}: cannot be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise SpecificationError(f"{file}: not valid TOML: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise SpecificationError(f"{file}: {describe_toml_fault(text, error)}") from error
    strangers = sorted(document.keys() - {"specification"})
    entries = document.get("specification", [])
    if strangers or not isinstance(entries, list):
        unknown = strangers[0] if strangers else "specification"
        raise SpecificationError(f"{file}: expected [[specification]] entries, found {unknown!r}.")
    return Specifications(
        tuple(_parse_entry(file, number, entry) for number, entry in enumerate(entries, start=1))
    )


def _parse_entry(file: Path, number: int, entry: object) -> Specification:
    if not isinstance(entry, dict):
        raise SpecificationError(f"{file}: expected [[specification]] entries, found {entry!r}.")
    where = f"{file}: [[specification]] {entry.get('name') or f'number {number}'}"
    try:
        return Specification(**entry)
    except ValidationError as error:
        raise SpecificationError(f"{where}: {_describe_fault(error)}") from error


def _describe_fault(error: ValidationError) -> str:
    errors = error.errors()
    strangers = [entry for entry in errors if entry["type"] == "extra_forbidden"]
    first = (strangers or errors)[0]  # a misspelt key is why another one is missing
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"no key is called {key}.{suggest_nearest(key, Specification.model_fields)}"
    if first["type"] == "missing":
        return f"{key} is missing."
    message = _describe_wanted(first["type"], first["msg"])
    value = f", found {first['input']!r}" if key and "found" not in message else ""
    return f"{key}: {message}{value}." if key else f"{message}."


def _describe_wanted(kind: str, message: str) -> str:
    """Return what a value must be, in the terms of the file and not of the parser."""
    for beginning, wanted in _WANTED.items():
        if kind.startswith(beginning):
            return wanted
    return message.removeprefix("Value error, ").replace("Input should be", "must be")


_WANTED = {
    "date_": "write a date as 2026-01-01, without quotes",
    "int_": "must be a whole number",
    "float_": "must be a number",
    "bool_": "must be true or false",
    "string_type": "must be text in quotes",
    "tuple_type": "must be a list in square brackets",
}
"""Beginning of the parser's name of a fault → what the value must be."""


def iter_faults(specifications: Specifications, taxonomy: Taxonomy) -> Iterator[str]:
    """Yield everything that would prevent the judgement of an order, a sentence each.

    Args:
        specifications: As read.
        taxonomy: What a micrograph can be called.
    """
    for entry in specifications.entries:
        if fault := find_size_fault(entry, taxonomy):
            yield f"[[specification]] {entry.name}: limit: {fault}."
        elif entry.specimen_rule == "mean_of_fields" and (
            fault := find_mean_fault(entry.subtype, taxonomy)
        ):
            yield f"[[specification]] {entry.name}: specimen_rule: {fault}."
        known = [subtype.name for subtype in taxonomy.subtypes]
        if strangers := [name for name in entry.subtype if name not in known]:
            text = _("there is no subtype {name}; known are {known}.")
            text = text.format(name=repr(strangers[0]), known=", ".join(known))
            if near := find_nearest(strangers[0], known):
                text += " " + _("Did you mean {name}?").format(name=near)
            yield f"[[specification]] {entry.name}: {text}"
    in_force = _list_valid_days(specifications.entries)
    for (entry, days), (other, others) in combinations(
        zip(specifications.entries, in_force, strict=True), 2
    ):
        if sentence := _describe_clash(entry, other, together=bool(days & others)):
            yield sentence


def _list_valid_days(entries: Sequence[Specification]) -> list[set[date]]:
    """Return, for each entry, on which of the days that change anything it is valid."""
    ends = [
        entry.valid_until for entry in entries if entry.valid_until and entry.valid_until < FAR_AWAY
    ]
    days = {entry.valid_from for entry in entries} | {end + timedelta(days=1) for end in ends}
    days_of: list[set[date]] = [set() for _ in entries]
    for day in days:
        newest = {
            id(entry)
            for entry in _select_newest([entry for entry in entries if entry.is_valid(day)])
        }
        for entry, days_of_entry in zip(entries, days_of, strict=True):
            if id(entry) in newest:
                days_of_entry.add(day)
    return days_of


def _describe_clash(entry: Specification, other: Specification, *, together: bool) -> str:
    if entry.name == other.name:
        if entry.valid_from == other.valid_from:
            return f"[[specification]] {entry.name}: twice, both valid from {entry.valid_from}."
        return ""
    apart = any(
        getattr(entry, key)
        and getattr(other, key)
        and not is_same_name(getattr(entry, key), getattr(other, key))
        for key in KEYS
    )
    if not together or apart:
        return ""
    keys = {key: getattr(entry, key) or getattr(other, key) for key in KEYS}
    order = ", ".join(f"{key} {value}" for key, value in keys.items() if value)
    text = _(
        "{name} and {other} both apply to an order of {order}; make one of them narrower."
    ).format(name=entry.name, other=other.name, order=order)
    return f"[[specification]] {text}"
