import jax
import jax.numpy as jnp
import numpy as np
import pytest
from row_networks import convolutions

from attokit import quant
from attokit.quant.row_windows import Rows, Window, window


def test_rows_that_a_convolution_reads():
    three = Window(stride=2, before=1, span=3)
    assert three.reads(Rows(0, 1), 9) == (Rows(0, 2), 1, 0)
    assert three.reads(Rows(1, 3), 9) == (Rows(1, 6), 0, 0)
    assert three.reads(Rows(4, 5), 9) == (Rows(7, 9), 0, 1)
    assert three.reads(Rows(4, 5), None) == (Rows(7, 10), 0, 0)


@pytest.mark.parametrize("height", [7, 8])
@pytest.mark.parametrize(("stride", "before", "span"), [(1, 0, 1), (1, 1, 3), (2, 0, 3), (3, 2, 5)])
def test_reads_are_those_of_each_row(height, stride, before, span):
    own = Window(stride=stride, before=before, span=span)
    found = own.reads(Rows(1, 3), height)
    read = np.concatenate([np.arange(span) + i * stride - before for i in (1, 2)])
    inside = read[(read >= 0) & (read < height)]
    assert found.rows == (inside.min(), inside.max() + 1)
    assert found.above == max(0, -read.min())
    assert found.below == max(0, read.max() + 1 - height)


def test_windows_of_a_network():
    graph = convolutions().graph
    windows = [window(graph, op) for op in graph.ops]
    kinds = [op.kind for op in graph.ops]
    assert windows[kinds.index("conv_2d")] == Window(stride=2, before=0, span=3, columns=(0, 1))
    assert windows[kinds.index("add")] == Window()
    assert windows[kinds.index("max_pool_2d")] == Window(stride=2, span=2)
    assert windows[kinds.index("mean")] is None
    assert windows[kinds.index("fully_connected")] is None  # of vectors
    assert Window(stride=1, before=-1) in windows  # y[:, 1:]


@pytest.mark.parametrize(("size", "splits"), [((6, 8), True), ((7, 8), False), ((6, 7), False)])
def test_pools_that_reach_out_of_the_map_on_any_side_do_not_split(size, splits):
    def pool(v, x):
        return jax.lax.reduce_window(
            x * v["a"], -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME"
        )

    graph, _ = quant.trace(pool, {"a": jnp.full((1, 1, 1, 2), 3.0)}, jnp.ones((1, *size, 2)))
    (op,) = (op for op in graph.ops if op.kind == "max_pool_2d")
    assert (window(graph, op) is not None) == splits
