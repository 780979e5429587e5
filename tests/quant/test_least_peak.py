import dataclasses
import itertools

import numpy as np
import pytest
from traced import normal

from attokit import quant
from attokit.quant.graph import Graph, Tensor
from attokit.quant.least_peak import least_peak, least_possible
from attokit.quant.live_bytes import live_bytes
from attokit.quant.ops.kind import Op

_EMPTY, _ = quant.trace(lambda v, x: x + v, normal(1, 1), normal(1, 1))


def _graph(sizes: dict[str, int], ops: list[tuple[list[str], str]], outputs: list[str]) -> Graph:
    """Returns a graph of ops that read some tensors and make one, of so many bytes."""
    tensors = {
        n: Tensor(name=n, shape=(1, size), dtype="float32", range_name=n)
        for n, size in sizes.items()
    }
    return dataclasses.replace(
        _EMPTY,
        inputs=("x",),
        outputs=tuple(outputs),
        output_names=tuple(outputs),
        ops=tuple(Op(kind="add", inputs=tuple(i), outputs=(o,)) for i, o in ops),
        tensors=tensors,
    )


def _random(seed: int, count: int) -> Graph:
    random = np.random.default_rng(seed)
    names, ops = ["x"], []
    for i in range(count):
        read = random.choice(names, min(len(names), int(random.integers(1, 3))), replace=False)
        ops.append((sorted(map(str, read)), f"t{i}"))
        names.append(f"t{i}")
    sizes = {name: int(random.integers(1, 60)) for name in names}
    ends = [n for n in names[1:] if not any(n in read for read, _ in ops)]
    return _graph(sizes, ops, ends)


def _orders(graph: Graph):
    """Yields the graph in every order that runs."""
    for order in itertools.permutations(graph.ops):
        known = set(graph.inputs)
        for op in order:
            if not known.issuperset(op.inputs):
                break
            known.update(op.outputs)
        else:
            yield dataclasses.replace(graph, ops=order)


@pytest.mark.parametrize("seed", range(12))
def test_no_order_of_all_has_a_lower_peak(seed):
    graph = _random(seed, 6)
    best = min(max(live_bytes(one)) for one in _orders(graph))
    found = least_peak(graph)
    assert least_possible(graph) <= best
    if found is None:
        assert max(live_bytes(graph)) == best
        return
    assert max(live_bytes(found)) == best < max(live_bytes(graph))
    assert sorted(op.outputs for op in found.ops) == sorted(op.outputs for op in graph.ops)
    assert any(one.ops == found.ops for one in _orders(graph))


def test_branches_that_grow_run_one_behind_the_other():
    ops = [(["x"], f"big{i}") for i in range(12)] + [([f"big{i}"], f"end{i}") for i in range(12)]
    ops += [([f"end{i}" for i in range(12)], "y")]
    sizes = (
        {"x": 1, "y": 1} | {f"big{i}": 50 for i in range(12)} | {f"end{i}": 1 for i in range(12)}
    )
    graph = _graph(sizes, ops, ["y"])
    found = least_peak(graph)
    assert max(live_bytes(graph)) == 1 + 12 * 50
    # The last branch beside the ends of all others, which is the least there can be.
    assert max(live_bytes(found)) == 11 + 50 + 1


def test_nothing_lower_is_none():
    chain = _graph({"x": 5, "a": 9, "b": 2}, [(["x"], "a"), (["a"], "b")], ["b"])
    assert least_peak(chain) is None and least_possible(chain) == 14
    empty = dataclasses.replace(chain, ops=(), outputs=("x",))
    assert least_peak(empty) is None and least_possible(empty) == 0


def test_a_search_that_is_cut_short_has_the_best_that_it_saw(monkeypatch):
    graph = _random(5, 9)
    whole = least_peak(graph)
    for states in range(0, 40, 3):
        monkeypatch.setattr("attokit.quant.least_peak._STATES", states)
        found = least_peak(graph)
        assert found is not None or states < 12
        if found is not None:
            assert max(live_bytes(whole)) <= max(live_bytes(found)) < max(live_bytes(graph))
