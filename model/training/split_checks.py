"""Check before a training that its split and its processes can be used."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from model.data.splits import SIDES, Split
from model.errors import TrainingError
from model.progress import Progress
from model.training.provenance import hash_inputs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from model.taxonomy import Taxonomy
    from model.training.config import TrainingConfig
    from model.training.distributed import ProcessGroup


def leave_out_codes(config: TrainingConfig) -> Taxonomy:
    """Return the taxonomy in which the codes of `config.without` are not trained.

    Raises:
        TaxonomyError: A code is not in the taxonomy.
    """
    given = config.taxonomy
    left_out = {given.code(*given.parse(code)) for code in config.without}
    return given.restricted_to(frozenset(given.trained_codes) - left_out) if left_out else given


def iter_split_notes(notes: Sequence[str], sides: Split, total: int) -> Iterator[Progress[Path]]:
    """Yield the notes on the labels, and the sizes of the split."""
    sizes = (
        f"{len(sides.train)} micrographs to train, {len(sides.validation)} to validate, "
        f"{len(sides.test)} to test."
    )
    yield from (Progress("labels", total, total, note) for note in (*notes, sizes))


def describe_uneven_codes(
    sides: Split, taxonomy: Taxonomy, group_by: str, shares: tuple[float, float, float]
) -> list[str]:
    """Return a sentence for each code of which a side has less than half its share.

    Args:
        sides: The split.
        taxonomy: Of the trained codes.
        group_by: Column that the split keeps together; "" for the specimen.
        shares: Wanted share of each side.
    """
    examples = (sides.train, sides.validation, sides.test)
    counts = [Counter(example.code for example in side) for side in examples]
    sentences = []
    for code in taxonomy.trained_codes:
        on_sides = [count[code] for count in counts]
        n = sum(on_sides)
        if all(2 * own >= share * n for own, share in zip(on_sides, shares, strict=True)):
            continue
        groups = len({e.group for side in examples for e in side if e.code == code})
        train, validate, test = on_sides
        sentences.append(
            f"{code}: {n} micrographs ({group_by or 'specimens'}: {groups}), {train} to train, "
            f"{validate} to validate, {test} to test."
        )
    return sentences


def require_every_code(
    sides: Split, taxonomy: Taxonomy, group_by: str, tested: frozenset[str]
) -> None:
    """Raise if a code is missing from the training or validation set."""
    for side, examples in (("train", sides.train), ("validate", sides.validation)):
        counts = Counter(example.code for example in examples)
        if lacking := [code for code in taxonomy.trained_codes if not counts[code]]:
            if side == "validate" and len(lacking) < len(taxonomy.trained_codes):
                continue  # calibrating without a rare code is possible
            raise TrainingError(_explain_missing_codes(lacking, side, sides, group_by, tested))


def _explain_missing_codes(
    lacking: Sequence[str], side: str, sides: Split, group_by: str, tested: frozenset[str]
) -> str:
    """Return why codes have no image on a side, and what can be done."""
    groups = f"groups by {group_by}" if group_by else "specimens"
    one = f"group by {group_by}" if group_by else "specimen"
    everything = (*sides.train, *sides.validation, *sides.test)
    code = lacking[0]
    own = {e.group for e in everything if e.code == code}
    held = {e.group for e in sides.test if e.key in tested}
    if own and held.issuperset(own):
        return (
            f"No micrograph of {code} is left to {side}: all are of {groups} with images that were "
            "tested on before, and what was tested on stays a test; label images of other "
            f"{groups}, or group them as they were grouped when the bundle at work was taught."
        )
    way_out = (
        f"Label micrographs of more {groups}, or train without: "
        f"agent train --without {','.join(lacking)!r}."
    )
    if len(own) >= len(SIDES):
        return (
            f"No micrograph of {code} is left to {side}: its {len(own)} {groups} hold other codes "
            f"too, and were needed to {'test' if side == 'train' else 'train'} those. {way_out}"
        )
    few = f"one {one} only" if len(own) == 1 else f"{len(own)} {groups} only"
    return (
        f"Code {code} has micrographs of {few}; at least {len(SIDES)} are needed, one each to "
        f"train, validate and test. {way_out}"
    )


def require_distributable(config: TrainingConfig, sides: Split, processes: ProcessGroup) -> None:
    """Raise if the processes cannot train this configuration together."""
    if processes.size == 1:
        return
    if config.frozen:
        raise TrainingError(
            "The heads of a frozen network are trained by one process. Start without torchrun, or "
            "train the whole network (--arch resnet18, without --frozen)."
        )
    if config.device.startswith("cuda:"):
        raise TrainingError(
            f"The device {config.device} is one GPU and there are {processes.size} processes; set "
            "model.device to auto, and every process takes its own."
        )
    if config.batch < processes.size:
        raise TrainingError(
            f"A step shows {config.batch} images and there are {processes.size} processes; give "
            f"torchrun --nproc-per-node {config.batch} or less."
        )
    processes.require_equal(
        hash_inputs(config, sides),
        "it would teach something else than the first one; start the same command on the same "
        "labels everywhere.",
    )
