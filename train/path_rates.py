"""Rates of learning by the path of a parameter: layer-wise rates, and 0 for layers that are frozen."""

import difflib
import fnmatch
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from attokit.train.forward import Forward

RateFactors = Sequence[tuple[str, float]]
"""Pairs of a pattern of paths, as in a shell ("stem/*", "*/kernel"), and a factor of the rate."""


def _names(params: PyTree) -> list[str]:
    paths = jax.tree_util.tree_leaves_with_path(params)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths]


def path_rates(params: PyTree, factors: RateFactors) -> PyTree:
    """Returns a tree like `params` of the factor of each parameter's rate: 1 where no pattern fits.

    Of several patterns that fit, the last one counts.

    Raises:
      ValueError: if a pattern fits no parameter; it lists near paths.
    """
    names = _names(params)
    rates = dict.fromkeys(names, 1.0)
    for pattern, factor in factors:
        fitting = fnmatch.filter(names, pattern)
        if not fitting:
            near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.3) or sorted(names)[:3]
            raise ValueError(
                f"no parameter has a path like {pattern!r} (of rate_factors): near are {', '.join(near)}"
            )
        rates |= dict.fromkeys(fitting, factor)
    return jax.tree.unflatten(jax.tree.structure(params), [rates[name] for name in names])


def scale_updates(factors: RateFactors) -> optax.GradientTransformation:
    """Returns a transformation that multiplies each update by its factor; stands behind an optimizer.

    A factor of 0 leaves a parameter as it is, bit for bit, whatever decay or momentum would do.
    """

    def update(updates: PyTree, params: PyTree) -> PyTree:
        del params

        def scaled(value: Array, factor: float) -> Array:
            return value * factor if factor else jnp.zeros_like(value)

        return jax.tree.map(scaled, updates, path_rates(updates, factors))

    return optax.stateless(update)


def without_frozen_gradients(forward: Forward, factors: RateFactors) -> Forward:
    """Returns a network in which nothing is derived by parameters whose factor is 0.

    Their gradients are zeros, so the compiler drops their computation and clipping does not see them.
    Running statistics still move.
    """

    def frozen(
        params: PyTree, model_state: PyTree, inputs: PyTree, *, train: bool, key: Array
    ) -> tuple[PyTree, PyTree]:
        rates = path_rates(params, factors)
        params = jax.tree.map(
            lambda leaf, rate: leaf if rate else jax.lax.stop_gradient(leaf), params, rates
        )
        return forward(params, model_state, inputs, train=train, key=key)

    return frozen
