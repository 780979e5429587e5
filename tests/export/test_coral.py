import jax
import jax.numpy as jnp
import pytest
from coral_networks import convolved, kinds, network, shuffled, weights_of

from attokit import export


def _network():
    """Grouped convolutions with channels shuffled between, and a padded one with a stride."""
    variables = weights_of(stem=(3, 3, 3, 8), one=(1, 1, 4, 8), deep=(3, 3, 1, 8), two=(1, 1, 4, 8))

    def function(v, x):
        y = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        y = jax.nn.relu(convolved(y, v["stem"], strides=(2, 2), padding="VALID"))
        z = shuffled(jax.nn.relu(convolved(y, v["one"], groups=2)), 2)
        return jnp.mean(y + convolved(convolved(z, v["deep"], groups=8), v["two"], groups=2), (1, 2))  # fmt: skip

    return network(function, variables, 8, 8, 3, batch=2)


@pytest.mark.parametrize(
    "kernels",
    ["reference", *(pytest.param(k, marks=pytest.mark.slow) for k in ("micro", "xnnpack"))],
)
def test_a_network_fits_and_stays_exact(kernels):
    net = _network()
    plain = export.to_tflite(net.graph, net.weights, net.qparams)
    file = export.to_tflite(net.graph, net.weights, net.qparams, target="coral")
    before, after = (export.edge_tpu(export.inspect(f)) for f in (plain, file))
    assert not before.fits and before.first_cpu.kind == "CONV_2D"
    assert after.fits and len(after.on_tpu) == len(after.placements)
    assert not kinds(file).keys() & {"PAD", "TRANSPOSE", "GATHER"}
    report = export.verify(
        file, net.graph, net.weights, net.qparams, net.images, kernels=kernels, target="coral"
    )
    assert report.exact, report
    with pytest.raises(ValueError, match="written from another graph"):
        export.verify(file, net.graph, net.weights, net.qparams, net.images)
