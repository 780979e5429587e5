"""Computation in bfloat16 with float32 master weights.

The optimizer, the moving average and the running statistics stay float32; parameters are rounded to
bfloat16 for each step, and the gradients come back as float32. bfloat16 has the exponents of float32, so
losses need no scaling. Of what training shows beside images, such as boxes, nothing is rounded: in
bfloat16 they would be off by pixels.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from attokit.train.forward import Forward

ComputeDtype = Literal["float32", "bfloat16"]


def check_compute_dtype(name: str) -> None:
    """Raises ValueError unless a step can compute in that type."""
    if name not in get_args(ComputeDtype):
        raise ValueError(f"compute_dtype is {name!r}: choose {' or '.join(get_args(ComputeDtype))}")


def _rounded_inputs(inputs: PyTree) -> PyTree:
    """Returns what a network takes, images in bfloat16."""
    if isinstance(inputs, Mapping):
        return {k: _cast(v, jnp.bfloat16) if k == "images" else v for k, v in inputs.items()}
    return _cast(inputs, jnp.bfloat16)


def _cast(tree: PyTree, dtype: Any) -> PyTree:
    """Returns a tree whose floats have another type."""

    def cast(leaf: Array) -> Array:
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(cast, tree)


def in_bfloat16(forward: Forward) -> Forward:
    """Returns a network that computes in bfloat16 and takes and gives float32.

    The state goes in as it is, since running statistics are sums over many steps, and comes out in
    the types that it had.
    """

    def rounded(
        params: PyTree, model_state: PyTree, inputs: PyTree, *, train: bool, key: Array
    ) -> tuple[Any, PyTree]:
        small = _cast(params, jnp.bfloat16), _rounded_inputs(inputs)
        # Flax's own norms subtract their float32 statistics from what they get.
        with jax.numpy_dtype_promotion("standard"):
            outputs, changed = forward(small[0], model_state, small[1], train=train, key=key)
        same = jax.tree.map(lambda old, new: new.astype(old.dtype), model_state, changed)
        return _cast(outputs, jnp.float32), same

    return rounded
