"""Measure what a training step on a CPU takes, beside what is saved for its backward pass.

    python tests/bench/micro_batches.py [--quick]

Each line is a process of its own: network, images, their size, bytes that
`model.training.gradients` counts as saved, the growth of the peak of the process (VmHWM) over a
step, and their ratio. The growth has to stay below what `model.training.gradients` reckons with.
Linux only. Exit code 3 where it does not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
ARCHITECTURES = ("efficientnet-lite0", "resnet18")


def measure(arch: str, images: int, side: int) -> dict[str, float]:
    """Return what one step of a network takes in this process."""
    import torch  # noqa: PLC0415

    from model.networks.backbones import Encoder, build_backbone  # noqa: PLC0415
    from model.training.gradients import bytes_per_pixel  # noqa: PLC0415

    network = Encoder(build_backbone(arch)).to(memory_format=torch.channels_last).train()
    given = torch.full((images, side, side, 3), 128, dtype=torch.uint8)

    def step(some: torch.Tensor) -> None:
        network(some).float().pow(2).mean().backward()

    step(given[:1, :64, :64])  # what a first step alone makes
    before = _peak()
    step(given)
    grown = _peak() - before
    return {
        "saved": images * side**2 * bytes_per_pixel(network, side, side),
        "grown": grown,
    }


def _peak() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="Two sizes instead of six.")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        arch, images, side = given.one
        print(json.dumps(measure(arch, int(images), int(side))))
        return 0
    from model.training.gradients import FIXED_BYTES, WORK_SPACE  # noqa: PLC0415

    sizes = [(4, 224), (2, 800)]
    if not given.quick:
        sizes += [(1, 224), (8, 400), (1, 800), (4, 800)]
    worst = 0.0
    for arch in ARCHITECTURES:
        for images, side in sizes:
            words = [sys.executable, __file__, "--one", arch, str(images), str(side)]
            found = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
            ratio = found["grown"] / found["saved"]
            reckoned = WORK_SPACE * found["saved"] + FIXED_BYTES
            worst = max(worst, found["grown"] / reckoned)
            print(
                f"{arch:20} {images} of {side} px  saved {found['saved'] / 1e6:6.0f} MB  "
                f"grown {found['grown'] / 1e6:6.0f} MB  {ratio:.2f}"
            )
    print(f"most that was taken of what is reckoned with: {worst:.2f}")
    return 3 if worst > 1 else 0


if __name__ == "__main__":
    sys.exit(main())
