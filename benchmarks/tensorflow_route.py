"""A graph as a TensorFlow function, and the INT8 file that TensorFlow's converter makes of it.

`tensorflow_converter.py` measures it.  TensorFlow is no dependency, so it is imported where it is used.
"""

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from attokit import quant

TO_INSTALL = "pip install tensorflow-cpu==2.20.0"


def installed() -> bool:
    """Returns whether TensorFlow is there."""
    return importlib.util.find_spec("tensorflow") is not None


def function(graph: quant.Graph, weights: Mapping[str, Any]) -> Any:
    """Returns the graph as a `tf.function` of its one input, with the weights inside.

    Raises:
      ValueError: if the graph has several inputs or outputs, or an op that is not in `OPS`.
    """
    import tensorflow as tf

    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ValueError(
            f"the graph has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs: choose a "
            "network with one of each"
        )
    unknown = {op.kind for op in graph.ops} - OPS.keys()
    if unknown:
        raise ValueError(
            f"no spelling of {', '.join(sorted(unknown))} in TensorFlow: add it to "
            "benchmarks/tensorflow_route.py"
        )
    activations = {"none": lambda x: x, "relu": tf.nn.relu, "relu6": tf.nn.relu6}

    shape = graph.tensors[graph.inputs[0]].shape

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)], autograph=False)
    def network(images):
        values = {graph.inputs[0]: images}
        for op in graph.ops:
            operands = [
                values[name] if name in values else np.asarray(graph.array(weights, name))
                for name in op.inputs
            ]
            values[op.outputs[0]] = activations[op.activation](OPS[op.kind](tf, op, *operands))
        return values[graph.outputs[0]]

    return network


def to_tflite(network: Any, batches: list[np.ndarray]) -> bytes:
    """Returns the converter's file of a function, INT8 from its input to its output.

    Args:
      network: Of `function`.
      batches: What it calibrates with, each of the function's own shape.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [network.get_concrete_function()], network
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([batch] for batch in batches)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def _conv_2d(tf, op, images, kernel, *bias):
    result = tf.nn.conv2d(images, kernel, op["strides"], op["padding"], dilations=op["dilation"])
    return tf.nn.bias_add(result, bias[0]) if bias else result


def _depthwise_conv_2d(tf, op, images, kernel, *bias):
    kh, kw, _, channels = kernel.shape
    kernel = kernel.reshape(kh, kw, op["groups"], channels // op["groups"])
    strides = (1, *op["strides"], 1)
    result = tf.nn.depthwise_conv2d(
        images, kernel, strides, op["padding"], dilations=op["dilation"]
    )
    return tf.nn.bias_add(result, bias[0]) if bias else result


def _fully_connected(tf, op, values, kernel, *bias):
    result = tf.matmul(values, kernel)
    return tf.nn.bias_add(result, bias[0]) if bias else result


def _hard_swish(tf, op, values):
    return values * tf.nn.relu6(values + 3) * (1 / 6)  # what the converter recognizes


def _pool(name: str) -> Callable[..., Any]:
    def pool(tf, op, values):
        return getattr(tf.nn, name)(values, op["window"], op["strides"], op["padding"])

    return pool


def _resize_bilinear(tf, op, values):
    return tf.compat.v1.image.resize_bilinear(
        values,
        op["size"],
        align_corners=op["mode"] == "align_corners",
        half_pixel_centers=op["mode"] == "half_pixel",
    )


# By kind: of TensorFlow, the op and its operands; the activation follows.
OPS: Mapping[str, Callable[..., Any]] = {
    "add": lambda tf, op, x, y: x + y,
    "average_pool_2d": _pool("avg_pool2d"),
    "concatenation": lambda tf, op, *values: tf.concat(values, op["axis"]),
    "conv_2d": _conv_2d,
    "depthwise_conv_2d": _depthwise_conv_2d,
    "fully_connected": _fully_connected,
    "hard_swish": _hard_swish,
    "logistic": lambda tf, op, x: tf.nn.sigmoid(x),
    "max_pool_2d": _pool("max_pool2d"),
    "mean": lambda tf, op, x: tf.reduce_mean(x, op["axes"], keepdims=op["keepdims"]),
    "mul": lambda tf, op, x, y: x * y,
    "pad": lambda tf, op, x: tf.pad(x, op["widths"]),
    "relu": lambda tf, op, x: tf.nn.relu(x),
    "relu6": lambda tf, op, x: tf.nn.relu6(x),
    "reshape": lambda tf, op, x: tf.reshape(x, op["shape"]),
    "resize_bilinear": _resize_bilinear,
    "softmax": lambda tf, op, x: tf.nn.softmax(x),
    "sub": lambda tf, op, x, y: x - y,
    "tanh": lambda tf, op, x: tf.nn.tanh(x),
}
