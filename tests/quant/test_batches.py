import jax.numpy as jnp
import numpy as np
import pytest

from attokit import quant
from attokit.quant.batches import batches_of, carried, examples_of


@pytest.fixture(scope="module")
def graph():
    def pick(_, x, i):
        return x[0, i]

    return quant.trace(pick, (), jnp.ones((1, 3)), jnp.zeros((), jnp.int32))[0]


def test_batches_become_tuples_in_the_types_of_the_graph(graph):
    given = [np.ones((1, 3)), np.int64(2)]
    (batch,) = batches_of(graph, iter([given]))
    assert batch == tuple(given)
    own = carried(graph, batch)
    assert [x.dtype for x in own] == [jnp.float32, jnp.int32]
    assert carried(graph, (*batch, "more"))[2] == "more"  # whoever runs the graph refuses it


@pytest.mark.parametrize(
    ("first", "match"),
    [
        (
            np.asarray([[1, np.nan, np.inf]]),
            "batch 1 of input 'input_0' holds 2 values that are not",
        ),
        (np.ones((1, 3), np.uint8), "batch 1 of input 'input_0' is uint8; give floats"),
        (np.ones((0, 3)), r"batch 1 of input 'input_0' has shape \(0, 3\), which holds no value"),
    ],
)
def test_batches_hold_finite_floats_where_the_graph_takes_reals(graph, first, match):
    good = (np.ones((1, 3)), np.int32(-1))
    with pytest.raises(ValueError, match=match):
        batches_of(graph, [good, (first, np.int32(0))])


def test_examples_lie_along_the_first_axis_of_what_has_one():
    assert examples_of((np.float32(1), np.ones((4, 3)))) == 4
    assert examples_of((np.float32(1),)) == 1


def test_bad_input(graph):
    with pytest.raises(ValueError, match="got no batch"):
        batches_of(graph, iter([]))
    with pytest.raises(ValueError, match=r"one array of shape \(1, 3\), not a list of batches"):
        batches_of(graph, jnp.ones((1, 3)))
