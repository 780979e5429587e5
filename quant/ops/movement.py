"""Ops that move values and never change them: one scale for everything that goes in and out.

Their float meaning on integers is their integer meaning, so each row is one function.
"""

import jax
import jax.numpy as jnp

from attokit.quant.ops.kind import LITERT, OpKind, Wide

_ALL, _LITERT = Wide(), Wide(kernels=LITERT)


def _reshape(op, values):
    """Attributes: `shape` (batch included; the batch may differ from the traced one)."""
    return (values.reshape(_own_batch(op, values)),)


def _own_batch(op, values) -> tuple[int, ...]:
    return (values.shape[0], *op["shape"][1:]) if op["keeps_batch"] else op["shape"]


def _broadcast_to(op, values):
    """Attributes: `shape` and `keeps_batch`, as of `reshape`."""
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
    """Attributes: `axis`."""
    return (jnp.concatenate(values, axis=op["axis"]),)


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


BROADCAST_TO = OpKind(name="broadcast_to", compute=_broadcast_to, tied=True, wide=_ALL)
CONCATENATION = OpKind(name="concatenation", compute=_concatenation, tied=True, wide=_ALL)
DEPTH_TO_SPACE = OpKind(name="depth_to_space", compute=_depth_to_space, tied=True)
GATHER = OpKind(name="gather", compute=_gather, tied=True, wide=_LITERT)
MIRROR_PAD = OpKind(name="mirror_pad", compute=_mirror_pad, tied=True, wide=_LITERT)
PAD = OpKind(name="pad", compute=_pad, tied=True, wide=_ALL)
PAD_V2 = OpKind(name="pad_v2", compute=_pad_v2, tied=True, wide=_ALL)
RESHAPE = OpKind(name="reshape", compute=_reshape, tied=True, wide=_ALL)
REVERSE = OpKind(name="reverse", compute=_reverse, tied=True, wide=_ALL)
SLICE = OpKind(name="slice", compute=_slice, tied=True, wide=_ALL)
SPACE_TO_DEPTH = OpKind(name="space_to_depth", compute=_space_to_depth, tied=True)
STRIDED_SLICE = OpKind(name="strided_slice", compute=_strided_slice, tied=True, wide=_ALL)
TRANSPOSE = OpKind(name="transpose", compute=_transpose, tied=True, wide=_ALL)
