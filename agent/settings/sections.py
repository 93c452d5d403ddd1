"""The sections of the settings: default, unit and description of each key."""

import re
from datetime import date, time
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from agent.settings.section import (
    WEEKDAYS,
    AddressMark,
    Section,
    Shown,
    SomeAppendedFile,
    SomePath,
    SomeWrittenFolder,
    WrittenFolder,
)

_OBJECTS = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,62}(/[\w.=+-]+)*/?")
_ENDPOINT = re.compile(r"https://[^\s/]+|http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?/?$")


def _require_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"unknown time zone {name!r}; write one such as Europe/Berlin") from error
    return name


class SiteSection(Section):
    """[site]."""

    name: Shown = Field("Plant 1", description="Name of the site, on every page.")
    time_zone: Annotated[str, AfterValidator(_require_zone)] = Field(
        "Europe/Berlin", description="Time zone of the night and of every time on a page."
    )
    change_reason: str = Field(
        "",
        max_length=500,
        description="Why the settings were changed last, and by whom; the audit log keeps it.",
    )
    shares: tuple[Literal["accounts", "bundles"], ...] = Field(
        (),
        description='What this site shares with other sites of the database: "accounts": one '
        'account logs in at all; "bundles": the bundle promoted last is in use at all.',
    )


class StoreSection(Section):
    """[store]."""

    folder: WrittenFolder = Field(
        Path("data"),
        description="Data folder, relative to this file: database, crops, bundles, reports.",
    )
    url: Annotated[str, AddressMark(port=5432)] = Field(
        "", description='Database URL: "" for SQLite in the folder, or "postgresql+psycopg://…".'
    )
    connections: int = Field(
        15,
        ge=0,
        le=100,
        description="Most connections of a process to PostgreSQL, of which 2 stay open; 0: each "
        "transaction opens its own, for a PgBouncer in session mode.",
    )
    objects: str = Field(
        "",
        description="S3-compatible object storage that the files of the data folder are copied to, "
        'like "s3://bucket/lab-3"; "" for none. Needs martensight[s3].',
    )
    objects_endpoint: Annotated[
        str, AddressMark(used_with="objects", default="https://s3.amazonaws.com")
    ] = Field(
        "", description='URL of the storage, like "https://minio.lab:9000"; "" for Amazon S3.'
    )
    objects_credentials: SomePath = Field(
        "",
        description='AWS credentials file with a section [default]; "" for the environment and the '
        "account's own files.",
    )
    objects_certificate: SomePath = Field(
        "",
        description='PEM file that the certificate of the storage is checked with; "" for usual.',
    )
    objects_cache_gb: float = Field(
        0.0,
        ge=0,
        description="Largest size (GB) of the crops and originals on this disk; what was not used "
        "for longest is then only in the storage. 0: everything stays on the disk.",
    )

    @model_validator(mode="before")
    @classmethod
    def _split_folder(cls, given: object) -> object:
        """Accept an object storage that was named as the folder: "data" is then its cache."""
        if isinstance(given, dict) and str(given.get("folder", "")).startswith("s3://"):
            if given.get("objects"):
                raise ValueError("folder and objects both name an object storage; keep one of them")
            rest = {key: value for key, value in given.items() if key != "folder"}
            return {**rest, "objects": given["folder"]}
        return given

    @field_validator("objects")
    @classmethod
    def _check_objects(cls, value: str) -> str:
        if value and not _OBJECTS.fullmatch(value):
            raise ValueError('not the URL of a bucket: write "s3://bucket" or "s3://bucket/prefix"')
        return value.rstrip("/")

    @field_validator("objects_endpoint")
    @classmethod
    def _check_endpoint(cls, value: str) -> str:
        if value and not _ENDPOINT.match(value):
            raise ValueError(
                "not a secure URL: write https://… (http:// is accepted for this PC alone)"
            )
        return value


class ImagingSection(Section):
    """[imaging]."""

    max_megapixels: float = Field(
        200.0, gt=0, description="Larger images are set aside without decoding."
    )
    um_per_px_range: tuple[float, float] = Field(
        (0.0005, 5.0), description="Plausible µm per pixel; a scale outside this range is ignored."
    )
    sidecars: bool = Field(
        default=True,
        description="Read the scale from text and XML files next to an image.",
    )
    surface_layer: Literal["cut", "keep"] = Field(
        "cut",
        description="A decarburised or nitrided rim or a coating along the border is cut or kept.",
    )
    workers: int = Field(0, ge=0, description="Processes that read and crop; 0: one per two cores.")
    time_limit_s: float = Field(
        60.0, gt=0, description="Processor time (s) for one file; by the clock ten times as long."
    )
    memory_limit_mb: int = Field(4000, gt=0, description="Memory limit (MB) of one worker.")

    @field_validator("um_per_px_range")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] < value[1]:
            raise ValueError("write it as [smallest, largest], both above 0")
        return value


class ModelSection(Section):
    """[model]."""

    device: str = Field("auto", description='"auto", "cpu", "cuda" or "cuda:1".')
    precision: Literal["auto", "fp32", "bf16", "int8"] = Field(
        "auto",
        description="Arithmetic of the networks; bf16 on every PC of a site, or on none.",
    )
    taxonomy: SomePath = Field(
        "", description="A taxonomy.toml, relative to this file; empty: the taxonomy of the bundle."
    )
    batch: ClassVar[int] = 8
    """Micrographs per batch."""


class StrangenessSection(Section):
    """[strangeness]."""

    alpha: float = Field(
        0.02,
        gt=0,
        lt=0.5,
        description="Share of normal images that may be flagged as unusual (false-alarm rate).",
    )


class TriageSection(Section):
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


def _require_local_time(value: object) -> object:
    if isinstance(value, str) and not TIME_OF_DAY.fullmatch(value):
        raise ValueError('write a time of day such as "23:30"')
    return value


def _parse_free_day(value: str) -> str:
    day = value.strip().lower()
    if day in WEEKDAYS:
        return day
    try:
        return date.fromisoformat(day).isoformat()
    except ValueError:
        raise ValueError(f'{value!r} is neither a weekday such as "sunday" nor a date') from None


class NightSection(Section):
    """[night]."""

    at: Annotated[time, BeforeValidator(_require_local_time)] = Field(
        time(23, 30),
        description="Time at which the nightly report is written, in local time of the site.",
    )
    free_days: tuple[Annotated[str, AfterValidator(_parse_free_day)], ...] = Field(
        (),
        description='Days without production: weekdays ("sunday") or dates ("2026-12-25").',
    )


ADDRESS = re.compile(r"[^\s@,;<>]+@[^\s@,;<>]+")
SERVER = re.compile(r"(?:[\w.-]+(?::\d{1,5})?)?")


class ReportSection(Section):
    """[report]."""

    language: Literal["en", "de"] = Field(
        "en", description='Language of reports and pages: "en" or "de".'
    )
    customer_templates: SomePath = Field(
        "",
        description='Folder with logo, address and template of customers\' reports; "" for none.',
    )
    share: SomeWrittenFolder = Field(
        "",
        description='Folder or share that gets a copy of each nightly report; "" for none.',
    )
    mail_to: tuple[str, ...] = Field(
        (), description="Addresses that get each nightly report by mail; empty: no mail."
    )
    mail_from: str = Field("", description="Sender of the mail; required with mail_to.")
    mail_server: Annotated[str, AddressMark(port=587, used_with="mail_to")] = Field(
        "", description='SMTP server: "mail.lab.local" or "mail.lab.local:587".'
    )
    mail_security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description='Encryption to the SMTP server: "starttls", "tls" or "none".'
    )
    mail_user: str = Field("", description='Name to log in to the SMTP server; "" for no login.')
    mail_password_file: SomePath = Field(
        "", description="File with the password of mail_user; only the agent may read it."
    )
    mail_most_mb: ClassVar[float] = 10.0
    """Largest size of the attachments; larger ones are left out."""

    @model_validator(mode="after")
    def _require_sender(self) -> Self:
        lacking = [key for key in ("mail_from", "mail_server") if not getattr(self, key)]
        if self.mail_to and lacking:
            raise ValueError(f"mail_to needs {' and '.join(lacking)}")
        for address in (*self.mail_to, *filter(None, [self.mail_from])):
            if not ADDRESS.fullmatch(address):
                raise ValueError(f"{address!r} is not a mail address such as lead@lab.example")
        if not SERVER.fullmatch(self.mail_server):
            raise ValueError(f"mail_server {self.mail_server!r}: write NAME or NAME:PORT")
        return self

    @property
    def is_delivered(self) -> bool:
        """Whether each nightly report is mailed or copied."""
        return bool(self.mail_to or self.share)


class WebSection(Section):
    """[web]."""

    host: Annotated[str, AddressMark(is_served=True)] = Field(
        "127.0.0.1",
        description="Address of the review page; for other PCs to reach it, accounts are required.",
    )
    port: int = Field(8787, ge=0, le=65535, description="Port; 0: any free port.")
    names: tuple[str, ...] = Field(
        (), description="Host names of this PC; requests for other host names are refused."
    )
    certificate: SomePath = Field(
        "", description="TLS certificate chain (PEM); with certificate and key the page uses https."
    )
    key: SomePath = Field("", description="Private key of the certificate (PEM).")
    lock_after_min: int = Field(
        30, ge=1, description="Minutes without activity after which a browser has to log in again."
    )
    proxies: tuple[str, ...] = Field(
        (),
        description="Addresses of trusted proxies (X-Forwarded-For and X-Forwarded-Proto).",
    )
    requests: ClassVar[int] = 64
    """Largest number of concurrent requests; more get an answer to retry."""
    uploads: ClassVar[int] = 4
    """Largest number of concurrent uploads through the API."""


class ArchiveSection(Section):
    """[archive]."""

    originals: Literal["flagged", "all"] = Field(
        "flagged", description="Original files to keep: labelled and flagged ones, or all."
    )


class RetentionSection(Section):
    """[retention]: after how many days `agent files prune` may delete; 0 is never."""

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


def _parse_weekly(value: str) -> str:
    schedule = value.strip().lower()
    day, _, at = schedule.partition(" ")
    if schedule and not (day in (*WEEKDAYS, "daily") and TIME_OF_DAY.fullmatch(at)):
        raise ValueError('write a weekday or "daily" and a time of day, like "sunday 02:00"')
    return schedule


class ReviewSection(Section):
    """[review]."""

    look_s: float = Field(
        1.0,
        ge=0,
        le=30,
        description="Time (s) that a field is in view on the page of its order until it counts as "
        "seen.",
    )
    chart: SomePath = Field(
        "",
        description="Folder of the lab's chart: images named by size, such as 8.png or 9-10_a.tif, "
        'or in a subfolder per size; "" for none.',
    )
    reason_on_correction: bool = Field(
        default=False,
        description="Require a reason where a reviewer gives another code than the model.",
    )
    correction_reasons: tuple[Annotated[str, Field(min_length=1, max_length=80)], ...] = Field(
        (),
        max_length=9,
        description="Reasons to choose from by one key; [] for the built-in ones. A reviewer can "
        "type another one.",
    )


class RetrainSection(Section):
    """[retrain]: when a candidate is trained; only a lead promotes one."""

    schedule: Annotated[str, AfterValidator(_parse_weekly)] = Field(
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
    epochs: ClassVar[int] = 0
    """As for the bundle in use."""
    min_new_labels: int = Field(
        20, ge=1, description="Smallest number of new or changed labels for a retraining."
    )
    learns_from: tuple[Literal["blind", "imported", "confirmed", "seen"], ...] = Field(
        ("blind", "imported", "confirmed"),
        min_length=1,
        description='Origins of labels to train on; "seen": one reviewer who saw the answer.',
    )
    leave_out_doubted: ClassVar[bool] = True
    """Suspect labels are left out of the training until a second review."""
    max_loss_points: float = Field(
        3.0, ge=0, description="Largest accuracy loss (points), at the far end of the interval."
    )
    min_accuracy: float = Field(
        0.6, ge=0, le=1, description="Smallest share of correct codes that a candidate must reach."
    )
    min_recall: float = Field(
        0.2, ge=0, le=1, description="Smallest recall that each code must reach."
    )
    may_flip_back: ClassVar[float] = 0.05
    """Largest share of corrected images that may be wrong again."""
    max_slowdown: ClassVar[float] = 1.5
    """Largest run time relative to the bundle in use."""
    feature_cache_mb: ClassVar[int] = 2000
    """Largest size of the image features kept for the next training."""


class NeedlesSection(Section):
    """[needles]: needle lengths of each micrograph, a trial."""

    enabled: bool = Field(
        default=False,
        description="Measure the needle lengths of each new micrograph with a known scale. A "
        "trial, not calibrated here. It costs at most 1.5 s of processor time per micrograph.",
    )
    l90_of_size_8_um: float = Field(
        14.0,
        gt=0,
        description="L90 (µm) that corresponds to size number 8; it halves with every two numbers. "
        "The default was measured on drawings.",
    )
    size_tolerance: float = Field(
        2.0,
        gt=0,
        description="Size numbers by which L90 may differ from the size; beyond, the micrograph "
        "goes to review.",
    )


YEAR_MINUTES = 525_600.0


class RolloutSection(Section):
    """[rollout]."""

    first: tuple[str, ...] = Field(
        (),
        description="Names of the PCs that take a new bundle first, as in agent fleet; empty: a "
        "rollout in rings cannot start.",
    )
    share: ClassVar[float] = 0.1
    """Share of the other PCs in ring 2; at least one PC."""
    wait_minutes: float = Field(
        60.0,
        ge=0,
        le=YEAR_MINUTES,
        description="Minutes that each ring lasts at least before the next one.",
    )
    absent_minutes: ClassVar[float] = 10.0
    """A PC without a heartbeat for so many minutes is not waited for."""
    tolerance: ClassVar[float] = 0.01
    """Largest difference of a probability between two PCs on a reference image."""


class NotifySection(Section):
    """[notify]: needs the `notify` extra."""

    urls: Annotated[tuple[str, ...], AddressMark(is_opaque=True)] = Field(
        (), description="Apprise addresses for notices; empty: no notices."
    )
    pictures: bool = Field(
        default=False,
        description="Attach up to five thumbnails of micrographs that need review.",
    )


class LogSection(Section):
    """[log]."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level that is logged."
    )


class BackupSection(Section):
    """[backup]: each night one file with database, bundles and settings."""

    folder: SomeWrittenFolder = Field(
        "", description='Folder for nightly backups, preferably on another disk; "" for none.'
    )
    keep: int = Field(14, ge=1, description="Number of nightly backups to keep.")
    verify: Literal["weekly", "monthly", "never"] = Field(
        "monthly", description="Interval of trial restores of the newest backup."
    )


class TrailSection(Section):
    """[trail]: the audit log, chained by hash."""

    anchor: SomeAppendedFile = Field(
        "",
        description="File, preferably on a share, to which the head of the audit log is appended "
        'every 15 minutes; "" for none.',
    )
    timestamp_url: Annotated[str, AddressMark()] = Field(
        "",
        description="URL of an RFC 3161 time-stamp authority that stamps the head of the audit log "
        'every night; "" for none. Needs martensight[timestamps].',
    )
    timestamp_certificates: SomePath = Field(
        "",
        description="PEM file with the root and intermediate certificates of the authority, for "
        'agent verify; "" checks the stamped content only.',
    )


class FeaturesSection(Section):
    """[features]: what the frozen networks saw of each crop, kept next to the archive."""

    keep: bool = Field(default=True, description="Keep features, at most 5 kB per micrograph.")
    fill_at: ClassVar[str] = "02:30"
    """Local time at which missing features are made every night."""
    fill_minutes: ClassVar[int] = 120
    """Longest time that this may take each night."""
    search_rows: ClassVar[int] = 200_000
    """Newest micrographs among which similar ones are found; 100000 take 64 MB."""


class ServiceSection(Section):
    """[service]."""

    cores: int = Field(
        0, ge=0, description="Processor cores for agent run; 0: half of all, at least 2."
    )


class OrdersSection(Section):
    """[orders]."""

    specifications: Path = Field(
        Path("specifications.toml"), description="Specification limits, relative to this file."
    )
    lists: SomeWrittenFolder = Field(
        "",
        description='Folder for order lists (CSV); "" for none.',
    )
    outbox: SomeWrittenFolder = Field(
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


class StatementsSection(Section):
    """[statements]."""

    certificate: SomePath = Field(
        "", description='Signs the PDF of each statement (PKCS #12, .p12 or .pfx); "" for none.'
    )
    passphrase_file: SomePath = Field(
        "", description="File with the passphrase of the certificate; only the agent may read it."
    )


class MsaSection(Section):
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
