"""What moves values from where they are to where they are wanted.

A movement is an array of positions: for each element of the result, the place in the flattened
value that it comes from.  However a program spells a movement (slices, reversals, gathers,
reshapes, transposes), here it becomes the ops that every runtime runs best.
"""

import math
from collections.abc import Sequence

import numpy as np

from attokit.quant.lowering import movement
from attokit.quant.lowering.values import Builder, Known, Symbol
from attokit.quant.ops import resize


def positions_of(shape: Sequence[int]) -> np.ndarray:
    """Returns the position of each element of a value, int32."""
    return np.arange(math.prod(shape), dtype=np.int32).reshape(tuple(shape))


def emit_positions(build: Builder, value: Symbol, positions: np.ndarray) -> Symbol:
    """Emits a movement.

    Args:
      build: Takes the nodes.
      value: What to move.
      positions: int32 of the result's shape, each within the value.
    """
    simple = emit_simple(build, value, positions)
    return _flat(build, value, positions) if simple is None else simple


def emit_simple(build: Builder, value: Symbol, positions: np.ndarray) -> Symbol | None:
    """Emits a movement that needs no index for every element, or returns None."""
    if 0 in positions.shape:
        raise build.error(f"a value of shape {positions.shape}", "Leave out what is empty.")
    if np.array_equal(positions.ravel(), np.arange(math.prod(value.shape))):
        return movement.emit_reshape(build, value, positions.shape)
    blocks = _blocks(build, value, positions)
    if blocks is not None:
        return blocks
    axes = _separate(value.shape, positions)
    return None if axes is None else _by_axis(build, value, positions.shape, axes)


def _blocks(build: Builder, value: Symbol, positions: np.ndarray) -> Symbol | None:
    """Emits DEPTH_TO_SPACE or SPACE_TO_DEPTH if that is what the movement is."""
    if len(value.shape) != 4 or positions.ndim != 4 or value.shape[0] != positions.shape[0]:
        return None
    if np.dtype(value.dtype) == np.bool_:  # LiteRT has neither of conditions
        return None
    height, wanted = value.shape[1], positions.shape[1]
    small, large = sorted((height, wanted))
    block = large // small
    kind = "depth_to_space" if wanted > height else "space_to_depth"
    deep, shallow = value.shape, positions.shape
    if kind == "space_to_depth":
        deep, shallow = shallow, deep
    b, h, w, c = deep
    if block < 2 or c % block**2 or shallow != (b, h * block, w * block, c // block**2):
        return None
    if kind == "space_to_depth":
        same = np.array_equal(_in_blocks(positions_of(shallow), block), positions)
        return build.emit(kind, [value], positions.shape, block=block) if same else None
    found = _in_blocks(positions, block)  # where the channels of each block come from
    channels = found[0, 0, 0]
    if not np.array_equal(positions_of(deep)[..., channels % c], found):
        return None
    value = _along(build, value, 3, channels) if (channels != np.arange(c)).any() else value
    return build.emit(kind, [value], positions.shape, block=block)


def _in_blocks(image: np.ndarray, block: int) -> np.ndarray:
    """Returns the blocks of [b, h, w, c] as channels: (row, column, channel)."""
    b, h, w, c = image.shape
    rows = image.reshape(b, h // block, block, w // block, block, c).transpose(0, 1, 3, 2, 4, 5)
    return rows.reshape(b, h // block, w // block, -1)


# Per axis of the value: the axes of the result that its index varies along, and that index.
_Axes = list[tuple[tuple[int, ...], np.ndarray]]


def _separate(shape: Sequence[int], positions: np.ndarray) -> _Axes | None:
    """Returns the index along each axis if those of different axes vary independently."""
    axes: _Axes = []
    for place, index in enumerate(np.unravel_index(positions, tuple(shape))):
        along = tuple(axis for axis in range(index.ndim) if (index != index.take([0], axis)).any())
        if place == 0 and shape[0] == 1 and positions.shape[:1] == (1,):
            along = (0,)  # a batch of one stays where it is, as others do
        corner = tuple(slice(None) if axis in along else 0 for axis in range(index.ndim))
        axes.append((along, index[corner]))
    used = [axis for along, _ in axes for axis in along]
    return axes if len(used) == len(set(used)) else None


def _by_axis(build: Builder, value: Symbol, shape: tuple[int, ...], axes: _Axes) -> Symbol:
    """Emits what takes the indices of each axis, then brings the axes into their order."""
    value = _taken(build, value, [index.ravel() for _, index in axes])
    order = [axis for along, _ in axes for axis in along]
    value = movement.emit_reshape(build, value, tuple(shape[axis] for axis in order))
    value = movement.emit_transpose(build, value, np.argsort(order).tolist())
    grown = tuple(n if axis in order else 1 for axis, n in enumerate(shape))
    value = movement.emit_reshape(build, value, grown)
    return value if grown == shape else build.emit("broadcast", [value], shape)


def _taken(build: Builder, value: Symbol, indices: list[np.ndarray]) -> Symbol:
    """Emits x[np.ix_(*indices)]."""
    rows = list(map(_mirrored, value.shape, indices))
    for mode in ("reflect", "symmetric"):
        widths = tuple((r[1], r[2]) if r and r[0] == mode else (0, 0) for r in rows)
        if any(map(any, widths)):
            shape = tuple(n + a + b for n, (a, b) in zip(value.shape, widths, strict=True))
            value = build.emit("mirror_pad", [value], shape, widths=widths, mode=mode)
    indices = [
        np.arange(n) if row else index
        for n, row, index in zip(value.shape, rows, indices, strict=True)
    ]
    if (resized := _resized(build, value, indices)) is not None:
        return resized
    value = _cut(build, value, indices)
    for axis, index in enumerate(indices):
        if _steps(index) is None:
            value = _along(build, value, axis, index)
        elif len(index) > 1 and index[1] < index[0]:
            value = movement.rev(build, {"dimensions": (axis,)}, value)
    return value


def _mirrored(size: int, index: np.ndarray) -> tuple[str, int, int] | None:
    """Returns (mode, before, after) of an index that runs into its mirror image."""
    if len(index) <= size or size < 2:
        return None
    for mode in ("reflect", "symmetric"):
        limit = size - 1 if mode == "reflect" else size
        for before in range(min(limit, len(index) - size) + 1):
            after = len(index) - size - before
            if after <= limit and np.array_equal(
                np.pad(np.arange(size), (before, after), mode=mode), index
            ):
                return mode, before, after
    return None


def _resized(build: Builder, value: Symbol, indices: list[np.ndarray]) -> Symbol | None:
    """Emits RESIZE_NEAREST_NEIGHBOR where rows and columns are repeated or left out so."""
    if len(value.shape) != 4 or all(_steps(index) is not None for index in indices[1:3]):
        return None
    if any(len(indices[i]) != n or _steps(indices[i]) != 1 for i, n in _outer(value.shape)):
        return None
    size = len(indices[1]), len(indices[2])
    for mode in resize.MODES:
        found = [
            np.array_equal(resize.nearest(n, len(index), mode), index)
            for n, index in zip(value.shape[1:3], indices[1:3], strict=True)
        ]
        if all(found):
            shape = (value.shape[0], *size, value.shape[3])
            return build.emit("resize_nearest_neighbor", [value], shape, size=size, mode=mode)
    return None


def _outer(shape: Sequence[int]) -> list[tuple[int, int]]:
    return [(0, shape[0]), (3, shape[3])]


def _steps(index: np.ndarray) -> int | None:
    """Returns the distance between indices if there is only one and it is not zero."""
    if len(index) == 1:
        return 1
    steps = np.diff(index)
    return int(steps[0]) if steps[0] and (steps == steps[0]).all() else None


def _cut(build: Builder, value: Symbol, indices: list[np.ndarray]) -> Symbol:
    """Emits the slice that leaves the indices of the axes that have regular ones, ascending."""
    begin, end, strides = [], [], []
    for n, index in zip(value.shape, indices, strict=True):
        step = _steps(index)
        low, high = (0, n) if step is None else (int(index.min()), int(index.max()) + 1)
        begin.append(low)
        end.append(high)
        strides.append(1 if step is None else abs(step))
    if set(strides) == {1}:
        return movement.emit_slice(build, value, begin, end)
    return movement.emit_strided_slice(build, value, begin, end, strides)


def _along(build: Builder, value: Symbol, axis: int, index: np.ndarray) -> Symbol:
    """Emits the values at irregular indices along one axis."""
    size = value.shape[axis]
    copies, rest = divmod(len(index), size)
    if not rest and np.array_equal(np.tile(np.arange(size), copies), index):
        return movement.emit_copies(build, value, axis, copies)
    start = int(index[0])
    if np.array_equal(np.roll(np.arange(size), -start), index):
        halves = [np.arange(start, size), np.arange(start)]
        every = [np.arange(n) for n in value.shape]
        parts = [_cut(build, value, [*every[:axis], half, *every[axis + 1 :]]) for half in halves]
        return movement.emit_concatenation(build, parts, axis)
    if (shuffled := _shuffled(build, value, axis, index)) is not None:
        return shuffled
    shape = (*value.shape[:axis], len(index), *value.shape[axis + 1 :])
    places = Known(index.astype(np.int32))
    return build.emit("gather", [value, places], shape, result=value.dtype, axis=axis)


def _shuffled(build: Builder, value: Symbol, axis: int, index: np.ndarray) -> Symbol | None:
    """Emits a shuffle of groups, [g, n] to [n, g] along one axis, as a transpose of few axes."""
    size = value.shape[axis]
    if axis == 0 or len(index) != size or index[1] < 1 or size % index[1]:
        return None
    groups = int(size // index[1])
    if not np.array_equal(np.arange(size).reshape(groups, -1).T.ravel(), index):
        return None
    batch, *before = value.shape[:axis]
    after = math.prod(value.shape[axis + 1 :])
    wide = (batch, math.prod(before), groups, size // groups, after)
    moved = movement.emit_transpose(
        build, movement.emit_reshape(build, value, wide), (0, 1, 3, 2, 4)
    )
    return movement.emit_reshape(build, moved, value.shape)


def _flat(build: Builder, value: Symbol, positions: np.ndarray) -> Symbol:
    """Emits a gather from the flattened value, of each example alone where that is enough."""
    if value.shape and positions.ndim and value.shape[0] == positions.shape[0]:
        each = math.prod(value.shape[1:])
        batch = np.arange(value.shape[0]).reshape(-1, *[1] * (positions.ndim - 1))
        within = positions - batch * each
        if (within == within[:1]).all() and within.min() >= 0 and within.max() < each:
            rows = movement.emit_reshape(build, value, (value.shape[0], each))
            taken = _along(build, rows, 1, within[0].ravel())
            return movement.emit_reshape(build, taken, positions.shape)
    whole = movement.emit_reshape(build, value, (math.prod(value.shape),))
    return movement.emit_reshape(build, _along(build, whole, 0, positions.ravel()), positions.shape)
