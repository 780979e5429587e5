import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rnnpool_oracle as oracle
from traced import jit

from attokit import zoo

MEAN = np.array([123.0, 117.0, 104.0])
GREY = MEAN @ [0.299, 0.587, 0.114]
DETECTORS = {
    "rnnpool_face_m4": (oracle.face_m4, (1, 16, 24, 1), GREY),
    "rnnpool_face_quant": (oracle.face_quant, (1, 24, 16, 3), MEAN),
    "rnnpool_face_c": (oracle.face_c, (1, 8, 12, 3), MEAN),
}


def _images(*shape):
    return np.random.default_rng(3).random(shape).astype(np.float32)


def _nchw(images):
    return images.astype(np.float64).transpose(0, 3, 1, 2)


def _applied(model, variables, images):
    """Returns what a network computes in float64: saturated gates make much of the last bit of float32."""
    with jax.enable_x64(True):
        variables, images = jax.tree.map(np.float64, (variables, images))
        return jax.tree.map(np.asarray, jit(model.apply)(variables, images))


def _assert_close(got, want):
    np.testing.assert_allclose(got, want, atol=1e-9 * np.abs(want).max())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "rnnpool_face_m4",
        *(pytest.param(name, marks=pytest.mark.slow) for name in list(DETECTORS)[1:]),
    ],
)
def test_a_detector_computes_what_edgeml_does(name):
    network, shape, mean = DETECTORS[name]
    images, torch = _images(*shape), oracle.Torch()
    want = network(torch, _nchw(images.astype(np.float64) * 255 - mean))
    variables = zoo.variables_from_edgeml(name, torch.state)
    got = _applied(zoo.create(name), variables, images)
    _assert_close(got["boxes"], want[0])
    _assert_close(got["scores"], want[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["rnnpool_vww", pytest.param("rnnpool_vww_2", marks=pytest.mark.slow)]
)
def test_a_wake_word_network_computes_what_edgeml_does(name):
    images, torch = _images(2, 20, 20, 3), oracle.Torch()
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    standardized = (images - np.array(mean)) / np.array(std)
    want = oracle.wake_word(torch, _nchw(standardized), pool_last=name == "rnnpool_vww_2")
    variables = zoo.variables_from_edgeml(name, torch.state)
    model = zoo.create(name, input_mean=mean, input_std=std)
    _assert_close(_applied(model, variables, images), want)


def _pool_state():
    torch = oracle.Torch()
    x = np.random.default_rng(0).normal(size=(1, 2, 3, 3))
    vector = torch.rnn_pool("pool", x, 3, 1, 4, pad=False)[:, :, 0, 0]
    return {name.removeprefix("pool."): v for name, v in torch.state.items()}, x, vector


@pytest.mark.slow
def test_an_rnnpool_computes_what_edgeml_does():
    state, x, want = _pool_state()
    patches = jnp.asarray(x.transpose(0, 2, 3, 1), jnp.float32)
    got = zoo.rnn_pool(zoo.rnnpool_from_edgeml(state), patches)
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_copies_and_the_prefix_of_parallel_training_may_be_there_or_not():
    state, *_ = _pool_state()
    plain = {name: v for name, v in state.items() if ".unrollRNN." not in name}
    prefixed = {f"module.{name}": v for name, v in state.items()}
    wanted = zoo.rnnpool_from_edgeml(state)
    for other in (plain, prefixed):
        assert jax.tree.all(jax.tree.map(np.array_equal, zoo.rnnpool_from_edgeml(other), wanted))


def test_everything_that_does_not_fit_is_listed():
    state, *_ = _pool_state()
    state["cell_rnn.unrollRNN.RNNCell.U"] = state["cell_rnn.cell.U"] + 1
    del state["cell_bidirrnn.cell.zeta"], state["cell_rnn.cell.W"]
    state["head.weight"] = np.zeros(3)
    with pytest.raises(ValueError) as error:
        zoo.rnnpool_from_edgeml(state)
    message = str(error.value)
    assert "missing: cell_bidirrnn.cell.zeta, cell_rnn.cell.W;" in message
    assert "not of this network: head.weight;" in message
    assert "copy: cell_rnn.unrollRNN.RNNCell.U" in message


def test_shapes_are_those_of_the_network():
    torch = oracle.Torch()
    oracle.face_m4(torch, np.zeros((1, 1, 16, 16)))
    torch.state["conf.0.weight"] = np.zeros((2, 32, 3, 3))
    del torch.state["mob.3.conv.3.running_var"]
    with pytest.raises(ValueError, match="running_var") as error:
        zoo.variables_from_edgeml("rnnpool_face_m4", torch.state)
    assert "of another shape: conf.0.weight (2, 32, 3, 3)" in str(error.value)
    with pytest.raises(ValueError, match="EdgeML has no network 'attonet_a'"):
        zoo.variables_from_edgeml("attonet_a", {})
