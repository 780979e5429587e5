import numpy as np
import pytest
from coral_networks import assert_equal_outputs, convolved, kinds, network, weights_of, written

from attokit import export
from attokit.export import grouped_convolutions
from attokit.export.grouped_convolutions import split_grouped
from attokit.export.wiring import replaced

_MARGIN = 100  # bytes that an estimate of a file's own tables may be off


def _grouped(groups, width=12, strides=(1, 1)):
    variables = weights_of(stem=(1, 1, 3, width), deep=(3, 3, width // groups, 2 * width), bias=(2 * width,))  # fmt: skip

    def function(v, x):
        y = convolved(x, v["stem"])
        z = convolved(y, v["deep"], groups=groups, strides=strides) + v["bias"].reshape(1, 1, 1, -1)
        return z.clip(0, 6)

    return network(function, variables, 7, 6, 3, batch=2)


def _apart(model):
    chosen = [op for op in model.operators if grouped_convolutions._groups(op) > 1]
    return replaced(model, {op: grouped_convolutions.apart(op) for op in chosen})


def _dense(model):
    chosen = [op for op in model.operators if grouped_convolutions._groups(op) > 1]
    return replaced(model, {op: (grouped_convolutions.dense(op),) for op in chosen})


@pytest.mark.parametrize(("change", "operators"), [
    (_dense, {"CONV_2D": 2}),
    (_apart, {"CONV_2D": 4, "SPLIT": 1, "CONCATENATION": 1}),
])  # fmt: skip
def test_the_integers_stay(change, operators, monkeypatch):
    net = _grouped(3, strides=(2, 1))
    plain, changed = written(net, change, monkeypatch)
    assert_equal_outputs(plain, changed, net.images)
    assert kinds(changed) == operators
    assert export.edge_tpu(export.inspect(changed)).fits
    assert not export.edge_tpu(export.inspect(plain)).fits


@pytest.mark.parametrize(("groups", "width"), [(2, 4), (3, 12)])
def test_the_smaller_form_is_written(groups, width, monkeypatch):
    net = _grouped(groups, width=width)
    sizes = [
        len(written(net, change, monkeypatch)[1]) for change in (split_grouped, _dense, _apart)
    ]
    assert sizes[0] <= min(sizes[1:]) + _MARGIN, sizes


def test_float_files(monkeypatch):
    net = _grouped(3)
    for change in (_dense, _apart):
        plain, changed = written(net, change, monkeypatch, quantized=False)
        wanted, found = (export.run(f, net.images)["output"] for f in (plain, changed))
        np.testing.assert_allclose(found, wanted, atol=1e-5)  # sums in another order
