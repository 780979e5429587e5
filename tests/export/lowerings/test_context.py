import numpy as np

from attokit.export.lowerings.context import Context, fused


def test_an_activation_is_one_tensor_wherever_it_is_used(small):
    context = Context(small.graph, small.weights, small.qparams)
    assert context.activation("input") is context.activation("input")
    assert context.activation("input").dtype == "int8"
    context.alias("other", "input")
    assert context.activation("other") is context.activation("input")


def test_kernels_are_transposed_with_their_scales(small):
    context = Context(small.graph, small.weights, small.qparams)
    op = small.graph.ops[0]
    kernel = context.kernel(op, (3, 0, 1, 2), axis=0)
    assert kernel.shape == (8, 3, 3, 3)
    real = kernel.data * kernel.quantization.scale.reshape(8, 1, 1, 1)
    wanted = np.asarray(small.weights["stem"]).transpose(3, 0, 1, 2)
    assert np.abs(real - wanted).max() <= kernel.quantization.scale.max() / 2 * 1.0001


def test_a_missing_bias_is_zeros_on_the_kernels_scales(small):
    context = Context(small.graph, small.weights, small.qparams)
    op = next(op for op in small.graph.ops if op.kind == "depthwise_conv_2d")
    bias = context.bias(op)
    assert bias.dtype == "int32"
    assert not bias.data.any()
    assert bias.quantization.scale.shape == (8,)


def test_float_files_hold_floats(small):
    context = Context(small.graph, small.weights, None)
    op = small.graph.ops[0]
    assert context.version(small.graph.ops[0], int8=3) == 1
    assert context.operand(op, 0).dtype == context.bias(op).dtype == "float32"
    assert context.activation("input").quantization is None


def test_fused_activations_have_the_schemas_codes(small):
    assert fused(small.graph.ops[0]) == 3  # RELU6
