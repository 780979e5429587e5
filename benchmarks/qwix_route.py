"""The way of qwix and litert-converter from a float Flax network to an INT8 file.

`qat_fidelity.py` measures it.  Both packages are optional, so they are imported where they are used.
"""

import contextlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from attokit.zoo import conv_norm, mobilenet_v3

TO_INSTALL = "pip install qwix==0.1.8 litert-converter==0.5.0"
_INPUT_RANGE = (0.0, 1.0)


def installed() -> bool:
    """Returns whether both packages are there."""
    return all(importlib.util.find_spec(name) for name in ("qwix", "litert_converter"))


def plain_conv(
    features: int,
    kernel_size: int,
    *,
    strides: int = 1,
    padding: Any = "SAME",
    groups: int = 1,
    use_bias: bool = False,
    name: str,
) -> nn.Conv:
    """Returns Flax's convolution, with the arguments of the zoo's."""
    return nn.Conv(
        features,
        (kernel_size, kernel_size),
        strides=strides,
        padding=padding,
        feature_group_count=groups,
        use_bias=use_bias,
        name=name,
    )


@contextlib.contextmanager
def plain_convolutions() -> Iterator[None]:
    """Lets the zoo's networks use Flax's convolution, the one that qwix knows how to quantize.

    Parameters keep their names and shapes, so weights fit both.
    """
    with (
        mock.patch.object(conv_norm, "Conv", plain_conv),
        mock.patch.object(mobilenet_v3, "Conv", plain_conv),
    ):
        yield


def qat_model(model: nn.Module) -> nn.Module:
    """Returns the network with qwix's fake quantization; it has a collection "quant_stats" more."""
    import qwix

    return qwix.quantize_model(
        model, qwix.OdmlQatProvider(_rules(), fixed_range_for_inputs=_INPUT_RANGE)
    )


def to_tflite(model: nn.Module, variables: Mapping[str, Any], images: np.ndarray) -> bytes:
    """Returns the file of a network after QAT.

    Args:
      model: The float network.
      variables: Of `qat_model`, trained: "params", "batch_stats" and "quant_stats".
      images: One example, [1, h, w, c].
    """
    import qwix

    provider = qwix.OdmlConversionProvider(
        _rules(),
        variables["params"],
        variables["quant_stats"],
        fixed_range_for_inputs=_INPUT_RANGE,
    )
    network = qwix.quantize_model(model, provider)
    held = {name: variables[name] for name in ("params", "batch_stats")}
    return convert(lambda x: network.apply(held, x), images)


def convert(function: Callable[[jax.Array], jax.Array], images: np.ndarray) -> bytes:
    """Returns the file that litert-converter makes of a JAX function of one array.

    The strict mode is what lowers qwix's annotations; in any other they stay composites in float.
    """
    from litert_converter.mlir import ir, passmanager
    from litert_converter.mlir._mlir_libs import converter_api_ext as api

    text = str(jax.jit(function).lower(images).compiler_ir("stablehlo"))
    context = ir.Context()
    api.prepare_mlir_context(context)
    with context:
        module = ir.Module.parse(text)
        api.set_signature(module.operation, "serving_default", ["images"], ["logits"])
        config = api.ConvertToTFLConfig()
        config.model_origin_framework = "JAX"
        config.strict_qdq_mode = True
        api.run_convert_to_tfl_passes(module, passmanager.PassManager(), config)
        return api.export_flatbuffer_to_bytes(module.operation)


def _rules() -> list[Any]:
    """Returns INT8 weights and activations everywhere."""
    import qwix

    return [qwix.QuantizationRule(module_path=".*", weight_qtype=jnp.int8, act_qtype=jnp.int8)]
