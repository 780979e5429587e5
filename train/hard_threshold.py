"""Sparse kernels by iterative hard thresholding: after each step the smallest entries become zero.

Jin et al., "Training skinny deep neural networks with iterative hard thresholding methods"; with the shares
that RNNPool's reference implementation fine-tunes its M4 face detector at. An entry that is zero has a
gradient, and comes back where its step makes it large; from a step on that may be given, zeros stay
(FastGRNN trains so: some steps dense, some thresholded, the rest with what then remained).
"""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

RNNPOOL_M4_SHARES: Mapping[str, float] = MappingProxyType(
    {"*/rnn1/W": 0.5, "*/rnn1/U": 0.3, "*/rnn2/W": 0.3, "*/rnn2/U": 0.3}
)
"""What remains of the matrices of both cells; biases and the gates' scalars stay dense."""


def kept_entries(array: Float[Array, "*n"], share: float) -> Bool[Array, "*n"]:
    """Returns which entries are among the largest `share` by their size.

    The least that is kept is the percentile `100 (1 - share)` of the sizes, rounded up to one of them, and
    what equals it is kept too.

    Args:
      array: Any shape.
      share: Above 0, up to 1.
    """
    # NumPy's percentile of positions: a product of floats decides which one is meant.
    place = int(np.percentile(np.arange(array.size), 100 * (1 - share), method="higher"))
    sizes = jnp.abs(array)
    return sizes >= jnp.sort(sizes.reshape(-1))[place]


def hard_threshold(array: Float[Array, "*n"], share: float) -> Float[Array, "*n"]:
    """Returns an array whose entries are zero but the largest `share` of them.

    It is the nearest array with so few entries that are not zero.
    """
    return jnp.where(kept_entries(array, share), array, jnp.zeros_like(array))


class ThresholdState(NamedTuple):
    """What thresholding remembers.

    Attributes:
      taken: Steps so far.
    """

    taken: Int[Array, ""]


def iterative_hard_thresholding(
    shares: Mapping[str, float] = RNNPOOL_M4_SHARES, *, start: int = 0, fixed: int | None = None
) -> optax.GradientTransformation:
    """Returns a transformation after which parameters are sparse; the last of a chain.

    `optax.chain(optimizer, iterative_hard_thresholding(...))` takes the optimizer's step and then zeroes
    exactly all but the largest entries; those that are kept have the very values of that step.

    Args:
      shares: The share of entries that are kept, by shell pattern of the parameters' paths, such as
        {"*/rnn1/W": 0.5}. Of several patterns that match, the last counts.
      start: Steps before the first threshold, in which all entries are trained.
      fixed: Steps after which what is zero stays zero and the rest is trained; None: never.

    Raises:
      ValueError: if a share is not above 0 and up to 1, or no step is left between `start` and `fixed`; in
        `init`, if a pattern matches no parameter. In `update`, if it is not given the parameters.
    """
    if start < 0 or (fixed is not None and fixed <= start):
        raise ValueError(
            f"thresholds start at step {start} and are fixed from step {fixed} on: give a later one to end with"
        )
    wrong = {name: share for name, share in shares.items() if not 0 < share <= 1}
    if wrong or not shares:
        raise ValueError(f"shares of entries are {wrong or shares}: give numbers above 0 up to 1")

    def init(params: PyTree) -> ThresholdState:
        _check_patterns(shares, params)
        return ThresholdState(jnp.int32(0))

    def update(
        updates: PyTree, state: ThresholdState, params: PyTree | None = None
    ) -> tuple[PyTree, ThresholdState]:
        if params is None:
            raise ValueError(
                "thresholding needs the parameters: call update(updates, state, params)"
            )

        def sparse(path: tuple, step: Array, value: Array) -> Array:
            fitting = [s for pattern, s in shares.items() if fnmatch.fnmatch(_name(path), pattern)]
            if not fitting:
                return step
            kept = kept_entries(value + step, fitting[-1])
            if fixed is not None:
                kept = jnp.where(state.taken < fixed, kept, value != 0)
            # value + (-value) is exactly zero; other entries take their step unchanged.
            return jnp.where(kept | (state.taken < start), step, -value)

        changed = jax.tree_util.tree_map_with_path(sparse, updates, params)
        return changed, ThresholdState(state.taken + 1)

    return optax.GradientTransformation(init, update)


def hold_zeros(patterns: Sequence[str]) -> optax.GradientTransformation:
    """Returns a transformation behind an optimizer that keeps zeros, and lets the rest be trained.

    It is what `iterative_hard_thresholding` does from its step `fixed` on, and remembers nothing.

    Args:
      patterns: Of the paths of the parameters, as in a shell ("*/rnn1/W"); the others take their step.

    Raises:
      ValueError: in `init`, if a pattern matches no parameter. In `update`, if it is not given the parameters.
    """

    def init(params: PyTree) -> optax.EmptyState:
        _check_patterns(patterns, params)
        return optax.EmptyState()

    def update(
        updates: PyTree, state: optax.EmptyState, params: PyTree | None = None
    ) -> tuple[PyTree, optax.EmptyState]:
        if params is None:
            raise ValueError(
                "holding zeros needs the parameters: call update(updates, state, params)"
            )

        def held(path: tuple, step: Array, value: Array) -> Array:
            fits = any(fnmatch.fnmatch(_name(path), pattern) for pattern in patterns)
            return jnp.where(value != 0, step, jnp.zeros_like(step)) if fits else step

        return jax.tree_util.tree_map_with_path(held, updates, params), state

    return optax.GradientTransformation(init, update)


def _check_patterns(patterns: Iterable[str], params: PyTree) -> None:
    """Raises ValueError if a pattern matches no parameter."""
    names = [_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    idle = [pattern for pattern in patterns if not fnmatch.filter(names, pattern)]
    if idle:
        raise ValueError(
            f"{', '.join(idle)} matches none of the parameters {', '.join(names)}: correct the pattern"
        )


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
