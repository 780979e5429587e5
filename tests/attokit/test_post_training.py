import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import normal

from attokit import quant
from attokit.post_training import PostTraining, quantize_on


def _network(v, x):
    y = jax.nn.relu(x.reshape(len(x), -1) @ v["first"] + v["bias"].reshape(1, -1))
    return jax.nn.softmax(y @ v["head"])


@pytest.fixture(scope="module")
def traced():
    spread = jnp.asarray([1, 0.01, 0.02, 0.5, 1, 0.03], jnp.float32)
    variables = {
        "first": normal(12, 6) * spread.reshape(1, -1), "bias": spread,
        "head": normal(6, 3) / spread.reshape(-1, 1),
    }  # fmt: skip
    return quant.trace(_network, variables, jax.ShapeDtypeStruct((1, 2, 2, 3), jnp.float32))


class _Source:
    def __len__(self):
        return 40

    def read(self, index):
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (len(self), 2, 2, 3)).astype(np.uint8)
        return {"images": images[np.asarray(index)]}


def test_passes_in_their_order(traced):
    graph, weights = traced
    lines: list[str] = []
    post = PostTraining(kernel_calibration="mse", equalize=True, correct_bias=True)
    found, qparams = quantize_on(
        graph, weights, _Source(), post, count=16, weight_bits={"head": 4}, method="percentile",
        on_left_out=lines.append,
    )  # fmt: skip
    assert qparams["head"].bits == 4
    assert [line.partition(":")[0] for line in lines] == ["not equalized", "bias not corrected"]
    images = _Source().read(np.random.default_rng(0).permutation(40)[:16])["images"]
    batches = [images.astype(np.float32) / np.float32(255)]
    equal = quant.equalize(graph, weights, batches)
    wanted = quant.calibrate(
        graph, equal, batches, method="percentile", kernel_method="mse", weight_bits={"head": 4}
    )
    jax.tree.map(np.testing.assert_array_equal, qparams, wanted)
    corrected = quant.correct_bias(graph, equal, wanted, batches)
    jax.tree.map(np.testing.assert_array_equal, dict(found), corrected)
    assert not np.array_equal(found["bias"], equal["bias"])
    assert np.ptp(np.log(np.abs(equal["head"]).max(1))) < np.log(10)  # it was 100


def test_nothing_is_done_unless_asked(traced):
    graph, weights = traced
    lines = []
    found, qparams = quantize_on(graph, weights, _Source(), count=8, on_left_out=lines.append)
    assert lines == []
    assert found == weights  # the very arrays
    assert qparams.keys() == {"input", "fully_connected", "first", "fully_connected_1", "head"}
    assert PostTraining().settings() == PostTraining().metadata() == {}
    assert PostTraining().left_out(graph) == {}


def test_settings_and_what_is_left_out(traced):
    post = PostTraining(kernel_calibration="mse", equalize=True, correct_bias=True)
    assert post.settings() == {"kernel_calibration": "mse", "equalize": True, "correct_bias": True}
    assert post.metadata()["equalize"] == "True"
    left_out = post.left_out(traced[0])
    name = traced[0].ops[-2].outputs[0]
    assert left_out == {
        "not equalized": {name: "softmax of 'softmax' is not homogeneous"},
        "bias not corrected": {name: "it has no bias"},
    }


def test_wrong_patterns_are_refused_before_any_image_is_read(traced):
    with pytest.raises(ValueError, match="a pattern fits one at least"):
        quantize_on(*traced, types.SimpleNamespace(), PostTraining(), weight_bits={"tail": 4})


def _clamped(v, x):
    y = jax.nn.relu6(x.reshape(len(x), -1) @ v["first"])
    return jax.nn.relu6(y @ v["second"]) @ v["head"]


@pytest.mark.parametrize(
    ("post", "match"),
    [
        (
            PostTraining(equalize=True),
            "equalize changes nothing of this graph .*ends in relu6, .*leaves the graph.*: leave equalize out",
        ),
        (
            PostTraining(correct_bias=True),
            "correct_bias changes nothing .*has no bias.*: leave correct",
        ),
    ],
)
def test_a_pass_that_would_change_nothing_is_refused_before_any_image_is_read(post, match):
    variables = {"first": normal(12, 6), "second": normal(6, 6), "head": normal(6, 3)}
    traced = quant.trace(_clamped, variables, jax.ShapeDtypeStruct((1, 2, 2, 3), jnp.float32))
    for refuse in (
        post.left_out,
        lambda g: quantize_on(g, traced[1], types.SimpleNamespace(), post),
    ):
        with pytest.raises(ValueError, match=match):
            refuse(traced[0])
