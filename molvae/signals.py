"""Signals: what waits for the end of a step, and what their handlers raise."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

RAISING: Final = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM") if hasattr(signal, name)]
"""Signals that programs answer by raising: Ctrl-C, a polite kill, a closed terminal, a clock."""
_noted: list[BaseException] | None = None
"""Of the block of `signal_errors` that is under way."""


@contextmanager
def defer_signals() -> Iterator[threading.Event]:
    """Ctrl-C and a polite kill (SIGTERM) wait for the end of the block; the event tells that one came.

    A long block looks at the event and ends early. A second signal does at once what the first would have done without
    the block. Only the main thread hears of signals, so in others nothing is held.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in handlers.items() if handler is not None}  # None: not Python's own
    first = signal.SIGINT

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def hold(number: int, _: FrameType | None) -> None:
        nonlocal first
        restore()
        first = signal.Signals(number)
        came.set()

    for number in before:
        signal.signal(number, hold)
    try:
        yield came
    finally:
        restore()
    if came.is_set():
        signal.raise_signal(first)


@contextmanager
def signal_errors() -> Iterator[list[BaseException]]:
    """What handlers of signals raise in the block, noted, so as to tell it from what the block itself raises.

    A block in a block has the list of the outer one, and costs next to nothing.
    """
    global _noted
    raised: list[BaseException] = []
    if threading.current_thread() is not threading.main_thread():  # only there signals are handled
        yield raised
        return
    if _noted is not None:
        yield _noted
        return

    def noting(handler: Callable[[int, FrameType | None], Any]) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, frame: FrameType | None) -> None:
            try:
                handler(number, frame)
            except BaseException as error:
                raised.append(error)
                raise

        return handle

    before = {number: handler for number in RAISING if callable(handler := signal.getsignal(number))}
    ours = {number: noting(handler) for number, handler in before.items()}
    try:
        for number, handler in ours.items():
            signal.signal(number, handler)
        _noted = raised
        yield raised
    finally:
        _noted = None
        for number, handler in ours.items():
            if signal.getsignal(number) is handler:  # the code may have set one of its own
                signal.signal(number, before[number])
