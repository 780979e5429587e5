"""Reading by index: slices at a given place, and gathers by known or computed indices."""

from collections.abc import Sequence

import jax
import numpy as np

from attokit.quant.lowering.movement import concatenate, emit_reshape, emit_slice, emit_transpose
from attokit.quant.lowering.positions import emit_positions, positions_of
from attokit.quant.lowering.values import (
    Builder,
    Known,
    Node,
    Symbol,
    Value,
    part_of,
    producer,
    unshaped,
)


def _starts(
    build: Builder, indices: Sequence[Value], shape: Sequence[int], sizes: Sequence[int]
) -> tuple[int, ...]:
    """Returns where a dynamic slice begins, moved to where it fits, as XLA moves it."""
    if not all(isinstance(index, Known) for index in indices):
        raise build.error(
            "a dynamic slice whose start depends on the inputs",
            "TFLite's slices start at constants; take rows by index instead: x[indices].",
        )
    given = (int(index.array) for index in indices if isinstance(index, Known))
    rows = zip(given, shape, sizes, strict=True)
    return tuple(min(max(start, 0), n - size) for start, n, size in rows)


def dynamic_slice(build: Builder, params, value: Symbol, *indices: Value) -> Symbol:
    """A slice whose start is known by now, or one row along an axis."""
    sizes = params["slice_sizes"]
    computed = [axis for axis, index in enumerate(indices) if isinstance(index, Symbol)]
    if len(computed) == 1 and sizes[computed[0]] == 1:
        return _row(build, value, computed[0], indices, sizes)
    begin = _starts(build, indices, value.shape, sizes)
    return emit_slice(build, value, begin, [b + n for b, n in zip(begin, sizes, strict=True)])


def _row(
    build: Builder, value: Symbol, axis: int, indices: Sequence[Value], sizes: Sequence[int]
) -> Symbol:
    """Returns what stands at a computed place along one axis and at known places along others."""
    place = indices[axis]
    assert isinstance(place, Symbol)  # the one that is not known
    whole = [*indices[:axis], Known(np.zeros((), np.int32)), *indices[axis + 1 :]]
    around = [*sizes[:axis], value.shape[axis], *sizes[axis + 1 :]]
    begin = _starts(build, whole, value.shape, around)
    part = emit_slice(build, value, begin, [b + n for b, n in zip(begin, around, strict=True)])
    row = emit_reshape(build, _bounded(build, place, value.shape[axis]), (1,))
    return build.emit("gather", [part, row], tuple(sizes), result=value.dtype, axis=axis)


def dynamic_update_slice(build: Builder, params, value: Value, part: Value, *indices: Value):
    """What lies around a part, joined with the part."""
    del params
    begin = _starts(build, indices, value.shape, part.shape)
    return replaced(build, value, part, begin, 0)


def replaced(build: Builder, value: Value, part: Value, begin: Sequence[int], axis: int) -> Value:
    """Returns the value with a part in its place.

    Args:
      build: Takes the nodes.
      value: What surrounds the part.
      part: As long as the value along the axes before `axis`.
      begin: Where the part begins.
      axis: Where to begin to look.
    """
    if part.shape == value.shape:
        return part
    start, end = begin[axis], begin[axis] + part.shape[axis]
    if part.shape[axis] == value.shape[axis]:
        return replaced(build, value, part, begin, axis + 1)
    inside = replaced(build, _cut(build, value, axis, start, end), part, begin, axis + 1)
    before = _cut(build, value, axis, 0, start)
    after = _cut(build, value, axis, end, value.shape[axis])
    return concatenate(build, {"dimension": axis}, before, inside, after)


def _cut(build: Builder, value: Value, axis: int, start: int, end: int) -> Value:
    if isinstance(value, Known):
        index = (slice(None),) * axis + (slice(start, end),)
        return Known(value.array[index], part_of(value.name, axis, start, end))
    low = [start if i == axis else 0 for i in range(len(value.shape))]
    high = [end if i == axis else n for i, n in enumerate(value.shape)]
    return emit_slice(build, value, low, high)


def gather(build: Builder, params, value: Value, indices: Value) -> Symbol:
    """Values by index: of known indices whatever moves them there, else a GATHER of rows."""
    if isinstance(value, Symbol) and isinstance(indices, Known):
        positions = _gathered_positions(build, params, value.shape, indices.array)
        return _with_batch(build, value, positions, _place_of_batch(params, value.shape))
    assert isinstance(indices, Symbol)  # what is known altogether was computed while tracing
    return _take(build, params, value, indices)


def _gathered_positions(
    build: Builder, params, shape: tuple[int, ...], indices: np.ndarray
) -> np.ndarray:
    settings = {**params, "fill_value": -1}
    with jax.ensure_compile_time_eval():
        places = jax.numpy.asarray(positions_of(shape))
        moved = jax.lax.gather_p.bind(places, jax.numpy.asarray(indices), **settings)
    positions = np.asarray(moved)
    if (positions < 0).any():
        raise build.error(
            f"a gather beyond the ends of shape {shape}", "Give indices that lie within."
        )
    return positions


def _place_of_batch(params, shape: tuple[int, ...]) -> int:
    """Returns which axis of a gather's result is the whole first axis of its value; 0 if none is."""
    numbers = params["dimension_numbers"]
    apart = (
        *numbers.collapsed_slice_dims,
        *numbers.operand_batching_dims,
        *numbers.start_index_map,
    )
    whole = 0 not in apart and params["slice_sizes"][0] == shape[0]
    return int(numbers.offset_dims[0]) if whole else 0


def _with_batch(build: Builder, value: Symbol, positions: np.ndarray, place: int) -> Symbol:
    """Emits a movement after which the batch is not the first axis: of each example, then the axes.

    x[:, i, :, j] has it behind the indices.
    """
    taken = emit_positions(build, value, np.moveaxis(positions, place, 0))
    if place == 0:
        return taken
    return emit_transpose(
        build, taken, [*range(1, place + 1), 0, *range(place + 1, positions.ndim)]
    )


def _take(build: Builder, params, value: Value, indices: Symbol) -> Symbol:
    """Rows along one axis by computed indices."""
    numbers = params["dimension_numbers"]
    mapped, shape = tuple(numbers.start_index_map), value.shape
    axis = int(mapped[0])
    whole = tuple(1 if i == axis else n for i, n in enumerate(shape))
    simple = (
        len(mapped) == 1
        and tuple(numbers.collapsed_slice_dims) == mapped
        and tuple(params["slice_sizes"]) == whole
        and not numbers.operand_batching_dims
    )
    if not simple:
        raise build.error(
            f"a gather of slices {tuple(params['slice_sizes'])} from shape {shape} "
            "at indices that depend on the inputs",
            "Supported are whole rows along one axis: jnp.take(x, indices, axis).",
        )
    rows = emit_reshape(build, _bounded(build, indices, shape[axis]), indices.shape[:-1])
    between = len(rows.shape)
    taken = build.emit(
        "gather",
        [value, rows],
        (*shape[:axis], *rows.shape, *shape[axis + 1 :]),
        result=value.dtype,
        axis=axis,
    )
    offsets = [int(n) for n in numbers.offset_dims]
    places = iter(offsets)
    order = [next(places) for _ in range(axis)]
    order += [i for i in range(len(taken.shape)) if i not in offsets]
    order += list(places)
    assert len(order) == axis + between + len(shape) - axis - 1
    return emit_transpose(build, taken, np.argsort(order).tolist())


def _bounded(build: Builder, indices: Symbol, size: int) -> Symbol:
    """Returns indices that lie within an axis, whatever they are: runtimes stop at others."""
    places = _not_wrapped(indices, size)
    position = producer(unshaped(places), "arg_max", "arg_min")
    if position is not None and position.inputs[0].shape[position.attributes["axis"]] <= size:
        return places
    wraps = places is not indices
    return build.emit("bounded_index", [places], places.shape, size=size, wraps=wraps)


def _not_wrapped(indices: Symbol, size: int) -> Symbol:
    """Returns `i` of `where(i < 0, i + size, i)`, TFLite's count from the start only; else the indices."""
    value, node = indices, indices.node
    while node is not None and node.kind in ("reshape", "broadcast", "select"):
        if node.kind == "select":
            return indices if (plain := _wrapped(node, size)) is None else plain
        inner = node.inputs[0]
        if not isinstance(inner, Symbol) or inner.shape != value.shape[: len(inner.shape)]:
            return indices
        value, node = inner, inner.node
    return indices


def _wrapped(choice: Node, size: int) -> Symbol | None:
    """Returns the indices of which a choice counts those below 0 from the end of an axis, or None."""
    condition, shifted, plain = choice.inputs
    negative, total = producer(condition, "less"), producer(shifted, "add")
    if negative is None or total is None or not isinstance(plain, Symbol):
        return None
    compared, bound = negative.inputs
    addends = [value for value in total.inputs if value is not plain]
    if compared is not plain or len(addends) != 1:
        return None
    return plain if (_number(bound), _number(addends[0])) == (0, size) else None


def _number(value: Value) -> float | None:
    return value.scalar() if isinstance(value, Known) else None
