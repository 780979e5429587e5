"""Ops that move values and never change them: one scale for everything that goes in and out.

Their float meaning on integers is their integer meaning, so each row is one function.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from attokit.quant.ops.kind import LITERT, OpKind, Wide

_ALL, _LITERT = Wide(), Wide(kernels=LITERT)


def _reshape(op, values):
    """Attributes: `shape` and `given`, its own and its input's as traced; `keeps_batch`; maybe `parts` or `first`.

    The batch may differ from the traced one.  `keeps_batch`: it is the first axis of both.  `parts`: the first
    axis of the input is the batch times so many rows, which are the result's second axis.  `first`: which axis of
    the result is the first of the input.
    """
    first = op.attributes.get("first", 0)
    if first:
        shape = op["shape"]
        return (values.reshape(*shape[:first], values.shape[0], *shape[first + 1 :]),)
    rows = op.attributes.get("parts", 0)
    if rows and values.shape[0] % rows == 0:
        return (values.reshape(values.shape[0] // rows, *op["shape"][1:]),)
    return (values.reshape(_reshaped(op["given"], values.shape, op["shape"])),)


def _reshaped(
    given: Sequence[int], actual: Sequence[int], shape: tuple[int, ...]
) -> tuple[int, ...]:
    """Returns the result's shape where one axis of what is given, the batch, has another size.

    It is found again in the result by what lies before it, also where it was merged with its
    neighbours, as windows of images are with the batch.
    """
    changed = [axis for axis, n in enumerate(given) if n != actual[axis]]
    if len(changed) != 1:
        return shape
    (axis,) = changed
    old, new, before = given[axis], actual[axis], math.prod(given[:axis])
    places = [place for place in range(len(shape)) if math.prod(shape[:place]) == before]
    # As it is, merged with its neighbours, or parted from what it was merged with.
    for holds in (
        lambda n: n == old,
        lambda n: n % old == 0,
        lambda n: n > 1 and n * new % old == 0,
    ):
        for place in places:
            if old and holds(shape[place]):
                return (*shape[:place], shape[place] * new // old, *shape[place + 1 :])
    return shape


def _own_batch(op, values) -> tuple[int, ...]:
    return (values.shape[0], *op["shape"][1:]) if op["keeps_batch"] else op["shape"]


def _broadcast_to(op, values):
    """Attributes: `shape`, `keeps_batch` (the first axis is that of the input)."""
    return (jnp.broadcast_to(values, _own_batch(op, values)),)


def _transpose(op, values):
    """Attributes: `permutation`."""
    return (jnp.transpose(values, op["permutation"]),)


def _pad(op, values):
    """Attributes: `widths` ((before, after) per axis).  Pads with zero."""
    return (jnp.pad(values, op["widths"]),)


def _pad_v2(op, values, filling):
    """Attributes: `widths`.  Inputs: values, and what to pad with, one number."""
    widths = [(before, after, 0) for before, after in op["widths"]]
    return (jax.lax.pad(values, filling.reshape(()), widths),)


def _mirror_pad(op, values):
    """Attributes: `widths`, `mode` ("reflect": the edge is not repeated; "symmetric": it is)."""
    return (jnp.pad(values, op["widths"], mode=op["mode"]),)


def _concatenation(op, *values):
    """Attributes: `axis`.  Along other axes what has size 1 is repeated, as a class token is."""
    axis = op["axis"]
    rest = jnp.broadcast_shapes(*((*x.shape[:axis], 1, *x.shape[axis + 1 :]) for x in values))
    rows = [jnp.broadcast_to(x, (*rest[:axis], x.shape[axis], *rest[axis + 1 :])) for x in values]
    return (jnp.concatenate(rows, axis=axis),)


def _slice(op, values):
    """Attributes: `begin` and `size` per axis (size -1: to the end)."""
    index = tuple(
        slice(begin, None if size == -1 else begin + size)
        for begin, size in zip(op["begin"], op["size"], strict=True)
    )
    return (values[index],)


def _strided_slice(op, values):
    """Attributes: `begin`, `end`, `strides` per axis (positive), `keeps_batch` (as `reshape`)."""
    index = [slice(*row) for row in zip(op["begin"], op["end"], op["strides"], strict=True)]
    if op["keeps_batch"]:
        index[0] = slice(None)
    return (values[tuple(index)],)


def _reverse(op, values):
    """Attributes: `axis`."""
    return (jnp.flip(values, op["axis"]),)


def _gather(op, values, indices):
    """Attributes: `axis`.  Inputs: values, indices (int32, any rank, within the axis)."""
    return (jnp.take(values, indices, axis=op["axis"], mode="clip"),)


def _bounded_index(op, indices):
    """Attributes: `size` of an axis, `wraps`: -1 is its last place.  What lies outside is moved inside."""
    size = op["size"]
    placed = jnp.where(indices < 0, indices + size, indices) if op["wraps"] else indices
    return (jnp.clip(placed, 0, size - 1),)


def _depth_to_space(op, images):
    """Attributes: `block`.  Channels are (row, column, channel) of a block."""
    b, h, w, c = images.shape
    n = op["block"]
    blocks = images.reshape(b, h, w, n, n, c // n**2).transpose(0, 1, 3, 2, 4, 5)
    return (blocks.reshape(b, h * n, w * n, c // n**2),)


def _space_to_depth(op, images):
    """Attributes: `block`.  The inverse of `depth_to_space`."""
    b, h, w, c = images.shape
    n = op["block"]
    blocks = images.reshape(b, h // n, n, w // n, n, c).transpose(0, 1, 3, 2, 4, 5)
    return (blocks.reshape(b, h // n, w // n, n * n * c),)


_moving = functools.partial(OpKind, tied=True, homogeneous="moved")

BOUNDED_INDEX = OpKind(name="bounded_index", compute=_bounded_index, tied=True)
BROADCAST_TO = _moving(name="broadcast_to", compute=_broadcast_to, wide=_ALL)
CONCATENATION = _moving(name="concatenation", compute=_concatenation, wide=_ALL)
DEPTH_TO_SPACE = _moving(name="depth_to_space", compute=_depth_to_space)
GATHER = _moving(name="gather", compute=_gather, wide=_LITERT)
MIRROR_PAD = _moving(name="mirror_pad", compute=_mirror_pad, wide=_LITERT)
PAD = _moving(name="pad", compute=_pad, wide=_ALL)
PAD_V2 = _moving(name="pad_v2", compute=_pad_v2, wide=_ALL)
RESHAPE = _moving(name="reshape", compute=_reshape, wide=_ALL)
REVERSE = _moving(name="reverse", compute=_reverse, wide=_ALL)
SLICE = _moving(name="slice", compute=_slice, wide=_ALL)
SPACE_TO_DEPTH = _moving(name="space_to_depth", compute=_space_to_depth)
STRIDED_SLICE = _moving(name="strided_slice", compute=_strided_slice, wide=_ALL)
TRANSPOSE = _moving(name="transpose", compute=_transpose, wide=_ALL)
