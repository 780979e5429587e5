import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import error, kinds, normal

from attokit import quant

SIZES = dict(zip("bijkhnd", (2, 4, 3, 5, 2, 3, 4), strict=True))


def _einsum(spec, known):
    """Returns a function, its variable (operand `known` of the product) and its inputs."""
    names = spec.split("->")[0].split(",")
    arrays = [normal(*(SIZES[c] for c in name), seed=i) for i, name in enumerate(names)]
    variable = arrays.pop(known) if known is not None else ()

    def function(v, *inputs):
        operands = list(inputs)
        if known is not None:
            operands.insert(known, v)
        return jnp.einsum(spec, *operands)

    return function, variable, arrays


def _traced(function, variable, *inputs):
    graph, weights = quant.trace(function, variable, *inputs)
    assert error(graph, weights, function, variable, *inputs) < 1e-5
    return [kind for kind in kinds(graph) if kind not in ("reshape", "transpose")]


@pytest.mark.parametrize(
    ("spec", "known"),
    [
        ("bij,jk->bik", 1),
        ("bij,kj->bik", 1),
        ("bij,ik->bjk", 1),
        ("kj,bij->kbi", 0),
        ("bihj,jk->bihk", 1),
        ("bij,jnd->bind", 1),
        ("bind,ndj->bij", 1),
        ("ndk,bndi->bik", 0),
        ("bj,j->b", 1),
        ("i,ij->j", 1),
        ("ij,i->j", 0),
        ("bij,k->bijk", 1),
    ],
)
def test_products_with_a_known_operand_are_one_dense_layer(spec, known):
    function, variable, inputs = _einsum(spec, known)
    assert _traced(function, variable, *inputs) == ["fully_connected"]


@pytest.mark.parametrize(
    ("spec", "known", "want"),
    [
        ("bnd,ndk->bnk", 1, "conv_2d"),
        ("bind,ndk->bink", 1, "conv_2d"),
        ("ndk,bnd->nbk", 0, "conv_2d"),
        ("bhnd,hndk->bhnk", 1, "conv_2d"),
        ("bin,nk->bink", 1, "depthwise_conv_2d"),
    ],
)
def test_a_matrix_per_head_is_a_group_of_channels(spec, known, want):
    function, variable, inputs = _einsum(spec, known)
    assert _traced(function, variable, *inputs) == [want]


@pytest.mark.parametrize(
    ("spec", "transposes", "adjoint"),
    [
        ("bij,bjk->bik", 0, (False, False)),
        ("bij,bkj->bik", 0, (False, True)),
        ("bji,bjk->bik", 0, (True, False)),
        ("bji,bkj->bik", 0, (True, True)),
        ("ij,jk->ik", 0, (False, False)),
        ("bihd,bkhd->bhik", 2, (False, True)),
        ("bhik,bkhd->bihd", 2, (False, True)),
        ("bj,bj->b", 0, (False, True)),
        ("bhndij,bhndjk->bhndik", 0, (False, False)),
        ("bihd,bjkd->bihjk", 0, (False, True)),
    ],
)
def test_products_of_two_activations_absorb_transpositions(spec, transposes, adjoint):
    function, _, inputs = _einsum(spec, None)
    graph, weights = quant.trace(function, (), *inputs)
    assert error(graph, weights, function, (), *inputs) < 1e-5
    (op,) = (op for op in graph.ops if op.kind == "batch_matmul")
    assert (op["adj_x"], op["adj_y"]) == adjoint
    assert kinds(graph).count("transpose") == transposes
    assert len(graph.tensors[op.outputs[0]].shape) <= 4


def test_biases_and_rectifiers_reach_a_dense_layer_over_several_axes():
    layer = nn.DenseGeneral((2, 3), axis=(1, 2))
    x = normal(2, 4, 3)
    variables = layer.init(jax.random.key(0), x)
    variables["params"]["bias"] = normal(2, 3)
    assert _traced(lambda v, x: nn.relu(layer.apply(v, x)), variables, x) == [
        "fully_connected+relu"
    ]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("shape", "axis"), [((2, 5, 3), 1), ((2, 5, 3), 2), ((6,), 0)])
def test_running_sums_are_products_with_ones(shape, axis, reverse):
    def function(_, x):
        return jax.lax.cumsum(x, axis, reverse=reverse)

    assert _traced(function, (), normal(*shape)) == ["fully_connected"]


@pytest.mark.parametrize("function", [jax.lax.cummax, jnp.cumprod])
def test_other_running_reductions_are_refused(function):
    with pytest.raises(quant.UnsupportedOpError, match="Of running reductions only cumsum"):
        quant.trace(lambda _, x: function(x, 1), (), np.zeros((2, 3), np.float32))
