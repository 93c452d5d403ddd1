"""`agent order`, `agent orders`, `agent spec`: what was ordered, and whether it conforms."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from agent.cli import console
from agent.cli.app import DONE, SOME_FAILED, app, settings_of, store_of
from agent.cli.signing import os_user, signed_store
from agent.errors import FileError, WrongUse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.orders.assessment import Assessed, Lab
    from agent.orders.specification import Specification
    from agent.orders.specimen_facts import Allowance, FieldFacts
    from agent.settings import Settings
    from agent.store import Store
    from model import Taxonomy

orders = typer.Typer(
    name="orders", help="All orders, and which field belongs where.", no_args_is_help=True
)
spec = typer.Typer(
    name="spec", help="The specification limits in specifications.toml.", no_args_is_help=True
)
app.add_typer(orders)
app.add_typer(spec)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Number = Annotated[str, typer.Argument(metavar="NUMBER", help="The order's number.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The micrograph's id, as in the report.")]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who does this; it is kept.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept.")]
Defect = Annotated[
    str,
    typer.Option(
        metavar="KIND",
        help="The defect behind it: over_etched, under_etched, scratched, stained, out_of_focus, "
        "exposure, wrong_crop or wrong_magnification.",
    ),
]


Picture = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A picture of the defect; the archive keeps a copy."),
]


def _now() -> datetime:
    return datetime.now(UTC)


def lab_in(settings: Settings, store: Store, *, is_noted: bool = True) -> Lab:
    """Read what the lab has laid down.

    Args:
        settings: Of the lab.
        store: Open.
        is_noted: Whether a changed specification or taxonomy is written down; else nothing is.

    Raises:
        BadSpecification: The file cannot be used.
    """
    from agent.lab_context import taxonomy_in_force
    from agent.orders.instrument_holds import holds_of
    from agent.orders.order_policy import lab_of

    taxonomy = taxonomy_in_force(settings, store)
    held = holds_of(settings, store)
    return lab_of(settings, store, taxonomy, now=_now(), held=held, is_noted=is_noted)


# --- agent order --------------------------------------------------------------------------------


@app.command()
def order(
    context: typer.Context,
    number: Number,
    as_of: Annotated[
        str,
        typer.Option(
            "--as-of",
            metavar="DATE",
            help="What was stated at the end of that day, or at a time such as 2026-11-24T14:30.",
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Say whether an order conforms, and what is missing."""
    from agent.cli.statements import show_as_of
    from agent.orders.assessment import assess
    from agent.orders.order_json import document_of

    settings = settings_of(context)
    with store_of(settings) as store:
        if as_of:
            show_as_of(store, number, as_of, zone=settings.site.time_zone, as_json=as_json)
            return
        assessed = assess(store, number, lab_in(settings, store))
    if assessed is None:
        raise WrongUse(f"nobody has heard of an order {number!r}; see: agent orders list")
    if as_json:
        console.print_json(document_of(assessed))
        return
    _show(assessed)


def _show(assessed: Assessed) -> None:
    view, wanted = assessed.view, assessed.specification
    said = [
        ("customer", view.customer),
        ("product", view.product),
        ("material", assessed.material),
        ("urgent", "yes" if view.urgent else ""),
        (
            "demanded",
            f"{wanted.demand} ({wanted.name}, version {assessed.version})" if wanted else "",
        ),
    ]
    console.console.print(
        f"Order {view.number}: {assessed.statement.conformity.words}", markup=False, style="bold"
    )
    for name, value in said:
        if value:
            console.console.print(f"  {name}: {value}", markup=False)
    rows = [
        (
            one.view.name,
            one.facts.preparation,
            one.statement.conformity.words,
            " ".join(_code(field) for field in one.facts.fields if not field.superseded),
            "; ".join((*one.statement.because, *one.statement.missing, *one.notes)),
        )
        for one in assessed.specimens
    ]
    console.table(("specimen", "preparation", "conformity", "fields", "what is said"), rows)
    shown = {f"specimen {one.view.name}:" for one in assessed.specimens}
    for sentence in assessed.statement.missing:
        if not any(sentence.startswith(start) for start in shown) or ": nothing" in sentence:
            console.console.print(f"missing: {sentence}", markup=False)
    rule = assessed.decision_rule.lines if assessed.decision_rule else ()
    for note in (*assessed.notes, *rule):
        console.console.print(f"note: {note}", markup=False)
    for fate in assessed.lost:
        console.console.print(f"unusable: {fate.path} ({fate.said})", markup=False)


def _code(field: FieldFacts) -> str:
    if field.decided:
        return f"{field.decided.said or field.decided.kind}*"
    doubt = "?" if field.awaits or len(field.codes) > 1 else ""
    return f"{field.code or '–'}{doubt}"


# --- agent orders -------------------------------------------------------------------------------


@orders.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List every order, urgent ones first."""
    with store_of(settings_of(context)) as store:
        lines = store.orders.all()
    if as_json:
        console.print_json(
            [
                {
                    "order": one.number,
                    "customer": one.customer,
                    "product": one.product,
                    "material": one.material,
                    "urgent": one.urgent,
                    "first_seen_at": one.first_seen_at and one.first_seen_at.isoformat(),
                    "specimens": one.specimens,
                    "fields": one.fields,
                    "awaiting_review": one.waiting,
                }
                for one in lines
            ]
        )
        return
    if not lines:
        console.console.print(
            "No orders yet: they come with the path pattern of a source, or from an order list."
        )
        return
    console.table(
        ("order", "urgent", "material", "customer", "product", "specimens", "fields", "in review"),
        [
            (
                one.number,
                "urgent" if one.urgent else "",
                one.material,
                one.customer,
                one.product,
                one.specimens,
                one.fields,
                one.waiting,
            )
            for one in lines
        ],
    )


@orders.command("import")
def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A CSV with a column order.")],
    by: By = "",
) -> None:
    """Take an order list in."""
    from agent.lab_context import read_taxonomy
    from agent.orders import BadSpecification
    from agent.orders.order_list import take_list
    from agent.orders.order_policy import note_specifications
    from agent.orders.priority import put_first

    settings = settings_of(context)
    with store_of(settings) as store:
        known = [subtype.name for subtype in read_taxonomy(settings, store, now=_now()).subtypes]
        with suppress(BadSpecification):  # what was noted before holds; `agent order` names it
            note_specifications(settings.orders.specifications, store, now=_now())
        try:
            taken = take_list(store, file, subtypes=known, by=by or os_user(), at=_now())
        except OSError as error:
            raise WrongUse(f"{file}: cannot be read ({error.strerror or error}).") from error
        put_first(store, settings)
    if taken.refusal:
        raise WrongUse(f"{file}: {taken.refusal}")
    console.console.print(f"{len(taken.changed)} orders new or changed", markup=False)
    for sentence in taken.sentences:
        console.aside.print(sentence, markup=False)
    raise typer.Exit(SOME_FAILED if taken.broken else DONE)


@orders.command()
def urgent(
    context: typer.Context,
    number: Number,
    off: Annotated[bool, typer.Option("--off", help="It waits its turn again.")] = False,
    by: By = "",
) -> None:
    """Let an order go first in processing and in review."""
    from agent.orders.priority import put_first

    settings = settings_of(context)
    with signed_store(context, settings, by) as (store, signer):
        store.orders.set_urgent(number, urgent=not off, by=signer or os_user(), at=_now())
        put_first(store, settings)
    console.console.print(f"{number}: {'waits its turn' if off else 'goes first'}", markup=False)


@orders.command()
def control(context: typer.Context, as_json: Json = False) -> None:
    """Show the control specimens of each microscope over time."""
    from dataclasses import asdict

    from agent.orders.instrument_checks import chart

    settings = settings_of(context)
    with store_of(settings) as store:
        found = chart(store, settings.orders.control)
    if as_json:
        console.print_json(
            {source: [asdict(one) for one in some] for source, some in found.items()}
        )
        return
    if not found:
        console.console.print(
            "No control specimen yet: name control orders under [orders] control in agent.toml.",
            markup=False,
        )
        return
    for source, points in found.items():
        rows = [
            (
                f"{one.at:%Y-%m-%d %H:%M}",
                one.code,
                "" if one.p_value is None else f"{one.p_value:.3f}",
                "" if one.brightness is None else f"{one.brightness:.0f}",
                "" if one.focus is None else f"{one.focus:.4f}",
                "; ".join(one.faults) or "as usual",
            )
            for one in points[-60:]
        ]
        columns = ("UTC", "code", "strangeness p", "brightness", "focus", "found")
        console.table(columns, rows, title=f"Control specimen of {source}")


@orders.command()
def unassigned(context: typer.Context, as_json: Json = False) -> None:
    """List fields that belong to no specimen, and why."""
    with store_of(settings_of(context)) as store:
        found = store.orders.unassigned()
    if as_json:
        console.print_json(
            [{"id": f.view.id, "file": f.view.path, "reason": f.reason} for f in found]
        )
        return
    if not found:
        console.console.print("Every field belongs to a specimen.")
        return
    console.table(("id", "file", "why"), [(f.view.id, f.view.path, f.reason) for f in found])
    console.console.print(
        'assign one: agent orders assign ID ORDER SPECIMEN --by NAME --reason "label fell off"'
    )


@orders.command()
def assign(  # noqa: PLR0917 - each is a word of the command
    context: typer.Context,
    public_id: Id,
    number: Number,
    specimen: Annotated[str, typer.Argument(metavar="SPECIMEN", help="Its specimen.")],
    by: By = "",
    reason: Reason = "",
    preparation: Annotated[str, typer.Option(help="Else the latest one.")] = "",
    field: Annotated[str, typer.Option(help="Its number on the specimen.")] = "",
) -> None:
    """Say where a field belongs."""
    from agent.orders.permissions import require_may_assign

    keys = {"order": number, "specimen": specimen, "preparation": preparation, "field": field}
    settings = settings_of(context)
    with signed_store(context, settings, by) as (store, signer):
        lab = lab_in(settings, store)
        require_may_assign(store, lab, public_id, keys, by=signer)
        store.orders.assign(
            public_id, keys, by=signer, reason=reason, at=_now(), lead=lab.is_lead(signer)
        )
    console.console.print(
        f"{public_id}: order {number}, specimen {specimen}, by {signer}.", markup=False
    )


@orders.command()
def supersede(  # noqa: PLR0917 - each is a word of the command
    context: typer.Context,
    public_id: Id,
    by: By = "",
    reason: Reason = "",
    defect: Defect = "",
    picture: Picture = None,
) -> None:
    """Replace a field: it is shown and counts no longer.

    A field that could break the limit is replaced by a lead; one that a reviewer confirmed to break
    it by a second person, with a picture of the defect.
    """
    settings = settings_of(context)
    with signed_store(context, settings, by) as (store, signer):
        view = store.micrograph(public_id)
        number = store.orders.of_micrograph(public_id)
        if view is None or number is None:
            raise WrongUse(f"{public_id}: belongs to no order; see: agent orders unassigned")
        act = _permit_replacement(
            settings, store, number, [public_id], by=signer, defect=defect, picture=picture
        )
        store.orders.supersede(public_id, reason=reason, **act)
    console.console.print(f"{public_id}: superseded by {signer}; it stays visible.", markup=False)


@orders.command("prepare-again")
def prepare_again(  # noqa: PLR0917 - each is a word of the command
    context: typer.Context,
    number: Number,
    specimen: Annotated[str, typer.Argument(metavar="SPECIMEN", help="Its specimen.")],
    by: By = "",
    reason: Reason = "",
    defect: Defect = "",
    picture: Picture = None,
) -> None:
    """Begin the next preparation of a specimen: what comes from now on belongs to it."""
    settings = settings_of(context)
    with signed_store(context, settings, by) as (store, signer):
        view = store.orders.order(number)
        mine = [one for one in view.specimens if one.name == specimen] if view else []
        last = mine[0].preparations[-1:] if mine else ()
        ids = [one.view.id for prepared in last for one in prepared.fields]
        act = _permit_replacement(
            settings, store, number, ids, by=signer, defect=defect, picture=picture
        )
        name = store.orders.prepare_again(number, specimen, reason=reason, **act)
    console.console.print(
        f"{number}/{specimen}: preparation {name}; the earlier one is superseded, and visible.",
        markup=False,
    )


@orders.command("same-place")
def same_place(  # noqa: PLR0917 - each is a word of the command
    context: typer.Context,
    public_id: Id,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="The other micrograph's id.")],
    different: Annotated[
        bool, typer.Option("--different", help="The two show different places.")
    ] = False,
    belongs: Annotated[
        bool, typer.Option("--belongs", help="The place belongs to ID, and OTHER is the copy.")
    ] = False,
    by: By = "",
    reason: Reason = "",
) -> None:
    """Decide about two micrographs that show one place: a lead's act."""
    from agent.orders.permissions import require_lead

    if different == belongs:
        raise WrongUse("Give one of --different and --belongs.")
    if not reason.strip():
        raise WrongUse("Give a reason with --reason TEXT: the statement shows it.")
    settings = settings_of(context)
    with signed_store(context, settings, by) as (store, signer):
        require_lead(lab_in(settings, store), signer)
        store.places.decide(
            public_id,
            other,
            belongs=public_id if belongs else "",
            by=signer,
            reason=reason,
            at=_now(),
        )
    decision = f"{public_id} keeps the place" if belongs else "they show different places"
    console.console.print(f"{public_id}, {other}: {decision}, by {signer}.", markup=False)


@orders.command()
def reopen(context: typer.Context, number: Number, by: By = "", reason: Reason = "") -> None:
    """Judge an order by the specification that is in force now: a lead's act."""
    from agent.orders.permissions import require_lead
    from agent.orders.specification_history import reopen as reopen_order

    settings = settings_of(context)
    with signed_store(context, settings, by) as (store, signer):
        require_lead(lab_in(settings, store), signer)
        reopen_order(store, number, by=signer, reason=reason, at=_now())
    console.console.print(
        f"{number}: reopened by {signer}; the specification now in force applies.", markup=False
    )


@orders.command("dismiss-file")
def dismiss_file(
    context: typer.Context,
    number: Number,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The unusable file's name.")],
    by: By = "",
    reason: Reason = "",
) -> None:
    """Decide that an unusable file shows nothing of an order: a lead's act."""
    from agent.orders.assessment import assess
    from agent.orders.lost_files import dismiss
    from agent.orders.permissions import require_lead

    settings = settings_of(context)
    with signed_store(context, settings, by) as (store, signer):
        lab = lab_in(settings, store)
        require_lead(lab, signer)
        assessed = assess(store, number, lab)
        if assessed is None:
            raise WrongUse(f"Unknown order {number!r}. Run `agent orders list`.")
        number = assessed.view.number
        dismiss(store, number, file, assessed.lost, by=signer, reason=reason, at=_now())
    console.console.print(f"{number}: {file} dismissed by {signer}.", markup=False)


@orders.command()
def amend(
    context: typer.Context,
    number: Number,
    dismiss: Annotated[
        bool, typer.Option("--dismiss", help="What the list changes does not hold.")
    ] = False,
    by: By = "",
    reason: Reason = "",
) -> None:
    """Accept what an order list changes of an order, or dismiss it: a lead's act."""
    from agent.orders.permissions import require_lead

    settings = settings_of(context)
    with signed_store(context, settings, by) as (store, signer):
        require_lead(lab_in(settings, store), signer)
        changed = store.orders.amend(
            number, accept=not dismiss, by=signer, reason=reason, at=_now()
        )
    word = "dismissed" if dismiss else "accepted"
    console.console.print(
        f"{number}: change of {', '.join(changed)} {word} by {signer}.", markup=False
    )


class _Replacement(TypedDict):
    """What the store keeps of who replaces fields."""

    by: str
    defect: str
    picture: str
    lead: bool
    at: datetime


def _permit_replacement(
    settings: Settings,
    store: Store,
    number: str,
    ids: Sequence[str],
    *,
    by: str,
    defect: str,
    picture: Path | None,
) -> _Replacement:
    """Refuse who may not replace fields of an order; keep the picture of the defect."""
    from agent.orders.permissions import require_may_replace

    lab = lab_in(settings, store)
    _require_known(defect)
    sha256 = _keep_picture(settings, picture)
    require_may_replace(store, lab, number, ids, by=by, defect=defect, picture=sha256)
    return {
        "by": by,
        "defect": defect,
        "picture": sha256,
        "lead": lab.is_lead(by),
        "at": _now(),
    }


def _require_known(defect: str) -> None:
    from agent.orders.specimen_facts import DEFECTS

    if defect and defect not in DEFECTS:
        raise WrongUse(f"--defect: one of {', '.join(DEFECTS)}; found {defect!r}.")


def _keep_picture(settings: Settings, picture: Path | None) -> str:
    """Copy a picture of a defect into the archive; return its SHA-256, "" without one."""
    if picture is None:
        return ""
    import hashlib

    from agent.archive import Archive
    from agent.imaging import read

    try:
        picture = picture.resolve()
        read(picture)
        sha256 = hashlib.sha256(picture.read_bytes()).hexdigest()
        Archive(settings.store.folder).keep_original(picture, sha256)
    except (FileError, OSError) as error:
        raise WrongUse(f"--picture {picture}: it cannot be read as a picture ({error}).") from error
    return sha256


# --- agent spec ---------------------------------------------------------------------------------


@spec.command("list")
def list_specifications(context: typer.Context, as_json: Json = False) -> None:
    """List what is demanded, and of whom."""
    settings = settings_of(context)
    with store_of(settings) as store:
        lab = lab_in(settings, store)
        versions = store.orders.versions()
    entries = lab.specifications.entries
    if as_json:
        console.print_json([one.entry | {"version": versions[one.sha256]} for one in entries])
        return
    if not entries:
        console.console.print(f"{settings.orders.specifications}: no specifications yet.")
        return
    console.table(
        ("name", "version", "valid from", "for", "demanded", "fields", "mm²", "approved by"),
        [
            (
                one.name,
                versions[one.sha256],
                one.valid_from,
                ", ".join(x for x in (one.material, one.product, one.customer) if x),
                one.demand,
                one.fields,
                one.area_mm2 or "",
                one.approved_by,
            )
            for one in entries
        ],
    )
    for said in lab.allowances:
        if said.bound is not None and any(_is_of(said, one, lab.taxonomy) for one in entries):
            console.console.print(
                f"automatic for {said.material}, {said.subtype} {said.limit}: n = {said.n} "
                f"specimens that break it or are of another subtype, {said.wrong} called "
                f"conforming, at most {said.bound:.1%} (bundle {said.bundle}, by {said.by}, "
                f"since {said.since:%Y-%m-%d %H:%M} UTC)",
                markup=False,
            )


def _is_of(said: Allowance, one: Specification, taxonomy: Taxonomy) -> bool:
    """Return whether a permission is about what a specification demands."""
    from agent.orders.judgement_rules import Rules
    from agent.orders.specification import same

    rules = Rules(one, taxonomy)
    if rules.fault or said.subtype not in one.subtype:
        return False
    mine = not one.material or same(one.material, said.material)
    return mine and rules.is_validated_by(said, said.subtype)


@spec.command("check")
def check_specifications(context: typer.Context) -> None:
    """Check specifications.toml; every fault is named, exit code 2."""
    from agent.orders import BadSpecification, faults, read_specifications

    settings = settings_of(context)
    file = settings.orders.specifications
    if not file.exists():
        raise WrongUse(f"{file}: there is no such file; [orders] specifications names it.")
    known = read_specifications(file)
    with store_of(settings) as store:
        lab = lab_in(settings, store)
    found = list(faults(known, lab.taxonomy))
    for sentence in found[1:]:
        console.aside.print(f"{file}: {sentence}", markup=False)
    if found:
        raise BadSpecification(f"{file}: {found[0]}")
    n = len(known.entries)
    what = "1 specification, it can" if n == 1 else f"{n} specifications, all can"
    console.console.print(f"{file}: {what} be judged.", markup=False)


@spec.command()
def automatic(
    context: typer.Context,
    material: Annotated[str, typer.Argument(metavar="MATERIAL", help="Of which material.")],
    off: Annotated[bool, typer.Option("--off", help="Only people say so again.")] = False,
    by: By = "",
    reason: Reason = "",
) -> None:
    """Let the model alone say "conforms" for a material: a lead's act, on a validation record."""
    from agent.orders.method_validation import limit_states, switch
    from agent.orders.order_policy import is_lead

    settings = settings_of(context)
    with signed_store(context, settings, by) as (store, signer):
        if not is_lead(settings, store, signer):
            raise WrongUse(
                f"{signer or 'nobody'} is no lead: give an account that role (agent users add NAME "
                "--role lead), or name leads under [orders] leads in agent.toml."
            )
        record = switch(
            store,
            material,
            on=not off,
            bundle=store.current_bundle(),
            most=settings.orders.max_false_conform,
            by=signer,
            reason=reason,
            at=_now(),
        )
    if record is None:
        console.console.print(
            f"{material}: only people say that it conforms, by {signer}.", markup=False
        )
        return
    console.console.print(
        f"{material}: automatic conformity is on, by {signer}, on validation record {record.id} "
        f"(bundle {record.facts['bundle']}, {record.facts['images']} images), for results made "
        "from now on",
        markup=False,
    )
    for one in limit_states(record.facts, most=settings.orders.max_false_conform):
        word = "on" if one.reaches else "off"
        console.console.print(f"  {word}: {one.sentence}", markup=False)
