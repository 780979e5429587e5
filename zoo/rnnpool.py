"""RNNPool: a patch of the map becomes one vector by two small recurrent cells (Saha et al. 2020).

The first cell runs along every row of a patch and along every column; its last states are
summaries. The second cell runs over the row summaries, forth and back, and over the column
summaries, forth and back; its four last states are the patch's vector (arXiv 2002.11921,
algorithm 1). One pooling takes the place of several blocks and so of their large maps.

What overlapping patches share is computed once: a pixel's product with W, and the summary of the
piece of a row (column) that is the same in all patches above (beside) each other. The time steps are
unrolled: their number is static, and a file for devices has no loops.

Deviation: the initial state is zeros, as in the reference implementation; algorithm 1 prints a random
one.
Deviation: matrices start as uniform numbers of deviation 0.1; in the reference implementation they are normal.
"""

import math
from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attokit.zoo.fastgrnn import Nonlinearity, Params, next_state, project
from attokit.zoo.initialization import uniform

_GATE_SATURATED = 100.0  # sigmoid(100) is 1 and sigmoid(-100) next to 0 in float32


def rnn_pool(
    params: Mapping[str, Params],
    patches: Float[Array, "n p p k"],
    *,
    gate_nonlinearity: Nonlinearity = "sigmoid",
    update_nonlinearity: Nonlinearity = "tanh",
) -> Float[Array, "n h"]:
    """Returns one vector of 4 h2 numbers per patch: rows, rows reversed, columns, columns reversed.

    Args:
      params: {"rnn1": ..., "rnn2": ...}, each as `zoo.fastgrnn` has it; W is [k, h1] in the first and
        [h1, h2] in the second.
      patches: Square; their rows and columns are read in order of the axes.
      gate_nonlinearity: Of both cells.
      update_nonlinearity: Of both cells.

    Raises:
      ValueError: if the patches are not square, or parameters lack or do not fit.
    """
    if patches.ndim != 4 or patches.shape[1] != patches.shape[2]:
        raise ValueError(
            f"patches have shape {patches.shape}: RNNPool takes square patches [n, p, p, k]"
        )
    pooled = rnn_pool_map(
        params,
        patches,
        patch_size=patches.shape[1],
        stride=1,
        gate_nonlinearity=gate_nonlinearity,
        update_nonlinearity=update_nonlinearity,
    )
    return pooled[:, 0, 0]


def rnn_pool_map(
    params: Mapping[str, Params],
    x: Float[Array, "b h w k"],
    *,
    patch_size: int,
    stride: int,
    gate_nonlinearity: Nonlinearity = "sigmoid",
    update_nonlinearity: Nonlinearity = "tanh",
) -> Float[Array, "b h2 w2 c"]:
    """Returns `rnn_pool` of all patches of a map, `stride` apart, none beyond the border.

    Raises:
      ValueError: if the map is smaller than a patch, patches have no pixels or lie at one place, or
        parameters lack or do not fit.
    """
    height, width = (_places(size, patch_size, stride) for size in x.shape[1:3])

    def along(axis: int, places: int) -> Callable[[Array, int], Array]:
        reach = (places - 1) * stride + 1
        return lambda values, i: jax.lax.slice_in_dim(values, i, i + reach, stride, axis)

    def last(cell: str, step: Callable[[int], Array]) -> Array:
        # An input is cut out when its step comes: files run in this order, and hold what is cut till then.
        state = None
        for i in range(patch_size):
            state = next_state(
                params[cell],
                step(i),
                state,
                gate_nonlinearity=gate_nonlinearity,
                update_nonlinearity=update_nonlinearity,
            )
        assert state is not None  # a patch has pixels
        return state

    down, right = along(1, height), along(2, width)
    pixels = project(params["rnn1"], x)  # [b, h, w, h1]
    rows = project(params["rnn2"], last("rnn1", lambda i: right(pixels, i)))  # [b, h, w2, h2]
    columns = project(params["rnn2"], last("rnn1", lambda i: down(pixels, i)))  # [b, h2, w, h2]

    def passes(i: int) -> Array:
        """Returns the inputs of all four passes, which run as one over a map of four times the width."""
        back = patch_size - 1 - i
        four = [down(rows, i), down(rows, back), right(columns, i), right(columns, back)]
        return jnp.concatenate(four, axis=2)

    return jnp.concatenate(jnp.split(last("rnn2", passes), 4, axis=2), axis=-1)


class RNNPool(nn.Module):
    """Pools a map by RNNPool: every patch becomes one pixel of 4 h2 channels.

    Parameters are named `rnn1` and `rnn2`, each as `zoo.fastgrnn` has it.

    Attributes:
      hidden: States of the first and of the second cell, h1 and h2.
      patch_size: Side of the patches; None pools the whole map, which must be square, to one pixel.
      stride: Pixels from patch to patch.
      replicate_pad: Repeats the last row and the last column of the result, so that overlapping
        patches at a stride of half their side halve the map as often as strided convolutions do.
      gate_nonlinearity: Of both cells.
      update_nonlinearity: Of both cells.
      freeze_gate_scalars: Fixes the factors of zeta and nu at 1 and 0, as the paper says; else they are
        parameters, as in the reference implementation, where weight decay slowly opens them. Saturated, they
        have no gradient: without weight decay on scalars, which `attokit.train` spares, they stay.
    """

    hidden: tuple[int, int]
    patch_size: int | None
    stride: int = 1
    replicate_pad: bool = False
    gate_nonlinearity: Nonlinearity = "sigmoid"
    update_nonlinearity: Nonlinearity = "tanh"
    freeze_gate_scalars: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w k"]) -> Float[Array, "b h2 w2 c"]:
        """Returns the pooled map.

        Raises:
          ValueError: if the map is smaller than a patch, or is to be pooled whole and is not square, or a
            size is not positive.
        """
        side = self.patch_size
        if side is None:
            side = x.shape[1]
            if x.shape[1] != x.shape[2]:
                raise ValueError(
                    f"a map of {x.shape[1]}x{x.shape[2]} is pooled as one patch: RNNPool takes square "
                    "patches; give a square image or a patch_size"
                )
        first, second = self.hidden
        if min(first, second) < 1:
            raise ValueError(f"hidden={self.hidden}: give positive numbers of states")
        params = {
            "rnn1": self.param("rnn1", self._cell(x.shape[-1], first)),
            "rnn2": self.param("rnn2", self._cell(first, second)),
        }
        x = rnn_pool_map(
            jax.tree.map(lambda leaf: leaf.astype(x.dtype), params),
            x,
            patch_size=side,
            stride=self.stride,
            gate_nonlinearity=self.gate_nonlinearity,
            update_nonlinearity=self.update_nonlinearity,
        )
        return replicate_edges(x) if self.replicate_pad else x

    def _cell(self, inputs: int, hidden: int) -> Callable[[Array], dict[str, Array]]:
        def initialize(key: Array) -> dict[str, Array]:
            bound = 0.1 * math.sqrt(3.0)  # uniform numbers of the reference's deviation, 0.1
            keys = jax.random.split(key)
            cell = {
                "W": uniform(keys[0], (inputs, hidden), bound),
                "U": uniform(keys[1], (hidden, hidden), bound),
                "bias_gate": jnp.ones(hidden),
                "bias_update": jnp.ones(hidden),
            }
            if not self.freeze_gate_scalars:
                cell["zeta"] = jnp.asarray(_GATE_SATURATED)
                cell["nu"] = jnp.asarray(-_GATE_SATURATED)
            return cell

        return initialize


def replicate_edges(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Returns the map with its last column and its last row once more."""
    # A mirror at the border, which is one op where a slice and a concatenation per axis are four.
    return jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)), mode="symmetric")


def _places(size: int, patch_size: int, stride: int) -> int:
    if min(patch_size, stride) < 1:
        raise ValueError(
            f"patch_size={patch_size}, stride={stride}: give positive numbers of pixels"
        )
    if size < patch_size:
        raise ValueError(
            f"a map with a side of {size} is smaller than patches of {patch_size}: give larger images "
            "or smaller patches"
        )
    return (size - patch_size) // stride + 1
