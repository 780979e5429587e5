import dataclasses

import jax
import jax.numpy as jnp
import pytest
from single_op import Case, Drawer, differences, largest_difference

_TWO = ((2, 5, 4, 3), (2, 5, 4, 3))
_ROW = ((2, 5, 4, 3), (2, 1, 1, 3))


def _variable(combine):
    return lambda variables, x: combine(x, variables[0])


CASES = {
    "add": Case("add", lambda _, x, y: x + y, (), _TWO),
    "add_relu": Case("add", lambda _, x, y: jax.nn.relu(x + y), (), _TWO),
    "add_relu6": Case("add", lambda _, x, y: jax.nn.relu6(x + y), (), _TWO),
    "add_broadcast": Case("add", lambda _, x, y: x + y, (), _ROW),
    "add_weight": Case("add", _variable(lambda x, w: x + w), ((1, 1, 1, 3),), _TWO[:1]),
    "sub": Case("sub", lambda _, x, y: x - y, (), _TWO),
    "sub_broadcast": Case("sub", lambda _, x, y: jax.nn.relu(x - y), (), _ROW),
    "mul": Case("mul", lambda _, x, y: x * y, (), _TWO),
    "mul_relu6": Case("mul", lambda _, x, y: jax.nn.relu6(x * y), (), _TWO),
    "mul_broadcast": Case("mul", lambda _, x, y: x * y, (), _ROW),
    "mul_weight": Case("mul", _variable(lambda x, w: x * w), ((1, 1, 1, 3),), _TWO[:1]),
    "relu": Case("relu", lambda _, x: jax.nn.relu(x)),
    "relu6": Case("relu6", lambda _, x: jax.nn.relu6(x * jnp.float32(1)), ()),
    "relu_n1_to_1": Case("relu_n1_to_1", lambda _, x: jnp.clip(x, -1, 1)),
    "softmax": Case("softmax", lambda _, x: jax.nn.softmax(x), (), ((4, 13),)),
    "softmax_rank_4": Case("softmax", lambda _, x: jax.nn.softmax(x)),
}


def _runs(name: str, kernels: str) -> bool:
    return not (name == "relu_n1_to_1" and kernels == "micro")  # TFLite Micro has none


PAIRS = [(n, k) for n in CASES for k in ("reference", "micro", "xnnpack") if _runs(n, k)]


@pytest.mark.parametrize(("name", "kernels"), PAIRS)
def test_every_element_equals_the_runtime(name, kernels):
    assert largest_difference(CASES[name], kernels, draws=4) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kernels"), PAIRS)
def test_every_element_equals_the_runtime_in_many_draws(name, kernels):
    assert largest_difference(CASES[name], kernels, draws=200, seed=1) == 0


@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
def test_quantize_changes_the_scale(kernels):
    # No function asks for QUANTIZE; tied ops with two prescribed ranges do.  Make it of a RELU.
    drawer = Drawer(CASES["relu"])
    graph = drawer.graph.map_ops(lambda op: dataclasses.replace(op, kind="quantize"))
    for _ in range(4):
        found = differences(graph, *drawer.draw(), kernels)
        assert max(x.max() for x in found.values()) == 0
