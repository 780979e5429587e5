import jax
import jax.numpy as jnp
import numpy as np
from integer_oracles import high_product, multiply, rounding_shift

from attokit import quant
from attokit.quant.ops.normalization import L2_NORMALIZATION, inverse_square_root


def _inverse_square_root(value: int) -> tuple[int, int]:
    """GetInvSqrtQuantizedMultiplierExp, in Python's integers."""
    if value <= 1:
        return 2**31 - 1, 0

    def saturated(x):
        return int(np.clip(x, -(2**31), 2**31 - 1))

    shift = 11
    while value >= 2**29:
        value, shift = value // 4, shift + 1
    pairs = (31 - value.bit_length()) // 2 - 1
    half = (value << 2 * pairs) >> 1
    shift, quarter, x = shift - pairs, int(rounding_shift(half, 1)), 2**28
    for _ in range(5):
        cube = saturated(int(high_product(high_product(x, x), x)) << 6)
        step = int(high_product(2**28 + 2**27, x)) - int(high_product(quarter, cube))
        x = saturated(step << 3)
    x = int(high_product(x, 1518500250))
    return (x << -shift, 0) if shift < 0 else (x, shift)


def test_the_inverse_square_root_is_the_kernel_s():
    random = np.random.default_rng(0)
    values = np.concatenate([np.arange(40), np.exp(random.uniform(0, 21.4, 200)).astype(np.int64)])
    values = np.append(values, [2**29 - 1, 2**29, 2**31 - 1])
    mantissa, shift = inverse_square_root(jnp.asarray(values, jnp.int32))
    wanted = np.array([_inverse_square_root(int(value)) for value in values])
    np.testing.assert_array_equal(np.stack([mantissa, shift], 1), wanted)
    real = np.asarray(mantissa, np.float64) * 2.0 ** (-31 - np.asarray(shift))
    np.testing.assert_allclose(real[1:], 1 / np.sqrt(values[1:]), rtol=1e-4)


def test_rows_are_normalized_in_integers():
    values = np.random.default_rng(1).integers(-255, 256, (6, 12))
    values[0] = 0
    (result,) = L2_NORMALIZATION.integer(
        None, "reference", (jnp.asarray(values, "float32"),), (), ()
    )
    rows = [_inverse_square_root(int((row * row).sum())) for row in values]
    wanted = [multiply(row, m, 7 - s) for row, (m, s) in zip(values, rows, strict=True)]
    np.testing.assert_array_equal(result.integers, wanted)


def test_a_row_of_zeros_has_a_gradient():
    def function(_, x):
        return x * jax.lax.rsqrt(jnp.sum(x * x, -1, keepdims=True))

    x = jnp.zeros((2, 3)).at[1].set(1)
    graph, weights = quant.trace(function, (), x)
    gradient = jax.grad(lambda x: graph(weights, x).sum())(x)
    assert np.isfinite(gradient).all()
