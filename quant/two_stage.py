"""Cuts the graph of a two-stage detector into its networks: what stays is integers from end to end.

    image ─► trunk ─► maps, objectness, offsets ─► propose ─► read_regions ─► box head ─► detect
                                                                     read_regions ─► mask head

Every part is a graph like any other, and weights and qparams of the whole fit it.  Heads take one region at a time,
as the batch: accelerators have no other; the graphs take any number.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from attokit.quant.graph import Graph, Weights, in_float
from attokit.quant.ops.kind import Op
from attokit.quant.strips import own_weights
from attokit.zoo.detections import DetectionConfig
from attokit.zoo.proposals import ProposalConfig
from attokit.zoo.roi_align import RegionConfig

REGIONS = "regions"  # what heads call their input
_CONVERSIONS = ("quantize", "dequantize")
_BETWEEN = {"propose": 1, "read_regions": 2, "detect": 1}


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class TwoStage:
    """A two-stage detector in parts, and what lies between them.

    Attributes:
      trunk: From images to "map_0", "map_1", ... from fine to coarse, "objectness" [b, n], "offsets" [b, n, 4].
      box_head: From `REGIONS` [b, s, s, c] to "classes", k logits, and "offsets", k2 times 4.
      mask_head: From `REGIONS` to "masks", logits [b, m, m, k].
      anchors_xyxy: Of all maps.
      anchor_counts: How many of them each map has.
      image_size: Height and width.
      proposals: How many, and which.
      box_regions: How the box head's regions are read.
      mask_regions: Likewise the mask head's.
      detections: How many, and which.
    """

    trunk: Graph
    box_head: Graph
    mask_head: Graph
    anchors_xyxy: Float[np.ndarray, "n 4"]
    anchor_counts: tuple[int, ...]
    image_size: tuple[int, int]
    proposals: ProposalConfig
    box_regions: RegionConfig
    mask_regions: RegionConfig
    detections: DetectionConfig

    def weights_of(self, part: Graph, weights: Weights) -> Weights:
        """Returns those weights of the whole graph that a part reads."""
        return own_weights(part, weights)


def cut_two_stage(graph: Graph) -> TwoStage:
    """Returns the parts of a traced two-stage detector (`zoo.MaskRCNN`).

    Raises:
      ValueError: if the graph has not one `propose`, two `read_regions` and one `detect`, or its masks are no
        probabilities.
    """
    found: dict[str, list[Op]] = {kind: [] for kind in _BETWEEN}
    for op in graph.ops:
        if op.kind in found:
            found[op.kind].append(op)
    if any(len(found[kind]) != count for kind, count in _BETWEEN.items()):
        counts = ", ".join(f"{len(ops)} {kind}" for kind, ops in found.items())
        raise ValueError(
            f"the graph holds {counts}, a two-stage detector 1 propose, 2 read_regions, 1 detect: trace the "
            "whole of one (zoo.MaskRCNN)"
        )
    (propose,), (detect,) = found["propose"], found["detect"]
    of_boxes, of_masks = found["read_regions"]
    objectness, offsets = (_before(graph, name) for name in propose.inputs[:2])
    maps = {f"map_{i}": _before(graph, n) for i, n in enumerate(of_boxes.inputs[:-1])}
    trunk = _part(
        graph, graph.inputs, {"objectness": objectness, "offsets": offsets} | maps, graph.inputs
    )
    logits, moves = (_before(graph, name) for name in detect.inputs[:2])
    settings = propose.attributes["settings"]
    return TwoStage(
        trunk=trunk,
        box_head=_head(graph, of_boxes, {"classes": logits, "offsets": moves}),
        mask_head=_head(graph, of_masks, {"masks": _logits_of(graph, of_masks)}),
        anchors_xyxy=np.asarray(graph.constants[propose.inputs[2]]),
        anchor_counts=tuple(settings["counts"]),
        image_size=tuple(settings["image_size"]),
        proposals=settings["config"],
        box_regions=of_boxes.attributes["settings"]["config"],
        mask_regions=of_masks.attributes["settings"]["config"],
        detections=detect.attributes["settings"]["config"],
    )


def _makers(graph: Graph) -> dict[str, Op]:
    return {name: op for op in graph.ops for name in op.outputs}


def _before(graph: Graph, name: str) -> str:
    """Returns what an activation was before its type changed."""
    makers = _makers(graph)
    while name in makers and makers[name].kind in _CONVERSIONS:
        name = makers[name].inputs[0]
    return name


def _after(graph: Graph, name: str) -> str:
    """Returns what an activation is after its type changed, where networks read it."""
    for op in graph.ops:
        if op.kind == "quantize" and op.inputs[0] == name:
            return op.outputs[0]
    return name


def _logits_of(graph: Graph, read: Op) -> str:
    """Returns the logits that are made of regions: what the first logistic after them reads."""
    made = {_after(graph, read.outputs[0])}
    for op in graph.ops:
        if made.intersection(op.inputs):
            if op.kind == "logistic":
                return op.inputs[0]
            made.update(op.outputs)
    raise ValueError(
        f"no logistic follows {read.outputs[0]!r}: masks are probabilities of their pixels (zoo.MaskRCNN)"
    )


def _part(
    graph: Graph, inputs: Iterable[str], outputs: Mapping[str, str], names: Iterable[str]
) -> Graph:
    """Returns the graph from some activations to others.

    Args:
      graph: The whole.
      inputs: Names of the activations that enter.
      outputs: Of those that leave, by their names in the result.
      names: What to call the inputs.
    """
    makers, inputs = _makers(graph), tuple(inputs)
    needed: set[str] = set()
    pending = list(outputs.values())
    while pending:
        name = pending.pop()
        if name in inputs or name in needed or name not in makers:
            continue
        needed.add(name)
        pending += makers[name].inputs
    renamed = dict(zip(inputs, names, strict=True))
    ops = tuple(
        dataclasses.replace(op, inputs=tuple(renamed.get(n, n) for n in op.inputs))
        for op in graph.ops
        if needed.intersection(op.outputs)
    )
    held = {*inputs, *(n for op in ops for n in op.outputs)}
    read = {n for op in ops for n in op.inputs}
    by_name = dict(sorted(outputs.items()))  # the order in which a dict is flattened
    return dataclasses.replace(
        graph,
        inputs=tuple(renamed.values()),
        outputs=tuple(by_name.values()),
        output_names=tuple(by_name),
        ops=ops,
        tensors={
            renamed.get(n, n): dataclasses.replace(graph.tensors[n], name=renamed.get(n, n))
            for n in held
        },
        weight_shapes={n: s for n, s in graph.weight_shapes.items() if n in read},
        out_tree=jax.tree.structure(dict.fromkeys(by_name, 0)),
        notes=(),
    )


def _head(graph: Graph, read: Op, outputs: Mapping[str, str]) -> Graph:
    """Returns what is computed of regions, one at a time."""
    entry = _after(graph, read.outputs[0])
    part = _part(graph, (entry,), outputs, (REGIONS,))
    shape = (1, *part.tensors[REGIONS].shape[2:])  # without the axes of images and of regions
    return _with_input(_without_merge(part, shape), shape)


def _without_merge(part: Graph, shape: tuple[int, ...]) -> Graph:
    """Returns a head that takes regions one after the other, as its first reshape makes them."""
    ops = []
    for op in part.ops:
        if op.kind == "reshape" and op.inputs[0] == REGIONS:
            own = {"given": shape, "shape": (1, *op["shape"][1:]), "keeps_batch": True}
            op = dataclasses.replace(op, attributes={**op.attributes, **own})
        ops.append(op)
    return dataclasses.replace(part, ops=tuple(ops))


def _with_input(part: Graph, shape: tuple[int, ...]) -> Graph:
    """Returns a head of one input with another shape of it, and what follows from that."""
    tensors = dict(part.tensors)
    tensors[REGIONS] = dataclasses.replace(tensors[REGIONS], shape=shape)
    ops: list[Op] = []
    same: dict[str, str] = {}
    for op in part.ops:
        op = dataclasses.replace(op, inputs=tuple(same.get(n, n) for n in op.inputs))
        given = [_shaped(part, tensors, name) for name in op.inputs]
        made = jax.eval_shape(lambda *x, op=op: in_float(op, x), *given)
        shapes = [tuple(value.shape) for value in made]
        if op.kind == "reshape":
            if shapes[0] == given[0].shape or (
                _squeezed(shapes[0]) == _squeezed(given[0].shape) and _is_any_rank(part, op)
            ):
                same[op.outputs[0]] = op.inputs[0]
                continue
            own = {"given": given[0].shape, "shape": shapes[0], "parts": 0}
            op = dataclasses.replace(op, attributes={**op.attributes, **own})
        for name, own_shape in zip(op.outputs, shapes, strict=True):
            tensors[name] = dataclasses.replace(tensors[name], shape=own_shape)
        ops.append(op)
    names = {REGIONS, *(n for op in ops for n in op.outputs)}
    return dataclasses.replace(
        part,
        outputs=tuple(same.get(n, n) for n in part.outputs),
        ops=tuple(ops),
        tensors={n: tensor for n, tensor in tensors.items() if n in names},
    )


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def _is_any_rank(part: Graph, op: Op) -> bool:
    """Tells whether nobody minds axes of size 1 in what a reshape makes."""
    readers = (other for other in part.ops if op.outputs[0] in other.inputs)
    return all(other.kind == "reshape" for other in readers)


def _shaped(part: Graph, tensors: Mapping[str, Any], name: str) -> jax.ShapeDtypeStruct:
    if name in tensors:
        return jax.ShapeDtypeStruct(tensors[name].shape, part.carried(name))
    array = part.constants.get(name)
    return jax.ShapeDtypeStruct(
        part.operand_shape(name), np.float32 if array is None else array.dtype
    )
