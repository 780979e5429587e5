import jax.numpy as jnp
import numpy as np
import pytest

from attokit import quant
from attokit.quant.batches import batches_of, carried, check_all_finite


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


def test_only_reals_are_to_be_finite(graph):
    check_all_finite(graph, 0, (np.ones((1, 3)), np.int32(-1)))
    with pytest.raises(ValueError, match="batch 2 of input 'input_0' holds 2 values that are not"):
        check_all_finite(graph, 2, (np.asarray([[1, np.nan, np.inf]]), np.int32(0)))


def test_bad_input(graph):
    with pytest.raises(ValueError, match="got no batch"):
        batches_of(graph, iter([]))
    with pytest.raises(ValueError, match=r"one array of shape \(1, 3\), not a list of batches"):
        batches_of(graph, jnp.ones((1, 3)))
