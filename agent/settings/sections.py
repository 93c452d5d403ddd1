"""The sections of the settings: default, unit and description of each key."""

from __future__ import annotations

import re
from datetime import date, time
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    field_validator,
    model_validator,
)

from agent.settings.section import WEEKDAYS, Folder, Section


def _require_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"no time zone is called {name!r}; write one like Europe/Berlin"
        ) from error
    return name


class SiteSection(Section):
    """[site]."""

    name: str = Field("Plant 1", description="Name of the site, on every page.")
    time_zone: Annotated[str, AfterValidator(_require_zone)] = Field(
        "Europe/Berlin", description="Time zone of the night and of every time on a page."
    )
    shares: tuple[Literal["accounts", "bundles"], ...] = Field(
        (),
        description='What it shares with sites of the same database that share it too: "accounts" '
        'log in at each, of "bundles" the one promoted last at any of them is in use at all.',
    )


class StoreSection(Section):
    """[store]."""

    folder: Folder = Field(
        Path("data"),
        description="The data folder, relative to this file: database, crops, bundles, reports.",
    )
    url: str = Field(
        "", description='Database, "" for SQLite in the folder; else "postgresql+psycopg://…".'
    )


class ImagingSection(Section):
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


class ModelSection(Section):
    """[model]."""

    device: str = Field("auto", description='"auto", "cpu", "cuda" or "cuda:1".')
    precision: Literal["auto", "fp32", "bf16", "int8"] = Field(
        "auto", description="Arithmetic of the networks."
    )
    taxonomy: str = Field(
        "", description="A taxonomy.toml, relative to this file; empty: the bundle's own."
    )
    batch: int = Field(8, ge=1, description="How many micrographs are classified together.")


class StrangenessSection(Section):
    """[strangeness]."""

    alpha: float = Field(
        0.02, gt=0, lt=0.5, description="Share of good images that may be flagged as strange."
    )


class TriageSection(Section):
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


def _require_local_time(value: object) -> object:
    if isinstance(value, str) and not TIME_OF_DAY.fullmatch(value):
        raise ValueError('write a time of day like "23:30"')
    return value


def _parse_free_day(value: str) -> str:
    day = value.strip().lower()
    if day in WEEKDAYS:
        return day
    try:
        return date.fromisoformat(day).isoformat()
    except ValueError:
        raise ValueError(f'{value!r} is no weekday such as "sunday", nor a date') from None


class NightSection(Section):
    """[night]."""

    at: Annotated[time, BeforeValidator(_require_local_time)] = Field(
        time(23, 30), description="When the night's report is written, local time of the site."
    )
    free_days: tuple[Annotated[str, AfterValidator(_parse_free_day)], ...] = Field(
        (),
        description='Days on which nothing comes: weekdays ("sunday") or dates ("2026-12-25").',
    )


class ReportSection(Section):
    """[report]."""

    language: Literal["en", "de"] = Field(
        "en", description='Language of reports and pages: "en" or "de".'
    )


class WebSection(Section):
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


class ArchiveSection(Section):
    """[archive]."""

    originals: Literal["flagged", "all"] = Field(
        "flagged", description="Whose original bytes are kept: labelled and flagged ones, or all."
    )


class RetentionSection(Section):
    """[retention]: after how many days `agent prune` may delete; 0 is never."""

    crops_days: int = Field(
        0, ge=0, description="Crops and maps of unflagged, unlabelled micrographs."
    )
    originals_days: int = Field(0, ge=0, description="Archived originals nobody refers to.")
    statements_years: int = Field(
        15, ge=1, description="So long (years) the pixels that a statement names are evidence."
    )


def _parse_weekly(value: str) -> str:
    schedule = value.strip().lower()
    day, _, at = schedule.partition(" ")
    if schedule and not (day in (*WEEKDAYS, "daily") and TIME_OF_DAY.fullmatch(at)):
        raise ValueError('write a weekday or "daily" and a time of day, like "sunday 02:00"')
    return schedule


class RetrainSection(Section):
    """[retrain]: when a candidate is trained; only a lead promotes one."""

    schedule: Annotated[str, AfterValidator(_parse_weekly)] = Field(
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


class NotifySection(Section):
    """[notify]: needs the `notify` extra."""

    urls: tuple[str, ...] = Field((), description="Apprise addresses; empty: nobody is told.")
    pictures: bool = Field(
        default=False,
        description="Whether a notice carries thumbnails of what needs a person, five at most.",
    )


class LogSection(Section):
    """[log]."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level.")


class BackupSection(Section):
    """[backup]: each night one file with database, bundles and settings."""

    folder: str = Field(
        "", description='Folder of the nightly back-ups, best on another disk; "" makes none.'
    )
    keep: int = Field(14, ge=1, description="How many nights' back-ups are kept.")
    verify: Literal["weekly", "monthly", "never"] = Field(
        "monthly", description="How often the newest back-up is restored on trial."
    )


class TrailSection(Section):
    """[trail]: the audit log, chained by hash."""

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


class ServiceSection(Section):
    """[service]."""

    cores: int = Field(
        0, ge=0, description="Processor cores that agent run uses; 0: half of them, at least 2."
    )


OLD_NAME = "most_false"


class OrdersSection(Section):
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


class StatementsSection(Section):
    """[statements]."""

    certificate: str = Field(
        "", description='Signs the PDF of each statement (PKCS #12, .p12 or .pfx); "" for none.'
    )
    passphrase_file: str = Field(
        "", description="File with the certificate's passphrase; readable by the agent alone."
    )


class MsaSection(Section):
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
