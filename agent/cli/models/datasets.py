"""`agent models datasets`: open sets of micrographs to try, and the manifest of one."""

from __future__ import annotations

import csv
import hashlib
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated
from xml.etree import ElementTree as ET

import typer

from agent.cli import console
from agent.cli.app import SOME_FAILED
from agent.cli.models.bundles import models
from agent.cli.options import JsonOption
from agent.errors import UsageError
from agent.terminal import format_count

COLUMNS = (
    *("file", "code", "specimen", "um_per_px", "magnification", "material"),
    *("microscope", "etching"),
)
"""Columns of a prepared manifest."""

MANIFEST = "labels.csv"
NOT_STRUCTURES = frozenset({"", "quality", "sample", "figure", "crack", "hole", "indent"})
"""UHCSDB's notes on micrographs that show no one constituent."""

MICROMETRES = {"um": 1.0, "µm": 1.0, "nm": 0.001, "mm": 1000.0}
NFFA_CATEGORIES = 10
MICROSCOPES = "Dataset_Patches_Microscope_Metadata"
"""Table of the set of several microscopes, `.xlsx` or saved as `.csv`."""

SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """A row of the manifest, and the hash that its pixels should have.

    Args:
        file: Path below the folder.
        code: The class.
        specimen: What must stay on one side of a split, "" where unknown.
        um_per_px: Scale as text, "" where unknown.
        magnification, material, microscope, etching: As in the set.
        sha256_pixels: Of the grey pixels, row by row; "" where the set publishes none.
    """

    file: str
    code: str
    specimen: str = ""
    um_per_px: str = ""
    magnification: str = ""
    material: str = ""
    microscope: str = ""
    etching: str = ""
    sha256_pixels: str = ""

    def to_row(self) -> dict[str, str]:
        """Return the row of the manifest."""
        return {name: str(value) for name, value in asdict(self).items() if name in COLUMNS}


@dataclass(frozen=True, slots=True)
class OpenDataset:
    """One open set.

    Args:
        name: What `agent models datasets` calls it.
        title: Its full name.
        content: What its images show.
        images: How many it has, in words.
        labels: What is labelled.
        licence: Its licence, "" where it was not confirmed: read it at the source.
        citation: What to cite.
        doi: Of the publication, "" where none was confirmed.
        source: Where it is.
        good_for: What a lab can try with it.
        list_images: Reads a folder of it; None where it has no class per image.
    """

    name: str
    title: str
    content: str
    images: str
    labels: str
    licence: str
    citation: str
    doi: str
    source: str
    good_for: str
    list_images: Callable[[Path], Iterator[PreparedImage]] | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, object]:
        """Return the facts of the set for a program."""
        facts = {k: v for k, v in asdict(self).items() if k != "list_images"}
        return {**facts, "can_be_prepared": self.list_images is not None}


@dataclass(frozen=True, slots=True)
class Preparation:
    """Result of reading a folder.

    Attributes:
        images: What the manifest holds.
        missing: Files that the set lists and the folder lacks.
        changed: Files whose pixels do not have the published hash; they are left out.
        hashed: How many were checked by their hash.
    """

    images: tuple[PreparedImage, ...]
    missing: tuple[str, ...]
    changed: tuple[str, ...]
    hashed: int

    @property
    def codes(self) -> Mapping[str, int]:
        """Class → number of images."""
        return Counter(image.code for image in self.images)


def prepare(dataset: OpenDataset, folder: Path) -> Preparation:
    """Read a folder that somebody downloaded, and check its files.

    Args:
        dataset: The set.
        folder: Where it was unpacked.

    Raises:
        UsageError: The set has no class per image, or the folder does not hold it.
    """
    if dataset.list_images is None:
        raise UsageError(
            f"{dataset.name} labels {dataset.labels}, not whole images, so no manifest can be made "
            f"of it; {dataset.good_for}."
        )
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder.")
    images, missing, changed, hashed = [], [], [], 0
    for image in dataset.list_images(folder):
        path = folder / image.file
        if not path.is_file():
            missing.append(image.file)
        elif image.sha256_pixels and _hash_pixels(path) != image.sha256_pixels:
            changed.append(image.file)
        else:
            hashed += bool(image.sha256_pixels)
            images.append(image)
    if not images:
        raise UsageError(
            f"{folder}: no picture of {dataset.name} in it ({len(missing)} listed and missing, "
            f"{len(changed)} with other pixels); name the folder that it was unpacked into."
        )
    return Preparation(tuple(images), tuple(missing), tuple(changed), hashed)


def _hash_pixels(path: Path) -> str:
    from agent.files.pictures import decode

    try:
        pixels = decode(path.read_bytes())
    except (OSError, ValueError):
        return "unreadable"
    return hashlib.sha256(pixels[..., 0].tobytes()).hexdigest()


# --- readers ------------------------------------------------------------------------------------


def _list_uhcsdb(folder: Path) -> Iterator[PreparedImage]:
    """Yield the images of UHCSDB from `uhcs-metadata.csv`, or from a selection's manifest."""
    selection, metadata = folder / "MANIFEST.csv", folder / "uhcs-metadata.csv"
    if selection.is_file():
        yield from _list_selection(selection)
    elif metadata.is_file():
        yield from _list_metadata(metadata, folder)
    else:
        raise UsageError(
            f"{folder}: neither uhcs-metadata.csv nor MANIFEST.csv is in it; put the set's "
            "metadata (github.com/bdecost/uhcsdb, data/uhcs-metadata.csv) next to its pictures."
        )


def _list_selection(manifest: Path) -> Iterator[PreparedImage]:
    for row in _rows(manifest, ("file", "microconstituent", "specimen", "um_per_px")):
        yield PreparedImage(
            file=row["file"],
            code=row["microconstituent"],
            specimen=row["specimen"],
            um_per_px=row["um_per_px"],
            magnification=row.get("magnification", ""),
            material="UHCS",
            sha256_pixels=row.get("sha256_pixels", ""),
        )


def _list_metadata(metadata: Path, folder: Path) -> Iterator[PreparedImage]:
    """Yield rows of the set's own table; a scale is the bar's length over its pixels."""
    needed = ("path", "primary_microconstituent", "label", "micron_bar", "micron_bar_px")
    there = {path.name: path for path in sorted(folder.rglob("micrograph*.*"))}
    for row in _rows(metadata, needed):
        if row["primary_microconstituent"] in NOT_STRUCTURES:
            continue
        path = there.get(row["path"])
        yield PreparedImage(
            file=path.relative_to(folder).as_posix() if path else row["path"],
            code=row["primary_microconstituent"],
            specimen=row["label"],
            um_per_px=_compute_scale(row),
            magnification=re.sub(r"(?i)x$", "", row.get("magnification", "")),
            material="UHCS",
        )


def _compute_scale(row: Mapping[str, str]) -> str:
    """Return µm per pixel of a bar, "" where its length, unit or pixels are unknown."""
    unit = MICROMETRES.get(row.get("micron_bar_units", "").strip())
    try:
        length, pixels = float(row["micron_bar"]), float(row["micron_bar_px"])
    except ValueError:
        return ""
    return f"{length * unit / pixels:.5g}" if unit and length > 0 and pixels > 0 else ""


def _list_nffa(folder: Path) -> Iterator[PreparedImage]:
    """Yield the images of the NFFA set: a folder per category."""
    from agent.watch.listing import list_folder

    pictures = [path for path in sorted(list_folder(folder.absolute()).pictures) if "/" in path]
    categories = {path.split("/")[0] for path in pictures}
    if len(categories) > NFFA_CATEGORIES:
        raise UsageError(
            f"{folder}: {len(categories)} folders with pictures, the set has {NFFA_CATEGORIES} "
            "categories; name the folder that holds the categories."
        )
    for path in pictures:
        yield PreparedImage(path, path.split("/")[0])


def _list_microscopes(folder: Path) -> Iterator[PreparedImage]:
    """Yield the patches of the set of several microscopes from its table.

    Its `ID` names an acquisition; what stays on one side of a split is the specimen, which each
    microscope photographed at the same places. A patch is found by its name whatever its case and
    separators, since one is listed otherwise than its file is called.
    """
    table = next(iter(sorted(folder.rglob(f"{MICROSCOPES}.*"))), None)
    if table is None:
        raise UsageError(f"{folder}: {MICROSCOPES}.xlsx is not in it; put it next to the pictures.")
    there: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.png")):
        there.setdefault(_fold_name(path.stem), []).append(path)
    needed = ("FileNameHarm", "SampleIDHarm", "Magnification", "MicroscopeID", "EtchingID", "Phase")
    rows = _rows(table, needed) if table.suffix == ".csv" else _sheet_rows(table, needed)
    for row in rows:
        name, specimen = row["FileNameHarm"], row["SampleIDHarm"]
        found = there.get(_fold_name(name.removesuffix(".png")), [])
        own = [path for path in found if path.parent.name.startswith(specimen)] or found
        yield PreparedImage(
            file=own[0].relative_to(folder).as_posix() if len(own) == 1 else name,
            code=row["Phase"],
            specimen=specimen,
            magnification=row["Magnification"],
            microscope=row["MicroscopeID"],
            etching=row["EtchingID"],
        )


def _fold_name(stem: str) -> str:
    return re.sub(r"[\s_.-]+", "_", stem).casefold()


def _sheet_rows(file: Path, needed: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """Yield the rows of the first sheet of a workbook (ECMA-376) as texts."""
    try:
        with zipfile.ZipFile(file) as book:
            strings = []
            if "xl/sharedStrings.xml" in book.namelist():
                shared = ET.fromstring(book.read("xl/sharedStrings.xml"))  # noqa: S314 - expat bounds what entities become
                strings = ["".join(entry.itertext()) for entry in shared]
            sheet = ET.fromstring(book.read("xl/worksheets/sheet1.xml"))  # noqa: S314 - likewise
        rows = [
            {
                re.sub(r"\d", "", cell.get("r", "")): _cell_text(cell, strings)
                for cell in row.iter(f"{SHEET}c")
            }
            for row in sheet.iter(f"{SHEET}row")
        ]
    except (OSError, KeyError, IndexError, ValueError, zipfile.BadZipFile, SyntaxError) as error:
        raise UsageError(f"{file}: cannot be read ({error}); download it again.") from error
    names = rows[0] if rows else {}
    if lacking := [name for name in needed if name not in names.values()]:
        raise UsageError(f"{file}: it has no column {lacking[0]}; download it again.")
    for row in rows[1:]:
        yield {name: row.get(column, "") for column, name in names.items()}


def _cell_text(cell: ET.Element, strings: Sequence[str]) -> str:
    value = cell.find(f"{SHEET}v")
    if cell.get("t") == "s" and value is not None:
        return strings[int(value.text or "")]
    if value is None:
        return "".join(cell.itertext())
    text = value.text or ""
    return text.removesuffix(".0") if cell.get("t") in {None, "n"} else text


def _rows(file: Path, needed: tuple[str, ...]) -> Iterator[dict[str, str]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text)
            if lacking := [name for name in needed if name not in (reader.fieldnames or ())]:
                raise UsageError(f"{file}: it has no column {lacking[0]}; download it again.")
            yield from ({k: v or "" for k, v in row.items() if k is not None} for row in reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{file}: cannot be read ({error}); download it again.") from error


# --- the sets -----------------------------------------------------------------------------------

DATASETS = (
    OpenDataset(
        name="uhcsdb",
        title="UHCSDB: UltraHigh Carbon Steel Micrograph DataBase",
        content="SEM micrographs of one ultrahigh-carbon steel after many heat treatments",
        images="961",
        labels="the main constituent of each image",
        licence="CC BY 3.0 US",
        citation="DeCost, Hecht, Francis, Webler, Picard, Holm: Integrating Materials and "
        "Manufacturing Innovation 6, 197-205 (2017)",
        doi="10.1007/s40192-017-0097-0",
        source="https://hdl.handle.net/11256/940",
        good_for="trying own classes from label to report, with scale; group by the heat treatment",
        list_images=_list_uhcsdb,
    ),
    OpenDataset(
        name="nffa",
        title="NFFA-EUROPE SEM images",
        content="SEM images of the nanoscale in 10 categories, such as fibres, films and particles",
        images="about 22000",
        labels="the category of each image",
        licence="",
        citation="Aversa et al.: Scientific Data 5, 180172 (2018)",
        doi="10.1038/sdata.2018.172",
        source="https://doi.org/10.1038/sdata.2018.172",
        good_for="use it as images of something else: agent models evaluate --strange FOLDER "
        "says how many are flagged",
        list_images=_list_nffa,
    ),
    OpenDataset(
        name="metaldam",
        title="MetalDAM: metallography dataset from additive manufacturing",
        content="SEM micrographs of additively manufactured steel",
        images="42",
        labels="five phases and features per pixel",
        licence="",
        citation="Luengo et al.: Information Fusion 78, 232-253 (2022)",
        doi="10.1016/j.inffus.2021.09.018",
        source="https://github.com/ari-dasci/S-metallograph-segmentation",
        good_for="use its images to try scale and crop on another microscope",
    ),
    OpenDataset(
        name="aachen-heerlen",
        title="Aachen-Heerlen annotated steel microstructure dataset",
        content="micrographs of a steel with a secondary phase in islands",
        images="",
        labels="outlines of islands",
        licence="",
        citation="Scientific Data 8 (2021), doi:10.1038/s41597-021-00926-7",
        doi="10.1038/s41597-021-00926-7",
        source="https://doi.org/10.1038/s41597-021-00926-7",
        good_for="use its images to try scale and crop on another microscope",
    ),
    OpenDataset(
        name="three-microscopes",
        title="Patches of bainite and martensite by three microscopes",
        content="light-optical patches of 20 steel specimens at magnifications 20 to 100, two "
        "etchings; each region once per setting",
        images="5293",
        labels="the phase of each patch, its specimen, microscope, etching and settings",
        licence="CC BY 4.0",
        citation="Bachmann et al.: Scientific Reports 16, 29853 (2026)",
        doi="10.5281/zenodo.19851246",
        source="https://doi.org/10.5281/zenodo.19851246",
        good_for="trying how well a microscope that no training saw is graded: "
        "agent models experiments FOLDER --cross-microscope",
        list_images=_list_microscopes,
    ),
    OpenDataset(
        name="saarland",
        title="Benchmark datasets for robustness (DFG Mu 959/57-1)",
        content="light-optical micrographs of steel with varied etching, microscope, brightness "
        "and aperture; announced for the conference IMAT 2026",
        images="",
        labels="two kinds of structure (announced)",
        licence="",
        citation="Müller, Bachmann, Stiefel: IMAT 2026, abstract 65477",
        doi="",
        source="https://asm.confex.com/asm/imat2026/webprogram/Paper65477.html",
        good_for="ask its authors for it: it varies what usually differs between labs",
    ),
)


def get_dataset(name: str) -> OpenDataset:
    """Return a set by its name.

    Raises:
        UsageError: There is none of that name.
    """
    for dataset in DATASETS:
        if dataset.name == name.casefold():
            return dataset
    known = ", ".join(dataset.name for dataset in DATASETS)
    raise UsageError(f"no open set is called {name!r}; known are {known}.")


UNCONFIRMED = "read it at the source"


@models.command()
def datasets(
    name: Annotated[
        str, typer.Argument(help="Name of the set. Without one the sets are listed.")
    ] = "",
    folder: Annotated[
        Path | None, typer.Argument(help="The folder that the set was unpacked into.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The manifest; labels.csv in the folder by default."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a manifest.")] = False,
    json: JsonOption = False,
) -> None:
    """List open sets of micrographs to try, or write the manifest of one; downloads nothing.

    The list has licence, citation, DOI, number of images, and what each set is good for. A manifest
    has class, group and scale of each image, checked by count and hash.
    """
    if not name:
        _list_datasets(json=json)
        return
    if folder is None:
        raise UsageError("Name the folder that the set was unpacked into.")
    _prepare(name, folder, out=out, force=force, json=json)


def _list_datasets(*, json: bool) -> None:
    """Print the open sets."""
    if json:
        console.print_json([dataset.to_json() for dataset in DATASETS])
        return
    for dataset in DATASETS:
        console.out.print(f"\n{dataset.name}: {dataset.title}", markup=False)
        facts = (
            ("content", dataset.content),
            ("images", dataset.images or UNCONFIRMED),
            ("labels", dataset.labels),
            ("licence", dataset.licence or UNCONFIRMED),
            ("cite", dataset.citation),
            ("doi", dataset.doi or "none"),
            ("source", dataset.source),
            ("good for", dataset.good_for),
        )
        for title, text in facts:
            console.out.print(f"  {title:<9} {text}", markup=False)
    console.out.print(
        "\nDownload a set with a browser, then: agent models datasets NAME FOLDER", markup=False
    )


def _prepare(name: str, folder: Path, *, out: Path | None, force: bool, json: bool) -> None:
    """Write the manifest of a set, and print what it has."""
    from agent.files.csv_export import write_csv

    dataset = get_dataset(name)
    prepared = prepare(dataset, folder)
    file = out or folder / MANIFEST
    if file.exists() and not force:
        raise UsageError(f"{file}: already there; name another with --out, or add --force.")
    try:
        with file.open("w", encoding="utf-8", newline="") as text:
            write_csv(text, COLUMNS, [image.to_row() for image in prepared.images])
    except OSError as error:
        raise UsageError(
            f"{file}: cannot be written ({error.strerror or error}); name another with --out."
        ) from error
    groups = len({image.specimen for image in prepared.images if image.specimen})
    without_scale = sum(not image.um_per_px for image in prepared.images)
    if json:
        console.print_json(
            {
                "name": dataset.name,
                "manifest": str(file),
                "images": len(prepared.images),
                "codes": dict(prepared.codes),
                "groups": groups,
                "without_scale": without_scale,
                "hashed": prepared.hashed,
                "missing": list(prepared.missing),
                "changed": list(prepared.changed),
            }
        )
    else:
        console.table(("class", "images"), sorted(prepared.codes.items()))
        checked = f"{prepared.hashed} checked by their hash" if prepared.hashed else "no hash known"
        console.out.print(
            f"{format_count(len(prepared.images), 'image')} in {format_count(groups, 'group')}, "
            f"{without_scale} without a scale, "
            f"{checked}: {file}",
            markup=False,
        )
        for title, files in (
            ("listed and missing", prepared.missing),
            ("left out, other pixels", prepared.changed),
        ):
            if files:
                shown = ", ".join(files[:3]) + (" …" if len(files) > 3 else "")  # noqa: PLR2004
                console.out.print(f"{len(files)} {title}: {shown}", markup=False)
        console.out.print(
            f"next: agent init --taxonomy {file}, then: agent train {folder} --manifest {file}",
            markup=False,
        )
    if prepared.missing or prepared.changed:
        raise typer.Exit(SOME_FAILED)
