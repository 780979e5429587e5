import numpy as np
import pytest
from traced import error, kinds, normal

from attokit import quant
from attokit.quant.lowering.positions import emit_positions, emit_simple, positions_of
from attokit.quant.lowering.values import Builder, Symbol, UnsupportedOpError, between

SHAPE = (2, 4, 6, 8)


def _depth_to_space(x, n, order=(0, 1, 3, 2, 4, 5)):
    b, h, w, c = x.shape
    return x.reshape(b, h, w, n, n, c // n**2).transpose(order).reshape(b, h * n, w * n, -1)


def _channels_first_blocks(x, n):
    b, h, w, c = x.shape
    blocks = x.reshape(b, h, w, c // n**2, n, n).transpose(0, 1, 4, 2, 5, 3)
    return blocks.reshape(b, h * n, w * n, -1)


def _space_to_depth(x, n):
    b, h, w, c = x.shape
    blocks = x.reshape(b, h // n, n, w // n, n, c).transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(b, h // n, w // n, -1)


def _shuffle(x, groups):
    *outer, c = x.shape
    return x.reshape(*outer, groups, c // groups).swapaxes(-1, -2).reshape(x.shape)


_EDGES = ((0, 0), (2, 1), (1, 3), (0, 0))
_RESHUFFLED = ["reshape", "transpose", "reshape"]
MOVEMENTS = {
    "nothing": (lambda x: x, []),
    "reshape": (lambda x: x.reshape(2, -1), ["reshape"]),
    "transpose": (lambda x: x.transpose(0, 3, 1, 2), ["transpose"]),
    "slice": (lambda x: x[:, 1:3, 2:], ["slice"]),
    "strides": (lambda x: x[:, ::2, 1::3], ["strided_slice"]),
    "backwards": (lambda x: x[:, ::-1], ["reverse"]),
    "backwards_by_two": (lambda x: x[:, ::-2], ["strided_slice", "reverse"]),
    "one_row": (lambda x: x[:, 2], ["slice", "reshape"]),
    "roll": (lambda x: np.roll(x, 2, 2), ["slice", "slice", "concatenation"]),
    "reflect": (lambda x: np.pad(x, _EDGES, mode="reflect"), ["mirror_pad"]),
    "symmetric": (lambda x: np.pad(x, _EDGES, mode="symmetric"), ["mirror_pad"]),
    "edge": (lambda x: np.pad(x, _EDGES, mode="edge"), ["gather", "gather"]),
    "tile": (lambda x: np.tile(x, (1, 1, 3, 1)), ["concatenation"]),
    "tile_often": (lambda x: np.tile(x, (1, 9, 1, 1)), ["reshape", "broadcast", "reshape"]),
    "grow": (lambda x: np.broadcast_to(x[:, :1], SHAPE), ["slice", "broadcast"]),
    "upsample": (lambda x: x.repeat(2, 1).repeat(3, 2), ["resize_nearest_neighbor"]),
    "downsample": (lambda x: x[:, [0, 2, 3]], ["resize_nearest_neighbor"]),
    "depth_to_space": (lambda x: _depth_to_space(x, 2), ["depth_to_space"]),
    "blocks_of_channels": (
        lambda x: _channels_first_blocks(x, 2),
        [*_RESHUFFLED, "depth_to_space"],
    ),
    "space_to_depth": (lambda x: _space_to_depth(x, 2), ["space_to_depth"]),
    "shuffle": (lambda x: _shuffle(x, 2), _RESHUFFLED),
    "some_channels": (lambda x: x[..., [7, 0, 3]], ["gather"]),
    "a_table_of_rows": (lambda x: x[:, [[3, 0], [1, 1]]], ["gather", "reshape"]),
    "every_axis": (lambda x: x[::-1].transpose(3, 0, 2, 1), ["reverse", "transpose"]),
}


@pytest.mark.parametrize("name", MOVEMENTS)
def test_movements_become_ops(name):
    function, want = MOVEMENTS[name]
    build, value = Builder(), Symbol(SHAPE, np.dtype(np.float32))
    result = emit_simple(build, value, function(positions_of(SHAPE)))
    made = [] if result is value else between((value,), result.node)
    assert [node.kind for node in made] == want
    assert result.shape == function(positions_of(SHAPE)).shape


@pytest.mark.parametrize(
    "index",
    [
        lambda x: x[:, [0, 2], [1, 3]],
        lambda x: x.reshape(2, -1)[:, [7, 30, 7]],
        lambda x: x.ravel()[[100, 3]],
    ],
)
def test_what_is_no_movement_along_axes_is_gathered_from_flat_values(index):
    positions = index(positions_of(SHAPE))
    value = Symbol(SHAPE, np.dtype(np.float32))
    assert emit_simple(Builder(), value, positions) is None
    build = Builder()
    assert emit_positions(build, value, positions).shape == positions.shape
    assert [node.kind for node in build.nodes][:2] == ["reshape", "gather"]


def test_conditions_are_no_blocks_which_litert_has_not_of_them():
    x = normal(2, 4, 6, 8) > 0
    graph, weights = quant.trace(lambda _, x: _depth_to_space(x, 2), (), x)
    assert set(kinds(graph)) <= {"reshape", "transpose"}
    assert error(graph, weights, lambda _, x: _depth_to_space(x, 2), (), x) == 0


def test_nothing_is_refused():
    value = Symbol(SHAPE, np.dtype(np.float32))
    with pytest.raises(UnsupportedOpError, match="Leave out what is empty"):
        emit_positions(Builder(), value, np.zeros((2, 0), np.int32))


def test_batches_that_go_through_may_grow():
    def function(_, x):
        return _depth_to_space(_shuffle(x, 2) * 2, 2)

    graph, weights = quant.trace(function, (), normal(*SHAPE))
    assert kinds(graph) == [*_RESHUFFLED, "mul", "depth_to_space"]
    assert error(graph, weights, function, (), normal(3, *SHAPE[1:])) == 0
