"""After a scripted shift every order says what has to be said of it, also after a kill."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from folders import TESTS
from scripted.kinds import ALL, FURTHER, HONEST, TRICKS, Kind, Shot, usual
from scripted.shift import (
    NEW,
    OLD,
    Script,
    Shift,
    everything,
    export,
    false_conforms,
    refused_honest,
    unsteady,
    wrong,
    wrong_halfway,
)

EACH_RUN = dict(list(ALL.items())[::9]) | {"promoted": ALL["promoted"]}
"""Every ninth kind; all of them take a minute of a core, and run with the slow tests."""


def make(folder, orders, kinds=ALL):
    return Shift(folder, Script(orders, kinds), f"sqlite:///{folder}/martensight.db")


@pytest.fixture(
    params=[EACH_RUN, pytest.param(ALL, marks=pytest.mark.slow)], ids=["each ninth kind", "all"]
)
def shift(tmp_path, request):
    shift = make(tmp_path, len(request.param), request.param)
    yield shift
    shift.store.close()


def test_every_order_of_a_shift_says_what_has_to_be_said(shift):
    shift.first_half()
    too_early, halfway = false_conforms(shift, halfway=True), list(wrong_halfway(shift))
    shift.second_half()

    assert (too_early, halfway) == ([], [])
    assert list(wrong(shift)) == []
    assert (false_conforms(shift), refused_honest(shift), unsteady(shift)) == ([], [], [])
    assert len(TRICKS) >= 30
    promoted = shift.script.numbers[list(shift.script.kinds).index("promoted")]
    by_specimen = {
        (view.process_data.get("order"), view.result.bundle)
        for view in shift.store.results.iter_all()
    }
    assert (promoted, OLD) in by_specimen  # begun before the promotion, ended by the same bundle
    assert (promoted, NEW) not in by_specimen
    assert len(HONEST) >= 15


@pytest.mark.slow
def test_every_order_of_a_shift_with_further_tricks_says_what_has_to_be_said(tmp_path):
    shift = make(tmp_path, len(FURTHER), FURTHER)
    shift.first_half()
    halfway = list(wrong_halfway(shift))
    shift.second_half()

    assert (halfway, list(wrong(shift)), false_conforms(shift)) == ([], [], [])
    shift.store.close()


@pytest.mark.parametrize("name", ["Image 9.tif", "{order}-01-4.tif"])
def test_an_imported_picture_that_comes_to_the_folder_of_an_order_holds_it(tmp_path, name):
    shift = make(tmp_path, 1, {"plain": Kind(lambda order: (usual(order), []))})
    (order,) = shift.script.numbers
    shift.first_half()
    labelled, before = tmp_path / "labelled", shift.said(order)["conformity"]
    labelled.mkdir()
    export([Shot("x.tif", "G7", ("G7",))], labelled, shift.truth)
    (labelled / "m.csv").write_text("file,code,rater\nx.tif,G8,Lead\n", encoding="utf-8")
    shift.import_labels(labelled, labelled / "m.csv", by="Ada", for_orders=False)

    shutil.copy(labelled / "x.tif", shift.export / name.format(order=order))
    shift.work()

    assert before == "conforms"
    (sentence,) = shift.said(order)["missing"]
    assert "x.tif belongs to no specimen and might be of this order" in sentence
    shift.store.close()


WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from scripted.shift import Script, Shift
folder = Path(sys.argv[1])
shift = Shift(folder, Script(10), f"sqlite:///{folder}/martensight.db")
print("ready", flush=True)
shift.work()
print("done", flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there is no kill -9")
def test_a_shift_that_was_killed_says_the_same(tmp_path):
    calm, killed = make(tmp_path / "calm", 10), make(tmp_path / "killed", 10)
    for one in (calm, killed):
        export(one.script.first, one.export, one.truth)
    calm.work()
    words = [sys.executable, "-c", WORKER, str(killed.folder), str(TESTS)]
    for _ in range(2):
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline().strip() == "ready"
            while worker.poll() is None and len(list(killed.store.results.iter_all())) < 12:
                pass
            worker.send_signal(signal.SIGKILL)
    killed.store.work_queue.requeue_own(at=killed.at)
    killed.work()

    told = [_without_folder(everything(one), one.folder) for one in (calm, killed)]
    assert told[0] == told[1]
    for one in (calm, killed):
        one.store.close()


def _without_folder(said, folder):
    return json.loads(json.dumps(said).replace(str(folder), ""))
