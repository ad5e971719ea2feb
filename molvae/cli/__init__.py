"""The command line: parse, call one function, print. No logic."""

import sys

from molvae.cli import campaigns, corpora, models  # noqa: F401 (each registers its commands, in this order)
from molvae.cli.shell import app, report

INTERRUPTED_EARLY = 130
"""What typer leaves with where Ctrl-C came before a command began."""


def main() -> None:
    """Run the command line; leaves with 0 (done), 1 (failed) or 2 (bad usage)."""
    try:
        app()
    except (KeyboardInterrupt, SystemExit) as end:
        if isinstance(end, SystemExit) and end.code != INTERRUPTED_EARLY:
            raise
        sys.exit(report(KeyboardInterrupt()))
