"""After a scripted shift every order says what has to be said of it, also after a kill."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from shift import (
    FINAL,
    FINE,
    KINDS,
    MIDWAY,
    MIDWAY_FINE,
    NEW,
    OLD,
    Script,
    Shift,
    everything,
    false_conforms,
    wrong,
)


def make(folder):
    return Shift(folder, Script(len(KINDS)), f"sqlite:///{folder}/martensight.db")


@pytest.fixture
def shift(tmp_path):
    shift = make(tmp_path)
    yield shift
    shift.store.close()


def test_every_order_of_a_shift_says_what_has_to_be_said(shift):
    shift.first_half()
    too_early = false_conforms(shift, MIDWAY_FINE)
    midway = wrong(shift, {kind: ("undecided", reason) for kind, reason in MIDWAY.items()})
    shift.second_half()

    assert (too_early, midway) == ([], [])
    assert wrong(shift, FINAL) == []
    assert false_conforms(shift, FINE) == []
    by_specimen = {(view.process_data["order"], view.bundle) for view in shift.store.micrographs()}
    assert ("4006", OLD) in by_specimen  # begun before the promotion, and ended by the same bundle
    assert ("4006", NEW) not in by_specimen


WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from shift import Script, Shift
folder = Path(sys.argv[1])
shift = Shift(folder, Script(10), f"sqlite:///{folder}/martensight.db")
print("ready", flush=True)
shift.work()
print("done", flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there is no kill -9")
def test_a_shift_that_was_killed_says_the_same(tmp_path):
    from shift import export  # noqa: PLC0415 - beside its only use

    calm, killed = make(tmp_path / "calm"), make(tmp_path / "killed")
    for one in (calm, killed):
        export(one.script.first, one.export, one.truth)
    calm.work()
    words = [sys.executable, "-c", WORKER, str(killed.folder), str(Path(__file__).parent)]
    for _ in range(2):
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline().strip() == "ready"
            while worker.poll() is None and len(list(killed.store.micrographs())) < 12:
                pass
            worker.send_signal(signal.SIGKILL)
    killed.store.take_back(at=killed.at)
    killed.work()

    told = [_without_folder(everything(one), one.folder) for one in (calm, killed)]
    assert told[0] == told[1]
    for one in (calm, killed):
        one.store.close()


def _without_folder(said, folder):
    import json  # noqa: PLC0415

    return json.loads(json.dumps(said).replace(str(folder), ""))
