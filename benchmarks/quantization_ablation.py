"""What each switch of `attokit quantize` is worth: accuracy of the INT8 file against the float network.

    python benchmarks/quantization_ablation.py RUN [RUN ...] [--data FOLDER] [--jobs 4] [--seeds 0 1]
        [--only 'qat*'] [--epochs 2] [--results results.jsonl]

Each run of `attokit train` is copied, quantized with the switches of a row, exported, and its file evaluated in
default LiteRT over the whole test split. Rows of QAT are repeated for each seed and averaged. Every result is
appended to a file as soon as it is there, and what stands in it is not measured again: a row of QAT counts for its
epochs, every row for its data. Rows that fail are named at the end, after the table of the others.
"""

import argparse
import concurrent.futures
import fnmatch
import json
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

_QAT = ("--method", "qat")
_EPOCHS = "2"
_MADE = (
    "checkpoints",
    "events*",
    "qat",
    "quantized.safetensors",
    "*.tflite",
)  # by earlier work on a run
_LEARNED = (*_QAT, "--learn-scales")
VARIANTS = {
    "ptq": (),
    "ptq, moving average": ("--calibration", "moving_average"),
    "ptq, percentile": ("--calibration", "percentile"),
    "ptq, mse ranges": ("--calibration", "mse"),
    "ptq, mse kernels": ("--kernel-calibration", "mse"),
    "ptq, equalized": ("--equalize",),
    "ptq, biases corrected": ("--correct-bias",),
    "ptq, batch norm re-estimated": ("--reestimate-bn", "100"),
    "ptq, equalized, mse, biases corrected": (
        *("--equalize", "--correct-bias", "--calibration", "mse", "--kernel-calibration", "mse"),
    ),
    "qat": _QAT,
    "qat, learned scales": _LEARNED,
    "qat, learned scales, frozen after half": (*_LEARNED, "--freeze-scales-after", "0.5"),
    "qat, dampened": (*_QAT, "--dampening", "0.1"),
    "qat, oscillations frozen": (*_QAT, "--freeze-flips", "0.1", "0.02"),
    "qat, distilled": (*_QAT, "--distill"),
    "qat, equalized": (*_QAT, "--equalize"),
    "qat, biases corrected": (*_QAT, "--correct-bias"),
    "qat, learned scales, distilled": (*_LEARNED, "--distill"),
}


def attokit(*arguments):
    """Returns what a command prints."""
    command = [sys.executable, "-c", "import sys; from attokit.cli import main; sys.exit(main())"]
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"attokit {' '.join(map(str, arguments))}: {done.stderr or done.stdout}")
    return done.stdout


def measure(job, options):
    """Returns the accuracies of one row for one network and seed, in percent."""
    run, name, seed = job
    data = ("--data", options.data) if options.data else ()
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / run.name
        shutil.copytree(run, copy, ignore=shutil.ignore_patterns(*_MADE))
        config = json.loads((copy / "config.json").read_text())
        config["config"]["seed"] = seed  # of QAT, which takes it from the float run
        (copy / "config.json").write_text(json.dumps(config))
        length = ("--epochs", options.epochs) if "qat" in VARIANTS[name] else ()
        said = attokit("quantize", copy, *VARIANTS[name], *length, *data)
        graph = float(re.findall(r"INT8 graph on test ([0-9.]+)", said)[-1])
        attokit("export", copy)
        said = attokit("evaluate", copy / "model.tflite", "--data", options.data or config["data"])
        file = float(re.findall(r"[^_]accuracy[^0-9]+([0-9.]+)", said)[0])
    return {
        "network": run.name, "row": name, "seed": seed,
        "epochs": epochs_of(name, options), "data": options.data,
        "float": 100 * float_accuracy(run), "graph": 100 * graph, "file": 100 * file,
    }  # fmt: skip


def epochs_of(name, options):
    """Returns how long a row trains."""
    return float(options.epochs) if "qat" in VARIANTS[name] else None


def asked_for(result, options):
    """Returns whether a result is of the data and the length that are asked for; older ones say neither."""
    row = result["row"]
    length = result.get("epochs", float(_EPOCHS) if "qat" in VARIANTS.get(row, ()) else None)
    return row in VARIANTS and (length, result.get("data")) == (
        epochs_of(row, options),
        options.data,
    )


def float_accuracy(run):
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [row["accuracy"] for row in rows if row["split"] == "test"][-1]


def jobs(options, done):
    """Yields what is to be measured, first what needs longest; calibration is the same for every seed."""
    for seed in options.seeds:
        for name in sorted(VARIANTS, key=lambda name: "qat" not in VARIANTS[name]):
            wanted = fnmatch.fnmatch(name, options.only) and (
                "qat" in VARIANTS[name] or seed == options.seeds[0]
            )
            for run in options.runs if wanted else ():
                if (run.name, name, seed) not in done:
                    yield run, name, seed


def table(results, runs):
    """Returns a row per variant: the file's accuracy and its distance to float, averaged over seeds."""
    lines = ["| | " + " | ".join(f"`{run.name}`" for run in runs) + " |"]
    lines.append("| --- |" + " --- |" * len(runs))
    reference = [f"{100 * float_accuracy(run):.2f}" for run in runs]
    lines.append("| float | " + " | ".join(reference) + " |")
    for name in VARIANTS:
        cells = []
        for run in runs:
            own = [r for r in results if (r["network"], r["row"]) == (run.name, name)]
            file = statistics.mean(r["file"] for r in own) if own else None
            cells.append("" if file is None else f"{file:.2f} ({file - own[0]['float']:+.2f})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=pathlib.Path, nargs="+")
    parser.add_argument("--data")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", default="*", help="pattern of names of rows")
    parser.add_argument("--epochs", default=_EPOCHS, help="of QAT")
    parser.add_argument("--results", type=pathlib.Path, default=pathlib.Path("results.jsonl"))
    options = parser.parse_args()
    names = [run.name for run in options.runs]
    if len({*names}) < len(names):
        parser.error(
            f"runs are told apart by the names of their folders, which are {names}: rename one"
        )
    if options.data and pathlib.Path(options.data).exists():
        options.data = str(pathlib.Path(options.data).absolute())  # the same from any folder
    text = options.results.read_text() if options.results.exists() else ""
    results = [json.loads(line) for line in text.splitlines()]
    results = [result for result in results if asked_for(result, options)]
    done = {(r["network"], r["row"], r["seed"]) for r in results}
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        running = {pool.submit(measure, job, options): job for job in jobs(options, done)}
        failed = []
        for future in concurrent.futures.as_completed(running):
            if (err := future.exception()) is not None:
                run, name, seed = running[future]
                failed.append(f"failed: {run.name}, {name}, seed {seed}: {err}")
                print(failed[-1], file=sys.stderr, flush=True)
                continue
            results.append(future.result())
            with options.results.open("a") as file:
                file.write(json.dumps(results[-1]) + "\n")
            print(results[-1], flush=True)
    print(table(results, options.runs))
    if failed:
        print(*failed, sep="\n", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
