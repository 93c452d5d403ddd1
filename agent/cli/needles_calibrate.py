"""`agent needles calibrate`: a lead sets the correction of needle lengths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import console
from agent.cli.app import SAYS_NO, load_settings, now_utc, open_store
from agent.cli.needles import needles
from agent.cli.needles_compare import to_json
from agent.cli.options import By, JsonOption, Reason
from agent.cli.signing import signed_store
from agent.errors import WrongUse

if TYPE_CHECKING:
    from agent.needle_truth import NeedleCalibration, TruthGroup
    from agent.settings import Settings
    from agent.store import Store


@needles.command("calibrate")
def calibrate_(
    context: typer.Context,
    *,
    subtype: Annotated[str | None, typer.Option(help="Only this subtype.")] = None,
    microscope: Annotated[str | None, typer.Option(help="Only this microscope.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be set, and set nothing.")
    ] = False,
    off: Annotated[
        bool,
        typer.Option("--off", help="Withdraw the calibration of --subtype and --microscope."),
    ] = False,
    by: By = "",
    reason: Reason = "",
    json: JsonOption = False,
) -> None:
    """Set the ratio that corrects needle lengths, per subtype and microscope. Only a lead may.

    Run agent needles compare first. Needs 30 fields with 10 measured needles each, and is refused
    where the ratio depends on the length. The calibration is recorded with a version.
    """
    settings = load_settings(context)
    if off and not (subtype and microscope):
        raise WrongUse("--off needs --subtype and --microscope.")
    if dry_run:
        with open_store(settings) as store:
            _show(_select(store, subtype, microscope), {}, json=json)
        return
    if not reason.strip():
        raise WrongUse("Add a reason with --reason TEXT. It is recorded.")
    with signed_store(context, settings, by) as (store, signer):
        _require_lead(settings, store, signer)
        if off:
            _withdraw(store, subtype or "", microscope or "", by=signer, reason=reason.strip())
            return
        groups = _select(store, subtype, microscope)
        made = _set(store, groups, by=signer, reason=reason.strip())
    _show(groups, made, json=json)
    if len(made) < len(groups):
        raise typer.Exit(SAYS_NO)


def _require_lead(settings: Settings, store: Store, signer: str) -> None:
    from agent.orders.order_policy import is_lead

    if not is_lead(settings, store, signer):
        raise WrongUse(
            f"--by {signer or 'NAME'}: only a lead may do this. Add an account (agent users "
            "add NAME --role lead), or name leads under [orders] leads in agent.toml."
        )


def _select(store: Store, subtype: str | None, microscope: str | None) -> list[TruthGroup]:
    from agent.needle_truth import load_groups

    groups = [
        group
        for group in load_groups(store)
        if subtype in (None, group.subtype) and microscope in (None, group.microscope)
    ]
    if not groups:
        raise WrongUse(
            "No measured needles of this subtype and microscope. Reviewers measure them in the "
            "viewer: Shift and L, two clicks."
        )
    return groups


def _set(
    store: Store, groups: list[TruthGroup], *, by: str, reason: str
) -> dict[tuple[str, str], NeedleCalibration]:
    from agent.needle_truth import calibrate, find_refusal

    return {
        (group.subtype, group.microscope): calibrate(
            store, group, by=by, reason=reason, at=now_utc()
        )
        for group in groups
        if not find_refusal(group)
    }


def _withdraw(store: Store, subtype: str, microscope: str, *, by: str, reason: str) -> None:
    from agent.needle_truth import withdraw_calibration

    was = withdraw_calibration(store, subtype, microscope, by=by, reason=reason, at=now_utc())
    what = f"withdrawn by {by}" if was else "there is none; nothing was changed"
    console.out.print(f"Calibration of {subtype} on {microscope}: {what}.", markup=False)


def _show(
    groups: list[TruthGroup], made: dict[tuple[str, str], NeedleCalibration], *, json: bool
) -> None:
    from agent.needle_truth import find_refusal

    if json:
        console.print_json([_to_json(group, made) for group in groups])
        return
    for group in groups:
        name = f"{group.subtype or '-'} on {group.microscope}"
        if refused := find_refusal(group):
            console.out.print(f"{name}: not calibrated. {refused}", markup=False)
            continue
        calibration = made.get((group.subtype, group.microscope))
        console.out.print(f"{name}: {_describe(group, calibration)}", markup=False)


def _describe(group: TruthGroup, calibration: NeedleCalibration | None) -> str:
    from agent.needle_truth import fit_calibration

    fitted = calibration or fit_calibration(group)
    act = f"version {calibration.version} set" if calibration else "would be set"
    ratio = fitted.ratio
    return (
        f"{act}. Lengths are divided by {ratio.value:.3f} ({ratio.low:.3f} to {ratio.high:.3f}); "
        f"single needles before that: {fitted.lower.value:.2f} to {fitted.upper.value:.2f}. From "
        f"{fitted.needles} needles of {fitted.from_um:.1f} to {fitted.to_um:.1f} µm in "
        f"{fitted.fields} fields, measured by {fitted.people}."
    )


def _to_json(group: TruthGroup, made: dict[tuple[str, str], NeedleCalibration]) -> dict[str, Any]:
    from agent.needle_truth import find_refusal, fit_calibration

    calibration = made.get((group.subtype, group.microscope))
    if calibration is None and not find_refusal(group):
        calibration = fit_calibration(group)
    document = calibration.to_json() if calibration else None
    return {
        **to_json(group),
        "calibration": document,
        "set": calibration is not None and bool(made),
    }
