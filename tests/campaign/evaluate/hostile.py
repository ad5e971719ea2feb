"""Objectives that do what they should not, by molecule. `MOODS`: what it does → the reason, or the value, or None.

None: it takes the process with it, or never comes back, so it is nothing for the process of the campaign.
"""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


class Own(BaseException):
    pass


class TwoArguments(Exception):
    """It pickles, and cannot be read again."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


class NoText(Exception):
    def __str__(self):
        raise ValueError("none")


class ExitingText(Exception):
    def __str__(self):
        sys.exit(0)


class NoRepr:
    def __repr__(self):
        raise ValueError("none")


class ExitingNumber:
    def __float__(self):
        sys.exit(0)


def throw(error):
    raise error


def unpicklable():
    error = ValueError("a function in it")
    error.handler = lambda: None
    raise error


def deep():
    return deep()


def fork():
    """The copy ends as a program does, and must not go on as a second campaign or worker."""
    child = os.fork()
    if child == 0:
        (HERE / "forked").touch()
        sys.exit(0)
    return 1.0 + os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def leaving(end):
    """A program begun here should not outlive us."""
    with open(HERE / "programs", "a") as file:
        file.write(f"{subprocess.Popen(['sleep', '600']).pid}\n")
    return end()


def other(value, text=None):
    returned = f"it returned {text or repr(value)}, which is "
    return lambda: value, f"ObjectiveError: score has no finite value for {{}}: {returned}"


ONE, FINITE = "not one number", "not finite"
MOODS = {
    "exit": (lambda: sys.exit(), "SystemExit"),
    "exit None": (lambda: sys.exit(None), "SystemExit"),
    "exit 0": (lambda: sys.exit(0), "SystemExit: 0"),
    "exit 3": (lambda: sys.exit(3), "SystemExit: 3"),
    "exit text": (lambda: sys.exit("no licence"), "SystemExit: no licence"),
    "interrupt": (lambda: throw(KeyboardInterrupt()), "KeyboardInterrupt"),
    "generator exit": (lambda: throw(GeneratorExit()), "GeneratorExit"),
    "stop iteration": (lambda: next(iter(())), "StopIteration"),
    "cancelled": (lambda: throw(asyncio.CancelledError("so")), "CancelledError: so"),
    "own": (lambda: throw(Own("mine")), "Own: mine"),
    "group": (lambda: throw(BaseExceptionGroup("two", [Own()])), "BaseExceptionGroup: two (1 sub-exception)"),
    "deep": (deep, "RecursionError: maximum recursion depth exceeded"),
    "memory": (lambda: throw(MemoryError()), "MemoryError"),
    "surrogate": (lambda: throw(ValueError("a\ud800b\udfffc")), r"ValueError: a\ud800b\udfffc"),
    "no text": (lambda: throw(NoText()), "NoText (its message cannot be read: ValueError)"),
    "exiting text": (lambda: throw(ExitingText()), "ExitingText (its message cannot be read: SystemExit)"),
    "no pickle": (unpicklable, "ValueError: a function in it"),
    "no unpickle": (lambda: throw(TwoArguments(1, 2)), "TwoArguments: 1 and 2"),
    "long": (lambda: throw(ValueError("no" * 10**6)), f"ValueError: {'no' * 4994}… (2000012 characters)"),
    "fork": (fork, 1.0),
    "NumPy float": (lambda: np.float32(1.5), 1.5),
    "NumPy integer": (lambda: np.int64(2), 2.0),
    "long double": (lambda: np.longdouble(1.5), 1.5),
    "array of one": (lambda: np.array([1.5]), 1.5),
    "matrix of one": (lambda: np.array([[1.5]]), 1.5),
    "array of none": (lambda: np.array(1.5), 1.5),
    "list of one": (lambda: [1.5], 1.5),
    "array in a list": (lambda: [np.array([1.5])], 1.5),
    "decimal": (lambda: Decimal("1.5"), 1.5),
    "fraction": (lambda: Fraction(3, 2), 1.5),
    "complex": (*other(1j), ONE),
    "NumPy complex": (*other(np.complex128(1)), ONE),
    "true": (*other(True), "a truth value"),
    "NumPy true": (*other(np.bool_(True)), "a truth value"),
    "text": (*other("1.5"), ONE),
    "NumPy text": (*other(np.array(["1.5"])), ONE),
    "bytes": (*other(b"1"), ONE),
    "None": (*other(None), ONE),
    "nan": (*other(float("nan")), FINITE),
    "infinity": (*other(float("-inf")), FINITE),
    "NumPy nan": (*other(np.float64("nan")), FINITE),
    "decimal nan": (*other(Decimal("nan")), FINITE),
    "huge": (*other(10**400, f"1{'0' * 59}… (401 characters)"), "not one finite number (OverflowError"),
    "two": (*other(np.array([1.0, 2.0])), ONE),
    "empty": (*other([]), ONE),
    "masked": (*other(np.ma.masked), ONE),
    "no repr": (*other(NoRepr(), "a NoRepr"), ONE),
    "exiting number": (lambda: ExitingNumber(), "SystemExit: 0"),
    "_exit 0": (lambda: leaving(lambda: os._exit(0)), None),
    "_exit 3": (lambda: leaving(lambda: os._exit(3)), None),
    "killed": (lambda: leaving(lambda: os.kill(os.getpid(), signal.SIGKILL)), None),
    "crash": (lambda: leaving(lambda: ctypes.string_at(0)), None),
    "hang": (lambda: leaving(lambda: time.sleep(600)), None),
    "hang in C": (lambda: leaving(lambda: ctypes.PyDLL(None).sleep(600)), None),
}


def score(smiles):
    table = dict(line.split("\t") for line in (HERE / "moods").read_text().splitlines())
    return MOODS[table[smiles]][0]() if smiles in table else float(len(smiles))
