"""Cuts a graph in two: one that makes a few rows of a map from a strip of the image, and the rest.

A device calls the first once per strip, as a camera delivers the rows, and the second once per image.
Neither the image nor the first maps are ever whole in its memory.  Both are graphs like any other, and
qparams of the graph that was cut fit them.
"""

import dataclasses
from collections.abc import Iterable, Mapping

import jax
import numpy as np
from jaxtyping import Int8

from attokit.quant.graph import Graph, Weights
from attokit.quant.integer import integer
from attokit.quant.live_bytes import bytes_of
from attokit.quant.ops import table
from attokit.quant.params import QParams
from attokit.quant.plan import Ranges
from attokit.quant.row_windows import ROW, Rows, Window
from attokit.quant.split_rows import Part, Region

_ONE = jax.tree.structure(0)  # how one output nests


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Strips:
    """A graph in two parts, and how a host calls the first.

    Attributes:
      strip: From `strip_rows` rows of the image to `rows` rows of the map.
      rest: From the map, its only input, to the outputs.
      map_name: Name of the map.
      map_shape: Its shape, batch included.
      rows: That one call of `strip` makes.
      strip_rows: Rows of the image that one call takes.
      calls: For each call, the first row of the image that it takes, and the first row of the map that it
        makes.  Rows of the image before the first and after the last are padding.
      padded: Name of the map that this padding is of; None where there is none.
    """

    strip: Graph
    rest: Graph
    map_name: str
    map_shape: tuple[int, ...]
    rows: int
    strip_rows: int
    calls: tuple[tuple[int, int], ...]
    padded: str | None


def cut_strips(graph: Graph, at: str | None = None, rows: int = 1) -> Strips:
    """Returns a graph in two parts.

    Args:
      graph: With one input, a map; as traced.
      at: Name of the map between the parts; None: the smallest that there can be.
      rows: Of that map, that one call of the first part makes.  More rows per call are fewer rows of the
        image that two calls both compute on, and larger maps.

    Raises:
      ValueError: if the graph has several inputs, there is no such map or it is an output, strips of it read
        the image in different ways, or what is padded above or below has gone through a convolution already.
    """
    if len(graph.inputs) != 1:
        raise ValueError(
            f"the graph has inputs {', '.join(graph.inputs)}: only one map can come in strips"
        )
    (image,) = graph.inputs
    region = _smallest(graph, image) if at is None else Region.between(graph, image, at)
    outside = [op for op in graph.ops if op not in region.ops and image in op.inputs]
    if outside:
        raise ValueError(
            f"{outside[0].outputs[0]!r} too is made of {image!r}: the rest of the graph needs the whole image"
        )
    if region.end in graph.outputs:
        raise ValueError(
            f"{region.end!r} leaves the graph, and nothing would be left to do after it: choose an earlier map"
        )
    height = region.height(region.end)
    if not 1 <= rows <= height:
        raise ValueError(f"rows={rows}: {region.end!r} has {height} rows; give 1 to that")
    starts = [*range(0, height - rows, rows), height - rows]
    needs = [region.needs(Rows(first, first + rows), padded=True) for first in starts]
    _check_alike(region, needs)
    part = Part(region, Rows(0, rows), lambda name: name, start=image)
    tensors = {name: part.known[name] for name in (image, *(t.name for t in part.tensors))}
    strip = dataclasses.replace(
        graph,
        outputs=(region.end,),
        output_names=(region.end,),
        ops=tuple(part.ops),
        tensors=tensors,
        constant_ranges={**graph.constant_ranges, **part.constant_ranges},
        out_tree=_ONE,
    )
    rest = dataclasses.replace(
        graph,
        inputs=(region.end,),
        ops=tuple(op for op in graph.ops if op not in region.ops),
        tensors={
            name: tensor
            for name, tensor in graph.tensors.items()
            if name == region.end or name not in {n for op in region.ops for n in op.outputs}
            if name != image
        },
    )
    return Strips(
        strip=_with_own_weights(strip),
        rest=_with_own_weights(rest),
        map_name=region.end,
        map_shape=graph.tensors[region.end].shape,
        rows=rows,
        strip_rows=tensors[image].shape[ROW],
        calls=tuple((n[image].first, first) for n, first in zip(needs, starts, strict=True)),
        padded=_padded_map(region, needs),
    )


def _check_alike(region: Region, needs: list[dict[str, Rows]]) -> None:
    """Raises ValueError unless one graph does for all calls: each reads as many rows of every map."""
    for name in needs[0]:
        counts = sorted({need[name].end - need[name].first for need in needs})
        if len(counts) > 1:
            raise ValueError(
                f"strips of {region.end!r} read from {counts[0]} to {counts[-1]} rows of {name!r}, depending on "
                "their place: choose an earlier map"
            )


def padding_values(strips: Strips, weights: Weights, qparams: QParams) -> Int8[np.ndarray, " c"]:
    """Returns what a strip's rows of padding hold, per channel of the image.

    What is padded may be computed of the image (its bytes minus a mean); then these are the bytes that
    become its zero.

    Raises:
      ValueError: if no byte does.
    """
    graph = strips.strip
    (image,) = graph.inputs
    channels = graph.tensors[image].shape[-1]
    if strips.padded in (None, image):
        zero_point = Ranges(graph, qparams, np).activation(image)[1]
        return np.full(channels, zero_point, np.int8)
    every = np.broadcast_to(np.arange(-128, 128, dtype=np.int8)[:, None], (256, channels))
    pixels = _on_one_pixel(graph, strips.padded)
    pixel = integer(pixels, own_weights(pixels, weights), qparams, output_type="float32")
    made = pixel(every.reshape(256, 1, 1, channels))
    zero = np.asarray(made)[:, 0, 0] == 0
    for channel, found in enumerate(zero.any(axis=0)):
        if not found:
            raise ValueError(
                f"no byte of channel {channel} becomes the zero that {strips.padded!r} is padded with: "
                "leave the change of scale out of the model (input_mean=None)"
            )
    return every[np.argmax(zero, axis=0), np.arange(channels)]


def _on_one_pixel(graph: Graph, name: str) -> Graph:
    """Returns the graph that makes a map, on images of one pixel; its ops are elementwise."""
    (image,) = graph.inputs
    ops = Region.between(graph, image, name).ops
    tensors = {
        n: dataclasses.replace(graph.tensors[n], shape=(1, 1, 1, graph.tensors[n].shape[-1]))
        for n in (image, *(n for op in ops for n in op.outputs))
    }
    return _with_own_weights(
        dataclasses.replace(
            graph, outputs=(name,), output_names=(name,), ops=ops, tensors=tensors, out_tree=_ONE
        )
    )


def own_weights(graph: Graph, weights: Weights) -> Weights:
    """Returns those weights that a part of a graph reads."""
    return {name: weights[name] for name in graph.weight_shapes}


def _with_own_weights(graph: Graph) -> Graph:
    """Returns a graph that asks for the weights that its ops read, and for no others."""
    used = {name for op in graph.ops for name in op.inputs}
    shapes = {n: s for n, s in graph.weight_shapes.items() if n in used}
    return dataclasses.replace(graph, weight_shapes=shapes)


def _smallest(graph: Graph, image: str) -> Region:
    """Returns the region from the image to the smallest map; of equal ones, to the last."""
    best: tuple[int, Region] | None = None
    problem = f"{image!r} is no map [b, h, w, c]"
    for name, tensor in graph.tensors.items():
        if name in (image, *graph.outputs) or len(tensor.shape) != 4:
            continue
        try:
            region = Region.between(graph, image, name)
            needs = _border_needs(region)
            _check_alike(region, needs)
            _padded_map(region, needs)
        except ValueError as err:
            problem = str(err)
            continue
        size = bytes_of(graph, name)
        if best is None or size <= best[0]:
            best = size, region
    if best is None:
        raise ValueError(f"the graph has no map that strips of the image make: {problem}")
    return best[1]


def _border_needs(region: Region) -> list[dict[str, Rows]]:
    height = region.height(region.end)
    return [region.needs(rows, padded=True) for rows in (Rows(0, 1), Rows(height - 1, height))]


def _padded_map(region: Region, needs: Iterable[Mapping[str, Rows]]) -> str | None:
    """Returns the name of the map that is padded above or below, if one is.

    Raises:
      ValueError: if its padding cannot come with the image.
    """
    padded: dict[str, None] = {}
    for need in needs:
        for op, own in zip(region.ops, region.windows, strict=True):
            for name in region.maps(op):
                if not _lie_outside(region, name, need):
                    continue
                if not _lie_outside(region, op.outputs[0], need):
                    padded[name] = None
                elif own != Window() or not table.OPS[op.kind].elementwise:
                    raise ValueError(
                        f"{op.outputs[0]!r} is padded above or below, and strips of the image have no such "
                        "rows after a convolution: choose an earlier map"
                    )
    if len(padded) > 1:
        raise ValueError(f"{' and '.join(padded)} are padded above or below: choose an earlier map")
    return next(iter(padded), None)


def _lie_outside(region: Region, name: str, need: Mapping[str, Rows]) -> bool:
    return need[name].first < 0 or need[name].end > region.height(name)
