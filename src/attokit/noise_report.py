"""What quantization does to each layer and image, as a table, a JSON file or Markdown."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from attokit.quant import Graph, Kernels, Noise, QParams, signal_to_noise
from attokit.quant.graph import Weights
from attokit.quant.groups import int16_around
from attokit.quantization import images_at_once

_WORST = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseReport:
    """The noise of a graph over some images.

    Attributes:
      noise: What `quant.signal_to_noise` found.
      count: How many images it saw.
      labels: Of the classes of the images, by their position; empty where images have none or they are random.
      kernels: Whose rounding.
      int16: Names of ops to give 16 bits, so that the layers with half of the noise have them.
      float32: Names of those layers that have no kernel for int16.
    """

    noise: Noise
    count: int
    labels: Sequence[str]
    kernels: Kernels
    int16: tuple[str, ...]
    float32: tuple[str, ...]

    @property
    def advice(self) -> str:
        """Which layers to keep at higher precision, in a sentence or two."""
        main = self.noise.main_layers
        if not main:
            return "no layer adds noise of its own"
        names = ", ".join(layer.tensor for layer in main[:5]) + (", …" if main[5:] else "")
        among = f"{len(main)} of {self._active} layers add half of the noise ({names})"
        if not self.noise.stands_out:
            return f"{among}: it is spread over the network, and no layer stands out"
        return (
            f"{among}. With more bits there: {' '.join(('attokit quantize RUN', *self._options))}; "
            "attokit sensitivity RUN measures what that gains"
        )

    @property
    def _active(self) -> int:
        return sum(layer.share > 0 for layer in self.noise.layers)

    @property
    def _options(self) -> list[str]:
        chosen = {"--int16": self.int16, "--float32": self.float32}
        return [" ".join([option, *map(repr, names)]) for option, names in chosen.items() if names]

    def worst(self) -> list[tuple[int, str, float]]:
        """Returns index, label and error of the images with the largest error."""
        return [
            (example.index, self.labels[example.index] if self.labels else "", example.error)
            for example in self.noise.examples[:_WORST]
        ]

    def print(self, console: Console) -> None:
        """Shows it as tables."""
        for title, header, rows in self._tables():
            table = Table(*header, title=title)
            for column in table.columns[1 if header[0] == "image" else 2 :]:
                column.justify = "right"
            for row in rows:
                table.add_row(*row)
            console.print(table, markup=False, highlight=False)
        console.print(self.advice, markup=False, highlight=False, soft_wrap=True)

    def _tables(self) -> list[tuple[str, tuple[str, ...], Sequence[tuple[str, ...]]]]:
        """Returns titles, headers and rows of the tables."""
        outputs = ", ".join(f"{n} {decibel_text(v)} dB" for n, v in self.noise.outputs.items())
        layers = [
            (x.tensor, x.kind, decibel_text(x.accumulated), decibel_text(x.own), f"{x.share:.1%}")
            for x in self.noise.layers
        ]
        images = [(str(i), label, f"{error:.2%}") for i, label, error in self.worst()]
        return [
            (
                f"signal to quantization noise over {self.count} images: {outputs}",
                ("layer", "op", "SQNR [dB]", "its own [dB]", "share of noise"),
                layers,
            ),
            ("images with the largest error", ("image", "label", "error of the outputs"), images),
        ]

    def markdown(self) -> str:
        """Returns it as Markdown."""
        parts = []
        for title, header, rows in self._tables():
            lines = [header, ("---",) * len(header), *rows]
            body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
            parts.append(f"## {title[0].upper()}{title[1:]}\n\n{body}\n")
        return "\n".join([*parts, self.advice, ""])

    def json(self) -> str:
        """Returns it as JSON; numbers that are infinite are null."""
        noise = self.noise
        content: dict[str, Any] = {
            "kernels": self.kernels,
            "images": self.count,
            "outputs_db": {name: _finite(value) for name, value in noise.outputs.items()},
            "layers": [
                {
                    "tensor": layer.tensor,
                    "op": layer.kind,
                    "accumulated_db": _finite(layer.accumulated),
                    "own_db": _finite(layer.own),
                    "share": layer.share,
                }
                for layer in noise.layers
            ],
            "worst_images": [
                {"index": index, "label": label or None, "relative_error": error}
                for index, label, error in self.worst()
            ],
            "advice": {
                "int16": list(self.int16), "float32": list(self.float32), "text": self.advice,
            },
        }  # fmt: skip
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


WRITERS: Mapping[str, Callable[[NoiseReport], str]] = MappingProxyType(
    {".json": NoiseReport.json, ".md": NoiseReport.markdown}
)


def check_suffix(path: pathlib.Path) -> None:
    """Raises ValueError if a report has no such form."""
    if path.suffix not in WRITERS:
        raise ValueError(f"{path} ends in none of {', '.join(WRITERS)}, the forms of a report")


def noise_report(
    graph: Graph,
    weights: Weights,
    qparams: QParams,
    images: np.ndarray,
    labels: Sequence[str] = (),
    kernels: Kernels = "reference",
) -> NoiseReport:
    """Returns the noise over images.

    Args:
      graph: In the types of the file.
      weights: Of the graph.
      qparams: Likewise.
      images: In [0, 1].
      labels: Of the images, or none.
      kernels: Whose rounding.
    """
    size = max(1, images_at_once(graph) // 2)  # float and integer activations
    batches = [images[i : i + size] for i in range(0, len(images), size)]
    noise = signal_to_noise(graph, weights, qparams, batches, kernels=kernels)
    main = [layer.tensor for layer in noise.main_layers] if noise.stands_out else []
    around = {name: int16_around(graph, name, kernels) for name in main}
    made = [name for op in graph.ops for name in op.outputs]
    int16 = {name for names in around.values() for name in names}
    return NoiseReport(
        noise=noise,
        count=len(images),
        labels=labels,
        kernels=kernels,
        int16=tuple(name for name in made if name in int16),
        float32=tuple(name for name, names in around.items() if not names and name in made),
    )


def decibel_text(value: float) -> str:
    """Returns decibels with one decimal; "exact" without noise."""
    return "exact" if value == math.inf else f"{value:.1f}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
