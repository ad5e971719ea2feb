"""The command line: parse, call one function, print. No logic.

Typer and the commands wait until `app` is asked for: they take a moment to import, and Ctrl-C has to be heard before.
"""

import atexit
import contextlib
import os
import signal
from typing import Any, NoReturn


def main() -> None:
    """Run the command line; leaves with 0 (done), 1 (failed, interrupted) or 2 (bad usage)."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
        atexit.register(signal.signal, number, signal.SIG_IGN)  # the last to run: what Python does then, it does deaf
    __getattr__("app")()


def interrupted(*_: object) -> NoReturn:
    """End this process at once, with one line on standard error: what Ctrl-C and a polite kill do to any command.

    A KeyboardInterrupt is not raised, as some places (imports, finalisers, callbacks) swallow it or show its
    traceback. Nothing needs to be put away: a run goes on after any kill, and workers end with this process.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the line comes once
    clean = "\r\x1b[K\x1b[?25h" if os.isatty(2) else ""  # the progress bar away, the cursor back
    with contextlib.suppress(OSError):
        os.write(2, f"{clean}interrupted; nothing is lost, the same command goes on where it stopped\n".encode())
    os._exit(1)


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"{__name__} has no {name!r}")
    from molvae.cli import campaign, data, latent, model, priors, recipe  # noqa: F401 (each registers its commands)
    from molvae.cli.shell import app

    return app
