"""Import a labelled folder: micrographs cropped by the pipeline, and a label for each.

Labelled micrographs go through the pipeline like every other (`origin = import`: in no night, in
no queue), so training images have the crop recipe of classified ones. An unusable file is named and
never stops the rest.
"""

from __future__ import annotations

from agent.labelled_import.importer import (
    ImportOutcome,
    ManifestProvenance,
    get_group,
    get_key,
    get_slices,
    import_folder,
    iter_cropped,
    make_loader,
)
from agent.labelled_import.manifest import (
    Labelled,
    LabelledFolder,
    UnusableFile,
    iter_rows,
    list_labelled,
    list_labelled_folder,
    list_unusual,
    require_columns,
)

__all__ = [
    "ImportOutcome",
    "Labelled",
    "LabelledFolder",
    "ManifestProvenance",
    "UnusableFile",
    "get_group",
    "get_key",
    "get_slices",
    "import_folder",
    "iter_cropped",
    "iter_rows",
    "list_labelled",
    "list_labelled_folder",
    "list_unusual",
    "make_loader",
    "require_columns",
]
