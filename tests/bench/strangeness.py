"""Print per kind the share of unusual fields that is flagged, and of reference fields.

    python tests/bench/strangeness.py --drawing third --known 200 --fresh 120 --each 24
    python tests/bench/strangeness.py --drawing third --foreign demo other
    python tests/bench/strangeness.py --drawing demo --real ../shared/data/micrographs --gates
    python tests/bench/strangeness.py --drawing other --ladder --leave-out M8
    python tests/bench/strangeness.py --cost

Every figure stands with its number and 95 % interval; no average over kinds is printed, on purpose.
Beside ours stand the methods that are logged with each result, energy and GEN of a linear
discriminant, a PatchCore-like bank, and, where it can be imported, `pytorch-ood` on the same
embeddings. `--kept FOLDER` keeps the drawn fields: drawing takes most of the time.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from strange_sets import (
    DRAWINGS,
    FRESH,
    HARMLESS,
    LEFT,
    SPOILT,
    Drawn,
    Shelf,
    changed,
    field_of,
)
from yardsticks import Yardsticks

from model.data.dataset import Example
from model.evaluation.leave_one_class_out import leave_out
from model.evaluation.metrics import auroc, auroc_interval, fpr95
from model.framing import Field, Framing
from model.ood.conformal import compute_alarm_limit
from model.ood.fit import fit_detector
from model.statistics import wilson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model.ood.conformal import OodResult
    from model.ood.detector import OodDetector

ALPHA = 0.02
RADII_UM = (2.0, 3.0, 4.5, 7.0, 10.0, 15.0)


class Judge:
    """Judges fields by ours and by every yardstick, from one look each."""

    def __init__(self, known: OodDetector, yardsticks: Yardsticks) -> None:
        self.known, self._yardsticks = known, yardsticks

    def look(self, field: Field) -> tuple[OodResult, dict[str, float]]:
        seen = self.known.extractor.extract(field)
        found = self.known.score_description(seen, field, ALPHA)
        return found, {**found.companions, **self._yardsticks.scores(seen)}


def examples(drawn: Sequence[Drawn], first: int) -> list[Example]:
    return [
        Example(f"{first + i:05d}", one.code, f"{first + i}", lambda one=one: one.field)
        for i, one in enumerate(drawn)
    ]


# ------------------------------------------------------------------ figures


class Table:
    """Prints figures against the same known fields."""

    def __init__(self, judge: Judge, usual: Sequence[Field]) -> None:
        self._judge = judge
        seen = [judge.look(field) for field in usual]
        self.usual = [found for found, _ in seen]
        self._scores = -np.array([found.score for found in self.usual])
        self._others = {
            name: -np.array([scores[name] for _, scores in seen]) for name in seen[0][1]
        }

    def kind(self, name: str, drawn: Sequence[Drawn], *, others: bool = True) -> None:
        seen = [self._judge.look(one.field) for one in drawn]
        found = [one for one, _ in seen]
        strange = [-one.score for one in found]
        value = auroc(strange, self._scores)
        low, high = auroc_interval(value, len(strange), len(self._scores))
        hits = [
            hit(one, each.field, each.where)
            for one, each in zip(found, drawn, strict=True)
            if each.where is not None
        ]
        place = f"  place {np.mean(hits):.2f}" if hits else ""
        print(
            f"{name:24} n {len(drawn):3}  AUROC {value:.3f} ({low:.2f}-{high:.2f})  "
            f"FPR95 {fpr95(strange, np.sort(self._scores)):.2f}  {told_share(found)}{place}",
            flush=True,
        )
        if others:
            said = {
                other: auroc([-scores[other] for _, scores in seen], usual)
                for other, usual in self._others.items()
            }
            print("    " + "  ".join(f"{k} {v:.3f}" for k, v in said.items()), flush=True)


def told_share(found: Sequence[OodResult]) -> str:
    share = wilson(sum(one.flagged for one in found), len(found))
    return f"flagged {share.value:.3f} ({share.low:.2f}-{share.high:.2f})"


def hit(found: OodResult, field: Field, where: tuple[float, float, float, float]) -> bool:
    """Whether the strangest cell lies in the box, give or take a cell."""
    height, width = field.valid.shape
    row, column = np.unravel_index(np.argmax(found.heat), found.heat.shape)
    y, x = (row + 0.5) * height / found.heat.shape[0], (column + 0.5) * width / found.heat.shape[1]
    around = height / found.heat.shape[0]
    x0, y0, x1, y1 = where
    return bool(x0 - around <= x < x1 + around and y0 - around <= y < y1 + around)


def told_known(known: OodDetector, usual: Sequence[OodResult]) -> None:
    """False alarms against what chance allows, and whether p-values are uniform."""
    limit = compute_alarm_limit(ALPHA, len(known), len(usual))
    print(
        f"{'known, never seen':24} n {len(usual):3}  {told_share(usual)}  "
        f"(chance allows {limit:.3f} at alpha {ALPHA})"
    )
    values = np.sort([one.p_value for one in usual])
    n = len(values)
    above = np.arange(1, n + 1) / n - values
    apart = max(above.max(), (values - np.arange(n) / n).max())
    print(f"{'  their p-values':24} KS {apart:.3f}, limit at 1 % {1.63 / np.sqrt(n):.3f}")


def told_ladder(table: Judge, shelf: Shelf, count: int) -> None:
    for kind in shelf.drawing.sizes:
        line = []
        for radius in RADII_UM:
            drawn = shelf.strange(kind, count, radius)
            found = [table.look(one.field)[0] for one in drawn]
            hits = [hit(o, d.field, d.where) for o, d in zip(found, drawn, strict=True) if d.where]
            flagged = np.mean([one.flagged for one in found])
            line.append(f"{radius:g} µm {flagged:.2f}/{np.mean(hits):.2f}")
        print(f"ladder {kind:12} n {count} each, flagged/place  " + "  ".join(line), flush=True)


def told_real(table: Table, folder: Path) -> None:
    drawn = []
    for path in sorted(folder.iterdir()):
        pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        if pixels is not None:  # the lower tenth holds the bar
            kept = pixels[: int(0.88 * pixels.shape[0]), :, ::-1][:1200, :1600]
            drawn.append(Drawn(field_of(kept, None), "", None))
    table.kind("real, other materials", drawn)


def told_gates(known: OodDetector, fresh: Sequence[Field], count: int) -> None:
    wrong = Counter(one.name for field in fresh for one in known.defects(field))
    any_wrong = sum(bool(known.defects(field)) for field in fresh)
    share = wilson(any_wrong, len(fresh))
    print(f"defect on a good field   n {len(fresh)}  {share.value:.3f}"
          f" ({share.low:.2f}-{share.high:.2f})  {dict(wrong)}")  # fmt: skip
    for name, (defect, spoil) in SPOILT.items():
        found = [
            [one.name for one in known.defects(changed(field, spoil))] for field in fresh[:count]
        ]
        named = np.mean([defect in one for one in found])
        some = np.mean([bool(one) for one in found])
        print(f"spoilt: {name:24} n {len(found)}  {defect} {named:.2f}, any {some:.2f}", flush=True)


def told_left_out(shelf: Shelf, code: str, known: int, count: int) -> None:
    rest = [one for one in shelf.known(known) if one.code != code]
    left = [shelf.one(code, LEFT + i) for i in range(count)]
    steps = leave_out(code, examples([*rest, *left], 0), subtype_of=lambda one: one[0], alpha=ALPHA)
    *_, last = steps
    if last.result is not None:
        said = last.result.as_json()
        print(f"left out: {code}  {said}", flush=True)


# ------------------------------------------------------------------ cost


def told_cost(known: OodDetector, shelf: Shelf) -> None:
    """Measure a field of 1994 px next to the two-stage step, in time of one core."""
    from networks import CODES as TAUGHT  # noqa: PLC0415
    from networks import head_of, spent_s, two_stages  # noqa: PLC0415

    from model import default_taxonomy  # noqa: PLC0415
    from model.inference.feature_extractor import FeatureExtractor  # noqa: PLC0415
    from model.networks.backbones import Encoder, build_backbone  # noqa: PLC0415
    from model.networks.schemes import Scheme  # noqa: PLC0415
    from model.runtime.engines import choose_engine, has_bf16  # noqa: PLC0415

    tile = shelf.one("G8", FRESH).field.pixels
    wide = np.tile(tile, (1994 // tile.shape[0] + 1, 1994 // tile.shape[1] + 1, 1))
    scheme = Scheme("two-stage", default_taxonomy().restricted_to(TAUGHT))
    names = list(scheme.heads())[:2]
    eyes = {name: Encoder(build_backbone("resnet18")).eval() for name in names}
    for eye in eyes.values():
        eye.requires_grad_(requires_grad=False)
    heads = {name: head_of(name, scheme.heads()[name], eyes[name].channels) for name in names}
    for um in (0.1, 0.2):
        field = field_of(wide[:1994, :1994], um)
        ours, gates = (
            spent_s(lambda f=field: known.score([f], ALPHA), 3),
            spent_s(lambda f=field: known.defects(f), 3),
        )
        print(f"1994 px at {um} µm per pixel: strangeness {ours:.3f} s, gates {gates:.3f} s")
        for precision in ("bf16", "fp32") if has_bf16() else ("fp32",):
            engine = choose_engine("cpu", precision)
            gaze = FeatureExtractor(Framing("mirror", 1994), eyes, engine, heads=heads.values())
            step = spent_s(lambda f=field, g=gaze: two_stages(heads.values(), g, f), 2)
            print(
                f"  of the two-stage ResNet-18 step in {precision} ({step:.3f} s): "
                f"strangeness {ours / step:.0%}, with gates {(ours + gates) / step:.0%}",
                flush=True,
            )


# ------------------------------------------------------------------ all of it


def chosen() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drawing", choices=sorted(DRAWINGS), default="other")
    parser.add_argument("--known", type=int, default=200)
    parser.add_argument("--fresh", type=int, default=120)
    parser.add_argument("--each", type=int, default=24)
    parser.add_argument("--shifts", type=int, default=60, help="fresh fields per harmless shift")
    parser.add_argument("--kept", type=Path, help="folder where drawn fields are kept")
    parser.add_argument(
        "--foreign", nargs="*", default=[], choices=sorted(DRAWINGS),
        help="drawings whose foreign fields, and steel, are strange to the one that was taught",
    )  # fmt: skip
    parser.add_argument("--real", type=Path, help="folder of micrographs of other materials")
    parser.add_argument("--ladder", type=int, default=0, help="fields per kind and size")
    parser.add_argument("--gates", type=int, default=0, help="fields per defect")
    parser.add_argument("--leave-out", nargs="*", default=[], help="codes not taught, in turn")
    parser.add_argument("--cost", action="store_true", help="what a field costs, and no more")
    return parser.parse_args()


def main() -> int:
    asked = chosen()
    torch.set_num_threads(1)
    shelf = Shelf(DRAWINGS[asked.drawing], asked.kept)
    taught = examples(shelf.known(asked.known), 0)
    spent = time.process_time()
    known = fit_detector(taught, subtype_of=lambda code: code[0])
    spent = time.process_time() - spent
    print(
        f"drawing {asked.drawing!r}: learned {asked.known} fields of 800 × 600 px, "
        f"{known.summary()['precision']}, {spent:.0f} s of one core",
        flush=True,
    )
    if asked.cost:
        told_cost(known, shelf)
        return 0
    judge = Judge(known, Yardsticks.of(taught, known.extractor))
    fresh = [one.field for one in shelf.known(asked.fresh, FRESH)]
    table = Table(judge, fresh)
    told_known(known, table.usual)
    for name, change in HARMLESS.items():
        again = known.score([changed(field, change) for field in fresh[-asked.shifts :]], ALPHA)
        print(f"harmless: {name:14} n {len(again):3}  {told_share(again)}", flush=True)
    for kind in shelf.drawing.kinds:
        table.kind(kind, shelf.strange(kind, asked.each))
    table.kind("coarser than trained", shelf.coarser(2 * asked.each))
    for name in asked.foreign:
        foreign = Shelf(DRAWINGS[name], asked.kept)
        for kind in foreign.drawing.whole:
            table.kind(f"by {name}: {kind}", foreign.strange(kind, asked.each))
        table.kind(f"by {name}: its own steel", foreign.known(asked.each))
    if asked.real:
        told_real(table, asked.real)
    if asked.gates:
        told_gates(known, fresh, asked.gates)
    if asked.ladder:
        told_ladder(judge, shelf, asked.ladder)
    for code in asked.leave_out:
        told_left_out(shelf, code, asked.known, asked.each)
    return 0


if __name__ == "__main__":
    sys.exit(main())
