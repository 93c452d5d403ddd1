"""`agent demo`: the whole workflow on synthetic micrographs."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from concurrent.futures import BrokenExecutor, CancelledError, Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli import console
from agent.cli.app import app, open_store
from agent.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.demo.demo import AgentProcess, DemoFolders, DemoResult, DemoSize
    from agent.demo.exporter import DemoPicture, Drawings, Exported
    from agent.settings import Settings
    from agent.store import FileFate, Store
    from model import Evaluation

PAUSE_S = 0.3
BY = "agent demo"
RETRAIN = "retrain"
"""Name of the job that trains a candidate."""
LOOK_EVERY_S = 1.0
PATIENCE_S = 900.0  # a busy PC is slow


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New or empty folder.")] = Path(
        "martensight-demo"
    ),
    serve: Annotated[
        bool | None,
        typer.Option(
            "--serve/--no-serve",
            help="Keep the agent running at the end. Default: if stdout is a terminal.",
            show_default=False,
        ),
    ] = None,
    train: Annotated[
        bool,
        typer.Option(
            "--train",
            help="First train a bundle, and evaluate it on held-out micrographs: some minutes.",
        ),
    ] = False,
) -> None:
    """Run the whole workflow on synthetic micrographs: watch, classify, report, review, train.

    A bundle trained on synthetic micrographs classifies the first night. While the agent serves the
    page, it then trains a candidate from DIR/labelled, which you may promote on the page.
    """
    # Before PyTorch loads: the crop pool needs the other cores, and threads that wait for each
    # other on a busy PC cost more than they save.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from agent.demo.demo import DemoSize

    try:
        is_served = sys.stdout.isatty() if serve is None else serve
        play(folder, DemoSize(), serve=is_served, train=train)
    except KeyboardInterrupt:
        _print(f"Stopped. The same command continues it: agent demo {folder}")
        raise


def play(folder: Path, size: DemoSize, *, serve: bool, train: bool = False) -> DemoResult:
    """Run the demonstration in a folder and return the result of its night.

    Args:
        folder: Of the demonstration.
        size: How much is drawn.
        serve: Whether the agent keeps running at the end, and trains a candidate.
        train: Whether the first bundle is trained; else it is the one that the package ships.
    """
    from agent import settings as settings_room
    from agent.cli.console import silence_log
    from agent.demo.demo import AgentProcess, count_results, prepare_folder, renew_port
    from agent.demo.exporter import plan_night
    from agent.service.data_folder import clock

    began_s = time.monotonic()
    silence_log()
    places, before = prepare_folder(folder, now=clock())
    settings = settings_room.read(places.settings)
    _require_stopped(settings)
    _print(
        "All micrographs here are synthetic. They show how the agent works; results on them do not "
        "apply to steel."
    )
    if before:
        _print(f"Continuing an earlier demonstration in {places.folder}.")
    night = plan_night(
        seed=_nights_before(places), specimens=size.night_specimens, strange_each=size.strange_each
    )
    with begin_drawing(places, size, night, train=train) as drawings:
        converting = None if train else prepare_shipped_bundle(settings)
        with open_store(settings) as store:
            if train:
                await_drawings("Drawing labelled micrographs", drawings, places.labelled)
                train_bundle(settings, store, places)
                await_drawings("Drawing held-out micrographs", drawings, places.test)
            renew_port(places.settings)
            settings = settings_room.read(places.settings)
            agent = AgentProcess(places.settings, settings.store.folder / "logs" / "agent-run.txt")
            agent.start()  # it loads its bundle and checks its reference images in the evaluation
            _stop_on_term()
            try:
                evaluation = examine(settings, store, places) if train else None
                if converting:
                    use_shipped_bundle(settings, store, converting)
                microscope = _Microscope(night, places, size, drawings, store=store, agent=agent)
                microscope.start()
                exported, fates, first_s = await_night(store, places, microscope, agent)
                report = write_report(settings, store)
                result = count_results(store, night, exported, fates)
                _print_results(evaluation, result, exported, fates)
                _print(
                    f"It took {first_s - began_s:.0f} s to the first micrograph, "
                    f"{time.monotonic() - began_s:.0f} s to the report."
                )
                _print_ending(settings, places, report, serve=serve)
                if serve:
                    if not train:
                        train_candidate(settings, store, places, size)
                        await_candidate(settings, store, agent)
                    _serve(agent)
            finally:
                agent.stop()
    return result


def prepare_shipped_bundle(settings: Settings) -> Future[str]:
    """Begin to unpack the bundle that the package ships, and to convert its networks.

    A process does it while this one makes the database and the agent starts.

    Returns:
        The bundle's name, in the future.
    """
    from agent.demo.bundle import prepare_bundle
    from agent.service.data_folder import bundles_folder

    pool = ProcessPoolExecutor(
        1,
        mp_context=get_context("spawn"),
        initializer=signal.signal,  # Ctrl-C ends it without a word
        initargs=(signal.SIGINT, signal.SIG_DFL),
    )
    future = pool.submit(
        prepare_bundle,
        bundles_folder(settings),
        device=settings.model.device,
        precision=settings.model.precision,
    )
    pool.shutdown(wait=False)  # it ends with its work
    return future


def use_shipped_bundle(settings: Settings, store: Store, prepared: Future[str]) -> None:
    """Use the bundle that the package ships, where the folder has none yet."""
    from agent.retrain.bundle_registry import allow_demo_bundles
    from agent.service.data_folder import bundles_folder, clock
    from model import read_manifest

    current = store.promotions.find_current()
    if current is not None:
        _print(f"The bundle {current} is already in use.")
        return
    name = prepared.result()
    allow_demo_bundles(settings.store.folder)
    metrics = read_manifest(bundles_folder(settings) / name).metrics
    store.promotions.promote(
        name, by=BY, reason="drawn, for the demo only", at=clock(), metrics=metrics
    )


def train_candidate(settings: Settings, store: Store, places: DemoFolders, size: DemoSize) -> None:
    """Import the labelled micrographs, and request the training of a candidate as a page does."""
    from agent.cli.models.import_ import import_labelled, print_unusable
    from agent.demo.demo import plan_history
    from agent.demo.exporter import Drawings, write_manifest
    from agent.service.data_folder import clock

    if store.jobs.list_ended(RETRAIN):
        return
    pictures = plan_history(size)
    write_manifest(pictures, places.labelled)
    with Drawings([(places.labelled, pictures)], [], size.pixels) as drawings:
        await_drawings("Drawing labelled micrographs", drawings, places.labelled)
    imported = import_labelled(settings, store, places.labelled, places.labelled / "manifest.csv")
    print_unusable(imported.unusable)
    store.jobs.request(RETRAIN, by=BY, at=clock())
    _print(
        "The agent trains a candidate from these labels. How far it is: "
        f"{_format_page(settings)}/models"
    )


def await_candidate(settings: Settings, store: Store, agent: AgentProcess) -> None:
    """Wait for the candidate, then request its answers for the night, and print the next step."""
    from agent.retrain.promotion import SHADOW
    from agent.service.data_folder import clock

    while not (ended := store.jobs.list_ended(RETRAIN)):
        agent.refuse_if_dead()
        time.sleep(LOOK_EVERY_S)
    facts = ended[-1].facts
    candidate = facts.get("candidate")
    _print(str(facts.get("sentence", "")))
    if not candidate or store.promotions.find_current() == candidate:
        return
    if not store.jobs.list_ended(SHADOW):
        store.jobs.request(SHADOW, by=BY, at=clock(), facts={"bundle": candidate})
    _print(f"To compare and promote it: {_format_page(settings)}/models/{candidate}")


def _stop_on_term() -> None:
    """Make SIGTERM end the demonstration like Ctrl-C, so that it stops its agent."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, interrupt)


def _print(sentence: str) -> None:
    console.err.print(sentence, markup=False)


def _require_stopped(settings: Settings) -> None:
    from agent.service.data_folder import RunLock

    if RunLock.of(settings).is_held():
        raise UsageError(
            f"An agent is running in {settings.store.folder}. Stop it first, or name another "
            "folder: agent demo DIR."
        )


def begin_drawing(
    places: DemoFolders, size: DemoSize, night: Sequence[DemoPicture], *, train: bool
) -> Drawings:
    """Begin to draw the micrographs of the night, before them those to train on and to test."""
    from agent.demo import demo
    from agent.demo.exporter import Drawings, write_manifest

    folders = [
        (places.labelled, demo.plan_history(size)),
        (places.test, demo.plan_test_set(size)),
    ]
    for folder, pictures in folders if train else ():
        write_manifest(pictures, folder)
    return Drawings(folders if train else [], night, size.pixels)


def await_drawings(title: str, drawings: Drawings, folder: Path) -> None:
    """Wait with a progress bar until a folder has its micrographs."""
    with console.progress(title, drawings.count(folder)) as advance:
        for done in drawings.wait(folder):
            advance(done)


def train_bundle(settings: Settings, store: Store, places: DemoFolders) -> None:
    """Import the labelled micrographs, then train and use a bundle unless one was trained here."""
    from agent.cli.models.import_ import import_labelled, print_unusable
    from agent.cli.models.train import promote_first, train_bundle
    from agent.retrain.bundle_registry import get_bundle, is_drawn
    from agent.service.data_folder import clock
    from agent.service.jobs.retrain import read_lab_config
    from model import quick_config, read_manifest, use_network_threads  # PyTorch takes seconds

    current = store.promotions.find_current()
    if current is not None and not is_drawn(get_bundle(settings.store.folder, current)):
        _print(f"{current} was trained here and is in use, so none is trained.")
        return
    imported = import_labelled(settings, store, places.labelled, places.labelled / "manifest.csv")
    print_unusable(imported.unusable)
    plan = quick_config(**read_lab_config(settings, store), seed=0)
    with use_network_threads(os.cpu_count() or 1):
        bundle = train_bundle(settings, store, plan)
    if current is None:
        promote_first(store, bundle)
        return
    metrics, why = read_manifest(bundle).metrics, "trained by agent demo --train"
    store.promotions.promote(bundle.name, by=BY, reason=why, at=clock(), metrics=metrics)
    _print(f"{bundle.name} is in use in place of the shipped bundle {current}.")


def examine(settings: Settings, store: Store, places: DemoFolders) -> Evaluation:
    """Evaluate the held-out micrographs."""
    from agent.cli.models.evaluate import evaluate_folder
    from agent.cli.models.import_ import print_unusable

    evaluation, unusable = evaluate_folder(
        settings,
        store,
        places.test,
        manifest=places.test / "manifest.csv",
        bundle=None,
        strange=None,
    )
    print_unusable(unusable)
    return evaluation


def await_night(
    store: Store, places: DemoFolders, microscope: _Microscope, agent: AgentProcess
) -> tuple[list[Exported], dict[str, FileFate], float]:
    """Wait with a progress bar until the microscope has exported and every file has a result.

    Returns:
        The files, what became of them, and when (s, of the steady clock) the first was done.
    """
    from agent.demo import demo

    exported, total = microscope.exported, len(microscope.night) + 4
    fates: dict[str, FileFate] = {}
    first_s = 0.0
    with console.progress("Microscope exports, agent classifies", total) as advance:
        while microscope.is_alive():
            agent.refuse_if_dead()
            fates = demo.list_fates(store, places.export, [file.name for file in exported])
            first_s = first_s or (time.monotonic() if fates else 0.0)
            advance(len(fates), f"{len(exported)} exported")
            microscope.join(timeout=0.5)
        microscope.raise_if_failed()
        wanted = [file.name for file in exported]
        for fates in demo.await_fates(store, places.export, wanted, agent, limit_s=PATIENCE_S):
            advance(len(fates), f"{len(exported)} exported")
    if len(fates) < len(exported):
        left = len(exported) - len(fates)
        _print(f'{left} files are not processed yet. Run agent --config "{places.settings}" files.')
    return exported, fates, first_s or time.monotonic()


def _nights_before(places: DemoFolders) -> int:
    # The names in the folder say which nights were played: a second one brings new micrographs.
    orders = {path.name.partition("_")[0] for path in places.export.glob("*_*_*")}
    return len({order[:3] for order in orders if order.isdigit()})


class _Microscope(threading.Thread):
    """Simulated microscope that exports in a thread."""

    def __init__(
        self,
        night: Sequence[DemoPicture],
        places: DemoFolders,
        size: DemoSize,
        drawings: Drawings,
        *,
        store: Store,
        agent: AgentProcess,
    ) -> None:
        super().__init__(name="microscope", daemon=True)
        self.night = night
        self.exported: list[Exported] = []
        self._places, self._size, self._drawings = places, size, drawings
        self._store, self._agent = store, agent
        self._error: Exception | None = None

    def run(self) -> None:
        """Export all micrographs."""
        from agent.demo.exporter import export
        from agent.store import StoreFaultError

        try:
            files = export(
                self.night,
                self._places.export,
                size=self._size.pixels,
                pause_s=PAUSE_S,
                read=self._drawings.read,
                await_result=self._await_result,
            )
            self.exported.extend(files)
        except UsageError:  # the agent ended: `await_night` reports it
            return
        except (OSError, BrokenExecutor, CancelledError, StoreFaultError) as error:
            self._error = error

    def _await_result(self, name: str) -> None:
        from agent.demo import demo

        waiting = demo.await_fates(
            self._store, self._places.export, [name], self._agent, limit_s=PATIENCE_S
        )
        for _ in waiting:
            pass

    def raise_if_failed(self) -> None:
        """Raise `UsageError` if the export failed, `StoreFaultError` if the database was away."""
        from agent.store import StoreFaultError

        if isinstance(self._error, StoreFaultError):
            raise self._error
        if self._error is not None:
            raise UsageError(f"{self._places.export}: cannot be written ({self._error}).")


def write_report(settings: Settings, store: Store) -> Path:
    """Write the report of the current night."""
    from agent.archive import Archive
    from agent.nightly import night_settings
    from agent.nightly import write_report as write
    from agent.service.data_folder import clock
    from agent.site_time import night_of
    from agent.store.sites.site_folders import reports_folder

    now = clock()
    lab = night_settings(settings, store, now=now)
    folder = reports_folder(settings.store.folder, store)
    night = night_of(now, lab.at, lab.zone)
    return write(store, Archive.open(settings), folder, night, lab, now=now).path


def _print_results(
    evaluation: Evaluation | None,
    night: DemoResult,
    exported: list[Exported],
    fates: dict[str, FileFate],
) -> None:
    from agent.cli.models.evaluation_text import format_share

    if evaluation:
        accuracy = format_share(evaluation.accuracy.as_json(), evaluation.n)
        _print(f"Structure code right on held-out synthetic micrographs: {accuracy}.")
    _print(
        f"Structure code right on normal synthetic micrographs of the night: {night.right} of "
        f"{night.ordinary}."
    )
    _print(_format_unusual(night))
    for file in exported:
        if file.fault:
            _print(f"{file.name} ({file.fault}): {_format_fate(fates.get(file.name))}")
    _print("For your own micrographs: agent import, then agent train.")


def _format_unusual(night: DemoResult) -> str:
    ways = {
        "flagged as unusual": night.flagged,
        "sent to review for a defect of preparation or imaging": night.defects,
        "set aside as unusable": night.set_aside,
    }
    noticed = sum(ways.values())
    how = ", ".join(f"{count} {way}" for way, count in ways.items() if count)
    missed = ", ".join(f"{kind} {count}" for kind, count in sorted(night.missed.items()))
    return (
        f"Unusual micrographs detected: {noticed} of {night.planted} ({how or 'none'}"
        f"{f'; missed: {missed}' if missed else ''}); "
        f"normal micrographs flagged as unusual: {night.false_alarms} of {night.ordinary}."
    )


def _format_fate(fate: FileFate | None) -> str:
    if fate is None:
        return "not processed yet"
    words = fate.state.replace("_", " ")
    return f"{words}, {fate.said}" if fate.said else words


def _print_ending(settings: Settings, places: DemoFolders, report: Path, *, serve: bool) -> None:
    if serve:
        _print("The agent keeps watching and serves the review page until Ctrl-C.")
    else:
        _print(f'To continue and serve the page: agent --config "{places.settings}" run')
    console.echo(f"report {report}")
    console.echo(f"page {_format_page(settings)}")


def _format_page(settings: Settings) -> str:
    return f"http://{settings.web.host}:{settings.web.port}"


def _serve(agent: AgentProcess) -> None:
    try:
        agent.wait()
    except KeyboardInterrupt:
        _print("Stopping the agent.")
