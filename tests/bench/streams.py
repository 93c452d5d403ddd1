"""Feed a taught bundle four streams of new labels on drawn micrographs, and say what the gate says.

    python tests/bench/streams.py [--seeds 1] [--stream honest wrong foreign few]

    honest   150 new cases of a code that was weak: recommended, that code's recall up, others not
             down. A fifth of them goes to the growing test.
    wrong    150 new cases of all codes, a fifth of their labels wrong: how many hygiene finds, and
             that nothing worse is recommended; once more with the doubted left in.
    foreign  60 new cases of another material labelled G8: refused, with the reason; once more with
             the doubted left in, so that the gate alone has to see it.
    few      5 new cases, taught though a lab asks for more, so that the gate has to see it: not
             enough evidence, nothing is recommended.

The quick plan (frozen EfficientNet-Lite0). Drawn micrographs are not steel: the table says what the
gate does, not how good a model is.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agent.demo.synthetic.micrograph import TRAINED, draw_micrograph
from agent.retrain import Collected, Demands, Outcome, retrain
from model import Example, Field, default_taxonomy, quick_config, read_manifest, train, wilson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from model import TrainingConfig

PX = (320, 240)
FIELDS = 3
WEAK = "G8"
FOREIGN = "cast_iron"
ALPHA = 0.05
NOW = datetime(2026, 11, 24, tzinfo=UTC)


@dataclass(frozen=True)
class Stream:
    """New labels, and which of them are wrong."""

    name: str
    new: tuple[Example, ...]
    wrong: frozenset[str] = frozenset()


def case(code: str, seed: int, specimen: int, *, said: str = "", strange: str = "") -> Example:
    """Draw one case; the same seed draws the same one."""

    def load() -> Field:
        um_per_px = 0.1 if specimen % 5 == 0 else 0.2
        drawn = draw_micrograph(
            code, seed=seed, um_per_px=um_per_px, size=PX, strange=strange, bar=None,
            border=False, specimen=specimen,
        )  # fmt: skip
        return Field(drawn.pixels, np.ones(drawn.pixels.shape[:2], bool), um_per_px)

    return Example(
        key=f"{code}{strange}-{seed}",
        code=said or code,
        group=f"{code}-{specimen}",
        load=_once(load),
        criterion="mean",
        slices={"microscope": f"LOM-{specimen % 2}"},
    )


def _once(load: Callable[[], Field]) -> Callable[[], Field]:
    kept: list[Field] = []

    def kept_or_loaded() -> Field:
        if not kept:
            kept.append(load())
        return kept[0]

    return kept_or_loaded


def cases(code: str, n: int, first: int, **changes: str) -> list[Example]:
    """Draw n cases of a code, `FIELDS` of each specimen."""
    return [case(code, first + i, first + i // FIELDS, **changes) for i in range(n)]


def past(seed: int) -> list[Example]:
    """What the bundle at work was taught from: little of the weak code."""
    return [
        one
        for number, code in enumerate(TRAINED)
        for one in cases(code, 6 if code == WEAK else 24, 1_000_000 * (seed + 1) + 10_000 * number)
    ]


def streams(seed: int, names: Sequence[str]) -> Iterator[Stream]:
    """Draw the streams that were asked for."""
    first, rng = 500_000_000 + 1_000_000 * seed, np.random.default_rng(seed)
    if "honest" in names:
        yield Stream("honest", tuple(cases(WEAK, 150, first)))
    if "wrong" in names:
        per_code = [cases(code, 19, first + 20_000 * (n + 1)) for n, code in enumerate(TRAINED)]
        honest = [one for some in per_code for one in some][:150]
        wrong = {honest[i].key for i in rng.permutation(150)[:30].tolist()}
        said = [
            replace(one, code=str(rng.choice([c for c in TRAINED if c != one.code])))
            if one.key in wrong
            else one
            for one in honest
        ]
        yield Stream("wrong", tuple(said), frozenset(wrong))
    if "foreign" in names:
        foreign = cases(WEAK, 60, first + 300_000, strange=FOREIGN)
        yield Stream("foreign", tuple(foreign), frozenset(one.key for one in foreign))
    if "few" in names:
        yield Stream("few", tuple(cases(WEAK, 5, first + 400_000)))


def taught(examples: Sequence[Example], plan: TrainingConfig, folder: Path) -> Path:
    """Teach the bundle at work."""
    *_, last = train(examples, plan, folder, recipe="drawn", now=NOW)
    assert last.result is not None
    return last.result


def played(
    stream: Stream, old: Sequence[Example], current: Path, plan: TrainingConfig, *, leave_out: bool
) -> Outcome:
    """Retrain from old and new labels, and hear what the gate says."""
    examples = (*old, *stream.new)
    collected = Collected(examples, Counter(example.code for example in examples), {})
    *_, outcome = retrain(
        collected,
        current=current,
        plan=plan,
        bundles=current.parent,
        min_new=1 if stream.name == "few" else 20,
        now=NOW,
        demands=Demands(alpha=ALPHA),
        leave_out_doubted=leave_out,
    )
    assert isinstance(outcome, Outcome)
    return outcome


def said(stream: Stream, outcome: Outcome, *, leave_out: bool) -> str:
    """Print one row of the table."""
    numbers = outcome.numbers
    doubted = {one["key"] for one in numbers.get("doubted", ())}
    honest = {one.key for one in stream.new} - stream.wrong
    row = f"{stream.name:<8} {'left out' if leave_out else 'left in':<9} {outcome.finding:<20}"
    if stream.wrong:
        found, falsely = len(doubted & stream.wrong), len(doubted & honest)
        row += f" found {_share(found, len(stream.wrong))}"
        row += f", falsely {_share(falsely, len(honest))};" if honest else ";"
    elif doubted:
        row += f" falsely doubted {_share(len(doubted & honest), len(honest))};"
    if "checks" in numbers:
        parts = {check["name"]: check["numbers"] for check in numbers["checks"]}
        evidence, codes = parts["evidence"], parts["codes"]
        row += f" test {evidence['n']} ({evidence['new']} new), right {numbers['current_right']} to"
        row += f" {numbers['candidate_right']};"
        weak = codes.get(WEAK, {"n": 0, "current": 0, "candidate": 0})
        others = [one for code, one in codes.items() if code != WEAK]
        was, now = (sum(other[side] for other in others) for side in ("current", "candidate"))
        row += f" {WEAK} {weak['current']} to {weak['candidate']} of {weak['n']},"
        row += f" others {was} to {now} of {sum(other['n'] for other in others)}"
        against = [check["name"] for check in numbers["checks"] if not check["passed"]]
        row += f"; against it: {', '.join(against) or 'nothing'}"
    return row


def _share(hits: int, n: int) -> str:
    found = wilson(hits, n)
    return f"{hits} of {n} ({found.low or 0:.0%} to {found.high or 0:.0%})"


def main() -> None:
    """Play every stream and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip  # noqa: E501
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--stream", nargs="+", default=["honest", "few", "wrong", "foreign"])
    asked = parser.parse_args()
    plan = quick_config(taxonomy=default_taxonomy(), alpha=ALPHA, device="cpu")
    for seed in range(asked.seeds):
        with tempfile.TemporaryDirectory() as folder:
            began, old = time.perf_counter(), past(seed)
            current = taught(old, plan, Path(folder))
            metrics = read_manifest(current).metrics
            print(f"seed {seed}: at work {metrics['accuracy']['value']:.1%} of {metrics['n']} right"
                  f" ({time.perf_counter() - began:.0f} s)", flush=True)  # fmt: skip
            for stream in streams(seed, asked.stream):
                for leave_out in (True, False) if stream.wrong else (True,):
                    began = time.perf_counter()
                    outcome = played(stream, old, current, plan, leave_out=leave_out)
                    row = said(stream, outcome, leave_out=leave_out)
                    print(f"{row} ({time.perf_counter() - began:.0f} s)", flush=True)
                    print(f"    {outcome.sentence}", flush=True)


if __name__ == "__main__":
    main()
