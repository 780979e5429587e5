import jax.numpy as jnp
import pytest
from coral_networks import assert_equal_outputs, convolved, kinds, network, weights_of, written

from attokit import export
from attokit.export.merged_padding import merge_padding


def _padded(widths, *, kernel=3, strides=(2, 2), depthwise=False, size=(8, 8), twice=False):
    shape = (kernel, kernel, 1, 4) if depthwise else (kernel, kernel, 4, 6)
    variables = weights_of(stem=(1, 1, 3, 4), conv=shape)

    def function(v, x):
        y = jnp.maximum(convolved(x, v["stem"]), -0.5)  # the zero point is not the least integer
        y = jnp.pad(y, ((0, 0), *widths, (0, 0)))
        z = convolved(y, v["conv"], strides=strides, padding="VALID", groups=4 if depthwise else 1)
        return (z, y) if twice else z

    return network(function, variables, *size, 3, batch=2)


@pytest.mark.parametrize("depthwise", [False, True])
def test_one_pixel_on_every_side_with_a_stride(depthwise, monkeypatch):
    net = _padded(((1, 1), (1, 1)), depthwise=depthwise)
    plain, changed = written(net, merge_padding, monkeypatch)
    assert "PAD" in kinds(plain)
    assert "PAD" not in kinds(changed)
    assert_equal_outputs(plain, changed, net.images)
    kernels = [t.shape for t in export.inspect(changed).main.tensors if t.name == "conv"]
    assert [shape[1:3] for shape in kernels] == [(4, 4)]


def test_zeros_behind_a_kernel_move_it_off_the_middle(monkeypatch):
    net = _padded(((3, 1), (3, 1)), kernel=5, strides=(1, 1))
    plain, changed = written(net, merge_padding, monkeypatch)
    assert "PAD" in kinds(plain) and "PAD" not in kinds(changed)
    assert_equal_outputs(plain, changed, net.images)
    assert (7, 7) in {t.shape[1:3] for t in export.inspect(changed).main.tensors if t.constant}


@pytest.mark.parametrize(
    "options",
    [
        {"widths": ((2, 2), (2, 2))},  # the output is larger than SAME gives
        {"widths": ((1, 1), (1, 1)), "twice": True},  # what is padded leaves as well
        {"widths": ((4, 0), (4, 0)), "kernel": 5, "strides": (1, 1)},  # would take 9 by 9
    ],
)
def test_what_same_padding_cannot_say_stays(options, monkeypatch):
    plain, changed = written(_padded(**options), merge_padding, monkeypatch)
    assert "PAD" in kinds(plain)
    assert changed == plain
