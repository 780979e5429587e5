"""What networks with RNNPool need of TFLite Micro's arena, beside MobileNets at the same inputs.

    python benchmarks/rnnpool_arena.py

Prints a table as docs/rnnpool.md has it: KiB of the arena = activations + records.
Weights are random, which does not change memory.  Each network is written as one file, as one file
after `quant.fit_memory` (its activations as TFLite Micro's own planner places them), and, where it has an RNNPool, as
one file with the pooling in groups of rows and as the two files of `export.to_streamed_tflite`, whose activations lie
where the files say; "both" is what one arena holds that both share: the records of both, and the larger of the
activations.
"""

import dataclasses
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import jax

from attokit import export, quant, zoo
from attokit.arena import Arena, arena
from attokit.zoo.registry import config

LEAN: dict[str, Any] = {"padding": "same", "freeze_gate_scalars": True}
SIZES = ((96, 96, 3), (160, 160, 3), (224, 224, 3))
ROWS: tuple[tuple[str, tuple[int, int, int], dict[str, Any]], ...] = (
    *(("rnnpool_vww", size, {}) for size in SIZES),
    ("rnnpool_vww", SIZES[-1], LEAN),
    *(
        (f"mobilenet_{name}", size, {"num_classes": 2})
        for size in SIZES
        for name in ("v1_025", "v2_035")
    ),
    ("rnnpool_face_m4", (240, 320, 1), {}),
    ("rnnpool_face_m4", (240, 320, 1), LEAN | {"input_mean": None, "input_std": None}),
    *((f"mobilenet_{name}", (240, 320, 1), {"num_classes": 2}) for name in ("v1_025", "v2_035")),
)
GROUPS = (2, 4)
FORMS = (
    "one file",
    "`fit_memory`",
    *(f"{n} groups of rows" for n in GROUPS),
    "strip",
    "rest",
    "both",
)


def main() -> None:
    """Prints one line per network."""
    print(f"| network | input | {' | '.join(FORMS)} |")
    print("| --- " * (2 + len(FORMS)) + "|")
    for name, size, overrides in ROWS:
        lean = " lean" if "freeze_gate_scalars" in overrides else ""
        found = [_arena(file) for file in _files(name, {"image_size": size, **overrides})]
        if len(found) > 2:
            found.append(_shared(*found[-2:]))
        cells = list(map(_cell, found))
        cells += ["-"] * (len(FORMS) - len(cells))
        print(f"| `{name}`{lean} | {'x'.join(map(str, size))} | {' | '.join(cells)} |", flush=True)


def _shared(strip: Arena, rest: Arena) -> Arena:
    """Returns what both need of one arena: TFLite Micro stacks the records, and activations lie in the same bytes."""
    return Arena(
        activations=max(strip.activations, rest.activations), records=strip.records + rest.records
    )


def _cell(found: Arena) -> str:
    activations, records = (f"{n / 1024:.0f}" for n in (found.activations, found.records))
    return f"**{found.total / 1024:.0f}** = {activations} + {records}"


def _files(name: str, overrides: dict[str, Any]) -> Iterator[bytes]:
    """Yields a network in the order of FORMS; one without RNNPool has the first two only."""
    model = zoo.create(name, **overrides)
    images = jax.random.uniform(jax.random.key(1), (1, *overrides["image_size"]))
    variables = jax.jit(model.init)(jax.random.key(0), images)
    graph, weights = quant.trace(model.apply, variables, images)
    qparams = quant.calibrate(graph, weights, [images])

    def write(form: quant.Graph) -> bytes:
        return export.to_tflite(form, weights, qparams, target="micro", names=False)

    yield write(graph)
    yield write(quant.fit_memory(graph))
    if not any(
        field.name == "pooling" or field.name == "hidden"
        for field in dataclasses.fields(config(name))
    ):
        return
    for parts in GROUPS:
        split = quant.split_rows(graph, graph.inputs[0], quant.cut_strips(graph).map_name, parts)
        yield write(split)
    streamed = export.to_streamed_tflite(graph, weights, qparams, names=False)
    yield streamed.strip
    yield streamed.rest


def _arena(file: bytes) -> Arena:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "file.tflite"
        path.write_bytes(file)
        found = arena(path)
    if found is None:
        raise RuntimeError("TFLite Micro's interpreter is needed: pip install 'attokit[micro]'")
    return found


if __name__ == "__main__":
    main()
