"""All sections together."""

from pathlib import Path
from typing import Annotated

from pydantic import (
    AfterValidator,
    PrivateAttr,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

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
from agent.settings.sources import Source, require_unique_names

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
