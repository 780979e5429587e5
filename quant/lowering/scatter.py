"""Writing at known places: `x.at[rows].set(y)` and `.add`, as choices, sums and joined parts."""

from typing import Any

import jax
import numpy as np

from attokit.quant.lowering.indexing import replaced
from attokit.quant.lowering.positions import emit_positions, positions_of
from attokit.quant.lowering.values import Builder, Known, Symbol, Value


def scatter(build: Builder, params, value: Value, indices: Value, part: Value) -> Value:
    """What is written, where it is; a block of what depends on the inputs is joined in."""
    places = _places(build, jax.lax.scatter_p, params, value, indices, part)
    written = places >= 0
    if isinstance(part, Known):
        values = np.where(written, part.array.ravel()[np.maximum(places, 0)], 0)
        inputs: list[Value] = [
            _narrow(written),
            _narrow(values.astype(part.dtype), part.name),
            value,
        ]
        return build.emit("select", inputs, value.shape)
    where = np.argwhere(written)
    begin, end = where.min(axis=0).tolist(), (where.max(axis=0) + 1).tolist()
    block = places[tuple(map(slice, begin, end))]
    if (block < 0).any():
        raise build.error(
            "a scatter of values that depend on the inputs to places that are no block",
            "Join the parts with jnp.concatenate, or choose with jnp.where and a mask.",
        )
    assert isinstance(part, Symbol)  # what is known was taken above
    return replaced(build, value, emit_positions(build, part, block), begin, 0)


def scatter_add(build: Builder, params, value: Value, indices: Value, part: Value) -> Symbol:
    """A sum with what is added, where it is."""
    if not isinstance(part, Known):
        raise build.error(
            "a sum at some places of values that depend on the inputs",
            "Pad what is added with zeros (jnp.pad) and add that.",
        )
    nothing = np.zeros(value.shape, part.dtype)
    added = _evaluate(build, jax.lax.scatter_add_p, params, nothing, indices, part.array)
    return build.emit("add", [value, _narrow(added, part.name)], value.shape)


def _places(
    build: Builder, primitive: Any, params, value: Value, indices: Value, part: Value
) -> np.ndarray:
    """Returns which element of the part is written to each of the value, -1 for none."""
    nowhere = np.full(value.shape, -1, np.int32)
    return _evaluate(build, primitive, params, nowhere, indices, positions_of(part.shape))


def _evaluate(
    build: Builder, primitive: Any, params, value: np.ndarray, indices: Value, part: np.ndarray
) -> np.ndarray:
    if not isinstance(indices, Known):
        raise build.error(
            "a scatter to places that depend on the inputs",
            "Compare an iota with the index and choose with jnp.where.",
        )
    with jax.ensure_compile_time_eval():
        arrays = map(jax.numpy.asarray, (value, indices.array, part))
        return np.asarray(primitive.bind(*arrays, **params))


def _narrow(array: np.ndarray, name: str | None = None) -> Known:
    """Returns what was made here of a constant or weight, without its repetitions."""
    return Known(Known(array).narrowed(range(array.ndim)).array, name)
