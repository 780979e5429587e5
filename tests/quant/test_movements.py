import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import error, kinds, normal

from attokit import quant

X = normal(2, 4, 6, 4)


def _broadcast_upsample(x):
    b, h, w, c = x.shape
    wide = jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c))
    return wide.reshape(b, 2 * h, 2 * w, c)


def _windows(x):
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)


_EDGES = ((0, 0), (1, 2), (2, 1), (0, 0))


@pytest.mark.parametrize(
    ("function", "want"),
    [
        (lambda x: jnp.pad(x, _EDGES, mode="reflect"), ["mirror_pad"]),
        (lambda x: jnp.pad(x, _EDGES, mode="symmetric"), ["mirror_pad"]),
        (lambda x: jnp.pad(x, _EDGES, mode="edge"), ["gather", "gather"]),
        (lambda x: jnp.pad(x, _EDGES, mode="wrap"), ["slice", "slice", "concatenation"] * 2),
        (lambda x: jnp.repeat(jnp.repeat(x, 2, 1), 3, 2), ["resize_nearest_neighbor"]),
        (_broadcast_upsample, ["resize_nearest_neighbor"]),
        (lambda x: jax.image.resize(x, (2, 7, 9, 4), "nearest"), ["resize_nearest_neighbor"]),
        (lambda x: x.transpose(0, 3, 1, 2).transpose(0, 2, 3, 1), []),
        (lambda x: x[:, 1:][:, :2], ["slice"]),
        (lambda x: x[:, ::-1][:, ::-1], []),
        (lambda x: x.reshape(2, 24, 4)[:, ::-1].reshape(2, -1), ["reshape", "reverse", "reshape"]),
        (_windows, ["reshape", "transpose", "reshape"]),
    ],
)
def test_movements_are_recognized_however_they_are_spelled(function, want):
    graph, weights = quant.trace(lambda _, x: function(x), (), X)
    assert kinds(graph) == want
    assert error(graph, weights, lambda _, x: function(x), (), X) == 0


@pytest.mark.parametrize(
    ("function", "want"),
    [
        (lambda x: jnp.moveaxis(x, 0, 1)[::-1][:2], ["transpose", "reverse", "slice"]),
        (lambda x: jnp.moveaxis(x, 0, 1)[:2].transpose(1, 0, 2, 3), ["slice"]),
        (lambda x: x[:, ::2].transpose(0, 3, 1, 2)[:, :, 1], ["slice", "reshape", "transpose"]),
    ],
)
def test_a_batch_of_one_may_grow_wherever_it_is_moved(function, want):
    graph, weights = quant.trace(lambda _, x: function(x), (), X[:1])
    assert sorted(kinds(graph)) == sorted(want)
    assert error(graph, weights, lambda _, x: function(x), (), X) == 0


def test_what_somebody_else_reads_stays():
    def function(_, x):
        first = x.transpose(0, 3, 1, 2)
        return first + 1, first.transpose(0, 2, 3, 1) + 1

    graph, weights = quant.trace(function, (), X)
    assert kinds(graph) == ["transpose", "add", "add"]
    assert error(graph, weights, function, (), X) == 0


def test_the_end_of_a_way_is_shortened_alone():
    def function(_, x):
        halves = jnp.concatenate(jnp.split(x, 2, axis=2), axis=-1)
        wide = jnp.concatenate([halves, halves[:, :, -1:]], axis=2)
        return jnp.concatenate([wide, wide[:, -1:]], axis=1)

    graph, weights = quant.trace(function, (), X)
    assert kinds(graph) == ["slice", "slice", "concatenation", "mirror_pad"]
    assert error(graph, weights, function, (), X) == 0


def test_an_index_for_every_element_is_no_gain():
    def patches(_, x):
        rows = [x[:, i : i + 3, j : j + 4] for i in range(2) for j in range(2)]
        return jnp.stack(rows, -1)

    graph, weights = quant.trace(patches, (), X)
    assert "gather" not in kinds(graph)
    assert error(graph, weights, patches, (), X) == 0


@pytest.mark.parametrize("seed", range(20))
def test_random_movements_stay_what_they_are(seed):
    random = np.random.default_rng(seed)
    steps = [_step(random) for _ in range(4)]

    def function(_, x):
        for step in steps:
            x = step(x)
        return x

    graph, weights = quant.trace(function, (), X)
    assert error(graph, weights, function, (), X) == 0


def _step(random):
    axis, number = int(random.integers(0, 3)) + 1, int(random.integers(1, 3))
    order = (0, *(int(i) for i in random.permutation(3) + 1))
    return [
        lambda x: jnp.flip(x, axis),
        lambda x: jnp.roll(x, number, axis),
        lambda x: jnp.repeat(x, number, axis),
        lambda x: x.transpose(order),
        lambda x: jnp.moveaxis(jnp.moveaxis(x, axis, 1)[:, ::number], 1, axis),
        lambda x: x.reshape(x.shape[0], x.shape[2], x.shape[1], x.shape[3]),
        lambda x: jnp.concatenate([x, jnp.flip(x, axis)], axis),
        lambda x: jnp.pad(x, [(0, 0)] * axis + [(1, 0)] + [(0, 0)] * (3 - axis), mode="symmetric"),
    ][random.integers(0, 8)]
