"""Seconds from the command line to a trained step, with nothing compiled before and with a filled cache.

    python benchmarks/start_up.py [--model attonet_d] [--rounds 3]

Each start is a whole process of `attokit train` that takes two steps, evaluates once and saves. The first one
fills a compilation cache of its own, the others find it; a start without the option stands beside.
"""

import argparse
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time


def start(options, folder, cache):
    """Returns the seconds of one process."""
    run_dir = folder / "run"
    shutil.rmtree(run_dir, ignore_errors=True)
    command = [
        *(
            sys.executable,
            "-c",
            "import sys; from attokit.cli import main; sys.exit(main())",
            "train",
        ),
        *("--model", options.model, "--overrides", "small_images=true"),
        *("--data", "fashion_mnist_subset", "--steps", "2", "--batch-size", "32"),
        *("--run-dir", str(run_dir)),
    ]
    if cache is not None:
        command += ["--compilation-cache", str(cache)]
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="attonet_d")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        cache = folder / "cache"
        start(options, folder, None)  # the files of the installation enter the system's cache
        without, cold, warm = [], [], []
        for round_ in range(options.rounds):
            shutil.rmtree(cache, ignore_errors=True)
            without.append(start(options, folder, None))
            cold.append(start(options, folder, cache))
            warm.append(start(options, folder, cache))
            print(f"round {round_}: {without[-1]:.1f} {cold[-1]:.1f} {warm[-1]:.1f} s")
    for label, seconds in (
        ("without a cache", without),
        ("filling the cache", cold),
        ("with the filled cache", warm),
    ):
        print(f"{label:24} {statistics.median(seconds):6.1f} s")


if __name__ == "__main__":
    main()
