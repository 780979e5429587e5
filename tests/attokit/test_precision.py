import fnmatch

import jax
import jax.numpy as jnp
import pytest

from attokit import quant
from attokit.precision import Precision, exactly, precision_of


def _graph():
    def function(_, x):
        return jnp.tanh(jnp.max(jax.nn.sigmoid(x), -1)), jax.nn.gelu(x)

    return quant.trace(function, (), jnp.ones((1, 3)))[0]


def test_patterns_choose_types_and_int16_leaves_what_is_float32():
    graph = _graph()
    own = Precision(int16=("*",), int8=("reduce_max",), float32=("lookup",)).apply(graph)
    types = {name: tensor.integer_type for name, tensor in own.tensors.items()}
    wanted = {"tanh": "int16", "logistic": "int16", "reduce_max": "int8", "lookup": "float32"}
    assert wanted.items() <= types.items()
    assert not Precision() and Precision().apply(graph) is graph


def test_patterns_of_an_end_that_is_not_there_are_left_out():
    own = Precision(int16=("head", "tanh"), int8=("head",), float32=("look*", "resize*"))
    fitting = own.fitting(_graph())
    assert fitting == Precision(int16=("tanh",), float32=("look*",))
    assert Precision(int16=("head",), int8=("tanh",)).fitting(_graph()) == Precision()


@pytest.mark.parametrize(
    "own",
    [Precision(), Precision(int16=("a,b*", "c"), int8=("c",)), Precision(float32=("[a-c]/*",))],
)
def test_metadata_and_back(own):
    assert precision_of(own.metadata() | {"method": "ptq"}) == own
    assert bool(own) == bool(own.settings())


def test_options_of_the_command_line():
    own = Precision(int16=("a", "b"), int8=("input",), open_hard_swish=("*",))
    wanted = ["--int16", "a", "b", "--int8", "input", "--open-hard-swish", "*"]
    assert own.arguments() == wanted
    (pattern,) = exactly(["a[0]*"])
    assert fnmatch.filter(["a[0]*", "a0b"], pattern) == ["a[0]*"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Precision(int8=("a",)), "int8 a changes nothing"),
        (lambda: Precision(int16=("nothing",)).apply(_graph()), "no tensor .* fits 'nothing'"),
        (
            lambda: Precision(int16=("tanh",), float32=("t*",)).apply(_graph()),
            r"all that 'tanh' fits stays float32 .*: leave the pattern out",
        ),
        (
            lambda: Precision(float32=("*",)).apply(_graph()),
            r"float32 \* leaves nothing to quantize",
        ),
        (lambda: precision_of({"int16": "3"}), "are damaged: quantize again"),
        (lambda: precision_of({"int16": "[a"}), "are damaged: quantize again"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
