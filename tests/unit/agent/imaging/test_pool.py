"""A poison file kills a worker, never the agent; every other file is cropped all the same."""

import os
import signal
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
from labs.pool_children import list_children, list_readers
from pebble import ProcessExpired
from servers.failing_share import FailingShare

from agent.errors import FileCode
from agent.imaging.pool import CropPool, encode_landmarks


def steel(height=480, width=640, seed=0):
    noise = np.random.default_rng(seed).normal(0, 40, (height, width))
    grey = cv2.GaussianBlur(noise, (0, 0), 1.5) * 3 + 128
    return np.clip(grey, 0, 255).astype(np.uint8)


def saved(path, pixels=None):
    path.write_bytes(cv2.imencode(path.suffix, steel() if pixels is None else pixels)[1])
    return path


@pytest.fixture(scope="module")
def pool():
    with CropPool(workers=1, time_limit_s=20, memory_limit_mb=2000) as workers:
        yield workers


def outcomes(pool, *paths):
    return {path.name: outcome for path, outcome in pool.crop_all([(path, None) for path in paths])}


def test_good_and_bad_files_come_back_each_with_its_outcome(pool, tmp_path) -> None:
    good = saved(tmp_path / "Gefüge 1.png")
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(saved(tmp_path / "whole.jpg").read_bytes()[:2000])

    came = outcomes(pool, good, cut, tmp_path / "gone.tif")

    assert came[good.name][0].pixels.shape == (480, 640, 3)
    assert came["cut.jpg"].code is FileCode.TRUNCATED
    assert isinstance(came["gone.tif"], FileNotFoundError)


def test_the_next_file_is_read_while_the_first_one_is_used(pool, tmp_path) -> None:
    files = [(saved(tmp_path / f"{name}.png"), None) for name in "ab"]
    came = pool.crop_all(files)
    assert not pool.has_outcome()

    next(came)

    for _ in range(3000):
        if pool.has_outcome():
            break
        threading.Event().wait(0.01)
    assert pool.has_outcome()
    assert [path.name for path, _ in came] == ["b.png"]
    assert not pool.has_outcome()


def test_a_job_may_come_while_another_is_read_and_is_read_without_being_asked_for(pool, tmp_path):
    waiting = deque([(saved(tmp_path / "a.png"), None)])

    class Jobs:
        def __iter__(self):
            return self

        def __next__(self):
            if not waiting:
                raise StopIteration
            return waiting.popleft()

    came = pool.crop_all(Jobs())
    waiting.append((saved(tmp_path / "b.png"), None))
    assert next(came)[0].name == "a.png"
    waiting.append((saved(tmp_path / "c.png"), None))

    assert sorted(path.name for path, _ in came) == ["b.png", "c.png"]


def test_an_image_too_large_is_refused_by_its_header(pool, tmp_path) -> None:
    bomb = saved(tmp_path / "bomb.png", np.zeros((20_000, 20_000), np.uint8))

    came = outcomes(pool, bomb)

    assert came["bomb.png"].code is FileCode.TOO_LARGE


def test_the_settings_scale_reaches_the_crop(pool, tmp_path) -> None:
    file = saved(tmp_path / "a.png")

    [(_, crops)] = pool.crop_all([(file, 0.25)])

    assert (crops[0].um_per_px, crops[0].um_per_px_source) == (0.25, "settings")


def test_the_landmarks_that_come_along_are_those_of_the_crop(pool, tmp_path) -> None:
    file = saved(tmp_path / "a.png")

    [(_, [plain])] = pool.crop_all([(file, 0.25)])
    with CropPool(workers=1, landmarks=True) as workers:
        [(_, [crop])] = workers.crop_all([(file, 0.25)])

    assert plain.landmarks == b""
    assert crop.landmarks == encode_landmarks(plain)
    assert len(crop.landmarks) > 1000


def test_a_file_that_takes_too_long_is_killed_and_the_next_one_read(tmp_path) -> None:
    slow = saved(tmp_path / "slow.png", np.tile(steel(), (25, 20)))  # 154 megapixels of noise

    with CropPool(workers=1, time_limit_s=3) as pool:
        came = outcomes(pool, slow, saved(tmp_path / "next.png"))

    assert came["slow.png"].code is FileCode.DECODER_KILLED
    assert "3 s of processor time" in came["slow.png"].message
    assert len(came["next.png"]) == 1


def test_a_file_that_waits_for_a_processor_is_read_and_not_set_aside(tmp_path) -> None:
    file = saved(tmp_path / "a.png", np.tile(steel(), (2, 2)))

    with suspended_reading(file, time_limit_s=4) as (reading, worker):
        resumes = threading.Timer(5, worker.resume)  # the processors were in use for so long
        resumes.start()
        outcome = reading.result()

    assert isinstance(outcome, list), outcome


def test_a_file_that_stands_still_is_given_up_after_a_far_longer_time(tmp_path) -> None:
    file = saved(tmp_path / "a.png", np.tile(steel(), (5, 5)))

    with suspended_reading(file, time_limit_s=1) as (reading, _):
        outcome = reading.result()

    assert outcome.code is FileCode.DECODER_KILLED
    assert "10 s" in outcome.message
    assert "share" in outcome.message


def test_a_share_that_hangs_holds_no_worker_for_longer_than_a_file_may_take(tmp_path) -> None:
    with (
        FailingShare(tmp_path / "share", None) as share,
        CropPool(workers=1, time_limit_s=1) as pool,
    ):
        came = outcomes(pool, share.folder / "a.png", share.folder / "b.png")

    assert {name: type(outcome) for name, outcome in came.items()} == {
        "a.png": TimeoutError,  # of the share, so that the file is no poison
        "b.png": TimeoutError,
    }


@pytest.mark.skipif(os.name == "nt", reason="there are no pipes among files there")
def test_a_pipe_holds_nobody_and_the_next_one_is_read(tmp_path) -> None:
    pipe = tmp_path / "endless.tif"
    os.mkfifo(pipe)  # opening it for reading waits for a writer that never comes

    with CropPool(workers=1, time_limit_s=60) as pool:
        came = outcomes(pool, pipe, saved(tmp_path / "next.png"))

    assert "no regular file" in str(came["endless.tif"])
    assert len(came["next.png"]) == 1


def test_a_worker_above_its_memory_limit_ends_with_a_reason(tmp_path) -> None:
    large = saved(tmp_path / "large.png", np.zeros((9000, 9000, 3), np.uint8))

    with CropPool(workers=1, memory_limit_mb=420) as pool:
        came = outcomes(pool, large, saved(tmp_path / "next.png"))

    assert came["large.png"].code is FileCode.DECODER_KILLED
    assert "420 MB" in came["large.png"].message
    assert len(came["next.png"]) == 1


@pytest.mark.skipif(os.name == "nt", reason="signals end no process there")
def test_a_worker_killed_by_somebody_else_costs_no_file(tmp_path) -> None:
    files = [saved(tmp_path / f"{n}.png", steel(seed=n)) for n in range(6)]

    with CropPool(workers=1, time_limit_s=20) as pool:
        came = {}
        for path, outcome in pool.crop_all([(file, None) for file in files]):
            came[path.name] = outcome
            if len(came) == 2:
                for reader in list_readers():
                    reader.send_signal(signal.SIGKILL)

    assert sorted(came) == [f"{n}.png" for n in range(6)]
    assert [came[name] for name in came if not isinstance(came[name], list)] == []


@pytest.mark.skipif(os.name == "nt", reason="signals end no process there")
def test_a_worker_killed_and_a_pool_that_then_stood_still_cost_no_file(tmp_path) -> None:
    file = saved(tmp_path / "a.png")

    with CropPool(workers=1, time_limit_s=20) as pool:
        once_dead_then_still = iter([ProcessExpired("killed", -9), BrokenProcessPool("still")])
        sound = pool._outcome
        pool._outcome = lambda future: next(once_dead_then_still, None) or sound(future)
        came = outcomes(pool, file)

    assert len(came["a.png"]) == 1


@pytest.mark.skipif(os.name == "nt", reason="signals end no process there")
def test_workers_killed_while_they_had_nothing_to_do_are_replaced(tmp_path) -> None:
    first, then = saved(tmp_path / "first.png"), saved(tmp_path / "then.png")

    with CropPool(workers=1, time_limit_s=20, stalled_s=20) as pool:
        assert len(outcomes(pool, first)["first.png"]) == 1
        for _ in range(2):
            for reader in list_readers():
                reader.kill()
                reader.wait(60)
            came = outcomes(pool, then)

            assert len(came["then.png"]) == 1


def test_errors_of_a_share_are_told_from_our_own_time_limit(pool) -> None:
    class Done:
        def exception(self):
            return TimeoutError(110, "Connection timed out")

    assert isinstance(pool._outcome(Done()), TimeoutError)


def test_workers_at_rest_are_no_processes_and_the_next_file_is_read(pool, tmp_path) -> None:
    first, second = saved(tmp_path / "1.png"), saved(tmp_path / "2.png")
    outcomes(pool, first)  # and the process that tracks resources has begun
    others = list_children(recursive=True)

    with CropPool(workers=1, time_limit_s=20) as own:
        before = outcomes(own, first)
        own.release_memory()
        working = list_children(recursive=True) - others
        own.rest()
        resting = list_children(recursive=True) - others
        after = outcomes(own, second)

    assert len(before["1.png"]) == len(after["2.png"]) == 1
    assert (len(working), resting) == (1, set())


@contextmanager
def suspended_reading(file, *, time_limit_s):
    """Yield the outcome to come of a file, and its worker, which was suspended as it reads."""
    others = list_children(recursive=True)
    with CropPool(workers=1, time_limit_s=time_limit_s) as pool, ThreadPoolExecutor(1) as thread:
        pool.warm()
        (worker,) = [reader for reader in list_readers() if reader.pid not in others]
        before_s = sum(worker.cpu_times()[:2])
        reading = thread.submit(lambda: next(pool.crop_all([(file, None)]))[1])
        while sum(worker.cpu_times()[:2]) < before_s + 0.1:
            threading.Event().wait(0.005)
        worker.suspend()
        yield reading, worker
