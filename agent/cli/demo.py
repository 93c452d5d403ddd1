"""`agent demo`: the whole loop on drawn micrographs, for somebody who has no steel at hand."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli import console
from agent.cli.app import app, open_store
from agent.errors import WrongUse

if TYPE_CHECKING:
    from agent.demo.demo import AgentProcess, DemoResult, Places, Size
    from agent.demo.exporter import Exported, Picture
    from agent.settings import Settings
    from agent.store import FileFate, Store
    from model import Evaluation

PAUSE_S = 0.3
PATIENCE_S = 900.0  # a busy PC is slow, not wrong


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")] = Path(
        "martensight-demo"
    ),
    serve: Annotated[
        bool | None,
        typer.Option(
            "--serve/--no-serve",
            help="Keep the agent running at the end; default: when stdout is a terminal.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show the whole loop on drawn micrographs: teach, watch, judge, report, review."""
    # Before PyTorch loads: the pool beside it wants the other core, and threads that wait for
    # each other on a busy PC burn several times what they save.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from agent.demo.demo import Size

    play(folder, Size(), serve=sys.stdout.isatty() if serve is None else serve)


def play(folder: Path, size: Size, *, serve: bool) -> None:
    """Play the demonstration in a folder."""
    from agent import settings as settings_room
    from agent.cli.job_progress import silence_log
    from agent.demo.demo import AgentProcess, prepare_folder
    from agent.service.data_folder import clock

    began_s = time.monotonic()
    silence_log()
    places, before = prepare_folder(folder, now=clock())
    settings = settings_room.read(places.settings)
    _refuse_running(settings)
    _print(
        "All micrographs here are drawn by the program: they show how the agent works, and "
        "nothing measured on them says how good it is on steel."
    )
    if before:
        _print(f"An earlier demonstration is taken up in {places.folder}.")
    draw_folders(places, size)
    with open_store(settings) as store:
        train_bundle(settings, store, places)
        evaluation = examine(settings, store, places)
        agent = AgentProcess(places.settings, settings.store.folder / "logs" / "agent-run.txt")
        agent.start()
        _stop_on_term()
        try:
            exported, fates = one_night(store, places, size, agent)
            report = write_report(settings, store)
            _say_results(evaluation, exported, fates, store)
            _print(f"It took {time.monotonic() - began_s:.0f} s.")
            _say_ending(settings, places, report, serve=serve)
            if serve:
                _serve(agent)
        finally:
            agent.stop()


def _stop_on_term() -> None:
    """Let SIGTERM end the demonstration like Ctrl-C, so that its agent is not left behind."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, interrupt)


def _print(sentence: str) -> None:
    console.err.print(sentence, markup=False)


def _refuse_running(settings: Settings) -> None:
    from agent.service.data_folder import agent_name
    from agent.service.lock import RunLock

    if RunLock(settings.store.folder, agent_name()).is_held():
        raise WrongUse(
            f"{settings.store.folder}: an agent is running here; stop it first, or name another "
            "folder: agent demo DIR."
        )


def draw_folders(places: Places, size: Size) -> None:
    """Draw what is taught and what is examined."""
    from agent.demo import demo

    for title, pictures, folder in (
        ("Drawing labelled micrographs", demo.plan_history(size), places.labelled),
        ("Drawing held-out micrographs", demo.plan_test_set(size), places.test),
    ):
        with console.progress(title, len(pictures)) as advance:
            for done in demo.write_labelled(pictures, folder, size):
                advance(done)


def train_bundle(settings: Settings, store: Store, places: Places) -> None:
    """Import what is labelled and teach the first bundle, where there is none yet."""
    from agent.cli.import_ import import_labelled, print_unusable
    from agent.cli.train import promote_first, train_bundle
    from agent.cli.training_plan import read_lab_config
    from model import quick_config  # PyTorch takes seconds

    if store.current_bundle() is not None:
        _print(f"The bundle {store.current_bundle()} is at work already.")
        return
    imported = import_labelled(settings, store, places.labelled, places.labelled / "manifest.csv")
    print_unusable(imported.unusable)
    plan = quick_config(**read_lab_config(settings, store), seed=0)
    bundle = train_bundle(settings, store, plan)
    promote_first(store, bundle)


def examine(settings: Settings, store: Store, places: Places) -> Evaluation:
    """Judge the held-out micrographs."""
    from agent.cli.evaluate import evaluate_folder
    from agent.cli.import_ import print_unusable

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


def one_night(
    store: Store, places: Places, size: Size, agent: AgentProcess
) -> tuple[list[Exported], dict[str, FileFate]]:
    """Let the pretend microscope export while the agent watches; wait for every fate."""
    from agent.demo import demo, exporter

    night = exporter.plan_night(
        seed=_nights_before(places), specimens=size.night_specimens, strange_each=size.strange_each
    )
    exported: list[Exported] = []
    total = len(night) + 4
    turn = _Microscope(night, places, size, exported)
    turn.start()
    fates: dict[str, FileFate] = {}
    with console.progress("The microscope exports, the agent judges", total) as advance:
        while turn.is_alive():
            agent.refuse_if_dead()
            fates = demo.list_fates(store, places.export, [one.name for one in exported])
            advance(len(fates), f"{len(exported)} exported")
            turn.join(timeout=0.5)
        turn.raise_if_failed()
        wanted = [one.name for one in exported]
        for fates in demo.await_fates(store, places.export, wanted, agent, limit_s=PATIENCE_S):
            advance(len(fates), f"{len(exported)} exported")
    if len(fates) < len(exported):
        left = len(exported) - len(fates)
        _print(f"{left} files are not judged yet; see: agent --config {places.settings} files")
    return exported, fates


def _nights_before(places: Places) -> int:
    # The names in the folder say which nights were played: a second one brings new micrographs.
    orders = {path.name.partition("_")[0] for path in places.export.glob("*_*_*")}
    return len({order[:3] for order in orders if order.isdigit()})


class _Microscope(threading.Thread):
    """The pretend microscope at work, while the agent watches."""

    def __init__(
        self, night: list[Picture], places: Places, size: Size, exported: list[Exported]
    ) -> None:
        super().__init__(name="microscope", daemon=True)
        self._night, self._places, self._size, self._exported = night, places, size, exported
        self._error: Exception | None = None

    def run(self) -> None:
        """Export everything."""
        from agent.demo.exporter import export

        try:
            self._exported.extend(
                export(self._night, self._places.export, size=self._size.pixels, pause_s=PAUSE_S)
            )
        except OSError as error:
            self._error = error

    def raise_if_failed(self) -> None:
        """Say what kept it from exporting."""
        if self._error is not None:
            raise WrongUse(f"{self._places.export}: cannot be written ({self._error}).")


def write_report(settings: Settings, store: Store) -> Path:
    """Write the running night's report."""
    from agent.archive import Archive
    from agent.lab_context import reports_folder
    from agent.nightly import night_settings
    from agent.nightly import write_report as write
    from agent.service.data_folder import clock
    from agent.site_time import night_of

    now = clock()
    lab = night_settings(settings, store, now=now)
    folder = reports_folder(settings.store.folder, store)
    night = night_of(now, lab.at, lab.zone)
    return write(store, Archive(settings.store.folder), folder, night, lab, now=now).path


def _say_results(
    evaluation: Evaluation,
    exported: list[Exported],
    fates: dict[str, FileFate],
    store: Store,
) -> None:
    from agent.cli.evaluation_text import format_share
    from agent.demo.demo import count_results

    night = count_results(store, exported, fates)
    accuracy = format_share(evaluation.accuracy.as_json(), evaluation.n)
    _print(f"Held-out drawn micrographs, structure code right: {accuracy}.")
    _print(_strange_sentence(night))
    for one in exported:
        if one.fault:
            fate = fates.get(one.name)
            _print(f"{one.name} ({one.fault}): {_fate_words(fate)}")
    _print("These are drawn images, not steel; on your own micrographs: agent import, agent train.")


def _strange_sentence(night: DemoResult) -> str:
    ways = {
        "called strange": night.flagged,
        "sent to review for a defect of preparation or imaging": night.defects,
        "set aside as unusable": night.set_aside,
    }
    noticed = sum(ways.values())
    how = ", ".join(f"{count} {way}" for way, count in ways.items() if count)
    missed = ", ".join(f"{kind} {count}" for kind, count in sorted(night.missed.items()))
    return (
        f"Planted strange ones noticed: {noticed} of {night.planted} ({how or 'none'}"
        f"{f'; missed: {missed}' if missed else ''}); "
        f"ordinary ones called strange: {night.false_alarms} of {night.ordinary}."
    )


def _fate_words(fate: FileFate | None) -> str:
    if fate is None:
        return "not judged yet"
    words = fate.state.replace("_", " ")
    return f"{words}, {fate.said}" if fate.said else words


def _say_ending(settings: Settings, places: Places, report: Path, *, serve: bool) -> None:
    if serve:
        _print("The agent goes on watching and serves the review page until Ctrl-C.")
    else:
        _print(f"To watch on and serve the page: agent --config {places.settings} run")
    console.echo(f"report {report}")
    console.echo(f"page http://{settings.web.host}:{settings.web.port}")


def _serve(agent: AgentProcess) -> None:
    try:
        agent.wait()
    except KeyboardInterrupt:
        _print("Stopping the agent.")
