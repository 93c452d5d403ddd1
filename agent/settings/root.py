"""All sections together, with the sources and their objectives."""

import re
from datetime import date
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PrivateAttr, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from agent.settings.section import Folder, Section, Shown
from agent.settings.sections import (
    ArchiveSection,
    BackupSection,
    FeaturesSection,
    ImagingSection,
    LogSection,
    ModelSection,
    MsaSection,
    NeedlesSection,
    NightSection,
    NotifySection,
    OrdersSection,
    ReportSection,
    RetentionSection,
    RetrainSection,
    ReviewSection,
    RolloutSection,
    ServiceSection,
    SiteSection,
    StatementsSection,
    StoreSection,
    StrangenessSection,
    TrailSection,
    TriageSection,
    WebSection,
)

# --- sources and their objectives: [[sources]] of the settings file -------------------------------


PROCESS_COLUMNS = (
    "plant",
    "microscope",
    "objective",
    "order",
    "heat",
    "batch",
    "specimen",
    "preparation",
    "field",
    "material",
    "etchant",
    "magnification",
    "operator",
)
"""Process data of which each has a column of the micrograph in the database."""

PROCESS_KEYS = (*PROCESS_COLUMNS, "furnace")
"""Process data that a path pattern, a note, a sender or a fixed key of a source can give.

What has no column is stored in the micrograph's further process data, as are other columns of a
manifest.
"""


def _require_pattern(text: str) -> str:
    try:
        groups = set(re.compile(text).groupindex)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    if unknown := groups - set(PROCESS_KEYS):
        known = ", ".join(PROCESS_KEYS)
        raise ValueError(f"unknown group {min(unknown)!r}; the groups may be {known}")
    return text


class Objective(Section):
    """[[sources.objectives]]: an independent scale, measured with a stage micrometer."""

    name: Shown = Field(min_length=1, description="Name as in the process data, such as 50x.")
    um_per_px: float = Field(gt=0, description="Measured with a stage micrometer, µm per pixel.")
    camera: Shown = Field("", description="Name of the camera.")
    width: int | None = Field(
        None, gt=0, description="Image width in pixels, if the value depends on it."
    )
    height: int | None = Field(
        None, gt=0, description="Image height in pixels, if the value depends on it."
    )
    certificate: Shown = Field("", description="Certificate of the stage micrometer.")
    valid_from: date | None = Field(
        None, description="First day of validity, for pictures of this day and later."
    )

    def contradicts(self, other: "Objective") -> bool:
        """Return whether both are valid for one picture and one day, with another scale."""
        sizes = ((self.width, other.width), (self.height, other.height))
        return (
            objective_key(self.name) == objective_key(other.name)
            and self.valid_from == other.valid_from
            and all(a is None or b is None or a == b for a, b in sizes)
            and self.um_per_px != other.um_per_px
        )


def objective_key(name: str) -> str:
    """Return one spelling for "50 X", "50×", "50.0" and "50x"."""
    plain = re.sub(r"\s+", "", name).casefold().replace("×", "x")
    number = re.fullmatch(r"(\d+(?:[.,]\d+)?)x?", plain)
    return f"{float(number[1].replace(',', '.')):g}x" if number else plain


class Source(Section):
    """[[sources]]: one per microscope export folder."""

    name: Shown = Field(min_length=1, description="Name of the source, unique.")
    folder: Folder = Field(
        description="Folder that the microscope exports to; the agent only reads it."
    )
    mode: Literal["native", "poll", "auto"] = Field(
        "auto",
        description="File-system events (native), polling (poll), or an automatic choice.",
    )
    quiet_s: float = Field(5.0, ge=0, description="Time (s) that a file must stay unchanged.")
    completion: Literal["quiet", "rename", "sidecar"] = Field(
        "quiet", description="Sign of a complete file: unchanged, renamed, or a marker file."
    )
    scan_every_s: float = Field(60.0, gt=0, description="Interval (s) between folder listings.")
    pattern: Annotated[str, AfterValidator(_require_pattern)] = Field(
        "",
        description="Regular expression with named groups that reads process data from the path.",
    )
    objectives: tuple[Objective, ...] = Field((), description="Calibrated objectives.")
    plant: Shown = ""
    microscope: Shown = ""
    objective: Shown = ""
    order: Shown = ""
    heat: Shown = ""
    batch: Shown = ""
    specimen: Shown = ""
    preparation: Shown = ""
    field: Shown = ""
    material: Shown = ""
    etchant: Shown = ""
    magnification: Shown = ""
    operator: Shown = ""
    furnace: Shown = ""

    @field_validator("objectives")
    @classmethod
    def _agree(cls, value: tuple[Objective, ...]) -> tuple[Objective, ...]:
        for objective, other in combinations(value, 2):
            if objective.contradicts(other):
                raise ValueError(
                    f"{objective.name} is defined twice, with {objective.um_per_px} and "
                    f"{other.um_per_px} µm per pixel, for the same day and image size; "
                    "add width and height or valid_from to each"
                )
        return value

    def fixed_process_data(self) -> dict[str, str]:
        """Return the process data that is the same for every file of this source."""
        return {column: value for column in PROCESS_KEYS if (value := getattr(self, column))}


def require_unique_names(sources: tuple[Source, ...]) -> tuple[Source, ...]:
    """Return the sources. Raises `ValueError` where two have one name."""
    names = [source.name for source in sources]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two sources have the name {min(twice)!r}; use unique names")
    return sources


# --- all sections together ------------------------------------------------------------------------


ENV_PREFIX = "AGENT_"


class Settings(BaseSettings):
    """All settings of a lab. Read with `read`; only `cli` and `service` see it."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    # Constructed without validation: the one validator of all settings checks what is given, and
    # building one a section as well takes a short command longer than reading its file.
    site: SiteSection = SiteSection.model_construct()
    store: StoreSection = StoreSection.model_construct()
    sources: Annotated[tuple[Source, ...], AfterValidator(require_unique_names)] = ()
    imaging: ImagingSection = ImagingSection.model_construct()
    model: ModelSection = ModelSection.model_construct()
    strangeness: StrangenessSection = StrangenessSection.model_construct()
    triage: TriageSection = TriageSection.model_construct()
    night: NightSection = NightSection.model_construct()
    report: ReportSection = ReportSection.model_construct()
    web: WebSection = WebSection.model_construct()
    archive: ArchiveSection = ArchiveSection.model_construct()
    features: FeaturesSection = FeaturesSection.model_construct()
    retention: RetentionSection = RetentionSection.model_construct()
    review: ReviewSection = ReviewSection.model_construct()
    retrain: RetrainSection = RetrainSection.model_construct()
    needles: NeedlesSection = NeedlesSection.model_construct()
    rollout: RolloutSection = RolloutSection.model_construct()
    notify: NotifySection = NotifySection.model_construct()
    log: LogSection = LogSection.model_construct()
    orders: OrdersSection = OrdersSection.model_construct()
    backup: BackupSection = BackupSection.model_construct()
    trail: TrailSection = TrailSection.model_construct()
    service: ServiceSection = ServiceSection.model_construct()
    msa: MsaSection = MsaSection.model_construct()
    statements: StatementsSection = StatementsSection.model_construct()
    _file: Path | None = PrivateAttr(None)

    @property
    def file(self) -> Path | None:
        """The file that they were read from, None for defaults and environment alone."""
        return self._file

    def read_from(self, file: Path | None) -> "Settings":
        """Return the same settings, which know their file."""
        copied = self.model_copy()
        copied._file = file.absolute() if file else None  # noqa: SLF001 - its own class
        return copied

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: the environment before the file."""
        return env_settings, init_settings


# --- version of how a file is cropped; loads no OpenCV, so that `agent status` answers at once ----


RECIPE = "5"
"""Increment whenever the same file would be cropped differently."""
