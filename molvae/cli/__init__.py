"""The command line: parse, call one function, print. No logic."""

from molvae.cli import campaigns, corpora, models  # noqa: F401 (each registers its commands, in this order)
from molvae.cli.shell import app


def main() -> None:
    """Run the command line; leaves with 0 (done), 1 (failed) or 2 (bad usage)."""
    app()
