"""Random compositions of what vision networks are made of, as functions to trace."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
from traced import normal

SHAPE = (2, 6, 5, 4)
Images = Any

# Each takes images, a number from 0 to 3 that chooses among its forms, and a source of weights.
# All are continuous, so that the last bit of a value never decides about another one.
ONE: dict[str, Callable[[Images, int, Callable], Images]] = {
    "rectify": lambda x, n, w: (nn.relu, nn.relu6, nn.leaky_relu, nn.hard_tanh)[n](x),
    "gate": lambda x, n, w: (nn.sigmoid, jnp.tanh, nn.hard_sigmoid, nn.softplus)[n](x),
    "smooth": lambda x, n, w: (nn.silu, nn.gelu, jax.nn.mish, nn.hard_swish)[n](x),
    "curve": lambda x, n, w: (jnp.abs, jnp.sin, _bell, nn.elu)[n](x),
    "affine": lambda x, n, w: (x * 0.5, x + 0.25, 1 - x, (x - 0.3) / 0.7)[n],
    "scale": lambda x, n, w: x * w(1, 1, 1, x.shape[-1]) + w(1, 1, 1, x.shape[-1]) * n,
    "pointwise": lambda x, n, w: x @ w(x.shape[-1], 2 + n),
    "filter": lambda x, n, w: _convolve(x, w(3, 3, x.shape[-1], 3), 1 + n % 2, 1 + n // 2, 1),
    "depthwise": lambda x, n, w: _convolve(x, w(2, 3, 1, x.shape[-1]), 1 + n % 2, 1, x.shape[-1]),
    "average": lambda x, n, w: nn.avg_pool(x, (2, 2), (1, 1), ("SAME", "VALID")[n % 2]),
    "maximal": lambda x, n, w: nn.max_pool(x, (2, 2), (1, 1), ("SAME", "VALID")[n % 2]),
    "mean": lambda x, n, w: jnp.mean(x, ((1, 2), (3,), (1,), (1, 2, 3))[n], keepdims=True),
    "peak": lambda x, n, w: jnp.max(x, ((1, 2), (3,), (1,), (1, 2, 3))[n], keepdims=True),
    "pad": lambda x, n, w: jnp.pad(
        x, ((0, 0), (n, 1), (0, 1), (0, 0)), constant_values=(0, 0.5)[n % 2]
    ),
    "crop": lambda x, n, w: (x[:, :1], x[:, :, ::2], x[..., :1], x[:, ::-1])[n],
    "turn": lambda x, n, w: (
        jnp.swapaxes(x, 1, 2),
        jnp.roll(x, 1, 1),
        jnp.repeat(x, 2, 2),
        jnp.flip(x, 2),
    )[n],
    "fold": lambda x, n, w: x.reshape(x.shape[0], -1, 1, x.shape[-1]) if n % 2 else x.reshape(
        x.shape[0], x.shape[1], 1, -1
    ),
    "resize": lambda x, n, w: jax.image.resize(
        x, (*_doubled(x, n), x.shape[-1]), ("bilinear", "nearest")[n % 2]
    ),
    "share": lambda x, n, w: nn.softmax(x, axis=(3, 3, 2, 1)[n]),
    "normalize": lambda x, n, w: (x - x.mean(-1, keepdims=True))
    / jnp.sqrt(x.var(-1, keepdims=True) + 0.1),
    "group": lambda x, n, w: _convolve(
        x, w(1 + n // 2, 3, -(-x.shape[-1] // _groups(x)), 2 * _groups(x)), 1 + n % 2, 1, _groups(x)
    ),
    "spread": lambda x, n, w: jax.lax.conv_transpose(
        x, w(3, 2, x.shape[-1], 3), (2, 1 + n // 2), ("SAME", "VALID")[n % 2]
    ),
    "slope": lambda x, n, w: jnp.where(x >= 0, x, w(1, 1, 1, x.shape[-1]) * x),
    "least": lambda x, n, w: jnp.min(x, ((1, 2), (3,), (1,), (1, 2, 3))[n], keepdims=True),
    "pick": lambda x, n, w: jnp.take(x, jnp.asarray([x.shape[1 + n % 3] - 1, 0, 0]), 1 + n % 3),
    "mirror": lambda x, n, w: jnp.pad(
        x, ((0, 0), (0, min(n, x.shape[1] - 1)), (x.shape[2] // 2, 0), (0, 0)),
        ("reflect", "symmetric")[n % 2],
    ),
    "block": lambda x, n, w: _blocks(x),
    "unit": lambda x, n, w: x / jnp.sqrt(jnp.maximum(jnp.sum(x * x, -1, keepdims=True), 1e-3)),
    "log_share": lambda x, n, w: nn.log_softmax(x),
    "attend": lambda x, n, w: _attend(jnp.tanh(x)) if n % 2 else jnp.tanh(x) @ x.swapaxes(-1, -2),
    "foremost": lambda x, n, w: _foremost(x, 1 + n % 3),
    "gated": lambda x, n, w: jnp.where(
        (jnp.all, jnp.any)[n % 2](x > 0, 1 + n // 2, keepdims=True), _bound(x, n), 0.0
    ),
}  # fmt: skip

TWO: dict[str, Callable[[Images, Images], Images]] = {
    "choose": lambda x, y: jnp.where(x > y, x - y, 0.5 * (x - y)),
    "choose_least": lambda x, y: jnp.where(x <= y, 0.5 * (x - y), x - y),
    "both": lambda x, y: jnp.where((x > y) & ~(x < 0), jnp.minimum(x - y, x), 0.0),
    "either": lambda x, y: jnp.where((x >= y) | (x > 0), jnp.maximum(x - y, x), 0.0),
    "differ": lambda x, y: jnp.where(x != y, x, y),
    "same": lambda x, y: jnp.where(x == y, x, y),
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "maximum": jnp.maximum,
    "minimum": jnp.minimum,
    "join": lambda x, y: jnp.concatenate([x, jnp.broadcast_to(y, x.shape)], -1),
}


def _bell(x):
    return 1 / (1 + x * x)


def _groups(x):
    return 2 if x.shape[-1] % 2 == 0 else 1


def _blocks(x):
    """Space to depth where sides are even, else depth to space where channels allow it."""
    b, h, w, c = x.shape
    if h % 2 == w % 2 == 0:
        blocks = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
        return blocks.reshape(b, h // 2, w // 2, 4 * c)
    if c % 4 == 0:
        blocks = x.reshape(b, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5)
        return blocks.reshape(b, 2 * h, 2 * w, c // 4)
    return x


def _attend(x):
    return nn.softmax(x @ x.swapaxes(-1, -2)) @ x


def _foremost(x, axis):
    """The greatest value, found by its place: a place may jump, the value does not."""
    place = jax.nn.one_hot(jnp.argmax(x, axis), x.shape[axis], axis=axis)
    return jnp.sum(place * x, axis, keepdims=True)


def _bound(x, n):
    """What is 0 where "all" or "any" changes its mind."""
    return (jnp.min, jnp.max)[n % 2](x, 1 + n // 2, keepdims=True)


def _convolve(x, kernel, stride, dilation, groups):
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        "SAME",
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _doubled(x, n):
    return (x.shape[0], x.shape[1] * 2, x.shape[2] * (2 if n < 2 else 1))


@dataclasses.dataclass(frozen=True)
class Network:
    """A function that `quant.trace` takes: of weights and images.

    Attributes:
      steps: (operation, which of the values so far, which other one, form).
    """

    steps: tuple[tuple[str, int, int, int], ...]

    def __call__(self, variables: list[jax.Array], images: jax.Array) -> list[jax.Array]:
        """Returns the last value, and the one before it where that is not the input."""
        left = iter(variables)
        return self._run(images, lambda *shape: next(left))

    @property
    def variables(self) -> list[jax.Array]:
        """Random weights."""
        shapes: list[tuple[int, ...]] = []

        def weight(*shape: int) -> jax.Array:
            shapes.append(shape)
            return jnp.zeros(shape)

        jax.eval_shape(lambda x: self._run(x, weight), normal(*SHAPE))
        return [0.5 * normal(*shape, seed=i) for i, shape in enumerate(shapes)]

    def _run(self, images: jax.Array, weight: Callable[..., jax.Array]) -> list[jax.Array]:
        values = [images]
        for name, first, second, form in self.steps:
            x = values[first % len(values)]
            if name in ONE:
                result = ONE[name](x, form, weight)
            else:
                result = TWO[name](x, _partner(x, values, second))
            if 0 < result.size <= 4096:
                values.append(result)
        return values[-1:] if len(values) < 3 else values[-2:]


def _partner(x: jax.Array, values: list[jax.Array], choice: int) -> jax.Array:
    """Returns a value that broadcasts to x; x itself always does."""
    fitting = [
        y for y in values if all(n in (1, m) for n, m in zip(y.shape[1:], x.shape[1:], strict=True))
    ]
    return fitting[choice % len(fitting)]


networks = st.builds(
    Network,
    st.lists(
        st.tuples(
            st.sampled_from([*ONE, *TWO]),
            st.integers(0, 7),
            st.integers(0, 7),
            st.integers(0, 3),
        ),
        min_size=1,
        max_size=6,
    ).map(tuple),
)
