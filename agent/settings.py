"""What a lab can set: one frozen `Settings`, a section per room.

In:  `agent.toml`, then `AGENT_SECTION__KEY` variables on top. Out: `Settings`, given only to
`cli` and `service`; the rooms below get plain values. A key that does not exist is an error
that names the nearest one, since a typo that is ignored is a setting that does not hold.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
import tomllib
from datetime import date, time
from itertools import combinations, permutations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from agent.errors import BadSettings, without_passwords
from agent.toml_faults import IN_SINGLE_QUOTES, describe_toml_fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic_core import ErrorDetails

FILE_NAME = "agent.toml"
ENV_PREFIX = "AGENT_"
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
NOT_SETTINGS = {"AGENT_CONFIG", "AGENT_TOKEN"}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"no time zone is called {name!r}; write one like Europe/Berlin"
        ) from error
    return name


def _folder(given: object) -> object:
    if isinstance(given, str) and not given.strip():
        raise ValueError("must not be empty")
    if isinstance(given, str) and any(character < " " for character in given):
        raise ValueError(f"no folder is called so. {IN_SINGLE_QUOTES}".rstrip("."))
    return given


Folder = Annotated[Path, BeforeValidator(_folder)]


def _pattern(text: str) -> str:
    try:
        found = set(re.compile(text).groupindex)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    if strangers := found - set(PROCESS_COLUMNS):
        known = ", ".join(PROCESS_COLUMNS)
        raise ValueError(f"unknown group {min(strangers)!r}; the groups may be {known}")
    return text


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
"""Process data that a path pattern, a manifest or a fixed key of a source can give."""


class Site(_Section):
    """[site]."""

    name: str = Field("Plant 1", description="Name of the site, on every page.")
    time_zone: Annotated[str, AfterValidator(_zone)] = Field(
        "Europe/Berlin", description="Time zone of the night and of every time on a page."
    )
    shares: tuple[Literal["accounts", "bundles"], ...] = Field(
        (),
        description='What it shares with sites of the same database that share it too: "accounts" '
        'log in at each, of "bundles" the one promoted last at any of them is in use at all.',
    )


class StoreSection(_Section):
    """[store]."""

    folder: Folder = Field(
        Path("data"),
        description="The data folder, relative to this file: database, crops, bundles, reports.",
    )
    url: str = Field(
        "", description='Database, "" for SQLite in the folder; else "postgresql+psycopg://…".'
    )


class Objective(_Section):
    """[[sources.objectives]]: the independent witness for the scale."""

    name: str = Field(min_length=1, description="As it appears in the process data, such as 50x.")
    um_per_px: float = Field(gt=0, description="Measured with a stage micrometer, µm per pixel.")
    camera: str = Field("", description="Name of the camera.")
    width: int | None = Field(None, gt=0, description="Image width in pixels it holds for.")
    height: int | None = Field(None, gt=0, description="Image height in pixels it holds for.")
    certificate: str = Field("", description="Of the stage micrometer.")
    valid_from: date | None = Field(None, description="First day it holds.")

    def contradicts(self, other: Objective) -> bool:
        """Say whether both hold for one picture and one day, with another scale."""
        sizes = ((self.width, other.width), (self.height, other.height))
        return (
            objective_key(self.name) == objective_key(other.name)
            and self.valid_from == other.valid_from
            and all(a is None or b is None or a == b for a, b in sizes)
            and self.um_per_px != other.um_per_px
        )


def objective_key(name: str) -> str:
    """Write "50 X", "50×", "50.0" and "50x" alike."""
    plain = re.sub(r"\s+", "", name).casefold().replace("×", "x")
    number = re.fullmatch(r"(\d+(?:[.,]\d+)?)x?", plain)
    return f"{float(number[1].replace(',', '.')):g}x" if number else plain


class Source(_Section):
    """[[sources]]: one per microscope export folder."""

    name: str = Field(min_length=1, description="Name of the source, unique.")
    folder: Folder = Field(description="The folder the microscope exports to; only ever read.")
    mode: Literal["native", "poll", "auto"] = Field(
        "auto",
        description="How news is heard: file system events, polling, or chosen and said aloud.",
    )
    quiet_s: float = Field(5.0, ge=0, description="How long (s) a file must stay unchanged.")
    completion: Literal["quiet", "rename", "sidecar"] = Field(
        "quiet", description="How the microscope says a file is done."
    )
    scan_every_s: float = Field(60.0, gt=0, description="How often (s) the folder is listed.")
    pattern: Annotated[str, AfterValidator(_pattern)] = Field(
        "", description="Regular expression with named groups: process data from the path."
    )
    objectives: tuple[Objective, ...] = Field((), description="Calibrated objectives.")
    plant: str = ""
    microscope: str = ""
    objective: str = ""
    order: str = ""
    heat: str = ""
    batch: str = ""
    specimen: str = ""
    preparation: str = ""
    field: str = ""
    material: str = ""
    etchant: str = ""
    magnification: str = ""
    operator: str = ""

    @field_validator("objectives")
    @classmethod
    def _agree(cls, value: tuple[Objective, ...]) -> tuple[Objective, ...]:
        for one, other in combinations(value, 2):
            if one.contradicts(other):
                raise ValueError(
                    f"{one.name} stands there twice, with {one.um_per_px} and "
                    f"{other.um_per_px} µm per pixel, for the same day and image size; "
                    "give each its width and height or its valid_from"
                )
        return value

    def fixed_process_data(self) -> dict[str, str]:
        """Say the process data that holds for every file of this source."""
        return {column: value for column in PROCESS_COLUMNS if (value := getattr(self, column))}


class Imaging(_Section):
    """[imaging]."""

    max_megapixels: float = Field(
        200.0, gt=0, description="A larger image is set aside before it is decoded."
    )
    um_per_px_range: tuple[float, float] = Field(
        (0.01, 5.0), description="Plausible µm per pixel; a scale outside is not believed."
    )
    sidecars: bool = Field(
        default=True,
        description="Whether text and XML files beside a picture are asked for its scale.",
    )
    workers: int = Field(0, ge=0, description="Processes that read and crop; 0: one per two cores.")
    time_limit_s: float = Field(60.0, gt=0, description="How long (s) one file may take to read.")
    memory_limit_mb: int = Field(4000, gt=0, description="Memory (MB) one worker may take.")

    @field_validator("um_per_px_range")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] < value[1]:
            raise ValueError("write it as [smallest, largest], both above 0")
        return value


class ModelSection(_Section):
    """[model]."""

    device: str = Field("auto", description='"auto", "cpu", "cuda" or "cuda:1".')
    precision: Literal["auto", "fp32", "bf16", "int8"] = Field(
        "auto", description="Arithmetic of the networks."
    )
    taxonomy: str = Field(
        "", description="A taxonomy.toml, relative to this file; empty: the bundle's own."
    )
    batch: int = Field(8, ge=1, description="How many micrographs are classified together.")


class StrangenessSection(_Section):
    """[strangeness]."""

    alpha: float = Field(
        0.02, gt=0, lt=0.5, description="Share of good images that may be flagged as strange."
    )


class Triage(_Section):
    """[triage]."""

    min_probability: float = Field(
        0.6, ge=0, le=1, description="Below it a structure code is uncertain."
    )
    control_share: float = Field(
        0.05, ge=0, le=1, description="Share of micrographs reviewed whatever the model says."
    )
    diverse_per_night: int = Field(
        0,
        ge=0,
        description="How many automatic micrographs a night, unlike all taught ones, are reviewed.",
    )
    double_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the review that two people judge, unseen by each other; 0: none.",
    )


TIME_OF_DAY = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


def _local_time(value: object) -> object:
    if isinstance(value, str) and not TIME_OF_DAY.fullmatch(value):
        raise ValueError('write a time of day like "23:30"')
    return value


def _free_day(value: str) -> str:
    day = value.strip().lower()
    if day in WEEKDAYS:
        return day
    try:
        return date.fromisoformat(day).isoformat()
    except ValueError:
        raise ValueError(f'{value!r} is no weekday such as "sunday", nor a date') from None


class Night(_Section):
    """[night]."""

    at: Annotated[time, BeforeValidator(_local_time)] = Field(
        time(23, 30), description="When the night's report is written, local time of the site."
    )
    free_days: tuple[Annotated[str, AfterValidator(_free_day)], ...] = Field(
        (),
        description='Days on which nothing comes: weekdays ("sunday") or dates ("2026-12-25").',
    )


class ReportSection(_Section):
    """[report]."""

    language: Literal["en", "de"] = Field(
        "en", description='Language of reports and pages: "en" or "de".'
    )


class Web(_Section):
    """[web]."""

    host: str = Field(
        "127.0.0.1", description="Address of the review page; any but this PC's needs accounts."
    )
    port: int = Field(8787, ge=0, le=65535, description="Port; 0 takes any free one.")
    names: tuple[str, ...] = Field(
        (), description="Names by which other PCs call this one; a request by another is refused."
    )
    certificate: str = Field(
        "", description="TLS certificate chain (PEM); with it and its key the page is https."
    )
    key: str = Field("", description="The certificate's private key (PEM).")
    lock_after_min: int = Field(
        30, ge=1, description="A browser that was silent for so long has to log in again."
    )
    proxies: tuple[str, ...] = Field(
        (),
        description="Addresses of proxies in front, whose X-Forwarded-For and -Proto are believed.",
    )
    connections: int = Field(
        512, ge=16, description="Connections at once; one without a request gives way to a new one."
    )
    requests: int = Field(
        64, ge=4, description="Requests answered at once; one more is told to come again."
    )
    uploads: int = Field(4, ge=1, description="Files received at once through the API.")
    header_s: float = Field(
        10.0, gt=0, description="How long the head of a request may take, in seconds."
    )
    idle_s: float = Field(
        20.0, gt=0, description="How long a sender or reader may be silent, in seconds."
    )


class ArchiveSection(_Section):
    """[archive]."""

    originals: Literal["flagged", "all"] = Field(
        "flagged", description="Whose original bytes are kept: labelled and flagged ones, or all."
    )


class Retention(_Section):
    """[retention]: after how many days `agent prune` may delete; 0 is never."""

    crops_days: int = Field(
        0, ge=0, description="Crops and maps of unflagged, unlabelled micrographs."
    )
    originals_days: int = Field(0, ge=0, description="Archived originals nobody refers to.")
    statements_years: int = Field(
        15, ge=1, description="So long (years) the pixels that a statement names are evidence."
    )


def _weekly(value: str) -> str:
    said = value.strip().lower()
    day, _, at = said.partition(" ")
    if said and not (day in (*WEEKDAYS, "daily") and TIME_OF_DAY.fullmatch(at)):
        raise ValueError('write a weekday or "daily" and a time of day, like "sunday 02:00"')
    return said


class Retrain(_Section):
    """[retrain]: when a candidate is taught; only a person puts one to work."""

    schedule: Annotated[str, AfterValidator(_weekly)] = Field(
        "", description='When one is taught by itself: "sunday 02:00", "daily 02:00"; "" never.'
    )
    start_at_new_labels: int = Field(
        0, ge=0, description="So many labels since the last one begin one by themselves; 0: never."
    )
    shadow_days: int = Field(
        0, ge=0, description="A new candidate judges the last so many days beside; 0: none."
    )
    promoters: int = Field(
        1, ge=1, le=2, description="How many people have to sign before a bundle is put to work."
    )
    epochs: int = Field(0, ge=0, description="Epochs; 0 takes the current bundle's.")
    min_new_labels: int = Field(
        20, ge=1, description="Fewer new or changed labels than this are said to be too few."
    )
    learns_from: tuple[Literal["blind", "imported", "confirmed", "seen"], ...] = Field(
        ("blind", "imported", "confirmed"),
        min_length=1,
        description='Labels that count; "seen": one person, with the model\'s answer in view.',
    )
    leave_out_doubted: bool = Field(
        default=True,
        description="Labels in doubt wait for a second look before they are learned from.",
    )
    max_loss_points: float = Field(
        3.0, ge=0, description="Accuracy (points) a candidate may lose at the interval's far end."
    )
    min_accuracy: float = Field(
        0.6, ge=0, le=1, description="Floor: share of right codes that any candidate must reach."
    )
    min_recall: float = Field(
        0.2, ge=0, le=1, description="Floor: share of right answers that each code must reach."
    )
    may_flip_back: float = Field(
        0.05, ge=0, le=1, description="Share of once corrected images that may be wrong again."
    )
    max_slowdown: float = Field(
        1.5, ge=1, description="How many times as long as the current bundle it may take."
    )


class Notify(_Section):
    """[notify]: needs the `notify` extra."""

    urls: tuple[str, ...] = Field((), description="Apprise addresses; empty: nobody is told.")
    pictures: bool = Field(
        default=False,
        description="Whether a notice carries thumbnails of what needs a person, five at most.",
    )


class Log(_Section):
    """[log]."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level.")


class Backup(_Section):
    """[backup]: each night one file with database, bundles and settings."""

    folder: str = Field(
        "", description='Folder of the nightly back-ups, best on another disk; "" makes none.'
    )
    keep: int = Field(14, ge=1, description="How many nights' back-ups are kept.")
    verify: Literal["weekly", "monthly", "never"] = Field(
        "monthly", description="How often the newest back-up is restored on trial."
    )


class TrailSection(_Section):
    """[trail]: who did what, chained by hash."""

    anchor: str = Field(
        "",
        description="A file, best on a share, to which the end of the trail is appended every "
        'quarter of an hour; "" writes none.',
    )
    timestamp_url: str = Field(
        "",
        description="An RFC 3161 time-stamp authority, http or https, that stamps the end of the "
        'trail once a night; "" asks none. Needs martensight[timestamps].',
    )
    timestamp_certificates: str = Field(
        "",
        description="The authority's root certificate, and those between, as a PEM file: "
        'agent verify then checks who signed; "" checks only what was stamped.',
    )


class Service(_Section):
    """[service]."""

    cores: int = Field(
        0, ge=0, description="Processor cores that agent run uses; 0: half of them, at least 2."
    )


OLD_NAME = "most_false"


class Orders(_Section):
    """[orders]."""

    specifications: Path = Field(
        Path("specifications.toml"), description="Specification limits, relative to this file."
    )
    lists: str = Field(
        "",
        description='Folder into which order lists (CSV) are dropped; "" for none.',
    )
    outbox: str = Field(
        "",
        description='Folder a LIMS takes results from, a file per state of an order; "" for none.',
    )
    outbox_formats: tuple[Literal["json", "csv"], ...] = Field(
        ("json", "csv"), description="What is laid into the outbox."
    )
    leads: tuple[str, ...] = Field(
        (), description="Names of leads, besides the accounts of that role."
    )
    exact_numbers: bool = Field(
        default=False,
        description="Order numbers that differ in case, spaces or leading zeros are two orders. "
        "Those that differ in hyphens, slashes or dots always are; else a note names the other.",
    )
    second_look_at_limit: bool = Field(
        default=False,
        description="A label that is the last size within the limit needs two reviewers.",
    )
    max_false_conform: float = Field(
        0.02,
        gt=0,
        lt=1,
        description="Largest 95 % bound of a false conforms per specimen by the model alone.",
    )
    control: tuple[str, ...] = Field(
        (), description="Numbers of control orders: the control specimen of each microscope."
    )
    control_every_h: float = Field(
        0.0, ge=0, description="Hours after which a control specimen is due again; 0: none is."
    )

    scale_valid_months: int = Field(
        0,
        ge=0,
        description="Months a stage-micrometer measurement proves a scale; 0: none is asked for.",
    )

    @model_validator(mode="before")
    @classmethod
    def _take_old_name(cls, given: Any) -> Any:
        """Accept `most_false`, the name of `max_false_conform` in earlier versions."""
        if not isinstance(given, dict) or OLD_NAME not in given:
            return given
        others = {key: value for key, value in given.items() if key != OLD_NAME}
        if others.setdefault("max_false_conform", given[OLD_NAME]) != given[OLD_NAME]:
            raise ValueError(
                f"max_false_conform and its old name {OLD_NAME} differ; remove {OLD_NAME}"
            )
        return others


def _unique_sources(sources: tuple[Source, ...]) -> tuple[Source, ...]:
    names = [source.name for source in sources]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two sources are called {min(twice)!r}; names are unique")
    return sources


class Statements(_Section):
    """[statements]."""

    certificate: str = Field(
        "", description='Signs the PDF of each statement (PKCS #12, .p12 or .pfx); "" for none.'
    )
    passphrase_file: str = Field(
        "", description="File with the certificate's passphrase; readable by the agent alone."
    )


class Msa(_Section):
    """[msa]."""

    effectiveness_min: float = Field(
        0.90, gt=0, le=1, description="Smallest share of specimens judged right in every run."
    )
    miss_rate_max: float = Field(
        0.02, gt=0, lt=1, description="Largest share of non-conforming runs called conforming."
    )
    false_alarm_max: float = Field(
        0.05, gt=0, lt=1, description="Largest share of conforming runs not called conforming."
    )
    study_share_max: float = Field(
        0.30, gt=0, lt=1, description="Largest share of the measuring system in the scatter."
    )
    source: str = Field(
        "AIAG, Measurement Systems Analysis, 4th ed. 2010, chapters II and III",
        description="Where these four come from; it stands in every report.",
    )


class Settings(BaseSettings):
    """Everything a lab can set. Read with `read`, never built by hand in a room."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    site: Site = Site()
    store: StoreSection = StoreSection()
    sources: Annotated[tuple[Source, ...], AfterValidator(_unique_sources)] = ()
    imaging: Imaging = Imaging()
    model: ModelSection = ModelSection()
    strangeness: StrangenessSection = StrangenessSection()
    triage: Triage = Triage()
    night: Night = Night()
    report: ReportSection = ReportSection()
    web: Web = Web()
    archive: ArchiveSection = ArchiveSection()
    retention: Retention = Retention()
    retrain: Retrain = Retrain()
    notify: Notify = Notify()
    log: Log = Log()
    orders: Orders = Orders()
    backup: Backup = Backup()
    trail: TrailSection = TrailSection()
    service: Service = Service()
    msa: Msa = Msa()
    statements: Statements = Statements()
    _file: Path | None = PrivateAttr(None)

    @property
    def file(self) -> Path | None:
        """The file that they were read from, None for defaults and environment alone."""
        return self._file

    def read_from(self, file: Path | None) -> Settings:
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
        """Let the environment stand above the file."""
        return env_settings, init_settings


def find_file(given: str | None, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Say which settings file holds: given, AGENT_CONFIG, ./agent.toml, the platform's folder.

    Raises:
        BadSettings: A file was named and is not there.
    """
    for named, by in ((given, "--config"), (environment.get("AGENT_CONFIG"), "AGENT_CONFIG")):
        if named:
            path = Path(named).expanduser()
            if path.is_dir():
                raise BadSettings(
                    f"{path}: named by {by}, but it is a folder; name {path / FILE_NAME}."
                )
            if not path.is_file():
                raise BadSettings(f"{path}: named by {by}, but there is no such file.")
            return path.absolute()
    usual = (Path.cwd() / FILE_NAME, platform_folder(environment) / FILE_NAME)
    return next((path for path in usual if path.is_file()), None)


def platform_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Say where this platform keeps the settings of a service."""
    if sys.platform == "win32":
        return Path(environment.get("PROGRAMDATA", r"C:\ProgramData")) / "Martensight"
    return Path("/etc/martensight")


def read(file: Path | None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings; paths in it come back absolute, relative to the file's folder.

    Args:
        file: `agent.toml`, or None for defaults and environment alone.
        environment: Its `AGENT_…` variables stand above the file.

    Raises:
        BadSettings: Names the file, the key, what was found and what is expected.
    """
    _refuse_unknown_variables(environment)
    text = ""
    try:
        text = file.read_text(encoding="utf-8-sig") if file else ""
        given = tomllib.loads(text)
    except OSError as error:
        how = "; ask as root (sudo)" if isinstance(error, PermissionError) else ""
        raise BadSettings(f"{file}: cannot be read ({error.strerror or error}){how}.") from error
    except UnicodeDecodeError as error:
        raise BadSettings(f"{file}: not valid TOML: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise BadSettings(f"{file}: {describe_toml_fault(text, error)}") from error
    try:
        settings = Settings(**given)
    except ValidationError as error:
        raise BadSettings(_sentence(error, file, environment)) from error
    except SettingsError as error:
        raise BadSettings(_not_json(error, environment)) from error
    absolute = _with_absolute_paths(settings, file.parent if file else Path.cwd())
    absolute = absolute.read_from(file)
    _refuse_own_data(absolute, file)
    _refuse_overlap(absolute, file)
    return absolute


def _refuse_own_data(settings: Settings, file: Path | None) -> None:
    """Refuse a source that holds the data folder: each crop would be taken for a micrograph."""
    for source in settings.sources:
        if settings.store.folder.is_relative_to(source.folder):
            raise BadSettings(
                f"{file or 'settings'}: source {source.name}: {source.folder} holds the data "
                f"folder {settings.store.folder}, whose crops would be taken for micrographs; "
                "name the folder that the microscope exports to, or set [store] folder elsewhere."
            )


def _refuse_overlap(settings: Settings, file: Path | None) -> None:
    """Refuse a source inside another: whose a micrograph is would depend on who sees it first."""
    for inner, outer in permutations(settings.sources, 2):
        if inner.folder.is_relative_to(outer.folder):
            raise BadSettings(
                f"{file or 'settings'}: source {inner.name}: {inner.folder} lies in the folder of "
                f"source {outer.name}, {outer.folder}, so both would take its micrographs; give "
                "each microscope a folder of its own."
            )


def _with_absolute_paths(settings: Settings, base: Path) -> Settings:
    def absolute(path: Path) -> Path:
        return Path(os.path.normpath(base / path.expanduser()))

    return settings.model_copy(
        update={
            "store": settings.store.model_copy(update={"folder": absolute(settings.store.folder)}),
            "model": settings.model.model_copy(
                update={
                    "taxonomy": settings.model.taxonomy
                    and str(absolute(Path(settings.model.taxonomy)))
                }
            ),
            "orders": settings.orders.model_copy(
                update={
                    "specifications": absolute(settings.orders.specifications),
                    "lists": settings.orders.lists and str(absolute(Path(settings.orders.lists))),
                    "outbox": settings.orders.outbox
                    and str(absolute(Path(settings.orders.outbox))),
                }
            ),
            "backup": settings.backup.model_copy(
                update={
                    "folder": settings.backup.folder and str(absolute(Path(settings.backup.folder)))
                }
            ),
            "trail": settings.trail.model_copy(
                update={
                    name: value and str(absolute(Path(value)))
                    for name, value in (
                        ("anchor", settings.trail.anchor),
                        ("timestamp_certificates", settings.trail.timestamp_certificates),
                    )
                }
            ),
            "web": settings.web.model_copy(
                update={
                    name: value and str(absolute(Path(value)))
                    for name, value in (
                        ("certificate", settings.web.certificate),
                        ("key", settings.web.key),
                    )
                }
            ),
            "statements": settings.statements.model_copy(
                update={
                    name: value and str(absolute(Path(value)))
                    for name, value in (
                        ("certificate", settings.statements.certificate),
                        ("passphrase_file", settings.statements.passphrase_file),
                    )
                }
            ),
            "sources": tuple(
                source.model_copy(update={"folder": absolute(source.folder)})
                for source in settings.sources
            ),
        }
    )


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    known = {f"{ENV_PREFIX}{name}" for name in _variable_names()}
    for name in environment:
        upper = name.upper()
        if upper.startswith(ENV_PREFIX) and upper not in known | NOT_SETTINGS:
            nearest = difflib.get_close_matches(upper, known, 1, cutoff=0.0)[0]
            raise BadSettings(
                f"environment: no setting is called {name}; the nearest is {nearest}."
            )


def _variable_names() -> Iterator[str]:
    for section, field in Settings.model_fields.items():
        yield section.upper()
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            for key in kind.model_fields:
                yield f"{section}__{key}".upper()
    yield f"ORDERS__{OLD_NAME}".upper()


def _not_json(error: SettingsError, environment: Mapping[str, str]) -> str:
    """Say which variable is no JSON: it holds a list or a table, not one value."""
    section = next(iter(re.findall(r'field "(\w+)"', str(error))), "")
    names = [n for n in environment if n.upper().startswith(f"{ENV_PREFIX}{section}".upper())]
    example = '[{"name": "LOM-07", "folder": "/mnt/lom07/export"}]'
    if section != "sources":
        example = '["one", "two"] for a list, {"key": "value"} for a whole section'
    return f"environment: {' or '.join(sorted(names))}: not valid JSON; write {example}."


def _sentence(error: ValidationError, file: Path | None, environment: Mapping[str, str]) -> str:
    errors = error.errors()
    first = errors[0]
    if first["type"] == "missing":  # a key misspelt is missing too: the misspelling says more
        near = (e for e in errors if e["type"] == "extra_forbidden" and _beside(e, first))
        first = next(near, first)
    where = ".".join(str(part) for part in first["loc"])
    variable = f"{ENV_PREFIX}{'__'.join(str(part) for part in first['loc'][:2])}".upper()
    given = {name.upper() for name in environment}
    said_by = next((name for name in (variable, variable.split("__")[0]) if name in given), None)
    place = f"environment {said_by}" if said_by else str(file or "settings")
    if first["type"] == "extra_forbidden":
        return f"{place}: no setting is called {where}{_nearest(first['loc'])}."
    wanted = _wanted(first["type"], first["msg"], where)
    found = (
        ""
        if first["type"] == "missing" or where.endswith(".objectives")
        else f", found {_short(first['input'])}"
    )
    return f"{place}: {where}: {wanted}{found}."


def _beside(one: ErrorDetails, other: ErrorDetails) -> bool:
    return one["loc"][:-1] == other["loc"][:-1]


_WANTED = {
    "missing": "has to be there",
    "finite_number": "write an ordinary number",
    "path_type": "write a path in quotes",
    "string_type": "write text in quotes",
    "string_too_short": "must not be empty",
    "bool_type": "write true or false",
    "bool_parsing": "write true or false",
    "tuple_type": 'write a list, ["like", "this"]',
}
"""Kind of fault → what to write, where pydantic speaks to programmers."""


def _wanted(kind: str, said: str, where: str) -> str:
    """Say what a setting has to be, in words of the file and not of the program that reads it."""
    if where == "sources" and kind == "tuple_type":
        return "write [[sources]] with two brackets, one block for each export folder"
    if kind.startswith("model_"):
        return f"it is a section: write [{where.partition('.')[0]}] on a line and its keys below"
    if kind.startswith("int_"):
        return "write a whole number"
    if kind in {"float_type", "float_parsing"}:
        return "write a number"
    if kind.startswith("date_"):
        return "write a date like 2026-11-24"
    plain = said.removeprefix("Value error, ").replace("Input should be", "must be")
    return _WANTED.get(kind, plain.replace("Tuple should", "the list should"))


def _nearest(where: tuple[int | str, ...]) -> str:
    names: list[str] = list(Settings.model_fields)
    kinds: dict[str, Any] = {name: f.annotation for name, f in Settings.model_fields.items()}
    kinds["sources"] = Source
    for part in where[:-1]:
        kind = kinds.get(str(part)) if not isinstance(part, int) else None
        if kind is not None:
            names = list(kind.model_fields)
            kinds = {"objectives": Objective} if kind is Source else {}
    close = difflib.get_close_matches(str(where[-1]), names, 1, cutoff=0.0)
    return f"; the nearest is {close[0]}" if close else ""


def _short(value: object) -> str:
    """Say what was found; of a table not what is in it, and of an address not where it leads."""
    if isinstance(value, dict):
        return "a table"
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = re.sub(r"(://)[^\s\"]+", r"\1…", without_passwords(text))
    return text if len(text) <= 60 else f"{text[:57]}…"  # noqa: PLR2004 - a line's worth
