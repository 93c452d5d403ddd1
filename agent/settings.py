"""Settings of a lab: one frozen `Settings` with a model per section.

The environment (`AGENT_SECTION__KEY`) overrides `agent.toml`. Only `cli` and `service` get
`Settings`; lower packages get plain values. An unknown key is an error: an ignored typing error
would leave a default in effect without notice.
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
        raise ValueError(f"unknown time zone {name!r}; write one such as Europe/Berlin") from error
    return name


def _folder(given: object) -> object:
    if isinstance(given, str) and not given.strip():
        raise ValueError("must not be empty")
    if isinstance(given, str) and any(character < " " for character in given):
        raise ValueError(f"not a folder name. {IN_SINGLE_QUOTES}".rstrip("."))
    return given


Folder = Annotated[Path, BeforeValidator(_folder)]


def _pattern(text: str) -> str:
    try:
        found = set(re.compile(text).groupindex)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    if unknown := found - set(PROCESS_COLUMNS):
        known = ", ".join(PROCESS_COLUMNS)
        raise ValueError(f"unknown group {min(unknown)!r}; the groups may be {known}")
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
        description='What this site shares with other sites of the database: "accounts": one '
        'account logs in at all; "bundles": the bundle promoted last is in use at all.',
    )


class StoreSection(_Section):
    """[store]."""

    folder: Folder = Field(
        Path("data"),
        description="Data folder, relative to this file: database, crops, bundles, reports.",
    )
    url: str = Field(
        "", description='Database URL: "" for SQLite in the folder, or "postgresql+psycopg://…".'
    )


class Objective(_Section):
    """[[sources.objectives]]: independent evidence for the scale."""

    name: str = Field(min_length=1, description="Name as in the process data, such as 50x.")
    um_per_px: float = Field(gt=0, description="Measured with a stage micrometer, µm per pixel.")
    camera: str = Field("", description="Name of the camera.")
    width: int | None = Field(
        None, gt=0, description="Image width in pixels, if the value depends on it."
    )
    height: int | None = Field(
        None, gt=0, description="Image height in pixels, if the value depends on it."
    )
    certificate: str = Field("", description="Certificate of the stage micrometer.")
    valid_from: date | None = Field(None, description="First day of validity.")

    def contradicts(self, other: Objective) -> bool:
        """Return whether both apply to one image size and day with different scales."""
        sizes = ((self.width, other.width), (self.height, other.height))
        return (
            objective_key(self.name) == objective_key(other.name)
            and self.valid_from == other.valid_from
            and all(a is None or b is None or a == b for a, b in sizes)
            and self.um_per_px != other.um_per_px
        )


def objective_key(name: str) -> str:
    """Return the normal form of "50 X", "50×", "50.0" and "50x"."""
    plain = re.sub(r"\s+", "", name).casefold().replace("×", "x")
    number = re.fullmatch(r"(\d+(?:[.,]\d+)?)x?", plain)
    return f"{float(number[1].replace(',', '.')):g}x" if number else plain


class Source(_Section):
    """[[sources]]: one per microscope export folder."""

    name: str = Field(min_length=1, description="Name of the source, unique.")
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
    pattern: Annotated[str, AfterValidator(_pattern)] = Field(
        "",
        description="Regular expression with named groups that reads process data from the path.",
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
                    f"{one.name} is defined twice, with {one.um_per_px} and "
                    f"{other.um_per_px} µm per pixel, for the same day and image size; "
                    "add width and height or valid_from to each"
                )
        return value

    def fixed_process_data(self) -> dict[str, str]:
        """Return the process data that applies to every file of this source."""
        return {column: value for column in PROCESS_COLUMNS if (value := getattr(self, column))}


class Imaging(_Section):
    """[imaging]."""

    max_megapixels: float = Field(
        200.0, gt=0, description="Larger images are set aside without decoding."
    )
    um_per_px_range: tuple[float, float] = Field(
        (0.01, 5.0), description="Plausible µm per pixel; a scale outside this range is ignored."
    )
    sidecars: bool = Field(
        default=True,
        description="Read the scale from text and XML files next to an image.",
    )
    workers: int = Field(0, ge=0, description="Processes that read and crop; 0: one per two cores.")
    time_limit_s: float = Field(60.0, gt=0, description="Time limit (s) for reading one file.")
    memory_limit_mb: int = Field(4000, gt=0, description="Memory limit (MB) of one worker.")

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
        "", description="A taxonomy.toml, relative to this file; empty: the taxonomy of the bundle."
    )
    batch: int = Field(8, ge=1, description="Micrographs per batch.")


class StrangenessSection(_Section):
    """[strangeness]."""

    alpha: float = Field(
        0.02,
        gt=0,
        lt=0.5,
        description="Share of normal images that may be flagged as unusual (false-alarm rate).",
    )


class Triage(_Section):
    """[triage]."""

    min_probability: float = Field(
        0.6, ge=0, le=1, description="A structure code below this probability is uncertain."
    )
    control_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Share of micrographs reviewed independently of the model (control sample).",
    )
    diverse_per_night: int = Field(
        0,
        ge=0,
        description="Automatic micrographs per night, least like the training images, to review.",
    )
    double_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the review that two reviewers decide independently; 0: none.",
    )


TIME_OF_DAY = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


def _local_time(value: object) -> object:
    if isinstance(value, str) and not TIME_OF_DAY.fullmatch(value):
        raise ValueError('write a time of day such as "23:30"')
    return value


def _free_day(value: str) -> str:
    day = value.strip().lower()
    if day in WEEKDAYS:
        return day
    try:
        return date.fromisoformat(day).isoformat()
    except ValueError:
        raise ValueError(f'{value!r} is neither a weekday such as "sunday" nor a date') from None


class Night(_Section):
    """[night]."""

    at: Annotated[time, BeforeValidator(_local_time)] = Field(
        time(23, 30),
        description="Time at which the nightly report is written, in local time of the site.",
    )
    free_days: tuple[Annotated[str, AfterValidator(_free_day)], ...] = Field(
        (),
        description='Days without production: weekdays ("sunday") or dates ("2026-12-25").',
    )


class ReportSection(_Section):
    """[report]."""

    language: Literal["en", "de"] = Field(
        "en", description='Language of reports and pages: "en" or "de".'
    )


class Web(_Section):
    """[web]."""

    host: str = Field(
        "127.0.0.1",
        description="Address of the review page; for other PCs to reach it, accounts are required.",
    )
    port: int = Field(8787, ge=0, le=65535, description="Port; 0: any free port.")
    names: tuple[str, ...] = Field(
        (), description="Host names of this PC; requests for other host names are refused."
    )
    certificate: str = Field(
        "", description="TLS certificate chain (PEM); with certificate and key the page uses https."
    )
    key: str = Field("", description="Private key of the certificate (PEM).")
    lock_after_min: int = Field(
        30, ge=1, description="Minutes without activity after which a browser has to log in again."
    )
    proxies: tuple[str, ...] = Field(
        (),
        description="Addresses of trusted proxies (X-Forwarded-For and X-Forwarded-Proto).",
    )
    connections: int = Field(
        512, ge=16, description="Largest number of connections; idle ones are closed for new ones."
    )
    requests: int = Field(
        64, ge=4, description="Largest number of concurrent requests; more get an answer to retry."
    )
    uploads: int = Field(
        4, ge=1, description="Largest number of concurrent uploads through the API."
    )
    header_s: float = Field(10.0, gt=0, description="Time limit (s) for the head of a request.")
    idle_s: float = Field(
        20.0, gt=0, description="Time (s) without data after which a connection is closed."
    )


class ArchiveSection(_Section):
    """[archive]."""

    originals: Literal["flagged", "all"] = Field(
        "flagged", description="Original files to keep: labelled and flagged ones, or all."
    )


class Retention(_Section):
    """[retention]: after how many days `agent prune` may delete; 0 is never."""

    crops_days: int = Field(
        0,
        ge=0,
        description="Days to keep crops and maps of micrographs without flag and label; 0: "
        "forever.",
    )
    originals_days: int = Field(
        0, ge=0, description="Days to keep originals that no record refers to; 0: forever."
    )
    statements_years: int = Field(
        15, ge=1, description="Years to keep the pixels that a statement refers to."
    )


def _weekly(value: str) -> str:
    text = value.strip().lower()
    day, _, at = text.partition(" ")
    if text and not (day in (*WEEKDAYS, "daily") and TIME_OF_DAY.fullmatch(at)):
        raise ValueError('write a weekday or "daily" and a time of day, like "sunday 02:00"')
    return text


class Retrain(_Section):
    """[retrain]: when a candidate is trained; only a lead promotes it."""

    schedule: Annotated[str, AfterValidator(_weekly)] = Field(
        "", description='Start of automatic retraining: "sunday 02:00", "daily 02:00"; "" never.'
    )
    start_at_new_labels: int = Field(
        0, ge=0, description="Number of new labels that starts a retraining; 0: never."
    )
    shadow_days: int = Field(
        0,
        ge=0,
        description="Days of past micrographs that a new candidate also evaluates; 0: none.",
    )
    promoters: int = Field(
        1, ge=1, le=2, description="Number of leads who must sign before a bundle is promoted."
    )
    epochs: int = Field(0, ge=0, description="Epochs; 0: as for the bundle in use.")
    min_new_labels: int = Field(
        20, ge=1, description="Smallest number of new or changed labels for a retraining."
    )
    learns_from: tuple[Literal["blind", "imported", "confirmed", "seen"], ...] = Field(
        ("blind", "imported", "confirmed"),
        min_length=1,
        description='Origins of labels to train on; "seen": one reviewer who saw the answer.',
    )
    leave_out_doubted: bool = Field(
        default=True,
        description="Leave suspect labels out of the training until a second review.",
    )
    max_loss_points: float = Field(
        3.0, ge=0, description="Largest accuracy loss (points), at the far end of the interval."
    )
    min_accuracy: float = Field(
        0.6, ge=0, le=1, description="Smallest share of correct codes that a candidate must reach."
    )
    min_recall: float = Field(
        0.2, ge=0, le=1, description="Smallest recall that each code must reach."
    )
    may_flip_back: float = Field(
        0.05, ge=0, le=1, description="Largest share of corrected images that may be wrong again."
    )
    max_slowdown: float = Field(
        1.5, ge=1, description="Largest run time relative to the bundle in use."
    )


class Notify(_Section):
    """[notify]: needs the `notify` extra."""

    urls: tuple[str, ...] = Field(
        (), description="Apprise addresses for notices; empty: no notices."
    )
    pictures: bool = Field(
        default=False,
        description="Attach up to five thumbnails of micrographs that need review.",
    )


class Log(_Section):
    """[log]."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level that is logged."
    )


class Backup(_Section):
    """[backup]: each night one file with database, bundles and settings."""

    folder: str = Field(
        "", description='Folder for nightly backups, preferably on another disk; "" for none.'
    )
    keep: int = Field(14, ge=1, description="Number of nightly backups to keep.")
    verify: Literal["weekly", "monthly", "never"] = Field(
        "monthly", description="Interval of trial restores of the newest backup."
    )


class TrailSection(_Section):
    """[trail]: the audit log, chained by hash."""

    anchor: str = Field(
        "",
        description="File, preferably on a share, to which the head of the audit log is appended "
        'every 15 minutes; "" for none.',
    )
    timestamp_url: str = Field(
        "",
        description="URL of an RFC 3161 time-stamp authority that stamps the head of the audit log "
        'every night; "" for none. Needs martensight[timestamps].',
    )
    timestamp_certificates: str = Field(
        "",
        description="PEM file with the root and intermediate certificates of the authority, for "
        'agent verify; "" checks the stamped content only.',
    )


class Service(_Section):
    """[service]."""

    cores: int = Field(
        0, ge=0, description="Processor cores for agent run; 0: half of all, at least 2."
    )


OLD_NAME = "most_false"


class Orders(_Section):
    """[orders]."""

    specifications: Path = Field(
        Path("specifications.toml"), description="Specification limits, relative to this file."
    )
    lists: str = Field(
        "",
        description='Folder for order lists (CSV); "" for none.',
    )
    outbox: str = Field(
        "",
        description='Folder with results for a LIMS, one file per state of an order; "" for none.',
    )
    outbox_formats: tuple[Literal["json", "csv"], ...] = Field(
        ("json", "csv"), description="File formats in the outbox."
    )
    leads: tuple[str, ...] = Field(
        (), description="Names of leads, in addition to accounts with that role."
    )
    exact_numbers: bool = Field(
        default=False,
        description="Treat order numbers that differ in case, spaces or leading zeros as two "
        "orders. Hyphens, slashes and dots always distinguish orders.",
    )
    second_look_at_limit: bool = Field(
        default=False,
        description="Require two reviewers for a label that is the last size within the limit.",
    )
    max_false_conform: float = Field(
        0.02,
        gt=0,
        lt=1,
        description="Largest 95 % bound of the false-conforms rate per specimen without review.",
    )
    control: tuple[str, ...] = Field((), description="Order numbers of the control specimens.")
    control_every_h: float = Field(
        0.0, ge=0, description="Hours after which a control specimen is due again; 0: never."
    )

    scale_valid_months: int = Field(
        0,
        ge=0,
        description="Months that a stage-micrometer measurement is valid; 0: not required.",
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
        raise ValueError(f"two sources have the name {min(twice)!r}; use unique names")
    return sources


class Statements(_Section):
    """[statements]."""

    certificate: str = Field(
        "", description='Signs the PDF of each statement (PKCS #12, .p12 or .pfx); "" for none.'
    )
    passphrase_file: str = Field(
        "", description="File with the passphrase of the certificate; only the agent may read it."
    )


class Msa(_Section):
    """[msa]."""

    effectiveness_min: float = Field(
        0.90, gt=0, le=1, description="Smallest share of specimens graded correctly in every run."
    )
    miss_rate_max: float = Field(
        0.02, gt=0, lt=1, description="Largest share of non-conforming runs called conforming."
    )
    false_alarm_max: float = Field(
        0.05, gt=0, lt=1, description="Largest share of conforming runs not called conforming."
    )
    study_share_max: float = Field(
        0.30,
        gt=0,
        lt=1,
        description="Largest share of the measuring system in the total variation.",
    )
    source: str = Field(
        "AIAG, Measurement Systems Analysis, 4th ed. 2010, chapters II and III",
        description="Source of these four limits; every report shows it.",
    )


class Settings(BaseSettings):
    """All settings of a lab; loaded with `read`."""

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
        """Return the sources of settings; the environment overrides the file."""
        return env_settings, init_settings


def find_file(given: str | None, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the settings file: given, AGENT_CONFIG, ./agent.toml, the platform's folder.

    Raises:
        BadSettings: A named file does not exist.
    """
    for named, by in ((given, "--config"), (environment.get("AGENT_CONFIG"), "AGENT_CONFIG")):
        if named:
            path = Path(named).expanduser()
            if path.is_dir():
                raise BadSettings(f"{path} (from {by}) is a folder. Name {path / FILE_NAME}.")
            if not path.is_file():
                raise BadSettings(f"No such file: {path} (from {by}).")
            return path.absolute()
    usual = (Path.cwd() / FILE_NAME, platform_folder(environment) / FILE_NAME)
    return next((path for path in usual if path.is_file()), None)


def platform_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the service's settings on this platform."""
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
        how = ". Run the command as root (sudo)" if isinstance(error, PermissionError) else ""
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
    """Raise if a source contains the data folder: crops would be processed as micrographs."""
    for source in settings.sources:
        if settings.store.folder.is_relative_to(source.folder):
            raise BadSettings(
                f"{file or 'settings'}: source {source.name}: {source.folder} contains the data "
                f"folder {settings.store.folder}, whose crops would be processed as micrographs. "
                "Name the export folder of the microscope, or change [store] folder."
            )


def _refuse_overlap(settings: Settings, file: Path | None) -> None:
    """Raise if a source is inside another one: a micrograph would have two sources."""
    for inner, outer in permutations(settings.sources, 2):
        if inner.folder.is_relative_to(outer.folder):
            raise BadSettings(
                f"{file or 'settings'}: source {inner.name}: {inner.folder} is inside the folder "
                f"of source {outer.name}, {outer.folder}, so both would process its micrographs. "
                "Use separate folders."
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
            raise BadSettings(f"environment: unknown setting {name}; the nearest is {nearest}.")


def _variable_names() -> Iterator[str]:
    for section, field in Settings.model_fields.items():
        yield section.upper()
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            for key in kind.model_fields:
                yield f"{section}__{key}".upper()
    yield f"ORDERS__{OLD_NAME}".upper()


def _not_json(error: SettingsError, environment: Mapping[str, str]) -> str:
    """Return the sentence for a variable that must be JSON, for a list or a section."""
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
    variable_used = next(
        (name for name in (variable, variable.split("__")[0]) if name in given), None
    )
    place = f"environment {variable_used}" if variable_used else str(file or "settings")
    if first["type"] == "extra_forbidden":
        return f"{place}: unknown setting {where}{_nearest(first['loc'])}."
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
    "missing": "this setting is required",
    "finite_number": "write an ordinary number",
    "path_type": "write a path in quotes",
    "string_type": "write text in quotes",
    "string_too_short": "must not be empty",
    "bool_type": "write true or false",
    "bool_parsing": "write true or false",
    "tuple_type": 'write a list, ["like", "this"]',
}
"""Instruction by kind of pydantic error."""


def _wanted(kind: str, message: str, where: str) -> str:
    """Return what a setting must be, in terms of the file."""
    if where == "sources" and kind == "tuple_type":
        return "write [[sources]] with two brackets, one block for each export folder"
    if kind.startswith("model_"):
        return f"it is a section: write [{where.partition('.')[0]}] on a line and its keys below"
    if kind.startswith("int_"):
        return "write a whole number"
    if kind in {"float_type", "float_parsing"}:
        return "write a number"
    if kind.startswith("date_"):
        return "write a date such as 2026-11-24"
    plain = message.removeprefix("Value error, ").replace("Input should be", "must be")
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
    """Return a value for a message, without the content of tables and the path of addresses."""
    if isinstance(value, dict):
        return "a table"
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = re.sub(r"(://)[^\s\"]+", r"\1…", without_passwords(text))
    return text if len(text) <= 60 else f"{text[:57]}…"  # noqa: PLR2004 - a line's worth
