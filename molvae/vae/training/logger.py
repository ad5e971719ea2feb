"""The figures of a training as they come: ``metrics.csv``, and TensorBoard's log where it is installed."""

import contextlib
import csv
import io
from pathlib import Path
from typing import Any

from molvae.folders import write_atomic


class MetricsTable:
    """``metrics.csv``: a row an evaluation, rewritten whole each time; and TensorBoard's log where it is installed.

    Args:
        out: the run's folder.
        step: rows after it are of a start that was killed before it saved its state; they are dropped.
    """

    def __init__(self, out: Path, step: int) -> None:
        self.path = out / "metrics.csv"
        self.rows: list[dict[str, Any]] = []
        if self.path.exists():
            with open(self.path, newline="", encoding="utf-8") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
        self.board = None
        with contextlib.suppress(ImportError):
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(out / "tensorboard"), purge_step=step)

    def add(self, row: dict[str, float]) -> None:
        """Append a row."""
        self.rows.append(row)
        text = io.StringIO()
        writer = csv.DictWriter(text, list(row), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomic(self.path, text.getvalue())
        if self.board is not None:
            for name, value in row.items():
                self.board.add_scalar(name, value, int(row["step"]))

    def close(self) -> None:
        """Flush what is open."""
        if self.board is not None:
            self.board.close()
