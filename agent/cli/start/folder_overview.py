"""What a folder of micrographs is like: facts gathered file by file, and the page's content."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from agent.cli.grade.classify import describe_fault, micrograph_title
from agent.cli.reference import format_toml
from agent.files.pictures import encode_jpeg, fit_within
from agent.imaging.crop import crop_to_json
from agent.imaging.places import SAME_PLACE, Landmarks, PlaceIndex
from agent.nightly.page.micrograph_cards import WARNINGS, describe_warnings
from agent.orders.facts.place_check import CANDIDATES, compare_places
from agent.orders.specifications.taxonomy_changes import TAXONOMY_FILE
from agent.settings import objective_key
from agent.settings.section import keep_shown
from agent.watch.listing import Listing, get_extension, to_text
from agent.watch.path_metadata import Provenance, propose_pattern
from model import (
    Field,
    TaxonomyError,
    WeightsError,
    compute_oddness,
    describe_texture,
    embed_field,
    group_alike,
    project_embeddings,
    propose_draft,
)
from reports import decimal, file_code, percent
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from agent.imaging import Crop
    from agent.imaging.pool import Outcome

SHOWN_PX: Final = 480
"""Longer side of a picture on the page: a thousand take 30 MB of memory."""

JPEG_QUALITY: Final = 70

SHOWN: Final = 12
"""Micrographs or pairs shown in a section, the weightiest first; their number is stated."""

OF_A_GROUP: Final = 6

NAMED: Final = 5
"""Names listed of files with one fault."""

LEAST_COMPARED: Final = 8
"""Micrographs below which neither groups nor odd ones are stated."""

ODD_FROM: Final = 2.0
"""Times the usual distance from which a micrograph is odd, as for reference images."""

ONE_SCALE: Final = 1.02
"""Largest ratio of two pixel sizes of one objective: a bar is measured to about a per cent."""

LETTERS: Final = "ABCDEFGH"


@dataclass(frozen=True, slots=True)
class SeenMicrograph:
    """A micrograph that was read.

    Args:
        path: Relative to the folder.
        crop: Its crop without pixels.
        jpeg: The whole field, at most `SHOWN_PX`.
        embedding: (d,) float32.
    """

    path: str
    crop: Crop
    jpeg: bytes
    embedding: NDArray[np.float32]

    @property
    def title(self) -> str:
        """File name with its page number."""
        return micrograph_title(self.crop, PurePosixPath(self.path))

    @property
    def kept(self) -> float:
        """Share of the image that the crop keeps."""
        x0, y0, x1, y1 = self.crop.box
        return (x1 - x0) * (y1 - y0) / (self.crop.width * self.crop.height)


class FolderOverview:
    """Facts of the files read so far.

    Args:
        listing: Of the folder.
        chosen: How many of its pictures are read.
    """

    def __init__(self, listing: Listing, chosen: int) -> None:
        self._listing, self._chosen = listing, chosen
        self._index = PlaceIndex()
        self._landmarks: list[Landmarks] = []
        self.seen: list[SeenMicrograph] = []
        self.pairs: list[tuple[int, int, float]] = []
        self.refused: dict[str, tuple[str, str]] = {}
        self.read = 0
        self.paths = list(listing.pictures)
        self.lacks_network = ""

    def add(self, path: str, outcome: Outcome) -> None:
        """Add a file.

        Args:
            path: Relative to the folder.
            outcome: Its crops with landmarks, or why it cannot be used.
        """
        self.read += 1
        if not isinstance(outcome, list):
            self.refused[path] = describe_fault(outcome)
            return
        for crop in outcome:
            self._compare(crop)
            jpeg = encode_jpeg(fit_within(crop.preview, SHOWN_PX), quality=JPEG_QUALITY)
            embedding = self._embed(Field(crop.pixels, crop.valid, crop.um_per_px))
            none = np.zeros((1, 1, 3), np.uint8)
            kept = replace(crop, pixels=none, preview=none, valid=none[..., 0] > 0, landmarks=b"")
            self.seen.append(SeenMicrograph(path, kept, jpeg, embedding))

    def _embed(self, field: Field) -> NDArray[np.float32]:
        if not self.lacks_network:
            try:
                return embed_field(field)
            except WeightsError as error:
                self.lacks_network = str(error)
                self.seen = [
                    replace(micrograph, embedding=np.zeros(0, np.float32))
                    for micrograph in self.seen
                ]
        return describe_texture(field)

    def _compare(self, crop: Crop) -> None:
        number, own = len(self._landmarks), Landmarks.from_bytes(crop.landmarks)
        self._landmarks.append(own)
        if own.is_distinct:
            for other in self._index.candidates(own, CANDIDATES, inverted=True):
                if overlap := compare_places(self._landmarks[other], own):
                    self.pairs.append((other, number, float(overlap.share_of_smaller)))
        self._index.add(number, own)

    # ------------------------------------------------------------------------------- the page

    def build_page(self) -> dict[str, Any]:
        """Return the content of the page's template but the settings: numbers, names, pictures."""
        points, groups, odd = self._arrange()
        pairs = self._list_pairs()
        sections: dict[str, Any] = {
            "crops": self._choose_crops(),
            "pairs": pairs[:SHOWN],
            "groups": self._list_groups(groups, points),
            "odd": odd,
        }
        shown = [*sections["crops"], *(number for number, _times in odd[:SHOWN])]
        shown += [number for group in sections["groups"] for number in group["examples"]]
        shown += [number for pair in sections["pairs"] for number in pair[:2]]
        return {
            **sections,
            "chosen": self._chosen,
            "found": len(self._listing.pictures),
            "read": self.read,
            "usable": self.read - len(self.refused),
            "micrographs": [self._describe(n, groups[n]) for n in range(len(self.seen))],
            "shown": sorted(set(shown)),
            "refused": self._list_refused(),
            "others": Counter(get_extension(name) for name in self._listing.others),
            "troubles": self._listing.troubles,
            "formats": Counter(
                (micrograph.crop.format, micrograph.crop.width, micrograph.crop.height)
                for micrograph in self.seen
            ),
            "sources": Counter(micrograph.crop.um_per_px_source for micrograph in self.seen),
            "conflicts": sum(
                "scale_conflict" in micrograph.crop.warnings for micrograph in self.seen
            ),
            "scales": list_scales(self.seen),
            "bordered": sum(
                not micrograph.crop.specimen_area.whole_frame for micrograph in self.seen
            ),
            "warnings": self._count_warnings(),
            "pair_count": len(pairs),
            "copies": self._list_copies(),
            "points": points,
            "lacks_network": self.lacks_network,
        }

    def _describe(self, number: int, group: int) -> dict[str, Any]:
        micrograph = self.seen[number]
        um_per_px = micrograph.crop.um_per_px
        return {
            "crop": micrograph.crop,
            "jpeg": micrograph.jpeg,
            "letter": LETTERS[group] if group >= 0 else "",
            "path": micrograph.path,
            "title": micrograph.title,
            "kept": percent(micrograph.kept),
            "scale": "" if um_per_px is None else decimal(um_per_px, ".4g"),
            "remarks": list(
                describe_warnings(
                    micrograph.crop.warnings,
                    crop_to_json(micrograph.crop),
                    micrograph.crop.width,
                    micrograph.crop.height,
                )
            ),
        }

    def _list_refused(self) -> list[dict[str, Any]]:
        by_code: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for path, (code, sentence) in sorted(self.refused.items()):
            by_code[code].append((path, sentence))
        return [
            {
                "title": file_code(code)[0],
                "action": file_code(code)[1],
                "count": len(faults),
                "files": faults[:NAMED],
                "more": max(0, len(faults) - NAMED),
            }
            for code, faults in sorted(by_code.items(), key=lambda row: -len(row[1]))
        ]

    def _count_warnings(self) -> list[tuple[str, int]]:
        counts = Counter(word for micrograph in self.seen for word in micrograph.crop.warnings)
        return [
            (_(WARNINGS.get(word, word.replace("_", " "))), n) for word, n in counts.most_common()
        ]

    def _list_copies(self) -> list[list[str]]:
        """Return the paths of files with the same bytes."""
        by_hash: dict[str, list[str]] = defaultdict(list)
        for micrograph in self.seen:
            if micrograph.crop.page == 0:
                by_hash[micrograph.crop.sha256].append(micrograph.path)
        return sorted(sorted(paths) for paths in by_hash.values() if len(paths) > 1)

    def _list_pairs(self) -> list[tuple[int, int, float]]:
        """Return the pairs that show one place and are not the same bytes, the largest first."""
        pairs = [
            pair
            for pair in self.pairs
            if self.seen[pair[0]].crop.sha256 != self.seen[pair[1]].crop.sha256
        ]
        return sorted(pairs, key=lambda pair: -pair[2])

    def _choose_crops(self) -> list[int]:
        """Return micrographs of each kind of finding in turn, those that keep least first."""

        def find_kind(number: int) -> tuple[object, ...]:
            crop = self.seen[number].crop
            area = crop.specimen_area
            return (area.whole_frame, bool(area.bleeding), bool(crop.band), bool(crop.micron_bar))

        by_kind: dict[tuple[object, ...], list[int]] = defaultdict(list)
        for number in sorted(range(len(self.seen)), key=lambda number: self.seen[number].kept):
            by_kind[find_kind(number)].append(number)
        turns = zip_longest(*(by_kind[kind] for kind in sorted(by_kind, key=str)))
        return [number for turn in turns for number in turn if number is not None][:SHOWN]

    def _arrange(self) -> tuple[list[dict[str, Any]], NDArray[np.intp], list[tuple[int, float]]]:
        """Return the points of the map, each micrograph's group, and the odd ones, oddest first."""
        compared = [n for n, seen in enumerate(self.seen) if len(seen.embedding)]
        groups = np.full(len(self.seen), -1, np.intp)
        if len(compared) < LEAST_COMPARED:
            return [], groups, []
        embeddings = np.stack([self.seen[number].embedding for number in compared])
        place = {number: at for at, number in enumerate(compared)}
        projected = project_embeddings(embeddings)
        groups[compared] = group_alike(projected)
        low, span = projected[:, :2].min(axis=0), np.ptp(projected[:, :2], axis=0)
        xy = (projected[:, :2] - low) / max(float(span.max()), 1e-12)
        points = [
            {"number": number, "x": float(x), "y": float(y), "group": int(groups[number])}
            for number, (x, y) in zip(compared, xy, strict=True)
        ]
        same = [
            (place[first], place[second])
            for first, second, share in self.pairs
            if share >= SAME_PLACE and first in place and second in place
        ]
        times = compute_oddness(embeddings, same)
        odd = [
            (compared[at], float(times[at])) for at in np.argsort(-times) if times[at] >= ODD_FROM
        ]
        return points, groups, odd

    def _list_groups(
        self, groups: NDArray[np.intp], points: Sequence[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        listed = []
        has_folders = len({seen.path.rpartition("/")[0] for seen in self.seen}) > 1
        for group in range(int(groups.max(initial=-1)) + 1):
            members = np.flatnonzero(groups == group)
            embeddings = np.stack([self.seen[number].embedding for number in members])
            order = np.argsort(np.linalg.norm(embeddings - embeddings.mean(axis=0), axis=1))
            count = min(OF_A_GROUP, len(members))
            chosen = order[np.linspace(0, len(members) - 1, count).round().astype(int)]
            own = [point for point in points if point["group"] == group]
            folders = Counter(self.seen[n].path.rpartition("/")[0] for n in members)
            listed.append(
                {
                    "letter": LETTERS[group],
                    "count": len(members),
                    "x": median(point["x"] for point in own),
                    "y": median(point["y"] for point in own),
                    "share": percent(len(members) / len(self.seen)),
                    "examples": [int(members[at]) for at in chosen],
                    "folders": folders.most_common(NAMED) if has_folders else [],
                    "scales": list_scales(self.seen[number] for number in members)[:NAMED],
                }
            )
        return listed


def list_scales(seen: Iterable[SeenMicrograph]) -> list[tuple[float, int]]:
    """Return the distinct pixel sizes in µm, each with its number of micrographs, finest first."""
    known = sorted(
        micrograph.crop.um_per_px for micrograph in seen if micrograph.crop.um_per_px is not None
    )
    runs: list[list[float]] = []
    for value in known:
        if runs and value <= ONE_SCALE * runs[-1][0]:
            runs[-1].append(value)
        else:
            runs.append([value])
    return [(median(run), len(run)) for run in runs]


def choose_evenly(paths: Sequence[Path], most: int) -> list[Path]:
    """Return at most so many paths in an order of which each beginning is spread over all."""
    order = np.random.default_rng(0).permutation(len(paths))[:most]
    return [paths[at] for at in order]


EXAMPLES: Final = 3

LEAST_OF_SCALE: Final = 3
"""Micrographs of a magnification that must agree on its pixel size."""

MOST_CLASSES: Final = 60

LEAST_OF_CLASS: Final = 2

_ORDER_FOLDER = re.compile(r"\d{3,}")


def propose_source(
    folder: Path, paths: Sequence[str], crops: Sequence[tuple[str, Crop]]
) -> dict[str, Any]:
    """Return settings for a folder as TOML, and what they would read.

    Args:
        folder: Absolute.
        paths: Of its pictures, relative.
        crops: Relative path and crop of each micrograph that was read.

    Returns:
        toml: Text for agent.toml. pattern: In it, or "". examples: Names with the process data
        read. matched: How many names it reads. classes: Folder, code and number of images of each.
        class_fault: Why the subfolders make no classes.
    """
    classes, class_fault = _propose_classes(folder.name, paths)
    names = paths if _has_order_folders(paths) else [path.rpartition("/")[2] for path in paths]
    pattern = propose_pattern(names)
    provenance = Provenance(pattern=pattern)
    read = [(path, provenance.process_data(path)) for path in sorted(paths)]
    lines = [f"[model]\ntaxonomy = {format_toml(TAXONOMY_FILE)}\n"] if classes else []
    lines += [
        "[[sources]]",
        f"name = {format_toml(keep_shown(to_text(folder.name)) or 'micrographs')}",
        f"folder = {format_toml(to_text(folder.as_posix()))}",
    ]
    microscopes = {crop.metadata.get("microscope", "") for _path, crop in crops}
    if len(microscopes) == 1 and (microscope := microscopes.pop()):
        lines.append(f"microscope = {format_toml(keep_shown(to_text(microscope)))}")
    if pattern:
        lines.append(f"pattern = {format_toml(pattern)}")
    lines += _propose_objectives(provenance, crops)
    matched = [row for row in read if row[1]]
    return {
        "toml": "\n".join(lines) + "\n",
        "pattern": pattern,
        "examples": matched[:: max(1, len(matched) // EXAMPLES)][:EXAMPLES],
        "matched": len(matched),
        "classes": classes,
        "class_fault": class_fault,
    }


def _has_order_folders(paths: Sequence[str]) -> bool:
    """Return whether files are in folders whose names are numbers, such as orders."""
    tops = {path.partition("/")[0] for path in paths if "/" in path}
    return bool(tops) and all(map(_ORDER_FOLDER.search, tops))


def _propose_classes(name: str, paths: Sequence[str]) -> tuple[list[tuple[str, str, int]], str]:
    """Return folder, code and number of images of each class; and why there is none, "" for no."""
    tops = Counter(path.partition("/")[0] for path in paths if "/" in path)
    if (
        not 1 < len(tops) <= MOST_CLASSES
        or sum(tops.values()) < max(len(paths), LEAST_OF_CLASS * len(tops))
        or _has_order_folders(paths)
    ):
        return [], ""
    try:
        taxonomy = propose_draft(sorted(tops), name=name).build()
        return [(top, taxonomy.code(*taxonomy.parse(top)), tops[top]) for top in sorted(tops)], ""
    except TaxonomyError as error:
        return [], str(error)


def _propose_objectives(provenance: Provenance, crops: Sequence[tuple[str, Crop]]) -> list[str]:
    """Return a table per magnification whose micrographs agree on the pixel size."""
    scales: dict[str, dict[tuple[int, int], list[float]]] = defaultdict(lambda: defaultdict(list))
    for path, crop in crops:
        name = provenance.process_data(path).get("magnification", "")
        if name and crop.um_per_px is not None:
            scales[objective_key(name)][crop.width, crop.height].append(crop.um_per_px)
    lines: list[str] = []
    for name, by_size in sorted(scales.items(), key=lambda row: (len(row[0]), row[0])):
        agreed = {
            size: median(values)
            for size, values in by_size.items()
            if len(values) >= LEAST_OF_SCALE and max(values) <= ONE_SCALE * min(values)
        }
        is_one = agreed and max(agreed.values()) <= ONE_SCALE * min(agreed.values())
        if is_one and len(agreed) == len(by_size):
            lines += _write_objective(name, median(agreed.values()))
            continue
        for (width, height), um_per_px in sorted(agreed.items()):
            lines += [*_write_objective(name, um_per_px), f"width = {width}", f"height = {height}"]
    return lines


def _write_objective(name: str, um_per_px: float) -> list[str]:
    return [
        "",
        "[[sources.objectives]]",
        f"name = {format_toml(name)}",
        f"um_per_px = {float(f'{um_per_px:.4g}')!r}",
    ]
