import jax
import jax.numpy as jnp
import pytest

from attokit import quant, zoo

# Parameters, running statistics and multiply-accumulates of timm and torchvision.
REFERENCE = {
    "mobilenet_v3_large": (5_483_032, 24_400, 216_589_760),
    "mobilenet_v3_small": (2_542_856, 12_112, 56_510_400),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_counts_of_the_reference_implementation(name):
    parameters, statistics, macs = REFERENCE[name]
    info = zoo.info(name)
    assert (info.parameters, info.macs) == (parameters, macs)
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    variables = jax.eval_shape(zoo.create(name).init, jax.random.key(0), images)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["batch_stats"])) == statistics


@pytest.mark.slow
def test_activations_and_gates_are_ops_of_the_target():
    model = zoo.create("mobilenet_v3_small", num_classes=5)
    images = jnp.ones((1, 32, 32, 3))
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    variables = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), shapes)
    graph, _ = quant.trace(model.apply, variables, images)
    kinds = [op.kind for op in graph.ops]
    assert kinds.count("hard_swish") == 19
    assert kinds.count("mean") == 10
    assert not {"lookup", "reshape", "quantize"} & set(kinds)


def test_refuses_bad_sizes():
    with pytest.raises(ValueError, match="hidden=0"):
        zoo.create("mobilenet_v3_small", hidden=0)
