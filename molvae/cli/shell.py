"""What all commands share: how they are registered, how they speak, how they fail."""

import functools
import inspect
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from molvae.cli import interrupted
from molvae.errors import MolvaeError, UsageError

app = typer.Typer(
    name="molvae",
    help="Design molecules by Bayesian optimisation in the latent space of a SMILES VAE.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


def _tell_version(asked: bool) -> None:
    if asked:
        from molvae import __version__

        print(f"molvae {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Print the version and leave.")
    ] = False,
) -> None:
    """Design molecules by Bayesian optimisation in the latent space of a SMILES VAE."""


# no emoji: ":o:" is part of a SMILES; no wrapping: a message may be searched for, a path in it copied
out, err = Console(highlight=False, emoji=False), Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
log = logging.getLogger("molvae")

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more; show the traceback of an error.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, no remarks.")]


def command(name: str, example: str, group: typer.Typer = app) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command with -v and -q, and an example at the end of its help."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(*, verbose: bool, quiet: bool, **arguments: Any) -> None:
            _speak(verbose, quiet)
            try:
                function(**arguments)
            except KeyboardInterrupt:  # a training's, once its state is saved
                interrupted()
            except Exception as error:
                sys.exit(report(error))

        own = list(inspect.signature(function).parameters.values())
        for key, annotation in (("verbose", Verbose), ("quiet", Quiet)):
            own.append(inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation))
        run.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
        run.__annotations__ = {**function.__annotations__, "verbose": Verbose, "quiet": Quiet}
        group.command(name, epilog=f"Example: [bold]{example}[/bold]")(run)
        return function

    return register


class _Lines(logging.Handler):
    """Log messages as lines on standard error, above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """One message."""
        err.print(f"{record.levelname.lower()}: {record.getMessage()}", markup=False)


def _speak(verbose: bool, quiet: bool) -> None:
    log.setLevel(logging.DEBUG if verbose else logging.ERROR if quiet else logging.WARNING)
    log.handlers = [_Lines()]
    # the package sets its own level when it is imported, so this module of it, which tells of precision, is silenced
    logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.ERROR)


def report(error: Exception) -> int:
    """Say what went wrong, with the traceback only if -v asked for it; returns the exit code."""
    if log.isEnabledFor(logging.DEBUG):
        err.print_exception()
    if isinstance(error, MolvaeError):
        message, code = str(error), error.exit_code
    elif isinstance(error, OSError):
        message, code = f"{error.filename or 'the system'}: {error.strerror or error}", 1
    else:
        message, code = f"this is a bug in molvae: {type(error).__name__}: {error} (-v shows where)", 1
    err.print(f"error: {message}", style="red", markup=False)
    return code


@contextmanager
def progress_bar(what: str, unit: str = "") -> Iterator[Callable[..., None]]:
    """A bar on standard error; gives ``update(done, total, **figures)``. Silent with -q or without a terminal."""
    columns = (
        BarColumn(bar_width=12),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} " + unit),
        TimeRemainingColumn(compact=True),
        TextColumn("left  {task.fields[figures]}"),
    )
    shown = err.is_terminal and log.getEffectiveLevel() < logging.ERROR
    with Progress(*columns, console=err, disable=not shown) as bar:
        task = bar.add_task(what, total=1, figures=what)

        def update(done: float, total: float | None, **figures: str) -> None:
            text = "  ".join(f"{key.replace('_', ' ')} {value}" for key, value in figures.items())
            bar.update(task, completed=done, total=total or max(1, done), figures=text)

        yield update


def print_table(rows: Sequence[Mapping[str, Any]], title: str = "") -> None:
    """Rows of equal keys as a table on standard output."""
    if not rows:
        return
    table = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for key, value in rows[0].items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        table.add_column(
            key, justify="right" if number else "left", overflow="fold", no_wrap=number, min_width=len(key)
        )
    for row in rows:
        table.add_row(*(_shown(value) for value in row.values()))
    if not out.is_terminal:  # a program reads it: nothing is folded
        out.width = 10_000
    out.print(table, markup=False)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    return str(value)


def remark(text: str) -> None:
    """A line for people, on standard error; silent with -q."""
    if log.getEffectiveLevel() < logging.ERROR:
        err.print(text, markup=False)


def best_device(device: str) -> str:
    """``auto`` becomes cuda where there is a GPU."""
    import torch

    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device is auto, cpu or cuda; it is {device!r}")
    gpu = torch.cuda.is_available()
    if device == "cuda" and not gpu:
        raise UsageError("there is no CUDA device here; take --device cpu, or auto")
    return "cuda" if gpu and device != "cpu" else "cpu"
