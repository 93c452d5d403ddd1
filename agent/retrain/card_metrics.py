"""Build the part of a model card on how good a bundle is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import reports
from reports import DocumentSection, Table, marked, ngettext
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from model import Manifest

SHARE, NUMBER = ".1%", ".2f"
MEASURES = (
    (marked("structure code right"), "accuracy", SHARE),
    (marked("within one size"), "within_one_size", SHARE),
    (marked("macro-F1"), "macro_f1", NUMBER),
    (marked("agreement beyond chance (kappa)"), "kappa", NUMBER),
    (marked("negative log-likelihood of the true code (NLL)"), "nll", NUMBER),
    (marked("calibration error (ECE)"), "ece", NUMBER),
    (marked("prediction sets that contain the true code"), "coverage", SHARE),
    (marked("normal test images flagged as unusual"), "false_alarm_rate", SHARE),
)


def build_metrics_section(manifest: Manifest) -> DocumentSection:
    """Build the section on how good a bundle is, and how that was estimated."""
    metrics = manifest.metrics
    n = metrics.get("n") or 0
    if not n:
        untested = _("It was not tested: no micrograph was left to test.")
        return DocumentSection(
            _("How good it is"),
            (untested, *_describe_estimates(manifest)),
            tables=tuple(_list_cross_validation(manifest)),
        )
    rows = tuple(
        (_(title), _value(estimated, form), _interval(estimated, form), str(n))
        for title, key, form in MEASURES
        for estimated in [estimate(metrics, key)]
    )
    columns = (_("measure"), _("value"), _("95 % interval"), "n")
    table = Table(_("On its own test images"), columns, rows)
    only = _(
        "On {n} test micrographs of specimens outside the training set; valid for the materials "
        "and microscopes above only."
    ).format(n=n)
    lacking = [code for code, row in metrics["per_code"].items() if not row["n"]]
    untested = _("Not tested, as no test micrograph shows it: {codes}.")
    notes = (only, *([untested.format(codes=", ".join(lacking))] if lacking else ()))
    tables = (
        table,
        *_list_cross_validation(manifest),
        _limit_table(metrics),
        _recalls(metrics),
        *_slices(metrics),
    )
    return DocumentSection(
        _("How good it is"), (*notes, *_describe_estimates(manifest)), tables=tables
    )


def _describe_estimates(manifest: Manifest) -> Iterator[str]:
    """Yield how the figures were made if the heads in service learned from the test images too."""
    n = len(manifest.refitted_on)
    if not n:
        return
    yield ngettext(
        "After the test the heads in use were fitted again with {n} test micrograph. The test "
        "figures are of the heads before that.",
        "After the test the heads in use were fitted again with {n} test micrographs. The test "
        "figures are of the heads before that.",
        n,
    ).format(n=n)
    if estimate_ := manifest.facts.get("cross_validation"):
        yield _(
            "The cross-validated figures count {n} micrographs of {groups} groups. Each was "
            "predicted by heads fitted without its group, in {folds} folds. The "
            "penalty of the heads was chosen on the same folds."
        ).format(n=estimate_["n"], groups=estimate_["groups"], folds=estimate_["folds"])


def _list_cross_validation(manifest: Manifest) -> Iterator[Table]:
    metrics = manifest.facts.get("cross_validation")
    if not metrics:
        return
    rows = tuple(
        (_(title), _value(estimated, form), _interval(estimated, form), str(metrics["n"]))
        for title, key, form in MEASURES
        if key in metrics
        for estimated in [estimate(metrics, key)]
    )
    columns = (_("measure"), _("value"), _("95 % interval"), "n")
    yield Table(_("Cross-validated over all labels"), columns, rows)


def estimate(metrics: Mapping[str, Any], key: str) -> Mapping[str, float | None]:
    """Return a number with its interval, also where both are separate keys, as for NLL and ECE."""
    value = metrics[key]
    if isinstance(value, dict):
        return value
    low, high = metrics.get(f"{key}_interval") or (None, None)
    return {"value": value, "low": low, "high": high}


def _value(estimated: Mapping[str, float | None], form: str = SHARE) -> str:
    value = estimated.get("value")
    return "–" if value is None else _format(value, form)


def _interval(estimated: Mapping[str, float | None], form: str = SHARE) -> str:
    low, high = estimated.get("low"), estimated.get("high")
    if low is None or high is None:
        return "–"
    return _("{low} to {high}").format(low=_format(low, form), high=_format(high, form))


def _format(value: float, form: str) -> str:
    """Format a share or a number as the language writes it."""
    if form == SHARE:
        return f"{reports.decimal(100 * value, '.1f')} %"
    return reports.decimal(value, form)


def format_number(value: float) -> str:
    """Format a number with three digits as the language writes it."""
    return reports.decimal(value, ".3g")


def _limit_table(metrics: Mapping[str, Any]) -> Table:
    rows = tuple(
        (name, _wrong(both["false_conform"]), _wrong(both["false_nonconform"]))
        for name, both in metrics.get("limits", {}).items()
    )
    columns = (_("limit"), _("called conforming, is coarser"), _("called coarser, conforms"))
    return Table(_("At each limit, with the one-sided 95 % bound"), columns, rows)


def _wrong(counts: Mapping[str, Any]) -> str:
    bound = counts.get("upper95")
    share = _("{wrong} of {n}").format(wrong=counts["wrong"], n=counts["n"])
    if bound is None:
        return share
    return _("{share}, at most {bound}").format(share=share, bound=_format(bound, SHARE))


def _recalls(metrics: Mapping[str, Any]) -> Table:
    codes, predicted = metrics["confusion"]["codes"], metrics["confusion"]["rows_predicted"]
    share = _("{right} of {n}")
    rows = tuple(
        (
            code,
            share.format(right=row["right"], n=row["n"]),
            share.format(right=row["covered"], n=row["n"]),
        )
        for code, row in metrics["per_code"].items()
        if row["n"]
    )
    drawn = reports.confusion_svg(codes, predicted, _("predicted and true structure codes"))
    columns = (_("code"), _("right"), _("in the prediction set"))
    return Table(_("Right per true code"), columns, rows, drawn)


def _slices(metrics: Mapping[str, Any]) -> Iterator[Table]:
    rows = tuple(
        (f"{key} {value}", _value(estimated), _interval(estimated), str(estimated["n"]))
        for key, values in metrics.get("slices", {}).items()
        if len(values) > 1
        for value, estimated in values.items()
    )
    if rows:
        columns = (_("only"), _("code right"), _("95 % interval"), "n")
        yield Table(_("By process data"), columns, rows)
