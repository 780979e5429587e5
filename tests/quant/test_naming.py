import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit import quant
from attokit.quant import naming
from attokit.quant.lowering.values import Builder, Known, Symbol


def test_leaves_are_named_by_path_without_params():
    tree = {"params": {"stem": {"kernel": 1}}, "batch_stats": {"mean": [2, 3]}}
    assert naming.leaf_names(tree) == ["batch_stats/mean/0", "batch_stats/mean/1", "stem/kernel"]
    assert naming.leaf_names(1.0) == ["weight"]


def test_inputs_have_names_of_their_own():
    assert naming.input_names([1], None) == ["input"]
    assert naming.input_names([1, 2], None) == ["input_0", "input_1"]
    assert naming.input_names([1], ["image"]) == ["image"]
    for names in (["a"], ["a", "a"]):
        with pytest.raises(ValueError, match="give each input a name of its own"):
            naming.input_names([1, 2], names)


def test_outputs_are_named_by_path():
    def names(tree):
        return naming.output_names([p for p, _ in jax.tree_util.tree_flatten_with_path(tree)[0]])

    assert names(1.0) == ("output",)
    assert names((1.0, 2.0)) == ("output_0", "output_1")
    assert names({"boxes": 1.0, "more": [2.0]}) == ("boxes", "more_0")


def test_the_line_is_the_users_and_not_the_librarys():
    def function(x):
        return jax.nn.relu(x) + jnp.float32(1)

    jaxpr = jax.make_jaxpr(function)(jnp.ones(3))
    line = function.__code__.co_firstlineno + 1
    for eqn in jaxpr.jaxpr.eqns:
        assert f"{__file__}:{line} (" in naming.source_line(eqn)


def test_names_never_repeat():
    names = naming.Names({"input": Symbol((1,), np.dtype("float32"))})
    assert names.weight("a/kernel", "kernel") == "a/kernel"
    assert names.weight("a/kernel", "kernel") == "a/kernel_1"
    assert names.weight("a/scale", "bias") == "a/scale"
    assert names.weight("a/scale", "bias") == "a/bias"
    assert names.weight(None, "constant") == "constant/constant"
    assert names.weight(None, "constant") == "constant/constant_1"
    assert names.weight("input", "kernel") == "kernel"


def test_layers_name_their_ops():
    build = Builder("model.py:3 (f)", "Net/stem/conv")
    x = Symbol((2,), np.dtype("float32"))
    names = naming.Names({"input": x})
    for _ in range(3):
        build.emit("relu", [x], (2,))
    given = [names.give(node)[0] for node in build.nodes]
    assert given == ["stem/conv", "stem/conv/relu", "stem/conv/relu_1"]
    assert names.of(build.nodes[1].output) == "stem/conv/relu"
    assert names.shapes["stem/conv"] == ((2,), "float32")


def test_kinds_that_no_graph_knows_are_refused_with_line_and_shapes():
    build = Builder("model.py:3 (f)")
    x = Symbol((2, 3), np.dtype("float32"))
    build.emit("exp", [x, Known(np.ones(3))], (2, 3))
    with pytest.raises(quant.UnsupportedOpError, match=r"'exp' of shapes .* at model.py:3 \(f\)"):
        naming.to_op(build.nodes[0], naming.Names({"input": x}), lambda value, role: "x")


@pytest.mark.parametrize(
    ("function", "called"), [(jnp.abs, "abs"), (jnp.sign, "sign"), (lambda i: i + 1, "add")]
)
def test_what_is_computed_of_integers_is_refused_by_its_name(function, called):
    wanted = rf"^'{called}' of int32 at .*test_naming.py:\d+ .*integers are indices here"
    with pytest.raises(quant.UnsupportedOpError, match=wanted):
        quant.trace(lambda _, i: function(i), (), jnp.arange(6).reshape(2, 3))
