import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import error, kinds, normal

from attokit import quant

X = normal(2, 4, 6, 3)
TABLE = normal(5, 3)
IDS = jnp.asarray([[1, 4, 0], [2, 2, 3]], jnp.int32)
PART = (0, 1, 2, 0)


@pytest.mark.parametrize(
    ("function", "want"),
    [
        (lambda x: jax.lax.dynamic_slice(x, PART, (2, 2, 3, 3)), ["slice"]),
        (lambda x: jax.lax.dynamic_slice(x, (0, 9, 0, 0), (2, 2, 6, 3)), ["slice"]),
        (lambda x: jax.lax.dynamic_update_slice(jnp.zeros((2, 6, 9, 3)), x, PART), ["pad"]),
        (
            lambda x: jax.lax.dynamic_update_slice(x, X[:, :2], PART),
            ["slice", "slice", "quantize", "quantize", "concatenation"],
        ),
        (lambda x: x[:, jnp.asarray([3, 0, 0])], ["gather"]),
        (lambda x: x[:, 1, jnp.asarray([5, 0, 4])], ["slice", "gather", "reshape"]),
        (lambda x: jnp.take(x, jnp.asarray([[0, 2], [1, 1]]), 3), ["gather", "reshape"]),
        (
            lambda x: x[:, jnp.asarray([2, 0]), jnp.asarray([1, 5])],
            ["reshape", "gather", "reshape"],
        ),
    ],
)
def test_known_indices_become_ops(function, want):
    graph, weights = quant.trace(lambda _, x: function(x), (), X)
    assert kinds(graph) == want
    assert error(graph, weights, lambda _, x: function(x), (), X) < 1e-6


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[:, jnp.asarray([0, 2, 1]), :, None, jnp.asarray([1, 0, 2])],
        lambda x: x[:, 1, :, jnp.asarray([0, 2, 2])],
    ],
)
def test_a_batch_that_comes_behind_the_indices_may_grow(function, batch):
    graph, weights = quant.trace(lambda _, x: function(x), (), X[:batch])
    assert error(graph, weights, lambda _, x: function(x), (), normal(3, 4, 6, 3)) == 0


@pytest.mark.parametrize(
    "function",
    [
        lambda table, ids: table[ids],
        lambda table, ids: jnp.take(table, ids, axis=0),
        lambda table, ids: jnp.take(table, ids, axis=0, mode="clip"),
        lambda table, ids: jnp.take(table.T, ids, axis=1),
    ],
)
def test_rows_of_a_table_are_gathered(function):
    graph, weights = quant.trace(function, TABLE, IDS)
    assert [kind for kind in kinds(graph) if kind != "reshape"] == ["bounded_index", "gather"]
    assert graph.tensors["input"].dtype == "int32"
    assert error(graph, weights, function, TABLE, IDS[:, ::-1]) == 0


def test_rows_of_an_activation_are_gathered():
    def function(_, x, ids):
        return jnp.take(x, ids, axis=1)

    graph, weights = quant.trace(function, (), X, IDS[0])
    assert kinds(graph) == ["bounded_index", "gather"]
    assert error(graph, weights, function, (), X, IDS[0] % 4) == 0


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (
            lambda x, i: jax.lax.dynamic_slice(x, (0, i[0], 0, 0), (2, 2, 6, 3)),
            "whose start depends",
        ),
        (lambda x, i: x[i, i], "at indices that depend"),
        (lambda x, i: x.at[:, jnp.asarray([7])].get(mode="fill"), "beyond the ends"),
    ],
)
def test_what_has_no_op_is_refused(function, match):
    with pytest.raises(quant.UnsupportedOpError, match=match):
        quant.trace(lambda _, x, i: function(x, i), (), X, IDS[0])


def test_negative_indices_count_from_the_end_and_others_are_brought_inside():
    ids = jnp.asarray([0, -1, -len(TABLE), len(TABLE), 10**6, -(2**31)], jnp.int32)
    graph, weights = quant.trace(lambda v, i: v[i], TABLE, ids)
    np.testing.assert_array_equal(graph(weights, ids), TABLE[ids])
    graph, weights = quant.trace(lambda v, i: jnp.take(v, i, 0, mode="clip"), TABLE, ids)
    np.testing.assert_array_equal(graph(weights, ids), TABLE[jnp.clip(ids, 0, len(TABLE) - 1)])


@pytest.mark.parametrize(
    ("shifted", "mode"),
    [
        (lambda i: jnp.where(i < 3, i + len(TABLE), i), "clip"),
        (lambda i: jnp.where(i < 0, i + 4, i), "clip"),
        (lambda i: jnp.where(i < 0, i + 4, i), "promise_in_bounds"),
    ],
)
def test_indices_that_are_shifted_otherwise_are_not_taken_for_negative_ones(shifted, mode):
    def function(v, i):
        return v.at[shifted(i)].get(mode=mode, wrap_negative_indices=False)

    with pytest.raises(quant.UnsupportedOpError, match="'add' of int32"):
        quant.trace(function, TABLE, IDS)


def test_indices_that_are_wrapped_by_hand_are_negative_ones():
    def function(v, i):
        return jnp.take(v, jnp.where(i < 0, i + len(TABLE), i), 0, mode="clip")

    graph, weights = quant.trace(function, TABLE, IDS)
    assert [kind for kind in kinds(graph) if kind != "reshape"] == ["bounded_index", "gather"]
    assert error(graph, weights, function, TABLE, 2 - IDS) == 0


def test_positions_lie_within_what_they_are_positions_of():
    graph, _ = quant.trace(lambda v, x: v[jnp.argmax(x, -1)], TABLE, normal(2, len(TABLE)))
    assert kinds(graph) == ["arg_max", "gather"]
    graph, _ = quant.trace(lambda v, x: v[jnp.argmax(x, -1)], TABLE, normal(2, len(TABLE) + 1))
    assert kinds(graph) == ["arg_max", "bounded_index", "gather"]


@pytest.mark.parametrize("index", [0, 3, -1, -4, 9])
def test_one_row_at_a_computed_place_is_gathered(index):
    def function(_, x, i):
        return x[1, i], x[:, i, 2]

    number = jnp.asarray(index, jnp.int32)
    graph, weights = quant.trace(function, (), X, jnp.asarray(0, jnp.int32))
    assert error(graph, weights, function, (), X, number) == 0
