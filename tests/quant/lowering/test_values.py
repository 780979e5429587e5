import numpy as np
import pytest

from attokit.quant.lowering.values import Builder, Known, Symbol, UnsupportedOpError, producer

X = Symbol((2, 3), np.dtype("float32"))


@pytest.mark.parametrize(
    ("array", "want"),
    [(np.float32(3), 3), (np.full((2, 2), -1.5), -1.5), (np.arange(3.0), None), ([], 0)],
)
def test_scalar_is_the_one_value_that_all_entries_have(array, want):
    assert Known(np.asarray(array)).scalar() == want


def test_builder_collects_nodes_in_order_with_line_and_scope():
    build = Builder("model.py:3 (f)", "Net/stem")
    y = build.emit("relu", [X], (2, 3))
    z = build.emit("reshape", [y], (6,), shape=(6,), keeps_batch=False)
    assert [node.kind for node in build.nodes] == ["relu", "reshape"]
    assert (y.node.source, y.node.scope) == ("model.py:3 (f)", "Net/stem")
    assert z.node.attributes == {"shape": (6,), "keeps_batch": False}
    assert (z.shape, z.dtype) == ((6,), X.dtype)
    assert producer(z, "reshape", "relu") is z.node
    assert producer(z, "relu") is producer(X, "relu") is producer(Known(np.ones(1)), "relu") is None


@pytest.mark.parametrize("dtype", ["float32", "int32", "bool"])
def test_a_choice_is_of_the_type_of_what_is_chosen(dtype):
    condition, chosen = Symbol((2, 3), np.dtype(bool)), Symbol((2, 3), np.dtype(dtype))
    build = Builder()
    assert build.emit("select", [condition, chosen, chosen], (2, 3)).dtype == dtype
    assert build.emit("select", [condition] * 3, (2, 3), result=dtype).dtype == dtype


def test_errors_name_the_users_line():
    error = Builder("model.py:3 (f)").error("a strange op", "Do without.")
    assert isinstance(error, UnsupportedOpError)
    assert isinstance(error, ValueError)
    assert str(error) == "a strange op at model.py:3 (f). Do without."
    assert str(Builder().error("a strange op", "Do without.")) == "a strange op. Do without."
