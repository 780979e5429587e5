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


def test_refuses_bad_sizes():
    with pytest.raises(ValueError, match="width=-1"):
        zoo.create("mobilenet_v2", width=-1.0)
    with pytest.raises(ValueError, match="num_classes=0"):
        zoo.create("mobilenet_v2", num_classes=0)
