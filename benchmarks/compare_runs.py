"""Compares trained and exported runs of several networks: quality, cost, size, memory and time.

Run: `python benchmarks/compare_runs.py RUN...`, each a run folder after `attokit quantize` and `attokit
export`.  Prints one row of a Markdown table for each.  Times are those of the INT8 files on one thread of
default LiteRT, interleaved in one process: the median, and the median of paired ratios to the first run.
"""

import argparse
import json
import pathlib
import statistics
import time

import numpy as np

from attokit import zoo
from attokit.arena import arena_bytes
from attokit.export import inspect
from attokit.export.interpreters import session
from attokit.runs import open_run

_COLUMNS = (
    "| network | parameters | MACs | INT8 file, bytes | arena, bytes | ms | ratio | metrics |"
)


def _metrics(path: pathlib.Path) -> str:
    """Returns the last evaluation in a run's log, scalars only."""
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if line.get("split") == "test"][-1]
    names = ("accuracy", "mean_iou", "ap50", "loss")
    return ", ".join(f"{name} {last[name]:.4f}" for name in names if name in last)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="+", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=50)
    args = parser.parse_args()

    runs = [open_run(path) for path in args.runs]
    contents = [run.tflite_path.read_bytes() for run in runs]
    sessions = [session(data, inspect(data), "xnnpack", threads=1) for data in contents]
    rng = np.random.default_rng(0)
    inputs = [[rng.integers(-128, 128, (1, *run.image_shape), np.int8)] for run in runs]
    seconds: list[list[float]] = [[] for _ in runs]
    for turn in range(args.rounds + 5):
        for one, images, times in zip(sessions, inputs, seconds, strict=True):
            start = time.perf_counter()
            one.invoke(images)
            if turn >= 5:  # warm
                times.append(time.perf_counter() - start)
    print(_COLUMNS)
    print("| --- " * _COLUMNS.count(" | ") + "| --- |")
    for run, data, times in zip(runs, contents, seconds, strict=True):
        info = zoo.info(run.model, **run.overrides)
        arena = arena_bytes(run.tflite_path)
        ratios = [t / first for t, first in zip(times, seconds[0], strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(
            f"| {run.model} | {info.parameters:,} | {info.macs:,} | {len(data):,} "
            f"| {'does not run' if arena is None else f'{arena:,}'} "
            f"| {1e3 * statistics.median(times):.2f} | {spread} | {_metrics(run.path)} |"
        )


if __name__ == "__main__":
    main()
