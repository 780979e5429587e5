"""Ops that move values and never change them: one scale for everything that goes in and out.

Their float meaning on integers is their integer meaning, so each row is one function.
"""

import jax.numpy as jnp

from attokit.quant.ops.kind import OpKind


def _reshape(op, values):
    """Attributes: `shape` (batch included; the batch may differ from the traced one)."""
    shape = op["shape"]
    if op["keeps_batch"]:
        shape = (values.shape[0], *shape[1:])
    return (values.reshape(shape),)


def _transpose(op, values):
    """Attributes: `permutation`."""
    return (jnp.transpose(values, op["permutation"]),)


def _pad(op, values):
    """Attributes: `widths` ((before, after) per axis).  Pads with zero."""
    return (jnp.pad(values, op["widths"]),)


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


RESHAPE = OpKind(name="reshape", compute=_reshape, tied=True)
TRANSPOSE = OpKind(name="transpose", compute=_transpose, tied=True)
PAD = OpKind(name="pad", compute=_pad, tied=True)
CONCATENATION = OpKind(name="concatenation", compute=_concatenation, tied=True)
SLICE = OpKind(name="slice", compute=_slice, tied=True)
STRIDED_SLICE = OpKind(name="strided_slice", compute=_strided_slice, tied=True)
