import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from coral_networks import convolved, network, weights_of
from mutated_files import mutated

from attokit import export
from attokit.export import flatbuffer


def _report(function, variables, *shape, core="dsp", **options):
    net = network(function, variables, *shape)
    file = export.to_tflite(net.graph, net.weights, net.qparams, target="micro", **options)
    return export.cortex_m(export.inspect(file), core)


def test_a_file_on_both_kinds_of_cores(small):
    info = export.inspect(small.file)
    dsp, helium = (export.cortex_m(info, core) for core in ("dsp", "helium"))
    assert [use.kernel.name for use in dsp.uses] == [
        "arm_convolve_s8", "arm_depthwise_conv_3x3_s8", "arm_elementwise_add_s8", "",
        "arm_fully_connected_per_channel_s8",
    ]  # fmt: skip
    assert [use.kernel.scratch for use in dsp.uses] == [2 * 28 * 2, 0, 0, 0, 0]
    assert helium.uses[1].kernel.name == "arm_depthwise_conv_s8_opt"
    assert [use.kernel.scratch for use in helium.uses] == [4 * 32, 4 * 124 * 9, 0, 0, 5 * 4]
    # 5 by 5 pixels of 8 channels: of 27 values each, then of 9; 5 outputs of 8 values.
    assert dsp.macs == dsp.fast_macs == info.macs == 25 * 8 * 27 + 25 * 8 * 9 + 5 * 8
    assert dsp.most_scratch.position == 0 and helium.most_scratch.position == 1
    # The image of 9 by 9 and what is made of it; two maps, then scratch.
    assert dsp.peak_ram == max(9 * 9 * 3 + 200 + 112, 3 * 200)
    assert helium.peak_ram == max(op.live for op in info.main.operators[1:2]) + 4464


def test_what_it_prints(small):
    text = str(export.cortex_m(export.inspect(small.file)))
    assert "with the DSP extension (M4, M7, M33)" in text
    assert "4 of 5 on fast kernels, with 100.0% of 7,240 multiply-adds" in text
    assert "scratch: 112 bytes at most, of operator 0, CONV_2D" in text
    assert "scratch comes on top" in text
    assert "MEAN: CMSIS-NN has no kernel of it; nn.avg_pool over the whole map" in text
    assert text.count("\n") == export.cortex_m(export.inspect(small.file)).summary.count("\n") + 7


def test_slow_and_reference_kernels_are_counted_apart():
    variables = weights_of(stem=(3, 3, 1, 12), point=(1, 1, 12, 4))

    def function(v, x):
        y = convolved(x, v["stem"], groups=3)  # 4 channels of each
        return jax.nn.hard_swish(convolved(y, v["point"]))

    report = _report(function, variables, 6, 6, 3)
    assert [use.kernel.speed for use in report.uses] == ["slow", "fast", "reference"]
    slow, fast = 36 * 12 * 9, 36 * 4 * 12
    assert (report.fast_macs, report.macs) == (fast, slow + fast)
    assert f"{fast / (slow + fast):.1%}" in report.summary
    assert "operators in plain C++: 1, which make 144 of 720 values" in report.summary
    assert report.most_scratch is None and "scratch: none" in report.summary
    assert "it makes 4 channels of each" in report.summary


def test_a_mean_may_be_a_pool():
    report = _report(lambda v, x: nn.avg_pool(x, (6, 6), count_include_pad=False), (), 6, 6, 3)
    assert [use.kernel.name for use in report.uses] == ["arm_avgpool_s8"]


def test_one_line_for_what_is_changed_alike():
    def function(v, x):
        gates = jnp.mean(x, (1, 2), keepdims=True)
        return jnp.tanh(x * gates + gates) * gates

    report = _report(function, (), 6, 6, 3)
    assert [use.kind for use in report.plain] == ["MEAN", "MUL", "ADD", "TANH", "MUL"]
    changes = report.summary.split("what to change:")[1]
    assert "MUL (and 1 more): its operands 1x1x1x3 and 1x6x6x3 are not of one shape" in changes
    assert "TANH" not in changes  # there is no other form


def test_what_does_not_run_comes_first():
    def pooled(v, x):
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    net = network(pooled, (), 4, 4, 3)
    model = schema.ModelT.InitFromPackedBuf(
        export.to_tflite(net.graph, net.weights, net.qparams), 0
    )
    (graph,) = model.subgraphs
    for tensor in graph.tensors:
        tensor.shape = np.asarray([2, *tensor.shape[1:]], np.int32)
    report = export.cortex_m(export.inspect(flatbuffer.pack(model)))
    assert not report.fast
    assert "does not run: operator 0, MAX_POOL_2D" in report.summary
    assert "what to change" not in report.summary


@pytest.mark.parametrize(("width", "pads"), [((0, 1), 0), ((1, 1), 1)])
def test_padding_that_is_same_has_no_operator_and_other_is_told(width, pads):
    variables = weights_of(kernel=(3, 3, 3, 4))

    def function(v, x):
        return convolved(x, v["kernel"], strides=(2, 2), padding=(width, width))

    report = _report(function, variables, 8, 8, 3)
    assert sum(use.kind == "PAD" for use in report.uses) == pads
    hint = "its copy takes 243 bytes of the arena; a network with padding=((0, 1), (0, 1))"
    assert (hint in report.summary) == bool(pads)  # 9 by 9, not 10 by 10: none reads the last


def test_a_core_that_is_none(small):
    with pytest.raises(ValueError, match="no core 'm4': choose one of dsp, helium"):
        export.cortex_m(export.inspect(small.file), "m4")


def test_damaged_files_are_answered_or_refused_by_inspect(small):
    answered = 0
    for seed in range(60):
        try:
            info = export.inspect(mutated(small.file, seed))
        except ValueError:
            continue
        answered += 1
        assert str(export.cortex_m(info, "helium"))
    assert answered
