"""How fast is `molvae data prepare`, and how much memory do all its processes take?

    python scripts/bench_prepare.py --rows 250000
    python scripts/bench_prepare.py --input molecules.smi.gz --split scaffold
    python scripts/bench_prepare.py --rows 20000 --score logp --score qed --score sas

Without --input the rows are molecules of the NCI set in RDKit's package, joined end to end.
"""

import argparse
import contextlib
import itertools
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from molvae.data.prepare import PrepareSettings, prepare
from molvae.data.tables import RDKIT_VERSION, rdkit_file, read_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--input", type=Path, help="a file of molecules; by default rows are made")
    parser.add_argument("--rows", type=int, default=250_000, help="rows to make (250,000)")
    parser.add_argument("--split", choices=["random", "scaffold"], default="random")
    parser.add_argument("--score", action="append", default=[], help="a label to compute, such as qed; repeatable")
    parser.add_argument("--workers", type=int, help="processes (one for each core)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = options.input or make_rows(Path(folder) / "rows.smi", options.rows)
        start = time.perf_counter()
        with peak_memory() as peak:
            settings = PrepareSettings(split=options.split, scores=tuple(options.score))
            manifest = prepare(source, Path(folder) / "corpus", settings, workers=options.workers)
        seconds = time.perf_counter() - start
    counts = manifest["counts"]
    figures = {
        "input": source.name,
        "rows": f"{sum(counts.values()):,}",
        **{name: f"{count:,}" for name, count in counts.items()},
        "wall time": f"{seconds:.1f} s",
        "speed": f"{sum(counts.values()) / seconds:,.0f} rows/s",
        "peak memory": f"{peak[0] / 2**20:,.0f} MiB (all processes)" if peak[0] else "(needs /proc)",
        "workers": options.workers or f"one for each of {os.cpu_count()} cores",
        "split": options.split,
        "scores": ", ".join(options.score) or "none",
        "RDKit": RDKIT_VERSION,
    }
    for name, figure in figures.items():
        print(f"{name:12} {figure}")


def make_rows(path: Path, rows: int) -> Path:
    """Different molecules of drug-like size: one NCI molecule bound to the end of another, if it can bind more."""
    texts = [row.text for row in read_rows(rdkit_file("NCI/first_5K.smi")) if len(row.text) < 40]
    texts = [text for text in texts if "." not in text]
    ends = [text for text in texts if text[-1] in "CN" and text[-2:-1] not in ("=", "#")]
    starts = [text for text in texts if text[0] in "CN" and text[1:2] != "#"]
    pairs = itertools.islice(itertools.product(ends, starts), rows)
    path.write_text("".join(f"{end}{start}\n" for end, start in pairs))
    return path


@contextlib.contextmanager
def peak_memory(interval: float = 0.1) -> Iterator[list[int]]:
    """Bytes, at their highest, that this process and its descendants held, sampled; shared pages count once."""
    peak, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(interval):
            peak[0] = max(peak[0], sum(proportional_bytes(pid) for pid in family()))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()


def family() -> list[int]:
    """This process and its descendants, from /proc; empty where there is none."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(") ")[2].split()[1])
    found = [os.getpid()] if parents else []
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def proportional_bytes(pid: int) -> int:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("Pss:")).split()[1])
    return 0


if __name__ == "__main__":
    main()
