"""Translate the stable words of the agent into titles and remedies.

The words of DESIGN.md hold here: an answer is never "accepted" or "rejected", a dark particle is
a "possible inclusion", and strange means unusual: unlike the
reference images.
"""

from __future__ import annotations

import re
from typing import Protocol

from reports.i18n import gettext, marked
from reports.i18n import gettext as _

REASONS: dict[str, tuple[str, str]] = {
    "strange": (
        marked("Unusual"),
        marked(
            "Inspect the marked place: a possible inclusion, another structure, a fault? Enter "
            "the kind with S, or the structure code if the field is normal."
        ),
    ),
    "uncertain": (
        marked("The model is unsure of the code"),
        marked("Compare with the neighbouring sizes and say which it is."),
    ),
    "scale_unknown": (
        marked("Scale unknown"),
        marked(
            "The size number is provisional. Give the scale on the review page, or export with a "
            "scale bar or metadata."
        ),
    ),
    "scale_conflict": (
        marked("Scales disagree"),
        marked(
            "Metadata and scale bar differ by more than 5 %. Check the objective set in the "
            "microscope software, or give the scale on the review page; the size number is "
            "provisional."
        ),
    ),
    "input_defect": (
        marked("Image or preparation defect"),
        marked(
            "Shoot again, or prepare the specimen again; mark it unusable with U if it cannot be "
            "read."
        ),
    ),
    "unexpected_subtype": (
        marked("Subtype other than expected"),
        marked("Check that specimen and order belong together."),
    ),
    "out_of_scope": (
        marked("Outside what the model was validated on"),
        marked(
            "Decide without the model; or take the image as the validated ones, or validate the "
            "model for it (agent spec validate)."
        ),
    ),
    "needles_disagree": (
        marked("Size number and needle lengths disagree"),
        marked(
            "Compare with the neighbouring sizes and decide. The needle lengths are a trial, not "
            "calibrated here."
        ),
    ),
    "untrained": (
        marked("No model yet"),
        marked("Enter the structure code: the first model is trained on such examples."),
    ),
    "control_sample": (
        marked("Control sample"),
        marked(
            "Selected by its content hash, independently of the model, to measure how often the "
            "model is right. Decide as for any other micrograph."
        ),
    ),
    "unlike_taught": (
        marked("Unlike every training image"),
        marked(
            "Handled automatically, but unlike all training images. Enter the structure code: "
            "such examples improve the next model most."
        ),
    ),
    "requested": (
        marked("Review requested"),
        marked(
            "A lead requested a review of this micrograph in the archive. Decide as for any other "
            "micrograph."
        ),
    ),
    "disagreement": (
        marked("Raters disagree"),
        marked(
            "Raters of a round robin disagreed on it, or with its label. Decide together, with "
            "the comparison chart."
        ),
    ),
    "doubted_label": (
        marked("Suspect label"),
        marked(
            "It has a label that other evidence contradicts. Decide without that label: the next "
            "model is trained on your decision."
        ),
    ),
}
"""Reason → title, what to do."""

DOUBTS: dict[str, str] = {
    "twin": marked("Another micrograph shows the same place and was given another code."),
    "label": marked("Micrographs that look like this one were given another code."),
    "specimen": marked("Its code is of another subtype than the rest of its specimen."),
    "stranger": marked("It is unlike the reference images of its code."),
    "requested": marked("A lead requested another review of it."),
    "raters": marked("Raters of a round robin did not agree with it, or with each other."),
}
"""Why a label is suspect; neutral, since the earlier decision is hidden from the reviewer."""

FILE_CODES: dict[str, tuple[str, str]] = {
    "empty": (marked("Empty file"), marked("Export it again.")),
    "truncated": (marked("Cut off"), marked("The file ends too early: export or copy it again.")),
    "not_an_image": (
        marked("Not an image"),
        marked("Nothing to do, unless it should have been one."),
    ),
    "unsupported": (
        marked("Format not supported"),
        marked("Export as TIFF, PNG or JPEG, 8 or 16 bits."),
    ),
    "too_large": (
        marked("Too large"),
        marked("Export a smaller field, or raise [imaging] max_megapixels."),
    ),
    "no_steel": (
        marked("No usable steel"),
        marked("Nothing was left after cutting: shoot the field again."),
    ),
    "unreadable": (
        marked("Could not be read"),
        marked("Check the rights of the folder and the file."),
    ),
    "decoder_killed": (
        marked("Decoder stopped"),
        marked(
            "Reading took too long or too much memory. Export the file again in another format."
        ),
    ),
    "crashed": (
        marked("Failed five times"),
        marked("`agent files retry` tries it again; the log has the details."),
    ),
}
"""Code of a file that could not be used → title, what to do."""

SOURCES_OF_SCALE: dict[str, str] = {
    "metadata": marked("the file's metadata"),
    "micron_bar": marked("the scale bar"),
    "sidecar": marked("the file next to it"),
    "settings": marked("the settings"),
    "reviewer": marked("a reviewer's entry"),
}

STRANGE_KINDS: dict[str, str] = {
    "possible_inclusion": marked("possible inclusion"),
    "pearlite": marked("pearlite"),
    "ferrite": marked("ferrite, decarburised"),
    "carbide_network": marked("carbide network"),
    "crack": marked("crack or pore"),
    "coarser": marked("coarser than any trained size"),
    "other_material": marked("another material"),
    "no_micrograph": marked("no micrograph"),
    "other": marked("something else"),
}
"""Kinds of strangeness a reviewer can name."""

UNUSABLE_WHYS: dict[str, str] = {
    "out_of_focus": marked("out of focus"),
    "over_etched": marked("over-etched"),
    "under_etched": marked("under-etched"),
    "scratched": marked("scratched"),
    "stained": marked("stained, bleeding"),
    "exposure": marked("too bright or too dark"),
    "wrong_crop": marked("cropped wrongly"),
    "wrong_magnification": marked("wrong magnification"),
    "other": marked("something else"),
}
"""Why a micrograph cannot be judged."""

CORRECTION_WHYS: tuple[str, ...] = (
    marked("a slip of the hand"),
    marked("looked again, more closely"),
    marked("other fields of the specimen contradict it"),
    marked("agreed with a colleague"),
    marked("new facts about the specimen"),
)
"""Reasons for changing a decision; anything else can be typed."""

MODEL_CORRECTION_WHYS: tuple[str, ...] = (
    marked("coarse regions decide"),
    marked("the overall impression decides"),
    marked("an artefact of the preparation misleads the model"),
    marked("the crop shows an unusual part"),
    marked("other fields of the specimen confirm it"),
)
"""Reasons for another code than the model's; a lab can name its own, and anything can be typed."""

CRITERIA: dict[str, str] = {
    "mean": marked("mean: overall impression"),
    "max": marked("max: coarse regions decide"),
    "unrecorded": marked("not recorded"),
}
"""Criterion of the size that a rater used."""

ACTS: dict[str, str] = {
    "label.given": marked("decision entered"),
    "label.undone": marked("decision taken back"),
    "field.assigned": marked("field assigned"),
    "field.unassigned": marked("field unassigned"),
    "field.superseded": marked("field set aside"),
    "specimen.prepared_again": marked("specimen prepared again"),
    "order.listed": marked("order list read"),
    "order.amended": marked("change of an order list decided"),
    "order.urgent": marked("urgency changed"),
    "reopened.recorded": marked("order reopened"),
    "file_dismissed.recorded": marked("unusable file dismissed"),
    "place.decided": marked("place decided"),
    "control.recorded": marked("control check"),
    "hold_release.recorded": marked("held results released"),
    "automatic.recorded": marked("automatic conformity switched"),
    "specifications.recorded": marked("specifications changed"),
    "scale_check.recorded": marked("stage micrometer measured"),
    "clock_set.recorded": marked("clock of a PC was set"),
    "settings.changed": marked("settings changed"),
    "model.promoted": marked("bundle promoted"),
    "micrograph.asked_again": marked("review requested again"),
}
"""Act of the audit log → what a statement calls it."""

MORE_ACTS: dict[str, str] = {
    "place.found": marked("same place found"),
    "micrograph.described": marked("process data changed"),
    "files.set_aside": marked("files set aside"),
    "results.sealed": marked("results sealed"),
    "result.replaced": marked("field judged again"),
    "order.claimed": marked("order named for another field"),
    "label.doubted": marked("label marked as suspect"),
    "archive.review_requested": marked("review requested"),
    "account.added": marked("account added"),
    "account.role_changed": marked("role of an account changed"),
    "account.secret_changed": marked("password or token changed"),
    "account.disabled": marked("account disabled"),
    "account.enabled": marked("account enabled"),
    "login.began": marked("logged in"),
    "login.ended": marked("logged out"),
    "login.failed": marked("log-in failed"),
    "language.recorded": marked("language chosen"),
    "campaign.planned": marked("round robin planned"),
    "campaign.invited": marked("rater invited"),
    "campaign.link_given": marked("link for a rater made"),
    "campaign.opened": marked("round robin opened"),
    "campaign.closed": marked("round robin closed"),
    "campaign.disputed": marked("micrographs sent to review"),
    "model.candidate": marked("bundle became a candidate"),
    "model.reprocessed": marked("archive judged again with a bundle"),
    "model.shadowed": marked("candidate judged archived micrographs"),
    "rollout.started": marked("rollout started"),
    "rollout.advanced": marked("rollout reached the next ring"),
    "rollout.stopped": marked("rollout stopped"),
    "rollout.acknowledged": marked("stopped rollout acknowledged"),
    "rollout.continued": marked("rollout continued"),
    "rollout.finished": marked("rollout ended at the last ring"),
    "backup.made": marked("back-up made"),
    "backup.restored": marked("back-up restored"),
    "database.found_older": marked("database found to be older than what is kept outside it"),
    "loss.accepted": marked("loss of acts accepted"),
    "files.retried": marked("files tried again"),
    "needle.measured": marked("needle measured"),
    "needle.withdrawn": marked("measured needle withdrawn"),
    "needle_comparison.recorded": marked("needles compared with the program"),
    "needle_calibration.recorded": marked("needle lengths calibrated"),
    "night.reported": marked("night reported"),
    "order.seen": marked("order seen first"),
    "pixels.pruned": marked("pixels deleted as planned"),
    "pixels.damaged": marked("damaged pixels found"),
    "scale.checked": marked("scale checked"),
    "scale_given.recorded": marked("scale entered by a reviewer"),
    "scale_late.recorded": marked("a later file gives another scale"),
    "specification.seen": marked("specification seen first"),
    "statement.frozen": marked("statement made"),
    "statement.filed": marked("document of a statement filed"),
    "order.held": marked("order protected from pruning"),
    "order.released": marked("protection of an order ended"),
    "order_list.recorded": marked("order list imported"),
    "lost_file_named.recorded": marked("unusable file named for an order"),
    "outbox.recorded": marked("revision for the LIMS made"),
    "outbox_written.recorded": marked("revision sent to the LIMS"),
    "outbox_floor.recorded": marked("higher revision found at the LIMS"),
    "outbox_acknowledged.recorded": marked("lost revisions acknowledged"),
    "resumption.recorded": marked("restored database compared with the LIMS"),
    "alarm_acknowledged.recorded": marked("alarm acknowledged"),
    "bundle_taxonomy.recorded": marked("classes of a bundle recorded"),
    "reference.recorded": marked("reference answers of a bundle recorded"),
    "notice.recorded": marked("notice made"),
    "notice_sent.recorded": marked("notice sent"),
    "trail.timestamped": marked("audit log time-stamped"),
    "database.copied": marked("database copied"),
    "guards.laid_again": marked("triggers of the database restored"),
    "agent.retired": marked("PC retired"),
    "round_robin.recorded": marked("round robin evaluated"),
    "msa_plan.recorded": marked("measurement study planned"),
    "msa.recorded": marked("measurement study evaluated"),
    "order_demands.recorded": marked("demands of the settings changed"),
    "taxonomy.recorded": marked("classes changed"),
    "class_proposal.recorded": marked("class proposed"),
    "class_proposal_closed.recorded": marked("proposed class answered"),
    "validation.recorded": marked("validation recorded"),
    "outage.recorded": marked("source unavailable"),
    "bundle_refused.recorded": marked("bundle could not be loaded"),
    "restore_drill.recorded": marked("restore of a back-up tested"),
    "site.shares_changed": marked("sharing between sites changed"),
    "lab.begun": marked("audit log started"),
    "lab.moved": marked("lab moved to another database"),
}
"""Further acts → what the history calls them; the words of statements stay as they are."""

FACTS: dict[str, str] = {
    "accepted": marked("accepted"),
    "batch": marked("batch"),
    "broken": marked("not read"),
    "bundle": marked("bundle"),
    "code": marked("code"),
    "comment": marked("comment"),
    "conformity": marked("result"),
    "count": marked("number"),
    "doubts": marked("unclear"),
    "etchant": marked("etchant"),
    "field": marked("field"),
    "file": marked("file"),
    "files": marked("files"),
    "final": marked("final"),
    "findings": marked("findings"),
    "heat": marked("heat"),
    "list": marked("order list"),
    "material": marked("material"),
    "name": marked("name"),
    "number": marked("statement"),
    "objective": marked("objective"),
    "on": marked("on"),
    "order": marked("order"),
    "orders": marked("orders"),
    "other": marked("other micrograph"),
    "passed": marked("passed"),
    "preparation": marked("preparation"),
    "rater": marked("rater"),
    "reason": marked("reason"),
    "replaces": marked("instead of"),
    "revision": marked("revision"),
    "role": marked("role"),
    "sources": marked("sources"),
    "specification": marked("specification"),
    "specimen": marked("specimen"),
    "strange_kind": marked("unusual"),
    "subtype": marked("subtype"),
    "text": marked("description"),
    "um_per_px": marked("µm per pixel"),
    "unsure": marked("unsure"),
    "urgent": marked("urgent"),
    "why": marked("not usable"),
}
"""Fact of an act → what the history calls it; the others are shown in the machine's form alone."""


def reason(word: str) -> tuple[str, str]:
    """Return a reason's title and remedy; an unknown word is returned as it is."""
    return _translate_both(REASONS.get(word, (_plain(word), marked("Inspect it."))))


def file_code(word: str) -> tuple[str, str]:
    """Return the meaning and the remedy of a file's reason code."""
    return _translate_both(
        FILE_CODES.get(word, (_plain(word), marked("See the sentence next to it.")))
    )


def doubt(word: str) -> str:
    """Return why a label is suspect; an unknown word is returned as it is.

    Args:
        word: One of `DOUBTS`; with "8/12" after it, how many micrographs of its code the networks
            that suspect it assign rightly, of how many.
    """
    kind, _space, known = word.partition(" ")
    if kind not in DOUBTS or not re.fullmatch(r"\d+/\d+", known):
        return _(DOUBTS.get(word, _plain(word)))
    right, _slash, n = known.partition("/")
    text = _("The networks that suspect it are right about {right} of {n} micrographs of its code.")
    return f"{_(DOUBTS[kind])} {text.format(right=right, n=n)}"


def strange_kind(word: str) -> str:
    """Return a kind of unusual micrograph in words; free text is returned as it is."""
    return _(STRANGE_KINDS.get(word, _plain(word)))


def scale_source(word: str) -> str:
    """Return the source of a scale in words; an unknown one is returned as it is."""
    return _(SOURCES_OF_SCALE.get(word, word)) if word else ""


def unusable_why(word: str) -> str:
    """Return why a micrograph is unusable; free text is returned as it is."""
    return _(UNUSABLE_WHYS.get(word, _plain(word)))


class Answered(Protocol):
    """What a reviewer answered."""

    @property
    def kind(self) -> str:
        """Such as "code" or "cannot_tell"."""

    @property
    def code(self) -> str | None:
        """The structure code, of the kind "code"."""

    @property
    def strange_kind(self) -> str | None:
        """What is unusual, of the kind "strange"."""

    @property
    def why(self) -> str | None:
        """Why it is unusable, of the kind "unusable"."""


def describe_decision(decision: Answered) -> str:
    """Return a decision in a few words, such as "G8" or "unusual: inclusion"."""
    if decision.kind == "code":
        return decision.code or ""
    if decision.kind == "strange":
        return _("unusual: {kind}").format(kind=strange_kind(decision.strange_kind or ""))
    if decision.kind == "unusable":
        return _("unusable: {why}").format(why=unusable_why(decision.why or ""))
    return _("cannot tell")


def criterion(word: str) -> str:
    """Return the criterion of a size; an unknown word speaks for itself."""
    return _(CRITERIA.get(word, word))


def act_name(act: str) -> str:
    """Return the name of an act of the audit log; an unknown one is returned as it is."""
    return _(ACTS.get(act, _plain(act.replace(".", " "))))


def act_title(act: str) -> str:
    """Return what the history calls an act of the audit log."""
    return _(MORE_ACTS[act]) if act in MORE_ACTS else act_name(act)


def fact_name(key: str) -> str:
    """Return what the history calls a fact, "" where it has no name in words."""
    return _(FACTS[key]) if key in FACTS else ""


def fact_value(key: str, value: str) -> str:
    """Return a word that a fact states in the reader's language; free text as it is."""
    titles = {word: title for word, (title, _remedy) in REASONS.items()}
    words = {"reason": titles, "strange_kind": STRANGE_KINDS, "why": UNUSABLE_WHYS}
    return _(words[key][value]) if value in words.get(key, ()) else value


def _translate_both(texts: tuple[str, str]) -> tuple[str, str]:
    return _(texts[0]), _(texts[1])


def _plain(word: str) -> str:
    return word.replace("_", " ")


# --- image and preparation defects and their remedies, in the language of the page ----------------


DEFECT_WORDS = (
    marked("out of focus"),
    marked("over- or underexposed"),
    marked("too dark"),
    marked("too bright"),
    marked("too little contrast"),
    marked("under-etched"),
    marked("over-etched"),
    marked("scratched"),
    marked("stained"),
    marked("too little steel in view"),
    marked("shoot again"),
    marked("shoot again with another exposure"),
    marked("shoot again with more light"),
    marked("shoot again with less light"),
    marked("check the aperture and shoot again"),
    marked("etch longer"),
    marked("re-polish and re-etch"),
    marked("re-polish and re-etch, or take another field"),
    marked("clean and dry, or re-etch, or take another field"),
    marked("take another field"),
)
"""Findings and remedies of `model.image_quality.DEFECTS`, each a message id."""


def describe_defect(defect: str) -> str:
    """Return a defect as stored, "finding: remedy", in the language of the page."""
    finding, colon, remedy = defect.replace("_", " ").strip().partition(": ")
    return f"{gettext(finding)}{colon}{gettext(remedy)}"
