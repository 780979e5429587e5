"""What lies between the networks of a two-stage detector, in float32 operators.

Box after box has its rank as its score in NON_MAX_SUPPRESSION, whose own order among equal scores is a heap's.
Regions are read by GATHER, four cells for every sample.  All of it is for one image.
"""

from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from attokit.export.flatbuffer import Operator, Tensor
from attokit.export.lowerings.context import Context
from attokit.export.lowerings.float_steps import FloatSteps
from attokit.quant.ops.kind import Op
from attokit.zoo.box_coder import LARGEST_RATIO, RPN_WEIGHTS
from attokit.zoo.detections import BOX_WEIGHTS
from attokit.zoo.roi_align import RegionConfig

_NEVER = np.float32(-np.inf)
_LEAST = float(np.finfo(np.float32).min)
_MOST_CELLS = 1 << 24  # whose numbers float32 holds exactly


def propose(context: Context, op: Op) -> tuple[Operator, ...]:
    """TOPK_V2 and NON_MAX_SUPPRESSION_V4 of every map, and TOPK_V2 of all."""
    _check(context, op, (0, 1))
    steps, settings = FloatSteps(context, op), op["settings"]
    config, counts = settings["config"], settings["counts"]
    total = sum(counts)
    scores, offsets = steps.operand(0, (total,)), steps.operand(1, (total, 4))
    anchors = context.operand(op, 2).data
    assert anchors is not None  # they follow from the size of the image
    centres = (anchors[:, :2] + anchors[:, 2:]) / np.float32(2)
    sizes = anchors[:, 2:] - anchors[:, :2]
    boxes_of_maps, scores_of_maps, start = [], [], 0
    for count in counts:
        own = slice(start, start + count)
        best, places = steps.top_k(
            steps.slice(scores, [start], [count]), min(config.per_level, count)
        )
        chosen = steps.gather(steps.slice(offsets, [start, 0], [count, 4]), places)
        low, high = _decoded(
            steps,
            chosen,
            steps.gather(centres[own], places),
            steps.gather(sizes[own], places),
            RPN_WEIGHTS,
            settings["image_size"],
        )
        real = _has_sides(steps, low, high, config.least_side)
        boxes = steps.concatenate([low, high], 1)
        places_kept = min(config.count, _length(best))
        kept, filled = _kept(steps, boxes, real, None, places_kept, config.iou_threshold)
        boxes_of_maps.append(steps.gather(boxes, kept))
        scores_of_maps.append(steps.select(filled, steps.gather(best, kept), _NEVER))
        start += count
    boxes, scores = steps.concatenate(boxes_of_maps, 0), steps.concatenate(scores_of_maps, 0)
    best, places = steps.top_k(scores, min(config.count, _length(scores)))
    valid = steps.greater(best, _LEAST)
    column = steps.reshape(valid, (_length(valid), 1))
    steps.give(0, steps.select(column, steps.gather(boxes, places), 0.0))
    steps.give(1, steps.select(valid, best, 0.0))
    steps.give(2, valid)
    return tuple(steps.operators)


def detect(context: Context, op: Op) -> tuple[Operator, ...]:
    """SOFTMAX, TOPK_V2 of all pairs of a region and a class, NON_MAX_SUPPRESSION_V4 of every class."""
    _check(context, op, (0, 1, 2, 3))
    steps, settings = FloatSteps(context, op), op["settings"]
    config = settings["config"]
    t, k = context.operand(op, 0).shape[-2:]
    shapes = context.operand(op, 1).shape[-2]
    scores = steps.softmax(steps.operand(0, (t, k)))
    scores = steps.slice(scores, [0, 1], [t, k - 1])
    sought = steps.both(steps.operand(3, (t, 1)), steps.greater(scores, config.score_threshold))
    flat = steps.reshape(steps.select(sought, scores, _NEVER), (t * (k - 1),))
    scores, places = steps.top_k(flat, min(config.candidates, t * (k - 1)))
    region = steps.floor_div(places, k - 1)
    classes = steps.add(steps.sub(places, steps.mul(region, k - 1)), 1)
    row = region if shapes == 1 else steps.add(steps.mul(region, shapes), classes)
    offsets = steps.gather(steps.operand(1, (t * shapes, 4)), row)
    start, end = steps.columns(steps.gather(steps.operand(2, (t, 4)), region), 2)
    centres, sizes = steps.mul(steps.add(start, end), 0.5), steps.sub(end, start)
    low, high = _decoded(steps, offsets, centres, sizes, BOX_WEIGHTS, settings["image_size"])
    real = steps.both(
        _has_sides(steps, low, high, config.least_side), steps.greater(scores, _LEAST)
    )
    boxes = steps.concatenate([low, high], 1)
    groups = [steps.equal(classes, c) for c in range(1, k)] if k > 2 else None
    kept, filled = _kept(steps, boxes, real, groups, config.count, config.iou_threshold)
    column = steps.reshape(filled, (config.count, 1))
    steps.give(0, steps.select(column, steps.gather(boxes, kept), 0.0))
    steps.give(1, steps.select(filled, steps.gather(scores, kept), 0.0))
    chosen = steps.gather(classes, kept)
    steps.give(2, steps.select(filled, chosen, np.zeros(1, np.int32)))
    steps.give(3, filled)
    return tuple(steps.operators)


def read_regions(context: Context, op: Op) -> tuple[Operator, ...]:
    """GATHER of the four cells around every sample, and AVERAGE_POOL_2D of the samples of a bin.

    Raises:
      ValueError: if the maps have more cells than float32 counts, or there are several images.
    """
    maps = len(op.inputs) - 1
    _check(context, op, range(maps + 1))
    steps, config = FloatSteps(context, op), op["settings"]["config"]
    shapes = [context.operand(op, i).shape[-3:] for i in range(maps)]
    cells = [h * w for h, w, _ in shapes]
    if sum(cells) > _MOST_CELLS:
        raise ValueError(
            f"{op.outputs[0]!r} reads {sum(cells):,} cells, float32 counts {_MOST_CELLS:,}: choose smaller "
            "images or coarser maps"
        )
    channels = shapes[0][2]
    table = steps.concatenate([steps.operand(i, (cells[i], channels)) for i in range(maps)], 0)
    t = context.operand(op, maps).shape[-2]
    boxes = steps.operand(maps, (t, 4))
    level = _levels(steps, boxes, maps, config)

    def of_level(values: Sequence[float]) -> Tensor | np.ndarray:
        """Returns a number of each box's map, as a column."""
        column = np.asarray(values, np.float32).reshape(-1, 1)
        return column if level is None else steps.gather(column, level)

    boxes = steps.mul(boxes, of_level([1 / stride for stride in config.strides]))
    if config.aligned:
        boxes = steps.sub(boxes, 0.5)
    left, top, right, bottom = steps.columns(boxes, 1)
    width = of_level([w for _, w, _ in shapes])
    last_row = of_level([h - 1 for h, _, _ in shapes])
    last_column = of_level([w - 1 for _, w, _ in shapes])
    start = of_level(np.cumsum([0, *cells[:-1]]).tolist())
    rows = _neighbours(steps, _samples(steps, top, bottom, config), last_row)
    columns = _neighbours(steps, _samples(steps, left, right, config), last_column)
    n = config.output_size * config.sampling_ratio
    total = None
    for row, row_share in rows:
        first = steps.reshape(steps.add(steps.mul(row, width), start), (t, n, 1))
        for column, column_share in columns:
            at = steps.add(first, steps.reshape(column, (t, 1, n)))
            taken = steps.gather(table, steps.cast(at, "int32"))  # [t, n, n, c]
            share = steps.mul(
                steps.reshape(row_share, (t, n, 1, 1)), steps.reshape(column_share, (t, 1, n, 1))
            )
            part = steps.mul(taken, share)
            total = part if total is None else steps.add(total, part)
    assert total is not None  # there are four of them
    steps.give(0, steps.average_pool(total, config.sampling_ratio))
    return tuple(steps.operators)


def select_masks(context: Context, op: Op) -> tuple[Operator, ...]:
    """TRANSPOSE, and GATHER of a row per region, in the masks' own type."""
    masks, classes = context.operand(op, 0), context.operand(op, 1)
    b, t, m, n, k = masks.shape
    output = context.activation(op.outputs[0])
    codes = schema.BuiltinOperator
    made: list[Operator] = []

    def step(code: int, version: int, options: object, inputs: Sequence[Tensor], output: Tensor):
        made.append(
            Operator(
                code=code, version=version, options=options, inputs=tuple(inputs), outputs=(output,)
            )
        )
        return output

    def inner(role: str, like: Tensor, shape: tuple[int, ...]) -> Tensor:
        return Tensor(
            name=f"{op.outputs[0]}/{role}",
            shape=shape,
            dtype=like.dtype,
            quantization=like.quantization,
        )

    def reshaped(value: Tensor, role: str, shape: tuple[int, ...]) -> Tensor:
        sizes = context.numbers(op, f"{role}_shape", shape)
        options = schema.ReshapeOptionsT(newShape=list(shape))
        return step(codes.RESHAPE, 1, options, (value, sizes), inner(role, value, shape))

    version = context.version(op, int8=2)
    flat = reshaped(masks, "regions", (b * t, m, n, k))
    order = context.numbers(op, "permutation", (0, 3, 1, 2))
    turned = inner("by_class", masks, (b * t, k, m, n))
    step(codes.TRANSPOSE, version, schema.TransposeOptionsT(), (flat, order), turned)
    rows = reshaped(turned, "rows", (b * t * k, m, n))
    first = context.numbers(op, "first", np.arange(b * t, dtype=np.int32).reshape(b, t) * k)
    place = inner("place", classes, (b, t))
    step(codes.ADD, 1, schema.AddOptionsT(), (classes, first), place)
    step(codes.GATHER, version, schema.GatherOptionsT(axis=0), (rows, place), output)
    return tuple(made)


def _length(vector: Tensor) -> int:
    """Returns the length of a tensor's first axis."""
    return vector.shape[0]


def _check(context: Context, op: Op, positions: Sequence[int]) -> None:
    """Raises ValueError unless there is one image."""
    if op["batched"] is None:
        return
    for position in positions:
        shape = context.operand(op, position).shape
        if op["batched"][position] and shape[0] != 1:
            raise ValueError(
                f"{op.outputs[0]!r} ({op.kind}) is for {shape[0]} images, files do it for one: trace with a "
                "batch of 1"
            )


def _decoded(
    steps: FloatSteps,
    offsets: Tensor,
    centres: Tensor,
    sizes: Tensor,
    weights: Sequence[float],
    image_size: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Returns the corners of boxes that offsets from anchors name, inside the image."""
    row = np.asarray(weights, np.float32)[None]
    if (row != 1).any():
        offsets = steps.mul(offsets, 1 / row)
    moves, ratios = steps.columns(offsets, 2)
    centre = steps.add(centres, steps.mul(moves, sizes))
    half = steps.mul(steps.mul(sizes, steps.exp(steps.minimum(ratios, LARGEST_RATIO))), 0.5)
    corner = np.asarray([image_size[::-1]], np.float32)
    low, high = steps.sub(centre, half), steps.add(centre, half)
    return steps.clip(low, 0.0, corner), steps.clip(high, 0.0, corner)


def _has_sides(steps: FloatSteps, low: Tensor, high: Tensor, least: float) -> Tensor:
    return steps.greater_equal(steps.least_of_rows(steps.sub(high, low)), least)


def _kept(
    steps: FloatSteps,
    boxes: Tensor,
    real: Tensor,
    groups: Sequence[Tensor] | None,
    count: int,
    iou_threshold: float,
) -> tuple[Tensor, Tensor]:
    """Returns the places of boxes that stay, in order, and which of `count` places are filled.

    Args:
      steps: Takes the operators.
      boxes: [n, 4], the best first.
      real: [n], which of them are.
      groups: [n] each, which boxes are of each group that is suppressed by itself; None if all are of one.
      count: Places.
      iou_threshold: A box goes if its IoU with a better one is above this.
    """
    n = _length(boxes)
    ranks = np.arange(n, 0, -1, dtype=np.float32)  # exact, distinct, the best first
    places = np.arange(count, dtype=np.int32)
    scores = steps.select(real, ranks, 0.0)
    if groups is None:
        kept, number = steps.suppress(boxes, scores, count, iou_threshold)
        return kept, steps.less(places, steps.reshape(number, (1,)))
    found = []
    for own in groups:
        kept, number = steps.suppress(boxes, steps.select(own, scores, 0.0), count, iou_threshold)
        filled = steps.less(places, steps.reshape(number, (1,)))
        found.append(steps.select(filled, steps.gather(ranks, kept), 0.0))
    best, _ = steps.top_k(steps.concatenate(found, 0), count)
    filled = steps.greater(best, 0.0)
    kept = steps.sub(np.asarray(n, np.float32), steps.select(filled, best, float(n)))
    return steps.cast(kept, "int32"), filled


def _levels(steps: FloatSteps, boxes: Tensor, count: int, config: RegionConfig) -> Tensor | None:
    """Returns the position of each box's map: how many of the bounds between maps its area reaches."""
    if count == 1:
        return None
    start, end = steps.columns(boxes, 2)
    width, height = steps.columns(steps.maximum(steps.sub(end, start), 0.0), 1)
    area = steps.reshape(steps.mul(width, height), (_length(boxes),))
    level = None
    for bound in range(1, count):
        # A hair below the power of two, as `assign_levels` has it.
        side = config.canonical_size * 2.0 ** (bound - config.canonical_level - 1e-6)
        reached = steps.cast(steps.greater_equal(area, side**2), "int32")
        level = reached if level is None else steps.add(level, reached)
    return level


def _samples(steps: FloatSteps, low: Tensor, high: Tensor, config: RegionConfig) -> Tensor:
    """Returns where along an axis the samples of each box are, in cells."""
    side = steps.sub(high, low)
    if not config.aligned:
        side = steps.maximum(side, 1.0)
    count = config.output_size * config.sampling_ratio
    shares = (np.arange(count, dtype=np.float32) + np.float32(0.5)) / np.float32(count)
    return steps.add(low, steps.mul(side, shares[None]))


def _neighbours(
    steps: FloatSteps, samples: Tensor, last: Tensor | np.ndarray
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Returns the cells before and after each sample along an axis, each with its share."""
    end = last + 1 if isinstance(last, np.ndarray) else steps.add(last, 1.0)
    outside = steps.greater(steps.maximum(steps.sub(-1.0, samples), steps.sub(samples, end)), 0.0)
    place = steps.minimum(steps.maximum(samples, 0.0), last)
    before = steps.floor(place)
    share = steps.sub(place, before)
    after = steps.minimum(steps.add(before, 1.0), last)
    rest = steps.select(outside, 0.0, steps.sub(1.0, share))
    return (before, rest), (after, steps.select(outside, 0.0, share))
