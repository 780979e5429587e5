import jax
import jax.numpy as jnp
import pytest

from attokit import zoo

# Parameters, running statistics and multiply-accumulates of timm and torchvision.
REFERENCE = {
    "mobilenet_v2": (3_504_872, 34_112, 300_774_272),
    "mobilenet_v2_035": (1_677_128, 14_080, 59_285_808),
    "mobilenet_v2_050": (1_968_680, 18_544, 97_131_840),
    "mobilenet_v2_075": (2_636_424, 26_640, 209_069_792),
    "mobilenet_v2_140": (6_108_776, 47_936, 582_195_824),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_counts_of_the_reference_implementation(name):
    parameters, _, macs = REFERENCE[name]
    info = zoo.info(name)
    assert (info.parameters, info.macs) == (parameters, macs)


def test_running_statistics_and_logits():
    model = zoo.create("mobilenet_v2", num_classes=5)
    images = jax.ShapeDtypeStruct((2, 64, 96, 3), jnp.float32)
    logits, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
    assert logits.shape == (2, 5)
    statistics = jax.tree.leaves(variables["batch_stats"])
    assert sum(leaf.size for leaf in statistics) == REFERENCE["mobilenet_v2"][1]


def test_rnnpool_for_the_first_stages():
    """Table 10 of arXiv 2002.11921 comes to 2.185M parameters without norms and 214.3M convolutions."""
    model = zoo.create("mobilenet_v2_rnnpool", num_classes=10)
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
    assert zoo.count_parameters(variables) == 2_216_686
    without_norms = sum(x.size for path, x in leaves if "norm" not in jax.tree_util.keystr(path))
    assert round(without_norms / 1e6, 3) == 2.185
    layer = zoo.RNNPool((16, 16), 6, stride=4)
    x = jax.ShapeDtypeStruct((1, 112, 112, 32), jnp.float32)
    pool = jax.eval_shape(layer.init, jax.random.key(0), x)
    convolutions = zoo.info("mobilenet_v2_rnnpool", num_classes=10).macs
    convolutions -= zoo.count_macs(layer.apply, pool, x)
    assert round(convolutions / 1e6, 1) == 214.3


def test_rnnpool_of_the_last_map():
    """Table 2 there: 2.9M parameters; 2.2M with the average."""
    pooled = zoo.info("mobilenet_v2", last_pooling="rnnpool", num_classes=10).parameters
    average = zoo.info("mobilenet_v2", num_classes=10).parameters
    first, second = (n * 320 + 320**2 + 2 * 320 + 2 for n in (1280, 320))
    assert pooled - average == first + second


def test_refuses_bad_sizes():
    with pytest.raises(ValueError, match="width=-1"):
        zoo.create("mobilenet_v2", width=-1.0)
    with pytest.raises(ValueError, match="stem_pooling='maxi': choose from blocks, rnnpool"):
        zoo.create("mobilenet_v2", stem_pooling="maxi")
    with pytest.raises(ValueError, match="num_classes=0"):
        zoo.create("mobilenet_v2", num_classes=0)
