"""Works for a child process: it imports them, and so they stand in a module that it finds."""

import os
import threading

import psutil

from agent.errors import UsageError
from agent.retrain import Gate, Outcome
from model import ComparisonOutcome, Progress

OUTCOME = Outcome(
    Gate.NOT_RECOMMENDED, ComparisonOutcome.WORSE, "Worse.", "", "b", {"new_labels": 1}
)


def says_who_it_is(_settings):
    yield os.getpid(), psutil.Process().nice()


def says_no(_settings):
    yield Progress("subtype", 1, 9)
    raise UsageError("there is nothing to learn from.")


def crashes(_settings):
    yield Progress("subtype", 1, 9)
    raise ZeroDivisionError("a bug")


def dies(_settings):
    yield Progress("subtype", 1, 9)
    os.kill(os.getpid(), 9)


def never_ends(_settings):
    yield Progress("subtype", 3, 12, "epoch 3")
    threading.Event().wait()


def quickly(_settings):
    yield Progress("subtype", 1, 1)
    yield OUTCOME
