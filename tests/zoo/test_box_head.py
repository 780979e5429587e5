import jax
import numpy as np
import pytest
from traced import jit, kinds, normal, variables_of

from attokit import quant
from attokit.zoo.box_head import BoxHead, BoxHeadConfig


def test_layers_are_products_or_convolutions_of_the_same_parameters():
    config = BoxHeadConfig(hidden=(6, 5), output_size=3, convolutions=1, kind="separable")
    regions = normal(4, 3, 3, 8)
    head, spelled = BoxHead(config, 4), BoxHead(config, 4, conv_only=True)
    variables = variables_of(head, regions)
    logits, offsets = jit(head.apply)(variables, regions)
    assert (logits.shape, offsets.shape) == ((4, 4), (4, 4, 4))
    for got, want in zip(jit(spelled.apply)(variables, regions), (logits, offsets), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())
    found = set(kinds(quant.trace(spelled.apply, variables, regions[:1])[0]))
    assert found == {"depthwise_conv_2d", "conv_2d+relu", "conv_2d", "reshape"}


def test_offsets_are_by_class_and_then_by_side():
    regions = normal(2, 1, 1, 3)
    head = BoxHead(BoxHeadConfig(hidden=(5,), output_size=1), 3)
    params = variables_of(head, regions)["params"]
    _, offsets = jit(head.apply)({"params": params}, regions)
    regions, params = jax.tree.map(np.asarray, (regions, params))
    hidden = regions[:, 0, 0] @ params["hidden1"]["kernel"][0, 0] + params["hidden1"]["bias"]
    flat = np.maximum(hidden, 0) @ params["boxes"]["kernel"][0, 0] + params["boxes"]["bias"]
    np.testing.assert_allclose(offsets[:, 2], flat[:, 8:], atol=1e-5)


def test_one_box_for_all_classes():
    regions = normal(2, 1, 1, 3)
    head = BoxHead(BoxHeadConfig(hidden=(5,), output_size=1, class_agnostic=True), 3)
    (_, offsets), _ = jax.eval_shape(head.init_with_output, jax.random.key(0), regions)
    assert offsets.shape == (2, 1, 4)


def test_refuses_bad_sizes():
    with pytest.raises(ValueError, match=r"hidden=\(\)"):
        BoxHeadConfig(hidden=())
    with pytest.raises(ValueError, match="convolutions=-1"):
        BoxHeadConfig(convolutions=-1)
    with pytest.raises(ValueError, match="kind='wide': choose from dense, separable"):
        BoxHeadConfig(kind="wide")
    with pytest.raises(ValueError, match="output_size=0"):
        BoxHeadConfig(output_size=0)
