"""Learn from collected labels in a child of low priority: what is taught from what, and when.

In:  `Settings`. Out: `Step`s, last an `Outcome`; a candidate, which nothing here promotes. Next: a
person, who reads what the gate says.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import psutil

from agent.archive import Archive
from agent.bundle_registry import delete_leftovers, get_bundle, get_bundles_folder
from agent.errors import AgentError, WrongUse
from agent.lab_context import software, taxonomy_in_force
from agent.retrain import Outcome, PseudoLabelled
from agent.service.composition import cases_of, demands_of, load_bundle, open_store
from agent.service.data_folder import clock
from agent.service.jobs.supervisor import supervised
from agent.service.lock import TeachLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from agent.retrain import Collected, Step
    from agent.settings import Settings
    from agent.store import MicrographView, Store
    from model import Manifest, TrainingConfig

JOB = "retrain"
ROOM_BYTES = 1_000_000_000
"""What is left free of disk and of memory, whatever is learned."""
HELD_BYTES = 1_500_000_000
"""Memory of the process itself and of the networks it looks with; 1.3 GB were measured while the
quick plan was taught on 30 drawn fields of 1994 px."""


class NoRoom(AgentError):  # noqa: N818 - it says what is missing
    """There is too little disk or memory to teach a bundle."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What would be learned from, and how.

    Args:
        current: Folder of the bundle at work. manifest: what it says of itself.
        plan: How the next one is taught. collected: from what.
    """

    current: Path
    manifest: Manifest
    plan: TrainingConfig
    collected: Collected

    @property
    def new(self) -> int:
        """How many labels the bundle at work has not learned: new ones, and those changed since."""
        from model import read_training_labels  # noqa: PLC0415 - brings PyTorch; a lab may start without

        return len(self.collected.news_to(self.manifest, read_training_labels(self.current)))


def lesson_of(settings: Settings, store: Store) -> Lesson:
    """Say what would be learned from. Raises `WrongUse` where there is no bundle yet."""
    from agent.retrain import get_training_config  # noqa: PLC0415 - brings PyTorch; a lab may start without
    from model import read_manifest  # noqa: PLC0415

    current = bundle_at_work(settings, store)
    manifest = read_manifest(current)
    plan = get_training_config(manifest, epochs=settings.retrain.epochs)
    own = taxonomy_in_force(settings, store)  # what a specimen may have is the lab's to say
    plan = replace(plan, taxonomy=replace(plan.taxonomy, several_subtypes=own.several_subtypes))
    collected = cases_of(settings, store, manifest.taxonomy, group_by=plan.group_by)
    return Lesson(current, manifest, plan, collected)


def bundle_at_work(settings: Settings, store: Store) -> Path:
    """Say where the bundle at work lies. Raises `WrongUse` where there is none yet."""
    name = store.promotions.find_current()
    if name is None:
        raise WrongUse("there is no bundle yet; teach the first one: agent train.")
    return get_bundle(settings.store.folder, name)


def learn(settings: Settings, *, pseudo_labels: bool = False) -> Iterator[Step | Outcome]:
    """Teach a candidate and hold it against the bundle at work: the work of the child.

    Args:
        settings: Of the lab.
        pseudo_labels: Whether the model's own answers are learned from too, if they are audited.

    Yields:
        `Step`s, last an `Outcome`.
    """
    from agent.retrain import retrain, save_record  # noqa: PLC0415 - the child's alone

    bundles = get_bundles_folder(settings.store.folder)
    delete_leftovers(settings.store.folder)
    with open_store(settings) as store:
        lesson = lesson_of(settings, store)
        views = list(store.results.iter_all()) if pseudo_labels else []
    pseudo: PseudoLabelled | None = None
    for step in _pseudo_labelled(settings, lesson, views) if pseudo_labels else ():
        if isinstance(step, PseudoLabelled):
            pseudo = step
        else:
            yield step
    now = clock()
    for news in retrain(
        lesson.collected,
        current=lesson.current,
        plan=lesson.plan,
        bundles=bundles,
        min_new=settings.retrain.min_new_labels,
        now=now,
        demands=demands_of(settings, lesson.plan.taxonomy, now=now),
        leave_out_doubted=settings.retrain.leave_out_doubted,
        pseudo=pseudo,
    ):
        if isinstance(news, Outcome):
            with open_store(settings) as store:
                if news.candidate:
                    save_record(bundles / news.candidate)
                    write_card(settings, store, news.candidate)
                _send_back(store, lesson.collected, news)
        yield news


def _pseudo_labelled(
    settings: Settings, lesson: Lesson, views: Sequence[MicrographView]
) -> Iterator[Step | PseudoLabelled]:
    from agent.retrain import select_pseudo_labels  # noqa: PLC0415

    classifier = load_bundle(settings, lesson.manifest.name)
    archive = Archive(settings.store.folder)
    labelled, group_by = lesson.collected.examples, lesson.plan.group_by
    return select_pseudo_labels(views, labelled, classifier, archive, group_by=group_by)


def _send_back(store: Store, collected: Collected, outcome: Outcome) -> None:
    """Have labels that are in doubt looked at again."""
    from agent.retrain import send_back  # noqa: PLC0415
    from model import LabelIssue  # noqa: PLC0415

    doubted = [LabelIssue(**one) for one in outcome.numbers.get("doubted", ())]
    send_back(store, collected, doubted, by="agent retrain", at=clock())


def write_card(settings: Settings, store: Store, name: str) -> Path:
    """Write a bundle's model card as things stand now; where the page is."""
    from agent.retrain import save_card  # noqa: PLC0415

    at = f"{clock():%Y-%m-%d %H:%M} UTC with {software()}"
    bundle = get_bundle(settings.store.folder, name)
    page, _ = save_card(
        bundle,
        store.promotions.list_all(),
        site=settings.site.name,
        at=at,
        language=settings.report.language,
    )
    return page


def learning(
    settings: Settings,
    store: Store,
    *,
    by: str,
    now: Callable[[], datetime] = clock,
    work: Callable[[Settings], Iterator[object]] = learn,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[object]:
    """Learn in a child; nothing is at work or live afterwards that was not before.

    Args:
        settings: Of the lab.
        store: Open.
        by: Who wants it.
        now: Says the time, aware UTC.
        work: What the child does.
        should_stop: As in `supervised`.

    Yields:
        `Step`s, last an `Outcome`, which stands in the trail.

    Raises:
        WrongUse: There is no bundle yet, or another one is being taught.
        NoRoom: Disk or memory would not do.
        ChildEnded: It went wrong. Cancelled: somebody asked for the end.
    """
    current = bundle_at_work(settings, store)
    refuse_without_room(current)
    lock = TeachLock(settings.store.folder)
    for news in supervised(
        work,
        settings,
        store,
        name=JOB,
        lock=lock,
        by=by,
        now=now,
        ending=_ending,
        should_stop=should_stop,
    ):
        if isinstance(news, Outcome):
            facts = {"gate": str(news.gate), "sentence": news.sentence}
            store.audit_log.add(
                at=now(), actor=by, act="model.candidate", subject=news.candidate, facts=facts
            )
        yield news


def _ending(outcome: Outcome) -> tuple[str, dict[str, Any]]:
    return str(outcome.gate), {
        "sentence": outcome.sentence,
        "candidate": outcome.candidate,
        "current": outcome.current,
        "new_labels": outcome.numbers.get("new_labels"),
    }


def refuse_without_room(
    current: Path,
    *,
    disk_free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    memory_free: Callable[[], int] = lambda: int(psutil.virtual_memory().available),
) -> None:
    """Refuse to begin what disk or memory could not carry to its end.

    Args:
        current: Folder of the bundle at work: the next one is as large.
        disk_free: Says how many bytes are free where a folder lies.
        memory_free: Says how many bytes of memory are free.

    Raises:
        NoRoom: Says what is there, what is needed, and what to do.
    """
    size = sum(path.stat().st_size for path in current.glob("*.safetensors"))
    disk, memory = _needed(size, is_frozen=_is_frozen(current))
    if (there := disk_free(current)) < disk:
        raise NoRoom(
            f"{current.parent}: teaching a bundle needs {_gb(disk)} of disk, {_gb(there)} are "
            "free; make room and try again."
        )
    if (there := memory_free()) < memory:
        raise NoRoom(
            f"teaching a bundle needs {_gb(memory)} of memory, {_gb(there)} are free; close "
            "other programs, or teach on another PC and take the bundle in: agent models add."
        )


def _needed(bundle_bytes: int, *, is_frozen: bool) -> tuple[int, int]:
    """Say how much disk and memory teaching takes, in bytes.

    Networks that are taught whole are kept aside three times over (the best, the last, and what
    the solver remembers, twice their size) and are in memory as often.
    """
    times = 1 if is_frozen else 5
    return ROOM_BYTES + (times + 1) * bundle_bytes, HELD_BYTES + times * bundle_bytes


def _is_frozen(bundle: Path) -> bool:
    facts = json.loads((bundle / "bundle.json").read_bytes()).get("facts", {})
    return bool(facts.get("plan", {}).get("frozen"))


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB"
