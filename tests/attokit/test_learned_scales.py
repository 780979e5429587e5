import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.learned_scales import hold_scales_after, initial_log_scales, with_scales
from attokit.quant import QuantParams, calibrate, trace


@pytest.fixture(scope="module")
def traced():
    def function(variables, x):
        dense = variables["dense"]
        return x.reshape(x.shape[0], -1) @ dense["kernel"] + dense["bias"][None]

    variables = {"dense": {"kernel": jnp.ones((16, 3)), "bias": jnp.zeros(3)}}
    graph, weights = trace(function, variables, jax.ShapeDtypeStruct((1, 4, 4, 1), jnp.float32))
    images = np.random.default_rng(1).random((4, 4, 4, 1), np.float32)
    return graph, weights, calibrate(graph, weights, [images])


def test_scales_multiply():
    qparams = {"a": QuantParams(jnp.float32(2), jnp.float32(3)), "b": QuantParams(jnp.ones(2), jnp.float32(0))}  # fmt: skip
    changed = with_scales(qparams, {"a": jnp.log(jnp.float32(1.5))})
    assert float(changed["a"].scale) == pytest.approx(3.0)
    assert float(changed["a"].zero_point) == 3
    assert changed["b"] is qparams["b"]


def test_the_scale_of_the_input_is_not_learned(traced):
    graph, _, qparams = traced
    learned = initial_log_scales(graph, qparams)
    assert learned.keys() == qparams.keys() - {"input"}
    assert all(not np.any(value) for value in learned.values())


def test_scales_are_frozen_by_name(traced):
    graph, _, qparams = traced
    learned = initial_log_scales(graph, qparams, freeze=["*/kernel"])
    assert set(learned) == {n for n in qparams if not n.endswith("/kernel")} - {"input"}
    with pytest.raises(ValueError, match="no range fits 'steam'"):
        initial_log_scales(graph, qparams, freeze=["steam"])


def test_scales_are_learned_by_name(traced):
    graph, _, qparams = traced
    assert set(initial_log_scales(graph, qparams, ["*/kernel"])) == {"dense/kernel"}
    assert initial_log_scales(graph, qparams, []) == {}
    with pytest.raises(ValueError, match="no range fits 'steam'"):
        initial_log_scales(graph, qparams, ["steam"])
    with pytest.raises(ValueError, match="no scale is left to learn of input without any"):
        initial_log_scales(graph, qparams, ["input"])
    with pytest.raises(ValueError, match=r"left to learn of dense/\* without \*"):
        initial_log_scales(graph, qparams, ["dense/*"], ["*"])


def test_scales_are_held_after_some_steps():
    hold = hold_scales_after(2)
    updates = {"weights": {"a": jnp.ones(2)}, "log_scales": {"a": jnp.full(2, -3.0)}}
    state = hold.init(updates)
    seen = []
    for _ in range(4):
        changed, state = jax.jit(hold.update)(updates, state)
        np.testing.assert_array_equal(changed["weights"]["a"], 1)
        seen.append(float(changed["log_scales"]["a"][1]))
    assert seen == [-3, -3, 0, 0]
