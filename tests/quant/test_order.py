import jax.numpy as jnp
import numpy as np
from row_networks import branching, calibrated
from traced import normal

from attokit import quant
from attokit.quant.live_bytes import live_bytes, planned_bytes
from attokit.quant.order import in_least_memory, reorder


def _late_heads(v, x):
    """An early map is read again at the very end, by what makes little of it."""
    early = jnp.tanh(x @ v["a"])
    y = jnp.tanh(early @ v["b"])
    for _ in range(3):
        y = jnp.tanh(y @ v["b"])
    return jnp.concatenate(
        [jnp.mean(y, (1, 2)), jnp.mean(jnp.tanh(early @ v["c"]), (1, 2))], axis=1
    )


def test_heads_run_when_their_map_is_made():
    shapes = {"a": (3, 16), "b": (16, 16), "c": (16, 2)}
    network = calibrated(_late_heads, {n: normal(*s) for n, s in shapes.items()}, (1, 8, 8, 3))
    graph = reorder(network.graph)
    assert max(live_bytes(graph)) < max(live_bytes(network.graph))
    assert sorted(op.outputs for op in graph.ops) == sorted(op.outputs for op in network.graph.ops)
    np.testing.assert_array_equal(network.outputs(graph), network.outputs())
    assert reorder(graph).ops == graph.ops


def test_branches_run_one_behind_the_other():
    network = branching()
    graph = in_least_memory(network.graph)
    assert planned_bytes(graph) < 0.6 * planned_bytes(network.graph)
    inner = quant.trace(lambda v, x: jnp.tanh(x @ v), normal(3, 4), normal(1, 3))[0]
    assert in_least_memory(inner) is inner
