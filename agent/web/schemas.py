"""Response models of the API: they check each answer and make its OpenAPI document.

A key that is not named here passes through unchanged, so an added key breaks no program.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from agent.web.context import LONGEST_NAME

LabelKind = Literal["code", "strange", "unusable", "cannot_tell"]
Box = tuple[int, int, int, int]


class SignedIn(BaseModel):
    """What a program sends in somebody's name."""

    model_config = ConfigDict(strict=True, extra="forbid")

    by: str = Field(min_length=1, max_length=LONGEST_NAME, pattern=r"\S", description="Who.")


class _Answer(BaseModel):
    model_config = ConfigDict(extra="allow")


class Fault(BaseModel):
    """Why the request was refused, in one sentence."""

    detail: str
    holds: Label | None = Field(None, description="With 409: the decision that holds now.")


class Label(_Answer):
    """One decision of a reviewer."""

    id: int
    kind: LabelKind
    code: str | None
    strange: str | None
    unusable: str | None
    criterion: Literal["mean", "max", "unrecorded"]
    unsure: bool
    comment: str
    by: str
    at: str = Field(description="ISO 8601, UTC.")
    undone: bool


class Learning(BaseModel):
    """What a decision is used for when a model is trained, and why."""

    use: Literal["trained", "tested", "unused"]
    why: str = Field(description="A stable word, such as `blind`, `confirmed` or `seen`.")
    sentence: str


class Strangeness(_Answer):
    """How unlike the reference images a micrograph is."""

    p_value: float | None = Field(description="Share of known micrographs that look as strange.")
    flagged: bool | None
    global_: float | None = Field(alias="global", description="1 is the alarm level.")
    local: float | None = Field(description="1 is the alarm level.")
    where: Box | None = Field(description="x0, y0, x1, y1 in pixels of the file.")
    sentence: str | None


class NeedleLengths(_Answer):
    """Apparent needle lengths in the section: a trial."""

    status: Literal["measured", "not_measured"]
    reason: str = Field(description="A stable word such as `too_few`; empty where it was measured.")
    trial: bool
    calibrated: bool = Field(description="False: not calibrated here.")
    calibration: str | None = Field(description="Null: not calibrated here.")
    network: str
    needles: int = Field(description="Complete needles.")
    l50_um: float | None = Field(description="Half of the needles' area is in shorter needles.")
    l90_um: float | None
    l99_um: float | None
    maximum_um: float | None = Field(description="Longest complete needle.")


class Micrograph(_Answer):
    """One micrograph as `agent classify --json` prints it, with its handling and its label."""

    id: str
    sha256: str
    page: int = Field(description="Counted from 0.")
    file: str
    source: str
    done_at: str = Field(description="ISO 8601, UTC.")
    width: int
    height: int
    um_per_px: float | None
    crop: Box | None = None
    process_data: dict[str, str]
    subtype: str | None
    size: str | None
    size_min: int | None
    size_max: int | None
    structure_code: str | None
    probability: float | None
    prediction_set: list[str]
    strangeness: Strangeness | None
    handling: Literal["automatic", "review"]
    reasons: list[str]
    provisional: bool = Field(description="The scale is unknown: code and p-value may change.")
    bundle: str | None
    result: int
    label: Label | None
    needles: NeedleLengths | None = Field(
        None, description="Null where nothing was to be measured, see `[needles] enabled`."
    )
    learning: Learning | None = Field(
        None, description="Of one micrograph: what its decision is used for in training."
    )


class Found(BaseModel):
    """Micrographs that match the request, newest first."""

    micrographs: list[Micrograph]


class Queue(BaseModel):
    """Micrographs that wait for a reviewer, highest priority first."""

    waiting: int = Field(description="In all, also those that are not listed.")
    micrographs: list[Micrograph]


class Hits(BaseModel):
    """A page of micrographs that match a search, newest first."""

    count: int = Field(description="In all; at most 10 000 are counted.")
    cut: bool = Field(description="There are more than `count`.")
    facets: dict[str, dict[str, int]] = Field(
        description="Facet, such as `code`, to value, to how many of the newest hits have it."
    )
    next_before: int | None = Field(description="`before` of the next page; null: the last one.")
    micrographs: list[Micrograph]


class SimilarHit(BaseModel):
    """A micrograph that looks like another one."""

    cosine: float = Field(description="Of what the frozen network saw; 1: the same.")
    same_scale: bool
    micrograph: Micrograph


class SimilarHits(BaseModel):
    """Micrographs that look most like one, those of its scale first."""

    has_features: bool = Field(description="False: no features of the micrograph are kept.")
    similar: list[SimilarHit]


class PointColours(BaseModel):
    """What the points of the map may be coloured by."""

    name: str
    groups: list[str] = Field(description='Sorted; the last one, "", is everything else.')
    of: list[int] = Field(description="Index of each point's group.")


class MapPoints(BaseModel):
    """Places of micrographs: what looks alike is close together."""

    explained: float | None = Field(
        description="Share of the variance that the two directions have; null: no map yet."
    )
    id: list[str]
    x: list[int] = Field(description="From 0, left, to 4095.")
    y: list[int] = Field(description="From 0, top, to 4095.")
    colours: list[PointColours]


class Requested(BaseModel):
    """Micrographs that an act was done on."""

    count: int


class KeptView(BaseModel):
    """A search that is kept under a name."""

    name: str
    query: str = Field(description="As in the address of the page /archive.")
    saved_at: str = Field(description="ISO 8601, UTC.")


class Views(BaseModel):
    """The searches that an account keeps."""

    views: list[KeptView]


class AuditAct(_Answer):
    """An act of the audit log."""

    number: int
    at: str = Field(description="ISO 8601, UTC.")
    actor: str
    act: str
    subject: str
    facts: dict[str, Any] = Field(
        description="Without what reviewers of an open micrograph may not see yet."
    )
    sha256: str


class Acts(BaseModel):
    """Acts of the audit log, newest first."""

    acts: list[AuditAct]
    next_before: int | None = Field(description="`before` of the next page; null: the last one.")


class Decided(BaseModel):
    """A decision that was recorded."""

    label: int = Field(description="Its number.")
    micrograph: Micrograph


class Taken(BaseModel):
    """A file that was received."""

    id: str = Field(description="To ask for its first page.")
    sha256: str
    state: Literal["queued", "done"]


class Order(_Answer):
    """One order, as `agent orders show --json` prints it."""

    order: str
    conformity: Literal["conforms", "does_not_conform", "undecided", "not_assessed"]
    missing: list[str]
    because: list[str]
    specimens: list[dict[str, Any]]


class ListedOrder(BaseModel):
    """One order of the order desk."""

    order: str
    state: str = Field(description="Its column, such as `probably_out`, `held` or `conforms`.")
    lack: str = Field(description="What it lacks, in words.")
    urgent: bool
    fields: int = Field(description="Fields that have been received.")
    to_confirm: list[str] = Field(description="Ids of the fields that need a reviewer's answer.")
    heard_at: str | None = Field(description="When it was first recorded; ISO 8601, UTC.")
    sources: list[str]


class ListedOrders(BaseModel):
    """The orders of the order desk."""

    orders: list[ListedOrder]
    unread: int = Field(description="Orders that are still to be read; ask again for them.")


class Bundle(BaseModel):
    """A model bundle."""

    name: str
    state: Literal["active", "retired", "candidate"]
    signed_by: list[str] = Field(description="Leads who have signed for it and await another.")


class Bundles(BaseModel):
    """The model bundles, the newest first."""

    bundles: list[Bundle]


class HostAnswer(BaseModel):
    """A PC in a rollout, and its answers to the reference images."""

    name: str
    ring: int = Field(description="1: named PCs, 2: a share of the others, 3: the rest.")
    state: Literal["waiting", "agreed", "differs", "refused", "missing"]
    absent: bool = Field(description="It sends no heartbeat and is not waited for.")
    judged_at: str | None
    n: int = Field(description="Reference crops that were compared.")
    same_codes: int
    max_difference: float | None = Field(description="Largest difference of a probability.")
    message: str


class RolloutRings(BaseModel):
    """In which rings the PCs take a bundle."""

    first: list[str]
    share: float
    wait_minutes: float
    absent_minutes: float
    tolerance: float


class RolloutOfBundle(BaseModel):
    """A bundle that the PCs of a site take in rings."""

    bundle: str = Field(description="Name of the bundle.")
    previous: str | None = Field(description="What is in use until the last ring agrees.")
    state: Literal["running", "stopped", "done"]
    ring: int
    attempt: int
    by: str
    reason: str
    started_at: str
    ring_at: str
    ended_at: str | None
    stopped_by: str
    why: str
    first_pc: str = Field(description="PC whose answers the others have to repeat.")
    rings: RolloutRings
    pcs: list[HostAnswer]


class RolloutAnswer(BaseModel):
    """The newest rollout, null before the first."""

    rollout: RolloutOfBundle | None


At = Annotated[datetime, PlainSerializer(datetime.isoformat, return_type=str)]
"""An instant as programs read it: ISO 8601, UTC."""


class SourceToday(_Answer):
    """One source today."""

    name: str
    online: bool
    today: int = Field(description="Micrographs processed since midnight.")
    last_hour: int
    last_file: str | None
    last_at: At | None = Field(description="ISO 8601, UTC.")
    waiting: int = Field(description="Files that wait or are being processed.")
    failed: int
    set_aside: int


class CodeToday(_Answer):
    """A structure code today, next to its usual share."""

    code: str
    n: int
    share: float = Field(description="Of all micrographs with a code; 0: none has one.")
    usual: float | None = Field(description="Share over the last 28 days; null with too few days.")
    low: float | None = Field(description="Smallest share of one of these days.")
    high: float | None


class Today(_Answer):
    """The numbers of the dashboard."""

    day: str = Field(description="On the calendar of the site.")
    read_at: str = Field(description="ISO 8601, UTC.")
    micrographs: int
    review_requested: int
    reviewed: int
    waiting_for_review: int
    reasons: dict[str, int]
    orders: dict[str, int]
    unassigned: int
    disagreed: int
    agreement: dict[str, int] = Field(
        description="Of the decisions of 90 days without the model's answer in view: `n`, `same`."
    )
    sources: list[SourceToday]
    codes: list[CodeToday]
    problems: list[str]


class JobRequested(BaseModel):
    """What became of a request to the running agent."""

    state: Literal["requested", "running", "agent_stopped"]


class Queued(BaseModel):
    """Files that were queued again."""

    queued: int


FAULTS: dict[int | str, dict[str, Any]] = {
    code: {"model": Fault, "description": said}
    for code, said in {
        400: "The body is no JSON.",
        401: "Nobody is logged in, and no token was sent.",
        403: "The role does not suffice.",
        404: "There is nothing of that name.",
        409: "Somebody decided meanwhile, or the model answered anew; nothing was written.",
        413: "It is too large.",
        421: "The page does not answer to that name.",
        422: "It cannot be kept as it was sent.",
        503: "The database does not answer, this process takes no files, or the specification "
        "limits cannot be used.",
    }.items()
}
