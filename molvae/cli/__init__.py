"""The command line: parse, call one function, print. No logic."""

import os
import sys

from molvae.cli import campaigns, corpora, models  # noqa: F401 (each registers its commands, in this order)
from molvae.cli.shell import app, report


def main() -> None:
    """Run the command line; leaves with 0 (done), 1 (failed) or 2 (bad usage)."""
    try:
        app()
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (Exception, KeyboardInterrupt) as error:
        sys.exit(report(error))
